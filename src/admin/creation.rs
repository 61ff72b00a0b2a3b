//! New topics and new partitions: the checks in Kafka's order, then the znodes.
//! Answers to `ZkAdminManager.createTopics`/`createPartitions` and `AdminZkClient` (spec zookeeper 5.3, 5.5).

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::AdminError;
use super::placement::{self, Assignment, Candidate, Start};
use crate::config::{self, BrokerConfig};
use crate::metadata::ClusterImage;
use crate::protocol::ErrorCode;
use crate::topic::{names_collide, random_id, validate_name};
use crate::zk::json::{Assignment as ReplicaAssignment, TopicZnode};
use crate::zk::store::{Store, StoreError};

/// "Use the broker's default" for partitions and replication factor.
pub const UNSET: i32 = -1;

/// A topic somebody wants.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    pub name: String,
    pub partitions: i32,
    pub replication_factor: i32,
    /// Chosen by the client; empty to let the broker place replicas.
    pub assignment: Assignment,
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic that passed the checks.
#[derive(Clone, Debug)]
pub struct PlannedTopic {
    pub name: String,
    pub assignment: Assignment,
    pub configs: BTreeMap<String, String>,
}

/// Checks a new topic and places its replicas.
pub async fn plan(
    store: &Store,
    cfg: &BrokerConfig,
    image: &ClusterImage,
    topic: NewTopic,
) -> Result<PlannedTopic, AdminError> {
    if image.topic(&topic.name).is_some() {
        return Err(already_exists(&topic.name));
    }
    let nulls: Vec<&str> = topic.configs.iter().filter(|(_, v)| v.is_none()).map(|(k, _)| k.as_str()).collect();
    if !nulls.is_empty() {
        let text = format!("Null value not supported for topic configs: {}", nulls.join(","));
        return Err(AdminError::new(ErrorCode::InvalidConfig, text));
    }
    if (topic.partitions != UNSET || topic.replication_factor != UNSET) && !topic.assignment.is_empty() {
        let text = "Both numPartitions or replicationFactor and replicasAssignments were set. \
            Both cannot be used at the same time.";
        return Err(AdminError::new(ErrorCode::InvalidRequest, text));
    }
    let assignment = if topic.assignment.is_empty() { assign(cfg, image, &topic)? } else { topic.assignment };
    check_name(store, &topic.name).await?;
    check_assignment(&assignment)?;
    let configs = topic.configs.into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
    config::topic::validate_with(cfg, &configs)
        .map_err(|error| AdminError::new(ErrorCode::InvalidConfig, error.to_string()))?;
    Ok(PlannedTopic { name: topic.name, assignment, configs })
}

/// Writes the topic's znodes; the controller takes it from there. Returns the topic's id: nil below protocol 2.8, where
/// topics have none.
pub async fn create(store: &Store, cfg: &BrokerConfig, topic: &PlannedTopic) -> Result<Uuid, AdminError> {
    tracing::info!(target: "kafka.zk.AdminZkClient", "Creating topic {} with configuration {:?} and initial partition assignment {:?}",
        topic.name, topic.configs, topic.assignment);
    let id = if cfg.protocol_version().at_least("2.8-IV0") { random_id() } else { Uuid::nil() };
    let partitions = topic.assignment.iter().map(|(p, replicas)| (*p, ReplicaAssignment::new(replicas.clone())));
    let znode = TopicZnode { partitions: partitions.collect(), topic_id: Some(id).filter(|id| !id.is_nil()) };
    match store.create_topic(&topic.name, &topic.configs.clone().into_iter().collect(), &znode).await {
        Ok(()) => Ok(id),
        Err(error) if error.is_node_exists() => Err(already_exists(&topic.name)),
        Err(error) => Err(store_failed(&error)),
    }
}

/// What a failed ZooKeeper operation tells the client.
pub fn store_failed(error: &StoreError) -> AdminError {
    if error.is_controller_moved() {
        return AdminError::code(ErrorCode::StaleControllerEpoch);
    }
    tracing::error!(target: "kafka.server.ZkAdminManager", "ZooKeeper operation failed: {error}");
    AdminError::code(ErrorCode::UnknownServerError)
}

fn already_exists(name: &str) -> AdminError {
    AdminError::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists."))
}

