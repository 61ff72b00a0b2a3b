//! The options of `kafka-reassign-partitions` and the checks on their combinations, in Kafka's order
//! (`ReassignPartitionsCommandOptions`).

use crate::tools::failure::Failure;
use crate::tools::options::{HELP, OptionSpec, Options, VERSION};

const PURPOSE: &str = "This tool helps to move topic partitions between replicas.";

pub static TABLE: &[OptionSpec] = &[
    OptionSpec::switch("verify", "Tell whether the moves of --reassignment-json-file are done, and lift throttles if so."),
    OptionSpec::switch(
        "generate",
        "Propose a placement of the topics in --topics-to-move-json-file on the brokers of --broker-list. Nothing is moved.",
    ),
    OptionSpec::switch("execute", "Begin to move replicas as --reassignment-json-file says."),
    OptionSpec::switch("cancel", "Cancel moves that are under way."),
    OptionSpec::switch("list", "Print all moves that are under way."),
    OptionSpec::valued(
        "bootstrap-server",
        "String: Server(s) to use for bootstrapping",
        "REQUIRED: Brokers to begin with.",
    ),
    OptionSpec::valued(
        "command-config",
        "String: Admin client property file",
        "Properties file for the connection to the brokers.",
    ),
    OptionSpec::valued(
        "reassignment-json-file",
        "String: manual assignment json file path",
        "What is to be where:\n{\"partitions\":\n\t[{\"topic\": \"foo\",\n\t  \"partition\": 1,\n\t  \"replicas\": [1,2,3],\n\
         \t  \"log_dirs\": [\"dir1\",\"dir2\",\"dir3\"] }],\n\"version\":1\n}\nThe field log_dirs may be left out; if \
         given, it names a log directory for each replica, or \"any\".",
    ),
    OptionSpec::valued(
        "topics-to-move-json-file",
        "String: topics to reassign json file path",
        "Topics to propose a placement for:\n{\"topics\":\n\t[{\"topic\": \"foo\"},{\"topic\": \"foo1\"}],\n\"version\":1\n}",
    ),
    OptionSpec::valued(
        "broker-list",
        "String: brokerlist",
        "Brokers that are to hold the topics of --topics-to-move-json-file, as \"0,1,2\".",
    ),
    OptionSpec::switch("disable-rack-aware", "Do not heed racks in a proposal."),
    OptionSpec::valued(
        "throttle",
        "Long: throttle",
        "The most that moving replicas may copy between brokers, in bytes a second per broker; not less than 1 KB/s. With \
         --additional it changes that of moves under way.",
    )
    .or("-1"),
    OptionSpec::valued(
        "replica-alter-log-dirs-throttle",
        "Long: replicaAlterLogDirsThrottle",
        "The same for moves between the log directories of one broker.",
    )
    .or("-1"),
    OptionSpec::valued(
        "timeout",
        "Long: timeout",
        "How long to wait for moves between log directories to begin, in milliseconds.",
    )
    .or("10000"),
    OptionSpec::switch("additional", "Execute even if other moves are under way; also to change their throttle."),
    OptionSpec::switch("preserve-throttles", "Leave throttles as they are."),
    HELP,
    VERSION,
];

/// An action with what it needs and what else it may have.
type Action = (&'static str, &'static [&'static str], &'static [&'static str]);

const ACTIONS: [Action; 5] = [
    ("generate", &["topics-to-move-json-file", "broker-list"], &["disable-rack-aware"]),
    ("execute", &["reassignment-json-file"], &["additional", "throttle", "replica-alter-log-dirs-throttle", "timeout"]),
    ("verify", &["reassignment-json-file"], &["preserve-throttles"]),
    ("cancel", &["reassignment-json-file"], &["preserve-throttles", "timeout"]),
    ("list", &[], &[]),
];

/// The checked command line and the name of its one action.
pub fn parse(args: &[String]) -> Result<(Options, &'static str), Failure> {
    let options = Options::parse(TABLE, args)?;
    options.help_or_version(PURPOSE)?;
    let mut actions = ACTIONS.iter().filter(|(name, ..)| options.has(name));
    let (Some((action, needed, allowed)), None) = (actions.next(), actions.next()) else {
        let all: Vec<String> = ACTIONS.iter().map(|(name, ..)| format!("--{name}")).collect();
        return Err(options.usage(format!("Command must include exactly one action: {}", all.join(", "))));
    };
    if !options.has("bootstrap-server") {
        return Err(options.usage("Please specify --bootstrap-server"));
    }
    options.require(needed)?;
    let fits = |name: &&str| {
        name == action
            || needed.contains(name)
            || allowed.contains(name)
            || ["bootstrap-server", "command-config"].contains(name)
    };
    match options.given().iter().find(|name| !fits(name)) {
        Some(name) => Err(options.usage(format!("Option \"[{name}]\" can't be used with action \"[{action}]\""))),
        None => Ok((options, action)),
    }
}
