//! The tutorial's steps: on one broker a topic, three messages in, three messages out, also after restarts; and its part
//! with three brokers, one of which is killed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::admin::{EARLIEST, LATEST, NO_ERROR, batch, now_ms};
use common::ports::free_port;
use common::zookeeper::ZooKeeperServer;
use common::{Broker, PATIENCE, eventually};
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::protocol::StrBytes;
use ottla::record::Codec;
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const MESSAGES: [&str; 3] = ["hello", "from", "MyFirstTopic"];

#[test]
fn three_messages_with_a_real_client() {
    let broker = Broker::start(&[]);
    broker.wire().create_topic("MyFirstTopic", 1, &[]);
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    for message in MESSAGES {
        producer.send(BaseRecord::<(), str>::to("MyFirstTopic").payload(message)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("group.id", "tutorial")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&["MyFirstTopic"]).unwrap();
    let mut read = Vec::new();
    eventually("three messages arrive", PATIENCE, || {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            read.push(String::from_utf8(message.unwrap().payload().unwrap().to_vec()).unwrap());
        }
        (read.len() == MESSAGES.len()).then_some(())
    });
    assert_eq!(read, MESSAGES);
}

#[test]
fn a_stopped_broker_comes_back_with_everything() {
    let mut broker = Broker::start(&[]);
    let mut wire = broker.wire();
    wire.create_topic("t", 2, &[]);
    for (partition, values) in [(0, &["a", "b"][..]), (1, &["c"])] {
        wire.produce("t", partition, values, now_ms());
    }
    broker.terminate();
    assert!(broker.data_dir().join(".kafka_cleanshutdown").exists(), "a clean stop leaves its marker");
    broker.launch();
    let mut wire = broker.wire();
    wire.await_leaders("t", 2);
    assert!(!broker.data_dir().join(".kafka_cleanshutdown").exists(), "the marker is gone once it was read");
    assert_eq!((wire.values("t", 0), wire.values("t", 1)), (vec!["a".into(), "b".into()], vec!["c".into()]));
    assert_eq!(wire.produce("t", 0, &["d"], now_ms()), 2);
    assert_eq!((wire.offset("t", 0, EARLIEST), wire.offset("t", 0, LATEST)), (0, 3));
}

#[test]
fn every_codec_goes_in_and_comes_out_as_it_was() {
    let broker = Broker::start(&[]);
    let mut wire = broker.wire();
    wire.create_topic("t", 1, &[]);
    let mut sent = Vec::new();
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let values: Vec<String> = (0..50).map(|i| format!("{codec:?} {i} and the same again and again")).collect();
        let refs: Vec<&str> = values.iter().map(String::as_str).collect();
        let answer = wire.produce_batch("t", 0, batch(&refs, now_ms(), codec));
        assert_eq!(answer.error_code, NO_ERROR, "{codec:?}");
        sent.extend(values);
    }
    assert_eq!(wire.values("t", 0), sent);
}

#[test]
fn a_consumer_waits_and_is_woken_by_the_next_record() {
    let broker = Broker::start(&[]);
    let (mut reader, mut writer) = (broker.wire(), broker.wire());
    writer.create_topic("t", 1, &[]);
    writer.produce("t", 0, &["first"], now_ms());
    let waiting = std::thread::spawn(move || reader.fetch("t", 0, 1, 0, 50_000));
    assert_eq!(writer.fetch("t", 0, 1, 0, 200).high_watermark, 1, "nothing is there yet");
    let sent = std::time::Instant::now();
    writer.produce("t", 0, &["second"], now_ms());
    let data = waiting.join().unwrap();
    assert!(sent.elapsed() < Duration::from_secs(20), "the long poll ran to its end");
    assert_eq!((data.error_code, data.high_watermark), (NO_ERROR, 2));
    assert!(!data.records.unwrap().is_empty());
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let broker = Broker::start(&[]);
    let mut wire = broker.wire();
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("tests"))
        .with_client_software_version(StrBytes::from_static_str("1"));
    let count = 200;
    for _ in 0..count {
        wire.send(3, &request).unwrap();
    }
    for expected in 1..=count {
        let frame = wire.receive().unwrap().expect("an answer");
        assert_eq!(i32::from_be_bytes(frame[..4].try_into().unwrap()), expected);
    }
}

#[test]
fn two_brokers_of_one_id_do_not_start() {
    let first = Broker::start(&[]);
    let mut second = Broker::prepare_on(first.zookeeper_connect(), &[("broker.id", "0")]);
    second.expect_log(""); // It says why, at length.
    second.spawn();
    let status = eventually("the second broker gives up", PATIENCE, || second.exited());
    assert!(!status.success(), "{status}");
    assert!(!second.log().contains("started (kafka.server.KafkaServer)"));
}

