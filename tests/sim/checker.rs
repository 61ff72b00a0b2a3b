//! What must hold, after every step and at the end, and what clients were told, which they must find again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla::log::{Isolation, PartitionLog};
use ottla::record::batch::batches;
use ottla::record::walk::records;
use ottla::replica::Partition;
use ottla::topic::TopicPartition;
use ottla::zk::json::{PartitionState, TopicZnode};
use ottla::zk::paths;

use crate::network::Server;
use crate::world::{BROKERS, World};

/// Values by offset.
pub type Values = BTreeMap<i64, String>;

struct Seen {
    mzxid: i64,
    state: PartitionState,
}

#[derive(Clone, Copy)]
struct Marks {
    epoch: i32,
    high_watermark: i64,
    log_start: i64,
}

#[derive(Default)]
pub struct Checker {
    /// Who said to lead in which leader epoch.
    leaders: BTreeMap<(TopicPartition, i32), i32>,
    states: BTreeMap<TopicPartition, Seen>,
    controller_epoch: i64,
    /// By broker, life and partition.
    marks: BTreeMap<(i32, u32, TopicPartition), Marks>,
    /// Acknowledged with acks=all, or read by a consumer.
    promised: BTreeMap<TopicPartition, Values>,
    /// End of what was acknowledged with acks=all.
    acknowledged: BTreeMap<TopicPartition, i64>,
    /// Brokers that lost power, until they are registered anew.
    pub lost_power: BTreeSet<i32>,
    /// Their replicas, until the broker is registered anew and they are not, or not any more, in sync.
    pub tainted: BTreeMap<TopicPartition, BTreeSet<i32>>,
    /// In-sync replicas whose broker registered anew, until they have left the set or were elected: controllers may take them
    /// for such that lost something.
    pub unvetted: BTreeMap<TopicPartition, BTreeSet<i32>>,
    registrations: BTreeMap<i32, i64>,
    /// Brokers that lost power at some time.
    pub after_power_loss: BTreeSet<i32>,
    pub acks: u64,
    pub reads: u64,
    pub elections: u64,
}

impl Checker {
    /// What must always hold.
    pub fn look(&mut self, world: &World) -> Result<(), String> {
        self.look_at_zookeeper(world)?;
        for id in BROKERS {
            let Some(server) = world.network.server(id) else { continue };
            for partition in server.api.replicas.online() {
                self.look_at_replica(&server, &partition)?;
            }
        }
        Ok(())
    }

    fn look_at_zookeeper(&mut self, world: &World) -> Result<(), String> {
        if let Some((data, _)) = world.twin.peek(paths::CONTROLLER_EPOCH) {
            let epoch: i64 = String::from_utf8_lossy(&data).parse().unwrap();
            if epoch < self.controller_epoch {
                return Err(format!("the controller epoch fell from {} to {epoch}", self.controller_epoch));
            }
            self.controller_epoch = epoch;
        }
        for id in BROKERS {
            let Some((_, stat)) = world.twin.peek(&paths::broker(id)) else { continue };
            if self.registrations.insert(id, stat.czxid).is_some_and(|before| before != stat.czxid) {
                self.lost_power.remove(&id);
                for tp in &world.partitions {
                    if !self.isr(tp).contains(&id)
                        && let Some(tainted) = self.tainted.get_mut(tp)
                    {
                        tainted.remove(&id);
                    }
                }
                for (tp, _) in self.states.iter().filter(|(_, seen)| seen.state.isr.contains(&id)) {
                    self.unvetted.entry(tp.clone()).or_default().insert(id);
                }
            }
        }
        for tp in &world.partitions {
            let Some((data, stat)) = world.twin.peek(&paths::partition_state(&tp.topic, tp.partition)) else {
                continue;
            };
            let seen = self.states.get(tp);
            if seen.is_some_and(|seen| seen.mzxid == stat.mzxid) {
                continue;
            }
            let state = PartitionState::decode(&data).unwrap();
            world.say(|| format!("{tp} is now {state:?}"));
            let replicas = assigned(world, tp);
            let before = seen.map(|seen| &seen.state);
            allowed(tp, before, &state, &replicas)?;
            let is_election = before.is_some_and(|before| before.leader_epoch < state.leader_epoch);
            self.elections += u64::from(is_election);
            if let Some(unvetted) = self.unvetted.get_mut(tp) {
                unvetted.retain(|id| state.isr.contains(id) && !(is_election && state.leader == *id));
            }
            if let Some(tainted) = self.tainted.get_mut(tp) {
                tainted.retain(|id| state.isr.contains(id) || self.lost_power.contains(id));
            }
            self.states.insert(tp.clone(), Seen { mzxid: stat.mzxid, state });
        }
        Ok(())
    }

