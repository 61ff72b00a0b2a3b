//! Any bytes as a frame, on the way a connection takes: header, structural check, decode.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ottla::protocol::{codec, header};

fuzz_target!(|input: &[u8]| {
    let mut frame = Bytes::copy_from_slice(input);
    if let Ok(header) = header::parse(&mut frame) {
        let _ = codec::decode_request(header.api_key, header.api_version, frame);
    }
});
