//! What librdkafka reports on the side, in the words of Kafka's clients, on stderr.

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::output::log;

const NETWORK_CLIENT: &str = "org.apache.kafka.clients.NetworkClient";

/// Prints a client's log lines; `client` is such as `Producer clientId=console-producer`.
pub struct NativeLog {
    client: String,
}

impl NativeLog {
    pub fn new(client: String) -> NativeLog {
        NativeLog { client }
    }

    pub fn warn(&self, logger: &str, message: &str) {
        log("WARN", logger, &format!("[{}] {message}", self.client));
    }

    pub fn error(&self, logger: &str, message: &str) {
        log("ERROR", logger, &format!("[{}] {message}", self.client));
    }

    /// A log line of the library. Failures of connections come as errors as well, and are printed there.
    pub fn library_line(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let connection = matches!(facility, "FAIL" | "ERROR" | "CONFWARN" | "TERMINATE" | "REQTMOUT");
        if !connection && (level as i32) <= (RDKafkaLogLevel::Error as i32) {
            self.error("librdkafka", message);
        }
    }

    /// A client-wide error.
    pub fn library_error(&self, error: &KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve) => {
                let (name, address) = broker_of(reason);
                let node = format!("Connection to node {} ({address})", name.unwrap_or("-1"));
                let text = format!("{node} could not be established. Node may not be available.");
                self.warn(NETWORK_CLIENT, &text);
            }
            // The first follows from the others and says nothing new; the rest also come with the records.
            Some(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed,
            ) => {}
            Some(RDKafkaErrorCode::Authentication) => {
                self.error(NETWORK_CLIENT, &format!("Connection failed authentication due to: {reason}"));
            }
            _ => self.warn(NETWORK_CLIENT, reason),
        }
    }

    /// A topic whose metadata came with an error.
    pub fn metadata_error(&self, attempt: usize, topic: &str, code: &str) {
        let text = format!("Error while fetching metadata with correlation id {attempt} : {{{topic}={code}}}");
        self.warn(NETWORK_CLIENT, &text);
    }
}

/// Node id (`None` for a bootstrap server) and `host/address:port` out of a reason such as
/// `localhost:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (...)`.
fn broker_of(reason: &str) -> (Option<&str>, String) {
    let name = reason.split(": ").next().unwrap_or_default();
    let (server, node) = name.rsplit_once('/').unwrap_or((name, "bootstrap"));
    let host = server.rsplit("://").next().unwrap_or(server);
    let address = reason.split('#').nth(1).and_then(|rest| rest.split(' ').next());
    let shown = match (host.rsplit_once(':'), address) {
        (Some((host, _)), Some(address)) => format!("{host}/{address}"),
        _ => host.to_owned(),
    };
    ((node != "bootstrap").then_some(node), shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_in_reasons() {
        let refused = "localhost:19999/bootstrap: Connect to ipv4#127.0.0.1:19999 failed: Connection refused";
        assert_eq!(broker_of(refused), (None, "localhost/127.0.0.1:19999".to_owned()));
        assert_eq!(broker_of("h:9092/2: Disconnected (after 5ms in state UP)"), (Some("2"), "h:9092".to_owned()));
    }
}
