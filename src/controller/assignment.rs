//! What the controller knows of one partition: its replicas (and those a reassignment adds or removes),
//! and its leader, in-sync replicas and epochs. Plain values; the algebra of a reassignment lives here.
//!
//! Answers to Kafka's `ReplicaAssignment`, `LeaderAndIsr`, `LeaderIsrAndControllerEpoch`.

use std::fmt;

pub use crate::zk::json::Assignment as ReplicaAssignment;

/// No leader: none is alive, or none has been elected yet.
pub const NO_LEADER: i32 = -1;
/// Leader epoch that StopReplica carries when the controller does not know one.
pub const NO_EPOCH: i32 = -1;
/// Leader that UpdateMetadata carries while the topic is being deleted.
pub const LEADER_DURING_DELETE: i32 = -2;
/// Leader epoch that StopReplica carries while the topic is being deleted.
pub const EPOCH_DURING_DELETE: i32 = -2;

fn without(list: &[i32], drop: &[i32]) -> Vec<i32> {
    list.iter().copied().filter(|id| !drop.contains(id)).collect()
}

/// The assignment that leads from the present originals to `target`: `replicas` is the target followed by the
/// originals that are not in it.
pub fn reassign_to(assignment: &ReplicaAssignment, target: &[i32]) -> ReplicaAssignment {
    let origin = assignment.origin();
    let mut replicas: Vec<i32> = Vec::with_capacity(target.len() + origin.len());
    for id in target.iter().chain(&origin) {
        if !replicas.contains(id) {
            replicas.push(*id);
        }
    }
    ReplicaAssignment { adding: without(&replicas, &origin), removing: without(&replicas, target), replicas }
}

/// Drops one broker from all three lists.
pub fn remove_replica(assignment: &ReplicaAssignment, id: i32) -> ReplicaAssignment {
    ReplicaAssignment {
        replicas: without(&assignment.replicas, &[id]),
        adding: without(&assignment.adding, &[id]),
        removing: without(&assignment.removing, &[id]),
    }
}

/// An assignment as Kafka's log lines print it.
pub fn describe(assignment: &ReplicaAssignment) -> String {
    format!(
        "ReplicaAssignment(replicas={}, addingReplicas={}, removingReplicas={})",
        join(&assignment.replicas),
        join(&assignment.adding),
        join(&assignment.removing)
    )
}

/// Items with commas and no spaces between them, as Kafka's log lines have them.
pub fn join<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let mut out = String::new();
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&item.to_string());
    }
    out
}

/// Leader, in-sync replicas and epochs of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderAndIsr {
    /// Broker id, or `NO_LEADER`.
    pub leader: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    /// True after an unclean election until the leader has recovered (`leader_recovery_state` 1).
    pub recovering: bool,
    /// Data version of the partition's state znode.
    pub partition_epoch: i32,
}

impl LeaderAndIsr {
    /// The state of a fresh partition.
    pub fn initial(leader: i32, isr: Vec<i32>) -> LeaderAndIsr {
        LeaderAndIsr { leader, leader_epoch: 0, isr, recovering: false, partition_epoch: 0 }
    }

    /// The next leader epoch with this leader and ISR; the partition epoch stays that of the state read.
    pub fn with_leader_and_isr(&self, leader: i32, isr: Vec<i32>) -> LeaderAndIsr {
        LeaderAndIsr { leader, isr, leader_epoch: self.leader_epoch + 1, ..*self }
    }

    /// The same leader and ISR under the next leader epoch.
    pub fn new_epoch(&self) -> LeaderAndIsr {
        self.with_leader_and_isr(self.leader, self.isr.clone())
    }

    /// What an AlterPartition that was already applied looks like: all equal (the ISR in order too), and its
    /// partition epoch not ahead of `current`'s.
    pub fn equals_allow_stale_partition_epoch(&self, current: &LeaderAndIsr) -> bool {
        self.leader == current.leader
            && self.leader_epoch == current.leader_epoch
            && self.isr == current.isr
            && self.recovering == current.recovering
            && self.partition_epoch <= current.partition_epoch
    }
}

impl fmt::Display for LeaderAndIsr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "LeaderAndIsr(leader={}, leaderEpoch={}, isr=List({}), leaderRecoveryState={}, partitionEpoch={})",
            self.leader,
            self.leader_epoch,
            self.isr.iter().map(i32::to_string).collect::<Vec<_>>().join(", "),
            if self.recovering { "RECOVERING" } else { "RECOVERED" },
            self.partition_epoch
        )
    }
}

/// A partition's state with the epoch of the controller that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderIsrAndControllerEpoch {
    pub leader_and_isr: LeaderAndIsr,
    pub controller_epoch: i32,
}

impl fmt::Display for LeaderIsrAndControllerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = &self.leader_and_isr;
        write!(
            f,
            "(Leader:{},ISR:{},LeaderRecoveryState:{},LeaderEpoch:{},ZkVersion:{},ControllerEpoch:{})",
            state.leader,
            join(&state.isr),
            if state.recovering { "RECOVERING" } else { "RECOVERED" },
            state.leader_epoch,
            state.partition_epoch,
            self.controller_epoch
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reassignment_algebra() {
        let origin = ReplicaAssignment::new(vec![1, 2]);
        let moving = reassign_to(&origin, &[2, 3]);
        assert_eq!(moving, ReplicaAssignment { replicas: vec![2, 3, 1], adding: vec![3], removing: vec![1] });
        assert_eq!((moving.origin(), moving.target()), (vec![2, 1], vec![2, 3]));
        // Replacing a running reassignment starts again from the originals.
        let other = reassign_to(&moving, &[4, 2]);
        assert_eq!(other, ReplicaAssignment { replicas: vec![4, 2, 1], adding: vec![4], removing: vec![1] });
        // Cancelling: the target is the originals, and nothing is left to do.
        let cancelled = reassign_to(&moving, &moving.origin());
        assert_eq!(cancelled, ReplicaAssignment::new(vec![2, 1]));
        assert!(!cancelled.is_being_reassigned());
        assert_eq!(remove_replica(&moving, 3).adding, Vec::<i32>::new());
    }

    #[test]
    fn an_alter_partition_that_was_applied_already() {
        let current =
            LeaderAndIsr { leader: 1, leader_epoch: 3, isr: vec![1, 2], recovering: false, partition_epoch: 5 };
        let again = LeaderAndIsr { partition_epoch: 4, ..current.clone() };
        assert!(again.equals_allow_stale_partition_epoch(&current));
        assert!(!current.equals_allow_stale_partition_epoch(&again));
        assert!(!LeaderAndIsr { isr: vec![2, 1], ..again }.equals_allow_stale_partition_epoch(&current));
    }
}
