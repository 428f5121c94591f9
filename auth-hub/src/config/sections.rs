//! The sections, one type each, and what they mean to the rooms they are for.
//!
//! `config/auth-hub.toml` explains each key to operators; a test holds the two together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared_msgs::net::tls::{CertFiles, ServerTlsFiles, TlsError};
use shared_msgs::process::LogFormat;

use crate::accounts::phc::PhcError;
use crate::accounts::throttle::Bucket;
use crate::accounts::{Cost, PoolConfig, ThrottleConfig};
use crate::handover::core::Duplicate;

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpListen {
    /// Where clients connect; port 0 picks one.
    pub listen: SocketAddr,
    /// The certificate chain.
    pub tls_cert_file: Option<PathBuf>,
    /// Its private key.
    pub tls_key_file: Option<PathBuf>,
    /// Whether other machines may connect without TLS.
    pub plaintext_to_network: bool,
    /// Requests to the API at one time.
    pub requests_max: usize,
    /// Open connections.
    pub connections_max: usize,
    /// Of those, from one address.
    pub connections_per_address_max: usize,
    /// Proxies that speak for many.
    pub trusted_proxies: Vec<IpAddr>,
}

impl Default for HttpListen {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            tls_cert_file: None,
            tls_key_file: None,
            plaintext_to_network: false,
            requests_max: 1024,
            connections_max: 4096,
            connections_per_address_max: 256,
            trusted_proxies: Vec::new(),
        }
    }
}

impl HttpListen {
    /// The files of its TLS.
    ///
    /// # Errors
    /// One without the other.
    pub fn tls(&self) -> Result<Option<ServerTlsFiles>, TlsError> {
        let identity = CertFiles::of("http", self.tls_cert_file.as_deref(), self.tls_key_file.as_deref())?;
        Ok(identity.map(|identity| ServerTlsFiles { identity, client_ca: None }))
    }
}

/// `[operators]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Operators {
    /// Where probes and metrics are asked for; port 0 picks one.
    pub listen: SocketAddr,
    /// Whether other machines may connect; there is no TLS here.
    pub plaintext_to_network: bool,
}

impl Default for Operators {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)), plaintext_to_network: false }
    }
}

/// `[mqtt]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MqttListen {
    /// Where game servers connect; port 0 picks one.
    pub listen: SocketAddr,
    /// The certificate chain.
    pub tls_cert_file: Option<PathBuf>,
    /// Its private key.
    pub tls_key_file: Option<PathBuf>,
    /// Authorities that a game server's own certificate must be of.
    pub tls_client_ca_file: Option<PathBuf>,
    /// Whether other machines may connect without TLS.
    pub plaintext_to_network: bool,
    /// Sockets of game servers at one time.
    pub connections_max: usize,
    /// Of those, from one address.
    pub connections_per_address_max: usize,
    /// Game servers in the fleet.
    pub servers_max: usize,
}

impl Default for MqttListen {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)),
            tls_cert_file: None,
            tls_key_file: None,
            tls_client_ca_file: None,
            plaintext_to_network: false,
            connections_max: 1024,
            connections_per_address_max: 256,
            servers_max: 512,
        }
    }
}

impl MqttListen {
    /// The files of its TLS.
    ///
    /// # Errors
    /// One without the other.
    pub fn tls(&self) -> Result<Option<ServerTlsFiles>, TlsError> {
        let identity = CertFiles::of("mqtt", self.tls_cert_file.as_deref(), self.tls_key_file.as_deref())?;
        if identity.is_none() && self.tls_client_ca_file.is_some() {
            return Err(TlsError::Half { section: "mqtt" });
        }
        Ok(identity.map(|identity| ServerTlsFiles { identity, client_ca: self.tls_client_ca_file.clone() }))
    }
}

/// `[database]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// The SQLite file.
    pub path: PathBuf,
}

impl Default for Database {
    fn default() -> Self {
        Self { path: "var/hub.sqlite".into() }
    }
}

/// `[keys]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// The fleet key; made where it is missing.
    pub fleet_key_file: PathBuf,
}

impl Default for Keys {
    fn default() -> Self {
        Self { fleet_key_file: "var/fleet.key".into() }
    }
}

/// `[passwords]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordSettings {
    /// argon2id's memory.
    pub memory_kib: u32,
    /// argon2id's passes.
    pub passes: u32,
    /// argon2id's lanes.
    pub lanes: u32,
    /// Hashes at one time; 0 for as many as there are cores.
    pub threads: usize,
    /// Checks that may wait; 0 for 64 per thread.
    pub queue_max: usize,
}

impl Default for PasswordSettings {
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2, lanes: 1, threads: 0, queue_max: 0 }
    }
}

