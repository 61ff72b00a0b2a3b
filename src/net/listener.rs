//! Listening sockets: binding, accepting, and the limits on connections.
//! Answers to Kafka's `Acceptor` and `ConnectionQuotas`.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::connection::{Connection, ConnectionLimits};
use super::readers::ReaderThreads;
use crate::api::Api;

/// How sockets are set up, how many there may be, and who serves those that read much.
#[derive(Clone, Debug)]
pub struct ListenerLimits {
    pub connection: ConnectionLimits,
    /// `socket.send.buffer.bytes`; `None` leaves it to the kernel, whose large ones make fetches twice as expensive.
    pub send_buffer: Option<usize>,
    /// `socket.receive.buffer.bytes`; `None` leaves it to the kernel.
    pub receive_buffer: Option<usize>,
    /// `socket.listen.backlog.size`.
    pub backlog: i32,
    /// `max.connections`.
    pub max_connections: usize,
    /// `max.connections.per.ip`.
    pub max_per_ip: usize,
    /// `max.connections.per.ip.overrides`.
    pub per_ip_overrides: HashMap<IpAddr, usize>,
    /// `num.network.threads`.
    pub readers: Arc<ReaderThreads>,
}

/// A bound socket that is not accepting yet.
pub struct Listener {
    pub name: Arc<str>,
    pub address: SocketAddr,
    socket: TcpListener,
}

/// Binds `host:port`; no host means all interfaces.
pub fn bind(name: &str, host: Option<&str>, port: u16, limits: &ListenerLimits) -> io::Result<Listener> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the host name has no address");
    for address in candidates(host, port)? {
        match bind_one(address, limits) {
            Ok(socket) => {
                let address = socket.local_addr()?;
                return Ok(Listener { name: Arc::from(name), address, socket });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn candidates(host: Option<&str>, port: u16) -> io::Result<Vec<SocketAddr>> {
    match host.filter(|h| !h.is_empty()) {
        Some(host) => Ok((host.trim_matches(['[', ']']), port).to_socket_addrs()?.collect()),
        None => Ok(vec![SocketAddr::from(([0u16; 8], port)), SocketAddr::from(([0, 0, 0, 0], port))]),
    }
}

fn bind_one(address: SocketAddr, limits: &ListenerLimits) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    if let Some(size) = limits.receive_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits.backlog)?;
    TcpListener::from_std(socket.into())
}

/// Open connections, in all and by address.
#[derive(Default)]
pub struct ConnectionCounts {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// A counted connection; gives its place back when dropped.
struct Counted {
    counts: Arc<ConnectionCounts>,
    ip: IpAddr,
}

impl ConnectionCounts {
    fn admit(self: &Arc<Self>, ip: IpAddr, limits: &ListenerLimits) -> Option<Counted> {
        let mut counts = self.counts.lock();
        let of_ip = counts.by_ip.get(&ip).copied().unwrap_or(0);
        let max_of_ip = limits.per_ip_overrides.get(&ip).copied().unwrap_or(limits.max_per_ip);
        if of_ip >= max_of_ip || counts.total >= limits.max_connections {
            return None;
        }
        counts.total += 1;
        *counts.by_ip.entry(ip).or_default() += 1;
        Some(Counted { counts: self.clone(), ip })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.counts.counts.lock();
        counts.total -= 1;
        if let Some(n) = counts.by_ip.get_mut(&self.ip) {
            *n -= 1;
            if *n == 0 {
                counts.by_ip.remove(&self.ip);
            }
        }
    }
}

impl Listener {
    /// Accepts until told to stop; every connection gets a task of its own.
    pub async fn accept(
        self,
        api: Arc<Api>,
        limits: Arc<ListenerLimits>,
        counts: Arc<ConnectionCounts>,
        mut stopping: watch::Receiver<bool>,
    ) {
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, address)) => self.admit(stream, address, &api, &limits, &counts, &stopping),
                Err(error) => {
                    // Out of descriptors, most likely: let connections close before trying again.
                    tracing::error!(target: "kafka.network.Acceptor", "Error while accepting connection: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn admit(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        api: &Arc<Api>,
        limits: &Arc<ListenerLimits>,
        counts: &Arc<ConnectionCounts>,
        stopping: &watch::Receiver<bool>,
    ) {
        let ip = address.ip().to_canonical();
        let Some(counted) = counts.admit(ip, limits) else {
            tracing::info!(target: "kafka.network.Acceptor", "Rejected connection from {ip}, address already has the configured maximum of connections.");
            return;
        };
        if let Err(error) = prepare(&stream, limits) {
            tracing::debug!(target: "kafka.network.Acceptor", "Cannot set up the connection from {ip}: {error}");
            return;
        }
        let address = SocketAddr::new(ip, address.port());
        let connection = Connection::new(stream, address, self.name.clone(), api.clone(), limits.connection);
        tokio::spawn(serve(connection, counted, limits.readers.clone(), stopping.clone()));
    }
}

async fn serve(
    connection: Connection,
    counted: Counted,
    readers: Arc<ReaderThreads>,
    mut stopping: watch::Receiver<bool>,
) {
    let Some(reader) = connection.run(&mut stopping).await else { return };
    readers.serve(async move {
        let _counted = counted;
        match reader.moved() {
            Ok(reader) => drop(reader.run(&mut stopping).await),
            Err(error) => {
                tracing::error!(target: "kafka.network.Processor", "Cannot go on with a connection: {error}");
            }
        }
    });
}

fn prepare(stream: &TcpStream, limits: &ListenerLimits) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_keepalive(true)?;
    match limits.send_buffer {
        Some(size) => socket.set_send_buffer_size(size),
        None => Ok(()),
    }
}
