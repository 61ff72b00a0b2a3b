//! Judges what clients saw against what the brokers hold in the end: lost, doubled, reordered and divergent records.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ottla::record::Record;

use super::workload::{Stamp, Witness, decode};

/// No more of one kind than this.
const FEW: usize = 5;

/// What is wrong; empty when all is well. `logs`: each partition's records, as a reader gets them from its start.
pub fn findings(witness: &Witness, logs: &[Vec<Record>]) -> Vec<String> {
    let mut all = witness.complaints.clone();
    let logs: Vec<BTreeMap<i64, Stamp>> =
        logs.iter().enumerate().map(|(p, records)| stamped(p, records, &mut all)).collect();
    let mut known = BTreeSet::new();
    for (partition, log) in logs.iter().enumerate() {
        for producer in 0..witness.shape.producers {
            numbers(witness, partition, producer, log, &mut all);
        }
        known.extend(log.keys().map(|offset| (partition, *offset)));
    }
    acknowledged(witness, &logs, &mut all);
    read(witness, &logs, &known, &mut all);
    all
}

fn stamped(partition: usize, records: &[Record], all: &mut Vec<String>) -> BTreeMap<i64, Stamp> {
    let mut log = BTreeMap::new();
    for (expected, record) in (0..).zip(records) {
        if record.offset != expected {
            all.push(format!("partition {partition}: offset {} where {expected} should be", record.offset));
            break;
        }
        match record.value.as_deref().and_then(decode) {
            Some(stamp) => _ = log.insert(record.offset, stamp),
            None => all.push(format!("partition {partition}: offset {expected} is not a record of ours")),
        }
    }
    log
}

/// One producer's numbers in one partition: every one, once, in order.
fn numbers(witness: &Witness, partition: usize, producer: usize, log: &BTreeMap<i64, Stamp>, all: &mut Vec<String>) {
    let step = witness.shape.partitions as u64;
    let expected: BTreeSet<u64> = (partition as u64..witness.sent[producer]).step_by(step as usize).collect();
    let found: Vec<(i64, u64)> = log.iter().filter(|(_, s)| s.0 == producer).map(|(o, s)| (*o, s.1)).collect();
    let distinct: BTreeSet<u64> = found.iter().map(|(_, n)| *n).collect();
    let what = format!("partition {partition}, producer {producer}");
    let lost: Vec<u64> = expected.difference(&distinct).copied().collect();
    if !lost.is_empty() {
        all.push(format!("{what}: lost {} of {}: {:?}...", lost.len(), expected.len(), &lost[..lost.len().min(FEW)]));
    }
    let strange: Vec<u64> = distinct.difference(&expected).copied().take(FEW).collect();
    if !strange.is_empty() {
        all.push(format!("{what}: numbers that were never sent there: {strange:?}"));
    }
    let mut before = BTreeMap::new();
    let (mut doubled, mut reordered) = (Vec::new(), Vec::new());
    for (index, (offset, number)) in found.iter().enumerate() {
        if let Some(first) = before.insert(*number, *offset) {
            doubled.push((*number, first, *offset));
        } else if index > 0 && found[index - 1].1 > *number {
            reordered.push((*number, *offset));
        }
    }
    if !doubled.is_empty() {
        let few = &doubled[..doubled.len().min(FEW)];
        all.push(format!("{what}: doubled {} (number, offset, offset): {few:?}", doubled.len()));
    }
    if !reordered.is_empty() {
        let few = &reordered[..reordered.len().min(FEW)];
        all.push(format!("{what}: out of order {} (number, offset): {few:?}", reordered.len()));
    }
}

/// What was acknowledged lies where the acknowledgement said.
fn acknowledged(witness: &Witness, logs: &[BTreeMap<i64, Stamp>], all: &mut Vec<String>) {
    let sent: u64 = witness.sent.iter().sum();
    if witness.acknowledged.len() as u64 != sent {
        all.push(format!("{sent} sent, {} acknowledged", witness.acknowledged.len()));
    }
    let elsewhere = witness.acknowledged.iter().filter(|a| {
        a.offset >= 0 && logs.get(a.partition as usize).and_then(|log| log.get(&a.offset)) != Some(&a.stamp)
    });
    all.extend(elsewhere.take(FEW).map(|a| format!("acknowledged, but not there: {a:?}")));
}

/// What was read is what is there, and all that is there was read.
fn read(witness: &Witness, logs: &[BTreeMap<i64, Stamp>], known: &BTreeSet<(usize, i64)>, all: &mut Vec<String>) {
    let other = |s: &&super::workload::Seen| {
        let there = logs.get(s.partition as usize).and_then(|log| log.get(&s.offset));
        there.copied() != s.stamp || there.is_none()
    };
    let others = witness.seen.iter().filter(other).take(FEW);
    all.extend(others.map(|s| format!("read, but not there in the end: {s:?}")));
    let seen: BTreeSet<(usize, i64)> = witness.seen.iter().map(|s| (s.partition as usize, s.offset)).collect();
    let missed: Vec<_> = known.difference(&seen).collect();
    if !missed.is_empty() {
        all.push(format!(
            "never read by the group: {} (partition, offset): {:?}",
            missed.len(),
            &missed[..missed.len().min(FEW)]
        ));
    }
}

/// The bytes of a replica's segments, one after the other. Where one segment ends and the next begins is each broker's
/// own affair: a follower appends several batches at once.
pub fn replica_bytes(dir: &Path) -> Vec<u8> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|x| x == "log")).collect();
    files.sort();
    files.iter().flat_map(|f| std::fs::read(f).unwrap_or_default()).collect()
}

/// Where two byte strings differ, in words.
pub fn difference(one: &[u8], other: &[u8]) -> Option<String> {
    if one == other {
        return None;
    }
    let at = one.iter().zip(other).position(|(a, b)| a != b).unwrap_or(one.len().min(other.len()));
    Some(format!("{} and {} bytes, differing from byte {at} on", one.len(), other.len()))
}
