//! The modules under test, compiled from the broker's own sources under its name. The broker as a whole would bring
//! librdkafka and the rest along, all to be built again with sanitizers.
#![allow(dead_code)]

#[path = "../../src/protocol/mod.rs"]
pub mod protocol;
#[path = "../../src/record/mod.rs"]
pub mod record;
#[path = "../../src/topic.rs"]
pub mod topic;
