//! Deleting topics: which may be deleted now, which must wait, and which replicas are told what. Decisions only;
//! `topics.rs` carries them out.
//!
//! Answers to Kafka's `TopicDeletionManager`. A topic waits (is ineligible) while a reassignment of it runs, while
//! one of its replicas is dead, or after a replica failed to delete; it is resumed when a broker with one of its
//! replicas starts or the reassignment ends.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::assignment::join;
use super::context::{ControllerContext, PartitionAndReplica};
use super::replica_machine::ReplicaState;

/// What to do with the queued topics now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resumption {
    /// All replicas are deleted: remove the znodes.
    pub complete: Vec<Arc<str>>,
    /// Replicas that failed, to be put back to Offline for another try.
    pub retry: Vec<PartitionAndReplica>,
    /// Deletion (re)starts.
    pub start: Vec<Arc<str>>,
}

impl Resumption {
    pub fn is_empty(&self) -> bool {
        self.complete.is_empty() && self.retry.is_empty() && self.start.is_empty()
    }
}

/// Decides for every queued topic.
pub fn resume(ctx: &ControllerContext) -> Resumption {
    let mut resumption = Resumption::default();
    for topic in &ctx.topics_to_be_deleted {
        if ctx.all_replicas_in_state(topic, ReplicaState::DeletionSuccessful) {
            resumption.complete.push(topic.clone());
            continue;
        }
        if ctx.any_replica_in_state(topic, ReplicaState::DeletionStarted) {
            continue;
        }
        resumption.retry.extend(ctx.replicas_in_state(topic, ReplicaState::DeletionIneligible));
        if !ctx.topics_ineligible_for_deletion.contains(topic) {
            resumption.start.push(topic.clone());
        }
    }
    resumption
}

/// What starting the deletion of some topics asks of their replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaDeletion {
    /// Go to DeletionIneligible.
    pub dead: Vec<PartitionAndReplica>,
    /// Go to Offline, then to DeletionStarted.
    pub alive: Vec<PartitionAndReplica>,
    /// Topics that have dead replicas, and so cannot come to an end now.
    pub halted: BTreeSet<Arc<str>>,
}

/// Sorts the replicas of topics whose deletion starts.
pub fn plan_replica_deletion(ctx: &ControllerContext, topics: &[Arc<str>]) -> ReplicaDeletion {
    let mut plan = ReplicaDeletion::default();
    for topic in topics {
        for replica in ctx.replicas_of_topic(topic) {
            if !ctx.is_replica_online(replica.replica, &replica.partition) {
                plan.dead.push(replica);
                plan.halted.insert(topic.clone());
            } else if ctx.replica_state(&replica) != ReplicaState::DeletionSuccessful {
                plan.alive.push(replica);
            }
        }
    }
    plan
}

/// Marks those of `topics` that are queued as having to wait.
pub fn mark_ineligible(ctx: &mut ControllerContext, me: i32, topics: &BTreeSet<Arc<str>>, reason: &str) {
    let halted: Vec<Arc<str>> = topics.intersection(&ctx.topics_to_be_deleted).cloned().collect();
    if !halted.is_empty() {
        tracing::info!(
            target: "kafka.controller.TopicDeletionManager",
            "[Topic Deletion Manager {me}] Halted deletion of topics {} due to {reason}",
            join(&halted)
        );
        ctx.topics_ineligible_for_deletion.extend(halted);
    }
}

/// Takes the mark off those of `topics` that are queued; true if there are any.
pub fn unmark_ineligible(ctx: &mut ControllerContext, topics: &BTreeSet<Arc<str>>) -> bool {
    let resumed: Vec<Arc<str>> = topics.intersection(&ctx.topics_to_be_deleted).cloned().collect();
    for topic in &resumed {
        ctx.topics_ineligible_for_deletion.remove(topic);
    }
    !resumed.is_empty()
}

