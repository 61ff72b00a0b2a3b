//! The one place that names the codec crate: everything else says `protocol::messages` and the traits here.

pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes};
