//! What an embedding game says to start a [`GameServer`](crate::GameServer).
//!
//! Owns the checks: all of them are done before anything starts. Knows no files; the reference server's settings are in
//! `server::settings`.

use std::net::IpAddr;
use std::time::Duration;

use shared_msgs::ids::{Realm, ServerId};
use shared_msgs::keys::ServerKey;
use shared_msgs::link::BrokerAddr;
use shared_msgs::messages::{Endpoint, Profile, ServerState};
use shared_msgs::net::tls::ClientTls;
use shared_msgs::process::Secret;
use shared_msgs::{limits, text};

use crate::gate::Timing;

/// User and password for a broker that is not the hub's own.
#[derive(Clone, Debug)]
pub struct BrokerLogin {
    /// MQTT user.
    pub user: String,
    /// MQTT password.
    pub password: Secret,
}

/// Everything a game server needs to know. [`Config::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// As `auth-hub server-key` printed it; also says which server this is.
    pub key: ServerKey,
    /// Tried in turn.
    pub brokers: Vec<BrokerAddr>,
    /// For brokers other than the hub's own, which takes the server id and a password derived from the key.
    pub broker_login: Option<BrokerLogin>,
    /// With it the link speaks TLS; each broker's certificate must be for its host as it stands in `brokers`.
    pub tls: Option<ClientTls>,
    /// What players see; the server id by default.
    pub name: String,
    /// Whose game database it uses.
    pub realm: Realm,
    /// Where it stands; may be empty.
    pub region: String,
    /// Which build it runs; may be empty.
    pub build: String,
    /// Where clients connect, the preferred one first.
    pub endpoints: Vec<Endpoint>,
    /// Slots.
    pub max_players: u32,
    /// What players can choose it by, like `pvp` or `mode=ranked`; each as [`text::is_label`] wants it.
    pub labels: Vec<String>,
    /// One line for players, of the moment; may be empty. [`GameServer::set_message`](crate::GameServer::set_message) changes it.
    pub message: String,
    /// Clients that may wait for their grants; as many as slots by default, and never fewer than [`limits::PARKED_MIN`].
    pub parked_max: Option<u32>,
    /// Whether it takes players from the start.
    pub state: ServerState,
    /// How long the slot of a player whose connection broke is kept, up to [`limits::RECONNECT_GRACE_MAX`]; zero: nobody comes back. Only
    /// where the game says so, by [`PlayerSlot::lose`](crate::PlayerSlot::lose): a slot that is dropped is free at once all the same.
    pub reconnect_grace: Duration,
    /// Shortened by tests only.
    pub timing: Timing,
}

/// A configuration no game server can run with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No broker, so no hub.
    #[error("at least one broker address is needed")]
    NoBroker,
    /// Too long a text.
    #[error("{0} is longer than {max} bytes", max = limits::DISPLAY_NAME_BYTES_MAX)]
    TooLong(&'static str),
    /// More labels than hub and clients read.
    #[error("labels are at most {max}", max = limits::LABELS_MAX)]
    TooManyLabels,
    /// A label that nobody could ask for.
    #[error(
        "the label {0:?} is none: start with a letter a-z or a digit, then at most {more} of these or - = .",
        more = limits::LABEL_BYTES_MAX - 1
    )]
    Label(String),
    /// Nothing to tell clients, or too much.
    #[error("1 to {max} endpoints are needed", max = limits::ENDPOINTS_MAX)]
    Endpoints,
    /// No client could connect there.
    #[error("clients cannot connect to the endpoint {0}: give a host and port that they can reach")]
    Unreachable(String),
    /// Nobody could play, or the hub could not keep the roster.
    #[error("max_players must be 1 to {max}", max = limits::PLAYERS_PER_SERVER_MAX)]
    MaxPlayers,
    /// Below what early clients need.
    #[error("parked_max must be at least {min}", min = limits::PARKED_MIN)]
    ParkedMax,
    /// Too many slots would be nobody's.
    #[error("the time to reconnect must be at most {} ms", limits::RECONNECT_GRACE_MAX.as_millis())]
    ReconnectGrace,
    /// Longer than the hub's lease allows, or nothing at all.
    #[error("timing may be shortened, not prolonged, and not to zero")]
    Timing,
}

