//! One write whose outcome is known in the end, with or without a version check before it.

use super::super::{ANY_VERSION, CreateMode, MultiError, Op, OpResult, Stat, ZkError};
use super::controller::ControllerEpoch;
use super::{Store, StoreError};
use crate::zk::paths;

/// Which part of a guarded write was refused.
pub(super) enum Refusal {
    Guard(ZkError),
    Op(ZkError),
}

impl Store {
    /// Sends `op` (behind `guard`, a check, if there is one) until its outcome is known. After a lost answer it is sent
    /// again; if the repetition is refused because the first one succeeded, that is success.
    pub(super) async fn write(&self, guard: Option<Op>, op: Op) -> Result<OpResult, Refusal> {
        let mut unknown = false;
        let refused = loop {
            match self.send(guard.clone(), op.clone()).await {
                Ok(result) => return Ok(result),
                Err(MultiError { error: ZkError::ConnectionLoss, .. }) => unknown = true,
                Err(MultiError { index: Some(0), error }) if guard.is_some() => return Err(Refusal::Guard(error)),
                Err(e) => break e.error,
            }
        };
        match unknown {
            true => self.done_before(&op, &refused).await.ok_or(Refusal::Op(refused)),
            false => Err(Refusal::Op(refused)),
        }
    }

    async fn send(&self, guard: Option<Op>, op: Op) -> Result<OpResult, MultiError> {
        if let Some(guard) = guard {
            let result = self.zk.multi(vec![guard, op]).await?.pop();
            return result.ok_or_else(|| ZkError::Other("a multi without results".to_owned()).into());
        }
        let result = match op {
            Op::Create { path, data, mode } => {
                self.zk.create(&path, data, mode).await.map(|(path, stat)| OpResult::Created { path, stat })
            }
            Op::SetData { path, data, version } => {
                self.zk.set_data(&path, data, version).await.map(|stat| OpResult::DataSet { stat })
            }
            Op::Delete { path, version } => self.zk.delete(&path, version).await.map(|()| OpResult::Deleted),
            check @ Op::Check { .. } => return self.zk.multi(vec![check]).await.map(|_| OpResult::Checked),
        };
        result.map_err(MultiError::from)
    }

    /// After an unknown outcome and a refused repetition: is what we wanted there?
    async fn done_before(&self, op: &Op, refused: &ZkError) -> Option<OpResult> {
        match (op, refused) {
            (Op::Delete { .. }, ZkError::NoNode) => Some(OpResult::Deleted),
            (Op::Create { path, data, mode }, ZkError::NodeExists) if !mode.is_sequential() => {
                let (found, stat) = self.zk.get_data(path, false).await.ok()?;
                let ours = *mode == CreateMode::Persistent || stat.ephemeral_owner == self.zk.session_id();
                (found == *data && ours).then(|| OpResult::Created { path: path.clone(), stat })
            }
            (Op::SetData { path, data, version }, ZkError::BadVersion) if *version != ANY_VERSION => {
                let (found, stat) = self.zk.get_data(path, false).await.ok()?;
                (found == *data && stat.version == version.wrapping_add(1)).then_some(OpResult::DataSet { stat })
            }
            _ => None,
        }
    }

    /// A write without a check before it.
    pub(super) async fn write_plain(&self, op: Op) -> Result<OpResult, StoreError> {
        let path = op.path().to_owned();
        self.write(None, op).await.map_err(|refusal| match refusal {
            Refusal::Guard(e) | Refusal::Op(e) => StoreError::zk(path, e),
        })
    }

    /// A write that happens only while the epoch's controller is in office (Kafka's controller-epoch check).
    pub(super) async fn write_as_controller(
        &self,
        op: Op,
        epoch: Option<ControllerEpoch>,
    ) -> Result<OpResult, StoreError> {
        let Some(epoch) = epoch else { return self.write_plain(op).await };
        let path = op.path().to_owned();
        let guard = Op::check(paths::CONTROLLER_EPOCH, epoch.zk_version);
        self.write(Some(guard), op).await.map_err(|refusal| match refusal {
            Refusal::Guard(ZkError::BadVersion) => StoreError::ControllerMoved(format!(
                "Controller epoch zkVersion check fails. Expected zkVersion = {}",
                epoch.zk_version
            )),
            Refusal::Guard(e) => StoreError::zk(paths::CONTROLLER_EPOCH, e),
            Refusal::Op(e) => StoreError::zk(path, e),
        })
    }
}

/// The stat of a written znode; a write that does not answer one is a fault of the ZooKeeper side.
pub(super) fn stat_of(path: &str, result: &OpResult) -> Result<Stat, StoreError> {
    result.stat().ok_or_else(|| StoreError::zk(path, ZkError::Other("no stat in the answer".to_owned())))
}
