//! `--verify`: how far the moves of a file are; when nothing moves any more, throttles are lifted.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::plan::{Reassignment, parse_reassignment, unique};
use super::{Ended, joined, log_dirs, throttle};
use crate::protocol::ErrorCode;
use crate::tools::admin::in_execution;
use crate::tools::failure::JavaError;
use crate::tools::java_names::api_error;
use crate::tools::output::out;
use crate::topic::TopicPartition;

/// How far one partition is.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Moving,
    /// Nothing moves; the replicas there are and those the file wants.
    Still {
        current: Vec<i32>,
        target: Vec<i32>,
    },
}

pub async fn verify(cluster: &Cluster<'_>, json: &str, preserve_throttles: bool) -> Result<(), Ended> {
    let file = parse_reassignment(json)?;
    let (states, any_ongoing) = states(cluster, &file).await?;
    out(&format!("{}\n", describe(&states)));
    let moves = log_dirs::states(cluster, &file.log_dirs).await?;
    out(&format!("{}\n", log_dirs::describe(&moves)));
    let moving = moves.values().any(|state| state.is_active());
    if !any_ongoing && !moving && !preserve_throttles {
        throttle::clear(cluster, &file).await?;
    }
    Ok(())
}

/// The states of the file's partitions, and whether anything at all is under way.
async fn states(
    cluster: &Cluster<'_>,
    file: &Reassignment,
) -> Result<(BTreeMap<TopicPartition, State>, bool), JavaError> {
    let ongoing = cluster.ongoing(None).await?;
    let still = file.partitions.iter().filter(|(tp, _)| !ongoing.contains_key(tp));
    let described = cluster.describe(&unique(still.map(|(tp, _)| tp.topic.to_string()))).await?;
    let mut states = BTreeMap::new();
    for (tp, target) in &file.partitions {
        if ongoing.contains_key(tp) {
            states.insert(tp.clone(), State::Moving);
            continue;
        }
        let current = match described.get(&*tp.topic) {
            Some(Ok(partitions)) => usize::try_from(tp.partition).ok().and_then(|p| partitions.get(p)).cloned(),
            Some(Err(code)) if *code != ErrorCode::UnknownTopicOrPartition => {
                return Err(in_execution(api_error(*code, None)));
            }
            Some(Err(_)) | None => None,
        };
        let state = State::Still { current: current.unwrap_or_default(), target: target.clone() };
        states.insert(tp.clone(), state);
    }
    Ok((states, !ongoing.is_empty()))
}

fn describe(states: &BTreeMap<TopicPartition, State>) -> String {
    let lines = states.iter().map(|(tp, state)| match state {
        State::Moving => format!("\nReassignment of partition {tp} is still in progress."),
        State::Still { current, target } if current == target => {
            format!("\nReassignment of partition {tp} is completed.")
        }
        State::Still { current, target } => format!(
            "\nThere is no active reassignment of partition {tp}, but replica set is {} rather than {}.",
            joined(current),
            joined(target)
        ),
    });
    format!("Status of partition reassignment:{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_as_recorded() {
        let still =
            |current: &[i32], target: &[i32]| State::Still { current: current.to_vec(), target: target.to_vec() };
        let states = BTreeMap::from([
            (TopicPartition::new("re1", 0), still(&[0, 1], &[2, 1])),
            (TopicPartition::new("re1", 1), State::Moving),
            (TopicPartition::new("re1", 2), still(&[1], &[1])),
            (TopicPartition::new("nosuch", 0), still(&[], &[0])),
        ]);
        assert_eq!(
            describe(&states),
            "Status of partition reassignment:\n\
             There is no active reassignment of partition nosuch-0, but replica set is  rather than 0.\n\
             There is no active reassignment of partition re1-0, but replica set is 0,1 rather than 2,1.\n\
             Reassignment of partition re1-1 is still in progress.\n\
             Reassignment of partition re1-2 is completed."
        );
    }
}
