//! The tree in ZooKeeper after each scenario that was recorded from Kafka 3.7.2 (tests/golden/znodes): three of our brokers
//! do the same, and path by path data, kind and versions must be equal, but for what differs from run to run.
//!
//! Recorded clusters had a long history. It is put into ZooKeeper first ([`Play::prime`]), and the controller made to read it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use common::admin::{NO_ERROR, batch, now_ms, text, topic_name};
use common::znodes::{Znode, Znodes};
use common::{Cluster, PATIENCE, Wire, eventually};
use flate2::read::GzDecoder;
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, ElectLeadersRequest,
    IncrementalAlterConfigsRequest, MetadataRequest,
};
use nix::sys::signal::Signal;
use ottla::record::Codec;
use ottla::zk::json::{Assignment, PartitionState, TopicZnode};
use serde_json::Value;

/// Dumps that are not played, and what our brokers would need for it. What others have put there must outlive them.
const NOT_PLAYED: &[(&str, &str)] = &[
    ("01-empty-with-authorizer-and-sasl", "a SASL listener, an authorizer, delegation tokens"),
    ("05-quotas-set", "quotas"),
    ("06-quotas-partly-removed", "quotas"),
    ("07-scram-users-added", "SCRAM users"),
    ("08-scram-user-deleted", "SCRAM users"),
    ("09-acls-added", "ACLs"),
    ("10-acls-partly-removed", "ACLs"),
    ("11-delegation-tokens", "delegation tokens"),
    ("12-delegation-token-expired", "delegation tokens"),
    ("23-quota-name-escaped", "quotas"),
    ("30-final", "all of the above"),
];

const NOT_CONTROLLER: i16 = 41;
/// Kinds of resources that have configurations.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

type Tree = BTreeMap<String, Znode>;

/// A dump, without what no two runs have in common.
fn recorded(name: &str) -> Tree {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/znodes");
    let file = File::open(folder.join(format!("{name}.jsonl.gz"))).expect("a recorded tree");
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    let parse = |line: std::io::Result<String>| {
        let value: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let number = |key: &str| i32::try_from(value[key].as_i64().unwrap()).unwrap();
        let znode = Znode {
            data: value["data"].as_str().unwrap_or_default().to_owned(),
            is_ephemeral: value["ephemeral"].as_bool().unwrap(),
            version: number("version"),
            children_version: number("cversion"),
        };
        (value["path"].as_str().unwrap().to_owned(), znode)
    };
    lines.map(parse).collect()
}

