//! Sends records through librdkafka with the manners of Java's producer: waits for metadata up to `max.block.ms`,
//! checks sizes with Java's arithmetic, and reports what could not be delivered in Java's words.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::reader::Line;
use crate::tools::client_properties;
use crate::tools::failure::JavaError;
use crate::tools::java_names::{api_error, native_error, wire_code};
use crate::tools::native_log::NativeLog;
use crate::tools::output::log_error;
use crate::tools::properties::Properties;

const CALLBACK: &str = "org.apache.kafka.clients.producer.internals.ErrorLoggingCallback";
const METADATA: &str = "org.apache.kafka.clients.Metadata";
/// Pause between two looks at metadata that is not there yet (Java's `retry.backoff.ms`).
const METADATA_BACKOFF: Duration = Duration::from_millis(100);

/// Where the outcome of a record goes; `None`: to the log if it failed.
type Answer = Option<mpsc::Sender<Result<(), JavaError>>>;

struct Context {
    log: NativeLog,
    delivery_timeout: String,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.library_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.library_error(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Answer>;

    fn delivery(&self, result: &DeliveryResult<'_>, answer: Box<Answer>) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, message)) => Err((self.java_error(error, message.topic(), message.partition()), message)),
        };
        match (*answer, outcome) {
            (Some(waiting), outcome) => {
                let _ = waiting.send(outcome.map_err(|(error, _)| error));
            }
            (None, Err((error, message))) => {
                let key = message.key().map(<[u8]>::len);
                report(message.topic(), key, message.payload().map(<[u8]>::len), &error);
            }
            (None, Ok(())) => {}
        }
    }
}

impl Context {
    fn java_error(&self, error: &KafkaError, topic: &str, partition: i32) -> JavaError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageTimedOut) => JavaError::api(
                "TimeoutException",
                format!(
                    "Expiring 1 record(s) for {topic}-{partition}:{} ms has passed since batch creation",
                    self.delivery_timeout
                ),
            ),
            Some(code) if wire_code(code).is_some_and(|code| code.name() == "MESSAGE_TOO_LARGE") => JavaError::api(
                "RecordTooLargeException",
                "The request included a message larger than the max message size the server will accept.",
            ),
            Some(code) => native_error(code, &error.to_string()),
            None => JavaError::new("org.apache.kafka.common.KafkaException", error.to_string()),
        }
    }
}

/// Prints that a record was not delivered, as Java's callback does.
fn report(topic: &str, key: Option<usize>, value: Option<usize>, error: &JavaError) {
    let size = |length: Option<usize>| length.map_or_else(|| "null".to_owned(), |length| format!("{length} bytes"));
    let text = format!(
        "Error when sending message to topic {topic} with key: {}, value: {} with error:",
        size(key),
        size(value)
    );
    log_error(CALLBACK, &text, error);
}

/// A producer to one topic.
pub struct Sender {
    topic: String,
    producer: ThreadedProducer<Context>,
    sync: bool,
    max_block: Duration,
    max_request_size: usize,
    delivery_timeout: Duration,
    /// Set once the topic's metadata was seen.
    topic_known: std::cell::Cell<bool>,
}

impl Sender {
    pub fn new(topic: &str, properties: &Properties, sync: bool) -> Result<Sender, JavaError> {
        let config = client_properties::producer(properties)?;
        let number =
            |key: &str, default: u64| properties.get(key).and_then(|v| v.trim().parse().ok()).unwrap_or(default);
        let delivery_timeout = number("delivery.timeout.ms", 120_000);
        let client_id = properties.get("client.id").unwrap_or_default();
        let context = Context {
            log: NativeLog::new(format!("Producer clientId={client_id}")),
            delivery_timeout: delivery_timeout.to_string(),
        };
        let producer = ThreadedProducer::from_config_and_context(&config, context).map_err(|error| {
            JavaError::new("org.apache.kafka.common.KafkaException", "Failed to construct kafka producer")
                .with_frames()
                .caused_by(client_properties::config_exception(error.to_string()))
        })?;
        Ok(Sender {
            topic: topic.to_owned(),
            producer,
            sync,
            max_block: Duration::from_millis(number("max.block.ms", 60_000)),
            max_request_size: number("max.request.size", 1 << 20) as usize,
            delivery_timeout: Duration::from_millis(delivery_timeout),
            topic_known: std::cell::Cell::new(false),
        })
    }

