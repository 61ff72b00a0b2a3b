//! The broker under test as a process of its own: start, kill, terminate, restart on the same directories.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use kafka_protocol::messages::MetadataRequest;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::deadline::{PATIENCE, eventually};
use super::place::Place;
use super::ports::free_port;
use super::wire::Wire;
use super::znodes::Znodes;
use super::zookeeper::ZooKeeperServer;

/// Which broker the tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ottla,
    Kafka,
}

impl Kind {
    pub fn under_test() -> Kind {
        match std::env::var("OTTLA_TEST_BROKER").as_deref() {
            Ok("kafka") => Kind::Kafka,
            Ok("ottla") | Err(_) => Kind::Ottla,
            Ok(other) => panic!("OTTLA_TEST_BROKER is ottla or kafka, not {other}"),
        }
    }
}

/// The server that the brokers of one test binary share; it stops when the last of them is gone.
pub fn shared_zookeeper() -> Arc<ZooKeeperServer> {
    static SHARED: Mutex<Weak<ZooKeeperServer>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(ZooKeeperServer::start());
    *shared = Arc::downgrade(&server);
    server
}

pub fn own_chroot() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("/test-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// One broker, id 0 unless `broker.id` says otherwise. Dropping it kills the process and fails the test if it
/// logged a WARN or ERROR that was not announced with [`Broker::expect_log`].
pub struct Broker {
    kind: Kind,
    dir: TempDir,
    place: Place,
    port: u16,
    zookeeper_connect: String,
    properties: Vec<(String, String)>,
    expected: Vec<String>,
    child: Option<Child>,
    /// Where in the log the present run began, in bytes.
    run_began: usize,
    _zookeeper: Option<Arc<ZooKeeperServer>>,
}

impl Broker {
    /// A running broker on the shared ZooKeeper, in a chroot of its own.
    pub fn start(properties: &[(&str, &str)]) -> Broker {
        let mut broker = Broker::prepare(properties);
        broker.launch();
        broker
    }

    /// The same, not launched yet: there is time to put data into [`Broker::data_dir`].
    pub fn prepare(properties: &[(&str, &str)]) -> Broker {
        let zookeeper = shared_zookeeper();
        let connect = format!("{}{}", zookeeper.connect(), own_chroot());
        let mut broker = Broker::prepare_on(&connect, properties);
        broker._zookeeper = Some(zookeeper);
        broker
    }

    /// Not launched yet, on a ZooKeeper that the test owns.
    pub fn prepare_on(zookeeper_connect: &str, properties: &[(&str, &str)]) -> Broker {
        Broker::prepare_as(Kind::under_test(), zookeeper_connect, properties)
    }

    /// The same with a say in which broker it is.
    pub fn prepare_as(kind: Kind, zookeeper_connect: &str, properties: &[(&str, &str)]) -> Broker {
        let broker = Broker {
            kind,
            dir: tempfile::tempdir().expect("a temporary directory"),
            place: Place::default(),
            port: free_port(),
            zookeeper_connect: zookeeper_connect.to_owned(),
            properties: properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            expected: Vec::new(),
            child: None,
            run_began: 0,
            _zookeeper: None,
        };
        fs::create_dir(broker.data_dir()).expect("the data directory");
        broker
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn is_kafka(&self) -> bool {
        self.kind == Kind::Kafka
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn bootstrap(&self) -> String {
        format!("{}:{}", self.place.host, self.port)
    }

    /// Where it runs; before it is launched.
    pub fn put(&mut self, place: Place) {
        self.place = place;
    }

    pub fn id(&self) -> i32 {
        let id = self.properties.iter().find(|(k, _)| k == "broker.id");
        id.map_or(0, |(_, v)| v.parse().expect("a number as broker.id"))
    }

    pub fn zookeeper_connect(&self) -> &str {
        &self.zookeeper_connect
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running broker").id()
    }

    /// A new connection to it.
    pub fn wire(&self) -> Wire {
        self.try_wire().expect("a connection to the broker")
    }

    pub fn try_wire(&self) -> io::Result<Wire> {
        let address = SocketAddr::from((self.place.host, self.port));
        TcpStream::connect_timeout(&address, PATIENCE).map(Wire::over)
    }

    /// A log line that contains `text` may be a WARN or ERROR.
    pub fn expect_log(&mut self, text: &str) {
        self.expected.push(text.to_owned());
    }

    /// What it is from the next start on; directories, port and properties stay.
    pub fn set_kind(&mut self, kind: Kind) {
        assert!(self.child.is_none(), "it runs");
        self.kind = kind;
    }

    /// Changes a property for the next start.
    pub fn set(&mut self, key: &str, value: &str) {
        self.properties.retain(|(k, _)| k != key);
        self.properties.push((key.to_owned(), value.to_owned()));
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Everything it printed, in all its runs as what it is now.
    pub fn log(&self) -> String {
        self.log_of(self.kind)
    }

    /// Everything it printed while it was of that kind.
    pub fn log_of(&self, kind: Kind) -> String {
        fs::read(self.log_path(kind)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Everything it printed since it was last started.
    pub fn log_of_run(&self) -> String {
        self.log().split_off(self.run_began)
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.proc_status("VmRSS:")
    }

    /// The most it ever had, in KiB.
    pub fn peak_rss_kib(&self) -> u64 {
        self.proc_status("VmHWM:")
    }

    /// Starts the process and waits until it serves; says how long that took.
    pub fn launch(&mut self) -> Duration {
        let start = Instant::now();
        self.spawn();
        self.await_started();
        start.elapsed()
    }

    /// Waits until a broker that was spawned serves.
    pub fn await_started(&mut self) {
        // A Java virtual machine on a busy machine takes its time.
        let patience = if self.is_kafka() { PATIENCE * 3 } else { PATIENCE };
        eventually("the broker has started", patience, || {
            if let Some(status) = self.exited() {
                panic!("the broker ended with {status}:\n{}", tail(&self.log(), 40));
            }
            self.has_started().then_some(())
        });
        // Kafka says so a moment before its controller has told it who is there.
        let mut wire = self.wire();
        eventually("the broker knows itself", PATIENCE, || {
            let response = wire.call(1, &MetadataRequest::default().with_topics(Some(Vec::new())));
            (!response.brokers.is_empty() && response.controller_id.0 >= 0).then_some(())
        });
    }

    /// Starts the process and returns at once.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        self.run_began = self.log().len();
        let properties = self.write_properties();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path(self.kind));
        let log = log.expect("the broker's log");
        let mut command = match self.kind {
            Kind::Ottla => ottla_command(&self.place, &properties),
            Kind::Kafka => kafka_command(&self.place, &properties, self.dir.path()),
        };
        let errors = log.try_clone().expect("the broker's log");
        self.child = Some(command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("a broker process"));
    }

    /// Whether the present run has said that it serves.
    pub fn has_started(&self) -> bool {
        self.log()[self.run_began..].contains("started (kafka.server.KafkaServer)")
    }

    /// The exit status, if the process has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().expect("a launched broker").try_wait().expect("the state of our own child")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("a running broker");
        child.kill().expect("a signal to our own child");
        child.wait().expect("the end of our own child");
    }

    /// The exit status of a process that has ended by itself; it can be started again.
    pub fn reap(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("the state of our own child")?;
        self.child = None;
        Some(status)
    }

    /// SIGTERM, then waits for the end.
    pub fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = eventually("the broker has stopped", PATIENCE, || self.exited());
        assert!(status.success() || self.is_kafka(), "{status}:\n{}", tail(&self.log(), 40));
        self.child = None;
    }

    /// Kills it and starts it again. Ours takes over its znode at once; for Kafka that must have expired.
    pub fn kill_and_restart(&mut self) -> Duration {
        self.kill();
        if self.is_kafka() {
            let znodes = Znodes::connect(&self.zookeeper_connect);
            eventually("the session expires", PATIENCE, || znodes.owner("/brokers/ids/0").is_none().then_some(()));
        }
        self.launch()
    }

    /// Sends a signal. After SIGSTOP nothing of the process runs any more.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).expect("a signal to our own child");
        if signal == Signal::SIGSTOP {
            // One thread is told, which stops the others when it gets to run.
            eventually("all threads have stopped", PATIENCE, || self.is_stopped().then_some(()));
        }
    }

    fn is_stopped(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("a live process").flatten();
        let state = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        threads.map(state).all(|status| status.lines().any(|line| line.starts_with("State:\tT")))
    }

    fn proc_status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a live process");
        let line = status.lines().find(|l| l.starts_with(field)).expect("a line of /proc/PID/status");
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of KiB")
    }

    fn log_path(&self, kind: Kind) -> PathBuf {
        self.dir.path().join(match kind {
            Kind::Ottla => "ottla.log",
            Kind::Kafka => "kafka.log",
        })
    }

    fn write_properties(&self) -> PathBuf {
        let path = self.dir.path().join("server.properties");
        let listeners = format!("PLAINTEXT://{}:{}", self.place.host, self.port);
        let data = self.data_dir().display().to_string();
        let defaults = [
            ("broker.id", "0"),
            ("listeners", listeners.as_str()),
            ("log.dirs", data.as_str()),
            ("zookeeper.connect", self.zookeeper_connect.as_str()),
            ("zookeeper.session.timeout.ms", "6000"),
            ("offsets.topic.num.partitions", "5"),
            ("offsets.topic.replication.factor", "1"),
            ("transaction.state.log.num.partitions", "5"),
            ("transaction.state.log.replication.factor", "1"),
            ("transaction.state.log.min.isr", "1"),
            ("group.initial.rebalance.delay.ms", "0"),
            ("log.cleaner.dedupe.buffer.size", "2097152"),
        ];
        let mut text = String::new();
        for (key, value) in defaults {
            if !self.properties.iter().any(|(k, _)| k == key) {
                text.push_str(&format!("{key}={value}\n"));
            }
        }
        for (key, value) in &self.properties {
            text.push_str(&format!("{key}={}\n", value.replace("{port}", &self.port.to_string())));
        }
        fs::write(&path, text).expect("server.properties");
        path
    }

    /// WARN and ERROR lines of ours that no test announced. Kafka warns of much that is nobody's business here.
    fn surprises(&self) -> Vec<String> {
        let log = self.log_of(Kind::Ottla);
        let bad = log.lines().filter(|l| l.contains("] WARN ") || l.contains("] ERROR ") || l.contains("panicked at"));
        let expected = |l: &str| !l.contains("panicked at") && self.expected.iter().any(|e| l.contains(e.as_str()));
        bad.filter(|l| !expected(l)).map(str::to_owned).collect()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the broker's last lines:\n{}", tail(&self.log(), 60));
            return;
        }
        let surprises = self.surprises();
        if !surprises.is_empty() {
            panic!("the broker logged what this test did not expect:\n{}", surprises.join("\n"));
        }
    }
}

