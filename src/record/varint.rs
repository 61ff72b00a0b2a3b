//! Zig-zag variable-length integers as `ByteUtils` reads and writes them: at most 5 bytes for 32 bits,
//! 10 for 64. Reading is as lenient as Kafka's: over-long encodings within those limits are accepted.

use bytes::BufMut;

/// Splits an `i32` off the front of `buf`. `None` when the bytes end early or the fifth still continues.
#[inline]
pub fn read_i32(buf: &mut &[u8]) -> Option<i32> {
    // Almost every varint of a record is one or two bytes long.
    match **buf {
        [a, ref rest @ ..] if a < 0x80 => {
            *buf = rest;
            Some(zag_32(u32::from(a)))
        }
        [a, b, ref rest @ ..] if b < 0x80 => {
            *buf = rest;
            Some(zag_32(u32::from(a & 0x7f) | u32::from(b) << 7))
        }
        _ => read_i32_slow(buf),
    }
}

fn read_i32_slow(buf: &mut &[u8]) -> Option<i32> {
    let mut raw = 0u32;
    let mut shift = 0;
    loop {
        let (&b, rest) = buf.split_first()?;
        *buf = rest;
        raw |= u32::from(b & 0x7f) << shift;
        if b < 0x80 {
            return Some(zag_32(raw));
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
    }
}

/// Splits an `i64` off the front of `buf`. `None` when the bytes end early or the tenth still continues.
#[inline]
pub fn read_i64(buf: &mut &[u8]) -> Option<i64> {
    match **buf {
        [a, ref rest @ ..] if a < 0x80 => {
            *buf = rest;
            Some(zag_64(u64::from(a)))
        }
        [a, b, ref rest @ ..] if b < 0x80 => {
            *buf = rest;
            Some(zag_64(u64::from(a & 0x7f) | u64::from(b) << 7))
        }
        _ => read_i64_slow(buf),
    }
}

fn read_i64_slow(buf: &mut &[u8]) -> Option<i64> {
    let mut raw = 0u64;
    let mut shift = 0;
    loop {
        let (&b, rest) = buf.split_first()?;
        *buf = rest;
        raw |= u64::from(b & 0x7f) << shift;
        if b < 0x80 {
            return Some(zag_64(raw));
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

/// Undoes the zig-zag of a 32-bit value.
#[inline]
pub fn zag_32(raw: u32) -> i32 {
    (raw >> 1) as i32 ^ -((raw & 1) as i32)
}

/// Undoes the zig-zag of a 64-bit value.
#[inline]
pub fn zag_64(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

/// Appends `value`.
#[inline]
pub fn write_i32(out: &mut impl BufMut, value: i32) {
    let mut raw = ((value << 1) ^ (value >> 31)) as u32;
    while raw >= 0x80 {
        out.put_u8(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.put_u8(raw as u8);
}

/// Appends `value`.
#[inline]
pub fn write_i64(out: &mut impl BufMut, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.put_u8(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.put_u8(raw as u8);
}

/// How many bytes `write_i32` appends.
#[inline]
pub fn size_of_i32(value: i32) -> usize {
    let raw = ((value << 1) ^ (value >> 31)) as u32;
    ((38 - raw.leading_zeros()) / 7 + u32::from(raw == 0)) as usize
}

/// How many bytes `write_i64` appends.
#[inline]
pub fn size_of_i64(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    ((70 - raw.leading_zeros()) / 7 + u32::from(raw == 0)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_values_agree() {
        for shift in 0..64 {
            for near in [-2i64, -1, 0, 1, 2] {
                let value = (1i64 << shift).wrapping_add(near);
                let mut out = Vec::new();
                write_i64(&mut out, value);
                assert_eq!(out.len(), size_of_i64(value), "{value}");
                assert_eq!(read_i64(&mut out.as_slice()), Some(value));
                let value = value as i32;
                let mut out = Vec::new();
                write_i32(&mut out, value);
                assert_eq!(out.len(), size_of_i32(value), "{value}");
                assert_eq!(read_i32(&mut out.as_slice()), Some(value));
            }
        }
    }

    #[test]
    fn endless_and_short_numbers_are_refused() {
        assert_eq!(read_i32(&mut [0xff, 0xff, 0xff, 0xff, 0xff, 0x01].as_slice()), None);
        assert_eq!(read_i32(&mut [0xff, 0xff].as_slice()), None);
        assert_eq!(read_i64(&mut [0xff; 10].as_slice()), None);
        assert_eq!(read_i32(&mut [0xff, 0xff, 0xff, 0xff, 0x0f].as_slice()), Some(i32::MIN));
        // Over-long, as Kafka tolerates it.
        assert_eq!(read_i32(&mut [0x82, 0x80, 0x00].as_slice()), Some(1));
    }
}
