//! `kafka-leader-election`: has the controller elect preferred leaders, or unclean ones for partitions without any
//! (Kafka's `LeaderElectionCommand`).

use std::collections::{BTreeMap, HashMap};

use super::admin::{self, in_execution, java_error};
use super::failure::{Failure, JavaError};
use super::java_names::api_error;
use super::java_order::in_set_order;
use super::json::{self, Json, read_file};
use super::options::{HELP, OptionSpec, Options, VERSION};
use super::output::{err, out};
use super::properties::Properties;
use crate::client::{Admin, Call, ClientError, Target};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::elect_leaders_request::TopicPartitions;
use crate::protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};
use crate::topic::TopicPartition;

const PURPOSE: &str = "This tool attempts to elect a new leader for a set of topic partitions. The type of elections \
                       supported are preferred replicas and unclean replicas.";
const TARGETS: [&str; 3] = ["topic", "all-topic-partitions", "path-to-json-file"];

pub static TABLE: &[OptionSpec] = &[
    OptionSpec::valued("bootstrap-server", "String: host:port", "REQUIRED: Brokers to begin with."),
    OptionSpec::valued("admin.config", "String: config file", "Properties file for the connection to the brokers."),
    OptionSpec::valued(
        "path-to-json-file",
        "String: Path to JSON file",
        "Partitions to hold elections for:\n{\"partitions\":\n\t[{\"topic\": \"foo\", \"partition\": 1},\n\
         \t {\"topic\": \"foobar\", \"partition\": 2}]\n}\nNot with --all-topic-partitions or --topic.",
    ),
    OptionSpec::valued(
        "topic",
        "String: topic name",
        "A topic to hold an election for. Not with --path-to-json-file or --all-topic-partitions.",
    ),
    OptionSpec::valued("partition", "Integer: partition id", "The partition of --topic; REQUIRED with it."),
    OptionSpec::switch(
        "all-topic-partitions",
        "Hold elections for all partitions that need one. Not with --topic or --path-to-json-file.",
    ),
    OptionSpec::valued(
        "election-type",
        "[PREFERRED,UNCLEAN]: election type",
        "REQUIRED: \"preferred\" makes the first replica of each partition its leader; \"unclean\" gives partitions without \
         a leader one that may lack records.",
    ),
    HELP,
    VERSION,
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum ElectionType {
    Preferred,
    Unclean,
}

impl ElectionType {
    /// The election's id on the wire.
    fn id(self) -> i8 {
        match self {
            ElectionType::Preferred => 0,
            ElectionType::Unclean => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            ElectionType::Preferred => "PREFERRED",
            ElectionType::Unclean => "UNCLEAN",
        }
    }
}

pub fn run(args: &[String]) -> i32 {
    match execute(args) {
        Ok(()) => 0,
        Err(failure) => failure.finish(|error| err(&format!("{}\n{}\n", error.message(), error.stack_trace()))),
    }
}

fn command_failed(message: impl Into<String>) -> JavaError {
    JavaError::new("org.apache.kafka.server.common.AdminCommandFailedException", message).with_frames()
}

fn operation_failed(message: impl Into<String>) -> JavaError {
    JavaError::new("org.apache.kafka.server.common.AdminOperationException", message).with_frames()
}

fn runtime_error(cause: JavaError) -> JavaError {
    JavaError::new("java.lang.RuntimeException", cause.to_string()).with_frames().caused_by(cause)
}

fn execute(args: &[String]) -> Result<(), Failure> {
    let options = Options::parse(TABLE, args)?;
    options.help_or_version(PURPOSE)?;
    check(&options)?;
    let kind = election_type(&options)?;
    let partitions = match options.value("path-to-json-file")? {
        Some(path) => Some(from_file(&path)?),
        None => None,
    };
    let (topic, partition) = (options.value("topic")?, options.int("partition")?);
    let partitions = partitions.or(topic.zip(partition).map(|(topic, index)| vec![TopicPartition::new(topic, index)]));
    let mut properties = Properties::load_optional(options.value("admin.config")?)?;
    for (key, default) in [("default.api.timeout.ms", "30000"), ("request.timeout.ms", "15000")] {
        if !properties.contains(key) {
            properties.set(key, default);
        }
    }
    let admin = admin::create_with(&options.value("bootstrap-server")?.unwrap_or_default(), &properties)?;
    let results = admin::block_on(elect(&admin, kind, partitions.as_deref()))?;
    Ok(report(kind, results)?)
}

fn check(options: &Options) -> Result<(), JavaError> {
    let missing: Vec<&str> =
        ["bootstrap-server", "election-type"].into_iter().filter(|name| !options.has(name)).collect();
    if !missing.is_empty() {
        return Err(command_failed(format!("Missing required option(s): {}", missing.join(", "))));
    }
    if TARGETS.iter().filter(|name| options.has(name)).count() != 1 {
        let text = format!("One and only one of the following options is required: {}", TARGETS.join(", "));
        return Err(command_failed(text));
    }
    match (options.has("topic"), options.has("partition")) {
        (true, false) => Err(command_failed("Missing required option(s): partition")),
        (false, true) => Err(command_failed("Option partition is only allowed if topic is used")),
        _ => Ok(()),
    }
}

fn election_type(options: &Options) -> Result<ElectionType, JavaError> {
    let text = options.value("election-type")?.unwrap_or_default();
    let all = [ElectionType::Preferred, ElectionType::Unclean];
    all.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(&text)).ok_or_else(|| {
        let cause = format!("Value [{text}] is not one of [[PREFERRED,UNCLEAN]]");
        JavaError::new(
            "joptsimple.OptionArgumentConversionException",
            format!("Cannot parse argument '{text}' of option election-type"),
        )
        .with_frames()
        .caused_by(JavaError::new("joptsimple.ValueConversionException", cause).with_frames())
    })
}

