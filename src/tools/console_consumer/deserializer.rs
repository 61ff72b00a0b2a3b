//! The deserializers of `org.apache.kafka.common.serialization`, as far as they turn bytes into the text that Java
//! prints for the object.

use crate::tools::failure::JavaError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deserializer {
    Text,
    Raw,
    Escaped,
    Buffer,
    Short,
    Integer,
    Long,
    Float,
    Double,
    Boolean,
    Uuid,
}

impl Deserializer {
    pub fn of_class(class: &str) -> Result<Deserializer, JavaError> {
        let simple = class.strip_prefix("org.apache.kafka.common.serialization.").unwrap_or_default();
        Ok(match simple {
            "StringDeserializer" => Deserializer::Text,
            "ByteArrayDeserializer" => Deserializer::Raw,
            "BytesDeserializer" => Deserializer::Escaped,
            "ByteBufferDeserializer" => Deserializer::Buffer,
            "ShortDeserializer" => Deserializer::Short,
            "IntegerDeserializer" => Deserializer::Integer,
            "LongDeserializer" => Deserializer::Long,
            "FloatDeserializer" => Deserializer::Float,
            "DoubleDeserializer" => Deserializer::Double,
            "BooleanDeserializer" => Deserializer::Boolean,
            "UUIDDeserializer" => Deserializer::Uuid,
            _ => return Err(JavaError::new("java.lang.ClassNotFoundException", class).with_frames()),
        })
    }

    /// What Java prints for the object these bytes stand for.
    pub fn text(self, bytes: &[u8]) -> Result<Vec<u8>, JavaError> {
        let text = match self {
            Deserializer::Raw => return Ok(bytes.to_vec()),
            Deserializer::Text => String::from_utf8_lossy(bytes).into_owned(),
            Deserializer::Escaped => escaped(bytes),
            Deserializer::Buffer => format!("java.nio.HeapByteBuffer[pos=0 lim={0} cap={0}]", bytes.len()),
            Deserializer::Short => i16::from_be_bytes(exactly(bytes, "ShortDeserializer")?).to_string(),
            Deserializer::Integer => i32::from_be_bytes(exactly(bytes, "IntegerDeserializer")?).to_string(),
            Deserializer::Long => i64::from_be_bytes(exactly(bytes, "LongDeserializer")?).to_string(),
            Deserializer::Float => format!("{:?}", f32::from_be_bytes(exactly(bytes, "Deserializer")?)),
            Deserializer::Double => format!("{:?}", f64::from_be_bytes(exactly(bytes, "Deserializer")?)),
            Deserializer::Boolean => match bytes {
                [0] => "false".to_owned(),
                [1] => "true".to_owned(),
                [other] => {
                    return Err(serialization(format!("Unexpected byte received by BooleanDeserializer: {other}")));
                }
                _ => return Err(serialization("Size of data received by BooleanDeserializer is not 1".to_owned())),
            },
            Deserializer::Uuid => {
                let text = String::from_utf8_lossy(bytes);
                let id = uuid::Uuid::try_parse(&text);
                id.map_err(|_| serialization("Error parsing data into UUID".to_owned()))?.to_string()
            }
        };
        Ok(text.into_bytes())
    }
}

fn exactly<const N: usize>(bytes: &[u8], class: &str) -> Result<[u8; N], JavaError> {
    bytes.try_into().map_err(|_| serialization(format!("Size of data received by {class} is not {N}")))
}

fn serialization(message: String) -> JavaError {
    JavaError::api("SerializationException", message).with_frames()
}

/// Java's `Bytes.toString`: printable ASCII but the backslash, the rest as `\xNN`.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b' '..=b'~' if *byte != b'\\' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_java() {
        let of = |name: &str| Deserializer::of_class(&format!("org.apache.kafka.common.serialization.{name}")).unwrap();
        assert_eq!(of("LongDeserializer").text(&7i64.to_be_bytes()).unwrap(), b"7");
        assert_eq!(
            of("LongDeserializer").text(b"hello").unwrap_err().message(),
            "Size of data received by LongDeserializer is not 8"
        );
        assert_eq!(of("DoubleDeserializer").text(&1.5f64.to_be_bytes()).unwrap(), b"1.5");
        assert_eq!(of("BytesDeserializer").text(b"a\\\x00b").unwrap(), b"a\\x5C\\x00b");
        assert!(Deserializer::of_class("no.such.Class").is_err());
    }
}
