//! Recorded vectors of Kafka's own encoders, and every record of a recorded `__consumer_offsets`.

use super::*;
use crate::record::batches;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Bytes {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn offset(offset: i64, metadata: &str, expire_timestamp: Option<i64>) -> OffsetAndMetadata {
    OffsetAndMetadata {
        offset,
        leader_epoch: -1,
        metadata: Arc::from(metadata),
        commit_timestamp: 1_700_000_000_000,
        expire_timestamp,
    }
}

#[test]
fn keys() {
    let partition = TopicPartition::new("t", 3);
    let key = encode_offset_key("g1", &partition).unwrap();
    assert_eq!(hex(&key), "00010002673100017400000003");
    assert_eq!(decode_key(&key).unwrap(), RecordKey::Offset { group: Arc::from("g1"), partition: partition.clone() });
    let old = unhex("00000002673100017400000003");
    assert_eq!(decode_key(&old).unwrap(), RecordKey::Offset { group: Arc::from("g1"), partition });
    let key = encode_group_key("g1").unwrap();
    assert_eq!(hex(&key), "000200026731");
    assert_eq!(decode_key(&key).unwrap(), RecordKey::Group { group: Arc::from("g1") });
    assert_eq!(decode_key(&unhex("000300026731")).unwrap(), RecordKey::Unknown { version: 3 });
}

#[test]
fn offset_values() {
    let plain = offset(42, "", None);
    assert_eq!(hex(&plain.encode(3).unwrap()), "0003000000000000002affffffff00000000018bcfe56800");
    assert_eq!(OffsetAndMetadata::decode(&plain.encode(3).unwrap()).unwrap(), plain);
    let expiring = offset(42, "m", Some(1_700_000_000_005));
    let value = expiring.encode(3).unwrap();
    assert_eq!(hex(&value), "0001000000000000002a00016d0000018bcfe568000000018bcfe56805");
    assert_eq!(OffsetAndMetadata::decode(&value).unwrap(), expiring);
}

#[test]
fn offset_values_of_other_versions() {
    let plain = offset(42, "m", None);
    let timestamp = "0000018bcfe56800";
    for value in [
        format!("0000000000000000002a00016d{timestamp}"),
        format!("0002000000000000002a00016d{timestamp}"),
        format!("0004000000000000002affffffff026d{timestamp}00"),
        // A tagged field that a later version might add.
        format!("0004000000000000002affffffff026d{timestamp}01070199"),
    ] {
        assert_eq!(OffsetAndMetadata::decode(&unhex(&value)).unwrap(), plain, "{value}");
    }
    assert_eq!(hex(&plain.encode(2).unwrap()), format!("0002000000000000002a00016d{timestamp}"));
    assert_eq!(OffsetAndMetadata::decode(&unhex("0005")), Err(RecordsError::UnknownOffsetVersion(5)));
    assert_eq!(RecordsError::UnknownOffsetVersion(5).to_string(), "Unknown offset message version: 5");
}

#[test]
fn group_values() {
    let empty = GroupMetadataValue {
        protocol_type: Arc::from("consumer"),
        generation: 4,
        protocol: None,
        leader: None,
        current_state_timestamp: 1_700_000_000_000,
        members: Vec::new(),
    };
    let value = empty.encode(3).unwrap();
    assert_eq!(hex(&value), "00030008636f6e73756d657200000004ffffffff0000018bcfe5680000000000");
    assert_eq!(GroupMetadataValue::decode(&value).unwrap(), empty);
}

#[test]
fn group_values_of_all_versions_keep_what_they_can_hold() {
    let mut group = GroupMetadataValue {
        protocol_type: Arc::from("consumer"),
        generation: 7,
        protocol: Some(Arc::from("range")),
        leader: Some(Arc::from("m1")),
        current_state_timestamp: 5,
        members: vec![MemberValue {
            member_id: Arc::from("m1"),
            instance_id: Some(Arc::from("i1")),
            client_id: Arc::from("c"),
            client_host: Arc::from("/127.0.0.1"),
            rebalance_timeout_ms: 9,
            session_timeout_ms: 8,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"assign"),
        }],
    };
    assert_eq!(GroupMetadataValue::decode(&group.encode(3).unwrap()).unwrap(), group);
    group.members[0].instance_id = None;
    assert_eq!(GroupMetadataValue::decode(&group.encode(2).unwrap()).unwrap(), group);
    group.current_state_timestamp = -1;
    assert_eq!(GroupMetadataValue::decode(&group.encode(1).unwrap()).unwrap(), group);
    group.members[0].rebalance_timeout_ms = 8;
    assert_eq!(GroupMetadataValue::decode(&group.encode(0).unwrap()).unwrap(), group);
}

#[test]
fn damaged_values_are_errors() {
    let whole = unhex("00030008636f6e73756d657200000004ffffffff0000018bcfe5680000000000");
    for end in 0..whole.len() {
        assert!(GroupMetadataValue::decode(&whole.slice(..end)).is_err(), "{end}");
    }
    // A count far beyond what is there.
    assert!(GroupMetadataValue::decode(&unhex("000300000000000000000000000000000000000000007fffffff")).is_err());
    assert!(encode_group_key(&"x".repeat(40_000)).is_err());
}

/// Decodes every record Kafka wrote and encodes it again: the bytes must be the same.
#[test]
fn recorded_records_come_back_byte_for_byte() {
    let (mut offsets, mut groups) = (0, 0);
    for partition in 0..5 {
        let path = format!("{}/tests/golden/group/consumer-offsets-{partition}.log", env!("CARGO_MANIFEST_DIR"));
        for batch in batches(Bytes::from(std::fs::read(path).unwrap())) {
            let batch = batch.unwrap();
            if batch.is_control() {
                continue;
            }
            for record in batch.records(1 << 20) {
                let record = record.unwrap();
                let key = record.key.unwrap();
                match (decode_key(&key).unwrap(), record.value) {
                    (RecordKey::Offset { group, partition }, value) => {
                        assert_eq!(encode_offset_key(&group, &partition).unwrap(), key);
                        if let Some(value) = value {
                            assert_eq!(OffsetAndMetadata::decode(&value).unwrap().encode(3).unwrap(), value);
                            offsets += 1;
                        }
                    }
                    (RecordKey::Group { group }, value) => {
                        assert_eq!(encode_group_key(&group).unwrap(), key);
                        if let Some(value) = value {
                            assert_eq!(GroupMetadataValue::decode(&value).unwrap().encode(3).unwrap(), value);
                            groups += 1;
                        }
                    }
                    (RecordKey::Unknown { version }, _) => panic!("key of version {version}"),
                }
            }
        }
    }
    assert!(offsets > 50 && groups > 50, "{offsets} offsets, {groups} groups");
}
