//! Three brokers and ZooKeeper, each in a place of its own, with a hand on every process and every line between them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use nix::sys::signal::Signal;

use super::common::admin::{NO_ERROR, topic_name};
use super::common::checker::{difference, replica_bytes};
use super::common::zookeeper::ZooKeeperServer;
use super::common::{Broker, Cluster, PATIENCE, Wire, eventually};
use super::network::Network;
use super::schedule::{BROKERS, Fault, Schedule};

/// The node that ZooKeeper's servers share.
const ZOOKEEPER: usize = BROKERS;
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);
/// A broker that gave up starting is started again after so long, as a supervisor would.
const RESTART_DELAY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Ought to run; whether something was wrong around it since its process began.
    Up { troubled: bool },
    /// Has SIGTERM.
    Leaving,
    /// Ours to start again, when the fault is over.
    Down,
    /// Gave up starting, to be started again then.
    Waiting(Instant),
}

pub struct FaultCluster {
    pub cluster: Cluster,
    zookeepers: Vec<ZooKeeperServer>,
    network: Network,
    states: [State; BROKERS],
    /// ZooKeeper servers killed by the fault under way.
    killed: Vec<usize>,
    began: Instant,
    /// What happened when.
    pub events: String,
    /// What must not happen to a broker.
    pub complaints: Vec<String>,
    /// Brokers that had to be killed as they did not leave in time after SIGTERM.
    pub stubborn: usize,
}

impl FaultCluster {
    pub fn start(schedule: &Schedule) -> std::io::Result<FaultCluster> {
        let network = Network::new(BROKERS + 1)?;
        let zookeepers = ZooKeeperServer::start_ensemble(schedule.zookeepers, &network.place(ZOOKEEPER));
        let hosts: Vec<String> = zookeepers.iter().map(ZooKeeperServer::connect).collect();
        let connect = format!("{}/fault", hosts.join(","));
        let brokers = (0..BROKERS).map(|id| broker(id, &connect, schedule, &network)).collect();
        let mut cluster = Cluster::of(brokers);
        for id in 0..BROKERS {
            cluster.launch(id);
        }
        Ok(FaultCluster {
            cluster,
            zookeepers,
            network,
            states: [State::Up { troubled: false }; BROKERS],
            killed: Vec::new(),
            began: Instant::now(),
            events: String::new(),
            complaints: Vec::new(),
            stubborn: 0,
        })
    }

    /// The schedule's first moment is now.
    pub fn begin(&mut self) -> Instant {
        self.began = Instant::now();
        self.began
    }

    pub fn note(&mut self, what: &str) {
        let now = chrono::Local::now().format("%H:%M:%S%.3f");
        let _ = writeln!(self.events, "{now} {:7.3} s {what}", self.began.elapsed().as_secs_f64());
    }

    pub fn inflict(&mut self, fault: Fault) {
        self.note(&format!("begin {fault:?}"));
        self.everyone_is_troubled();
        match fault {
            Fault::Kill(id) => {
                self.bury(id);
                self.states[id] = State::Down;
            }
            Fault::Terminate(id) => {
                if self.cluster.brokers[id].is_running() {
                    self.cluster.brokers[id].signal(Signal::SIGTERM);
                }
                self.states[id] = State::Leaving;
            }
            Fault::Freeze(id) if self.cluster.brokers[id].is_running() => {
                self.cluster.brokers[id].signal(Signal::SIGSTOP);
            }
            Fault::Freeze(_) => {}
            Fault::ZooKeeperFrozen => self.zookeepers.iter().for_each(ZooKeeperServer::pause),
            Fault::ZooKeeperKilled => self.kill_zookeepers((0..self.zookeepers.len()).collect()),
            Fault::ZooKeeperLeaderKilled => {
                let modes: Vec<Option<String>> = self.zookeepers.iter().map(ZooKeeperServer::mode).collect();
                let leader = modes.iter().position(|m| m.as_deref() == Some("leader"));
                // ZooKeeper 3.8 can lose what was committed when servers die while another is joining (ZOOKEEPER-4643).
                match leader.filter(|_| modes.iter().all(Option::is_some)) {
                    Some(leader) => self.kill_zookeepers(vec![leader]),
                    None => self.note(&format!("the ensemble is not complete, nobody is killed: {modes:?}")),
                }
            }
            Fault::SessionExpired(_) | Fault::Isolated(_) | Fault::Parted(..) | Fault::Deaf(..) => {
                lines(fault).into_iter().for_each(|(from, to)| self.network.cut(from, to));
            }
        }
    }

