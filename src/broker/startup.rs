//! From configuration to a serving broker, in Kafka's order (spec zookeeper 2.2), with one difference: sockets are
//! bound before the broker registers, so that a port in use is found before anyone hears of us.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::config_changes::ConfigChanges;
use super::controller_channel::{ControllerBlocks, ControllerChannel, IsrChannel, OwnBlocks};
use super::offsets_log::ReplicatedOffsets;
use super::unclean_return::UncleanReturn;
use super::{features, hooks, identity, log_dirs, settings, tasks};
use crate::api::{Api, ApiSettings};
use crate::client::{self, Connector};
use crate::config::{BrokerConfig, LiveConfig, LogConfig, SecurityProtocol};
use crate::controller::channel::{NetworkChannel, controller_connector};
use crate::controller::{Controller, ControllerDeps, ControllerHandle};
use crate::group::{GroupCoordinator, SystemClock};
use crate::log::{FailureHandler, LogManager, ManagerOptions, ProducerStateConfig};
use crate::metadata::MetadataCache;
use crate::net::listener::{self, ConnectionCounts, Listener, ListenerLimits};
use crate::net::readers::ReaderThreads;
use crate::quota::{ReplicationQuotas, Windows};
use crate::replica::ReplicaTable;
use crate::replica::fetcher::{FetcherManager, FetcherSettings};
use crate::replica::isr_manager::IsrManager;
use crate::replica::isr_writer;
use crate::replica::session::FetchSessions;
use crate::replica::table::ReplicaSettings;
use crate::topic::{GROUP_METADATA_TOPIC, TopicPartition};
use crate::txn::producer_ids::{BlockSource, ProducerIds};
use crate::util::disk::{Disk, RealDisk};
use crate::util::{blocking, clock};
use crate::zk::Zk;
use crate::zk::json::BrokerRegistration;
use crate::zk::session::Session;
use crate::zk::store::{Store, StoreError};

const LOGGER: &str = "kafka.server.KafkaServer";
const RACK_AWARE_SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
const LEADER_SELECTOR: &str = "org.apache.kafka.common.replica.LeaderSelector";

/// What a broker stands on: the real things, or those of a simulation.
pub struct Surroundings {
    pub zk: Arc<dyn Zk>,
    pub disk: Arc<dyn Disk>,
    /// Makes the connections to other brokers.
    pub connector: Connector,
    /// Whether the configured listeners are bound and served; otherwise requests come in by [`Broker::api`] alone.
    pub listens: bool,
}

/// A serving broker.
pub struct Broker {
    pub(super) id: i32,
    pub(super) config: Arc<BrokerConfig>,
    pub(super) store: Arc<Store>,
    pub(super) logs: Arc<LogManager>,
    pub(super) replicas: Arc<ReplicaTable>,
    pub(super) api: Arc<Api>,
    pub(super) groups: GroupCoordinator,
    pub(super) controller: ControllerHandle,
    pub(super) to_controller: Arc<ControllerChannel>,
    /// True ends accepting, connections and periodic tasks.
    pub(super) stopping: watch::Sender<bool>,
    pub(super) halt: watch::Receiver<Option<String>>,
    pub(super) acceptors: JoinSet<()>,
    pub(super) readers: Arc<ReaderThreads>,
    pub(super) tasks: JoinSet<()>,
    pub(super) followers: Vec<JoinHandle<()>>,
}

fn millis(value: i32) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}

impl Broker {
    /// Starts everything; on return the broker serves.
    pub async fn start(config: BrokerConfig) -> anyhow::Result<Broker> {
        let zk = Session::connect(settings::zookeeper(&config)).await.with_context(|| {
            format!("cannot connect to ZooKeeper (zookeeper.connect={})", config.string("zookeeper.connect"))
        })?;
        let world =
            Surroundings { zk: Arc::new(zk), disk: RealDisk::shared(), connector: client::tcp(), listens: true };
        Broker::start_in(world, config).await
    }

