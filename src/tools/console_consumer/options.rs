//! The options of `kafka-console-consumer` and the checks on them, in Kafka's order (`ConsoleConsumer.ConsumerConfig`).

use rand::Rng as _;

use super::formatter::{self, Formatter};
use crate::tools::client_properties::port_of;
use crate::tools::failure::{Failure, JavaError};
use crate::tools::options::{HELP, OptionSpec, Options, VERSION, key_values};
use crate::tools::properties::Properties;

const PURPOSE: &str = "This tool helps to read data from Kafka topics and outputs it to standard output.";

pub static TABLE: &[OptionSpec] = &[
    OptionSpec::valued("topic", "String: topic", "Topic to read."),
    OptionSpec::valued(
        "whitelist",
        "String: Java regex (String)",
        "DEPRECATED, the same as --include, which wins if both are given.",
    ),
    OptionSpec::valued("include", "String: Java regex (String)", "Regular expression; topics that match it are read."),
    OptionSpec::valued(
        "partition",
        "Integer: partition",
        "Partition to read, from its end unless --offset says otherwise.",
    ),
    OptionSpec::valued(
        "offset",
        "String: consume offset",
        "Where to begin: a number from 0, 'earliest' (the beginning) or 'latest' (the end).",
    )
    .or("latest"),
    OptionSpec::valued("consumer-property", "String: consumer_prop", "key=value for the consumer; may be repeated."),
    OptionSpec::valued(
        "consumer.config",
        "String: config file",
        "Properties file for the consumer; --consumer-property wins over it.",
    ),
    OptionSpec::valued("formatter", "String: class", "Class that prints the records.").or(formatter::DEFAULT),
    OptionSpec::valued(
        "property",
        "String: prop",
        "key=value for the formatter; may be repeated. Known keys:\n print.timestamp=true|false\n \
         print.key=true|false\n print.offset=true|false\n print.partition=true|false\n print.headers=true|false\n \
         print.value=true|false\n key.separator=<text>\n line.separator=<text>\n headers.separator=<text>\n \
         null.literal=<text>\n key.deserializer=<class>\n value.deserializer=<class>\n headers.deserializer=<class>\n\
         Of the classes, those of org.apache.kafka.common.serialization are known.",
    ),
    OptionSpec::valued(
        "formatter-config",
        "String: config file",
        "Properties file for the formatter; --property wins over it.",
    ),
    OptionSpec::switch("from-beginning", "Begin with the first record there is where no position is known."),
    OptionSpec::valued("max-messages", "Integer: num_messages", "Stop after so many records; without it, go on."),
    OptionSpec::valued("timeout-ms", "Integer: timeout_ms", "Stop when no record came for so long."),
    OptionSpec::switch("skip-message-on-error", "Go on with the next record when one cannot be printed."),
    OptionSpec::valued("bootstrap-server", "String: server to connect to", "REQUIRED: Brokers to begin with."),
    OptionSpec::valued("key-deserializer", "String: deserializer for key", "Class that turns keys into text."),
    OptionSpec::valued("value-deserializer", "String: deserializer for values", "Class that turns values into text."),
    OptionSpec::switch("enable-systest-events", "Print the end of the consumer, too (for system tests)."),
    OptionSpec::valued(
        "isolation-level",
        "String",
        "read_committed leaves out records of transactions that are open or aborted; read_uncommitted does not.",
    )
    .or("read_uncommitted"),
    OptionSpec::valued("group", "String: consumer group id", "Group to join."),
    HELP,
    VERSION,
];

/// Where a single partition is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    At(i64),
}

/// What is read.
pub enum Source {
    Topic(String),
    Include(String),
    Partition(String, i32, Start),
}

/// The checked command line.
pub struct ConsumerOptions {
    pub source: Source,
    /// Records to print; `None`: no end.
    pub max_messages: Option<u64>,
    /// Milliseconds without a record after which the tool ends.
    pub timeout_ms: Option<u64>,
    pub skip_on_error: bool,
    pub systest_events: bool,
    pub formatter: Box<dyn Formatter>,
    pub group: String,
    properties: Properties,
    options: Options,
}

impl ConsumerOptions {
    pub fn parse(args: &[String]) -> Result<ConsumerOptions, Failure> {
        let options = Options::parse(TABLE, args).map_err(|error| Failure::usage(TABLE, error.message()))?;
        options.help_or_version(PURPOSE)?;
        let extra: Properties = key_values(&options.values("consumer-property")).into_iter().collect();
        let file = Properties::load_optional(options.value("consumer.config")?)?;
        let partition = options.int("partition")?;
        let mut formatter_args = Properties::load_optional(options.value("formatter-config")?)?;
        formatter_args.extend(key_values(&options.values("property")));
        for (key, option) in [("key.deserializer", "key-deserializer"), ("value.deserializer", "value-deserializer")] {
            if let Some(class) = options.value(option)?.filter(|class| !class.is_empty()) {
                formatter_args.set(key, class);
            }
        }
        let formatter = formatter::create(&options.value("formatter")?.unwrap_or_default(), &formatter_args)?;
        let number = |name: &str| options.int(name).map(|value| value.and_then(|value| u64::try_from(value).ok()));
        let (max_messages, timeout_ms) = (number("max-messages")?, number("timeout-ms")?);
        let source = source(&options, partition)?;
        options.require(&["bootstrap-server"])?;
        let given = group(&options, &file, &extra)?;
        if given.is_some() && partition.is_some() {
            return Err(options.usage("Options group and partition cannot be specified together."));
        }
        let (group, properties) = merged(&options, given, file, extra)?;
        Ok(ConsumerOptions {
            source,
            max_messages,
            timeout_ms,
            skip_on_error: options.has("skip-message-on-error"),
            systest_events: options.has("enable-systest-events"),
            formatter,
            group,
            properties,
            options,
        })
    }

