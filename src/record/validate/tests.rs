//! The rules one by one; whole recorded requests are in `record/golden.rs`.

use super::super::{BatchBuilder, LOG_OVERHEAD, batches};
use super::*;

const NOW: i64 = 1_700_000_000_000;

fn partition() -> TopicPartition {
    TopicPartition::new("wire-compact", 0)
}

fn append(bytes: Bytes, rules: &AppendRules) -> Result<Option<Validated>, ValidationError> {
    validate_for_append(bytes, &partition(), rules, 100, 7, NOW, AppendOrigin::Client)
}

fn whole(v: &Validated) -> RecordBatch {
    let mut bytes = v.header_bytes().to_vec();
    bytes.extend_from_slice(&v.body);
    let batch = RecordBatch::parse(bytes.into()).unwrap();
    batch.verify_crc().unwrap();
    batch
}

fn three(codec: Codec) -> Bytes {
    let mut b = BatchBuilder::new(0).codec(codec).producer(9, 1, 5);
    for i in 0..3 {
        b.append(NOW + i, Some(b"key"), Some(&[b'v'; 300])).unwrap();
    }
    b.build().unwrap()
}

/// The same batch with its header changed and its checksum right.
fn with_header(batch: &Bytes, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = BatchHeader::parse(batch).unwrap();
    change(&mut header);
    header.crc = header.compute_crc(&batch[RECORD_BATCH_OVERHEAD..]);
    let mut out = header.encode().to_vec();
    out.extend_from_slice(&batch[RECORD_BATCH_OVERHEAD..]);
    out.into()
}

#[test]
fn a_batch_whose_codec_stays_keeps_its_bytes() {
    for codec in Codec::ALL {
        let bytes = three(codec);
        let v = append(bytes.clone(), &AppendRules::default()).unwrap().unwrap();
        assert!(!v.rebuilt);
        assert_eq!(v.body.as_ptr(), bytes[RECORD_BATCH_OVERHEAD..].as_ptr(), "copied");
        let header = *whole(&v).header();
        assert_eq!((header.base_offset, header.partition_leader_epoch), (100, 7));
        assert_eq!(header.crc, BatchHeader::parse(&bytes).unwrap().crc);
        assert_eq!((v.first_offset, v.last_offset, v.offset_of_max_timestamp), (100, 102, 102));
        assert_eq!((v.max_timestamp, v.log_append_time), (NOW + 2, -1));
    }
}

#[test]
fn every_codec_becomes_every_other() {
    for source in Codec::ALL {
        for target in Codec::ALL {
            let rules = AppendRules { compression: Some(target), ..AppendRules::default() };
            let v = append(three(source), &rules).unwrap().unwrap();
            assert_eq!(v.rebuilt, source != target);
            let batch = whole(&v);
            assert_eq!(batch.header().codec().unwrap(), target);
            let h = batch.header();
            assert_eq!((h.producer_id, h.producer_epoch, h.base_sequence), (9, 1, 5));
            let found: Vec<_> = crate::record::records(&batch, 10_000).map(Result::unwrap).collect();
            assert_eq!(found.len(), 3);
            for (i, r) in found.iter().enumerate() {
                assert_eq!((r.offset, r.timestamp, r.sequence), (100 + i as i64, NOW + i as i64, 5 + i as i32));
                assert_eq!(r.value.as_deref(), Some(&[b'v'; 300][..]));
            }
            assert_eq!(v.stats.records_converted, if v.rebuilt { 3 } else { 0 });
        }
    }
}

#[test]
fn log_append_time_is_stamped() {
    let rules = AppendRules { timestamp_type: TimestampType::LogAppendTime, ..AppendRules::default() };
    for codec in Codec::ALL {
        let v = append(three(codec), &rules).unwrap().unwrap();
        assert_eq!((v.log_append_time, v.max_timestamp, v.rebuilt), (NOW, NOW, false));
        let batch = whole(&v);
        assert!(crate::record::records(&batch, 10_000).all(|r| r.unwrap().timestamp == NOW));
    }
    // A client must not claim it itself.
    let claimed = with_header(&three(Codec::None), |h| h.attributes |= 8);
    let e = append(claimed.clone(), &rules).unwrap_err();
    assert_eq!((e.code, e.record_errors.len()), (ErrorCode::InvalidTimestamp, 3));
    assert_eq!(
        e.record_errors[0].1.as_deref().unwrap(),
        "Invalid timestamp type in message DefaultRecord(offset=0, timestamp=1700000000002, key=3 bytes, value=300 \
         bytes). Producer should not set timestamp type to LogAppendTime."
    );
    // But where the topic wants CreateTime the claim is only corrected.
    let v = append(claimed, &AppendRules::default()).unwrap().unwrap();
    assert_eq!(whole(&v).header().timestamp_type(), TimestampType::CreateTime);
}

