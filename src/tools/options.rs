//! The command line dialect of Kafka's tools: one table of options per tool yields the parser, the
//! checks and (in `help`) the printed option table.
//!
//! The rules are those of joptsimple, which Kafka's tools use without abbreviations: `-topic t` is
//! `--topic t`; `--flag=value` gives a value, and is accepted and ignored on a switch; an option that needs a
//! value takes the next word whatever it looks like; values are converted when they are asked for, not when
//! they are read. The sentences are Kafka's and joptsimple's, since scripts match on them.

use super::failure::{Failure, JavaError};

/// Whether an option takes a value; the text is its label in the help, such as `String: topic`.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    Switch,
    Required(&'static str),
    Optional(&'static str),
}

/// When the parser itself insists on an option.
#[derive(Clone, Copy, Debug)]
pub enum Presence {
    Free,
    Always,
    Unless(&'static str),
}

/// One row of a tool's table.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    pub name: &'static str,
    pub value: Value,
    pub default: Option<&'static str>,
    pub presence: Presence,
    pub help: &'static str,
}

impl OptionSpec {
    pub const fn switch(name: &'static str, help: &'static str) -> OptionSpec {
        OptionSpec { name, value: Value::Switch, default: None, presence: Presence::Free, help }
    }

    /// An option with a value; `label` is `Type: description` as the help shows it.
    pub const fn valued(name: &'static str, label: &'static str, help: &'static str) -> OptionSpec {
        OptionSpec { name, value: Value::Required(label), default: None, presence: Presence::Free, help }
    }

    pub const fn optional_value(name: &'static str, label: &'static str, help: &'static str) -> OptionSpec {
        OptionSpec { name, value: Value::Optional(label), default: None, presence: Presence::Free, help }
    }

    pub const fn or(mut self, default: &'static str) -> OptionSpec {
        self.default = Some(default);
        self
    }

    pub const fn required_unless(mut self, other: &'static str) -> OptionSpec {
        self.presence = Presence::Unless(other);
        self
    }
}

/// The two options every tool has.
pub const HELP: OptionSpec = OptionSpec::switch("help", "Print this help.");
pub const VERSION: OptionSpec = OptionSpec::switch("version", "Print the version of Kafka this tool answers to.");

/// What the words of a command line say, checked against a tool's table.
#[derive(Debug)]
pub struct Options {
    table: &'static [OptionSpec],
    found: Vec<(&'static str, Option<String>)>,
    /// Words that belong to no option.
    pub rest: Vec<String>,
    /// How many words there were.
    pub words: usize,
}

impl Options {
    /// Reads a command line; the error is what joptsimple throws for it.
    pub fn parse(table: &'static [OptionSpec], args: &[String]) -> Result<Options, JavaError> {
        let mut parsed = Options { table, found: Vec::new(), rest: Vec::new(), words: args.len() };
        let mut words = args.iter().peekable();
        while let Some(word) = words.next() {
            if word == "--" {
                parsed.rest.extend(words.by_ref().cloned());
                break;
            }
            let Some((name, inline)) = option_of(word) else {
                parsed.rest.push(word.clone());
                continue;
            };
            let spec = lookup(table, word, name)?;
            let value = match (spec.value, inline) {
                (Value::Switch, _) => None,
                (_, Some(text)) => Some(text.to_owned()),
                (Value::Required(_), None) => match words.next() {
                    Some(next) => Some(next.clone()),
                    None => return Err(missing_argument(spec.name)),
                },
                (Value::Optional(_), None) => words.next_if(|next| option_of(next).is_none()).cloned(),
            };
            parsed.found.push((spec.name, value));
        }
        parsed.check_presence()?;
        Ok(parsed)
    }

    fn check_presence(&self) -> Result<(), JavaError> {
        if self.has("help") || self.has("version") {
            return Ok(());
        }
        let missing: Vec<&str> = self
            .table
            .iter()
            .filter(|spec| match spec.presence {
                Presence::Free => false,
                Presence::Always => !self.has(spec.name),
                Presence::Unless(other) => !self.has(spec.name) && !self.has(other),
            })
            .map(|spec| spec.name)
            .collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(JavaError::new(
                "joptsimple.MissingRequiredOptionsException",
                format!("Missing required option(s) [{}]", missing.join(", ")),
            )),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.found.iter().any(|(found, _)| *found == name)
    }

    /// The names of the options that were given, in order, each once.
    pub fn given(&self) -> Vec<&'static str> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in &self.found {
            if !names.contains(name) {
                names.push(name);
            }
        }
        names
    }

    /// The values given for an option that may be repeated, in order.
    pub fn values(&self, name: &str) -> Vec<String> {
        self.found.iter().filter(|(found, _)| *found == name).filter_map(|(_, value)| value.clone()).collect()
    }

    /// The only value of an option, or its default; giving it twice is an error.
    pub fn value(&self, name: &str) -> Result<Option<String>, JavaError> {
        let mut values = self.values(name);
        match values.len() {
            0 if self.has(name) => Ok(None),
            0 => Ok(self.table.iter().find(|spec| spec.name == name).and_then(|spec| spec.default).map(str::to_owned)),
            1 => Ok(values.pop()),
            _ => Err(JavaError::new(
                "joptsimple.MultipleArgumentsForOptionException",
                format!("Found multiple arguments for option {name}, but you asked for only one"),
            )
            .with_frames()),
        }
    }

    /// The value as a 32-bit number (Kafka's `Integer` options).
    pub fn int(&self, name: &str) -> Result<Option<i32>, JavaError> {
        self.number(name)
    }

    /// The value as a 64-bit number (Kafka's `Long` options).
    pub fn long(&self, name: &str) -> Result<Option<i64>, JavaError> {
        self.number(name)
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, JavaError> {
        let Some(text) = self.value(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            let number = JavaError::new("java.lang.NumberFormatException", format!("For input string: \"{text}\""));
            let reflection = JavaError::new(
                "joptsimple.internal.ReflectionException",
                format!("java.lang.NumberFormatException: For input string: \"{text}\""),
            );
            JavaError::new(
                "joptsimple.OptionArgumentConversionException",
                format!("Cannot parse argument '{text}' of option {name}"),
            )
            .with_frames()
            .caused_by(reflection.with_frames().caused_by(number.with_frames()))
        })
    }

    /// Ends with the usage when one of `names` was not given.
    pub fn require(&self, names: &[&str]) -> Result<(), Failure> {
        match names.iter().find(|name| !self.has(name)) {
            Some(name) => Err(self.usage(format!("Missing required argument \"[{name}]\""))),
            None => Ok(()),
        }
    }

    /// Ends with the usage when `used` was given together with one of `others`.
    pub fn forbid(&self, used: &str, others: &[&str]) -> Result<(), Failure> {
        match others.iter().find(|other| self.has(used) && self.has(other)) {
            Some(other) => Err(self.usage(format!("Option \"[{used}]\" can't be used with option \"[{other}]\""))),
            None => Ok(()),
        }
    }

    /// The failure that prints `message` and the option table, and exits with 1.
    pub fn usage(&self, message: impl Into<String>) -> Failure {
        Failure::usage(self.table, message)
    }

    /// `--help` and `--version`, and a command line without words.
    pub fn help_or_version(&self, purpose: &str) -> Result<(), Failure> {
        if self.words == 0 || self.has("help") {
            return Err(self.usage(purpose));
        }
        match self.has("version") {
            true => Err(Failure::Version),
            false => Ok(()),
        }
    }
}

