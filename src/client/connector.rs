//! How connections to other brokers come about: over TCP, or by what a simulation puts in its place.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{ClientError, Connection, Options};

/// Connects to a host and port.
pub type Connector =
    Arc<dyn Fn(String, u16, Options) -> BoxFuture<'static, Result<Connection, ClientError>> + Send + Sync>;

/// Connects over TCP.
pub fn tcp() -> Connector {
    Arc::new(|host, port, options| Box::pin(async move { Connection::connect_with(&host, port, options).await }))
}
