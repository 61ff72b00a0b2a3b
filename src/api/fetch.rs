//! Fetch, versions 0 to 16: sessions, topic ids, limits, long polling, isolation, conversion for old clients.
//! Answers to `KafkaApis.handleFetchRequest` (spec log 2.5, zookeeper 4.10-4.11).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::fetch_response::{FetchAnswer, FetchPartitionAnswer, FetchRecords, FetchTopicAnswer, NodeEndpoint, encode};
use super::reply::{Frame, Reply};
use super::{Api, RequestContext};
use crate::config::CompressionType;
use crate::log::{AbortedTransaction, Isolation, LogRead};
use crate::protocol::ErrorCode;
use crate::protocol::messages::FetchRequest;
use crate::record::convert;
use crate::replica::fetch::{FetchLimits, FetchOutcome, FetchPass, FetchTarget};
use crate::replica::preferred::ClientPlace;
use crate::replica::session::{FetchContext, FetchItem, FetchSummary, SessionRequest, TopicKey};
use crate::util::clock;

/// Most bytes one batch may decompress to while it is converted for an old client.
const MAX_DECOMPRESSED: u64 = 256 << 20;
/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;

/// A request with its session resolved: what to read, and what was refused before reading.
struct Plan {
    limits: FetchLimits,
    context: FetchContext,
    items: Vec<Planned>,
    targets: Vec<FetchTarget>,
}

/// First version that says where the consumer is.
const RACK_ID: i16 = 11;

/// One partition in answering order.
struct Planned {
    key: (TopicKey, i32),
    topic: Arc<str>,
    /// `None`: read it (next of the targets). `Some`: refused with this.
    refused: Option<ErrorCode>,
}

pub fn handle(api: &Arc<Api>, ctx: RequestContext, request: FetchRequest) -> Reply {
    let replica_id = if ctx.version >= 15 { *request.replica_state.replica_id } else { *request.replica_id };
    let place = (api.settings.rack_aware && replica_id < 0 && ctx.version >= RACK_ID && !request.rack_id.is_empty())
        .then(|| ClientPlace { rack: Arc::from(&*request.rack_id), listener: ctx.listener.clone() });
    let limits = FetchLimits {
        place,
        version: ctx.version,
        replica_id,
        replica_epoch: if ctx.version >= 15 { request.replica_state.replica_epoch } else { -1 },
        max_bytes: max_bytes(api, &ctx, replica_id, &request),
        min_bytes: request.min_bytes,
        max_wait_ms: request.max_wait_ms,
        isolation: match (replica_id, request.isolation_level) {
            (0.., _) => Isolation::LogEnd,
            (_, 1) => Isolation::Committed,
            _ => Isolation::HighWatermark,
        },
    };
    let session = session_request(&ctx, replica_id, request);
    let (context, items) = match api.fetch_sessions.open(session, clock::now_ms()) {
        Ok(opened) => opened,
        Err(code) => {
            let refused = FetchAnswer { error: code.code(), session_id: 0, topics: vec![], node_endpoints: vec![] };
            return reply(encode(ctx.correlation_id, ctx.version, refused));
        }
    };
    let plan = plan(api, limits, context, items);
    let pass = api.replicas.read_pass(&plan.limits, &plan.targets, true, clock::now_ms());
    if is_enough(&plan, &pass) || plan.limits.max_wait_ms <= 0 || plan.targets.is_empty() {
        return reply(answer(api, &ctx, plan, pass));
    }
    let api = api.clone();
    Reply::Later(Box::pin(async move { park(&api, &ctx, plan).await }))
}

fn reply(frame: std::io::Result<Frame>) -> Reply {
    match frame {
        Ok(frame) => Reply::Now(frame),
        Err(error) => Reply::Close(format!("cannot read fetched records: {error}")),
    }
}

fn is_enough(plan: &Plan, pass: &FetchPass) -> bool {
    pass.urgent || i64::try_from(pass.bytes).unwrap_or(i64::MAX) >= i64::from(plan.limits.min_bytes)
}

/// Waits until there is enough to send or the request's time is over.
async fn park(api: &Arc<Api>, ctx: &RequestContext, plan: Plan) -> Option<Frame> {
    let wait = Duration::from_millis(u64::try_from(plan.limits.max_wait_ms).unwrap_or(0));
    let deadline = Instant::now() + wait;
    let watch = api.replicas.watch(&plan.limits, &plan.targets);
    let pass = loop {
        // The watch stands before this look, so nothing that comes after it is missed.
        let pass = api.replicas.read_pass(&plan.limits, &plan.targets, false, clock::now_ms());
        if is_enough(&plan, &pass) {
            break pass;
        }
        drop(pass);
        if tokio::time::timeout_at(deadline, watch.changed()).await.is_err() {
            break api.replicas.read_pass(&plan.limits, &plan.targets, false, clock::now_ms());
        }
    };
    drop(watch);
    answer(api, ctx, plan, pass)
        .inspect_err(|error| tracing::error!(target: "kafka.server.KafkaApis", "Cannot read fetched records: {error}"))
        .ok()
}