fn assign(cfg: &BrokerConfig, image: &ClusterImage, topic: &NewTopic) -> Result<Assignment, AdminError> {
    let or_default = |asked: i32, key: &str| if asked == UNSET { cfg.int(key) } else { asked };
    let partitions = or_default(topic.partitions, "num.partitions");
    let factor = or_default(topic.replication_factor, "default.replication.factor");
    let brokers: Vec<Candidate> = image
        .brokers
        .values()
        .map(|b| Candidate { id: b.id, rack: b.rack.as_ref().map(|rack| rack.to_string()) })
        .collect();
    let index = || rand::random_range(0..brokers.len().max(1));
    placement::place(&brokers, partitions, factor, Start { first: index(), shift: index(), partition: 0 })
}

async fn check_name(store: &Store, name: &str) -> Result<(), AdminError> {
    let invalid = |text: String| AdminError::new(ErrorCode::InvalidTopicException, text);
    validate_name(name).map_err(|why| invalid(format!("Topic name is invalid: {why}")))?;
    let failed = |error: StoreError| store_failed(&error);
    if store.is_topic_marked_for_deletion(name).await.map_err(failed)? {
        let text = format!("Topic '{name}' is marked for deletion.");
        return Err(AdminError::new(ErrorCode::TopicAlreadyExists, text));
    }
    if store.topic_exists(name).await.map_err(failed)? {
        return Err(already_exists(name));
    }
    if name.contains(['.', '_']) {
        let mut colliding = store.topics(false).await.map_err(failed)?;
        colliding.retain(|other| names_collide(name, other));
        if colliding.iter().any(|other| other == name) {
            return Err(already_exists(name));
        }
        if !colliding.is_empty() {
            return Err(invalid(format!("Topic '{name}' collides with existing topics: {}", colliding.join(", "))));
        }
    }
    Ok(())
}

fn check_assignment(assignment: &Assignment) -> Result<(), AdminError> {
    let invalid = |text: String| AdminError::new(ErrorCode::InvalidReplicaAssignment, text);
    if assignment.values().map(Vec::len).collect::<BTreeSet<_>>().len() != 1 {
        return Err(invalid("All partitions should have the same number of replicas".to_owned()));
    }
    let has_twice = |replicas: &Vec<i32>| replicas.iter().collect::<BTreeSet<_>>().len() != replicas.len();
    if assignment.values().any(has_twice) {
        return Err(invalid(format!("Duplicate replica assignment found: {}", scala_map(assignment))));
    }
    if !assignment.keys().copied().eq(0..i32::try_from(assignment.len()).unwrap_or(i32::MAX)) {
        return Err(invalid("partitions should be a consecutive 0-based integer sequence".to_owned()));
    }
    Ok(())
}

/// An assignment as Scala prints a hash map of array buffers.
fn scala_map(assignment: &Assignment) -> String {
    let entries: Vec<String> =
        assignment.iter().map(|(p, replicas)| format!("{p} -> ArrayBuffer({})", comma(replicas))).collect();
    format!("HashMap({})", entries.join(", "))
}

fn comma(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
}

