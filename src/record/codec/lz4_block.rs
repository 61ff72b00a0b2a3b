//! Decompression of LZ4 blocks. Every lz4 batch a client sends is decompressed so that its records can be checked,
//! and then most of the broker's own time is spent here.
//!
//! What costs in LZ4 are mispredicted branches, and that each sequence has to be read to know where the next one begins. So
//! sequences of ordinary shape are copied by whole vectors, of which only what was meant is counted, without a branch on
//! their lengths; and two blocks are decompressed side by side, so that the processor has work while it waits for a length.
//! Anything else, and the ends of the buffers, take the plain way. Every access is checked.

/// Literals copied at once, in bytes.
const LITERALS: usize = 32;
/// Bytes of a match copied at once.
const MATCH: usize = 32;
/// Shortest match of the format.
const MIN_MATCH: usize = 4;
/// What a length in the token must be to continue in the next byte.
const MORE: u8 = 0x0f;
/// Matches below this length say it in at most two bytes.
const LONG_MATCH: usize = MIN_MATCH + MORE as usize + 0xff;
/// Token, one more byte of length for literals and match each, literals, offset.
const SEQUENCE: usize = 1 + 1 + LITERALS + 2 + 1;
/// Room behind the largest block in its buffer, for what is copied too much and overwritten by the next sequence.
pub(super) const ROOM: usize = LITERALS + LONG_MATCH + MATCH;

/// Decompresses `input` into the front of `out` and says how many bytes came out; `None` if the block is malformed or
/// longer than [`ROOM`] less than `out`, which is a power of two. What lies behind in `out` may change as well.
pub(super) fn decompress<const SIZE: usize>(input: &[u8], out: &mut [u8; SIZE]) -> Option<usize> {
    Decompression { input, out, written: 0 }.finish()
}

/// The same for two blocks at once.
#[inline(never)]
pub(super) fn decompress_two<const SIZE: usize>(inputs: [&[u8]; 2], outs: [&mut [u8; SIZE]; 2]) -> [Option<usize>; 2] {
    let ([input_a, input_b], [out_a, out_b]) = (inputs, outs);
    let mut a = Decompression { input: input_a, out: out_a, written: 0 };
    let mut b = Decompression { input: input_b, out: out_b, written: 0 };
    loop {
        match ordinary_of_two(&mut a, &mut b) {
            Stopped::First => match a.plain() {
                Some(false) => {}
                Some(true) => return [Some(a.written), b.finish()],
                None => return [None, b.finish()],
            },
            Stopped::Second => match b.plain() {
                Some(false) => {}
                Some(true) => return [a.finish(), Some(b.written)],
                None => return [a.finish(), None],
            },
        }
    }
}

/// Which of two blocks needs the plain way.
enum Stopped {
    First,
    Second,
}

/// Decompresses sequences of ordinary shape, one of each block in turn.
#[inline(always)]
fn ordinary_of_two<const SIZE: usize>(a: &mut Decompression<'_, SIZE>, b: &mut Decompression<'_, SIZE>) -> Stopped {
    // Variables of their own, which stay in registers.
    let (mut input_a, mut written_a) = (a.input, a.written);
    let (mut input_b, mut written_b) = (b.input, b.written);
    let stopped = loop {
        match ordinary(input_a, a.out, written_a) {
            Some(after) => (input_a, written_a) = after,
            None => break Stopped::First,
        }
        match ordinary(input_b, b.out, written_b) {
            Some(after) => (input_b, written_b) = after,
            None => break Stopped::Second,
        }
    };
    (a.input, a.written) = (input_a, written_a);
    (b.input, b.written) = (input_b, written_b);
    stopped
}

/// A block on its way.
struct Decompression<'a, const SIZE: usize> {
    /// What is not read yet.
    input: &'a [u8],
    out: &'a mut [u8; SIZE],
    /// Bytes of `out` that are decompressed.
    written: usize,
}

