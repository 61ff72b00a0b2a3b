//! InitProducerId, versions 0 to 4, and AllocateProducerIds, version 0.
//! Answers to `KafkaApis.handleInitProducerIdRequest`/`handleAllocateProducerIdsRequest` (spec zookeeper 5.4).

use std::sync::Arc;

use super::reply::Reply;
use super::{Api, RequestContext};
use crate::protocol::ErrorCode;
use crate::protocol::messages::{
    AllocateProducerIdsRequest, InitProducerIdRequest, InitProducerIdResponse, ProducerId,
};

pub fn init(api: &Arc<Api>, ctx: RequestContext, request: InitProducerIdRequest) -> Reply {
    let refused = |code: ErrorCode| {
        let response = InitProducerIdResponse::default().with_error_code(code.code());
        response.with_producer_id(ProducerId(-1)).with_producer_epoch(-1)
    };
    let (id, epoch) = (*request.producer_id, request.producer_epoch);
    if (id == -1) != (epoch == -1) || request.transactional_id.as_ref().is_some_and(|id| id.is_empty()) {
        return ctx.responder().reply(&refused(ErrorCode::InvalidRequest));
    }
    if request.transactional_id.is_some() {
        return ctx.responder().reply(&refused(ErrorCode::UnsupportedVersion));
    }
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let response = match api.producer_ids.next().await {
            Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
            Err(code) => refused(code),
        };
        ctx.responder().finish(&response)
    }))
}

pub fn allocate(api: &Arc<Api>, ctx: RequestContext, request: AllocateProducerIdsRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let response = api.controller.allocate_producer_ids(request).await;
        ctx.responder().finish(&response)
    }))
}
