//! Sockets in: accept, find a place, shake hands, hand over.
//!
//! Owns the listening socket, the places and the counters. Knows no protocol. Invariants: an accept that fails ends nothing and never
//! spins; a handshake, or whatever else a stranger takes its time for, never holds up the next accept; a stranger whose place is
//! needed is dropped wherever it stands, and a guest never is.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::select;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, info_span};

use super::Wire;
use super::client_addr::ClientAddr;
use super::places::{Arrival, Bounds, Place, Places};
use super::tls::ServerTls;
use crate::limited;

/// Finished TCP handshakes that the kernel keeps for us.
const BACKLOG: u32 = 1024;
/// Pause after an accept that failed for want of descriptors or memory; doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
/// See [`PAUSE_FIRST`].
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A peer whose machine is gone is noticed within 30 s + 3 × 10 s, though nobody has anything to say.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// How many may come in, and how long they may take.
#[derive(Clone, Debug)]
pub struct DoorConfig {
    /// In logs and metrics.
    pub name: &'static str,
    /// Sockets at one time.
    pub connections_max: usize,
    /// Of those, from one IPv4 address or IPv6 /64.
    pub per_address_max: usize,
    /// For whom that bound does not hold: proxies that speak for many.
    pub exempt: Vec<IpAddr>,
    /// A TLS handshake must be over within this.
    pub handshake_timeout: Duration,
}

/// Why a socket was closed before it was served to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// Its address holds as many places as one may.
    AddressFull,
    /// A stranger whose place a newcomer needed.
    CrowdedOut,
    /// No TLS handshake in time.
    HandshakeTimeout,
    /// A TLS handshake that failed.
    HandshakeFailed,
    /// Did not introduce itself, go on, or read, within its time.
    Silent,
}

impl TurnedAway {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::AddressFull, Self::CrowdedOut, Self::HandshakeTimeout, Self::HandshakeFailed, Self::Silent];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AddressFull => "address-full",
            Self::CrowdedOut => "crowded-out",
            Self::HandshakeTimeout => "handshake-timeout",
            Self::HandshakeFailed => "handshake-failed",
            Self::Silent => "silent",
        }
    }
}

/// A reading of a door. All but the first two only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoorStats {
    /// Connections now that have not introduced themselves.
    pub strangers: u64,
    /// Connections now that have.
    pub guests: u64,
    /// Sockets accepted.
    pub accepted: u64,
    /// By [`TurnedAway`], in the order of its `ALL`.
    pub turned_away: [u64; TurnedAway::ALL.len()],
    /// Times that guests held all places, so that newcomers had to wait.
    pub full: u64,
    /// Accepts that failed, most often for want of descriptors.
    pub accepts_failed: u64,
}

impl DoorStats {
    /// Sockets turned away for this reason.
    pub fn turned_away(&self, why: TurnedAway) -> u64 {
        self.turned_away[why as usize]
    }
}

/// The places of one listener, and what it counts.
#[derive(Debug)]
pub struct Door {
    config: DoorConfig,
    places: Mutex<Places<CancellationToken>>,
    /// A place is free, or a guest became a stranger.
    room: Notify,
    accepted: AtomicU64,
    turned_away: [AtomicU64; TurnedAway::ALL.len()],
    full: AtomicU64,
    accepts_failed: AtomicU64,
}

impl Door {
    /// With nobody in.
    pub fn new(config: DoorConfig) -> Arc<Self> {
        let bounds = Bounds { places_max: config.connections_max, per_address_max: config.per_address_max };
        Arc::new(Self {
            config,
            places: Mutex::new(Places::new(bounds)),
            room: Notify::new(),
            accepted: AtomicU64::default(),
            turned_away: Default::default(),
            full: AtomicU64::default(),
            accepts_failed: AtomicU64::default(),
        })
    }

    /// In logs and metrics.
    pub fn name(&self) -> &'static str {
        self.config.name
    }

    /// As of now.
    pub fn stats(&self) -> DoorStats {
        let (strangers, guests) = self.places().count();
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DoorStats {
            strangers: strangers as u64,
            guests: guests as u64,
            accepted: of(&self.accepted),
            turned_away: std::array::from_fn(|n| of(&self.turned_away[n])),
            full: of(&self.full),
            accepts_failed: of(&self.accepts_failed),
        }
    }

    fn places(&self) -> MutexGuard<'_, Places<CancellationToken>> {
        // Nothing in there can panic half-way through a change.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, why: TurnedAway) {
        self.turned_away[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A place for a newcomer, none when its address has enough. Waits while guests hold all places: meanwhile nobody else is accepted.
    ///
    /// [`Listener::run`] does this for each socket; whoever accepts in another way does it, too.
    pub async fn admit(self: &Arc<Self>, from: IpAddr) -> Option<Visitor> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let told_to_go = CancellationToken::new();
        let exempt = self.config.exempt.contains(&from.to_canonical());
        let address = ClientAddr::from(from);
        let place = loop {
            let kept = told_to_go.clone();
            let arrival = if exempt {
                self.places().arrive_from_proxy(address, kept)
            } else {
                self.places().arrive(address, kept)
            };
            match arrival {
                Arrival::In(place) => break place,
                Arrival::InsteadOf(place, stranger) => {
                    self.count(TurnedAway::CrowdedOut);
                    stranger.cancel();
                    break place;
                }
                Arrival::AddressFull => {
                    self.count(TurnedAway::AddressFull);
                    limited!(info, target: "net", listener = self.config.name, peer = %from, "net.address_full");
                    return None;
                }
                Arrival::Full => {
                    self.full.fetch_add(1, Ordering::Relaxed);
                    limited!(warn, target: "net", listener = self.config.name, "net.full");
                    self.room.notified().await;
                }
            }
        };
        Some(Visitor(Arc::new(Presence { door: Arc::clone(self), place, told_to_go })))
    }
}

