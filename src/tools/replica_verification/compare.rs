//! The comparison of what replicas answered: batch by batch from the same offset, up to the high watermark.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::record::batch::{Batches, batches};
use crate::tools::failure::JavaError;
use crate::tools::java_order::in_set_order;
use crate::topic::TopicPartition;

/// A replica's answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// -1 from a broker that did not answer.
    pub high_watermark: i64,
    pub records: Bytes,
}

/// What replicas disagree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Replica and last offset of a batch, of two replicas.
    Offsets { tp: TopicPartition, first: (i32, i64), other: (i32, i64) },
    /// Replica and checksum of a batch, of two replicas.
    Checksums { tp: TopicPartition, offset: i64, first: (i32, u32), other: (i32, u32) },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Offsets { tp, first: (a, at), other: (b, other) } => {
                write!(f, "partition {tp}: replica {a}'s offset {at} doesn't match replica {b}'s offset {other}")
            }
            Finding::Checksums { tp, offset, first: (a, sum), other: (b, other) } => write!(
                f,
                "partition {tp} has unmatched checksum at offset {offset}; replica {a}'s checksum {sum}; replica {b}'s \
                 checksum {other}"
            ),
        }
    }
}

/// The partition that is most behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    pub tp: TopicPartition,
    pub lag: i64,
    pub offset: i64,
    pub partitions: usize,
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lag { tp, lag, offset, partitions } = self;
        write!(f, "max lag is {lag} for partition {tp} at offset {offset} among {partitions} partitions")
    }
}

/// How far each partition has been compared.
#[derive(Debug)]
pub struct Replicas {
    offsets: BTreeMap<TopicPartition, i64>,
}

/// What each replica (by broker) answered for each partition.
pub type Answers = BTreeMap<TopicPartition, BTreeMap<i32, Answer>>;

impl Replicas {
    pub fn new(offsets: BTreeMap<TopicPartition, i64>) -> Replicas {
        Replicas { offsets }
    }

    /// Where to fetch a partition next.
    pub fn offset(&self, tp: &TopicPartition) -> i64 {
        self.offsets.get(tp).copied().unwrap_or(0)
    }

    /// Compares one round of answers, and goes on behind what all replicas have.
    pub fn compare(&mut self, answers: &Answers) -> Result<(Vec<Finding>, Option<Lag>), JavaError> {
        let mut findings = Vec::new();
        let mut greatest: Option<Lag> = None;
        // Of equal lags the first in Kafka's order is reported.
        for tp in in_set_order(answers.keys().cloned().collect()) {
            let Some(replicas) = answers.get(&tp) else { continue };
            self.compare_one(&tp, replicas, &mut findings)?;
            let high_watermark = replicas.values().map(|answer| answer.high_watermark).max().unwrap_or(-1);
            let offset = self.offset(&tp);
            let lag = high_watermark - offset;
            if lag > greatest.as_ref().map_or(-1, |g| g.lag) {
                greatest = Some(Lag { tp, lag, offset, partitions: answers.len() });
            }
        }
        Ok((findings, greatest))
    }

    fn compare_one(
        &mut self,
        tp: &TopicPartition,
        replicas: &BTreeMap<i32, Answer>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), JavaError> {
        let start = self.offset(tp);
        let mut walks: Vec<(i32, i64, Batches)> =
            replicas.iter().map(|(id, a)| (*id, a.high_watermark, batches(a.records.clone()))).collect();
        loop {
            let mut first: Option<(i32, i64, i64, u32)> = None;
            let mut in_all = !walks.is_empty();
            for (id, high_watermark, walk) in &mut walks {
                let batch = match walk.next() {
                    Some(Ok(batch)) if batch.last_offset() < *high_watermark => batch,
                    Some(Err(error)) => return Err(unreadable(*id, tp, start, &error.to_string())),
                    _ => {
                        in_all = false;
                        continue;
                    }
                };
                let (last, sum) = (batch.last_offset(), batch.stored_crc());
                match first {
                    None => first = Some((*id, last, batch.next_offset(), sum)),
                    Some((a, at, ..)) if at != last => {
                        let (first, other) = ((a, at), (*id, last));
                        findings.push(Finding::Offsets { tp: tp.clone(), first, other });
                        return Ok(());
                    }
                    Some((a, .., seen)) if seen != sum => {
                        let (first, other) = ((a, seen), (*id, sum));
                        findings.push(Finding::Checksums { tp: tp.clone(), offset: last, first, other });
                    }
                    Some(_) => {}
                }
            }
            match first.filter(|_| in_all) {
                Some((_, _, next, _)) => drop(self.offsets.insert(tp.clone(), next)),
                None => return Ok(()),
            }
        }
    }
}

