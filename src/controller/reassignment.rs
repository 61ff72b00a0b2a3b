//! Moving partitions to other brokers: what a request may ask for, and when a reassignment is complete.
//! Decisions only; `reassign.rs` carries out the phases.
//!
//! Answers to the reassignment half of Kafka's `KafkaController`.

use std::collections::BTreeSet;

use super::assignment::{ReplicaAssignment, reassign_to};
use super::context::ControllerContext;
use crate::protocol::ErrorCode;
use crate::topic::TopicPartition;

/// An error of one partition in the answer to an admin request: code and text, `None` for no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub code: ErrorCode,
    pub message: Option<String>,
}

impl ApiError {
    /// The code with its default text.
    pub fn of(code: ErrorCode) -> ApiError {
        let message = (!code.is_none() && code != ErrorCode::UnknownServerError).then(|| code.message().to_owned());
        ApiError { code, message }
    }

    pub fn with(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError { code, message: Some(message.into()) }
    }
}

/// A list as Scala prints the collection Kafka holds it in.
fn scala(collection: &str, ids: &[i32]) -> String {
    let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
    format!("{collection}({})", ids.join(", "))
}

/// Checks the replicas an API request wants for a partition.
pub fn validate(ctx: &ControllerContext, partition: &TopicPartition, replicas: &[i32]) -> Result<(), ApiError> {
    let invalid = |message: String| Err(ApiError::with(ErrorCode::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return invalid("Empty replica list specified in partition reassignment.".to_owned());
    }
    if replicas.iter().collect::<BTreeSet<_>>().len() != replicas.len() {
        let list = scala("ArrayBuffer", replicas);
        return invalid(format!("Duplicate replica ids in partition reassignment replica list: {list}"));
    }
    if replicas.iter().any(|id| *id < 0) {
        return invalid(format!("Invalid broker id in replica list: {}", scala("ArrayBuffer", replicas)));
    }
    let adding = reassign_to(&ctx.assignment(partition).cloned().unwrap_or_default(), replicas).adding;
    if adding.iter().all(|id| ctx.is_live(*id)) {
        return Ok(());
    }
    let live: Vec<i32> = ctx.live_ids().into_iter().collect();
    let set = if live.len() > 4 { "HashSet" } else { "Set" };
    invalid(format!(
        "Replica assignment has brokers that are not alive. Replica list: {}, live broker list: {}",
        scala("ArrayBuffer", &adding),
        scala(set, &live)
    ))
}

/// The assignment a request leads to. No target means: cancel; `None` if there is nothing to cancel.
pub fn build(ctx: &ControllerContext, partition: &TopicPartition, target: Option<&[i32]>) -> Option<ReplicaAssignment> {
    let current = ctx.assignment(partition).cloned().unwrap_or_default();
    match target {
        Some(target) => Some(reassign_to(&current, target)),
        None if current.is_being_reassigned() => Some(reassign_to(&current, &current.origin())),
        None => None,
    }
}

/// Whether all target replicas are in sync. `isr`: as ZooKeeper has it, if the partition has a state there.
pub fn is_complete(assignment: &ReplicaAssignment, isr: Option<&[i32]>) -> bool {
    let caught_up = |isr: &[i32]| assignment.target().iter().all(|id| isr.contains(id));
    !assignment.is_being_reassigned() || isr.is_some_and(caught_up)
}

#[cfg(test)]
mod tests {
    use super::super::testing::broker;
    use super::*;

    fn setup() -> (ControllerContext, TopicPartition) {
        let mut ctx = ControllerContext::default();
        ctx.set_live_brokers([0, 1, 2].map(broker));
        let partition = TopicPartition::new("t", 0);
        ctx.set_assignment(&partition, ReplicaAssignment::new(vec![1, 2]));
        (ctx, partition)
    }

    #[test]
    fn refusals_in_kafkas_words() {
        let (ctx, p) = setup();
        let text = |replicas: &[i32]| validate(&ctx, &p, replicas).unwrap_err().message.unwrap();
        assert_eq!(text(&[]), "Empty replica list specified in partition reassignment.");
        assert_eq!(text(&[1, 1]), "Duplicate replica ids in partition reassignment replica list: ArrayBuffer(1, 1)");
        assert_eq!(text(&[-1]), "Invalid broker id in replica list: ArrayBuffer(-1)");
        // As recorded from Kafka.
        assert_eq!(
            text(&[77]),
            "Replica assignment has brokers that are not alive. Replica list: ArrayBuffer(77), live broker list: \
             Set(0, 1, 2)"
        );
        assert_eq!(validate(&ctx, &p, &[0, 2]), Ok(()));
    }

    #[test]
    fn a_dead_broker_may_stay_but_not_join() {
        let (mut ctx, p) = setup();
        ctx.remove_live_brokers(&[2].into());
        assert_eq!(validate(&ctx, &p, &[2, 0]), Ok(()));
        ctx.shutting_down.insert(0);
        assert!(validate(&ctx, &p, &[2, 0]).is_err());
    }

    #[test]
    fn cancelling_and_completing() {
        let (mut ctx, p) = setup();
        assert_eq!(build(&ctx, &p, None), None);
        let moving = build(&ctx, &p, Some(&[2, 0])).unwrap();
        assert!(!is_complete(&moving, Some(&[1, 2])) && !is_complete(&moving, None));
        assert!(is_complete(&moving, Some(&[0, 1, 2])));
        ctx.set_assignment(&p, moving);
        let cancelled = build(&ctx, &p, None).unwrap();
        assert_eq!(cancelled, ReplicaAssignment::new(vec![2, 1]));
        assert!(is_complete(&cancelled, None));
    }
}
