//! What goes wrong: brokers die, stand still, lose their disks' last words, their sessions, each other.
//!
//! A loss of power may cost what was not synced. So that no record has to be lost, one in-sync replica at least must live
//! on whenever that happens, until the replica that lost something has left the in-sync set: [`may_disturb`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ottla::topic::TopicPartition;
use ottla::zk::{ANY_VERSION, Zk, paths};
use tokio::time::sleep;

use crate::node;
use crate::process::Process;
use crate::random::Random;
use crate::world::{BROKERS, World};

/// The broker's process, if it lives.
fn process(world: &World, id: i32) -> Option<Arc<Process>> {
    let nodes = world.nodes.lock();
    nodes.get(&id).and_then(|node| node.life.as_ref()).map(|life| life.process.clone()).filter(|p| !p.is_dead())
}

fn session(world: &World, id: i32) -> Option<i64> {
    let nodes = world.nodes.lock();
    nodes.get(&id).and_then(|node| node.life.as_ref()).map(|life| life.zk.session_id()).filter(|session| *session != 0)
}

/// Whether a broker serves and goes on to, is reachable and registered.
fn lives(world: &World, id: i32) -> bool {
    let Some(server) = world.network.server(id) else { return false };
    let stays = {
        let nodes = world.nodes.lock();
        nodes[&id].life.as_ref().is_some_and(|life| life.broker.is_some()) && !nodes[&id].platter.has_fuse()
    };
    let owner = world.twin.peek(&paths::broker(id)).map(|(_, stat)| stat.ephemeral_owner);
    let registered = owner.is_some() && owner == session(world, id);
    stays && registered && !server.process.is_paused() && !server.process.is_cut_from_zk()
}

/// What a fault does to a broker.
#[derive(Clone, Copy, PartialEq)]
enum Harm {
    /// It dies, and may lose what it has not synced.
    PowerLoss,
    /// It dies, or is taken down.
    Death,
    /// It does not see or is not seen for a while, and may lose its session, but goes on.
    Absence,
}

/// Whether all that was acknowledged survives the harm to the broker.
///
/// Where a replica lost something, another must be intact, in sync and alive; and the leader must not be absent, for then
/// it could still drop that other one from the in-sync set, and end its own session after that. If it is the leader that
/// lost something, its last requests may drop any other one: then all that are in sync must live, and what it has asked for
/// must leave an intact one in sync.
fn may_disturb(world: &World, id: i32, harm: Harm) -> bool {
    let loses = harm == Harm::PowerLoss;
    if loses && world.nodes.lock().values().any(|node| node.platter.has_fuse()) {
        return false;
    }
    let checker = world.checker.lock();
    world.partitions.iter().all(|tp| {
        let isr = checker.isr(tp);
        let tainted = checker.tainted.get(tp).filter(|tainted| !tainted.is_empty());
        // What loses power may be about to join the in-sync set.
        if tainted.is_none() && !loses {
            return true;
        }
        let leader = checker.leader(tp);
        let leader_is_absent = match leader == id {
            true => harm == Harm::Absence,
            false => process(world, leader).is_some() && !lives(world, leader),
        };
        let among = |set: Option<&BTreeSet<i32>>, id: &i32| set.is_some_and(|set| set.contains(id));
        let intact = |other: &i32| *other != id && !among(tainted, other) && !among(checker.unvetted.get(tp), other);
        let has_last_words = loses && leader == id || among(tainted, &leader);
        let may_be_dropped = |other: &&i32| has_last_words && **other != leader;
        let last_words = if loses && leader == id { asked_for(world, id, tp) } else { None };
        !leader_is_absent
            && last_words.is_none_or(|isr| isr.iter().any(intact))
            && isr.iter().filter(may_be_dropped).all(|other| *other != id && lives(world, *other))
            && isr.iter().any(|other| intact(other) && lives(world, *other))
    })
}

/// The in-sync set that a leader may still be asking for.
fn asked_for(world: &World, id: i32, tp: &TopicPartition) -> Option<Vec<i32>> {
    let server = world.network.server(id)?;
    let partition = server.api.replicas.partition(&tp.topic, tp.partition).ok()?;
    Some(partition.proposed_isr())
}

fn someone(random: &mut Random) -> i32 {
    BROKERS[random.below(BROKERS.len() as u64) as usize]
}

/// One fault, drawn by lot.
pub fn strike(world: &Arc<World>, random: &mut Random) {
    match random.below(13) {
        0..=2 => crash(world, random),
        3 => burn(world, random),
        4 | 5 => pause(world, random),
        6 | 7 => cut(world, random),
        8 => cut_from_zk(world, random),
        9 => expire(world, random),
        10 => lose_writes(world, random),
        11 => depose(world),
        _ => stop(world, random),
    }
}