    fn look_at_replica(&mut self, server: &Server, partition: &Arc<Partition>) -> Result<(), String> {
        let (id, life, tp) = (server.process.id, server.process.life, &partition.tp);
        let leader = partition.current_leader();
        if leader.id == id {
            let known = *self.leaders.entry((tp.clone(), leader.epoch)).or_insert(id);
            if known != id {
                return Err(format!("{known} and {id} lead {tp} in epoch {}", leader.epoch));
            }
        }
        let Some(log) = partition.log() else { return Ok(()) };
        let now =
            Marks { epoch: leader.epoch, high_watermark: log.high_watermark(), log_start: log.log_start_offset() };
        if let Some(before) = self.marks.insert((id, life, tp.clone()), now)
            && before.epoch == now.epoch
        {
            // The high watermark that was written down may be above what a loss of power left.
            let may_fall = self.after_power_loss.contains(&id) && leader.id != id;
            if now.high_watermark < before.high_watermark && !may_fall {
                let (from, to) = (before.high_watermark, now.high_watermark);
                return Err(format!(
                    "the high watermark of {tp} on {id} fell from {from} to {to} in epoch {}",
                    now.epoch
                ));
            }
            if now.log_start < before.log_start {
                let (from, to) = (before.log_start, now.log_start);
                return Err(format!("the log start of {tp} on {id} fell from {from} to {to} in epoch {}", now.epoch));
            }
        }
        self.look_for_acknowledged(id, tp, &log)
    }

    /// Whoever is in sync has all that was acknowledged.
    fn look_for_acknowledged(&self, id: i32, tp: &TopicPartition, log: &PartitionLog) -> Result<(), String> {
        let in_sync = self.states.get(tp).is_some_and(|seen| seen.state.isr.contains(&id));
        let tainted = self.tainted.get(tp).is_some_and(|tainted| tainted.contains(&id));
        let promised = self.acknowledged.get(tp).copied().unwrap_or(0);
        if in_sync && !tainted && log.log_end_offset() < promised {
            let end = log.log_end_offset();
            return Err(format!("{tp} is acknowledged up to {promised}, but {id}, which is in sync, ends at {end}"));
        }
        Ok(())
    }

    pub fn isr(&self, tp: &TopicPartition) -> &[i32] {
        self.states.get(tp).map_or(&[], |seen| &seen.state.isr)
    }

    /// The partition's leader as ZooKeeper has it, -1 for none.
    pub fn leader(&self, tp: &TopicPartition) -> i32 {
        self.states.get(tp).map_or(-1, |seen| seen.state.leader)
    }

    /// A producer was told that its records are kept.
    pub fn on_ack(&mut self, tp: &TopicPartition, base: i64, values: &[String]) -> Result<(), String> {
        self.acks += 1;
        let end = base + values.len() as i64;
        let acknowledged = self.acknowledged.entry(tp.clone()).or_default();
        *acknowledged = end.max(*acknowledged);
        (base..).zip(values).try_for_each(|(offset, value)| self.promise(tp, offset, value))
    }

    /// A consumer has read a record.
    pub fn on_read(&mut self, tp: &TopicPartition, offset: i64, value: &str) -> Result<(), String> {
        self.reads += 1;
        self.promise(tp, offset, value)
    }

    fn promise(&mut self, tp: &TopicPartition, offset: i64, value: &str) -> Result<(), String> {
        let known = self.promised.entry(tp.clone()).or_default().entry(offset).or_insert_with(|| value.to_owned());
        match known == value {
            true => Ok(()),
            false => Err(format!("{tp} has {value} at {offset}, where a client was told of {known}")),
        }
    }

    /// What the cluster still lacks before it is whole.
    pub fn missing(&self, world: &World) -> Option<String> {
        for tp in &world.partitions {
            let Some(seen) = self.states.get(tp) else { return Some(format!("{tp} has no state")) };
            let (state, replicas) = (&seen.state, assigned(world, tp));
            if state.leader < 0 || state.isr.len() != replicas.len() {
                return Some(format!("{tp} has leader {} and ISR {:?}", state.leader, state.isr));
            }
            let mut ends = BTreeMap::new();
            for id in &replicas {
                let Some(server) = world.network.server(*id) else {
                    return Some(format!("broker {id} does not serve"));
                };
                let Ok(partition) = server.api.replicas.partition(&tp.topic, tp.partition) else {
                    return Some(format!("broker {id} does not have {tp}"));
                };
                let leader = partition.current_leader();
                if (leader.id, leader.epoch) != (state.leader, state.leader_epoch) {
                    let (id, found, wanted) = (server.process.id, leader, (state.leader, state.leader_epoch));
                    return Some(format!("broker {id} takes {found:?} for the leader of {tp}, not {wanted:?}"));
                }
                let Some(log) = partition.log() else { return Some(format!("broker {id} has no log of {tp}")) };
                ends.insert(*id, (log.log_end_offset(), log.high_watermark()));
                let known = server.api.current_leader(&tp.topic, tp.partition);
                if known != Some((state.leader, state.leader_epoch)) {
                    return Some(format!("the metadata of broker {id} has {known:?} as leader of {tp}"));
                }
            }
            let first = ends.values().next().map_or(0, |(end, _)| *end);
            if ends.values().any(|marks| *marks != (first, first)) {
                return Some(format!("log ends and high watermarks of {tp} are {ends:?}"));
            }
        }
        None
    }

