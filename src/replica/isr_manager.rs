//! Carries proposals about in-sync sets to the controller: one request at a time with all that wait, until each is
//! answered.
//!
//! Owns the proposals behind one mutex, held for a look only. Answers to Kafka's `AlterPartitionManager`
//! (spec zookeeper 4.7).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use super::isr_changes::{CommittedIsr, IsrProposal, Verdict};
use super::partition::Partition;
use crate::metadata::MetadataCache;
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use crate::protocol::messages::{AlterPartitionRequest, AlterPartitionResponse, BrokerId, TopicName};
use crate::topic::TopicPartition;
use crate::util::clock;

const TARGET: &str = "kafka.server.DefaultAlterPartitionManager";
/// Pause after an answer that settled nothing.
pub(super) const RETRY: Duration = Duration::from_millis(50);
/// First version that names topics by id.
const TOPIC_IDS: i16 = 2;
/// First version with broker epochs of the members.
const MEMBER_EPOCHS: i16 = 3;

/// Makes the request in the version agreed upon with the controller.
pub type RequestBuilder = Arc<dyn Fn(i16) -> AlterPartitionRequest + Send + Sync>;

/// The way to the controller.
pub trait ToController: Send + Sync {
    /// Sends AlterPartition in a version up to `max_version` until a broker answers that is the controller; says in
    /// which version.
    fn alter_partition(
        &self,
        max_version: i16,
        build: RequestBuilder,
    ) -> BoxFuture<'static, (i16, AlterPartitionResponse)>;

    /// Epoch of this broker's present registration.
    fn broker_epoch(&self) -> i64;
}

struct Item {
    proposal: IsrProposal,
    partition: Arc<Partition>,
}

/// Proposals on their way.
pub struct IsrManager {
    broker_id: i32,
    metadata: Arc<MetadataCache>,
    items: Mutex<BTreeMap<TopicPartition, Item>>,
    wake: Notify,
}

impl IsrManager {
    pub fn new(broker_id: i32, metadata: Arc<MetadataCache>) -> IsrManager {
        IsrManager { broker_id, metadata, items: Mutex::default(), wake: Notify::new() }
    }

    /// Takes a proposal. One at a time per partition: a second one is refused, and its partition told so.
    pub fn submit(&self, partition: &Arc<Partition>, proposal: IsrProposal) {
        let refused = {
            let mut items = self.items.lock();
            if items.contains_key(&proposal.tp) {
                Some(proposal)
            } else {
                items.insert(proposal.tp.clone(), Item { proposal, partition: partition.clone() });
                None
            }
        };
        match refused {
            None => self.wake.notify_one(),
            Some(proposal) => {
                self.answer(partition, &proposal, Err(ErrorCode::OperationNotAttempted));
            }
        }
    }

    fn answer(
        &self,
        partition: &Partition,
        proposal: &IsrProposal,
        answer: Result<CommittedIsr, ErrorCode>,
    ) -> Verdict {
        let image = self.metadata.snapshot();
        partition.on_isr_answer(proposal, answer, &|id| image.is_alive(id), clock::now_ms())
    }

    pub(super) fn broker_id(&self) -> i32 {
        self.broker_id
    }

    /// Resolves when proposals have come.
    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Lets those who wait for changes look again.
    pub(super) fn try_again(&self) {
        self.wake.notify_one();
    }

    /// All proposals without an answer.
    pub(super) fn waiting(&self) -> Vec<IsrProposal> {
        self.items.lock().values().map(|item| item.proposal.clone()).collect()
    }

    /// Gives a proposal's partition its answer. What is to be tried again stays among the waiting.
    pub(super) fn settle(&self, proposal: &IsrProposal, answer: Result<CommittedIsr, ErrorCode>) -> Verdict {
        let item = self.items.lock().remove(&proposal.tp);
        let Some(item) = item else { return Verdict::Settled };
        let verdict = self.answer(&item.partition, &item.proposal, answer);
        if verdict == Verdict::Retry {
            self.submit(&item.partition, item.proposal);
        }
        verdict
    }

