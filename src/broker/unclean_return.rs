//! A broker that was not shut down cleanly may have lost the end of its logs. Before it registers again it leaves every
//! ISR that has another member who is well, and gives up its leaderships there; it comes back as any follower does.
//!
//! A controller that sees the broker go does the same. But one that is about to be replaced may write states without
//! knowing that the broker has been away, and then nothing in ZooKeeper tells its successor. KIP-966 gives unclean
//! shutdowns the same meaning; Kafka 3.7 trusts the ISR. Runs once, before the registration; every write is conditional
//! on the state that was read, and on the count of those who have returned and stayed in an ISR: a state that is written
//! after a return hides it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt, stream};

use crate::client::{Connector, Options};
use crate::controller::assignment::NO_LEADER;
use crate::topic::TopicPartition;
use crate::zk::json::{BrokerRegistration, PartitionState};
use crate::zk::store::{RegisteredBroker, Store, StoreError, VersionedState};

const LOGGER: &str = "kafka.server.KafkaServer";
/// How long another member has to answer that it is well.
const PATIENCE: Duration = Duration::from_secs(1);
/// Writes under way at once.
const PIPELINE: usize = 64;

/// Another registered broker.
#[derive(Clone, Copy, Debug)]
struct Other {
    epoch: i64,
    /// It answers on the inter-broker listener.
    is_well: bool,
}

/// Whether the broker is still in the ISR of a partition that another is in sync for.
struct Stays(bool);

/// The broker that returns.
pub struct UncleanReturn<'a> {
    pub id: i32,
    pub store: &'a Store,
    pub connector: &'a Connector,
    /// `inter.broker.listener.name`
    pub listener: &'a str,
}

impl UncleanReturn<'_> {
    /// Registers the broker; answers its epoch. Before that it leaves the ISRs of these partitions, where that is safe.
    pub async fn register(
        &self,
        assigned: Vec<TopicPartition>,
        registration: &BrokerRegistration,
    ) -> Result<i64, StoreError> {
        match self.leave_isrs(assigned).await? {
            Stays(false) => self.store.register_broker(self.id, registration, true).await,
            Stays(true) => self.store.register_returned_broker(self.id, registration).await,
        }
    }

    async fn leave_isrs(&self, assigned: Vec<TopicPartition>) -> Result<Stays, StoreError> {
        let mut answers = BTreeMap::new();
        let mut remaining = assigned;
        let (mut left, mut stays) = (0, false);
        while !remaining.is_empty() {
            let shared = self.shared_isrs(&remaining).await?;
            if shared.is_empty() {
                break;
            }
            let members = shared.iter().flat_map(|(_, found)| found.state.isr.iter().copied()).collect();
            let (others, count) = self.others(&members, &mut answers).await?;
            let (mut writes, found_shared) = (Vec::new(), shared.len());
            for (partition, found) in shared {
                let Some(state) = without(self.id, &found, &others) else { continue };
                writes.push(async move {
                    let written = self.store.write_isr_unless_returned(&partition, &state, found.version, count).await;
                    (partition, written)
                });
            }
            stays |= writes.len() < found_shared;
            remaining = Vec::new();
            for (partition, written) in stream::iter(writes).buffered(PIPELINE).collect::<Vec<_>>().await {
                match written {
                    Ok(_) => left += 1,
                    Err(error) if error.is_bad_version() => remaining.push(partition),
                    Err(error) if error.concerns_all() => return Err(error),
                    Err(error) => {
                        stays = true;
                        tracing::warn!(target: LOGGER, "Cannot leave the ISR of {partition}: {error}");
                    }
                }
            }
        }
        if left > 0 {
            tracing::info!(
                target: LOGGER,
                "[KafkaServer id={}] was not shut down cleanly, and has left the ISRs of {left} partitions to those in sync who are well",
                self.id
            );
        }
        Ok(Stays(stays))
    }

    /// The states that name this broker and others in sync.
    async fn shared_isrs(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, VersionedState)>, StoreError> {
        let mut shared = Vec::new();
        for (partition, read) in self.store.read_partition_states(partitions).await {
            match read {
                Ok(Some(found)) if found.state.isr.len() > 1 && found.state.isr.contains(&self.id) => {
                    shared.push((partition, found));
                }
                Ok(_) => {}
                Err(error) if error.concerns_all() => return Err(error),
                Err(error) => tracing::warn!(target: LOGGER, "Cannot tell the ISR of {partition}: {error}"),
            }
        }
        Ok(shared)
    }

    /// The other ones of these brokers, each of which is asked once how it is; and how many have returned up to now.
    async fn others(
        &self,
        ids: &BTreeSet<i32>,
        answers: &mut BTreeMap<i32, bool>,
    ) -> Result<(BTreeMap<i32, Other>, i32), StoreError> {
        let (mut others, count) = self.store.counted_brokers().await?;
        others.retain(|id, _| *id != self.id && ids.contains(id));
        let asked = others.iter().filter(|(id, _)| !answers.contains_key(id)).map(|(id, broker)| async move {
            let answers = tokio::time::timeout(PATIENCE, self.answers(&broker.registration)).await;
            (*id, answers.unwrap_or(false))
        });
        answers.extend(futures::future::join_all(asked).await);
        let other = |(id, broker): (i32, RegisteredBroker)| {
            (id, Other { epoch: broker.epoch, is_well: answers.get(&id) == Some(&true) })
        };
        Ok((others.into_iter().map(other).collect(), count))
    }

    async fn answers(&self, broker: &BrokerRegistration) -> bool {
        let Some(endpoint) = broker.endpoints.iter().find(|endpoint| endpoint.listener == self.listener) else {
            return false;
        };
        let Ok(port) = u16::try_from(endpoint.port) else { return false };
        let options = Options::new(&self.id.to_string(), PATIENCE);
        match (self.connector)(endpoint.host.clone(), port, options).await {
            Ok(connection) => connection.negotiate().await.is_ok(),
            Err(_) => false,
        }
    }
}