    pub fn heal(&mut self, fault: Fault) {
        self.note(&format!("end {fault:?}"));
        self.everyone_is_troubled();
        match fault {
            Fault::Kill(id) => self.spawn(id),
            Fault::Terminate(id) => {
                if self.cluster.brokers[id].reap().is_none() && self.cluster.brokers[id].is_running() {
                    self.stubborn += 1;
                    self.note(&format!("broker {id} has not left yet: kill -9"));
                    self.bury(id);
                }
                self.spawn(id);
            }
            Fault::Freeze(id) if self.cluster.brokers[id].is_running() => {
                self.cluster.brokers[id].signal(Signal::SIGCONT);
            }
            Fault::Freeze(_) => {}
            Fault::ZooKeeperFrozen => self.zookeepers.iter().for_each(ZooKeeperServer::resume),
            Fault::ZooKeeperKilled | Fault::ZooKeeperLeaderKilled => {
                for index in std::mem::take(&mut self.killed) {
                    assert!(self.zookeepers[index].spawn(), "ZooKeeper does not start again");
                }
            }
            Fault::SessionExpired(_) | Fault::Isolated(_) | Fault::Parted(..) | Fault::Deaf(..) => {
                lines(fault).into_iter().for_each(|(from, to)| self.network.mend(from, to));
            }
        }
    }

    /// Sees to processes that ended; those that gave up starting amid faults are started again.
    pub fn supervise(&mut self) {
        for id in 0..BROKERS {
            match self.states[id] {
                State::Up { troubled } => {
                    let Some(status) = self.cluster.brokers[id].reap() else { continue };
                    let served = self.cluster.brokers[id].has_started();
                    self.note(&format!("broker {id} ended by itself: {status}"));
                    if served || !troubled {
                        let when = if served { "while it served" } else { "at its start" };
                        self.complaints.push(format!("broker {id} ended by itself {when}: {status}"));
                    }
                    self.states[id] = State::Waiting(Instant::now() + RESTART_DELAY);
                }
                State::Leaving => {
                    if let Some(status) = self.cluster.brokers[id].reap() {
                        self.note(&format!("broker {id} has left: {status}"));
                        // One that has not said anything yet may not have come to handle signals.
                        let too_early = status.signal() == Some(15) && self.cluster.brokers[id].log_of_run().is_empty();
                        if !status.success() && status.code() != Some(143) && !too_early {
                            self.complaints.push(format!("broker {id} ended with {status} after SIGTERM"));
                        }
                    }
                }
                State::Waiting(when) if Instant::now() >= when => self.spawn(id),
                State::Waiting(_) | State::Down => {}
            }
        }
    }

    /// Waits until ZooKeeper serves again: most of its servers.
    pub fn await_zookeeper(&mut self) {
        eventually("ZooKeeper is back", PATIENCE * 2, || {
            let serving = self.zookeepers.iter().filter(|server| server.mode().is_some()).count();
            (serving * 2 > self.zookeepers.len()).then_some(())
        });
    }

    /// What every broker ought to say and does not; none when every partition of these topics is online with all
    /// replicas in sync, and all brokers know it.
    pub fn unwell(&self, topics: &[&str]) -> Option<String> {
        (0..BROKERS).find_map(|id| match self.view(id, topics) {
            Ok(None) => None,
            Ok(Some(complaint)) => Some(format!("broker {id} says: {complaint}")),
            Err(error) => Some(format!("broker {id} does not answer: {error}")),
        })
    }

    fn view(&self, id: usize, topics: &[&str]) -> std::io::Result<Option<String>> {
        let mut wire = self.wire(id)?;
        let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default().with_topics(Some(topics.iter().map(topic).collect()));
        let answer = wire.try_call(8, &request)?;
        if answer.brokers.len() != BROKERS {
            return Ok(Some(format!("{} brokers", answer.brokers.len())));
        }
        for topic in &answer.topics {
            let name = topic.name.as_ref().map(|n| n.to_string()).unwrap_or_default();
            if topic.error_code != NO_ERROR {
                return Ok(Some(format!("topic {name}: error {}", topic.error_code)));
            }
            let bad = |p: &&kafka_protocol::messages::metadata_response::MetadataResponsePartition| {
                p.error_code != NO_ERROR || p.leader_id.0 < 0 || p.isr_nodes.len() != BROKERS
            };
            if let Some(bad) = topic.partitions.iter().find(bad) {
                let isr: Vec<i32> = bad.isr_nodes.iter().map(|n| n.0).collect();
                let what = format!("{name}-{}: leader {} isr {isr:?}", bad.partition_index, bad.leader_id.0);
                return Ok(Some(what));
            }
        }
        Ok(None)
    }

