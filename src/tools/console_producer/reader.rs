//! Turns lines into records: keys, headers and nulls by separators (Kafka's `LineMessageReader`).

use regex::Regex;

use crate::tools::failure::JavaError;
use crate::tools::properties::Properties;

/// A record as it was typed; `None` is a null.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    pub key: Option<String>,
    pub value: Option<String>,
    pub headers: Vec<(String, Option<String>)>,
}

/// The rules given by `--property` and `--reader-config`.
pub struct LineReader {
    parse_key: bool,
    key_separator: String,
    parse_headers: bool,
    headers_delimiter: String,
    headers_separator: Regex,
    headers_key_separator: String,
    ignore_error: bool,
    null_marker: Option<String>,
    /// Number of the line last read, from 1, for messages.
    line_number: u64,
}

fn kafka_exception(message: String) -> JavaError {
    JavaError::new("org.apache.kafka.common.KafkaException", message).with_frames()
}

impl LineReader {
    pub fn new(properties: &Properties) -> Result<LineReader, JavaError> {
        let text = |key: &str, default: &str| properties.get(key).unwrap_or(default).to_owned();
        let headers_separator = text("headers.separator", ",");
        let reader = LineReader {
            parse_key: properties.flag("parse.key").unwrap_or(false),
            key_separator: text("key.separator", "\t"),
            parse_headers: properties.flag("parse.headers").unwrap_or(false),
            headers_delimiter: text("headers.delimiter", "\t"),
            headers_separator: Regex::new(&headers_separator).map_err(|error| {
                JavaError::new("java.util.regex.PatternSyntaxException", error.to_string()).with_frames()
            })?,
            headers_key_separator: text("headers.key.separator", ":"),
            ignore_error: properties.flag("ignore.error").unwrap_or(false),
            null_marker: properties.get("null.marker").map(str::to_owned),
            line_number: 0,
        };
        reader.check_distinct(&headers_separator)?;
        Ok(reader)
    }

    fn check_distinct(&self, headers_separator: &str) -> Result<(), JavaError> {
        let delimiter = ("headers.delimiter", Some(self.headers_delimiter.as_str()));
        let separator = ("headers.separator", Some(headers_separator));
        let key = ("headers.key.separator", Some(self.headers_key_separator.as_str()));
        let marker = ("null.marker", self.null_marker.as_deref());
        let key_separator = ("key.separator", Some(self.key_separator.as_str()));
        for (a, b) in [
            (delimiter, separator),
            (delimiter, key),
            (separator, key),
            (marker, key_separator),
            (marker, separator),
            (marker, delimiter),
            (marker, key),
        ] {
            if a.1 == b.1 {
                return Err(kafka_exception(format!("{} and {} may not be equal", a.0, b.0)));
            }
        }
        Ok(())
    }

    /// Reads one line, without its end.
    pub fn read(&mut self, line: &str) -> Result<Line, JavaError> {
        self.line_number += 1;
        let headers = self.field(self.parse_headers, line, line, &self.headers_delimiter, "headers delimiter")?;
        let rest = after(line, headers, &self.headers_delimiter);
        let key = self.field(self.parse_key, line, rest, &self.key_separator, "key separator")?;
        let value = after(rest, key, &self.key_separator);
        let not_null = |text: &str| (self.null_marker.as_deref() != Some(text)).then(|| text.to_owned());
        let headers = match headers.and_then(not_null) {
            Some(headers) => self.headers(&headers)?,
            None => Vec::new(),
        };
        Ok(Line { key: key.and_then(not_null), value: not_null(value), headers })
    }

    fn field<'a>(
        &self,
        enabled: bool,
        line: &str,
        rest: &'a str,
        separator: &str,
        name: &str,
    ) -> Result<Option<&'a str>, JavaError> {
        match (enabled, rest.find(separator)) {
            (false, _) => Ok(None),
            (true, Some(at)) => Ok(rest.get(..at)),
            (true, None) if self.ignore_error => Ok(None),
            (true, None) => {
                Err(kafka_exception(format!("No {name} found on line number {}: '{line}'", self.line_number)))
            }
        }
    }

    fn headers(&self, text: &str) -> Result<Vec<(String, Option<String>)>, JavaError> {
        let mut pairs: Vec<&str> = self.headers_separator.split(text).collect();
        // Java's split drops empty pieces at the end, but keeps the only one.
        while pairs.len() > 1 && pairs.last() == Some(&"") {
            pairs.pop();
        }
        pairs.into_iter().map(|pair| self.header(pair)).collect()
    }

    fn header(&self, pair: &str) -> Result<(String, Option<String>), JavaError> {
        let marker = self.null_marker.as_deref();
        match pair.split_once(self.headers_key_separator.as_str()) {
            None if self.ignore_error => Ok((pair.to_owned(), None)),
            None => Err(kafka_exception(format!(
                "No header key separator found in pair '{pair}' on line number {}",
                self.line_number
            ))),
            Some((key, _)) if marker == Some(key) => Err(kafka_exception(format!(
                "Header keys should not be equal to the null marker '{key}' as they can't be null"
            ))),
            Some((key, value)) => Ok((key.to_owned(), (marker != Some(value)).then(|| value.to_owned()))),
        }
    }
}

fn after<'a>(text: &'a str, field: Option<&str>, separator: &str) -> &'a str {
    field.map_or(text, |field| text.get(field.len() + separator.len()..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(entries: &[(&str, &str)]) -> LineReader {
        LineReader::new(&entries.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()).ok().unwrap()
    }

    fn line(key: Option<&str>, value: Option<&str>, headers: &[(&str, Option<&str>)]) -> Line {
        let owned = |text: &str| text.to_owned();
        Line {
            key: key.map(owned),
            value: value.map(owned),
            headers: headers.iter().map(|(k, v)| (k.to_string(), v.map(owned))).collect(),
        }
    }

    #[test]
    fn keys_headers_and_nulls() {
        assert_eq!(reader(&[]).read("a\tb").unwrap(), line(None, Some("a\tb"), &[]));
        let mut keyed = reader(&[("parse.key", "true"), ("key.separator", "||")]);
        assert_eq!(keyed.read("k2|v2||x").unwrap(), line(Some("k2|v2"), Some("x"), &[]));
        let mut all = reader(&[("parse.key", "true"), ("parse.headers", "true"), ("null.marker", "NULL")]);
        assert_eq!(all.read("NULL\tk\tNULL").unwrap(), line(Some("k"), None, &[]));
        assert_eq!(all.read("h:NULL,i:1\tNULL\tv").unwrap(), line(None, Some("v"), &[("h", None), ("i", Some("1"))]));
    }

    #[test]
    fn errors_name_the_line() {
        let mut keyed = reader(&[("parse.key", "true")]);
        keyed.read("k\tv").unwrap();
        assert_eq!(keyed.read("no").unwrap_err().message(), "No key separator found on line number 2: 'no'");
        let mut headers = reader(&[("parse.headers", "true")]);
        assert_eq!(
            headers.read("\tvalue").unwrap_err().message(),
            "No header key separator found in pair '' on line number 1"
        );
        let mut lenient = reader(&[("parse.key", "true"), ("ignore.error", "true")]);
        assert_eq!(lenient.read("no").unwrap(), line(None, Some("no"), &[]));
    }
}