fn from_file(path: &str) -> Result<Vec<TopicPartition>, JavaError> {
    let text = read_file(path).map_err(runtime_error)?;
    let file = json::parse(&text).map_err(|_| operation_failed("Replica election data is empty"))?;
    let list = file.field("partitions").map_err(runtime_error)?;
    let list = list.ok_or_else(|| operation_failed("Replica election data is missing \"partitions\" field"))?;
    let one = |entry: &serde_json::Value| {
        let topic = entry.required("topic")?.string()?;
        Ok(TopicPartition::new(topic, entry.required("partition")?.int()?))
    };
    let all = list.elements().and_then(|entries| entries.iter().map(one).collect::<Result<Vec<_>, _>>());
    let all = all.map_err(runtime_error)?;
    let mut times: HashMap<&TopicPartition, usize> = HashMap::new();
    all.iter().for_each(|tp| *times.entry(tp).or_default() += 1);
    let twice: Vec<TopicPartition> = times.into_iter().filter(|(_, n)| *n > 1).map(|(tp, _)| tp.clone()).collect();
    match twice.is_empty() {
        true => Ok(all),
        false => {
            let text = format!("Replica election data contains duplicate partitions: [{}]", listed(twice));
            Err(operation_failed(text))
        }
    }
}

/// Partitions in Java's order, comma and blank between them.
fn listed(mut partitions: Vec<TopicPartition>) -> String {
    partitions.sort();
    in_set_order(partitions).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The error of each partition, if it has one; all that need an election when none are given.
async fn elect(
    admin: &Admin,
    kind: ElectionType,
    partitions: Option<&[TopicPartition]>,
) -> Result<BTreeMap<TopicPartition, Option<JavaError>>, JavaError> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    partitions.unwrap_or_default().iter().for_each(|tp| topics.entry(&tp.topic).or_default().push(tp.partition));
    let topic = |(name, partitions): (&str, Vec<i32>)| {
        let name = TopicName(StrBytes::from_string(name.to_owned()));
        TopicPartitions::default().with_topic(name).with_partitions(partitions)
    };
    let asked = partitions.map(|_| topics.into_iter().map(topic).collect());
    let config = admin.config();
    let timeout = i32::try_from(config.request_timeout.min(config.api_timeout).as_millis()).unwrap_or(i32::MAX);
    let request = ElectLeadersRequest::default().with_topic_partitions(asked).with_timeout_ms(timeout);
    let build = |version: i16| match (version, kind) {
        (0, ElectionType::Unclean) => {
            let text = "Api Version 0 only supports PREFERRED election type";
            Err(ClientError::UnsupportedVersion(text.to_owned()))
        }
        (0, ElectionType::Preferred) => Ok(request.clone()),
        _ => Ok(request.clone().with_election_type(kind.id())),
    };
    let judge = |answer: &ElectLeadersResponse| ClientError::from_code(answer.error_code, None);
    let answer = admin.call(Call::new("electLeaders", Target::Controller), build, judge).await.map_err(call_failed)?;
    let mut results = BTreeMap::new();
    for topic in &answer.replica_election_results {
        for partition in &topic.partition_result {
            let code = ErrorCode::from_code(partition.error_code);
            let error = (!code.is_none()).then(|| api_error(code, partition.error_message.as_deref()));
            results.insert(TopicPartition::new(&*topic.topic.0, partition.partition_id), error);
        }
    }
    Ok(results)
}

