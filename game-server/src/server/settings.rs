//! What the reference server reads from its file and environment.
//!
//! Owns the shape of `config/game-server.toml` and the start-up errors. Knows nothing of sockets' use. Invariant: a key that is not
//! listed here is an error.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use shared_msgs::ids::Realm;
use shared_msgs::keys::{KeyError, ServerKey};
use shared_msgs::limits;
use shared_msgs::link::BrokerAddr;
use shared_msgs::messages::Endpoint;
use shared_msgs::net::Exposed;
use shared_msgs::net::tls::{CertFiles, ClientTls, ClientTlsFiles, ServerTls, ServerTlsFiles, TlsError};
use shared_msgs::process::{self, ConfigFile, LogFormat, Secret};

use crate::{BrokerLogin, Config, StartError};

/// How clients connect, in an endpoint's words.
const TCP: &str = "tcp";
/// As [`TCP`], with TLS around it.
const TLS: &str = "tls";
/// Connections beyond players and as many who come or wait.
const CONNECTIONS_SLACK: usize = 64;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How to reach the hub.
    pub hub: Hub,
    /// What players meet.
    pub game: Game,
    /// What is logged.
    pub log: Log,
    /// Who may watch.
    pub metrics: Metrics,
}

/// How to reach the hub.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hub {
    /// Tried in turn.
    pub brokers: Vec<BrokerAddr>,
    /// As `auth-hub server-key` prints it.
    pub key: Option<Secret>,
    /// A file with the key.
    pub key_file: Option<PathBuf>,
    /// For a broker that is not the hub's own.
    pub mqtt_user: Option<String>,
    /// For a broker that is not the hub's own.
    pub mqtt_password: Option<Secret>,
    /// A file with the password.
    pub mqtt_password_file: Option<PathBuf>,
    /// Whether the brokers speak TLS.
    pub tls: bool,
    /// Authorities to trust; the system's without it.
    pub tls_ca_file: Option<PathBuf>,
    /// Our own certificate, for a broker that asks for one.
    pub tls_cert_file: Option<PathBuf>,
    /// Its private key.
    pub tls_key_file: Option<PathBuf>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            brokers: vec![BrokerAddr { host: "127.0.0.1".into(), port: 1883 }],
            key: None,
            key_file: None,
            mqtt_user: None,
            mqtt_password: None,
            mqtt_password_file: None,
            tls: false,
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
        }
    }
}

/// What players meet.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Game {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The certificate chain of the game link.
    pub tls_cert_file: Option<PathBuf>,
    /// Its private key.
    pub tls_key_file: Option<PathBuf>,
    /// Whether other machines may connect without TLS.
    pub plaintext_to_network: bool,
    /// What clients are told to connect to, `host:port`; the bound address by default.
    pub advertise: Option<String>,
    /// For people; the server id by default.
    pub name: Option<String>,
    /// Whose game database it uses.
    pub realm: Option<Realm>,
    /// May be empty.
    pub region: String,
    /// May be empty.
    pub build: String,
    /// What players can choose it by.
    pub labels: Vec<String>,
    /// One line for players.
    pub message: String,
    /// Slots.
    pub max_players: u32,
    /// Clients that may wait for their grants.
    pub parked_max: Option<u32>,
    /// Open connections.
    pub connections_max: Option<usize>,
    /// Of those, from one address.
    pub connections_per_address_max: Option<usize>,
    /// How long the slot of a player whose connection broke is kept.
    pub reconnect_grace_ms: u64,
    /// How long players may finish when the process is stopped.
    pub drain_ms: u64,
}

impl Default for Game {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls_cert_file: None,
            tls_key_file: None,
            plaintext_to_network: false,
            advertise: None,
            name: None,
            realm: None,
            region: String::new(),
            build: String::new(),
            labels: Vec::new(),
            message: String::new(),
            max_players: 100,
            parked_max: None,
            connections_max: None,
            connections_per_address_max: None,
            reconnect_grace_ms: u64::try_from(limits::RECONNECT_GRACE.as_millis()).unwrap_or(u64::MAX),
            drain_ms: 10_000,
        }
    }
}

/// What is logged, on stderr.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// auto: text on a terminal, JSON elsewhere.
    pub format: LogFormat,
    /// Directives of `tracing_subscriber`'s `EnvFilter`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info".into() }
    }
}

