//! What one fetcher knows of its partitions and decides: what to send next, what an answer means.
//!
//! No time, no network: [`FetcherCore::next_step`] says what to do, the answers come in by
//! [`FetcherCore::on_response`], one exchange at a time. Logs are changed on the way, so calls may block on the disk.
//! Partitions are looked at only when something about them changed; the rest the fetch session remembers.
//! Here is the state and what changes it; [`steps`] says what to send, [`answers`] takes in what comes.
//! Answers to Kafka's `AbstractFetcherThread` (spec zookeeper 4.12, log 2.16).

mod answers;
mod steps;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::session::FetchSession;
use super::{FetcherSettings, FollowError, FollowOrder, FollowerLog};
use crate::protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};
use crate::quota::ReplicationQuota;
use crate::topic::TopicPartition;

pub(super) const TARGET: &str = "kafka.server.ReplicaFetcherThread";
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The logs' starts may move without our doing (retention): all partitions are looked at this often.
const FULL_LOOK_MS: i64 = 1_000;

/// A request to send. Its answer goes to [`FetcherCore::on_response`].
#[derive(Clone, Debug)]
pub enum Outgoing {
    Fetch(i16, FetchRequest),
    ListOffsets(i16, ListOffsetsRequest),
    Epochs(i16, OffsetForLeaderEpochRequest),
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Incoming {
    Fetch(FetchResponse),
    ListOffsets(ListOffsetsResponse),
    Epochs(OffsetForLeaderEpochResponse),
}

/// What a fetcher wants to do.
#[derive(Clone, Debug)]
pub enum Step {
    /// Cut logs here: call [`FetcherCore::truncate`].
    Truncate,
    Send(Outgoing),
    /// Nothing, before this time (milliseconds since the epoch) or before the partitions change.
    Wait(Option<i64>),
}

/// Where a partition is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Fetching,
    /// The log may hold what the leader does not: to be cut first.
    Truncating,
    /// Our offset is out of the leader's range: its end is to be asked for.
    SeekingEnd,
    /// The leader's end is beyond ours: its start is to be asked for.
    SeekingStart,
}

struct Followed {
    topic_id: Uuid,
    leader_epoch: i32,
    offset: i64,
    last_fetched_epoch: Option<i32>,
    phase: Phase,
    /// The leader's high watermark at the last answer was not beyond our end.
    in_sync: bool,
    /// Left alone before this time, milliseconds since the epoch; 0 for ready.
    ready_at_ms: i64,
    /// Turn in full requests: those that got data go to the end.
    place: u64,
    log: Arc<dyn FollowerLog>,
}

/// Answers awaited besides fetches.
enum InFlight {
    Fetch,
    /// (partition, leader epoch) asked about, and for which offset.
    Offsets(i64, Vec<(TopicPartition, i32)>),
    /// (partition, leader epoch, epoch asked about).
    Epochs(Vec<(TopicPartition, i32, i32)>),
}

/// The state of one fetcher.
pub struct FetcherCore {
    settings: Arc<FetcherSettings>,
    /// `[ReplicaFetcher replicaId=…, leaderId=…, fetcherId=…]`
    name: String,
    partitions: HashMap<TopicPartition, Followed>,
    session: FetchSession,
    /// To be compared with the session before the next request.
    changed: BTreeSet<(u64, TopicPartition)>,
    /// Partitions that are not `Fetching`.
    seeking: BTreeSet<TopicPartition>,
    delayed: BTreeSet<(i64, TopicPartition)>,
    /// Left out of the last fetch by the throttle.
    held_back: BTreeSet<TopicPartition>,
    quota: Arc<ReplicationQuota>,
    /// Partitions whose topic id is not known.
    nameless: usize,
    next_place: u64,
    next_look_ms: i64,
    in_flight: Option<InFlight>,
    failed: BTreeSet<TopicPartition>,
}

impl FetcherCore {
    pub fn new(settings: Arc<FetcherSettings>, leader: i32, fetcher: i32) -> FetcherCore {
        let name = format!("[ReplicaFetcher replicaId={}, leaderId={leader}, fetcherId={fetcher}]", settings.broker_id);
        FetcherCore {
            settings,
            name,
            partitions: HashMap::new(),
            session: FetchSession::default(),
            changed: BTreeSet::new(),
            seeking: BTreeSet::new(),
            delayed: BTreeSet::new(),
            held_back: BTreeSet::new(),
            quota: Arc::default(),
            nameless: 0,
            next_place: 0,
            next_look_ms: 0,
            in_flight: None,
            failed: BTreeSet::new(),
        }
    }

