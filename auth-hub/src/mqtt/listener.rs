//! Sockets in: permit, accept, hand over.
//!
//! Invariant: no more sockets are open than there are permits; an accept that fails never ends the loop, and never spins.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, info_span, warn};

use super::connect::Side;
use super::session::{self, Edge};
use super::stats::count;

/// Sockets on the private listener, which only processes of this machine reach. The hub itself needs one, or two for a
/// moment.
pub(crate) const PRIVATE_CONNECTIONS_MAX: usize = 16;
/// Finished handshakes that the kernel keeps for us.
const BACKLOG: u32 = 1024;

/// Opens a listener whose connections have a bounded send buffer.
pub(crate) fn bind(address: SocketAddr, send_buffer_bytes: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted hub must not wait for the old one's connections to be forgotten.
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit it.
    socket.set_send_buffer_size(send_buffer_bytes)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until `stop`; connections run on `tasks`.
pub(crate) async fn accept(
    edge: Arc<Edge>,
    listener: TcpListener,
    side: Side,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let accepted = select! {
            () = stop.cancelled() => return,
            accepted = next(&edge, &listener, side, &permits) => accepted,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_the_peers_fault(&error) => continue,
            Err(error) => {
                count(&edge.counters.accepts_failed);
                warn!(target: "mqtt", %error, "mqtt.accept_failed");
                select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(edge.config.accept_pause) => continue,
                }
            }
        };
        let (edge, stop) = (Arc::clone(&edge), stop.clone());
        let connection = async move {
            session::serve(edge, stream, side, stop).await;
            drop(permit);
        };
        tasks.spawn(connection.instrument(info_span!("mqtt", %peer)));
    }
}

async fn next(
    edge: &Edge,
    listener: &TcpListener,
    side: Side,
    permits: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
        permit
    } else {
        count(&edge.counters.at_capacity);
        warn!(target: "mqtt", ?side, "mqtt.at_capacity");
        Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?
    };
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer, permit))
}

/// Errors of the one connection that was about to be accepted; anything else is want of descriptors or memory.
fn is_the_peers_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::InvalidInput // NODELAY on a socket that is closed already
            | io::ErrorKind::NotConnected
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_peers_own_errors_are_passed_over_without_a_pause() {
        const EMFILE: i32 = 24;
        const ENFILE: i32 = 23;
        const ECONNABORTED: i32 = 103;
        assert!(!is_the_peers_fault(&io::Error::from_raw_os_error(EMFILE)));
        assert!(!is_the_peers_fault(&io::Error::from_raw_os_error(ENFILE)));
        assert!(is_the_peers_fault(&io::Error::from_raw_os_error(ECONNABORTED)));
    }

    #[tokio::test]
    async fn a_taken_address_is_an_error() {
        let taken = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 65_536).unwrap();
        let error = bind(taken.local_addr().unwrap(), 65_536).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