    /// Sends a record; with `--sync`, waits for its answer. A record that cannot be sent is reported, and is an error
    /// only with `--sync`.
    pub fn send(&self, line: Line) -> Result<(), JavaError> {
        let (answer, waiting) = match self.sync {
            true => {
                let (sender, receiver) = mpsc::channel();
                (Some(sender), Some(receiver))
            }
            false => (None, None),
        };
        let queued = self.check_size(&line).and_then(|()| self.await_topic()).and_then(|()| self.queue(&line, answer));
        match (queued, waiting) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(answer)) => match answer.recv_timeout(self.delivery_timeout + Duration::from_secs(5)) {
                Ok(outcome) => outcome.map_err(execution),
                Err(_) => Err(execution(JavaError::api("TimeoutException", "No answer to the record"))),
            },
            (Err(error), Some(_)) => Err(execution(error)),
            (Err(error), None) => {
                report(&self.topic, line.key.map(|key| key.len()), line.value.map(|value| value.len()), &error);
                Ok(())
            }
        }
    }

    /// Java's upper bound of the record in a batch of its own against `max.request.size`.
    fn check_size(&self, line: &Line) -> Result<(), JavaError> {
        let size = upper_bound(line);
        match size > self.max_request_size {
            false => Ok(()),
            true => Err(JavaError::api(
                "RecordTooLargeException",
                format!(
                    "The message is {size} bytes when serialized which is larger than {}, which is the value of the \
                     max.request.size configuration.",
                    self.max_request_size
                ),
            )),
        }
    }

    fn await_topic(&self) -> Result<(), JavaError> {
        if self.topic_known.get() {
            return Ok(());
        }
        let deadline = Instant::now() + self.max_block;
        let log = &self.producer.context().log;
        for attempt in 1.. {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let answer = self.producer.client().fetch_metadata(Some(&self.topic), left.min(Duration::from_secs(5)));
            let found = answer.as_ref().ok().and_then(|metadata| metadata.topics().first());
            let Some(topic) = found else {
                std::thread::sleep(METADATA_BACKOFF.min(left));
                continue;
            };
            let code = topic.error().map(RDKafkaErrorCode::from).and_then(wire_code);
            match code {
                None if !topic.partitions().is_empty() => {
                    self.topic_known.set(true);
                    return Ok(());
                }
                None => {}
                Some(code) => {
                    log.metadata_error(attempt, &self.topic, code.name());
                    if let Some(error) = self.hopeless(code.name()) {
                        return Err(error);
                    }
                }
            }
            std::thread::sleep(METADATA_BACKOFF.min(left));
        }
        let waited = self.max_block.as_millis();
        Err(JavaError::api(
            "TimeoutException",
            format!("Topic {} not present in metadata after {waited} ms.", self.topic),
        ))
    }

    /// Errors of a topic that waiting does not cure.
    fn hopeless(&self, code: &str) -> Option<JavaError> {
        let (topic, log) = (&self.topic, &self.producer.context().log);
        match code {
            "INVALID_TOPIC_EXCEPTION" => {
                log.error(METADATA, &format!("Metadata response reported invalid topics [{topic}]"));
                Some(JavaError::api("InvalidTopicException", format!("Invalid topics: [{topic}]")))
            }
            "TOPIC_AUTHORIZATION_FAILED" => {
                log.error(METADATA, &format!("Topic authorization failed for topics [{topic}]"));
                let text = format!("Not authorized to access topics: [{topic}]");
                Some(JavaError::api("TopicAuthorizationException", text))
            }
            _ => None,
        }
    }

    /// Hands a record to the library, waiting up to `max.block.ms` for room.
    fn queue(&self, line: &Line, answer: Answer) -> Result<(), JavaError> {
        let mut record = BaseRecord::<str, str, Box<Answer>>::with_opaque_to(&self.topic, Box::new(answer));
        if let Some(key) = &line.key {
            record = record.key(key.as_str());
        }
        if let Some(value) = &line.value {
            record = record.payload(value.as_str());
        }
        if !line.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(line.headers.len());
            for (key, value) in &line.headers {
                headers = headers.insert(Header { key, value: value.as_ref() });
            }
            record = record.headers(headers);
        }
        let deadline = Instant::now() + self.max_block;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    record = back;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err((error, _)) => {
                    return Err(match error.rdkafka_error_code() {
                        Some(RDKafkaErrorCode::QueueFull) => JavaError::api(
                            "TimeoutException",
                            format!(
                                "Failed to allocate memory within the configured max blocking time {} ms.",
                                self.max_block.as_millis()
                            ),
                        ),
                        Some(code) => wire_code(code)
                            .map_or_else(|| native_error(code, &error.to_string()), |code| api_error(code, None)),
                        None => JavaError::new("org.apache.kafka.common.KafkaException", error.to_string()),
                    });
                }
            }
        }
    }

    /// Waits until everything sent was answered or has expired.
    pub fn close(self) {
        let _ = self.producer.flush(self.delivery_timeout + Duration::from_secs(5));
    }
}

fn execution(cause: JavaError) -> JavaError {
    JavaError::new("java.util.concurrent.ExecutionException", cause.to_string()).with_frames().caused_by(cause)
}

/// Batch overhead, the largest record overhead, and the fields with their lengths as varints.
fn upper_bound(line: &Line) -> usize {
    const BATCH_OVERHEAD: usize = 61;
    const MAX_RECORD_OVERHEAD: usize = 21;
    let field = |text: &Option<String>| text.as_ref().map_or(1, |text| varint(text.len()) + text.len());
    let headers: usize = line.headers.iter().map(|(key, value)| varint(key.len()) + key.len() + field(value)).sum();
    BATCH_OVERHEAD + MAX_RECORD_OVERHEAD + field(&line.key) + field(&line.value) + varint(line.headers.len()) + headers
}

/// Bytes of a length as a zigzag varint.
fn varint(length: usize) -> usize {
    let zigzag = (length as u64) << 1;
    (64 - zigzag.leading_zeros() as usize).max(1).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_java_estimates_them() {
        let line = Line { key: None, value: Some("z".repeat(200)), headers: Vec::new() };
        assert_eq!(upper_bound(&line), 286);
    }
}