/// Partitions somebody wants added to a topic.
#[derive(Clone, Debug)]
pub struct MorePartitions {
    pub topic: String,
    /// Partitions the topic shall have in all.
    pub count: i32,
    /// Replicas of each new partition, if the client chose them.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// Checks the addition and returns the topic as it will be, without writing it.
pub async fn plan_partitions(store: &Store, request: &MorePartitions) -> Result<TopicZnode, AdminError> {
    let topic = &request.topic;
    let failed = |error: StoreError| store_failed(&error);
    let existing = store.topic(topic, false).await.map_err(failed)?.filter(|t| !t.partitions.is_empty());
    let Some(mut znode) = existing else {
        return Err(AdminError::new(
            ErrorCode::UnknownTopicOrPartition,
            format!("The topic '{topic}' does not exist."),
        ));
    };
    if znode.partitions.values().any(ReplicaAssignment::is_being_reassigned) {
        let text = format!("A partition reassignment is in progress for the topic '{topic}'.");
        return Err(AdminError::new(ErrorCode::ReassignmentInProgress, text));
    }
    let old = i32::try_from(znode.partitions.len()).unwrap_or(i32::MAX);
    let invalid = |text: String| Err(AdminError::new(ErrorCode::InvalidPartitions, text));
    if request.count < old {
        return invalid(format!(
            "Topic currently has {old} partitions, which is higher than the requested {}.",
            request.count
        ));
    }
    if request.count == old {
        return invalid(format!("Topic already has {old} partitions."));
    }
    let Some(first) = znode.partitions.get(&0).map(|a| a.replicas.clone()) else {
        tracing::error!(target: "kafka.server.ZkAdminManager", "Topic {topic} has no partition 0");
        return Err(AdminError::code(ErrorCode::UnknownServerError));
    };
    let brokers = store.brokers(false, false).await.map_err(failed)?;
    let brokers: Vec<Candidate> =
        brokers.into_iter().map(|(id, b)| Candidate { id, rack: b.registration.rack }).collect();
    let added = match &request.assignments {
        Some(chosen) => chosen_assignment(chosen, old, request.count - old, &first, &brokers)?,
        None => {
            let head = first.first().copied().unwrap_or(0);
            let index = brokers.iter().position(|b| b.id >= head).unwrap_or(0);
            let start = Start { first: index, shift: index, partition: old };
            placement::place(&brokers, request.count - old, i32::try_from(first.len()).unwrap_or(i32::MAX), start)?
        }
    };
    znode.partitions.extend(added.into_iter().map(|(p, replicas)| (p, ReplicaAssignment::new(replicas))));
    Ok(znode)
}

fn chosen_assignment(
    chosen: &[Vec<i32>],
    old: i32,
    increase: i32,
    first: &[i32],
    brokers: &[Candidate],
) -> Result<Assignment, AdminError> {
    let invalid = |text: String| Err(AdminError::new(ErrorCode::InvalidReplicaAssignment, text));
    let known: BTreeSet<i32> = brokers.iter().map(|b| b.id).collect();
    let unknown: BTreeSet<i32> = chosen.iter().flatten().copied().filter(|id| !known.contains(id)).collect();
    if !unknown.is_empty() {
        let ids: Vec<i32> = unknown.into_iter().collect();
        return invalid(format!("Unknown broker(s) in replica assignment: {}.", comma(&ids)));
    }
    if i32::try_from(chosen.len()) != Ok(increase) {
        return invalid(format!(
            "Increasing the number of partitions by {increase} but {} assignments provided.",
            chosen.len()
        ));
    }
    let assignment: Assignment = (old..).zip(chosen.iter().cloned()).collect();
    for (partition, replicas) in &assignment {
        if replicas.is_empty() {
            return invalid(format!("Cannot have replication factor of 0 for partition id {partition}."));
        }
        if replicas.iter().collect::<BTreeSet<_>>().len() != replicas.len() {
            return invalid(format!(
                "Duplicate brokers not allowed in replica assignment: {} for partition id {partition}.",
                comma(replicas)
            ));
        }
    }
    let bad: Vec<(i32, i32)> = assignment
        .iter()
        .filter(|(_, replicas)| replicas.len() != first.len())
        .map(|(p, replicas)| (*p, i32::try_from(replicas.len()).unwrap_or(i32::MAX)))
        .collect();
    if !bad.is_empty() {
        let (partitions, factors): (Vec<i32>, Vec<i32>) = bad.into_iter().unzip();
        return invalid(format!(
            "Inconsistent replication factor between partitions, partition 0 has {} while partitions [{}] have replication factors [{}], respectively.",
            first.len(),
            comma(&partitions),
            comma(&factors)
        ));
    }
    Ok(assignment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_assignments_are_checked() {
        let lists = |lists: &[&[i32]]| -> Assignment { (0..).zip(lists.iter().map(|l| l.to_vec())).collect() };
        assert!(check_assignment(&lists(&[&[0, 1], &[1, 0]])).is_ok());
        let text = |a: &Assignment| check_assignment(a).unwrap_err().message.unwrap();
        assert_eq!(text(&lists(&[&[0], &[0, 1]])), "All partitions should have the same number of replicas");
        assert_eq!(text(&lists(&[&[0, 0]])), "Duplicate replica assignment found: HashMap(0 -> ArrayBuffer(0, 0))");
        assert_eq!(
            text(&BTreeMap::from([(1, vec![0])])),
            "partitions should be a consecutive 0-based integer sequence"
        );
    }

    #[test]
    fn added_partitions_must_match_the_topic() {
        let brokers = [1, 2].map(|id| Candidate { id, rack: None });
        let text = |chosen: &[Vec<i32>]| chosen_assignment(chosen, 1, 1, &[1], &brokers).unwrap_err().message.unwrap();
        assert_eq!(text(&[vec![9]]), "Unknown broker(s) in replica assignment: 9.");
        assert_eq!(text(&[]), "Increasing the number of partitions by 1 but 0 assignments provided.");
        assert!(
            text(&[vec![1, 2]]).starts_with("Inconsistent replication factor between partitions, partition 0 has 1")
        );
        assert_eq!(chosen_assignment(&[vec![2]], 1, 1, &[1], &brokers).unwrap(), Assignment::from([(1, vec![2])]));
    }
}
