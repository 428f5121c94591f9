//! The reference server: a TCP game link, an echo world and metrics around a [`GameServer`].
//!
//! Owns what a binary owns: sockets, permits, exit codes. Uses the SDK's public face only, as any game would. Invariants: nothing
//! but loopback is bound without TLS unasked; when it is asked to stop, who waits is answered and who plays may finish within the drain's limit.

pub mod check;
mod connection;
mod frame_io;
mod metrics;
mod presence;
#[cfg(any(test, fuzzing))]
pub mod properties;
pub mod settings;
pub mod world;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use shared_msgs::ids::ServerId;
use shared_msgs::limits;
use shared_msgs::net::tls::{ClientTls, ServerTls};
use shared_msgs::net::{self, Door, DoorConfig, Listener, require_guard};
use shared_msgs::process::{ExitReason, Lifecycle, descriptors};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{CloseReason, Environment, Event, Events, GameServer};
use settings::{Settings, SettingsError};
use world::PlayerHandler;

/// Exit code of a server that a newer process with the same id has superseded: do not restart it.
pub const EXIT_SUPERSEDED: u8 = 3;
/// What a stop may take beyond the drain: closing the link, and the last words to clients.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// Notices that a connection may have to write yet; of more than that it misses the oldest.
const NOTICES_MAX: usize = 16;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As every binary ends.
    Exit(ExitReason),
    /// See [`EXIT_SUPERSEDED`].
    Superseded,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Exit(reason) => reason.into(),
            Outcome::Superseded => EXIT_SUPERSEDED.into(),
        }
    }
}

/// A reference server with its sockets bound, its game server started, and nobody served yet.
pub struct ReferenceServer {
    listener: Listener,
    metrics: Option<TcpListener>,
    game: GameServer,
    events: Events,
    drain: Duration,
    link_tls: Option<ClientTls>,
    handler: Arc<dyn PlayerHandler>,
}

impl ReferenceServer {
    /// Binds, then starts the game server, so that everything that can fail has failed before anybody is served. To be called on a
    /// runtime.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn bind(settings: Settings, handler: Arc<dyn PlayerHandler>) -> Result<Self, SettingsError> {
        Self::bind_with(settings, handler, Environment::default())
    }

    /// As [`ReferenceServer::bind`], by another clock or with other randomness.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn bind_with(
        settings: Settings,
        handler: Arc<dyn PlayerHandler>,
        environment: Environment,
    ) -> Result<Self, SettingsError> {
        let tls = settings.game_tls()?;
        let guarded = tls.is_some() || settings.game.plaintext_to_network;
        let socket = bind("game", "game.listen", settings.game.listen, guarded)?;
        let metrics = settings
            .metrics
            .listen
            .map(|addr| bind("metrics", "metrics.listen", addr, settings.metrics.plaintext_to_network));
        let metrics = metrics.transpose()?;
        let bound = socket.local_addr().map_err(|source| SettingsError::Bind {
            setting: "game.listen",
            addr: settings.game.listen,
            source,
        })?;
        let wanted = settings.connections_max();
        let [connections_max] = descriptors::share(check::DESCRIPTORS_SPARE, [wanted]);
        let door = Door::new(DoorConfig {
            name: "game",
            connections_max,
            per_address_max: descriptors::part(
                settings.connections_per_address_max(),
                connections_max,
                wanted,
            ),
            exempt: Vec::new(),
            handshake_timeout: limits::HELLO_DEADLINE,
        });
        let drain = settings.drain();
        let config = settings.into_config(bound)?;
        let link_tls = config.tls.clone();
        let (game, events) = GameServer::start_with(config, environment)?;
        Ok(Self { listener: Listener { socket, door, tls }, metrics, game, events, drain, link_tls, handler })
    }

    /// The listener's TLS and the link's, whose files can be read again.
    pub fn tls(&self) -> (Option<Arc<ServerTls>>, Option<ClientTls>) {
        (self.listener.tls.clone(), self.link_tls.clone())
    }

    /// Where clients connect.
    ///
    /// # Panics
    /// When the operating system has forgotten the socket it bound.
    pub fn addr(&self) -> SocketAddr {
        self.listener
            .socket
            .local_addr()
            .unwrap_or_else(|error| unreachable!("a bound socket has an address: {error}"))
    }

    /// Where `/metrics` is, if anywhere.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Which server this is.
    pub fn server_id(&self) -> &ServerId {
        self.game.server_id()
    }

    /// The SDK's handle, for tests.
    pub fn game(&self) -> &GameServer {
        &self.game
    }

    /// Serves until it is stopped, then drains. A drain that the hub orders takes nobody new, and leaves the process to its operator.
    pub async fn run(self, lifecycle: Lifecycle) -> Outcome {
        let Self { listener, metrics, game, events, drain, handler, .. } = self;
        let (notices, _) = broadcast::channel(NOTICES_MAX);
        // Who comes during a drain is told so; the listener stops after it.
        let stop = CancellationToken::new();
        let context = connection::Context {
            game: game.clone(),
            handler,
            notices: notices.clone(),
            stop: stop.clone(),
            tasks: lifecycle.tasks().clone(),
        };
        let soft = lifecycle.soft().clone();
        if let Some(metrics) = metrics {
            let door = (Arc::clone(&listener.door), listener.tls.clone());
            lifecycle.spawn(
                "metrics",
                metrics::serve(metrics::listener(metrics), game.clone(), door, stop.clone()),
            );
        }
        let serve = move |wire, _, visitor| connection::serve(context.clone(), wire, visitor);
        lifecycle.spawn("listener", listener.run(lifecycle.tasks().clone(), stop.clone(), serve));
        let (end, mut ended) = tokio::sync::oneshot::channel();
        lifecycle.spawn("game", async move {
            let reason = play(&game, events, &notices, &soft, drain).await;
            // From here on, tasks that end were asked to.
            soft.cancel();
            stop.cancel();
            game.shutdown().await;
            let _ = end.send(reason);
        });
        let exit = lifecycle.run_to_end(drain + STOP_SLACK).await;
        // Not waited for: after a forced end it may never come.
        outcome_of(exit, ended.try_recv().ok())
    }
}

