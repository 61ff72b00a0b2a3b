//! What must be the same before, between and after: contents, offsets, epochs, topics' configuration, groups, and the
//! small files of the data directories.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use bytes::Bytes;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    BrokerId, DescribeConfigsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, ListOffsetsRequest,
    MetadataRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest,
};
use ottla::record::{Batch, Record, batches};

use crate::common::admin::{EARLIEST, LATEST, NO_ERROR, text, topic_name};
use crate::common::consume::{READ_COMMITTED, READ_UNCOMMITTED};
use crate::common::{Cluster, PATIENCE, Wire, eventually};
use crate::data::{BUSY, GROUPS, STILL, Topic};

/// One line per fact.
pub type Facts = BTreeMap<String, String>;

const TOPIC: i8 = 2;
const MAX_TIMESTAMP: i64 = -3;
const INTERNAL: &[(&str, i32)] = &[("__consumer_offsets", 5), ("__transaction_state", 5)];

/// Everything about the data at rest, asked of the leaders and coordinators as they are now.
pub fn facts(cluster: &Cluster) -> Facts {
    let mut facts = Facts::new();
    for topic in STILL {
        for partition in 0..topic.partitions {
            contents(cluster, topic, partition, &mut facts);
        }
    }
    for partition in 0..5 {
        let latest = latest_by_key(
            &mut leader_wire(cluster, "__transaction_state", partition),
            "__transaction_state",
            partition,
        );
        facts.insert(format!("__transaction_state-{partition}"), format!("{latest:?}"));
    }
    for id in cluster.running() {
        topics(&mut cluster.brokers[id].wire(), &mut facts);
    }
    for group in GROUPS {
        group_facts(cluster, group, &mut facts);
    }
    facts
}

/// Fails with those that differ.
pub fn assert_same(before: &Facts, now: &Facts, when: &str) {
    let all: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let changed: Vec<String> = all
        .into_iter()
        .filter(|key| before.get(*key) != now.get(*key))
        .map(|key| format!("{key}:\n  was {:?}\n  is  {:?}", before.get(key), now.get(key)))
        .collect();
    assert!(changed.is_empty(), "{when}:\n{}", changed.join("\n"));
}

/// Fails with those known before that differ now. A broker that was killed had not written all it would have.
pub fn assert_kept(before: &Facts, now: &Facts, when: &str) {
    let known = now.iter().filter(|(key, _)| before.contains_key(*key));
    assert_same(before, &known.map(|(key, value)| (key.clone(), value.clone())).collect(), when);
}

fn leader_wire(cluster: &Cluster, topic: &str, partition: i32) -> Wire {
    cluster.brokers[cluster.leader(topic, partition)].wire()
}

fn contents(cluster: &Cluster, topic: &Topic, partition: i32, facts: &mut Facts) {
    let name = format!("{}-{partition}", topic.name);
    let mut wire = leader_wire(cluster, topic.name, partition);
    for isolation in [READ_UNCOMMITTED, READ_COMMITTED] {
        let (end, records) = wire.consume(topic.name, partition, isolation);
        facts.insert(format!("{name} end at isolation {isolation}"), end.to_string());
        let read = if topic.is_compacted() { compacted_form(&records) } else { read_form(&records) };
        facts.insert(format!("{name} read at isolation {isolation}"), read);
    }
    let ascending = |wire: &mut Wire| wire.consume(topic.name, partition, READ_UNCOMMITTED).1;
    assert!(ascending(&mut wire).is_sorted_by_key(|(_, record)| record.offset), "{name}");
    for (what, timestamp) in [("earliest", EARLIEST), ("latest", LATEST)] {
        facts.insert(format!("{name} {what}"), list_offsets(&mut wire, topic.name, partition, timestamp));
    }
    facts.insert(format!("{name} end of epoch 0"), end_of_epoch(&mut wire, topic.name, partition));
    // What is left between two times is each replica's own matter, once it is cleaned.
    if !topic.is_compacted() {
        let found = list_offsets(&mut wire, topic.name, partition, MAX_TIMESTAMP);
        facts.insert(format!("{name} newest"), found);
    }
}

/// Number of records and a hash of all their fields.
fn read_form(records: &[(Batch, Record)]) -> String {
    let mut hasher = DefaultHasher::new();
    for (batch, record) in records {
        (record.offset, record.timestamp, &record.key, &record.value, record.sequence).hash(&mut hasher);
        record.headers.iter().for_each(|header| header.hash(&mut hasher));
        (batch.partition_leader_epoch(), batch.producer_id(), batch.codec().unwrap() as i32).hash(&mut hasher);
    }
    format!("{} records, hash {:x}", records.len(), hasher.finish())
}

