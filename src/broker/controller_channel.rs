//! Requests of this broker to the active controller: changes of in-sync sets, producer id blocks, controlled shutdown.
//!
//! The controller is looked up in the cluster image; a connection is kept while the image names the same one at the
//! same address. Each kind of request has its own channel, so that none waits behind another. Answers to Kafka's
//! `NodeToControllerChannelManager` and `KafkaServer.controlledShutdown` (spec zookeeper 2.5, 4.7, 5.4).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::client::{ClientError, Connection, Connector, Options};
use crate::controller::ControllerHandle;
use crate::metadata::MetadataCache;
use crate::protocol::ErrorCode;
use crate::protocol::codec::Request;
use crate::protocol::messages::{
    AllocateProducerIdsRequest, AlterPartitionResponse, ApiKey, BrokerId, ControlledShutdownRequest,
    ControlledShutdownResponse,
};
use crate::replica::isr_manager::{RequestBuilder, ToController};
use crate::txn::producer_ids::BlockSource;
use crate::zk::store::Store;

/// Pause between looks for a controller.
const RETRY: Duration = Duration::from_millis(100);

pub struct ControllerChannel {
    pub broker_id: i32,
    pub metadata: Arc<MetadataCache>,
    pub controller: ControllerHandle,
    /// `inter.broker.listener.name`.
    pub listener: String,
    /// `controller.socket.timeout.ms`.
    pub timeout: Duration,
    connector: Connector,
    kept: Mutex<Option<(Address, Connection)>>,
}

/// Broker id, host and port of a controller.
type Address = (i32, Arc<str>, u16);

impl ControllerChannel {
    pub fn new(
        broker_id: i32,
        metadata: Arc<MetadataCache>,
        controller: ControllerHandle,
        listener: &str,
        timeout: Duration,
        connector: Connector,
    ) -> ControllerChannel {
        let listener = listener.to_owned();
        ControllerChannel { broker_id, metadata, controller, listener, timeout, connector, kept: Mutex::default() }
    }

    fn address(&self) -> Result<Address, String> {
        let image = self.metadata.image();
        let id = image.controller_id.ok_or("no controller is known")?;
        let endpoint = image
            .endpoint(id, &self.listener)
            .ok_or_else(|| format!("controller {id} has no listener {}", self.listener))?;
        let port = u16::try_from(endpoint.port).map_err(|_| format!("controller {id} has port {}", endpoint.port))?;
        Ok((id, endpoint.host.clone(), port))
    }

    async fn connect(&self) -> Result<Connection, String> {
        let address = self.address()?;
        if let Some((known, connection)) = &*self.kept.lock()
            && *known == address
        {
            return Ok(connection.clone());
        }
        let options = Options::new(&self.broker_id.to_string(), self.timeout);
        let connected = (self.connector)(address.1.to_string(), address.2, options).await;
        let connection = connected.map_err(|error| error.to_string())?;
        *self.kept.lock() = Some((address, connection.clone()));
        Ok(connection)
    }

    /// The connection is of no use, or leads to a broker that is not the controller.
    fn disconnect(&self) {
        *self.kept.lock() = None;
    }

    /// Sends a request in a version that was settled beforehand.
    async fn call<R: Request>(&self, version: i16, request: R) -> Result<R::Response, String> {
        let connection = self.connect().await?;
        connection.request_within(version, request, self.timeout).await.map_err(|error| {
            self.disconnect();
            error.to_string()
        })
    }

    async fn alter_once(
        &self,
        max_version: i16,
        build: &RequestBuilder,
    ) -> Result<(i16, AlterPartitionResponse), String> {
        let connection = self.connect().await?;
        let exchange = async {
            connection.negotiate().await?;
            let key = ApiKey::AlterPartition as i16;
            let version = connection.negotiated(key, 0, max_version).ok_or_else(|| {
                ClientError::UnsupportedVersion("The controller does not support ALTER_PARTITION".to_owned())
            })?;
            // However long the controller takes: a second request with the same proposals would only confuse.
            Ok::<_, ClientError>((version, connection.request_within(version, build(version), self.timeout).await?))
        };
        let answered = exchange.await.map_err(|error| error.to_string());
        let answered = answered.and_then(|(version, response)| match is_not_controller(&response) {
            true => Err("that broker is not the controller".to_owned()),
            false => Ok((version, response)),
        });
        answered.inspect_err(|_| self.disconnect())
    }

