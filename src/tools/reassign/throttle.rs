//! Throttles: which replicas and brokers they are for, setting them, lifting them.

use std::collections::{BTreeMap, BTreeSet};

use super::cluster::{Change, Cluster, Ongoing, Resource};
use super::plan::{Assignment, Reassignment, unique};
use super::{joined, plural};
use crate::tools::failure::JavaError;
use crate::tools::java_order::in_set_order;
use crate::tools::output::out;

const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const LOG_DIRS_RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
const LEADERS: &str = "leader.replication.throttled.replicas";
const FOLLOWERS: &str = "follower.replication.throttled.replicas";

/// From where to where a partition moves.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Path {
    sources: BTreeSet<i32>,
    destinations: BTreeSet<i32>,
}

/// By topic and partition.
pub type Paths = BTreeMap<String, BTreeMap<i32, Path>>;

/// All moves: those under way, and on top of them those proposed.
pub fn paths(ongoing: &Ongoing, proposed: &Assignment, current: &Assignment) -> Result<Paths, JavaError> {
    let mut paths = Paths::new();
    for (tp, moving) in ongoing {
        let destinations: BTreeSet<i32> = moving.adding.iter().copied().collect();
        let sources = moving.replicas.iter().copied().filter(|id| !destinations.contains(id)).collect();
        paths.entry(tp.topic.to_string()).or_default().insert(tp.partition, Path { sources, destinations });
    }
    for (tp, replicas) in proposed {
        let of_topic = paths.entry(tp.topic.to_string()).or_default();
        let sources = match (of_topic.remove(&tp.partition), current.get(tp)) {
            (Some(known), _) => known.sources,
            (None, Some(replicas)) => replicas.iter().copied().collect(),
            (None, None) => {
                let text = format!("Trying to reassign a topic partition {tp} with 0 replicas");
                return Err(JavaError::new("java.lang.RuntimeException", text).with_frames());
            }
        };
        let destinations = replicas.iter().copied().filter(|id| !sources.contains(id)).collect();
        of_topic.insert(tp.partition, Path { sources, destinations });
    }
    Ok(paths)
}

/// `partition:broker,...`, sorted as text.
fn replicas(partitions: &BTreeMap<i32, Path>, pick: fn(&Path) -> &BTreeSet<i32>) -> String {
    let pairs = partitions.iter().flat_map(|(p, path)| pick(path).iter().map(move |broker| format!("{p}:{broker}")));
    joined(pairs.collect::<BTreeSet<String>>())
}

/// Throttles the replicas of these paths to `rate` bytes a second.
pub async fn set(cluster: &Cluster<'_>, paths: &Paths, rate: i64) -> Result<(), JavaError> {
    let topics = paths.iter().map(|(topic, partitions)| Change {
        resource: Resource::Topic(topic.clone()),
        settings: vec![
            (LEADERS, Some(replicas(partitions, |path| &path.sources))),
            (FOLLOWERS, Some(replicas(partitions, |path| &path.destinations))),
        ],
    });
    cluster.alter_configs(&topics.collect::<Vec<_>>()).await?;
    let brokers: BTreeSet<i32> = paths
        .values()
        .flat_map(|p| p.values())
        .flat_map(|path| path.sources.union(&path.destinations).copied())
        .collect();
    let rates = brokers.into_iter().map(|id| Change {
        resource: Resource::Broker(id),
        settings: vec![(LEADER_RATE, Some(rate.to_string())), (FOLLOWER_RATE, Some(rate.to_string()))],
    });
    cluster.alter_configs(&rates.collect::<Vec<_>>()).await?;
    out(&format!("The inter-broker throttle limit was set to {rate} B/s\n"));
    Ok(())
}

/// Throttles moves between the directories of these brokers.
pub async fn set_log_dirs(cluster: &Cluster<'_>, brokers: &BTreeSet<i32>, rate: i64) -> Result<(), JavaError> {
    let rates = brokers
        .iter()
        .map(|id| Change { resource: Resource::Broker(*id), settings: vec![(LOG_DIRS_RATE, Some(rate.to_string()))] });
    cluster.alter_configs(&rates.collect::<Vec<_>>()).await?;
    out(&format!("The replica-alter-dir throttle limit was set to {rate} B/s\n"));
    Ok(())
}

/// Lifts the throttles of all brokers and of the topics in the file.
pub async fn clear(cluster: &Cluster<'_>, file: &Reassignment) -> Result<(), JavaError> {
    let live = cluster.brokers().await?.into_iter().map(|broker| broker.id);
    let named = file.partitions.iter().flat_map(|(_, replicas)| replicas.iter().copied());
    let brokers = in_set_order(unique(live.chain(named)));
    out(&format!("Clearing broker-level throttles on broker{} {}\n", plural(brokers.len()), joined(&brokers)));
    let rates = brokers.into_iter().map(|id| Change {
        resource: Resource::Broker(id),
        settings: [LEADER_RATE, FOLLOWER_RATE, LOG_DIRS_RATE].map(|name| (name, None)).to_vec(),
    });
    cluster.alter_configs(&rates.collect::<Vec<_>>()).await?;
    let topics = in_set_order(file.topics());
    out(&format!("Clearing topic-level throttles on topic{} {}\n", plural(topics.len()), joined(&topics)));
    let lists = topics
        .into_iter()
        .map(|topic| Change { resource: Resource::Topic(topic), settings: vec![(LEADERS, None), (FOLLOWERS, None)] });
    cluster.alter_configs(&lists.collect::<Vec<_>>()).await
}

#[cfg(test)]
mod tests {
    use super::super::cluster::Move;
    use super::*;
    use crate::topic::TopicPartition;

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new("re1", partition)
    }

    #[test]
    fn throttles_as_recorded() {
        let current = Assignment::from([(tp(0), vec![0, 1]), (tp(1), vec![1, 0])]);
        let proposed = Assignment::from([(tp(0), vec![2, 1]), (tp(1), vec![2, 0])]);
        let paths = paths(&Ongoing::new(), &proposed, &current).unwrap();
        assert_eq!(replicas(&paths["re1"], |p| &p.sources), "0:0,0:1,1:0,1:1");
        assert_eq!(replicas(&paths["re1"], |p| &p.destinations), "0:2,1:2");
    }

    #[test]
    fn what_is_under_way_keeps_its_sources() {
        let moving = Move { replicas: vec![2, 1, 0], adding: vec![2], removing: vec![0] };
        let ongoing = Ongoing::from([(tp(0), moving.clone()), (tp(10), moving)]);
        let proposed = Assignment::from([(tp(0), vec![3, 1])]);
        let current = Assignment::from([(tp(0), vec![2, 1, 0])]);
        let paths = paths(&ongoing, &proposed, &current).unwrap();
        assert_eq!(paths["re1"][&0], Path { sources: [0, 1].into(), destinations: [3].into() });
        assert_eq!(replicas(&paths["re1"], |p| &p.sources), "0:0,0:1,10:0,10:1");
    }

    #[test]
    fn a_partition_that_is_not_there() {
        let proposed = Assignment::from([(tp(7), vec![1])]);
        let error = paths(&Ongoing::new(), &proposed, &Assignment::new()).unwrap_err();
        assert_eq!(error.message(), "Trying to reassign a topic partition re1-7 with 0 replicas");
    }
}
