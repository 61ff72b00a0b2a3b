//! The in-sync set of a partition and the change to it that may be under way.
//! Answers to Kafka's `PartitionState` classes (`CommittedPartitionState`, `PendingExpandIsr`, `PendingShrinkIsr`).

/// The in-sync replicas as the leader knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isr {
    /// What ZooKeeper holds.
    Committed(Vec<i32>),
    /// `joining` was proposed to the controller; it counts for the high watermark at once.
    Expanding { committed: Vec<i32>, joining: i32 },
    /// `leaving` were proposed to leave; they count until the controller agrees.
    Shrinking { committed: Vec<i32>, leaving: Vec<i32> },
}

impl Isr {
    /// The set ZooKeeper was last known to hold.
    pub fn committed(&self) -> &[i32] {
        match self {
            Isr::Committed(set) => set,
            Isr::Expanding { committed, .. } | Isr::Shrinking { committed, .. } => committed,
        }
    }

    /// Committed members and the one that may be joining: all that the high watermark must wait for.
    pub fn maximal_contains(&self, replica: i32) -> bool {
        self.committed().contains(&replica) || matches!(self, Isr::Expanding { joining, .. } if *joining == replica)
    }

    pub fn maximal_len(&self) -> usize {
        self.committed().len() + usize::from(matches!(self, Isr::Expanding { .. }))
    }

    /// The set to propose to the controller, in Kafka's order.
    pub fn proposed(&self) -> Vec<i32> {
        match self {
            Isr::Committed(set) => set.clone(),
            Isr::Expanding { committed, joining } => committed.iter().copied().chain([*joining]).collect(),
            Isr::Shrinking { committed, leaving } => {
                committed.iter().copied().filter(|r| !leaving.contains(r)).collect()
            }
        }
    }

    pub fn is_in_flight(&self) -> bool {
        !matches!(self, Isr::Committed(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joining_replica_counts_before_it_is_committed() {
        let isr = Isr::Expanding { committed: vec![1, 2], joining: 3 };
        assert!(isr.maximal_contains(3) && isr.maximal_len() == 3);
        assert_eq!(isr.committed(), [1, 2]);
        assert_eq!(isr.proposed(), [1, 2, 3]);
    }

    #[test]
    fn a_leaving_replica_counts_until_it_is_gone() {
        let isr = Isr::Shrinking { committed: vec![1, 2, 3], leaving: vec![2] };
        assert!(isr.maximal_contains(2) && isr.is_in_flight());
        assert_eq!(isr.proposed(), [1, 3]);
    }
}
