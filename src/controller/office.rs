//! Getting into and out of the controller's office in ZooKeeper: `/controller`, `/controller_epoch`, `/feature`.
//!
//! Answers to `registerControllerAndIncrementControllerEpoch` of Kafka's `KafkaZkClient`, and to the feature
//! versioning of its `KafkaController`.

use bytes::Bytes;

use super::fence::{ControllerError, ControllerResult, fenced_delete};
use super::znodes::{Znodes, optional};
use crate::zk::json::{ControllerZnode, FeatureStatus, FeatureZnode, JsonError, decode_number};
use crate::zk::{ANY_VERSION, CreateMode, MultiError, Op, ZkError, paths};

fn illegible(path: &'static str) -> impl FnOnce(JsonError) -> ControllerError {
    move |error| ControllerError::Znode(format!("Failed to parse the data of {path}: {error}"))
}

impl Znodes {
    /// Broker id of the present controller, -1 if there is none.
    pub async fn controller_id(&self) -> ControllerResult<i32> {
        match self.data(paths::CONTROLLER).await? {
            None => Ok(-1),
            Some((data, _)) => Ok(ControllerZnode::decode(&data).map_err(illegible(paths::CONTROLLER))?.broker_id),
        }
    }

    /// Watches `/controller`, there or not.
    pub async fn watch_controller(&self) -> ControllerResult {
        self.zk.exists(paths::CONTROLLER, true).await?;
        Ok(())
    }

    /// Epoch of the last controller and the version of its znode, which is made on first use.
    async fn controller_epoch(&self) -> ControllerResult<(i32, i32)> {
        loop {
            if let Some((data, stat)) = self.data(paths::CONTROLLER_EPOCH).await? {
                let epoch = decode_number(&data).map_err(illegible(paths::CONTROLLER_EPOCH))?;
                return Ok((epoch, stat.version));
            }
            let first = Bytes::from_static(b"0");
            match self.zk.create(paths::CONTROLLER_EPOCH, first, CreateMode::Persistent).await {
                Ok(_) => return Ok((0, 0)),
                Err(ZkError::NodeExists | ZkError::ConnectionLoss) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Tries to become the controller. Answers the new epoch and the version of `/controller_epoch` that fences
    /// its writes; [`ControllerError::Moved`] if another broker was faster.
    pub async fn take_office(&self, me: i32, now_ms: i64) -> ControllerResult<(i32, i32)> {
        let (last, version) = self.controller_epoch().await?;
        let epoch = last + 1;
        loop {
            let znode = ControllerZnode::new(me, now_ms).encode();
            let ops = vec![
                Op::create(paths::CONTROLLER, znode, CreateMode::Ephemeral),
                Op::set_data(paths::CONTROLLER_EPOCH, epoch.to_string(), version),
            ];
            match self.zk.multi(ops).await {
                Ok(results) => {
                    let stat = results.get(1).and_then(|result| result.stat());
                    return Ok((epoch, stat.map_or(version + 1, |stat| stat.version)));
                }
                Err(MultiError { error: ZkError::ConnectionLoss, .. }) => {}
                Err(MultiError { error: ZkError::NodeExists | ZkError::BadVersion, .. }) => {
                    return self.was_it_me(me, epoch).await;
                }
                Err(MultiError { error, .. }) => return Err(error.into()),
            }
        }
    }

    /// The office is taken: by us, in a request whose answer was lost, or by another.
    async fn was_it_me(&self, me: i32, epoch: i32) -> ControllerResult<(i32, i32)> {
        let holder = self.controller_id().await?;
        let (found, version) = self.controller_epoch().await?;
        if holder == me && found == epoch {
            return Ok((epoch, version));
        }
        Err(ControllerError::Moved)
    }

    /// Gives up the office, so that others can be elected.
    pub async fn leave_office(&self, fence: i32) -> ControllerResult {
        fenced_delete(&*self.zk, fence, paths::CONTROLLER.to_owned()).await
    }

    /// Makes sure that `/feature` says "enabled" in the newest form. Answers the data version written, `None` if
    /// nothing had to be.
    pub async fn enable_features(&self) -> ControllerResult<Option<i32>> {
        let enabled = FeatureZnode::enabled();
        let Some((data, _)) = self.data(paths::FEATURE).await? else {
            tracing::info!(
                target: "kafka.controller.KafkaController",
                "Creating FeatureZNode at path: {} with contents: {enabled:?}",
                paths::FEATURE
            );
            match self.zk.create(paths::FEATURE, enabled.encode(), CreateMode::Persistent).await {
                Ok(_) | Err(ZkError::NodeExists | ZkError::ConnectionLoss) => {}
                Err(error) => return Err(error.into()),
            }
            let stat = optional(self.zk.get_data(paths::FEATURE, false).await)?.map(|(_, stat)| stat);
            return Ok(stat.map(|stat| stat.version));
        };
        let found = FeatureZnode::decode(&data).map_err(illegible(paths::FEATURE))?;
        let features = match found.status {
            FeatureStatus::Enabled => found.features.clone(),
            FeatureStatus::Disabled => Default::default(),
        };
        let wanted = FeatureZnode { features, ..enabled };
        if wanted == found {
            return Ok(None);
        }
        tracing::info!(
            target: "kafka.controller.KafkaController",
            "Updating FeatureZNode at path: {} with contents: {wanted:?}",
            paths::FEATURE
        );
        let stat = self.zk.set_data(paths::FEATURE, wanted.encode(), ANY_VERSION).await?;
        Ok(Some(stat.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zk::twin::{Fault, Twin};

    fn znodes(twin: &Twin) -> Znodes {
        Znodes { zk: twin.connect() }
    }

    #[tokio::test]
    async fn epochs_count_up_from_one() {
        let twin = Twin::new();
        let (first, second) = (znodes(&twin), znodes(&twin));
        assert_eq!(first.controller_id().await, Ok(-1));
        assert_eq!(first.take_office(1, 0).await, Ok((1, 1)));
        assert_eq!(second.take_office(2, 0).await, Err(ControllerError::Moved));
        first.leave_office(1).await.unwrap();
        assert_eq!(second.take_office(2, 0).await, Ok((2, 2)));
        assert_eq!(first.leave_office(1).await, Err(ControllerError::Moved));
        assert_eq!(first.controller_id().await, Ok(2));
    }

    #[tokio::test]
    async fn an_election_whose_answer_was_lost_is_won_all_the_same() {
        let twin = Twin::new();
        twin.fault_next(paths::CONTROLLER, Fault::LoseReply);
        assert_eq!(znodes(&twin).take_office(1, 0).await, Ok((1, 1)));
    }

    #[tokio::test]
    async fn features_are_written_once() {
        let znodes = znodes(&Twin::new());
        assert_eq!(znodes.enable_features().await, Ok(Some(0)));
        assert_eq!(znodes.enable_features().await, Ok(None));
        let disabled = FeatureZnode { status: FeatureStatus::Disabled, ..FeatureZnode::enabled() };
        znodes.zk.set_data(paths::FEATURE, disabled.encode(), 0).await.unwrap();
        assert_eq!(znodes.enable_features().await, Ok(Some(2)));
        let (data, _) = znodes.data(paths::FEATURE).await.unwrap().unwrap();
        assert_eq!(data, Bytes::from_static(br#"{"features":{},"version":2,"status":1}"#));
    }
}
