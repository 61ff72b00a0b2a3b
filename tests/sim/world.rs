//! Everything one run has: ZooKeeper, network, brokers, the checker, and the trace by which two runs are compared.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ottla::config::BrokerConfig;
use ottla::topic::TopicPartition;
use ottla::util::clock;
use ottla::zk::twin::Twin;
use parking_lot::Mutex;

use crate::checker::Checker;
use crate::network::Network;
use crate::node::Node;
use crate::random::Random;

/// When time begins.
pub const START_MS: i64 = 1_700_000_000_000;
pub const BROKERS: [i32; 3] = [0, 1, 2];

thread_local! {
    /// What panicked on this thread: a task's panic stays with the task otherwise.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes panics from now on, for [`take_panic`].
pub fn note_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANIC.with_borrow_mut(|noted| {
            noted.get_or_insert_with(|| info.to_string());
        });
        usual(info);
    }));
}

pub fn take_panic() -> Option<String> {
    PANIC.with_borrow_mut(Option::take)
}

/// What kind of world it is: each seed has its own troubles, and many have some of them not at all.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// Deliveries in a thousand that are slow.
    pub slow_network: u64,
    pub slow_zk: u64,
    pub late_watches: u64,
    /// Frames in a thousand with which their connection breaks.
    pub loss: u64,
    /// Crashes in a thousand that lose what was not synced.
    pub power_losses: u64,
    /// Actions of the run.
    pub actions: u64,
    /// Milliseconds between two actions, at most.
    pub pace: u64,
    /// Actions in a thousand that are faults; the rest is work.
    pub faults: u64,
}

impl Traits {
    fn draw(random: &mut Random) -> Traits {
        let mut some = |values: &[u64]| *random.pick(values).unwrap();
        Traits {
            slow_network: some(&[0, 20, 100, 300]),
            slow_zk: some(&[0, 20, 100, 300]),
            late_watches: some(&[0, 50, 300]),
            loss: some(&[0, 2, 10, 40]),
            power_losses: some(&[0, 300, 1000]),
            actions: some(&[40, 80, 120]),
            pace: some(&[40, 120, 250]),
            faults: some(&[80, 200, 400]),
        }
    }
}

pub struct World {
    pub seed: u64,
    pub traits: Traits,
    pub twin: Twin,
    pub network: Network,
    pub nodes: Mutex<BTreeMap<i32, Node>>,
    pub configs: Arc<BTreeMap<i32, BrokerConfig>>,
    pub partitions: Vec<TopicPartition>,
    pub checker: Mutex<Checker>,
    /// Clients of the twin whose session expired, by broker and life.
    pub waiting_for_session: Mutex<BTreeMap<(i32, u32), u64>>,
    pub last_start_error: Mutex<String>,
    labels: Mutex<BTreeMap<String, u64>>,
    failure: Mutex<Option<String>>,
    trace: AtomicU64,
    steps: AtomicU64,
    shows: bool,
}

impl World {
    pub fn new(seed: u64, configs: Arc<BTreeMap<i32, BrokerConfig>>, shows: bool) -> World {
        let traits = Traits::draw(&mut Random::new(seed, "traits"));
        let partitions = (0..3).map(|number| TopicPartition::new("t", number)).collect();
        World {
            seed,
            traits,
            twin: Twin::new(),
            network: Network::default(),
            nodes: Mutex::new(BROKERS.iter().map(|id| (*id, Node::default())).collect()),
            configs,
            partitions,
            checker: Mutex::default(),
            waiting_for_session: Mutex::default(),
            last_start_error: Mutex::default(),
            labels: Mutex::default(),
            failure: Mutex::default(),
            trace: AtomicU64::new(0xcbf2_9ce4_8422_2325),
            steps: AtomicU64::new(0),
            shows,
        }
    }

    /// A stream of random numbers of its own; one of a label asked for again is another.
    pub fn random(&self, label: &str) -> Random {
        let mut labels = self.labels.lock();
        let count = labels.entry(label.to_owned()).or_default();
        *count += 1;
        Random::new(self.seed, &format!("{label} {count}"))
    }

    /// Something happened that one could see from outside; whatever must always hold is looked at.
    pub fn step(self: &Arc<World>, kind: &str, id: i32, what: &str) {
        self.note(kind, id, 0, what.len());
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.twin.set_now_ms(clock::now_ms());
        if self.failure.lock().is_none() {
            let found = self.checker.lock().look(self);
            if let Err(violation) = found {
                self.fail(violation);
            }
        }
    }

    /// Writes into the trace.
    pub fn note(&self, kind: &str, id: i32, other: i32, size: usize) {
        let now = clock::now_ms() - START_MS;
        if self.shows {
            println!("{now:>7} {kind} {id} {other} {size}");
        }
        let mut hash = self.trace.load(Ordering::Relaxed);
        let numbers = [now as u64, id as u64, other as u64, size as u64];
        for byte in kind.bytes().map(u64::from).chain(numbers) {
            hash = (hash ^ byte).wrapping_mul(0x0100_0000_01b3);
        }
        self.trace.store(hash, Ordering::Relaxed);
    }

    pub fn say(&self, text: impl FnOnce() -> String) {
        if self.shows {
            println!("{:>7} -- {}", clock::now_ms() - START_MS, text());
        }
    }

    pub fn fail(&self, violation: String) {
        let at = clock::now_ms() - START_MS;
        self.failure.lock().get_or_insert_with(|| format!("after {at} ms: {violation}"));
    }

    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone().or_else(take_panic)
    }

    pub fn trace(&self) -> u64 {
        self.trace.load(Ordering::Relaxed)
    }

    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Brokers that serve.
    pub fn serving(&self) -> BTreeSet<i32> {
        BROKERS.into_iter().filter(|id| self.network.server(*id).is_some()).collect()
    }
}
