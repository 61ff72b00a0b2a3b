//! `inter.broker.protocol.version`: the versions that a 3.7 broker knows, and what they switch on (`MetadataVersion`).

use super::error::ConfigError;

/// Every known version in order, as `release-IV` (the four oldest have no `IV`).
const VERSIONS: &[&str] = &[
    "0.8.0",
    "0.8.1",
    "0.8.2",
    "0.9.0",
    "0.10.0-IV0",
    "0.10.0-IV1",
    "0.10.1-IV0",
    "0.10.1-IV1",
    "0.10.1-IV2",
    "0.10.2-IV0",
    "0.11.0-IV0",
    "0.11.0-IV1",
    "0.11.0-IV2",
    "1.0-IV0",
    "1.1-IV0",
    "2.0-IV0",
    "2.0-IV1",
    "2.1-IV0",
    "2.1-IV1",
    "2.1-IV2",
    "2.2-IV0",
    "2.2-IV1",
    "2.3-IV0",
    "2.3-IV1",
    "2.4-IV0",
    "2.4-IV1",
    "2.5-IV0",
    "2.6-IV0",
    "2.7-IV0",
    "2.7-IV1",
    "2.7-IV2",
    "2.8-IV0",
    "2.8-IV1",
    "3.0-IV0",
    "3.0-IV1",
    "3.1-IV0",
    "3.2-IV0",
    "3.3-IV0",
    "3.3-IV1",
    "3.3-IV2",
    "3.3-IV3",
    "3.4-IV0",
    "3.5-IV0",
    "3.5-IV1",
    "3.5-IV2",
    "3.6-IV0",
    "3.6-IV1",
    "3.6-IV2",
    "3.7-IV0",
    "3.7-IV1",
    "3.7-IV2",
    "3.7-IV3",
    "3.7-IV4",
    "3.8-IV0",
];
/// The newest one that counts as released: a bare release name stands for its last version up to here.
const LATEST_PRODUCTION: &str = "3.7-IV4";

/// A known inter-broker protocol version; later is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProtocolVersion(u8);

impl ProtocolVersion {
    /// Takes `3.7`, `3.7.1`, `3.7-IV4`, `0.10.0`, ...; what follows the second number (third, for `0.x`) is ignored.
    pub fn parse(text: &str) -> Result<ProtocolVersion, ConfigError> {
        let segments = if text.starts_with("0.") { 3 } else { 2 };
        let key = text.split('.').take(segments).collect::<Vec<_>>().join(".");
        let exact = VERSIONS.iter().position(|v| *v == key);
        let found = exact.or_else(|| {
            let production = VERSIONS.iter().position(|v| *v == LATEST_PRODUCTION)?;
            VERSIONS.iter().take(production + 1).rposition(|v| v.split('-').next() == Some(key.as_str()))
        });
        match found {
            Some(index) => Ok(ProtocolVersion(index as u8)),
            None => Err(ConfigError::IllegalArgument(format!("Version {text} is not a valid version"))),
        }
    }

    /// The full name, such as `3.7-IV4`.
    pub fn name(self) -> &'static str {
        VERSIONS.get(usize::from(self.0)).copied().unwrap_or(LATEST_PRODUCTION)
    }

    /// The release, such as `3.7`.
    pub fn release(self) -> &'static str {
        self.name().split('-').next().unwrap_or_default()
    }

    /// Whether this is `name` or later; `name` is one of the full names.
    pub fn at_least(self, name: &str) -> bool {
        VERSIONS.iter().position(|v| *v == name).is_some_and(|i| usize::from(self.0) >= i)
    }

    /// The record format (0, 1, 2) that this version can write at most.
    pub fn record_version(self) -> i8 {
        if self.at_least("0.11.0-IV0") { 2 } else { i8::from(self.at_least("0.10.0-IV0")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_names_are_known() {
        for (text, name) in [
            ("3.7", "3.7-IV4"),
            ("3.7.1", "3.7-IV4"),
            ("3.7-IV2", "3.7-IV2"),
            ("2.8", "2.8-IV1"),
            ("0.10.0", "0.10.0-IV1"),
            ("0.10.2.1", "0.10.2-IV0"),
            ("0.9.0", "0.9.0"),
            ("1.0.1", "1.0-IV0"),
            ("3.8-IV0", "3.8-IV0"),
        ] {
            assert_eq!(ProtocolVersion::parse(text).unwrap().name(), name, "{text}");
        }
        for bad in ["3.8", "4.0", "3", "", "0.10", "3.7-IV9"] {
            assert_eq!(
                ProtocolVersion::parse(bad).unwrap_err().to_string(),
                format!("Version {bad} is not a valid version")
            );
        }
        assert_eq!(ProtocolVersion::parse("0.10.0").unwrap().record_version(), 1);
        assert!(ProtocolVersion::parse("3.7").unwrap() > ProtocolVersion::parse("3.4").unwrap());
    }
}
