//! How a tool ends when it does not succeed: a Java error with its class name and causes, the usage of the tool,
//! or the version. `finish` prints it the way each of Kafka's tools does.
//!
//! The class names and layout are part of what scripts match on; stack frames are not printed, as there are none.

use std::fmt::Write as _;

use super::help;
use super::options::OptionSpec;
use super::output::{err, out};

/// The version this broker answers to.
pub const KAFKA_VERSION: &str = "3.7.2";

/// A failure named as Kafka's Java code names it.
#[derive(Clone, Debug)]
pub struct JavaError {
    class: String,
    message: Option<String>,
    cause: Option<Box<JavaError>>,
    suppressed: Vec<JavaError>,
    frames: bool,
}

impl JavaError {
    /// `class` is the full Java class name.
    pub fn new(class: impl Into<String>, message: impl Into<String>) -> JavaError {
        JavaError {
            class: class.into(),
            message: Some(message.into()),
            cause: None,
            suppressed: Vec::new(),
            frames: false,
        }
    }

    pub fn bare(class: impl Into<String>) -> JavaError {
        JavaError { class: class.into(), message: None, cause: None, suppressed: Vec::new(), frames: false }
    }

    /// An error of `org.apache.kafka.common.errors`, which Java prints without stack frames.
    pub fn api(class: &str, message: impl Into<String>) -> JavaError {
        JavaError::new(format!("org.apache.kafka.common.errors.{class}"), message)
    }

    pub fn illegal_argument(message: impl Into<String>) -> JavaError {
        JavaError::new("java.lang.IllegalArgumentException", message).with_frames()
    }

    pub fn no_such_file(path: &str) -> JavaError {
        JavaError::new("java.nio.file.NoSuchFileException", path).with_frames()
    }

    /// Marks an error for which Java prints where it was thrown.
    pub fn with_frames(mut self) -> JavaError {
        self.frames = true;
        self
    }

    pub fn caused_by(mut self, cause: JavaError) -> JavaError {
        self.cause = Some(Box::new(cause));
        self
    }

    /// An error that is printed along, as Java's `addSuppressed`.
    pub fn with_suppressed(mut self, error: JavaError) -> JavaError {
        self.suppressed.push(error);
        self
    }

    pub fn class(&self) -> &str {
        &self.class
    }

    /// The message; Java prints `null` where there is none.
    pub fn message(&self) -> &str {
        self.message.as_deref().unwrap_or("null")
    }

    /// Java's `toString`, then what it suppressed and its causes; ends with a newline.
    pub fn stack_trace(&self) -> String {
        let mut text = format!("{self}\n");
        for error in &self.suppressed {
            let _ = writeln!(text, "\tSuppressed: {error}");
        }
        let mut next = self.cause.as_deref();
        while let Some(cause) = next {
            let _ = writeln!(text, "Caused by: {cause}");
            next = cause.cause.as_deref();
        }
        text
    }

    /// Whether Java prints stack frames for it.
    pub fn has_frames(&self) -> bool {
        self.frames
    }
}

impl std::fmt::Display for JavaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.message {
            Some(message) => write!(f, "{}: {message}", self.class),
            None => f.write_str(&self.class),
        }
    }
}

impl std::error::Error for JavaError {}

/// The ways a tool can end early.
#[derive(Debug)]
pub enum Failure {
    /// Message and option table on stderr, exit code 1.
    Usage(String, &'static [OptionSpec]),
    /// The version on stdout, exit code 0.
    Version,
    /// One line on stderr and this exit code.
    Plain(String, i32),
    /// An error that each tool prints its own way; exit code 1.
    Java(JavaError),
    /// Everything has been said; only the exit code is left.
    Code(i32),
}

impl Failure {
    pub fn usage(table: &'static [OptionSpec], message: impl Into<String>) -> Failure {
        Failure::Usage(message.into(), table)
    }

    /// Prints the failure and gives the exit code. `print_java` is the tool's own way with errors.
    pub fn finish(self, print_java: impl FnOnce(&JavaError)) -> i32 {
        match self {
            Failure::Usage(message, table) => {
                err(&format!("{message}\n{}", help::table(table)));
                1
            }
            Failure::Version => {
                out(&format!("{KAFKA_VERSION}\n"));
                0
            }
            Failure::Plain(message, code) => {
                err(&format!("{message}\n"));
                code
            }
            Failure::Java(error) => {
                print_java(&error);
                1
            }
            Failure::Code(code) => code,
        }
    }
}

impl From<JavaError> for Failure {
    fn from(error: JavaError) -> Failure {
        Failure::Java(error)
    }
}

/// As the Java launcher prints what `main` throws.
pub fn print_uncaught(error: &JavaError) {
    err(&format!("Exception in thread \"main\" {}", error.stack_trace()));
}

/// As `Throwable.printStackTrace`.
pub fn print_stack_trace(error: &JavaError) {
    err(&error.stack_trace());
}
