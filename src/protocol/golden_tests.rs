//! The protocol layer against everything that was recorded from Kafka 3.7 brokers, and against frames made to hurt.

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use super::codec::{self, messages};
use super::{ProtocolError, api, fault::Malformed, frame, header};
use messages::{RequestKind, ResponseKind};

fn golden(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder)
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// A recorded exchange, frames without their length prefix.
struct Exchange {
    place: String,
    request: Bytes,
    response: Option<Bytes>,
    /// Recorded as refused: the broker closed the connection.
    refused: bool,
}

fn exchanges() -> Vec<Exchange> {
    let mut files: Vec<_> = std::fs::read_dir(golden("wire")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let mut out = Vec::new();
    for path in files {
        for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            if value["key"].as_i64() == Some(-1) {
                continue; // SASL tokens without a header, after a handshake of version 0.
            }
            let frame = |key: &str| value[key].as_str().map(|hex| Bytes::from(unhex(hex)).slice(4..));
            out.push(Exchange {
                place: format!("{}:{}", path.file_name().unwrap().to_string_lossy(), number + 1),
                request: frame("request_hex").unwrap(),
                response: frame("response_hex"),
                refused: value["response"].as_str().is_some_and(|text| text.contains("closed")),
            });
        }
    }
    assert!(out.len() > 690, "only {} exchanges", out.len());
    out
}

#[test]
fn recorded_requests_decode_and_re_encode_byte_for_byte() {
    let mut bodies = 0;
    for exchange in exchanges() {
        let place = &exchange.place;
        let mut body = exchange.request.clone();
        let header = match header::parse(&mut body) {
            Ok(header) => header,
            Err(error) => {
                assert!(exchange.refused, "{place}: {error}");
                continue;
            }
        };
        let (key, version) = (header.api_key, header.api_version);
        if api::lookup(key, version).is_none() {
            assert!(exchange.refused || api::is_unsupported_api_versions(key, version), "{place}");
            continue;
        }
        let request = match codec::decode_request(key, version, body.clone()) {
            Ok(request) => request,
            Err(error) => {
                assert!(exchange.refused, "{place}: {error}");
                continue;
            }
        };
        let mut again = BytesMut::new();
        request.encode(&mut again, version).unwrap();
        assert_eq!(again, body, "{place}");
        bodies += 1;
    }
    assert!(bodies > 680, "only {bodies}");
}

#[test]
fn recorded_responses_decode_and_re_encode_byte_for_byte() {
    let mut bodies = 0;
    for exchange in exchanges() {
        let (place, Some(mut response)) = (&exchange.place, exchange.response) else { continue };
        let whole = response.clone();
        let request = header::parse(&mut exchange.request.clone()).unwrap();
        let (key, mut version) = (request.api_key, request.api_version);
        if api::is_unsupported_api_versions(key, version) {
            version = 0;
        }
        let id = header::parse_response(&mut response, key, version).unwrap();
        assert_eq!(id, request.correlation_id, "{place}");
        let kind = codec::decode_response_kind(key, version, response).unwrap_or_else(|e| panic!("{place}: {e}"));
        let encoded = encode(&kind, id, key, version);
        assert_eq!(&encoded[4..], &whole[..], "{place}");
        assert_eq!(encoded[..4], i32::try_from(whole.len()).unwrap().to_be_bytes(), "{place}");
        bodies += 1;
    }
    assert!(bodies > 650, "only {bodies}");
}

/// Through `encode_response` for the apis a broker answers all day, through the crate for the rest.
fn encode(kind: &ResponseKind, id: i32, key: i16, version: i16) -> Bytes {
    let encoded = match kind {
        ResponseKind::Metadata(body) => codec::encode_response(id, key, version, body),
        ResponseKind::Fetch(body) => codec::encode_response(id, key, version, body),
        ResponseKind::Produce(body) => codec::encode_response(id, key, version, body),
        ResponseKind::ApiVersions(body) => codec::encode_response(id, key, version, body),
        other => {
            let mut body = BytesMut::new();
            other.encode(&mut body, version).unwrap();
            let tagged = vec![0; usize::try_from(header::response_header_version(key, version)).unwrap()];
            let rest = [&id.to_be_bytes()[..], &tagged, &body].concat();
            return [&i32::try_from(rest.len()).unwrap().to_be_bytes()[..], &rest].concat().into();
        }
    };
    encoded.unwrap().freeze()
}

#[test]
fn records_are_slices_of_the_frame() {
    let mut seen = 0;
    for exchange in exchanges() {
        let mut body = exchange.request.clone();
        let Ok(header) = header::parse(&mut body) else { continue };
        let Ok(RequestKind::Produce(produce)) = codec::decode_request(header.api_key, header.api_version, body) else {
            continue;
        };
        let frame = exchange.request.as_ptr() as usize..exchange.request.as_ptr() as usize + exchange.request.len();
        for records in produce.topic_data.iter().flat_map(|t| &t.partition_data).filter_map(|p| p.records.as_ref()) {
            assert!(records.is_empty() || frame.contains(&(records.as_ptr() as usize)), "{}", exchange.place);
            seen += 1;
        }
    }
    assert!(seen > 20);
}

