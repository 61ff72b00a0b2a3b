//! `/brokers/ids` and `/brokers/seqid`: registration of brokers, and generated ids.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::super::json::BrokerRegistration;
use super::super::{ANY_VERSION, CreateMode, MultiError, Op, OpResult, Stat, ZkError, paths};
use super::{Store, StoreError, pipelined};

/// A registered broker and its epoch (the czxid of its znode).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredBroker {
    pub registration: BrokerRegistration,
    pub epoch: i64,
}

impl Store {
    /// Ids of the registered brokers, ascending. The watch fires when one comes or goes.
    pub async fn broker_ids(&self, watch: bool) -> Result<Vec<i32>, StoreError> {
        let mut ids: Vec<i32> =
            self.children(paths::BROKER_IDS, watch).await?.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// One broker, `None` if it is not registered. The watch fires when the data change or the broker goes.
    pub async fn broker(&self, id: i32, watch: bool) -> Result<Option<RegisteredBroker>, StoreError> {
        let found = self.read_as(&paths::broker(id), watch, BrokerRegistration::decode).await?;
        Ok(found.map(|(registration, stat)| RegisteredBroker { registration, epoch: stat.czxid }))
    }

    /// Epochs of those of these brokers that are registered, in one request; without watches.
    pub async fn broker_epochs(&self, ids: &[i32]) -> Result<BTreeMap<i32, i64>, StoreError> {
        let all = ids.iter().map(|id| paths::broker(*id)).collect();
        let found = self.zk.get_many(all).await.map_err(|e| StoreError::zk(paths::BROKER_IDS, e))?;
        let mut epochs = BTreeMap::new();
        for (id, read) in ids.iter().zip(found) {
            match read {
                Ok((_, stat)) => drop(epochs.insert(*id, stat.czxid)),
                Err(ZkError::NoNode) => {}
                Err(e) => return Err(StoreError::zk(paths::broker(*id), e)),
            }
        }
        Ok(epochs)
    }

    /// All registered brokers. `watch_list` arms the watch on the list, `watch_each` one on each broker.
    pub async fn brokers(
        &self,
        watch_list: bool,
        watch_each: bool,
    ) -> Result<BTreeMap<i32, RegisteredBroker>, StoreError> {
        let ids = self.broker_ids(watch_list).await?;
        self.brokers_of(ids, watch_each).await
    }

    /// All registered brokers, without watches, and how many returned to ISRs up to now: the data version of
    /// `/brokers/ids`, which nothing else changes ([`Store::register_returned_broker`]).
    pub async fn counted_brokers(&self) -> Result<(BTreeMap<i32, RegisteredBroker>, i32), StoreError> {
        let listed = self.zk.get_children(paths::BROKER_IDS, false).await;
        let (names, stat) = listed.map_err(|e| StoreError::zk(paths::BROKER_IDS, e))?;
        let ids = names.iter().filter_map(|name| name.parse().ok()).collect();
        Ok((self.brokers_of(ids, false).await?, stat.version))
    }

    async fn brokers_of(&self, ids: Vec<i32>, watch_each: bool) -> Result<BTreeMap<i32, RegisteredBroker>, StoreError> {
        let reads = ids.into_iter().map(|id| async move { Ok(self.broker(id, watch_each).await?.map(|b| (id, b))) });
        Ok(pipelined(reads).await?.into_iter().flatten().collect())
    }

    /// Fails if another registered broker advertises one of our `host:port`s.
    pub async fn check_endpoints(&self, id: i32, ours: &BrokerRegistration) -> Result<(), StoreError> {
        for (broker, theirs) in self.brokers(false, false).await? {
            if broker != id {
                let shared = shared_endpoints(ours, &theirs.registration);
                if !shared.is_empty() {
                    return Err(StoreError::EndpointsInUse { endpoints: shared.join(","), broker });
                }
            }
        }
        Ok(())
    }

    /// Registers our broker under the present session; answers the broker epoch.
    ///
    /// A znode that is there already is: ours (a lost reply), a leftover of our previous session (deleted; retried), or
    /// somebody's. With `takeover` the caller vouches that it holds the locks of its log directories, and that the cluster and
    /// broker id stored there are these; then a registration that advertises one of our own addresses is our
    /// predecessor's, killed a moment ago with its session still alive, and is replaced at once, where Kafka must wait
    /// for its expiry. The replacement is one multi that checks the data version read; a third broker would have to have the same id, and
    /// to register in between, to be hit by it.
    pub async fn register_broker(
        &self,
        id: i32,
        registration: &BrokerRegistration,
        takeover: bool,
    ) -> Result<i64, StoreError> {
        self.register_with(None, id, registration, takeover).await
    }

    /// The same with `takeover`, for a broker that may lack what it had and is still in sync for somebody: whatever is
    /// written after [`Store::counted_brokers`] of before on condition of its count is refused from now on.
    pub async fn register_returned_broker(
        &self,
        id: i32,
        registration: &BrokerRegistration,
    ) -> Result<i64, StoreError> {
        let count = Op::set_data(paths::BROKER_IDS, Bytes::new(), ANY_VERSION);
        self.register_with(Some(count), id, registration, true).await
    }

    async fn register_with(
        &self,
        also: Option<Op>,
        id: i32,
        registration: &BrokerRegistration,
        takeover: bool,
    ) -> Result<i64, StoreError> {
        let path = paths::broker(id);
        let data = registration.encode();
        let mut first: Vec<Op> = Vec::new();
        loop {
            let mut ops = std::mem::take(&mut first);
            ops.extend(also.clone());
            ops.push(Op::create(&*path, Bytes::new(), CreateMode::Ephemeral));
            ops.push(Op::set_data(&*path, data.clone(), 0));
            match self.zk.multi(ops).await {
                Ok(results) => {
                    let stat = results.last().and_then(OpResult::stat);
                    let stat = stat.ok_or_else(|| StoreError::zk(&*path, ZkError::Other("no stat".to_owned())))?;
                    return Ok(self.registered(stat));
                }
                Err(MultiError { error, .. }) => match error {
                    ZkError::ConnectionLoss | ZkError::NodeExists => {}
                    // The znode we meant to replace changed or went meanwhile.
                    ZkError::BadVersion | ZkError::NoNode if takeover => {}
                    e => return Err(StoreError::zk(&*path, e)),
                },
            }
            let Some((found, stat)) = self.read(&path, false).await? else { continue };
            let session = self.zk.session_id();
            if stat.ephemeral_owner == session {
                if found != data {
                    self.write_plain(Op::set_data(&*path, data.clone(), ANY_VERSION)).await?;
                }
                return Ok(self.registered(stat));
            }
            if stat.ephemeral_owner == self.registered_session.load(Ordering::Acquire) {
                first = vec![Op::delete(&*path, stat.version)];
            } else if takeover && is_predecessor(&found, registration) {
                tracing::info!(
                    target: "kafka.zk.KafkaZkClient",
                    "Taking over {path} from session {:#x}, which a killed predecessor of this broker left",
                    stat.ephemeral_owner
                );
                first = vec![Op::check(&*path, stat.version), Op::delete(&*path, stat.version)];
            } else {
                return Err(StoreError::BrokerIdInUse { path, owner: stat.ephemeral_owner, session });
            }
        }
    }

    /// Whether nobody alive is registered under our id, as far as one can see: [`Store::register_broker`] with
    /// `takeover` is going to succeed.
    pub async fn may_register(&self, id: i32, registration: &BrokerRegistration) -> Result<bool, StoreError> {
        let found = self.read(&paths::broker(id), false).await?;
        let session = self.zk.session_id();
        Ok(found.is_none_or(|(data, stat)| stat.ephemeral_owner == session || is_predecessor(&data, registration)))
    }

    fn registered(&self, stat: Stat) -> i64 {
        self.registered_session.store(stat.ephemeral_owner, Ordering::Release);
        stat.czxid
    }

    /// Whether the session that holds our registration has made way for another one.
    pub fn has_lost_registration(&self) -> bool {
        // Without a session there is one to come, which will be told of.
        let (session, registered) = (self.zk.session_id(), self.registered_session.load(Ordering::Acquire));
        registered != 0 && session != 0 && session != registered
    }

    /// Replaces the data of our registration (when advertised listeners change); the broker epoch stays.
    pub async fn update_broker(&self, id: i32, registration: &BrokerRegistration) -> Result<(), StoreError> {
        let op = Op::set_data(paths::broker(id), registration.encode(), ANY_VERSION);
        self.write_plain(op).await.map(|_| ())
    }

    /// Draws a broker id above `reserved_max` (`reserved.broker.max.id`).
    pub async fn generate_broker_id(&self, reserved_max: i32) -> Result<i32, StoreError> {
        let draw = || self.write_plain(Op::set_data(paths::BROKER_SEQUENCE, Bytes::new(), ANY_VERSION));
        let result = match draw().await {
            Err(e) if e.is_no_node() => {
                self.ensure_path(paths::BROKER_SEQUENCE).await?;
                draw().await?
            }
            other => other?,
        };
        let stat = super::write::stat_of(paths::BROKER_SEQUENCE, &result)?;
        Ok(reserved_max.saturating_add(stat.version))
    }
}

/// `host:port`s that both advertise.
fn shared_endpoints(a: &BrokerRegistration, b: &BrokerRegistration) -> Vec<String> {
    let taken = |host: &str, port| b.endpoints.iter().any(|e| e.host == host && e.port == port);
    a.endpoints.iter().filter(|e| taken(&e.host, e.port)).map(|e| format!("{}:{}", e.host, e.port)).collect()
}

/// True if the registration advertises one of our own addresses.
fn is_predecessor(data: &[u8], ours: &BrokerRegistration) -> bool {
    BrokerRegistration::decode(data).is_ok_and(|theirs| !shared_endpoints(ours, &theirs).is_empty())
}
