//! One connection to a broker. Requests are pipelined: a writer task sends them in the order they come, a reader task
//! hands each answer to the oldest request that waits. When the connection breaks, or an answer does not come in
//! time, every request in flight fails with the same error and the connection stays closed; making a new one is the
//! owner's business. It answers to NetworkClient with one node, without its buffering.
//!
//! State: the queue of waiting requests behind one mutex, held for a push or a pop only, never across an await.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::ClientError;
use crate::protocol::codec::{self, Request, StrBytes};
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::{ErrorCode, ProtocolError, api, header};

/// Requests that may wait to be written before `request` itself waits.
const OUTGOING: usize = 64;
/// The read buffer grows by at least this much at once, in bytes; never by what a length prefix claims alone.
const READ_STEP: usize = 64 * 1024;

/// How a connection behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// What request headers call us.
    pub client_id: String,
    /// Time to resolve and connect.
    pub connect_timeout: Duration,
    /// Time from handing in a request to having its answer, unless the call says otherwise.
    pub request_timeout: Duration,
    /// Largest response accepted, in bytes.
    pub max_response_bytes: usize,
}

impl Options {
    /// Kafka's default `request.timeout.ms` of 30 s, responses of up to 256 MiB, and one timeout for connecting.
    pub fn new(client_id: &str, connect_timeout: Duration) -> Options {
        Options {
            client_id: client_id.to_owned(),
            connect_timeout,
            request_timeout: Duration::from_secs(30),
            max_response_bytes: 256 << 20,
        }
    }
}

/// A connection; clones share it. The last clone to go closes the socket.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
    next_correlation_id: AtomicI32,
    /// What the broker said it serves, as (api key, min, max); set by `negotiate`.
    versions: OnceLock<Vec<(i16, i16, i16)>>,
    tasks: [AbortHandle; 2],
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close(ClientError::Disconnected("closed here".to_owned()));
        for task in &self.tasks {
            task.abort();
        }
    }
}

struct Outgoing {
    frame: Bytes,
    waiting: Waiting,
}

struct Waiting {
    correlation_id: i32,
    /// Taken as the header version of the answer depends on them.
    api_key: i16,
    version: i16,
    answer: oneshot::Sender<Result<Bytes, ClientError>>,
}

/// What the two tasks and the callers share.
struct Shared {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// Requests on the wire, oldest first.
    waiting: VecDeque<Waiting>,
    closed: Option<ClientError>,
}

impl Shared {
    /// Closes with `error` unless closed already, and fails all that wait.
    fn close(&self, error: ClientError) {
        let (error, waiting) = {
            let mut queue = self.queue.lock();
            let error = queue.closed.get_or_insert(error).clone();
            (error, std::mem::take(&mut queue.waiting))
        };
        for waiting in waiting {
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }

    /// Lines a request up for its answer; false if the connection is closed, and the request told so.
    fn expect(&self, waiting: Waiting) -> bool {
        let error = {
            let mut queue = self.queue.lock();
            match &queue.closed {
                None => {
                    queue.waiting.push_back(waiting);
                    return true;
                }
                Some(error) => error.clone(),
            }
        };
        let _ = waiting.answer.send(Err(error));
        false
    }

    fn closed(&self) -> Option<ClientError> {
        self.queue.lock().closed.clone()
    }

    /// Gives a frame to the oldest request that waits.
    fn answer(&self, mut frame: Bytes) -> Result<(), ClientError> {
        let Some(waiting) = self.queue.lock().waiting.pop_front() else {
            return Err(ClientError::Disconnected("the broker sent an answer that nothing asked for".to_owned()));
        };
        match header::parse_response(&mut frame, waiting.api_key, waiting.version) {
            Ok(id) if id == waiting.correlation_id => {
                let _ = waiting.answer.send(Ok(frame));
                Ok(())
            }
            Ok(id) => {
                let reason = format!("correlation id {id} in an answer, {} expected", waiting.correlation_id);
                let error = ClientError::Disconnected(reason);
                let _ = waiting.answer.send(Err(error.clone()));
                Err(error)
            }
            Err(error) => {
                let _ = waiting.answer.send(Err(error.clone().into()));
                Err(error.into())
            }
        }
    }
}

impl Connection {
    /// Connects over TCP, with `timeout` for resolving and connecting and Kafka's defaults for the rest.
    pub async fn connect(host: &str, port: u16, client_id: &str, timeout: Duration) -> Result<Connection, ClientError> {
        Connection::connect_with(host, port, Options::new(client_id, timeout)).await
    }

