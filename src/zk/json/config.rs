//! `/config/<type>/<entity>` (the overrides of one entity) and `/config/changes/config_change_N` (who changed).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{JsonError, as_i32, bytes, object, text};

/// Overrides of one entity. Values are strings, whatever the key's type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntityConfig {
    pub config: BTreeMap<String, String>,
}

impl EntityConfig {
    pub fn new(config: BTreeMap<String, String>) -> EntityConfig {
        EntityConfig { config }
    }

    pub fn encode(&self) -> Bytes {
        bytes(&json!({"version": 1, "config": self.config}))
    }

    /// Data that is absent or not JSON reads as no overrides, as in Kafka.
    pub fn decode(data: &[u8]) -> Result<EntityConfig, JsonError> {
        let Ok(map) = object(data) else { return Ok(EntityConfig::default()) };
        let Some(config) = map.get("config") else { return Ok(EntityConfig::default()) };
        let read = |(k, v): (&String, &Value)| Some((k.clone(), v.as_str()?.to_owned()));
        let config = config.as_object().and_then(|m| m.iter().map(read).collect()).ok_or(JsonError::Field("config"))?;
        Ok(EntityConfig { config })
    }
}

/// Which entity's configuration changed, as the path below `/config`: `topics/foo`, `users/alice/clients/app`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    pub entity_path: String,
}

impl ConfigChange {
    pub fn encode(&self) -> Bytes {
        bytes(&json!({"version": 2, "entity_path": self.entity_path}))
    }

    /// `None` for what is not JSON, which Kafka passes over silently.
    pub fn decode(data: &[u8]) -> Result<Option<ConfigChange>, JsonError> {
        let Ok(map) = object(data) else { return Ok(None) };
        let entity_path = match map.get("version").and_then(as_i32) {
            Some(2) => text(&map, "entity_path")?,
            Some(1) => {
                let entity_type = text(&map, "entity_type")?;
                if entity_type != "topics" && entity_type != "clients" {
                    return Err(JsonError::Field("entity_type"));
                }
                format!("{entity_type}/{}", text(&map, "entity_name")?)
            }
            Some(other) => return Err(JsonError::Version(other.into())),
            None => return Err(JsonError::Field("version")),
        };
        if !entity_path.contains('/') {
            return Err(JsonError::Field("entity_path"));
        }
        Ok(Some(ConfigChange { entity_path }))
    }

    /// Type and entity: `("users", "alice/clients/app")`.
    pub fn split(&self) -> (&str, &str) {
        self.entity_path.split_once('/').unwrap_or((&self.entity_path, ""))
    }
}
