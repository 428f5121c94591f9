//! Where strangers come in: one listener for all edges, and TLS for both ends of a connection.
//!
//! Knows no protocol: HTTP, MQTT and the game link each bring what serves a connection, and say when a stranger has introduced itself.
//! Invariants: no more sockets are open than there are places, in all and for each address; while a stranger holds one, a newcomer
//! can have it; nothing that a peer does or leaves undone keeps the next one from being accepted.
//!
//! Log events: `net.accept_failed`, `net.full`, `net.handshake_failed` (target `net`).

pub mod client_addr;
mod exposure;
mod listener;
#[cfg(feature = "meters")]
pub mod meters;
mod places;
pub mod tls;

use tokio::net::TcpStream;
use tokio_util::either::Either;

pub use exposure::{Exposed, require_guard};
pub use listener::{Door, DoorConfig, DoorStats, Listener, TurnedAway, Visitor, bind};

/// An accepted connection, with TLS or without.
pub type Wire = Either<TcpStream, Box<tokio_rustls::server::TlsStream<TcpStream>>>;
