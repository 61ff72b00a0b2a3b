//! LZ4 frames as Kafka's `KafkaLZ4BlockInputStream` and its counterpart handle them: version 1, independent
//! blocks of 64 KiB when writing, checksums of content never written nor checked. Format 0 computed the header
//! checksum over the magic as well, and its readers ignore it.

use std::io::{self, Write};

use super::lz4_block::ROOM;
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
/// The sizes that the blocks of a frame may be limited to, in bytes. Java's client and librdkafka take the first one.
const MAX_64_KB: usize = 64 << 10;
const MAX_256_KB: usize = 256 << 10;
const MAX_1_MB: usize = 1 << 20;
const MAX_4_MB: usize = 4 << 20;
const SHORT: &str = "Stream ended prematurely";

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

/// A block of a frame that is read.
#[derive(Clone, Copy)]
enum Block<'a> {
    Compressed(&'a [u8]),
    /// Stored as it is; what of it is not consumed.
    Stored(&'a [u8]),
    /// The bytes of the scratch memory that hold it and are not consumed.
    Decompressed {
        from: usize,
        to: usize,
    },
    /// What is wrong with it.
    Bad(&'static str),
    /// The end mark.
    End,
}

/// Reads one frame, one or two blocks at a time. Bytes after the end mark are ignored.
pub(in crate::record) struct FrameReader<'a> {
    rest: &'a [u8],
    max_block: usize,
    block_checksums: bool,
    scratch: Scratch,
    current: Block<'a>,
    /// The block behind it, if that is known already.
    next: Option<Block<'a>>,
}

impl<'a> FrameReader<'a> {
    pub(super) fn new(data: &'a [u8], ignore_header_checksum: bool) -> io::Result<FrameReader<'a>> {
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
        let scratch = Scratch::default();
        Ok(FrameReader { rest, max_block, block_checksums, scratch, current: Block::Stored(&[]), next: None })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*field)
    }

    fn read_block(&mut self) -> Result<Block<'a>, &'static str> {
        let size = u32::from_le_bytes(self.take()?);
        let stored = size & INCOMPRESSIBLE != 0;
        let size = (size & !INCOMPRESSIBLE) as usize;
        if size == 0 {
            return Ok(Block::End);
        }
        if size > self.max_block {
            return Err("Block size exceeded max");
        }
        let (data, rest) = self.rest.split_at_checked(size).ok_or(SHORT)?;
        self.rest = rest;
        if self.block_checksums && u32::from_le_bytes(self.take()?) != xxh32(data) {
            return Err("Block checksum mismatch");
        }
        Ok(if stored { Block::Stored(data) } else { Block::Compressed(data) })
    }

    /// Goes on to the next block, and decompresses it: together with the one behind it if they are of the usual size.
    fn next_block(&mut self) {
        let known = self.next.take();
        self.current = known.unwrap_or_else(|| self.read_block().unwrap_or_else(Block::Bad));
        let Block::Compressed(data) = self.current else { return };
        let behind = self.read_block().unwrap_or_else(Block::Bad);
        let (current, next) = match behind {
            Block::Compressed(more) if self.max_block == MAX_64_KB => self.decompress_two([data, more]),
            _ => (self.decompress(data), behind),
        };
        self.current = current;
        self.next = Some(next);
    }

    fn decompress(&mut self, data: &[u8]) -> Block<'a> {
        let length = match self.max_block {
            MAX_64_KB => self.decompress_into::<{ MAX_64_KB + ROOM }>(data),
            MAX_256_KB => self.decompress_into::<{ MAX_256_KB + ROOM }>(data),
            MAX_1_MB => self.decompress_into::<{ MAX_1_MB + ROOM }>(data),
            _ => self.decompress_into::<{ MAX_4_MB + ROOM }>(data),
        };
        decompressed(0, length)
    }

    fn decompress_into<const SIZE: usize>(&mut self, data: &[u8]) -> Option<usize> {
        lz4_block::decompress::<SIZE>(data, self.scratch(SIZE).first_chunk_mut()?)
    }

    fn decompress_two(&mut self, data: [&[u8]; 2]) -> (Block<'a>, Block<'a>) {
        const SIZE: usize = MAX_64_KB + ROOM;
        let halves = self.scratch(2 * SIZE).split_first_chunk_mut::<SIZE>();
        let [first, second] = match halves.and_then(|(first, rest)| Some((first, rest.first_chunk_mut()?))) {
            Some((first, second)) => lz4_block::decompress_two(data, [first, second]),
            None => [None; 2],
        };
        (decompressed(0, first), decompressed(SIZE, second))
    }

    fn scratch(&mut self, len: usize) -> &mut [u8] {
        if self.scratch.len() < len {
            self.scratch = Scratch::of(len);
        }
        self.scratch.up_to(len)
    }
}

