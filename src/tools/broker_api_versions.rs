//! `kafka-broker-api-versions`: which requests each broker knows, in which versions, and what of it a 3.7 client
//! uses (Kafka's `BrokerApiVersionsCommand`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::admin::block_on;
use super::failure::{Failure, JavaError, print_uncaught};
use super::options::{HELP, OptionSpec, Options, VERSION};
use super::output::{log, out, show_client_log};
use super::properties::Properties;
use crate::client::{ClientError, Connection};
use crate::protocol::api;
use crate::protocol::messages::MetadataRequest;

pub static TABLE: &[OptionSpec] = &[
    OptionSpec::valued(
        "command-config",
        "String: command config property file",
        "Properties file for the connection to the brokers.",
    ),
    OptionSpec::valued(
        "bootstrap-server",
        "String: server(s) to use for bootstrapping",
        "REQUIRED: Brokers to begin with.",
    ),
    HELP,
    VERSION,
];

const CLIENT_ID: &str = "admin-1";
const NETWORK_CLIENT: &str = "org.apache.kafka.clients.NetworkClient";

/// Requests that clients may send and a broker in ZooKeeper mode does not serve, with the newest version of 3.7: they
/// are listed although the broker does not name them.
const KRAFT_ONLY: &[(i16, &str)] = &[
    (55, "DescribeQuorum"),
    (64, "UnregisterBroker"),
    (69, "ConsumerGroupDescribe"),
    (71, "GetTelemetrySubscriptions"),
    (72, "PushTelemetry"),
    (74, "ListClientMetricsResources"),
];

pub fn run(args: &[String]) -> i32 {
    match execute(args) {
        Ok(()) => 0,
        Err(failure) => failure.finish(print_uncaught),
    }
}

fn execute(args: &[String]) -> Result<(), Failure> {
    let options = Options::parse(TABLE, args)?;
    options.help_or_version("This tool helps to retrieve broker version information.")?;
    options.require(&["bootstrap-server"])?;
    let bootstrap = options.value("bootstrap-server")?.unwrap_or_default();
    let properties = Properties::load_optional(options.value("command-config")?)?;
    let timeout = properties.get("request.timeout.ms").and_then(|text| text.trim().parse().ok()).unwrap_or(5_000);
    show_client_log();
    block_on(print_versions(&bootstrap, Duration::from_millis(timeout)))?;
    Ok(())
}

async fn print_versions(bootstrap: &str, timeout: Duration) -> Result<(), JavaError> {
    let servers = crate::client::bootstrap::parse_and_resolve(bootstrap).map_err(super::admin::java_error)?;
    let mut brokers = Vec::new();
    for (index, server) in (1..).zip(&servers) {
        match brokers_of(&server.host, server.port, timeout).await {
            Ok(found) => {
                brokers = found;
                break;
            }
            Err(error) => {
                let client = format!("[LegacyAdminClient clientId={CLIENT_ID}]");
                if let ClientError::Connect { address, .. } = &error {
                    let text = format!("{client} Connection to node -{index} ({address}) could not be established.");
                    log("WARN", NETWORK_CLIENT, &format!("{text} Node may not be available."));
                }
                let node = format!("{}:{} (id: -{index} rack: null)", server.host, server.port);
                log("WARN", NETWORK_CLIENT, &format!("{client} Bootstrap broker {node} disconnected"));
            }
        }
    }
    if brokers.is_empty() {
        let nodes = (1..).zip(&servers).map(|(id, s)| format!("{}:{} (id: -{id} rack: null)", s.host, s.port));
        let nodes = nodes.collect::<Vec<_>>().join(", ");
        let text = format!("Request METADATA failed on brokers List({nodes})");
        return Err(JavaError::new("java.lang.RuntimeException", text).with_frames());
    }
    for broker in brokers {
        let node = format!("{}:{} (id: {} rack: {})", broker.host, broker.port, broker.id, broker.rack);
        let line = match versions_of(&broker.host, broker.port, timeout).await {
            Ok(versions) => format!("{node} -> (\n\t{}\n)\n", versions.join(",\n\t")),
            Err(error) => format!("{node} -> ERROR: {}\n", super::admin::java_error(error)),
        };
        out(&line);
    }
    Ok(())
}

struct Broker {
    id: i32,
    host: String,
    port: u16,
    rack: String,
}

async fn brokers_of(host: &str, port: u16, timeout: Duration) -> Result<Vec<Broker>, ClientError> {
    let connection = Connection::connect(host, port, CLIENT_ID, timeout).await?;
    let response = connection.send(MetadataRequest::default().with_topics(Some(Vec::new()))).await?;
    let broker = |broker: &crate::protocol::messages::metadata_response::MetadataResponseBroker| {
        let rack = broker.rack.as_ref().map_or_else(|| "null".to_owned(), |rack| rack.to_string());
        let port = u16::try_from(broker.port).ok()?;
        Some(Broker { id: broker.node_id.0, host: broker.host.to_string(), port, rack })
    };
    Ok(response.brokers.iter().filter_map(broker).collect())
}

async fn versions_of(host: &str, port: u16, timeout: Duration) -> Result<Vec<String>, ClientError> {
    let connection = Connection::connect(host, port, CLIENT_ID, timeout).await?;
    connection.negotiate().await?;
    Ok(describe(connection.broker_versions()))
}

/// One line per request, by key.
fn describe(versions: &[(i16, i16, i16)]) -> Vec<String> {
    let mut lines: BTreeMap<i16, String> = BTreeMap::new();
    for (key, name) in KRAFT_ONLY {
        lines.insert(*key, format!("{name}({key}): UNSUPPORTED"));
    }
    for row in api::table() {
        // Those that only brokers send are listed when the broker names them.
        if !is_between_brokers(row.key) {
            lines.insert(row.key, format!("{}({}): UNSUPPORTED", row.name, row.key));
        }
    }
    for (key, min, max) in versions {
        let range = if min == max { min.to_string() } else { format!("{min} to {max}") };
        let line = match api::find(*key) {
            Some(ours) => {
                let usable = match () {
                    () if ours.max < *min => "unusable: node too new".to_owned(),
                    () if *max < ours.min => "unusable: node too old".to_owned(),
                    () => format!("usable: {}", ours.max.min(*max)),
                };
                format!("{}({key}): {range} [{usable}]", ours.name)
            }
            None => format!("UNKNOWN({key}): {range}"),
        };
        lines.insert(*key, line);
    }
    lines.into_values().collect()
}

/// LeaderAndIsr, StopReplica, UpdateMetadata, ControlledShutdown, AlterPartition, Envelope, AllocateProducerIds.
fn is_between_brokers(key: i16) -> bool {
    matches!(key, 4..=7 | 56 | 58 | 67)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_broker() {
        let lines = describe(&[(0, 0, 10), (36, 0, 0), (18, 9, 9), (999, 1, 2)]);
        assert_eq!(lines[0], "Produce(0): 0 to 10 [usable: 10]");
        assert!(lines.contains(&"Fetch(1): UNSUPPORTED".to_owned()));
        assert!(lines.contains(&"ApiVersions(18): 9 [unusable: node too new]".to_owned()));
        assert!(lines.contains(&"UNKNOWN(999): 1 to 2".to_owned()));
        assert!(!lines.iter().any(|line| line.starts_with("LeaderAndIsr")));
    }
}
