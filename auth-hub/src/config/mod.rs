//! The hub's settings: defaults, then a TOML file, then `AUTH_HUB__SECTION__KEY` from the environment.
//!
//! Owns every key, its default and how keys relate; reads no clock, binds nothing. Invariant: a [`Config`] that came out of
//! [`Config::load`] is valid as a whole, so that nothing starts that a later setting would stop.

mod admin;
mod overload;
mod placement;
mod queue;
mod sections;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use shared_msgs::net::tls::TlsError;
use shared_msgs::net::{Exposed, require_guard};
use shared_msgs::process::{ConfigError, ConfigFile, load_from};

use crate::accounts::phc::PhcError;
pub use admin::AdminListen;
pub use overload::OverloadSettings;
pub use placement::PlacementSettings;
use placement::{LATENCY_BAND_MS_MAX, LOAD_NEVER_PERCENT};
pub use queue::QueueSection;
pub use sections::{
    AccountSettings, Database, HttpListen, Keys, Log, MqttListen, Operators, PasswordSettings, Sessions,
    ThrottleSettings,
};

/// Read when no file is asked for, if it exists.
pub const DEFAULT_FILE: &str = "config/auth-hub.toml";
/// What the names of our environment variables start with.
pub const ENV_PREFIX: &str = "AUTH_HUB";
/// No single hub serves more connections of one kind.
const CONNECTIONS_MAX: usize = 1 << 16;
/// Longest life of an access token: nothing revokes one, only the account's state is read.
const ACCESS_TOKEN_LIFE_S_MAX: u64 = 3600;
const PASSWORD_THREADS_MAX: usize = 256;

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The HTTP API.
    pub http: HttpListen,
    /// Probes and metrics.
    pub operators: Operators,
    /// Where a running hub is commanded.
    pub admin: AdminListen,
    /// The embedded broker.
    pub mqtt: MqttListen,
    /// The accounts' database.
    pub database: Database,
    /// The fleet key.
    pub keys: Keys,
    /// Which server gets whom.
    pub placement: PlacementSettings,
    /// The login queue.
    pub queue: QueueSection,
    /// What a password check costs.
    pub passwords: PasswordSettings,
    /// How often one may try.
    pub throttle: ThrottleSettings,
    /// What is refused first.
    pub overload: OverloadSettings,
    /// Who may have an account.
    pub accounts: AccountSettings,
    /// Access tokens.
    pub sessions: Sessions,
    /// Logs.
    pub log: Log,
}

/// Why there is no configuration to start with.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ConfigError),
    /// It was read, and cannot work.
    #[error(transparent)]
    Invalid(#[from] InvalidConfig),
}

/// Settings that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// Beyond this machine, without TLS.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// Half a pair of files.
    #[error(
        "{section}.tls_cert_file and {section}.tls_key_file go together, and nothing of TLS works without them"
    )]
    HalfTls {
        /// As the configuration calls it.
        section: &'static str,
    },
    /// Two listeners, one address.
    #[error("http.listen, operators.listen, admin.listen and mqtt.listen must be four addresses")]
    SameAddress,
    /// A number that cannot work.
    #[error("{key} must be {min} to {max}")]
    Range {
        /// The setting.
        key: &'static str,
        /// Least.
        min: u64,
        /// Greatest.
        max: u64,
    },
    /// Some game server could never connect.
    #[error("mqtt.connections_max must be at least mqtt.servers_max")]
    TooFewConnections,
    /// A bound on requests that the one on connections makes moot.
    #[error("http.connections_max must be at least http.requests_max")]
    TooFewHttpConnections,
    /// Registrations would be let in where logins are not.
    #[error("overload.registrations_percent must be at most overload.logins_percent")]
    OverloadOrder,
    /// Servers would flap between two states, or never leave one.
    #[error(
        "placement.load_low_percent must be below load_high_percent, and that at most load_full_percent (101: never)"
    )]
    LoadOrder,
    /// argon2 or our bounds refuse the cost.
    #[error("passwords.memory_kib, passes, lanes: {0}")]
    Cost(#[from] PhcError),
    /// A path that names no file.
    #[error("{0} is empty")]
    NoPath(&'static str),
    /// One file for two things.
    #[error("{0} and {1} are the same file")]
    SamePath(&'static str, &'static str),
    /// The admin API, without TLS where others reach it.
    #[error(
        "admin.listen = \"{addr}\" can be reached from other machines: give it a certificate (admin.tls_cert_file and \
         admin.tls_key_file), or leave it at 127.0.0.1 and come by ssh"
    )]
    AdminExposed {
        /// What it says.
        addr: SocketAddr,
    },
}