fn ottla_command(place: &Place, properties: &Path) -> Command {
    // A long run can be told to use a copy that no build replaces meanwhile.
    let ours = std::env::var("OTTLA_TEST_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_ottla").to_owned());
    let mut command = place.command(&ours);
    command.arg("kafka-server-start").arg(properties);
    command
}

fn kafka_command(place: &Place, properties: &Path, dir: &Path) -> Command {
    let log4j = dir.join("log4j.properties");
    let text = "log4j.rootLogger=INFO, stdout\nlog4j.appender.stdout=org.apache.log4j.ConsoleAppender\n\
                log4j.appender.stdout.layout=org.apache.log4j.PatternLayout\n\
                log4j.appender.stdout.layout.ConversionPattern=[%d] %p %m (%c)%n\n\
                log4j.logger.org.apache.zookeeper=WARN\n";
    fs::write(&log4j, text).expect("log4j.properties");
    let libs = kafka_libs();
    let mut command = place.command("java");
    command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.arg(format!("-Dlog4j.configuration=file:{}", log4j.display()));
    command.args(["-cp", &format!("{libs}/*"), "kafka.Kafka"]).arg(properties);
    command
}

/// The folder of a real Kafka's jars.
pub fn kafka_libs() -> String {
    let libs = std::env::var("OTTLA_TEST_KAFKA_LIBS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.cache/kafka-3.7.2/libs").to_owned());
    assert!(Path::new(&libs).is_dir(), "no Kafka in {libs}: tests/run.sh fetches it");
    libs
}

/// The last lines of a text.
pub fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
