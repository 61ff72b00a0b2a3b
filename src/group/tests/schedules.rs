//! Random schedules: clients that join, sync, beat, leave, vanish and come back, stores that fail, time that jumps.
//! After every step what must always hold is checked.

use std::collections::{BTreeMap, HashSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// A client that does what Java's would, mostly.
#[derive(Default)]
struct Client {
    id: String,
    instance: Option<&'static str>,
    generation: i32,
    join: Option<Ticket>,
    sync: Option<Ticket>,
    leader: bool,
    members: Vec<String>,
}

struct World {
    sim: Sim,
    clients: Vec<Client>,
    rng: StdRng,
    generation: i32,
    /// What members were told about a generation: leader and protocol.
    told: BTreeMap<i32, (String, Option<String>)>,
    /// Assignments handed out: generation and member to bytes.
    assigned: BTreeMap<(i32, String), Bytes>,
}

const INSTANCES: [Option<&str>; 6] = [None, None, None, None, Some("one"), Some("two")];

impl World {
    fn new(seed: u64) -> World {
        let mut sim = Sim::with(GroupConfig { group_max_size: 5, ..GroupConfig::default() });
        sim.auto_store = false;
        let clients = INSTANCES.map(|instance| Client { instance, generation: -1, ..Client::default() });
        World {
            sim,
            clients: clients.into(),
            rng: StdRng::seed_from_u64(seed),
            generation: 0,
            told: BTreeMap::new(),
            assigned: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        let which = self.rng.random_range(0..self.clients.len());
        match self.rng.random_range(0..100) {
            0..20 => self.join(which),
            20..55 => self.sync(which),
            55..70 => self.beat(which),
            70..72 => self.leave(which),
            72..74 => self.forget(which),
            74..88 => self.end_store(),
            _ => {
                let ms = [1, 100, 500, 3_000, 3_000, 3_000, 3_000, 3_000, 9_999, 60_000][self.rng.random_range(0..10)];
                self.sim.pass(ms);
            }
        }
        self.read_answers();
        self.check();
    }

    fn join(&mut self, which: usize) {
        // A client that has joined does so again when it has to, and sometimes out of turn.
        let client = &self.clients[which];
        let is_settled = client.generation == self.sim.group.generation() && self.sim.group.is(GroupState::Stable);
        if (client.join.is_some() || is_settled) && self.rng.random_bool(0.9) {
            return;
        }
        let protocols: &[(&str, &str)] = match self.rng.random_range(0..20) {
            0 => &[("sticky", "s"), ("range", "n")],
            1 => &[("range", "m")],
            _ => &[("range", "m"), ("sticky", "s")],
        };
        let version = self.rng.random_range(0..10);
        let client = &self.clients[which];
        let who = Who { instance: client.instance, ..Who::new(version) }.id(&client.id).protocols(protocols);
        let ticket = self.sim.join(&who);
        self.clients[which].join = Some(ticket);
    }

    fn sync(&mut self, which: usize) {
        let client = &self.clients[which];
        if client.generation < 0 || client.sync.is_some() {
            return;
        }
        let mut assignments = Vec::new();
        if client.leader {
            let share = ["a", "b", "c"][self.rng.random_range(0..3)];
            assignments.extend(client.members.iter().map(|id| (id.as_str(), share)));
        }
        let ticket = self.sim.sync(&client.id, client.generation, &assignments);
        self.clients[which].sync = Some(ticket);
    }

    fn beat(&mut self, which: usize) {
        let error = self.sim.heartbeat(&self.clients[which].id, self.clients[which].generation);
        match error {
            ErrorCode::UnknownMemberId => self.reset(which),
            ErrorCode::None | ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => {}
            other => panic!("heartbeat: {other}"),
        }
    }

    fn leave(&mut self, which: usize) {
        let id = self.clients[which].id.clone();
        self.sim.leave(&id, None);
        self.reset(which);
    }

    /// The client dies without a word; a new process takes its place.
    fn forget(&mut self, which: usize) {
        self.reset(which);
    }

    fn reset(&mut self, which: usize) {
        let instance = self.clients[which].instance;
        self.clients[which] = Client { instance, generation: -1, ..Client::default() };
    }

    fn end_store(&mut self) {
        if !self.sim.stores.is_empty() {
            let error = if self.rng.random_bool(0.1) { ErrorCode::NotCoordinator } else { ErrorCode::None };
            self.sim.store(error);
        }
    }

    fn read_answers(&mut self) {
        for which in 0..self.clients.len() {
            if let Some(result) = self.clients[which].join.and_then(|ticket| self.sim.joins.remove(&ticket)) {
                self.clients[which].join = None;
                self.on_joined(which, result);
            }
            if let Some(result) = self.clients[which].sync.and_then(|ticket| self.sim.syncs.remove(&ticket)) {
                self.clients[which].sync = None;
                self.on_synced(which, result);
            }
        }
    }

    fn on_joined(&mut self, which: usize, result: JoinResult) {
        match result.error {
            ErrorCode::None => {
                assert!(result.generation >= 1);
                let is_old_self = result.leader == result.member_id && result.members.is_empty();
                assert!(!is_old_self || result.skip_assignment, "a leader without members");
                let told = (result.leader.to_string(), result.protocol_name.as_deref().map(str::to_owned));
                // Static members that come back may be told of an old leader id, but never of another protocol.
                let first = self.told.entry(result.generation).or_insert_with(|| told.clone());
                assert_eq!(first.1, told.1, "two protocols in generation {}", result.generation);
                let client = &mut self.clients[which];
                client.id = result.member_id.to_string();
                client.generation = result.generation;
                client.leader = result.leader == result.member_id && !result.skip_assignment;
                client.members = result.members.iter().map(|member| member.id.to_string()).collect();
            }
            ErrorCode::MemberIdRequired => self.clients[which].id = result.member_id.to_string(),
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => self.reset(which),
            ErrorCode::GroupMaxSizeReached
            | ErrorCode::InconsistentGroupProtocol
            | ErrorCode::NotCoordinator
            | ErrorCode::RebalanceInProgress => {}
            other => panic!("join: {other}"),
        }
    }

    fn on_synced(&mut self, which: usize, result: SyncResult) {
        match result.error {
            ErrorCode::None => {
                let client = &self.clients[which];
                let key = (client.generation, client.id.clone());
                let before = self.assigned.entry(key).or_insert_with(|| result.assignment.clone());
                assert_eq!(*before, result.assignment, "two assignments in one generation");
            }
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => self.reset(which),
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration | ErrorCode::NotCoordinator => {}
            other => panic!("sync: {other}"),
        }
    }

    fn check(&mut self) {
        let group = &self.sim.group;
        assert!(group.generation() >= self.generation, "the generation went back");
        self.generation = group.generation();
        let ids: HashSet<&str> = group.members().map(|member| &*member.id).collect();
        match group.leader() {
            Some(leader) => assert!(ids.contains(leader), "a leader that is no member"),
            None => assert!(ids.is_empty(), "members without a leader"),
        }
        let awaiting = group.members().filter(|member| member.is_awaiting_join()).count();
        assert_eq!(awaiting, group.num_awaiting_join());
        assert!(
            group.members().filter(|member| member.is_awaiting_sync()).count() == 0
                || group.is(GroupState::CompletingRebalance)
        );
        for (instance, id) in &group.static_members {
            let member = group.members.get(id).expect("a static id without a member");
            assert_eq!(member.instance_id.as_ref(), Some(instance));
        }
        let statics = group.members().filter(|member| member.is_static()).count();
        assert_eq!(statics, group.static_members.len());
        for (protocol, count) in &group.supported {
            let support = |member: &&super::super::member::Member| member.protocols.iter().any(|p| p.name == *protocol);
            assert_eq!(group.members().filter(support).count(), *count);
        }
        assert!(group.pending_sync.iter().all(|id| group.members.contains_key(id)));
        match group.state() {
            GroupState::Empty => assert!(ids.is_empty()),
            GroupState::Stable | GroupState::CompletingRebalance => {
                assert!(!ids.is_empty() && ids.len() <= 5);
                assert!(group.protocol_name().is_some(), "no common protocol");
            }
            GroupState::PreparingRebalance => assert!(group.next_deadline().is_some(), "a rebalance without an end"),
            GroupState::Dead => panic!("nobody deleted it"),
        }
        // Every living member that nobody waits for has a session that ends.
        for member in group.members().filter(|member| member.can_expire()) {
            assert!(member.session_deadline.is_some(), "{member} would live forever in {}", group.state());
        }
    }
}

#[test]
fn random_schedules_keep_the_invariants() {
    let mut generations = 0;
    let mut assignments = 0;
    for seed in 0..400 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
        }
        generations += world.generation;
        assignments += world.assigned.len();
        // Left alone, everything ends: sessions, rebalances, and nobody stays parked.
        while !world.sim.stores.is_empty() {
            world.sim.store(ErrorCode::None);
        }
        world.sim.auto_store = true;
        world.sim.pass(3 * 300_000);
        assert_eq!(world.sim.group.state(), GroupState::Empty, "seed {seed}");
        assert_eq!(world.sim.group.next_deadline(), None, "seed {seed}");
    }
    assert!(generations > 4_000 && assignments > 600, "{generations} generations, {assignments} assignments");
}
