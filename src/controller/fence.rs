//! Writes that only the present controller may do: each goes as a multi that first checks the version of
//! `/controller_epoch`, so that a controller which was replaced without noticing changes nothing.
//!
//! Answers to `wrapRequestWithControllerEpochCheck` of Kafka's `KafkaZkClient`. A write whose answer was lost is
//! sent again, and when it then finds its own work done it counts as done.

use bytes::Bytes;

use crate::zk::{ANY_VERSION, CreateMode, MultiError, Op, Stat, Zk, ZkError, paths};

/// Why something the controller was about did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControllerError {
    /// Another broker is the controller by now (`ControllerMovedException`).
    #[error("Controller moved to another broker")]
    Moved,
    #[error("{0}")]
    Zk(#[from] ZkError),
    /// A znode holds what cannot be read or what contradicts what is known.
    #[error("{0}")]
    Znode(String),
    /// A rule of the state machines forbids it (`StateChangeFailedException`, `IllegalStateException`).
    #[error("{0}")]
    StateChange(String),
    /// Something outside the controller did not do its part.
    #[error("{0}")]
    Broker(String),
}

/// Result of the controller's work.
pub type ControllerResult<T = ()> = Result<T, ControllerError>;

/// Carries out `op` if `/controller_epoch` still has the version `fence`. Answers the stat of what was written
/// (for a deletion an empty one). Errors of the operation itself come as [`ControllerError::Zk`].
pub async fn fenced(zk: &dyn Zk, fence: i32, op: Op) -> ControllerResult<Stat> {
    let mut lost = false;
    loop {
        let ops = vec![Op::check(paths::CONTROLLER_EPOCH, fence), op.clone()];
        match zk.multi(ops).await {
            Ok(results) => return Ok(results.get(1).and_then(|result| result.stat()).unwrap_or_default()),
            Err(MultiError { error: ZkError::ConnectionLoss, .. }) => lost = true,
            Err(MultiError { index: Some(0), error: ZkError::BadVersion }) => return Err(ControllerError::Moved),
            Err(MultiError { index: Some(1), error }) if lost => return own_work(zk, &op, error).await,
            Err(MultiError { error, .. }) => return Err(error.into()),
        }
    }
}

/// After a lost answer: is the error the trace of our own write having been done?
async fn own_work(zk: &dyn Zk, op: &Op, error: ZkError) -> ControllerResult<Stat> {
    let done = match (op, &error) {
        (Op::Delete { .. }, ZkError::NoNode) => Some(Stat::default()),
        (Op::Create { path, data, .. }, ZkError::NodeExists) => same(zk, path, data, 0).await?,
        (Op::SetData { path, data, version }, ZkError::BadVersion) => same(zk, path, data, version + 1).await?,
        _ => None,
    };
    done.ok_or(ControllerError::Zk(error))
}

async fn same(zk: &dyn Zk, path: &str, data: &Bytes, version: i32) -> ControllerResult<Option<Stat>> {
    match zk.get_data(path, false).await {
        Ok((found, stat)) => Ok((found == *data && stat.version == version).then_some(stat)),
        Err(ZkError::NoNode) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Deletes a znode whatever its version; one that is gone already is no error.
pub async fn fenced_delete(zk: &dyn Zk, fence: i32, path: String) -> ControllerResult {
    match fenced(zk, fence, Op::delete(path, ANY_VERSION)).await {
        Ok(_) | Err(ControllerError::Zk(ZkError::NoNode)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates a persistent znode.
pub async fn fenced_create(zk: &dyn Zk, fence: i32, path: String, data: Bytes) -> ControllerResult<Stat> {
    fenced(zk, fence, Op::create(path, data, CreateMode::Persistent)).await
}

/// Replaces a znode's data.
pub async fn fenced_set(zk: &dyn Zk, fence: i32, path: String, data: Bytes, version: i32) -> ControllerResult<Stat> {
    fenced(zk, fence, Op::set_data(path, data, version)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zk::twin::{Fault, Twin};

    async fn epoch_node(zk: &dyn Zk) {
        zk.create(paths::CONTROLLER_EPOCH, Bytes::from_static(b"1"), CreateMode::Persistent).await.unwrap();
    }

    #[tokio::test]
    async fn a_replaced_controller_writes_nothing() {
        let zk = Twin::new().connect();
        epoch_node(&*zk).await;
        fenced_create(&*zk, 0, "/a".to_owned(), Bytes::new()).await.unwrap();
        zk.set_data(paths::CONTROLLER_EPOCH, Bytes::from_static(b"2"), 0).await.unwrap();
        let refused = fenced_set(&*zk, 0, "/a".to_owned(), Bytes::from_static(b"x"), 0).await;
        assert_eq!(refused, Err(ControllerError::Moved));
        let stale = fenced_set(&*zk, 1, "/a".to_owned(), Bytes::from_static(b"x"), 5).await;
        assert_eq!(stale, Err(ControllerError::Zk(ZkError::BadVersion)));
    }

    #[tokio::test]
    async fn a_lost_answer_is_not_a_lost_write() {
        let twin = Twin::new();
        let zk = twin.connect();
        epoch_node(&*zk).await;
        twin.fault_next("/a", Fault::LoseReply);
        fenced_create(&*zk, 0, "/a".to_owned(), Bytes::from_static(b"x")).await.unwrap();
        twin.fault_next("/a", Fault::LoseReply);
        let stat = fenced_set(&*zk, 0, "/a".to_owned(), Bytes::from_static(b"y"), 0).await.unwrap();
        assert_eq!(stat.version, 1);
        twin.fault_next("/a", Fault::LoseRequest);
        let stat = fenced_set(&*zk, 0, "/a".to_owned(), Bytes::from_static(b"z"), 1).await.unwrap();
        assert_eq!(stat.version, 2);
        twin.fault_next("/a", Fault::LoseReply);
        fenced(&*zk, 0, Op::delete("/a", 2)).await.unwrap();
        assert_eq!(zk.exists("/a", false).await.unwrap(), None);
    }
}
