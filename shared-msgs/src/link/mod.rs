//! The one MQTT link of hub and game server.
//!
//! Owns the connection: which broker, when to try again, what is subscribed, what waits to be sent and how it is batched. Knows no
//! message and holds no key: its [`Session`] seals. Invariants: nothing of one connection is ever sent on the next; [`LinkEvent::Up`]
//! is said only when every subscription was granted; everything is bounded, and what does not fit is refused to its sender.

mod addr;
mod driver;
pub mod outbox;
mod probe;
pub mod resync;
mod sender;
mod tunnel;
mod vendor;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use zeroize::Zeroizing;

pub use addr::{BrokerAddr, BrokerAddrError};
pub use probe::{PROBE_SUFFIX, probe};
pub use sender::{LinkSender, SendError};

use crate::clock::{Clock, UnixMs};
use crate::envelope::SealError;
use crate::ids::StreamId;
use crate::keys::Purpose;
use crate::net::tls::ClientTls;
use crate::rng::Rng;
use crate::topics::Topic;

/// Shortest keep-alive that MQTT can express.
pub const KEEP_ALIVE_MIN: Duration = Duration::from_secs(1);
/// Longest keep-alive that MQTT can express.
pub const KEEP_ALIVE_MAX: Duration = Duration::from_secs(u16::MAX as u64);

/// Bytes that may wait unsent, unless the configuration says otherwise.
pub const OUTBOX_BYTES_MAX: usize = 8 << 20;

/// How to reach the brokers, and how much may wait for them.
#[derive(Clone)]
pub struct LinkConfig {
    /// Tried in turn. Not empty.
    pub brokers: Vec<BrokerAddr>,
    /// The same on every attempt: a broker hands the session over to the newer connection.
    pub client_id: String,
    /// MQTT user.
    pub user: String,
    /// MQTT password.
    pub password: Zeroizing<String>,
    /// With it the link speaks TLS, and each broker's certificate must be for the host as it stands in `brokers`.
    pub tls: Option<ClientTls>,
    /// Whole seconds, at least [`KEEP_ALIVE_MIN`]; a broker silent for twice this long is given up.
    pub keep_alive: Duration,
    /// Resolving, TCP, TLS and CONNACK together; likewise the wait for SUBACK. Whole seconds, at least one.
    pub connect_timeout: Duration,
    /// Messages that may wait unsent; one more is [`SendError::Full`].
    pub outbox_messages_max: usize,
    /// Bytes that may wait unsent.
    pub outbox_bytes_max: usize,
    /// Events that may wait for a slow owner; then the link stops reading its socket.
    pub events_max: usize,
}

impl LinkConfig {
    /// The defaults for everything but who and where.
    pub fn new(
        brokers: Vec<BrokerAddr>,
        client_id: String,
        user: String,
        password: Zeroizing<String>,
    ) -> Self {
        Self {
            brokers,
            client_id,
            user,
            password,
            tls: None,
            keep_alive: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            outbox_messages_max: 8192,
            outbox_bytes_max: OUTBOX_BYTES_MAX,
            events_max: 256,
        }
    }

    fn check(&self) -> Result<(), LinkConfigError> {
        let whole = |d: Duration| d.subsec_nanos() == 0;
        if self.brokers.is_empty() {
            Err(LinkConfigError::NoBroker)
        } else if self.client_id.is_empty() {
            Err(LinkConfigError::NoClientId)
        } else if !whole(self.keep_alive) || !(KEEP_ALIVE_MIN..=KEEP_ALIVE_MAX).contains(&self.keep_alive) {
            Err(LinkConfigError::KeepAlive)
        } else if !whole(self.connect_timeout) || self.connect_timeout.is_zero() {
            Err(LinkConfigError::ConnectTimeout)
        } else if self.outbox_messages_max == 0 || self.outbox_bytes_max == 0 || self.events_max == 0 {
            Err(LinkConfigError::NoRoom)
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for LinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkConfig")
            .field("brokers", &self.brokers)
            .field("client_id", &self.client_id)
            .field("user", &self.user)
            .field("password", &"redacted")
            .field("tls", &self.tls.as_ref().map(ClientTls::files))
            .field("keep_alive", &self.keep_alive)
            .field("connect_timeout", &self.connect_timeout)
            .field("outbox_messages_max", &self.outbox_messages_max)
            .field("outbox_bytes_max", &self.outbox_bytes_max)
            .field("events_max", &self.events_max)
            .finish()
    }
}

/// A configuration no link can run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkConfigError {
    /// An empty list.
    #[error("the link needs at least one broker address")]
    NoBroker,
    /// An empty id.
    #[error("the link needs an MQTT client id")]
    NoClientId,
    /// Not whole seconds, or outside what MQTT can express.
    #[error("the MQTT keep-alive must be whole seconds, 1 to 65535")]
    KeepAlive,
    /// Not whole seconds, or none.
    #[error("the broker connect timeout must be whole seconds, at least 1")]
    ConnectTimeout,
    /// A bound of zero.
    #[error("the link's outbox and event bounds must be above zero")]
    NoRoom,
}

