//! Recorded znodes of real brokers, and the examples and corner cases of the format.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::topic::TopicPartition;

/// Distinct znodes of recorded clusters: one JSON object with `path` and `data` per line.
const RECORDED: &str = include_str!("../../../tests/golden/znodes/distinct.jsonl");

/// Decodes by path and encodes again; `None` for a path whose data is raw text.
fn reencode(path: &str, data: &[u8]) -> Option<Result<Bytes, JsonError>> {
    let components: Vec<&str> = path.split('/').skip(1).collect();
    Some(match components.as_slice() {
        ["brokers", "ids", _] => BrokerRegistration::decode(data).map(|z| z.encode()),
        ["brokers", "topics", _] => TopicZnode::decode(data).map(|z| z.encode()),
        ["brokers", "topics", _, "partitions", _, "state"] => PartitionState::decode(data).map(|z| z.encode()),
        ["cluster", "id"] => ClusterId::decode(data).map(|z| z.encode()),
        ["controller"] => ControllerZnode::decode(data).map(|z| z.encode()),
        ["controller_epoch"] => decode_number::<i32>(data).map(|n| Bytes::from(n.to_string())),
        ["consumers", _, "offsets", _, _] => decode_number::<i64>(data).map(|n| Bytes::from(n.to_string())),
        ["config", "changes", _] => ConfigChange::decode(data).map(|z| z.map(|z| z.encode()).unwrap_or_default()),
        ["config", ..] => EntityConfig::decode(data).map(|z| z.encode()),
        ["latest_producer_id_block"] => {
            ProducerIdBlock::decode(data).map(|z| z.map(|z| z.encode()).unwrap_or_default())
        }
        ["feature"] => FeatureZnode::decode(data).map(|z| z.encode()),
        ["kafka-acl", ..] | ["kafka-acl-extended", ..] => AclSet::decode(data).map(|z| z.encode()),
        ["kafka-acl-extended-changes", _] => ExtendedAclChange::decode(data).map(|z| z.encode()),
        ["delegation_token", "tokens", _] => DelegationToken::decode(data).map(|z| z.encode()),
        ["kafka-acl-changes", _] | ["delegation_token", "token_changes", _] => return None,
        _ => panic!("no codec for {path}"),
    })
}

