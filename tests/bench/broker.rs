//! A broker under measurement: ours or a real Kafka, as a process of its own with the same server.properties.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kafka_protocol::messages::MetadataRequest;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::deadline::{PATIENCE, eventually};
use crate::encode;
use crate::wire::Wire;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ottla,
    Kafka,
}

/// What a start took.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// From before exec to the first answer to a request.
    pub serving: Duration,
    /// From before exec to Kafka's line "started (kafka.server.KafkaServer)".
    pub logged: Duration,
}

pub struct Broker {
    pub kind: Kind,
    pub port: u16,
    dir: PathBuf,
    child: Option<Child>,
    run_began: u64,
}

/// The kernel's unit of processor time towards programs (USER_HZ), the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A Kafka that was killed recovers ten thousand logs, one after the other.
const STARTING: Duration = Duration::from_secs(600);

/// An ApiVersions request of version 0 with its length.
const API_VERSIONS: &[u8] = b"\x00\x00\x00\x0f\x00\x12\x00\x00\x00\x00\x00\x01\x00\x05bench";

impl Broker {
    /// A broker alone. Not running yet; its files go below `dir`.
    pub fn new(kind: Kind, dir: &Path, zookeeper_connect: &str, port: u16) -> Broker {
        Broker::member(kind, 0, dir, zookeeper_connect, port, "")
    }

    /// The same with an id and more lines for its server.properties, which take the place of earlier ones.
    pub fn member(kind: Kind, id: usize, dir: &Path, zookeeper_connect: &str, port: u16, more: &str) -> Broker {
        fs::create_dir_all(dir.join("data")).expect("the data directory");
        let text = format!(
            "broker.id={id}\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={}\nzookeeper.connect={zookeeper_connect}\n\
             num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\n\
             socket.receive.buffer.bytes=102400\nsocket.request.max.bytes=104857600\nnum.partitions=1\n\
             offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\nlog.retention.check.interval.ms=2000\nlog.segment.delete.delay.ms=1000\n\
             group.initial.rebalance.delay.ms=0\n{more}",
            dir.join("data").display()
        );
        fs::write(dir.join("server.properties"), text).expect("server.properties");
        Broker { kind, port, dir: dir.to_owned(), child: None, run_began: 0 }
    }

    fn command(&self) -> Command {
        let properties = self.dir.join("server.properties");
        match self.kind {
            Kind::Ottla => {
                let mut command = Command::new(ottla_binary());
                command.arg("kafka-server-start").arg(properties);
                command
            }
            Kind::Kafka => {
                let log4j = self.dir.join("log4j.properties");
                let text = "log4j.rootLogger=INFO, stdout\nlog4j.appender.stdout=org.apache.log4j.ConsoleAppender\n\
                    log4j.appender.stdout.layout=org.apache.log4j.PatternLayout\n\
                    log4j.appender.stdout.layout.ConversionPattern=[%d] %p %m (%c)%n\n";
                fs::write(&log4j, text).expect("log4j.properties");
                let mut command = Command::new("java");
                // As kafka-server-start.sh and kafka-run-class.sh set them.
                command.args(["-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]);
                command.args(["-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"]);
                command.args(["-XX:MaxInlineLevel=15", "-Djava.awt.headless=true"]);
                command.arg(format!("-Dlog4j.configuration=file:{}", log4j.display()));
                command.args(["-cp", &format!("{}/*", kafka_libs()), "kafka.Kafka"]).arg(properties);
                command
            }
        }
    }

    /// Starts the process and waits until it serves.
    pub fn start(&mut self) -> Start {
        let path = self.dir.join("broker.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(&path).expect("the broker's log");
        self.run_began = log.metadata().map_or(0, |m| m.len());
        let errors = log.try_clone().expect("the broker's log");
        let mut command = self.command();
        let begin = Instant::now();
        self.child = Some(command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("a broker process"));
        let mut logged = None;
        let serving = loop {
            logged = logged.or_else(|| self.has_logged_start().then(|| begin.elapsed()));
            if let Some(true) = answers(self.port) {
                break begin.elapsed();
            }
            assert!(begin.elapsed() < STARTING, "the broker does not start: see {}", path.display());
            sleep(Duration::from_micros(500));
        };
        let logged = logged.unwrap_or_else(|| {
            while !self.has_logged_start() {
                assert!(begin.elapsed() < PATIENCE, "the broker does not say that it has started");
                sleep(Duration::from_micros(500));
            }
            begin.elapsed()
        });
        let mut wire = Wire::connect(self.port);
        eventually("the broker knows itself", PATIENCE, || {
            let response = wire.call(1, &MetadataRequest::default().with_topics(Some(Vec::new())));
            (!response.brokers.is_empty() && response.controller_id.0 >= 0).then_some(())
        });
        Start { serving, logged }
    }

    fn has_logged_start(&self) -> bool {
        let log = fs::read(self.dir.join("broker.log")).unwrap_or_default();
        let run = log.get(self.run_began as usize..).unwrap_or_default();
        String::from_utf8_lossy(run).contains("started (kafka.server.KafkaServer)")
    }

    /// SIGTERM, and SIGKILL if that does not help.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child can be killed");
            child.wait().expect("our own child ends");
        }
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running broker").id()
    }

    /// Seconds of processor time of all its threads so far: in user mode, in the kernel.
    pub fn cpu(&self) -> Cpu {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("a live process");
        // The name in parentheses may contain anything; utime and stime are the 14th and 15th field.
        let after = stat.rsplit_once(')').expect("a line of /proc/PID/stat").1;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let seconds = |at: usize| fields[at].parse::<f64>().expect("a number of ticks") / TICKS_PER_SECOND;
        Cpu { user: seconds(11), system: seconds(12) }
    }

    /// Resident memory in MiB, and the part of it that is not the mapped binary or other files.
    pub fn memory(&self) -> (f64, f64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a live process");
        let field = |name: &str| {
            let line = status.lines().find(|l| l.starts_with(name)).expect("a line of /proc/PID/status");
            line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).expect("a number of KiB") / 1024.0
        };
        (field("VmRSS:"), field("RssAnon:"))
    }

