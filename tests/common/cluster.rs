//! Several brokers on one ZooKeeper, with ids from 0.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, DescribeLogDirsRequest, ElectLeadersRequest, FetchRequest,
    InitProducerIdRequest, ListPartitionReassignmentsRequest, MetadataRequest, ProduceRequest,
};
use nix::sys::signal::Signal;
use ottla::record::{Codec, Record};

use super::admin::{EARLIEST, LATEST, NO_ERROR, batch, now_ms, text, topic_name};
use super::broker::{Broker, Kind, own_chroot, shared_zookeeper};
use super::deadline::{PATIENCE, eventually};
use super::wire::Wire;
use super::znodes::Znodes;
use super::zookeeper::ZooKeeperServer;

/// What its neighbours may make a broker say: they die, and two stand for an office that a third has just left.
const NEIGHBOURS: &[&str] = &["Error in response for fetch request", "was unsuccessful", "just resigned"];

pub struct Cluster {
    pub brokers: Vec<Broker>,
    connect: String,
    _zookeeper: Option<Arc<ZooKeeperServer>>,
}

impl Cluster {
    /// So many brokers of the kind under test, all launched and known to each other.
    pub fn start(count: usize, properties: &[(&str, &str)]) -> Cluster {
        Cluster::start_as(&vec![Kind::under_test(); count], properties)
    }

    /// Brokers of these kinds.
    pub fn start_as(kinds: &[Kind], properties: &[(&str, &str)]) -> Cluster {
        let zookeeper = shared_zookeeper();
        let connect = format!("{}{}", zookeeper.connect(), own_chroot());
        let prepare = |(id, kind): (usize, &Kind)| {
            let id = id.to_string();
            let mut all = vec![
                ("broker.id", id.as_str()),
                ("zookeeper.session.timeout.ms", "2000"),
                // Not as short as the session: a ZooKeeper that has just started takes its time on a busy machine.
                ("zookeeper.connection.timeout.ms", "18000"),
            ];
            let own: Vec<(&str, String)> = properties.iter().map(|(k, v)| (*k, v.replace("{id}", &id))).collect();
            all.extend(own.iter().map(|(k, v)| (*k, v.as_str())));
            Broker::prepare_as(*kind, &connect, &all)
        };
        let brokers = kinds.iter().enumerate().map(prepare).collect();
        let mut cluster = Cluster { brokers, connect, _zookeeper: Some(zookeeper) };
        NEIGHBOURS.iter().for_each(|text| cluster.expect_log(text));
        cluster.brokers.iter_mut().for_each(Broker::spawn);
        cluster.brokers.iter_mut().for_each(Broker::await_started);
        cluster.await_acquainted();
        cluster
    }

    /// Of brokers that are prepared, with ids from 0, on a ZooKeeper that the test owns.
    pub fn of(brokers: Vec<Broker>) -> Cluster {
        let connect = brokers[0].zookeeper_connect().to_owned();
        Cluster { brokers, connect, _zookeeper: None }
    }

    pub fn expect_log(&mut self, text: &str) {
        self.brokers.iter_mut().for_each(|broker| broker.expect_log(text));
    }

    pub fn bootstrap(&self) -> String {
        let all: Vec<String> = self.brokers.iter().map(Broker::bootstrap).collect();
        all.join(",")
    }

    /// Where some running broker listens.
    pub fn any_bootstrap(&self) -> String {
        self.brokers[self.running()[0]].bootstrap()
    }

    pub fn znodes(&self) -> Znodes {
        Znodes::connect(&self.connect)
    }

    /// Starts a broker and waits until all that run know each other.
    pub fn launch(&mut self, id: usize) {
        self.brokers[id].launch();
        self.await_acquainted();
    }

    fn await_acquainted(&self) {
        let running = self.running();
        for id in &running {
            let mut wire = self.brokers[*id].wire();
            eventually("the brokers know each other", PATIENCE, || {
                let answer = wire.call(1, &MetadataRequest::default().with_topics(Some(Vec::new())));
                (answer.brokers.len() == running.len()).then_some(())
            });
        }
    }