/// A server that was superseded is so however long its goodbye took: started again, it would fight its successor.
fn outcome_of(exit: ExitReason, ended: Option<CloseReason>) -> Outcome {
    match (exit, ended) {
        (ExitReason::Clean | ExitReason::Forced, Some(CloseReason::Superseded)) => Outcome::Superseded,
        (ExitReason::Clean, Some(CloseReason::TaskDied)) => {
            Outcome::Exit(ExitReason::TaskDied("game server"))
        }
        (exit, _) => Outcome::Exit(exit),
    }
}

fn bind(
    section: &'static str,
    setting: &'static str,
    addr: SocketAddr,
    guarded: bool,
) -> Result<TcpListener, SettingsError> {
    require_guard(section, addr, guarded)?;
    net::bind(addr, None).map_err(|source| SettingsError::Bind { setting, addr, source })
}

/// Follows the game server until it is to be shut down.
async fn play(
    game: &GameServer,
    mut events: Events,
    notices: &broadcast::Sender<Arc<str>>,
    soft: &CancellationToken,
    drain: Duration,
) -> CloseReason {
    loop {
        let event = tokio::select! {
            () = soft.cancelled() => break,
            event = events.recv() => event,
        };
        match event {
            Some(Event::Closed(reason)) => return reason,
            None => return CloseReason::TaskDied,
            // With nobody in game there is nobody to hear it.
            Some(Event::Notice { text }) => drop(notices.send(text.into())),
            // Connections hear of their kicks from their slots; the gate logs the rest.
            Some(
                Event::Kick { .. }
                | Event::Voided { .. }
                | Event::Drain { .. }
                | Event::Undrain
                | Event::Link(_)
                | Event::Superseded { .. },
            ) => {}
        }
    }
    let report = game.retire(drain).await;
    tracing::info!(target: "handover", left = report.left, voided = report.voided, "drain.done");
    CloseReason::Shutdown
}

#[cfg(test)]
mod tests;