impl<const SIZE: usize> Decompression<'_, SIZE> {
    /// The longest block, in bytes.
    const BLOCK: usize = {
        let block = SIZE - ROOM;
        assert!(block.is_power_of_two());
        block
    };

    fn finish(mut self) -> Option<usize> {
        loop {
            while let Some(after) = ordinary(self.input, self.out, self.written) {
                (self.input, self.written) = after;
            }
            if self.plain()? {
                return Some(self.written);
            }
        }
    }

    /// Decompresses a sequence of any shape. True if it was the last one; `None` if it is malformed or does not fit.
    #[inline(never)]
    fn plain(&mut self) -> Option<bool> {
        let (input, mut read) = (self.input, 0);
        let out = self.out.get_mut(..Self::BLOCK)?;
        let token = take(input, &mut read)?;
        let literals = length(token >> 4, input, &mut read)?;
        let from = input.get(read..)?.get(..literals)?;
        out.get_mut(self.written..)?.get_mut(..literals)?.copy_from_slice(from);
        read += literals;
        self.written += literals;
        self.input = input.get(read..)?;
        if self.input.is_empty() {
            return Some(true);
        }
        let offset = usize::from(u16::from_le_bytes(*self.input.first_chunk()?));
        read += 2;
        let length = MIN_MATCH + length(token & 0x0f, input, &mut read)?;
        if offset == 0 || offset > self.written || length > out.len() - self.written {
            return None;
        }
        repeat(out, self.written, offset, length);
        self.written += length;
        self.input = input.get(read..)?;
        Some(false)
    }
}

/// Decompresses a sequence that has at most one more byte for each of its lengths. Returns what follows it in the input,
/// and where the output then ends; `None` if it must go the plain way.
#[inline(always)]
fn ordinary<'a, const SIZE: usize>(input: &'a [u8], out: &mut [u8; SIZE], written: usize) -> Option<(&'a [u8], usize)> {
    let block = Decompression::<SIZE>::BLOCK;
    let sequence = input.first_chunk::<SEQUENCE>()?;
    let [token, next, ..] = *sequence;
    let (token, next) = (usize::from(token), usize::from(next));
    // 1 where the length goes on in the next byte, else 0: the sum carries. Of a comparison the compiler makes a branch.
    let more = (token + (1 << 4)) >> 8;
    let literals = (token >> 4) + more * next;
    if literals > LITERALS {
        return None;
    }
    let window = sequence.get(1 + more..)?.first_chunk::<{ LITERALS + 3 }>()?;
    let [low, high, last] = *window.get(literals..)?.first_chunk()?;
    let offset = usize::from(u16::from_le_bytes([low, high]));
    let more_match = ((token & 0x0f) + 1) >> 4;
    let length = MIN_MATCH + (token & 0x0f) + more_match * usize::from(last);
    let at = written + literals;
    if at + length > block {
        return None;
    }
    // Both are below the block's size already. Saying so spares the checks of all that is written.
    let room = out.get_mut(written & (block - 1)..)?.first_chunk_mut::<ROOM>()?;
    put::<LITERALS>(room, 0, window.first_chunk()?)?;
    if (length > MATCH) | (offset < length) | (offset > at) {
        unusual_match(out, at, offset, length)?;
    } else {
        let found = *out.get((at - offset) & (block - 1)..)?.first_chunk::<MATCH>()?;
        let room = out.get_mut(written & (block - 1)..)?.first_chunk_mut::<ROOM>()?;
        put(room, literals, &found)?;
    }
    Some((input.get(1 + more + literals + 2 + more_match..)?, at + length))
}

#[inline(always)]
fn get<const N: usize>(out: &[u8], at: usize) -> Option<[u8; N]> {
    out.get(at..)?.first_chunk().copied()
}

#[inline(always)]
fn put<const N: usize>(out: &mut [u8], at: usize, bytes: &[u8; N]) -> Option<()> {
    *out.get_mut(at..)?.first_chunk_mut::<N>()? = *bytes;
    Some(())
}

#[inline(always)]
fn copy<const N: usize>(out: &mut [u8], from: usize, to: usize) -> Option<()> {
    let bytes = get::<N>(out, from)?;
    put(out, to, &bytes)
}