    pub fn kill(&mut self, id: usize) {
        self.brokers[id].kill();
    }

    pub fn terminate(&mut self, id: usize) {
        self.brokers[id].terminate();
    }

    /// Waits until ZooKeeper has forgotten a broker: a real Kafka does not start before.
    pub fn await_unregistered(&self, id: usize) {
        let znodes = self.znodes();
        let path = format!("/brokers/ids/{id}");
        eventually("the session expires", PATIENCE, || znodes.owner(&path).is_none().then_some(()));
    }

    pub fn running(&self) -> Vec<usize> {
        (0..self.brokers.len()).filter(|id| self.brokers[*id].is_running()).collect()
    }

    /// A connection to some running broker.
    pub fn any(&self) -> Wire {
        self.brokers[self.running()[0]].wire()
    }

    /// Id of the controller, by the metadata of some running broker.
    pub fn controller(&self) -> usize {
        eventually("a controller is known", PATIENCE, || {
            let answer = self.any().call(1, &MetadataRequest::default().with_topics(Some(Vec::new())));
            let id = usize::try_from(answer.controller_id.0).ok()?;
            self.running().contains(&id).then_some(id)
        })
    }

    /// Holds elections until this broker wins.
    pub fn make_controller(&self, id: usize) {
        let znodes = self.znodes();
        for _ in 0..100 {
            let controller = self.controller();
            if controller == id {
                return;
            }
            let before = znodes.data("/controller_epoch");
            znodes.delete("/controller");
            eventually("all brokers know the new controller", PATIENCE, || {
                let elected = znodes.data("/controller")?;
                let known = |id: &usize| elected.contains(&format!("\"brokerid\":{},", self.controller_seen_by(*id)));
                (znodes.data("/controller_epoch") != before && self.running().iter().all(known)).then_some(())
            });
        }
        panic!("broker {id} never becomes the controller");
    }

