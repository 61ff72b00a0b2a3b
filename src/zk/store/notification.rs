//! Directories of numbered notes: changed configs (also ACLs, tokens), failed log directories, old brokers' isr changes.

use bytes::Bytes;

use super::super::json::{IsrChangeNotification, LogDirEvent};
use super::super::{CreateMode, Op, paths};
use super::controller::ControllerEpoch;
use super::{Store, StoreError, pipelined};
use crate::topic::TopicPartition;

/// How long a note to all brokers is kept, in milliseconds (Kafka's change expiration).
pub const CHANGE_EXPIRATION_MS: i64 = 15 * 60 * 1000;

impl Store {
    /// Puts a numbered note under `root` (which is created if missing). A lost answer may leave two.
    pub async fn create_notification(&self, root: &str, prefix: &str, data: Bytes) -> Result<(), StoreError> {
        let op = Op::create(paths::child(root, prefix), data, CreateMode::PersistentSequential);
        match self.write_plain(op.clone()).await {
            Err(e) if e.is_no_node() => {
                self.ensure_path(root).await?;
                self.write_plain(op).await.map(|_| ())
            }
            other => other.map(|_| ()),
        }
    }

    /// Notes under `root` with a number above `after` (-1 for all), ascending, with their data. `watch` arms the child watch.
    /// Notes that vanish meanwhile are left out.
    pub async fn notifications(
        &self,
        root: &str,
        prefix: &str,
        after: i64,
        watch: bool,
    ) -> Result<Vec<(i64, Bytes)>, StoreError> {
        let names = self.children(root, watch).await?;
        let mut numbers: Vec<(i64, String)> = names
            .into_iter()
            .filter_map(|name| Some((paths::sequence_number(&name, prefix)?, name)))
            .filter(|(number, _)| *number > after)
            .collect();
        numbers.sort_unstable();
        let reads = numbers.into_iter().map(|(number, name)| async move {
            let found = self.read(&paths::child(root, &name), false).await?;
            Ok(found.map(|(data, _)| (number, data)))
        });
        Ok(pipelined(reads).await?.into_iter().flatten().collect())
    }

    /// Deletes the notes under `root` that are older than `expiration_ms` by ZooKeeper's clock. Every broker does this.
    pub async fn purge_notifications(&self, root: &str, now_ms: i64, expiration_ms: i64) -> Result<(), StoreError> {
        let names = self.children(root, false).await?;
        let purges = names.into_iter().map(|name| async move {
            let path = paths::child(root, &name);
            match self.read(&path, false).await? {
                Some((_, stat)) if now_ms - stat.ctime > expiration_ms => self.delete_if_there(path, None).await,
                _ => Ok(()),
            }
        });
        pipelined(purges).await.map(|_| ())
    }

    /// Tells the controller that a log directory of `broker` failed.
    pub async fn notify_log_dir_failure(&self, broker: i32) -> Result<(), StoreError> {
        let data = LogDirEvent { broker }.encode();
        self.create_notification(paths::LOG_DIR_EVENT_NOTIFICATION, paths::LOG_DIR_EVENT_PREFIX, data).await
    }

    /// Names of the log directory notes, sorted.
    pub async fn log_dir_events(&self, watch: bool) -> Result<Vec<String>, StoreError> {
        self.children(paths::LOG_DIR_EVENT_NOTIFICATION, watch).await
    }

    /// Brokers the log directory notes name, in the order of the notes. Unreadable ones are left out.
    pub async fn brokers_of_log_dir_events(&self, names: &[String]) -> Result<Vec<i32>, StoreError> {
        let notes = self.read_notes(paths::LOG_DIR_EVENT_NOTIFICATION, names).await?;
        Ok(notes.iter().filter_map(|data| LogDirEvent::decode(data).ok()).map(|e| e.broker).collect())
    }

    pub async fn delete_log_dir_events(&self, names: &[String], epoch: ControllerEpoch) -> Result<(), StoreError> {
        self.delete_notes(paths::LOG_DIR_EVENT_NOTIFICATION, names, epoch).await
    }

    /// Tells the controller that these partitions' leaders have changed their isrs.
    pub async fn notify_isr_changes(&self, partitions: &[TopicPartition]) -> Result<(), StoreError> {
        let data = IsrChangeNotification { partitions: partitions.to_vec() }.encode();
        self.create_notification(paths::ISR_CHANGE_NOTIFICATION, paths::ISR_CHANGE_PREFIX, data).await
    }

    /// Names of the isr change notes, sorted.
    pub async fn isr_changes(&self, watch: bool) -> Result<Vec<String>, StoreError> {
        self.children(paths::ISR_CHANGE_NOTIFICATION, watch).await
    }

    /// Partitions the isr change notes name. Unreadable notes are left out.
    pub async fn partitions_of_isr_changes(&self, names: &[String]) -> Result<Vec<TopicPartition>, StoreError> {
        let notes = self.read_notes(paths::ISR_CHANGE_NOTIFICATION, names).await?;
        let decoded = notes.iter().filter_map(|data| IsrChangeNotification::decode(data).ok());
        Ok(decoded.flat_map(|n| n.partitions).collect())
    }

    pub async fn delete_isr_changes(&self, names: &[String], epoch: ControllerEpoch) -> Result<(), StoreError> {
        self.delete_notes(paths::ISR_CHANGE_NOTIFICATION, names, epoch).await
    }

    async fn read_notes(&self, root: &str, names: &[String]) -> Result<Vec<Bytes>, StoreError> {
        let reads = names
            .iter()
            .map(|name| async move { Ok(self.read(&paths::child(root, name), false).await?.map(|(data, _)| data)) });
        Ok(pipelined(reads).await?.into_iter().flatten().collect())
    }

    async fn delete_notes(&self, root: &str, names: &[String], epoch: ControllerEpoch) -> Result<(), StoreError> {
        let deletes = names.iter().map(|name| self.delete_if_there(paths::child(root, name), Some(epoch)));
        pipelined(deletes).await.map(|_| ())
    }
}