/// Topics that a new controller finds unfit for deletion: some replica is dead, or a reassignment runs.
pub fn ineligible_at_start(ctx: &ControllerContext) -> BTreeSet<Arc<str>> {
    let dead = |topic: &Arc<str>| {
        let replicas = ctx.replicas_of_topic(topic);
        // One that has returned unseen counts as offline only until it has left the ISR.
        replicas.iter().any(|replica| {
            !ctx.returned.contains(replica) && !ctx.is_replica_online(replica.replica, &replica.partition)
        })
    };
    let mut topics: BTreeSet<Arc<str>> = ctx.topics.iter().filter(|topic| dead(topic)).cloned().collect();
    topics.extend(ctx.being_reassigned.iter().map(|partition| partition.topic.clone()));
    topics
}

#[cfg(test)]
mod tests {
    use super::super::assignment::ReplicaAssignment;
    use super::super::testing::broker;
    use super::*;
    use crate::topic::TopicPartition;

    fn setup(live: &[i32]) -> (ControllerContext, Arc<str>, Vec<PartitionAndReplica>) {
        let mut ctx = ControllerContext::default();
        ctx.set_live_brokers(live.iter().map(|id| broker(*id)));
        let topic: Arc<str> = Arc::from("t");
        ctx.topics.insert(topic.clone());
        ctx.set_assignment(&TopicPartition::new("t", 0), ReplicaAssignment::new(vec![1, 2]));
        ctx.topics_to_be_deleted.insert(topic.clone());
        let replicas = ctx.replicas_of_topic(&topic);
        (ctx, topic, replicas)
    }

    fn put(ctx: &mut ControllerContext, replicas: &[PartitionAndReplica], states: [ReplicaState; 2]) {
        for (replica, state) in replicas.iter().zip(states) {
            ctx.set_replica_state(replica, state);
        }
    }

    #[test]
    fn a_topic_starts_runs_and_completes() {
        use ReplicaState::{DeletionStarted, DeletionSuccessful, Online};
        let (mut ctx, topic, replicas) = setup(&[1, 2]);
        put(&mut ctx, &replicas, [Online, Online]);
        assert_eq!(resume(&ctx).start, vec![topic.clone()]);
        put(&mut ctx, &replicas, [DeletionSuccessful, DeletionStarted]);
        assert!(resume(&ctx).is_empty());
        put(&mut ctx, &replicas, [DeletionSuccessful, DeletionSuccessful]);
        assert_eq!(resume(&ctx), Resumption { complete: vec![topic], ..Resumption::default() });
    }

    #[test]
    fn a_failed_replica_is_retried_when_the_topic_may_go_on() {
        use ReplicaState::{DeletionIneligible, DeletionSuccessful};
        let (mut ctx, topic, replicas) = setup(&[1]);
        put(&mut ctx, &replicas, [DeletionSuccessful, DeletionIneligible]);
        mark_ineligible(&mut ctx, 0, &BTreeSet::from([topic.clone(), Arc::from("other")]), "a dead broker");
        let waiting = resume(&ctx);
        assert_eq!((waiting.retry, waiting.start), (vec![replicas[1].clone()], vec![]));
        assert!(unmark_ineligible(&mut ctx, &BTreeSet::from([topic.clone()])));
        assert_eq!(resume(&ctx).start, vec![topic.clone()]);
        // Broker 2 is dead: its replica cannot be deleted, and the one deleted already is left in peace.
        let plan = plan_replica_deletion(&ctx, std::slice::from_ref(&topic));
        assert_eq!((plan.dead, plan.alive, plan.halted), (vec![replicas[1].clone()], vec![], [topic].into()));
    }

    #[test]
    fn only_the_dead_hinder_a_new_controller() {
        let (mut ctx, topic, replicas) = setup(&[1]);
        assert_eq!(ineligible_at_start(&ctx), BTreeSet::from([topic]), "broker 2 is dead");
        let (mut returned, _, _) = setup(&[1, 2]);
        returned.returned.insert(replicas[1].clone());
        assert_eq!(ineligible_at_start(&returned), BTreeSet::new(), "broker 2 was, and has returned");
        ctx.returned.insert(replicas[0].clone());
        assert!(!ineligible_at_start(&ctx).is_empty());
    }
}