/// What a reader of a compacted topic knows at the end.
fn compacted_form(records: &[(Batch, Record)]) -> String {
    format!("{:?}", latest(records.iter().map(|(_, record)| record)))
}

fn latest<'a>(records: impl Iterator<Item = &'a Record>) -> BTreeMap<Bytes, (i64, Bytes)> {
    let mut latest = BTreeMap::new();
    for record in records {
        let key = record.key.clone().unwrap_or_default();
        match &record.value {
            Some(value) => latest.insert(key, (record.offset, value.clone())),
            None => latest.remove(&key),
        };
    }
    latest
}

fn latest_by_key(wire: &mut Wire, topic: &str, partition: i32) -> BTreeMap<Bytes, (i64, Bytes)> {
    let (_, records) = wire.consume(topic, partition, READ_UNCOMMITTED);
    latest(records.iter().map(|(_, record)| record))
}

/// Offset, timestamp and leader epoch of the answer.
fn list_offsets(wire: &mut Wire, topic: &str, partition: i32, timestamp: i64) -> String {
    let asked = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![asked]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let answer = wire.call(7, &request).topics.remove(0).partitions.remove(0);
    assert_eq!(answer.error_code, NO_ERROR, "{answer:?}");
    // The others are told with the leader's own epoch, which moves.
    let epoch = if timestamp == EARLIEST { answer.leader_epoch } else { -1 };
    format!("offset {} time {} epoch {epoch}", answer.offset, answer.timestamp)
}

fn end_of_epoch(wire: &mut Wire, topic: &str, partition: i32) -> String {
    let asked = OffsetForLeaderPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_leader_epoch(0);
    let topic = OffsetForLeaderTopic::default().with_topic(topic_name(topic)).with_partitions(vec![asked]);
    let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let answer = wire.call(4, &request).topics.remove(0).partitions.remove(0);
    assert_eq!(answer.error_code, NO_ERROR, "{answer:?}");
    format!("epoch {} ends at {}", answer.leader_epoch, answer.end_offset)
}

/// Ids, replicas and configuration of all topics, as one broker tells them; they must tell the same.
fn topics(wire: &mut Wire, facts: &mut Facts) {
    let mut put = |key: String, value: String| {
        let before = facts.insert(key.clone(), value.clone());
        assert!(before.as_ref().is_none_or(|before| *before == value), "{key}: {before:?} and {value}");
    };
    let names: Vec<&str> =
        STILL.iter().chain(BUSY).map(|t| t.name).chain(INTERNAL.iter().map(|(name, _)| *name)).collect();
    let asked = names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name)))).collect();
    let request = MetadataRequest::default().with_topics(Some(asked)).with_allow_auto_topic_creation(false);
    for topic in wire.call(12, &request).topics {
        let name = topic.name.as_ref().unwrap().to_string();
        let mut replicas: Vec<_> =
            topic.partitions.iter().map(|p| (p.partition_index, p.replica_nodes.clone())).collect();
        replicas.sort();
        put(format!("topic {name}"), format!("{} {} {replicas:?}", topic.topic_id, topic.is_internal));
    }
    let resource =
        |name: &&str| DescribeConfigsResource::default().with_resource_type(TOPIC).with_resource_name(text(name));
    let request = DescribeConfigsRequest::default()
        .with_resources(names.iter().map(resource).collect())
        .with_include_synonyms(true);
    for result in wire.call(4, &request).results {
        assert_eq!(result.error_code, NO_ERROR, "{result:?}");
        for config in result.configs {
            put(format!("configuration {} {}", &*result.resource_name, &*config.name), format!("{config:?}"));
        }
    }
}

/// A connection to a group's coordinator, once it answers.
fn coordinator(cluster: &Cluster, group: &str) -> usize {
    eventually("the group has a coordinator", PATIENCE, || {
        let request = FindCoordinatorRequest::default().with_key(text(group));
        let answer = cluster.any().call(3, &request);
        let id = usize::try_from(answer.node_id.0).ok()?;
        cluster.running().contains(&id).then_some(id)
    })
}

fn group_facts(cluster: &Cluster, group: &str, facts: &mut Facts) {
    let answer = eventually("the coordinator has loaded the group", PATIENCE, || {
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(None)
            .with_require_stable(true);
        let answer = cluster.brokers[coordinator(cluster, group)].wire().call(7, &request);
        (answer.error_code == NO_ERROR).then_some(answer)
    });
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let key = format!("group {group} {}-{}", &*topic.name.0, partition.partition_index);
            facts.insert(key, format!("{partition:?}"));
        }
    }
    facts.insert(format!("group {group}"), describe_group(cluster, group));
}