    async fn allocate_once(&self) -> Result<Range<i64>, String> {
        let request = AllocateProducerIdsRequest::default()
            .with_broker_id(BrokerId(self.broker_id))
            .with_broker_epoch(self.controller.broker_epoch());
        let answer = self.call(0, request).await?;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {
                let start = *answer.producer_id_start;
                Ok(start..start + i64::from(answer.producer_id_len))
            }
            code => {
                self.disconnect();
                Err(code.to_string())
            }
        }
    }

    /// Asks the controller to move leaderships away; retries as configured, and only logs when it fails.
    pub async fn shut_down(&self, version: i16, max_retries: i32, backoff: Duration) {
        let name = format!("[KafkaServer id={}]", self.broker_id);
        tracing::info!(target: "kafka.server.KafkaServer", "{name} Starting controlled shutdown");
        for attempt in 1..=max_retries.max(1) {
            match self.shut_down_once(version).await {
                Ok(answer) if answer.error_code == 0 && answer.remaining_partitions.is_empty() => {
                    tracing::info!(target: "kafka.server.KafkaServer", "{name} Controlled shutdown request returned successfully");
                    return;
                }
                Ok(answer) => {
                    tracing::info!(target: "kafka.server.KafkaServer", "{name} {} remaining partitions, error {}",
                    answer.remaining_partitions.len(), ErrorCode::from_code(answer.error_code))
                }
                Err(error) => {
                    tracing::info!(target: "kafka.server.KafkaServer", "{name} Controlled shutdown attempt failed: {error}")
                }
            }
            if attempt < max_retries {
                tokio::time::sleep(backoff).await;
            }
        }
        tracing::warn!(target: "kafka.server.KafkaServer", "{name} Proceeding to do an unclean shutdown as all the controlled shutdown attempts failed");
    }

    async fn shut_down_once(&self, version: i16) -> Result<ControlledShutdownResponse, String> {
        let request = ControlledShutdownRequest::default()
            .with_broker_id(BrokerId(self.broker_id))
            .with_broker_epoch(if version < 2 { -1 } else { self.controller.broker_epoch() });
        self.call(version, request).await
    }
}

/// A leader that knows a newer epoch than the broker it asked is told so partition by partition.
fn is_not_controller(response: &AlterPartitionResponse) -> bool {
    let not = ErrorCode::NotController.code();
    let mut partitions = response.topics.iter().flat_map(|t| &t.partitions);
    response.error_code == not || partitions.any(|p| p.error_code == not)
}

/// The channel by which changes of in-sync sets go.
pub struct IsrChannel(pub Arc<ControllerChannel>);

impl ToController for IsrChannel {
    fn alter_partition(
        &self,
        max_version: i16,
        build: RequestBuilder,
    ) -> BoxFuture<'static, (i16, AlterPartitionResponse)> {
        let channel = self.0.clone();
        Box::pin(async move {
            loop {
                match channel.alter_once(max_version, &build).await {
                    Ok(answer) => return answer,
                    Err(error) => {
                        tracing::debug!(target: "kafka.server.NodeToControllerChannelManager", "AlterPartition is not answered yet: {error}");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        })
    }

    fn broker_epoch(&self) -> i64 {
        self.0.controller.broker_epoch()
    }
}

/// Blocks from the controller, however long it takes to find one: the caller bounds the wait.
pub struct ControllerBlocks(pub Arc<ControllerChannel>);

impl BlockSource for ControllerBlocks {
    fn allocate(&self) -> BoxFuture<'static, Result<Range<i64>, ErrorCode>> {
        let channel = self.0.clone();
        Box::pin(async move {
            loop {
                match channel.allocate_once().await {
                    Ok(block) => return Ok(block),
                    Err(error) => {
                        tracing::debug!(target: "kafka.coordinator.transaction.ProducerIdManager", "No block of producer ids yet: {error}");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        })
    }
}

/// Blocks that the broker takes from ZooKeeper itself, below protocol 3.0.
pub struct OwnBlocks {
    pub broker_id: i32,
    pub store: Arc<Store>,
}

impl BlockSource for OwnBlocks {
    fn allocate(&self) -> BoxFuture<'static, Result<Range<i64>, ErrorCode>> {
        let (store, id) = (self.store.clone(), self.broker_id);
        Box::pin(async move {
            match store.allocate_producer_id_block(id).await {
                Ok(block) => Ok(block.start..block.end + 1),
                Err(error) => {
                    tracing::error!(target: "kafka.coordinator.transaction.ProducerIdManager", "No block of producer ids: {error}");
                    Err(ErrorCode::UnknownServerError)
                }
            }
        })
    }
}
