//! Requests of this broker to the active controller: producer id blocks and controlled shutdown.
//!
//! The controller is looked up in the cluster image at each attempt. Answers to Kafka's
//! `NodeToControllerChannelManager` and `KafkaServer.controlledShutdown` (spec zookeeper 2.5, 5.4).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::client::Connection;
use crate::controller::ControllerHandle;
use crate::metadata::MetadataCache;
use crate::protocol::ErrorCode;
use crate::protocol::messages::{
    AllocateProducerIdsRequest, BrokerId, ControlledShutdownRequest, ControlledShutdownResponse,
};
use crate::txn::producer_ids::BlockSource;

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
}

impl ControllerChannel {
    async fn connect(&self) -> Result<Connection, String> {
        let image = self.metadata.snapshot();
        let id = image.controller_id.ok_or("no controller is known")?;
        let endpoint = image
            .endpoint(id, &self.listener)
            .ok_or_else(|| format!("controller {id} has no listener {}", self.listener))?;
        let port = u16::try_from(endpoint.port).map_err(|_| format!("controller {id} has port {}", endpoint.port))?;
        let client_id = self.broker_id.to_string();
        let connected = Connection::connect(&endpoint.host, port, &client_id, self.timeout).await;
        connected.map_err(|error| error.to_string())
    }

    async fn allocate_once(&self) -> Result<Range<i64>, String> {
        let request = AllocateProducerIdsRequest::default()
            .with_broker_id(BrokerId(self.broker_id))
            .with_broker_epoch(self.controller.broker_epoch());
        let connection = self.connect().await?;
        let answer = connection.request(0, request).await.map_err(|error| error.to_string())?;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {
                let start = *answer.producer_id_start;
                Ok(start..start + i64::from(answer.producer_id_len))
            }
            code => Err(code.to_string()),
        }
    }

    /// Asks the controller to move leaderships away; retries as configured, and only logs when it fails.
    pub async fn shut_down(&self, max_retries: i32, backoff: Duration) {
        let name = format!("[KafkaServer id={}]", self.broker_id);
        tracing::info!(target: "kafka.server.KafkaServer", "{name} Starting controlled shutdown");
        for attempt in 1..=max_retries.max(1) {
            match self.shut_down_once().await {
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

    async fn shut_down_once(&self) -> Result<ControlledShutdownResponse, String> {
        let request = ControlledShutdownRequest::default()
            .with_broker_id(BrokerId(self.broker_id))
            .with_broker_epoch(self.controller.broker_epoch());
        let connection = self.connect().await?;
        connection.request(3, request).await.map_err(|error| error.to_string())
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
