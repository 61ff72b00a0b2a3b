//! LZ4 frames as Kafka's `KafkaLZ4BlockInputStream` and its counterpart handle them: version 1, independent
//! blocks of 64 KiB when writing, checksums of content never written nor checked. Format 0 computed the header
//! checksum over the magic as well, and its readers ignore it.

use std::io::{self, Write};

use super::scratch::Scratch;
use super::{bad_data, lz4_block};

const FRAME_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Version 1, independent blocks, nothing else.
const FLG: u8 = 0x60;
/// Blocks of 64 KiB.
const BD: u8 = 0x40;
const BLOCK_SIZE: usize = 64 * 1024;
/// The bit of a block's size that says the block is stored as it is.
const INCOMPRESSIBLE: u32 = 1 << 31;

/// Writes one frame of 64 KiB blocks.
pub(in crate::record) struct FrameWriter {
    out: Vec<u8>,
    block: Vec<u8>,
}

impl FrameWriter {
    pub(super) fn new(mut out: Vec<u8>, legacy: bool) -> FrameWriter {
        let start = out.len();
        out.extend_from_slice(&FRAME_MAGIC);
        out.extend_from_slice(&[FLG, BD]);
        let covered = out.get(if legacy { start } else { start + FRAME_MAGIC.len() }..).unwrap_or_default();
        let checksum = header_checksum(covered);
        out.push(checksum);
        FrameWriter { out, block: Vec::with_capacity(BLOCK_SIZE) }
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let size_at = self.out.len();
        let data_at = size_at + 4;
        self.out.resize(data_at + lz4_flex::block::get_maximum_output_size(self.block.len()), 0);
        let space = self.out.get_mut(data_at..).unwrap_or_default();
        let written = lz4_flex::block::compress_into(&self.block, space).map_err(io::Error::other)?;
        let size = if written >= self.block.len() {
            self.out.truncate(data_at);
            self.out.extend_from_slice(&self.block);
            self.block.len() as u32 | INCOMPRESSIBLE
        } else {
            self.out.truncate(data_at + written);
            written as u32
        };
        if let Some(field) = self.out.get_mut(size_at..data_at) {
            field.copy_from_slice(&size.to_le_bytes());
        }
        self.block.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.write_block()?;
        self.out.extend_from_slice(&[0; 4]);
        Ok(self.out)
    }
}

impl Write for FrameWriter {
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

/// Reads one frame, one block at a time. Bytes after the end mark are ignored.
pub(in crate::record) struct FrameReader<'a> {
    rest: &'a [u8],
    max_block: usize,
    block_checksums: bool,
    finished: bool,
    /// The current block, decompressed, and how long it is.
    block: Scratch,
    length: usize,
    /// The current block instead, where it is stored as it is.
    stored: &'a [u8],
    /// Bytes of the current block that are consumed.
    position: usize,
}

impl<'a> FrameReader<'a> {
    pub(super) fn new(data: &'a [u8], ignore_header_checksum: bool) -> io::Result<FrameReader<'a>> {
        const SHORT: &str = "Stream ended prematurely";
        let rest = data
            .strip_prefix(&FRAME_MAGIC)
            .ok_or_else(|| bad_data(if data.len() < 6 { SHORT } else { "Stream unsupported (invalid magic bytes)" }))?;
        let (&[flg, bd], after) = rest.split_first_chunk::<2>().ok_or_else(|| bad_data(SHORT))?;
        let max_block = check_descriptor(flg, bd)?;
        let content_size_bytes = if flg & 0x08 != 0 { 8 } else { 0 };
        let (covered, _) = rest.split_at_checked(2 + content_size_bytes).ok_or_else(|| bad_data(SHORT))?;
        let after = after.get(content_size_bytes..).unwrap_or_default();
        let (checksum, rest) = after.split_first().ok_or_else(|| bad_data(SHORT))?;
        if !ignore_header_checksum && header_checksum(covered) != *checksum {
            return Err(bad_data("Stream frame descriptor corrupted"));
        }
        let block_checksums = flg & 0x10 != 0;
        Ok(FrameReader {
            rest,
            max_block,
            block_checksums,
            finished: false,
            block: Scratch::default(),
            length: 0,
            stored: &[],
            position: 0,
        })
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| bad_data("Stream ended prematurely"))?;
        self.rest = rest;
        Ok(*field)
    }

