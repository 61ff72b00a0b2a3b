//! A parsed value and Java's rules for getting it out of a string and back (`ConfigDef.parseType`, `convertToString`).

use super::error::ConfigError;

/// The type of a key, as `ConfigDef.Type`. The discriminant is DescribeConfigs' wire id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    Bool = 1,
    Str = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

impl Kind {
    /// The id in a DescribeConfigs response.
    pub fn id(self) -> i8 {
        self as i8
    }

    /// Java's name of it, as in "Not a number of type INT".
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bool => "BOOLEAN",
            Kind::Str => "STRING",
            Kind::Int => "INT",
            Kind::Short => "SHORT",
            Kind::Long => "LONG",
            Kind::Double => "DOUBLE",
            Kind::List => "LIST",
            Kind::Class => "CLASS",
            Kind::Password => "PASSWORD",
        }
    }
}

/// A parsed value. Passwords and class names are `Text`; what to hide is decided by the key's [`Kind`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i32),
    Short(i16),
    Long(i64),
    Double(f64),
    Text(String),
    List(Vec<String>),
}

impl Value {
    /// Parses `raw` as `kind`; `name` is for the error text.
    pub fn parse(name: &str, raw: &str, kind: Kind) -> Result<Value, ConfigError> {
        let text = java_trim(raw);
        let number = || ConfigError::invalid(name, raw, format!("Not a number of type {}", kind.name()));
        Ok(match kind {
            Kind::Bool if text.eq_ignore_ascii_case("true") => Value::Bool(true),
            Kind::Bool if text.eq_ignore_ascii_case("false") => Value::Bool(false),
            Kind::Bool => return Err(ConfigError::invalid(name, raw, "Expected value to be either true or false")),
            Kind::Str | Kind::Password | Kind::Class => Value::Text(text.to_owned()),
            Kind::Int => Value::Int(text.parse().map_err(|_| number())?),
            Kind::Short => Value::Short(text.parse().map_err(|_| number())?),
            Kind::Long => Value::Long(text.parse().map_err(|_| number())?),
            Kind::Double => Value::Double(parse_double(text).ok_or_else(number)?),
            Kind::List => Value::List(parse_list(text)),
        })
    }

    /// The value as DescribeConfigs shows it; `None` for null.
    pub fn to_text(&self) -> Option<String> {
        Some(match self {
            Value::Null => return None,
            Value::Bool(v) => v.to_string(),
            Value::Int(v) => v.to_string(),
            Value::Short(v) => v.to_string(),
            Value::Long(v) => v.to_string(),
            Value::Double(v) => double_to_java(*v),
            Value::Text(v) => v.clone(),
            Value::List(v) => v.join(","),
        })
    }

    /// The value as Java's `toString` puts it into an error message.
    pub(crate) fn to_java(&self) -> String {
        match self {
            Value::Null => "null".to_owned(),
            Value::List(v) => format!("[{}]", v.join(", ")),
            other => other.to_text().unwrap_or_default(),
        }
    }

    /// The number it is, for range checks.
    pub(crate) fn as_number(&self) -> Option<f64> {
        match self {
            Value::Int(v) => Some(f64::from(*v)),
            Value::Short(v) => Some(f64::from(*v)),
            Value::Long(v) => Some(*v as f64),
            Value::Double(v) => Some(*v),
            _ => None,
        }
    }
}

/// `String.trim`: everything up to and including the space.
pub(crate) fn java_trim(s: &str) -> &str {
    s.trim_matches(|c: char| c <= ' ')
}

/// A list of an already trimmed string: comma and the white space around it separate, empty means no element.
fn parse_list(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(|e| e.trim_matches(is_java_space).to_owned()).collect()
}

/// `\s` of a Java pattern.
pub(crate) fn is_java_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

/// `CoreUtils.parseCsvList`: like a list, but empty elements do not count.
pub(crate) fn csv(text: &str) -> Vec<String> {
    text.split(',').map(|e| e.trim_matches(is_java_space)).filter(|e| !e.is_empty()).map(str::to_owned).collect()
}

/// `Double.parseDouble` without hexadecimal literals.
fn parse_double(text: &str) -> Option<f64> {
    match text.trim_start_matches(['+', '-']) {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        _ => {}
    }
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    if !digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E')) {
        return None; // Rust would take "inf" and "nan"
    }
    digits.parse().ok()
}

/// `Double.toString`: plain digits from 10^-3 up to 10^7, else one digit before the point and an exponent.
pub(crate) fn double_to_java(v: f64) -> String {
    if v.is_nan() {
        return "NaN".to_owned();
    }
    if v.is_infinite() {
        return if v > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let magnitude = v.abs();
    if v == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{v:?}");
    }
    let text = format!("{v:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}E{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_java_prints_them() {
        for (v, text) in [
            (f64::MAX, "1.7976931348623157E308"),
            (1_000_000.0, "1000000.0"),
            (1e7, "1.0E7"),
            (0.5, "0.5"),
            (0.0, "0.0"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (-12345678.9, "-1.23456789E7"),
        ] {
            assert_eq!(double_to_java(v), text);
        }
    }

    #[test]
    fn values_parse_with_java_s_rules() {
        let p = |raw, kind| Value::parse("k", raw, kind);
        assert_eq!(p(" TRUE ", Kind::Bool), Ok(Value::Bool(true)));
        assert_eq!(p(" +7 ", Kind::Int), Ok(Value::Int(7)));
        assert_eq!(p("1e3", Kind::Double), Ok(Value::Double(1000.0)));
        assert_eq!(p("2d", Kind::Double), Ok(Value::Double(2.0)));
        assert_eq!(p("", Kind::List), Ok(Value::List(vec![])));
        assert_eq!(p("a , b,", Kind::List), Ok(Value::List(vec!["a".into(), "b".into(), "".into()])));
        let error = |raw, kind| p(raw, kind).unwrap_err().to_string();
        assert_eq!(error("abc", Kind::Int), "Invalid value abc for configuration k: Not a number of type INT");
        assert_eq!(
            error("3000000000", Kind::Int),
            "Invalid value 3000000000 for configuration k: Not a number of type INT"
        );
        assert_eq!(error("70000", Kind::Short), "Invalid value 70000 for configuration k: Not a number of type SHORT");
        assert_eq!(error("inf", Kind::Double), "Invalid value inf for configuration k: Not a number of type DOUBLE");
        assert_eq!(
            error("1", Kind::Bool),
            "Invalid value 1 for configuration k: Expected value to be either true or false"
        );
    }
}
