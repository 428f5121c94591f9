//! Where a broker listens: `host:port`.
//!
//! Knows no name resolution. Invariant: an IPv6 host is stored without its brackets and shown with them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A broker's address: a name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BrokerAddr {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Not `host:port`. Does not quote the text: somebody may have put a password into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a broker address is host:port or [IPv6]:port")]
pub struct BrokerAddrError;

impl BrokerAddr {
    /// The host as it stands before `:port`.
    pub(crate) fn bracketed_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

impl FromStr for BrokerAddr {
    type Err = BrokerAddrError;
    fn from_str(text: &str) -> Result<Self, BrokerAddrError> {
        let bad = || BrokerAddrError;
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let host = rest.strip_suffix(']').ok_or_else(bad)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
                host
            }
            // A bare IPv6 address would read as host and port.
            None if host.contains([':', ']', '/', '@']) || host.chars().any(char::is_whitespace) => {
                return Err(bad());
            }
            None => host,
        };
        let port = port.parse().ok().filter(|&port| port != 0).ok_or_else(bad)?;
        if host.is_empty() { Err(bad()) } else { Ok(Self { host: host.to_owned(), port }) }
    }
}

impl fmt::Display for BrokerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.bracketed_host(), self.port)
    }
}

impl TryFrom<String> for BrokerAddr {
    type Error = BrokerAddrError;
    fn try_from(text: String) -> Result<Self, BrokerAddrError> {
        text.parse()
    }
}

impl From<BrokerAddr> for String {
    fn from(addr: BrokerAddr) -> Self {
        addr.to_string()
    }
}

impl From<std::net::SocketAddr> for BrokerAddr {
    fn from(addr: std::net::SocketAddr) -> Self {
        Self { host: addr.ip().to_string(), port: addr.port() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_themselves() {
        for (text, host, port) in [
            ("broker.example:1883", "broker.example", 1883),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:65535", "::1", 65535),
        ] {
            let addr: BrokerAddr = text.parse().unwrap();
            assert_eq!((addr.host.as_str(), addr.port), (host, port));
            assert_eq!(addr.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "host",
            "host:",
            ":1",
            "host:0",
            "host:65536",
            "::1:1",
            "[::1]",
            "[x]:1",
            "u@h:1",
            "mqtt://h:1",
        ] {
            assert!(text.parse::<BrokerAddr>().is_err(), "{text}");
        }
    }
}
