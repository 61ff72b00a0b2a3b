//! `listeners` and what hangs on it: endpoints, their names and security protocols (`EndPoint`, `CoreUtils`).

use super::error::{ConfigError, require};
use super::value::{csv, is_java_space, java_trim};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

/// How a listener's connections are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    /// By name, whatever the case.
    pub fn parse(name: &str) -> Option<SecurityProtocol> {
        Some(match name.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => SecurityProtocol::Plaintext,
            "SSL" => SecurityProtocol::Ssl,
            "SASL_PLAINTEXT" => SecurityProtocol::SaslPlaintext,
            "SASL_SSL" => SecurityProtocol::SaslSsl,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    /// The id on the wire (UpdateMetadata, LeaderAndIsr).
    pub fn id(self) -> i16 {
        self as i16
    }

    pub fn is_sasl(self) -> bool {
        matches!(self, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl)
    }

    pub fn is_tls(self) -> bool {
        matches!(self, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl)
    }
}

/// One entry of `listeners` or `advertised.listeners`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The listener's name, upper case.
    pub listener: String,
    /// Without the brackets of an IPv6 address; `None`: bind all interfaces, advertise the machine's own name.
    pub host: Option<String>,
    /// 0: any free port.
    pub port: u16,
    pub security_protocol: SecurityProtocol,
}

impl std::fmt::Display for Endpoint {
    /// `NAME://host:port`, as in a broker's registration.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.as_deref() {
            None => write!(f, "{}://:{}", self.listener, self.port),
            Some(h) if h.contains(':') => write!(f, "{}://[{h}]:{}", self.listener, self.port),
            Some(h) => write!(f, "{}://{h}:{}", self.listener, self.port),
        }
    }
}

/// Listener name (upper case) to protocol: `listener.security.protocol.map`.
pub type ProtocolMap = BTreeMap<String, SecurityProtocol>;

/// Parses `a:b,c:d` (`CoreUtils.parseCsvMap` as `KafkaConfig.getMap` wraps it).
pub(crate) fn csv_map(key: &str, text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut entries: Vec<&str> = text.split(',').map(|e| e.trim_matches(is_java_space)).collect();
    while entries.last().is_some_and(|e| e.is_empty()) {
        entries.pop(); // Java's split drops empty strings at the end
    }
    let pair = |e: &str| match e.rsplit_once(':') {
        Some((k, v)) => Ok((java_trim(k).to_owned(), java_trim(v).to_owned())),
        None => Err(ConfigError::IllegalArgument(format!(
            "Error parsing configuration property '{key}': begin 0, end -1, length {}",
            e.len()
        ))),
    };
    entries.into_iter().map(pair).collect()
}

/// `ListenerName.normalised`.
pub(crate) fn listener_name(text: &str) -> Result<String, ConfigError> {
    if text.trim().is_empty() {
        return Err(ConfigError::Config("The provided listener name is null or empty string".to_owned()));
    }
    Ok(text.to_uppercase())
}

/// Parses `listener.security.protocol.map`.
pub(crate) fn protocol_map(text: &str) -> Result<ProtocolMap, ConfigError> {
    let key = "listener.security.protocol.map";
    let mut map = ProtocolMap::new();
    for (name, protocol) in csv_map(key, text)? {
        let parsed = SecurityProtocol::parse(&protocol)
            .ok_or_else(|| ConfigError::Config(format!("Invalid security protocol `{protocol}` defined in {key}")))?;
        map.insert(listener_name(&name)?, parsed);
    }
    Ok(map)
}

/// Parses a list of listeners. `distinct_ports`: each port once, but for one IPv4 and one IPv6 address; port 0 is free.
pub(crate) fn parse_listeners(
    text: &str,
    map: &ProtocolMap,
    distinct_ports: bool,
) -> Result<Vec<Endpoint>, ConfigError> {
    let endpoints = csv(text)
        .iter()
        .map(|e| endpoint(e, map))
        .collect::<Result<Vec<_>, String>>()
        .map_err(|e| ConfigError::IllegalArgument(format!("Error creating broker listeners from '{text}': {e}")))?;
    let names: BTreeSet<&str> = endpoints.iter().map(|e| e.listener.as_str()).collect();
    require(names.len() == endpoints.len(), || format!("Each listener must have a different name, listeners: {text}"))?;
    if distinct_ports {
        let ports: BTreeSet<u16> = endpoints.iter().map(|e| e.port).filter(|p| *p != 0).collect();
        ports.into_iter().try_for_each(|port| check_port(port, &endpoints, text))?;
    }
    Ok(endpoints)
}