/// State and members with their assignments, as the coordinator has them.
pub fn describe_group(cluster: &Cluster, group: &str) -> String {
    eventually("the coordinator describes the group", PATIENCE, || {
        let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
        let mut answer = cluster.brokers[coordinator(cluster, group)].wire().call(5, &request).groups.remove(0);
        answer.members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
        (answer.error_code == NO_ERROR).then(|| format!("{answer:?}"))
    })
}

/// What a broker says that opens a directory with something wrong in it.
const DAMAGE: &[&str] = &[
    "Found invalid",
    "Found a corrupted",
    "Found an orphaned",
    "Could not find offset index",
    "CorruptRecordException",
    "CorruptSnapshotException",
    "Resetting first dirty offset",
    "Failed to load producer snapshot",
    "IllegalStateException",
    "KafkaStorageException",
];

/// Fails where the log of a broker tells of damage it found.
pub fn assert_no_damage(log: &str, clean_stop: bool) {
    let recovery = clean_stop.then_some("Recovering unflushed segment");
    let told = |line: &&str| DAMAGE.iter().chain(&recovery).any(|damage| line.contains(damage));
    let damage: Vec<&str> = log.lines().filter(told).collect();
    assert!(damage.is_empty(), "{}", damage.join("\n"));
}

/// The small files of a data directory whose contents must outlive the swap. Recovery points are only of interest where
/// the broker had the time to write them.
pub fn small_files(data_dir: &Path, clean_stop: bool) -> Facts {
    let mut facts = Facts::new();
    let lines = |file: &str| -> Vec<String> {
        let text = fs::read_to_string(data_dir.join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let settings = lines("meta.properties").into_iter().filter(|line| !line.starts_with('#'));
    for (key, value) in settings.filter_map(|line| line.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))) {
        facts.insert(format!("meta.properties {key}"), value);
    }
    for file in ["cleaner-offset-checkpoint", "log-start-offset-checkpoint"] {
        for line in lines(file).iter().skip(2).filter(|line| !line.starts_with("__consumer_offsets")) {
            let (partition, offset) = line.rsplit_once(' ').unwrap();
            facts.insert(format!("{file} {partition}"), offset.to_owned());
        }
    }
    let recovery_points = lines("recovery-point-offset-checkpoint");
    for topic in STILL {
        for partition in 0..topic.partitions {
            let dir = format!("{}-{partition}", topic.name);
            let metadata = lines(&format!("{dir}/partition.metadata")).join(" ");
            facts.insert(format!("{dir} partition.metadata"), metadata);
            let epochs = lines(&format!("{dir}/leader-epoch-checkpoint"));
            facts.insert(format!("{dir} first epoch"), format!("{:?}", epochs.get(2)));
            let start = format!("{} {partition} ", topic.name);
            let point = recovery_points.iter().find(|line| line.starts_with(&start));
            if clean_stop {
                facts.insert(format!("{dir} recovery point"), format!("{point:?}"));
            }
        }
    }
    facts
}

/// Waits until all replicas hold the same batches, byte for byte, from where all of them begin.
pub fn assert_replicas_equal(cluster: &Cluster) {
    for topic in STILL.iter().chain(BUSY).filter(|topic| !topic.is_compacted()) {
        for partition in 0..topic.partitions {
            let dir = format!("{}-{partition}", topic.name);
            eventually(&format!("the replicas of {dir} are equal"), PATIENCE, || {
                let mut logs: Vec<_> = cluster.brokers.iter().map(|b| log_batches(&b.data_dir().join(&dir))).collect();
                let start = logs.iter().filter_map(|log| Some(*log.first_key_value()?.0)).max().unwrap_or(0);
                logs.iter_mut().for_each(|log| *log = log.split_off(&start));
                logs.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
            });
        }
    }
}

/// All batches of a replica by their base offsets; where its segments end is its own matter.
fn log_batches(dir: &Path) -> BTreeMap<i64, Bytes> {
    let entries = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|x| x == "log")).collect();
    files.sort();
    let read = files.iter().flat_map(|file| batches(fs::read(file).unwrap_or_default().into()));
    read.filter_map(|batch| batch.ok().map(|batch| (batch.base_offset().unwrap(), batch.bytes().clone()))).collect()
}
