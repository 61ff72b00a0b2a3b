//! Becoming and ceasing to be the coordinator of a partition of `__consumer_offsets`.
//!
//! A load runs on the blocking pool; until it is done requests are answered COORDINATOR_LOAD_IN_PROGRESS. Giving a
//! partition up takes effect at once, also in the middle of its load. Leader epochs tell late calls from new ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::table::{GroupCell, Ownership};
use super::{GroupCoordinator, Inner};
use crate::group::config::Now;
use crate::group::group::{COORDINATOR_LOG, Group, MANAGER_LOG};
use crate::group::loader::{LoadedGroup, load};
use crate::group::offsets::GroupOffsets;
use crate::util::blocking;

impl GroupCoordinator {
    /// This broker leads the partition from `leader_epoch` on: its groups are loaded in the background.
    pub fn on_leadership(&self, partition: i32, leader_epoch: i32) {
        let inner = &self.inner;
        let broker = inner.config.broker_id;
        tracing::info!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {broker}]: Elected as the group coordinator for partition {partition} in epoch \
             {leader_epoch}"
        );
        let mut partitions = inner.table.partitions.write();
        if !partitions.advance_epoch(partition, Some(leader_epoch)) {
            tracing::info!(
                target: MANAGER_LOG,
                "[GroupMetadataManager brokerId={broker}] Not loading offsets and group metadata for \
                 __consumer_offsets-{partition} in epoch {leader_epoch} since current epoch is {}",
                partitions.epoch(partition).unwrap_or(-1)
            );
            return;
        }
        let Some(load) = partitions.begin_load(partition) else {
            tracing::info!(
                target: MANAGER_LOG,
                "[GroupMetadataManager brokerId={broker}] Already loading offsets and group metadata from \
                 __consumer_offsets-{partition}"
            );
            return;
        };
        drop(partitions);
        tracing::info!(
            target: MANAGER_LOG,
            "[GroupMetadataManager brokerId={broker}] Scheduling loading of offsets and group metadata from \
             __consumer_offsets-{partition} for epoch {leader_epoch}"
        );
        tokio::spawn(inner.clone().load_partition(partition, leader_epoch, load));
    }

    /// This broker no longer leads the partition: `leader_epoch` of the new leader, `None` if the replica was stopped.
    pub fn on_resignation(&self, partition: i32, leader_epoch: Option<i32>) {
        let inner = &self.inner;
        let broker = inner.config.broker_id;
        let in_epoch = leader_epoch.map_or_else(|| "OptionalInt.empty".to_owned(), |e| format!("OptionalInt[{e}]"));
        tracing::info!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {broker}]: Resigned as the group coordinator for partition {partition} in epoch \
             {in_epoch}"
        );
        let mut partitions = inner.table.partitions.write();
        if !partitions.advance_epoch(partition, leader_epoch) {
            tracing::info!(
                target: MANAGER_LOG,
                "[GroupMetadataManager brokerId={broker}] Not removing offsets and group metadata for \
                 __consumer_offsets-{partition} in epoch {in_epoch} since current epoch is {}",
                partitions.epoch(partition).unwrap_or(-1)
            );
            return;
        }
        partitions.owned.remove(&partition);
        // Still under the lock, so that a load that follows at once does not meet the old groups.
        let (groups, offsets) = inner.unload_groups(partition);
        tracing::info!(
            target: MANAGER_LOG,
            "[GroupMetadataManager brokerId={broker}] Finished unloading __consumer_offsets-{partition} for \
             coordinator epoch {in_epoch}. Removed {offsets} cached offsets and {groups} cached groups."
        );
    }
}

impl Inner {
    /// Numbers of groups and offsets that went.
    fn unload_groups(self: &Arc<Self>, partition: i32) -> (usize, usize) {
        let cells: Vec<Arc<GroupCell>> =
            self.table.groups.read().values().filter(|cell| cell.partition == partition).cloned().collect();
        let mut offsets = 0;
        for cell in &cells {
            let open: Vec<i64> = self.step(cell, |group, now, fx| {
                group.on_unloaded(now, fx);
                offsets += group.offsets.len();
                group.offsets.open_producers().collect()
            });
            for producer_id in open {
                self.close_txn(producer_id, &cell.id);
            }
            self.table.remove(cell);
        }
        (cells.len(), offsets)
    }

