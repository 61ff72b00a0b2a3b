//! A look into ZooKeeper from outside the broker, and topics put there by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla::topic::TopicPartition;
use ottla::zk::json::{Assignment, PartitionState, TopicZnode};
use ottla::zk::session::{Session, SessionConfig};
use ottla::zk::{ANY_VERSION, CreateMode, Zk, paths};
use tokio::runtime::Runtime;
use uuid::Uuid;
use zookeeper_client::{Acl, AuthId, Client, Permission};

/// A znode as a dump has it; no data and empty data are the same here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Znode {
    pub data: String,
    pub is_ephemeral: bool,
    pub version: i32,
    pub children_version: i32,
}

pub struct Znodes {
    runtime: Runtime,
    zk: Arc<Session>,
    connect: String,
}

impl Znodes {
    pub fn connect(connect: &str) -> Znodes {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("tokio");
        let mut config = SessionConfig::new(connect);
        config.session_timeout = Duration::from_secs(10);
        let zk = runtime.block_on(Session::connect(config)).expect("a session of ZooKeeper");
        Znodes { runtime, zk: Arc::new(zk), connect: connect.to_owned() }
    }

    /// The session that owns an ephemeral znode; `None` where there is none.
    pub fn owner(&self, path: &str) -> Option<i64> {
        self.runtime.block_on(self.zk.exists(path, false)).ok()?.map(|stat| stat.ephemeral_owner)
    }

    /// The transaction that created a znode: of a broker's entry, its epoch. `None` where there is none.
    pub fn created(&self, path: &str) -> Option<i64> {
        self.runtime.block_on(self.zk.exists(path, false)).ok()?.map(|stat| stat.czxid)
    }

    /// Creates a topic whose data lie on broker 0 already, before any broker runs.
    pub fn adopt_topic(&self, topic: &str, topic_id: Uuid, leader_epochs: &BTreeMap<i32, i32>) {
        let partitions = leader_epochs.keys().map(|p| (*p, Assignment::new(vec![0]))).collect();
        let znode = TopicZnode { partitions, topic_id: Some(topic_id) };
        let topic_path = format!("/brokers/topics/{topic}");
        self.create_all(&topic_path, znode.encode());
        // What was recorded is older than any retention.
        let config = br#"{"version":1,"config":{"retention.ms":"-1"}}"#;
        self.create_all(&format!("/config/topics/{topic}"), bytes::Bytes::from_static(config));
        for (partition, leader_epoch) in leader_epochs {
            let state = PartitionState {
                leader: 0,
                leader_epoch: *leader_epoch,
                isr: vec![0],
                controller_epoch: 1,
                leader_recovery_state: 0,
            };
            self.create_all(&format!("{topic_path}/partitions/{partition}/state"), state.encode());
        }
    }

    /// A znode's data, if it is there.
    pub fn data(&self, path: &str) -> Option<String> {
        let (data, _) = self.runtime.block_on(self.zk.get_data(path, false)).ok()?;
        Some(String::from_utf8_lossy(&data).into_owned())
    }

    /// All there is, by path.
    pub fn tree(&self) -> BTreeMap<String, Znode> {
        let mut tree = BTreeMap::new();
        let mut left = vec!["/".to_owned()];
        while let Some(path) = left.pop() {
            // It may go while we look.
            let Some(znode) = self.znode(&path) else { continue };
            let children = self.runtime.block_on(self.zk.get_children(&path, false));
            let children = children.map(|(names, _)| names).unwrap_or_default();
            left.extend(children.iter().map(|name| paths::child(&path, name)));
            tree.insert(path, znode);
        }
        tree
    }

    pub fn znode(&self, path: &str) -> Option<Znode> {
        let (data, stat) = self.runtime.block_on(self.zk.get_data(path, false)).ok()?;
        Some(Znode {
            data: String::from_utf8_lossy(&data).into_owned(),
            is_ephemeral: stat.ephemeral_owner != 0,
            version: stat.version,
            children_version: stat.cversion,
        })
    }

    /// Those of these paths with which not everybody may do everything.
    pub fn restricted<'a>(&self, paths: impl Iterator<Item = &'a String>) -> Vec<String> {
        let everybody = [Acl::new(Permission::ALL, AuthId::new("world", "anyone"))];
        self.runtime.block_on(async {
            let client = Client::connect(&self.connect).await.expect("a session of ZooKeeper");
            let mut found = Vec::new();
            for path in paths {
                let (acls, _) = client.get_acl(path).await.expect("the rights of a znode");
                if acls != everybody {
                    found.push(format!("{path}: {acls:?}"));
                }
            }
            found
        })
    }

    /// Deletes a znode, if it is there.
    pub fn delete(&self, path: &str) {
        let _ = self.runtime.block_on(self.zk.delete(path, -1));
    }

    /// Creates a znode, with its parents.
    pub fn put(&self, path: &str, data: String) {
        self.create_all(path, data.into());
    }

    /// Creates a znode that lasts as long as this session, with its parents.
    pub fn put_ephemeral(&self, path: &str, data: String) {
        self.create_parents(path);
        self.runtime.block_on(self.zk.create(path, data.into(), CreateMode::Ephemeral)).expect("a new znode");
    }

    /// Changes a znode's data.
    pub fn set(&self, path: &str, data: String) {
        self.runtime.block_on(self.zk.set_data(path, data.into(), ANY_VERSION)).expect("a znode that is there");
    }

    fn create_all(&self, path: &str, data: bytes::Bytes) {
        self.create_parents(path);
        self.runtime.block_on(self.zk.create(path, data, CreateMode::Persistent)).expect("a new znode");
    }

    fn create_parents(&self, path: &str) {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
        for end in ends {
            let parent = self.zk.create(&path[..end], bytes::Bytes::new(), CreateMode::Persistent);
            let _ = self.runtime.block_on(parent); // It may be there.
        }
    }
}
