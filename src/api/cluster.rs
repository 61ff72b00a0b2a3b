//! DescribeCluster, versions 0 and 1. Answers to `KafkaApis.handleDescribeCluster`.

use super::metadata::{ALL_CLUSTER_OPERATIONS, NO_OPERATIONS};
use super::reply::Reply;
use super::{Api, RequestContext};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::describe_cluster_response::DescribeClusterBroker;
use crate::protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

/// Endpoint type of brokers; type 2 asks for controllers, which ZooKeeper mode has none of apart from brokers.
const BROKERS: i8 = 1;

pub fn handle(api: &Api, ctx: &RequestContext, request: &DescribeClusterRequest) -> Reply {
    let asked = if ctx.version >= 1 { request.endpoint_type } else { BROKERS };
    if asked != BROKERS {
        let code = if asked == 2 { ErrorCode::MismatchedEndpointType } else { ErrorCode::UnsupportedEndpointType };
        let refused = DescribeClusterResponse::default()
            .with_error_code(code.code())
            .with_error_message(Some(StrBytes::from_static_str(code.message())))
            .with_endpoint_type(BROKERS);
        return ctx.responder().reply(&refused);
    }
    let image = api.metadata.image();
    let brokers: Vec<_> = image
        .brokers
        .values()
        .filter_map(|broker| {
            let endpoint = broker.endpoint(&ctx.listener)?;
            let entry = DescribeClusterBroker::default().with_broker_id(BrokerId(broker.id)).with_port(endpoint.port);
            let entry = entry.with_host(StrBytes::from_string(endpoint.host.to_string()));
            Some(entry.with_rack(broker.rack.as_ref().map(|rack| StrBytes::from_string(rack.to_string()))))
        })
        .collect();
    let controller = image.controller_id.filter(|id| brokers.iter().any(|b| *b.broker_id == *id)).unwrap_or(-1);
    let operations = if request.include_cluster_authorized_operations { ALL_CLUSTER_OPERATIONS } else { NO_OPERATIONS };
    let response = DescribeClusterResponse::default()
        .with_endpoint_type(BROKERS)
        .with_cluster_id(StrBytes::from_string(api.cluster_id.to_string()))
        .with_controller_id(BrokerId(controller))
        .with_brokers(brokers)
        .with_cluster_authorized_operations(operations);
    ctx.responder().reply(&response)
}
