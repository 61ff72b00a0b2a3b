//! One broker over all its lives: the product's own `Broker`, started on a disk, a network and a ZooKeeper of ours.

use std::sync::Arc;

use ottla::broker::{Broker, Surroundings};
use ottla::config::{BrokerConfig, Properties};

use crate::disk::Platter;
use crate::network::{self, PORT, Server};
use crate::process::Process;
use crate::world::World;
use crate::zk::SimZk;

/// A running life.
pub struct Life {
    pub process: Arc<Process>,
    pub zk: Arc<SimZk>,
    /// Present once it serves, until it is taken down.
    pub broker: Option<Broker>,
}

/// One broker.
#[derive(Default)]
pub struct Node {
    pub platter: Platter,
    pub lives: u32,
    pub life: Option<Life>,
}

pub fn config(id: i32) -> BrokerConfig {
    let port = i32::from(PORT) + id;
    let properties = format!(
        "broker.id={id}\nlisteners=PLAINTEXT://b{id}:{port}\nlog.dirs=/sim/b{id}\nzookeeper.connect=sim:2181\n\
         min.insync.replicas=2\ndefault.replication.factor=3\nlog.segment.bytes=700\nlog.index.interval.bytes=100\n\
         replica.lag.time.max.ms=2000\nreplica.fetch.wait.max.ms=300\nreplica.fetch.backoff.ms=100\n\
         replica.socket.timeout.ms=1500\ncontroller.socket.timeout.ms=1500\nzookeeper.session.timeout.ms=3000\n\
         zookeeper.connection.timeout.ms=3000\nreplica.high.watermark.checkpoint.interval.ms=1000\n\
         log.flush.offset.checkpoint.interval.ms=1500\nlog.flush.start.offset.checkpoint.interval.ms=1500\n\
         log.segment.delete.delay.ms=500\nleader.imbalance.check.interval.seconds=4\n\
         leader.imbalance.per.broker.percentage=0\ncontrolled.shutdown.max.retries=2\n\
         controlled.shutdown.retry.backoff.ms=200\nnum.recovery.threads.per.data.dir=1\n\
         offsets.topic.num.partitions=1\nnum.replica.fetchers=1\n"
    );
    let properties = Properties::parse(properties.as_bytes()).unwrap();
    BrokerConfig::from_properties(properties).unwrap()
}

/// Starts the next life of a broker, in the background.
pub fn start(world: &Arc<World>, id: i32) {
    let (process, zk, disk) = {
        let mut nodes = world.nodes.lock();
        let node = nodes.get_mut(&id).unwrap();
        if node.life.is_some() {
            return;
        }
        node.lives += 1;
        let process = Arc::new(Process::new(id, node.lives));
        let zk = SimZk::connect(world, &process);
        node.life = Some(Life { process: process.clone(), zk: zk.clone(), broker: None });
        (process.clone(), zk, node.platter.open(&process))
    };
    world.note("starts", id, process.life as i32, 0);
    let surroundings = Surroundings { zk, disk, connector: network::connector(world, &process), listens: false };
    let config = world.configs[&id].clone();
    let world = world.clone();
    tokio::spawn(async move {
        let started = tokio::select! {
            biased;
            () = process.died() => return,
            started = Broker::start_in(surroundings, config) => started,
        };
        process.awake().await;
        match started {
            Ok(broker) => serve(&world, &process, broker),
            Err(error) => {
                // Without its session, for one; it is started again.
                world.note("cannot start", id, process.life as i32, 0);
                world.say(|| format!("{id} cannot start: {error:#}"));
                *world.last_start_error.lock() = format!("{error:#}");
                process.kill();
            }
        }
    });
}

fn serve(world: &Arc<World>, process: &Arc<Process>, broker: Broker) {
    world.network.listen(Server { process: process.clone(), api: broker.api().clone() });
    let mut nodes = world.nodes.lock();
    let life = nodes.get_mut(&process.id).and_then(|node| node.life.as_mut());
    if let Some(life) = life.filter(|life| Arc::ptr_eq(&life.process, process)) {
        life.broker = Some(broker);
    }
}
