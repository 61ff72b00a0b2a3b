//! Java properties: an ordered set of keys and values, read the way `java.util.Properties` reads a file.

use super::error::ConfigError;
use java_properties::PropertiesIter;
use std::path::Path;

/// Keys and values in the order in which they were first set; setting a key again replaces its value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    pub fn new() -> Properties {
        Properties::default()
    }

    /// Reads a properties file (ISO-8859-1, `\uXXXX`, continuation lines, `#` and `!` comments).
    pub fn read(file: &Path) -> Result<Properties, ConfigError> {
        let path = || file.display().to_string();
        let bytes = std::fs::read(file).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => ConfigError::NoSuchFile { path: path() },
            _ => ConfigError::Unreadable { path: path(), reason: e.to_string() },
        })?;
        Properties::parse(&bytes).map_err(|reason| ConfigError::Unreadable { path: path(), reason })
    }

    /// Parses the bytes of a properties file; the error says what is wrong and in which line.
    pub fn parse(bytes: &[u8]) -> Result<Properties, String> {
        let mut properties = Properties::new();
        // The parser loses a last line that does not end.
        let text = [bytes, b"\n"].concat();
        PropertiesIter::new(text.as_slice()).read_into(|k, v| properties.set(k, v)).map_err(|e| e.to_string())?;
        Ok(properties)
    }

    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(k, _)| *k == key) {
            Some((_, v)) => *v = value,
            None => self.0.push((key, value)),
        }
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    pub fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Names only: values may be passwords.
impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(|(k, _)| k)).finish()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Properties {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Properties {
        let mut properties = Properties::new();
        iter.into_iter().for_each(|(k, v)| properties.set(k, v));
        properties
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_java_reads_it() {
        let text = "# c\n! d\na=1\nb : 2\nc 3\nlong=x,\\\n   y\nu=\\u00e9\nl=\u{1}\na=4\nempty=\nlast = end";
        let mut bytes = text.as_bytes().to_vec();
        let at = bytes.iter().position(|b| *b == 1).unwrap();
        bytes[at] = 0xe8; // ISO-8859-1
        let p = Properties::parse(&bytes).unwrap();
        let all: Vec<_> = p.iter().collect();
        assert_eq!(
            all,
            [
                ("a", "4"),
                ("b", "2"),
                ("c", "3"),
                ("long", "x,y"),
                ("u", "é"),
                ("l", "è"),
                ("empty", ""),
                ("last", "end")
            ]
        );
        assert!(Properties::parse(b"a=\\u12").is_err());
    }

    #[test]
    fn a_missing_file_is_java_s_exception() {
        let e = Properties::read(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(format!("{}: {e}", e.java_class()), "java.nio.file.NoSuchFileException: /nonexistent");
    }
}
