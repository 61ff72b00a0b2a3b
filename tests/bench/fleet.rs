//! Three brokers under measurement, with their ZooKeeper.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use tempfile::TempDir;

use crate::broker::{Broker, Cpu, Kind};
use crate::deadline::{PATIENCE, eventually};
use crate::encode;
use crate::ports;
use crate::wire::Wire;
use crate::znodes::Znodes;
use crate::zookeeper::ZooKeeperServer;

/// Partitions created by one request.
const AT_ONCE: usize = 200;
/// For things that take Kafka long with many partitions.
const LONG: Duration = Duration::from_secs(600);
const REQUEST_TIMED_OUT: i16 = 7;
const METADATA_VERSION: i16 = 5;

pub struct Fleet {
    pub brokers: Vec<Broker>,
    topics: usize,
    znodes: Znodes,
    _zookeeper: ZooKeeperServer,
    _dir: TempDir,
}

impl Fleet {
    /// Three brokers that know each other, on a ZooKeeper of their own.
    pub fn start(kind: Kind, dir: Option<&Path>) -> Fleet {
        let dir = match dir {
            Some(dir) => tempfile::tempdir_in(dir),
            None => tempfile::tempdir(),
        };
        let dir = dir.expect("a temporary directory");
        let zookeeper = ZooKeeperServer::start();
        let more = "zookeeper.session.timeout.ms=6000\nzookeeper.connection.timeout.ms=60000\n\
                    auto.leader.rebalance.enable=false\noffsets.topic.num.partitions=1\ndefault.replication.factor=3\n";
        let member = |id: usize| {
            let dir = dir.path().join(id.to_string());
            Broker::member(kind, id, &dir, &zookeeper.connect(), ports::free_port(), more)
        };
        let mut brokers: Vec<Broker> = (0..3).map(member).collect();
        for broker in &mut brokers {
            broker.start();
        }
        let znodes = Znodes::connect(&zookeeper.connect());
        let fleet = Fleet { brokers, topics: 0, znodes, _zookeeper: zookeeper, _dir: dir };
        fleet.await_members();
        fleet
    }

    pub fn ports(&self) -> Vec<u16> {
        self.brokers.iter().map(|broker| broker.port).collect()
    }

    fn live(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.iter().filter(|broker| broker.is_running())
    }

    /// Processor time of all brokers.
    pub fn cpu(&self) -> Cpu {
        self.live()
            .map(Broker::cpu)
            .fold(Cpu::default(), |sum, cpu| Cpu { user: sum.user + cpu.user, system: sum.system + cpu.system })
    }

    /// Each broker knows all others.
    fn await_members(&self) {
        for broker in self.live() {
            let mut wire = Wire::connect(broker.port);
            eventually("the brokers know each other", PATIENCE, || {
                let request = MetadataRequest::default().with_topics(Some(Vec::new()));
                let answer = wire.call(METADATA_VERSION, &request);
                (answer.brokers.len() == self.live().count()).then_some(())
            });
        }
    }

    /// New topics, all replicas in sync.
    pub fn create(&mut self, topics: usize, partitions: i32) -> Vec<String> {
        let before = self.count_in_sync();
        let names: Vec<String> = (0..topics).map(|n| format!("bench-{}-", self.topics + n)).collect();
        self.topics += topics;
        let mut wire = Wire::connect(self.brokers[self.controller()].port);
        wire.set_timeout(LONG);
        for topic in wire.call(5, &encode::create_replicated(&names, partitions)).topics {
            // Time may run out for the answer; the topic comes all the same.
            assert!([0, REQUEST_TIMED_OUT].contains(&topic.error_code), "{:?}", topic.error_message);
        }
        self.await_in_sync(before + topics * partitions as usize);
        names
    }

    /// So many partitions in all, in topics of `each`.
    pub fn fill(&mut self, partitions: usize, each: usize) {
        let mut left = partitions;
        while left > 0 {
            let each = each.min(left);
            let topics = (left.min(AT_ONCE) / each).max(1);
            self.create(topics, each as i32);
            left -= topics * each;
        }
    }

