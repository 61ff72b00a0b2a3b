//! The properties of an admin client that this client heeds, with AdminClientConfig's names and defaults.
//! Immutable once read.

use std::time::Duration;

use super::ClientError;
use super::bootstrap::{self, BootstrapServer};

/// How an [`super::Admin`] behaves.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Where to find the first broker.
    pub bootstrap: Vec<BootstrapServer>,
    /// `client.id`; `adminclient-1` unless given.
    pub client_id: String,
    /// `request.timeout.ms`: one request on the wire.
    pub request_timeout: Duration,
    /// `default.api.timeout.ms`: one call with all its retries.
    pub api_timeout: Duration,
    /// `socket.connection.setup.timeout.ms`.
    pub connect_timeout: Duration,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub retry_backoff: Backoff,
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`.
    pub reconnect_backoff: Backoff,
    /// `retries`: how often a call is sent again.
    pub retries: u32,
}

impl AdminConfig {
    /// From `--bootstrap-server` and the properties of `--command-config`; later properties win, unknown ones are left
    /// alone. Resolves the bootstrap names (blocking).
    pub fn new(bootstrap_servers: &str, properties: &[(String, String)]) -> Result<AdminConfig, ClientError> {
        let text = |key: &str| properties.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.trim());
        let ms = |key: &str, default: u64| duration(key, text(key), default);
        let security_protocol = text("security.protocol").unwrap_or("PLAINTEXT");
        if !security_protocol.eq_ignore_ascii_case("PLAINTEXT") {
            let reason = format!("security.protocol {security_protocol} is not supported by this client");
            return Err(ClientError::Config(reason));
        }
        let config = AdminConfig {
            bootstrap: bootstrap::parse_and_resolve(bootstrap_servers)?,
            client_id: text("client.id").filter(|id| !id.is_empty()).unwrap_or("adminclient-1").to_owned(),
            request_timeout: ms("request.timeout.ms", 30_000)?,
            api_timeout: ms("default.api.timeout.ms", 60_000)?,
            connect_timeout: ms("socket.connection.setup.timeout.ms", 10_000)?,
            retry_backoff: Backoff { first: ms("retry.backoff.ms", 100)?, max: ms("retry.backoff.max.ms", 1_000)? },
            reconnect_backoff: Backoff {
                first: ms("reconnect.backoff.ms", 50)?,
                max: ms("reconnect.backoff.max.ms", 1_000)?,
            },
            retries: u32::try_from(duration("retries", text("retries"), i32::MAX as u64)?.as_millis())
                .unwrap_or(u32::MAX),
        };
        if config.api_timeout < config.request_timeout && text("default.api.timeout.ms").is_some() {
            return config.settle_timeouts(text("request.timeout.ms").is_some());
        }
        Ok(config)
    }

    /// Kafka's rule for an api timeout below the request timeout: an error if the latter was given, else it is lowered.
    fn settle_timeouts(mut self, request_timeout_given: bool) -> Result<AdminConfig, ClientError> {
        if request_timeout_given {
            return Err(ClientError::Config(
                "The specified value of default.api.timeout.ms must be no smaller than the value of request.timeout.ms."
                    .to_owned(),
            ));
        }
        self.request_timeout = self.api_timeout;
        Ok(self)
    }
}

fn duration(key: &str, text: Option<&str>, default: u64) -> Result<Duration, ClientError> {
    let Some(text) = text else { return Ok(Duration::from_millis(default)) };
    let invalid = |reason: &str| ClientError::Config(format!("Invalid value {text} for configuration {key}: {reason}"));
    let value: i64 = text.parse().map_err(|_| invalid("Not a number of type INT"))?;
    u64::try_from(value).map(Duration::from_millis).map_err(|_| invalid("Value must be at least 0"))
}

/// A wait that doubles with each attempt, up to a limit, a fifth more or less by chance.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// After the first attempt.
    pub first: Duration,
    /// The limit, before chance.
    pub max: Duration,
}

impl Backoff {
    /// How long to wait after `attempts` attempts (0: the first has just failed).
    pub fn after(&self, attempts: u32) -> Duration {
        let doubled = self.first.saturating_mul(2u32.saturating_pow(attempts.min(20))).min(self.max.max(self.first));
        doubled.mul_f64(rand::random_range(0.8..=1.2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(properties: &[(&str, &str)]) -> Result<AdminConfig, String> {
        let properties: Vec<_> = properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        AdminConfig::new("127.0.0.1:1", &properties).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_kafkas_and_properties_override_them() {
        let plain = config(&[]).unwrap();
        assert_eq!((plain.client_id.as_str(), plain.api_timeout.as_secs()), ("adminclient-1", 60));
        let set = config(&[("client.id", "x"), ("retries", "3"), ("retries", "2")]).unwrap();
        assert_eq!((set.client_id.as_str(), set.retries), ("x", 2));
        let bad = config(&[("request.timeout.ms", "soon")]).unwrap_err();
        assert_eq!(bad, "Invalid value soon for configuration request.timeout.ms: Not a number of type INT");
    }

    #[test]
    fn an_api_timeout_below_the_request_timeout() {
        assert_eq!(config(&[("default.api.timeout.ms", "3000")]).unwrap().request_timeout.as_millis(), 3000);
        assert!(config(&[("default.api.timeout.ms", "3000"), ("request.timeout.ms", "4000")]).is_err());
    }

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_millis(1000) };
        let near = |attempts, ms: u64| {
            let wait = backoff.after(attempts);
            wait >= Duration::from_millis(ms * 8 / 10) && wait <= Duration::from_millis(ms * 12 / 10)
        };
        assert!(near(0, 100) && near(1, 200) && near(3, 800) && near(4, 1000) && near(u32::MAX, 1000));
    }
}
