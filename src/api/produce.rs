//! Produce, versions 0 to 10. Answers to `KafkaApis.handleProduceRequest` (spec log 2.2, zookeeper 4.8).

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::reply::Reply;
use super::{Api, RequestContext};
use crate::log::AppendError;
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use crate::protocol::messages::{BrokerId, ProduceRequest, ProduceResponse};
use crate::record::{AppendOrigin, validate};
use crate::replica::table::AckWait;
use crate::topic::{TopicPartition, is_internal};
use crate::util::clock;

/// Client id that may write to internal topics, as with Kafka.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// Longest wait for ZooKeeper's word on who leads.
const CONFIRMATION: Duration = Duration::from_secs(2);

/// What the answer of one partition waits for: place in the answer, and the wait.
struct Waiting {
    topic: usize,
    partition: usize,
    wait: Wait,
}

enum Wait {
    /// For its high watermark.
    Acks(AckWait),
    /// For the word on whether the sequence was wrong, see [`confirmed`].
    Leadership(Arc<Api>, TopicPartition),
}

pub fn handle(api: &Arc<Api>, ctx: RequestContext, request: ProduceRequest) -> Reply {
    let now_ms = clock::now_ms();
    let (acks, timeout_ms) = (request.acks, request.timeout_ms);
    let mut waiting = Vec::new();
    let mut failed = None;
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for (at, topic) in request.topic_data.into_iter().enumerate() {
        let mut answers = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let appended = append(api, &ctx, acks, &topic.name, data.index, data.records, now_ms);
            let (answer, wait) = match appended {
                Ok(appended) => appended,
                Err(error) => {
                    failed.get_or_insert_with(|| format!("{}-{}: {}", &*topic.name, data.index, error.code()));
                    let doubtful = error.code() == ErrorCode::OutOfOrderSequenceNumber && acks != 0;
                    let partition = || TopicPartition::new(topic.name.as_str(), data.index);
                    let wait = doubtful.then(|| Wait::Leadership(api.clone(), partition()));
                    (refused(api, &ctx, &topic.name, data.index, error), wait)
                }
            };
            if let Some(wait) = wait {
                waiting.push(Waiting { topic: at, partition: answers.len(), wait });
            }
            answers.push(answer);
        }
        topics.push(TopicProduceResponse::default().with_name(topic.name).with_partition_responses(answers));
    }
    if acks == 0 {
        return match failed {
            None => Reply::Nothing,
            Some(what) => Reply::Close(format!(
                "Closing connection due to error during produce request with correlation id {} \
                from client id {} with ack=0: {what}",
                ctx.correlation_id,
                ctx.client_id()
            )),
        };
    }
    let mut response = ProduceResponse::default().with_responses(topics);
    response.node_endpoints = node_endpoints(api, &ctx, &response);
    if waiting.is_empty() {
        return ctx.responder().reply(&response);
    }
    let time_limit = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    Reply::Later(Box::pin(async move {
        settle(&mut response, waiting, time_limit).await;
        ctx.responder().finish(&response)
    }))
}

/// Fills in the outcome of each wait; what is not settled in time has timed out.
async fn settle(response: &mut ProduceResponse, waiting: Vec<Waiting>, time_limit: Duration) {
    let deadline = tokio::time::Instant::now() + time_limit;
    let outcomes = waiting.into_iter().map(|w| async move {
        let code = match w.wait {
            Wait::Acks(wait) => {
                tokio::time::timeout_at(deadline, wait.outcome()).await.unwrap_or(ErrorCode::RequestTimedOut)
            }
            Wait::Leadership(api, tp) if confirmed(&api, &tp).await => ErrorCode::OutOfOrderSequenceNumber,
            Wait::Leadership(..) => ErrorCode::NotLeaderOrFollower,
        };
        (w.topic, w.partition, code)
    });
    for (topic, partition, code) in join_all(outcomes).await {
        if code.is_none() {
            continue;
        }
        let answer = response.responses.get_mut(topic).and_then(|t| t.partition_responses.get_mut(partition));
        if let Some(answer) = answer {
            answer.error_code = code.code();
        }
    }
}