/// Every cut of every recorded request is refused, or is whole without the bytes that were cut.
#[test]
fn no_cut_of_a_recorded_request_passes() {
    for exchange in exchanges() {
        let mut body = exchange.request.clone();
        let Ok(header) = header::parse(&mut body) else { continue };
        let (key, version) = (header.api_key, header.api_version);
        if frame::check(key, version, &body, 10_000).is_err() {
            continue;
        }
        for length in 0..body.len() {
            let cut = body.slice(..length);
            assert!(frame::check(key, version, &cut, 10_000).is_err(), "{} cut to {length}", exchange.place);
        }
    }
}

/// One flipped bit anywhere: refused or decoded, and what the check passes the codec does not panic on.
#[test]
fn damaged_requests_are_refused_or_decoded() {
    for exchange in exchanges() {
        let mut body = exchange.request.clone();
        let Ok(header) = header::parse(&mut body) else { continue };
        for at in 0..body.len().min(400) {
            for flip in [0x80u8, 0xff, 0x01] {
                let mut damaged = body.to_vec();
                damaged[at] ^= flip;
                let _ = codec::decode_request(header.api_key, header.api_version, damaged.into());
            }
        }
    }
}

#[test]
fn the_budget_is_spent_by_elements() {
    // Metadata v1 of three one-letter topics: a structure and a string each.
    let body = b"\x00\x00\x00\x03\x00\x01a\x00\x01b\x00\x01c";
    assert_eq!(frame::check(3, 1, body, 6), Ok(()));
    let error = frame::check(3, 1, body, 5).unwrap_err();
    assert!(matches!(error, ProtocolError::Malformed { reason: Malformed::Budget(5), offset: 10, .. }), "{error}");
    // Unknown tagged fields count too: they become map entries.
    let tagged = b"\x00\x01\x00\x00\x03\x05\x00\x06\x00\x07\x00";
    assert_eq!(frame::check(3, 9, tagged, 3), Ok(()));
    assert!(frame::check(3, 9, tagged, 2).is_err());
}

#[test]
fn errors_name_the_place() {
    let error = frame::check(3, 0, b"\x7f\xff\xff\xff\x00", 100).unwrap_err();
    let text =
        "MetadataRequest v0 is malformed at byte 0, field Topics: array of 2147483647 elements, 1 bytes are left";
    assert_eq!(error.to_string(), text);
    let unsupported = frame::check(3, 13, b"", 100).unwrap_err();
    assert_eq!(unsupported, ProtocolError::UnsupportedVersion { api: "Metadata", version: 13 });
    assert_eq!(frame::check(52, 0, b"", 100).unwrap_err(), ProtocolError::UnknownApi(52));
}

/// tests/golden/fuzz: one frame per line, `hex # why`. All of them must be refused, and before anything is decoded.
#[test]
fn hand_made_bad_frames_are_refused() {
    let mut frames = 0;
    for entry in std::fs::read_dir(golden("fuzz")).unwrap() {
        let path = entry.unwrap().path();
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let (hex, why) = line.split_once('#').unwrap_or((line, ""));
            let hex: String = hex.split_whitespace().collect();
            if hex.is_empty() {
                continue;
            }
            let mut body = Bytes::from(unhex(&hex));
            let refused = match header::parse(&mut body) {
                Err(_) => true,
                Ok(header) => frame::check(header.api_key, header.api_version, &body, 100_000).is_err(),
            };
            assert!(refused, "{}: {hex} ({why})", path.display());
            frames += 1;
        }
    }
    assert!(frames >= 30, "only {frames}");
}

/// Not a test: fills fuzz/corpus with what was recorded, in the form each target takes.
#[test]
#[ignore = "writes the seeds of the fuzz targets"]
fn fuzz_seeds() {
    let mut number = 0;
    let mut write = |target: &str, input: &[&[u8]]| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("seed-{number}")), input.concat()).unwrap();
        number += 1;
    };
    for exchange in exchanges() {
        write("header", &[&exchange.request]);
        write("frame", &[&exchange.request]);
        let mut body = exchange.request.clone();
        let Ok(header) = header::parse(&mut body) else { continue };
        let (key, version) = (header.api_key, header.api_version);
        let Some(row) = api::table().iter().position(|row| row.key == key && row.serves(version)) else { continue };
        let prefix = [u8::try_from(row).unwrap(), u8::try_from(version).unwrap()];
        write("request", &[&prefix, &body]);
        if let Ok(RequestKind::Produce(produce)) = codec::decode_request(key, version, body) {
            let partitions = produce.topic_data.iter().flat_map(|topic| &topic.partition_data);
            for records in partitions.filter_map(|partition| partition.records.as_ref()) {
                write("records", &[&[0], records]);
                write("records", &[&[0b0101_1001], records]);
            }
        }
        let Some(mut response) = exchange.response else { continue };
        header::parse_response(&mut response, key, version).unwrap();
        write("response", &[&prefix, &response]);
    }
}
