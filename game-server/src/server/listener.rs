//! Accepts clients.
//!
//! Owns the listening socket and the permits. Knows no protocol. Invariants: a permit is taken before a connection is, and given back
//! when it is over, parked time included; running out of file descriptors slows accepting down and ends nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::connection::{Connection, Context};

/// Pause after a failed accept; doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
/// See [`PAUSE_FIRST`].
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) connections_max: usize,
    pub(super) context: Context,
    pub(super) tasks: TaskTracker,
}

impl Listener {
    /// Accepts until it is stopped.
    pub(super) async fn run(self) {
        let Self { socket, connections_max, context, tasks } = self;
        let permits = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        let stop = context.stop.clone();
        let mut pause = PAUSE_FIRST;
        loop {
            let accepted = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                (permit, socket.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                () = stop.cancelled() => return,
                accepted = accepted => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(target: "handover", %error, "accept.failed");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                    continue;
                }
            };
            pause = PAUSE_FIRST;
            // Small frames do not wait for each other; a socket that refuses is about to fail anyway.
            let _ = stream.set_nodelay(true);
            let connection = Connection::new(context.clone(), stream);
            let serve = async move {
                if let Err(gone) = connection.run().await {
                    tracing::debug!(target: "handover", %gone, "connection.closed");
                }
                drop(permit);
            };
            tasks.spawn(serve.instrument(tracing::info_span!(target: "handover", "client", %peer)));
        }
    }
}
