use super::*;
use crate::zk::ANY_VERSION;

fn drain(events: &mut mpsc::UnboundedReceiver<ZkEvent>) -> Vec<ZkEvent> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

fn data(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[tokio::test]
async fn versions_and_zxids_follow_zookeeper() {
    let twin = Twin::new();
    let zk = twin.connect();
    twin.set_now_ms(7);
    let (path, created) = zk.create("/a", data("x"), CreateMode::Persistent).await.unwrap();
    assert_eq!((path.as_str(), created.version, created.czxid, created.ctime), ("/a", 0, created.mzxid, 7));
    assert_eq!(zk.create("/a", data(""), CreateMode::Persistent).await, Err(ZkError::NodeExists));
    assert_eq!(zk.create("/b/c", data(""), CreateMode::Persistent).await, Err(ZkError::NoNode));
    let set = zk.set_data("/a", data("yy"), 0).await.unwrap();
    assert_eq!((set.version, set.czxid, set.data_length), (1, created.czxid, 2));
    assert!(set.mzxid > created.mzxid);
    assert_eq!(zk.set_data("/a", data("z"), 0).await, Err(ZkError::BadVersion));
    zk.create("/a/b", data(""), CreateMode::Persistent).await.unwrap();
    assert_eq!(zk.delete("/a", ANY_VERSION).await, Err(ZkError::NotEmpty));
    assert_eq!(zk.delete("/a/b", 3).await, Err(ZkError::BadVersion));
    zk.delete("/a/b", 0).await.unwrap();
    let stat = zk.exists("/a", false).await.unwrap().unwrap();
    assert_eq!((stat.cversion, stat.num_children, stat.version), (2, 0, 1));
    assert_eq!(zk.exists("/nope", false).await, Ok(None));
    assert!(matches!(zk.create("a//b", data(""), CreateMode::Persistent).await, Err(ZkError::BadArguments(_))));
}

#[tokio::test]
async fn sequential_names_count_creations() {
    let twin = Twin::new();
    let zk = twin.connect();
    zk.create("/s", data(""), CreateMode::Persistent).await.unwrap();
    let (first, _) = zk.create("/s/n_", data(""), CreateMode::PersistentSequential).await.unwrap();
    zk.delete(&first, ANY_VERSION).await.unwrap();
    let (second, _) = zk.create("/s/n_", data(""), CreateMode::PersistentSequential).await.unwrap();
    assert_eq!((first.as_str(), second.as_str()), ("/s/n_0000000000", "/s/n_0000000001"));
}

#[tokio::test]
async fn multi_is_all_or_nothing() {
    let twin = Twin::new();
    let zk = twin.connect();
    zk.create("/a", data("1"), CreateMode::Persistent).await.unwrap();
    let before = twin.dump();
    let ops = vec![
        Op::check("/a", 0),
        Op::create("/a/b", data(""), CreateMode::Ephemeral),
        Op::set_data("/a", data("2"), 0),
        Op::delete("/gone", ANY_VERSION),
    ];
    let error = zk.multi(ops).await.unwrap_err();
    assert_eq!(error, MultiError { index: Some(3), error: ZkError::NoNode });
    assert_eq!(twin.dump(), before);
    let ops =
        vec![Op::check("/a", 0), Op::create("/e", data(""), CreateMode::Ephemeral), Op::set_data("/e", data("v"), 0)];
    let results = zk.multi(ops).await.unwrap();
    let stat = results[2].stat().unwrap();
    assert_eq!((stat.version, stat.czxid == stat.mzxid, stat.ephemeral_owner), (1, true, zk.session_id()));
    assert_eq!(results[0], OpResult::Checked);
    let child = zk.create("/e/x", data(""), CreateMode::Persistent).await;
    assert_eq!(child, Err(ZkError::NoChildrenForEphemerals));
}

#[tokio::test]
async fn watches_fire_once_and_in_order() {
    let twin = Twin::new();
    let (zk, other) = (twin.connect(), twin.connect());
    let (mut mine, mut second) = (zk.events(), zk.events());
    zk.create("/a", data(""), CreateMode::Persistent).await.unwrap();
    zk.exists("/a/b", true).await.unwrap();
    zk.get_children("/a", true).await.unwrap();
    zk.get_data("/a", true).await.unwrap();
    assert_eq!(zk.get_data("/missing", true).await, Err(ZkError::NoNode));
    other.create("/a/b", data(""), CreateMode::Persistent).await.unwrap();
    other.set_data("/a/b", data("1"), ANY_VERSION).await.unwrap();
    other.set_data("/a", data("1"), ANY_VERSION).await.unwrap();
    other.set_data("/a", data("2"), ANY_VERSION).await.unwrap();
    other.create("/missing", data(""), CreateMode::Persistent).await.unwrap();
    let expected =
        vec![ZkEvent::Created("/a/b".into()), ZkEvent::ChildrenChanged("/a".into()), ZkEvent::DataChanged("/a".into())];
    assert_eq!(drain(&mut mine), expected);
    assert_eq!(drain(&mut second), expected);
    zk.get_children("/a/b", true).await.unwrap();
    zk.get_data("/a/b", true).await.unwrap();
    other.delete("/a/b", ANY_VERSION).await.unwrap();
    assert_eq!(drain(&mut mine), [ZkEvent::Deleted("/a/b".into())]);
}

#[tokio::test]
async fn expiry_removes_ephemerals_and_watches_and_gives_a_new_session() {
    let twin = Twin::new();
    let (zk, other) = (twin.connect(), twin.connect());
    let (mut mine, mut others) = (zk.events(), other.events());
    let first = zk.session_id();
    zk.create("/e", data(""), CreateMode::Ephemeral).await.unwrap();
    zk.exists("/w", true).await.unwrap();
    other.exists("/e", true).await.unwrap();
    let pending = zk.get_data("/e", false);
    let client = twin.expire_and_hold(first).unwrap();
    assert_eq!(pending.await, Err(ZkError::SessionExpired));
    assert_eq!(drain(&mut others), [ZkEvent::Deleted("/e".into())]);
    let waiting = tokio::spawn(zk.exists("/e", false));
    let second = twin.renew(client).unwrap();
    assert_eq!(waiting.await.unwrap(), Ok(None));
    assert_eq!(zk.session_id(), second);
    other.create("/w", data(""), CreateMode::Persistent).await.unwrap();
    assert_eq!(drain(&mut mine), [ZkEvent::SessionExpired, ZkEvent::SessionEstablished(second)]);
}

#[tokio::test]
async fn a_cut_connection_holds_requests_and_watches() {
    let twin = Twin::new();
    let (zk, other) = (twin.connect(), twin.connect());
    let mut mine = zk.events();
    zk.exists("/a", true).await.unwrap();
    twin.disconnect(zk.session_id());
    let waiting = tokio::spawn(zk.exists("/a", false));
    other.create("/a", data(""), CreateMode::Persistent).await.unwrap();
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    assert_eq!(drain(&mut mine), [ZkEvent::Disconnected]);
    twin.reconnect(zk.session_id());
    assert!(waiting.await.unwrap().unwrap().is_some());
    assert_eq!(drain(&mut mine), [ZkEvent::Connected, ZkEvent::Created("/a".into())]);
}

#[tokio::test]
async fn lost_replies_and_lost_requests() {
    let twin = Twin::new();
    let zk = twin.connect();
    twin.fault_next("/a", Fault::LoseRequest);
    assert_eq!(zk.create("/a", data(""), CreateMode::Persistent).await, Err(ZkError::ConnectionLoss));
    assert_eq!(zk.exists("/a", false).await, Ok(None));
    twin.fault_next("/a", Fault::LoseReply);
    assert_eq!(zk.create("/a", data(""), CreateMode::Persistent).await, Err(ZkError::ConnectionLoss));
    assert!(zk.exists("/a", false).await.unwrap().is_some());
    twin.fault_next("/a", Fault::Fail(ZkError::NoAuth));
    assert_eq!(zk.delete("/a", ANY_VERSION).await, Err(ZkError::NoAuth));
    assert_eq!(zk.delete("/a", ANY_VERSION).await, Ok(()));
}

#[tokio::test]
async fn closing_ends_the_session_and_a_killed_process_leaves_it() {
    let twin = Twin::new();
    let (zk, dead, watcher) = (twin.connect(), twin.connect(), twin.connect());
    zk.create("/e", data(""), CreateMode::Ephemeral).await.unwrap();
    dead.create("/d", data(""), CreateMode::Ephemeral).await.unwrap();
    let dead_session = dead.session_id();
    zk.close().await;
    twin.kill(dead_session);
    assert_eq!(zk.exists("/e", false).await, Err(ZkError::Closed));
    assert_eq!(dead.exists("/e", false).await, Err(ZkError::Closed));
    assert_eq!(watcher.exists("/e", false).await, Ok(None));
    assert!(watcher.exists("/d", false).await.unwrap().is_some());
    assert_eq!(twin.expire(dead_session), None);
    assert_eq!(watcher.exists("/d", false).await, Ok(None));
}