    /// Sends proposals for the life of the broker. `topic_ids`: the controller may be asked by topic id.
    pub async fn run(self: Arc<Self>, controller: Arc<dyn ToController>, topic_ids: bool) {
        loop {
            let proposals = self.waiting();
            if proposals.is_empty() {
                self.wake.notified().await;
                continue;
            }
            let ids = topic_ids && proposals.iter().all(|p| !p.topic_id.is_nil());
            let max_version = if ids { MEMBER_EPOCHS } else { TOPIC_IDS - 1 };
            let (me, epoch) = (self.broker_id, controller.broker_epoch());
            let sent = proposals.clone();
            let build: RequestBuilder = Arc::new(move |version| request(me, epoch, &sent, version));
            let (version, response) = controller.alter_partition(max_version, build).await;
            if !self.on_response(&proposals, version, &response) {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// False if something has to be sent again.
    fn on_response(&self, sent: &[IsrProposal], version: i16, response: &AlterPartitionResponse) -> bool {
        let code = ErrorCode::from_code(response.error_code);
        if !code.is_none() {
            if code == ErrorCode::StaleBrokerEpoch {
                tracing::warn!(target: TARGET, "[AlterPartitionManager broker={}] Broker had a stale broker epoch, retrying.", self.broker_id);
            } else {
                tracing::error!(target: TARGET, "[AlterPartitionManager broker={}] Received error {code} in an AlterPartition response", self.broker_id);
            }
            return false;
        }
        let answers = answers(sent, version, response);
        let mut all_settled = true;
        for (tp, answer) in answers {
            let Some(proposal) = sent.iter().find(|p| p.tp == tp) else { continue };
            all_settled &= self.settle(proposal, answer) == Verdict::Settled;
        }
        // What the controller said nothing about is still among the items.
        all_settled && sent.iter().all(|p| self.items.lock().get(&p.tp).is_none_or(|item| item.proposal != *p))
    }
}

fn request(broker_id: i32, broker_epoch: i64, proposals: &[IsrProposal], version: i16) -> AlterPartitionRequest {
    let mut topics: Vec<TopicData> = Vec::new();
    let mut last: Option<&TopicPartition> = None;
    for proposal in proposals {
        let data = partition_data(proposal, version);
        match topics.last_mut() {
            Some(topic) if last.is_some_and(|tp| tp.topic == proposal.tp.topic) => topic.partitions.push(data),
            _ => {
                let topic = TopicData::default().with_partitions(vec![data]);
                topics.push(match version >= TOPIC_IDS {
                    true => topic.with_topic_id(proposal.topic_id),
                    false => topic.with_topic_name(TopicName(StrBytes::from_string(proposal.tp.topic.to_string()))),
                });
            }
        }
        last = Some(&proposal.tp);
    }
    AlterPartitionRequest::default()
        .with_broker_id(BrokerId(broker_id))
        .with_broker_epoch(broker_epoch)
        .with_topics(topics)
}

fn partition_data(proposal: &IsrProposal, version: i16) -> PartitionData {
    let data = PartitionData::default()
        .with_partition_index(proposal.tp.partition)
        .with_leader_epoch(proposal.leader_epoch)
        .with_partition_epoch(proposal.partition_epoch);
    if version < MEMBER_EPOCHS {
        return data.with_new_isr(proposal.isr().into_iter().map(BrokerId).collect());
    }
    let members = proposal.members.iter();
    let members =
        members.map(|(id, epoch)| BrokerState::default().with_broker_id(BrokerId(*id)).with_broker_epoch(*epoch));
    data.with_new_isr_with_epochs(members.collect())
}

type Answer = (TopicPartition, Result<CommittedIsr, ErrorCode>);

fn answers(sent: &[IsrProposal], version: i16, response: &AlterPartitionResponse) -> Vec<Answer> {
    let names: BTreeMap<Uuid, Arc<str>> = sent.iter().map(|p| (p.topic_id, p.tp.topic.clone())).collect();
    let mut answers = Vec::new();
    for topic in &response.topics {
        let name = match version >= TOPIC_IDS {
            true => names.get(&topic.topic_id).cloned(),
            false => Some(Arc::from(&*topic.topic_name.0)),
        };
        let Some(name) = name else { continue };
        for data in &topic.partitions {
            let answer = match ErrorCode::from_code(data.error_code) {
                ErrorCode::None => Ok(CommittedIsr {
                    leader: *data.leader_id,
                    leader_epoch: data.leader_epoch,
                    isr: data.isr.iter().map(|id| **id).collect(),
                    partition_epoch: data.partition_epoch,
                }),
                code => Err(code),
            };
            answers.push((TopicPartition::new(name.clone(), data.partition_index), answer));
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::super::testing::{log, state};
    use super::*;
    use crate::protocol::codec;

    /// AlterPartition 3 between Kafka's brokers, as recorded; nothing is known of the followers' broker epochs.
    const RECORDED: &str = "0000006200380003000000040001300000000000000000000000005602802d9c84c660479d96c756148b1e38c70200000000000000020400000000ffffffffffffffff0000000001ffffffffffffffff0000000002ffffffffffffffff000000000003000000";

    #[test]
    fn the_request_is_kafkas_byte_for_byte() {
        let (_dir, log) = log();
        log.set_topic_id(crate::topic::id_from_text("gC2chMZgR52Wx1YUix44xw").unwrap()).unwrap();
        let partition = Partition::new(TopicPartition::new("t", 0), 0, 30_000);
        partition.set_log(log.clone());
        let mut led = state(0, 2);
        (led.replicas, led.isr, led.partition_epoch) = (vec![0, 1, 2], vec![0, 1], 3);
        partition.make_leader(&led, &log, &|_| true, 0).unwrap();
        let fetch = super::super::partition::FollowerFetch {
            replica_id: 2,
            broker_epoch: -1,
            leader_epoch: super::super::partition::ExpectedEpoch::ANY,
            fetch_offset: 0,
            log_start_offset: 0,
            leader_end: 0,
        };
        partition.on_follower_fetch(fetch, &|_| true, 0);
        let proposal = partition.maybe_expand_isr(2, &|_| true).unwrap();
        let request = request(0, 86, &[proposal], 3);
        let frame = codec::encode_request(4, Some("0"), 3, &request).unwrap();
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, RECORDED);
    }
}