    /// The same in surroundings of the caller's making.
    pub async fn start_in(world: Surroundings, config: BrokerConfig) -> anyhow::Result<Broker> {
        for warning in config.warnings() {
            tracing::warn!(target: "kafka.server.KafkaConfig", "{warning}");
        }
        check_supported(&config)?;
        tracing::info!(target: LOGGER, "starting");
        let Surroundings { zk, disk, connector, listens } = world;
        let store = Arc::new(Store::new(zk));
        store.ensure_top_level_paths().await.context("cannot create the top level paths in ZooKeeper")?;

        let identity = identity::establish(&store, &config, disk.as_ref()).await?;
        let (id, cluster_id) = (identity.broker_id, identity.cluster_id.clone());
        tracing::info!(target: LOGGER, "Cluster ID = {cluster_id}");
        let config = Arc::new(with_dynamic(config, &store, id).await?);
        let live = Arc::new(LiveConfig::new(config.clone()));

        // From here on the directories are locked: no other process can be this broker.
        let (on_failure, failures) = log_dirs::channel();
        let options = log_options(&config, &store, disk.clone(), identity.offline.clone(), on_failure).await?;
        let topics = tokio::spawn(topics_to_expect(store.clone(), id));
        let loaded = blocking::run(move || LogManager::start(options)).await;
        let logs = loaded.context("loading the logs failed")??;
        identity.write(disk.as_ref(), clock::now_ms())?;
        let recovered = logs.clone();
        blocking::start(&Handle::current(), move || recovered.keep_recovered());
        let features = match config.protocol_version().at_least("2.7-IV0") {
            true => features::follow(store.clone()).await.context("cannot read /feature")?,
            false => features::nobody_follows(),
        };
        let metadata = Arc::new(MetadataCache::new());
        let topics = topics.await.context("reading the topics failed")?.context("cannot read the topics")?;
        metadata.expect(topics.sizes);

        let limits = Arc::new(settings::listeners(&config));
        let listeners = if listens { bind(&config, &limits)? } else { Vec::new() };
        let bound: HashMap<String, u16> = listeners.iter().map(|l| (l.name.to_string(), l.address.port())).collect();
        let registration = settings::registration(&config, &bound, clock::now_ms());
        store.check_endpoints(id, &registration).await?;
        let broker_epoch = if !logs.was_shut_down_cleanly() && store.may_register(id, &registration).await? {
            let listener = config.inter_broker_listener();
            let returning = UncleanReturn { id, store: &store, connector: &connector, listener };
            returning.register(topics.assigned, &registration).await?
        } else {
            store.register_broker(id, &registration, true).await?
        };
        tracing::info!(target: "kafka.zk.KafkaZkClient", "Registered broker {id} at path /brokers/ids/{id} with addresses: {}, czxid (broker epoch): {broker_epoch}",
            registration.endpoints.iter().map(|e| e.connection_string()).collect::<Vec<_>>().join(","));
        // Kafka obeys whoever comes first, also a controller that has not heard yet that it was replaced.
        let latest = store.controller_epoch().await.context("cannot read /controller_epoch")?;
        let controller_epoch = latest.map_or(0, |latest| latest.epoch);

        let controller = start_controller(&live, &store, (id, broker_epoch), registration, &features, &connector);
        let channel = || {
            let timeout = millis(config.int("controller.socket.timeout.ms"));
            let listener = config.control_plane_listener().unwrap_or(config.inter_broker_listener());
            let (metadata, controller) = (metadata.clone(), controller.clone());
            Arc::new(ControllerChannel::new(id, metadata, controller, listener, timeout, connector.clone()))
        };
        let to_controller = channel();
        let (replicas, isr_sender) =
            start_replicas(&config, (id, &store), &logs, &metadata, &controller, channel(), connector.clone());
        let replicas = Arc::new(replicas.with_controller_epoch(controller_epoch));
        let offsets = ReplicatedOffsets {
            replicas: replicas.clone(),
            required_acks: i16::try_from(config.int("offsets.commit.required.acks")).unwrap_or(-1),
            partitions: offsets_partitions(&store, &config).await?,
        };
        let groups =
            GroupCoordinator::start(settings::groups(&config, id), Arc::new(offsets), Arc::new(SystemClock::new()));
        let patience = millis(config.int("request.timeout.ms"));
        let blocks: Arc<dyn BlockSource> = match config.protocol_version().at_least("3.0-IV0") {
            true => Arc::new(ControllerBlocks(channel())),
            false => Arc::new(OwnBlocks { broker_id: id, store: store.clone() }),
        };
        let api = Arc::new(Api {
            settings: ApiSettings {
                fetch_max_bytes: config.int("fetch.max.bytes"),
                rack_aware: config.opt_string("replica.selector.class") == Some(RACK_AWARE_SELECTOR),
            },
            config: live.clone(),
            cluster_id: Arc::from(cluster_id.as_str()),
            features,
            metadata: metadata.clone(),
            replicas: replicas.clone(),
            fetch_sessions: FetchSessions::new(
                usize::try_from(config.int("max.incremental.fetch.session.cache.slots")).unwrap_or(0),
            ),
            groups: groups.clone(),
            producer_ids: Arc::new(ProducerIds::new(blocks, patience)),
            controller: controller.clone(),
            store: store.clone(),
            creating: Default::default(),
        });
        let changes = ConfigChanges {
            broker_id: id,
            store: store.clone(),
            config: live,
            replicas: replicas.clone(),
            controller: controller.clone(),
            last: -1,
        };
        let (stopping, stop) = watch::channel(false);
        let (halt_sender, halt) = watch::channel(None);
        let dir_failures = log_dirs::follow(failures, id, logs.clone(), replicas.clone(), store.clone(), halt_sender);
        let changes = changes.follow().await.context("cannot read configuration changes")?;
        let followers = vec![changes, tokio::spawn(dir_failures), isr_sender];
        let tasks = tasks::start(&config, &logs, &replicas, stop.clone());
        let acceptors = serve(listeners, &api, &limits, &stop);
        tracing::info!(target: LOGGER, "[KafkaServer id={id}] started");
        Ok(Broker {
            id,
            config,
            store,
            logs,
            replicas,
            api,
            groups,
            controller,
            to_controller,
            stopping,
            halt,
            acceptors,
            readers: limits.readers.clone(),
            tasks,
            followers,
        })
    }