impl Config {
    /// The defaults for everything but which server, which hub, and where clients connect.
    pub fn new(key: ServerKey, brokers: Vec<BrokerAddr>, endpoints: Vec<Endpoint>) -> Self {
        Self {
            name: key.server().to_string(),
            key,
            brokers,
            broker_login: None,
            tls: None,
            realm: default_realm(),
            region: String::new(),
            build: String::new(),
            endpoints,
            max_players: 100,
            labels: Vec::new(),
            message: String::new(),
            parked_max: None,
            state: ServerState::Online,
            reconnect_grace: limits::RECONNECT_GRACE,
            timing: Timing::default(),
        }
    }

    /// Which server this is.
    pub fn server_id(&self) -> &ServerId {
        self.key.server()
    }

    /// Checks everything that can be checked without starting.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.brokers.is_empty() {
            return Err(ConfigError::NoBroker);
        }
        for (setting, text) in [("name", &self.name), ("region", &self.region), ("build", &self.build)] {
            if text.len() > limits::DISPLAY_NAME_BYTES_MAX {
                return Err(ConfigError::TooLong(setting));
            }
        }
        if self.labels.len() > limits::LABELS_MAX {
            return Err(ConfigError::TooManyLabels);
        }
        if let Some(label) = self.labels.iter().find(|label| !text::is_label(label)) {
            return Err(ConfigError::Label(label.clone()));
        }
        if !(1..=limits::ENDPOINTS_MAX).contains(&self.endpoints.len()) {
            return Err(ConfigError::Endpoints);
        }
        self.endpoints.iter().try_for_each(check_endpoint)?;
        if !(1..=limits::PLAYERS_PER_SERVER_MAX).contains(&self.max_players) {
            return Err(ConfigError::MaxPlayers);
        }
        if self.parked_max.is_some_and(|parked| parked < limits::PARKED_MIN) {
            return Err(ConfigError::ParkedMax);
        }
        if self.reconnect_grace > limits::RECONNECT_GRACE_MAX {
            return Err(ConfigError::ReconnectGrace);
        }
        let Timing { status_beat, park_time, save_time } = self.timing;
        let at_most = |d: Duration, max: Duration| !d.is_zero() && d <= max;
        let is_short = at_most(status_beat, limits::STATUS_BEAT)
            && at_most(park_time, limits::PARK_TIME)
            && at_most(save_time, limits::SAVE_TIME);
        if is_short { Ok(()) } else { Err(ConfigError::Timing) }
    }

    /// How many clients may wait.
    pub fn parked_max(&self) -> u32 {
        self.parked_max.unwrap_or(self.max_players).max(limits::PARKED_MIN)
    }

    pub(crate) fn profile(&self) -> Profile {
        Profile {
            name: self.name.clone(),
            realm: self.realm.clone(),
            region: self.region.clone(),
            build: self.build.clone(),
            msg_version_max: limits::MSG_VERSION,
            endpoints: self.endpoints.clone(),
            labels: self.labels.clone(),
        }
    }

    /// Its message, as players are shown it.
    pub(crate) fn message_line(&self) -> String {
        message_line(&self.message)
    }
}

/// What of a message players are shown: one line within its bound.
pub(crate) fn message_line(message: &str) -> String {
    text::one_line(message, limits::STATUS_MESSAGE_BYTES_MAX)
}

fn default_realm() -> Realm {
    "main".parse().unwrap_or_else(|_| unreachable!("a valid realm"))
}

