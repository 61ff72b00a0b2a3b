//! Offsets that go: expired ones, those of deleted topics; and the groups that have nothing left.
//!
//! Tombstones are written to the local log only and without waiting: if they are lost, the next coordinator expires
//! the same offsets again.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::table::GroupCell;
use super::{GroupCoordinator, Inner, interval};
use crate::group::group::{COORDINATOR_LOG, MANAGER_LOG};
use crate::group::state::GroupState;
use crate::group::storage::tombstones_batch;
use crate::topic::TopicPartition;

/// Groups looked at before other tasks get their turn.
const GROUPS_AT_A_TIME: usize = 256;

impl GroupCoordinator {
    /// Topics were deleted: the offsets of their partitions go.
    pub fn on_partitions_deleted(&self, partitions: &[TopicPartition]) {
        let mut count = 0;
        for cell in self.inner.table.all() {
            count += self.inner.clean_up(&cell, |group, _| group.offsets.remove(partitions));
        }
        let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        tracing::info!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {}]: Removed {count} offsets associated with deleted partitions: {}.",
            self.inner.config.broker_id,
            names.join(", ")
        );
    }

    /// Removes expired offsets, and groups that are empty in both senses. Runs by itself every
    /// `offsets.retention.check.interval.ms`; returns the number of offsets removed.
    pub fn expire_offsets(&self) -> usize {
        self.inner.table.all().iter().map(|cell| self.inner.expire(cell)).sum()
    }
}

/// The periodic expiry; the first pass is at once, as in Kafka.
pub(super) async fn run(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let (wait, started) = (interval(strong.config.offsets_retention_check_interval_ms), strong.clock.now());
        let cells = strong.table.all();
        let mut count = 0;
        for chunk in cells.chunks(GROUPS_AT_A_TIME) {
            count += chunk.iter().map(|cell| strong.expire(cell)).sum::<usize>();
            tokio::task::yield_now().await;
        }
        if count > 0 {
            tracing::info!(
                target: MANAGER_LOG,
                "[GroupMetadataManager brokerId={}] Removed {count} expired offsets in {} milliseconds.",
                strong.config.broker_id,
                strong.clock.now().mono_ms - started.mono_ms
            );
        }
        drop(cells);
        drop(strong);
        tokio::time::sleep(wait).await;
    }
}

impl Inner {
    fn expire(self: &Arc<Self>, cell: &Arc<GroupCell>) -> usize {
        let count = self.clean_up(cell, |group, now| group.remove_expired_offsets(now));
        self.metrics.offset_expirations.fetch_add(count as u64, Ordering::Relaxed);
        count
    }

    /// Removes what `select` takes out of the group, and the group itself if nothing is left. Number of offsets.
    fn clean_up(
        self: &Arc<Self>,
        cell: &Arc<GroupCell>,
        select: impl FnOnce(&mut crate::group::group::Group, crate::group::config::Now) -> Vec<TopicPartition>,
    ) -> usize {
        let removed = self.step(cell, |group, now, _| {
            let removed = select(group, now);
            group.die_if_useless(now);
            removed
        });
        self.write_tombstones(cell, &removed)
    }

    /// Takes a dead group out of the table and writes tombstones for it and for `offsets`. Returns how many offsets
    /// that was, 0 if the tombstones could not be written.
    pub(super) fn write_tombstones(&self, cell: &Arc<GroupCell>, offsets: &[TopicPartition]) -> usize {
        let (is_dead, generation) = {
            let edge = cell.edge.lock();
            (edge.group.is(GroupState::Dead), edge.group.generation())
        };
        // A group of generation 0 only stored offsets and has no record.
        let and_group = is_dead && self.table.remove(cell) && generation > 0;
        if offsets.is_empty() && !and_group {
            return 0;
        }
        let batch = tombstones_batch(&self.config, &cell.id, offsets, and_group, self.clock.now().wall_ms);
        let outcome = match batch {
            Ok(batch) => self.log.append_local(cell.partition, batch).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(_) => offsets.len(),
            Err(error) => {
                tracing::error!(
                    target: MANAGER_LOG,
                    "[GroupMetadataManager brokerId={}] Failed to append {} tombstones to __consumer_offsets-{} for \
                     expired/deleted offsets and/or metadata for group {}. ({error})",
                    self.config.broker_id,
                    offsets.len() + usize::from(and_group),
                    cell.partition,
                    cell.id
                );
                0
            }
        }
    }
}
