//! The JSON files of the tool, and the placement that `--generate` proposes.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;

use serde_json::Value;

use super::cluster::Cluster;
use super::{Ended, command_failed, joined, operation_failed};
use crate::admin::placement::{self, Candidate, Start};
use crate::tools::failure::JavaError;
use crate::tools::java_names::api_error;
use crate::tools::java_order::{JavaHash, in_set_order};
use crate::tools::json::{self, Json};
use crate::tools::output::out;
use crate::topic::TopicPartition;

/// Any log directory will do.
const ANY: &str = "any";
const VERSION: i32 = 1;

/// Replicas by partition.
pub type Assignment = BTreeMap<TopicPartition, Vec<i32>>;

/// One replica of a partition; ordered by broker, as Kafka's tool prints them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica {
    pub broker: i32,
    pub tp: TopicPartition,
}

impl std::fmt::Display for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.tp, self.broker)
    }
}

/// What a reassignment file says.
#[derive(Debug, Default)]
pub struct Reassignment {
    /// As listed; a partition may be there twice.
    pub partitions: Vec<(TopicPartition, Vec<i32>)>,
    /// Log directories that are not left to the broker.
    pub log_dirs: BTreeMap<Replica, String>,
}

impl Reassignment {
    /// The names of its topics, each once.
    pub fn topics(&self) -> Vec<String> {
        unique(self.partitions.iter().map(|(tp, _)| tp.topic.to_string()))
    }
}

pub fn unique<T: Clone + Eq + Hash>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    items.into_iter().filter(|item| seen.insert(item.clone())).collect()
}

/// Items that are there more than once, each once, in Java's order.
fn duplicates<T: Clone + Eq + Hash + JavaHash>(items: &[T]) -> Vec<T> {
    let mut seen = HashSet::new();
    in_set_order(unique(items.iter().filter(|item| !seen.insert(*item)).cloned()))
}