    /// Partitions with a leader and three replicas in sync, as the first live broker sees it.
    fn count_in_sync(&self) -> usize {
        let port = self.live().next().expect("a live broker").port;
        partitions_where(&all_topics(&mut Wire::connect(port)), |leader, isr| leader >= 0 && isr == 3)
    }

    /// Waits until each live broker sees so many partitions in full sync.
    fn await_in_sync(&self, partitions: usize) {
        for broker in self.live() {
            let mut wire = Wire::connect(broker.port);
            wire.set_timeout(LONG);
            eventually("all replicas are in sync", LONG, || {
                let found = all_topics(&mut wire);
                let good = partitions_where(&found, |leader, isr| leader >= 0 && isr == 3);
                if good >= partitions {
                    return Some(());
                }
                thread::sleep(Duration::from_millis(200));
                None
            });
        }
    }

    /// Index of the broker that is controller.
    pub fn controller(&self) -> usize {
        eventually("a controller", PATIENCE, || {
            let port = self.live().next()?.port;
            let answer =
                Wire::connect(port).call(METADATA_VERSION, &MetadataRequest::default().with_topics(Some(Vec::new())));
            let id = usize::try_from(answer.controller_id.0).ok()?;
            self.brokers.get(id)?.is_running().then_some(id)
        })
    }

    /// Kills the controller. The time from the end of its znode until each live broker names a live leader for each
    /// of so many partitions.
    pub fn fail_over(&mut self, partitions: usize) -> Duration {
        let victim = self.controller();
        let office = self.znodes.owner("/controller").expect("a controller's znode");
        self.brokers[victim].kill();
        let begin = loop {
            if self.znodes.owner("/controller") != Some(office) {
                break Instant::now();
            }
            thread::sleep(Duration::from_micros(500));
        };
        let watchers: Vec<_> = self
            .live()
            .map(|broker| {
                let port = broker.port;
                thread::spawn(move || await_leaders(port, victim as i32, partitions))
            })
            .collect();
        let ends = watchers.into_iter().map(|watcher| watcher.join().expect("a watching thread"));
        ends.max().expect("live brokers").duration_since(begin)
    }

    /// Starts again whoever was killed, and waits until so many partitions are in full sync.
    pub fn restore(&mut self, partitions: usize) {
        for broker in &mut self.brokers {
            if !broker.is_running() {
                broker.start();
            }
        }
        self.await_members();
        self.await_in_sync(partitions);
    }
}

/// When the broker named a leader other than `dead` for each partition. Asks for one topic until that is well, and
/// then for all: whole answers of thousands of partitions would cost the brokers what is to be measured.
fn await_leaders(port: u16, dead: i32, partitions: usize) -> Instant {
    let mut wire = Wire::connect(port);
    let good = |found: &MetadataResponse| partitions_where(found, |leader, _| leader >= 0 && leader != dead);
    let last = all_topics(&mut wire).topics.pop().and_then(|topic| topic.name).expect("a topic");
    let one = kafka_protocol::messages::metadata_request::MetadataRequestTopic::default().with_name(Some(last));
    let request = MetadataRequest::default().with_topics(Some(vec![one]));
    let begin = Instant::now();
    loop {
        let found = wire.call(METADATA_VERSION, &request);
        let all = found.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>();
        if good(&found) == all && good(&all_topics(&mut wire)) >= partitions {
            return Instant::now();
        }
        assert!(begin.elapsed() < LONG, "no leaders");
        thread::sleep(Duration::from_millis(5));
    }
}

fn all_topics(wire: &mut Wire) -> MetadataResponse {
    wire.call(METADATA_VERSION, &MetadataRequest::default().with_topics(None))
}

/// Partitions whose leader and number of replicas in sync pass.
fn partitions_where(found: &MetadataResponse, passes: impl Fn(i32, usize) -> bool) -> usize {
    let partitions = found.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.filter(|partition| passes(partition.leader_id.0, partition.isr_nodes.len())).count()
}