    pub fn create_topic(&self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        let answer = Wire::connect(self.port).call(5, &encode::create_topic(topic, partitions, configs));
        assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0].error_message);
        // The leader is known a moment later.
        eventually("the topic has leaders", PATIENCE, || {
            let name = answer.topics[0].name.clone();
            let topic =
                kafka_protocol::messages::metadata_request::MetadataRequestTopic::default().with_name(Some(name));
            let request = MetadataRequest::default().with_topics(Some(vec![topic]));
            let found = Wire::connect(self.port).call(4, &request);
            let topic = &found.topics[0];
            (topic.partitions.len() == partitions as usize && topic.partitions.iter().all(|p| p.leader_id.0 >= 0))
                .then_some(())
        });
    }

    /// Deletes a topic and waits until its files are gone.
    pub fn delete_topic(&self, topic: &str) {
        let answer = Wire::connect(self.port).call(4, &encode::delete_topic(topic));
        assert_eq!(answer.responses[0].error_code, 0, "the topic can be deleted");
        let data = self.dir.join("data");
        eventually("the topic's files are gone", PATIENCE, || {
            let mut names = fs::read_dir(&data).ok()?.filter_map(|e| e.ok()?.file_name().into_string().ok());
            (!names.any(|n| n.starts_with(topic))).then_some(())
        });
    }

    /// Wall time of `kafka-topics.sh --list`.
    pub fn list_topics(&self) -> Duration {
        let bootstrap = format!("127.0.0.1:{}", self.port);
        let mut command = match self.kind {
            Kind::Ottla => {
                let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/bin/kafka-topics.sh"));
                command.env("OTTLA_BINARY", ottla_binary());
                command
            }
            Kind::Kafka => {
                let mut command = Command::new("java");
                command.args(["-Xmx256M", "-server", "-XX:+UseG1GC", "-Djava.awt.headless=true"]);
                command.args(["-cp", &format!("{}/*", kafka_libs()), "org.apache.kafka.tools.TopicCommand"]);
                command
            }
        };
        command.args(["--bootstrap-server", &bootstrap, "--list"]);
        let begin = Instant::now();
        let output = command.stdin(Stdio::null()).output().expect("kafka-topics");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        begin.elapsed()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Seconds of processor time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    pub user: f64,
    pub system: f64,
}

impl Cpu {
    pub fn total(self) -> f64 {
        self.user + self.system
    }

    pub fn since(self, earlier: Cpu) -> Cpu {
        Cpu { user: self.user - earlier.user, system: self.system - earlier.system }
    }
}

/// Whether somebody answers ApiVersions on the port; `None` when nobody listens.
fn answers(port: u16) -> Option<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut prefix = [0; 4];
    Some(stream.write_all(API_VERSIONS).is_ok() && stream.read_exact(&mut prefix).is_ok())
}

fn ottla_binary() -> String {
    std::env::var("OTTLA_BENCH_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_ottla").to_owned())
}

fn kafka_libs() -> String {
    std::env::var("OTTLA_TEST_KAFKA_LIBS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.cache/kafka-3.7.2/libs").to_owned())
}

/// Whether there is a Kafka to compare with.
pub fn has_kafka() -> bool {
    Path::new(&kafka_libs()).is_dir()
}
