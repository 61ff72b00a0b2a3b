//! Which partitions of `__consumer_offsets` this broker coordinates, and the groups in them.
//!
//! Locks, in this order: `partitions`, then `groups`, then one group's `edge`; none is held across an await. A group is
//! only created under the read lock of `partitions`, and a partition only given up under its write lock, so no group is
//! ever left behind in a partition that moved away.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use crate::group::group::Group;
use crate::group::member::{JoinResult, SyncResult, Ticket};
use crate::protocol::ErrorCode;

/// One group with those who wait for it.
pub(super) struct GroupCell {
    pub(super) id: Arc<str>,
    pub(super) partition: i32,
    pub(super) edge: Mutex<GroupEdge>,
}

/// What the lock of a group protects.
pub(super) struct GroupEdge {
    pub(super) group: Group,
    pub(super) joins: HashMap<Ticket, oneshot::Sender<JoinResult>>,
    pub(super) syncs: HashMap<Ticket, oneshot::Sender<SyncResult>>,
    next_ticket: Ticket,
    /// The deadline the timer will call at.
    pub(super) armed: Option<i64>,
}

impl GroupCell {
    pub(super) fn new(group: Group) -> Arc<GroupCell> {
        Arc::new(GroupCell {
            id: group.id.clone(),
            partition: group.partition,
            edge: Mutex::new(GroupEdge {
                group,
                joins: HashMap::new(),
                syncs: HashMap::new(),
                next_ticket: 0,
                armed: None,
            }),
        })
    }
}

impl GroupEdge {
    pub(super) fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.next_ticket
    }
}

/// State of a partition this broker leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    Loading { load: u64 },
    Owned,
}

#[derive(Default)]
pub(super) struct Partitions {
    pub(super) owned: HashMap<i32, Ownership>,
    /// Highest leader epoch seen, also of partitions led elsewhere.
    epochs: HashMap<i32, i32>,
    next_load: u64,
}

impl Partitions {
    /// Remembers the epoch; false if a later one was seen already.
    pub(super) fn advance_epoch(&mut self, partition: i32, epoch: Option<i32>) -> bool {
        let Some(epoch) = epoch else { return true };
        let current = self.epochs.entry(partition).or_insert(epoch);
        *current = epoch.max(*current);
        *current == epoch
    }

    pub(super) fn epoch(&self, partition: i32) -> Option<i32> {
        self.epochs.get(&partition).copied()
    }

    /// Marks the partition as loading; `None` if it is loading or loaded already.
    pub(super) fn begin_load(&mut self, partition: i32) -> Option<u64> {
        if self.owned.contains_key(&partition) {
            return None;
        }
        self.next_load += 1;
        self.owned.insert(partition, Ownership::Loading { load: self.next_load });
        Some(self.next_load)
    }

    pub(super) fn is_loading(&self, partition: i32, load: u64) -> bool {
        self.owned.get(&partition) == Some(&Ownership::Loading { load })
    }
}

#[derive(Default)]
pub(super) struct GroupTable {
    pub(super) partitions: RwLock<Partitions>,
    pub(super) groups: RwLock<HashMap<Arc<str>, Arc<GroupCell>>>,
}

impl GroupTable {
    /// Whether requests for the partition's groups may be served.
    pub(super) fn check_partition(&self, partition: i32) -> Result<(), ErrorCode> {
        match self.partitions.read().owned.get(&partition) {
            Some(Ownership::Owned) => Ok(()),
            Some(Ownership::Loading { .. }) => Err(ErrorCode::CoordinatorLoadInProgress),
            None => Err(ErrorCode::NotCoordinator),
        }
    }

    pub(super) fn is_any_loading(&self) -> bool {
        self.partitions.read().owned.values().any(|state| matches!(state, Ownership::Loading { .. }))
    }

    pub(super) fn get(&self, group_id: &str) -> Option<Arc<GroupCell>> {
        self.groups.read().get(group_id).cloned()
    }

    /// The group, or a new one if its partition is (still) ours.
    pub(super) fn get_or_create(
        &self,
        group_id: &str,
        partition: i32,
        create: impl FnOnce() -> Group,
    ) -> Result<Arc<GroupCell>, ErrorCode> {
        if let Some(cell) = self.get(group_id) {
            return Ok(cell);
        }
        let partitions = self.partitions.read();
        if partitions.owned.get(&partition) != Some(&Ownership::Owned) {
            return Err(ErrorCode::NotCoordinator);
        }
        let mut groups = self.groups.write();
        if let Some(cell) = groups.get(group_id) {
            return Ok(cell.clone());
        }
        let cell = GroupCell::new(create());
        groups.insert(cell.id.clone(), cell.clone());
        Ok(cell)
    }

    /// Takes a dead group out; false if another has its name by now.
    pub(super) fn remove(&self, cell: &Arc<GroupCell>) -> bool {
        let mut groups = self.groups.write();
        let is_same = groups.get(&cell.id).is_some_and(|current| Arc::ptr_eq(current, cell));
        if is_same {
            groups.remove(&cell.id);
        }
        is_same
    }

    pub(super) fn all(&self) -> Vec<Arc<GroupCell>> {
        self.groups.read().values().cloned().collect()
    }
}