/// One connection's place; it is given back with the last clone.
#[derive(Clone, Debug)]
pub struct Visitor(Arc<Presence>);

#[derive(Debug)]
struct Presence {
    door: Arc<Door>,
    place: Place,
    told_to_go: CancellationToken,
}

impl Visitor {
    /// It has said who it is: from now on it goes for nobody. False if it had to go before that.
    #[must_use = "one that had to go is not to be served"]
    pub fn introduced(&self) -> bool {
        self.0.door.places().welcome(self.0.place)
    }

    /// It has nothing to do here for now, and may go for somebody else.
    pub fn idle(&self) {
        self.0.door.places().estrange(self.0.place);
        self.0.door.room.notify_one();
    }

    /// Counts it as turned away.
    pub fn turned_away(&self, why: TurnedAway) {
        self.0.door.count(why);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.door.places().leave(self.place);
        self.door.room.notify_one();
    }
}

/// Opens a listening socket.
///
/// # Errors
/// As the operating system says.
pub fn bind(address: SocketAddr, send_buffer_bytes: Option<u32>) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted process must not wait for the old one's connections to be forgotten.
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = send_buffer_bytes {
        // Accepted sockets inherit it.
        socket.set_send_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A bound socket and its door.
#[derive(Debug)]
pub struct Listener {
    /// Where connections come in.
    pub socket: TcpListener,
    /// Who may.
    pub door: Arc<Door>,
    /// Without it, connections are plain.
    pub tls: Option<Arc<ServerTls>>,
}

impl Listener {
    /// Accepts until `stop`; each connection runs on `tasks`.
    pub async fn run<F>(
        self,
        tasks: TaskTracker,
        stop: CancellationToken,
        serve: impl Fn(Wire, SocketAddr, Visitor) -> F + Clone + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { socket, door, tls } = self;
        let mut pause = PAUSE_FIRST;
        loop {
            let accepted = select! {
                () = stop.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_the_peers_fault(&error) => continue,
                Err(error) => {
                    door.accepts_failed.fetch_add(1, Ordering::Relaxed);
                    limited!(warn, target: "net", listener = door.name(), %error, "net.accept_failed");
                    // Whoever has not said who it is gives its descriptor back first.
                    if let Some(stranger) = door.places().make_room() {
                        door.count(TurnedAway::CrowdedOut);
                        stranger.cancel();
                    }
                    select! {
                        () = stop.cancelled() => return,
                        () = sleep(pause) => {}
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                    continue;
                }
            };
            pause = PAUSE_FIRST;
            let visitor = select! {
                () = stop.cancelled() => return,
                visitor = door.admit(peer.ip()) => visitor,
            };
            let Some(visitor) = visitor else { continue };
            let (serve, tls, timeout) = (serve.clone(), tls.clone(), door.config.handshake_timeout);
            let span = info_span!(target: "net", "peer", listener = door.name(), %peer);
            let told_to_go = visitor.0.told_to_go.clone();
            let stopping = stop.clone();
            let connection = async move {
                let wire = select! {
                    wire = shake_hands(stream, tls.as_deref(), timeout, &visitor) => wire,
                    // Nobody is served any more; who serves decides about the others.
                    () = stopping.cancelled() => None,
                };
                let Some(wire) = wire else { return };
                serve(wire, peer, visitor).await;
            };
            let connection = async move {
                select! {
                    () = told_to_go.cancelled() => {}
                    () = connection => {}
                }
            };
            tasks.spawn(connection.instrument(span));
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    tls: Option<&ServerTls>,
    within: Duration,
    visitor: &Visitor,
) -> Option<Wire> {
    // A socket that refuses either is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE);
    let Some(tls) = tls else { return Some(Either::Left(stream)) };
    let why = match timeout(within, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => return Some(Either::Right(Box::new(stream))),
        Ok(Err(error)) => {
            limited!(info, target: "net", %error, "net.handshake_failed");
            TurnedAway::HandshakeFailed
        }
        Err(_) => TurnedAway::HandshakeTimeout,
    };
    visitor.turned_away(why);
    None
}

/// Errors of the one connection that was about to be accepted; anything else is want of descriptors or memory.
fn is_the_peers_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
