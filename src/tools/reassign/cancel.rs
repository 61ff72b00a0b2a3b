//! `--cancel`: takes back the moves of a file that are under way.

use std::collections::{BTreeMap, BTreeSet};

use super::cluster::{Cluster, Move};
use super::plan::parse_reassignment;
use super::{Ended, joined, log_dirs, plural, throttle};
use crate::tools::output::out;
use crate::topic::TopicPartition;

pub async fn cancel(cluster: &Cluster<'_>, json: &str, preserve_throttles: bool, timeout_ms: i64) -> Result<(), Ended> {
    let file = parse_reassignment(json)?;
    let named: BTreeSet<TopicPartition> = file.partitions.iter().map(|(tp, _)| tp.clone()).collect();
    let ongoing = cluster.ongoing(Some(&named)).await?;
    // Kafka's condition: a move that only adds replicas is not taken back.
    let is_cancelled = |moving: &Move| moving.adding.is_empty() || !moving.removing.is_empty();
    let orders: BTreeMap<TopicPartition, Option<Vec<i32>>> =
        ongoing.into_iter().filter(|(_, moving)| is_cancelled(moving)).map(|(tp, _)| (tp, None)).collect();
    if orders.is_empty() {
        out("None of the specified partition reassignments are active.\n");
    } else {
        let errors = cluster.reassign(&orders).await?;
        if !errors.is_empty() {
            let lines: Vec<String> = errors.iter().map(|(tp, message)| format!("{tp}: {message}")).collect();
            let s = plural(errors.len());
            return Err(Ended::Terse(format!("Error cancelling partition reassignment{s} for:\n{}", lines.join("\n"))));
        }
        let s = plural(orders.len());
        out(&format!("Successfully cancelled partition reassignment{s} for: {}\n", joined(orders.keys())));
    }
    // A move between directories is taken back by ordering the replica to where it is.
    let states = log_dirs::states(cluster, &file.log_dirs).await?;
    let back: BTreeMap<_, _> =
        states.into_iter().filter_map(|(replica, state)| Some((replica, state.active_in()?))).collect();
    if back.is_empty() {
        // Kafka does not end this line.
        out("None of the specified partition moves are active.");
    } else {
        log_dirs::begin(cluster, back, timeout_ms).await?;
    }
    if !preserve_throttles {
        throttle::clear(cluster, &file).await?;
    }
    Ok(())
}
