//! Snappy in the framing of the Java library (xerial): a 16-byte header, then blocks of a big-endian length
//! and raw snappy. Without that header the payload is one raw snappy block, as other clients send it.

use std::io::{self, Write};

use super::bad_data;
use super::scratch::Scratch;

const HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// The first half of the header, which names the format; the second holds two version numbers.
const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Uncompressed bytes of a block, the Java library's default.
const BLOCK_SIZE: usize = 32 * 1024;
/// Snappy's densest element turns 3 bytes into 64, so a block that claims more is lying.
const MAX_EXPANSION: usize = 22;

/// Writes blocks of 32 KiB.
pub(in crate::record) struct BlockWriter {
    out: Vec<u8>,
    block: Vec<u8>,
    encoder: snap::raw::Encoder,
}

impl BlockWriter {
    pub(super) fn new(mut out: Vec<u8>) -> BlockWriter {
        out.extend_from_slice(&HEADER);
        BlockWriter { out, block: Vec::with_capacity(BLOCK_SIZE), encoder: snap::raw::Encoder::new() }
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let length_at = self.out.len();
        let data_at = length_at + 4;
        self.out.resize(data_at + snap::raw::max_compress_len(self.block.len()), 0);
        let space = self.out.get_mut(data_at..).unwrap_or_default();
        let written = self.encoder.compress(&self.block, space)?;
        self.out.truncate(data_at + written);
        if let Some(length) = self.out.get_mut(length_at..data_at) {
            length.copy_from_slice(&(written as u32).to_be_bytes());
        }
        self.block.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.write_block()?;
        Ok(self.out)
    }
}

impl Write for BlockWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let n = data.len().min(BLOCK_SIZE.saturating_sub(self.block.len()));
        self.block.extend_from_slice(data.get(..n).unwrap_or_default());
        if self.block.len() >= BLOCK_SIZE {
            self.write_block()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads either framing, one block at a time.
pub(in crate::record) struct BlockReader<'a> {
    rest: &'a [u8],
    framed: bool,
    /// The current block and how long it is.
    block: Scratch,
    length: usize,
    /// Bytes of it that are consumed.
    position: usize,
    decoder: snap::raw::Decoder,
}

impl<'a> BlockReader<'a> {
    pub(super) fn new(data: &'a [u8]) -> BlockReader<'a> {
        let (framed, rest) = match data.get(HEADER.len()..) {
            Some(rest) if data.starts_with(&MAGIC) => (true, rest),
            _ => (false, data),
        };
        let decoder = snap::raw::Decoder::new();
        BlockReader { rest, framed, block: Scratch::default(), length: 0, position: 0, decoder }
    }

    /// Decompresses the next block; false at the end.
    fn next_block(&mut self) -> io::Result<bool> {
        if !self.framed {
            let all = std::mem::take(&mut self.rest);
            return Ok(!all.is_empty() && self.fill(all)? > 0);
        }
        loop {
            // Payloads may be glued together, each with its header.
            if self.rest.starts_with(&MAGIC) {
                self.rest = self.rest.get(HEADER.len()..).unwrap_or_default();
                continue;
            }
            let Some((length, rest)) = self.rest.split_first_chunk::<4>() else {
                // The Java library takes a torn length for the end.
                self.rest = &[];
                return Ok(false);
            };
            let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| bad_data("invalid chunkSize"))?;
            let Some((block, rest)) = rest.split_at_checked(length) else {
                return Err(bad_data("failed to read chunk"));
            };
            self.rest = rest;
            if self.fill(block)? > 0 {
                return Ok(true);
            }
        }
    }

    fn fill(&mut self, compressed: &[u8]) -> io::Result<usize> {
        let claimed = snap::raw::decompress_len(compressed)?;
        if claimed > compressed.len().saturating_mul(MAX_EXPANSION) {
            return Err(bad_data("snappy block claims more than it can hold"));
        }
        if self.block.len() < claimed {
            // What it has goes back to the thread first, and may do.
            drop(std::mem::take(&mut self.block));
            self.block = Scratch::of(claimed);
        }
        self.position = 0;
        self.length = self.decoder.decompress(compressed, self.block.up_to(claimed))?;
        Ok(self.length)
    }
}

impl BlockReader<'_> {
    /// What of the current block is not consumed; of the next one, after that; empty at the end.
    pub(super) fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position >= self.length && !self.next_block()? {
            (self.position, self.length) = (0, 0);
        }
        Ok(self.block.get(self.position, self.length))
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.position += n;
    }
}
