//! Incremental fetch sessions (KIP-227): what a fetcher asked for is remembered, so that later requests and
//! answers carry only what changed.
//!
//! Owns the sessions behind one mutex, held for the bookkeeping only, never while reading logs.
//! Answers to Kafka's `FetchManager`, `FetchSession`, `FetchSessionCache` (spec zookeeper 4.11).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use crate::protocol::ErrorCode;

/// A session idle this long may be evicted by anyone, in milliseconds.
const EVICTION_AGE_MS: i64 = 120_000;
/// Session id of requests outside any session.
pub const NO_SESSION: i32 = 0;
const FINAL_EPOCH: i32 = -1;
const INITIAL_EPOCH: i32 = 0;

/// How a request names a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicKey {
    /// Requests from version 13 on.
    Id(Uuid),
    Name(Arc<str>),
}

/// One partition a fetcher asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchItem {
    pub topic: TopicKey,
    pub partition: i32,
    pub fetch_offset: i64,
    pub log_start_offset: i64,
    pub max_bytes: i32,
    /// -1 when not given.
    pub current_leader_epoch: i32,
    /// -1 when not given.
    pub last_fetched_epoch: i32,
}

/// What an answer says of a partition, as far as sessions care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchSummary {
    pub high_watermark: i64,
    pub log_start_offset: i64,
    pub error: i16,
    pub has_records: bool,
    pub diverging: bool,
    pub has_preferred_replica: bool,
}

/// The session part of a request.
#[derive(Clone, Debug)]
pub struct SessionRequest {
    pub id: i32,
    pub epoch: i32,
    pub uses_topic_ids: bool,
    pub from_follower: bool,
    pub items: Vec<FetchItem>,
    pub forgotten: Vec<(TopicKey, i32)>,
}

/// How the answer to a request is made up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchContext {
    Sessionless,
    /// First answer: everything, under this new session.
    Full {
        id: i32,
    },
    /// Only what changed.
    Incremental {
        id: i32,
    },
}

impl FetchContext {
    pub fn session_id(&self) -> i32 {
        match self {
            FetchContext::Sessionless => NO_SESSION,
            FetchContext::Full { id } | FetchContext::Incremental { id } => *id,
        }
    }
}

struct Cached {
    item: FetchItem,
    /// -1 before the first answer and after an error or a divergence, so that the next answer is sent whatever it says.
    high_watermark: i64,
    log_start_offset: i64,
}

struct Session {
    uses_topic_ids: bool,
    privileged: bool,
    created_ms: i64,
    last_used_ms: i64,
    /// Epoch the next request must carry.
    next_epoch: i32,
    /// In the order of answering: partitions that just had data go to the end.
    order: BTreeMap<u64, Cached>,
    places: HashMap<(TopicKey, i32), u64>,
    next_place: u64,
}

impl Session {
    fn put(&mut self, item: FetchItem) {
        let key = (item.topic.clone(), item.partition);
        if let Some(cached) = self.places.get(&key).and_then(|place| self.order.get_mut(place)) {
            cached.item = item;
            return;
        }
        self.places.insert(key, self.next_place);
        self.order.insert(self.next_place, Cached { item, high_watermark: -1, log_start_offset: -1 });
        self.next_place += 1;
    }

    fn forget(&mut self, key: &(TopicKey, i32)) {
        if let Some(place) = self.places.remove(key) {
            self.order.remove(&place);
        }
    }

    fn move_to_end(&mut self, key: &(TopicKey, i32)) {
        if let Some(place) = self.places.get_mut(key)
            && let Some(cached) = self.order.remove(place)
        {
            *place = self.next_place;
            self.order.insert(self.next_place, cached);
            self.next_place += 1;
        }
    }

    /// Notes what an answer says; true if it has to be sent in an incremental answer.
    fn note(&mut self, key: &(TopicKey, i32), summary: &FetchSummary) -> bool {
        let Some(cached) = self.places.get(key).and_then(|place| self.order.get_mut(place)) else {
            return true;
        };
        let changed = summary.high_watermark != cached.high_watermark
            || summary.log_start_offset != cached.log_start_offset
            || summary.has_records
            || summary.has_preferred_replica
            || summary.diverging
            || summary.error != 0;
        // A follower that has to truncate takes nothing else from the answer: the next one says it again.
        let taken = summary.error == 0 && !summary.diverging;
        cached.high_watermark = if taken { summary.high_watermark } else { -1 };
        cached.log_start_offset = summary.log_start_offset;
        if summary.has_records {
            self.move_to_end(key);
        }
        changed
    }

    /// Rank among eviction candidates: the lower goes first.
    fn rank(&self) -> (bool, usize) {
        (self.privileged, self.order.len())
    }
}

