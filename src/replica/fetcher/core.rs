//! What one fetcher knows of its partitions and decides: what to send next, what an answer means.
//!
//! No time, no network: [`FetcherCore::next_step`] says what to do, the answers come in by
//! [`FetcherCore::on_response`], one exchange at a time. Logs are changed on the way, so calls may block on the disk.
//! Partitions are looked at only when something about them changed; the rest the fetch session remembers.
//! Answers to Kafka's `AbstractFetcherThread` (spec zookeeper 4.12, log 2.16).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::requests;
use super::session::{Asked, FetchSession};
use super::truncation::{LeaderEpochEnd, truncation_point};
use super::{Fetched, FetcherSettings, FollowError, FollowOrder, FollowerLog};
use crate::protocol::ErrorCode;
use crate::protocol::messages::fetch_response::PartitionData;
use crate::protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};
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
            nameless: 0,
            next_place: 0,
            next_look_ms: 0,
            in_flight: None,
            failed: BTreeSet::new(),
        }
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

    /// What to do now. Not to be asked while an answer is awaited.
    pub fn next_step(&mut self, broker_epoch: i64, now_ms: i64) -> Step {
        self.wake_delayed(now_ms);
        if self.ready_to(Phase::Truncating, now_ms).any(|(_, p)| self.truncates_alone(p)) {
            return Step::Truncate;
        }
        if let Some(request) = self.epochs_request(now_ms).or_else(|| self.offsets_request(now_ms)) {
            return Step::Send(request);
        }
        match self.fetch_request(broker_epoch, now_ms) {
            Some(request) => {
                self.in_flight = Some(InFlight::Fetch);
                Step::Send(request)
            }
            None => Step::Wait(self.delayed.first().map(|(at, _)| *at)),
        }
    }

    fn wake_delayed(&mut self, now_ms: i64) {
        while let Some((at, tp)) = self.delayed.pop_first() {
            if at > now_ms {
                self.delayed.insert((at, tp));
                return;
            }
            if let Some(followed) = self.partitions.get_mut(&tp) {
                followed.ready_at_ms = 0;
            }
            self.change(&tp);
        }
    }

    fn ready_to(&self, phase: Phase, now_ms: i64) -> impl Iterator<Item = (&TopicPartition, &Followed)> {
        let known = self.seeking.iter().filter_map(|tp| Some((tp, self.partitions.get(tp)?)));
        known.filter(move |(_, p)| p.phase == phase && p.ready_at_ms <= now_ms)
    }

    /// Without epochs of its own, or where leaders tell in fetches, a log is cut without asking.
    fn truncates_alone(&self, followed: &Followed) -> bool {
        self.settings.versions.truncates_on_fetch
            || followed.log.latest_epoch().is_none()
            || self.settings.versions.epochs == 0
    }

    /// Cuts the logs that have nothing to ask about: to the initial offset, their high watermark.
    pub fn truncate(&mut self, now_ms: i64) {
        let ready: Vec<TopicPartition> = self
            .ready_to(Phase::Truncating, now_ms)
            .filter(|(_, p)| self.truncates_alone(p))
            .map(|(tp, _)| tp.clone())
            .collect();
        for tp in ready {
            let Some(offset) = self.partitions.get(&tp).map(|p| p.offset) else { continue };
            self.cut(&tp, offset, true, now_ms);
        }
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

    fn epochs_request(&mut self, now_ms: i64) -> Option<Outgoing> {
        let with_epoch =
            |(tp, p): (&TopicPartition, &Followed)| Some((tp.clone(), p.leader_epoch, p.log.latest_epoch()?));
        let asked: Vec<_> = self.ready_to(Phase::Truncating, now_ms).filter_map(with_epoch).collect();
        if asked.is_empty() {
            return None;
        }
        let request = requests::epochs(&self.settings, &asked);
        self.in_flight = Some(InFlight::Epochs(asked));
        Some(Outgoing::Epochs(self.settings.versions.epochs, request))
    }

    fn offsets_request(&mut self, now_ms: i64) -> Option<Outgoing> {
        for (phase, timestamp) in [(Phase::SeekingEnd, LATEST), (Phase::SeekingStart, EARLIEST)] {
            let asked: Vec<_> = self.ready_to(phase, now_ms).map(|(tp, p)| (tp.clone(), p.leader_epoch)).collect();
            if !asked.is_empty() {
                let request = requests::list_offsets(&self.settings, timestamp, &asked);
                self.in_flight = Some(InFlight::Offsets(timestamp, asked));
                return Some(Outgoing::ListOffsets(self.settings.versions.list_offsets, request));
            }
        }
        None
    }

    fn wanted(&self, tp: &TopicPartition, now_ms: i64) -> Option<Asked> {
        let followed = self.partitions.get(tp)?;
        let ready = followed.phase == Phase::Fetching && followed.ready_at_ms <= now_ms;
        let epoch = followed.last_fetched_epoch.filter(|_| self.settings.versions.truncates_on_fetch);
        ready.then(|| Asked {
            topic_id: followed.topic_id,
            fetch_offset: followed.offset,
            log_start_offset: followed.log.log_start_offset(),
            leader_epoch: followed.leader_epoch,
            last_fetched_epoch: epoch.unwrap_or(-1),
        })
    }

    fn fetch_request(&mut self, broker_epoch: i64, now_ms: i64) -> Option<Outgoing> {
        let uses_ids = self.nameless == 0 && requests::may_use_topic_ids(&self.settings);
        if uses_ids != self.session.uses_topic_ids() {
            self.session.restart();
        }
        if self.session.is_full() || now_ms >= self.next_look_ms {
            self.next_look_ms = now_ms + FULL_LOOK_MS;
            let all = self.partitions.iter().map(|(tp, p)| (p.place, tp.clone()));
            self.changed.extend(all);
        }
        let changed = std::mem::take(&mut self.changed);
        let request = if self.session.is_full() {
            let wanted: Vec<_> =
                changed.into_iter().filter_map(|(_, tp)| self.wanted(&tp, now_ms).map(|asked| (tp, asked))).collect();
            if wanted.is_empty() {
                return None;
            }
            self.session.full(wanted, uses_ids)
        } else {
            let changes = changed.into_iter().map(|(_, tp)| {
                let wanted = self.wanted(&tp, now_ms);
                (tp, wanted)
            });
            let request = self.session.incremental(changes.collect());
            if self.session.is_empty() && request.forgotten.is_empty() {
                return None;
            }
            request
        };
        let version = requests::fetch_version(&self.settings, uses_ids);
        Some(Outgoing::Fetch(version, requests::fetch(&self.settings, version, broker_epoch, request)))
    }

    /// Takes in the answer to the last step.
    pub fn on_response(&mut self, response: Incoming, now_ms: i64) {
        match (self.in_flight.take(), response) {
            (Some(InFlight::Fetch), Incoming::Fetch(response)) => self.on_fetch(response, now_ms),
            (Some(InFlight::Offsets(timestamp, asked)), Incoming::ListOffsets(response)) => {
                self.on_offsets(timestamp, &asked, &response, now_ms);
            }
            (Some(InFlight::Epochs(asked)), Incoming::Epochs(response)) => self.on_epochs(&asked, &response, now_ms),
            _ => tracing::error!(target: TARGET, "{} An answer to nothing that was asked", self.name),
        }
    }

    /// The exchange failed; whether the leader saw the request is not known.
    pub fn on_failure(&mut self, now_ms: i64) {
        match self.in_flight.take() {
            Some(InFlight::Offsets(_, asked)) => asked.iter().for_each(|(tp, _)| self.delay(tp, now_ms)),
            Some(InFlight::Epochs(asked)) => asked.iter().for_each(|(tp, ..)| self.delay(tp, now_ms)),
            Some(InFlight::Fetch) | None => {
                self.session.on_failure();
                self.delay_all(now_ms);
            }
        }
    }

    fn delay_all(&mut self, now_ms: i64) {
        let all: Vec<TopicPartition> = self.partitions.keys().cloned().collect();
        all.iter().for_each(|tp| self.delay(tp, now_ms));
    }

    fn on_fetch(&mut self, mut response: FetchResponse, now_ms: i64) {
        let code = ErrorCode::from_code(response.error_code);
        let mut order = Vec::new();
        for topic in &mut response.responses {
            let name = match self.session.uses_topic_ids() {
                true => self.session.topic_name(topic.topic_id).cloned(),
                false => Some(Arc::from(&*topic.topic.0)),
            };
            // A topic nobody asked for makes the whole answer void, below.
            let name = name.unwrap_or_else(|| Arc::from(""));
            let partitions = std::mem::take(&mut topic.partitions);
            order.extend(partitions.into_iter().map(|p| (TopicPartition::new(name.clone(), p.partition_index), p)));
        }
        let answered: BTreeMap<TopicPartition, usize> = order.iter().map(|(tp, _)| tp.clone()).zip(0..).collect();
        if !self.session.on_response(code, response.session_id, &answered) {
            tracing::info!(target: TARGET, "{} The leader's answer does not fit the fetch session (error {code}), a new one begins", self.name);
            if code == ErrorCode::FetchSessionTopicIdError {
                self.delay_all(now_ms);
            }
            return;
        }
        for (tp, data) in order {
            self.on_partition(&tp, data, now_ms);
        }
    }

    fn on_partition(&mut self, tp: &TopicPartition, data: PartitionData, now_ms: i64) {
        let (Some(followed), Some(asked)) = (self.partitions.get(tp), self.session.asked(tp)) else { return };
        // It may have been taken away and given again while the answer was on its way.
        let current = followed.offset == asked.fetch_offset
            && followed.leader_epoch == asked.leader_epoch
            && followed.phase == Phase::Fetching
            && followed.ready_at_ms <= now_ms;
        if !current {
            return;
        }
        match ErrorCode::from_code(data.error_code) {
            ErrorCode::None if data.diverging_epoch.epoch >= 0 => {
                let leader =
                    LeaderEpochEnd { epoch: data.diverging_epoch.epoch, end_offset: data.diverging_epoch.end_offset };
                self.on_divergence(tp, leader, now_ms);
            }
            ErrorCode::None => self.on_records(tp, data, now_ms),
            ErrorCode::OffsetOutOfRange => self.enter(tp, Phase::SeekingEnd),
            code => self.on_error(tp, code, now_ms),
        }
    }

    fn on_error(&mut self, tp: &TopicPartition, code: ErrorCode, now_ms: i64) {
        match code {
            ErrorCode::FencedLeaderEpoch => {
                let epoch = self.partitions.get(tp).map_or(-1, |p| p.leader_epoch);
                tracing::info!(target: TARGET, "{} Partition {tp} has an older epoch ({epoch}) than the current leader. Will await the new LeaderAndIsr state before resuming fetching.", self.name);
                self.give_up(tp);
            }
            ErrorCode::UnknownLeaderEpoch
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::InconsistentTopicId => {
                tracing::info!(target: TARGET, "{} The leader of {tp} answers {code}; asking again later", self.name);
                self.delay(tp, now_ms);
            }
            code => {
                tracing::error!(target: TARGET, "{} Error for partition {tp}: {code}", self.name);
                self.delay(tp, now_ms);
            }
        }
    }

    fn on_divergence(&mut self, tp: &TopicPartition, leader: LeaderEpochEnd, now_ms: i64) {
        let Some(followed) = self.partitions.get(tp) else { return };
        let truncation = truncation_point(&*followed.log, followed.offset, leader);
        tracing::info!(target: TARGET, "{} Truncating partition {tp} to {truncation:?} due to leader epoch {} that ends at {}", self.name, leader.epoch, leader.end_offset);
        self.cut(tp, truncation.offset, truncation.is_final, now_ms);
    }

    fn on_records(&mut self, tp: &TopicPartition, data: PartitionData, now_ms: i64) {
        let Some(followed) = self.partitions.get_mut(tp) else { return };
        let fetched = Fetched {
            leader_epoch: followed.leader_epoch,
            fetch_offset: followed.offset,
            records: data.records.unwrap_or_default(),
            high_watermark: data.high_watermark,
            log_start_offset: data.log_start_offset,
        };
        if let Err(error) = followed.log.append(fetched, now_ms) {
            return self.on_log_error(tp, &error, now_ms);
        }
        let end = followed.log.log_end_offset();
        if end != followed.offset {
            followed.offset = end;
            followed.last_fetched_epoch = followed.log.latest_epoch().or(followed.last_fetched_epoch);
            let old = (followed.place, tp.clone());
            self.next_place += 1;
            followed.place = self.next_place;
            self.changed.remove(&old);
        }
        self.change(tp);
    }

    fn on_offsets(
        &mut self,
        timestamp: i64,
        asked: &[(TopicPartition, i32)],
        response: &ListOffsetsResponse,
        now_ms: i64,
    ) {
        let mut answers = HashMap::new();
        for topic in &response.topics {
            for partition in &topic.partitions {
                let old = partition.old_style_offsets.first().copied();
                let offset =
                    if self.settings.versions.list_offsets == 0 { old.unwrap_or(-1) } else { partition.offset };
                let tp = TopicPartition::new(&*topic.name.0, partition.partition_index);
                answers.insert(tp, (ErrorCode::from_code(partition.error_code), offset));
            }
        }
        for (tp, epoch) in asked {
            if self.partitions.get(tp).is_none_or(|p| p.leader_epoch != *epoch) {
                continue;
            }
            match answers.get(tp) {
                Some((ErrorCode::None, offset)) if *offset < 0 => self.delay(tp, now_ms),
                Some((ErrorCode::None, offset)) if timestamp == LATEST => self.on_leader_end(tp, *offset, now_ms),
                Some((ErrorCode::None, offset)) => self.on_leader_start(tp, *offset, now_ms),
                Some((code, _)) => self.on_error(tp, *code, now_ms),
                None => self.delay(tp, now_ms),
            }
        }
    }

    fn on_leader_end(&mut self, tp: &TopicPartition, leader_end: i64, now_ms: i64) {
        let Some(followed) = self.partitions.get(tp) else { return };
        let end = followed.log.log_end_offset();
        if leader_end < end {
            tracing::warn!(target: TARGET, "{} Reset fetch offset for partition {tp} from {} to current leader's latest offset {leader_end}", self.name, followed.offset);
            self.cut(tp, leader_end, true, now_ms);
        } else {
            self.enter(tp, Phase::SeekingStart);
        }
    }

    fn on_leader_start(&mut self, tp: &TopicPartition, leader_start: i64, now_ms: i64) {
        let Some(followed) = self.partitions.get_mut(tp) else { return };
        let end = followed.log.log_end_offset();
        tracing::warn!(target: TARGET, "{} Reset fetch offset for partition {tp} from {} to current leader's start offset {leader_start}", self.name, followed.offset);
        if leader_start > end
            && let Err(error) = followed.log.restart_at(followed.leader_epoch, leader_start, now_ms)
        {
            return self.on_log_error(tp, &error, now_ms);
        }
        followed.offset = followed.log.log_end_offset();
        followed.last_fetched_epoch = followed.log.latest_epoch();
        self.enter(tp, Phase::Fetching);
    }

    fn on_epochs(
        &mut self,
        asked: &[(TopicPartition, i32, i32)],
        response: &OffsetForLeaderEpochResponse,
        now_ms: i64,
    ) {
        let mut answers = HashMap::new();
        for topic in &response.topics {
            for partition in &topic.partitions {
                let end = LeaderEpochEnd { epoch: partition.leader_epoch, end_offset: partition.end_offset };
                let tp = TopicPartition::new(&*topic.topic.0, partition.partition);
                answers.insert(tp, (ErrorCode::from_code(partition.error_code), end));
            }
        }
        for (tp, leader_epoch, _) in asked {
            let current = self.partitions.get(tp).is_some_and(|p| p.leader_epoch == *leader_epoch);
            match answers.get(tp) {
                _ if !current => {}
                Some((ErrorCode::None, end)) => self.on_divergence(tp, *end, now_ms),
                Some((code, _)) => self.on_error(tp, *code, now_ms),
                None => self.delay(tp, now_ms),
            }
        }
    }
}
