//! The store on the in-memory twin: what is written, lost replies, leftovers of dead sessions, races.

use std::collections::BTreeMap;

use super::*;
use crate::topic::TopicPartition;
use crate::zk::json::{
    Assignment, BrokerRegistration, Endpoint, EntityConfig, FeatureStatus, FeatureZnode, PartitionState, Reassignment,
    TopicZnode,
};
use crate::zk::twin::{Fault, Twin};
use crate::zk::{ANY_VERSION, MultiError, OpResult, ZkEvent, ZkFuture};

struct Fixture {
    twin: Twin,
    store: Store,
}

async fn fixture() -> Fixture {
    let twin = Twin::new();
    let store = Store::new(twin.connect());
    store.ensure_top_level_paths().await.unwrap();
    Fixture { twin, store }
}

impl Fixture {
    /// Another broker's store.
    fn other(&self) -> Store {
        Store::new(self.twin.connect())
    }

    fn text(&self, path: &str) -> Option<String> {
        self.twin.dump().get(path).map(|(data, _)| String::from_utf8(data.to_vec()).unwrap())
    }

    fn version(&self, path: &str) -> i32 {
        self.twin.dump()[path].1.version
    }

    async fn elected(&self) -> ControllerEpoch {
        won(self.store.elect_controller(0, true, 1).await)
    }
}

fn won(election: Result<Election, StoreError>) -> ControllerEpoch {
    match election {
        Ok(Election::Won(epoch)) => epoch,
        other => panic!("{other:?}"),
    }
}

fn broker(host: &str, port: i32) -> BrokerRegistration {
    let protocol = "PLAINTEXT".to_owned();
    let endpoint = Endpoint { listener: protocol.clone(), host: host.to_owned(), port, security_protocol: protocol };
    BrokerRegistration::new(vec![endpoint], None, 1)
}

fn state(leader_epoch: i32) -> PartitionState {
    PartitionState { leader: 1, leader_epoch, isr: vec![1], controller_epoch: 1, leader_recovery_state: 0 }
}