    /// Decompresses the next block, or finds the end mark.
    fn next_block(&mut self) -> io::Result<()> {
        let size = u32::from_le_bytes(self.take()?);
        let stored = size & INCOMPRESSIBLE != 0;
        let size = (size & !INCOMPRESSIBLE) as usize;
        self.position = 0;
        (self.length, self.stored) = (0, &[]);
        if size == 0 {
            self.finished = true;
            return Ok(());
        }
        if size > self.max_block {
            return Err(bad_data("Block size exceeded max"));
        }
        let (data, rest) = self.rest.split_at_checked(size).ok_or_else(|| bad_data("Stream ended prematurely"))?;
        self.rest = rest;
        if stored {
            self.stored = data;
        } else {
            self.length = self.decompress(data).ok_or_else(|| bad_data("Malformed input"))?;
        }
        if self.block_checksums && u32::from_le_bytes(self.take()?) != xxh32(data) {
            return Err(bad_data("Block checksum mismatch"));
        }
        Ok(())
    }
}

impl FrameReader<'_> {
    fn decompress(&mut self, data: &[u8]) -> Option<usize> {
        if self.block.len() == 0 {
            self.block = Scratch::of(self.max_block + lz4_block::ROOM);
        }
        let length = lz4_block::decompress(data, self.block.up_to(self.max_block + lz4_block::ROOM))?;
        (length <= self.max_block).then_some(length)
    }

    /// What of the current block is not consumed; of the next one, after that; empty at the end.
    pub(super) fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.position >= self.length + self.stored.len() && !self.finished {
            self.next_block()?;
        }
        match self.stored {
            [] => Ok(self.block.get(self.position, self.length)),
            stored => Ok(stored.get(self.position..).unwrap_or_default()),
        }
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.position += n;
    }
}

/// Checks the two descriptor bytes as Kafka does and returns the largest block they allow, in bytes.
fn check_descriptor(flg: u8, bd: u8) -> io::Result<usize> {
    if flg & 0x03 != 0 {
        return Err(bad_data("Reserved bits must be 0"));
    }
    if flg >> 6 != 1 {
        return Err(bad_data("Version is unsupported"));
    }
    if flg & 0x20 == 0 {
        return Err(bad_data("Dependent block stream is unsupported (BLOCK_INDEPENDENCE must be set)"));
    }
    if bd & 0x8f != 0 {
        return Err(bad_data("Reserved bits must be 0"));
    }
    match bd >> 4 {
        value @ 4..=7 => Ok(1 << (2 * value + 8)),
        _ => Err(bad_data("Block size value must be between 4 and 7")),
    }
}

/// The second byte of the hash.
fn header_checksum(covered: &[u8]) -> u8 {
    (xxh32(covered) >> 8) as u8
}

/// xxHash, 32 bits, seed 0.
fn xxh32(data: &[u8]) -> u32 {
    const P1: u32 = 2_654_435_761;
    const P2: u32 = 2_246_822_519;
    const P3: u32 = 3_266_489_917;
    const P4: u32 = 668_265_263;
    const P5: u32 = 374_761_393;
    let round = |acc: u32, lane: u32| acc.wrapping_add(lane.wrapping_mul(P2)).rotate_left(13).wrapping_mul(P1);
    let mut rest = data;
    let mut hash = if data.len() >= 16 {
        let mut acc = [P1.wrapping_add(P2), P2, 0, 0u32.wrapping_sub(P1)];
        while let Some((stripe, after)) = rest.split_first_chunk::<16>() {
            for (acc, lane) in acc.iter_mut().zip(stripe.chunks_exact(4)) {
                *acc = round(*acc, lane.first_chunk().map_or(0, |l| u32::from_le_bytes(*l)));
            }
            rest = after;
        }
        let [a, b, c, d] = acc;
        a.rotate_left(1).wrapping_add(b.rotate_left(7)).wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18))
    } else {
        P5
    };
    hash = hash.wrapping_add(data.len() as u32);
    while let Some((lane, after)) = rest.split_first_chunk::<4>() {
        let lane = u32::from_le_bytes(*lane);
        hash = hash.wrapping_add(lane.wrapping_mul(P3)).rotate_left(17).wrapping_mul(P4);
        rest = after;
    }
    for byte in rest {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(P2);
    hash = (hash ^ (hash >> 13)).wrapping_mul(P3);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_xxh32() {
        assert_eq!(xxh32(b""), 0x02cc_5d05);
        assert_eq!(xxh32(b"abc"), 0x32d1_53ff);
        assert_eq!(xxh32(b"Nobody inspects the spammish repetition"), 0xe229_3b2f);
    }

    #[test]
    fn format_0_keeps_its_wrong_header_checksum() {
        // Both as recorded from Kafka's own producer.
        let header = |legacy| FrameWriter::new(Vec::new(), legacy).finish().unwrap()[..7].to_vec();
        assert_eq!(header(true), [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x1a]);
        assert_eq!(header(false), [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
        let old = header(true).into_iter().chain([0; 4]).collect::<Vec<_>>();
        assert!(FrameReader::new(&old, true).is_ok());
        assert!(FrameReader::new(&old, false).is_err());
    }
}
