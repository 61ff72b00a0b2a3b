//! `/brokers/ids/<id>`: where a broker can be reached.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{JsonError, as_i32, bytes, int, object, strings, text};

/// One advertised listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Upper case.
    pub listener: String,
    /// Without brackets; may be empty.
    pub host: String,
    pub port: i32,
    /// PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
    pub security_protocol: String,
}

impl Endpoint {
    /// `LISTENER://host:port`, an IPv6 address in brackets.
    pub fn connection_string(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{}://{host}:{}", self.listener, self.port)
    }

    fn parse(uri: &str, protocols: Option<&BTreeMap<String, String>>) -> Result<Endpoint, JsonError> {
        let bad = || JsonError::Invalid(format!("Unable to parse {uri} to a broker endpoint"));
        let (listener, address) = uri.split_once("://").ok_or_else(bad)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let listener = listener.to_uppercase();
        let security_protocol = match protocols {
            None => listener.clone(),
            Some(map) => map
                .iter()
                .find(|(name, _)| name.to_uppercase() == listener)
                .map(|(_, protocol)| protocol.clone())
                .ok_or_else(|| JsonError::Invalid(format!("No security protocol defined for listener {listener}")))?,
        };
        Ok(Endpoint { listener, host: host.to_owned(), port, security_protocol })
    }
}

/// Versions of a feature a broker supports; none in 3.7's ZooKeeper mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupportedFeature {
    pub min_version: i16,
    pub max_version: i16,
}

/// The registration of a broker. Its broker epoch is the znode's czxid, and not in here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerRegistration {
    /// Of the format: 5, or what an older inter-broker protocol has. The rack is told from 3 on, security protocols from 4,
    /// features from 5.
    pub version: i32,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
    /// -1 for none.
    pub jmx_port: i32,
    /// Milliseconds since the epoch when written; nobody reads it (-1 if unreadable).
    pub timestamp_ms: i64,
    pub features: BTreeMap<String, SupportedFeature>,
}

impl BrokerRegistration {
    pub fn new(endpoints: Vec<Endpoint>, rack: Option<String>, now_ms: i64) -> BrokerRegistration {
        BrokerRegistration {
            version: 5,
            endpoints,
            rack,
            jmx_port: -1,
            timestamp_ms: now_ms,
            features: BTreeMap::new(),
        }
    }

    /// The endpoint of a listener, by its upper-case name.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|e| e.listener == listener)
    }

    pub fn encode(&self) -> Bytes {
        let features = self
            .features
            .iter()
            .map(|(name, f)| (name.clone(), json!({"min_version": f.min_version, "max_version": f.max_version})));
        let protocols = self.endpoints.iter().map(|e| (e.listener.clone(), json!(e.security_protocol)));
        let uris: Vec<String> = self.endpoints.iter().map(Endpoint::connection_string).collect();
        let plain = self.endpoints.iter().find(|e| e.security_protocol == "PLAINTEXT");
        let mut map = Map::new();
        if self.version >= 5 {
            map.insert("features".to_owned(), Value::Object(features.collect()));
        }
        if self.version >= 4 {
            map.insert("listener_security_protocol_map".to_owned(), Value::Object(protocols.collect()));
        }
        map.insert("endpoints".to_owned(), json!(uris));
        if let Some(rack) = self.rack.as_ref().filter(|_| self.version >= 3) {
            map.insert("rack".to_owned(), json!(rack));
        }
        map.insert("jmx_port".to_owned(), json!(self.jmx_port));
        map.insert("port".to_owned(), json!(plain.map_or(-1, |e| e.port)));
        map.insert("host".to_owned(), json!(plain.map(|e| &e.host)));
        map.insert("version".to_owned(), json!(self.version));
        map.insert("timestamp".to_owned(), json!(self.timestamp_ms.to_string()));
        bytes(&Value::Object(map))
    }

    pub fn decode(data: &[u8]) -> Result<BrokerRegistration, JsonError> {
        let map = object(data)?;
        let version = int(&map, "version")?;
        if version < 1 {
            return Err(JsonError::Version(version.into()));
        }
        Ok(BrokerRegistration {
            version,
            endpoints: if version == 1 { vec![first_format(&map)?] } else { read_endpoints(&map)? },
            rack: map.get("rack").and_then(Value::as_str).map(str::to_owned),
            jmx_port: int(&map, "jmx_port")?,
            timestamp_ms: super::long_text(&map, "timestamp").unwrap_or(-1),
            features: read_features(&map)?,
        })
    }
}

/// Version 1 knows one plaintext host and port.
fn first_format(map: &Map<String, Value>) -> Result<Endpoint, JsonError> {
    let plain = "PLAINTEXT".to_owned();
    Ok(Endpoint {
        listener: plain.clone(),
        host: text(map, "host")?,
        port: int(map, "port")?,
        security_protocol: plain,
    })
}

fn read_endpoints(map: &Map<String, Value>) -> Result<Vec<Endpoint>, JsonError> {
    const PROTOCOLS: &str = "listener_security_protocol_map";
    let protocols: Option<BTreeMap<String, String>> = match map.get(PROTOCOLS) {
        None | Some(Value::Null) => None,
        Some(value) => Some(
            value
                .as_object()
                .and_then(|m| m.iter().map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect())
                .ok_or(JsonError::Field(PROTOCOLS))?,
        ),
    };
    let uris = map.get("endpoints").and_then(strings).ok_or(JsonError::Field("endpoints"))?;
    uris.iter().map(|uri| Endpoint::parse(uri, protocols.as_ref())).collect()
}

fn read_features(map: &Map<String, Value>) -> Result<BTreeMap<String, SupportedFeature>, JsonError> {
    let Some(value) = map.get("features") else { return Ok(BTreeMap::new()) };
    let read = |(name, f): (&String, &Value)| {
        let version = |key: &str| f.get(key).and_then(as_i32).and_then(|v| i16::try_from(v).ok());
        let feature = SupportedFeature { min_version: version("min_version")?, max_version: version("max_version")? };
        Some((name.clone(), feature))
    };
    value.as_object().and_then(|m| m.iter().map(read).collect()).ok_or(JsonError::Field("features"))
}