/// The part of the tutorial with three brokers, with its scripts and files. Only ports and folders are others.
#[test]
fn the_tutorial_with_three_brokers() {
    let zookeeper = ZooKeeperServer::start();
    let mut shop = Shop::open(&zookeeper);
    for id in 0..3 {
        shop.copy_config(id);
        shop.start(id);
    }
    let topic = ["--topic", "my-replicated-topic"];
    let created = shop.run(
        "kafka-topics",
        &[&["--create", "--replication-factor", "3", "--partitions", "1"], &topic[..]].concat(),
        "",
    );
    assert!(created.contains("Created topic my-replicated-topic."), "{created}");
    let all = shop.await_described(|d| d.isr.len() == 3);
    assert_eq!(all.replicas.len(), 3, "{all:?}");

    let messages: Vec<String> = (1..=20).map(|n| format!("my test message {n}\n")).collect();
    shop.run("kafka-console-producer", &topic, &messages.concat());
    let read = [&["--from-beginning", "--max-messages", "20", "--timeout-ms", "60000"], &topic[..]].concat();
    assert_eq!(shop.run("kafka-console-consumer", &read, ""), messages.concat());
    shop.kill(all.leader);
    let rest = shop.await_described(|d| d.leader != all.leader && d.leader >= 0 && d.isr.len() == 2);
    assert_eq!(rest.replicas, all.replicas);
    assert!(!rest.isr.contains(&all.leader), "{rest:?}");
    // Without a group: its offsets have one copy in these files, perhaps on the broker that is gone.
    let all_from = ["--partition", "0", "--offset", "earliest", "--timeout-ms", "60000", "--max-messages"];
    let read = [&all_from[..], &["20"], &topic[..]].concat();
    assert_eq!(shop.run("kafka-console-consumer", &read, ""), messages.concat());

    shop.run("kafka-console-producer", &topic, "my test message 21\n");
    shop.start(all.leader);
    shop.await_described(|d| d.isr.len() == 3);
    // The one that came back has everything.
    let others: Vec<i32> = all.replicas.iter().copied().filter(|id| *id != all.leader).collect();
    shop.kill(others[0]);
    shop.await_described(|d| d.isr.len() == 2 && d.isr.contains(&all.leader) && d.leader != others[0]);
    let read = [&all_from[..], &["21"], &topic[..]].concat();
    assert_eq!(shop.run("kafka-console-consumer", &read, ""), messages.concat() + "my test message 21\n");
}

/// A folder with a user's configuration files, and the brokers started from it.
struct Shop {
    dir: tempfile::TempDir,
    ports: [u16; 3],
    zookeeper: String,
    brokers: [Option<Child>; 3],
}

/// What `--describe` says of the partition.
#[derive(Debug)]
struct Described {
    leader: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
}

impl Shop {
    fn open(zookeeper: &ZooKeeperServer) -> Shop {
        let dir = tempfile::tempdir().unwrap();
        let ports = [free_port(), free_port(), free_port()];
        Shop { dir, ports, zookeeper: zookeeper.connect(), brokers: Default::default() }
    }

    /// `cp config/server.properties config/server-N.properties`, and three lines changed (and where ZooKeeper is).
    fn copy_config(&self, id: usize) {
        let original = concat!(env!("CARGO_MANIFEST_DIR"), "/config/server.properties");
        let logs = self.dir.path().join(format!("kafka-logs-{id}"));
        let change = |line: &str| match line.split('=').next() {
            Some("broker.id") => format!("broker.id={id}\nport={}", self.ports[id]),
            Some("log.dirs") => format!("log.dirs={}", logs.display()),
            Some("zookeeper.connect") => format!("zookeeper.connect={}", self.zookeeper),
            _ => line.to_owned(),
        };
        let text = std::fs::read_to_string(original).unwrap();
        let text: Vec<String> = text.lines().map(change).collect();
        std::fs::write(self.config(id), text.join("\n")).unwrap();
    }

    fn config(&self, id: usize) -> PathBuf {
        self.dir.path().join(format!("server-{id}.properties"))
    }

    fn start(&mut self, id: impl TryInto<usize>) {
        let id = id.try_into().ok().expect("a broker id");
        let log_path = self.dir.path().join(format!("server-{id}.log"));
        let log = std::fs::File::create(&log_path).unwrap();
        let mut command = script("kafka-server-start");
        command.arg(self.config(id)).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.brokers[id] = Some(command.spawn().unwrap());
        eventually("the broker has started", PATIENCE, || {
            let log = std::fs::read_to_string(&log_path).unwrap();
            let ended = self.brokers[id].as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{log}");
            log.contains("started (kafka.server.KafkaServer)").then_some(())
        });
    }

    /// `kill -9`
    fn kill(&mut self, id: i32) {
        let mut broker = self.brokers[usize::try_from(id).unwrap()].take().unwrap();
        broker.kill().unwrap();
        broker.wait().unwrap();
    }

    /// A tool's output, asked of all brokers, as any may be dead.
    fn run(&self, tool: &str, arguments: &[&str], input: &str) -> String {
        let bootstrap: Vec<String> = self.ports.iter().map(|port| format!("localhost:{port}")).collect();
        let mut command = script(tool);
        command.args(["--bootstrap-server", &bootstrap.join(",")]).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool} {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn await_described(&self, what: impl Fn(&Described) -> bool) -> Described {
        eventually("the topic is described so", PATIENCE, || {
            let text = self.run("kafka-topics", &["--describe", "--topic", "my-replicated-topic"], "");
            let described = described(&text).unwrap_or_else(|| panic!("{text}"));
            what(&described).then_some(described)
        })
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        for broker in self.brokers.iter_mut().flatten() {
            let _ = broker.kill();
            let _ = broker.wait();
        }
    }
}

fn script(name: &str) -> Command {
    let mut command = Command::new(format!("{}/bin/{name}.sh", env!("CARGO_MANIFEST_DIR")));
    command.env("OTTLA_BINARY", env!("CARGO_BIN_EXE_ottla"));
    command
}

/// From the line `Topic: t  Partition: 0  Leader: 1  Replicas: 1,2,0  Isr: 1,2,0`.
fn described(text: &str) -> Option<Described> {
    let line = text.lines().find(|l| l.contains("Partition: 0"))?;
    let field =
        |name: &str| line.split('\t').find_map(|f| f.trim().strip_prefix(name)).map(|v| v.trim_matches([':', ' ']));
    let ids = |name: &str| Some(field(name)?.split(',').filter_map(|id| id.parse().ok()).collect::<Vec<i32>>());
    Some(Described { leader: field("Leader")?.parse().unwrap_or(-1), replicas: ids("Replicas")?, isr: ids("Isr")? })
}
