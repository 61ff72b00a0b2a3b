//! Request and response headers, read by hand: every header version, client ids that are not UTF-8, nothing believed
//! that is not in the frame. No state. It answers to RequestHeader and ApiMessageType's header versions.

use bytes::Bytes;

use super::codec::StrBytes;
use super::fault::{Malformed, ProtocolError};
use super::{api, wire::Cursor};

const API_VERSIONS: i16 = 18;
const CONTROLLED_SHUTDOWN: i16 = 7;

/// The header of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which api; one of the table, as [`parse`] refuses others.
    pub api_key: i16,
    /// Which version; not held against the table by [`parse`].
    pub api_version: i16,
    /// The client's number of the request, to be repeated in the response.
    pub correlation_id: i32,
    /// What the client calls itself; a slice of the frame where it is UTF-8, so copy it to keep it for long.
    pub client_id: Option<StrBytes>,
}

/// The header version of requests: 0 has no client id (ControlledShutdown v0 alone), 2 has tagged fields.
pub fn request_header_version(api_key: i16, api_version: i16) -> i16 {
    match api::find(api_key) {
        Some(_) if api_key == CONTROLLED_SHUTDOWN && api_version == 0 => 0,
        Some(row) if row.is_flexible(api_version) => 2,
        _ => 1,
    }
}

/// The header version of responses: 1 has tagged fields. ApiVersions stays at 0, so that a client whose version is
/// too new for us can read the refusal.
pub fn response_header_version(api_key: i16, api_version: i16) -> i16 {
    match api::find(api_key) {
        Some(row) if api_key != API_VERSIONS && row.is_flexible(api_version) => 1,
        _ => 0,
    }
}

/// Reads the header off `frame` (the bytes after the length prefix) and leaves the body in it. An api key outside the
/// table is an error, as its header cannot be known; a version outside it is the caller's to refuse.
/// On an error `frame` is as it was.
pub fn parse(frame: &mut Bytes) -> Result<RequestHeader, ProtocolError> {
    let mut at = Cursor::new(frame);
    let fields = match fields(&mut at)? {
        Ok(fields) => fields,
        Err(reason) => return Err(ProtocolError::Header { offset: at.offset(), reason }),
    };
    let offset = at.offset();
    let client_id = fields.client_id.map(|(from, to)| text(frame.slice(from..to)));
    let _header = frame.split_to(offset);
    Ok(RequestHeader {
        api_key: fields.api_key,
        api_version: fields.api_version,
        correlation_id: fields.correlation_id,
        client_id,
    })
}

/// Reads a response header off `frame` and leaves the body in it; returns the correlation id.
pub fn parse_response(frame: &mut Bytes, api_key: i16, api_version: i16) -> Result<i32, ProtocolError> {
    let mut at = Cursor::new(frame);
    let read = |at: &mut Cursor<'_>| {
        let correlation_id = at.i32()?;
        if response_header_version(api_key, api_version) >= 1 {
            skip_tagged_fields(at)?;
        }
        Ok(correlation_id)
    };
    let correlation_id = read(&mut at).map_err(|reason| ProtocolError::Header { offset: at.offset(), reason })?;
    let offset = at.offset();
    let _header = frame.split_to(offset);
    Ok(correlation_id)
}

struct Fields {
    api_key: i16,
    api_version: i16,
    correlation_id: i32,
    /// Begin and end in the frame.
    client_id: Option<(usize, usize)>,
}

/// The outer error is an unknown api, the inner one a broken frame, whose offset the caller knows.
fn fields(at: &mut Cursor<'_>) -> Result<Result<Fields, Malformed>, ProtocolError> {
    let api_key = match at.i16() {
        Ok(api_key) => api_key,
        Err(reason) => return Ok(Err(reason)),
    };
    if api::find(api_key).is_none() {
        return Err(ProtocolError::UnknownApi(api_key));
    }
    Ok(fields_after_key(at, api_key))
}

fn fields_after_key(at: &mut Cursor<'_>, api_key: i16) -> Result<Fields, Malformed> {
    let api_version = at.i16()?;
    let correlation_id = at.i32()?;
    let header_version = request_header_version(api_key, api_version);
    let mut client_id = None;
    if header_version >= 1 {
        // Any negative length is null here: Kafka reads it so. The length keeps two bytes in flexible headers too.
        if let Ok(length) = usize::try_from(at.i16()?) {
            let from = at.offset();
            at.skip(length)?;
            client_id = Some((from, at.offset()));
        }
    }
    if header_version >= 2 {
        skip_tagged_fields(at)?;
    }
    Ok(Fields { api_key, api_version, correlation_id, client_id })
}