    /// Where requests are handled.
    pub fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// Resolves with the reason when the broker cannot go on.
    pub async fn halted(&self) -> String {
        let mut halt = self.halt.clone();
        loop {
            if let Some(reason) = halt.borrow_and_update().clone() {
                return reason;
            }
            if halt.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Refuses what this broker would otherwise silently not do.
fn check_supported(config: &BrokerConfig) -> anyhow::Result<()> {
    for endpoint in config.listeners() {
        if endpoint.security_protocol != SecurityProtocol::Plaintext {
            bail!(
                "listeners: {} of listener {} is not supported yet, only PLAINTEXT is",
                endpoint.security_protocol.name(),
                endpoint.listener
            );
        }
    }
    if let Some(selector) = config.opt_string("replica.selector.class")
        && ![RACK_AWARE_SELECTOR, LEADER_SELECTOR].contains(&selector)
    {
        bail!("replica.selector.class: {selector} is not one of {RACK_AWARE_SELECTOR}, {LEADER_SELECTOR}");
    }
    let authorizer = config.string("authorizer.class.name");
    if !authorizer.is_empty() {
        bail!("authorizer.class.name: {authorizer} is not supported yet");
    }
    Ok(())
}

/// Lays the dynamic configuration stored in ZooKeeper over the file's.
async fn with_dynamic(config: BrokerConfig, store: &Store, id: i32) -> anyhow::Result<BrokerConfig> {
    let default = store.entity_config("brokers", "<default>").await?.into_iter().collect();
    let own = store.entity_config("brokers", &id.to_string()).await?.into_iter().collect();
    let (config, ignored) = config.with_dynamic(&default, &own)?;
    for line in ignored {
        tracing::error!(target: "kafka.server.DynamicBrokerConfig", "{line}");
    }
    Ok(config)
}

async fn log_options(
    config: &Arc<BrokerConfig>,
    store: &Store,
    disk: Arc<dyn Disk>,
    offline_dirs: Vec<PathBuf>,
    on_dir_failure: FailureHandler,
) -> anyhow::Result<ManagerOptions> {
    let stored = store.all_entity_configs("topics").await.context("cannot read the topics' configurations")?;
    let mut topics = HashMap::new();
    for (topic, overrides) in stored {
        match LogConfig::from_overrides(config, &overrides.into_iter().collect()) {
            Ok(log_config) => drop(topics.insert(topic, Arc::new(log_config))),
            Err(error) => {
                tracing::error!(target: "kafka.log.LogManager", "The stored configuration of topic {topic} is not valid: {error}")
            }
        }
    }
    let runtime = Handle::current();
    Ok(ManagerOptions {
        dirs: config.log_dirs(),
        offline_dirs,
        default_config: Arc::new(config.log_defaults()),
        topic_configs: topics,
        disk,
        background: Arc::new(move |work| blocking::start(&runtime, work)),
        producers: ProducerStateConfig {
            expiration_ms: i64::from(config.int("producer.id.expiration.ms")),
            max_transaction_timeout_ms: i64::from(config.int("transaction.max.timeout.ms")),
            verification_enabled: config.bool("transaction.partition.verification.enable"),
        },
        on_dir_failure,
        clock: Arc::new(clock::now_ms),
        threads_per_dir: usize::try_from(config.int("num.recovery.threads.per.data.dir")).unwrap_or(1),
        delete_delay_ms: config.long("log.segment.delete.delay.ms"),
    })
}

fn bind(config: &BrokerConfig, limits: &ListenerLimits) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for endpoint in config.listeners() {
        let bound = listener::bind(&endpoint.listener, endpoint.host.as_deref(), endpoint.port, limits);
        listeners.push(bound.with_context(|| {
            format!("Socket server failed to bind to {}:{}", endpoint.host.as_deref().unwrap_or(""), endpoint.port)
        })?);
    }
    Ok(listeners)
}

fn start_controller(
    live: &Arc<LiveConfig>,
    store: &Arc<Store>,
    (id, broker_epoch): (i32, i64),
    registration: BrokerRegistration,
    features: &watch::Receiver<i64>,
    connector: &Connector,
) -> ControllerHandle {
    let config = live.load();
    let controller_config = settings::controller(&config, id);
    let timeout = millis(config.int("controller.socket.timeout.ms"));
    let hooks = hooks::Hooks {
        broker_id: id,
        store: store.clone(),
        config: live.clone(),
        registration,
        features: features.clone(),
        patience: millis(config.zookeeper_connection_timeout_ms()),
    };
    let channel = NetworkChannel::new(
        id,
        &controller_config.inter_broker_listener,
        controller_config.inter_broker_protocol,
        controller_connector(connector.clone(), id, timeout),
    );
    Controller::start(ControllerDeps {
        config: controller_config,
        store: store.clone(),
        broker_epoch,
        hooks: Arc::new(hooks),
        channel: Box::new(channel),
    })
}

/// The replicas with what moves them: fetchers from other leaders, and the sender of changes to in-sync sets.
fn start_replicas(
    config: &BrokerConfig,
    (id, store): (i32, &Arc<Store>),
    logs: &Arc<LogManager>,
    metadata: &Arc<MetadataCache>,
    controller: &ControllerHandle,
    channel: Arc<ControllerChannel>,
    connector: Connector,
) -> (ReplicaTable, JoinHandle<()>) {
    let isr_changes = Arc::new(IsrManager::new(id, metadata.clone()));
    let handle = controller.clone();
    let quotas = ReplicationQuotas::new(Windows::new(
        config.int("replication.quota.window.num"),
        config.int("replication.quota.window.size.seconds"),
    ));
    let epoch = Arc::new(move || handle.broker_epoch());
    let fetchers = FetcherManager::new(FetcherSettings::of(config, id), metadata.clone(), epoch, connector)
        .with_quota(quotas.follower.clone());
    let settings = ReplicaSettings {
        broker_id: id,
        max_lag_ms: config.long("replica.lag.time.max.ms"),
        truncates_on_fetch: config.protocol_version().at_least("2.7-IV1"),
    };
    let ibp = config.protocol_version();
    let sender = match ibp.at_least("2.7-IV2") {
        true => tokio::spawn(isr_changes.clone().run(Arc::new(IsrChannel(channel)), ibp.at_least("2.8-IV0"))),
        false => tokio::spawn(isr_writer::run(isr_changes.clone(), store.clone())),
    };
    let table = ReplicaTable::new(settings, logs.clone(), metadata.clone(), Arc::new(fetchers), isr_changes);
    (table.with_quotas(quotas), sender)
}

/// The topics there will be metadata of.
struct ExpectedTopics {
    /// Names and numbers of partitions.
    sizes: Vec<(Arc<str>, usize)>,
    /// Partitions with a replica on this broker.
    assigned: Vec<TopicPartition>,
}

/// Topics that exist and are not about to be deleted.
async fn topics_to_expect(store: Arc<Store>, id: i32) -> Result<ExpectedTopics, StoreError> {
    let mut names = store.topics(false).await?;
    let going = store.topic_deletions(false).await?;
    names.retain(|name| !going.contains(name));
    let mut topics = ExpectedTopics { sizes: Vec::new(), assigned: Vec::new() };
    for (name, topic) in store.topic_assignments(&names, false).await? {
        let name: Arc<str> = Arc::from(name);
        let ours = topic.partitions.iter().filter(|(_, assignment)| assignment.replicas.contains(&id));
        topics.assigned.extend(ours.map(|(partition, _)| TopicPartition::new(name.clone(), *partition)));
        topics.sizes.push((name, topic.partitions.len()));
    }
    Ok(topics)
}

/// Placement of groups follows the topic as it is, or as it will be created.
async fn offsets_partitions(store: &Store, config: &BrokerConfig) -> anyhow::Result<i32> {
    let topic =
        store.topic(GROUP_METADATA_TOPIC, false).await.context("cannot read the partitions of __consumer_offsets")?;
    let count = topic.map(|t| i32::try_from(t.partitions.len()).unwrap_or(i32::MAX));
    Ok(count.unwrap_or_else(|| config.int("offsets.topic.num.partitions")))
}

fn serve(
    listeners: Vec<Listener>,
    api: &Arc<Api>,
    limits: &Arc<ListenerLimits>,
    stop: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let counts = Arc::new(ConnectionCounts::default());
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        tracing::info!(target: "kafka.network.DataPlaneAcceptor", "Awaiting socket connections on {}.", listener.address);
        acceptors.spawn(listener.accept(api.clone(), limits.clone(), counts.clone(), stop.clone()));
    }
    acceptors
}
