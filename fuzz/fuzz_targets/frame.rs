//! A frame as a connection reads it: see `bodies::frame`.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod bodies;

fuzz_target!(|input: &[u8]| bodies::frame(input));
