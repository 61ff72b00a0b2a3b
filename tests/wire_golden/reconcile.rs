//! Takes out of a recorded and a present answer what must differ between a cluster of three and one broker, between two
//! runs, or where Kafka itself has no order. What is left must be equal.

use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{BrokerId, FetchResponse, ListGroupsResponse, MetadataResponse, ResponseKind};
use kafka_protocol::protocol::StrBytes;
use ottla::record;

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const NOT_COORDINATOR: i16 = 16;
const LEADER_NOT_AVAILABLE: i16 = 5;

/// An error where even the rest cannot be compared.
pub fn reconcile(recorded: &mut ResponseKind, present: &mut ResponseKind) -> Result<(), String> {
    one_broker(recorded);
    one_broker(present);
    match (recorded, present) {
        (ResponseKind::Metadata(r), ResponseKind::Metadata(p)) => metadata(r, p),
        (ResponseKind::ListGroups(r), ResponseKind::ListGroups(p)) => list_groups(r, p),
        (ResponseKind::Fetch(r), ResponseKind::Fetch(p)) => fetch(r, p)?,
        (ResponseKind::ApiVersions(r), ResponseKind::ApiVersions(p)) => {
            // What is not there yet is advertised by nobody; what is there has Kafka's versions.
            r.api_keys.retain(|api| p.api_keys.iter().any(|a| a.api_key == api.api_key));
        }
        (ResponseKind::InitProducerId(r), ResponseKind::InitProducerId(p)) => {
            if r.error_code == COORDINATOR_LOAD_IN_PROGRESS {
                // Kafka had no block of ids yet, and fetched one behind the answer.
                p.clone_from(r);
            }
            for id in [&mut r.producer_id, &mut p.producer_id] {
                id.0 = id.0.min(0);
            }
        }
        (ResponseKind::AlterPartitionReassignments(r), ResponseKind::AlterPartitionReassignments(p)) => {
            let there = r.responses.iter().flat_map(|topic| &topic.partitions);
            let here = p.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
            for (r, p) in there.zip(here) {
                // Brokers 1 and 2 are not here.
                if r.error_code == 0 && p.error_message.as_ref().is_some_and(|m| m.contains("ArrayBuffer(1, 2)")) {
                    p.clone_from(r);
                }
            }
        }
        (ResponseKind::OffsetFetch(r), ResponseKind::OffsetFetch(p)) => {
            let elsewhere = |id: &_| r.groups.iter().any(|g| g.group_id == *id && g.error_code == NOT_COORDINATOR);
            p.groups.retain(|g| !elsewhere(&g.group_id));
            r.groups.retain(|g| g.error_code != NOT_COORDINATOR);
        }
        (ResponseKind::DescribeGroups(r), ResponseKind::DescribeGroups(p)) => {
            let elsewhere = |id: &_| r.groups.iter().any(|g| g.group_id == *id && g.error_code == NOT_COORDINATOR);
            p.groups.retain(|g| !elsewhere(&g.group_id));
            r.groups.retain(|g| g.error_code != NOT_COORDINATOR);
        }
        _ => {}
    }
    Ok(())
}

/// As if broker 0 were alone, and its port a matter of course.
fn one_broker(response: &mut ResponseKind) {
    match response {
        ResponseKind::Metadata(r) => {
            r.brokers.retain(|b| b.node_id == BrokerId(0));
            r.brokers.iter_mut().for_each(|b| b.port = 0);
            r.controller_id = BrokerId(0);
            r.topics.sort_by(|a, b| a.name.cmp(&b.name));
            r.topics.iter_mut().for_each(one_replica);
        }
        ResponseKind::DescribeCluster(r) => {
            r.brokers.retain(|b| b.broker_id == BrokerId(0));
            r.brokers.iter_mut().for_each(|b| b.port = 0);
            r.controller_id = BrokerId(0);
        }
        ResponseKind::FindCoordinator(r) => {
            r.node_id = BrokerId(r.node_id.0.min(0));
            r.port = r.port.min(0);
            for coordinator in &mut r.coordinators {
                coordinator.node_id = BrokerId(coordinator.node_id.0.min(0));
                coordinator.port = coordinator.port.min(0);
            }
        }
        ResponseKind::CreateTopics(r) => {
            for topic in &mut r.topics {
                topic.replication_factor = topic.replication_factor.min(1);
                let text = topic.error_message.take().map(|m| m.replace("brokers: 3", "brokers: 1"));
                topic.error_message = text.map(StrBytes::from_string);
                if let Some(configs) = &mut topic.configs {
                    configs.sort_by(|a, b| a.name.cmp(&b.name));
                }
            }
        }
        ResponseKind::OffsetCommit(r) => r.topics.sort_by(|a, b| a.name.cmp(&b.name)),
        ResponseKind::ListOffsets(r) => r.topics.sort_by(|a, b| a.name.cmp(&b.name)),
        ResponseKind::ElectLeaders(r) => r.replica_election_results.sort_by(|a, b| a.topic.cmp(&b.topic)),
        ResponseKind::AlterPartitionReassignments(r) => {
            r.responses.sort_by(|a, b| a.name.cmp(&b.name));
            for partition in r.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
                let text = partition.error_message.take().map(|m| m.replace("Set(0, 1, 2)", "Set(0)"));
                partition.error_message = text.map(StrBytes::from_string);
            }
            r.responses.iter_mut().for_each(|topic| topic.partitions.sort_by_key(|p| p.partition_index));
        }
        ResponseKind::DescribeLogDirs(r) => {
            for dir in &mut r.results {
                // Another machine's directory and disk; sizes as compressors have it.
                dir.log_dir = StrBytes::default();
                dir.total_bytes = dir.total_bytes.signum();
                dir.usable_bytes = dir.usable_bytes.signum();
                dir.topics.sort_by(|a, b| a.name.cmp(&b.name));
                for partition in dir.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    partition.partition_size = partition.partition_size.signum();
                }
            }
        }
        ResponseKind::DescribeConfigs(r) => {
            for config in r.results.iter_mut().flat_map(|result| &mut result.configs) {
                // The sentences are each author's own.
                config.documentation = config.documentation.take().filter(|d| d.is_empty());
            }
            r.results.iter_mut().for_each(|result| result.configs.sort_by(|a, b| a.name.cmp(&b.name)));
        }
        _ => {}
    }
}