fn call_failed(error: ClientError) -> JavaError {
    let (timeout, code) = (error.is_timeout(), error.code());
    let cause = java_error(error);
    let message = match code {
        Some(ErrorCode::ClusterAuthorizationFailed) => "Not authorized to perform leader election",
        _ if timeout => "Timeout waiting for election results",
        _ => return runtime_error(in_execution(cause)),
    };
    out(&format!("{message}\n"));
    command_failed(message).caused_by(cause)
}

fn report(kind: ElectionType, results: BTreeMap<TopicPartition, Option<JavaError>>) -> Result<(), JavaError> {
    let not_needed = api_error(ErrorCode::ElectionNotNeeded, None);
    let (mut elected, mut needless, mut failed) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (tp, error) in results {
        match error {
            None => elected.push(tp),
            Some(error) if error.class() == not_needed.class() => needless.push(tp),
            Some(error) => drop(failed.insert(tp, error)),
        }
    }
    let kind = kind.name();
    if !elected.is_empty() {
        out(&format!("Successfully completed leader election ({kind}) for partitions {}\n", listed(elected)));
    }
    if !needless.is_empty() {
        out(&format!("Valid replica already elected for partitions {}\n", listed(needless)));
    }
    if failed.is_empty() {
        return Ok(());
    }
    let mut whole = command_failed(format!("{} replica(s) could not be elected", failed.len()));
    for tp in in_set_order(failed.keys().cloned().collect()) {
        if let Some(error) = failed.remove(&tp) {
            out(&format!("Error completing leader election ({kind}) for partition: {tp}: {error}\n"));
            whole = whole.with_suppressed(error);
        }
    }
    Err(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<TopicPartition>, JavaError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        from_file(file.path().to_str().unwrap())
    }

    #[test]
    fn files_of_partitions() {
        let good = r#"{"partitions":[{"topic":"a","partition":1},{"topic":"b","partition":0}]}"#;
        assert_eq!(read(good).unwrap(), [TopicPartition::new("a", 1), TopicPartition::new("b", 0)]);
        assert_eq!(read("").unwrap_err().message(), "Replica election data is empty");
        assert_eq!(from_file("/nosuch/file").unwrap_err().message(), "java.nio.file.NoSuchFileException: /nosuch/file");
    }

    #[test]
    fn failures_are_suppressed_errors_of_one() {
        let gone = api_error(ErrorCode::PreferredLeaderNotAvailable, Some("no"));
        let results = BTreeMap::from([(TopicPartition::new("t", 0), Some(gone)), (TopicPartition::new("t", 1), None)]);
        let error = report(ElectionType::Preferred, results).unwrap_err();
        assert_eq!(
            error.stack_trace(),
            "org.apache.kafka.server.common.AdminCommandFailedException: 1 replica(s) could not be elected\n\
             \tSuppressed: org.apache.kafka.common.errors.PreferredLeaderNotAvailableException: no\n"
        );
    }
}
