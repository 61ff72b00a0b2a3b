//! Any bytes as a frame: the header parses and leaves a tail of the frame, or is refused and leaves all of it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ottla::protocol::header;

fuzz_target!(|input: &[u8]| {
    let mut frame = Bytes::copy_from_slice(input);
    match header::parse(&mut frame) {
        Ok(_) => assert!(input.ends_with(&frame) && frame.len() + 8 <= input.len()),
        Err(_) => assert_eq!(frame, input),
    }
    for (key, version) in [(3, 12), (18, 3), (3, 0)] {
        let _ = header::parse_response(&mut Bytes::copy_from_slice(input), key, version);
    }
});