    /// The same by one election that only this broker can win: the others are frozen for that moment. Of ours and a real
    /// Kafka, ours would win nearly all others.
    pub fn seat_controller(&self, id: usize) {
        let znodes = self.znodes();
        let seated = || znodes.data("/controller").is_some_and(|who| who.contains(&format!("\"brokerid\":{id},")));
        if !seated() {
            let others: Vec<usize> = self.running().into_iter().filter(|other| *other != id).collect();
            others.iter().for_each(|other| self.brokers[*other].signal(Signal::SIGSTOP));
            znodes.delete("/controller");
            let start = Instant::now();
            while !seated() && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(10));
            }
            others.iter().for_each(|other| self.brokers[*other].signal(Signal::SIGCONT));
        }
        let expected = i32::try_from(id).expect("a broker id");
        eventually("all brokers know the new controller", PATIENCE, || {
            self.running().iter().all(|other| self.controller_seen_by(*other) == expected).then_some(())
        });
    }

    pub fn controller_seen_by(&self, id: usize) -> i32 {
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        self.brokers[id].wire().call(1, &request).controller_id.0
    }

    pub fn create_topic(&self, name: &str, partitions: i32, replicas: i16) {
        let mut wire = self.brokers[self.controller()].wire();
        let answer = wire.try_create_topic(name, partitions, replicas, &[]);
        assert_eq!(answer.0, NO_ERROR, "{answer:?}");
        self.running().iter().for_each(|id| self.brokers[*id].wire().await_leaders(name, partitions));
    }

    /// A partition as one broker knows it.
    pub fn partition_seen_by(&self, id: usize, topic: &str, partition: i32) -> Option<MetadataResponsePartition> {
        let answer = self.brokers[id].wire().metadata(topic, false);
        answer.partitions.into_iter().find(|p| p.partition_index == partition)
    }

    /// The leader by the metadata of some running broker, if it runs.
    fn live_leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let running = self.running();
        let seen = self.partition_seen_by(running[0], topic, partition)?;
        let leader = usize::try_from(seen.leader_id.0).ok()?;
        running.contains(&leader).then_some(leader)
    }

    pub fn leader(&self, topic: &str, partition: i32) -> usize {
        eventually("the partition has a leader", PATIENCE, || self.live_leader(topic, partition))
    }

    pub fn await_other_leader(&self, topic: &str, partition: i32, old: usize) -> usize {
        eventually("the partition has another leader", PATIENCE, || {
            self.live_leader(topic, partition).filter(|leader| *leader != old)
        })
    }

    /// Waits until all running brokers say that so many replicas are in sync.
    pub fn await_isr(&self, topic: &str, partition: i32, size: usize) {
        for id in self.running() {
            eventually("the replicas are in sync", PATIENCE, || {
                let seen = self.partition_seen_by(id, topic, partition)?;
                (seen.isr_nodes.len() == size && seen.leader_id.0 >= 0).then_some(())
            });
        }
    }

    /// A new producer's id.
    pub fn producer_id(&self) -> i64 {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        eventually("there are producer ids", PATIENCE, || {
            let answer = self.any().call(1, &request);
            (answer.error_code == NO_ERROR).then_some(answer.producer_id.0)
        })
    }

    /// One record with acks=all, tried again until acknowledged. The answer of a leader that was killed may be lost
    /// with the record in the log: values that must not be doubled are not for times of trouble.
    pub fn produce(&self, topic: &str, partition: i32, value: &str) -> i64 {
        self.produce_batch(topic, partition, &batch(&[value], now_ms(), Codec::None))
    }

    /// The same with a batch, which may be an idempotent producer's.
    pub fn produce_batch(&self, topic: &str, partition: i32, batch: &Bytes) -> i64 {
        eventually("the records are acknowledged", PATIENCE, || {
            let leader = self.live_leader(topic, partition)?;
            let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch.clone()));
            let data = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
            let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![data]);
            let mut answer = self.brokers[leader].wire().try_call(9, &request).ok()?;
            let answer = answer.responses.remove(0).partition_responses.remove(0);
            (answer.error_code == NO_ERROR).then_some(answer.base_offset)
        })
    }

    /// All values, from the leader.
    pub fn values(&self, topic: &str, partition: i32) -> Vec<String> {
        self.wire_to_leader(topic, partition).values(topic, partition)
    }

    /// All records of each partition, from the leaders.
    pub fn logs(&self, topic: &str, partitions: i32) -> Vec<Vec<Record>> {
        let read = |partition: i32| {
            let mut wire = self.wire_to_leader(topic, partition);
            let start = wire.offset(topic, partition, EARLIEST);
            wire.read(topic, partition, start)
        };
        (0..partitions).map(read).collect()
    }

    /// A connection to the leader, once it knows of that, and how far its followers have come: from a leader of late one
    /// reads less than was acknowledged, until they have fetched from it; but it does not say either where its log ends.
    fn wire_to_leader(&self, topic: &str, partition: i32) -> Wire {
        eventually("the leader answers", PATIENCE, || {
            let mut wire = self.brokers[self.leader(topic, partition)].wire();
            (wire.try_offset(topic, partition, LATEST).error_code == NO_ERROR).then_some(wire)
        })
    }

    /// The assignment, preferred leader first.
    pub fn replicas(&self, topic: &str, partition: i32) -> Vec<usize> {
        self.replicas_seen_by(self.running()[0], topic, partition)
    }

    fn replicas_seen_by(&self, id: usize, topic: &str, partition: i32) -> Vec<usize> {
        let seen = self.partition_seen_by(id, topic, partition).expect("the partition");
        seen.replica_nodes.iter().map(|id| usize::try_from(id.0).expect("a broker id")).collect()
    }

    /// Asks the controller for a preferred election; the error code, of the partition if not of the whole answer.
    pub fn elect_preferred(&self, topic: &str, partition: i32) -> i16 {
        let asked = TopicPartitions::default().with_topic(topic_name(topic)).with_partitions(vec![partition]);
        let request = ElectLeadersRequest::default().with_topic_partitions(Some(vec![asked])).with_timeout_ms(30_000);
        let answer = self.brokers[self.controller()].wire().call(2, &request);
        let results = answer.replica_election_results.first();
        let partition = results.and_then(|topic| topic.partition_result.first()).map(|p| p.error_code);
        if answer.error_code == NO_ERROR { partition.expect("the partition's result") } else { answer.error_code }
    }

    pub fn reassign(&self, topic: &str, partition: i32, replicas: &[usize]) {
        let ids = replicas.iter().map(|id| BrokerId(i32::try_from(*id).expect("a broker id"))).collect();
        let asked = ReassignablePartition::default().with_partition_index(partition).with_replicas(Some(ids));
        let asked = ReassignableTopic::default().with_name(topic_name(topic)).with_partitions(vec![asked]);
        let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![asked]).with_timeout_ms(30_000);
        let answer = self.brokers[self.controller()].wire().call(0, &request);
        assert_eq!(answer.error_code, NO_ERROR, "{answer:?}");
        assert_eq!(answer.responses[0].partitions[0].error_code, NO_ERROR, "{answer:?}");
    }

    /// Waits until no reassignment is under way and all brokers know that the assignment is this.
    pub fn await_reassigned(&self, topic: &str, partition: i32, replicas: &[usize]) {
        eventually("the reassignment is complete", PATIENCE, || {
            let request = ListPartitionReassignmentsRequest::default().with_topics(None).with_timeout_ms(30_000);
            let answer = self.brokers[self.controller()].wire().call(0, &request);
            let known = |id: &usize| self.replicas_seen_by(*id, topic, partition) == replicas;
            (answer.topics.is_empty() && self.running().iter().all(known)).then_some(())
        });
    }

    /// Bytes a broker says it has of a partition; none when it has no replica.
    pub fn log_size(&self, id: usize, topic: &str, partition: i32) -> Option<i64> {
        let answer = self.brokers[id].wire().call(4, &DescribeLogDirsRequest::default().with_topics(None));
        assert!(answer.results[0].total_bytes > answer.results[0].usable_bytes, "{answer:?}");
        let topics = answer.results.iter().flat_map(|dir| &dir.topics);
        let mut partitions = topics.filter(|t| *t.name.0 == *topic).flat_map(|t| &t.partitions);
        partitions.find(|p| p.partition_index == partition).map(|p| p.partition_size)
    }

    /// A consumer's fetch from the start, by one in this rack.
    pub fn fetch_from_rack(&self, id: usize, topic: &str, partition: i32, rack: &str) -> PartitionData {
        let part = FetchPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(1 << 20);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_min_bytes(1)
            .with_max_bytes(8 << 20)
            .with_session_epoch(-1)
            .with_rack_id(text(rack))
            .with_topics(vec![FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![part])]);
        self.brokers[id].wire().call(12, &request).responses.remove(0).partitions.remove(0)
    }

    /// Waits until the replicas' segments are byte for byte the same.
    pub fn assert_replicas_equal(&self, topic: &str, partition: i32) {
        let files = || -> Vec<BTreeMap<String, Vec<u8>>> {
            let dirs = self.brokers.iter().map(|b| b.data_dir().join(format!("{topic}-{partition}")));
            dirs.filter(|dir| dir.is_dir()).map(|dir| segments(&dir)).collect()
        };
        let equal = || files().windows(2).all(|pair| pair[0] == pair[1]);
        for _ in 0..200 {
            if equal() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let sizes: Vec<_> =
            files().iter().map(|f| f.iter().map(|(n, b)| (n.clone(), b.len())).collect::<Vec<_>>()).collect();
        panic!("the replicas of {topic}-{partition} differ: {sizes:?}");
    }
}

/// Segment files and their bytes; preallocated tails do not count.
fn segments(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("a log directory").flatten();
    let logs = entries.filter(|e| e.path().extension().is_some_and(|x| x == "log"));
    logs.map(|e| (e.file_name().to_string_lossy().into_owned(), std::fs::read(e.path()).unwrap_or_default())).collect()
}