fn one_replica(topic: &mut MetadataResponseTopic) {
    topic.partitions.sort_by_key(|p| p.partition_index);
    for partition in &mut topic.partitions {
        partition.leader_id = BrokerId(0);
        partition.replica_nodes = vec![BrokerId(0)];
        partition.isr_nodes = vec![BrokerId(0)];
        partition.leader_epoch = partition.leader_epoch.min(0);
    }
}

/// Topics that only one side has belong to what was done to the cluster before.
fn metadata(recorded: &mut MetadataResponse, present: &mut MetadataResponse) {
    let names = |r: &MetadataResponse| r.topics.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
    let (r_names, p_names) = (names(recorded), names(present));
    let all_topics = r_names.len() > 3;
    if all_topics {
        recorded.topics.retain(|t| p_names.contains(&t.name));
        present.topics.retain(|t| r_names.contains(&t.name));
        // The offsets topic had another history.
        for r in [&mut *recorded, &mut *present] {
            r.topics.retain(|t| t.name.as_ref().is_some_and(|n| !n.starts_with("__")));
        }
    }
    for (r, p) in recorded.topics.iter_mut().zip(&mut present.topics) {
        // A topic that was just being created has a leader a moment sooner or later.
        if r.error_code == LEADER_NOT_AVAILABLE && (p.error_code == 0 || p.error_code == LEADER_NOT_AVAILABLE) {
            p.clone_from(r);
        }
        if r.partitions.iter().chain(&p.partitions).any(|p| p.error_code == LEADER_NOT_AVAILABLE) {
            p.partitions.clone_from(&r.partitions);
        }
    }
}

/// Three brokers had a third of the groups each, and some from before.
fn list_groups(recorded: &mut ListGroupsResponse, present: &mut ListGroupsResponse) {
    recorded.groups.retain(|g| g.group_id.starts_with("wg-"));
    present.groups.retain(|g| recorded.groups.iter().any(|r| r.group_id == g.group_id));
    for r in [recorded, present] {
        r.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
    }
}

/// Compressors differ in the bytes they make, and so in how many records fit: compares what they hold.
fn fetch(recorded: &mut FetchResponse, present: &mut FetchResponse) -> Result<(), String> {
    for (r, p) in recorded.responses.iter_mut().zip(&mut present.responses) {
        for (r, p) in r.partitions.iter_mut().zip(&mut p.partitions) {
            let (Some(r_bytes), Some(p_bytes)) = (r.records.clone(), p.records.clone()) else { continue };
            if r_bytes == p_bytes {
                continue;
            }
            let (r_held, p_held) = (held(r_bytes)?, held(p_bytes)?);
            let common = r_held.len().min(p_held.len());
            if common == 0 || r_held[..common] != p_held[..common] {
                return Err(format!("other records:\n    - {r_held:?}\n    + {p_held:?}"));
            }
            r.records.clone_from(&p.records);
        }
    }
    Ok(())
}

/// All that a consumer sees of each record, and its batch's codec, magic and producer.
fn held(bytes: bytes::Bytes) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for batch in record::batches(bytes).map_while(Result::ok) {
        batch.verify_crc().map_err(|e| e.to_string())?;
        let producer = (batch.producer_id(), batch.producer_epoch(), batch.base_sequence());
        let kind = (batch.magic(), batch.codec().map_err(|e| e.to_string())?, producer);
        for found in batch.records(16 << 20) {
            let found = found.map_err(|e| e.to_string())?;
            let headers: Vec<String> = found.headers.iter().map(|h| format!("{h:?}")).collect();
            all.push(format!("{:?}", (kind, found.offset, found.timestamp, found.key, found.value, headers)));
        }
    }
    Ok(all)
}
