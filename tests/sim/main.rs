//! A cluster of three brokers in one thread, in its own time, with everything going wrong that can: the product's own
//! brokers, from their composition root down, on a disk, a network and a ZooKeeper in memory. A seed decides everything, so
//! a failure is seen again with `OTTLA_SIM_SEED=n cargo test --test sim`; `OTTLA_SIM_LOG=1` shows what the brokers log.
//!
//! - `world` is one run; `node`, `process` a broker and one of its lives; `disk`, `network`, `zk` what it stands on.
//! - `client` works, `faults` disturbs, `checker` says what must hold; `random` is where all numbers come from.
//!
//! How many seeds: `OTTLA_SIM_SEEDS` (from `OTTLA_SIM_FIRST` on), on `OTTLA_SIM_THREADS` threads.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checker;
mod client;
mod disk;
mod faults;
mod network;
mod node;
mod process;
mod random;
mod seeds;
mod world;
mod zk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ottla::config::BrokerConfig;
use ottla::util::clock;
use parking_lot::Mutex;
use tokio::time::sleep;

use random::Random;
use world::{BROKERS, START_MS, World};

/// Seeds of an ordinary run.
const SEEDS: u64 = 2000;
/// How long a cluster may take to be whole again, in its own time.
const HEALING: Duration = Duration::from_secs(120);

/// What a run amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    trace: u64,
    steps: u64,
    acks: u64,
    reads: u64,
    elections: u64,
    lives: u64,
}

type Configs = Arc<BTreeMap<i32, BrokerConfig>>;

fn configs() -> Configs {
    Arc::new(BROKERS.iter().map(|id| (*id, node::config(*id))).collect())
}

fn run(seed: u64, configs: &Configs, shows: bool) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    world::take_panic();
    let result = runtime.block_on(async {
        clock::simulate(Some(START_MS));
        let world = Arc::new(World::new(seed, configs.clone(), shows));
        let lived = live(&world).await;
        let lived = lived.and_then(|()| world.failure().map_or(Ok(()), Err));
        lived.map(|()| outcome(&world))
    });
    drop(runtime);
    clock::simulate(None);
    result
}

fn outcome(world: &World) -> Outcome {
    let checker = world.checker.lock();
    let lives = world.nodes.lock().values().map(|node| u64::from(node.lives)).sum();
    Outcome {
        trace: world.trace(),
        steps: world.steps(),
        acks: checker.acks,
        reads: checker.reads,
        elections: checker.elections,
        lives,
    }
}

async fn live(world: &Arc<World>) -> Result<(), String> {
    world.say(|| format!("seed {}: {:?}", world.seed, world.traits));
    let mut random = world.random("actions");
    BROKERS.iter().for_each(|id| node::start(world, *id));
    faults::create_topic(world).await;
    sleep(random.millis(10, 1500)).await;
    for number in 0..world.traits.actions {
        sleep(random.millis(1, world.traits.pace)).await;
        act(world, number, &mut random);
        faults::bury(world, &mut random);
        if let Some(failure) = world.failure() {
            return Err(failure);
        }
    }
    faults::heal(world);
    settle(world, &mut random).await?;
    world.checker.lock().conclude(world)
}

fn act(world: &Arc<World>, number: u64, random: &mut Random) {
    if random.chance(world.traits.faults) {
        faults::strike(world, random);
    } else if random.chance(750) {
        client::produce(world, number);
    } else {
        client::consume(world);
    }
}

/// Waits until the cluster is whole.
async fn settle(world: &Arc<World>, random: &mut Random) -> Result<(), String> {
    let deadline = clock::now_ms() + HEALING.as_millis() as i64;
    loop {
        sleep(Duration::from_millis(100)).await;
        faults::bury(world, random);
        for id in BROKERS {
            node::start(world, id);
        }
        if let Some(failure) = world.failure() {
            return Err(failure);
        }
        let Some(missing) = world.checker.lock().missing(world) else { return Ok(()) };
        if clock::now_ms() > deadline {
            let error = world.last_start_error.lock();
            return Err(format!("not whole {HEALING:?} after the last fault: {missing}; last failed start: {error}"));
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

fn prepare() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        world::note_panics();
        if std::env::var_os("OTTLA_SIM_LOG").is_some() {
            ottla::util::logging::init();
        }
    });
}

fn sum(a: Outcome, b: Outcome) -> Outcome {
    Outcome {
        trace: 0,
        steps: a.steps + b.steps,
        acks: a.acks + b.acks,
        reads: a.reads + b.reads,
        elections: a.elections + b.elections,
        lives: a.lives + b.lives,
    }
}

/// Runs `seeds`, several at a time; the failures, by seed, and what all runs amount to.
fn run_all(first: u64, count: u64) -> (BTreeMap<u64, String>, Outcome) {
    let next = AtomicU64::new(first);
    let failures = Mutex::new(BTreeMap::new());
    let total = Mutex::new(Outcome::default());
    let configs = configs();
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for _ in 0..number("OTTLA_SIM_THREADS").unwrap_or(cores) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    match run(seed, &configs, false) {
                        Ok(outcome) => {
                            let mut total = total.lock();
                            *total = sum(*total, outcome);
                        }
                        Err(failure) => {
                            println!("OTTLA_SIM_SEED={seed}: {failure}");
                            failures.lock().insert(seed, failure);
                        }
                    }
                }
            });
        }
    });
    (failures.into_inner(), total.into_inner())
}

#[test]
fn seeds() {
    prepare();
    if let Some(seed) = number("OTTLA_SIM_SEED") {
        let outcome = run(seed, &configs(), true);
        println!("{outcome:?}");
        outcome.unwrap();
        return;
    }
    let count = number("OTTLA_SIM_SEEDS").unwrap_or(SEEDS);
    let (failures, total) = run_all(number("OTTLA_SIM_FIRST").unwrap_or(1), count);
    println!("simulation: {count} seeds, {} failed, {total:?}", failures.len());
    assert!(failures.is_empty(), "{} of {count} seeds failed: {:?}", failures.len(), failures.keys());
}

#[test]
fn a_seed_decides_everything() {
    prepare();
    let configs = configs();
    for seed in 1..=20 {
        let first = run(seed, &configs, false);
        assert_eq!(first, run(seed, &configs, false), "seed {seed}");
    }
}

#[test]
fn seeds_that_found_something() {
    prepare();
    let configs = configs();
    for (seed, bug) in seeds::FOUND {
        run(*seed, &configs, false).unwrap_or_else(|failure| panic!("seed {seed} ({bug}): {failure}"));
    }
}
