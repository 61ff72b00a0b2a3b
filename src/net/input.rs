//! The read side of a connection: a buffer that grows only as bytes arrive, cut into frames without copying.
//!
//! A length prefix is a claim, not an order: memory is reserved as the peer proves it by sending.

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::TcpStream;

/// First reservation, and the size from which a frame gets a buffer of its own: the largest that the allocator hands
/// out from its per-thread cache, as idle connections give theirs back.
const CHUNK: usize = 32 * 1024;
/// Largest step by which the buffer of an unfinished frame grows before doubling takes over.
const STEP: usize = 1024 * 1024;
/// Bytes of the length prefix.
const PREFIX: usize = 4;

/// Why the bytes of a connection cannot be a request.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("Invalid receive (size = {0})")]
    Negative(i32),
    #[error("Invalid receive (size = {size} larger than {limit})")]
    TooLarge { size: i32, limit: i32 },
}

/// Unread bytes of a connection.
pub struct Input {
    buffer: BytesMut,
    /// `socket.request.max.bytes`.
    limit: i32,
}

impl Input {
    pub fn new(limit: i32) -> Input {
        Input { buffer: BytesMut::new(), limit }
    }

    /// Cuts the next whole frame, without its length prefix, off the buffer.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.frame_length()? else { return Ok(None) };
        if self.buffer.len() < PREFIX + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Reads what the socket has. `Ok(0)` is the end of the stream; `WouldBlock` is passed on.
    pub fn read_from(&mut self, stream: &TcpStream) -> std::io::Result<usize> {
        self.reserve();
        stream.try_read_buf(&mut self.buffer)
    }

    /// Gives the buffer back while nothing is in it, so that idle connections cost no memory.
    pub fn release_if_empty(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    fn frame_length(&self) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX>() else { return Ok(None) };
        let size = i32::from_be_bytes(*prefix);
        if size > self.limit {
            return Err(FrameError::TooLarge { size, limit: self.limit });
        }
        usize::try_from(size).map(Some).map_err(|_| FrameError::Negative(size))
    }

    /// Makes room for the rest of the frame under way: all of it once enough of it has come.
    fn reserve(&mut self) {
        let have = self.buffer.len();
        let wanted = match self.frame_length() {
            Ok(Some(length)) => {
                let missing = (PREFIX + length).saturating_sub(have);
                let trusted = if have < CHUNK { CHUNK } else { STEP.max(have) };
                missing.clamp(1, trusted)
            }
            _ => CHUNK,
        };
        self.buffer.reserve(wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> Input {
        let mut input = Input::new(1000);
        input.buffer.extend_from_slice(bytes);
        input
    }

    #[test]
    fn frames_are_cut_one_by_one() {
        let mut input = input(&[0, 0, 0, 2, 7, 8, 0, 0, 0, 1, 9, 0, 0]);
        assert_eq!(input.next_frame().unwrap().unwrap(), Bytes::from_static(&[7, 8]));
        assert_eq!(input.next_frame().unwrap().unwrap(), Bytes::from_static(&[9]));
        assert_eq!(input.next_frame().unwrap(), None);
    }

    #[test]
    fn bad_lengths_are_named() {
        assert_eq!(input(&[0xff; 4]).next_frame(), Err(FrameError::Negative(-1)));
        assert_eq!(
            input(b"GET / HTTP/1.1").next_frame().unwrap_err().to_string(),
            "Invalid receive (size = 1195725856 larger than 1000)"
        );
    }

    #[test]
    fn a_claimed_length_reserves_little_until_bytes_arrive() {
        let mut input = Input::new(i32::MAX);
        input.buffer.extend_from_slice(&100_000_000i32.to_be_bytes());
        input.reserve();
        assert!(input.buffer.capacity() <= 2 * CHUNK, "{}", input.buffer.capacity());
    }
}
