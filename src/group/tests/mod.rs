//! The state machine by itself: no runtime, no log, a clock that is a number.

mod expiry;
mod joins;
mod schedules;
mod statics;
mod syncs;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::config::{GroupConfig, Now};
use super::group::{Effect, Effects, Group, Store};
use super::join::JoinRequest;
use super::member::{JoinResult, Protocol, SyncResult, Ticket};
use super::requests::{MemberClaim, SyncRequest};
use super::state::GroupState;
use crate::protocol::ErrorCode;

pub(super) const WALL: i64 = 1_700_000_000_000;
pub(super) const DELAY: i64 = 3_000;
pub(super) const SESSION: i64 = 10_000;
pub(super) const REBALANCE: i64 = 60_000;

/// A group and everybody around it.
pub(super) struct Sim {
    pub group: Group,
    pub now: i64,
    next_ticket: Ticket,
    pub joins: HashMap<Ticket, JoinResult>,
    pub syncs: HashMap<Ticket, SyncResult>,
    pub stores: Vec<Store>,
    /// Stores succeed at once; otherwise they wait in `stores`.
    pub auto_store: bool,
    next_uuid: u128,
}

/// What a simulated client says when it joins.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub id: String,
    pub instance: Option<&'static str>,
    pub version: i16,
    pub protocols: Vec<(&'static str, &'static str)>,
    pub session: i64,
    pub rebalance: i64,
}

impl Who {
    pub fn new(version: i16) -> Who {
        Who {
            id: String::new(),
            instance: None,
            version,
            protocols: vec![("range", "m")],
            session: SESSION,
            rebalance: REBALANCE,
        }
    }

    pub fn instance(version: i16, instance: &'static str) -> Who {
        Who { instance: Some(instance), ..Who::new(version) }
    }

    pub fn id(mut self, id: &str) -> Who {
        self.id = id.to_owned();
        self
    }

    pub fn protocols(mut self, protocols: &[(&'static str, &'static str)]) -> Who {
        self.protocols = protocols.to_vec();
        self
    }
}

impl Sim {
    pub fn new() -> Sim {
        Sim::with(GroupConfig::default())
    }

    pub fn with(config: GroupConfig) -> Sim {
        let now = Now { wall_ms: WALL, mono_ms: 0 };
        Sim::of(Group::new(Arc::from("g"), 0, Arc::new(config), now))
    }

    pub fn of(group: Group) -> Sim {
        Sim {
            group,
            now: 0,
            next_ticket: 0,
            joins: HashMap::new(),
            syncs: HashMap::new(),
            stores: Vec::new(),
            auto_store: true,
            next_uuid: 0,
        }
    }

    pub fn at(&self) -> Now {
        Now { wall_ms: WALL + self.now, mono_ms: self.now }
    }

    pub fn apply(&mut self, fx: Effects) {
        for effect in fx {
            match effect {
                Effect::Join(ticket, result) => assert!(self.joins.insert(ticket, result).is_none(), "answered twice"),
                Effect::Sync(ticket, result) => assert!(self.syncs.insert(ticket, result).is_none(), "answered twice"),
                Effect::Store(store) => {
                    self.stores.push(store);
                    if self.auto_store {
                        self.store(ErrorCode::None);
                    }
                }
            }
        }
    }

    /// The oldest waiting store ends with `error`.
    pub fn store(&mut self, error: ErrorCode) {
        let store = self.stores.remove(0);
        let mut fx = Effects::new();
        self.group.on_stored(store.purpose, error, self.at(), &mut fx);
        self.apply(fx);
    }

