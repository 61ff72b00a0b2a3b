//! Runs a command line tool: ours, or Kafka's own of the same class.

use std::path::Path;
use std::process::{Command, Stdio};

use super::broker::kafka_libs;

/// Whose tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Ours,
    /// Of the jars in `OTTLA_TEST_KAFKA_LIBS`.
    Kafka,
}

/// What it printed, and how it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

impl Tool {
    /// Runs the tool of a Java class to its end.
    pub fn run(self, class: &str, args: &[&str]) -> Outcome {
        let mut command = match self {
            Tool::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
                command.arg(class);
                command
            }
            Tool::Kafka => {
                let mut command = Command::new("java");
                command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
                command.args(["-cp", &format!("{}/*", kafka_libs()), class]);
                command
            }
        };
        let output = command.args(args).stdin(Stdio::null()).output().expect("a tool that runs");
        Outcome {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

/// The path of a file as an argument.
pub fn argument(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}
