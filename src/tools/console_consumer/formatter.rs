//! How records are printed: Kafka's `DefaultMessageFormatter`, `LoggingMessageFormatter` and `NoOpMessageFormatter`.

use super::deserializer::Deserializer;
use super::internal_topics::{GroupMetadataFormatter, OffsetsFormatter, TransactionLogFormatter};
use crate::tools::failure::JavaError;
use crate::tools::properties::Properties;

pub const DEFAULT: &str = "kafka.tools.DefaultMessageFormatter";
const LOGGING: &str = "kafka.tools.LoggingMessageFormatter";
const NO_OP: &str = "kafka.tools.NoOpMessageFormatter";
const OFFSETS: &str = "kafka.coordinator.group.GroupMetadataManager$OffsetsMessageFormatter";
const GROUP_METADATA: &str = "kafka.coordinator.group.GroupMetadataManager$GroupMetadataMessageFormatter";
const TRANSACTION_LOG: &str = "kafka.coordinator.transaction.TransactionLog$TransactionLogMessageFormatter";

/// A record to print; the timestamp is its type's name and milliseconds since the epoch.
pub struct Printable<'a> {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Option<(&'static str, i64)>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

pub trait Formatter {
    /// Appends the record as it is to be printed. What was appended before an error is printed as well.
    fn format(&self, record: &Printable<'_>, out: &mut Vec<u8>) -> Result<(), JavaError>;
}

/// The formatter of a class name.
pub fn create(class: &str, properties: &Properties) -> Result<Box<dyn Formatter>, JavaError> {
    Ok(match class {
        // The logging one also logs each record at INFO, below what the tools' log shows.
        DEFAULT | LOGGING => Box::new(DefaultFormatter::new(properties)?),
        NO_OP => Box::new(NoOpFormatter),
        OFFSETS => Box::new(OffsetsFormatter),
        GROUP_METADATA => Box::new(GroupMetadataFormatter),
        TRANSACTION_LOG => Box::new(TransactionLogFormatter),
        _ => return Err(JavaError::new("java.lang.ClassNotFoundException", class).with_frames()),
    })
}

/// Prints one column of a record.
type Column = fn(&DefaultFormatter, &Printable<'_>, &mut Vec<u8>) -> Result<(), JavaError>;

struct DefaultFormatter {
    print_timestamp: bool,
    print_partition: bool,
    print_offset: bool,
    print_headers: bool,
    print_key: bool,
    print_value: bool,
    key_separator: Vec<u8>,
    line_separator: Vec<u8>,
    headers_separator: Vec<u8>,
    null_literal: Vec<u8>,
    key: Option<Deserializer>,
    value: Option<Deserializer>,
    headers: Option<Deserializer>,
}

impl DefaultFormatter {
    fn new(properties: &Properties) -> Result<DefaultFormatter, JavaError> {
        let flag = |key: &str, default: bool| properties.flag(key).unwrap_or(default);
        let text = |key: &str, default: &str| properties.get(key).unwrap_or(default).as_bytes().to_vec();
        let deserializer = |key: &str| properties.get(key).map(Deserializer::of_class).transpose();
        Ok(DefaultFormatter {
            print_timestamp: flag("print.timestamp", false),
            print_partition: flag("print.partition", false),
            print_offset: flag("print.offset", false),
            print_headers: flag("print.headers", false),
            print_key: flag("print.key", false),
            print_value: flag("print.value", true),
            key_separator: text("key.separator", "\t"),
            line_separator: text("line.separator", "\n"),
            headers_separator: text("headers.separator", ","),
            null_literal: text("null.literal", "null"),
            key: deserializer("key.deserializer")?,
            value: deserializer("value.deserializer")?,
            headers: deserializer("headers.deserializer")?,
        })
    }

    fn field(
        &self,
        deserializer: Option<Deserializer>,
        bytes: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), JavaError> {
        let bytes = bytes.unwrap_or(&self.null_literal);
        match deserializer {
            Some(deserializer) => out.extend_from_slice(&deserializer.text(bytes)?),
            None => out.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn headers(&self, record: &Printable<'_>, out: &mut Vec<u8>) -> Result<(), JavaError> {
        if record.headers.is_empty() {
            out.extend_from_slice(b"NO_HEADERS");
        }
        for (index, (key, value)) in record.headers.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(&self.headers_separator);
            }
            out.extend_from_slice(key.as_bytes());
            out.push(b':');
            self.field(self.headers, *value, out)?;
        }
        Ok(())
    }
}

impl Formatter for DefaultFormatter {
    fn format(&self, record: &Printable<'_>, out: &mut Vec<u8>) -> Result<(), JavaError> {
        // Which columns are printed, in their order; the last one is followed by the end of the line.
        let mut columns: Vec<Column> = Vec::new();
        if self.print_timestamp {
            columns.push(|_, record, out| {
                let text = record.timestamp.map_or("NO_TIMESTAMP".to_owned(), |(kind, ms)| format!("{kind}:{ms}"));
                out.extend_from_slice(text.as_bytes());
                Ok(())
            });
        }
        if self.print_partition {
            columns.push(|_, record, out| {
                out.extend_from_slice(format!("Partition:{}", record.partition).as_bytes());
                Ok(())
            });
        }
        if self.print_offset {
            columns.push(|_, record, out| {
                out.extend_from_slice(format!("Offset:{}", record.offset).as_bytes());
                Ok(())
            });
        }
        if self.print_headers {
            columns.push(Self::headers);
        }
        if self.print_key {
            columns.push(|this, record, out| this.field(this.key, record.key, out));
        }
        if self.print_value {
            columns.push(|this, record, out| this.field(this.value, record.value, out));
        }
        for (index, column) in columns.iter().enumerate() {
            column(self, record, out)?;
            let last = index + 1 == columns.len();
            out.extend_from_slice(if last { &self.line_separator } else { &self.key_separator });
        }
        Ok(())
    }
}

struct NoOpFormatter;

impl Formatter for NoOpFormatter {
    fn format(&self, _: &Printable<'_>, _: &mut Vec<u8>) -> Result<(), JavaError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(entries: &[(&str, &str)], record: &Printable<'_>) -> String {
        let properties = entries.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let mut out = Vec::new();
        create(DEFAULT, &properties).ok().unwrap().format(record, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_of_the_default_formatter() {
        let record = Printable {
            partition: 0,
            offset: 19,
            timestamp: Some(("CreateTime", 1795351046914)),
            key: None,
            value: Some(b"v"),
            headers: vec![("h", None), ("i", Some(b"1"))],
        };
        assert_eq!(print(&[], &record), "v\n");
        let all = ["timestamp", "partition", "offset", "headers", "key"].map(|name| format!("print.{name}"));
        let mut properties: Vec<(&str, &str)> = all.iter().map(|key| (key.as_str(), "true")).collect();
        assert_eq!(
            print(&properties, &record),
            "CreateTime:1795351046914\tPartition:0\tOffset:19\th:null,i:1\tnull\tv\n"
        );
        properties.push(("print.value", "false"));
        properties.push(("null.literal", "<nil>"));
        properties.push(("key.separator", " "));
        assert_eq!(print(&properties, &record), "CreateTime:1795351046914 Partition:0 Offset:19 h:<nil>,i:1 <nil>\n");
    }
}
