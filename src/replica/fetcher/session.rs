//! The follower's side of incremental fetch sessions (KIP-227): what the leader remembers of our requests, so that
//! the next one carries only what changed. No locks: owned by one fetcher.
//! Answers to Kafka's `FetchSessionHandler` (spec zookeeper 4.11).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use crate::protocol::ErrorCode;
use crate::topic::TopicPartition;

/// What is asked of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Nil when not known.
    pub topic_id: Uuid,
    pub fetch_offset: i64,
    /// The follower's own log start.
    pub log_start_offset: i64,
    pub leader_epoch: i32,
    /// -1 when the log knows no epochs.
    pub last_fetched_epoch: i32,
}

/// A request as the session makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRequest {
    pub id: i32,
    pub epoch: i32,
    /// By topic and partition in the order of asking.
    pub asked: Vec<(TopicPartition, Asked)>,
    /// With the topic id they were asked under.
    pub forgotten: Vec<(TopicPartition, Uuid)>,
}

const NO_SESSION: i32 = 0;
const FULL: i32 = 0;

/// One session, or the wish for one.
#[derive(Debug, Default)]
pub struct FetchSession {
    id: i32,
    /// Of the next request; 0 asks for a new session.
    epoch: i32,
    partitions: HashMap<TopicPartition, Asked>,
    names: HashMap<Uuid, Arc<str>>,
    uses_topic_ids: bool,
}

impl FetchSession {
    /// The next request must name everything.
    pub fn is_full(&self) -> bool {
        self.epoch == FULL
    }

    /// What the last request asked of a partition, now or earlier in the session.
    pub fn asked(&self, tp: &TopicPartition) -> Option<&Asked> {
        self.partitions.get(tp)
    }

    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    pub fn topic_name(&self, id: Uuid) -> Option<&Arc<str>> {
        self.names.get(&id)
    }

    pub fn uses_topic_ids(&self) -> bool {
        self.uses_topic_ids
    }

    /// Ends the session with the next request, which asks for a new one.
    pub fn restart(&mut self) {
        self.epoch = FULL;
    }

    /// A request that names all of `wanted`.
    pub fn full(&mut self, wanted: Vec<(TopicPartition, Asked)>, uses_topic_ids: bool) -> SessionRequest {
        self.uses_topic_ids = uses_topic_ids;
        self.partitions = wanted.iter().cloned().collect();
        self.names = wanted.iter().map(|(tp, asked)| (asked.topic_id, tp.topic.clone())).collect();
        SessionRequest { id: self.id, epoch: FULL, asked: wanted, forgotten: Vec::new() }
    }

    /// A request with what changed: `Some` is asked for so, `None` not any more.
    pub fn incremental(&mut self, changes: Vec<(TopicPartition, Option<Asked>)>) -> SessionRequest {
        let mut request = SessionRequest { id: self.id, epoch: self.epoch, ..SessionRequest::default() };
        for (tp, wanted) in changes {
            let before = self.partitions.get(&tp).copied();
            match (before, wanted) {
                (Some(before), Some(wanted)) if before == wanted => continue,
                // Another topic of the same name: with ids these are two partitions.
                (Some(before), Some(wanted))
                    if self.uses_topic_ids && before.topic_id != wanted.topic_id && !before.topic_id.is_nil() =>
                {
                    request.forgotten.push((tp.clone(), before.topic_id));
                }
                (Some(before), None) => {
                    self.partitions.remove(&tp);
                    request.forgotten.push((tp, before.topic_id));
                    continue;
                }
                (None, None) => continue,
                _ => {}
            }
            if let Some(wanted) = wanted {
                self.partitions.insert(tp.clone(), wanted);
                self.names.insert(wanted.topic_id, tp.topic.clone());
                request.asked.push((tp, wanted));
            }
        }
        request
    }

    /// Takes in the answer's session part. False when the answer must not be used.
    pub fn on_response(&mut self, code: ErrorCode, id: i32, answered: &BTreeMap<TopicPartition, usize>) -> bool {
        if !code.is_none() {
            if code == ErrorCode::FetchSessionIdNotFound {
                self.id = NO_SESSION;
            }
            self.epoch = FULL;
            return false;
        }
        let known = answered.keys().all(|tp| self.partitions.contains_key(tp));
        let complete = known && answered.len() == self.partitions.len();
        let is_valid = if self.is_full() { complete } else { known };
        if !is_valid {
            if self.is_full() {
                self.id = NO_SESSION;
            }
            self.epoch = FULL;
            return false;
        }
        self.epoch = match self.epoch {
            _ if id == NO_SESSION => FULL,
            i32::MAX => 1,
            epoch => epoch + 1,
        };
        self.id = id;
        true
    }

