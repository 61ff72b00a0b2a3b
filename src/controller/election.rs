//! Who leads a partition: the four strategies, as pure functions of what the controller knows.
//!
//! Answers to Kafka's `Election` and `PartitionLeaderElectionAlgorithms`.

use super::assignment::LeaderAndIsr;
use super::context::ControllerContext;
use crate::topic::TopicPartition;

/// Why, and so how, a leader is elected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionStrategy {
    /// The leader is gone, or the partition never had one that is alive. `allow_unclean`: a replica outside the
    /// ISR will do, whatever the topic's configuration says.
    Offline { allow_unclean: bool },
    /// The leader leaves with a reassignment.
    Reassign,
    /// Back to the first assigned replica.
    Preferred,
    /// The leader's broker asked to shut down.
    ControlledShutdown,
}

impl std::fmt::Display for ElectionStrategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ElectionStrategy::Offline { allow_unclean } => {
                write!(f, "OfflinePartitionLeaderElectionStrategy({allow_unclean})")
            }
            ElectionStrategy::Reassign => f.write_str("ReassignPartitionLeaderElectionStrategy"),
            ElectionStrategy::Preferred => f.write_str("PreferredReplicaPartitionLeaderElectionStrategy"),
            ElectionStrategy::ControlledShutdown => f.write_str("ControlledShutdownPartitionLeaderElectionStrategy"),
        }
    }
}

/// An election that found a leader: the state to write, and who must hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elected {
    pub state: LeaderAndIsr,
    pub recipients: Vec<i32>,
}

/// Elects a leader for one partition whose state in ZooKeeper is `current`. `unclean` matters to the offline
/// strategy only: whether this partition may be led by a replica outside its ISR. `None`: nobody can lead.
pub fn elect(
    ctx: &ControllerContext,
    partition: &TopicPartition,
    current: &LeaderAndIsr,
    strategy: ElectionStrategy,
    unclean: bool,
    recovery_supported: bool,
) -> Option<Elected> {
    match strategy {
        ElectionStrategy::Offline { .. } => offline(ctx, partition, current, unclean, recovery_supported),
        ElectionStrategy::Reassign => reassign(ctx, partition, current),
        ElectionStrategy::Preferred => preferred(ctx, partition, current),
        ElectionStrategy::ControlledShutdown => controlled_shutdown(ctx, partition, current),
    }
}

/// Whether some in-sync replica can serve; if so, an unclean election is out of the question.
pub fn has_live_isr(ctx: &ControllerContext, partition: &TopicPartition, current: &LeaderAndIsr) -> bool {
    current.isr.iter().any(|id| ctx.is_replica_online(*id, partition))
}

fn offline(
    ctx: &ControllerContext,
    partition: &TopicPartition,
    current: &LeaderAndIsr,
    unclean: bool,
    recovery_supported: bool,
) -> Option<Elected> {
    let live: Vec<i32> =
        ctx.replicas(partition).iter().copied().filter(|id| ctx.is_replica_online(*id, partition)).collect();
    let in_sync = live.iter().copied().find(|id| current.isr.contains(id));
    let leader = in_sync.or_else(|| live.first().copied().filter(|_| unclean))?;
    let mut state = if current.isr.contains(&leader) {
        let isr = current.isr.iter().copied().filter(|id| ctx.is_replica_online(*id, partition)).collect();
        current.with_leader_and_isr(leader, isr)
    } else {
        current.with_leader_and_isr(leader, vec![leader])
    };
    if in_sync.is_none() && recovery_supported {
        state.recovering = true;
    }
    Some(Elected { state, recipients: live })
}

fn reassign(ctx: &ControllerContext, partition: &TopicPartition, current: &LeaderAndIsr) -> Option<Elected> {
    let target = ctx.assignment(partition)?.target();
    let leader = *target.iter().find(|id| ctx.is_replica_online(**id, partition) && current.isr.contains(*id))?;
    Some(Elected { state: current.with_leader_and_isr(leader, current.isr.clone()), recipients: target })
}

/// The first assigned replica, if it is alive and in sync.
pub fn preferred_leader(ctx: &ControllerContext, partition: &TopicPartition, isr: &[i32]) -> Option<i32> {
    let head = *ctx.replicas(partition).first()?;
    (ctx.is_replica_online(head, partition) && isr.contains(&head)).then_some(head)
}

fn preferred(ctx: &ControllerContext, partition: &TopicPartition, current: &LeaderAndIsr) -> Option<Elected> {
    let leader = preferred_leader(ctx, partition, &current.isr)?;
    let state = current.with_leader_and_isr(leader, current.isr.clone());
    Some(Elected { state, recipients: ctx.replicas(partition).to_vec() })
}

fn controlled_shutdown(ctx: &ControllerContext, partition: &TopicPartition, current: &LeaderAndIsr) -> Option<Elected> {
    let mut recipients = ctx.replicas(partition).to_vec();
    recipients.retain(|id| ctx.is_replica_online_or_shutting_down(*id, partition));
    let stays = |id: &i32| current.isr.contains(id) && !ctx.shutting_down.contains(id);
    let leader = *recipients.iter().find(|id| stays(id))?;
    let isr = current.isr.iter().copied().filter(|id| !ctx.shutting_down.contains(id)).collect();
    Some(Elected { state: current.with_leader_and_isr(leader, isr), recipients })
}

