//! `/kafka-acl/…` and `/kafka-acl-extended/…`: the ACLs of one resource, and the note that they changed.
//!
//! Names stay text here, in Kafka's PascalCase; the authorizer gives them meaning.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{JsonError, bytes, object, text};

/// One entry: who may (or may not) do what from where.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Acl {
    /// `User:alice`.
    pub principal: String,
    /// `Allow` or `Deny`.
    pub permission_type: String,
    /// `Read`, `DescribeConfigs`, …
    pub operation: String,
    /// An address, or `*`.
    pub host: String,
}

/// All entries of one resource pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AclSet {
    pub acls: Vec<Acl>,
}

impl AclSet {
    pub fn encode(&self) -> Bytes {
        let list: Vec<Value> = self
            .acls
            .iter()
            .map(|a| {
                json!({
                    "principal": a.principal,
                    "permissionType": a.permission_type,
                    "operation": a.operation,
                    "host": a.host,
                })
            })
            .collect();
        bytes(&json!({"version": 1, "acls": list}))
    }

    /// A znode without data holds no entries.
    pub fn decode(data: &[u8]) -> Result<AclSet, JsonError> {
        if data.is_empty() {
            return Ok(AclSet::default());
        }
        let map = object(data)?;
        super::int(&map, "version").and_then(|v| if v == 1 { Ok(()) } else { Err(JsonError::Version(v.into())) })?;
        let list = map.get("acls").and_then(Value::as_array).ok_or(JsonError::Field("acls"))?;
        let acls = list
            .iter()
            .map(|entry| {
                let entry = entry.as_object().ok_or(JsonError::Field("acls"))?;
                Ok(Acl {
                    principal: text(entry, "principal")?,
                    permission_type: text(entry, "permissionType")?,
                    operation: text(entry, "operation")?,
                    host: text(entry, "host")?,
                })
            })
            .collect::<Result<_, JsonError>>()?;
        Ok(AclSet { acls })
    }
}

/// `/kafka-acl-extended-changes/acl_changes_N`: a prefixed pattern whose entries changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedAclChange {
    /// `GROUP`, `TOPIC`, … in upper case.
    pub resource_type: String,
    pub name: String,
    /// `PREFIXED`.
    pub pattern_type: String,
}

impl ExtendedAclChange {
    pub fn encode(&self) -> Bytes {
        bytes(&json!({
            "version": 1,
            "resourceType": self.resource_type,
            "name": self.name,
            "patternType": self.pattern_type,
        }))
    }

    pub fn decode(data: &[u8]) -> Result<ExtendedAclChange, JsonError> {
        let map = object(data)?;
        Ok(ExtendedAclChange {
            resource_type: text(&map, "resourceType")?,
            name: text(&map, "name")?,
            pattern_type: text(&map, "patternType")?,
        })
    }
}