/// Whether a wrong sequence is this leader's to call wrong. For producers it is the end, or the start of a new epoch in
/// which they write again what is here already, while "not the leader" makes them look and try again. Kafka calls it wrong
/// in these two cases as well:
/// - A new leader gets a later batch while an earlier one is still out to the leader before it.
/// - A leader that was frozen, or is cut off from ZooKeeper, does not know that another has taken what came before.
async fn confirmed(api: &Api, tp: &TopicPartition) -> bool {
    let Ok(partition) = api.replicas.partition(&tp.topic, tp.partition) else { return false };
    if partition.has_just_succeeded(clock::now_ms()) {
        return false;
    }
    let believed = partition.current_leader();
    match tokio::time::timeout(CONFIRMATION, api.store.partition_state(tp)).await {
        Ok(Ok(Some(found))) => found.state.leader == believed.id && found.state.leader_epoch == believed.epoch,
        Ok(Ok(None) | Err(_)) | Err(_) => false,
    }
}

/// The answer so far, and the wait for the high watermark if one is needed.
type Appended = (PartitionProduceResponse, Option<Wait>);

fn append(
    api: &Api,
    ctx: &RequestContext,
    acks: i16,
    topic: &str,
    index: i32,
    records: Option<bytes::Bytes>,
    now_ms: i64,
) -> Result<Appended, AppendError> {
    if !matches!(acks, -1..=1) {
        return Err(AppendError::rejected(ErrorCode::InvalidRequiredAcks));
    }
    validate::check_produce_request(ctx.version, records.as_ref()).map_err(|e| AppendError::rejected(e.code))?;
    let records = records.unwrap_or_default();
    if api.metadata.image().partition(topic, index).is_none() {
        return Err(AppendError::rejected(ErrorCode::UnknownTopicOrPartition));
    }
    if is_internal(topic) && ctx.client_id() != ADMIN_CLIENT_ID {
        return Err(AppendError::rejected(ErrorCode::InvalidTopicException));
    }
    let (info, wait) = api.replicas.append(topic, index, records, AppendOrigin::Client, acks, now_ms)?;
    let answer = PartitionProduceResponse::default()
        .with_index(index)
        .with_base_offset(info.first_offset)
        .with_log_append_time_ms(info.log_append_time)
        .with_log_start_offset(info.log_start_offset);
    Ok((answer, wait.map(Wait::Acks)))
}

fn refused(api: &Api, ctx: &RequestContext, topic: &str, index: i32, error: AppendError) -> PartitionProduceResponse {
    let code = error.code();
    let record_errors = error.record_errors().iter().map(|(index, message)| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(*index)
            .with_batch_index_error_message(message.clone().map(StrBytes::from_string))
    });
    let mut answer = PartitionProduceResponse::default()
        .with_index(index)
        .with_error_code(code.code())
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(error.log_start_offset())
        .with_record_errors(record_errors.collect())
        .with_error_message(error.response_message().map(StrBytes::from_string));
    if ctx.version >= 10
        && code == ErrorCode::NotLeaderOrFollower
        && let Some((id, epoch)) = api.current_leader(topic, index)
    {
        answer.current_leader = LeaderIdAndEpoch::default().with_leader_id(BrokerId(id)).with_leader_epoch(epoch);
    }
    answer
}

/// Addresses of the leaders named in the answer (version 10).
fn node_endpoints(api: &Api, ctx: &RequestContext, response: &ProduceResponse) -> Vec<NodeEndpoint> {
    if ctx.version < 10 {
        return Vec::new();
    }
    let answers = response.responses.iter().flat_map(|t| &t.partition_responses);
    let mut leaders: Vec<i32> = answers.map(|a| *a.current_leader.leader_id).filter(|id| *id >= 0).collect();
    leaders.sort_unstable();
    leaders.dedup();
    let image = api.metadata.image();
    let endpoint = |id: i32| {
        let broker = image.brokers.get(&id)?;
        let endpoint = broker.endpoint(&ctx.listener)?;
        let node = NodeEndpoint::default().with_node_id(BrokerId(id)).with_port(endpoint.port);
        let node = node.with_host(StrBytes::from_string(endpoint.host.to_string()));
        Some(node.with_rack(broker.rack.as_ref().map(|rack| StrBytes::from_string(rack.to_string()))))
    };
    leaders.into_iter().filter_map(endpoint).collect()
}
