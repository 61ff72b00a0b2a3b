//! `kafka-topics --describe`: which topics and partitions are shown, and how.

use std::collections::{BTreeSet, HashMap};

use crate::protocol::messages::BrokerId;
use crate::protocol::messages::list_partition_reassignments_response::OngoingPartitionReassignment;
use crate::protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use crate::tools::options::Options;
use crate::topic::{id_to_text, java_hash};

/// Settings of a topic: name, value, and whether it is Kafka's default.
pub type Settings = Vec<(String, Option<String>, bool)>;
/// Reassignments under way, by topic and partition.
pub type Reassignments = HashMap<(String, i32), OngoingPartitionReassignment>;

/// What `--describe` is to show.
#[derive(Default)]
pub struct Filter {
    under_replicated: bool,
    unavailable: bool,
    under_min_isr: bool,
    at_min_isr: bool,
    overrides_only: bool,
    live_brokers: BTreeSet<i32>,
}

impl Filter {
    pub fn new(options: &Options, live_brokers: BTreeSet<i32>) -> Filter {
        Filter {
            under_replicated: options.has("under-replicated-partitions"),
            unavailable: options.has("unavailable-partitions"),
            under_min_isr: options.has("under-min-isr-partitions"),
            at_min_isr: options.has("at-min-isr-partitions"),
            overrides_only: options.has("topics-with-overrides"),
            live_brokers,
        }
    }

    fn by_partition(&self) -> bool {
        self.under_replicated || self.unavailable || self.under_min_isr || self.at_min_isr
    }

    /// The lines of one topic.
    pub fn lines(&self, topic: &MetadataResponseTopic, settings: &Settings, reassignments: &Reassignments) -> String {
        let name = topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
        let mut partitions: Vec<&MetadataResponsePartition> = topic.partitions.iter().collect();
        partitions.sort_by_key(|partition| partition.partition_index);
        let reassignment =
            |partition: &MetadataResponsePartition| reassignments.get(&(name.clone(), partition.partition_index));
        let mut lines = String::new();
        let set = set_settings(settings);
        if !self.by_partition() && (!self.overrides_only || !set.is_empty()) {
            lines.push_str(&format!("Topic: {name}"));
            if !topic.topic_id.is_nil() {
                lines.push_str(&format!("\tTopicId: {}", id_to_text(topic.topic_id)));
            }
            let factor = partitions.first().map_or(0, |first| replication_factor(first, reassignment(first)));
            let (count, set) = (partitions.len(), set.join(","));
            lines.push_str(&format!("\tPartitionCount: {count}\tReplicationFactor: {factor}\tConfigs: {set}\n"));
        }
        if !self.overrides_only {
            let min_isr = settings.iter().find(|(name, ..)| name == "min.insync.replicas");
            let min_isr = min_isr.and_then(|(_, value, _)| value.as_ref()?.parse().ok()).unwrap_or(1);
            for partition in partitions {
                let reassignment = reassignment(partition);
                if !self.by_partition() || self.shows(partition, min_isr, reassignment) {
                    lines.push_str(&self.partition_line(&name, partition, reassignment));
                }
            }
        }
        lines
    }

    /// The leader, if it is a live broker.
    fn leader(&self, partition: &MetadataResponsePartition) -> Option<i32> {
        Some(partition.leader_id.0).filter(|id| self.live_brokers.contains(id))
    }

    fn shows(
        &self,
        partition: &MetadataResponsePartition,
        min_isr: usize,
        reassignment: Option<&OngoingPartitionReassignment>,
    ) -> bool {
        let isr = partition.isr_nodes.len();
        let leaderless = self.leader(partition).is_none();
        (self.under_replicated && replication_factor(partition, reassignment) > isr)
            || (self.unavailable && leaderless)
            || (self.under_min_isr && (leaderless || isr < min_isr))
            || (self.at_min_isr && isr == min_isr)
    }

    fn partition_line(
        &self,
        topic: &str,
        partition: &MetadataResponsePartition,
        reassignment: Option<&OngoingPartitionReassignment>,
    ) -> String {
        let leader = self.leader(partition).map_or_else(|| "none".to_owned(), |id| id.to_string());
        let mut line = format!(
            "\tTopic: {topic}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}",
            partition.partition_index,
            ids(&partition.replica_nodes),
            ids(&partition.isr_nodes),
        );
        if let Some(moving) = reassignment {
            let (adding, removing) = (ids(&moving.adding_replicas), ids(&moving.removing_replicas));
            line.push_str(&format!("\tAdding Replicas: {adding}\tRemoving Replicas: {removing}"));
        }
        line + "\n"
    }
}

