//! The options of `kafka-topics` and the checks on their combinations, in Kafka's order (`TopicCommandOptions`).

use crate::tools::failure::{Failure, JavaError};
use crate::tools::options::{HELP, OptionSpec, Options, VERSION};
use crate::tools::output::out;

const PURPOSE: &str = "This tool helps to create, delete, describe, or change a topic.";
const ACTIONS: [&str; 5] = ["create", "alter", "describe", "list", "delete"];
const REPORTS: [&str; 4] =
    ["under-replicated-partitions", "under-min-isr-partitions", "at-min-isr-partitions", "unavailable-partitions"];
const OVERRIDES: &str = "topics-with-overrides";

pub static TABLE: &[OptionSpec] = &[
    OptionSpec::valued("bootstrap-server", "String: server to connect to", "REQUIRED: Brokers to begin with."),
    OptionSpec::valued(
        "command-config",
        "String: command config property file",
        "Properties file for the connection to the brokers.",
    ),
    OptionSpec::switch("list", "Print the names of the topics."),
    OptionSpec::switch("create", "Create a topic."),
    OptionSpec::switch("delete", "Delete topics."),
    OptionSpec::switch("alter", "Give topics more partitions. Their configuration is changed with kafka-configs."),
    OptionSpec::switch("describe", "Print details of topics."),
    OptionSpec::valued(
        "topic",
        "String: topic",
        "The topic to work on; but for --create, a regular expression, of which special characters are escaped by \
         '\\' as in \"test\\.topic\".",
    ),
    OptionSpec::valued("topic-id", "String: topic-id", "The id of the topic to describe."),
    OptionSpec::valued(
        "config",
        "String: name=value",
        "A setting of the topic that is created; may be repeated. Settings are:\n\tcleanup.policy\n\tcompression.type\n\
         \tdelete.retention.ms\n\tfile.delete.delay.ms\n\tflush.messages\n\tflush.ms\n\
         \tfollower.replication.throttled.replicas\n\tindex.interval.bytes\n\
         \tleader.replication.throttled.replicas\n\tlocal.retention.bytes\n\tlocal.retention.ms\n\
         \tmax.compaction.lag.ms\n\tmax.message.bytes\n\tmessage.downconversion.enable\n\tmessage.format.version\n\
         \tmessage.timestamp.after.max.ms\n\tmessage.timestamp.before.max.ms\n\
         \tmessage.timestamp.difference.max.ms\n\tmessage.timestamp.type\n\tmin.cleanable.dirty.ratio\n\
         \tmin.compaction.lag.ms\n\tmin.insync.replicas\n\tpreallocate\n\tremote.storage.enable\n\tretention.bytes\n\
         \tretention.ms\n\tsegment.bytes\n\tsegment.index.bytes\n\tsegment.jitter.ms\n\tsegment.ms\n\
         \tunclean.leader.election.enable",
    ),
    OptionSpec::valued("delete-config", "String: name", "Not supported any more; see kafka-configs."),
    OptionSpec::valued(
        "partitions",
        "Integer: # of partitions",
        "How many partitions the topic has or is to have; the cluster's default if not given with --create. (More \
         partitions place keys differently.)",
    ),
    OptionSpec::valued(
        "replication-factor",
        "Integer: replication factor",
        "How many replicas each partition has; the cluster's default if not given.",
    ),
    OptionSpec::valued(
        "replica-assignment",
        "String: broker_id_for_part1_replica1 : broker_id_for_part1_replica2 , broker_id_for_part2_replica1 : \
         broker_id_for_part2_replica2 , ...",
        "Which brokers hold which partition, by hand.",
    ),
    OptionSpec::switch("under-replicated-partitions", "Describe only partitions that lack replicas in their ISR."),
    OptionSpec::switch("unavailable-partitions", "Describe only partitions whose leader is not available."),
    OptionSpec::switch("under-min-isr-partitions", "Describe only partitions whose ISR is below min.insync.replicas."),
    OptionSpec::switch("at-min-isr-partitions", "Describe only partitions whose ISR is just min.insync.replicas."),
    OptionSpec::switch(OVERRIDES, "Describe only topics with settings of their own."),
    OptionSpec::switch("if-exists", "Do nothing where the topic does not exist, with --alter, --delete, --describe."),
    OptionSpec::switch("if-not-exists", "Do nothing where the topic exists already, with --create."),
    OptionSpec::switch("exclude-internal", "Leave out internal topics, with --list and --describe."),
    HELP,
    VERSION,
];