/// All sessions of the broker.
pub struct FetchSessions {
    /// `max.incremental.fetch.session.cache.slots`.
    slots: usize,
    sessions: Mutex<HashMap<i32, Session>>,
}

impl FetchSessions {
    pub fn new(slots: usize) -> FetchSessions {
        FetchSessions { slots, sessions: Mutex::default() }
    }

    pub fn len(&self) -> usize {
        self.sessions.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Resolves the session of a request and returns everything to read, in answering order.
    pub fn open(&self, request: SessionRequest, now_ms: i64) -> Result<(FetchContext, Vec<FetchItem>), ErrorCode> {
        let mut sessions = self.sessions.lock();
        if request.epoch == INITIAL_EPOCH || request.epoch == FINAL_EPOCH {
            sessions.remove(&request.id);
            if request.epoch == FINAL_EPOCH || request.items.is_empty() {
                return Ok((FetchContext::Sessionless, request.items));
            }
            let context = match self.create(&mut sessions, &request, now_ms) {
                Some(id) => FetchContext::Full { id },
                None => FetchContext::Sessionless,
            };
            return Ok((context, request.items));
        }
        let session = sessions.get_mut(&request.id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.next_epoch != request.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != request.uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        session.next_epoch = if session.next_epoch == i32::MAX { 1 } else { session.next_epoch + 1 };
        session.last_used_ms = now_ms;
        request.items.into_iter().for_each(|item| session.put(item));
        request.forgotten.iter().for_each(|key| session.forget(key));
        if session.order.is_empty() {
            sessions.remove(&request.id);
            return Ok((FetchContext::Sessionless, Vec::new()));
        }
        let items = session.order.values().map(|cached| cached.item.clone()).collect();
        Ok((FetchContext::Incremental { id: request.id }, items))
    }

    /// For each answer in order, whether it has to be sent; and the session remembers what was sent.
    pub fn select(&self, context: &FetchContext, answers: &[((TopicKey, i32), FetchSummary)]) -> Vec<bool> {
        let (id, incremental) = match context {
            FetchContext::Sessionless => return vec![true; answers.len()],
            FetchContext::Full { id } => (id, false),
            FetchContext::Incremental { id } => (id, true),
        };
        let mut sessions = self.sessions.lock();
        let Some(session) = sessions.get_mut(id) else {
            return vec![true; answers.len()];
        };
        answers.iter().map(|(key, summary)| session.note(key, summary) || !incremental).collect()
    }

    fn create(&self, sessions: &mut HashMap<i32, Session>, request: &SessionRequest, now_ms: i64) -> Option<i32> {
        let size = request.items.len();
        if sessions.len() >= self.slots {
            let victim = evictable(sessions, request.from_follower, size, now_ms)?;
            sessions.remove(&victim);
        }
        let mut session = Session {
            uses_topic_ids: request.uses_topic_ids,
            privileged: request.from_follower,
            created_ms: now_ms,
            last_used_ms: now_ms,
            next_epoch: 1,
            order: BTreeMap::new(),
            places: HashMap::with_capacity(size),
            next_place: 0,
        };
        request.items.iter().cloned().for_each(|item| session.put(item));
        let id = loop {
            let id = rand::random_range(1..=i32::MAX);
            if !sessions.contains_key(&id) {
                break id;
            }
        };
        sessions.insert(id, session);
        Some(id)
    }
}

/// The session that has to make room for a newcomer, if any does.
fn evictable(sessions: &HashMap<i32, Session>, privileged: bool, size: usize, now_ms: i64) -> Option<i32> {
    let (oldest, idle) = sessions.iter().min_by_key(|(_, s)| s.last_used_ms)?;
    if now_ms - idle.last_used_ms > EVICTION_AGE_MS {
        return Some(*oldest);
    }
    // A follower may push out any consumer; otherwise the victim must have lived its time.
    let may_go = |s: &Session| (privileged && !s.privileged) || now_ms - s.created_ms > EVICTION_AGE_MS;
    let (id, victim) = sessions.iter().filter(|(_, s)| may_go(s)).min_by_key(|(id, s)| (s.rank(), **id))?;
    ((privileged, size) >= victim.rank()).then_some(*id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(partition: i32) -> FetchItem {
        FetchItem {
            topic: TopicKey::Name("t".into()),
            partition,
            fetch_offset: 0,
            log_start_offset: -1,
            max_bytes: 100,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        }
    }

    fn request(id: i32, epoch: i32, partitions: &[i32]) -> SessionRequest {
        SessionRequest {
            id,
            epoch,
            uses_topic_ids: false,
            from_follower: false,
            items: partitions.iter().map(|p| item(*p)).collect(),
            forgotten: Vec::new(),
        }
    }

    fn key(partition: i32) -> (TopicKey, i32) {
        (TopicKey::Name("t".into()), partition)
    }

    #[test]
    fn only_changes_are_sent_and_partitions_with_data_go_last() {
        let sessions = FetchSessions::new(10);
        let (full, _) = sessions.open(request(0, 0, &[0, 1]), 0).unwrap();
        let id = full.session_id();
        assert_ne!(id, NO_SESSION);
        let quiet = FetchSummary { high_watermark: 5, ..FetchSummary::default() };
        assert_eq!(sessions.select(&full, &[(key(0), quiet), (key(1), quiet)]), [true, true]);

        let (next, items) = sessions.open(request(id, 1, &[]), 1).unwrap();
        assert_eq!(items.len(), 2);
        let data = FetchSummary { high_watermark: 6, has_records: true, ..quiet };
        assert_eq!(sessions.select(&next, &[(key(0), data), (key(1), quiet)]), [true, false]);

        let (_, items) = sessions.open(request(id, 2, &[2]), 2).unwrap();
        assert_eq!(items.iter().map(|i| i.partition).collect::<Vec<_>>(), [1, 0, 2]);
    }

    #[test]
    fn an_error_is_sent_again_once_it_is_over() {
        let sessions = FetchSessions::new(10);
        let (full, _) = sessions.open(request(0, 0, &[0]), 0).unwrap();
        let quiet = FetchSummary { high_watermark: 5, ..FetchSummary::default() };
        sessions.select(&full, &[(key(0), quiet)]);
        let (next, _) = sessions.open(request(full.session_id(), 1, &[]), 1).unwrap();
        assert_eq!(sessions.select(&next, &[(key(0), FetchSummary { error: 6, ..quiet })]), [true]);
        let (next, _) = sessions.open(request(full.session_id(), 2, &[]), 1).unwrap();
        assert_eq!(sessions.select(&next, &[(key(0), quiet)]), [true]);
    }

    #[test]
    fn what_came_with_a_divergence_is_sent_again() {
        let sessions = FetchSessions::new(10);
        let (context, _) = sessions.open(request(0, 0, &[0]), 0).unwrap();
        let id = context.session_id();
        let diverging = FetchSummary { high_watermark: 5, diverging: true, ..FetchSummary::default() };
        assert_eq!(sessions.select(&context, &[(key(0), diverging)]), [true]);
        let settled = FetchSummary { high_watermark: 5, ..FetchSummary::default() };
        let (context, _) = sessions.open(request(id, 1, &[0]), 0).unwrap();
        assert_eq!(sessions.select(&context, &[(key(0), settled)]), [true]);
        let (context, _) = sessions.open(request(id, 2, &[0]), 0).unwrap();
        assert_eq!(sessions.select(&context, &[(key(0), settled)]), [false]);
    }

    #[test]
    fn wrong_ids_and_epochs_are_refused() {
        let sessions = FetchSessions::new(10);
        assert_eq!(sessions.open(request(7, 1, &[0]), 0).unwrap_err(), ErrorCode::FetchSessionIdNotFound);
        let (full, _) = sessions.open(request(0, 0, &[0]), 0).unwrap();
        assert_eq!(
            sessions.open(request(full.session_id(), 9, &[0]), 0).unwrap_err(),
            ErrorCode::InvalidFetchSessionEpoch
        );
        let by_id = SessionRequest { uses_topic_ids: true, ..request(full.session_id(), 1, &[0]) };
        assert_eq!(sessions.open(by_id, 0).unwrap_err(), ErrorCode::FetchSessionTopicIdError);
    }

    #[test]
    fn forgetting_everything_ends_the_session() {
        let sessions = FetchSessions::new(10);
        let (full, _) = sessions.open(request(0, 0, &[0]), 0).unwrap();
        let bye = SessionRequest { forgotten: vec![key(0)], ..request(full.session_id(), 1, &[]) };
        assert_eq!(sessions.open(bye, 1).unwrap().0, FetchContext::Sessionless);
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_follower_pushes_out_a_consumer_but_not_the_reverse() {
        let sessions = FetchSessions::new(1);
        let follower = |epoch| SessionRequest { from_follower: true, ..request(0, epoch, &[0]) };
        sessions.open(request(0, 0, &[0]), 0).unwrap();
        let (context, _) = sessions.open(follower(0), 1).unwrap();
        assert_ne!(context, FetchContext::Sessionless);
        let (context, _) = sessions.open(request(0, 0, &[0, 1, 2]), 2).unwrap();
        assert_eq!(context, FetchContext::Sessionless);
        let (context, _) = sessions.open(request(0, 0, &[0]), EVICTION_AGE_MS + 2).unwrap();
        assert_ne!(context, FetchContext::Sessionless, "an idle session makes room");
    }
}