/// Appends a match that is long or overlaps itself, and perhaps some bytes more. `None` for what it cannot do.
#[inline(never)]
fn unusual_match(out: &mut [u8], at: usize, offset: usize, length: usize) -> Option<()> {
    let from = at.checked_sub(offset)?;
    if length >= LONG_MATCH {
        return None;
    }
    match offset {
        0 => return None,
        1..16 => {
            // The period, as often as it fits into a vector.
            let mut pattern = u128::from_le_bytes(*out.get(from..)?.first_chunk()?) & ((1 << (8 * offset)) - 1);
            let mut known = offset;
            while known < 16 {
                pattern |= pattern << (8 * known);
                known *= 2;
            }
            for done in (0..length).step_by(16 - 16 % offset) {
                put(out, at + done, &pattern.to_le_bytes())?;
            }
        }
        16..MATCH => {
            for done in (0..length).step_by(16) {
                copy::<16>(out, from + done, at + done)?;
            }
        }
        _ => {
            for done in (0..length).step_by(MATCH) {
                copy::<MATCH>(out, from + done, at + done)?;
            }
        }
    }
    Some(())
}

/// Appends `length` bytes that begin `offset` bytes before `at`; with a short offset they repeat themselves.
fn repeat(out: &mut [u8], at: usize, offset: usize, length: usize) {
    let start = at - offset;
    let mut done = 0;
    while done < length {
        let step = (offset + done).min(length - done);
        out.copy_within(start..start + step, at + done);
        done += step;
    }
}

fn take(input: &[u8], read: &mut usize) -> Option<u8> {
    let byte = *input.get(*read)?;
    *read += 1;
    Some(byte)
}

/// A length whose first four bits are `start`: it goes on while bytes are 255.
fn length(start: u8, input: &[u8], read: &mut usize) -> Option<usize> {
    let mut sum = usize::from(start);
    if start == MORE {
        loop {
            let byte = take(input, read)?;
            sum += usize::from(byte);
            if byte != 255 {
                break;
            }
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ours, and another decoder's, for blocks of at most `SIZE` less [`ROOM`] bytes.
    fn both<const SIZE: usize>(block: &[u8]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let mut out = [0; SIZE];
        let ours = decompress(block, &mut out).map(|n| out[..n].to_vec());
        let mut out = [0; SIZE];
        let theirs = lz4_flex::block::decompress_into(block, &mut out[..SIZE - ROOM]);
        (ours, theirs.ok().map(|n| out[..n].to_vec()))
    }

    const TINY: usize = 512 + ROOM;
    const SMALL: usize = 4096 + ROOM;
    const USUAL: usize = 65536 + ROOM;

    /// Pieces of an alphabet of a few letters, so that matches of all lengths and offsets occur.
    fn compressible() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::collection::vec(0u8..4, 0..80),
            prop::collection::vec(any::<u8>(), 0..60),
            (any::<u8>(), 0usize..700).prop_map(|(byte, n)| vec![byte; n]),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(data in compressible()) {
            let block = lz4_flex::block::compress(&data);
            prop_assert_eq!(both::<USUAL>(&block).0, Some(data.clone()));
            prop_assert_eq!(both::<SMALL>(&block).0, (data.len() <= 4096).then_some(data));
        }

        #[test]
        fn two_blocks_are_two_times_one(
            data in (compressible(), compressible()),
            damage in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut blocks = [lz4_flex::block::compress(&data.0), lz4_flex::block::compress(&data.1)];
            for (which, at, byte) in damage {
                let block = &mut blocks[usize::from(which)];
                let at = at.index(block.len());
                block[at] = byte;
            }
            let (mut a, mut b) = ([0; USUAL], [0; USUAL]);
            let [length_a, length_b] = decompress_two([&blocks[0], &blocks[1]], [&mut a, &mut b]);
            prop_assert_eq!(length_a.map(|n| a[..n].to_vec()), both::<USUAL>(&blocks[0]).0);
            prop_assert_eq!(length_b.map(|n| b[..n].to_vec()), both::<USUAL>(&blocks[1]).0);
        }

        #[test]
        fn damaged_blocks_are_judged_as_by_another_decoder(
            data in compressible(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut block = lz4_flex::block::compress(&data);
            for (at, byte) in damage {
                let at = at.index(block.len());
                block[at] = byte;
            }
            let (ours, theirs) = both::<SMALL>(&block);
            prop_assert_eq!(ours, theirs);
            let (ours, theirs) = both::<SMALL>(&block[..cut.index(block.len())]);
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn noise_never_panics(block in prop::collection::vec(any::<u8>(), 0..400)) {
            let (ours, theirs) = both::<TINY>(&block);
            prop_assert_eq!(ours, theirs);
        }
    }
}