impl Config {
    /// Reads and checks. Without a file, [`DEFAULT_FILE`] is read if it exists.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(file: Option<&Path>) -> Result<Self, LoadError> {
        Self::load_from(file, std::env::vars_os())
    }

    /// Like [`Config::load`], with the environment as a parameter.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load_from(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, LoadError> {
        let file = file.map_or(ConfigFile::IfPresent(Path::new(DEFAULT_FILE)), ConfigFile::Named);
        let config: Self = load_from(file, ENV_PREFIX, variables)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks each setting and how they relate.
    ///
    /// # Errors
    /// The first that cannot work.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let Self {
            http,
            operators,
            admin,
            mqtt,
            database,
            keys,
            placement,
            queue,
            passwords,
            throttle,
            overload,
            sessions,
            accounts: _,
            log: _,
        } = self;
        let has_tls = |section, files: Result<Option<_>, TlsError>| {
            files.map(|files| files.is_some()).map_err(|_| InvalidConfig::HalfTls { section })
        };
        require_guard("http", http.listen, has_tls("http", http.tls())? || http.plaintext_to_network)?;
        require_guard("mqtt", mqtt.listen, has_tls("mqtt", mqtt.tls())? || mqtt.plaintext_to_network)?;
        require_guard("operators", operators.listen, operators.plaintext_to_network)?;
        if !has_tls("admin", admin.tls())? && !admin.listen.ip().to_canonical().is_loopback() {
            return Err(InvalidConfig::AdminExposed { addr: admin.listen });
        }
        let mut listens = vec![http.listen, mqtt.listen, operators.listen, admin.listen];
        // A port that is picked is nobody else's.
        listens.retain(|listen| listen.port() != 0);
        let taken = listens.len();
        listens.sort_unstable();
        listens.dedup();
        if listens.len() < taken {
            return Err(InvalidConfig::SameAddress);
        }
        let count = |key, value: usize| range(key, value as u64, 1, CONNECTIONS_MAX as u64);
        count("http.requests_max", http.requests_max)?;
        count("http.connections_max", http.connections_max)?;
        count("mqtt.servers_max", mqtt.servers_max)?;
        count("mqtt.connections_max", mqtt.connections_max)?;
        count("http.connections_per_address_max", http.connections_per_address_max)?;
        count("mqtt.connections_per_address_max", mqtt.connections_per_address_max)?;
        if mqtt.connections_max < mqtt.servers_max {
            return Err(InvalidConfig::TooFewConnections);
        }
        if http.connections_max < http.requests_max {
            return Err(InvalidConfig::TooFewHttpConnections);
        }
        range("placement.near_percent", placement.near_percent.into(), 0, 100)?;
        for (key, value, min, max) in queue.numbers() {
            range(key, value, min, max)?;
        }
        range("placement.latency_band_ms", placement.latency_band_ms.into(), 0, LATENCY_BAND_MS_MAX.into())?;
        range("placement.load_low_percent", placement.load_low_percent.into(), 1, 100)?;
        range(
            "placement.load_full_percent",
            placement.load_full_percent.into(),
            1,
            LOAD_NEVER_PERCENT.into(),
        )?;
        if !placement.load_is_in_order() {
            return Err(InvalidConfig::LoadOrder);
        }
        passwords.cost()?;
        range("passwords.threads", passwords.threads as u64, 0, PASSWORD_THREADS_MAX as u64)?;
        range("passwords.queue_max", passwords.queue_max as u64, 0, CONNECTIONS_MAX as u64)?;
        for (key, value) in throttle.numbers() {
            range(key, value, 1, u64::from(u32::MAX))?;
        }
        overload.validate()?;
        range("sessions.access_token_life_s", sessions.access_token_life_s, 1, ACCESS_TOKEN_LIFE_S_MAX)?;
        let paths = [
            ("database.path", &database.path),
            ("keys.fleet_key_file", &keys.fleet_key_file),
            ("admin.key_file", &admin.key_file),
        ];
        for (at, (key, path)) in paths.into_iter().enumerate() {
            if path.as_os_str().is_empty() {
                return Err(InvalidConfig::NoPath(key));
            }
            if let Some((other, _)) = paths[..at].iter().find(|(_, other)| *other == path) {
                return Err(InvalidConfig::SamePath(other, key));
            }
        }
        Ok(())
    }
}

fn range(key: &'static str, value: u64, min: u64, max: u64) -> Result<(), InvalidConfig> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(InvalidConfig::Range { key, min, max }) }
}