/// Consumers are held to `fetch.max.bytes`; versions before 3 carry no limit of their own.
fn max_bytes(api: &Api, ctx: &RequestContext, replica_id: i32, request: &FetchRequest) -> i32 {
    let asked = if ctx.version >= 3 { request.max_bytes } else { i32::MAX };
    if replica_id >= 0 { asked } else { asked.min(api.settings.fetch_max_bytes) }
}

fn session_request(ctx: &RequestContext, replica_id: i32, request: FetchRequest) -> SessionRequest {
    let by_id = ctx.version >= TOPIC_IDS;
    let key = |id, name: &str| if by_id { TopicKey::Id(id) } else { TopicKey::Name(Arc::from(name)) };
    let items = request.topics.iter().flat_map(|topic| {
        let topic_key = key(topic.topic_id, &topic.topic);
        topic.partitions.iter().map(move |p| FetchItem {
            topic: topic_key.clone(),
            partition: p.partition,
            fetch_offset: p.fetch_offset,
            log_start_offset: p.log_start_offset,
            max_bytes: p.partition_max_bytes,
            current_leader_epoch: p.current_leader_epoch,
            last_fetched_epoch: p.last_fetched_epoch,
        })
    });
    let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
        let topic_key = key(topic.topic_id, &topic.topic);
        topic.partitions.iter().map(move |p| (topic_key.clone(), *p))
    });
    let (id, epoch) = if ctx.version >= 7 { (request.session_id, request.session_epoch) } else { (0, -1) };
    SessionRequest {
        id,
        epoch,
        uses_topic_ids: by_id,
        from_follower: replica_id >= 0,
        items: items.collect(),
        forgotten: forgotten.collect(),
    }
}

fn plan(api: &Api, limits: FetchLimits, context: FetchContext, items: Vec<FetchItem>) -> Plan {
    let image = api.metadata.image();
    let mut planned = Vec::with_capacity(items.len());
    let mut targets = Vec::with_capacity(items.len());
    for item in items {
        let (topic, refused) = match &item.topic {
            TopicKey::Name(name) => (name.clone(), None),
            TopicKey::Id(id) => match image.topic_by_id(*id) {
                Some(topic) => (topic.name.clone(), None),
                None => (Arc::from(""), Some(ErrorCode::UnknownTopicId)),
            },
        };
        let missing = || image.partition(&topic, item.partition).is_none();
        let refused = refused.or_else(|| missing().then_some(ErrorCode::UnknownTopicOrPartition));
        let refused = refused.or_else(|| refuses_zstd(api, &limits, &topic, item.partition));
        planned.push(Planned { key: (item.topic.clone(), item.partition), topic: topic.clone(), refused });
        if refused.is_none() {
            targets.push(FetchTarget { item, topic });
        }
    }
    Plan { limits, context, items: planned, targets }
}

/// Clients before version 10 cannot read zstd, so a topic that is all zstd is refused outright.
fn refuses_zstd(api: &Api, limits: &FetchLimits, topic: &str, partition: i32) -> Option<ErrorCode> {
    if limits.version >= 10 {
        return None;
    }
    let log = api.replicas.partition(topic, partition).ok()?.log()?;
    (log.config().compression == CompressionType::Zstd).then_some(ErrorCode::UnsupportedCompressionType)
}

fn answer(api: &Api, ctx: &RequestContext, plan: Plan, pass: FetchPass) -> std::io::Result<Frame> {
    if plan.limits.replica_id >= 0 {
        let sent = plan.targets.iter().zip(pass.outcomes.iter().map(FetchOutcome::bytes));
        api.replicas.record_follower_fetch(sent, clock::now_ms());
    }
    let mut outcomes = pass.outcomes.into_iter().zip(plan.targets.iter());
    let mut answers = Vec::with_capacity(plan.items.len());
    for planned in &plan.items {
        let answer = match planned.refused {
            Some(code) => failed(planned.key.1, code, Some(Vec::new())),
            None => match outcomes.next() {
                Some((outcome, target)) => partition_answer(api, ctx, target, outcome),
                None => failed(planned.key.1, ErrorCode::UnknownServerError, None),
            },
        };
        answers.push(answer);
    }
    let summaries: Vec<_> = plan.items.iter().zip(&answers).map(|(p, a)| (p.key.clone(), summary(a))).collect();
    let selected = api.fetch_sessions.select(&plan.context, &summaries);
    let mut topics: Vec<FetchTopicAnswer> = Vec::new();
    let mut leaders = Vec::new();
    for ((planned, answer), selected) in plan.items.iter().zip(answers).zip(selected) {
        if !selected {
            continue;
        }
        leaders.extend(answer.current_leader.map(|(id, _)| id));
        push(&mut topics, planned, answer);
    }
    let answer = FetchAnswer {
        error: 0,
        session_id: plan.context.session_id(),
        topics,
        node_endpoints: node_endpoints(api, ctx, leaders),
    };
    let frame = encode(ctx.correlation_id, ctx.version, answer)?;
    Ok(Frame { is_for_follower: plan.limits.replica_id >= 0, ..frame })
}