/// Refuses addresses that mean "any of mine" or that nobody has filled in.
fn check_endpoint(endpoint: &Endpoint) -> Result<(), ConfigError> {
    let Endpoint { transport, address } = endpoint;
    let unreachable = || Err(ConfigError::Unreachable(address.clone()));
    if transport.len() > limits::DISPLAY_NAME_BYTES_MAX || address.len() > limits::ADDRESS_BYTES_MAX {
        return Err(ConfigError::TooLong("endpoint"));
    }
    let Some((host, port)) = address.rsplit_once(':') else { return unreachable() };
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let is_any = host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_unspecified());
    let has_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    if host.is_empty() || is_any || !has_port { unreachable() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared_msgs::keys::FleetKeys;
    use shared_msgs::rng::SeededRng;

    fn config(address: &str) -> Config {
        let key = FleetKeys::generate(&SeededRng::new(1)).server_key(&"alpha".parse().unwrap(), 1);
        let endpoint = Endpoint { transport: "tcp".into(), address: address.into() };
        Config::new(key, vec!["127.0.0.1:1883".parse().unwrap()], vec![endpoint])
    }

    #[test]
    fn the_defaults_are_valid_and_named_after_the_key() {
        let config = config("play.example.org:7000");
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(
            (config.server_id().as_str(), config.name.as_str(), config.parked_max()),
            ("alpha", "alpha", 100)
        );
    }

    #[test]
    fn endpoints_that_no_client_can_reach_are_refused() {
        for bad in ["0.0.0.0:7000", "[::]:7000", "[::ffff:0.0.0.0]:7000", "a:0", "a", ":7000", "a:x", ""] {
            assert_eq!(config(bad).validate(), Err(ConfigError::Unreachable(bad.into())), "{bad}");
        }
        for good in ["127.0.0.1:1", "[::1]:7000", "play.example.org:65535"] {
            assert_eq!(config(good).validate(), Ok(()), "{good}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut config = config("a:1");
        let password = Secret::new("hunter2".to_owned());
        config.broker_login = Some(BrokerLogin { user: "alpha".to_owned(), password });
        let line = config.key.to_line();
        let key = line.rsplit('.').next().unwrap();
        let hello = crate::slot::Hello { token: "hunter2".to_owned(), ..Default::default() };
        let shown = format!("{config:?} {hello:?}");
        assert!(!shown.contains("hunter2") && !shown.contains(key), "{shown}");
    }

    #[test]
    fn every_bound_has_a_named_error() {
        let refused = |change: fn(&mut Config)| {
            let mut config = config("a:1");
            change(&mut config);
            config.validate().unwrap_err()
        };
        assert_eq!(refused(|c| c.brokers.clear()), ConfigError::NoBroker);
        assert_eq!(refused(|c| c.region = "x".repeat(65)), ConfigError::TooLong("region"));
        assert_eq!(refused(|c| c.labels = vec!["x".into(); 17]), ConfigError::TooManyLabels);
        assert_eq!(refused(|c| c.labels = vec!["PvP".into()]), ConfigError::Label("PvP".into()));
        assert_eq!(refused(|c| c.endpoints.clear()), ConfigError::Endpoints);
        assert_eq!(refused(|c| c.max_players = 0), ConfigError::MaxPlayers);
        assert_eq!(refused(|c| c.max_players = 20_001), ConfigError::MaxPlayers);
        assert_eq!(refused(|c| c.parked_max = Some(63)), ConfigError::ParkedMax);
        let over =
            |c: &mut Config| c.reconnect_grace = limits::RECONNECT_GRACE_MAX + Duration::from_millis(1);
        assert_eq!(refused(over), ConfigError::ReconnectGrace);
        assert_eq!(refused(|c| c.timing.save_time = Duration::from_secs(5)), ConfigError::Timing);
        assert_eq!(refused(|c| c.timing.status_beat = Duration::ZERO), ConfigError::Timing);
    }
}
