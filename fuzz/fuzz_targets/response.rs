//! The body of a response: see `bodies::response`.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

mod bodies;

fuzz_target!(|input: &[u8]| -> Corpus { if bodies::response(input) { Corpus::Keep } else { Corpus::Reject } });
