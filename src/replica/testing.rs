//! What tests of replicas need: logs in temporary directories, a table with fetchers that only take notes.

use std::sync::Arc;

use parking_lot::Mutex;
use tempfile::TempDir;
use uuid::Uuid;

use super::ReplicaTable;
use super::control::LeadershipOrder;
use super::fetcher::{Fetching, FollowOrder};
use super::isr_manager::IsrManager;
use super::partition::LeaderAndIsr;
use super::table::ReplicaSettings;
use crate::log::tests::{Bench, Jobs, config, options};
use crate::log::{LogManager, PartitionLog};
use crate::metadata::MetadataCache;
use crate::protocol::messages::update_metadata_request::{UpdateMetadataBroker, UpdateMetadataEndpoint};
use crate::protocol::messages::{BrokerId, UpdateMetadataRequest};
use crate::topic::TopicPartition;

pub const ME: i32 = 1;
pub const ID: Uuid = Uuid::from_u128(42);

/// A log of `t-0`; the directory goes with the first of the two.
pub fn log() -> (TempDir, Arc<PartitionLog>) {
    let dir = tempfile::tempdir().unwrap();
    let log = Bench::new(dir.path(), config(&[("min.insync.replicas", "2")])).open();
    (dir, log)
}

/// Fetchers that note what they are told.
#[derive(Default)]
pub struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Fetching for Notes {
    fn follow(&self, orders: Vec<FollowOrder>) {
        for o in orders {
            let note = format!("follow {} of {} in {} from {}", o.tp, o.leader, o.leader_epoch, o.initial_offset);
            self.0.lock().push(note);
        }
    }

    fn unfollow(&self, partitions: &[TopicPartition]) {
        partitions.iter().for_each(|tp| self.0.lock().push(format!("unfollow {tp}")));
    }

    fn set_topic_id(&self, tp: &TopicPartition, topic_id: Uuid) {
        self.0.lock().push(format!("{tp} is {}", if topic_id.is_nil() { "nameless" } else { "named" }));
    }

    fn end_idle(&self) {}

    fn shut_down(&self) {}
}

/// A table of broker 1 in a cluster of these live brokers.
pub struct TableBench {
    pub table: Arc<ReplicaTable>,
    pub metadata: Arc<MetadataCache>,
    pub fetchers: Arc<Notes>,
    _dir: TempDir,
}

impl TableBench {
    pub fn new(live: &[i32]) -> TableBench {
        let dir = tempfile::tempdir().unwrap();
        let logs = LogManager::start(options(&[dir.path()], &Jobs::default())).unwrap();
        let metadata = Arc::new(MetadataCache::new());
        let fetchers = Arc::new(Notes::default());
        let settings = ReplicaSettings { broker_id: ME, max_lag_ms: 30_000, truncates_on_fetch: true };
        let isr_changes = Arc::new(IsrManager::new(ME, metadata.clone()));
        let table = ReplicaTable::new(settings, logs, metadata.clone(), fetchers.clone(), isr_changes);
        let bench = TableBench { table: Arc::new(table), metadata, fetchers, _dir: dir };
        bench.set_live(live);
        bench
    }

    /// The controller says who lives.
    pub fn set_live(&self, ids: &[i32]) {
        let endpoint = UpdateMetadataEndpoint::default().with_listener("PLAINTEXT".into()).with_host("h".into());
        let broker =
            |id: &i32| UpdateMetadataBroker::default().with_id(BrokerId(*id)).with_endpoints(vec![endpoint.clone()]);
        self.metadata.apply(&UpdateMetadataRequest::default().with_live_brokers(ids.iter().map(broker).collect()));
    }
}

/// LeaderAndIsr of `t-0` with replicas 1, 2 and 3, all in sync.
pub fn order(leader: i32, leader_epoch: i32) -> LeadershipOrder {
    LeadershipOrder { tp: TopicPartition::new("t", 0), topic_id: ID, state: state(leader, leader_epoch) }
}

pub fn state(leader: i32, leader_epoch: i32) -> LeaderAndIsr {
    LeaderAndIsr {
        controller_epoch: 1,
        leader,
        leader_epoch,
        isr: vec![1, 2, 3],
        partition_epoch: leader_epoch,
        replicas: vec![1, 2, 3],
        adding: vec![],
        removing: vec![],
        is_new: true,
    }
}
