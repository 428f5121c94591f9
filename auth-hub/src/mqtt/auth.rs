//! Who a connection is, and the seam through which the rest of the hub decides it.
//!
//! Knows no passwords. Invariant: a principal is only ever made from what an [`Authenticator`] returned.

use std::fmt;

use shared_msgs::ids::{HubId, ServerId};

/// Who a connection speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// This hub, on the private listener.
    Hub(HubId),
    /// A game server, on the public listener.
    Server(ServerId),
}

impl Principal {
    /// The one client id this principal may use.
    pub fn client_id(&self) -> String {
        match self {
            Self::Hub(id) => id.to_string(),
            Self::Server(id) => server_client_id(id),
        }
    }

    /// The one MQTT user this principal may give.
    pub fn user(&self) -> &str {
        match self {
            Self::Hub(id) => id.as_str(),
            Self::Server(id) => id.as_str(),
        }
    }

    /// The game server, if it is one.
    pub fn server_id(&self) -> Option<&ServerId> {
        match self {
            Self::Hub(_) => None,
            Self::Server(id) => Some(id),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(id) => write!(f, "hub {id}"),
            Self::Server(id) => write!(f, "server {id}"),
        }
    }
}

/// The client id that a game server must use.
pub(crate) fn server_client_id(id: &ServerId) -> String {
    format!("gs-{id}")
}

/// Why an [`Authenticator`] turned a CONNECT down. The client learns the CONNACK code and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Unknown user or wrong password: CONNACK code 4.
    #[error("unknown user or wrong password")]
    BadCredentials,
    /// Genuine once, no longer welcome (a revoked key, say): CONNACK code 5.
    #[error("not authorized")]
    NotAuthorized,
}

/// Decides who a CONNECT is. Called inside the connection's task: it must be cheap and must not block.
/// Comparing passwords in constant time is its matter.
pub trait Authenticator: Send + Sync + 'static {
    /// The principal behind these credentials. The edge then checks that user, client id and listener are the principal's.
    ///
    /// # Errors
    /// [`Denied`] says which CONNACK code the client gets.
    fn authenticate(&self, client_id: &str, user: &str, password: &[u8]) -> Result<Principal, Denied>;
}