    fn wire(&self, id: usize) -> std::io::Result<Wire> {
        let mut wire = self.cluster.brokers[id].try_wire()?;
        wire.set_timeout(METADATA_TIMEOUT);
        Ok(wire)
    }

    /// Replicas that are not byte for byte the same, once they had time to become so.
    pub fn divergences(&self, topic: &str, partitions: i32) -> Vec<String> {
        (0..partitions).filter_map(|partition| self.divergence(&format!("{topic}-{partition}"))).collect()
    }

    fn divergence(&self, name: &str) -> Option<String> {
        let bytes = |id: usize| replica_bytes(&self.cluster.brokers[id].data_dir().join(name));
        let start = Instant::now();
        loop {
            let first = bytes(0);
            let different = (1..BROKERS).find_map(|id| Some((id, difference(&first, &bytes(id))?)));
            let (id, difference) = different?;
            if start.elapsed() > Duration::from_secs(10) {
                return Some(format!("{name}: brokers 0 and {id} have {difference}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Leaves logs, events and data for whoever looks into a failure.
    pub fn leave_traces(&self, dir: &Path, story: &str) -> std::io::Result<()> {
        let _ = std::fs::remove_dir_all(dir);
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("events"), format!("{story}\n{}", self.events))?;
        let mut warnings = String::new();
        for (id, broker) in self.cluster.brokers.iter().enumerate() {
            let log = broker.log();
            let worth = |l: &&str| ["] WARN ", "] ERROR ", "panicked"].iter().any(|w| l.contains(w));
            log.lines().filter(worth).for_each(|l| _ = writeln!(warnings, "{id} {l}"));
            std::fs::write(dir.join(format!("broker-{id}.log")), log)?;
            let copy = [broker.data_dir(), dir.join(format!("data-{id}"))];
            let _ = std::process::Command::new("cp").arg("-r").args(copy).status();
        }
        for (index, server) in self.zookeepers.iter().enumerate() {
            std::fs::write(dir.join(format!("zookeeper-{index}.log")), server.log())?;
        }
        std::fs::write(dir.join("warnings"), warnings)
    }

    /// How often each ERROR was logged, by its logger and first words.
    pub fn errors(&self) -> BTreeMap<String, usize> {
        let mut errors = BTreeMap::new();
        for broker in &self.cluster.brokers {
            for line in broker.log().lines().filter(|l| l.contains("] ERROR ") || l.contains("panicked")) {
                let words = line.split("] ERROR ").last().unwrap_or(line);
                *errors.entry(words.chars().take(60).collect()).or_insert(0) += 1;
            }
        }
        errors
    }

    fn everyone_is_troubled(&mut self) {
        for state in &mut self.states {
            if let State::Up { troubled } = state {
                *troubled = true;
            }
        }
    }

    fn bury(&mut self, id: usize) {
        if self.cluster.brokers[id].is_running() {
            self.cluster.brokers[id].kill();
        }
    }

    fn spawn(&mut self, id: usize) {
        self.note(&format!("broker {id} starts"));
        self.cluster.brokers[id].spawn();
        self.states[id] = State::Up { troubled: true };
    }

    fn kill_zookeepers(&mut self, which: Vec<usize>) {
        which.iter().for_each(|index| self.zookeepers[*index].stop());
        self.killed = which;
    }
}

fn broker(id: usize, connect: &str, schedule: &Schedule, network: &Network) -> Broker {
    let (text, session) = (id.to_string(), schedule.session_timeout_ms.to_string());
    let mut broker = Broker::prepare_on(
        connect,
        &[
            ("broker.id", &text),
            ("zookeeper.session.timeout.ms", &session),
            ("zookeeper.connection.timeout.ms", "18000"),
            ("min.insync.replicas", "2"),
            ("offsets.topic.replication.factor", "3"),
            ("log.segment.bytes", "262144"),
        ],
    );
    broker.put(network.place(id));
    broker.expect_log(""); // Much is worth a warning here; panics still count.
    broker
}

/// Directions that a fault cuts.
fn lines(fault: Fault) -> Vec<(usize, usize)> {
    let both = |one: usize, other: usize| [(one, other), (other, one)];
    match fault {
        Fault::SessionExpired(id) => both(id, ZOOKEEPER).to_vec(),
        Fault::Isolated(id) => (0..=ZOOKEEPER).filter(|other| *other != id).flat_map(|other| both(id, other)).collect(),
        Fault::Parted(one, other) => both(one, other).to_vec(),
        Fault::Deaf(from, to) => vec![(from, to)],
        _ => Vec::new(),
    }
}
