//! A raw client: length-prefixed frames on a TCP stream. It knows no retries and no metadata, and sends what it is told.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

const TIMEOUT: Duration = Duration::from_secs(60);

pub struct Wire {
    stream: TcpStream,
    correlation_id: i32,
}

impl Wire {
    pub fn connect(port: u16) -> Wire {
        Wire::over(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection to the broker"))
    }

    pub fn over(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a socket option");
        stream.set_write_timeout(Some(TIMEOUT)).expect("a socket option");
        Wire { stream, correlation_id: 0 }
    }

    /// Bytes as they are, without a length in front.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame without its length; `None` when the broker has closed the connection.
    pub fn receive(&mut self) -> io::Result<Option<Bytes>> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Err(e) if is_closed(&e) => return Ok(None),
            other => other?,
        }
        let length = usize::try_from(i32::from_be_bytes(length)).expect("a length that is not negative");
        let mut frame = vec![0; length];
        match self.stream.read_exact(&mut frame) {
            Err(e) if is_closed(&e) => Ok(None),
            other => other.map(|()| Some(frame.into())),
        }
    }

    pub fn set_timeout(&mut self, timeout: Duration) {
        self.stream.set_read_timeout(Some(timeout)).expect("a socket option");
    }

    /// Sends a request and waits for its answer.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.try_call(version, request).expect("an answer from the broker")
    }

    /// The same, for a broker that may go away.
    pub fn try_call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.send(version, request)?;
        let mut frame = self.receive()?.ok_or(io::ErrorKind::ConnectionReset)?;
        let correlation_id = i32::from_be_bytes(frame.split_to(4)[..].try_into().expect("four bytes"));
        assert_eq!(correlation_id, self.correlation_id, "an answer to another request");
        if R::Response::header_version(version) >= 1 {
            let tags = frame.split_to(1);
            assert_eq!(tags[0], 0, "tags in a response header");
        }
        let response = R::Response::decode(&mut frame, version).map_err(io::Error::other)?;
        assert!(frame.is_empty(), "{} bytes left over in an answer", frame.len());
        Ok(response)
    }

    /// Sends a request and does not wait.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<()> {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("tests")));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header.encode(&mut frame, R::header_version(version)).map_err(io::Error::other)?;
        request.encode(&mut frame, version).map_err(io::Error::other)?;
        let length = i32::try_from(frame.len() - 4).expect("a small request");
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.send_raw(&frame)
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe | ConnectionAborted)
}

/// Adds the length in front.
pub fn frame(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).expect("a small frame");
    [&length.to_be_bytes()[..], body].concat()
}

/// Version of the response header of an api, as its frames are written.
pub fn response_header_version(api_key: i16, version: i16) -> Option<i16> {
    Some(ApiKey::try_from(api_key).ok()?.response_header_version(version))
}
