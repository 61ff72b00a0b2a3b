//! One client connection, served by one task.
//!
//! The task reads frames as they come and hands each to the api layer. Answers leave in the order of their
//! requests: those that are ready go out at once unless an older one is still pending. While acks=all
//! appends and long polls are pending the task keeps reading (Kafka would not), up to a bound.
//! Answers to Kafka's `Processor` and `KafkaChannel`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::input::{FrameError, Input};
use super::readers::MUCH;
use super::send;
use crate::api::reply::{Frame, Part, Reply};
use crate::api::{Api, Peer};

/// Requests of one connection that may be unanswered before it is no longer read.
const MAX_PENDING: usize = 128;
/// Ready answers up to this many bytes are gathered into one write.
const GATHER: usize = 32 * 1024;

/// Limits of a connection, from server.properties.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// `socket.request.max.bytes`.
    pub max_request_bytes: i32,
    /// `connections.max.idle.ms`; `None` never.
    pub max_idle: Option<Duration>,
}

/// Why a connection ended other than by the client's wish.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Request(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub struct Connection {
    stream: TcpStream,
    api: Arc<Api>,
    peer: Peer,
    input: Input,
    limits: ConnectionLimits,
    pending: FuturesOrdered<BoxFuture<'static, Option<Frame>>>,
    /// The newest pending request is exclusive: read nothing until `pending` is empty.
    exclusive: bool,
    gathered: Vec<u8>,
    /// The client reads much, and whether the connection has moved since to where such are served.
    reads_much: bool,
    has_moved: bool,
}

/// Why a connection is not served any more.
enum Served {
    ToItsEnd,
    /// It is to move to the [`super::readers`].
    ReadsMuch,
}

impl Connection {
    pub fn new(
        stream: TcpStream,
        address: SocketAddr,
        listener: Arc<str>,
        api: Arc<Api>,
        limits: ConnectionLimits,
    ) -> Connection {
        Connection {
            stream,
            api,
            peer: Peer { address, listener },
            input: Input::new(limits.max_request_bytes),
            limits,
            pending: FuturesOrdered::new(),
            exclusive: false,
            gathered: Vec::new(),
            reads_much: false,
            has_moved: false,
        }
    }

    /// Serves until the client goes, misbehaves, idles too long, or the broker stops; or until it turns out to read
    /// much, and is to go on by [`Connection::moved`].
    pub async fn run(mut self, stopping: &mut watch::Receiver<bool>) -> Option<Connection> {
        match self.serve(stopping).await {
            Ok(Served::ToItsEnd) => {}
            Ok(Served::ReadsMuch) => return Some(self),
            Err(ConnectionError::Io(error)) => {
                tracing::debug!(target: "kafka.network.Processor", "Connection with {} disconnected: {error}", self.peer.address);
            }
            Err(error) => {
                tracing::warn!(target: "kafka.network.Processor", "Closing connection with {}: {error}", self.peer.address);
            }
        }
        None
    }

    /// The same connection on the runtime this is called in.
    pub fn moved(mut self) -> io::Result<Connection> {
        self.stream = TcpStream::from_std(self.stream.into_std()?)?;
        self.has_moved = true;
        Ok(self)
    }

    async fn serve(&mut self, stopping: &mut watch::Receiver<bool>) -> Result<Served, ConnectionError> {
        loop {
            self.take_requests().await?;
            self.flush().await?;
            if self.reads_much && !self.has_moved && self.pending.is_empty() {
                return Ok(Served::ReadsMuch);
            }
            let idle = self.limits.max_idle.map(|limit| Instant::now() + limit);
            let reads = self.may_read();
            if reads {
                self.input.release_if_empty();
            }
            tokio::select! {
                biased;
                answer = self.pending.next(), if !self.pending.is_empty() => {
                    let Some(Some(frame)) = answer else {
                        return Err(ConnectionError::Request("a request could not be answered".to_owned()));
                    };
                    self.write(frame).await?;
                    if self.pending.is_empty() {
                        self.exclusive = false;
                    }
                }
                readable = self.stream.readable(), if reads => {
                    readable?;
                    match self.input.read_from(&self.stream) {
                        Ok(0) => return Ok(Served::ToItsEnd),
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                () = stopped(stopping) => return Ok(Served::ToItsEnd),
                () = sleep_until(idle), if self.pending.is_empty() => return Ok(Served::ToItsEnd),
            }
        }
    }

    fn may_read(&self) -> bool {
        !self.exclusive && self.pending.len() < MAX_PENDING
    }

    /// Handles every whole frame in the buffer that may start now.
    async fn take_requests(&mut self) -> Result<(), ConnectionError> {
        while self.may_read() {
            let Some(frame) = self.input.next_frame()? else { return Ok(()) };
            match self.api.handle(&self.peer, frame) {
                Reply::Now(frame) if self.pending.is_empty() => self.write(frame).await?,
                Reply::Now(frame) => self.pending.push_back(Box::pin(std::future::ready(Some(frame)))),
                Reply::Later(answer) => self.pending.push_back(answer),
                Reply::Exclusive(answer) => {
                    self.exclusive = true;
                    self.pending.push_back(answer);
                }
                Reply::Nothing => {}
                Reply::Close(reason) => {
                    self.drain().await?;
                    return Err(ConnectionError::Request(reason));
                }
            }
        }
        Ok(())
    }

    /// Sends what earlier requests are owed before the connection closes.
    async fn drain(&mut self) -> io::Result<()> {
        while let Some(Some(frame)) = self.pending.next().await {
            self.write(frame).await?;
        }
        self.flush().await
    }

    /// Sends an answer, or gathers it with its neighbours if it is small.
    async fn write(&mut self, frame: Frame) -> io::Result<()> {
        if let [Part::Bytes(bytes)] = frame.parts.as_slice()
            && self.gathered.len() + bytes.len() <= GATHER
        {
            self.gathered.extend_from_slice(bytes);
            return Ok(());
        }
        self.reads_much |= !frame.is_for_follower && frame.file_bytes() >= MUCH;
        self.flush().await?;
        send::send(&mut self.stream, frame).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.gathered.is_empty() {
            self.stream.write_all(&self.gathered).await?;
            self.gathered.clear();
            self.gathered.shrink_to(1024);
        }
        Ok(())
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and the broker with it.
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
