//! [`LiveConfig`]: the configuration in force, swapped whole when a dynamic setting changes (`DynamicBrokerConfig`).

use super::broker::BrokerConfig;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// Shared by everyone who must see dynamic changes; what takes an `Arc<BrokerConfig>` instead keeps what it got at the start.
#[derive(Debug)]
pub struct LiveConfig(ArcSwap<BrokerConfig>);

impl LiveConfig {
    pub fn new(config: Arc<BrokerConfig>) -> LiveConfig {
        LiveConfig(ArcSwap::new(config))
    }

    /// The configuration at this moment.
    pub fn load(&self) -> Arc<BrokerConfig> {
        self.0.load_full()
    }

    /// Puts another in force. Only whoever follows the dynamic settings may do so.
    pub fn replace(&self, config: Arc<BrokerConfig>) {
        self.0.store(config);
    }
}
