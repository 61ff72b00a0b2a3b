//! ElectLeaders, versions 0 to 2. Answers to `KafkaApis.handleElectLeaders`, `ReplicaManager.electLeaders` and
//! `DelayedElectLeader` (spec zookeeper 3.5.4, 5.8).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::reply::Reply;
use super::{Api, RequestContext};
use crate::controller::{ApiError, ElectionType};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use crate::protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};
use crate::topic::TopicPartition;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

type Results = BTreeMap<TopicPartition, Result<(), ApiError>>;

pub fn handle(api: &Arc<Api>, ctx: RequestContext, request: ElectLeadersRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let asked = request.topic_partitions.as_ref().map(|topics| {
            let all = topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(|partition| TopicPartition::new(&*topic.topic.0, *partition))
            });
            all.collect::<BTreeSet<_>>()
        });
        // Version 0 knows preferred elections only.
        let election = match request.election_type {
            _ if ctx.version == 0 => ElectionType::Preferred,
            PREFERRED => ElectionType::Preferred,
            UNCLEAN => ElectionType::Unclean,
            _ => {
                let code = ErrorCode::UnknownServerError;
                let refused = |tp: TopicPartition| (tp, Err(ApiError { code, message: None }));
                let results = asked.unwrap_or_default().into_iter().map(refused).collect();
                return ctx.responder().finish(&response(&ctx, code, results));
            }
        };
        let names_all = asked.is_none();
        let partitions = asked.unwrap_or_else(|| all_partitions(&api));
        let patience = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let mut results = elect(&api, partitions, election, Instant::now() + patience).await;
        if names_all {
            results.retain(|_, r| !matches!(r, Err(error) if error.code == ErrorCode::ElectionNotNeeded));
        }
        ctx.responder().finish(&response(&ctx, ErrorCode::None, results))
    }))
}

fn all_partitions(api: &Api) -> BTreeSet<TopicPartition> {
    let image = api.metadata.image();
    let all = image
        .topics()
        .flat_map(|topic| topic.partitions.keys().map(|partition| TopicPartition::new(topic.name.clone(), *partition)));
    all.collect()
}

/// Elects, and waits until this broker has heard of the new leaders.
async fn elect(api: &Api, partitions: BTreeSet<TopicPartition>, election: ElectionType, deadline: Instant) -> Results {
    let mut expected = BTreeMap::new();
    let mut results = Results::new();
    for (tp, outcome) in api.controller.elect_leaders(partitions, election).await {
        match outcome {
            Ok(leader) => drop(expected.insert(tp, leader)),
            Err(error) => drop(results.insert(tp, Err(error))),
        }
    }
    let leads = |image: &crate::metadata::ClusterImage, tp: &TopicPartition, leader: i32| {
        image.partition(&tp.topic, tp.partition).is_some_and(|p| p.leader == leader)
    };
    if !expected.is_empty() {
        let seen =
            |image: &crate::metadata::ClusterImage| expected.iter().all(|(tp, leader)| leads(image, tp, *leader));
        api.metadata.wait_until(deadline, seen).await;
    }
    let image = api.metadata.snapshot();
    for (tp, leader) in expected {
        let result = match leads(&image, &tp, leader) {
            true => Ok(()),
            false => Err(ApiError { code: ErrorCode::RequestTimedOut, message: None }),
        };
        results.insert(tp, result);
    }
    results
}

fn response(ctx: &RequestContext, code: ErrorCode, results: Results) -> ElectLeadersResponse {
    let mut topics: BTreeMap<Arc<str>, Vec<PartitionResult>> = BTreeMap::new();
    for (tp, result) in results {
        let entry = PartitionResult::default().with_partition_id(tp.partition);
        let entry = match result {
            Ok(()) => entry.with_error_message(None),
            Err(error) => {
                entry.with_error_code(error.code.code()).with_error_message(error.message.map(StrBytes::from_string))
            }
        };
        topics.entry(tp.topic).or_default().push(entry);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        ReplicaElectionResult::default()
            .with_topic(TopicName(StrBytes::from_string(topic.to_string())))
            .with_partition_result(partitions)
    });
    let response = ElectLeadersResponse::default().with_replica_election_results(topics.collect());
    if ctx.version >= 1 { response.with_error_code(code.code()) } else { response }
}
