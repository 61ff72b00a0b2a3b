//! The requests by which a client finds its way, and what their answers say: who is in the cluster, who leads a
//! partition, who coordinates a group. Pure functions.

use std::collections::BTreeMap;

use super::ClientError;
use super::pool::Node;
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::metadata_request::MetadataRequestTopic;
use crate::protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, MetadataResponse, TopicName,
};

/// What is known of the cluster.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The controller's broker id, if there is one.
    pub controller: Option<i32>,
    /// Live brokers by id.
    pub brokers: BTreeMap<i32, Node>,
}

impl Cluster {
    /// Out of a metadata answer; brokers whose port is no port are left out.
    pub fn from_response(response: &MetadataResponse) -> Cluster {
        let brokers = response.brokers.iter().filter_map(|broker| {
            let rack = broker.rack.as_ref().map(|rack| rack.to_string());
            node(broker.node_id.0, &broker.host, broker.port, rack).map(|node| (node.id, node))
        });
        Cluster {
            cluster_id: response.cluster_id.as_ref().map(|id| id.to_string()),
            controller: Some(response.controller_id.0).filter(|id| *id >= 0),
            brokers: brokers.collect(),
        }
    }
}

fn node(id: i32, host: &str, port: i32, rack: Option<String>) -> Option<Node> {
    Some(Node { id, host: host.to_owned(), port: u16::try_from(port).ok()?, rack })
}

/// Asks for the given topics, or all of them; makes none where the version can say so.
pub(super) fn metadata_request(version: i16, topics: Option<&[&str]>) -> Result<MetadataRequest, ClientError> {
    let name = |topic: &&str| {
        let name = TopicName::from(StrBytes::from_string((*topic).to_owned()));
        MetadataRequestTopic::default().with_name(Some(name))
    };
    let topics = match topics {
        Some([]) if version == 0 => {
            // Version 0 has no way to ask for none: an empty list means all. The brokers come along.
            Some(Vec::new())
        }
        Some(topics) => Some(topics.iter().map(name).collect()),
        None if version == 0 => Some(Vec::new()),
        None => None,
    };
    Ok(MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(version < 4))
}

/// The leader of the partition in an answer about its topic alone.
pub(super) fn leader_in(response: &MetadataResponse, partition: i32) -> Result<Node, ClientError> {
    let broker_error = |code| ClientError::Broker { code, message: None };
    let unknown = || broker_error(ErrorCode::UnknownTopicOrPartition);
    let topic = response.topics.first().ok_or_else(unknown)?;
    ClientError::from_code(topic.error_code, None)?;
    let partition = topic.partitions.iter().find(|p| p.partition_index == partition).ok_or_else(unknown)?;
    // A partition without its full ISR may carry REPLICA_NOT_AVAILABLE in old versions; a leader is a leader.
    let brokers = Cluster::from_response(response).brokers;
    brokers.get(&partition.leader_id.0).cloned().ok_or_else(|| broker_error(ErrorCode::LeaderNotAvailable))
}

/// Asks who coordinates `key`; `kind` 0 for groups, 1 for transactions.
pub(super) fn coordinator_request(version: i16, kind: i8, key: &str) -> FindCoordinatorRequest {
    let mut request = FindCoordinatorRequest::default();
    let key = StrBytes::from_string(key.to_owned());
    if version >= 4 {
        request.coordinator_keys = vec![key];
    } else {
        request.key = key;
    }
    if version >= 1 {
        request.key_type = kind;
    }
    request
}

/// The coordinator in an answer about one key, of any version.
pub(super) fn coordinator_in(response: &FindCoordinatorResponse) -> Result<Node, ClientError> {
    let (code, message, found) = match response.coordinators.first() {
        Some(one) => (one.error_code, &one.error_message, node(one.node_id.0, &one.host, one.port, None)),
        None => {
            let found = node(response.node_id.0, &response.host, response.port, None);
            (response.error_code, &response.error_message, found)
        }
    };
    ClientError::from_code(code, message.as_ref().map(|text| text.to_string()))?;
    found.ok_or(ClientError::Broker { code: ErrorCode::CoordinatorNotAvailable, message: None })
}
