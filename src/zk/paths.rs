//! Every path of Kafka's tree in ZooKeeper, relative to the chroot; and the sanitizing of names that go into paths.
//!
//! Answers to the path half of Kafka's `ZkData`, and to `Sanitizer`. A leaf without state.

use crate::topic::TopicPartition;

pub const CONTROLLER: &str = "/controller";
pub const CONTROLLER_EPOCH: &str = "/controller_epoch";
pub const CLUSTER_ID: &str = "/cluster/id";
pub const BROKER_IDS: &str = "/brokers/ids";
pub const BROKER_SEQUENCE: &str = "/brokers/seqid";
pub const TOPICS: &str = "/brokers/topics";
pub const CONSUMERS: &str = "/consumers";
pub const CONFIG: &str = "/config";
pub const CONFIG_CHANGES: &str = "/config/changes";
pub const CONFIG_CHANGE_PREFIX: &str = "config_change_";
pub const DELETE_TOPICS: &str = "/admin/delete_topics";
pub const REASSIGN_PARTITIONS: &str = "/admin/reassign_partitions";
pub const PREFERRED_REPLICA_ELECTION: &str = "/admin/preferred_replica_election";
pub const ISR_CHANGE_NOTIFICATION: &str = "/isr_change_notification";
pub const ISR_CHANGE_PREFIX: &str = "isr_change_";
pub const LOG_DIR_EVENT_NOTIFICATION: &str = "/log_dir_event_notification";
pub const LOG_DIR_EVENT_PREFIX: &str = "log_dir_event_";
pub const PRODUCER_ID_BLOCK: &str = "/latest_producer_id_block";
pub const FEATURE: &str = "/feature";
pub const MIGRATION: &str = "/migration";
pub const ACL: &str = "/kafka-acl";
pub const ACL_EXTENDED_PREFIXED: &str = "/kafka-acl-extended/prefixed";
pub const ACL_CHANGES: &str = "/kafka-acl-changes";
pub const ACL_EXTENDED_CHANGES: &str = "/kafka-acl-extended-changes";
pub const ACL_CHANGE_PREFIX: &str = "acl_changes_";
pub const TOKENS: &str = "/delegation_token/tokens";
pub const TOKEN_CHANGES: &str = "/delegation_token/token_changes";
pub const TOKEN_CHANGE_PREFIX: &str = "token_change_";

/// The name Kafka gives the entity that stands for "all others" in configs and quotas.
pub const DEFAULT_ENTITY: &str = "<default>";

/// Persistent paths every broker makes sure of at start-up, in Kafka's order, but for
/// [`PRODUCER_ID_BLOCK`] (see the module doc of `zk`).
pub const TOP_LEVEL: [&str; 13] = [
    CONSUMERS,
    BROKER_IDS,
    TOPICS,
    CONFIG_CHANGES,
    DELETE_TOPICS,
    BROKER_SEQUENCE,
    ISR_CHANGE_NOTIFICATION,
    LOG_DIR_EVENT_NOTIFICATION,
    "/config/topics",
    "/config/clients",
    "/config/users",
    "/config/brokers",
    "/config/ips",
];

pub fn broker(id: i32) -> String {
    format!("{BROKER_IDS}/{id}")
}

pub fn topic(topic: &str) -> String {
    format!("{TOPICS}/{topic}")
}

pub fn topic_partitions(topic: &str) -> String {
    format!("{TOPICS}/{topic}/partitions")
}

pub fn topic_partition(topic: &str, partition: i32) -> String {
    format!("{TOPICS}/{topic}/partitions/{partition}")
}

pub fn partition_state(topic: &str, partition: i32) -> String {
    format!("{TOPICS}/{topic}/partitions/{partition}/state")
}

/// The partition whose state a path is.
pub fn partition_of_state(path: &str) -> Option<TopicPartition> {
    let (topic, partition) = path.strip_prefix(TOPICS)?.strip_prefix('/')?.split_once("/partitions/")?;
    Some(TopicPartition::new(topic, partition.strip_suffix("/state")?.parse().ok()?))
}

pub fn delete_topic(topic: &str) -> String {
    format!("{DELETE_TOPICS}/{topic}")
}

/// `/config/<type>`, for example of `topics`.
pub fn entity_type(entity_type: &str) -> String {
    format!("{CONFIG}/{entity_type}")
}

/// `/config/<type>/<entity>`; the entity may be nested, as `alice/clients/app`.
pub fn entity(entity_type: &str, entity: &str) -> String {
    format!("{CONFIG}/{entity_type}/{entity}")
}

/// `/config/<entity path>`, for what a config change notification names, as `users/alice/clients/app`.
pub fn entity_path(path: &str) -> String {
    format!("{CONFIG}/{path}")
}

pub fn consumer_offset(group: &str, topic: &str, partition: i32) -> String {
    format!("{CONSUMERS}/{group}/offsets/{topic}/{partition}")
}

pub fn child(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}

/// The parent of a path; `None` for the root.
pub fn parent(path: &str) -> Option<&str> {
    match path.rfind('/') {
        None => None,
        Some(0) if path.len() > 1 => Some("/"),
        Some(0) => None,
        Some(i) => path.get(..i),
    }
}

/// The number ZooKeeper put behind the prefix of a sequential znode's name.
pub fn sequence_number(name: &str, prefix: &str) -> Option<i64> {
    name.strip_prefix(prefix)?.parse().ok()
}

/// Makes a user or client name fit for a path: URL encoding, with `%20` and `%2A` (Kafka's `Sanitizer`).
pub fn sanitize(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The inverse of [`sanitize`]; `None` if a `%` is not followed by two hex digits or the result is not UTF-8.
pub fn desanitize(name: &str) -> Option<String> {
    let bytes = name.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        match byte {
            b'%' => {
                let digits = std::str::from_utf8(bytes.get(i + 1..i + 3)?).ok()?;
                if !digits.bytes().all(|d| d.is_ascii_hexdigit()) {
                    return None;
                }
                out.push(u8::from_str_radix(digits, 16).ok()?);
                i += 3;
            }
            b'+' => {
                out.push(b' ');
                i += 1;
            }
            _ => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sanitizes_as_kafka_does() {
        assert_eq!(sanitize("User:alice bob/*"), "User%3Aalice%20bob%2F%2A");
        assert_eq!(desanitize("User%3Aalice%20bob%2F%2A").as_deref(), Some("User:alice bob/*"));
        assert_eq!(sanitize("é~"), "%C3%A9%7E");
        assert_eq!(desanitize("%C3%A9"), Some("é".to_owned()));
        assert_eq!(desanitize("%zz"), None);
        assert_eq!(desanitize("%+1"), None);
        assert_eq!(desanitize("a%2"), None);
        assert_eq!(desanitize("%FF"), None);
    }

    #[test]
    fn parents_and_sequence_numbers() {
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/"), None);
        assert_eq!(child("/", "a"), "/a");
        assert_eq!(sequence_number("config_change_0000000012", CONFIG_CHANGE_PREFIX), Some(12));
        assert_eq!(sequence_number("other", CONFIG_CHANGE_PREFIX), None);
        assert_eq!(sequence_number("config_change_x", CONFIG_CHANGE_PREFIX), None);
    }
}
