//! The broker's settings and their limits.
//!
//! Invariant: a config that passed [`BrokerConfig::validate`] can neither panic the router nor leave a wait without an end.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use shared_msgs::net::tls::ServerTls;

/// What the embedded broker is told. All of it has a default.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Where game servers connect; port 0 picks one.
    pub listen: SocketAddr,
    /// Speaks TLS to game servers; plain MQTT without it.
    pub tls: Option<Arc<ServerTls>>,
    /// Sockets of game servers at a time. At the bound a newcomer takes the place of one that has not said who it is; while there is
    /// none, nothing is accepted.
    pub connections_max: usize,
    /// Of those, from one IPv4 address or IPv6 /64.
    pub per_address_max: usize,
    /// Game servers in the fleet: sizes the router's logs that all of them share.
    pub servers_max: usize,
    /// A peer must have shaken hands within this, and have sent its whole CONNECT within as much again.
    pub connect_timeout: Duration,
    /// Bytes for a client must be gone, and a message to it acknowledged, within this.
    pub write_timeout: Duration,
    /// Longest keepalive a client may ask for; none at all is refused. A connection ends after 1.5 times its own.
    pub keepalive_max: Duration,
    /// Kernel send buffer of each connection: what a client that does not read costs.
    pub send_buffer_bytes: u32,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)),
            tls: None,
            connections_max: 1024,
            per_address_max: 1024,
            servers_max: 512,
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(10),
            keepalive_max: Duration::from_mins(1),
            send_buffer_bytes: 256 * 1024,
        }
    }
}

/// A setting that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Some game server could never connect.
    #[error(
        "connections_max ({connections_max}) must be at least servers_max ({servers_max}), and servers_max at least 1"
    )]
    Counts {
        /// As set.
        connections_max: usize,
        /// As set.
        servers_max: usize,
    },
    /// More than the router should be sized for.
    #[error("connections_max must not exceed {CONNECTIONS_MAX}")]
    TooMany,
    /// A wait of no time at all.
    #[error("{0} must be greater than zero")]
    Zero(&'static str),
}

/// No single hub serves more; also bounds what the router sets aside at start.
pub(crate) const CONNECTIONS_MAX: usize = 1 << 16;

impl BrokerConfig {
    /// Checks each setting and how they relate.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Self { connections_max, servers_max, .. } = *self;
        if self.per_address_max == 0 {
            return Err(ConfigError::Zero("per_address_max"));
        }
        if servers_max == 0 || connections_max < servers_max {
            return Err(ConfigError::Counts { connections_max, servers_max });
        }
        if connections_max > CONNECTIONS_MAX {
            return Err(ConfigError::TooMany);
        }
        for (name, of) in [
            ("connect_timeout", self.connect_timeout),
            ("write_timeout", self.write_timeout),
            ("keepalive_max", self.keepalive_max),
        ] {
            if of.is_zero() {
                return Err(ConfigError::Zero(name));
            }
        }
        if self.send_buffer_bytes == 0 {
            return Err(ConfigError::Zero("send_buffer_bytes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(BrokerConfig::default().validate(), Ok(()));
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let valid = BrokerConfig::default;
        let cases = [
            (
                BrokerConfig { servers_max: 0, ..valid() },
                ConfigError::Counts { connections_max: 1024, servers_max: 0 },
            ),
            (
                BrokerConfig { connections_max: 511, ..valid() },
                ConfigError::Counts { connections_max: 511, servers_max: 512 },
            ),
            (BrokerConfig { connections_max: CONNECTIONS_MAX + 1, ..valid() }, ConfigError::TooMany),
            (BrokerConfig { write_timeout: Duration::ZERO, ..valid() }, ConfigError::Zero("write_timeout")),
            (BrokerConfig { send_buffer_bytes: 0, ..valid() }, ConfigError::Zero("send_buffer_bytes")),
        ];
        for (config, error) in cases {
            assert_eq!(config.validate(), Err(error));
        }
    }
}
