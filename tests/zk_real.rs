//! The real session and the store against a real ZooKeeper: watches, registration, election, loss and expiry.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::zookeeper::ZooKeeperServer;
use ottla::topic::TopicPartition;
use ottla::zk::json::{Assignment, BrokerRegistration, Endpoint, PartitionState, TopicZnode};
use ottla::zk::session::{Session, SessionConfig};
use ottla::zk::store::{Election, Store, StoreError};
use ottla::zk::{ANY_VERSION, CreateMode, MultiError, Op, OpResult, Zk, ZkError, ZkEvent, paths};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

async fn session(server: &ZooKeeperServer, session_timeout_ms: u64) -> Arc<Session> {
    let mut config = SessionConfig::new(&format!("{}/kafka/east", server.connect()));
    config.session_timeout = Duration::from_millis(session_timeout_ms);
    Arc::new(Session::connect(config).await.unwrap())
}

async fn next(events: &mut UnboundedReceiver<ZkEvent>) -> ZkEvent {
    timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("a live session")
}

/// The next event about znodes.
async fn next_change(events: &mut UnboundedReceiver<ZkEvent>) -> ZkEvent {
    loop {
        let event = next(events).await;
        if event.path().is_some() {
            return event;
        }
    }
}

async fn until_established(events: &mut UnboundedReceiver<ZkEvent>) -> (i64, Vec<ZkEvent>) {
    let mut seen = Vec::new();
    loop {
        match next(events).await {
            ZkEvent::SessionEstablished(id) => return (id, seen),
            event => seen.push(event),
        }
    }
}

fn broker(port: i32) -> BrokerRegistration {
    let endpoint = Endpoint {
        listener: "PLAINTEXT".to_owned(),
        host: "localhost".to_owned(),
        port,
        security_protocol: "PLAINTEXT".to_owned(),
    };
    BrokerRegistration::new(vec![endpoint], None, 1)
}