/// Ends the life of a broker, with its power or without.
fn end(world: &Arc<World>, id: i32, loses: bool, random: &mut Random) {
    let (life, platter) = {
        let mut nodes = world.nodes.lock();
        let Some(node) = nodes.get_mut(&id) else { return };
        (node.life.take(), node.platter.clone())
    };
    let Some(life) = life else { return };
    world.say(|| format!("{id} dies, {}", if loses { "and loses power" } else { "and keeps its files" }));
    world.note("dies", id, i32::from(loses), 0);
    let session = life.zk.session_id();
    world.twin.kill(session);
    if !loses {
        life.process.kill();
    } else {
        life.process.lose_power();
        platter.lose_power(random);
        let mut checker = world.checker.lock();
        checker.after_power_loss.insert(id);
        checker.lost_power.insert(id);
        for tp in &world.partitions {
            checker.tainted.entry(tp.clone()).or_default().insert(id);
        }
    }
    drop(life);
    // The session outlives the process by its timeout.
    let (world, patience) = (world.clone(), random.millis(100, 4500));
    tokio::spawn(async move {
        sleep(patience).await;
        world.twin.expire(session);
        world.step("expires", id, "");
    });
}

fn restart_later(world: &Arc<World>, id: i32, random: &mut Random) {
    let pause = if random.chance(500) { random.millis(10, 300) } else { random.millis(300, 8000) };
    let world = world.clone();
    tokio::spawn(async move {
        sleep(pause).await;
        node::start(&world, id);
    });
}

fn crash(world: &Arc<World>, random: &mut Random) {
    let id = someone(random);
    let wants_loss = random.chance(world.traits.power_losses);
    if process(world, id).is_none() || !may_disturb(world, id, Harm::Death) {
        return;
    }
    let loses = wants_loss && may_disturb(world, id, Harm::PowerLoss);
    end(world, id, loses, random);
    restart_later(world, id, random);
}

/// Lets a broker die in the midst of something it does to its disk.
fn burn(world: &Arc<World>, random: &mut Random) {
    let id = someone(random);
    if process(world, id).is_some() && may_disturb(world, id, Harm::PowerLoss) {
        world.nodes.lock()[&id].platter.set_fuse(random.within(1, 30));
    }
}

/// Brings to an end what died by itself: on a fuse, or for want of a start.
pub fn bury(world: &Arc<World>, random: &mut Random) {
    for id in BROKERS {
        let died = {
            let nodes = world.nodes.lock();
            nodes[&id].life.as_ref().is_some_and(|life| life.process.is_dead())
        };
        if died {
            end(world, id, false, random);
            restart_later(world, id, random);
        }
    }
}

fn pause(world: &Arc<World>, random: &mut Random) {
    let id = someone(random);
    let Some(process) = process(world, id).filter(|p| !p.is_paused()) else { return };
    if !may_disturb(world, id, Harm::Absence) {
        return;
    }
    let pause = if random.chance(600) { random.millis(20, 800) } else { random.millis(800, 7000) };
    world.say(|| format!("{id} stands still for {pause:?}"));
    process.pause(true);
    let world = world.clone();
    tokio::spawn(async move {
        forget_session_after(&world, &process, pause).await;
        process.pause(false);
        world.say(|| format!("{id} goes on"));
        renew(&world, &process).await;
    });
}

/// Waits, and lets the session expire on the way if that takes longer than its timeout.
async fn forget_session_after(world: &Arc<World>, process: &Process, pause: Duration) {
    const TIMEOUT: Duration = Duration::from_millis(3000);
    if pause <= TIMEOUT {
        sleep(pause).await;
        return;
    }
    sleep(TIMEOUT).await;
    expire_session(world, process);
    sleep(pause - TIMEOUT).await;
}

fn expire_session(world: &Arc<World>, process: &Process) {
    if process.is_dead() {
        return;
    }
    let Some(session) = session(world, process.id) else { return };
    world.say(|| format!("the session of {} expires", process.id));
    if let Some(client) = world.twin.expire_and_hold(session) {
        world.waiting_for_session.lock().insert((process.id, process.life), client);
    }
    world.step("expires", process.id, "");
}

/// The process finds out that it needs a new session, and gets it.
async fn renew(world: &Arc<World>, process: &Process) {
    process.reaches_zk().await;
    sleep(world.random("renewal").millis(1, 400)).await;
    process.reaches_zk().await;
    let client = world.waiting_for_session.lock().remove(&(process.id, process.life));
    if let Some(client) = client {
        world.twin.renew(client);
        world.step("renews", process.id, "");
    }
}