/// Who may watch.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where `GET /metrics` answers; nowhere by default.
    pub listen: Option<SocketAddr>,
    /// Whether other machines may ask; there is no TLS here.
    pub plaintext_to_network: bool,
}

/// Why the reference server did not start.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// File or environment.
    #[error(transparent)]
    Read(#[from] process::ConfigError),
    /// Nobody said which server this is.
    #[error("`hub.key` or `hub.key_file` is needed: what `auth-hub server-key SERVER-ID` prints")]
    NoKey,
    /// Not a server key.
    #[error("`hub.key` (or what is in `hub.key_file`) is no server key: {0}")]
    Key(#[from] KeyError),
    /// One without the other.
    #[error("`hub.mqtt_user` and `hub.mqtt_password` go together")]
    HalfALogin,
    /// Nobody could connect, or not even all players.
    #[error("`game.connections_max` must be at least `game.max_players`")]
    ConnectionsMax,
    /// Beyond this machine, without TLS.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// A certificate or key is of no use.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// Files for a link without TLS.
    #[error(
        "`hub.tls_ca_file`, `hub.tls_cert_file` and `hub.tls_key_file` are of no use without `hub.tls = true`"
    )]
    TlsOff,
    /// No socket.
    #[error("`{setting}` {addr}: {source}; {}", process::io_remedy(source))]
    Bind {
        /// Which key.
        setting: &'static str,
        /// Its value.
        addr: SocketAddr,
        /// As the operating system says.
        source: std::io::Error,
    },
    /// The game server itself.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Settings {
    /// From a file and `GAME_SERVER__SECTION__KEY` variables, which win.
    ///
    /// # Errors
    /// A named key or line.
    pub fn load(file: ConfigFile<'_>) -> Result<Self, SettingsError> {
        Ok(process::load(file, "GAME_SERVER")?)
    }

    /// As [`Settings::load`] of a file that must exist, with the environment as a parameter.
    ///
    /// # Errors
    /// A named key or line.
    pub fn load_from(
        file: &Path,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, SettingsError> {
        Ok(process::load_from(ConfigFile::Named(file), "GAME_SERVER", variables)?)
    }

    /// Its sections as they can be shown, but for what is logged: to see what a changed file would change.
    pub fn shown(&self) -> [(&'static str, String); 3] {
        let Self { hub, game, metrics, log: _ } = self;
        [("hub", format!("{hub:?}")), ("game", format!("{game:?}")), ("metrics", format!("{metrics:?}"))]
    }

    /// How long players may finish.
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.game.drain_ms)
    }

    /// Open connections: players, as many who come or wait, and some.
    pub fn connections_max(&self) -> usize {
        let players = usize::try_from(self.game.max_players).unwrap_or(usize::MAX);
        self.game.connections_max.unwrap_or(players.saturating_mul(2).saturating_add(CONNECTIONS_SLACK))
    }

    /// Connections from one address: a quarter of all, so that nobody alone keeps the rest out; at least 64.
    pub fn connections_per_address_max(&self) -> usize {
        let quarter = (self.connections_max() / 4).max(CONNECTIONS_SLACK);
        self.game.connections_per_address_max.unwrap_or(quarter)
    }

    /// The game link's TLS.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn game_tls(&self) -> Result<Option<Arc<ServerTls>>, SettingsError> {
        let Game { tls_cert_file, tls_key_file, .. } = &self.game;
        let identity = CertFiles::of("game", tls_cert_file.as_deref(), tls_key_file.as_deref())?;
        let files = identity.map(|identity| ServerTlsFiles { identity, client_ca: None });
        Ok(files.map(ServerTls::load).transpose()?.map(Arc::new))
    }

    /// The link's TLS.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn link_tls(&self) -> Result<Option<ClientTls>, SettingsError> {
        let Hub { tls, tls_ca_file, tls_cert_file, tls_key_file, .. } = &self.hub;
        let identity = CertFiles::of("hub", tls_cert_file.as_deref(), tls_key_file.as_deref())?;
        if !tls {
            let idle = identity.is_none() && tls_ca_file.is_none();
            return if idle { Ok(None) } else { Err(SettingsError::TlsOff) };
        }
        Ok(Some(ClientTls::load(ClientTlsFiles { ca: tls_ca_file.clone(), identity })?))
    }

    /// What the SDK needs, once it is known where clients connect.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn into_config(self, bound: SocketAddr) -> Result<Config, SettingsError> {
        if self.connections_max() < usize::try_from(self.game.max_players).unwrap_or(usize::MAX) {
            return Err(SettingsError::ConnectionsMax);
        }
        let (tls, transport) = (self.link_tls()?, if self.game.tls_cert_file.is_some() { TLS } else { TCP });
        let Self { hub, game, .. } = self;
        let key = process::resolve(hub.key, hub.key_file, "hub.key")?.ok_or(SettingsError::NoKey)?;
        let key: ServerKey = key.expose().parse()?;
        let password = process::resolve(hub.mqtt_password, hub.mqtt_password_file, "hub.mqtt_password")?;
        let broker_login = match (hub.mqtt_user, password) {
            (Some(user), Some(password)) => Some(BrokerLogin { user, password }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(SettingsError::HalfALogin),
        };
        let address = game.advertise.unwrap_or_else(|| bound.to_string());
        let endpoints = vec![Endpoint { transport: transport.into(), address }];
        let defaults = Config::new(key, hub.brokers, endpoints);
        Ok(Config {
            name: game.name.unwrap_or_else(|| defaults.name.clone()),
            realm: game.realm.unwrap_or_else(|| defaults.realm.clone()),
            region: game.region,
            build: game.build,
            labels: game.labels,
            message: game.message,
            max_players: game.max_players,
            parked_max: game.parked_max,
            reconnect_grace: Duration::from_millis(game.reconnect_grace_ms),
            broker_login,
            tls,
            ..defaults
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared_msgs::keys::FleetKeys;
    use shared_msgs::process::load_from;
    use shared_msgs::rng::SeededRng;

    fn from_env(variables: &[(&str, &str)]) -> Result<Settings, process::ConfigError> {
        let os = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        load_from(ConfigFile::None, "GAME_SERVER", os)
    }

    fn key_line() -> String {
        FleetKeys::generate(&SeededRng::new(1)).server_key(&"alpha".parse().unwrap(), 1).to_line().to_string()
    }

    fn bound() -> SocketAddr {
        "127.0.0.1:7001".parse().unwrap()
    }

    #[test]
    fn the_environment_reaches_every_section_and_the_bound_address_is_advertised() {
        let key = key_line();
        let settings = from_env(&[
            ("GAME_SERVER__HUB__KEY", &key),
            ("GAME_SERVER__HUB__BROKERS", r#"["hub.example.org:1883"]"#),
            ("GAME_SERVER__GAME__MAX_PLAYERS", "7"),
            ("GAME_SERVER__METRICS__LISTEN", "127.0.0.1:9"),
        ])
        .unwrap();
        assert_eq!(settings.connections_max(), 78);
        let config = settings.into_config(bound()).unwrap();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!((config.server_id().as_str(), config.max_players), ("alpha", 7));
        assert_eq!(config.endpoints[0].address, "127.0.0.1:7001");
        assert_eq!(config.brokers[0].host, "hub.example.org");
    }

    #[test]
    fn the_shipped_file_holds_the_defaults() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/game-server.toml");
        let shipped: Settings =
            load_from(ConfigFile::Named(path.as_ref()), "GAME_SERVER", std::iter::empty()).unwrap();
        assert_eq!(format!("{shipped:?}"), format!("{:?}", Settings::default()));
    }

    #[test]
    fn what_is_missing_or_half_is_named() {
        let error = |variables: &[(&str, &str)]| {
            from_env(variables).unwrap().into_config(bound()).unwrap_err().to_string()
        };
        let key = ("GAME_SERVER__HUB__KEY", &*key_line());
        assert!(error(&[]).contains("hub.key_file"));
        assert!(error(&[("GAME_SERVER__HUB__KEY", "hunter2")]).contains("`hub.key`"));
        assert!(!error(&[("GAME_SERVER__HUB__KEY", "hunter2")]).contains("hunter2"));
        assert!(error(&[key, ("GAME_SERVER__HUB__MQTT_USER", "x")]).contains("go together"));
        assert!(error(&[key, ("GAME_SERVER__GAME__CONNECTIONS_MAX", "99")]).contains("connections_max"));
        assert!(from_env(&[("GAME_SERVER__GAME__MAX_PLAYER", "1")]).is_err());
    }
}
