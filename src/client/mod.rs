//! Connections to other brokers: used by the replica fetchers, the controller's channels, the broker's own calls to the
//! controller, and the admin tools. `connection` is one socket with pipelined requests; `bootstrap` reads Kafka's
//! `bootstrap.servers`; `admin` finds the broker that a call must go to and retries it as Kafka's AdminClient does, on
//! the connections of `pool`. Nothing here prints. It answers to NetworkClient, ClientUtils and KafkaAdminClient.

pub mod admin;
pub mod admin_config;
pub mod bootstrap;
pub mod connection;
mod connector;
mod error;
mod lookup;
mod pool;
#[cfg(test)]
mod tests;

pub use admin::{Admin, Call, CoordinatorKind, Target};
pub use connection::{Connection, Options};
pub use connector::{Connector, tcp};
pub use error::ClientError;
pub use lookup::Cluster;
pub use pool::Node;
