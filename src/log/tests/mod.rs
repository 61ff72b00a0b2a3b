//! Tests of the log layer as a whole; units are tested beside their code.

mod appends;
mod crash;
mod golden;
mod managing;
mod producers;
mod retention;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::*;
use crate::config::LogConfig;
use crate::record::batch::{Batch, batches};
use crate::record::builder::EndTxnMarker;
use crate::record::{AppendOrigin, BatchBuilder};
use crate::topic::TopicPartition;
use crate::util::disk::RealDisk;

pub const NOW: i64 = 1_700_000_000_000;

/// A topic configuration: Kafka's defaults with these overrides.
pub fn config(overrides: &[(&str, &str)]) -> Arc<LogConfig> {
    let broker = crate::config::testing::config(&[]).unwrap();
    let overrides: BTreeMap<String, String> = overrides.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    Arc::new(LogConfig::from_overrides(&broker, &overrides).unwrap())
}

/// Background work that waits until the test runs it.
#[derive(Clone, Default)]
pub struct Jobs(Arc<Mutex<Vec<Job>>>);

type Job = Box<dyn FnOnce() + Send>;

impl Jobs {
    pub fn background(&self) -> Background {
        let queue = Arc::clone(&self.0);
        Arc::new(move |job| queue.lock().push(job))
    }

    pub fn run(&self) {
        loop {
            let Some(job) = self.0.lock().pop() else { return };
            job();
        }
    }
}

/// One log in a directory of its own.
pub struct Bench {
    pub dir: PathBuf,
    pub jobs: Jobs,
    pub config: Arc<LogConfig>,
    pub producers: ProducerStateConfig,
    pub clean: bool,
    pub recovery_point: i64,
    pub log_start: i64,
    pub was_cleaned: bool,
}

impl Bench {
    pub fn new(dir: &Path, config: Arc<LogConfig>) -> Bench {
        Bench {
            dir: dir.join("t-0"),
            jobs: Jobs::default(),
            config,
            producers: ProducerStateConfig::default(),
            clean: false,
            recovery_point: 0,
            log_start: 0,
            was_cleaned: false,
        }
    }

    pub fn open(&self) -> Arc<PartitionLog> {
        let log_dir = LogDir::new(self.dir.parent().unwrap().to_owned(), Arc::new(|_: &Path| {}));
        let context =
            LogContext { disk: RealDisk::shared(), background: self.jobs.background(), producers: self.producers };
        let open = OpenLog {
            context: &context,
            log_dir: &log_dir,
            dir: &self.dir,
            tp: TopicPartition::new("t", 0),
            config: Arc::clone(&self.config),
            is_future: false,
            log_start_checkpoint: self.log_start,
            was_cleaned: self.was_cleaned,
            recovery_point_checkpoint: self.recovery_point,
            had_clean_shutdown: self.clean,
            remaining_segments: None,
            now_ms: NOW,
        };
        open.open().unwrap()
    }
}

/// A client's batch of `count` records of about `size` bytes each.
pub fn client_batch(count: usize, size: usize, timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new(0);
    for n in 0..count {
        builder.append(timestamp + n as i64, Some(format!("k{n}").as_bytes()), Some(&vec![b'v'; size])).unwrap();
    }
    builder.build().unwrap()
}

/// A batch of a producer: `count` records from `sequence` on.
pub fn producer_batch(id: i64, epoch: i16, sequence: i32, count: usize, transactional: bool) -> Bytes {
    let mut builder = BatchBuilder::new(0).producer(id, epoch, sequence).transactional(transactional);
    for _ in 0..count {
        builder.append(NOW, None, Some(b"x")).unwrap();
    }
    builder.build().unwrap()
}

/// A transaction marker as the coordinator writes it.
pub fn marker(id: i64, epoch: i16, commit: bool, coordinator_epoch: i32) -> Bytes {
    let marker = EndTxnMarker { commit, coordinator_epoch };
    let mut builder = BatchBuilder::new(0).producer(id, epoch, -1).transactional(true).control(true);
    builder.append(NOW, Some(&marker.key()), Some(&marker.value())).unwrap();
    builder.build().unwrap()
}

pub fn append(log: &PartitionLog, records: Bytes) -> AppendInfo {
    log.append_as_leader(records, 0, AppendOrigin::Client, NOW).unwrap()
}

/// What a consumer gets: reads on until it stands still, a little at a time. Returns records and final position.
pub fn consume(
    log: &PartitionLog,
    from: i64,
    max_bytes: i32,
    isolation: Isolation,
) -> (Vec<(crate::record::walk::Record, Batch)>, i64) {
    let mut position = from;
    let mut records = Vec::new();
    loop {
        let read = log.read(position, max_bytes, isolation, true).unwrap();
        let mut aborted: VecDeque<AbortedTransaction> = {
            let mut list = read.aborted.clone().unwrap_or_default();
            list.sort_by_key(|t| t.first_offset);
            list.into()
        };
        let mut open: BTreeSet<i64> = BTreeSet::new();
        let before = position;
        for batch in batches(read.slice.read().unwrap()) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            while aborted.front().is_some_and(|t| t.first_offset <= batch.last_offset()) {
                open.insert(aborted.pop_front().unwrap().producer_id);
            }
            let end = position;
            position = position.max(batch.next_offset());
            if batch.is_control() {
                let first = batch.records(u64::MAX).next();
                if let Some(Ok(record)) = first {
                    let end = EndTxnMarker::parse(&record.key.unwrap(), &record.value.unwrap()).unwrap();
                    if !end.commit {
                        open.remove(&batch.producer_id());
                    }
                }
                continue;
            }
            if batch.is_transactional() && open.contains(&batch.producer_id()) {
                continue;
            }
            for record in batch.records(u64::MAX) {
                let record = record.unwrap();
                if record.offset >= end {
                    records.push((record, batch.clone()));
                }
            }
        }
        if position == before {
            return (records, position);
        }
    }
}

pub fn offsets_of(log: &PartitionLog, isolation: Isolation) -> Vec<i64> {
    let (records, _) = consume(log, log.log_start_offset(), 1000, isolation);
    records.iter().map(|(r, _)| r.offset).collect()
}

/// Options for a manager over these dirs.
pub fn options(dirs: &[&Path], jobs: &Jobs) -> ManagerOptions {
    ManagerOptions {
        dirs: dirs.iter().map(|d| d.to_path_buf()).collect(),
        offline_dirs: Vec::new(),
        default_config: config(&[]),
        topic_configs: HashMap::new(),
        disk: RealDisk::shared(),
        background: jobs.background(),
        producers: ProducerStateConfig::default(),
        on_dir_failure: Arc::new(|_: &Path| {}),
        clock: Arc::new(|| NOW),
        threads_per_dir: 2,
        delete_delay_ms: 60_000,
    }
}
