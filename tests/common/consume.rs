//! Reading a partition as consumers do, in both isolation levels.

use std::collections::BTreeMap;

use ottla::record::{self, Batch, Record};

use super::admin::{EARLIEST, NO_ERROR};
use super::wire::Wire;

pub const READ_UNCOMMITTED: i8 = 0;
pub const READ_COMMITTED: i8 = 1;
/// More than any test's batch holds, decompressed.
const DECOMPRESSION_CAP: u64 = 64 << 20;

impl Wire {
    /// Reads like a consumer: from the log start to where this isolation level ends, without markers and without what
    /// was aborted. The end, and the records with their batches.
    pub fn consume(&mut self, topic: &str, partition: i32, isolation: i8) -> (i64, Vec<(Batch, Record)>) {
        let mut next = self.offset(topic, partition, EARLIEST);
        let mut all = Vec::new();
        loop {
            let data = self.fetch(topic, partition, next, isolation, 0);
            assert_eq!(data.error_code, NO_ERROR, "fetch of {topic}-{partition} at {next}");
            let end = if isolation == READ_COMMITTED { data.last_stable_offset } else { data.high_watermark };
            if next >= end {
                return (end, all);
            }
            let mut aborted: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
            for transaction in data.aborted_transactions.unwrap_or_default() {
                aborted.entry(transaction.producer_id.0).or_default().push(transaction.first_offset);
            }
            let before = next;
            for batch in record::batches(data.records.unwrap_or_default()) {
                let batch = batch.expect("a batch");
                batch.verify_crc().expect("a sound batch");
                let from = next;
                next = next.max(batch.next_offset());
                if batch.is_control() {
                    // The end of a transaction; which, only matters to the one that was aborted.
                    if let Some(firsts) = aborted.get_mut(&batch.producer_id()) {
                        firsts.retain(|first| *first > batch.last_offset());
                    }
                    continue;
                }
                let firsts = aborted.get(&batch.producer_id());
                let is_aborted = firsts.is_some_and(|f| f.iter().any(|first| *first <= batch.last_offset()));
                if batch.is_transactional() && is_aborted {
                    continue;
                }
                for record in batch.records(DECOMPRESSION_CAP) {
                    let record = record.expect("a record");
                    if record.offset >= from && record.offset < end {
                        all.push((batch.clone(), record));
                    }
                }
            }
            assert!(next > before, "nothing in {topic}-{partition} at {before}, below the end {end}");
        }
    }
}
