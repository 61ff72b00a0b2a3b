//! Decompression of one LZ4 block. Every lz4 batch a client sends is decompressed so that its records can be checked,
//! and then most of the broker's time is spent here.
//!
//! What costs in LZ4 are mispredicted branches. So ordinary sequences go by two ways with few of them, which copy
//! whole vectors and count only what was meant: one where the token says both lengths, one that works out without a
//! branch whether a length continues in the next byte. Anything else, and the ends of the buffers, take the plain way.
//! Every access is checked.

/// Literals copied at once, in bytes.
const LITERALS: usize = 32;
/// Bytes of a match copied at once.
const MATCH: usize = 32;
/// Literals copied at once where the token alone says how many.
const SHORT_LITERALS: usize = 16;
/// Shortest match of the format.
const MIN_MATCH: usize = 4;
/// What a length in the token must be to continue in the next byte.
const MORE: u8 = 0x0f;
/// Matches below this length say it in at most two bytes.
const LONG_MATCH: usize = MIN_MATCH + MORE as usize + 0xff;
/// Token, one more byte of length for literals and match each, literals, offset.
const SEQUENCE: usize = 1 + 1 + LITERALS + 2 + 1;
/// Room that an ordinary sequence needs in the output, with what is copied too much and overwritten by the next one.
pub(super) const ROOM: usize = LITERALS + LONG_MATCH + MATCH;

/// Whether neither length of a token continues. A table, for the compiler would make branches of anything else.
#[allow(clippy::indexing_slicing)] // By the compiler, and below the length.
static IS_SHORT: [bool; 256] = {
    let mut table = [false; 256];
    let mut token = 0;
    while token < table.len() {
        table[token] = token >> 4 != MORE as usize && token & 0x0f != MORE as usize;
        token += 1;
    }
    table
};

/// Decompresses `input` into the front of `out` and says how many bytes came out; `None` if the block is malformed or
/// does not fit. What lies behind in `out` may change as well.
pub(super) fn decompress(input: &[u8], out: &mut [u8]) -> Option<usize> {
    let (mut read, mut written) = (0, 0);
    loop {
        (read, written) = ordinary(input, out, read, written);
        let token = take(input, &mut read)?;
        let literals = length(token >> 4, input, &mut read)?;
        let from = input.get(read..)?.get(..literals)?;
        out.get_mut(written..)?.get_mut(..literals)?.copy_from_slice(from);
        read += literals;
        written += literals;
        if read == input.len() {
            return Some(written);
        }
        let offset = usize::from(u16::from_le_bytes(*input.get(read..)?.first_chunk()?));
        read += 2;
        let length = MIN_MATCH + length(token & 0x0f, input, &mut read)?;
        if offset == 0 || offset > written || length > out.len() - written {
            return None;
        }
        repeat(out, written, offset, length);
        written += length;
    }
}

/// Decompresses sequences of ordinary shape from (`read`, `written`) on; returns where it stopped.
#[inline(always)]
fn ordinary(input: &[u8], out: &mut [u8], read: usize, mut written: usize) -> (usize, usize) {
    let mut rest = input.get(read..).unwrap_or_default();
    while let Some(sequence) = rest.first_chunk::<SEQUENCE>() {
        let [token, ..] = *sequence;
        #[allow(clippy::indexing_slicing)] // A byte, in a table for every byte.
        let is_short = IS_SHORT[usize::from(token)];
        let decompressed = match is_short {
            true => short(sequence, out, written),
            false => longer(sequence, out, written),
        };
        let Some((used, at)) = decompressed else { break };
        let Some(behind) = rest.get(used..) else { break };
        rest = behind;
        written = at;
    }
    (input.len() - rest.len(), written)
}

/// Decompresses a sequence whose token says both lengths. Returns how long it is, and where the output then ends.
#[inline(always)]
fn short(sequence: &[u8; SEQUENCE], out: &mut [u8], written: usize) -> Option<(usize, usize)> {
    let (token, rest) = sequence.split_first()?;
    let literals = usize::from(token >> 4);
    let length = MIN_MATCH + usize::from(token & 0x0f);
    let offset = usize::from(u16::from_le_bytes(*rest.get(literals..)?.first_chunk()?));
    put::<SHORT_LITERALS>(room(out, written)?, 0, rest.first_chunk()?)?;
    let at = written + literals;
    if (offset < length) | (offset > at) {
        unusual_match(out, at, offset, length)?;
    } else {
        let (found, more) = (get::<16>(out, at - offset)?, get::<2>(out, at - offset + 16)?);
        let room = room(out, written)?;
        put(room, literals, &found)?;
        put(room, literals + 16, &more)?;
    }
    Some((1 + literals + 2, at + length))
}

/// The same where at most one more byte belongs to each length.
#[inline(always)]
fn longer(sequence: &[u8; SEQUENCE], out: &mut [u8], written: usize) -> Option<(usize, usize)> {
    let [token, next, ..] = *sequence;
    // 1 where the length goes on in the next byte.
    let more = usize::from(token >> 4 == MORE);
    let literals = usize::from(token >> 4) + more * usize::from(next);
    if literals > LITERALS {
        return None;
    }
    let window = sequence.get(1 + more..)?.first_chunk::<{ LITERALS + 3 }>()?;
    let [low, high, last] = *window.get(literals..)?.first_chunk()?;
    let offset = usize::from(u16::from_le_bytes([low, high]));
    let more_match = usize::from(token & 0x0f == MORE);
    let length = MIN_MATCH + usize::from(token & 0x0f) + more_match * usize::from(last);
    put::<LITERALS>(room(out, written)?, 0, window.first_chunk()?)?;
    let at = written + literals;
    if (length > MATCH) | (offset < length) | (offset > at) {
        unusual_match(out, at, offset, length)?;
    } else {
        let found = get::<MATCH>(out, at - offset)?;
        put(room(out, written)?, literals, &found)?;
    }
    Some((1 + more + literals + 2 + more_match, at + length))
}

/// Where a sequence goes: one check for all that is written of it.
#[inline(always)]
fn room(out: &mut [u8], written: usize) -> Option<&mut [u8; ROOM]> {
    out.get_mut(written..)?.first_chunk_mut()
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

    fn both(block: &[u8], room: usize) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let run = |f: &dyn Fn(&mut [u8]) -> Option<usize>| {
            let mut out = vec![0; room];
            let n = f(&mut out)?;
            out.truncate(n);
            Some(out)
        };
        let theirs = run(&|out| lz4_flex::block::decompress_into(block, out).ok());
        (run(&|out| decompress(block, out)), theirs)
    }

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
        fn what_was_compressed_comes_back(data in compressible(), spare in 0usize..200) {
            let block = lz4_flex::block::compress(&data);
            let mut out = vec![0; data.len() + spare];
            prop_assert_eq!(decompress(&block, &mut out), Some(data.len()));
            prop_assert_eq!(&out[..data.len()], &data[..]);
            if !data.is_empty() {
                prop_assert_eq!(decompress(&block, &mut vec![0; data.len() - 1]), None);
            }
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
            let (ours, theirs) = both(&block, 4096);
            prop_assert_eq!(ours, theirs);
            let (ours, theirs) = both(&block[..cut.index(block.len())], 4096);
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn noise_never_panics(block in prop::collection::vec(any::<u8>(), 0..400), room in 0usize..600) {
            let (ours, theirs) = both(&block, room);
            prop_assert_eq!(ours, theirs);
        }
    }
}