fn expire(world: &Arc<World>, random: &mut Random) {
    let id = someone(random);
    let Some(process) = process(world, id) else { return };
    if !may_disturb(world, id, Harm::Absence) {
        return;
    }
    expire_session(world, &process);
    let world = world.clone();
    tokio::spawn(async move { renew(&world, &process).await });
}

fn cut_from_zk(world: &Arc<World>, random: &mut Random) {
    let id = someone(random);
    let Some(process) = process(world, id).filter(|p| !p.is_cut_from_zk()) else { return };
    if !may_disturb(world, id, Harm::Absence) {
        return;
    }
    let pause = random.millis(100, 7000);
    world.say(|| format!("{id} does not reach ZooKeeper for {pause:?}"));
    process.cut_from_zk(true);
    let world = world.clone();
    tokio::spawn(async move {
        forget_session_after(&world, &process, pause).await;
        process.cut_from_zk(false);
        renew(&world, &process).await;
    });
}

/// Cuts two brokers from each other, in one direction or both.
fn cut(world: &Arc<World>, random: &mut Random) {
    let (a, b) = (someone(random), someone(random));
    if a == b {
        return;
    }
    let both = random.chance(700);
    let pause = random.millis(50, 5000);
    world.say(|| format!("nothing goes from {a} to {b}{} for {pause:?}", if both { ", and back," } else { "" }));
    world.network.cut(a, b);
    if both {
        world.network.cut(b, a);
    }
    let world = world.clone();
    tokio::spawn(async move {
        sleep(pause).await;
        world.network.heal(a, b);
        world.network.heal(b, a);
    });
}

/// For a while writes of a broker to ZooKeeper, or the answers to them, get lost.
fn lose_writes(world: &Arc<World>, random: &mut Random) {
    let zk = match world.nodes.lock().get(&someone(random)).and_then(|node| node.life.as_ref()) {
        Some(life) => life.zk.clone(),
        None => return,
    };
    zk.lose_writes(random.within(100, 700));
    let pause = random.millis(200, 3000);
    tokio::spawn(async move {
        sleep(pause).await;
        zk.lose_writes(0);
    });
}

/// Somebody removes the controller's znode by hand.
fn depose(world: &Arc<World>) {
    let admin = world.twin.connect();
    let world = world.clone();
    tokio::spawn(async move {
        world.say(|| "the controller is deposed".to_owned());
        let _ = admin.delete(paths::CONTROLLER, ANY_VERSION).await;
        admin.close().await;
        world.step("deposed", -1, "");
    });
}

/// Takes a broker down as its operator does.
fn stop(world: &Arc<World>, random: &mut Random) {
    let id = someone(random);
    let Some(process) = process(world, id) else { return };
    if !may_disturb(world, id, Harm::Death) {
        return;
    }
    let broker = {
        let mut nodes = world.nodes.lock();
        nodes.get_mut(&id).and_then(|node| node.life.as_mut()).and_then(|life| life.broker.take())
    };
    let Some(broker) = broker else { return };
    world.say(|| format!("{id} is taken down"));
    let (world, mut random) = (world.clone(), world.random("stop"));
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = process.died() => return,
            () = broker.shutdown() => {}
        }
        process.awake().await;
        end(&world, id, false, &mut random);
        restart_later(&world, id, &mut random);
    });
}

/// Everything is well again: all run, all see each other.
pub fn heal(world: &Arc<World>) {
    world.say(|| "all is well from now on".to_owned());
    world.network.heal_all();
    for id in BROKERS {
        let life = {
            let nodes = world.nodes.lock();
            let node = &nodes[&id];
            node.platter.clear_fuse();
            node.life.as_ref().map(|life| (life.process.clone(), life.zk.clone()))
        };
        if let Some((process, zk)) = life {
            zk.lose_writes(0);
            process.cut_from_zk(false);
            process.pause(false);
        }
    }
}

pub async fn create_topic(world: &Arc<World>) {
    use ottla::zk::json::{Assignment, TopicZnode};
    use ottla::zk::store::Store;
    let mut random = world.random("topic");
    let store = Store::new(world.twin.connect());
    let mut partitions = std::collections::BTreeMap::new();
    for tp in &world.partitions {
        let first = random.below(3) as i32;
        let step = random.within(1, 2) as i32;
        partitions.insert(tp.partition, Assignment::new((0..3).map(|at| (first + at * step) % 3).collect()));
    }
    let topic_id = Some(uuid::Uuid::from_u128(u128::from(random.next()) << 64 | u128::from(random.next())));
    let znode = TopicZnode { partitions, topic_id };
    // There may be no controller yet.
    while store.create_topic("t", &Default::default(), &znode).await.is_err() {
        sleep(Duration::from_millis(10)).await;
    }
}
