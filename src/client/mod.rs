//! Connections to other brokers: used by the replica fetchers, the controller's channels, the broker's own calls to the
//! controller, and the admin tools. `connection` is one socket with pipelined requests; `bootstrap` reads Kafka's
//! `bootstrap.servers`; `admin` finds the broker that a request must go to and retries as Kafka's AdminClient does.
//! Nothing here prints. It answers to NetworkClient, ClientUtils and KafkaAdminClient.

pub mod connection;
mod error;

pub use connection::{Connection, Options};
pub use error::ClientError;
