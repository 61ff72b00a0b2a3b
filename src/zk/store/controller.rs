//! `/controller` and `/controller_epoch`: who is the controller, election, resignation.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::super::json::{ControllerZnode, decode_number};
use super::super::{ANY_VERSION, CreateMode, Op, OpResult, Stat, ZkError, paths};
use super::{Store, StoreError};

/// A term of office: the number brokers see, and the data version of `/controller_epoch` that fences our writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerEpoch {
    pub epoch: i32,
    pub zk_version: i32,
}

/// How an election ended for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    Won(ControllerEpoch),
    /// This broker holds the office.
    Lost {
        controller_id: i32,
    },
}

impl Store {
    /// The controller's znode and stat. Does not arm a watch: `exists(paths::CONTROLLER, true)` does, also when there is none.
    pub async fn controller(&self) -> Result<Option<(ControllerZnode, Stat)>, StoreError> {
        self.read_as(paths::CONTROLLER, false, ControllerZnode::decode).await
    }

    pub async fn controller_id(&self) -> Result<Option<i32>, StoreError> {
        Ok(self.controller().await?.map(|(znode, _)| znode.broker_id))
    }

    /// `/controller_epoch`, if there ever was a controller (epoch 0 was never in office).
    pub async fn controller_epoch(&self) -> Result<Option<ControllerEpoch>, StoreError> {
        let found = self.read_as(paths::CONTROLLER_EPOCH, false, decode_number::<i32>).await?;
        Ok(found.map(|(epoch, stat)| ControllerEpoch { epoch, zk_version: stat.version }))
    }

    /// `ControllerMoved` unless the term is the last one begun.
    pub async fn confirm_office(&self, term: ControllerEpoch) -> Result<(), StoreError> {
        match self.controller_epoch().await? {
            Some(last) if last != term => Err(StoreError::ControllerMoved(format!(
                "Controller epoch {} is over, the last one begun is {}",
                term.epoch, last.epoch
            ))),
            _ => Ok(()),
        }
    }

    /// Tries to become the controller. `ControllerMoved` when somebody else was faster and it is not clear who.
    ///
    /// A `/controller` that names us, but belongs to another session, is left from our life before a kill: we hold the
    /// registration of our id, so its owner is dead, and it is replaced. One of the present session is replaced unless we
    /// are `in_office`: it was won before we learnt that the session before had ended, and then given up with all
    /// that belonged to that one.
    pub async fn elect_controller(&self, broker_id: i32, in_office: bool, now_ms: i64) -> Result<Election, StoreError> {
        let mut leftover = None;
        if let Some((znode, stat)) = self.controller().await? {
            let session = self.zk.session_id();
            let registered = self.registered_session.load(Ordering::Acquire) == session;
            let is_ours = stat.ephemeral_owner == session;
            if znode.broker_id != broker_id || is_ours && in_office || !is_ours && !registered {
                return Ok(Election::Lost { controller_id: znode.broker_id });
            }
            leftover = Some(Op::delete(paths::CONTROLLER, stat.version));
        }
        let current = self.controller_epoch_or_create().await?;
        let epoch = current.epoch.wrapping_add(1);
        let data = ControllerZnode::new(broker_id, now_ms).encode();
        let mut ops: Vec<Op> = leftover.into_iter().collect();
        ops.push(Op::create(paths::CONTROLLER, data, CreateMode::Ephemeral));
        ops.push(Op::set_data(paths::CONTROLLER_EPOCH, epoch.to_string(), current.zk_version));
        loop {
            let error = match self.zk.multi(ops.clone()).await {
                Ok(results) => {
                    let stat = results.last().and_then(OpResult::stat);
                    let zk_version = stat.map_or(current.zk_version.wrapping_add(1), |s| s.version);
                    return Ok(Election::Won(ControllerEpoch { epoch, zk_version }));
                }
                Err(e) => e.error,
            };
            match error {
                ZkError::ConnectionLoss => {}
                ZkError::NodeExists | ZkError::BadVersion | ZkError::NoNode => {
                    return self.judge_lost_election(broker_id, epoch).await;
                }
                e => return Err(StoreError::zk(paths::CONTROLLER, e)),
            }
        }
    }

    async fn controller_epoch_or_create(&self) -> Result<ControllerEpoch, StoreError> {
        loop {
            if let Some(epoch) = self.controller_epoch().await? {
                return Ok(epoch);
            }
            let zero = Op::create(paths::CONTROLLER_EPOCH, Bytes::from_static(b"0"), CreateMode::Persistent);
            match self.write_plain(zero).await {
                Ok(_) => return Ok(ControllerEpoch { epoch: 0, zk_version: 0 }),
                Err(e) if e.is_node_exists() => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The election's multi was refused. It may be our own first attempt, whose answer was lost, that stands in the way.
    async fn judge_lost_election(&self, broker_id: i32, epoch: i32) -> Result<Election, StoreError> {
        let Some((znode, stat)) = self.controller().await? else {
            return Err(StoreError::ControllerMoved(
                "The ephemeral node at /controller went away while checking whether the controller election succeeds. \
                 Aborting controller startup procedure"
                    .to_owned(),
            ));
        };
        let ours = znode.broker_id == broker_id && stat.ephemeral_owner == self.zk.session_id();
        if let Some(found) = self.controller_epoch().await?.filter(|found| ours && found.epoch == epoch) {
            return Ok(Election::Won(found));
        }
        Err(StoreError::ControllerMoved(
            "Controller moved to another broker. Aborting controller startup procedure".to_owned(),
        ))
    }

    /// Gives up the office, so that others elect.
    pub async fn delete_controller(&self, epoch: ControllerEpoch) -> Result<(), StoreError> {
        let delete = Op::delete(paths::CONTROLLER, ANY_VERSION);
        match self.write_as_controller(delete, Some(epoch)).await {
            Err(e) if !e.is_no_node() => Err(e),
            _ => Ok(()),
        }
    }
}
