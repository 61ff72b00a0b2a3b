//! `/delegation_token/tokens/<id>`: a delegation token without its secret.

use bytes::Bytes;
use serde_json::json;

use super::{JsonError, bytes, long, object, strings, text};
use crate::zk::paths::{desanitize, sanitize};

/// A delegation token. Principals as `User:alice`; times in milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationToken {
    pub token_id: String,
    pub owner: String,
    pub token_requester: String,
    pub renewers: Vec<String>,
    pub issue_timestamp_ms: i64,
    pub expiry_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
}

impl DelegationToken {
    pub fn encode(&self) -> Bytes {
        let renewers: Vec<String> = self.renewers.iter().map(|r| sanitize(r)).collect();
        bytes(&json!({
            "issueTimestamp": self.issue_timestamp_ms,
            "renewers": renewers,
            "tokenRequester": sanitize(&self.token_requester),
            "tokenId": self.token_id,
            "owner": sanitize(&self.owner),
            "expiryTimestamp": self.expiry_timestamp_ms,
            "maxTimestamp": self.max_timestamp_ms,
            "version": 3,
        }))
    }

    /// Tokens from before version 3 have no requester: the owner asked.
    pub fn decode(data: &[u8]) -> Result<DelegationToken, JsonError> {
        let map = object(data)?;
        let principal = |key| desanitize(&text(&map, key)?).ok_or(JsonError::Field(key));
        let owner = principal("owner")?;
        let token_requester =
            if map.contains_key("tokenRequester") { principal("tokenRequester")? } else { owner.clone() };
        let renewers = map
            .get("renewers")
            .and_then(strings)
            .and_then(|list| list.iter().map(|r| desanitize(r)).collect())
            .ok_or(JsonError::Field("renewers"))?;
        Ok(DelegationToken {
            token_id: text(&map, "tokenId")?,
            owner,
            token_requester,
            renewers,
            issue_timestamp_ms: long(&map, "issueTimestamp")?,
            expiry_timestamp_ms: long(&map, "expiryTimestamp")?,
            max_timestamp_ms: long(&map, "maxTimestamp")?,
        })
    }
}
