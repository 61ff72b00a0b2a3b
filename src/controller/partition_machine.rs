//! The states of a partition, which transitions are legal, and what each one means: which state to write and
//! whom to tell. Decisions only; `transitions.rs` reads and writes ZooKeeper between them.
//!
//! Answers to Kafka's `ZkPartitionStateMachine`.

use super::assignment::{LeaderAndIsr, LeaderIsrAndControllerEpoch, join};
use super::batch::RequestBatch;
use super::context::ControllerContext;
use super::election::{ElectionStrategy, elect, has_live_isr};
use crate::topic::TopicPartition;
use crate::zk::store::StoreError;

/// State of a partition in the controller's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionState {
    /// Created, but its first leader has not been chosen yet.
    New,
    Online,
    /// The leader died.
    Offline,
    NonExistent,
}

impl PartitionState {
    fn valid_from(self, previous: PartitionState) -> bool {
        use PartitionState::{New, NonExistent, Offline, Online};
        match self {
            New => previous == NonExistent,
            Online | Offline => matches!(previous, New | Online | Offline),
            NonExistent => previous == Offline,
        }
    }
}

impl std::fmt::Display for PartitionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}Partition")
    }
}

/// Why a state change of one partition did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateChangeError {
    /// The rules forbid it: nobody can lead, another controller wrote the state (`StateChangeFailedException`).
    #[error("{0}")]
    Failed(String),
    /// ZooKeeper answered with this error.
    #[error("{0}")]
    Zk(String),
}

/// What came of an election, per partition.
pub type ElectionResults = Vec<(TopicPartition, Result<LeaderAndIsr, StateChangeError>)>;

/// State of one partition as read from ZooKeeper; `None`: no such znode, or nothing legible in it.
pub type StateRead = (TopicPartition, Result<Option<LeaderIsrAndControllerEpoch>, StoreError>);

/// Logs a state change that failed, in Kafka's words.
pub fn log_failed(
    ctx: &ControllerContext,
    me: i32,
    partition: &TopicPartition,
    from: PartitionState,
    to: PartitionState,
    why: &dyn std::fmt::Display,
) {
    tracing::error!(
        target: "state.change.logger",
        "[Controller id={me} epoch={epoch}] Controller {me} epoch {epoch} failed to change state for partition \
         {partition} from {from} to {to}: {why}",
        epoch = ctx.epoch
    );
}

/// The partitions that may go to `target`; the others are logged and left alone.
pub fn admit(
    ctx: &ControllerContext,
    me: i32,
    partitions: &[TopicPartition],
    target: PartitionState,
) -> Vec<TopicPartition> {
    let mut admitted = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let from = ctx.partition_state(partition);
        if target.valid_from(from) {
            admitted.push(partition.clone());
        } else {
            let why = format!("Partition {partition} cannot move to {target} state. Instead it is in {from} state");
            log_failed(ctx, me, partition, from, target, &why);
        }
    }
    admitted
}

/// Transitions that only mark: to New, Offline and NonExistent.
pub fn mark(ctx: &mut ControllerContext, me: i32, partitions: &[TopicPartition], target: PartitionState) {
    for partition in partitions {
        if target == PartitionState::New {
            tracing::info!(
                target: "state.change.logger",
                "[Controller id={me} epoch={}] Changed partition {partition} state from {} to {target} with \
                 assigned replicas {}",
                ctx.epoch,
                ctx.partition_state(partition),
                join(ctx.replicas(partition))
            );
        }
        ctx.set_partition_state(partition, target);
    }
}

/// First states of new partitions: every live replica in sync, the first of them leads. A partition without a
/// live replica is logged and stays New.
pub fn plan_initialization(
    ctx: &ControllerContext,
    me: i32,
    partitions: &[TopicPartition],
) -> Vec<(TopicPartition, LeaderAndIsr)> {
    let mut planned = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let replicas = ctx.replicas(partition);
        let live: Vec<i32> = replicas.iter().copied().filter(|id| ctx.is_replica_online(*id, partition)).collect();
        match live.first() {
            Some(leader) => planned.push((partition.clone(), LeaderAndIsr::initial(*leader, live.clone()))),
            None => {
                let why = format!(
                    "Controller {me} epoch {} encountered error during state change of partition {partition} from \
                     New to Online, assigned replicas are [{}], live brokers are [{}]. No assigned replica is alive.",
                    ctx.epoch,
                    join(replicas),
                    join(ctx.live_ids())
                );
                log_failed(ctx, me, partition, PartitionState::New, PartitionState::Online, &why);
            }
        }
    }
    planned
}

