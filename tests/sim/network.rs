//! The network between brokers. A connection carries frames in their order and takes its time; it may break, with what is
//! under way lost or delivered, and what is delivered late is handled although nobody waits for it any more. Between two
//! brokers that are cut from each other frames wait, as TCP's do. Messages of two connections overtake each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use ottla::api::reply::{Frame, Part, Reply};
use ottla::api::{Api, Peer};
use ottla::client::{ClientError, Connection, Connector, Options};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::process::Process;
use crate::random::Random;
use crate::world::World;

/// Ports of the brokers begin here.
pub const PORT: u16 = 9000;

/// Who answers at an address.
#[derive(Clone)]
pub struct Server {
    pub process: Arc<Process>,
    pub api: Arc<Api>,
}

impl Server {
    /// Whether it takes requests still. A broker that is taken down ends its connections before it closes its logs.
    fn listens(&self) -> bool {
        !self.api.replicas.log_manager().is_closed()
    }
}

#[derive(Default)]
pub struct Network {
    servers: Mutex<BTreeMap<i32, Server>>,
    /// From whom to whom nothing goes.
    cuts: Mutex<BTreeSet<(i32, i32)>>,
    healed: Notify,
}

impl Network {
    pub fn listen(&self, server: Server) {
        self.servers.lock().insert(server.process.id, server);
    }

    pub fn server(&self, id: i32) -> Option<Server> {
        self.servers.lock().get(&id).filter(|s| !s.process.is_dead()).cloned()
    }

    pub fn cut(&self, from: i32, to: i32) {
        self.cuts.lock().insert((from, to));
    }

    pub fn heal(&self, from: i32, to: i32) {
        self.cuts.lock().remove(&(from, to));
        self.healed.notify_waiters();
    }

    pub fn heal_all(&self) {
        self.cuts.lock().clear();
        self.healed.notify_waiters();
    }

    async fn passes(&self, from: i32, to: i32) {
        loop {
            let healed = self.healed.notified();
            tokio::pin!(healed);
            healed.as_mut().enable();
            if !self.cuts.lock().contains(&(from, to)) {
                return;
            }
            healed.await;
        }
    }
}

/// What makes the connections of one process.
pub fn connector(world: &Arc<World>, process: &Arc<Process>) -> Connector {
    let (world, process) = (world.clone(), process.clone());
    Arc::new(move |_host, port, options| {
        let (world, process) = (world.clone(), process.clone());
        Box::pin(async move { connect(world, process, i32::from(port - PORT), options).await })
    })
}

async fn connect(
    world: Arc<World>,
    client: Arc<Process>,
    to: i32,
    options: Options,
) -> Result<Connection, ClientError> {
    let mut random = world.random(&format!("from {} to {to}", client.id));
    client.awake().await;
    sleep(random.delay(world.traits.slow_network)).await;
    let there_and_back = async {
        world.network.passes(client.id, to).await;
        world.network.passes(to, client.id).await;
    };
    let failed = |reason: &str| Err(ClientError::Connect { address: format!("broker {to}"), reason: reason.into() });
    if tokio::time::timeout(options.connect_timeout, there_and_back).await.is_err() {
        return failed("timed out");
    }
    let Some(server) = world.network.server(to).filter(|server| server.listens()) else {
        return failed("Connection refused");
    };
    client.awake().await;
    let (near, far) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(far);
    let (requests, arriving) = mpsc::unbounded_channel();
    let (answers, leaving) = mpsc::unbounded_channel();
    let loss = world.traits.loss;
    let back = world.random(&format!("back from {to} to {}", client.id));
    tokio::spawn(carry_there(world.clone(), client.clone(), to, reader, requests, random, loss));
    tokio::spawn(serve(world.clone(), server, client.id, arriving, answers));
    tokio::spawn(carry_back(world, client, to, writer, leaving, back, loss));
    Ok(Connection::over(near, options))
}

