//! Requests that old tools leave as znodes: `/admin/reassign_partitions` and `/admin/preferred_replica_election`.

use super::super::json::{PreferredElection, Reassignment};
use super::super::{ANY_VERSION, CreateMode, Op, paths};
use super::controller::ControllerEpoch;
use super::{Store, StoreError};

impl Store {
    /// The reassignment asked for, `None` if none is. `BadData` if it cannot be read. `exists(paths::REASSIGN_PARTITIONS, true)` arms
    /// the watch for its creation.
    pub async fn reassignment(&self) -> Result<Option<Reassignment>, StoreError> {
        let found = self.read_as(paths::REASSIGN_PARTITIONS, false, Reassignment::decode).await?;
        Ok(found.map(|(znode, _)| znode))
    }

    /// Replaces the request by what is left of it; deletes it when nothing is.
    pub async fn set_reassignment(&self, left: &Reassignment, epoch: ControllerEpoch) -> Result<(), StoreError> {
        const PATH: &str = paths::REASSIGN_PARTITIONS;
        if left.partitions.is_empty() {
            return self.delete_if_there(PATH.to_owned(), Some(epoch)).await;
        }
        let set = Op::set_data(PATH, left.encode(), ANY_VERSION);
        match self.write_as_controller(set, Some(epoch)).await {
            Err(e) if e.is_no_node() => {
                let create = Op::create(PATH, left.encode(), CreateMode::Persistent);
                self.write_as_controller(create, Some(epoch)).await.map(|_| ())
            }
            other => other.map(|_| ()),
        }
    }

    /// The preferred leader elections asked for, `None` if none are.
    pub async fn preferred_election(&self) -> Result<Option<PreferredElection>, StoreError> {
        let found = self.read_as(paths::PREFERRED_REPLICA_ELECTION, false, PreferredElection::decode).await?;
        Ok(found.map(|(znode, _)| znode))
    }

    pub async fn delete_preferred_election(&self, epoch: ControllerEpoch) -> Result<(), StoreError> {
        self.delete_if_there(paths::PREFERRED_REPLICA_ELECTION.to_owned(), Some(epoch)).await
    }
}