/// The state znode of a new partition exists: the partition is online, its replicas hear of it as new.
pub fn initialized(
    ctx: &mut ControllerContext,
    me: i32,
    batch: &mut RequestBatch,
    partition: &TopicPartition,
    state: LeaderAndIsr,
) {
    let recipients = state.isr.clone();
    tracing::info!(
        target: "state.change.logger",
        "[Controller id={me} epoch={}] Changed partition {partition} from NewPartition to OnlinePartition with \
         state {state}",
        ctx.epoch
    );
    ctx.set_own_leadership(partition, state);
    batch.add_leader_and_isr(ctx, &recipients, partition, true);
    ctx.set_partition_state(partition, PartitionState::Online);
}

/// One write an election asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedElection {
    pub partition: TopicPartition,
    pub state: LeaderAndIsr,
    pub recipients: Vec<i32>,
}

/// States read from ZooKeeper that an election can start from, those of a newer controller and missing ones
/// sorted out as failures.
pub fn legible_states(
    ctx: &ControllerContext,
    me: i32,
    reads: Vec<StateRead>,
    failures: &mut ElectionResults,
) -> Vec<(TopicPartition, LeaderAndIsr)> {
    let mut legible = Vec::with_capacity(reads.len());
    for (partition, read) in reads {
        let failed = match read {
            Ok(Some(info)) if info.controller_epoch > ctx.epoch => StateChangeError::Failed(format!(
                "Aborted leader election for partition {partition} since the LeaderAndIsr path was already written \
                 by another controller. This probably means that the current controller {me} went through a soft \
                 failure and another controller was elected with epoch {}.",
                info.controller_epoch
            )),
            Ok(Some(info)) => {
                legible.push((partition, info.leader_and_isr));
                continue;
            }
            Ok(None) => StateChangeError::Failed(format!(
                "LeaderAndIsr information doesn't exist for partition {partition} in {} state",
                ctx.partition_state(&partition)
            )),
            Err(zk) => StateChangeError::Zk(zk.to_string()),
        };
        failures.push((partition, Err(failed)));
    }
    legible
}

/// Topics whose configuration decides whether an election may be unclean: those without a live in-sync replica.
pub fn topics_to_ask_for_unclean(
    ctx: &ControllerContext,
    states: &[(TopicPartition, LeaderAndIsr)],
    strategy: ElectionStrategy,
) -> std::collections::BTreeSet<std::sync::Arc<str>> {
    if strategy != (ElectionStrategy::Offline { allow_unclean: false }) {
        return Default::default();
    }
    let stuck = states.iter().filter(|(partition, state)| !has_live_isr(ctx, partition, state));
    stuck.map(|(partition, _)| partition.topic.clone()).collect()
}

/// Elects for each state; who finds no leader goes to `failures`. `unclean_topics`: topics that allow it.
pub fn plan_election(
    ctx: &ControllerContext,
    states: Vec<(TopicPartition, LeaderAndIsr)>,
    strategy: ElectionStrategy,
    unclean_topics: &std::collections::BTreeSet<std::sync::Arc<str>>,
    recovery_supported: bool,
    failures: &mut ElectionResults,
) -> Vec<PlannedElection> {
    let always = strategy == ElectionStrategy::Offline { allow_unclean: true };
    let mut planned = Vec::with_capacity(states.len());
    for (partition, current) in states {
        let unclean = always || unclean_topics.contains(&partition.topic);
        match elect(ctx, &partition, &current, strategy, unclean, recovery_supported) {
            Some(elected) => {
                let (state, recipients) = (elected.state, elected.recipients);
                planned.push(PlannedElection { partition, state, recipients });
            }
            None => {
                let why = format!("Failed to elect leader for partition {partition} under strategy {strategy}");
                failures.push((partition, Err(StateChangeError::Failed(why))));
            }
        }
    }
    planned
}

/// An election's state is in ZooKeeper: remember it, tell the replicas. `state` carries the new data version.
pub fn elected(
    ctx: &mut ControllerContext,
    me: i32,
    batch: &mut RequestBatch,
    partition: &TopicPartition,
    recipients: &[i32],
    state: &LeaderAndIsr,
) {
    ctx.set_own_leadership(partition, state.clone());
    batch.add_leader_and_isr(ctx, recipients, partition, false);
    tracing::info!(
        target: "state.change.logger",
        "[Controller id={me} epoch={}] Changed partition {partition} from {} to OnlinePartition with state {state}",
        ctx.epoch,
        ctx.partition_state(partition)
    );
    ctx.set_partition_state(partition, PartitionState::Online);
}

/// The states partitions have when a controller takes over: no leader known yet, leader alive, leader dead.
pub fn initial_states(ctx: &mut ControllerContext) {
    for partition in ctx.all_partitions() {
        let state = match ctx.leader_and_isr(&partition) {
            None => PartitionState::New,
            Some(state) if ctx.is_replica_online(state.leader, &partition) => PartitionState::Online,
            Some(_) => PartitionState::Offline,
        };
        ctx.set_partition_state(&partition, state);
    }
}
