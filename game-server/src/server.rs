//! The reference server: a TCP game link, an echo world and metrics around a [`GameServer`].
//!
//! Owns what a binary owns: sockets, permits, exit codes. Uses the SDK's public face only, as any game would. Invariants: only loopback
//! is bound; when it is asked to stop, who waits is answered and who plays may finish within the drain's limit.

pub mod check;
mod connection;
mod frame_io;
mod listener;
mod metrics;
#[cfg(any(test, fuzzing))]
pub mod properties;
pub mod settings;
pub mod world;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use shared_msgs::ids::ServerId;
use shared_msgs::process::{ExitReason, Lifecycle, require_loopback};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{CloseReason, Environment, Event, Events, GameServer};
use settings::{Settings, SettingsError};
use world::PlayerHandler;

/// Exit code of a server that a newer process with the same id has superseded: do not restart it.
pub const EXIT_SUPERSEDED: u8 = 3;
/// What a stop may take beyond the drain: closing the link, and the last words to clients.
const STOP_SLACK: Duration = Duration::from_secs(5);

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
    listener: TcpListener,
    metrics: Option<TcpListener>,
    game: GameServer,
    events: Events,
    drain: Duration,
    connections_max: usize,
    handler: Arc<dyn PlayerHandler>,
}

impl ReferenceServer {
    /// Binds, then starts the game server, so that everything that can fail has failed before anybody is served.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub async fn bind(settings: Settings, handler: Arc<dyn PlayerHandler>) -> Result<Self, SettingsError> {
        Self::bind_with(settings, handler, Environment::default()).await
    }

    /// As [`ReferenceServer::bind`], by another clock or with other randomness.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub async fn bind_with(
        settings: Settings,
        handler: Arc<dyn PlayerHandler>,
        environment: Environment,
    ) -> Result<Self, SettingsError> {
        let listener = bind("game.listen", settings.game.listen).await?;
        let metrics = match settings.metrics.listen {
            Some(addr) => Some(bind("metrics.listen", addr).await?),
            None => None,
        };
        let bound = listener.local_addr().map_err(|source| SettingsError::Bind {
            setting: "game.listen",
            addr: settings.game.listen,
            source,
        })?;
        let (drain, connections_max) = (settings.drain(), settings.connections_max());
        let (game, events) = GameServer::start_with(settings.into_config(bound)?, environment)?;
        Ok(Self { listener, metrics, game, events, drain, connections_max, handler })
    }

    /// Where clients connect.
    ///
    /// # Panics
    /// When the operating system has forgotten the socket it bound.
    pub fn addr(&self) -> SocketAddr {
        self.listener
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
        let Self { listener, metrics, game, events, drain, connections_max, handler } = self;
        // Who comes during a drain is told so; the listener stops after it.
        let stop = CancellationToken::new();
        let listener = listener::Listener {
            socket: listener,
            connections_max,
            context: connection::Context { game: game.clone(), handler, stop: stop.clone() },
            tasks: lifecycle.tasks().clone(),
        };
        let soft = lifecycle.soft().clone();
        lifecycle.spawn("listener", listener.run());
        if let Some(metrics) = metrics {
            lifecycle.spawn("metrics", metrics::serve(metrics, game.clone(), stop.clone()));
        }
        let (outcome, outcome_of) = tokio::sync::oneshot::channel();
        lifecycle.spawn("game", async move {
            let reason = play(&game, events, &soft, drain).await;
            // From here on, tasks that end were asked to.
            soft.cancel();
            stop.cancel();
            game.shutdown().await;
            let _ = outcome.send(reason);
        });
        let exit = lifecycle.run_to_end(drain + STOP_SLACK).await;
        match (exit, outcome_of.await) {
            (ExitReason::Clean, Ok(CloseReason::Superseded)) => Outcome::Superseded,
            (ExitReason::Clean, Ok(CloseReason::TaskDied)) => {
                Outcome::Exit(ExitReason::TaskDied("game server"))
            }
            (exit, _) => Outcome::Exit(exit),
        }
    }
}

async fn bind(setting: &'static str, addr: SocketAddr) -> Result<TcpListener, SettingsError> {
    require_loopback(setting, addr)?;
    TcpListener::bind(addr).await.map_err(|source| SettingsError::Bind { setting, addr, source })
}

/// Follows the game server until it is to be shut down.
async fn play(
    game: &GameServer,
    mut events: Events,
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
            // Connections hear of their kicks from their slots; the gate logs the rest.
            Some(
                Event::Kick { .. }
                | Event::Voided { .. }
                | Event::Drain { .. }
                | Event::Link(_)
                | Event::Superseded { .. },
            ) => {}
        }
    }
    let report = game.drain(drain).await;
    tracing::info!(target: "handover", left = report.left, voided = report.voided, "drain.done");
    CloseReason::Shutdown
}

#[cfg(test)]
mod tests;
