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
        self.write_after(false, guard, op).await
    }

    /// The same; `unknown`: the write may have been done already, by a request whose answer was lost.
    async fn write_after(&self, mut unknown: bool, guard: Option<Op>, op: Op) -> Result<OpResult, Refusal> {
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
        match epoch {
            Some(epoch) => self.write_guarded(false, op, epoch).await,
            None => self.write_plain(op).await,
        }
    }

    async fn write_guarded(&self, unknown: bool, op: Op, epoch: ControllerEpoch) -> Result<OpResult, StoreError> {
        let path = op.path().to_owned();
        self.write_after(unknown, Some(guard(epoch)), op).await.map_err(|refusal| match refusal {
            Refusal::Guard(ZkError::BadVersion) => StoreError::ControllerMoved(format!(
                "Controller epoch zkVersion check fails. Expected zkVersion = {}",
                epoch.zk_version
            )),
            Refusal::Guard(e) => StoreError::zk(paths::CONTROLLER_EPOCH, e),
            Refusal::Op(e) => StoreError::zk(path, e),
        })
    }

    /// Many writes of the controller, each with its own outcome: in one request if none is refused, and else one by one
    /// in their order. Kafka sends each by itself, and ZooKeeper takes most of its time for requests, not for what is in
    /// them.
    pub(super) async fn write_many_as_controller(
        &self,
        ops: Vec<Op>,
        epoch: ControllerEpoch,
    ) -> Result<Vec<Result<OpResult, StoreError>>, StoreError> {
        let mut unknown = false;
        if ops.len() > 1 {
            let guarded = std::iter::once(guard(epoch)).chain(ops.iter().cloned()).collect();
            match self.zk.multi(guarded).await {
                Ok(results) => return Ok(results.into_iter().skip(1).map(Ok).collect()),
                Err(MultiError { error: ZkError::ConnectionLoss, .. }) => unknown = true,
                Err(MultiError { index: Some(_), .. }) => {}
                Err(MultiError { index: None, error }) => return Err(StoreError::zk(paths::CONTROLLER_EPOCH, error)),
            }
        }
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(self.write_guarded(unknown, op, epoch).await);
        }
        Ok(results)
    }
}

fn guard(epoch: ControllerEpoch) -> Op {
    Op::check(paths::CONTROLLER_EPOCH, epoch.zk_version)
}

/// The stat of a written znode; a write that does not answer one is a fault of the ZooKeeper side.
pub(super) fn stat_of(path: &str, result: &OpResult) -> Result<Stat, StoreError> {
    result.stat().ok_or_else(|| StoreError::zk(path, ZkError::Other("no stat in the answer".to_owned())))
}