fn unreadable(replica: i32, tp: &TopicPartition, offset: i64, why: &str) -> JavaError {
    let cause = JavaError::new("org.apache.kafka.common.errors.CorruptRecordException", why);
    let text = format!("Error in processing replica {replica} in partition {tp} at offset {offset}");
    JavaError::new("java.lang.RuntimeException", text).with_frames().caused_by(cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    fn tp() -> TopicPartition {
        TopicPartition::new("t", 0)
    }

    /// Batches of these values, one after the other from offset 0.
    fn log(values: &[&str]) -> Bytes {
        let mut bytes = Vec::new();
        for (offset, value) in (0..).zip(values) {
            let mut builder = BatchBuilder::new(offset);
            builder.append(1_000, None, Some(value.as_bytes())).unwrap();
            bytes.extend_from_slice(&builder.build().unwrap());
        }
        bytes.into()
    }

    fn answers(replicas: &[(i32, i64, Bytes)]) -> Answers {
        let one = |(id, high_watermark, records): &(i32, i64, Bytes)| {
            (*id, Answer { high_watermark: *high_watermark, records: records.clone() })
        };
        BTreeMap::from([(tp(), replicas.iter().map(one).collect())])
    }

    fn from_start() -> Replicas {
        Replicas::new(BTreeMap::from([(tp(), 0)]))
    }

    #[test]
    fn equal_replicas_are_followed_to_the_high_watermark() {
        let mut replicas = from_start();
        let all = log(&["a", "b", "c"]);
        let (findings, lag) = replicas.compare(&answers(&[(0, 2, all.clone()), (1, 2, all)])).unwrap();
        assert!(findings.is_empty());
        assert_eq!(lag.unwrap().to_string(), "max lag is 0 for partition t-0 at offset 2 among 1 partitions");
    }

    #[test]
    fn a_replica_that_is_behind_holds_the_others() {
        let mut replicas = from_start();
        let (all, some) = (log(&["a", "b", "c"]), log(&["a"]));
        let (findings, lag) = replicas.compare(&answers(&[(0, 3, all), (1, 1, some)])).unwrap();
        assert!(findings.is_empty());
        assert_eq!((replicas.offset(&tp()), lag.unwrap().lag), (1, 2));
    }

    #[test]
    fn a_broker_that_does_not_answer_stops_its_partitions_only() {
        let mut replicas = from_start();
        let gone = Answer { high_watermark: -1, records: Bytes::new() };
        let (findings, lag) = replicas.compare(&answers(&[(0, 1, log(&["a"])), (1, -1, gone.records)])).unwrap();
        assert!(findings.is_empty());
        assert_eq!((replicas.offset(&tp()), lag.unwrap().lag), (0, 1));
    }

    #[test]
    fn other_records_and_other_offsets_are_found() {
        let mut replicas = from_start();
        let (findings, _) = replicas.compare(&answers(&[(0, 1, log(&["a"])), (1, 1, log(&["b"]))])).unwrap();
        assert!(
            findings[0]
                .to_string()
                .starts_with("partition t-0 has unmatched checksum at offset 0; replica 0's checksum ")
        );
        let mut two = BatchBuilder::new(0);
        two.append(1_000, None, Some(b"a")).unwrap();
        two.append(1_000, None, Some(b"b")).unwrap();
        let mut replicas = from_start();
        let (findings, _) = replicas.compare(&answers(&[(0, 9, log(&["a"])), (2, 9, two.build().unwrap())])).unwrap();
        assert_eq!(findings[0].to_string(), "partition t-0: replica 0's offset 0 doesn't match replica 2's offset 1");
    }
}
