//! Replica placement: round robin from a start, replicas shifted, racks alternated.
//! Answers to Kafka's `AdminUtils.assignReplicasToBrokers` (spec zookeeper 5.3).

use std::collections::{BTreeMap, BTreeSet};

use super::AdminError;
use crate::protocol::ErrorCode;

/// A broker that can take replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: i32,
    pub rack: Option<String>,
}

/// Where the round robin begins: at random for new topics, fixed when partitions are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Index into the list of brokers.
    pub first: usize,
    /// Distance of the second replica from the first.
    pub shift: usize,
    /// Number of the first partition to place.
    pub partition: i32,
}

/// Replicas by partition, the first of each list preferred as leader.
pub type Assignment = BTreeMap<i32, Vec<i32>>;

/// Places `partitions` partitions of `factor` replicas each.
pub fn place(brokers: &[Candidate], partitions: i32, factor: i32, start: Start) -> Result<Assignment, AdminError> {
    if partitions <= 0 {
        return Err(AdminError::new(ErrorCode::InvalidPartitions, "Number of partitions must be larger than 0."));
    }
    let refused = |text: String| AdminError::new(ErrorCode::InvalidReplicationFactor, text);
    let count = match usize::try_from(factor) {
        Ok(count) if count > 0 => count,
        _ => return Err(refused("Replication factor must be larger than 0.".to_owned())),
    };
    if count > brokers.len() {
        return Err(refused(format!("Replication factor: {factor} larger than available brokers: {}.", brokers.len())));
    }
    let with_rack = brokers.iter().filter(|b| b.rack.is_some()).count();
    if with_rack == 0 {
        return Ok(place_plain(brokers, partitions, count, start));
    }
    if with_rack < brokers.len() {
        // Kafka's exception has no code of its own, so the client sees an unexpected error without text.
        return Err(AdminError::code(ErrorCode::UnknownServerError));
    }
    Ok(place_by_rack(brokers, partitions, count, start))
}

fn partitions_of(start: Start, partitions: i32) -> impl Iterator<Item = (i32, usize)> {
    let first = start.partition.max(0);
    (0..partitions).map(move |i| (first + i, (first + i) as usize))
}

fn place_plain(brokers: &[Candidate], partitions: i32, factor: usize, start: Start) -> Assignment {
    let n = brokers.len();
    let mut shift = start.shift;
    let mut assignment = Assignment::new();
    for (partition, p) in partitions_of(start, partitions) {
        if p > 0 && p % n == 0 {
            shift += 1;
        }
        let first = (p + start.first) % n;
        let others = (0..factor - 1).map(|j| replica_index(first, shift, j, n));
        let indexes = [first].into_iter().chain(others);
        assignment.insert(partition, indexes.filter_map(|i| brokers.get(i)).map(|b| b.id).collect());
    }
    assignment
}

fn replica_index(first: usize, shift: usize, replica: usize, n: usize) -> usize {
    (first + 1 + (shift + replica) % (n - 1)) % n
}

/// Brokers in the order rack a, rack b, ..., rack a, ...; ids ascend within a rack.
fn alternate_racks(brokers: &[Candidate]) -> Vec<(i32, String)> {
    let mut racks: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for broker in brokers {
        racks.entry(broker.rack.clone().unwrap_or_default()).or_default().insert(broker.id);
    }
    let mut columns: Vec<_> = racks.into_iter().map(|(rack, ids)| (rack, ids.into_iter())).collect();
    let mut ordered = Vec::with_capacity(brokers.len());
    while ordered.len() < brokers.len() {
        for (rack, ids) in &mut columns {
            ordered.extend(ids.next().map(|id| (id, rack.clone())));
        }
    }
    ordered
}

fn place_by_rack(brokers: &[Candidate], partitions: i32, factor: usize, start: Start) -> Assignment {
    let list = alternate_racks(brokers);
    let n = list.len();
    let racks = list.iter().map(|(_, rack)| rack).collect::<BTreeSet<_>>().len();
    let mut shift = start.shift;
    let mut assignment = Assignment::new();
    for (partition, p) in partitions_of(start, partitions) {
        if p > 0 && p % n == 0 {
            shift += 1;
        }
        let first = (p + start.first) % n;
        let Some((leader, rack)) = list.get(first) else { continue };
        let mut replicas = vec![*leader];
        let mut used_racks = BTreeSet::from([rack]);
        let mut k = 0;
        while replicas.len() < factor {
            let candidate = list.get(replica_index(first, shift * racks, k, n));
            k += 1;
            let Some((id, rack)) = candidate else { break };
            let rack_free = !used_racks.contains(rack) || used_racks.len() == racks;
            let broker_free = !replicas.contains(id) || replicas.len() == n;
            if rack_free && broker_free {
                replicas.push(*id);
                used_racks.insert(rack);
            }
        }
        assignment.insert(partition, replicas);
    }
    assignment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(racks: &[Option<&str>]) -> Vec<Candidate> {
        let candidate = |(i, rack): (usize, &Option<&str>)| Candidate { id: i as i32, rack: rack.map(str::to_owned) };
        racks.iter().enumerate().map(candidate).collect()
    }

    /// The table of Kafka's `AdminUtils` documentation: ten partitions, three replicas, five brokers.
    #[test]
    fn plain_round_robin_shifts_after_each_lap() {
        let placed = place(&brokers(&[None; 5]), 10, 3, Start { first: 0, shift: 0, partition: 0 }).unwrap();
        assert_eq!(placed[&0], [0, 1, 2]);
        assert_eq!(placed[&4], [4, 0, 1]);
        assert_eq!(placed[&5], [0, 2, 3]);
        assert_eq!(placed[&9], [4, 1, 2]);
    }

    #[test]
    fn racks_alternate() {
        let racks = [Some("r1"), Some("r3"), Some("r3"), Some("r2"), Some("r2"), Some("r1")];
        let placed = place(&brokers(&racks), 7, 3, Start { first: 0, shift: 0, partition: 0 }).unwrap();
        assert_eq!(placed[&0], [0, 3, 1]);
        assert_eq!(placed[&1], [3, 1, 5]);
        assert_eq!(placed[&6], [0, 4, 2]);
    }

    #[test]
    fn refusals_have_kafkas_words() {
        let start = Start { first: 0, shift: 0, partition: 0 };
        let refusal = place(&brokers(&[None]), 1, 2, start).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::InvalidReplicationFactor);
        assert_eq!(refusal.message.as_deref(), Some("Replication factor: 2 larger than available brokers: 1."));
        assert_eq!(place(&brokers(&[None]), 0, 1, start).unwrap_err().code, ErrorCode::InvalidPartitions);
        assert_eq!(place(&brokers(&[None]), 1, -5, start).unwrap_err().code, ErrorCode::InvalidReplicationFactor);
    }
}
