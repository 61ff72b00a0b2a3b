//! `/brokers/topics/<t>` and `/admin/delete_topics`: creating, growing and deleting topics.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::json::TopicZnode;
use super::super::{ANY_VERSION, CreateMode, Op, paths};
use super::controller::ControllerEpoch;
use super::{Store, StoreError, StringMap, pipelined};

impl Store {
    /// Names of all topics, sorted. The watch fires when one comes or goes.
    pub async fn topics(&self, watch: bool) -> Result<Vec<String>, StoreError> {
        self.children(paths::TOPICS, watch).await
    }

    /// One topic, `None` if it does not exist. The watch fires when its assignments change or it goes.
    pub async fn topic(&self, topic: &str, watch: bool) -> Result<Option<TopicZnode>, StoreError> {
        let found = self.read_as(&paths::topic(topic), watch, TopicZnode::decode).await?;
        Ok(found.map(|(znode, _)| znode))
    }

    pub async fn topic_exists(&self, topic: &str) -> Result<bool, StoreError> {
        self.exists(&paths::topic(topic), false).await
    }

    /// Many topics at once; those that do not exist are left out.
    pub async fn topic_assignments(
        &self,
        topics: &[String],
        watch: bool,
    ) -> Result<BTreeMap<String, TopicZnode>, StoreError> {
        let reads = topics.iter().map(|t| async move { Ok(self.topic(t, watch).await?.map(|z| (t.clone(), z))) });
        Ok(pipelined(reads).await?.into_iter().flatten().collect())
    }

    /// Creates a topic: its configuration first (refused when there is no controller that may be asked), then its assignments, which is
    /// what the controller sees. NodeExists if the topic is there. No change notification, as in Kafka.
    pub async fn create_topic(&self, topic: &str, config: &StringMap, znode: &TopicZnode) -> Result<(), StoreError> {
        self.set_entity_config("topics", topic, config).await?;
        let op = Op::create(paths::topic(topic), znode.encode(), CreateMode::Persistent);
        self.write_plain(op).await.map(|_| ())
    }

    /// Overwrites a topic's assignments with those of a request to create partitions: no controller check, as in Kafka.
    pub async fn create_partitions(&self, topic: &str, znode: &TopicZnode) -> Result<(), StoreError> {
        self.set_topic(topic, znode, None).await
    }

    /// Overwrites a topic's assignments, as controller if `epoch` is given (reassignments, missing topic ids).
    pub async fn set_topic(
        &self,
        topic: &str,
        znode: &TopicZnode,
        epoch: Option<ControllerEpoch>,
    ) -> Result<(), StoreError> {
        let op = Op::set_data(paths::topic(topic), znode.encode(), ANY_VERSION);
        self.write_as_controller(op, epoch).await.map(|_| ())
    }

    /// Topics queued for deletion. The watch fires when one is queued or done.
    pub async fn topic_deletions(&self, watch: bool) -> Result<Vec<String>, StoreError> {
        self.children(paths::DELETE_TOPICS, watch).await
    }

    pub async fn is_topic_marked_for_deletion(&self, topic: &str) -> Result<bool, StoreError> {
        self.exists(&paths::delete_topic(topic), false).await
    }

    /// Queues a topic for deletion. False if it was queued before.
    pub async fn mark_topic_for_deletion(&self, topic: &str) -> Result<bool, StoreError> {
        let op = Op::create(paths::delete_topic(topic), Bytes::new(), CreateMode::Persistent);
        match self.write_plain(op).await {
            Ok(_) => Ok(true),
            Err(e) if e.is_node_exists() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Takes topics off the queue.
    pub async fn delete_topic_deletions(&self, topics: &[String], epoch: ControllerEpoch) -> Result<(), StoreError> {
        let deletes = topics.iter().map(|t| self.delete_if_there(paths::delete_topic(t), Some(epoch)));
        pipelined(deletes).await.map(|_| ())
    }

    /// The end of a deletion: the topic with all its partitions.
    pub async fn delete_topic(&self, topic: &str, epoch: ControllerEpoch) -> Result<(), StoreError> {
        self.delete_recursive(&paths::topic(topic), Some(epoch)).await
    }

    /// The end of a deletion: the configurations.
    pub async fn delete_topic_configs(&self, topics: &[String], epoch: ControllerEpoch) -> Result<(), StoreError> {
        let deletes = topics.iter().map(|t| self.delete_if_there(paths::entity("topics", t), Some(epoch)));
        pipelined(deletes).await.map(|_| ())
    }
}