    /// Connects over TCP: every address of `host` in turn, of the family Java would take, until one answers.
    pub async fn connect_with(host: &str, port: u16, options: Options) -> Result<Connection, ClientError> {
        let mut address = format!("{host}:{port}");
        let connecting = async {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
            for resolved in preferred(tokio::net::lookup_host((host, port)).await?.collect()) {
                address = java_address(host, resolved);
                match TcpStream::connect(resolved).await {
                    Ok(stream) => {
                        stream.set_nodelay(true)?;
                        return Ok(stream);
                    }
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        let reason = match tokio::time::timeout(options.connect_timeout, connecting).await {
            Ok(Ok(stream)) => {
                let (reader, writer) = stream.into_split();
                return Ok(Connection::start(reader, writer, options));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("timed out after {} ms", options.connect_timeout.as_millis()),
        };
        Err(ClientError::Connect { address, reason })
    }

    /// A connection over a stream that is there already (TLS, a test's pipe). Must be called inside a runtime.
    pub fn over<S>(stream: S, options: Options) -> Connection
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        Connection::start(reader, writer, options)
    }

    fn start<R, W>(reader: R, writer: W, options: Options) -> Connection
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let shared = Arc::new(Shared { queue: Mutex::default() });
        let (outgoing, requests) = mpsc::channel(OUTGOING);
        let tasks = [
            tokio::spawn(read_loop(reader, Arc::clone(&shared), options.max_response_bytes)).abort_handle(),
            tokio::spawn(write_loop(writer, Arc::clone(&shared), requests)).abort_handle(),
        ];
        let inner = Inner {
            options,
            shared,
            outgoing,
            next_correlation_id: AtomicI32::new(0),
            versions: OnceLock::new(),
            tasks,
        };
        Connection { inner: Arc::new(inner) }
    }

    /// Sends a request in `version` and waits for its answer. Calls from several tasks are pipelined. A request that
    /// has no answer (Produce with acks 0) must not go this way.
    pub async fn request<R: Request>(&self, version: i16, request: R) -> Result<R::Response, ClientError> {
        self.request_within(version, request, self.inner.options.request_timeout).await
    }

    /// [`Connection::request`] with its own timeout. When that passes the connection is closed, as Kafka's clients do:
    /// answers come in order, so nothing behind this one could be had.
    pub async fn request_within<R: Request>(
        &self,
        version: i16,
        request: R,
        timeout: Duration,
    ) -> Result<R::Response, ClientError> {
        let body = self.call(version, &request, timeout).await?;
        Ok(codec::decode_response::<R>(version, body)?)
    }

    /// Sends a request in the highest version both sides have, negotiating first if that has not been done.
    pub async fn send<R: Request>(&self, request: R) -> Result<R::Response, ClientError> {
        self.negotiate().await?;
        let version = self.version_of(R::KEY)?;
        self.request(version, request).await
    }

    /// Sends one frame and waits for the body of its answer.
    async fn call<R: Request>(&self, version: i16, request: &R, timeout: Duration) -> Result<Bytes, ClientError> {
        if let Some(error) = self.inner.shared.closed() {
            return Err(error);
        }
        let correlation_id = self.inner.next_correlation_id.fetch_add(1, Ordering::Relaxed);
        let frame = codec::encode_request(correlation_id, Some(&self.inner.options.client_id), version, request)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { correlation_id, api_key: R::KEY, version, answer };
        let outgoing = Outgoing { frame: frame.freeze(), waiting };
        let exchange = async {
            // A send fails and a sender is dropped only when the tasks have ended, which they do by closing.
            if self.inner.outgoing.send(outgoing).await.is_err() {
                return Err(self.closed_error());
            }
            answered.await.unwrap_or_else(|_| Err(self.closed_error()))
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(result) => result,
            Err(_) => {
                self.close_with(ClientError::Disconnected("a request timed out".to_owned()));
                Err(ClientError::Timeout(timeout))
            }
        }
    }

    /// Asks the broker for its versions, once per connection. A broker too old or too new for our ApiVersions
    /// version says so in version 0 with the range it has, and is asked again in that.
    pub async fn negotiate(&self) -> Result<(), ClientError> {
        if self.inner.versions.get().is_some() {
            return Ok(());
        }
        let mut version = 3;
        for _ in 0..2 {
            let response = self.ask_versions(version).await?;
            let serves = response.api_keys.iter().find(|row| row.api_key == ApiVersionsRequest::KEY);
            match (ErrorCode::from_code(response.error_code), serves) {
                (ErrorCode::None, _) => {
                    let rows = response.api_keys.iter().map(|row| (row.api_key, row.min_version, row.max_version));
                    let _ = self.inner.versions.set(rows.collect());
                    return Ok(());
                }
                (ErrorCode::UnsupportedVersion, Some(row)) if row.max_version < version => version = row.max_version,
                (ErrorCode::UnsupportedVersion, None) => version = 0,
                (code, _) => return Err(ClientError::Broker { code, message: None }),
            }
        }
        Err(ClientError::UnsupportedVersion("The node does not support API_VERSIONS".to_owned()))
    }

    async fn ask_versions(&self, version: i16) -> Result<ApiVersionsResponse, ClientError> {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request.client_software_name = StrBytes::from_static_str("ottla");
            request.client_software_version = StrBytes::from_static_str(env!("CARGO_PKG_VERSION"));
        }
        let body = self.call(version, &request, self.inner.options.request_timeout).await?;
        let refused = body.first_chunk::<2>().map(|code| i16::from_be_bytes(*code));
        let version = if refused == Some(ErrorCode::UnsupportedVersion.code()) { 0 } else { version };
        Ok(codec::decode_response::<ApiVersionsRequest>(version, body)?)
    }

    /// The highest version of `api_key` that the broker serves within `min..=max`; none before [`Connection::negotiate`],
    /// or if the ranges do not meet.
    pub fn negotiated(&self, api_key: i16, min: i16, max: i16) -> Option<i16> {
        let versions = self.inner.versions.get()?;
        let (_, theirs_min, theirs_max) = versions.iter().find(|(key, _, _)| *key == api_key)?;
        let version = max.min(*theirs_max);
        (version >= min.max(*theirs_min)).then_some(version)
    }

    /// The highest version of `api_key` that both sides have.
    pub fn version_of(&self, api_key: i16) -> Result<i16, ClientError> {
        let ours = api::find(api_key).ok_or(ProtocolError::UnknownApi(api_key))?;
        self.version_within(ours, ours.min, ours.max)
    }

    /// The highest version within `min..=max` that the broker serves; the error is in Kafka's words.
    pub fn version_within(&self, api: &api::ApiVersion, min: i16, max: i16) -> Result<i16, ClientError> {
        self.negotiated(api.key, min, max).ok_or_else(|| {
            let name = api.constant_name();
            let served = self.broker_versions().iter().find(|(key, _, _)| *key == api.key);
            ClientError::UnsupportedVersion(match served {
                None => format!("The node does not support {name}"),
                Some((_, theirs_min, theirs_max)) => format!(
                    "The node does not support {name} with version in range [{min},{max}]. \
                     The supported range is [{theirs_min},{theirs_max}]."
                ),
            })
        })
    }

    /// What the broker said it serves, as (api key, min, max); empty before [`Connection::negotiate`].
    pub fn broker_versions(&self) -> &[(i16, i16, i16)] {
        self.inner.versions.get().map_or(&[], Vec::as_slice)
    }

    /// Whether the connection can carry no more requests.
    pub fn is_closed(&self) -> bool {
        self.inner.shared.closed().is_some()
    }

    /// Closes the socket; every request in flight fails.
    pub fn close(&self) {
        self.close_with(ClientError::Disconnected("closed here".to_owned()));
    }

    fn close_with(&self, error: ClientError) {
        self.inner.shared.close(error);
        for task in &self.inner.tasks {
            task.abort();
        }
    }

    fn closed_error(&self) -> ClientError {
        self.inner.shared.closed().unwrap_or_else(|| ClientError::Disconnected("closed".to_owned()))
    }
}

/// The addresses of the first one's family, IPv4 before IPv6, as Java resolves by default.
fn preferred(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addresses.sort_by_key(SocketAddr::is_ipv6);
    if let Some(first) = addresses.first().copied() {
        addresses.retain(|address| address.is_ipv6() == first.is_ipv6());
    }
    addresses
}

/// An address as Java prints it: `name/1.2.3.4:9092`, `/1.2.3.4:9092` if it was given as a number.
fn java_address(host: &str, resolved: SocketAddr) -> String {
    let name = if host.parse::<std::net::IpAddr>().is_ok() { "" } else { host };
    format!("{name}/{resolved}")
}

async fn write_loop<W: AsyncWrite + Unpin>(mut writer: W, shared: Arc<Shared>, mut requests: mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing { frame, waiting }) = requests.recv().await {
        // Lined up before it is written: the answer may be there before `write_all` returns.
        if !shared.expect(waiting) {
            continue;
        }
        let written = async {
            writer.write_all(&frame).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            shared.close(ClientError::Disconnected(error.to_string()));
        }
    }
}

async fn read_loop<R: AsyncRead + Unpin>(mut reader: R, shared: Arc<Shared>, max_bytes: usize) {
    let mut buffer = BytesMut::new();
    let error = loop {
        match read_frame(&mut reader, &mut buffer, max_bytes).await {
            Ok(frame) => {
                if let Err(error) = shared.answer(frame) {
                    break error;
                }
            }
            Err(error) => break error,
        }
    };
    shared.close(error);
}

/// The next frame without its length prefix. What is read beyond it stays in `buffer`.
async fn read_frame<R>(reader: &mut R, buffer: &mut BytesMut, max_bytes: usize) -> Result<Bytes, ClientError>
where
    R: AsyncRead + Unpin,
{
    loop {
        if let Some(prefix) = buffer.first_chunk::<4>() {
            let claimed = i32::from_be_bytes(*prefix);
            let size = usize::try_from(claimed).ok().filter(|size| *size <= max_bytes).ok_or_else(|| {
                ClientError::Disconnected(format!("an answer of {claimed} bytes, at most {max_bytes} are accepted"))
            })?;
            let missing = (4 + size).saturating_sub(buffer.len());
            if missing == 0 {
                buffer.advance(4);
                return Ok(buffer.split_to(size).freeze());
            }
            buffer.reserve(missing.min(READ_STEP.max(buffer.len())));
        } else {
            buffer.reserve(READ_STEP);
        }
        match reader.read_buf(buffer).await {
            Ok(0) => return Err(ClientError::Disconnected("the broker closed the connection".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(ClientError::Disconnected(error.to_string())),
        }
    }
}
