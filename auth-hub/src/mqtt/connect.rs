//! CONNECT: whom we let in, and what the others are told.
//!
//! Pure but for the [`Authenticator`]. Invariants: nobody is told more than a CONNACK code; a principal comes with the user,
//! the client id and the listener that are its own; what is accepted needs no session state from us.

use std::time::Duration;

use bytes::Bytes;
use rumqttd::protocol::{ConnAck, Connect, ConnectReturnCode, Error, LastWill, Login, Packet, QoS};
use shared_msgs::keys::ServerKey;
use shared_msgs::limits::PAYLOAD_BYTES_MAX;
use shared_msgs::link::PROBE_SUFFIX;
use shared_msgs::topics::Topic;

use super::acl;
use super::auth::{Authenticator, Denied, Principal};

/// Which of the two listeners a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Game servers only.
    Public,
    /// This hub only.
    Private,
}

/// What is published when a connection ends without DISCONNECT. Owns its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
}

/// A CONNECT that may go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) principal: Principal,
    pub(crate) client_id: String,
    /// Of the key it has shown; 0 where keys have none.
    pub(crate) generation: u32,
    /// What the client promised; it is held to 1.5 times that.
    pub(crate) keepalive: Duration,
    pub(crate) will: Option<Will>,
}

/// Why a socket got no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No whole CONNECT in time.
    Timeout,
    /// Closed before its CONNECT.
    Lost,
    /// Not a CONNECT.
    Malformed,
    /// An MQTT version other than 3.1.1.
    Version,
    /// See [`Denied::BadCredentials`].
    BadCredentials,
    /// See [`Denied::NotAuthorized`].
    NotAuthorized,
    /// Not on this listener.
    WrongListener,
    /// Not the client id of this user, or not its user.
    ClientId,
    /// Its own id with [`PROBE_SUFFIX`]: it only asked whether its credentials are good.
    Probe,
    /// Wants a session that outlives the connection.
    PersistentSession,
    /// None, or too long a one.
    Keepalive,
    /// One that this principal may not leave.
    Will,
    /// Its place went to a newcomer just before it said who it is.
    CrowdedOut,
    /// A newer connection of the same client came first.
    TakenOver,
    /// The broker stops.
    Stopping,
    /// The router did not take it.
    RouterGone,
}

impl Refused {
    /// The name in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "connect-timeout",
            Self::Lost => "lost",
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::BadCredentials => "bad-credentials",
            Self::NotAuthorized => "not-authorized",
            Self::WrongListener => "wrong-listener",
            Self::ClientId => "client-id",
            Self::Probe => "probe",
            Self::PersistentSession => "persistent-session",
            Self::Keepalive => "keepalive",
            Self::Will => "will",
            Self::CrowdedOut => "crowded-out",
            Self::TakenOver => "taken-over",
            Self::Stopping => "stopping",
            Self::RouterGone => "router-gone",
        }
    }

    /// What the client is told, if anything.
    pub(crate) fn answer(self) -> Option<Packet> {
        let code = match self {
            Self::Timeout | Self::Lost | Self::Malformed | Self::CrowdedOut | Self::TakenOver => return None,
            Self::Version => ConnectReturnCode::RefusedProtocolVersion,
            Self::ClientId | Self::Probe => ConnectReturnCode::ClientIdentifierNotValid,
            Self::Stopping | Self::RouterGone => ConnectReturnCode::ServiceUnavailable,
            Self::BadCredentials => ConnectReturnCode::BadUserNamePassword,
            Self::NotAuthorized
            | Self::WrongListener
            | Self::PersistentSession
            | Self::Keepalive
            | Self::Will => ConnectReturnCode::NotAuthorized,
        };
        Some(connack(code))
    }
}

/// The CONNACK of a connection that is let in.
pub(crate) fn welcome() -> Packet {
    connack(ConnectReturnCode::Success)
}

fn connack(code: ConnectReturnCode) -> Packet {
    Packet::ConnAck(ConnAck { session_present: false, code }, None)
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::BadCredentials => Self::BadCredentials,
            Denied::NotAuthorized => Self::NotAuthorized,
        }
    }
}

/// Why bytes in place of a CONNECT could not be read.
pub(crate) fn unreadable(error: Error) -> Refused {
    if matches!(error, Error::InvalidProtocolLevel(_)) { Refused::Version } else { Refused::Malformed }
}

/// Decides on a connection's first packet.
pub(crate) fn admit(
    packet: Packet,
    side: Side,
    keepalive_max: Duration,
    authenticator: &dyn Authenticator,
) -> Result<Admitted, Refused> {
    let Packet::Connect(connect, _, will, _, login) = packet else { return Err(Refused::Malformed) };
    let Connect { keep_alive, client_id, clean_session } = connect;
    let Some(Login { username, password }) = login else { return Err(Refused::BadCredentials) };
    let principal = authenticator.authenticate(&client_id, &username, password.as_bytes())?;
    match (side, &principal) {
        (Side::Public, Principal::Server(_)) | (Side::Private, Principal::Hub(_)) => {}
        (Side::Public, Principal::Hub(_)) | (Side::Private, Principal::Server(_)) => {
            return Err(Refused::WrongListener);
        }
    }
    if client_id != principal.client_id() || username != principal.user() {
        let is_probe = client_id.strip_suffix(PROBE_SUFFIX) == Some(&principal.client_id());
        return Err(if is_probe { Refused::Probe } else { Refused::ClientId });
    }
    if !clean_session {
        return Err(Refused::PersistentSession);
    }
    let keepalive = Duration::from_secs(keep_alive.into());
    if keepalive.is_zero() || keepalive > keepalive_max {
        return Err(Refused::Keepalive);
    }
    let will = will.map(|will| own_will(&principal, &will)).transpose()?;
    let generation = ServerKey::name_in_password(&password).map_or(0, |name| name.generation);
    Ok(Admitted { principal, client_id, generation, keepalive, will })
}

fn own_will(principal: &Principal, will: &LastWill) -> Result<Will, Refused> {
    let topic = std::str::from_utf8(&will.topic).ok().and_then(|topic| topic.parse::<Topic>().ok());
    let may = topic.is_some_and(|topic| acl::may_leave_will(principal, &topic))
        && will.qos != QoS::ExactlyOnce
        && !will.retain
        && (1..=PAYLOAD_BYTES_MAX).contains(&will.message.len());
    may.then(|| Will {
        topic: Bytes::copy_from_slice(&will.topic),
        payload: Bytes::copy_from_slice(&will.message),
    })
    .ok_or(Refused::Will)
}