    /// The properties of the consumer, under their Java names.
    pub fn consumer_properties(&self) -> Result<Properties, Failure> {
        let mut properties = self.properties.clone();
        let from_beginning = self.options.has("from-beginning");
        match properties.get("auto.offset.reset") {
            Some(reset) if from_beginning && reset != "earliest" => {
                let text = format!(
                    "Can't simultaneously specify --from-beginning and 'auto.offset.reset={reset}', please remove one \
                     option"
                );
                return Err(Failure::Plain(text, 1));
            }
            Some(_) => {}
            None => properties.set("auto.offset.reset", if from_beginning { "earliest" } else { "latest" }),
        }
        properties.set("bootstrap.servers", self.options.value("bootstrap-server")?.unwrap_or_default());
        if !properties.contains("client.id") {
            properties.set("client.id", "console-consumer");
        }
        if self.options.has("isolation-level") || !properties.contains("isolation.level") {
            properties.set("isolation.level", self.options.value("isolation-level")?.unwrap_or_default());
        }
        Ok(properties)
    }
}

fn source(options: &Options, partition: Option<i32>) -> Result<Source, Failure> {
    let topic = options.value("topic")?;
    let include = options.value(if options.has("include") { "include" } else { "whitelist" })?;
    let source = match (topic, include, partition) {
        (Some(topic), None, None) => Source::Topic(topic),
        (None, Some(include), None) => Source::Include(include),
        (Some(topic), None, Some(partition)) => Source::Partition(topic, partition, Start::Latest),
        (None, Some(_), Some(_)) => return Err(options.usage("The topic is required when partition is specified.")),
        _ => {
            // Kafka prints an empty Scala value here.
            let hint = match options.has("whitelist") {
                true => "--whitelist is DEPRECATED use --include instead; ignored if --include specified.",
                false => "()",
            };
            return Err(options.usage(format!("Exactly one of --include/--topic is required. {hint}")));
        }
    };
    if partition.is_some() && options.has("from-beginning") && options.has("offset") {
        return Err(options.usage("Options from-beginning and offset cannot be specified together."));
    }
    if partition.is_none() && options.has("offset") {
        return Err(options.usage("The partition is required when offset is specified."));
    }
    let start = start(options)?;
    Ok(match source {
        Source::Partition(topic, partition, _) => Source::Partition(topic, partition, start),
        other => other,
    })
}

fn start(options: &Options) -> Result<Start, Failure> {
    if !options.has("offset") {
        return Ok(if options.has("from-beginning") { Start::Earliest } else { Start::Latest });
    }
    let text = options.value("offset")?.unwrap_or_default().to_lowercase();
    match (text.as_str(), text.parse::<i64>()) {
        ("earliest", _) => Ok(Start::Earliest),
        ("latest", _) => Ok(Start::Latest),
        (_, Ok(offset)) if offset >= 0 => Ok(Start::At(offset)),
        _ => Err(options.usage(format!(
            "The provided offset value '{text}' is incorrect. Valid values are 'earliest', 'latest', or a non-negative \
             long."
        ))),
    }
}

/// The group id, if it was given anywhere; given in several places, it must be the same.
fn group(options: &Options, file: &Properties, extra: &Properties) -> Result<Option<String>, Failure> {
    let mut ids: Vec<String> = Vec::new();
    let given =
        [options.value("group")?, file.get("group.id").map(str::to_owned), extra.get("group.id").map(str::to_owned)];
    for id in given.into_iter().flatten() {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    match ids.len() {
        0 | 1 => Ok(ids.pop()),
        _ => Err(options.usage(format!(
            "The group ids provided in different places (directly using '--group', via '--consumer-property', or via \
             '--consumer.config') do not match. Detected group ids: '{}'",
            ids.join("', '")
        ))),
    }
}

/// File and command line together, with a group of our own and no commits where none was given.
fn merged(
    options: &Options,
    given: Option<String>,
    file: Properties,
    extra: Properties,
) -> Result<(String, Properties), JavaError> {
    let servers = options.value("bootstrap-server")?.unwrap_or_default();
    if let Some(server) = servers.split(',').find(|server| port_of(server.trim()).is_none()) {
        let cause =
            crate::tools::client_properties::config_exception(format!("Invalid url in bootstrap.servers: {server}"));
        return Err(JavaError::new("org.apache.kafka.common.KafkaException", "Failed to construct kafka consumer")
            .with_frames()
            .caused_by(cause));
    }
    let mut properties = file;
    let group = match given {
        Some(group) => group,
        None => {
            if !properties.contains("enable.auto.commit") {
                properties.set("enable.auto.commit", "false");
            }
            format!("console-consumer-{}", rand::rng().random_range(0..100_000))
        }
    };
    properties.set("group.id", group.as_str());
    properties.extend(extra.iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
    Ok((group, properties))
}
