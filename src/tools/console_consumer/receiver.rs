//! Takes records off librdkafka with the manners of Java's consumer.

use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message, Timestamp};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::formatter::Printable;
use super::options::{Source, Start};
use crate::tools::client_properties::{self, config_exception};
use crate::tools::failure::JavaError;
use crate::tools::java_names::{native_error, wire_code};
use crate::tools::native_log::NativeLog;
use crate::tools::properties::Properties;
use crate::tools::signals::Signals;
use crate::topic::validate_name;

/// How long a poll sleeps before it looks at signals and time.
const TICK: Duration = Duration::from_millis(100);
/// How often a topic that is not there yet is looked for.
const MISSING_TOPIC_REFRESH_MS: &str = "1000";
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
const METADATA: &str = "org.apache.kafka.clients.Metadata";

struct Context {
    log: NativeLog,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.library_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.library_error(&error, reason);
    }
}

impl ConsumerContext for Context {}

/// Why there are no more records.
pub enum Stop {
    Signal,
    OutputGone,
    /// Ends the tool with code 0, as Kafka has it.
    Error(JavaError),
    /// Ends the tool with code 1.
    Authentication(JavaError),
}

/// A consumer of one source. Dropped, it commits what was taken, where the group is to keep it, and leaves the group.
pub struct Receiver {
    consumer: BaseConsumer<Context>,
    group: String,
    /// The topic, when it is a single one.
    topic: Option<String>,
    /// Whether positions are kept for the group.
    commits: bool,
}

impl Receiver {
    pub fn start(source: &Source, properties: &Properties, group: &str) -> Result<Receiver, JavaError> {
        let mut config = client_properties::consumer(properties)?;
        if matches!(source, Source::Include(_)) {
            if properties.flag("exclude.internal.topics") != Some(false) {
                config.set("topic.blacklist", "^__consumer_offsets$,^__transaction_state$");
            }
        } else if !properties.contains("metadata.max.age.ms") {
            config.set("topic.metadata.refresh.interval.ms", MISSING_TOPIC_REFRESH_MS);
        }
        // A position counts when its record was taken here, not when the library has it at hand.
        config.set("enable.auto.offset.store", "false");
        let client_id = properties.get("client.id").unwrap_or_default();
        let context = Context { log: NativeLog::new(format!("Consumer clientId={client_id}, groupId={group}")) };
        let failed = |error: KafkaError| {
            JavaError::new("org.apache.kafka.common.KafkaException", "Failed to construct kafka consumer")
                .with_frames()
                .caused_by(config_exception(error.to_string()))
        };
        let consumer = BaseConsumer::from_config_and_context(&config, context).map_err(failed)?;
        let topic = match source {
            Source::Topic(topic) => consumer.subscribe(&[topic.as_str()]).map(|()| Some(topic.clone())),
            Source::Include(pattern) => consumer.subscribe(&[whole_name(pattern).as_str()]).map(|()| None),
            Source::Partition(topic, partition, start) => {
                let mut list = TopicPartitionList::new();
                let offset = match start {
                    Start::Earliest => Offset::Beginning,
                    Start::Latest => Offset::End,
                    Start::At(offset) => Offset::Offset(*offset),
                };
                list.add_partition_offset(topic, *partition, offset)
                    .and_then(|()| consumer.assign(&list))
                    .map(|()| Some(topic.clone()))
            }
        };
        let topic = topic.map_err(|error| config_exception(error.to_string()))?;
        let commits = properties.flag("enable.auto.commit") != Some(false);
        Ok(Receiver { consumer, group: group.to_owned(), topic, commits })
    }