    /// Time passes; everything due on the way happens at its time.
    pub fn pass(&mut self, ms: i64) {
        let end = self.now + ms;
        while let Some(next) = self.group.next_deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            let mut fx = Effects::new();
            self.group.tick(self.at(), &mut fx);
            self.apply(fx);
        }
        self.now = end;
    }

    pub fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.next_ticket
    }

    pub fn join(&mut self, who: &Who) -> Ticket {
        let ticket = self.ticket();
        self.next_uuid += 1;
        let protocol = |(name, metadata): &(&'static str, &'static str)| Protocol {
            name: Arc::from(*name),
            metadata: Bytes::from_static(metadata.as_bytes()),
        };
        let request = JoinRequest {
            member_id: &who.id,
            instance_id: who.instance,
            require_known_member_id: who.version >= 4 && who.instance.is_none(),
            support_skipping_assignment: who.version >= 9,
            client_id: "c",
            client_host: "/127.0.0.1",
            rebalance_timeout_ms: who.rebalance as i32,
            session_timeout_ms: who.session as i32,
            protocol_type: "consumer",
            protocols: who.protocols.iter().map(protocol).collect(),
            reason: None,
            fresh_id: Uuid::from_u128(self.next_uuid),
        };
        let mut fx = Effects::new();
        self.group.join(ticket, request, self.at(), &mut fx);
        self.apply(fx);
        ticket
    }

    pub fn sync(&mut self, id: &str, generation: i32, assignments: &[(&str, &'static str)]) -> Ticket {
        let ticket = self.ticket();
        let assignment = |(id, bytes): &(&str, &'static str)| (Arc::from(*id), Bytes::from_static(bytes.as_bytes()));
        let request = SyncRequest {
            generation,
            member_id: id,
            instance_id: None,
            protocol_type: Some("consumer"),
            protocol_name: None,
            assignments: assignments.iter().map(assignment).collect(),
        };
        let mut fx = Effects::new();
        self.group.sync(ticket, request, self.at(), &mut fx);
        self.apply(fx);
        ticket
    }

    pub fn heartbeat(&mut self, id: &str, generation: i32) -> ErrorCode {
        let now = self.at();
        self.group.heartbeat(MemberClaim { member_id: id, instance_id: None, generation }, now)
    }

    pub fn leave(&mut self, id: &str, instance: Option<&str>) -> ErrorCode {
        let (now, mut fx) = (self.at(), Effects::new());
        let error = self.group.leave(id, instance, None, now, &mut fx);
        self.apply(fx);
        error
    }

    pub fn joined(&self, ticket: Ticket) -> &JoinResult {
        self.joins.get(&ticket).unwrap_or_else(|| panic!("join {ticket} is still parked"))
    }

    pub fn synced(&self, ticket: Ticket) -> &SyncResult {
        self.syncs.get(&ticket).unwrap_or_else(|| panic!("sync {ticket} is still parked"))
    }

    pub fn parked(&self, ticket: Ticket) -> bool {
        !self.joins.contains_key(&ticket) && !self.syncs.contains_key(&ticket)
    }

    /// A stable group of `who`, in their order; their ids.
    pub fn stable(who: &[Who]) -> (Sim, Vec<String>) {
        let mut sim = Sim::new();
        let mut ids = Vec::new();
        for who in who {
            let ticket = sim.join(&Who { version: 3, ..who.clone() });
            assert!(sim.parked(ticket));
            ids.push(ticket);
        }
        // The initial delay, once more if somebody came during it.
        while sim.parked(ids[0]) {
            sim.pass(DELAY);
        }
        let ids: Vec<String> = ids.into_iter().map(|ticket| sim.joined(ticket).member_id.to_string()).collect();
        let assignments: Vec<(&str, &'static str)> = ids.iter().map(|id| (id.as_str(), "a")).collect();
        let leader = sim.group.leader().unwrap().to_owned();
        let generation = sim.group.generation();
        for id in ids.iter().filter(|id| **id != leader) {
            sim.sync(id, generation, &[]);
        }
        sim.sync(&leader, generation, &assignments);
        assert_eq!(sim.group.state(), GroupState::Stable);
        (sim, ids)
    }
}