fn decompressed<'a>(from: usize, length: Option<usize>) -> Block<'a> {
    match length {
        Some(length) => Block::Decompressed { from, to: from + length },
        None => Block::Bad("Malformed input"),
    }
}

impl FrameReader<'_> {
    /// Bytes of the current block that are not consumed.
    #[inline]
    fn left(&self) -> usize {
        match self.current {
            Block::Decompressed { from, to } => to - from,
            Block::Stored(data) => data.len(),
            _ => 0,
        }
    }

    /// What of the current block is not consumed; of the next one, after that; empty at the end.
    #[inline]
    pub(super) fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.left() == 0 {
            match self.current {
                Block::End => return Ok(&[]),
                Block::Bad(what) => return Err(bad_data(what)),
                _ => self.next_block(),
            }
        }
        Ok(match self.current {
            Block::Decompressed { from, to } => self.scratch.get(from, to),
            Block::Stored(data) => data,
            _ => &[],
        })
    }

    /// Moves past `n` bytes of those.
    #[inline]
    pub(super) fn consume(&mut self, n: usize) {
        match &mut self.current {
            Block::Decompressed { from, to } => *from = (*from + n).min(*to),
            Block::Stored(data) => *data = data.get(n..).unwrap_or_default(),
            _ => {}
        }
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
        4 => Ok(MAX_64_KB),
        5 => Ok(MAX_256_KB),
        6 => Ok(MAX_1_MB),
        7 => Ok(MAX_4_MB),
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

    /// Reads it to its end, or to what is wrong.
    fn read(frame: &[u8]) -> (Vec<u8>, Option<String>) {
        let (mut reader, mut out) = (FrameReader::new(frame, false).unwrap(), Vec::new());
        loop {
            match reader.fill_buf() {
                Ok([]) => return (out, None),
                Ok(chunk) => {
                    out.extend_from_slice(chunk);
                    let n = chunk.len();
                    reader.consume(n);
                }
                Err(error) => return (out, Some(error.to_string())),
            }
        }
    }

    /// Blocks that compress, with one that does not where `noise` says.
    fn data(blocks: usize, noise: Option<usize>) -> Vec<u8> {
        let mut state = 1u32;
        let mut byte = |block: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if noise == Some(block) { (state >> 24) as u8 } else { (state >> 30) as u8 }
        };
        (0..blocks * BLOCK_SIZE).map(|at| byte(at / BLOCK_SIZE)).collect()
    }

    fn frame(data: &[u8]) -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new(), false);
        writer.write_all(data).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn blocks_come_in_their_order_however_many_are_read_at_once() {
        for (blocks, noise) in [(1, None), (2, None), (3, None), (4, Some(0)), (4, Some(1)), (5, Some(2)), (5, Some(3))]
        {
            let mut data = data(blocks, noise);
            data.truncate(data.len() - 1000);
            assert!(read(&frame(&data)) == (data, None), "{blocks} blocks, the one that is stored: {noise:?}");
        }
    }

    #[test]
    fn frames_of_other_writers_are_read() {
        use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
        let data = data(80, None);
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            let info = FrameInfo::new().block_size(size).block_mode(BlockMode::Independent).block_checksums(true);
            let mut writer = FrameEncoder::with_frame_info(info, Vec::new());
            writer.write_all(&data).unwrap();
            let mut frame = writer.finish().unwrap();
            assert!(read(&frame) == (data.clone(), None), "{size:?}");
            // In the checksum of the first block, behind its last byte.
            let length = u32::from_le_bytes(*frame[7..].first_chunk().unwrap()) as usize;
            frame[7 + 4 + length] ^= 1;
            assert_eq!(read(&frame), (Vec::new(), Some("Block checksum mismatch".to_owned())), "{size:?}");
        }
    }

    #[test]
    fn what_stands_before_a_bad_block_is_read_first() {
        let good = frame(&data(2, None));
        let (first, second) = (7, 7 + 4 + u32::from_le_bytes(*good[7..].first_chunk().unwrap()) as usize);
        let mut malformed = good.clone();
        malformed[second + 4..second + 24].fill(0);
        let (out, error) = read(&malformed);
        assert_eq!((out.len(), error.as_deref()), (BLOCK_SIZE, Some("Malformed input")));
        let (out, error) = read(&good[..good.len() - 10]);
        assert_eq!((out.len(), error.as_deref()), (BLOCK_SIZE, Some(SHORT)));
        let mut large = good;
        large[first..first + 4].copy_from_slice(&(BLOCK_SIZE as u32 + 1).to_le_bytes());
        assert_eq!(read(&large), (Vec::new(), Some("Block size exceeded max".to_owned())));
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
