//! What the parts of the broker are configured with, taken out of `BrokerConfig` in one place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::BrokerConfig;
use crate::controller::ControllerConfig;
use crate::group::GroupConfig;
use crate::net::connection::ConnectionLimits;
use crate::net::listener::ListenerLimits;
use crate::net::readers::ReaderThreads;
use crate::zk::json::{BrokerRegistration, Endpoint};
use crate::zk::session::SessionConfig;

/// The default of `socket.receive.buffer.bytes`, which every copy of Kafka's sample file has as well: nobody's choice. It
/// holds up the senders of large requests, and costs a broker under load a fifth of its CPU.
const KAFKAS_RECEIVE_BUFFER: i32 = 102_400;

fn count(value: i32) -> usize {
    usize::try_from(value).unwrap_or(0)
}

fn millis(value: i64) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}

pub fn zookeeper(cfg: &BrokerConfig) -> SessionConfig {
    let connect = cfg.zookeeper();
    SessionConfig {
        servers: connect.servers,
        chroot: connect.chroot,
        session_timeout: millis(i64::from(cfg.zookeeper_session_timeout_ms())),
        connection_timeout: millis(i64::from(cfg.zookeeper_connection_timeout_ms())),
        max_in_flight: count(cfg.int("zookeeper.max.in.flight.requests")),
    }
}

pub fn listeners(cfg: &BrokerConfig) -> ListenerLimits {
    let buffer = |key: &str| Some(cfg.int(key)).filter(|size| *size > 0);
    let receive_buffer = buffer("socket.receive.buffer.bytes").filter(|size| *size != KAFKAS_RECEIVE_BUFFER);
    let idle = cfg.long("connections.max.idle.ms");
    let overrides = cfg.max_connections_per_ip_overrides();
    let by_ip: HashMap<IpAddr, usize> = overrides.iter().flat_map(|(host, n)| addresses(host, count(*n))).collect();
    ListenerLimits {
        connection: ConnectionLimits {
            max_request_bytes: cfg.int("socket.request.max.bytes"),
            max_idle: (idle >= 0).then(|| millis(idle)),
        },
        send_buffer: buffer("socket.send.buffer.bytes").map(count),
        receive_buffer: receive_buffer.map(count),
        backlog: cfg.int("socket.listen.backlog.size"),
        max_connections: count(cfg.int("max.connections")),
        max_per_ip: count(cfg.int("max.connections.per.ip")),
        per_ip_overrides: by_ip,
        readers: Arc::new(ReaderThreads::new(count(cfg.int("num.network.threads")))),
    }
}

fn addresses(host: &str, limit: usize) -> Vec<(IpAddr, usize)> {
    let resolved = std::net::ToSocketAddrs::to_socket_addrs(&(host, 0));
    match resolved {
        Ok(found) => found.map(|address| (address.ip().to_canonical(), limit)).collect(),
        Err(error) => {
            tracing::warn!(target: "kafka.network.ConnectionQuotas", "Cannot resolve {host} of max.connections.per.ip.overrides: {error}");
            Vec::new()
        }
    }
}

pub fn groups(cfg: &BrokerConfig, broker_id: i32) -> GroupConfig {
    let ibp = cfg.protocol_version();
    GroupConfig {
        broker_id,
        group_min_session_timeout_ms: cfg.int("group.min.session.timeout.ms"),
        group_max_session_timeout_ms: cfg.int("group.max.session.timeout.ms"),
        group_max_size: cfg.int("group.max.size"),
        group_initial_rebalance_delay_ms: cfg.int("group.initial.rebalance.delay.ms"),
        offset_metadata_max_bytes: cfg.int("offset.metadata.max.bytes"),
        offsets_load_buffer_size: cfg.int("offsets.load.buffer.size"),
        offsets_retention_minutes: cfg.int("offsets.retention.minutes"),
        offsets_retention_check_interval_ms: cfg.long("offsets.retention.check.interval.ms"),
        offsets_topic_compression_codec: i8::try_from(cfg.int("offsets.topic.compression.codec")).unwrap_or(0),
        offsets_commit_timeout_ms: cfg.int("offsets.commit.timeout.ms"),
        offsets_commit_required_acks: i16::try_from(cfg.int("offsets.commit.required.acks")).unwrap_or(-1),
        offset_value_version: match () {
            () if ibp.at_least("2.1-IV1") => 3,
            () if ibp.at_least("2.1-IV0") => 2,
            () => 1,
        },
        group_value_version: match () {
            () if ibp.at_least("2.3-IV0") => 3,
            () if ibp.at_least("2.1-IV0") => 2,
            () if ibp.at_least("0.10.1-IV0") => 1,
            () => 0,
        },
    }
}

pub fn controller(cfg: &BrokerConfig, broker_id: i32) -> ControllerConfig {
    ControllerConfig {
        broker_id,
        inter_broker_listener: cfg.control_plane_listener().unwrap_or(cfg.inter_broker_listener()).to_owned(),
        inter_broker_protocol: cfg.protocol_version(),
        delete_topic_enable: cfg.bool("delete.topic.enable"),
        auto_leader_rebalance: cfg.bool("auto.leader.rebalance.enable"),
        imbalance_check_interval: millis(cfg.long("leader.imbalance.check.interval.seconds").saturating_mul(1000)),
        imbalance_percentage: cfg.int("leader.imbalance.per.broker.percentage"),
    }
}

/// The broker's entry in ZooKeeper. `bound` gives the real port of listeners configured with port 0.
pub fn registration(cfg: &BrokerConfig, bound: &HashMap<String, u16>, now_ms: i64) -> BrokerRegistration {
    let endpoints = cfg.advertised_listeners().iter().map(|endpoint| Endpoint {
        listener: endpoint.listener.clone(),
        security_protocol: endpoint.security_protocol.name().to_owned(),
        host: endpoint.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(canonical_host_name),
        port: match endpoint.port {
            0 => bound.get(&endpoint.listener).map_or(0, |port| i32::from(*port)),
            port => i32::from(port),
        },
    });
    let ibp = cfg.protocol_version();
    let version = match () {
        () if ibp.at_least("2.7-IV0") => 5,
        () if ibp.at_least("0.10.0-IV1") => 4,
        () => 2,
    };
    let rack = cfg.opt_string("broker.rack").map(str::to_owned);
    BrokerRegistration { version, ..BrokerRegistration::new(endpoints.collect(), rack, now_ms) }
}

/// Version of ControlledShutdown.
pub fn controlled_shutdown_version(cfg: &BrokerConfig) -> i16 {
    let ibp = cfg.protocol_version();
    match () {
        () if ibp.at_least("2.4-IV1") => 3,
        () if ibp.at_least("2.2-IV0") => 2,
        () if ibp.at_least("0.9.0") => 1,
        () => 0,
    }
}

/// What Java's `InetAddress.getLocalHost().getCanonicalHostName()` gives: the machine's name.
fn canonical_host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::config;

    #[test]
    fn the_receive_buffer_of_kafkas_sample_file_is_left_to_the_kernel() {
        let buffers = |send: &str, receive: &str| {
            let pairs = [("socket.send.buffer.bytes", send), ("socket.receive.buffer.bytes", receive)];
            let limits = listeners(&config(&pairs).unwrap());
            (limits.send_buffer, limits.receive_buffer)
        };
        assert_eq!(buffers("102400", "102400"), (Some(102_400), None));
        assert_eq!(buffers("-1", "65536"), (None, Some(65536)));
        assert_eq!(buffers("1048576", "-1"), (Some(1_048_576), None));
    }
}
