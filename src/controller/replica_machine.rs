//! The states of a replica, which transitions are legal, and what each one means. Decisions only;
//! `transitions.rs` reads and writes ZooKeeper between them.
//!
//! Answers to Kafka's `ZkReplicaStateMachine`.

use super::assignment::{LeaderAndIsr, NO_LEADER, ReplicaAssignment, describe, remove_replica};
use super::batch::RequestBatch;
use super::context::{ControllerContext, PartitionAndReplica};
use super::partition_machine::StateRead;
use crate::topic::TopicPartition;

/// State of a replica in the controller's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    New,
    Online,
    Offline,
    /// StopReplica with delete=true is on its way.
    DeletionStarted,
    DeletionSuccessful,
    /// The deletion failed, or the replica is dead while its topic is being deleted.
    DeletionIneligible,
    NonExistent,
}

impl ReplicaState {
    fn valid_from(self, previous: ReplicaState) -> bool {
        use ReplicaState::{
            DeletionIneligible, DeletionStarted, DeletionSuccessful, New, NonExistent, Offline, Online,
        };
        match self {
            New => previous == NonExistent,
            Online | Offline => matches!(previous, New | Online | Offline | DeletionIneligible),
            DeletionStarted => previous == Offline,
            DeletionSuccessful => previous == DeletionStarted,
            DeletionIneligible => matches!(previous, Offline | DeletionStarted),
            NonExistent => previous == DeletionSuccessful,
        }
    }
}

impl std::fmt::Display for ReplicaState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReplicaState::New | ReplicaState::Online | ReplicaState::Offline | ReplicaState::NonExistent => {
                write!(f, "{self:?}Replica")
            }
            _ => write!(f, "Replica{self:?}"),
        }
    }
}

fn log_failed(
    ctx: &ControllerContext,
    me: i32,
    replica: &PartitionAndReplica,
    to: ReplicaState,
    why: &dyn std::fmt::Display,
) {
    tracing::error!(
        target: "state.change.logger",
        "[Controller id={me} epoch={epoch}] Controller {me} epoch {epoch} initiated state change of replica {} for \
         partition {} from {} to {to} failed: {why}",
        replica.replica,
        replica.partition,
        ctx.replica_state(replica),
        epoch = ctx.epoch
    );
}

/// The replicas that may go to `target`; the others are logged and left alone.
pub fn admit(
    ctx: &ControllerContext,
    me: i32,
    replicas: &[PartitionAndReplica],
    target: ReplicaState,
) -> Vec<PartitionAndReplica> {
    let mut admitted = Vec::with_capacity(replicas.len());
    for replica in replicas {
        let from = ctx.replica_state(replica);
        if target.valid_from(from) {
            admitted.push(replica.clone());
        } else {
            let why = format!("Replica {replica} cannot move to {target} state. Instead it is in {from} state");
            log_failed(ctx, me, replica, target, &why);
        }
    }
    admitted
}

/// Every transition but the one to Offline, which needs ZooKeeper.
pub fn change(
    ctx: &mut ControllerContext,
    me: i32,
    batch: &mut RequestBatch,
    replicas: &[PartitionAndReplica],
    target: ReplicaState,
) {
    for replica in replicas {
        match target {
            ReplicaState::New => to_new(ctx, me, batch, replica),
            ReplicaState::Online => to_online(ctx, batch, replica),
            ReplicaState::DeletionStarted => {
                ctx.set_replica_state(replica, target);
                batch.add_stop_replica(ctx, &[replica.replica], &replica.partition, true);
            }
            ReplicaState::NonExistent => {
                if let Some(assignment) = ctx.assignment(&replica.partition) {
                    let rest = remove_replica(assignment, replica.replica);
                    ctx.set_assignment(&replica.partition, rest);
                }
                ctx.remove_replica_state(replica);
            }
            ReplicaState::Offline | ReplicaState::DeletionSuccessful | ReplicaState::DeletionIneligible => {
                ctx.set_replica_state(replica, target);
            }
        }
    }
}

fn to_new(ctx: &mut ControllerContext, me: i32, batch: &mut RequestBatch, replica: &PartitionAndReplica) {
    let (partition, id) = (&replica.partition, replica.replica);
    match ctx.leader_and_isr(partition).map(|state| state.leader) {
        Some(leader) if leader == id => {
            let why = format!(
                "Replica {id} for partition {partition} cannot be moved to NewReplica state as it is being requested \
                 to become leader"
            );
            log_failed(ctx, me, replica, ReplicaState::New, &why);
            return;
        }
        Some(_) => batch.add_leader_and_isr(ctx, &[id], partition, true),
        None => {}
    }
    ctx.set_replica_state(replica, ReplicaState::New);
}

fn to_online(ctx: &mut ControllerContext, batch: &mut RequestBatch, replica: &PartitionAndReplica) {
    let (partition, id) = (&replica.partition, replica.replica);
    if ctx.replica_state(replica) == ReplicaState::New {
        let assignment = ctx.assignment(partition).cloned().unwrap_or_default();
        if !assignment.replicas.contains(&id) {
            tracing::error!(
                target: "kafka.controller.ReplicaStateMachine",
                "Adding replica ({id}) that is not part of the assignment {}",
                describe(&assignment)
            );
            let mut replicas = assignment.replicas.clone();
            replicas.push(id);
            ctx.set_assignment(partition, ReplicaAssignment { replicas, ..assignment });
        }
    } else if ctx.leadership(partition).is_some() {
        batch.add_leader_and_isr(ctx, &[id], partition, false);
    }
    ctx.set_replica_state(replica, ReplicaState::Online);
}