/// Neighbours of one topic share an entry; the order of partitions is the session's.
fn push(topics: &mut Vec<FetchTopicAnswer>, planned: &Planned, answer: FetchPartitionAnswer) {
    let id = if let TopicKey::Id(id) = planned.key.0 { id } else { uuid::Uuid::nil() };
    match topics.last_mut() {
        Some(last) if last.id == id && last.name == planned.topic => last.partitions.push(answer),
        _ => topics.push(FetchTopicAnswer { name: planned.topic.clone(), id, partitions: vec![answer] }),
    }
}

fn summary(answer: &FetchPartitionAnswer) -> FetchSummary {
    FetchSummary {
        high_watermark: answer.high_watermark,
        log_start_offset: answer.log_start_offset,
        error: answer.error,
        has_records: !matches!(answer.records, FetchRecords::None),
        diverging: answer.diverging.is_some(),
        has_preferred_replica: answer.preferred_read_replica >= 0,
    }
}

fn failed(partition: i32, code: ErrorCode, aborted: Option<Vec<AbortedTransaction>>) -> FetchPartitionAnswer {
    FetchPartitionAnswer {
        partition,
        error: code.code(),
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        diverging: None,
        current_leader: None,
        aborted,
        preferred_read_replica: -1,
        records: FetchRecords::None,
    }
}

fn partition_answer(
    api: &Api,
    ctx: &RequestContext,
    target: &FetchTarget,
    outcome: FetchOutcome,
) -> FetchPartitionAnswer {
    let partition = target.item.partition;
    match outcome {
        FetchOutcome::Read(read) => match records(ctx, downconverts(api, target), target, &read) {
            Ok(records) => FetchPartitionAnswer {
                partition,
                error: 0,
                high_watermark: read.high_watermark,
                last_stable_offset: read.last_stable_offset,
                log_start_offset: read.log_start_offset,
                diverging: None,
                current_leader: None,
                aborted: read.aborted,
                preferred_read_replica: -1,
                records,
            },
            Err(code) => failed(partition, code, None),
        },
        FetchOutcome::Diverging { epoch, end_offset, high_watermark, log_start_offset, last_stable_offset } => {
            FetchPartitionAnswer {
                high_watermark,
                log_start_offset,
                last_stable_offset,
                diverging: Some((epoch, end_offset)),
                ..failed(partition, ErrorCode::None, None)
            }
        }
        FetchOutcome::Preferred { replica, high_watermark, log_start_offset, last_stable_offset } => {
            FetchPartitionAnswer {
                high_watermark,
                log_start_offset,
                last_stable_offset,
                preferred_read_replica: replica,
                ..failed(partition, ErrorCode::None, None)
            }
        }
        FetchOutcome::Failed { code, .. } => {
            let code = match code {
                ErrorCode::KafkaStorageError if ctx.version <= 5 => ErrorCode::NotLeaderOrFollower,
                code => code,
            };
            let stale = matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
            let current_leader = (stale && ctx.version >= 16).then(|| api.current_leader(&target.topic, partition));
            FetchPartitionAnswer { current_leader: current_leader.flatten(), ..failed(partition, code, None) }
        }
    }
}

/// `message.downconversion.enable` of the topic.
fn downconverts(api: &Api, target: &FetchTarget) -> bool {
    let log = api.replicas.partition(&target.topic, target.item.partition).ok().and_then(|p| p.log());
    log.is_none_or(|log| log.config().message_downconversion)
}

/// What to send of a read: the file range itself, or its conversion for versions that know no batches.
fn records(
    ctx: &RequestContext,
    downconverts: bool,
    target: &FetchTarget,
    read: &LogRead,
) -> Result<FetchRecords, ErrorCode> {
    if read.slice.len == 0 {
        return Ok(FetchRecords::None);
    }
    if ctx.version >= 4 {
        return Ok(FetchRecords::File(read.slice.clone()));
    }
    let bytes: Bytes = read.slice.read().map_err(|_| ErrorCode::KafkaStorageError)?;
    let Some(magic) = convert::target_magic(ctx.version, &bytes) else {
        return Ok(FetchRecords::Bytes(bytes));
    };
    if !downconverts {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let offset = target.item.fetch_offset;
    let converted = convert::down_convert_for_fetch(bytes, magic, offset, MAX_DECOMPRESSED).map_err(|error| {
        tracing::debug!(target: "kafka.server.KafkaApis", "Cannot convert records of {}-{} at {offset} for version {}: {error}",
            target.topic, target.item.partition, ctx.version);
        error.code()
    })?;
    Ok(FetchRecords::Bytes(converted.bytes))
}

fn node_endpoints(api: &Api, ctx: &RequestContext, mut leaders: Vec<i32>) -> Vec<NodeEndpoint> {
    leaders.sort_unstable();
    leaders.dedup();
    let image = api.metadata.image();
    let endpoint = |id: i32| {
        let broker = image.brokers.get(&id)?;
        let endpoint = broker.endpoint(&ctx.listener)?;
        Some(NodeEndpoint { id, host: endpoint.host.clone(), port: endpoint.port, rack: broker.rack.clone() })
    };
    leaders.into_iter().filter_map(endpoint).collect()
}