#[test]
fn timestamps_out_of_range_are_refused() {
    let rules = AppendRules { timestamp_before_max_ms: 10, timestamp_after_max_ms: 1, ..AppendRules::default() };
    let e = append(three(Codec::Lz4), &rules).unwrap_err();
    assert_eq!(e.code, ErrorCode::InvalidTimestamp);
    assert_eq!(e.message.as_deref(), Some("One or more records have been rejected due to invalid timestamp"));
    assert_eq!(
        e.record_errors,
        [(
            2,
            Some(
                "Timestamp 1700000000002 of message with offset 2 is out of range. The timestamp should be within \
                 [1699999999990, 1700000000001]"
                    .to_owned()
            )
        )]
    );
}

#[test]
fn header_rules_for_clients() {
    let good = three(Codec::None);
    type Change = fn(&mut BatchHeader);
    let cases: [(&str, Change); 7] = [
        ("The baseOffset of the record batch in the append to wire-compact-0 should be 0, but it is 4", |h| {
            h.base_offset = 4
        }),
        ("Batch has an invalid offset range: [0, -1] in topic partition wire-compact-0", |h| h.last_offset_delta = -1),
        ("Invalid reported count for record batch: 0 in topic partition wire-compact-0", |h| h.records_count = 0),
        ("Inconsistent batch offset range [0, 2] and count of records 2 in topic partition wire-compact-0", |h| {
            h.records_count = 2
        }),
        ("Clients are not allowed to write control records in topic partition wire-compact-0", |h| h.attributes |= 32),
        ("Invalid sequence number -1 in record batch with producerId 9 in topic partition wire-compact-0", |h| {
            h.base_sequence = -1
        }),
        ("Incorrect declared batch size, records still remaining in file", |h| {
            h.records_count = 2;
            h.last_offset_delta = 1
        }),
    ];
    for (text, change) in cases {
        let e = append(with_header(&good, change), &AppendRules::default()).unwrap_err();
        assert_eq!((e.code, e.detail.as_str(), e.message), (ErrorCode::InvalidRecord, text, None));
    }
    let more = with_header(&good, |h| {
        h.records_count = 4;
        h.last_offset_delta = 3
    });
    assert_eq!(append(more, &AppendRules::default()).unwrap_err().code, ErrorCode::InvalidRecord);
    let no_codec = with_header(&good, |h| h.attributes |= 7);
    assert_eq!(append(no_codec, &AppendRules::default()).unwrap_err().code, ErrorCode::UnknownServerError);
    let zstd = AppendRules { zstd_allowed: false, ..AppendRules::default() };
    assert_eq!(append(three(Codec::Zstd), &zstd).unwrap_err().code, ErrorCode::UnsupportedCompressionType);
}

#[test]
fn sizes_and_tails() {
    let good = three(Codec::None);
    let rules = |max| AppendRules { max_message_bytes: max, ..AppendRules::default() };
    let size = good.len() as i32;
    assert!(append(good.clone(), &rules(size)).is_ok());
    assert_eq!(append(good.clone(), &rules(size - 1)).unwrap_err().code, ErrorCode::MessageTooLarge);
    // A torn tail is cut off without a word.
    assert!(append(good.slice(..good.len() - 1), &AppendRules::default()).unwrap().is_none());
    let mut tail = good.to_vec();
    tail.extend_from_slice(&good[..30]);
    assert_eq!(append(tail.into(), &AppendRules::default()).unwrap().unwrap().body.len() + 61, good.len());
    let mut two = good.to_vec();
    two.extend_from_slice(&good);
    assert_eq!(append(two.into(), &AppendRules::default()).unwrap_err().code, ErrorCode::InvalidRecord);
    let mut flipped = good.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(append(flipped.into(), &AppendRules::default()).unwrap_err().code, ErrorCode::CorruptMessage);
    // What was small when compressed may be too large afterwards.
    let small = three(Codec::Gzip);
    let rules = AppendRules { compression: Some(Codec::None), ..rules(small.len() as i32) };
    assert_eq!(append(small, &rules).unwrap_err().code, ErrorCode::MessageTooLarge);
}

