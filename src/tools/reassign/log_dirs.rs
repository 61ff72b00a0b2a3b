//! Moves between the log directories of a broker: beginning them, and how far they are.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;

use super::cluster::{Cluster, by_topic};
use super::plan::Replica;
use super::{Ended, command_failed, joined, plural};
use crate::client::{Call, ClientError, Target};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use crate::protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use crate::protocol::messages::{AlterReplicaLogDirsRequest, DescribeLogDirsRequest, TopicName};
use crate::tools::admin::{execution_error, in_execution};
use crate::tools::failure::JavaError;
use crate::tools::java_names::api_error;
use crate::tools::output::out;
use crate::topic::TopicPartition;

/// How long to wait before a replica that is not there yet is asked for again.
const RETRY: Duration = Duration::from_millis(100);

/// Where a replica is, seen from the directory it is to be in.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// In no live directory.
    Missing,
    Completed,
    /// It is in another directory, and nothing moves it.
    NotMoving {
        current: String,
        target: String,
    },
    Active {
        current: String,
        target: String,
        future: String,
    },
}

impl State {
    pub fn is_active(&self) -> bool {
        matches!(self, State::Active { .. })
    }

    /// The directory an active move comes from.
    pub fn active_in(self) -> Option<String> {
        match self {
            State::Active { current, .. } => Some(current),
            _ => None,
        }
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The directory that holds a replica, and the one it is on its way to.
type Dirs = (Option<String>, Option<String>);

/// How far replicas are on the way to their directories.
pub async fn states(
    cluster: &Cluster<'_>,
    targets: &BTreeMap<Replica, String>,
) -> Result<BTreeMap<Replica, State>, JavaError> {
    let mut brokers: BTreeMap<i32, Vec<&TopicPartition>> = BTreeMap::new();
    targets.keys().for_each(|replica| brokers.entry(replica.broker).or_default().push(&replica.tp));
    let asked = brokers.into_iter().map(|(broker, partitions)| ask(cluster, broker, partitions));
    let mut found: BTreeMap<Replica, Dirs> = try_join_all(asked).await?.into_iter().flatten().collect();
    let state = |(replica, target): (&Replica, &String)| {
        let target = target.clone();
        let state = match found.remove(replica) {
            None | Some((None, _)) => State::Missing,
            Some((Some(current), Some(future))) => State::Active { current, target, future },
            Some((Some(current), None)) if current == target => State::Completed,
            Some((Some(current), None)) => State::NotMoving { current, target },
        };
        (replica.clone(), state)
    };
    Ok(targets.iter().map(state).collect())
}

async fn ask(
    cluster: &Cluster<'_>,
    broker: i32,
    partitions: Vec<&TopicPartition>,
) -> Result<BTreeMap<Replica, Dirs>, JavaError> {
    let topics = by_topic(partitions).into_iter().map(|(name, indexes)| {
        DescribableLogDirTopic::default().with_topic(TopicName(text(name))).with_partitions(indexes)
    });
    let request = DescribeLogDirsRequest::default().with_topics(Some(topics.collect()));
    let call = Call::new("describeReplicaLogDirs", Target::Broker(broker));
    let answer = cluster.admin.call(call, |_| Ok(request.clone()), |_| Ok(())).await.map_err(execution_error)?;
    let mut found: BTreeMap<Replica, Dirs> = BTreeMap::new();
    for dir in &answer.results {
        match ErrorCode::from_code(dir.error_code) {
            ErrorCode::None => {}
            ErrorCode::KafkaStorageError => continue,
            code => return Err(in_execution(api_error(code, None))),
        }
        for topic in &dir.topics {
            for partition in &topic.partitions {
                let tp = TopicPartition::new(&*topic.name.0, partition.partition_index);
                let dirs = found.entry(Replica { broker, tp }).or_default();
                let path = Some(dir.log_dir.to_string());
                if partition.is_future_key { dirs.1 = path } else { dirs.0 = path }
            }
        }
    }
    Ok(found)
}

/// The states as lines, without a newline at the end.
pub fn describe(states: &BTreeMap<Replica, State>) -> String {
    let lines = states.iter().map(|(replica, state)| {
        let (tp, broker) = (&replica.tp, replica.broker);
        match state {
            State::Missing => format!(
                "Partition {tp} is not found in any live log dir on broker {broker}. There is likely an offline log \
                 directory on the broker."
            ),
            State::Completed => format!("Reassignment of replica {replica} completed successfully."),
            State::NotMoving { current, target } => {
                format!("Partition {tp} on broker {broker} is not being moved from log dir {current} to {target}.")
            }
            State::Active { target, future, .. } if target == future => {
                format!("Reassignment of replica {replica} is still in progress.")
            }
            State::Active { target, future, .. } => {
                format!("Partition {tp} on broker {broker} is being moved to log dir {future} instead of {target}.")
            }
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Orders replicas to directories; one that its broker does not have yet is tried again until the time is over.
pub async fn begin(
    cluster: &Cluster<'_>,
    mut pending: BTreeMap<Replica, String>,
    timeout_ms: i64,
) -> Result<(), Ended> {
    let deadline = Instant::now() + Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    loop {
        let started = order(cluster, &pending).await?;
        if !started.is_empty() {
            let s = plural(started.len());
            out(&format!("Successfully started log directory move{s} for: {}\n", joined(&started)));
        }
        started.iter().for_each(|replica| drop(pending.remove(replica)));
        if pending.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let (s, left) = (plural(pending.len()), joined(pending.keys()));
            let text = format!("Timed out before log directory move{s} could be started for: {left}");
            return Err(Ended::Terse(text));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// One try; the replicas whose brokers have taken the order.
async fn order(cluster: &Cluster<'_>, targets: &BTreeMap<Replica, String>) -> Result<Vec<Replica>, JavaError> {
    let mut brokers: BTreeMap<i32, BTreeMap<&str, Vec<&TopicPartition>>> = BTreeMap::new();
    for (replica, dir) in targets {
        brokers.entry(replica.broker).or_default().entry(dir).or_default().push(&replica.tp);
    }
    let mut started = Vec::new();
    for (broker, dirs) in brokers {
        let named = dirs.values().flatten().map(|tp| Replica { broker, tp: (*tp).clone() }).min();
        let outcomes = order_at(cluster, broker, dirs).await.map_err(|error| match &named {
            Some(replica) => failed(replica, execution_error(error)),
            None => execution_error(error),
        })?;
        for (replica, code) in outcomes {
            match code {
                ErrorCode::None => started.push(replica),
                ErrorCode::ReplicaNotAvailable => {}
                code => return Err(failed(&replica, in_execution(api_error(code, None)))),
            }
        }
    }
    started.sort();
    Ok(started)
}

fn failed(replica: &Replica, cause: JavaError) -> JavaError {
    command_failed(format!("Failed to alter dir for {replica}")).caused_by(cause)
}

async fn order_at(
    cluster: &Cluster<'_>,
    broker: i32,
    dirs: BTreeMap<&str, Vec<&TopicPartition>>,
) -> Result<Vec<(Replica, ErrorCode)>, ClientError> {
    let topic = |(name, partitions)| {
        AlterReplicaLogDirTopic::default().with_name(TopicName(text(name))).with_partitions(partitions)
    };
    let dirs = dirs.into_iter().map(|(path, partitions)| {
        let topics = by_topic(partitions).into_iter().map(topic).collect();
        AlterReplicaLogDir::default().with_path(text(path)).with_topics(topics)
    });
    let request = AlterReplicaLogDirsRequest::default().with_dirs(dirs.collect());
    let call = Call::new("alterReplicaLogDirs", Target::Broker(broker));
    let answer = cluster.admin.call(call, |_| Ok(request.clone()), |_| Ok(())).await?;
    let outcomes = answer.results.iter().flat_map(|topic| {
        topic.partitions.iter().map(move |p| {
            let tp = TopicPartition::new(&*topic.topic_name.0, p.partition_index);
            (Replica { broker, tp }, ErrorCode::from_code(p.error_code))
        })
    });
    Ok(outcomes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_in_words() {
        let replica = |broker| Replica { broker, tp: TopicPartition::new("t", 0) };
        let active = |future: &str| State::Active { current: "/a".into(), target: "/b".into(), future: future.into() };
        let states = BTreeMap::from([
            (replica(0), active("/b")),
            (replica(1), active("/c")),
            (replica(2), State::Completed),
            (replica(3), State::NotMoving { current: "/a".into(), target: "/b".into() }),
        ]);
        assert_eq!(
            describe(&states),
            "Reassignment of replica t-0-0 is still in progress.\n\
             Partition t-0 on broker 1 is being moved to log dir /c instead of /b.\n\
             Reassignment of replica t-0-2 completed successfully.\n\
             Partition t-0 on broker 3 is not being moved from log dir /a to /b."
        );
        assert_eq!(describe(&BTreeMap::new()), "");
    }
}