    /// The next record. `idle` is called when none is at hand, to write out what was printed; it says false when
    /// nobody reads that any more.
    pub fn receive(
        &self,
        timeout_ms: Option<u64>,
        signals: &Signals,
        mut idle: impl FnMut() -> bool,
    ) -> Result<BorrowedMessage<'_>, Stop> {
        let deadline = timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        let mut wait = Duration::ZERO;
        loop {
            if signals.exit_code().is_some() {
                return Err(Stop::Signal);
            }
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    if self.commits {
                        // Fails when the partition has just been taken away: then it is not ours to commit.
                        let _ = self.consumer.store_offset_from_message(&message);
                    }
                    return Ok(message);
                }
                Some(Err(error)) => self.check(&error)?,
                None => {
                    if !idle() {
                        return Err(Stop::OutputGone);
                    }
                }
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                let class = "org.apache.kafka.common.errors.TimeoutException";
                return Err(Stop::Error(JavaError::bare(class)));
            }
            wait = left.map_or(TICK, |left| left.min(TICK));
        }
    }

    /// Errors that Java's consumer would throw end the reading; the others are logged by the client or pass.
    fn check(&self, error: &KafkaError) -> Result<(), Stop> {
        let Some(native) = error.rdkafka_error_code() else { return Ok(()) };
        let topic = self.topic.as_deref().unwrap_or_default();
        let log = &self.consumer.context().log;
        let code = match wire_code(native).map(|code| code.name()) {
            // The library does not tell a name that cannot be from a topic that is not.
            Some("UNKNOWN_TOPIC_OR_PARTITION") if self.topic.is_some() && validate_name(topic).is_err() => {
                Some("INVALID_TOPIC_EXCEPTION")
            }
            code => code,
        };
        match (native, code) {
            (RDKafkaErrorCode::Authentication, _) => {
                let error = JavaError::api("SaslAuthenticationException", error.to_string());
                Err(Stop::Authentication(error))
            }
            (RDKafkaErrorCode::AutoOffsetReset, _) => Err(Stop::Error(JavaError::new(
                "org.apache.kafka.clients.consumer.NoOffsetForPartitionException",
                format!("Undefined offset with no reset policy for partitions of {topic}"),
            ))),
            (RDKafkaErrorCode::Fatal, _) => Err(Stop::Error(native_error(native, &error.to_string()))),
            (_, Some("GROUP_AUTHORIZATION_FAILED")) => {
                let text = format!("Not authorized to access group: {}", self.group);
                Err(Stop::Error(JavaError::api("GroupAuthorizationException", text)))
            }
            (_, Some("TOPIC_AUTHORIZATION_FAILED")) => {
                let text = format!("Not authorized to access topics: [{topic}]");
                Err(Stop::Error(JavaError::api("TopicAuthorizationException", text)))
            }
            (_, Some(code @ "INVALID_TOPIC_EXCEPTION")) => {
                log.metadata_error(2, topic, code);
                log.error(METADATA, &format!("Metadata response reported invalid topics [{topic}]"));
                Err(Stop::Error(JavaError::api("InvalidTopicException", format!("Invalid topics: [{topic}]"))))
            }
            (_, Some(code @ ("UNKNOWN_TOPIC_OR_PARTITION" | "LEADER_NOT_AVAILABLE"))) => {
                let code = self.create_topic().unwrap_or(code);
                log.metadata_error(2, topic, code);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Asks for the topic's metadata in the way that lets brokers create it, which the library does not when it
    /// subscribes. Gives the error that came with it.
    fn create_topic(&self) -> Option<&'static str> {
        let topic = self.topic.as_deref()?;
        let metadata = self.consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT).ok()?;
        let error = metadata.topics().first()?.error()?;
        wire_code(RDKafkaErrorCode::from(error)).map(|code| code.name())
    }
}

/// A Java pattern that must match the whole topic name, for librdkafka's matcher.
fn whole_name(pattern: &str) -> String {
    let inner = pattern.replace("\\d", "[0-9]").replace("\\w", "[A-Za-z0-9_]").replace("(?:", "(");
    format!("^({inner})$")
}

/// A record as the formatters take it.
pub fn printable<'a>(message: &'a BorrowedMessage<'a>) -> Printable<'a> {
    let timestamp = match message.timestamp() {
        Timestamp::NotAvailable => None,
        Timestamp::CreateTime(ms) => Some(("CreateTime", ms)),
        Timestamp::LogAppendTime(ms) => Some(("LogAppendTime", ms)),
    };
    let headers = message.headers().map(|headers| headers.iter().map(|h| (h.key, h.value)).collect());
    Printable {
        partition: message.partition(),
        offset: message.offset(),
        timestamp,
        key: message.key(),
        value: message.payload(),
        headers: headers.unwrap_or_default(),
    }
}
