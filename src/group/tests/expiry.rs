//! Offsets: which of two commits wins, what a transaction hides, what expires when.

use super::super::offsets::GroupOffsets;
use super::super::records::OffsetAndMetadata;
use super::*;
use crate::topic::TopicPartition;

const WEEK: i64 = 7 * 24 * 60 * 60_000;

fn tp(topic: &str) -> TopicPartition {
    TopicPartition::new(topic, 0)
}

fn value(offset: i64) -> OffsetAndMetadata {
    OffsetAndMetadata {
        offset,
        leader_epoch: -1,
        metadata: Arc::from(""),
        commit_timestamp: WALL,
        expire_timestamp: None,
    }
}

fn commit(offsets: &mut GroupOffsets, topic: &str, value: &OffsetAndMetadata, batch_offset: i64) {
    offsets.prepare([(tp(topic), value.clone())].iter());
    offsets.on_append(&tp(topic), value, batch_offset);
}

fn visible(offsets: &GroupOffsets, topic: &str) -> Option<i64> {
    offsets.get(&tp(topic)).map(|found| found.offset)
}

#[test]
fn offsets_are_visible_once_written() {
    let mut offsets = GroupOffsets::default();
    offsets.prepare([(tp("t"), value(5))].iter());
    assert_eq!(visible(&offsets, "t"), None);
    assert!(offsets.is_unstable(&tp("t")) && !offsets.is_empty());
    offsets.on_append_failed(&tp("t"), &value(5));
    assert!(offsets.is_empty());
    commit(&mut offsets, "t", &value(6), 1);
    assert_eq!(visible(&offsets, "t"), Some(6));
    assert!(!offsets.is_unstable(&tp("t")));
}

#[test]
fn the_later_batch_wins_whatever_is_confirmed_first() {
    let mut offsets = GroupOffsets::default();
    offsets.prepare([(tp("t"), value(1))].iter());
    offsets.prepare([(tp("t"), value(2))].iter());
    offsets.on_append(&tp("t"), &value(2), 11);
    offsets.prepare([(tp("t"), value(3))].iter());
    offsets.on_append(&tp("t"), &value(1), 10);
    assert_eq!(visible(&offsets, "t"), Some(2));
    assert!(offsets.is_unstable(&tp("t")), "the third is on its way");
}

#[test]
fn a_deleted_topic_does_not_come_back() {
    let mut offsets = GroupOffsets::default();
    offsets.prepare([(tp("t"), value(1))].iter());
    assert!(offsets.remove(&[tp("t")]).is_empty());
    offsets.on_append(&tp("t"), &value(1), 1);
    assert_eq!(visible(&offsets, "t"), None);
}

#[test]
fn transactions_show_their_offsets_when_they_commit() {
    let mut offsets = GroupOffsets::default();
    commit(&mut offsets, "t", &value(1), 1);
    for (producer, topic, batch) in [(7, "t", 2), (7, "u", 2), (8, "u", 3)] {
        offsets.prepare_txn(producer, [(tp(topic), value(producer))].iter());
        offsets.on_txn_append(producer, &tp(topic), &value(producer), batch);
    }
    assert!(offsets.is_unstable(&tp("t")));
    assert_eq!((visible(&offsets, "t"), visible(&offsets, "u")), (Some(1), None));
    offsets.complete_txn(7, true);
    assert_eq!((visible(&offsets, "t"), visible(&offsets, "u")), (Some(7), Some(7)));
    assert!(!offsets.is_unstable(&tp("t")) && offsets.is_unstable(&tp("u")));
    offsets.complete_txn(8, false);
    assert_eq!(visible(&offsets, "u"), Some(7));
    assert!(!offsets.is_consistent());
}

#[test]
fn a_plain_commit_after_that_of_a_transaction_stays() {
    let mut offsets = GroupOffsets::default();
    offsets.prepare_txn(7, [(tp("t"), value(5))].iter());
    offsets.on_txn_append(7, &tp("t"), &value(5), 10);
    commit(&mut offsets, "t", &value(9), 11);
    offsets.complete_txn(7, true);
    assert_eq!(visible(&offsets, "t"), Some(9));
}

#[test]
fn simple_groups_expire_by_commit() {
    let mut sim = Sim::new();
    commit(&mut sim.group.offsets, "t", &value(1), 1);
    let explicit = OffsetAndMetadata { expire_timestamp: Some(WALL + 5), ..value(1) };
    commit(&mut sim.group.offsets, "u", &explicit, 2);
    sim.now = 5;
    let now = sim.at();
    assert_eq!(sim.group.remove_expired_offsets(now), [tp("u")]);
    sim.now = WEEK - 1;
    let now = sim.at();
    assert!(sim.group.remove_expired_offsets(now).is_empty());
    sim.now = WEEK;
    let now = sim.at();
    assert_eq!(sim.group.remove_expired_offsets(now), [tp("t")]);
    assert!(sim.group.die_if_useless(now));
}

#[test]
fn offsets_being_written_do_not_expire() {
    let mut sim = Sim::new();
    commit(&mut sim.group.offsets, "t", &value(1), 1);
    sim.group.offsets.prepare([(tp("t"), value(2))].iter());
    sim.now = WEEK;
    let now = sim.at();
    assert!(sim.group.remove_expired_offsets(now).is_empty());
    assert!(!sim.group.die_if_useless(now));
}

#[test]
fn a_group_that_lost_its_members_expires_from_then_on() {
    let (mut sim, ids) = Sim::stable(&[Who::new(3)]);
    commit(&mut sim.group.offsets, "t", &value(1), 1);
    sim.pass(SESSION - 1);
    sim.leave(&ids[0], None);
    let emptied = sim.now;
    sim.now = emptied + WEEK - 1;
    let now = sim.at();
    assert!(sim.group.remove_expired_offsets(now).is_empty(), "the commit is older than a week, the emptiness is not");
    sim.now += 1;
    let now = sim.at();
    assert_eq!(sim.group.remove_expired_offsets(now), [tp("t")]);
}

#[test]
fn a_stable_consumer_group_loses_what_it_does_not_read() {
    // Version 0, one topic "t", no user data.
    let subscription = "\0\0\0\0\0\u{1}\0\u{1}t\0\0\0\0";
    let (mut sim, _) =
        Sim::stable(&[Who { session: i32::MAX.into(), ..Who::new(3) }.protocols(&[("range", subscription)])]);
    assert!(sim.group.is_subscribed_to("t") && !sim.group.is_subscribed_to("u"));
    commit(&mut sim.group.offsets, "t", &value(1), 1);
    commit(&mut sim.group.offsets, "u", &value(1), 2);
    sim.now = WEEK;
    let now = sim.at();
    assert_eq!(sim.group.remove_expired_offsets(now), [tp("u")]);
}

#[test]
fn a_group_whose_subscriptions_cannot_be_read_keeps_all() {
    let (mut sim, _) = Sim::stable(&[Who { session: i32::MAX.into(), ..Who::new(3) }]);
    assert!(sim.group.is_subscribed_to("anything"));
    commit(&mut sim.group.offsets, "u", &value(1), 2);
    sim.now = WEEK;
    let now = sim.at();
    assert!(sim.group.remove_expired_offsets(now).is_empty());
}
