//! `kafka-reassign-partitions`: moves replicas between brokers, throttled if wanted, and between log directories
//! (Kafka's `ReassignPartitionsCommand`).
//!
//! - [`plan`]: the JSON files and the placement that `--generate` proposes; pure.
//! - [`cluster`]: what is asked of the brokers; [`log_dirs`]: the same for moves between directories.
//! - [`throttle`]: which replicas and brokers a throttle is for, setting it and lifting it.
//! - [`execute`], [`verify`], [`cancel`], [`list`]: the actions.
//!
//! Moves between directories need brokers that serve AlterReplicaLogDirs. Ours do not yet: the tool then ends with the
//! UnsupportedVersionException of that call.

mod cancel;
mod cluster;
mod execute;
mod list;
mod log_dirs;
mod options;
mod plan;
mod throttle;
mod verify;

use self::cluster::Cluster;
use super::admin;
use super::failure::{JavaError, print_uncaught};
use super::json::read_file;
use super::options::Options;
use super::output::out;
use super::properties::Properties;

pub use self::options::TABLE;

/// How an action ends when it does not succeed.
#[derive(Debug)]
enum Ended {
    /// A sentence for the user, and no more.
    Terse(String),
    Error(JavaError),
}

impl From<JavaError> for Ended {
    fn from(error: JavaError) -> Ended {
        Ended::Error(error)
    }
}

fn command_failed(message: impl Into<String>) -> JavaError {
    JavaError::new("org.apache.kafka.server.common.AdminCommandFailedException", message).with_frames()
}

fn operation_failed(message: impl Into<String>) -> JavaError {
    JavaError::new("org.apache.kafka.server.common.AdminOperationException", message).with_frames()
}

pub fn run(args: &[String]) -> i32 {
    let (options, action) = match options::parse(args) {
        Ok(parsed) => parsed,
        Err(failure) => return failure.finish(print_uncaught),
    };
    match act(&options, action) {
        Ok(()) => 0,
        Err(Ended::Terse(message)) => {
            out(&format!("{message}\n"));
            1
        }
        Err(Ended::Error(error)) => {
            out(&format!("Error: {}\n{}\n", error.message(), error.stack_trace()));
            1
        }
    }
}

fn act(options: &Options, action: &str) -> Result<(), Ended> {
    let mut properties = Properties::load_optional(options.value("command-config")?)?;
    if !properties.contains("client.id") {
        properties.set("client.id", "reassign-partitions-tool");
    }
    let admin = admin::create_with(&options.value("bootstrap-server")?.unwrap_or_default(), &properties)?;
    let cluster = Cluster::new(&admin);
    let file = |option: &str| read_file(&options.value(option)?.unwrap_or_default());
    let preserve = options.has("preserve-throttles");
    let number = |option: &str| Ok::<i64, JavaError>(options.long(option)?.unwrap_or(-1));
    match action {
        "verify" => {
            let json = file("reassignment-json-file")?;
            admin::block_on(verify::verify(&cluster, &json, preserve))
        }
        "generate" => {
            let json = file("topics-to-move-json-file")?;
            let brokers = options.value("broker-list")?.unwrap_or_default();
            let rack_aware = !options.has("disable-rack-aware");
            admin::block_on(plan::generate(&cluster, &json, &brokers, rack_aware))
        }
        "execute" => {
            let order = execute::Order {
                json: file("reassignment-json-file")?,
                additional: options.has("additional"),
                throttle: number("throttle")?,
                log_dirs_throttle: number("replica-alter-log-dirs-throttle")?,
                timeout_ms: number("timeout")?,
            };
            admin::block_on(execute::execute(&cluster, &order))
        }
        "cancel" => {
            let json = file("reassignment-json-file")?;
            let timeout_ms = number("timeout")?;
            admin::block_on(cancel::cancel(&cluster, &json, preserve, timeout_ms))
        }
        _ => admin::block_on(list::list(&cluster)),
    }
}

/// Partitions, comma between them.
fn joined<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

/// The ending of a plural.
fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