    async fn load_partition(self: Arc<Self>, partition: i32, epoch: i32, load_id: u64) {
        let (broker, scheduled) = (self.config.broker_id, self.clock.now().mono_ms);
        let _permit = self.loads.clone().acquire_owned().await;
        let waited = self.clock.now().mono_ms - scheduled;
        let reader = self.clone();
        let loaded = blocking::run(move || {
            let is_wanted = || reader.is_loading(partition, load_id);
            load(&*reader.log, partition, reader.config.offsets_load_buffer_size, is_wanted)
        });
        let groups = match loaded.await {
            Ok(Ok(groups)) => groups,
            Ok(Err(error)) => {
                if self.is_loading(partition, load_id) {
                    self.log_load_error(partition, &error.to_string());
                }
                HashMap::new()
            }
            Err(error) => {
                self.log_load_error(partition, &error.to_string());
                HashMap::new()
            }
        };
        if !self.install(partition, load_id, groups) {
            return;
        }
        let took = self.clock.now().mono_ms - scheduled;
        self.metrics.partition_loads.fetch_add(1, Ordering::Relaxed);
        self.metrics.partition_load_ms.fetch_add(took as u64, Ordering::Relaxed);
        self.metrics.partition_load_max_ms.fetch_max(took as u64, Ordering::Relaxed);
        tracing::info!(
            target: MANAGER_LOG,
            "[GroupMetadataManager brokerId={broker}] Finished loading offsets and group metadata from \
             __consumer_offsets-{partition} in {took} milliseconds for epoch {epoch}, of which {waited} milliseconds \
             was spent in the scheduler."
        );
    }

    fn log_load_error(&self, partition: i32, error: &str) {
        tracing::error!(
            target: MANAGER_LOG,
            "[GroupMetadataManager brokerId={}] Error loading offsets from __consumer_offsets-{partition} ({error})",
            self.config.broker_id
        );
    }

    fn is_loading(&self, partition: i32, load_id: u64) -> bool {
        self.active.load(Ordering::Acquire) && self.table.partitions.read().is_loading(partition, load_id)
    }

    /// Puts the loaded groups into the table and opens the partition. False if it moved away meanwhile.
    fn install(self: &Arc<Self>, partition: i32, load_id: u64, groups: HashMap<Arc<str>, LoadedGroup>) -> bool {
        let now = self.clock.now();
        let mut cells = Vec::with_capacity(groups.len());
        let mut open = Vec::new();
        for (group_id, loaded) in groups {
            open.extend(loaded.pending_txn.keys().map(|producer_id| (*producer_id, group_id.clone())));
            cells.push(GroupCell::new(self.loaded_group(group_id, partition, loaded, now)));
        }
        let mut partitions = self.table.partitions.write();
        if !partitions.is_loading(partition, load_id) {
            return false;
        }
        {
            let mut open_txns = self.open_txns.lock();
            for (producer_id, group_id) in open {
                open_txns.entry(producer_id).or_default().insert(group_id);
            }
        }
        self.table.groups.write().extend(cells.iter().map(|cell| (cell.id.clone(), cell.clone())));
        for cell in &cells {
            self.step(cell, |group, now, fx| group.on_loaded(now, fx));
        }
        partitions.owned.insert(partition, Ownership::Owned);
        true
    }

    fn loaded_group(&self, group_id: Arc<str>, partition: i32, loaded: LoadedGroup, now: Now) -> Group {
        let mut group = match loaded.metadata {
            Some(value) => Group::from_record(group_id, partition, self.config.clone(), value, now),
            None => Group::new(group_id, partition, self.config.clone(), now),
        };
        group.offsets = GroupOffsets::loaded(loaded.offsets, loaded.pending_txn);
        group
    }
}