fn data(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_watches() {
    let server = ZooKeeperServer::start();
    let (zk, other) = (session(&server, 6000).await, session(&server, 6000).await);
    let (path, stat) = zk.create("/a", data("x"), CreateMode::Persistent).await.unwrap();
    assert_eq!((path.as_str(), stat.version, stat.data_length), ("/a", 0, 1));
    let (first, _) = zk.create("/a/n_", data(""), CreateMode::PersistentSequential).await.unwrap();
    assert_eq!(first, "/a/n_0000000000");
    assert_eq!(zk.create("/b/c", data(""), CreateMode::Persistent).await, Err(ZkError::NoNode));
    assert_eq!(zk.set_data("/a", data("y"), 7).await, Err(ZkError::BadVersion));
    assert_eq!(zk.delete("/a", ANY_VERSION).await, Err(ZkError::NotEmpty));
    assert_eq!(zk.get_data("/a/n_0000000000", false).await.unwrap().0, Bytes::new());
    assert!(matches!(zk.create("bad", data(""), CreateMode::Persistent).await, Err(ZkError::BadArguments(_))));

    let (mut mine, mut second) = (zk.events(), zk.events());
    for _ in 0..3 {
        assert_eq!(zk.exists("/w", true).await, Ok(None));
        zk.get_children("/a", true).await.unwrap();
    }
    other.create("/w", data(""), CreateMode::Persistent).await.unwrap();
    assert_eq!(next(&mut mine).await, ZkEvent::Created("/w".into()));
    zk.get_data("/w", true).await.unwrap();
    other.set_data("/w", data("1"), ANY_VERSION).await.unwrap();
    assert_eq!(next(&mut mine).await, ZkEvent::DataChanged("/w".into()));
    other.set_data("/w", data("2"), ANY_VERSION).await.unwrap(); // nobody watches
    other.create("/a/child", data(""), CreateMode::Persistent).await.unwrap();
    assert_eq!(next(&mut mine).await, ZkEvent::ChildrenChanged("/a".into()));
    zk.exists("/w", true).await.unwrap();
    other.delete("/w", ANY_VERSION).await.unwrap();
    assert_eq!(next(&mut mine).await, ZkEvent::Deleted("/w".into()));
    let kinds = [next(&mut second).await, next(&mut second).await, next(&mut second).await, next(&mut second).await];
    assert_eq!(kinds[2], ZkEvent::ChildrenChanged("/a".into()));
    assert!(mine.try_recv().is_err(), "a watch fired twice");

    let failed = zk.multi(vec![Op::check("/a", 0), Op::delete("/gone", ANY_VERSION)]).await;
    assert_eq!(failed, Err(MultiError { index: Some(1), error: ZkError::NoNode }));
    let ops = vec![Op::create("/e", data(""), CreateMode::Ephemeral), Op::set_data("/e", data("v"), 0)];
    let results = zk.multi(ops).await.unwrap();
    let stat = results[1].stat().unwrap();
    assert_eq!((stat.ephemeral_owner, stat.version, stat.czxid), (zk.session_id(), 1, stat.mzxid));
    assert!(matches!(&results[0], OpResult::Created { path, .. } if path == "/e"));
    zk.close().await;
    assert_eq!(other.exists("/e", false).await, Ok(None));
    assert_eq!(zk.exists("/e", false).await, Err(ZkError::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_read_again_and_again_is_never_lost() {
    let server = ZooKeeperServer::start();
    let (zk, other) = (session(&server, 6000).await, session(&server, 6000).await);
    other.create("/a", data("0"), CreateMode::Persistent).await.unwrap();
    let mut events = zk.events();
    let rounds = 300;
    let writer = tokio::spawn(async move {
        for _ in 0..rounds {
            other.set_data("/a", data("x"), ANY_VERSION).await.unwrap();
        }
    });
    // Several readers re-arm while the writer fires: whoever has not seen the last version must be told.
    let mut version = 0;
    while version < rounds {
        let reads = (0..3).map(|_| zk.get_data("/a", true));
        let stats = futures::future::try_join_all(reads).await.unwrap();
        version = stats.iter().map(|(_, s)| s.version).max().unwrap();
        if version < rounds {
            assert_eq!(next(&mut events).await, ZkEvent::DataChanged("/a".into()));
        }
    }
    writer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registration_and_takeover() {
    let server = ZooKeeperServer::start();
    let zk = session(&server, 20_000).await;
    let store = Store::new(zk.clone());
    store.ensure_top_level_paths().await.unwrap();
    assert!(!store.exists(paths::PRODUCER_ID_BLOCK, false).await.unwrap());
    let epoch = store.register_broker(1, &broker(9092), false).await.unwrap();
    let (_, stat) = zk.get_data("/brokers/ids/1", false).await.unwrap();
    assert_eq!((stat.czxid, stat.version), (epoch, 1));
    assert_eq!(store.register_broker(1, &broker(9092), false).await, Ok(epoch), "our own node");
    assert_eq!(store.elect_controller(1, true, 5).await, Ok(Election::Won(epoch_of(1, 1))));

    // The broker is killed; its session lives on. It comes back at once.
    let again = session(&server, 20_000).await;
    let reborn = Store::new(again.clone());
    let refused = reborn.register_broker(1, &broker(9092), false).await;
    assert!(matches!(refused, Err(StoreError::BrokerIdInUse { owner, .. }) if owner == zk.session_id()));
    let foreign = reborn.register_broker(1, &broker(9999), true).await;
    assert!(matches!(foreign, Err(StoreError::BrokerIdInUse { .. })), "another address is another broker");
    assert_eq!(
        reborn.elect_controller(1, true, 5).await,
        Ok(Election::Lost { controller_id: 1 }),
        "not registered yet"
    );
    let second = reborn.register_broker(1, &broker(9092), true).await.unwrap();
    assert!(second > epoch);
    assert_eq!(reborn.elect_controller(1, true, 6).await, Ok(Election::Won(epoch_of(2, 2))));
    zk.close().await;
    let (_, stat) = again.get_data("/brokers/ids/1", false).await.unwrap();
    assert_eq!((stat.czxid, stat.ephemeral_owner), (second, again.session_id()), "the old session took nothing along");
    assert_eq!(reborn.controller_id().await, Ok(Some(1)));
}

fn epoch_of(epoch: i32, zk_version: i32) -> ottla::zk::store::ControllerEpoch {
    ottla::zk::store::ControllerEpoch { epoch, zk_version }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn election_and_controller_writes() {
    let server = ZooKeeperServer::start();
    let (a, b) = (Store::new(session(&server, 6000).await), Store::new(session(&server, 6000).await));
    a.ensure_top_level_paths().await.unwrap();
    let (first, second) = tokio::join!(a.elect_controller(1, true, 1), b.elect_controller(2, true, 1));
    let won = [&first, &second].iter().filter(|r| matches!(r, Ok(Election::Won(_)))).count();
    assert_eq!(won, 1, "{first:?} {second:?}");
    let (winner, loser, id) = if matches!(first, Ok(Election::Won(_))) { (&a, &b, 1) } else { (&b, &a, 2) };
    assert_eq!(loser.elect_controller(9, true, 1).await, Ok(Election::Lost { controller_id: id }));
    let epoch = winner.controller_epoch().await.unwrap().unwrap();

    let znode = TopicZnode { partitions: (0..150).map(|p| (p, Assignment::new(vec![1, 2]))).collect(), topic_id: None };
    loser.create_topic("t", &Default::default(), &znode).await.unwrap();
    assert!(loser.create_topic("t", &Default::default(), &znode).await.unwrap_err().is_node_exists());
    let state = |leader_epoch| PartitionState {
        leader: 1,
        leader_epoch,
        isr: vec![1, 2],
        controller_epoch: epoch.epoch,
        leader_recovery_state: 0,
    };
    let new: Vec<_> = (0..150).map(|p| (TopicPartition::new("t", p), state(0))).collect();
    let created = winner.create_partition_states(&new, epoch).await.unwrap();
    assert!(created.iter().all(|(_, r)| *r == Ok(0)) && created.len() == 150);
    let all: Vec<_> = new.iter().map(|(tp, _)| tp.clone()).collect();
    let read = loser.partition_states(&all).await.unwrap();
    assert_eq!((read.len(), read[&all[7]].version, &read[&all[7]].state), (150, 0, &state(0)));
    let changes = vec![(all[0].clone(), state(1), 0), (all[1].clone(), state(1), 5)];
    let changed = winner.set_partition_states(&changes, epoch).await.unwrap();
    assert_eq!(changed[0].1, Ok(1));
    assert!(changed[1].1.as_ref().unwrap_err().is_bad_version());

    let mut events = loser.zk().events();
    assert!(loser.exists(paths::CONTROLLER, true).await.unwrap());
    winner.delete_controller(epoch).await.unwrap();
    assert_eq!(next_change(&mut events).await, ZkEvent::Deleted(paths::CONTROLLER.into()));
    let next_epoch = match loser.elect_controller(3, true, 2).await {
        Ok(Election::Won(next)) => next,
        other => panic!("{other:?}"),
    };
    assert_eq!(next_epoch.epoch, epoch.epoch + 1);
    let stale = winner.set_partition_states(&changes, epoch).await;
    assert!(stale.unwrap_err().is_controller_moved());
    loser.delete_topic("t", next_epoch).await.unwrap();
    assert!(!loser.topic_exists("t").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_keeps_a_session_that_has_time() {
    let mut server = ZooKeeperServer::start();
    let zk = session(&server, 30_000).await;
    let mut events = zk.events();
    let id = zk.session_id();
    zk.create("/e", data(""), CreateMode::Ephemeral).await.unwrap();
    zk.get_data("/e", true).await.unwrap();
    server.stop();
    assert_eq!(next(&mut events).await, ZkEvent::Disconnected);
    let read = tokio::spawn(zk.get_data("/e", false));
    let write = tokio::spawn(zk.create("/later", data(""), CreateMode::Persistent));
    server.restart();
    assert!(timeout(PATIENCE, read).await.unwrap().unwrap().is_ok(), "reads wait for the connection");
    assert!(timeout(PATIENCE, write).await.unwrap().unwrap().is_ok(), "so do writes that were not sent");
    assert_eq!(next(&mut events).await, ZkEvent::Connected);
    assert_eq!(zk.session_id(), id);
    zk.set_data("/e", data("1"), ANY_VERSION).await.unwrap();
    assert_eq!(next(&mut events).await, ZkEvent::DataChanged("/e".into()), "the watch lives on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_outage_ends_in_a_new_session() {
    let mut server = ZooKeeperServer::start();
    let zk = session(&server, 1000).await;
    let store = Store::new(zk.clone());
    store.ensure_top_level_paths().await.unwrap();
    let epoch = store.register_broker(1, &broker(9092), false).await.unwrap();
    store.exists("/w", true).await.unwrap();
    let mut events = zk.events();
    let old = zk.session_id();
    server.stop();
    assert_eq!(next(&mut events).await, ZkEvent::Disconnected);
    let caught = tokio::spawn(zk.exists("/w", false));
    assert_eq!(next(&mut events).await, ZkEvent::SessionExpired);
    assert_eq!(caught.await.unwrap(), Err(ZkError::SessionExpired));
    let waiting = tokio::spawn(zk.exists("/brokers", false));
    server.restart();
    let (id, _) = until_established(&mut events).await;
    assert_ne!(id, old);
    assert!(timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap().is_some());
    // The server may still know the old session, whose znode is then ours to replace.
    let again = store.register_broker(1, &broker(9092), false).await.unwrap();
    assert!(again > epoch);
    let (_, stat) = zk.get_data("/brokers/ids/1", false).await.unwrap();
    assert_eq!(stat.ephemeral_owner, id);
    zk.create("/w", data(""), CreateMode::Persistent).await.unwrap();
    zk.exists("/w", true).await.unwrap();
    zk.delete("/w", ANY_VERSION).await.unwrap();
    assert_eq!(next_change(&mut events).await, ZkEvent::Deleted("/w".into()), "watches of the old session are dead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_means_lost_replies_and_an_early_expiry() {
    let server = ZooKeeperServer::start();
    let zk = session(&server, 1000).await;
    let store = Store::new(zk.clone());
    store.ensure_top_level_paths().await.unwrap();
    store.register_broker(1, &broker(9092), false).await.unwrap();
    let mut events = zk.events();
    server.pause();
    let write = tokio::spawn(zk.create("/unknown", data(""), CreateMode::Persistent));
    let read = tokio::spawn(zk.exists("/brokers", false));
    assert_eq!(next(&mut events).await, ZkEvent::Disconnected);
    assert_eq!(timeout(PATIENCE, write).await.unwrap().unwrap(), Err(ZkError::ConnectionLoss), "nobody knows");
    assert_eq!(next(&mut events).await, ZkEvent::SessionExpired);
    assert_eq!(timeout(PATIENCE, read).await.unwrap().unwrap(), Err(ZkError::SessionExpired));
    server.resume();
    let (id, _) = until_established(&mut events).await;
    store.register_broker(1, &broker(9092), false).await.unwrap();
    assert_eq!(zk.get_data("/brokers/ids/1", false).await.unwrap().1.ephemeral_owner, id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_server_at_start_is_a_clear_error() {
    let mut server = ZooKeeperServer::start();
    let connect = server.connect();
    server.stop();
    let mut config = SessionConfig::new(&connect);
    config.connection_timeout = Duration::from_millis(300);
    let error = Session::connect(config).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(&format!("zookeeper.connect={connect}")), "{error}");
    let mut config = SessionConfig::new("host:notaport");
    config.connection_timeout = Duration::from_millis(300);
    assert!(matches!(Session::connect(config).await.map(|_| ()), Err(ZkError::BadArguments(_))));
}

/// Forwards connections to a server, until it is told to cut them and refuse new ones.
struct Link {
    port: u16,
    open: Arc<tokio::sync::watch::Sender<bool>>,
}

impl Link {
    async fn to(server: &ZooKeeperServer) -> Link {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = server.port();
        let open = Arc::new(tokio::sync::watch::channel(true).0);
        let state = open.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut open = state.subscribe();
                if !*open.borrow_and_update() {
                    continue;
                }
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = open.changed() => {}
                    }
                });
            }
        });
        Link { port, open }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_the_server_expires_is_renewed() {
    let server = ZooKeeperServer::start();
    let link = Link::to(&server).await;
    let mut config = SessionConfig::new(&format!("127.0.0.1:{}", link.port));
    config.session_timeout = Duration::from_millis(3000);
    let zk = Arc::new(Session::connect(config).await.unwrap());
    let store = Store::new(zk.clone());
    store.ensure_top_level_paths().await.unwrap();
    let epoch = store.register_broker(1, &broker(9092), false).await.unwrap();
    let old = zk.session_id();
    let mut events = zk.events();

    let outside = Arc::new(Session::connect(SessionConfig::new(&server.connect())).await.unwrap());
    let mut seen = outside.events();
    assert!(outside.exists("/brokers/ids/1", true).await.unwrap().is_some());
    link.open.send_replace(false);
    assert_eq!(next_change(&mut seen).await, ZkEvent::Deleted("/brokers/ids/1".into()));
    link.open.send_replace(true);

    let (id, before) = until_established(&mut events).await;
    assert_eq!(before.iter().filter(|e| **e == ZkEvent::SessionExpired).count(), 1, "{before:?}");
    assert_ne!(id, old);
    assert!(store.register_broker(1, &broker(9092), false).await.unwrap() > epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_through_broken_connections_happen_once() {
    let server = ZooKeeperServer::start();
    let link = Link::to(&server).await;
    let mut config = SessionConfig::new(&format!("127.0.0.1:{}", link.port));
    config.session_timeout = Duration::from_millis(20_000);
    let store = Store::new(Arc::new(Session::connect(config).await.unwrap()));
    store.ensure_top_level_paths().await.unwrap();
    let open = link.open.clone();
    let cutter = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(30)).await;
            open.send_replace(true); // cuts what is there; new connections pass
        }
    });
    let blocks = 40;
    for n in 0..blocks {
        let block = timeout(PATIENCE, store.allocate_producer_id_block(1)).await.unwrap().unwrap();
        assert_eq!(block.start, n * 1000, "a lost answer was not recognized");
    }
    cutter.abort();
}
