//! One file per family of requests: decode, act, answer. This file is the switch between them.
//!
//! A request runs on its connection's task: [`Api::handle`] is called with a whole frame and returns a
//! [`Reply`]. What needs no waiting is answered at once; acks=all appends and long polls are answered later while
//! the connection reads on; everything else that has to wait holds back the connection's next request, so that
//! requests of one connection act in their order, as with Kafka. Work that may block for long (opening and
//! deleting logs) goes to the blocking pool.
//! Answers to Kafka's `KafkaApis`.

pub mod alter_configs;
pub mod api_versions;
pub mod cluster;
pub mod configs;
pub mod control;
pub mod elections;
pub mod epochs;
pub mod fetch;
pub mod fetch_response;
pub mod find_coordinator;
pub mod groups;
pub mod list_offsets;
pub mod log_dirs;
pub mod metadata;
pub mod partitions;
pub mod produce;
pub mod producer_ids;
pub mod reassignments;
pub mod reply;
pub mod topic_creation;
pub mod topic_deletion;
pub mod zk_offsets;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::config::{BrokerConfig, LiveConfig};
use crate::controller::ControllerHandle;
use crate::group::GroupCoordinator;
use crate::metadata::MetadataCache;
use crate::protocol::messages::RequestKind;
use crate::protocol::{api, codec, header};
use crate::replica::ReplicaTable;
use crate::replica::session::FetchSessions;
use crate::txn::producer_ids::ProducerIds;
use crate::zk::store::Store;
use reply::{Reply, Responder};

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// Name of the listener it came in by.
    pub listener: Arc<str>,
}

/// What a handler needs to know of a request besides its body.
#[derive(Clone, Debug)]
pub struct RequestContext {
    pub api_key: i16,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<Arc<str>>,
    pub listener: Arc<str>,
    pub address: SocketAddr,
}

impl RequestContext {
    pub fn responder(&self) -> Responder {
        Responder { api_key: self.api_key, version: self.version, correlation_id: self.correlation_id }
    }

    /// The client id, empty when the request has none.
    pub fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or("")
    }

    /// The client's address as group members carry it: `/127.0.0.1`.
    pub fn client_host(&self) -> String {
        format!("/{}", self.address.ip())
    }
}

/// Settings the handlers ask for on every request, taken out of the configuration once.
#[derive(Clone, Copy, Debug)]
pub struct ApiSettings {
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: i32,
    /// `replica.selector.class` is the rack-aware one.
    pub rack_aware: bool,
}

/// Everything the handlers work with.
pub struct Api {
    pub settings: ApiSettings,
    pub config: Arc<LiveConfig>,
    pub cluster_id: Arc<str>,
    /// Data version of `/feature`, -1 when the node is absent.
    pub features: watch::Receiver<i64>,
    pub metadata: Arc<MetadataCache>,
    pub replicas: Arc<ReplicaTable>,
    pub fetch_sessions: FetchSessions,
    pub groups: GroupCoordinator,
    pub producer_ids: Arc<ProducerIds>,
    pub controller: ControllerHandle,
    pub store: Arc<Store>,
    /// Topics whose automatic creation is under way on this broker.
    pub creating: topic_creation::InFlight,
}

impl Api {
    /// The configuration in force.
    pub fn config(&self) -> Arc<BrokerConfig> {
        self.config.load()
    }

    pub fn broker_id(&self) -> i32 {
        self.replicas.broker_id()
    }

    /// Handles one request frame (without its length prefix).
    pub fn handle(self: &Arc<Self>, peer: &Peer, mut frame: Bytes) -> Reply {
        let header = match header::parse(&mut frame) {
            Ok(header) => header,
            Err(error) => return Reply::Close(error.to_string()),
        };
        let ctx = RequestContext {
            api_key: header.api_key,
            version: header.api_version,
            correlation_id: header.correlation_id,
            client_id: header.client_id.map(|id| Arc::from(&*id)),
            listener: peer.listener.clone(),
            address: peer.address,
        };
        if api::is_unsupported_api_versions(ctx.api_key, ctx.version) {
            return api_versions::unsupported(&ctx);
        }
        if !api::is_advertised(ctx.api_key, ctx.version) {
            return Reply::Close(format!(
                "Received request api key {} with unsupported version {}",
                ctx.api_key, ctx.version
            ));
        }
        match codec::decode_request(ctx.api_key, ctx.version, frame) {
            Ok(request) => self.dispatch(ctx, request),
            Err(error) => Reply::Close(format!(
                "Error getting request for apiKey: {}, apiVersion: {}, correlationId: {}: {error}",
                ctx.api_key, ctx.version, ctx.correlation_id
            )),
        }
    }

    fn dispatch(self: &Arc<Self>, ctx: RequestContext, request: RequestKind) -> Reply {
        match request {
            RequestKind::Produce(r) => produce::handle(self, ctx, r),
            RequestKind::Fetch(r) => fetch::handle(self, ctx, r),
            RequestKind::ListOffsets(r) => list_offsets::handle(self, &ctx, &r),
            RequestKind::Metadata(r) => metadata::handle(self, ctx, r),
            RequestKind::ApiVersions(r) => api_versions::handle(self, &ctx, &r),
            RequestKind::OffsetForLeaderEpoch(r) => epochs::handle(self, &ctx, &r),
            RequestKind::FindCoordinator(r) => find_coordinator::handle(self, ctx, r),
            RequestKind::DescribeCluster(r) => cluster::handle(self, &ctx, &r),
            RequestKind::DescribeConfigs(r) => configs::handle(self, ctx, r),
            RequestKind::AlterConfigs(r) => alter_configs::replace(self, ctx, r),
            RequestKind::IncrementalAlterConfigs(r) => alter_configs::incremental(self, ctx, r),
            RequestKind::CreateTopics(r) => topic_creation::handle(self, ctx, r),
            RequestKind::DeleteTopics(r) => topic_deletion::handle(self, ctx, r),
            RequestKind::CreatePartitions(r) => partitions::handle(self, ctx, r),
            RequestKind::InitProducerId(r) => producer_ids::init(self, ctx, r),
            RequestKind::AllocateProducerIds(r) => producer_ids::allocate(self, ctx, r),
            RequestKind::LeaderAndIsr(r) => control::leader_and_isr(self, ctx, r),
            RequestKind::StopReplica(r) => control::stop_replica(self, ctx, r),
            RequestKind::UpdateMetadata(r) => control::update_metadata(self, &ctx, &r),
            RequestKind::ControlledShutdown(r) => control::controlled_shutdown(self, ctx, r),
            RequestKind::AlterPartition(r) => control::alter_partition(self, ctx, r),
            RequestKind::ElectLeaders(r) => elections::handle(self, ctx, r),
            RequestKind::AlterPartitionReassignments(r) => reassignments::alter(self, ctx, r),
            RequestKind::ListPartitionReassignments(r) => reassignments::list(self, ctx, r),
            RequestKind::DescribeLogDirs(r) => log_dirs::handle(self, ctx, r),
            other => groups::handle(self, ctx, other),
        }
    }

    /// Leader id and epoch for answers to clients that came to the wrong broker.
    pub fn current_leader(&self, topic: &str, partition: i32) -> Option<(i32, i32)> {
        if let Ok(partition) = self.replicas.partition(topic, partition) {
            let leader = partition.current_leader();
            return Some((leader.id, leader.epoch));
        }
        self.metadata.image().partition(topic, partition).map(|p| (p.leader, p.leader_epoch))
    }
}
