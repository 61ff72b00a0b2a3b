//! The one place that names the codec crate: everything else says `protocol::messages` and the traits here.
//! Bodies go through `frame`'s check before the crate sees them, and come out as slices of the frame (`Bytes` fields
//! such as records are not copied). No state. It answers to AbstractRequest, AbstractResponse and RequestUtils.

use bytes::{BufMut, Bytes, BytesMut};

pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes};

use super::fault::ProtocolError;
use super::{api, frame, header};
use messages::{ApiKey, RequestKind, ResponseKind};

/// Elements a response may have. Brokers are trusted more than clients, so this only stops nonsense.
const RESPONSE_ELEMENTS: usize = 16_000_000;

/// Checks a request body and decodes it, within the element budget of its api. Bytes behind the last field are
/// tolerated, as Kafka does. An ApiVersions request of a version above ours is an error here: see
/// [`api::is_unsupported_api_versions`].
pub fn decode_request(api_key: i16, version: i16, body: Bytes) -> Result<RequestKind, ProtocolError> {
    decode_request_within(api_key, version, body, frame::element_budget(api_key))
}

/// [`decode_request`] with the caller's own element budget.
pub fn decode_request_within(
    api_key: i16,
    version: i16,
    mut body: Bytes,
    budget: usize,
) -> Result<RequestKind, ProtocolError> {
    frame::check(api_key, version, &body, budget)?;
    let (key, name) = key_and_name(api_key)?;
    RequestKind::decode(key, &mut body, version).map_err(|error| decode_error(name, version, error))
}

/// Checks a response body (the bytes after its header) and decodes it.
pub fn decode_response<R: Request>(version: i16, mut body: Bytes) -> Result<R::Response, ProtocolError> {
    frame::check_response(R::KEY, version, &body, RESPONSE_ELEMENTS)?;
    let (_, name) = key_and_name(R::KEY)?;
    R::Response::decode(&mut body, version).map_err(|error| decode_error(name, version, error))
}

/// [`decode_response`] where the api is known only by its key.
pub fn decode_response_kind(api_key: i16, version: i16, mut body: Bytes) -> Result<ResponseKind, ProtocolError> {
    frame::check_response(api_key, version, &body, RESPONSE_ELEMENTS)?;
    let (key, name) = key_and_name(api_key)?;
    ResponseKind::decode(key, &mut body, version).map_err(|error| decode_error(name, version, error))
}

/// A whole response: length prefix, response header (version 0 for ApiVersions), body.
pub fn encode_response(
    correlation_id: i32,
    api_key: i16,
    version: i16,
    body: &impl Encodable,
) -> Result<BytesMut, ProtocolError> {
    let error = |reason: String| ProtocolError::Encode { api_key, version, reason };
    let tagged = usize::from(header::response_header_version(api_key, version) >= 1);
    let size = body.compute_size(version).map_err(|e| error(e.to_string()))?;
    let mut out = start_frame(4 + tagged + size).map_err(error)?;
    out.put_i32(correlation_id);
    out.put_bytes(0, tagged);
    body.encode(&mut out, version).map_err(|e| error(e.to_string()))?;
    Ok(out)
}

/// A whole request: length prefix, request header, body.
pub fn encode_request<R: Request>(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    body: &R,
) -> Result<BytesMut, ProtocolError> {
    let error = |reason: String| ProtocolError::Encode { api_key: R::KEY, version, reason };
    let header_version = header::request_header_version(R::KEY, version);
    let client = client_id.unwrap_or_default().as_bytes();
    let client_length = i16::try_from(client.len()).map_err(|_| error("client id is too long".to_owned()))?;
    let header_size = 8 + if header_version >= 1 { 2 + client.len() } else { 0 } + usize::from(header_version >= 2);
    let size = body.compute_size(version).map_err(|e| error(e.to_string()))?;
    let mut out = start_frame(header_size + size).map_err(error)?;
    out.put_i16(R::KEY);
    out.put_i16(version);
    out.put_i32(correlation_id);
    if header_version >= 1 {
        out.put_i16(if client_id.is_some() { client_length } else { -1 });
        out.put_slice(client);
    }
    if header_version >= 2 {
        out.put_u8(0);
    }
    body.encode(&mut out, version).map_err(|e| error(e.to_string()))?;
    Ok(out)
}

/// A buffer with the length prefix of a frame of `size` bytes and room for them.
fn start_frame(size: usize) -> Result<BytesMut, String> {
    let prefix = i32::try_from(size).map_err(|_| format!("{size} bytes do not fit in a frame"))?;
    let mut out = BytesMut::with_capacity(4 + size);
    out.put_i32(prefix);
    Ok(out)
}

fn key_and_name(api_key: i16) -> Result<(ApiKey, &'static str), ProtocolError> {
    let row = api::find(api_key).ok_or(ProtocolError::UnknownApi(api_key))?;
    let key = ApiKey::try_from(api_key).map_err(|_| ProtocolError::UnknownApi(api_key))?;
    Ok((key, row.name))
}

fn decode_error(message: &'static str, version: i16, error: impl std::fmt::Display) -> ProtocolError {
    ProtocolError::Decode { message, version, reason: error.to_string() }
}
