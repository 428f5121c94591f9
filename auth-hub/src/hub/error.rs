//! Why a hub does not start, each with the setting or file that it is about.

use std::net::SocketAddr;

use shared_msgs::link::LinkConfigError;
use shared_msgs::net::tls::TlsError;
use shared_msgs::process::io_remedy;

use crate::accounts::StoreError;
use crate::accounts::passwords::PoolStartError;
use crate::accounts::store::OpenError;
use crate::config::InvalidConfig;
use crate::keyfile::KeyFileError;
use crate::mqtt;
use crate::sole::SoleError;

/// Why a hub did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings contradict each other.
    #[error("configuration: {0}")]
    Config(#[from] InvalidConfig),
    /// The fleet key could not be read or made.
    #[error("fleet key: {0}")]
    FleetKey(#[from] KeyFileError),
    /// The admin key could not be read or made.
    #[error("admin key: {0}")]
    AdminKey(#[source] KeyFileError),
    /// The accounts' database could not be opened.
    #[error("database.path {0}")]
    Database(#[from] OpenError),
    /// Another hub has the database.
    #[error("database.path: {0}")]
    Sole(#[from] SoleError),
    /// The accounts' database does not answer.
    #[error("database: {0}")]
    Store(#[from] StoreError),
    /// Fences already issued are so far ahead that every game server would refuse the next ones.
    #[error(
        "this machine's clock is {behind_s} s behind the one the hub ran by before: set it right, or wait until it has caught up"
    )]
    ClockBehind {
        /// How far.
        behind_s: u64,
    },
    /// The password threads did not start.
    #[error("password pool: {0}")]
    Passwords(#[from] PoolStartError),
    /// The embedded broker did not start.
    #[error("mqtt.listen: {0}")]
    Broker(#[from] mqtt::BindError),
    /// A certificate or key is of no use.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// An address that cannot be listened on.
    #[error("{section}.listen {address}: {source}; {}", io_remedy(source))]
    Listen {
        /// As the configuration calls it.
        section: &'static str,
        /// As set.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The hub's own link did not start.
    #[error("link: {0}")]
    Link(#[from] LinkConfigError),
}
