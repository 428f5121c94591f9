//! Many sockets at once, from many addresses of this machine: what the tests of attacks send against a listener.
//!
//! Knows no protocol: it says the bytes it is given. Prints a line for each thing a test waits for: `COUNT open=N` once all have been opened,
//! in a flood `COUNT said=N` at the end. Invariant: it ends when its standard input does, whatever its sockets are at.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections being made at one time.
const OPENINGS_MAX: usize = 64;
/// Sockets of a flood at one time.
const FLOODERS: u32 = 32;
/// A flooder waits no longer for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// A socket comes back no sooner.
const RETURN_EVERY: Duration = Duration::from_secs(3);
/// A flooder that gets no socket tries no faster.
const RETRY_EVERY: Duration = Duration::from_millis(10);
/// Addresses in one block of 127.N.x.y.
const BLOCK: u32 = 250;

/// What the sockets do once they are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pace {
    /// Say everything, then stay; never read.
    Hold,
    /// Say everything, then stay; one that was closed comes again, each at most once in a while.
    Return,
    /// Say everything, wait for the end of the answer, close, and again, as fast as can be.
    Flood,
}

/// A crowd of sockets.
#[derive(Clone, Parser)]
struct Arguments {
    /// Against whom.
    to: SocketAddr,
    /// Sockets; in a flood they come one after the other, without end.
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// They come from so many addresses in turn: the first of 127.NET.0.1, 127.NET.0.2 and so on.
    #[arg(long, default_value_t = 1)]
    addresses: u32,
    /// See `addresses`.
    #[arg(long, default_value_t = 0)]
    net: u8,
    /// What each says, in hexadecimal digits.
    #[arg(long, default_value = "")]
    say: String,
    /// How.
    #[arg(long, value_enum, default_value_t = Pace::Hold)]
    pace: Pace,
}

fn bytes(hex: &str) -> anyhow::Result<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?);
    hex.as_bytes()
        .chunks(2)
        .map(pair)
        .collect::<Option<_>>()
        .context("--say wants pairs of hexadecimal digits")
}

impl Arguments {
    fn address(&self, n: u32) -> SocketAddr {
        let n = n % self.addresses.max(1);
        let [.., high, low] = (n / BLOCK * 256 + n % BLOCK + 1).to_be_bytes();
        SocketAddr::from((Ipv4Addr::new(127, self.net, high, low), 0))
    }

    async fn open(&self, n: u32) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(self.address(n))?;
        socket.connect(self.to).await
    }
}

/// Beats for what is done again and again, and no faster.
fn beats(every: Duration) -> Interval {
    let mut beats = interval(every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

/// Opens a socket, says `say` and stays. Each that was opened, or could not be, is one more permit of `opened`.
async fn stay(arguments: &Arguments, say: &[u8], n: u32, opened: &Semaphore, openings: &Semaphore) {
    let mut beats = beats(RETURN_EVERY);
    loop {
        beats.tick().await;
        let permit = openings.acquire().await;
        let stream = arguments.open(n).await;
        drop(permit);
        opened.add_permits(1);
        if let Ok(mut stream) = stream {
            let _ = stream.write_all(say).await;
            if arguments.pace == Pace::Hold {
                // Until the end.
                std::future::pending::<()>().await;
            }
            while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
        }
        if arguments.pace == Pace::Hold {
            return;
        }
    }
}

async fn flood(arguments: &Arguments, say: &[u8], mut n: u32, said: &AtomicU64) {
    let (mut answer, mut beats) = (vec![0; 16 * 1024], beats(RETRY_EVERY));
    loop {
        n = n.wrapping_add(FLOODERS);
        let Ok(mut stream) = arguments.open(n).await else {
            beats.tick().await;
            continue;
        };
        let all = async {
            stream.write_all(say).await?;
            while stream.read(&mut answer).await? > 0 {}
            std::io::Result::Ok(())
        };
        let _ = timeout(ANSWER_TIME, all).await;
        said.fetch_add(1, Ordering::Relaxed);
    }
}

fn print(line: &str) {
    let mut out = std::io::stdout();
    // Nobody listens any more: the end is near.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arc::new(Arguments::parse());
    let say: Arc<[u8]> = bytes(&arguments.say)?.into();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (opened, openings) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(OPENINGS_MAX)));
    let said = Arc::new(AtomicU64::new(0));
    let until = |work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
        let stop = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    };
    let sockets = if arguments.pace == Pace::Flood { FLOODERS } else { arguments.count };
    for n in 0..sockets {
        let (arguments, say) = (Arc::clone(&arguments), Arc::clone(&say));
        let (opened, said, openings) = (Arc::clone(&opened), Arc::clone(&said), Arc::clone(&openings));
        until(Box::pin(async move {
            match arguments.pace {
                Pace::Flood => flood(&arguments, &say, n, &said).await,
                Pace::Hold | Pace::Return => stay(&arguments, &say, n, &opened, &openings).await,
            }
        }));
    }
    if arguments.pace != Pace::Flood {
        let _ = opened.acquire_many(arguments.count).await?;
    }
    print(&format!("COUNT open={sockets}"));
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = ended.await;
    print(&format!("COUNT said={}", said.load(Ordering::Relaxed)));
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}
