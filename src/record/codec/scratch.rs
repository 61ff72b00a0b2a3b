//! The memory that decoders decompress into. Each thread keeps the last one, as a broker decompresses every batch it
//! is sent: a fresh buffer would have to be zeroed, and its pages faulted in, for each.

use std::cell::Cell;

/// Larger buffers, which no usual client makes necessary, are given back to the allocator.
const KEPT: usize = 256 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Bytes of any value, to be written before they are read.
#[derive(Default)]
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    /// At least `len` bytes.
    pub(super) fn of(len: usize) -> Scratch {
        let mut bytes = SPARE.try_with(Cell::take).unwrap_or_default();
        if bytes.capacity() < len {
            bytes = vec![0; len];
        } else if bytes.len() < len {
            bytes.resize(len, 0);
        }
        Scratch(bytes)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The first `len` bytes.
    pub(super) fn up_to(&mut self, len: usize) -> &mut [u8] {
        self.0.get_mut(..len).unwrap_or_default()
    }

    pub(super) fn get(&self, from: usize, to: usize) -> &[u8] {
        self.0.get(from..to).unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if (1..=KEPT).contains(&self.0.capacity()) {
            let _ = SPARE.try_with(|spare| spare.set(std::mem::take(&mut self.0)));
        }
    }
}
