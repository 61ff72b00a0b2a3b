//! What a handler gives back: an answer now, an answer later, or none.

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;

use crate::log::FileSlice;
use crate::protocol::codec::{Encodable, HeaderVersion};
use crate::protocol::{ProtocolError, codec};

/// A piece of an answer on the wire.
pub enum Part {
    Bytes(Bytes),
    /// A range of a log file, sent without reading it.
    File(FileSlice),
}

/// A complete answer, length prefix included.
pub struct Frame {
    pub parts: Vec<Part>,
    /// For a replica, which must get the next records as soon as there are any.
    pub is_for_follower: bool,
}

impl Frame {
    pub fn of(bytes: BytesMut) -> Frame {
        Frame { parts: vec![Part::Bytes(bytes.freeze())], is_for_follower: false }
    }

    /// How much of it stands in files.
    pub fn file_bytes(&self) -> usize {
        self.parts.iter().map(|part| if let Part::File(slice) = part { slice.len as usize } else { 0 }).sum()
    }
}

/// The outcome of handling one request.
pub enum Reply {
    Now(Frame),
    /// The client wants no answer (acks=0).
    Nothing,
    /// The connection reads on meanwhile; answers still leave in the order of their requests.
    Later(BoxFuture<'static, Option<Frame>>),
    /// The next request of this connection may not start before this one is done.
    Exclusive(BoxFuture<'static, Option<Frame>>),
    /// The connection must be closed; the text goes to the log.
    Close(String),
}

/// Encodes answers of one request: correlation id and version are fixed by it.
#[derive(Clone, Copy, Debug)]
pub struct Responder {
    pub api_key: i16,
    pub version: i16,
    pub correlation_id: i32,
}

impl Responder {
    /// The answer as a frame.
    pub fn encode<T: Encodable + HeaderVersion>(&self, body: &T) -> Result<Frame, ProtocolError> {
        codec::encode_response(self.correlation_id, self.api_key, self.version, body).map(Frame::of)
    }

    pub fn reply<T: Encodable + HeaderVersion>(&self, body: &T) -> Reply {
        match self.encode(body) {
            Ok(frame) => Reply::Now(frame),
            Err(error) => Reply::Close(error.to_string()),
        }
    }

    /// Like `encode`, for futures: `None` (close) with a log line when the answer cannot be encoded.
    pub fn finish<T: Encodable + HeaderVersion>(&self, body: &T) -> Option<Frame> {
        self.encode(body)
            .inspect_err(|error| tracing::error!(target: "kafka.server.KafkaApis", "Cannot encode an answer: {error}"))
            .ok()
    }
}
