//! One member of a group, and what a join or a sync is answered with.
//!
//! Answers to Kafka's `MemberMetadata`, `JoinGroupResult` and `SyncGroupResult`. Plain data, changed only by `Group`.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::protocol::ErrorCode;

/// Names a parked request; the async edge knows who waits for it.
pub type Ticket = u64;

/// One protocol (assignor) a member supports, with its metadata for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: Arc<str>,
    pub metadata: Bytes,
}

/// One member.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: Arc<str>,
    /// `group.instance.id`: set for static members.
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    /// `/127.0.0.1`
    pub client_host: Arc<str>,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
    pub assignment: Bytes,
    /// True until its first join is answered.
    pub is_new: bool,
    /// The parked JoinGroup. Changed through `Group`, which counts them.
    pub(super) join: Option<Ticket>,
    /// The parked SyncGroup.
    pub(super) sync: Option<Ticket>,
    /// When the member is taken for dead, on the monotonic clock.
    pub(super) session_deadline: Option<i64>,
}

impl Member {
    pub fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    pub fn is_awaiting_join(&self) -> bool {
        self.join.is_some()
    }

    pub fn is_awaiting_sync(&self) -> bool {
        self.sync.is_some()
    }

    /// Whether the passing of the session deadline means anything: a member whose request is parked here is alive,
    /// but a new one may have given up long ago, since nobody watches a parked connection.
    pub(super) fn can_expire(&self) -> bool {
        self.is_new || !(self.is_awaiting_join() || self.is_awaiting_sync())
    }

    /// The metadata for `protocol`; empty if the member does not support it.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|p| &*p.name == protocol).map(|p| p.metadata.clone()).unwrap_or_default()
    }

    /// The distinct names of its protocols.
    pub(super) fn protocol_names(protocols: &[Protocol]) -> HashSet<Arc<str>> {
        protocols.iter().map(|protocol| protocol.name.clone()).collect()
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.protocols.iter().map(|protocol| &*protocol.name).collect();
        write!(
            f,
            "MemberMetadata(memberId={}, groupInstanceId={}, clientId={}, clientHost={}, sessionTimeoutMs={}, \
             rebalanceTimeoutMs={}, supportedProtocols=List({}))",
            self.id,
            Optional(self.instance_id.as_deref()),
            self.client_id,
            self.client_host,
            self.session_timeout_ms,
            self.rebalance_timeout_ms,
            names.join(", ")
        )
    }
}

/// Prints as Scala's `Option` does in Kafka's log lines.
pub(super) struct Optional<'a>(pub(super) Option<&'a str>);

impl fmt::Display for Optional<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => write!(f, "Some({text})"),
            None => f.write_str("None"),
        }
    }
}

/// One entry of the member list the leader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinMember {
    pub id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub metadata: Bytes,
}

/// The answer to a JoinGroup, before it is shaped for a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinResult {
    pub error: ErrorCode,
    pub generation: i32,
    pub protocol_type: Option<Arc<str>>,
    pub protocol_name: Option<Arc<str>>,
    pub leader: Arc<str>,
    pub skip_assignment: bool,
    pub member_id: Arc<str>,
    pub members: Vec<JoinMember>,
}

impl JoinResult {
    pub fn error(member_id: &str, error: ErrorCode) -> JoinResult {
        JoinResult {
            error,
            generation: -1,
            protocol_type: None,
            protocol_name: None,
            leader: Arc::from(""),
            skip_assignment: false,
            member_id: Arc::from(member_id),
            members: Vec::new(),
        }
    }
}

/// The answer to a SyncGroup, before it is shaped for a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncResult {
    pub error: ErrorCode,
    pub protocol_type: Option<Arc<str>>,
    pub protocol_name: Option<Arc<str>>,
    pub assignment: Bytes,
}

impl SyncResult {
    pub fn error(error: ErrorCode) -> SyncResult {
        SyncResult { error, protocol_type: None, protocol_name: None, assignment: Bytes::new() }
    }
}
