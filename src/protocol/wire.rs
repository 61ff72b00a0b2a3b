//! A cursor over borrowed bytes that reads Kafka's primitive encodings and never goes past the end.
//! No state of its own, no allocation; Kafka's counterpart is ByteBufferAccessor.

use super::fault::Malformed;

/// Reads forward through `bytes`; every read that does not fit leaves an error, never a panic.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, rest: bytes }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> usize {
        self.bytes.len().saturating_sub(self.rest.len())
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Fails unless `length` bytes are left.
    pub fn need(&self, length: usize) -> Result<(), Malformed> {
        if length > self.rest.len() {
            return Err(Malformed::Truncated { need: length, have: self.rest.len() });
        }
        Ok(())
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(Malformed::Truncated { need: length, have: self.rest.len() }),
        }
    }

    pub fn skip(&mut self, length: usize) -> Result<(), Malformed> {
        self.take(length).map(|_| ())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(Malformed::Truncated { need: N, have: self.rest.len() }),
        }
    }

    pub fn i8(&mut self) -> Result<i8, Malformed> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// An unsigned varint of at most five bytes and 32 bits.
    pub fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0u32;
        for shift in [0u32, 7, 14, 21, 28] {
            let [byte] = self.array::<1>()?;
            if shift == 28 && byte > 0x0f {
                return Err(Malformed::Varint);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Varint)
    }

    /// A compact length: one more than the length, zero for null.
    pub fn compact_length(&mut self) -> Result<Option<usize>, Malformed> {
        Ok(self.varint()?.checked_sub(1).map(|length| length as usize))
    }

    /// A length of four bytes, -1 for null.
    pub fn length_i32(&mut self) -> Result<Option<usize>, Malformed> {
        length(self.i32()?)
    }

    /// A length of two bytes, -1 for null.
    pub fn length_i16(&mut self) -> Result<Option<usize>, Malformed> {
        length(i32::from(self.i16()?))
    }
}

fn length(value: i32) -> Result<Option<usize>, Malformed> {
    match usize::try_from(value) {
        Ok(length) => Ok(Some(length)),
        Err(_) if value == -1 => Ok(None),
        Err(_) => Err(Malformed::NegativeLength(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_stop_at_five_bytes_and_32_bits() {
        let read = |bytes: &[u8]| Cursor::new(bytes).varint();
        assert_eq!(read(&[0x00]), Ok(0));
        assert_eq!(read(&[0x80, 0x01]), Ok(128));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(Malformed::Varint));
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(Malformed::Varint));
        assert_eq!(read(&[0x80]), Err(Malformed::Truncated { need: 1, have: 0 }));
    }

    #[test]
    fn lengths_know_null_and_refuse_what_is_below() {
        assert_eq!(Cursor::new(&[0xff, 0xff]).length_i16(), Ok(None));
        assert_eq!(Cursor::new(&[0xff, 0xfe]).length_i16(), Err(Malformed::NegativeLength(-2)));
        assert_eq!(Cursor::new(&[0x80, 0, 0, 0]).length_i32(), Err(Malformed::NegativeLength(i32::MIN)));
        assert_eq!(Cursor::new(&[0]).compact_length(), Ok(None));
        assert_eq!(Cursor::new(&[1]).compact_length(), Ok(Some(0)));
    }
}
