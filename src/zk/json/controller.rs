//! `/controller`: who is the controller.

use bytes::Bytes;
use serde_json::json;

use super::{JsonError, as_i32, bytes, int, object};

/// The ephemeral znode of the active controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerZnode {
    pub broker_id: i32,
    /// Milliseconds since the epoch at the election; not read by anyone (-1 if unreadable).
    pub timestamp_ms: i64,
    /// -1 for a ZooKeeper-mode controller. Above 0 it is a KRaft controller during a migration.
    pub kraft_controller_epoch: i32,
}

impl ControllerZnode {
    pub fn new(broker_id: i32, now_ms: i64) -> ControllerZnode {
        ControllerZnode { broker_id, timestamp_ms: now_ms, kraft_controller_epoch: -1 }
    }

    /// True when brokers must not write configs themselves, because a KRaft controller rules.
    pub fn is_kraft(&self) -> bool {
        self.kraft_controller_epoch > 0
    }

    pub fn encode(&self) -> Bytes {
        bytes(&json!({
            "version": 2,
            "brokerid": self.broker_id,
            "timestamp": self.timestamp_ms.to_string(),
            "kraftControllerEpoch": self.kraft_controller_epoch,
        }))
    }

    pub fn decode(data: &[u8]) -> Result<ControllerZnode, JsonError> {
        let map = object(data)?;
        Ok(ControllerZnode {
            broker_id: int(&map, "brokerid")?,
            timestamp_ms: super::long_text(&map, "timestamp").unwrap_or(-1),
            kraft_controller_epoch: map.get("kraftControllerEpoch").and_then(as_i32).unwrap_or(-1),
        })
    }
}