fn config(pairs: &[(&str, &str)]) -> StringMap {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn topic(partitions: i32) -> TopicZnode {
    TopicZnode {
        partitions: (0..partitions).map(|p| (p, Assignment::new(vec![1]))).collect(),
        topic_id: Some(crate::topic::random_id()),
    }
}

#[tokio::test]
async fn start_up_paths_and_cluster_id() {
    let f = fixture().await;
    f.store.ensure_top_level_paths().await.unwrap();
    let mut expected: Vec<&str> = paths::TOP_LEVEL.to_vec();
    expected.extend(["/", "/admin", "/brokers", "/config"]);
    expected.sort_unstable();
    assert_eq!(f.twin.dump().keys().collect::<Vec<_>>(), expected);
    let id = f.store.cluster_id_or_create().await.unwrap();
    assert_eq!(id.len(), 22);
    assert_eq!(f.other().cluster_id_or_create().await, Ok(id.clone()));
    assert_eq!(f.text("/cluster/id").unwrap(), format!(r#"{{"version":"1","id":"{id}"}}"#));
}

#[tokio::test]
async fn generated_broker_ids_start_above_the_reserved_ones() {
    let f = fixture().await;
    assert_eq!(f.store.generate_broker_id(1000).await, Ok(1001));
    assert_eq!(f.other().generate_broker_id(1000).await, Ok(1002));
    f.store.delete_recursive(paths::BROKER_SEQUENCE, None).await.unwrap();
    assert_eq!(f.store.generate_broker_id(1000).await, Ok(1001));
}

#[tokio::test]
async fn registration_is_one_transaction_and_its_czxid_the_epoch() {
    let f = fixture().await;
    let epoch = f.store.register_broker(1, &broker("h", 9092), false).await.unwrap();
    let (_, stat) = f.twin.dump()["/brokers/ids/1"].clone();
    assert_eq!((stat.czxid, stat.mzxid, stat.version), (epoch, epoch, 1));
    let found = f.other().brokers(false, false).await.unwrap();
    assert_eq!(found[&1], RegisteredBroker { registration: broker("h", 9092), epoch });
    assert_eq!(f.store.broker(2, false).await, Ok(None));
    let mut changed = broker("h", 9093);
    changed.rack = Some("r".to_owned());
    f.store.update_broker(1, &changed).await.unwrap();
    assert_eq!(f.store.broker(1, false).await.unwrap().unwrap(), RegisteredBroker { registration: changed, epoch });
}

#[tokio::test]
async fn a_registration_whose_answer_was_lost_is_recognized() {
    let f = fixture().await;
    f.twin.fault_next("/brokers/ids/1", Fault::LoseReply);
    let epoch = f.store.register_broker(1, &broker("h", 9092), false).await.unwrap();
    assert_eq!(f.twin.dump()["/brokers/ids/1"].1.czxid, epoch);
    f.twin.fault_next("/brokers/ids/2", Fault::LoseRequest);
    f.store.register_broker(2, &broker("h", 9093), false).await.unwrap();
}

#[tokio::test]
async fn a_return_refuses_what_was_decided_before_it() {
    let f = fixture().await;
    let (other, tp, elected) = (f.other(), TopicPartition::new("t", 0), f.elected().await);
    f.store.create_topic("t", &config(&[]), &topic(1)).await.unwrap();
    f.store.create_partition_states(&[(tp.clone(), state(0))], elected).await.unwrap();
    let (brokers, count) = f.store.counted_brokers().await.unwrap();
    assert!(brokers.is_empty());
    // One that lacks nothing, or has left all ISRs, is of no account.
    other.register_broker(3, &broker("h", 9093), true).await.unwrap();
    assert_eq!(f.store.write_isr_unless_returned(&tp, &state(1), 0, count).await, Ok(1));
    f.twin.fault_next("/brokers/ids", Fault::LoseReply);
    let epoch = other.register_returned_broker(1, &broker("h", 9092)).await.unwrap();
    let refused = f.store.write_isr_unless_returned(&tp, &state(2), 1, count).await;
    assert!(refused.is_err_and(|e| e.is_bad_version()));
    let (brokers, count) = f.store.counted_brokers().await.unwrap();
    assert_eq!(brokers[&1].epoch, epoch);
    let refused = f.store.write_isr_unless_returned(&tp, &state(2), 0, count).await;
    assert!(refused.is_err_and(|e| e.is_bad_version()));
    assert_eq!(f.store.write_isr_unless_returned(&tp, &state(2), 1, count).await, Ok(2));
}

#[tokio::test]
async fn a_foreign_registration_is_left_alone() {
    let f = fixture().await;
    let other = f.other();
    let epoch = other.register_broker(1, &broker("h", 9092), false).await.unwrap();
    let refused = f.store.register_broker(1, &broker("h", 9092), false).await;
    assert!(matches!(refused, Err(StoreError::BrokerIdInUse { owner, .. }) if owner == other.zk().session_id()));
    let refused = f.store.register_broker(1, &broker("elsewhere", 9092), true).await;
    assert!(matches!(refused, Err(StoreError::BrokerIdInUse { .. })));
    assert_eq!(other.broker(1, false).await.unwrap().unwrap().epoch, epoch);
    assert_eq!(
        f.store.check_endpoints(2, &broker("h", 9092)).await,
        Err(StoreError::EndpointsInUse { endpoints: "h:9092".to_owned(), broker: 1 })
    );
    assert_eq!(f.store.check_endpoints(1, &broker("h", 9092)).await, Ok(()));
    assert_eq!(f.store.check_endpoints(2, &broker("h", 9093)).await, Ok(()));
}

#[tokio::test]
async fn a_killed_predecessor_is_replaced_at_once() {
    let f = fixture().await;
    let epoch = f.store.register_broker(1, &broker("h", 9092), false).await.unwrap();
    let first = won(f.store.elect_controller(1, true, 1).await);
    f.twin.kill(f.store.zk().session_id());
    let again = f.other();
    assert_eq!(again.elect_controller(1, true, 2).await, Ok(Election::Lost { controller_id: 1 }));
    f.twin.fault_next("/brokers/ids/1", Fault::LoseReply);
    let second = again.register_broker(1, &broker("h", 9092), true).await.unwrap();
    assert!(second > epoch);
    assert_eq!(won(again.elect_controller(1, true, 2).await).epoch, first.epoch + 1);
    assert_eq!(f.twin.dump()[paths::CONTROLLER].1.ephemeral_owner, again.zk().session_id());
}

/// Lets something happen right before the first multi that starts with a check.
struct Between {
    inner: Arc<dyn Zk>,
    act: parking_lot::Mutex<Option<ZkFuture<Stat>>>,
}

impl Zk for Between {
    fn create(&self, path: &str, data: Bytes, mode: CreateMode) -> ZkFuture<(String, Stat)> {
        self.inner.create(path, data, mode)
    }

    fn delete(&self, path: &str, version: i32) -> ZkFuture<()> {
        self.inner.delete(path, version)
    }

    fn exists(&self, path: &str, watch: bool) -> ZkFuture<Option<Stat>> {
        self.inner.exists(path, watch)
    }

    fn get_data(&self, path: &str, watch: bool) -> ZkFuture<(Bytes, Stat)> {
        self.inner.get_data(path, watch)
    }

    fn get_children(&self, path: &str, watch: bool) -> ZkFuture<(Vec<String>, Stat)> {
        self.inner.get_children(path, watch)
    }

    fn set_data(&self, path: &str, data: Bytes, version: i32) -> ZkFuture<Stat> {
        self.inner.set_data(path, data, version)
    }

    fn multi(&self, ops: Vec<Op>) -> ZkFuture<Vec<OpResult>, MultiError> {
        let act = if matches!(ops.first(), Some(Op::Check { .. })) { self.act.lock().take() } else { None };
        let multi = self.inner.multi(ops);
        Box::pin(async move {
            if let Some(act) = act {
                act.await?;
            }
            multi.await
        })
    }

    fn session_id(&self) -> i64 {
        self.inner.session_id()
    }

    fn events(&self) -> tokio::sync::mpsc::UnboundedReceiver<ZkEvent> {
        self.inner.events()
    }

    fn close(&self) -> futures::future::BoxFuture<'static, ()> {
        self.inner.close()
    }
}

#[tokio::test]
async fn a_takeover_does_not_hit_a_changed_registration() {
    let f = fixture().await;
    let other = f.other();
    other.register_broker(1, &broker("h", 9092), false).await.unwrap();
    // Between our look and our multi the other one changes its registration: it is alive, and elsewhere.
    let change = other.zk().set_data("/brokers/ids/1", broker("moved", 1).encode(), ANY_VERSION);
    let zk = Between { inner: f.twin.connect(), act: parking_lot::Mutex::new(Some(change)) };
    let refused = Store::new(Arc::new(zk)).register_broker(1, &broker("h", 9092), true).await;
    assert!(matches!(refused, Err(StoreError::BrokerIdInUse { owner, .. }) if owner == other.zk().session_id()));
    assert_eq!(f.store.broker(1, false).await.unwrap().unwrap().registration, broker("moved", 1));
}

#[tokio::test]
async fn our_previous_session_does_not_keep_us_out() {
    let f = fixture().await;
    f.store.register_broker(1, &broker("h", 9092), false).await.unwrap();
    let old = f.store.zk().session_id();
    // The server has not noticed the end of the session that the client has given up.
    let keeper = f.twin.connect();
    f.twin.expire(old).unwrap();
    keeper.create("/brokers/ids/1", broker("h", 9092).encode(), CreateMode::Ephemeral).await.unwrap();
    f.store.registered_session.store(keeper.session_id(), std::sync::atomic::Ordering::Release);
    f.store.register_broker(1, &broker("h", 9092), false).await.unwrap();
    assert_eq!(f.twin.dump()["/brokers/ids/1"].1.ephemeral_owner, f.store.zk().session_id());
}

#[tokio::test]
async fn a_registration_ends_with_its_session() {
    let f = fixture().await;
    assert!(!f.store.has_lost_registration(), "there was none");
    f.store.register_broker(1, &broker("h", 9092), false).await.unwrap();
    assert!(!f.store.has_lost_registration());
    let epochs = f.store.broker_epochs(&[1, 2]).await.unwrap();
    assert_eq!(epochs.into_iter().collect::<Vec<_>>(), [(1, f.twin.dump()["/brokers/ids/1"].1.czxid)]);
    f.twin.expire(f.store.zk().session_id()).unwrap();
    assert!(f.store.has_lost_registration());
    f.store.register_broker(1, &broker("h", 9092), false).await.unwrap();
    assert!(!f.store.has_lost_registration());
}

#[tokio::test]
async fn the_first_controller_has_epoch_one() {
    let f = fixture().await;
    assert_eq!(f.elected().await, ControllerEpoch { epoch: 1, zk_version: 1 });
    assert_eq!(f.text(paths::CONTROLLER_EPOCH).unwrap(), "1");
    assert_eq!(
        f.text(paths::CONTROLLER).unwrap(),
        r#"{"version":2,"brokerid":0,"timestamp":"1","kraftControllerEpoch":-1}"#
    );
    assert_eq!(f.other().elect_controller(2, true, 1).await, Ok(Election::Lost { controller_id: 0 }));
    f.twin.expire(f.store.zk().session_id()).unwrap();
    let next = won(f.other().elect_controller(2, true, 1).await);
    assert_eq!(next, ControllerEpoch { epoch: 2, zk_version: 2 });
}

#[tokio::test]
async fn an_election_whose_answer_was_lost_is_won() {
    let f = fixture().await;
    f.twin.fault_next(paths::CONTROLLER, Fault::LoseReply);
    assert_eq!(f.elected().await, ControllerEpoch { epoch: 1, zk_version: 1 });
}

#[tokio::test]
async fn an_office_that_was_given_up_with_an_old_session_is_won_anew() {
    let f = fixture().await;
    let first = f.elected().await;
    assert_eq!(f.store.elect_controller(0, true, 1).await, Ok(Election::Lost { controller_id: 0 }));
    assert_eq!(won(f.store.elect_controller(0, false, 1).await).epoch, first.epoch + 1);
}

#[tokio::test]
async fn an_election_lost_in_the_last_moment() {
    let f = fixture().await;
    f.twin.fault_next(paths::CONTROLLER, Fault::Fail(ZkError::BadVersion));
    assert!(f.store.elect_controller(0, true, 1).await.unwrap_err().is_controller_moved());
    f.elected().await;
    let other = f.other();
    f.twin.fault_next(paths::CONTROLLER, Fault::Fail(ZkError::NodeExists));
    assert_eq!(other.elect_controller(5, true, 1).await, Ok(Election::Lost { controller_id: 0 }));
}

#[tokio::test]
async fn writes_of_a_deposed_controller_are_refused() {
    let f = fixture().await;
    let old = f.elected().await;
    let session = f.store.zk().session_id();
    f.store.create_topic("t", &config(&[]), &topic(1)).await.unwrap();
    f.twin.expire(session).unwrap();
    let new = won(f.other().elect_controller(2, true, 1).await);
    let tp = TopicPartition::new("t", 0);
    let moved = |r: Result<(), StoreError>| assert!(r.unwrap_err().is_controller_moved());
    moved(f.store.create_partition_states(&[(tp.clone(), state(0))], old).await.map(|_| ()));
    moved(f.store.set_partition_states(&[(tp, state(0), 0)], old).await.map(|_| ()));
    moved(f.store.delete_topic("t", old).await);
    moved(f.store.set_topic("t", &topic(1), Some(old)).await);
    moved(f.store.delete_controller(old).await);
    moved(f.store.delete_topic_deletions(&["t".to_owned()], old).await);
    assert!(f.store.topic_exists("t").await.unwrap());
    f.store.delete_controller(new).await.unwrap();
    assert_eq!(f.store.controller_id().await, Ok(None));
}

#[tokio::test]
async fn partition_states_and_their_versions() {
    let f = fixture().await;
    let epoch = f.elected().await;
    f.store.create_topic("t", &config(&[]), &topic(2)).await.unwrap();
    let tps: Vec<_> = (0..2).map(|p| TopicPartition::new("t", p)).collect();
    f.twin.fault_next("/brokers/topics/t/partitions/1/state", Fault::LoseReply);
    let new: Vec<_> = tps.iter().map(|tp| (tp.clone(), state(0))).collect();
    let created = f.store.create_partition_states(&new, epoch).await.unwrap();
    assert_eq!(created, [(tps[0].clone(), Ok(0)), (tps[1].clone(), Ok(0))]);
    let again = f.store.create_partition_states(&new[..1], epoch).await.unwrap();
    assert!(again[0].1.as_ref().unwrap_err().is_node_exists());

    let path = "/brokers/topics/t/partitions/0/state";
    f.twin.fault_next(path, Fault::LoseReply);
    let set = f.store.set_partition_states(&[(tps[0].clone(), state(1), 0)], epoch).await.unwrap();
    assert_eq!(set[0].1, Ok(1), "our own success is not a BadVersion");
    assert_eq!(f.version(path), 1);
    let set = f.store.set_partition_states(&[(tps[0].clone(), state(2), 0)], epoch).await.unwrap();
    assert!(set[0].1.as_ref().unwrap_err().is_bad_version());
    // Somebody else's write in between is not taken for ours.
    f.twin.fault_next(path, Fault::LoseRequest);
    f.other().zk().set_data(path, state(7).encode(), ANY_VERSION).await.unwrap_err();
    f.other().zk().set_data(path, state(7).encode(), ANY_VERSION).await.unwrap();
    let set = f.store.set_partition_states(&[(tps[0].clone(), state(3), 1)], epoch).await.unwrap();
    assert!(set[0].1.as_ref().unwrap_err().is_bad_version());

    let read = f.store.partition_states(&[tps[0].clone(), TopicPartition::new("gone", 0)]).await.unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!((&read[&tps[0]].state, read[&tps[0]].version), (&state(7), 2));
}

#[tokio::test]
async fn topics_are_created_grown_and_deleted() {
    let f = fixture().await;
    let overrides = config(&[("cleanup.policy", "compact")]);
    let refused = f.store.create_topic("t", &overrides, &topic(1)).await.unwrap_err();
    assert_eq!(
        refused,
        StoreError::ControllerMoved("Cannot set entity configs for topics t when there is no controller.".to_owned())
    );
    let epoch = f.elected().await;
    f.twin.fault_next("/brokers/topics/t", Fault::LoseReply);
    let znode = topic(1);
    f.store.create_topic("t", &overrides, &znode).await.unwrap();
    assert!(f.store.create_topic("t", &overrides, &topic(1)).await.unwrap_err().is_node_exists());
    assert_eq!(f.store.children(paths::CONFIG_CHANGES, false).await, Ok(vec![]), "no note at creation");
    assert_eq!(f.store.topic("t", false).await, Ok(Some(znode.clone())));
    let names = ["t".to_owned(), "nope".to_owned()];
    assert_eq!(f.store.topic_assignments(&names, false).await.unwrap(), BTreeMap::from([("t".to_owned(), znode)]));
    let grown = topic(3);
    f.store.create_partitions("t", &grown).await.unwrap();
    assert_eq!(f.store.topic("t", false).await, Ok(Some(grown)));
    let states: Vec<_> = (0..3).map(|p| (TopicPartition::new("t", p), state(0))).collect();
    f.store.create_partition_states(&states, epoch).await.unwrap();

    assert_eq!(f.store.mark_topic_for_deletion("t").await, Ok(true));
    assert_eq!(f.store.mark_topic_for_deletion("t").await, Ok(false));
    assert_eq!(f.store.is_topic_marked_for_deletion("t").await, Ok(true));
    assert_eq!(f.store.topic_deletions(false).await, Ok(vec!["t".to_owned()]));
    f.twin.fault_next("/brokers/topics/t/partitions/1/state", Fault::LoseReply);
    f.store.delete_topic("t", epoch).await.unwrap();
    f.store.delete_topic_configs(&names, epoch).await.unwrap();
    f.store.delete_topic_deletions(&names, epoch).await.unwrap();
    assert!(f.twin.dump().keys().all(|path| !path.ends_with("/t")));
    assert_eq!(f.store.topics(false).await, Ok(vec![]));
}

#[tokio::test]
async fn config_changes_reach_everybody() {
    let f = fixture().await;
    f.elected().await;
    let overrides = config(&[("retention.ms", "1000")]);
    f.store.change_entity_config("topics", "t", &overrides).await.unwrap();
    f.store
        .change_entity_config("users", "a/clients/<default>", &config(&[("producer_byte_rate", "1")]))
        .await
        .unwrap();
    assert_eq!(f.store.entity_config("topics", "t").await, Ok(overrides.clone()));
    assert_eq!(f.store.entity_config("topics", "none").await, Ok(StringMap::new()));
    assert_eq!(
        f.store.all_entity_configs("topics").await.unwrap(),
        BTreeMap::from([("t".to_owned(), overrides.clone())])
    );
    let clients = f.store.all_user_client_configs().await.unwrap();
    assert_eq!(clients.keys().collect::<Vec<_>>(), ["a/clients/<default>"]);
    let notes = f.store.notifications(paths::CONFIG_CHANGES, paths::CONFIG_CHANGE_PREFIX, -1, false).await.unwrap();
    let texts: Vec<_> = notes.iter().map(|(n, data)| (*n, std::str::from_utf8(data).unwrap())).collect();
    assert_eq!(
        texts,
        [
            (0, r#"{"version":2,"entity_path":"topics/t"}"#),
            (1, r#"{"version":2,"entity_path":"users/a/clients/<default>"}"#)
        ]
    );
    let later = f.store.notifications(paths::CONFIG_CHANGES, paths::CONFIG_CHANGE_PREFIX, 0, false).await.unwrap();
    assert_eq!(later.len(), 1);
    // A topic without overrides keeps its znode.
    f.store.change_entity_config("topics", "t", &StringMap::new()).await.unwrap();
    assert_eq!(f.text("/config/topics/t").unwrap(), r#"{"version":1,"config":{}}"#);
}

#[tokio::test]
async fn quota_entities_without_overrides_vanish_with_what_they_needed() {
    let f = fixture().await;
    f.elected().await;
    let rate = config(&[("producer_byte_rate", "1")]);
    for entity in ["a", "a/clients/c1", "b/clients/c1", "b/clients/c2"] {
        f.store.change_entity_config("users", entity, &rate).await.unwrap();
    }
    f.store.change_entity_config("users", "a", &StringMap::new()).await.unwrap();
    assert_eq!(f.text("/config/users/a").unwrap(), r#"{"version":1,"config":{}}"#, "it has children");
    f.store.change_entity_config("users", "a/clients/c1", &StringMap::new()).await.unwrap();
    f.store.change_entity_config("users", "b/clients/c1", &StringMap::new()).await.unwrap();
    let dump = f.twin.dump();
    let users: Vec<_> = dump.keys().filter(|p| p.starts_with("/config/users/")).collect();
    assert_eq!(users, ["/config/users/b", "/config/users/b/clients", "/config/users/b/clients/c2"]);
    assert_eq!(f.store.children(paths::CONFIG_CHANGES, false).await.unwrap().len(), 7, "every change is told");
    f.store.change_entity_config("ips", "nowhere", &StringMap::new()).await.unwrap();
    assert_eq!(f.text("/config/ips/nowhere"), None);
}

#[tokio::test]
async fn configs_are_not_written_below_a_kraft_controller() {
    let f = fixture().await;
    let zk = f.store.zk();
    let kraft = Bytes::from_static(br#"{"version":2,"brokerid":3000,"timestamp":"1","kraftControllerEpoch":4}"#);
    zk.create(paths::CONTROLLER, kraft, CreateMode::Ephemeral).await.unwrap();
    assert!(f.store.set_entity_config("topics", "t", &config(&[])).await.unwrap_err().is_controller_moved());
    assert_eq!(f.text("/config/topics/t"), None);
}

#[tokio::test]
async fn old_notes_are_purged() {
    let f = fixture().await;
    f.elected().await;
    f.twin.set_now_ms(1_000);
    f.store.notify_config_change("topics", "old").await.unwrap();
    f.twin.set_now_ms(2_000);
    f.store.notify_config_change("topics", "new").await.unwrap();
    let now_ms = 1_001 + CHANGE_EXPIRATION_MS;
    f.store.purge_notifications(paths::CONFIG_CHANGES, now_ms, CHANGE_EXPIRATION_MS).await.unwrap();
    assert_eq!(f.store.children(paths::CONFIG_CHANGES, false).await.unwrap(), ["config_change_0000000001"]);
    f.store.notify_config_change("topics", "third").await.unwrap();
    let notes = f.store.notifications(paths::CONFIG_CHANGES, paths::CONFIG_CHANGE_PREFIX, 1, false).await.unwrap();
    assert_eq!(notes[0].0, 2, "numbers are never used again");
}

#[tokio::test]
async fn log_dir_and_isr_notes() {
    let f = fixture().await;
    let epoch = f.elected().await;
    f.store.notify_log_dir_failure(3).await.unwrap();
    let zk = f.store.zk();
    let isr = Bytes::from_static(br#"{"version":1,"partitions":[{"topic":"t","partition":1}]}"#);
    zk.create("/isr_change_notification/isr_change_", isr, CreateMode::PersistentSequential).await.unwrap();
    zk.create("/log_dir_event_notification/log_dir_event_", Bytes::new(), CreateMode::PersistentSequential)
        .await
        .unwrap();
    let events = f.store.log_dir_events(false).await.unwrap();
    assert_eq!(events, ["log_dir_event_0000000000", "log_dir_event_0000000001"]);
    assert_eq!(f.store.brokers_of_log_dir_events(&events).await, Ok(vec![3]));
    f.store.delete_log_dir_events(&events, epoch).await.unwrap();
    let changes = f.store.isr_changes(false).await.unwrap();
    assert_eq!(f.store.partitions_of_isr_changes(&changes).await, Ok(vec![TopicPartition::new("t", 1)]));
    f.store.delete_isr_changes(&changes, epoch).await.unwrap();
    assert_eq!(f.store.log_dir_events(false).await, Ok(vec![]));
    assert_eq!(f.store.isr_changes(false).await, Ok(vec![]));
}

#[tokio::test]
async fn producer_id_blocks_never_overlap() {
    let f = fixture().await;
    let first = f.store.allocate_producer_id_block(1).await.unwrap();
    assert_eq!((first.start, first.end, first.broker), (0, 999, 1));
    assert_eq!(
        f.text(paths::PRODUCER_ID_BLOCK).unwrap(),
        r#"{"version":1,"broker":1,"block_start":"0","block_end":"999"}"#
    );
    f.twin.fault_next(paths::PRODUCER_ID_BLOCK, Fault::LoseReply);
    let second = f.other().allocate_producer_id_block(2).await.unwrap();
    assert_eq!((second.start, f.version(paths::PRODUCER_ID_BLOCK)), (1000, 1));
    f.twin.fault_next(paths::PRODUCER_ID_BLOCK, Fault::Fail(ZkError::BadVersion));
    assert_eq!(f.store.allocate_producer_id_block(1).await.unwrap().start, 2000);
    // What a real controller left without data.
    f.store.zk().set_data(paths::PRODUCER_ID_BLOCK, Bytes::new(), ANY_VERSION).await.unwrap();
    assert_eq!(f.store.allocate_producer_id_block(1).await.unwrap().start, 0);
    let end = Bytes::from(format!(r#"{{"version":1,"broker":1,"block_start":"0","block_end":"{}"}}"#, i64::MAX - 1));
    f.store.zk().set_data(paths::PRODUCER_ID_BLOCK, end, ANY_VERSION).await.unwrap();
    assert_eq!(f.store.allocate_producer_id_block(1).await, Err(StoreError::ProducerIdsExhausted));
}

#[tokio::test]
async fn features_offsets_and_legacy_requests() {
    let f = fixture().await;
    let epoch = f.elected().await;
    assert_eq!(f.store.feature(false).await, Ok(None));
    let feature = FeatureZnode::empty(2, FeatureStatus::Enabled);
    f.store.create_feature(&feature).await.unwrap();
    assert_eq!(f.store.set_feature(&feature).await, Ok(1));
    assert_eq!(f.store.feature(false).await, Ok(Some((feature, 1))));

    assert_eq!(f.store.consumer_offset("g", "t", 0).await, Ok(None));
    f.store.set_consumer_offset("g", "t", 0, 42).await.unwrap();
    f.store.set_consumer_offset("g", "t", 0, 43).await.unwrap();
    assert_eq!(f.store.consumer_offset("g", "t", 0).await, Ok(Some(43)));
    assert_eq!(f.text("/consumers/g/offsets/t/0").unwrap(), "43");

    assert_eq!(f.store.reassignment().await, Ok(None));
    let mut asked = Reassignment::default();
    asked.partitions.insert(TopicPartition::new("t", 0), vec![1, 2]);
    f.store.set_reassignment(&asked, epoch).await.unwrap();
    assert_eq!(f.store.reassignment().await, Ok(Some(asked)));
    f.store.set_reassignment(&Reassignment::default(), epoch).await.unwrap();
    assert_eq!(f.store.reassignment().await, Ok(None));
    assert_eq!(f.store.preferred_election().await, Ok(None));
    f.store.delete_preferred_election(epoch).await.unwrap();
}

#[tokio::test]
async fn unreadable_data_are_errors_not_panics() {
    let f = fixture().await;
    let zk = f.store.zk();
    zk.create("/brokers/topics/t", Bytes::from_static(b"{"), CreateMode::Persistent).await.unwrap();
    zk.create("/brokers/ids/1", Bytes::new(), CreateMode::Ephemeral).await.unwrap();
    zk.create("/config/topics/t", Bytes::from_static(b"garbage"), CreateMode::Persistent).await.unwrap();
    assert!(
        matches!(f.store.topic("t", false).await, Err(StoreError::BadData { path, .. }) if path == "/brokers/topics/t")
    );
    assert!(matches!(f.store.broker(1, false).await, Err(StoreError::BadData { .. })));
    assert_eq!(f.store.entity_config("topics", "t").await, Ok(EntityConfig::default().config));
}
