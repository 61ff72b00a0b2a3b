//! What each fuzz target does with its input. Shared with `tests/corpus.rs`, which replays what the fuzzer kept.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};
use ottla::protocol::{api, codec, frame as structure, header as headers};
use ottla::record::batch::batches;
use ottla::record::validate::{AppendRules, validate_for_append};
use ottla::record::{AppendOrigin, Codec, TimestampType};
use ottla::topic::TopicPartition;

/// Most bytes that records may decompress to here.
const CAP: u64 = 1 << 20;
/// Elements a response may have here.
const RESPONSE_BUDGET: usize = 1_000_000;

static ONLY: OnceLock<Option<i16>> = OnceLock::new();

/// Any bytes as a frame: the header parses and leaves a tail of the frame, or is refused and leaves all of it.
pub fn header(input: &[u8]) {
    let mut frame = Bytes::copy_from_slice(input);
    match headers::parse(&mut frame) {
        Ok(_) => assert!(input.ends_with(&frame) && frame.len() + 8 <= input.len()),
        Err(_) => assert_eq!(frame, input),
    }
    for (key, version) in [(3, 12), (18, 3), (3, 0)] {
        let _ = headers::parse_response(&mut Bytes::copy_from_slice(input), key, version);
    }
}

/// Any bytes as a frame, on the way a connection takes: header, structural check, decode.
pub fn frame(input: &[u8]) {
    let mut frame = Bytes::copy_from_slice(input);
    if let Ok(header) = headers::parse(&mut frame) {
        let _ = codec::decode_request(header.api_key, header.api_version, frame);
    }
}

/// The row of the api table and the version that the first two bytes choose; FUZZ_API fixes the row.
fn choose(row: u8, version: u8) -> (i16, i16) {
    let only = ONLY.get_or_init(|| std::env::var("FUZZ_API").ok().and_then(|key| key.parse().ok()));
    let row = match only {
        Some(key) => api::find(*key).expect("FUZZ_API is an api key of the table"),
        None => &api::table()[usize::from(row) % api::table().len()],
    };
    (row.key, row.min + i16::from(version) % (row.max - row.min + 1))
}

/// Any bytes as a request body. What the structural check passes and the codec decodes must re-encode, and decode
/// again to the same. False for inputs that are not worth keeping.
pub fn request(input: &[u8]) -> bool {
    let [row, version, body @ ..] = input else { return false };
    let (key, version) = choose(*row, *version);
    let body = Bytes::copy_from_slice(body);
    let sound = structure::check(key, version, &body, structure::element_budget(key)).is_ok();
    let Ok(message) = codec::decode_request(key, version, body) else { return sound };
    assert!(sound, "decoded what the check refuses: {message:?}");
    let mut again = BytesMut::new();
    message.encode(&mut again, version).expect("what was decoded in a version can be encoded in it");
    let second = codec::decode_request(key, version, again.clone().freeze()).expect("our own bytes");
    let mut thrice = BytesMut::new();
    second.encode(&mut thrice, version).expect("as before");
    assert_eq!(again, thrice, "{message:?}");
    true
}

/// The same for the body of a response, as clients read it.
pub fn response(input: &[u8]) -> bool {
    let [row, version, body @ ..] = input else { return false };
    let (key, version) = choose(*row, *version);
    let body = Bytes::copy_from_slice(body);
    let sound = structure::check_response(key, version, &body, RESPONSE_BUDGET).is_ok();
    let Ok(message) = codec::decode_response_kind(key, version, body) else { return sound };
    assert!(sound, "decoded what the check refuses: {message:?}");
    let mut again = BytesMut::new();
    message.encode(&mut again, version).expect("what was decoded in a version can be encoded in it");
    let second = codec::decode_response_kind(key, version, again.clone().freeze()).expect("our own bytes");
    let mut thrice = BytesMut::new();
    second.encode(&mut thrice, version).expect("as before");
    assert_eq!(again, thrice, "{message:?}");
    true
}

/// Any bytes as records of a Produce request or of a log: the walk over batches and records, and a leader's checks. The
/// first byte chooses the rules; half of the inputs get their checksum put right, so that more than it is reached.
pub fn records(input: &[u8]) {
    let [choice, records @ ..] = input else { return };
    let mut records = records.to_vec();
    if choice & 1 == 0 {
        mend_checksum(&mut records);
    }
    let records = Bytes::from(records);
    for batch in batches(records.clone()).take(1000) {
        let Ok(batch) = batch else { break };
        let _ =
            (batch.is_valid(), batch.base_offset(), batch.last_offset(), batch.next_offset(), batch.max_timestamp());
        let walked = batch.records(CAP).take_while(Result::is_ok).flatten();
        let headers: usize = walked.take(10_000).map(|record| record.headers.iter().count()).sum();
        assert!(headers <= CAP as usize);
    }
    let rules = AppendRules {
        compression: [None, Codec::from_id(0).ok(), Codec::from_id(1).ok(), Codec::from_id(3).ok()]
            [usize::from(choice >> 1 & 3)],
        timestamp_type: if choice & 8 == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime },
        compacted: choice & 16 != 0,
        decompression_cap: CAP,
        rebuild_cap: CAP,
        ..AppendRules::default()
    };
    let origin =
        [AppendOrigin::Client, AppendOrigin::Coordinator, AppendOrigin::Replication][usize::from(choice >> 5) % 3];
    let partition = TopicPartition { topic: "t".into(), partition: 0 };
    let _ = validate_for_append(records, &partition, &rules, 1000, 5, 1_700_000_000_000, origin);
}

/// Gives a batch of format 2 at the start the checksum its bytes call for.
fn mend_checksum(bytes: &mut [u8]) {
    let Some(length) = bytes.get(8..12).and_then(|length| <[u8; 4]>::try_from(length).ok()) else { return };
    let Some(end) = usize::try_from(i32::from_be_bytes(length)).ok().map(|length| 12 + length) else { return };
    if let Some(crc) = bytes.get(21..end).map(crc32c::crc32c) {
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}
