//! `--execute`: begins moves, after what a way back needs has been printed and throttles are set.

use std::collections::{BTreeMap, BTreeSet};

use super::cluster::Cluster;
use super::plan::{Assignment, as_json, parse_execution};
use super::{Ended, command_failed, joined, log_dirs, plural, throttle};
use crate::tools::failure::JavaError;
use crate::tools::java_order::in_set_order;
use crate::tools::output::out;
use crate::topic::TopicPartition;

const REFUSED: &str = "Cannot execute because there is an existing partition assignment.  Use --additional to override \
                       this and create a new partition assignment in addition to the existing one. The --additional flag \
                       can also be used to change the throttle by resubmitting the current reassignment.";
const VERIFY: &str = "Warning: You must run --verify periodically, until the reassignment completes, to ensure the \
                      throttle is removed.";

/// What is to be done.
pub struct Order {
    pub json: String,
    pub additional: bool,
    /// Bytes a second between brokers; negative for none.
    pub throttle: i64,
    /// Bytes a second between directories; negative for none.
    pub log_dirs_throttle: i64,
    /// How long to try to begin moves between directories.
    pub timeout_ms: i64,
}

pub async fn execute(cluster: &Cluster<'_>, order: &Order) -> Result<(), Ended> {
    let (proposed, dirs) = parse_execution(&order.json)?;
    let ongoing = cluster.ongoing(None).await?;
    if !order.additional && !ongoing.is_empty() {
        return Err(Ended::Terse(REFUSED.to_owned()));
    }
    check_brokers(cluster, &proposed).await?;
    let topics: BTreeSet<String> = proposed.keys().map(|tp| tp.topic.to_string()).collect();
    let mut current = cluster.assignments(&topics.into_iter().collect::<Vec<_>>()).await?;
    current.retain(|tp, _| proposed.contains_key(tp));
    out(&format!(
        "Current partition replica assignment\n\n{}\n\nSave this to use as the --reassignment-json-file option during \
         rollback\n",
        as_json(&current)
    ));
    if order.throttle >= 0 || order.log_dirs_throttle >= 0 {
        out(&format!("{VERIFY}\n"));
    }
    if order.throttle >= 0 {
        let paths = throttle::paths(&ongoing, &proposed, &current)?;
        throttle::set(cluster, &paths, order.throttle).await?;
    }
    if order.log_dirs_throttle >= 0 {
        let brokers = dirs.keys().map(|replica| replica.broker).collect();
        throttle::set_log_dirs(cluster, &brokers, order.log_dirs_throttle).await?;
    }
    begin(cluster, proposed).await?;
    if !dirs.is_empty() {
        log_dirs::begin(cluster, dirs, order.timeout_ms).await?;
    }
    Ok(())
}

async fn begin(cluster: &Cluster<'_>, proposed: Assignment) -> Result<(), Ended> {
    let orders: BTreeMap<TopicPartition, Option<Vec<i32>>> =
        proposed.into_iter().map(|(tp, replicas)| (tp, Some(replicas))).collect();
    let errors = cluster.reassign(&orders).await?;
    if !errors.is_empty() {
        let lines: Vec<String> = errors.iter().map(|(tp, message)| format!("{tp}: {message}")).collect();
        return Err(Ended::Terse(format!("Error reassigning partition(s):\n{}", lines.join("\n"))));
    }
    let started = format!("partition reassignment{} for {}", plural(orders.len()), joined(orders.keys()));
    out(&format!("Successfully started {started}\n"));
    Ok(())
}

async fn check_brokers(cluster: &Cluster<'_>, proposed: &Assignment) -> Result<(), JavaError> {
    let live: BTreeSet<i32> = cluster.brokers().await?.into_iter().map(|broker| broker.id).collect();
    let named: BTreeSet<i32> = proposed.values().flatten().copied().collect();
    match in_set_order(named.into_iter().collect()).into_iter().find(|id| !live.contains(id)) {
        Some(id) => Err(command_failed(format!("Unknown broker id {id}"))),
        None => Ok(()),
    }
}
