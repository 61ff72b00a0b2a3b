//! Record batches: see `bodies::records`.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod bodies;

fuzz_target!(|input: &[u8]| bodies::records(input));
