//! JSON files given to tools: read as Kafka's `Json` reads them, with the words of the library it uses (Jackson) where
//! scripts are known to meet them.

use serde::Deserialize as _;
use serde_json::Value;

use super::failure::JavaError;

/// What follows Jackson's messages: it does not show the input.
fn location(line: usize, column: usize) -> String {
    format!(
        "\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: {line}, column: {column}]"
    )
}

/// The first value of a text; what follows it does not matter. The error is Jackson's.
pub fn parse(text: &str) -> Result<Value, JavaError> {
    let failed =
        |message: String| JavaError::new("com.fasterxml.jackson.core.JsonParseException", message).with_frames();
    if text.is_empty() {
        return Err(failed("The input string shouldn't be empty".to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    Value::deserialize(&mut reader).map_err(|error| match unknown_token(text, &error) {
        Some(message) => failed(message),
        None if error.is_eof() => {
            let at = location(error.line(), error.column());
            let class = "com.fasterxml.jackson.core.io.JsonEOFException";
            JavaError::new(class, format!("Unexpected end-of-input{at}")).with_frames()
        }
        None => {
            let found = char_at(text, error.line(), error.column()).unwrap_or(' ');
            let at = location(error.line(), error.column());
            failed(format!("Unexpected character ('{found}' (code {})): {error}{at}", u32::from(found)))
        }
    })
}

fn char_at(text: &str, line: usize, column: usize) -> Option<char> {
    text.lines().nth(line.checked_sub(1)?)?.chars().nth(column.checked_sub(1)?)
}

/// A bare word where a value should be.
fn unknown_token(text: &str, error: &serde_json::Error) -> Option<String> {
    let line = text.lines().nth(error.line().checked_sub(1)?)?;
    let at = error.column().checked_sub(1)?;
    let bytes = line.as_bytes();
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let start =
        (0..=at.min(bytes.len().checked_sub(1)?)).rev().take_while(|i| bytes.get(*i).is_some_and(is_word)).last()?;
    let word: String = line.get(start..)?.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if !word.starts_with(|c: char| c.is_alphabetic()) || ["true", "false", "null"].contains(&word.as_str()) {
        return None;
    }
    let at = location(error.line(), start + word.chars().count() + 1);
    Some(format!(
        "Unrecognized token '{word}': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false'){at}"
    ))
}

fn mapping(message: String) -> JavaError {
    JavaError::new("com.fasterxml.jackson.databind.JsonMappingException", message).with_frames()
}

fn expected(what: &str, found: &Value) -> JavaError {
    mapping(format!("Expected `{what}` value, received {found}"))
}

/// Reading a value as Kafka's `JsonValue`, `JsonObject` and `DecodeJson` do, with their complaints.
pub trait Json {
    /// A field of an object, if it is there.
    fn field(&self, name: &str) -> Result<Option<&Value>, JavaError>;
    /// A field that must be there.
    fn required(&self, name: &str) -> Result<&Value, JavaError>;
    fn elements(&self) -> Result<&[Value], JavaError>;
    fn string(&self) -> Result<String, JavaError>;
    fn int(&self) -> Result<i32, JavaError>;
    fn ints(&self) -> Result<Vec<i32>, JavaError>;
    fn strings(&self) -> Result<Vec<String>, JavaError>;
}

impl Json for Value {
    fn field(&self, name: &str) -> Result<Option<&Value>, JavaError> {
        match self {
            Value::Object(fields) => Ok(fields.get(name)),
            other => Err(mapping(format!("Expected JSON object, received {other}"))),
        }
    }

    fn required(&self, name: &str) -> Result<&Value, JavaError> {
        self.field(name)?.ok_or_else(|| mapping(format!("No such field exists: `{name}`")))
    }

    fn elements(&self) -> Result<&[Value], JavaError> {
        match self {
            Value::Array(elements) => Ok(elements),
            other => Err(mapping(format!("Expected JSON array, received {other}"))),
        }
    }

    fn string(&self) -> Result<String, JavaError> {
        self.as_str().map(str::to_owned).ok_or_else(|| expected("String", self))
    }

    fn int(&self) -> Result<i32, JavaError> {
        self.as_i64().and_then(|n| i32::try_from(n).ok()).ok_or_else(|| expected("Integer", self))
    }

    fn ints(&self) -> Result<Vec<i32>, JavaError> {
        self.as_array().ok_or_else(|| expected("JSON array", self))?.iter().map(Json::int).collect()
    }

    fn strings(&self) -> Result<Vec<String>, JavaError> {
        self.as_array().ok_or_else(|| expected("JSON array", self))?.iter().map(Json::string).collect()
    }
}

/// The text of a file; one that cannot be read gives Java's exception.
pub fn read_file(path: &str) -> Result<String, JavaError> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => JavaError::no_such_file(path),
        std::io::ErrorKind::PermissionDenied => {
            JavaError::new("java.nio.file.AccessDeniedException", path).with_frames()
        }
        _ => JavaError::new("java.io.IOException", format!("{path}: {error}")).with_frames(),
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_no_json() {
        let recorded = "Unrecognized token 'not': was expecting (JSON String, Number, Array, Object or token 'null', \
                        'true' or 'false')\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` \
                        disabled); line: 1, column: 4]";
        assert_eq!(parse("not json").unwrap_err().message(), recorded);
        assert!(parse("[1,\n  xyz]").unwrap_err().message().starts_with("Unrecognized token 'xyz'"));
        assert!(parse("{\"a\":").unwrap_err().message().starts_with("Unexpected end-of-input"));
        assert!(parse("{]").unwrap_err().message().starts_with("Unexpected character (']' (code 93))"));
        assert_eq!(parse("").unwrap_err().message(), "The input string shouldn't be empty");
        assert!(parse("{} and more").is_ok());
    }

    #[test]
    fn values_of_another_kind() {
        let value = parse(r#"{"a":[1,"x"],"b":9999999999}"#).unwrap();
        assert_eq!(value.required("c").unwrap_err().message(), "No such field exists: `c`");
        assert_eq!(
            value.required("a").unwrap().ints().unwrap_err().message(),
            "Expected `Integer` value, received \"x\""
        );
        assert!(value.required("b").unwrap().int().is_err());
        assert_eq!(value.elements().unwrap_err().message().get(..30), Some("Expected JSON array, received "));
    }
}
