//! Properties files given to tools (`--command-config`, `--producer.config`, ...): an ordered list in which a later
//! entry of the same key wins.

use super::failure::JavaError;

/// Client properties under Java names.
#[derive(Clone, Debug, Default)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    /// Reads a properties file; a file that is not there gives Java's `NoSuchFileException`.
    pub fn load(path: &str) -> Result<Properties, JavaError> {
        let mut bytes = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => JavaError::no_such_file(path),
            std::io::ErrorKind::PermissionDenied => {
                JavaError::new("java.nio.file.AccessDeniedException", path).with_frames()
            }
            _ => JavaError::new("java.io.IOException", format!("{path}: {error}")).with_frames(),
        })?;
        // The reader drops a last line that has no newline.
        bytes.push(b'\n');
        let mut properties = Properties::default();
        java_properties::PropertiesIter::new(bytes.as_slice())
            .read_into(|key, value| properties.set(&key, value))
            .map_err(|error| JavaError::illegal_argument(format!("{path}: {error}")))?;
        Ok(properties)
    }

    /// Reads the file of an option, or nothing when it was not given.
    pub fn load_optional(path: Option<String>) -> Result<Properties, JavaError> {
        path.map_or_else(|| Ok(Properties::default()), |path| Properties::load(&path))
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some(entry) => entry.1 = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    pub fn extend(&mut self, entries: impl IntoIterator<Item = (String, String)>) {
        for (key, value) in entries {
            self.set(&key, value);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// True when the value is `true`, in any case and with blanks around it.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).map(|value| value.trim().eq_ignore_ascii_case("true"))
    }
}

impl FromIterator<(String, String)> for Properties {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(entries: I) -> Properties {
        let mut properties = Properties::default();
        properties.extend(entries);
        properties
    }
}