/// The state without the broker in its ISR. `None` if it must stay: nobody else in it is well; or another has returned
/// since the state was written, which would be forgotten with the next write.
fn without(id: i32, found: &VersionedState, others: &BTreeMap<i32, Other>) -> Option<PartitionState> {
    let state = &found.state;
    let rest = || state.isr.iter().filter_map(|member| others.get(member));
    if !rest().any(|other| other.is_well) || rest().any(|other| other.epoch > found.written) {
        return None;
    }
    let mut left = state.clone();
    left.isr.retain(|member| *member != id);
    left.leader_epoch += 1;
    if left.leader == id {
        left.leader = NO_LEADER;
    }
    Some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(leader: i32, leader_epoch: i32, isr: &[i32]) -> PartitionState {
        PartitionState { leader, leader_epoch, isr: isr.to_vec(), controller_epoch: 4, leader_recovery_state: 0 }
    }

    /// The state written by transaction 100, without broker 1.
    fn left(state: PartitionState, others: &[(i32, i64, bool)]) -> Option<PartitionState> {
        let others = others.iter().map(|(id, epoch, is_well)| (*id, Other { epoch: *epoch, is_well: *is_well }));
        without(1, &VersionedState { state, version: 7, written: 100 }, &others.collect())
    }

    #[test]
    fn a_leader_leaves_the_office_vacant() {
        assert_eq!(left(state(1, 5, &[1, 2, 3]), &[(2, 50, true), (3, 60, false)]), Some(state(-1, 6, &[2, 3])));
    }

    #[test]
    fn a_follower_leaves_the_leader_alone() {
        assert_eq!(left(state(2, 5, &[1, 2]), &[(2, 50, true), (3, 60, true)]), Some(state(2, 6, &[2])));
    }

    #[test]
    fn nobody_leaves_an_isr_to_those_who_do_not_answer() {
        assert_eq!(left(state(1, 5, &[1, 2]), &[(2, 50, false), (3, 50, true)]), None);
        assert_eq!(left(state(1, 5, &[1]), &[(2, 50, true)]), None);
    }

    #[test]
    fn nobody_hides_that_another_has_returned() {
        assert_eq!(left(state(1, 5, &[1, 2, 3]), &[(2, 50, true), (3, 101, false)]), None);
    }
}
