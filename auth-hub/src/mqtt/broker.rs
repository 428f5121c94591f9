//! The face: bind, run, disconnect, count.
//!
//! Invariant: everything that can fail at start-up fails in [`Broker::bind`], before a task runs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shared_msgs::ids::ServerId;
use shared_msgs::net::{self, Door, DoorConfig, Listener};
use tokio::net::TcpListener;
use tokio::select;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error, info, info_span};

use super::auth::{Authenticator, server_client_id};
use super::config::{BrokerConfig, ConfigError};
use super::connect::Side;
use super::registry::Registry;
use super::router::{Link, RouterHandle};
use super::session::{self, Edge};
use super::stats::{BrokerStats, Counters};

/// The router client id of the link that only watches the router. No CONNECT can claim it: it fits no principal.
const SENTINEL: &str = "edge.sentinel";
/// Sockets on the private listener, which only processes of this machine reach. The hub itself needs one, or two for a
/// moment; whoever else comes there is a stranger for ever.
pub(crate) const PRIVATE_CONNECTIONS_MAX: usize = 16;

/// Why the broker could not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A setting that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {source}; {}", shared_msgs::process::io_remedy(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The router thread did not come up.
    #[error("the router did not start")]
    Router,
}

/// A bound broker that does not run yet.
pub struct Broker {
    edge: Arc<Edge>,
    public: TcpListener,
    public_addr: SocketAddr,
    private: TcpListener,
    private_addr: SocketAddr,
    sentinel: Link,
    door: Arc<Door>,
}

/// Reaches a broker from elsewhere, whether it runs or not.
#[derive(Clone)]
pub struct BrokerHandle {
    pub(super) edge: Arc<Edge>,
    door: Arc<Door>,
}

impl Broker {
    /// Binds the public listener and, on a port of 127.0.0.1 of its own, the hub's private one; starts the router thread.
    ///
    /// # Errors
    /// Everything that can go wrong at start-up.
    pub async fn bind(
        config: BrokerConfig,
        authenticator: Arc<dyn Authenticator>,
    ) -> Result<Self, BindError> {
        config.validate()?;
        let (public, public_addr) = listen(config.listen, config.send_buffer_bytes)?;
        let (private, private_addr) =
            listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), config.send_buffer_bytes)?;
        let router = RouterHandle::spawn(&config);
        let sentinel = router.open(SENTINEL).await.map_err(|_| BindError::Router)?;
        let registry = Arc::new(Registry::default());
        let door = Door::new(DoorConfig {
            name: "mqtt",
            connections_max: config.connections_max,
            per_address_max: config.per_address_max,
            exempt: Vec::new(),
            handshake_timeout: config.connect_timeout,
        });
        let edge = Arc::new(Edge { config, authenticator, router, registry, counters: Counters::default() });
        info!(target: "mqtt", public = %public_addr, private = %private_addr, "mqtt.listening");
        Ok(Self { edge, public, public_addr, private, private_addr, sentinel, door })
    }

    /// Where game servers connect.
    pub fn public_addr(&self) -> SocketAddr {
        self.public_addr
    }

    /// Where the hub itself connects: on this machine only, and outside the cap on connections.
    pub fn private_addr(&self) -> SocketAddr {
        self.private_addr
    }

    /// A handle that outlives [`Self::run`].
    pub fn handle(&self) -> BrokerHandle {
        BrokerHandle { edge: Arc::clone(&self.edge), door: Arc::clone(&self.door) }
    }

    /// Serves on `tasks` until `soft` is cancelled: then it accepts no more and closes all connections, without wills, for
    /// the hub that would hear them stops too. It cancels `soft` itself should a listener or the router die; then
    /// [`BrokerStats::router_alive`] tells which.
    pub fn run(self, tasks: &TaskTracker, soft: CancellationToken) {
        let Self { edge, public, private, sentinel, door, .. } = self;
        let private_door = Door::new(DoorConfig {
            name: "mqtt-private",
            connections_max: PRIVATE_CONNECTIONS_MAX,
            per_address_max: PRIVATE_CONNECTIONS_MAX,
            exempt: Vec::new(),
            handshake_timeout: edge.config.connect_timeout,
        });
        let tls = edge.config.tls.clone();
        let sides = [
            (Listener { socket: public, door, tls }, Side::Public, info_span!("mqtt_public")),
            (
                Listener { socket: private, door: private_door, tls: None },
                Side::Private,
                info_span!("mqtt_private"),
            ),
        ];
        for (listener, side, span) in sides {
            let (edge, connections, stop) = (Arc::clone(&edge), tasks.clone(), soft.clone());
            let accept = async move {
                let _guard = stop.clone().drop_guard();
                let stopping = stop.clone();
                let serve = move |wire, _, visitor| {
                    session::serve(Arc::clone(&edge), wire, side, visitor, stopping.clone())
                };
                listener.run(connections, stop, serve).await;
            };
            tasks.spawn(accept.instrument(span));
        }
        tasks.spawn(watch_router(edge, sentinel, soft).instrument(info_span!("mqtt_router")));
    }
}

/// Ends, and with it the process, when the router thread does. A router that lives but hangs is for the canary to find.
async fn watch_router(edge: Arc<Edge>, mut sentinel: Link, soft: CancellationToken) {
    let _guard = soft.clone().drop_guard();
    let router_died = async { while sentinel.next().await.is_ok() {} };
    select! {
        () = soft.cancelled() => info!(target: "mqtt", "mqtt.stopped"),
        () = router_died => {
            edge.counters.router_dead.store(true, Ordering::Relaxed);
            error!(target: "mqtt", "mqtt.router_died");
        }
    }
}

fn listen(address: SocketAddr, send_buffer_bytes: u32) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError::Listen { address, source };
    let listener = net::bind(address, Some(send_buffer_bytes)).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

impl BrokerHandle {
    /// Closes a server's connection: its key was revoked, or it was superseded. Its will is published. False if there was
    /// none to close.
    pub fn disconnect(&self, server_id: &ServerId) -> bool {
        self.edge.registry.evict(&server_client_id(server_id))
    }

    /// Closes a server's connection if it was made with a key of a lower generation, and lets none in again that was checked before
    /// the revocation. False if there was none to close.
    pub fn revoke(&self, server_id: &ServerId, lowest_generation: u32) -> bool {
        self.edge.registry.evict_below(&server_client_id(server_id), lowest_generation)
    }

    /// Who holds the public listener's places.
    pub fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// The counters, as of now.
    pub fn stats(&self) -> BrokerStats {
        self.edge.counters.read(self.edge.router.links())
    }
}
