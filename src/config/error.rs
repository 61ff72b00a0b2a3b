//! The one error of the configuration layer. `Display` is Kafka's text, because it is printed by `kafka-server-start`
//! and sent back by CreateTopics and AlterConfigs; [`ConfigError::java_class`] is the name Kafka prints before it.

use crate::protocol::ErrorCode;

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// One key has a value that its type or its validator does not allow (`ConfigException`).
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Invalid { name: String, value: String, reason: String },
    /// Any other `ConfigException`.
    #[error("{0}")]
    Config(String),
    /// A rule between several keys does not hold (Scala's `require`, an `IllegalArgumentException`).
    #[error("requirement failed: {0}")]
    Requirement(String),
    /// Any other `IllegalArgumentException`.
    #[error("{0}")]
    IllegalArgument(String),
    /// A topic setting that cannot be (`InvalidConfigurationException`).
    #[error("{0}")]
    InvalidConfiguration(String),
    /// An alteration that the request may not ask for (`InvalidRequestException`).
    #[error("{0}")]
    InvalidRequest(String),
    /// What falls out of Java's own library at a bad setting.
    #[error("{text}")]
    Thrown { class: &'static str, text: String },
    /// The properties file is not there.
    #[error("{path}")]
    NoSuchFile { path: String },
    /// The properties file cannot be read.
    #[error("{path}: {reason}")]
    Unreadable { path: String, reason: String },
}

impl ConfigError {
    pub(crate) fn invalid(name: impl Into<String>, value: impl Into<String>, reason: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { name: name.into(), value: value.into(), reason: reason.into() }
    }

    /// The name of the Java exception that stands before the message on a broker's or tool's standard error.
    pub fn java_class(&self) -> &'static str {
        match self {
            ConfigError::Invalid { .. } | ConfigError::Config(_) => "org.apache.kafka.common.config.ConfigException",
            ConfigError::Requirement(_) | ConfigError::IllegalArgument(_) => "java.lang.IllegalArgumentException",
            ConfigError::InvalidConfiguration(_) => "org.apache.kafka.common.errors.InvalidConfigurationException",
            ConfigError::InvalidRequest(_) => "org.apache.kafka.common.errors.InvalidRequestException",
            ConfigError::Thrown { class, .. } => class,
            ConfigError::NoSuchFile { .. } => "java.nio.file.NoSuchFileException",
            ConfigError::Unreadable { .. } => "java.io.IOException",
        }
    }

    /// Code and message of a CreateTopics response.
    pub fn for_create_topics(&self) -> (ErrorCode, String) {
        match self {
            ConfigError::InvalidRequest(_) => (ErrorCode::InvalidRequest, self.to_string()),
            _ => (ErrorCode::InvalidConfig, self.to_string()),
        }
    }

    /// Code and message of an (Incremental)AlterConfigs response for a topic.
    pub fn for_topic_alteration(&self, topic: &str) -> (ErrorCode, String) {
        match self {
            ConfigError::InvalidRequest(_) => (ErrorCode::InvalidRequest, self.to_string()),
            ConfigError::InvalidConfiguration(_) => (ErrorCode::InvalidConfig, self.to_string()),
            _ => (
                ErrorCode::InvalidConfig,
                format!("Invalid config value for resource ConfigResource(type=TOPIC, name='{topic}'): {self}"),
            ),
        }
    }

    /// Code and message of an (Incremental)AlterConfigs response for a broker or the brokers' default.
    pub fn for_broker_alteration(&self) -> (ErrorCode, String) {
        match self {
            ConfigError::InvalidConfiguration(_) => (ErrorCode::InvalidConfig, self.to_string()),
            _ => (ErrorCode::InvalidRequest, self.to_string()),
        }
    }
}

/// `require(condition, message)`.
pub(crate) fn require(condition: bool, message: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if condition { Ok(()) } else { Err(ConfigError::Requirement(message())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_wire_errors() {
        let bad = ConfigError::invalid("retention.ms", "abc", "Not a number of type LONG");
        assert_eq!(
            bad.for_topic_alteration("kc1"),
            (
                ErrorCode::InvalidConfig,
                "Invalid config value for resource ConfigResource(type=TOPIC, name='kc1'): Invalid value abc for configuration \
                 retention.ms: Not a number of type LONG"
                    .to_owned()
            )
        );
        let unknown = ConfigError::InvalidConfiguration("Unknown topic config name: nosuch".to_owned());
        assert_eq!(
            unknown.for_topic_alteration("t"),
            (ErrorCode::InvalidConfig, "Unknown topic config name: nosuch".to_owned())
        );
        assert_eq!(unknown.for_create_topics().0, ErrorCode::InvalidConfig);
        assert_eq!(bad.for_broker_alteration().0, ErrorCode::InvalidRequest);
    }
}