    /// The same under this throttle; without one nothing is held back.
    pub fn with_quota(self, quota: Arc<ReplicationQuota>) -> FetcherCore {
        FetcherCore { quota, ..self }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_idle(&self) -> bool {
        self.partitions.is_empty()
    }

    pub fn follows(&self, tp: &TopicPartition) -> bool {
        self.partitions.contains_key(tp)
    }

    /// Partitions given up until the next order about them.
    pub fn failed(&self) -> impl Iterator<Item = &TopicPartition> {
        self.failed.iter()
    }

    /// Offset, leader epoch and last fetched epoch of a partition.
    pub fn position(&self, tp: &TopicPartition) -> Option<(i64, i32, Option<i32>)> {
        self.partitions.get(tp).map(|p| (p.offset, p.leader_epoch, p.last_fetched_epoch))
    }

    /// Begins to follow. In the same leader epoch what is known already stays.
    pub fn add(&mut self, order: FollowOrder) {
        let FollowOrder { tp, topic_id, leader_epoch, initial_offset, log, .. } = order;
        self.failed.remove(&tp);
        if self.partitions.get(&tp).is_some_and(|known| known.leader_epoch == leader_epoch) {
            self.set_topic_id(&tp, topic_id);
            return;
        }
        self.remove(&tp);
        let last_fetched_epoch = log.latest_epoch();
        let fetches_at_once = self.settings.versions.truncates_on_fetch && last_fetched_epoch.is_some();
        let phase = if fetches_at_once { Phase::Fetching } else { Phase::Truncating };
        let place = self.take_place();
        self.nameless += usize::from(topic_id.is_nil());
        let followed = Followed {
            topic_id,
            leader_epoch,
            offset: initial_offset,
            last_fetched_epoch,
            phase: Phase::Fetching,
            in_sync: false,
            ready_at_ms: 0,
            place,
            log,
        };
        self.partitions.insert(tp.clone(), followed);
        self.change(&tp);
        self.enter(&tp, phase);
    }

    /// Stops following.
    pub fn remove(&mut self, tp: &TopicPartition) {
        self.failed.remove(tp);
        let Some(followed) = self.partitions.remove(tp) else { return };
        self.nameless -= usize::from(followed.topic_id.is_nil());
        self.seeking.remove(tp);
        self.delayed.remove(&(followed.ready_at_ms, tp.clone()));
        // The session still has it: it must be forgotten there.
        self.changed.insert((followed.place, tp.clone()));
    }

    pub fn set_topic_id(&mut self, tp: &TopicPartition, topic_id: Uuid) {
        let Some(followed) = self.partitions.get_mut(tp) else { return };
        self.nameless -= usize::from(followed.topic_id.is_nil());
        self.nameless += usize::from(topic_id.is_nil());
        followed.topic_id = topic_id;
        self.change(tp);
    }

    fn take_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }

    fn change(&mut self, tp: &TopicPartition) {
        if let Some(followed) = self.partitions.get(tp) {
            self.changed.insert((followed.place, tp.clone()));
        }
    }

    fn enter(&mut self, tp: &TopicPartition, phase: Phase) {
        let Some(followed) = self.partitions.get_mut(tp) else { return };
        followed.phase = phase;
        if phase == Phase::Fetching {
            self.seeking.remove(tp);
        } else {
            self.seeking.insert(tp.clone());
        }
        self.change(tp);
    }

    /// Leaves a partition alone for the back-off time.
    fn delay(&mut self, tp: &TopicPartition, now_ms: i64) {
        let Some(followed) = self.partitions.get_mut(tp) else { return };
        if followed.ready_at_ms > now_ms {
            return;
        }
        self.delayed.remove(&(followed.ready_at_ms, tp.clone()));
        followed.ready_at_ms = now_ms + self.settings.backoff_ms;
        self.delayed.insert((followed.ready_at_ms, tp.clone()));
        self.change(tp);
    }

    fn give_up(&mut self, tp: &TopicPartition) {
        self.remove(tp);
        self.failed.insert(tp.clone());
    }

    /// Cuts a log and goes on from there.
    fn cut(&mut self, tp: &TopicPartition, offset: i64, is_final: bool, now_ms: i64) {
        let Some(followed) = self.partitions.get_mut(tp) else { return };
        match followed.log.truncate_to(followed.leader_epoch, offset, now_ms) {
            Ok(()) => {
                followed.offset = offset;
                followed.last_fetched_epoch = followed.log.latest_epoch();
                let fetches = is_final || self.settings.versions.truncates_on_fetch;
                self.enter(tp, if fetches { Phase::Fetching } else { Phase::Truncating });
            }
            Err(error) => self.on_log_error(tp, &error, now_ms),
        }
    }

    fn on_log_error(&mut self, tp: &TopicPartition, error: &FollowError, now_ms: i64) {
        match error {
            // The order that changed the role is about to take the partition from here.
            FollowError::Superseded => self.delay(tp, now_ms),
            FollowError::Records(why) => {
                tracing::error!(target: TARGET, "{} Found invalid records during fetch for partition {tp}: {why}", self.name);
                self.delay(tp, now_ms);
            }
            FollowError::Failed(why) => {
                tracing::error!(target: TARGET, "{} Unexpected error occurred while processing data for partition {tp}: {why}. It is not followed until the next LeaderAndIsr", self.name);
                self.give_up(tp);
            }
        }
    }
}