/// The option name and inline value of a word that looks like an option.
fn option_of(word: &str) -> Option<(&str, Option<&str>)> {
    let body = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    if body.is_empty() {
        return None;
    }
    match body.split_once('=') {
        Some((name, value)) => Some((name, Some(value))),
        None => Some((body, None)),
    }
}

/// A single dash with an unknown name is a cluster of one-letter options: its first letter is what is unknown.
fn lookup(table: &'static [OptionSpec], word: &str, name: &str) -> Result<&'static OptionSpec, JavaError> {
    if let Some(spec) = table.iter().find(|spec| spec.name == name) {
        return Ok(spec);
    }
    let shown: String = if word.starts_with("--") { name.to_owned() } else { name.chars().take(1).collect() };
    Err(JavaError::new("joptsimple.UnrecognizedOptionException", format!("{shown} is not a recognized option"))
        .with_frames())
}

fn missing_argument(name: &str) -> JavaError {
    JavaError::new("joptsimple.OptionMissingRequiredArgumentException", format!("Option {name} requires an argument"))
        .with_frames()
}

/// `key=value` words as properties; a word without `=` has an empty value.
pub fn key_values(words: &[String]) -> Vec<(String, String)> {
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (word.clone(), String::new()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: &[OptionSpec] = &[
        OptionSpec::valued("topic", "String: topic", ""),
        OptionSpec::valued("partitions", "Integer: n", ""),
        OptionSpec::optional_value("codec", "String: codec", ""),
        OptionSpec::switch("list", ""),
        OptionSpec::valued("timeout", "Long", "").or("1000"),
        OptionSpec::valued("server", "String", "").required_unless("list"),
        HELP,
        VERSION,
    ];

    fn parse(words: &[&str]) -> Result<Options, JavaError> {
        Options::parse(TABLE, &words.iter().map(|w| w.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn dialect() {
        let options = parse(&["-topic", "t", "--list=yes", "stray", "--codec", "--partitions=3"]).unwrap();
        assert_eq!(options.value("topic").unwrap().as_deref(), Some("t"));
        assert!(options.has("list") && options.has("codec"));
        assert_eq!(options.value("codec").unwrap(), None);
        assert_eq!(options.int("partitions").unwrap(), Some(3));
        assert_eq!(options.long("timeout").unwrap(), Some(1000));
        assert_eq!(options.rest, ["stray"]);
        let options = parse(&["--list", "--topic", "--list", "--codec", "zstd"]).unwrap();
        assert_eq!(options.values("topic"), ["--list"]);
        assert_eq!(options.value("codec").unwrap().as_deref(), Some("zstd"));
    }

    #[test]
    fn errors_in_their_words() {
        assert_eq!(parse(&["--list", "--nosuch"]).unwrap_err().message(), "nosuch is not a recognized option");
        assert_eq!(parse(&["--list", "-nosuch"]).unwrap_err().message(), "n is not a recognized option");
        assert_eq!(parse(&["--topic"]).unwrap_err().message(), "Option topic requires an argument");
        assert_eq!(parse(&["--topic", "x"]).unwrap_err().message(), "Missing required option(s) [server]");
        let options = parse(&["--list", "--topic", "a", "--topic", "b", "--partitions", "x"]).unwrap();
        assert_eq!(
            options.value("topic").unwrap_err().message(),
            "Found multiple arguments for option topic, but you asked for only one"
        );
        assert_eq!(options.int("partitions").unwrap_err().message(), "Cannot parse argument 'x' of option partitions");
    }
}
