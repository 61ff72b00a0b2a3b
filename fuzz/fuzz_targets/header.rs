//! A frame without its length prefix: see `bodies::header`.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod bodies;

fuzz_target!(|input: &[u8]| bodies::header(input));
