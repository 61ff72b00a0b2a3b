//! ApiVersions, versions 0 to 3. Answers to `KafkaApis.handleApiVersionsRequest` (spec zookeeper 5.11).

use super::reply::{Reply, Responder};
use super::{Api, RequestContext};
use crate::protocol::ErrorCode;
use crate::protocol::api;
use crate::protocol::messages::api_versions_response::ApiVersion;
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

/// The apis of transactions: a cluster whose protocol cannot have batches of format 2 has none of them.
const NEEDS_FORMAT_2: [i16; 5] = [24, 25, 26, 27, 28];

pub fn handle(api: &Api, ctx: &RequestContext, request: &ApiVersionsRequest) -> Reply {
    let named = |text: &str| is_valid(text) || ctx.version < 3;
    if !named(&request.client_software_name) || !named(&request.client_software_version) {
        let refused = ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
        return ctx.responder().reply(&refused);
    }
    let record_version = api.config().protocol_version().record_version();
    let keys = api::advertised()
        .filter(|entry| record_version >= 2 || !NEEDS_FORMAT_2.contains(&entry.key))
        .map(row)
        .collect();
    let mut response = ApiVersionsResponse::default().with_api_keys(keys);
    response.finalized_features_epoch = *api.features.borrow();
    ctx.responder().reply(&response)
}

/// A version we do not have is answered in version 0, with the range of ApiVersions alone.
pub fn unsupported(ctx: &RequestContext) -> Reply {
    let keys = api::find(ctx.api_key).map(row).into_iter().collect();
    let response =
        ApiVersionsResponse::default().with_error_code(ErrorCode::UnsupportedVersion.code()).with_api_keys(keys);
    Responder { version: 0, ..ctx.responder() }.reply(&response)
}

fn row(entry: &api::ApiVersion) -> ApiVersion {
    ApiVersion::default().with_api_key(entry.key).with_min_version(entry.min).with_max_version(entry.max)
}

/// Letters and digits at both ends, `.` and `-` between (KIP-511).
fn is_valid(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    ends(text.as_bytes().first()) && ends(text.as_bytes().last()) && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn software_names() {
        for good in ["a", "apache-kafka-java", "3.7.2", "a.b-c"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "-a", "a-", "bad name!", "ä"] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