/// `[a, b]`, as Java prints collections.
fn in_brackets<T: std::fmt::Display>(items: &[T]) -> String {
    format!("[{}]", items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

fn check_version(file: &Value) -> Result<(), JavaError> {
    match file.field("version")?.map_or(Ok(VERSION), Json::int)? {
        VERSION => Ok(()),
        other => Err(operation_failed(format!("Not supported version field value {other}"))),
    }
}

/// Reads a reassignment file.
pub fn parse_reassignment(text: &str) -> Result<Reassignment, JavaError> {
    let file = json::parse(text).map_err(|cause| operation_failed(cause.message()).caused_by(cause))?;
    check_version(&file)?;
    let mut found = Reassignment::default();
    let Some(partitions) = file.field("partitions")? else { return Ok(found) };
    for entry in partitions.elements()? {
        let topic = entry.required("topic")?.string()?;
        let tp = TopicPartition::new(topic, entry.required("partition")?.int()?);
        let replicas = entry.required("replicas")?.ints()?;
        let dirs = match entry.field("log_dirs")? {
            Some(dirs) => dirs.strings()?,
            None => vec![ANY.to_owned(); replicas.len()],
        };
        if dirs.len() != replicas.len() {
            return Err(command_failed(format!(
                "Size of replicas list {} is different from size of log dirs list {} for partition {tp}",
                in_brackets(&replicas),
                in_brackets(&dirs)
            )));
        }
        for (broker, dir) in replicas.iter().zip(dirs).filter(|(_, dir)| dir != ANY) {
            found.log_dirs.insert(Replica { broker: *broker, tp: tp.clone() }, dir);
        }
        found.partitions.push((tp, replicas));
    }
    Ok(found)
}

/// The same for `--execute`, which wants it sound.
pub fn parse_execution(text: &str) -> Result<(Assignment, BTreeMap<Replica, String>), JavaError> {
    let Reassignment { partitions, log_dirs } = parse_reassignment(text)?;
    if partitions.is_empty() {
        return Err(command_failed("Partition reassignment list cannot be empty"));
    }
    if partitions.iter().any(|(_, replicas)| replicas.is_empty()) {
        return Err(command_failed("Partition replica list cannot be empty"));
    }
    let names: Vec<TopicPartition> = partitions.iter().map(|(tp, _)| tp.clone()).collect();
    let twice = duplicates(&names);
    if !twice.is_empty() {
        let text = format!("Partition reassignment contains duplicate topic partitions: {}", joined(twice));
        return Err(command_failed(text));
    }
    let multiple = partitions.iter().filter_map(|(tp, replicas)| {
        let twice = duplicates(replicas);
        (!twice.is_empty()).then(|| format!("{tp} contains multiple entries for {}", joined(twice)))
    });
    let multiple: Vec<String> = multiple.collect();
    if !multiple.is_empty() {
        let text = format!("Partition replica lists may not contain duplicate entries: {}", multiple.join(". "));
        return Err(command_failed(text));
    }
    Ok((partitions.into_iter().collect(), log_dirs))
}

/// Brokers and topics of `--generate`.
fn parse_generation(text: &str, brokers: &str) -> Result<(Vec<i32>, Vec<String>), JavaError> {
    let number = |id: &str| {
        id.parse::<i32>().map_err(|_| {
            let text = format!("For input string: \"{id}\"");
            JavaError::new("java.lang.NumberFormatException", text).with_frames()
        })
    };
    let brokers: Vec<i32> = brokers.split(',').map(number).collect::<Result<_, _>>()?;
    let twice = duplicates(&brokers);
    if !twice.is_empty() {
        return Err(command_failed(format!("Broker list contains duplicate entries: {}", in_brackets(&twice))));
    }
    let file = json::parse(text).map_err(|_| operation_failed("The input string is not a valid JSON"))?;
    check_version(&file)?;
    let topics = match file.field("topics")? {
        Some(list) => list.elements()?.iter().map(|t| t.required("topic")?.string()).collect::<Result<Vec<_>, _>>()?,
        None => Vec::new(),
    };
    let twice = duplicates(&topics);
    if !twice.is_empty() {
        let text = format!("List of topics to reassign contains duplicate entries: {}", in_brackets(&twice));
        return Err(command_failed(text));
    }
    Ok((brokers, topics))
}

/// An assignment as a file that `--execute` takes.
pub fn as_json(assignment: &Assignment) -> String {
    let partitions = assignment.iter().map(|(tp, replicas)| {
        let dirs = vec!["\"any\""; replicas.len()].join(",");
        let (topic, partition) = (Value::from(&*tp.topic), tp.partition);
        let replicas = joined(replicas);
        format!("{{\"topic\":{topic},\"partition\":{partition},\"replicas\":[{replicas}],\"log_dirs\":[{dirs}]}}")
    });
    format!("{{\"version\":1,\"partitions\":[{}]}}", joined(partitions))
}

/// `--generate`: prints where the topics are, and where they might be.
pub async fn generate(cluster: &Cluster<'_>, json: &str, brokers: &str, rack_aware: bool) -> Result<(), Ended> {
    let (brokers, topics) = parse_generation(json, brokers)?;
    let current: Assignment = cluster.assignments(&topics).await?;
    let candidates = candidates(cluster, &brokers, rack_aware).await?;
    let proposed = propose(&current, &candidates)?;
    out(&format!("Current partition replica assignment\n{}\n\n", as_json(&current)));
    out(&format!("Proposed partition reassignment configuration\n{}\n", as_json(&proposed)));
    Ok(())
}

async fn candidates(cluster: &Cluster<'_>, wanted: &[i32], rack_aware: bool) -> Result<Vec<Candidate>, JavaError> {
    let found = cluster.brokers().await?.into_iter().filter(|broker| wanted.contains(&broker.id));
    let found: Vec<Candidate> = found.map(|b| Candidate { id: b.id, rack: b.rack.filter(|_| rack_aware) }).collect();
    let without = found.iter().filter(|c| c.rack.is_none()).count();
    if rack_aware && without != 0 && without != found.len() {
        return Err(operation_failed(
            "Not all brokers have rack information. Add --disable-rack-aware in command line to make replica assignment \
             without rack information.",
        ));
    }
    Ok(found)
}

fn propose(current: &Assignment, candidates: &[Candidate]) -> Result<Assignment, JavaError> {
    let mut by_topic: BTreeMap<&str, Vec<&Vec<i32>>> = BTreeMap::new();
    current.iter().for_each(|(tp, replicas)| by_topic.entry(&tp.topic).or_default().push(replicas));
    let mut proposed = Assignment::new();
    for (topic, partitions) in by_topic {
        let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let factor = number(partitions.first().map_or(0, |replicas| replicas.len()));
        let index = || rand::random_range(0..candidates.len().max(1));
        let start = Start { first: index(), shift: index(), partition: 0 };
        let placed = placement::place(candidates, number(partitions.len()), factor, start)
            .map_err(|error| api_error(error.code, error.message.as_deref()))?;
        proposed.extend(placed.into_iter().map(|(partition, to)| (TopicPartition::new(topic, partition), to)));
    }
    Ok(proposed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_back() {
        let text = r#"{"version":1,"partitions":[{"topic":"re1","partition":0,"replicas":[2,1],"log_dirs":["any","/a"]},{"topic":"re1","partition":1,"replicas":[0]}]}"#;
        let (assignment, dirs) = parse_execution(text).unwrap();
        assert_eq!(
            as_json(&assignment),
            r#"{"version":1,"partitions":[{"topic":"re1","partition":0,"replicas":[2,1],"log_dirs":["any","any"]},{"topic":"re1","partition":1,"replicas":[0],"log_dirs":["any"]}]}"#
        );
        let moved: Vec<(String, String)> = dirs.into_iter().map(|(r, dir)| (r.to_string(), dir)).collect();
        assert_eq!(moved, [("re1-0-1".to_owned(), "/a".to_owned())]);
        assert_eq!(as_json(&parse_execution(&as_json(&assignment)).unwrap().0), as_json(&assignment));
    }

    #[test]
    fn what_is_wrong_with_a_file() {
        let error = |text: &str| parse_execution(text).unwrap_err().message().to_owned();
        let one = |rest: &str| format!(r#"{{"partitions":[{{"topic":"t","partition":0,{rest}}}]}}"#);
        assert_eq!(error("{}"), "Partition reassignment list cannot be empty");
        assert_eq!(error(&one(r#""replicas":[]"#)), "Partition replica list cannot be empty");
        assert_eq!(error(&one(r#""x":1"#)), "No such field exists: `replicas`");
        assert_eq!(
            error(&one(r#""replicas":[1,2,1]"#)),
            "Partition replica lists may not contain duplicate entries: t-0 contains multiple entries for 1"
        );
        assert_eq!(
            error(&one(r#""replicas":[1,2],"log_dirs":["any"]"#)),
            "Size of replicas list [1, 2] is different from size of log dirs list [any] for partition t-0"
        );
        assert_eq!(error(r#"{"version":2}"#), "Not supported version field value 2");
    }

    #[test]
    fn a_proposal_uses_the_brokers_given_and_keeps_the_factor() {
        let current: Assignment = (0..6).map(|p| (TopicPartition::new("t", p), vec![0, 1])).collect();
        let candidates: Vec<Candidate> = [1, 2, 3].map(|id| Candidate { id, rack: None }).to_vec();
        let proposed = propose(&current, &candidates).unwrap();
        assert_eq!(proposed.len(), 6);
        assert!(proposed.values().all(|r| r.len() == 2 && r[0] != r[1] && r.iter().all(|id| (1..=3).contains(id))));
        let too_few = propose(&current, &candidates[..1]).unwrap_err();
        assert_eq!(
            too_few.to_string(),
            "org.apache.kafka.common.errors.InvalidReplicationFactorException: Replication factor: 2 larger than available brokers: 1."
        );
    }
}