/// Takes out what must differ: names and times that each run gives anew, ports, and the listener that only some had.
fn normal(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    // Ours comes with the first producer id.
    tree.remove("/latest_producer_id_block");
    for (path, znode) in &mut tree {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts[..] {
            ["brokers", "ids", _] => {
                let plain = znode.data.replace(r#","SASL_PLAINTEXT":"SASL_PLAINTEXT""#, "");
                znode.data = mask(&mask(&plain, r#""port":"#, ','), r#""timestamp":""#, '"');
                znode.data = mask(&znode.data, "localhost:", ']');
            }
            ["controller"] => znode.data = mask(&znode.data, r#""timestamp":""#, '"'),
            ["cluster", "id"] => znode.data = mask(&znode.data, r#""id":""#, '"'),
            ["brokers", "topics", _] => znode.data = mask(&znode.data, r#""topic_id":""#, '"'),
            // In the order of Java's hash map.
            ["config", _, _] => znode.data = in_order(&znode.data),
            // Elections until the right one won.
            ["controller_epoch"] => znode.version = 0,
            _ => {}
        }
        // What happened to neighbours.
        let is_topic = parts.len() > 2 && parts[1] == "topics";
        if !is_topic {
            znode.children_version = 0;
        }
    }
    tree
}

fn in_order(data: &str) -> String {
    let Ok(Value::Object(mut map)) = serde_json::from_str(data) else { return data.to_owned() };
    if let Some(Value::Object(config)) = map.get_mut("config") {
        config.sort_keys();
    }
    Value::Object(map).to_string()
}

/// Replaces what is between `before` and the next `end`.
fn mask(data: &str, before: &str, end: char) -> String {
    let Some(start) = data.find(before).map(|at| at + before.len()) else { return data.to_owned() };
    let Some(length) = data[start..].find(end) else { return data.to_owned() };
    format!("{}~{}", &data[..start], &data[start + length..])
}

fn differences(recorded: &Tree, present: &Tree) -> Vec<String> {
    let paths: BTreeSet<&String> = recorded.keys().chain(present.keys()).collect();
    let different = paths.into_iter().filter(|path| recorded.get(*path) != present.get(*path));
    different.map(|path| format!("{path}\n    - {:?}\n    + {:?}", recorded.get(path), present.get(path))).collect()
}

struct Play {
    cluster: Cluster,
    znodes: Znodes,
}

impl Play {
    /// Frozen brokers keep their sessions for longer than any test takes.
    fn start(properties: &[(&str, &str)]) -> Play {
        let fixed = [
            ("listeners", "PLAINTEXT://localhost:{port}"),
            ("auto.leader.rebalance.enable", "false"),
            ("zookeeper.session.timeout.ms", "18000"),
            ("controlled.shutdown.retry.backoff.ms", "100"),
        ];
        let mut cluster = Cluster::start(3, &[&fixed[..], properties].concat());
        // Partitions are without a leader for a while.
        cluster.expect_log("Failed to elect leader for partition");
        let znodes = cluster.znodes();
        Play { cluster, znodes }
    }

    fn wire(&self) -> Wire {
        self.cluster.brokers[self.cluster.controller()].wire()
    }

    /// Waits until the tree is the recorded one, as far as `is_ours` says.
    fn expect(&self, name: &str, is_ours: impl Fn(&str) -> bool) {
        let mut wanted = normal(&recorded(name));
        wanted.retain(|path, _| is_ours(path));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut present = normal(&self.znodes.tree());
            present.retain(|path, _| is_ours(path));
            let different = differences(&wanted, &present);
            if different.is_empty() {
                println!("znodes: {} equal after {name}", wanted.len());
                return;
            }
            assert!(Instant::now() < deadline, "{name}: (- recorded, + found)\n{}", different.join("\n"));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Creates topics as they were recorded, each with its own assignment.
    fn create(&self, tree: &Tree, is_wanted: impl Fn(&str) -> bool) {
        let topics: Vec<CreatableTopic> =
            topics(tree).into_iter().filter(|(name, _)| is_wanted(name)).map(creatable(tree)).collect();
        self.create_topics(topics);
    }

    fn create_topics(&self, topics: Vec<CreatableTopic>) {
        let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(30_000);
        let answer = eventually("the controller has taken office", PATIENCE, || {
            let answer = self.wire().call(5, &request);
            answer.topics.iter().all(|topic| topic.error_code != NOT_CONTROLLER).then_some(answer)
        });
        let failed: Vec<_> = answer.topics.iter().filter(|t| t.error_code != NO_ERROR).collect();
        assert!(failed.is_empty(), "{failed:?}");
    }

    /// Gives the cluster this past: topics, and the states of their partitions, with their versions. Brokers that had
    /// gone go when the topics are there.
    fn prime(&mut self, name: &str) {
        let tree = recorded(name);
        let epoch = tree["/controller_epoch"].data.parse().unwrap();
        self.elect_controller(0, epoch);
        self.create(&tree, |_| true);
        let states: BTreeMap<&String, &Znode> = tree.iter().filter(|(path, _)| path.ends_with("/state")).collect();
        eventually("all partitions have their first state", PATIENCE, || {
            states.keys().all(|path| self.znodes.data(path).is_some()).then_some(())
        });
        let gone = |id: &usize| !tree.contains_key(&format!("/brokers/ids/{id}"));
        (0..3).filter(gone).for_each(|id| self.cluster.terminate(id));
        for topic in topics(&tree).keys() {
            let path = format!("/brokers/topics/{topic}");
            let present = self.znodes.data(&path).expect("a new topic");
            (0..tree[&path].version).for_each(|_| self.znodes.set(&path, present.clone()));
        }
        for (path, state) in states.iter().map(|(path, state)| (path, before_election(state))) {
            let version = self.znodes.znode(path).expect("a state").version;
            (version..state.version).for_each(|_| self.znodes.set(path, state.data.clone()));
            assert_eq!(self.znodes.data(path).as_deref(), Some(state.data.as_str()), "{path}");
        }
        self.elect_controller(0, epoch);
        for id in self.cluster.running() {
            let mut wire = self.cluster.brokers[id].wire();
            eventually("all brokers have learnt of the past", PATIENCE, || knows(&mut wire, &states).then_some(()));
        }
    }

    /// Makes this part of the tree the given one, as if others had.
    fn place(&self, tree: &Tree, is_ours: impl Fn(&str) -> bool) {
        let present = self.znodes.tree();
        // Children before their parents; what brokers make when they start stays.
        let is_root = |path: &str| path.starts_with("/config/") && path.matches('/').count() == 2;
        let old = present.keys().rev().filter(|path| is_ours(path) && !is_root(path));
        old.for_each(|path| self.znodes.delete(path));
        for (path, znode) in tree.iter().filter(|(path, _)| is_ours(path)) {
            if self.znodes.data(path).is_none() {
                self.znodes.put(path, znode.data.clone());
            }
            let version = self.znodes.znode(path).expect("a placed znode").version;
            (version..znode.version).for_each(|_| self.znodes.set(path, znode.data.clone()));
        }
    }

    /// Holds elections until this broker wins in this epoch.
    fn elect_controller(&self, id: usize, epoch: i32) {
        let elected = format!("\"brokerid\":{id},");
        for _ in 0..100 {
            self.znodes.set("/controller_epoch", (epoch - 1).to_string());
            self.znodes.delete("/controller");
            let controller = eventually("there is a controller", PATIENCE, || {
                let won = self.znodes.data("/controller_epoch")? == epoch.to_string();
                self.znodes.data("/controller").filter(|_| won)
            });
            // Terms of the same number follow each other here. A last word of the one before may come after the first of
            // this one, and nobody corrects it: another election does.
            let deadline = Instant::now() + PATIENCE / 10;
            while controller.contains(&elected) && Instant::now() < deadline {
                let seen = |id: usize| usize::try_from(self.cluster.controller_seen_by(id));
                if self.cluster.running().into_iter().all(|other| seen(other) == Ok(id)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        panic!("broker {id} is never elected");
    }

    /// Sets what has a value and deletes what has none.
    fn alter_config(&self, kind: i8, name: &str, changes: &[(&str, Option<&str>)]) {
        let change = |(key, value): &(&str, Option<&str>)| {
            AlterableConfig::default()
                .with_name(text(key))
                .with_config_operation(if value.is_some() { 0 } else { 1 })
                .with_value(value.map(text))
        };
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(changes.iter().map(change).collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.cluster.brokers[0].wire().call(1, &request);
        assert_eq!(answer.responses[0].error_code, NO_ERROR, "{answer:?}");
    }

    fn elect_leader(&self, topic: &str, is_unclean: bool) {
        let asked = TopicPartitions::default().with_topic(topic_name(topic)).with_partitions(vec![0]);
        let request = ElectLeadersRequest::default()
            .with_election_type(i8::from(is_unclean))
            .with_topic_partitions(Some(vec![asked]))
            .with_timeout_ms(30_000);
        let answer = self.wire().call(2, &request);
        assert_eq!(answer.error_code, NO_ERROR);
        assert_eq!(answer.replica_election_results[0].partition_result[0].error_code, NO_ERROR, "{answer:?}");
    }

    /// `None` cancels.
    fn reassign(&self, topic: &str, replicas: &[Option<[i32; 2]>]) {
        let partition = |(index, replicas): (usize, &Option<[i32; 2]>)| {
            let replicas = replicas.map(|ids| ids.into_iter().map(BrokerId).collect());
            let index = i32::try_from(index).unwrap();
            ReassignablePartition::default().with_partition_index(index).with_replicas(replicas)
        };
        let partitions = replicas.iter().enumerate().map(partition).collect();
        let topic = ReassignableTopic::default().with_name(topic_name(topic)).with_partitions(partitions);
        let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = self.wire().call(0, &request);
        let errors = answer.responses.iter().flat_map(|t| &t.partitions).filter(|p| p.error_code != NO_ERROR);
        assert_eq!((answer.error_code, errors.count()), (NO_ERROR, 0), "{answer:?}");
    }

    fn signal(&self, id: usize, signal: Signal) {
        self.cluster.brokers[id].signal(signal);
    }
}

fn topics(tree: &Tree) -> BTreeMap<String, TopicZnode> {
    let topics = tree.iter().filter_map(|(path, znode)| {
        let name = path.strip_prefix("/brokers/topics/").filter(|name| !name.contains('/'))?;
        Some((name.to_owned(), TopicZnode::decode(znode.data.as_bytes()).unwrap()))
    });
    topics.collect()
}

fn creatable(tree: &Tree) -> impl Fn((String, TopicZnode)) -> CreatableTopic + '_ {
    |(name, znode)| {
        let assignment = |(partition, replicas): (&i32, &Assignment)| {
            let ids = replicas.replicas.iter().map(|id| BrokerId(*id)).collect();
            CreatableReplicaAssignment::default().with_partition_index(*partition).with_broker_ids(ids)
        };
        let config = tree.get(&format!("/config/topics/{name}")).filter(|znode| znode.version == 0);
        let config: Value = config.map_or(Value::Null, |znode| serde_json::from_str(&znode.data).unwrap());
        let config = config["config"].as_object().cloned().unwrap_or_default();
        let config = config.iter().map(|(key, value)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(value.as_str().map(text))
        });
        CreatableTopic::default()
            .with_name(topic_name(&name))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(znode.partitions.iter().map(assignment).collect())
            .with_configs(config.collect())
    }
}

/// A new controller counts one more epoch where it finds in-sync replicas on brokers that are not there.
fn before_election(znode: &Znode) -> Znode {
    let mut state = PartitionState::decode(znode.data.as_bytes()).unwrap();
    if state.leader >= 0 {
        return znode.clone();
    }
    state.leader_epoch -= 1;
    let data = String::from_utf8_lossy(&state.encode()).into_owned();
    Znode { data, version: znode.version - 1, ..znode.clone() }
}

/// Whether a broker has heard of all these states.
fn knows(wire: &mut Wire, states: &BTreeMap<&String, &Znode>) -> bool {
    let answer = wire.call(8, &MetadataRequest::default().with_topics(None));
    let known: BTreeMap<String, (i32, i32)> = answer
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)))
        .map(|(topic, p)| {
            let name = topic.name.as_ref().map_or("", |name| name.0.as_str());
            (format!("/brokers/topics/{name}/partitions/{}/state", p.partition_index), (p.leader_id.0, p.leader_epoch))
        })
        .collect();
    states.iter().all(|(path, znode)| {
        let state = PartitionState::decode(znode.data.as_bytes()).unwrap();
        // Without a leader there is nothing to know.
        state.leader < 0 || known.get(*path) == Some(&(state.leader, state.leader_epoch))
    })
}

/// All that the brokers keep of themselves and of topics; the rest belongs to scenarios of its own.
fn cluster_state(path: &str) -> bool {
    let roots = ["/admin", "/brokers", "/cluster", "/controller", "/feature", "/isr_change", "/log_dir_event"];
    roots.iter().any(|root| path.starts_with(root))
}

/// What features that are not ours keep in ZooKeeper, and the news of it.
fn of_others(path: &str) -> bool {
    let roots =
        ["/config/changes/", "/config/users", "/config/clients", "/config/ips", "/kafka-acl", "/delegation_token"];
    roots.iter().any(|root| path.starts_with(root))
}

/// Brokers come up, rule, work and go beside it, and it stays as Kafka wrote it.
#[test]
fn what_cannot_be_played_is_left_alone() {
    let mut play = Play::start(&[]);
    for (at, (dump, needs)) in NOT_PLAYED.iter().enumerate() {
        println!("znodes: {dump} is not played: it needs {needs}");
        play.place(&recorded(dump), of_others);
        // Another takes the office.
        let controller = play.cluster.controller();
        play.cluster.terminate(controller);
        play.cluster.launch(controller);
        play.create_topics(vec![creatable(&Tree::new())((
            format!("after-{at}"),
            TopicZnode { partitions: BTreeMap::from([(0, Assignment::new(vec![0, 1, 2]))]), topic_id: None },
        ))]);
        play.cluster.await_isr(&format!("after-{at}"), 0, 3);
        play.expect(dump, of_others);
    }
}

#[test]
fn topics_are_created_and_grow() {
    let play = Play::start(&[]);
    // By an epoch below the one that follows: brokers refuse a controller of an earlier one.
    play.elect_controller(0, 2);
    play.expect("00-empty-3-brokers", |path| path != "/controller_epoch");
    // From here on the recorded controller epoch was 4.
    play.elect_controller(0, 4);
    play.create(&recorded("02-topic-created-t1-3p-rf2"), |_| true);
    play.expect("02-topic-created-t1-3p-rf2", |_| true);

    let more = recorded("03-configs-altered-topics");
    let assignment = |ids: &[i32]| {
        CreatePartitionsAssignment::default().with_broker_ids(ids.iter().map(|id| BrokerId(*id)).collect())
    };
    let topic = CreatePartitionsTopic::default()
        .with_name(topic_name("t1"))
        .with_count(5)
        .with_assignments(Some(vec![assignment(&[2, 1]), assignment(&[0, 2])]));
    let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    assert_eq!(play.wire().call(3, &request).results[0].error_code, NO_ERROR);
    play.create(&more, |name| name != "t1");
    // kc1 and kc2 had theirs altered, in a test of its own.
    let altered = |path: &str| path.starts_with("/config/topics/kc");
    play.expect("03-configs-altered-topics", |path| {
        cluster_state(path) || path.starts_with("/config/topics") && !altered(path)
    });
    let restricted = play.znodes.restricted(play.znodes.tree().keys());
    assert!(restricted.is_empty(), "recorded are rights for everybody: {restricted:?}");
}

#[test]
fn configurations_of_topics_and_brokers_change() {
    let mut play = Play::start(&[]);
    play.cluster.expect_log("nosuch.config");
    play.cluster.expect_log("log.message.format.version");
    let plain = |name: &str| {
        let partitions = BTreeMap::from([(0, Assignment::new(vec![2]))]);
        creatable(&Tree::new())((name.to_owned(), TopicZnode { partitions, topic_id: None }))
    };
    play.create_topics(vec![plain("kc1"), plain("kc2")]);
    let hour = ("retention.ms", Some("3600000"));
    play.alter_config(TOPIC, "kc1", &[hour, ("segment.bytes", Some("2097152"))]);
    play.alter_config(TOPIC, "kc1", &[("cleanup.policy", Some("compact,delete"))]);
    play.alter_config(TOPIC, "kc1", &[("retention.ms", None)]);
    play.alter_config(TOPIC, "kc1", &[("retention.ms", Some("5")), ("segment.bytes", None)]);
    play.alter_config(TOPIC, "kc2", &[("message.format.version", Some("2.0"))]);
    play.alter_config(TOPIC, "kc2", &[("max.message.bytes", Some("2000000")), ("retention.ms", Some("7200000"))]);
    play.alter_config(TOPIC, "kc2", &[("leader.replication.throttled.replicas", Some("0:0,0:1"))]);
    let notes = |path: &str| path.starts_with("/config/changes/");
    play.expect("03-configs-altered-topics", |path| notes(path) || path.starts_with("/config/topics/kc"));

    let default = [("log.retention.ms", Some("600000000")), ("message.max.bytes", Some("1048600"))];
    play.alter_config(BROKER, "", &default);
    play.alter_config(BROKER, "0", &[("nosuch.config", Some("1"))]);
    play.alter_config(BROKER, "", &[("message.max.bytes", None)]);
    play.expect("04-configs-altered-brokers", |path| notes(path) || path.starts_with("/config/brokers"));

    // Throttles had come and gone meanwhile.
    let path = "/config/brokers/0";
    let now = play.znodes.data(path).unwrap();
    (0..7).for_each(|_| play.znodes.set(path, now.clone()));
    let cleaner = ("log.cleaner.io.max.bytes.per.second", Some("1000000"));
    play.alter_config(BROKER, "0", &[cleaner, ("nosuch.config", None)]);
    play.alter_config(BROKER, "0", &[("background.threads", Some("8"))]);
    play.expect("29-broker-dynamic-configs", |other| other == path);
}

#[test]
fn a_broker_goes_and_comes_and_a_topic_is_deleted_meanwhile() {
    let mut play = Play::start(&[]);
    play.prime("13-before-broker-2-stop");
    play.expect("13-before-broker-2-stop", cluster_state);
    play.cluster.terminate(2);
    play.expect("14-isr-shrunk-broker-2-stopped", cluster_state);
    assert_eq!(play.wire().delete_topic("del1"), NO_ERROR);
    play.expect("15-topic-deletion-pending-replica-offline", cluster_state);
    play.cluster.launch(2);
    let deleted = |path: &str| cluster_state(path) || path == "/config/topics/del1";
    play.expect("16-broker-2-back-deletion-done", deleted);
    play.elect_leader("le1", false);
    play.expect("17-preferred-election-done", deleted);
}

#[test]
fn a_leader_is_elected_uncleanly() {
    let mut play = Play::start(&[]);
    play.prime("18-le2-leader-none");
    play.expect("18-le2-leader-none", cluster_state);
    play.elect_leader("le2", true);
    play.expect("19-le2-unclean-elected", cluster_state);
}

#[test]
fn replicas_move_and_the_topic_goes() {
    let mut play = Play::start(&[]);
    play.cluster.expect_log("from NewReplica to NewReplica failed");
    // The answer to a deletion that was over may come while the topic is being deleted; Kafka's controller says so too.
    play.cluster.expect_log("from NonExistentReplica to ReplicaDeletionSuccessful failed");
    play.elect_controller(0, 4);
    // As it was before it began to move; of that there is no dump.
    let first = TopicZnode {
        partitions: BTreeMap::from([(0, Assignment::new(vec![0, 1])), (1, Assignment::new(vec![1, 0]))]),
        topic_id: None,
    };
    play.create_topics(vec![creatable(&Tree::new())(("re1".to_owned(), first))]);
    play.cluster.await_isr("re1", 0, 2);
    let re1 = |path: &str| path.starts_with("/brokers/topics/re1") || path.starts_with("/admin");
    // Recorded with a throttle, so that it did not end.
    play.signal(2, Signal::SIGSTOP);
    let moved = [Some([2, 1]), Some([2, 0])];
    play.reassign("re1", &moved);
    play.expect("20-reassignment-in-progress", re1);
    // Ordered once more, for another throttle. Its replica is new already, which Kafka's controller says too.
    play.reassign("re1", &moved);
    play.reassign("re1", &[None, None]);
    play.expect("21-reassignment-cancelled-throttle-kept", re1);
    play.reassign("re1", &moved);
    play.signal(2, Signal::SIGCONT);
    play.expect("22-reassignment-done", re1);
    assert_eq!(play.wire().delete_topic("re1"), NO_ERROR);
    play.expect("24-topic-re1-deleted", |path| re1(path) || path == "/config/topics/re1");
}

#[test]
fn the_controller_goes() {
    let mut play = Play::start(&[]);
    // Some partitions cannot go anywhere else.
    play.cluster.expect_log("all the controlled shutdown attempts failed");
    play.prime("27-before-controller-shutdown");
    play.expect("27-before-controller-shutdown", cluster_state);
    play.cluster.terminate(0);
    // Who is the next is chance.
    play.expect("28-controller-moved-broker-0-stopped-cleanly", |path| cluster_state(path) && path != "/controller");
    let controller = play.znodes.data("/controller").unwrap();
    assert!(["\"brokerid\":1,", "\"brokerid\":2,"].iter().any(|next| controller.contains(next)), "{controller}");
}

#[test]
fn an_in_sync_set_shrinks_by_lag_and_grows_again() {
    let play = Play::start(&[("replica.lag.time.max.ms", "2000")]);
    play.elect_controller(0, 5);
    let isr2 = |path: &str| {
        path.starts_with("/brokers/topics/isr2") || path == "/config/topics/isr2" || path == "/brokers/ids/2"
    };
    play.create(&recorded("31-isr2-before"), |name| name == "isr2");
    play.cluster.await_isr("isr2", 0, 2);
    play.expect("31-isr2-before", isr2);
    play.signal(2, Signal::SIGSTOP);
    let records = batch(&["a", "b", "c", "d", "e"], now_ms(), Codec::None);
    assert_eq!(play.cluster.brokers[0].wire().produce_batch("isr2", 0, records).error_code, NO_ERROR);
    play.expect("32-isr2-shrunk-by-lag-follower-frozen", isr2);
    play.signal(2, Signal::SIGCONT);
    play.expect("33-isr2-expanded-again", isr2);
}
