//! Configuration: what every key means, and what is set (`KafkaConfig`, `LogConfig`, `ConfigDef`, `DynamicBrokerConfig`,
//! `ConfigHelper`).
//!
//! [`registry`] has one row for each of the 295 broker and 31 topic keys of Kafka 3.7. [`BrokerConfig`] is an immutable state of
//! a broker's settings, made of layers: dynamic for this broker, over dynamic default of the cluster, over the properties file,
//! over the built-in default. [`LogConfig`] is one topic's. [`topic`] and [`dynamic`] say what may be altered, [`describe`] is
//! what DescribeConfigs answers. A leaf: it uses nothing but the protocol's error codes, reads files at the start, and holds no
//! lock and no global state.

mod broker;
mod broker_keys;
pub mod describe;
pub mod dynamic;
mod error;
mod legacy;
mod listeners;
mod live;
mod log_config;
mod properties;
mod providers;
pub mod registry;
pub mod topic;
mod topic_keys;
mod validate;
mod value;
mod version;

pub use broker::{BrokerConfig, ZkConnect};
pub use describe::{ConfigEntry, Synonym};
pub use error::ConfigError;
pub use listeners::{Endpoint, ProtocolMap, SecurityProtocol};
pub use live::LiveConfig;
pub use log_config::{CompressionType, LogConfig, TimestampType};
pub use properties::Properties;
pub use topic_keys::TopicKey;
pub use value::{Kind, Value};
pub use version::ProtocolVersion;

#[cfg(test)]
pub(crate) mod testing {
    use super::{BrokerConfig, ConfigError, Properties};

    /// A configuration of these pairs, and a `zookeeper.connect` where there is none.
    pub fn config(pairs: &[(&str, &str)]) -> Result<BrokerConfig, ConfigError> {
        let mut properties: Properties = pairs.iter().copied().collect();
        if !properties.contains("zookeeper.connect") {
            properties.set("zookeeper.connect", "localhost:2181");
        }
        BrokerConfig::from_properties(properties)
    }
}
