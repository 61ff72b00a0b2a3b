//! Any bytes as records of a Produce request or of a log: the walk over batches and records, and a leader's checks.
//! The first byte chooses the rules; half of the inputs get their checksum put right, so that more than the checksum
//! is reached.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ottla::record::batch::batches;
use ottla::record::validate::{validate_for_append, AppendRules};
use ottla::record::{AppendOrigin, Codec, TimestampType};
use ottla::topic::TopicPartition;

const CAP: u64 = 1 << 20;

fuzz_target!(|input: &[u8]| {
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
});

/// Gives a batch of format 2 at the start the checksum its bytes call for.
fn mend_checksum(bytes: &mut [u8]) {
    let Some(length) = bytes.get(8..12).and_then(|length| <[u8; 4]>::try_from(length).ok()) else { return };
    let Some(end) = usize::try_from(i32::from_be_bytes(length)).ok().map(|length| 12 + length) else { return };
    if let Some(crc) = bytes.get(21..end).map(crc32c::crc32c) {
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}
