//! Requests and answers recorded from Kafka 3.7.2: what we make of the same requests must be the same bytes.

use bytes::Bytes;

use super::convert::{down_convert_for_fetch, target_magic};
use super::validate::{AppendRules, Validated, ValidationError, check_produce_request, validate_for_append};
use super::*;
use crate::protocol::ErrorCode;
use crate::topic::TopicPartition;

const WIRE: &str = include_str!("../../tests/golden/record/wire.tsv");
const CAP: u64 = 1 << 20;

fn unhex(text: &str) -> Bytes {
    let digit = |b: u8| (b as char).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|p| digit(p[0]) << 4 | digit(p[1])).collect()
}

struct Produced {
    version: i16,
    topic: &'static str,
    code: i16,
    base_offset: i64,
    message: Option<&'static str>,
    errors: &'static str,
    records: Bytes,
}

fn produced() -> Vec<Produced> {
    let rows = WIRE.lines().map(|l| l.split('\t').collect::<Vec<_>>()).filter(|f| f[0] == "produce");
    rows.map(|f| Produced {
        version: f[1].parse().unwrap(),
        topic: f[2],
        code: f[3].parse().unwrap(),
        base_offset: f[4].parse().unwrap(),
        message: (f[5] != "-").then_some(f[5]),
        errors: f[6],
        records: unhex(f[7]),
    })
    .collect()
}

fn fetched(topic: &str, version: &str) -> (i64, Bytes) {
    let rows = WIRE.lines().map(|l| l.split('\t').collect::<Vec<_>>());
    let row = rows.into_iter().find(|f| f[0] == "fetched" && f[1] == version && f[2] == topic).unwrap();
    (row[3].parse().unwrap(), unhex(row[4]))
}

fn append(p: &Produced) -> Result<Option<Validated>, ValidationError> {
    check_produce_request(p.version, Some(&p.records))?;
    let rules = AppendRules { compacted: p.topic == "wire-compact", ..AppendRules::default() };
    let partition = TopicPartition::new(p.topic, 0);
    validate_for_append(p.records.clone(), &partition, &rules, p.base_offset, 0, 1, AppendOrigin::Client)
}

#[test]
fn recorded_requests_get_the_recorded_answers() {
    let mut seen = 0;
    for p in produced() {
        // Sequences are the producer state's business.
        if p.code == ErrorCode::OutOfOrderSequenceNumber.code() {
            continue;
        }
        seen += 1;
        match append(&p) {
            Ok(v) => {
                assert_eq!(p.code, 0, "{} {}", p.version, p.topic);
                let v = v.unwrap();
                assert_eq!(v.first_offset, p.base_offset);
                let batch = RecordBatch::parse([&v.header_bytes()[..], &v.body].concat().into()).unwrap();
                batch.verify_crc().unwrap();
                let count = records(&batch, CAP).map(Result::unwrap).count() as i64;
                assert_eq!(v.last_offset, p.base_offset + count - 1);
            }
            Err(e) => {
                assert_eq!(e.code.code(), p.code);
                assert_eq!(e.message.as_deref(), p.message);
                let errors: Vec<_> =
                    e.record_errors.iter().map(|(i, m)| format!("{i}={}", m.as_deref().unwrap())).collect();
                assert_eq!(if errors.is_empty() { "-".to_owned() } else { errors.join(";") }, p.errors);
            }
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn what_is_appended_is_what_kafka_stored() {
    let (_, stored) = fetched("wire-1", "4");
    let mut compared = 0;
    for batch in batches(stored) {
        let batch = batch.unwrap();
        let base = batch.base_offset().unwrap();
        let request = produced().into_iter().find(|p| p.topic == "wire-1" && p.base_offset == base).unwrap();
        let v = append(&request).unwrap().unwrap();
        let bytes = [&v.header_bytes()[..], &v.body].concat();
        assert_eq!(bytes, batch.bytes()[..], "produced with version {}", request.version);
        // Versions 0 to 2 carried the old formats.
        assert_eq!(v.rebuilt, request.version < 3);
        compared += 1;
    }
    assert_eq!(compared, 6);
}

#[test]
fn old_consumers_get_the_bytes_that_kafka_sends() {
    for topic in ["wire-1", "dd-plain"] {
        let (_, stored) = fetched(topic, "4");
        assert_eq!(target_magic(4, &stored), None);
        for version in 0..4 {
            let (offset, expected) = fetched(topic, &version.to_string());
            let magic = target_magic(version, &stored).unwrap();
            let converted = down_convert_for_fetch(stored.clone(), magic, offset, CAP).unwrap();
            assert_eq!(converted.bytes, expected, "{topic} {version}");
        }
    }
}

#[test]
fn every_codec_of_java_is_read() {
    let (_, stored) = fetched("dd-plain", "4");
    let mut codecs = std::collections::HashSet::new();
    let mut offset = 0;
    for batch in batches(stored) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        let codec = batch.codec().unwrap();
        codecs.insert(codec);
        for record in batch.records(CAP) {
            let record = record.unwrap();
            assert_eq!(record.offset, offset);
            let headers: Vec<_> = record.headers.iter().collect();
            if offset % 5 == 0 {
                assert_eq!(record.key.unwrap(), format!("key-{offset}"));
                assert!(record.value.unwrap().starts_with(format!("{} value {offset}", codec.name()).as_bytes()));
                // A duplicate name, and a null.
                let expected: [(&[u8], Option<&[u8]>); 3] =
                    [(b"h1", Some(b"v1")), (b"h1", Some(b"v2")), (b"h-null", None)];
                assert_eq!(headers, expected);
            }
            offset += 1;
        }
    }
    assert_eq!(codecs.len(), 5);
}