/// First half of the way to Offline: stop the replica (without deleting it). Returned are the partitions whose
/// ISR must be rid of it; for those without a known leader nothing is left to do.
pub fn begin_offline(
    ctx: &mut ControllerContext,
    batch: &mut RequestBatch,
    replicas: &[PartitionAndReplica],
) -> Vec<TopicPartition> {
    let mut led = Vec::new();
    for replica in replicas {
        // A broker that has come back has nothing to stop, and is about to follow.
        if !ctx.returned.contains(replica) {
            batch.add_stop_replica(ctx, &[replica.replica], &replica.partition, false);
        }
        if ctx.leadership(&replica.partition).is_some() {
            led.push(replica.partition.clone());
        } else {
            batch.add_update_metadata(ctx, &ctx.live_or_shutting_down_ids(), std::slice::from_ref(&replica.partition));
            ctx.set_replica_state(replica, ReplicaState::Offline);
        }
    }
    led
}

/// What removing a replica from the ISR of one partition comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsrRemoval {
    /// Write this state.
    Write(TopicPartition, LeaderAndIsr),
    /// The replica is not in the ISR: nothing to write, but the state is told to the others all the same.
    Unchanged(TopicPartition, LeaderAndIsr),
}

/// Decides, from the states read, how the replica `id` leaves the ISRs. Failures are logged.
pub fn plan_isr_removal(ctx: &ControllerContext, me: i32, id: i32, reads: Vec<StateRead>) -> Vec<IsrRemoval> {
    let mut planned = Vec::with_capacity(reads.len());
    for (partition, read) in reads {
        let why = match read {
            Ok(Some(info)) if info.controller_epoch <= ctx.epoch => {
                planned.push(remove_from_isr(partition, id, &info.leader_and_isr));
                continue;
            }
            Ok(Some(info)) => format!(
                "Leader and isr path written by another controller. This probably means the current controller with \
                 epoch {} went through a soft failure and another controller was elected with epoch {}. Aborting \
                 state change by this controller",
                ctx.epoch, info.controller_epoch
            ),
            Ok(None) if ctx.is_queued_for_deletion(&partition.topic) => continue,
            Ok(None) => format!(
                "Failed to change state of replica {id} for partition {partition} since the leader and isr path in \
                 zookeeper is empty"
            ),
            Err(zk) => zk.to_string(),
        };
        log_failed(ctx, me, &PartitionAndReplica::new(partition, id), ReplicaState::Offline, &why);
    }
    planned
}

fn remove_from_isr(partition: TopicPartition, id: i32, current: &LeaderAndIsr) -> IsrRemoval {
    if !current.isr.contains(&id) {
        return IsrRemoval::Unchanged(partition, current.clone());
    }
    let leader = if current.leader == id { NO_LEADER } else { current.leader };
    // The last member stays: it is the one that may lead again without loss.
    let isr = match current.isr.len() {
        1 => current.isr.clone(),
        _ => current.isr.iter().copied().filter(|member| *member != id).collect(),
    };
    IsrRemoval::Write(partition, current.with_leader_and_isr(leader, isr))
}

/// Second half: the ISR is rid of the replica (or never had it). The other replicas hear of it, unless the topic
/// is being deleted. `state` carries the data version now in ZooKeeper.
pub fn finish_offline(
    ctx: &mut ControllerContext,
    me: i32,
    batch: &mut RequestBatch,
    replica: &PartitionAndReplica,
    state: LeaderAndIsr,
) {
    let (partition, id) = (&replica.partition, replica.replica);
    ctx.set_own_leadership(partition, state);
    if let Some(info) = ctx.leadership(partition) {
        tracing::info!(
            target: "state.change.logger",
            "[Controller id={me} epoch={}] Partition {partition} state changed to {info} after removing replica {id} \
             from the ISR as part of transition to OfflineReplica",
            ctx.epoch
        );
    }
    if !ctx.is_queued_for_deletion(&partition.topic) {
        let others: Vec<i32> = ctx.replicas(partition).iter().copied().filter(|other| *other != id).collect();
        batch.add_leader_and_isr(ctx, &others, partition, false);
    }
    ctx.set_replica_state(replica, ReplicaState::Offline);
}

/// A write that ZooKeeper refused for good.
pub fn isr_removal_failed(ctx: &ControllerContext, me: i32, replica: &PartitionAndReplica, why: &str) {
    log_failed(ctx, me, replica, ReplicaState::Offline, &why);
}

/// The states replicas have when a controller takes over; returned are the online and the offline ones.
pub fn initial_states(ctx: &mut ControllerContext) -> (Vec<PartitionAndReplica>, Vec<PartitionAndReplica>) {
    let all = ctx.replicas_of(&ctx.all_partitions());
    let (online, offline): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|replica| ctx.is_replica_online(replica.replica, &replica.partition));
    for replica in &online {
        ctx.set_replica_state(replica, ReplicaState::Online);
    }
    for replica in &offline {
        // Ineligible, so that the deletion of its topic waits for it; it goes on to Offline right away.
        ctx.set_replica_state(replica, ReplicaState::DeletionIneligible);
    }
    (online, offline)
}