fn ids(ids: &[BrokerId]) -> String {
    ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",")
}

/// Replicas that the partition is meant to have: while it moves, those of the target without the ones that are added.
fn replication_factor(partition: &MetadataResponsePartition, moving: Option<&OngoingPartitionReassignment>) -> usize {
    let moves = |moving: &&OngoingPartitionReassignment| {
        let changes = |id| moving.adding_replicas.contains(id) || moving.removing_replicas.contains(id);
        partition.replica_nodes.iter().any(changes)
    };
    match moving.filter(moves) {
        Some(moving) => moving.replicas.len().saturating_sub(moving.adding_replicas.len()),
        None => partition.replica_nodes.len(),
    }
}

/// `name=value` of what is not Kafka's default, in the order of Java's hash map, in which Kafka's tool keeps them.
fn set_settings(settings: &Settings) -> Vec<String> {
    let mut capacity: usize = 16;
    while settings.len() > capacity / 4 * 3 {
        capacity *= 2;
    }
    let bucket = |name: &str| {
        let hash = java_hash(name) as u32;
        (hash ^ (hash >> 16)) as usize & (capacity - 1)
    };
    let mut set: Vec<&(String, Option<String>, bool)> = settings.iter().filter(|(.., default)| !default).collect();
    set.sort_by_key(|(name, ..)| bucket(name));
    set.iter().map(|(name, value, _)| format!("{name}={}", value.as_deref().unwrap_or("null"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::codec::StrBytes;
    use crate::protocol::messages::TopicName;

    fn brokers(ids: &[i32]) -> Vec<BrokerId> {
        ids.iter().map(|id| BrokerId(*id)).collect()
    }

    fn topic() -> MetadataResponseTopic {
        let partition = |index, leader, isr: &[i32]| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(BrokerId(leader))
                .with_replica_nodes(brokers(&[2, 0]))
                .with_isr_nodes(brokers(isr))
        };
        MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
            .with_partitions(vec![partition(1, 2, &[2]), partition(0, 0, &[0, 2])])
    }

    fn settings() -> Settings {
        // Their recorded order: that of the hash map of all 31, where the first two share a bucket.
        let mut settings: Settings = (0..28).map(|n| (format!("other{n}"), None, true)).collect();
        for name in ["segment.bytes", "retention.ms", "cleanup.policy"] {
            settings.push((name.to_owned(), Some("1".to_owned()), false));
        }
        settings
    }

    #[test]
    fn lines_as_recorded() {
        let filter = Filter { live_brokers: BTreeSet::from([0]), ..Filter::default() };
        assert_eq!(
            filter.lines(&topic(), &settings(), &Reassignments::new()),
            "Topic: t\tPartitionCount: 2\tReplicationFactor: 2\tConfigs: cleanup.policy=1,segment.bytes=1,\
             retention.ms=1\n\tTopic: t\tPartition: 0\tLeader: 0\tReplicas: 2,0\tIsr: 0,2\n\
             \tTopic: t\tPartition: 1\tLeader: none\tReplicas: 2,0\tIsr: 2\n"
        );
    }

    #[test]
    fn filters_and_reassignments() {
        let live = BTreeSet::from([0, 2]);
        let under = Filter { under_replicated: true, live_brokers: live.clone(), ..Filter::default() };
        let line = "\tTopic: t\tPartition: 1\tLeader: 2\tReplicas: 2,0\tIsr: 2\n";
        assert_eq!(under.lines(&topic(), &settings(), &Reassignments::new()), line);
        let moving = OngoingPartitionReassignment::default()
            .with_partition_index(1)
            .with_replicas(brokers(&[2, 0]))
            .with_adding_replicas(brokers(&[0]));
        let moves = Reassignments::from([(("t".to_owned(), 1), moving)]);
        assert_eq!(under.lines(&topic(), &settings(), &moves), "");
        let overrides = Filter { overrides_only: true, live_brokers: live, ..Filter::default() };
        assert_eq!(overrides.lines(&topic(), &settings(), &moves).lines().count(), 1);
        assert_eq!(overrides.lines(&topic(), &Settings::new(), &moves), "");
    }
}
