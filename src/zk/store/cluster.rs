//! Cluster id, finalized features, blocks of producer ids, offsets of consumers that still commit to ZooKeeper.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::super::json::{ClusterId, FeatureZnode, ProducerIdBlock, decode_number};
use super::super::{ANY_VERSION, CreateMode, Op, paths};
use super::write::stat_of;
use super::{Store, StoreError};

impl Store {
    pub async fn cluster_id(&self) -> Result<Option<String>, StoreError> {
        Ok(self.read_as(paths::CLUSTER_ID, false, ClusterId::decode).await?.map(|(z, _)| z.id))
    }

    /// The cluster's id; a new random one if this is the first broker of all.
    pub async fn cluster_id_or_create(&self) -> Result<String, StoreError> {
        loop {
            if let Some(id) = self.cluster_id().await? {
                return Ok(id);
            }
            let id = URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes());
            let data = ClusterId { id: id.clone() }.encode();
            match self.create_with_parents(paths::CLUSTER_ID, data).await {
                Ok(()) => return Ok(id),
                Err(e) if e.is_node_exists() => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// `/feature` and its data version (the finalized features' epoch), `None` if it was never written. The watch fires when the data
    /// change or go; creation needs `exists(paths::FEATURE, true)`.
    pub async fn feature(&self, watch: bool) -> Result<Option<(FeatureZnode, i32)>, StoreError> {
        let found = self.read_as(paths::FEATURE, watch, FeatureZnode::decode).await?;
        Ok(found.map(|(znode, stat)| (znode, stat.version)))
    }

    /// Creates `/feature`; NodeExists if it is there.
    pub async fn create_feature(&self, feature: &FeatureZnode) -> Result<(), StoreError> {
        let op = Op::create(paths::FEATURE, feature.encode(), CreateMode::Persistent);
        self.write_plain(op).await.map(|_| ())
    }

    /// Overwrites `/feature`; answers the new data version.
    pub async fn set_feature(&self, feature: &FeatureZnode) -> Result<i32, StoreError> {
        let result = self.write_plain(Op::set_data(paths::FEATURE, feature.encode(), ANY_VERSION)).await?;
        Ok(stat_of(paths::FEATURE, &result)?.version)
    }

    /// Hands the next block of producer ids to `broker`. Creates the znode with its data if it is missing (see `zk`).
    pub async fn allocate_producer_id_block(&self, broker: i32) -> Result<ProducerIdBlock, StoreError> {
        const PATH: &str = paths::PRODUCER_ID_BLOCK;
        loop {
            let found = self.read_as(PATH, false, ProducerIdBlock::decode).await?;
            let last = found.and_then(|(block, _)| block);
            let next = ProducerIdBlock::next(last, broker).ok_or(StoreError::ProducerIdsExhausted)?;
            let op = match found {
                Some((_, stat)) => Op::set_data(PATH, next.encode(), stat.version),
                None => Op::create(PATH, next.encode(), CreateMode::Persistent),
            };
            // A lost answer costs at most one block: the comparison in `write` recognizes our own.
            match self.write_plain(op).await {
                Ok(_) => return Ok(next),
                Err(e) if e.is_bad_version() || e.is_no_node() || e.is_node_exists() => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The offset an old consumer group committed (OffsetFetch v0).
    pub async fn consumer_offset(&self, group: &str, topic: &str, partition: i32) -> Result<Option<i64>, StoreError> {
        let path = paths::consumer_offset(group, topic, partition);
        match self.read(&path, false).await? {
            Some((data, _)) if !data.is_empty() => {
                decode_number(&data).map(Some).map_err(|e| StoreError::bad_data(path, e))
            }
            _ => Ok(None),
        }
    }

    /// Stores the offset of an old consumer group (OffsetCommit v0).
    pub async fn set_consumer_offset(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), StoreError> {
        let path = paths::consumer_offset(group, topic, partition);
        self.set_or_create(&path, Bytes::from(offset.to_string())).await
    }

    /// Overwrites a persistent znode, creating it and its parents if need be.
    pub(super) async fn set_or_create(&self, path: &str, data: Bytes) -> Result<(), StoreError> {
        loop {
            match self.write_plain(Op::set_data(path, data.clone(), ANY_VERSION)).await {
                Err(e) if e.is_no_node() => {}
                other => return other.map(|_| ()),
            }
            match self.create_with_parents(path, data.clone()).await {
                Err(e) if e.is_node_exists() => {}
                other => return other,
            }
        }
    }
}
