//! The command line tools under Kafka's names: one module per command, each with its table of options. They print
//! what Kafka's tools print and end with their exit codes; `options` and `help` are the dialect, `failure` how they end.
//!
//! A leaf above `client` and `protocol`: nothing else uses it but `main`. Owns no state.

mod admin;
pub mod broker_api_versions;
pub mod client_properties;
pub mod console_consumer;
pub mod console_producer;
pub mod failure;
pub mod help;
mod java_names;
mod java_order;
mod json;
pub mod leader_election;
mod native_log;
pub mod options;
pub mod output;
pub mod properties;
pub mod reassign;
pub mod replica_verification;
pub mod server_start;
mod signals;
mod topic_filter;
pub mod topics;

/// The tools by name: script name without `.sh`, Java class, and what runs it.
type Tool = (&'static str, &'static str, fn(&[String]) -> i32);

const TOOLS: &[Tool] = &[
    ("kafka-broker-api-versions", "kafka.admin.BrokerApiVersionsCommand", broker_api_versions::run),
    ("kafka-console-consumer", "kafka.tools.ConsoleConsumer", console_consumer::run),
    ("kafka-console-producer", "kafka.tools.ConsoleProducer", console_producer::run),
    ("kafka-leader-election", "org.apache.kafka.tools.LeaderElectionCommand", leader_election::run),
    ("kafka-reassign-partitions", "org.apache.kafka.tools.reassign.ReassignPartitionsCommand", reassign::run),
    ("kafka-replica-verification", "org.apache.kafka.tools.ReplicaVerificationTool", replica_verification::run),
    ("kafka-topics", "org.apache.kafka.tools.TopicCommand", topics::run),
];

/// Whether `name` is a tool's, by script name or Java class.
pub fn is_tool(name: &str) -> bool {
    find(name).is_some()
}

fn find(name: &str) -> Option<&'static Tool> {
    let name = name.strip_suffix(".sh").unwrap_or(name);
    TOOLS.iter().find(|(script, class, _)| *script == name || *class == name)
}

/// Runs a tool by script name or Java class and gives its exit code.
pub fn run(name: &str, args: &[String]) -> i32 {
    match find(name) {
        Some((_, _, tool)) => tool(args),
        None => {
            // As the Java launcher says it, since scripts reach the tools through class names.
            output::err(&format!(
                "Error: Could not find or load main class {name}\nCaused by: java.lang.ClassNotFoundException: {name}\n"
            ));
            1
        }
    }
}
