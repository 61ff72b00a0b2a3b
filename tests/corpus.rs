//! Replays what the fuzzer kept of its runs (five minutes a target): no input may panic, and each target's assertions
//! hold. The files in tests/golden/corpus are gzip over entries of a four-byte length and the input.
#![allow(clippy::unwrap_used)]

use std::io::Read;

#[path = "../fuzz/fuzz_targets/bodies/mod.rs"]
mod bodies;

/// Calls `target` with each input of its corpus; there must be at least `least`.
fn replay(name: &str, least: usize, target: impl Fn(&[u8])) {
    let path = format!("{}/tests/golden/corpus/{name}.gz", env!("CARGO_MANIFEST_DIR"));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    let (mut rest, mut count) = (&bytes[..], 0);
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let (input, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
        target(input);
        (rest, count) = (tail, count + 1);
    }
    assert!(rest.is_empty() && count >= least, "{count} inputs");
}

#[test]
fn headers() {
    replay("header", 50, bodies::header);
}

#[test]
fn frames() {
    replay("frame", 1_000, bodies::frame);
}

#[test]
fn requests() {
    replay("request", 1_000, |input| {
        bodies::request(input);
    });
}

#[test]
fn responses() {
    replay("response", 1_000, |input| {
        bodies::response(input);
    });
}

#[test]
fn records() {
    replay("records", 1_000, bodies::records);
}