    /// What must hold at the end, of a cluster that is whole.
    pub fn conclude(&self, world: &World) -> Result<(), String> {
        for tp in &world.partitions {
            let mut first: Option<(i32, Bytes)> = None;
            for id in assigned(world, tp) {
                let bytes = content(world, id, tp)?;
                match &first {
                    None => first = Some((id, bytes)),
                    Some((other, known)) if *known != bytes => {
                        return Err(format!("{tp} differs on {other} and {id}: {}", difference(known, &bytes)));
                    }
                    Some(_) => {}
                }
            }
            let (_, bytes) = first.ok_or_else(|| format!("{tp} has no replicas"))?;
            self.find_promised(tp, &values(&bytes)?)?;
        }
        Ok(())
    }

    fn find_promised(&self, tp: &TopicPartition, found: &Values) -> Result<(), String> {
        let unique: BTreeSet<&String> = found.values().collect();
        if unique.len() != found.len() {
            return Err(format!("{tp} has a record twice"));
        }
        for (offset, value) in self.promised.get(tp).into_iter().flatten() {
            match found.get(offset) {
                Some(there) if there == value => {}
                other => return Err(format!("{tp} lost {value} at {offset}: {other:?} is there")),
            }
        }
        Ok(())
    }
}

fn assigned(world: &World, tp: &TopicPartition) -> Vec<i32> {
    let Some((data, _)) = world.twin.peek(&paths::topic(&tp.topic)) else { return Vec::new() };
    let topic = TopicZnode::decode(&data).unwrap();
    topic.partitions.get(&tp.partition).map(|assignment| assignment.replicas.clone()).unwrap_or_default()
}

/// Whether one state may follow upon the other.
fn allowed(
    tp: &TopicPartition,
    before: Option<&PartitionState>,
    now: &PartitionState,
    replicas: &[i32],
) -> Result<(), String> {
    if now.isr.is_empty() || now.isr.iter().any(|id| !replicas.contains(id)) {
        return Err(format!("the ISR of {tp} is {:?}, its replicas are {replicas:?}", now.isr));
    }
    if now.leader >= 0 && !now.isr.contains(&now.leader) {
        return Err(format!("{} leads {tp}, whose ISR is {:?}", now.leader, now.isr));
    }
    let Some(before) = before else { return Ok(()) };
    if now.leader_epoch < before.leader_epoch || now.controller_epoch < before.controller_epoch {
        return Err(format!("an epoch of {tp} fell: {before:?} became {now:?}"));
    }
    if now.leader_epoch == before.leader_epoch && now.leader != before.leader {
        return Err(format!("{tp} got another leader in the same epoch: {before:?} became {now:?}"));
    }
    Ok(())
}

/// All of a replica, from its log start to its end.
fn content(world: &World, id: i32, tp: &TopicPartition) -> Result<Bytes, String> {
    let server = world.network.server(id).ok_or_else(|| format!("broker {id} does not serve"))?;
    let partition = server.api.replicas.partition(&tp.topic, tp.partition).map_err(|code| code.to_string())?;
    let log = partition.log().ok_or("no log")?;
    let (mut at, mut all) = (log.log_start_offset(), BytesMut::new());
    while at < log.log_end_offset() {
        let read = log.read(at, 1 << 20, Isolation::LogEnd, true).map_err(|error| error.to_string())?;
        let bytes = read.slice.read().map_err(|error| error.to_string())?;
        let mut next = at;
        for batch in batches(bytes.clone()) {
            let batch = batch.map_err(|error| format!("{tp} on {id} cannot be read at {next}: {error}"))?;
            next = batch.next_offset();
        }
        if next == at {
            return Err(format!("{tp} on {id} has nothing at {at}, but ends at {}", log.log_end_offset()));
        }
        at = next;
        all.extend_from_slice(&bytes);
    }
    Ok(all.freeze())
}

/// The records of some batches by their offsets.
pub fn values(bytes: &Bytes) -> Result<Values, String> {
    let mut found = Values::new();
    for batch in batches(bytes.clone()) {
        let batch = batch.map_err(|error| error.to_string())?;
        batch.verify_crc().map_err(|error| error.to_string())?;
        let batch = batch.v2().ok_or("an old batch")?;
        for record in records(batch, 1 << 20) {
            let record = record.map_err(|error| error.to_string())?;
            let value = record.value.as_deref().unwrap_or_default();
            found.insert(record.offset, String::from_utf8_lossy(value).into_owned());
        }
    }
    Ok(found)
}

fn difference(a: &Bytes, b: &Bytes) -> String {
    let (a, b) = (described(a), described(b));
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    format!("{:?}\nand {:?}", &a[same..], &b[same..])
}

/// Base offset, epoch and values of each batch.
fn described(bytes: &Bytes) -> Vec<(Option<i64>, i32, Vec<String>)> {
    let batches = batches(bytes.clone()).filter_map(Result::ok);
    let values = |bytes: &Bytes| values(bytes).unwrap_or_default().into_values().collect();
    batches.map(|batch| (batch.base_offset(), batch.partition_leader_epoch(), values(batch.bytes()))).collect()
}