/// Reads and checks a command line.
pub fn parse(args: &[String]) -> Result<Options, Failure> {
    let options = Options::parse(TABLE, args)?;
    if args.is_empty() {
        return Err(options.usage("Create, delete, describe, or change a topic."));
    }
    options.help_or_version(PURPOSE)?;
    if ACTIONS.iter().filter(|action| options.has(action)).count() != 1 {
        let text = "Command must include exactly one action: --list, --describe, --create, --alter or --delete";
        return Err(options.usage(text));
    }
    check_required(&options)?;
    check_combinations(&options)?;
    Ok(options)
}

fn check_required(options: &Options) -> Result<(), Failure> {
    let has = |name| options.has(name);
    if !has("bootstrap-server") {
        return Err(JavaError::illegal_argument("--bootstrap-server must be specified").into());
    }
    if has("describe") && has("if-exists") {
        if !has("topic") && !has("topic-id") {
            return Err(options.usage("--topic or --topic-id is required to describe a topic"));
        }
        if has("topic") && has("topic-id") {
            out("Only topic id will be used when both --topic and --topic-id are specified and topicId is not \
                 Uuid.ZERO_UUID\n");
        }
    }
    if !has("list") && !has("describe") {
        options.require(&["topic"])?;
    }
    if has("alter") {
        if has("config") {
            return Err(options.usage(
                "Option combination \"[[bootstrap-server], [config]]\" can't be used with option \"[alter]\" (the \
                 kafka-configs CLI supports altering topic configs with a --bootstrap-server option)",
            ));
        }
        options.require(&["partitions"])?;
    }
    Ok(())
}

/// Every action but those with which an option goes.
fn other_than(allowed: &[&str]) -> Vec<&'static str> {
    ACTIONS.into_iter().filter(|action| !allowed.contains(action)).collect()
}

fn check_combinations(options: &Options) -> Result<(), Failure> {
    options.forbid("config", &other_than(&["alter", "create"]))?;
    let mut others = other_than(&["alter"]);
    others.push("bootstrap-server");
    options.forbid("delete-config", &others)?;
    options.forbid("partitions", &other_than(&["alter", "create"]))?;
    options.forbid("replication-factor", &other_than(&["create"]))?;
    options.forbid("replica-assignment", &other_than(&["alter", "create"]))?;
    if options.has("create") {
        options.forbid("replica-assignment", &["partitions", "replication-factor"])?;
    }
    for report in REPORTS {
        let mut others = other_than(&["describe"]);
        others.push(OVERRIDES);
        options.forbid(report, &others)?;
    }
    let mut others = other_than(&["describe"]);
    others.extend(REPORTS);
    options.forbid(OVERRIDES, &others)?;
    options.forbid("if-exists", &other_than(&["alter", "delete", "describe"]))?;
    options.forbid("if-not-exists", &other_than(&["create"]))?;
    options.forbid("exclude-internal", &other_than(&["list", "describe"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_in_the_help_are_those_of_topics() {
        let help = TABLE.iter().find(|spec| spec.name == "config").unwrap().help;
        let names: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix('\t')).collect();
        assert_eq!(names.len(), 31);
        for name in names {
            let one = std::collections::BTreeMap::from([(name.to_owned(), "?".to_owned())]);
            let error = crate::config::topic::validate(&one).map_err(|error| error.to_string());
            assert!(!error.is_err_and(|text| text.starts_with("Unknown")), "{name}");
        }
    }
}