impl PasswordSettings {
    /// What a new hash costs.
    ///
    /// # Errors
    /// When argon2 or our bounds refuse it.
    pub fn cost(&self) -> Result<Cost, PhcError> {
        Cost::new(self.memory_kib, self.passes, self.lanes)
    }

    /// For the pool.
    ///
    /// # Errors
    /// As [`PasswordSettings::cost`].
    pub fn pool(&self) -> Result<PoolConfig, PhcError> {
        const CHECKS_PER_THREAD: usize = 64;
        let threads = NonZeroUsize::new(self.threads).unwrap_or_else(|| PoolConfig::default().threads);
        let queue_checks_max = NonZeroUsize::new(self.queue_max).unwrap_or_else(|| {
            threads.saturating_mul(const { NonZeroUsize::new(CHECKS_PER_THREAD).unwrap() })
        });
        Ok(PoolConfig { threads, queue_checks_max, cost: self.cost()?, ..PoolConfig::default() })
    }
}

/// `[throttle]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThrottleSettings {
    /// Wrong passwords for one login name in a row.
    pub name_burst: u32,
    /// Time until one more is allowed.
    pub name_refill_ms: u64,
    /// Login names remembered, and accounts.
    pub names_max: usize,
    /// Logins from one address in a row.
    pub address_burst: u32,
    /// Time until one more is allowed.
    pub address_refill_ms: u64,
    /// Addresses remembered.
    pub addresses_max: usize,
    /// Registrations from one address in a row.
    pub registration_burst: u32,
    /// Time until one more is allowed.
    pub registration_refill_ms: u64,
    /// Handovers of one account in a row.
    pub handover_burst: u32,
    /// Time until one more is allowed.
    pub handover_refill_ms: u64,
}

impl Default for ThrottleSettings {
    fn default() -> Self {
        Self {
            name_burst: 10,
            name_refill_ms: 12_000,
            names_max: 131_072,
            address_burst: 60,
            address_refill_ms: 1_000,
            addresses_max: 65_536,
            registration_burst: 20,
            registration_refill_ms: 10_000,
            handover_burst: 10,
            handover_refill_ms: 3_000,
        }
    }
}

impl ThrottleSettings {
    /// Each number with its name.
    pub(super) fn numbers(&self) -> [(&'static str, u64); 10] {
        [
            ("throttle.name_burst", self.name_burst.into()),
            ("throttle.name_refill_ms", self.name_refill_ms),
            ("throttle.names_max", self.names_max as u64),
            ("throttle.address_burst", self.address_burst.into()),
            ("throttle.address_refill_ms", self.address_refill_ms),
            ("throttle.addresses_max", self.addresses_max as u64),
            ("throttle.registration_burst", self.registration_burst.into()),
            ("throttle.registration_refill_ms", self.registration_refill_ms),
            ("throttle.handover_burst", self.handover_burst.into()),
            ("throttle.handover_refill_ms", self.handover_refill_ms),
        ]
    }

    /// For logins.
    pub fn logins(&self) -> ThrottleConfig {
        ThrottleConfig {
            name: Bucket {
                burst: self.name_burst,
                refill: Duration::from_millis(self.name_refill_ms),
                keys_max: self.names_max,
            },
            address: Bucket {
                burst: self.address_burst,
                refill: Duration::from_millis(self.address_refill_ms),
                keys_max: self.addresses_max,
            },
        }
    }

    /// For registrations: counted apart, so that nobody's login waits because somebody tried to register their name.
    pub fn registrations(&self) -> ThrottleConfig {
        let address = Bucket {
            burst: self.registration_burst,
            refill: Duration::from_millis(self.registration_refill_ms),
            keys_max: self.addresses_max,
        };
        ThrottleConfig { address, ..self.logins() }
    }

    /// For handovers, of logins as well.
    pub fn handovers(&self) -> Bucket {
        Bucket {
            burst: self.handover_burst,
            refill: Duration::from_millis(self.handover_refill_ms),
            keys_max: self.names_max,
        }
    }
}

/// `[accounts]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountSettings {
    /// Whether anybody may register over HTTP.
    pub registration: bool,
}

impl Default for AccountSettings {
    fn default() -> Self {
        Self { registration: true }
    }
}

/// `[sessions]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// How long an access token lives.
    pub access_token_life_s: u64,
    /// What a login does to a session of the same account.
    pub duplicate: Duplicate,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { access_token_life_s: 900, duplicate: Duplicate::default() }
    }
}

impl Sessions {
    /// How long an access token lives.
    pub fn access_token_life(&self) -> Duration {
        Duration::from_secs(self.access_token_life_s)
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// What is logged.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: "info,rumqttd=warn".to_owned() }
    }
}