fn check_port(port: u16, endpoints: &[Endpoint], text: &str) -> Result<(), ConfigError> {
    let is_v4 = |e: &Endpoint| e.host.as_deref().is_some_and(|h| h.parse::<Ipv4Addr>().is_ok());
    let is_v6 = |e: &Endpoint| e.host.as_deref().is_some_and(|h| h.parse::<Ipv6Addr>().is_ok());
    let same: Vec<&Endpoint> = endpoints.iter().filter(|e| e.port == port).collect();
    if same.len() < 2 {
        return Ok(());
    }
    let (addresses, names): (Vec<&Endpoint>, Vec<&Endpoint>) = same.into_iter().partition(|e| is_v4(e) || is_v6(e));
    require(names.len() < 2, || format!("Each listener must have a different port, listeners: {text}"))?;
    match addresses.as_slice() {
        [] => Ok(()),
        [a, b] => {
            let message = format!(
                "If you have two listeners on the same port then one needs to be IPv4 and the other IPv6, \
                 listeners: {text}, port: {port}"
            );
            require((is_v4(a) && is_v6(b)) || (is_v6(a) && is_v4(b)), || message.clone())?;
            if names.is_empty() { Ok(()) } else { Err(ConfigError::IllegalArgument(message)) }
        }
        _ => Err(ConfigError::IllegalArgument(format!(
            "Each listener must have a different port unless exactly one listener has an IPv4 address and the other IPv6 \
             address, listeners: {text}, port: {port}"
        ))),
    }
}

/// `NAME://host:port` or `NAME://[v6]:port`; the error is the text inside Kafka's.
fn endpoint(text: &str, map: &ProtocolMap) -> Result<Endpoint, String> {
    let unparsable = || format!("Unable to parse {text} to a broker endpoint");
    let (name, rest) = text.rsplit_once("://").ok_or_else(unparsable)?;
    let (host, port) = rest.rsplit_once(':').ok_or_else(unparsable)?;
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    let host_char = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'%' | b'.' | b'_' | b':');
    let digits = port.strip_prefix('-').unwrap_or(port);
    if !host.bytes().all(host_char) || digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(unparsable());
    }
    let listener = listener_name(name).map_err(|e| e.to_string())?;
    let number: i32 = port.parse().map_err(|_| format!("For input string: \"{port}\""))?;
    let port = u16::try_from(number).map_err(|_| format!("port out of range:{number}"))?;
    let security_protocol =
        *map.get(&listener).ok_or_else(|| format!("No security protocol defined for listener {listener}"))?;
    let host = Some(host.to_owned()).filter(|h| !h.is_empty());
    Ok(Endpoint { listener, host, port, security_protocol })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> ProtocolMap {
        protocol_map("PLAINTEXT:PLAINTEXT,SSL:SSL, internal:SASL_SSL").unwrap()
    }

    fn error(text: &str) -> String {
        parse_listeners(text, &map(), true).unwrap_err().to_string()
    }

    #[test]
    fn endpoints_are_parsed() {
        let all = parse_listeners("plaintext://:9092, INTERNAL://[::1]:0 ,SSL://a-b.c_d:9093", &map(), true).unwrap();
        let parts: Vec<_> = all.iter().map(|e| (e.listener.as_str(), e.host.as_deref(), e.port)).collect();
        assert_eq!(parts, [("PLAINTEXT", None, 9092), ("INTERNAL", Some("::1"), 0), ("SSL", Some("a-b.c_d"), 9093)]);
        assert_eq!(all[1].security_protocol, SecurityProtocol::SaslSsl);
        assert_eq!(all[1].to_string(), "INTERNAL://[::1]:0");
        assert_eq!(all[0].to_string(), "PLAINTEXT://:9092");
    }

    #[test]
    fn bad_listeners_have_kafka_s_words() {
        assert_eq!(
            error("BAD"),
            "Error creating broker listeners from 'BAD': Unable to parse BAD to a broker endpoint"
        );
        assert_eq!(
            error("FOO://a:1"),
            "Error creating broker listeners from 'FOO://a:1': No security protocol defined for listener FOO"
        );
        assert!(error("SSL://a:99999").ends_with("port out of range:99999"));
        assert!(error("SSL://a:99999999999").ends_with("For input string: \"99999999999\""));
        assert!(error("SSL://a/b:1").ends_with("Unable to parse SSL://a/b:1 to a broker endpoint"));
        assert_eq!(
            error("PLAINTEXT://localhost:19097,PLAINTEXT://localhost:19098"),
            "requirement failed: Each listener must have a different name, listeners: \
             PLAINTEXT://localhost:19097,PLAINTEXT://localhost:19098"
        );
        assert_eq!(
            error("PLAINTEXT://:1,SSL://a:1"),
            "requirement failed: Each listener must have a different port, listeners: PLAINTEXT://:1,SSL://a:1"
        );
        assert!(error("PLAINTEXT://1.1.1.1:1,SSL://1.1.1.2:1").contains("one needs to be IPv4 and the other IPv6"));
        parse_listeners("PLAINTEXT://1.1.1.1:1,SSL://[::1]:1", &map(), true).unwrap();
        parse_listeners("PLAINTEXT://a:1,SSL://b:1", &map(), false).unwrap();
    }

    #[test]
    fn protocol_maps_are_checked() {
        assert_eq!(
            protocol_map("A:FOO").unwrap_err().to_string(),
            "Invalid security protocol `FOO` defined in listener.security.protocol.map"
        );
        assert_eq!(
            protocol_map("abc").unwrap_err().to_string(),
            "Error parsing configuration property 'listener.security.protocol.map': begin 0, end -1, length 3"
        );
    }
}
