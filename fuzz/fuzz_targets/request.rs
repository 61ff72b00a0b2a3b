//! The body of a request: see `bodies::request`.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

mod bodies;

fuzz_target!(|input: &[u8]| -> Corpus { if bodies::request(input) { Corpus::Keep } else { Corpus::Reject } });
