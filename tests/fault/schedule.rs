//! A minute of faults, drawn from a seed: what, when, for how long.

use std::collections::BTreeMap;
use std::fmt;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub const BROKERS: usize = 3;
/// Milliseconds from the first moment to the last healing.
pub const LENGTH_MS: u64 = 60_000;
/// All is well until then, milliseconds.
const QUIET_MS: u64 = 3_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`, and started again.
    Kill(usize),
    /// SIGTERM, and started again.
    Terminate(usize),
    /// SIGSTOP, and SIGCONT.
    Freeze(usize),
    /// All ZooKeeper servers killed, and started again.
    ZooKeeperKilled,
    /// SIGSTOP of all ZooKeeper servers.
    ZooKeeperFrozen,
    /// The leader of the ensemble killed, and started again.
    ZooKeeperLeaderKilled,
    /// One broker and ZooKeeper hear nothing of each other for longer than the session lasts.
    SessionExpired(usize),
    /// One broker hears no other broker and no ZooKeeper, nor they it; clients reach it still.
    Isolated(usize),
    /// Two brokers do not hear each other.
    Parted(usize, usize),
    /// What the first sends to the second is lost, also its answers.
    Deaf(usize, usize),
}

/// What must not be at fault twice at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Process(usize),
    ZooKeeper,
    Network,
}

impl Fault {
    pub fn kind(self) -> &'static str {
        match self {
            Fault::Kill(_) => "kill",
            Fault::Terminate(_) => "terminate",
            Fault::Freeze(_) => "freeze",
            Fault::ZooKeeperKilled => "zookeeper-killed",
            Fault::ZooKeeperFrozen => "zookeeper-frozen",
            Fault::ZooKeeperLeaderKilled => "zookeeper-leader-killed",
            Fault::SessionExpired(_) => "session-expired",
            Fault::Isolated(_) => "isolated",
            Fault::Parted(..) => "parted",
            Fault::Deaf(..) => "deaf",
        }
    }

    fn target(self) -> Target {
        match self {
            Fault::Kill(id) | Fault::Terminate(id) | Fault::Freeze(id) => Target::Process(id),
            Fault::ZooKeeperKilled | Fault::ZooKeeperFrozen | Fault::ZooKeeperLeaderKilled => Target::ZooKeeper,
            Fault::SessionExpired(_) | Fault::Isolated(_) | Fault::Parted(..) | Fault::Deaf(..) => Target::Network,
        }
    }

    /// Shortest and longest, milliseconds.
    fn durations(self, session_timeout_ms: u64) -> (u64, u64) {
        match self {
            Fault::Kill(_) => (50, 20_000),
            Fault::Terminate(_) => (3_000, 20_000),
            Fault::Freeze(_) => (1_000, 40_000),
            Fault::ZooKeeperKilled | Fault::ZooKeeperFrozen | Fault::ZooKeeperLeaderKilled => (500, 20_000),
            Fault::SessionExpired(_) => (session_timeout_ms + 1_000, session_timeout_ms + 15_000),
            Fault::Isolated(_) | Fault::Parted(..) | Fault::Deaf(..) => (500, 25_000),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// Milliseconds from the start.
    pub from: u64,
    pub until: u64,
    pub fault: Fault,
}

#[derive(Clone, Debug)]
pub struct Schedule {
    pub seed: u64,
    pub zookeepers: usize,
    pub session_timeout_ms: u64,
    /// In the order of their beginnings.
    pub faults: Vec<Timed>,
}

impl Schedule {
    pub fn of(seed: u64) -> Schedule {
        let mut random = StdRng::seed_from_u64(seed);
        let zookeepers = if random.random_bool(0.35) { 3 } else { 1 };
        let session_timeout_ms = [4_000, 6_000, 8_000, 12_000][random.random_range(0..4)];
        let wanted = random.random_range(4..=9);
        let mut faults: Vec<Timed> = Vec::new();
        for _ in 0..200 {
            if faults.len() == wanted {
                break;
            }
            let fault = pick(&mut random, zookeepers);
            let (least, most) = fault.durations(session_timeout_ms);
            // Short ones as often as long ones.
            let length = (least as f64 * (most as f64 / least as f64).powf(random.random::<f64>())) as u64;
            let from = random.random_range(QUIET_MS..LENGTH_MS - length);
            let timed = Timed { from, until: from + length, fault };
            if faults.iter().all(|other| !clash(other, &timed)) {
                faults.push(timed);
            }
        }
        faults.sort_by_key(|timed| timed.from);
        Schedule { seed, zookeepers, session_timeout_ms, faults }
    }

    pub fn kinds(&self) -> BTreeMap<&'static str, usize> {
        let mut kinds = BTreeMap::new();
        self.faults.iter().for_each(|timed| *kinds.entry(timed.fault.kind()).or_insert(0) += 1);
        kinds
    }
}

fn pick(random: &mut StdRng, zookeepers: usize) -> Fault {
    let id = random.random_range(0..BROKERS);
    let other = (id + random.random_range(1..BROKERS)) % BROKERS;
    match random.random_range(0..100) {
        0..20 => Fault::Kill(id),
        20..32 => Fault::Terminate(id),
        32..50 => Fault::Freeze(id),
        50..62 if zookeepers > 1 => Fault::ZooKeeperLeaderKilled,
        50..58 => Fault::ZooKeeperKilled,
        58..62 => Fault::ZooKeeperFrozen,
        62..72 => Fault::SessionExpired(id),
        72..84 => Fault::Isolated(id),
        84..92 => Fault::Parted(id, other),
        _ => Fault::Deaf(id, other),
    }
}

fn clash(one: &Timed, other: &Timed) -> bool {
    let apart = one.until + 100 < other.from || other.until + 100 < one.from;
    !apart && one.fault.target() == other.fault.target() && one.fault.target() != Target::Network
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, {} ZooKeeper, sessions of {} ms:", self.seed, self.zookeepers, self.session_timeout_ms)?;
        for Timed { from, until, fault } in &self.faults {
            write!(f, "\n  {:6.2} s to {:6.2} s {fault:?}", *from as f64 / 1e3, *until as f64 / 1e3)?;
        }
        Ok(())
    }
}