/// Header tags mean nothing to a broker of 3.7. Each takes at least two bytes, so the frame bounds the loop.
fn skip_tagged_fields(at: &mut Cursor<'_>) -> Result<(), Malformed> {
    for _ in 0..at.varint()? {
        let _tag = at.varint()?;
        let size = at.varint()?;
        at.skip(size as usize)?;
    }
    Ok(())
}

/// As Java decodes: what is not UTF-8 becomes U+FFFD.
fn text(bytes: Bytes) -> StrBytes {
    match StrBytes::from_utf8(bytes.clone()) {
        Ok(text) => text,
        Err(_) => StrBytes::from_string(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &[u8]) -> (Result<RequestHeader, ProtocolError>, Bytes) {
        let mut frame = Bytes::copy_from_slice(bytes);
        let header = parse(&mut frame);
        (header, frame)
    }

    #[test]
    fn version_0_has_no_client_id() {
        let (header, body) = parsed(b"\x00\x07\x00\x00\x00\x00\x00\x05\x00\x00\x00\x02");
        let header = header.unwrap();
        assert_eq!((header.api_key, header.correlation_id, header.client_id), (7, 5, None));
        assert_eq!(&body[..], b"\x00\x00\x00\x02");
    }

    #[test]
    fn version_1_ends_with_a_nullable_client_id() {
        let (header, body) = parsed(b"\x00\x03\x00\x01\x00\x00\x00\x05\x00\x04goldrest");
        assert_eq!(header.unwrap().client_id.as_deref(), Some("gold"));
        assert_eq!(&body[..], b"rest");
        let (header, body) = parsed(b"\x00\x03\x00\x01\x00\x00\x00\x05\xff\xffrest");
        assert_eq!(header.unwrap().client_id, None);
        assert_eq!(&body[..], b"rest");
    }

    #[test]
    fn version_2_skips_tagged_fields() {
        let (header, body) = parsed(b"\x00\x03\x00\x09\x00\x00\x00\x05\x00\x01g\x02\x00\x01x\x07\x02yzrest");
        assert_eq!(header.unwrap().client_id.as_deref(), Some("g"));
        assert_eq!(&body[..], b"rest");
    }

    #[test]
    fn client_ids_need_not_be_utf_8() {
        let (header, _) = parsed(b"\x00\x03\x00\x01\x00\x00\x00\x05\x00\x02\xffa");
        assert_eq!(header.unwrap().client_id.as_deref(), Some("\u{fffd}a"));
    }

    #[test]
    fn what_is_cut_off_or_lies_is_refused_and_left_alone() {
        let whole = b"\x00\x03\x00\x09\x00\x00\x00\x05\x00\x01g\x01\x00\x01x";
        for length in 0..whole.len() {
            let (header, rest) = parsed(&whole[..length]);
            assert!(matches!(header, Err(ProtocolError::Header { .. })), "{length}");
            assert_eq!(rest.len(), length);
        }
        let (header, _) = parsed(b"\x00\x03\x00\x01\x00\x00\x00\x05\x7f\xff");
        let reason = Malformed::Truncated { need: 32767, have: 0 };
        assert_eq!(header.unwrap_err(), ProtocolError::Header { offset: 10, reason });
        let (header, _) = parsed(b"\x00\x03\x00\x09\x00\x00\x00\x05\x00\x00\xff\xff\xff\xff\x0f");
        assert!(header.is_err());
        assert_eq!(parsed(b"\x03\xe7\x00\x00\x00\x00\x00\x05").0.unwrap_err(), ProtocolError::UnknownApi(999));
    }

    #[test]
    fn header_versions() {
        assert_eq!(request_header_version(7, 0), 0);
        assert_eq!(request_header_version(7, 1), 1);
        assert_eq!(request_header_version(7, 3), 2);
        assert_eq!(request_header_version(18, 99), 2);
        assert_eq!(response_header_version(18, 3), 0);
        assert_eq!(response_header_version(3, 9), 1);
        assert_eq!(response_header_version(3, 8), 0);
        assert_eq!(response_header_version(17, 1), 0);
    }
}
