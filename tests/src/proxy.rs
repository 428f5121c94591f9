//! A TCP proxy with a hand on the tap: holds either direction, slows, cuts, half-closes, refuses. It passes bytes and understands none.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the one who connected.
    Up,
    /// To the one who connected.
    Down,
}

/// How one way stands.
#[derive(Debug, Clone, Copy, Default)]
struct Tap {
    /// Nothing passes.
    held: bool,
    /// What passes waits for this first.
    delay: Duration,
    /// Grows with each half-close.
    shut: u64,
}

#[derive(Debug)]
struct Taps {
    target: Mutex<SocketAddr>,
    up: watch::Sender<Tap>,
    down: watch::Sender<Tap>,
    admits: watch::Sender<bool>,
    /// Cancelled to cut what is connected; replaced for what comes after.
    cut: Mutex<CancellationToken>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A proxy on a free port of the loopback. Stops when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    taps: Arc<Taps>,
}

impl FaultProxy {
    /// Passes connections on to `target`.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn start(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let taps = Arc::new(Taps {
            target: Mutex::new(target),
            up: watch::Sender::default(),
            down: watch::Sender::default(),
            admits: watch::Sender::new(true),
            cut: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let accepting = Arc::clone(&taps);
        taps.tasks.spawn(async move { accepting.accept(listener).await });
        Ok(Self { addr, taps })
    }

    /// Where to connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// New connections go here.
    pub fn set_target(&self, target: SocketAddr) {
        *self.taps.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Keeps bytes of one way back, in order, until [`FaultProxy::release`].
    pub fn hold(&self, way: Way) {
        self.taps.tap(way).send_modify(|tap| tap.held = true);
    }

    /// Lets them go.
    pub fn release(&self, way: Way) {
        self.taps.tap(way).send_modify(|tap| tap.held = false);
    }

    /// Lets each read of one way wait this long before it passes; zero for not at all.
    pub fn delay(&self, way: Way, by: Duration) {
        self.taps.tap(way).send_modify(|tap| tap.delay = by);
    }

    /// Ends one way of everything that is connected, as a peer does that has nothing more to say. What still comes is lost; the other
    /// way stays open.
    pub fn half_close(&self, way: Way) {
        self.taps.tap(way).send_modify(|tap| tap.shut += 1);
    }

    /// Closes everything that is connected; what was held is lost.
    pub fn cut(&self) {
        let fresh = CancellationToken::new();
        let old =
            std::mem::replace(&mut *self.taps.cut.lock().unwrap_or_else(PoisonError::into_inner), fresh);
        old.cancel();
    }

    /// Whether new connections are passed on; those refused are closed at once.
    pub fn admit(&self, admits: bool) {
        self.taps.admits.send_replace(admits);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.cut();
        self.taps.stop.cancel();
    }
}

impl Taps {
    fn tap(&self, way: Way) -> &watch::Sender<Tap> {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((near, _)) = accepted else { continue };
            if *self.admits.borrow() {
                let taps = Arc::clone(&self);
                self.tasks.spawn(async move { taps.pass(near).await });
            }
        }
    }

    async fn pass(&self, near: TcpStream) {
        let cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let target = *self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(far) = TcpStream::connect(target).await else { return };
        // Without it small messages wait for acknowledgements; a fault we did not order.
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let (near_in, near_out) = near.into_split();
        let (far_in, far_out) = far.into_split();
        tokio::select! {
            // First: what was held when it was cut is lost, though it be let go in the same moment.
            biased;
            () = cut.cancelled() => {}
            () = self.stop.cancelled() => {}
            () = async { tokio::join!(pump(near_in, far_out, &self.up), pump(far_in, near_out, &self.down)); } => {}
        }
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, tap: &watch::Sender<Tap>) {
    let mut taps = tap.subscribe();
    let shut = taps.borrow().shut;
    let mut closed = tap.subscribe();
    let passes = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut buffer).await;
            let delay = taps.borrow().delay;
            if !delay.is_zero() {
                // A fault that is lifted holds nothing back any longer.
                let _ = tokio::time::timeout(delay, taps.wait_for(|tap| tap.delay < delay)).await;
            }
            if taps.wait_for(|tap| !tap.held).await.is_err() {
                return;
            }
            match read {
                // Half-close is passed on: the other way may still have something to say.
                Ok(0) | Err(_) => return,
                Ok(n) => {
                    if to.write_all(&buffer[..n]).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = passes => {}
        _ = closed.wait_for(|tap| tap.shut != shut) => {}
    }
    let _ = to.shutdown().await;
}