#[test]
fn records_numbered_wrongly_never_reach_the_log() {
    for codec in Codec::ALL {
        let mut b = BatchBuilder::new(0).codec(codec).last_offset(1);
        b.append_at(0, NOW, Some(b"a"), None, std::iter::empty()).unwrap();
        b.append_at(5, NOW, Some(b"b"), None, std::iter::empty()).unwrap();
        let result = append(b.build().unwrap(), &AppendRules::default());
        if codec != Codec::None {
            assert_eq!(result.unwrap_err().code, ErrorCode::UnknownServerError);
            continue;
        }
        let v = result.unwrap().unwrap();
        let offsets: Vec<_> = crate::record::records(&whole(&v), 1000).map(|r| r.unwrap().offset).collect();
        assert_eq!((offsets, v.rebuilt), (vec![100, 101], true), "{codec:?}");
    }
}

#[test]
fn a_bomb_costs_no_memory_and_is_refused_at_the_cap() {
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Lz4, Codec::Snappy] {
        let mut b = BatchBuilder::new(0).codec(codec);
        b.append(NOW, Some(b"k"), Some(&vec![0; 8 << 20])).unwrap();
        let bomb = b.build().unwrap();
        assert!(bomb.len() < 600_000, "{codec:?} {}", bomb.len());
        assert!(append(bomb.clone(), &AppendRules::default()).unwrap().is_some());
        let rules = AppendRules { decompression_cap: 1 << 20, ..AppendRules::default() };
        assert_eq!(append(bomb.clone(), &rules).unwrap_err().code, ErrorCode::MessageTooLarge);
        let rules = AppendRules { rebuild_cap: 1 << 20, compression: Some(Codec::None), ..AppendRules::default() };
        assert_eq!(append(bomb, &rules).unwrap_err().code, ErrorCode::MessageTooLarge);
    }
}

#[test]
fn produce_versions_carry_what_they_may() {
    let good = three(Codec::Zstd);
    let check = |version, bytes: Option<&Bytes>| check_produce_request(version, bytes).map_err(|e| e.code);
    assert_eq!(check(7, Some(&good)), Ok(()));
    assert_eq!(check(6, Some(&good)), Err(ErrorCode::UnsupportedCompressionType));
    assert_eq!(check(2, Some(&good)), Ok(()));
    assert_eq!(check(9, None), Err(ErrorCode::InvalidRecord));
    assert_eq!(check(9, Some(&good.slice(..40))), Err(ErrorCode::InvalidRecord));
    let two = Bytes::from([&good[..], &good[..]].concat());
    assert_eq!(check(9, Some(&two)), Err(ErrorCode::InvalidRecord));
}

#[test]
fn markers_of_coordinators_stay_uncompressed() {
    let rules = AppendRules { compression: Some(Codec::Gzip), ..AppendRules::default() };
    let marker = crate::record::builder::EndTxnMarker { commit: true, coordinator_epoch: 3 };
    let bytes = marker.to_batch(0, -1, 7, 0, NOW).unwrap();
    let v = validate_for_append(bytes, &partition(), &rules, 5, 1, NOW, AppendOrigin::Coordinator).unwrap().unwrap();
    assert_eq!((v.rebuilt, v.first_offset), (false, 5));
    assert!(whole(&v).header().is_control());
}

#[test]
fn emptied_batches_keep_their_place() {
    let header = *RecordBatch::parse(three(Codec::Lz4)).unwrap().header();
    let empty = header.emptied();
    let batch = RecordBatch::parse(Bytes::copy_from_slice(&empty.encode())).unwrap();
    batch.verify_crc().unwrap();
    assert_eq!((empty.last_offset(), empty.last_sequence(), empty.base_timestamp), (2, 7, -1));
    assert_eq!((empty.batch_length as usize, empty.is_compressed()), (RECORD_BATCH_OVERHEAD - LOG_OVERHEAD, false));
    assert_eq!(crate::record::records(&batch, 10).count(), 0);
    assert_eq!(batches(batch.into_bytes()).count(), 1);
}