#[test]
fn recorded_znodes_survive_decoding_and_encoding() {
    let mut kinds = BTreeMap::new();
    for line in RECORDED.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let (path, data) = (entry["path"].as_str().unwrap(), entry["data"].as_str().unwrap());
        let Some(result) = reencode(path, data.as_bytes()) else { continue };
        let encoded = result.unwrap_or_else(|e| panic!("{path}: {e}: {data}"));
        let encoded = std::str::from_utf8(&encoded).unwrap();
        let same = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(same(encoded), same(data), "{path}");
        // Kafka's hash maps give configs and lists of many partitions an order of their own.
        let unordered = path.starts_with("/config/") || path.matches('/').count() == 3;
        if !unordered {
            assert_eq!(encoded, data, "{path}");
        }
        *kinds.entry(path.split('/').nth(1).unwrap().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(kinds.values().sum::<i32>(), 153, "{kinds:?}");
}

#[test]
fn registrations_are_written_as_kafka_writes_them() {
    let endpoint = |listener: &str, host: &str, port, protocol: &str| Endpoint {
        listener: listener.to_owned(),
        host: host.to_owned(),
        port,
        security_protocol: protocol.to_owned(),
    };
    let plain = BrokerRegistration::new(
        vec![
            endpoint("PLAINTEXT", "h1.example.com", 9092, "PLAINTEXT"),
            endpoint("SSL", "h1.example.com", 9093, "SSL"),
        ],
        Some("rack1".to_owned()),
        1795350621307,
    );
    let expected = r#"{"features":{},"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT","SSL":"SSL"},"endpoints":["PLAINTEXT://h1.example.com:9092","SSL://h1.example.com:9093"],"rack":"rack1","jmx_port":-1,"port":9092,"host":"h1.example.com","version":5,"timestamp":"1795350621307"}"#;
    assert_eq!(plain.encode(), expected);
    assert_eq!(BrokerRegistration::decode(expected.as_bytes()).unwrap(), plain);
    let secure = BrokerRegistration::new(
        vec![endpoint("EXTERNAL", "h1", 9094, "SASL_SSL"), endpoint("INTERNAL", "h1", 9093, "SSL")],
        None,
        1795350621308,
    );
    let expected = r#"{"features":{},"listener_security_protocol_map":{"EXTERNAL":"SASL_SSL","INTERNAL":"SSL"},"endpoints":["EXTERNAL://h1:9094","INTERNAL://h1:9093"],"jmx_port":-1,"port":-1,"host":null,"version":5,"timestamp":"1795350621308"}"#;
    assert_eq!(secure.encode(), expected);
    assert_eq!(BrokerRegistration::decode(expected.as_bytes()).unwrap(), secure);
    let v6 = BrokerRegistration::new(vec![endpoint("PLAINTEXT", "::1", 9092, "PLAINTEXT")], None, 0);
    assert!(std::str::from_utf8(&v6.encode()).unwrap().contains("PLAINTEXT://[::1]:9092"));
    assert_eq!(BrokerRegistration::decode(&v6.encode()).unwrap(), v6);
}

#[test]
fn old_registrations_are_read() {
    let v1 = br#"{"version":1,"host":"h","port":9092,"jmx_port":9999,"timestamp":"2233345666"}"#;
    let broker = BrokerRegistration::decode(v1).unwrap();
    assert_eq!((broker.endpoints[0].connection_string().as_str(), broker.jmx_port), ("PLAINTEXT://h:9092", 9999));
    let v2 =
        br#"{"version":2,"host":"h","port":9092,"jmx_port":-1,"timestamp":"1","endpoints":["plaintext://h:9092"]}"#;
    assert_eq!(BrokerRegistration::decode(v2).unwrap().endpoint("PLAINTEXT").unwrap().security_protocol, "PLAINTEXT");
    assert_eq!(BrokerRegistration::decode(br#"{"version":0,"jmx_port":1}"#), Err(JsonError::Version(0)));
    assert_eq!(BrokerRegistration::decode(br#"{"version":5,"endpoints":[]}"#), Err(JsonError::Field("jmx_port")));
    let unmapped =
        br#"{"version":5,"jmx_port":1,"endpoints":["A://h:1"],"listener_security_protocol_map":{"B":"SSL"}}"#;
    assert!(matches!(BrokerRegistration::decode(unmapped), Err(JsonError::Invalid(_))));
}

#[test]
fn topics_and_reassignments() {
    let during = r#"{"partitions":{"0":[4,5,1,2],"1":[1,2,3]},"topic_id":"jiTnAnuOSW6Mt-KaQg1aNw","adding_replicas":{"0":[4,5]},"removing_replicas":{"0":[1,2]},"version":3}"#;
    let topic = TopicZnode::decode(during.as_bytes()).unwrap();
    let moving = &topic.partitions[&0];
    assert_eq!((moving.origin(), moving.target()), (vec![1, 2], vec![4, 5]));
    assert!(moving.is_being_reassigned() && !topic.partitions[&1].is_being_reassigned());
    assert_eq!(topic.encode(), during);
    let old = TopicZnode::decode(br#"{"version":1,"partitions":{"0":[1]},"foo":1}"#).unwrap();
    assert_eq!((old.topic_id, old.partitions[&0].clone()), (None, Assignment::new(vec![1])));
    assert_eq!(TopicZnode::decode(br#"{"partitions":{"x":[1]}}"#), Err(JsonError::Field("partitions")));
    assert_eq!(TopicZnode::decode(br#"{"partitions":{},"topic_id":"!"}"#), Err(JsonError::Field("topic_id")));
    assert!(matches!(TopicZnode::decode(b""), Err(JsonError::Syntax(_))));
    let many = TopicZnode { partitions: (0..12).map(|p| (p, Assignment::new(vec![p]))).collect(), topic_id: None };
    assert!(std::str::from_utf8(&many.encode()).unwrap().contains(r#""9":[9],"10":[10]"#));
}

#[test]
fn partition_states() {
    let plain = r#"{"controller_epoch":7,"leader":1,"version":1,"leader_epoch":0,"isr":[1,2]}"#;
    let recovering =
        r#"{"controller_epoch":7,"leader":2,"version":1,"leader_recovery_state":1,"leader_epoch":1,"isr":[2]}"#;
    for text in [plain, recovering] {
        assert_eq!(PartitionState::decode(text.as_bytes()).unwrap().encode(), text);
    }
    let incomplete = br#"{"leader":1,"version":1,"leader_epoch":0,"isr":[1,2]}"#;
    assert_eq!(PartitionState::decode(incomplete), Err(JsonError::Field("controller_epoch")));
    let too_large = br#"{"controller_epoch":7,"leader":3000000000,"version":1,"leader_epoch":0,"isr":[1]}"#;
    assert_eq!(PartitionState::decode(too_large), Err(JsonError::Field("leader")));
}

#[test]
fn controllers_features_and_blocks() {
    let text = r#"{"version":2,"brokerid":1,"timestamp":"1700000000000","kraftControllerEpoch":-1}"#;
    assert_eq!(ControllerZnode::new(1, 1700000000000).encode(), text);
    let old = ControllerZnode::decode(br#"{"version":1,"brokerid":3,"timestamp":"5"}"#).unwrap();
    assert_eq!((old.broker_id, old.is_kraft()), (3, false));
    assert!(ControllerZnode::decode(br#"{"brokerid":3,"kraftControllerEpoch":2}"#).unwrap().is_kraft());
    assert_eq!(FeatureZnode::empty(2, FeatureStatus::Enabled).encode(), r#"{"features":{},"version":2,"status":1}"#);
    let v1 = r#"{"features":{"f":{"min_version_level":1,"max_version_level":3}},"version":1,"status":0}"#;
    assert_eq!(FeatureZnode::decode(v1.as_bytes()).unwrap().encode(), v1);
    let first = ProducerIdBlock::next(None, 1).unwrap();
    assert_eq!(first.encode(), r#"{"version":1,"broker":1,"block_start":"0","block_end":"999"}"#);
    let second = ProducerIdBlock::next(Some(first), 2).unwrap();
    assert_eq!((second.start, second.end), (1000, 1999));
    let last = ProducerIdBlock { broker: 0, start: 0, end: i64::MAX - 10 };
    assert_eq!(ProducerIdBlock::next(Some(last), 2), None);
    assert_eq!(ProducerIdBlock::decode(b""), Ok(None));
}

#[test]
fn config_changes_of_both_versions() {
    let change = ConfigChange { entity_path: "topics/foo".to_owned() };
    assert_eq!(change.encode(), r#"{"version":2,"entity_path":"topics/foo"}"#);
    assert_eq!(change.split(), ("topics", "foo"));
    let v1 = br#"{"version":1,"entity_type":"clients","entity_name":"c"}"#;
    assert_eq!(ConfigChange::decode(v1).unwrap().unwrap().entity_path, "clients/c");
    assert_eq!(ConfigChange::decode(b"not json"), Ok(None));
    assert_eq!(ConfigChange::decode(br#"{"version":3,"entity_path":"topics/foo"}"#), Err(JsonError::Version(3)));
    assert_eq!(EntityConfig::default().encode(), r#"{"version":1,"config":{}}"#);
    assert_eq!(EntityConfig::decode(b""), Ok(EntityConfig::default()));
    assert_eq!(EntityConfig::decode(br#"{"config":{"a":1}}"#), Err(JsonError::Field("config")));
}

#[test]
fn notifications_and_legacy_requests() {
    let isr = r#"{"version":1,"partitions":[{"topic":"t","partition":1},{"topic":"t","partition":0}]}"#;
    assert_eq!(IsrChangeNotification::decode(isr.as_bytes()).unwrap().encode(), isr);
    assert_eq!(PreferredElection::decode(isr.as_bytes()).unwrap().partitions[1], TopicPartition::new("t", 0));
    assert_eq!(LogDirEvent { broker: 3 }.encode(), r#"{"version":1,"broker":3,"event":1}"#);
    assert_eq!(LogDirEvent::decode(br#"{"broker":4}"#), Ok(LogDirEvent { broker: 4 }));
    let reassign = r#"{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1,2]}]}"#;
    assert_eq!(Reassignment::decode(reassign.as_bytes()).unwrap().encode(), reassign);
    for unknown in [
        r#"{"version":1,"partitions":[],"x":1}"#,
        r#"{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1],"log_dirs":["any"]}]}"#,
    ] {
        assert!(matches!(Reassignment::decode(unknown.as_bytes()), Err(JsonError::Invalid(_))));
    }
}