async fn read_frame(reader: &mut ReadHalf<DuplexStream>) -> std::io::Result<Bytes> {
    let length = reader.read_u32().await?;
    let mut frame = vec![0; length as usize];
    reader.read_exact(&mut frame).await?;
    Ok(Bytes::from(frame))
}

async fn carry_there(
    world: Arc<World>,
    client: Arc<Process>,
    to: i32,
    mut reader: ReadHalf<DuplexStream>,
    requests: mpsc::UnboundedSender<Bytes>,
    mut random: Random,
    loss: u64,
) {
    while let Ok(frame) = read_frame(&mut reader).await {
        client.awake().await;
        sleep(random.delay(world.traits.slow_network)).await;
        world.network.passes(client.id, to).await;
        if random.chance(loss) || client.is_powerless() || requests.send(frame).is_err() {
            return;
        }
    }
}

/// The server's end of a connection: requests in, answers out in the same order.
async fn serve(
    world: Arc<World>,
    server: Server,
    from: i32,
    mut arriving: mpsc::UnboundedReceiver<Bytes>,
    answers: mpsc::UnboundedSender<Bytes>,
) {
    let Server { process, api } = &server;
    let peer = peer();
    let mut pending: FuturesOrdered<BoxFuture<'static, Option<Frame>>> = FuturesOrdered::new();
    let mut exclusive = false;
    loop {
        tokio::select! {
            biased;
            () = process.died() => return,
            answer = pending.next(), if !pending.is_empty() => {
                process.awake().await;
                let Some(Some(frame)) = answer else { return };
                world.step("answered", process.id, "");
                let _ = answers.send(bytes_of(frame));
                exclusive &= !pending.is_empty();
            }
            frame = arriving.recv(), if !exclusive => {
                let Some(frame) = frame else { return };
                process.awake().await;
                if !server.listens() {
                    return;
                }
                world.note("handles", process.id, from, frame.len());
                match api.handle(&peer, frame) {
                    Reply::Now(frame) => pending.push_back(Box::pin(async move { Some(frame) })),
                    Reply::Nothing => {}
                    Reply::Later(answer) => pending.push_back(answer),
                    Reply::Exclusive(answer) => {
                        pending.push_back(answer);
                        exclusive = true;
                    }
                    Reply::Close(why) => panic!("broker {} closes a connection: {why}", process.id),
                }
                world.step("handled", process.id, "");
            }
        }
    }
}

pub fn peer() -> Peer {
    Peer { address: ([127, 0, 0, 1], 1).into(), listener: Arc::from("PLAINTEXT") }
}

pub fn bytes_of(frame: Frame) -> Bytes {
    let mut bytes = BytesMut::new();
    for part in frame.parts {
        match part {
            Part::Bytes(part) => bytes.put_slice(&part),
            Part::File(slice) => {
                let read = slice.read().unwrap_or_default();
                bytes.put_slice(&read);
                // What was cut off meanwhile is made up for, as the length is sent already.
                bytes.put_bytes(0, slice.len as usize - read.len());
            }
        }
    }
    bytes.freeze()
}

async fn carry_back(
    world: Arc<World>,
    client: Arc<Process>,
    to: i32,
    mut writer: WriteHalf<DuplexStream>,
    mut leaving: mpsc::UnboundedReceiver<Bytes>,
    mut random: Random,
    loss: u64,
) {
    while let Some(answer) = leaving.recv().await {
        sleep(random.delay(world.traits.slow_network)).await;
        world.network.passes(to, client.id).await;
        client.awake().await;
        if random.chance(loss) || writer.write_all(&answer).await.is_err() {
            break;
        }
    }
    sleep(random.delay(world.traits.slow_network)).await;
    // The client may never hear of it when it is cut off; its own timeouts end that.
    world.network.passes(to, client.id).await;
    client.awake().await;
    let _ = writer.shutdown().await;
}

/// How long a client of ours waits for an answer.
pub const CLIENT_PATIENCE: Duration = Duration::from_secs(4);
