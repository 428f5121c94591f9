//! The face: bind, run, disconnect, count.
//!
//! Invariant: everything that can fail at start-up fails in [`Broker::bind`], before a task runs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shared_msgs::ids::ServerId;
use tokio::net::TcpListener;
use tokio::select;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error, info, info_span};

use super::auth::{Authenticator, server_client_id};
use super::config::{BrokerConfig, ConfigError};
use super::connect::Side;
use super::listener::{self, PRIVATE_CONNECTIONS_MAX};
use super::registry::Registry;
use super::router::{Link, RouterHandle};
use super::session::Edge;
use super::stats::{BrokerStats, Counters};

/// The router client id of the link that only watches the router. No CONNECT can claim it: it fits no principal.
const SENTINEL: &str = "edge.sentinel";

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
}

/// Reaches a broker from elsewhere, whether it runs or not.
#[derive(Clone)]
pub struct BrokerHandle {
    pub(super) edge: Arc<Edge>,
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
        let edge = Arc::new(Edge { config, authenticator, router, registry, counters: Counters::default() });
        info!(target: "mqtt", public = %public_addr, private = %private_addr, "mqtt.listening");
        Ok(Self { edge, public, public_addr, private, private_addr, sentinel })
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
        BrokerHandle { edge: Arc::clone(&self.edge) }
    }

    /// Serves on `tasks` until `soft` is cancelled: then it accepts no more and closes all connections, without wills, for
    /// the hub that would hear them stops too. It cancels `soft` itself should a listener or the router die; then
    /// [`BrokerStats::router_alive`] tells which.
    pub fn run(self, tasks: &TaskTracker, soft: CancellationToken) {
        let Self { edge, public, private, sentinel, .. } = self;
        let sides = [
            (public, Side::Public, edge.config.connections_max, info_span!("mqtt_public")),
            (private, Side::Private, PRIVATE_CONNECTIONS_MAX, info_span!("mqtt_private")),
        ];
        for (listener, side, connections_max, span) in sides {
            let permits = Arc::new(Semaphore::new(connections_max));
            let (edge, connections, stop) = (Arc::clone(&edge), tasks.clone(), soft.clone());
            let accept = async move {
                let _guard = stop.clone().drop_guard();
                listener::accept(edge, listener, side, permits, connections, stop).await;
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
    let listener = listener::bind(address, send_buffer_bytes).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

impl BrokerHandle {
    /// Closes a server's connection: its key was revoked, or it was superseded. Its will is published. False if there was
    /// none to close.
    pub fn disconnect(&self, server_id: &ServerId) -> bool {
        self.edge.registry.evict(&server_client_id(server_id))
    }

    /// The counters, as of now.
    pub fn stats(&self) -> BrokerStats {
        self.edge.counters.read(self.edge.router.links())
    }
}
