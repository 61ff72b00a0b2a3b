//! Where a process of a test runs: on this machine's loopback interface, or in a network namespace of its own.

use std::net::Ipv4Addr;
use std::process::Command;

#[derive(Clone, Debug)]
pub struct Place {
    /// The address it listens on.
    pub host: Ipv4Addr,
    /// What to put in front of a command so that it runs there.
    pub enter: Vec<String>,
}

impl Default for Place {
    fn default() -> Place {
        Place { host: Ipv4Addr::LOCALHOST, enter: Vec::new() }
    }
}

impl Place {
    pub fn command(&self, program: &str) -> Command {
        let mut words = self.enter.iter().map(String::as_str).chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command.args(words);
        command
    }
}