#[cfg(test)]
mod tests {
    use super::super::assignment::ReplicaAssignment;
    use super::super::testing::broker;
    use super::*;

    fn setup(replicas: &[i32], live: &[i32]) -> (ControllerContext, TopicPartition) {
        let mut ctx = ControllerContext::default();
        ctx.set_live_brokers(live.iter().map(|id| broker(*id)));
        let partition = TopicPartition::new("t", 0);
        ctx.set_assignment(&partition, ReplicaAssignment::new(replicas.to_vec()));
        (ctx, partition)
    }

    fn state(leader: i32, isr: &[i32]) -> LeaderAndIsr {
        LeaderAndIsr { leader, leader_epoch: 4, isr: isr.to_vec(), recovering: false, partition_epoch: 9 }
    }

    fn run(ctx: &ControllerContext, p: &TopicPartition, s: &LeaderAndIsr, how: ElectionStrategy) -> Option<Elected> {
        let unclean = how == ElectionStrategy::Offline { allow_unclean: true };
        elect(ctx, p, s, how, unclean, true)
    }

    const CLEAN: ElectionStrategy = ElectionStrategy::Offline { allow_unclean: false };
    const UNCLEAN: ElectionStrategy = ElectionStrategy::Offline { allow_unclean: true };

    #[test]
    fn offline_takes_the_first_assigned_that_is_alive_and_in_sync() {
        let (ctx, p) = setup(&[1, 2, 3], &[2, 3]);
        let elected = run(&ctx, &p, &state(1, &[3, 2, 1]), CLEAN).unwrap();
        // The ISR keeps its order, loses the dead, and the epoch of the znode's version is untouched.
        assert_eq!(elected.state, LeaderAndIsr { leader: 2, leader_epoch: 5, ..state(2, &[3, 2]) });
        assert_eq!(elected.recipients, vec![2, 3]);
    }

    #[test]
    fn offline_unclean_only_when_allowed_and_no_in_sync_replica_lives() {
        let (ctx, p) = setup(&[1, 2, 3], &[2, 3]);
        assert_eq!(run(&ctx, &p, &state(1, &[1]), CLEAN), None);
        let elected = run(&ctx, &p, &state(1, &[1]), UNCLEAN).unwrap().state;
        assert_eq!((elected.leader, elected.isr, elected.recovering), (2, vec![2], true));
        let elected = run(&ctx, &p, &state(1, &[1, 3]), UNCLEAN).unwrap().state;
        assert_eq!((elected.leader, elected.isr, elected.recovering), (3, vec![3], false));
        assert!(has_live_isr(&ctx, &p, &state(1, &[1, 3])) && !has_live_isr(&ctx, &p, &state(1, &[1])));
    }

    #[test]
    fn a_failed_log_dir_counts_as_dead() {
        let (mut ctx, p) = setup(&[1, 2], &[1, 2]);
        ctx.offline_dirs.entry(1).or_default().insert(p.clone());
        assert_eq!(run(&ctx, &p, &state(1, &[1, 2]), CLEAN).unwrap().state.leader, 2);
    }

    #[test]
    fn reassign_keeps_the_isr_and_tells_the_target() {
        let (mut ctx, p) = setup(&[2, 3, 1], &[1, 2, 3]);
        ctx.set_assignment(&p, ReplicaAssignment { replicas: vec![2, 3, 1], adding: vec![3], removing: vec![1] });
        let elected = run(&ctx, &p, &state(1, &[1, 2, 3]), ElectionStrategy::Reassign).unwrap();
        assert_eq!((elected.state.leader, elected.state.isr, elected.recipients), (2, vec![1, 2, 3], vec![2, 3]));
        assert_eq!(run(&ctx, &p, &state(1, &[1]), ElectionStrategy::Reassign), None);
    }

    #[test]
    fn preferred_is_the_head_or_nobody() {
        let (ctx, p) = setup(&[1, 2, 3], &[1, 2]);
        let elected = run(&ctx, &p, &state(2, &[2, 1]), ElectionStrategy::Preferred).unwrap();
        assert_eq!((elected.state.leader, elected.state.leader_epoch), (1, 5));
        assert_eq!(elected.recipients, vec![1, 2, 3]);
        assert_eq!(run(&ctx, &p, &state(2, &[2]), ElectionStrategy::Preferred), None);
    }

    #[test]
    fn controlled_shutdown_tells_the_leaving_broker_too() {
        let (mut ctx, p) = setup(&[1, 2, 3], &[1, 2, 3]);
        ctx.shutting_down.insert(1);
        let elected = run(&ctx, &p, &state(1, &[1, 2, 3]), ElectionStrategy::ControlledShutdown).unwrap();
        assert_eq!((elected.state.leader, elected.state.isr), (2, vec![2, 3]));
        assert_eq!(elected.recipients, vec![1, 2, 3]);
        assert_eq!(run(&ctx, &p, &state(1, &[1]), ElectionStrategy::ControlledShutdown), None);
    }
}
