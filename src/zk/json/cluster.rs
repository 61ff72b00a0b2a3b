//! Znodes there is one of: cluster id, finalized features, the latest block of producer ids.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{JsonError, as_i32, bytes, int, long_text, object, text};

/// `/cluster/id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterId {
    /// 22 characters of URL-safe base64.
    pub id: String,
}

impl ClusterId {
    pub fn encode(&self) -> Bytes {
        bytes(&json!({"version": "1", "id": self.id}))
    }

    pub fn decode(data: &[u8]) -> Result<ClusterId, JsonError> {
        Ok(ClusterId { id: text(&object(data)?, "id")? })
    }
}

/// `/latest_producer_id_block`: the block of producer ids that was handed out last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The broker it went to.
    pub broker: i32,
    pub start: i64,
    /// Inclusive.
    pub end: i64,
}

impl ProducerIdBlock {
    /// Ids per block.
    pub const SIZE: i64 = 1000;

    /// The block after `last`, for `broker`; `None` when the numbers are used up.
    pub fn next(last: Option<ProducerIdBlock>, broker: i32) -> Option<ProducerIdBlock> {
        let start = match last {
            None => 0,
            Some(block) => block.end.checked_add(1)?,
        };
        Some(ProducerIdBlock { broker, start, end: start.checked_add(Self::SIZE - 1)? })
    }

    pub fn encode(&self) -> Bytes {
        bytes(&json!({
            "version": 1,
            "broker": self.broker,
            "block_start": self.start.to_string(),
            "block_end": self.end.to_string(),
        }))
    }

    /// `None` for a znode without data: no block was handed out yet.
    pub fn decode(data: &[u8]) -> Result<Option<ProducerIdBlock>, JsonError> {
        if data.is_empty() {
            return Ok(None);
        }
        let map = object(data)?;
        let (start, end) = (long_text(&map, "block_start")?, long_text(&map, "block_end")?);
        Ok(Some(ProducerIdBlock { broker: int(&map, "broker")?, start, end }))
    }
}

/// Whether finalized features apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureStatus {
    Disabled,
    Enabled,
}

/// `/feature`: finalized features. Its data version is the epoch told in ApiVersions, and not in here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureZnode {
    /// 2 from IBP 3.3-IV0 on, else 1.
    pub version: i32,
    pub status: FeatureStatus,
    /// Name to maximum version level (and minimum, in format version 1).
    pub features: BTreeMap<String, (Option<i16>, i16)>,
}

impl FeatureZnode {
    /// What a controller writes: no features, since there are none in ZooKeeper mode.
    pub fn empty(version: i32, status: FeatureStatus) -> FeatureZnode {
        FeatureZnode { version, status, features: BTreeMap::new() }
    }

    pub fn encode(&self) -> Bytes {
        let features = self.features.iter().map(|(name, (min, max))| {
            let mut levels = Map::new();
            if self.version < 2 {
                levels.insert("min_version_level".to_owned(), json!(min.unwrap_or(1)));
            }
            levels.insert("max_version_level".to_owned(), json!(max));
            (name.clone(), Value::Object(levels))
        });
        let features: Map<String, Value> = features.collect();
        let status = i32::from(self.status == FeatureStatus::Enabled);
        bytes(&json!({"features": features, "version": self.version, "status": status}))
    }

    pub fn decode(data: &[u8]) -> Result<FeatureZnode, JsonError> {
        let map = object(data)?;
        let version = int(&map, "version")?;
        if !(1..=2).contains(&version) {
            return Err(JsonError::Version(version.into()));
        }
        let status = match int(&map, "status")? {
            0 => FeatureStatus::Disabled,
            1 => FeatureStatus::Enabled,
            other => return Err(JsonError::Invalid(format!("unknown feature status {other}"))),
        };
        let level = |v: &Value, key: &str| v.get(key).and_then(as_i32).and_then(|n| i16::try_from(n).ok());
        let read = |(name, v): (&String, &Value)| {
            Some((name.clone(), (level(v, "min_version_level"), level(v, "max_version_level")?)))
        };
        let features = match map.get("features") {
            None => BTreeMap::new(),
            Some(value) => {
                value.as_object().and_then(|m| m.iter().map(read).collect()).ok_or(JsonError::Field("features"))?
            }
        };
        Ok(FeatureZnode { version, status, features })
    }
}