/// Which topic a message goes to and which key seals it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// Where to.
    pub topic: Topic,
    /// Which of the stream's keys.
    pub purpose: Purpose,
}

/// What a connection begins with.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// Topic filters; none is allowed.
    pub subscriptions: Vec<String>,
    /// Left with the broker: where to, and the sealed payload (purpose Will).
    pub will: Option<(Topic, Vec<u8>)>,
}

/// Why a session did not seal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The sealer refused.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The owner holds no key for this lane.
    #[error("no key to seal for {0}")]
    NoKey(Topic),
}

/// What the link asks of its owner. Lives in the link's task, so it must not block.
pub trait Session: Send + 'static {
    /// A connection is about to be tried with this fresh stream: forget the sealers of the last one.
    fn begin(&mut self, stream: StreamId, now: UnixMs) -> Opening;

    /// Seals a batch for a lane with the current stream's sealer. Only called after CONNACK.
    ///
    /// # Errors
    /// The connection is then dropped and tried again with a fresh stream.
    fn seal(&mut self, lane: &Lane, batch: &[u8], now: UnixMs) -> Result<Vec<u8>, SessionError>;
}

/// Why there is no connection. Never tells a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No TCP connection, or no such host.
    #[error("broker unreachable: {0}")]
    Unreachable(String),
    /// No handshake: most often a certificate that is not trusted, not for this host, or not shown.
    #[error("TLS with the broker failed: {0}")]
    Tls(String),
    /// No CONNACK, SUBACK or room in the socket within the connect timeout.
    #[error("the broker did not answer in time")]
    Timeout,
    /// CONNACK 4 or 5.
    #[error("the broker refused our user or password")]
    BadCredentials,
    /// Any other CONNACK refusal.
    #[error("the broker refused the connection: {0}")]
    Refused(&'static str),
    /// This topic filter was not granted.
    #[error("the broker refused the subscription to {0}")]
    SubscriptionRefused(String),
    /// The connection ended.
    #[error("connection lost: {0}")]
    Lost(String),
    /// Nothing was heard for twice the keep-alive.
    #[error("the broker fell silent")]
    Silent,
    /// Publishes went unacknowledged for twice the keep-alive, though the broker still talks.
    #[error("the broker stopped acknowledging")]
    Unacknowledged,
    /// It does not speak MQTT 3.1.1 as we know it.
    #[error("the broker broke the protocol: {0}")]
    Protocol(String),
    /// Our own session could not seal.
    #[error("sealing failed: {0}")]
    Session(#[from] SessionError),
}

/// What the link tells its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// Connected and subscribed: re-sync now.
    Up {
        /// This connection's stream.
        stream: StreamId,
        /// Where.
        broker: BrokerAddr,
    },
    /// An attempt failed or a connection ended; all that waited is discarded.
    Down {
        /// Why.
        error: LinkError,
        /// When the next attempt starts.
        retry_in: Duration,
    },
    /// Something arrived; a broker may send before it has granted the last subscription, so also just before `Up`. What comes on
    /// topics that are not ours is skipped.
    Message {
        /// Where it was published.
        topic: Topic,
        /// Still sealed.
        payload: Bytes,
    },
}

/// Starts the link on `tasks`. It runs until `stop`, then sends what waits (for a second at most), says DISCONNECT and closes the
/// event channel. It also ends when the receiver is dropped. An event channel that closes unasked means that the task died.
///
/// # Errors
/// [`LinkConfigError`]; nothing was started then.
pub fn spawn(
    config: LinkConfig,
    session: impl Session,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<(LinkSender, mpsc::Receiver<LinkEvent>), LinkConfigError> {
    config.check()?;
    let sender = LinkSender::new(&config, Arc::clone(&clock));
    let (events, receiver) = mpsc::channel(config.events_max);
    let driver = driver::Driver::new(config, session, clock, rng, sender.clone(), events, stop);
    tasks.spawn(driver.run().instrument(tracing::info_span!(target: "link", "link")));
    Ok((sender, receiver))
}

#[cfg(test)]
mod tests;
