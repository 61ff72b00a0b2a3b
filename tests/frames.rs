//! Hostile frames must not make the process allocate: every frame of tests/golden/fuzz goes the way a connection takes,
//! under an allocator that remembers the largest request. Its own test binary, as the allocator is the process's.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use ottla::protocol::{codec, header};

struct Watching;

thread_local! {
    /// The largest allocation of this thread since it was reset, in bytes.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(size: usize) {
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
}

// SAFETY: every call is handed to the system allocator as it came.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

#[test]
fn no_bad_frame_allocates_by_what_it_claims() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/fuzz/frames.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let mut frames = 0;
    for line in text.lines() {
        let hex = line.split('#').next().unwrap_or_default().trim();
        let bytes = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap());
        let mut frame = Bytes::from(bytes.collect::<Vec<u8>>());
        LARGEST.set(0);
        let refused = match header::parse(&mut frame) {
            Err(_) => true,
            Ok(header) => codec::decode_request(header.api_key, header.api_version, frame).is_err(),
        };
        let largest = LARGEST.get();
        assert!(refused, "{line}");
        assert!(largest <= 4096, "{largest} bytes at once for {line}");
        frames += 1;
    }
    assert!(frames >= 30, "only {frames}");
}