    /// The request failed: whether the leader saw it is not known.
    pub fn on_failure(&mut self) {
        self.epoch = FULL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(offset: i64) -> Asked {
        Asked {
            topic_id: Uuid::from_u128(1),
            fetch_offset: offset,
            log_start_offset: 0,
            leader_epoch: 1,
            last_fetched_epoch: 1,
        }
    }

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn answer(partitions: &[i32]) -> BTreeMap<TopicPartition, usize> {
        partitions.iter().map(|p| (tp(*p), 0)).collect()
    }

    #[test]
    fn after_a_full_exchange_only_changes_are_sent() {
        let mut session = FetchSession::default();
        let first = session.full(vec![(tp(0), asked(0)), (tp(1), asked(0))], true);
        assert_eq!((first.id, first.epoch, first.asked.len()), (0, 0, 2));
        assert!(session.on_response(ErrorCode::None, 7, &answer(&[0, 1])));
        let next = session.incremental(vec![(tp(0), Some(asked(5))), (tp(1), Some(asked(0)))]);
        assert_eq!((next.id, next.epoch), (7, 1));
        assert_eq!(next.asked, [(tp(0), asked(5))]);
        assert!(session.on_response(ErrorCode::None, 7, &answer(&[0])));
        let next = session.incremental(vec![(tp(1), None)]);
        assert_eq!((next.epoch, next.forgotten), (2, vec![(tp(1), Uuid::from_u128(1))]));
    }

    #[test]
    fn a_full_answer_must_have_exactly_what_was_asked() {
        let mut session = FetchSession::default();
        session.full(vec![(tp(0), asked(0)), (tp(1), asked(0))], true);
        assert!(!session.on_response(ErrorCode::None, 7, &answer(&[0])));
        assert!(session.is_full());
        assert_eq!(session.full(vec![(tp(0), asked(0))], true).id, 0);
        assert!(!session.on_response(ErrorCode::None, 7, &answer(&[0, 1])));
    }

    #[test]
    fn errors_begin_anew_and_close_what_may_be_left() {
        let mut session = FetchSession::default();
        session.full(vec![(tp(0), asked(0))], true);
        assert!(session.on_response(ErrorCode::None, 7, &answer(&[0])));
        session.on_failure();
        assert_eq!(session.full(vec![(tp(0), asked(0))], true).id, 7);
        assert!(session.on_response(ErrorCode::None, 8, &answer(&[0])));
        assert!(!session.on_response(ErrorCode::InvalidFetchSessionEpoch, 0, &answer(&[])));
        assert_eq!(session.full(vec![(tp(0), asked(0))], true).id, 8);
        assert!(session.on_response(ErrorCode::None, 9, &answer(&[0])));
        assert!(!session.on_response(ErrorCode::FetchSessionIdNotFound, 0, &answer(&[])));
        assert_eq!(session.full(vec![(tp(0), asked(0))], true).id, 0);
    }

    #[test]
    fn a_leader_without_room_for_a_session_is_always_asked_for_everything() {
        let mut session = FetchSession::default();
        session.full(vec![(tp(0), asked(0))], true);
        assert!(session.on_response(ErrorCode::None, 0, &answer(&[0])));
        assert!(session.is_full());
    }

    #[test]
    fn a_topic_made_again_is_forgotten_under_its_old_id() {
        let mut session = FetchSession::default();
        session.full(vec![(tp(0), asked(9))], true);
        assert!(session.on_response(ErrorCode::None, 7, &answer(&[0])));
        let again = Asked { topic_id: Uuid::from_u128(2), ..asked(0) };
        let next = session.incremental(vec![(tp(0), Some(again))]);
        assert_eq!(next.forgotten, [(tp(0), Uuid::from_u128(1))]);
        assert_eq!(next.asked, [(tp(0), again)]);
    }
}
