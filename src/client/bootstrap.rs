//! `bootstrap.servers`: from the text to addresses, with the errors of Kafka's ClientUtils word for word. No state.

use std::net::ToSocketAddrs;

use super::ClientError;

/// One entry of `bootstrap.servers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapServer {
    /// Name or number, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Splits and reads the list; empty entries are skipped. Does not resolve names.
pub fn parse(servers: &str) -> Result<Vec<BootstrapServer>, ClientError> {
    servers.split(',').map(str::trim).filter(|url| !url.is_empty()).map(parse_one).collect()
}

/// Reads the list and keeps the entries whose names resolve, as Kafka does when a client is made. Blocks on the
/// resolver. At least one entry must be left.
pub fn parse_and_resolve(servers: &str) -> Result<Vec<BootstrapServer>, ClientError> {
    let mut resolved = Vec::new();
    for server in parse(servers)? {
        if (server.host.as_str(), server.port).to_socket_addrs().is_ok_and(|mut addresses| addresses.next().is_some()) {
            resolved.push(server);
        } else {
            tracing::warn!(
                target: "org.apache.kafka.clients.ClientUtils",
                "Couldn't resolve server {}:{} from bootstrap.servers as DNS resolution failed for {}",
                server.host, server.port, server.host
            );
        }
    }
    if resolved.is_empty() {
        return Err(ClientError::Config("No resolvable bootstrap urls given in bootstrap.servers".to_owned()));
    }
    Ok(resolved)
}

/// What Kafka's pattern `.*?\[?([0-9a-zA-Z\-%._:]*)\]?:([0-9]+)` takes out: the port behind the last colon, and before
/// it the longest run of host characters, so that `PLAINTEXT://h:1` and `[::1]:1` work.
fn parse_one(url: &str) -> Result<BootstrapServer, ClientError> {
    let invalid = || ClientError::Config(format!("Invalid url in bootstrap.servers: {url}"));
    let (before, digits) = url.rsplit_once(':').ok_or_else(invalid)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let port = digits.parse().map_err(|_| ClientError::Config(format!("Invalid port in bootstrap.servers: {url}")))?;
    let before = before.strip_suffix(']').unwrap_or(before);
    let in_host = |c: char| c.is_ascii_alphanumeric() || "-%._:".contains(c);
    let host = before.rsplit(|c| !in_host(c)).next().unwrap_or_default();
    // Java resolves the empty name to the loopback address.
    let host = if host.is_empty() { "localhost" } else { host };
    Ok(BootstrapServer { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(servers: &str) -> Result<Vec<(String, u16)>, String> {
        let parsed = parse(servers).map_err(|error| error.to_string())?;
        Ok(parsed.into_iter().map(|server| (server.host, server.port)).collect())
    }

    #[test]
    fn lists_are_read_as_kafkas_pattern_does() {
        let expected = vec![("a.b-c".to_owned(), 9092), ("::1".to_owned(), 1), ("h".to_owned(), 2)];
        assert_eq!(hosts("a.b-c:9092, [::1]:1,,PLAINTEXT://h:2"), Ok(expected));
        assert_eq!(hosts(":9092"), Ok(vec![("localhost".to_owned(), 9092)]));
        assert_eq!(hosts(""), Ok(vec![]));
    }

    #[test]
    fn errors_are_in_kafkas_words() {
        assert_eq!(hosts("nohostport"), Err("Invalid url in bootstrap.servers: nohostport".to_owned()));
        assert_eq!(hosts("h:9092x"), Err("Invalid url in bootstrap.servers: h:9092x".to_owned()));
        assert_eq!(hosts("h:70000"), Err("Invalid port in bootstrap.servers: h:70000".to_owned()));
        assert_eq!(hosts("h:99999999999"), Err("Invalid port in bootstrap.servers: h:99999999999".to_owned()));
        let none = parse_and_resolve(" ,").unwrap_err();
        assert_eq!(none.to_string(), "No resolvable bootstrap urls given in bootstrap.servers");
    }
}
