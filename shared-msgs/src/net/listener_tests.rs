//! The listener on real sockets.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use super::*;
use crate::net::tls::tests::Pki;

fn config(connections_max: usize) -> DoorConfig {
    DoorConfig {
        name: "test",
        connections_max,
        per_address_max: connections_max + 1,
        exempt: Vec::new(),
        handshake_timeout: Duration::from_secs(20),
    }
}

struct Running {
    addr: SocketAddr,
    door: Arc<Door>,
    visitors: mpsc::UnboundedReceiver<Visitor>,
    _stop: DropGuard,
}

/// Serves by saying one byte, and then holds on; who says `g` becomes a guest, who says `s` a stranger again.
fn start(config: DoorConfig, tls: Option<Arc<ServerTls>>) -> Running {
    let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0)), None).unwrap();
    let (addr, door) = (socket.local_addr().unwrap(), Door::new(config));
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (told, visitors) = mpsc::unbounded_channel();
    let serve = move |mut wire: Wire, _, visitor: Visitor| {
        let told = told.clone();
        async move {
            wire.write_all(b"!").await.unwrap();
            while let Ok(said) = wire.read_u8().await {
                match said {
                    b'g' => assert!(visitor.introduced()),
                    _ => visitor.idle(),
                }
                wire.write_u8(said).await.unwrap();
                told.send(visitor.clone()).unwrap();
            }
        }
    };
    let listener = Listener { socket, door: Arc::clone(&door), tls };
    tasks.spawn(listener.run(tasks.clone(), stop.clone(), serve));
    Running { addr, door, visitors, _stop: stop.drop_guard() }
}

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("in time")
}

/// Connected and served.
async fn served(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    assert_eq!(patiently(stream.read_u8()).await.unwrap(), b'!');
    stream
}

async fn say(stream: &mut TcpStream, what: u8) {
    stream.write_u8(what).await.unwrap();
    assert_eq!(patiently(stream.read_u8()).await.unwrap(), what);
}

async fn is_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = patiently(stream.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn a_stranger_goes_for_a_newcomer_and_a_guest_does_not() {
    let running = start(config(2), None);
    let mut guest = served(running.addr).await;
    say(&mut guest, b'g').await;
    let mut strangers = vec![served(running.addr).await];
    for _ in 0..10 {
        strangers.push(served(running.addr).await);
        is_closed(&mut strangers.remove(0)).await;
    }
    say(&mut guest, b'g').await;
    let stats = running.door.stats();
    assert_eq!((stats.strangers, stats.guests, stats.accepted), (1, 1, 12));
    assert_eq!(stats.turned_away(TurnedAway::CrowdedOut), 10);
}

#[tokio::test]
async fn past_the_guests_newcomers_wait_until_one_goes_or_idles() {
    let running = start(config(1), None);
    let mut guest = served(running.addr).await;
    say(&mut guest, b'g').await;
    let mut next = TcpStream::connect(running.addr).await.unwrap();
    guest.write_u8(b's').await.unwrap();
    assert_eq!(patiently(next.read_u8()).await.unwrap(), b'!');
    is_closed_after_echo(&mut guest).await;
    assert_eq!(running.door.stats().full, 1);
    say(&mut next, b'g').await;
    let mut last = TcpStream::connect(running.addr).await.unwrap();
    drop((next, running.visitors));
    assert_eq!(patiently(last.read_u8()).await.unwrap(), b'!');
}

async fn is_closed_after_echo(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = patiently(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty() || rest == b"s", "{rest:?}");
}

#[tokio::test]
async fn an_address_has_its_bound_unless_it_speaks_for_many() {
    let from = |ip: &'static str, to: SocketAddr| async move {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        socket.connect(to).await.unwrap()
    };
    let running = start(
        DoorConfig { per_address_max: 1, exempt: vec!["127.0.0.9".parse().unwrap()], ..config(10) },
        None,
    );
    let mut guest = served(running.addr).await;
    say(&mut guest, b'g').await;
    is_closed(&mut TcpStream::connect(running.addr).await.unwrap()).await;
    let mut others = Vec::new();
    for ip in ["127.0.0.2", "127.0.0.3", "127.0.0.9", "127.0.0.9"] {
        let mut other = from(ip, running.addr).await;
        assert_eq!(patiently(other.read_u8()).await.unwrap(), b'!');
        say(&mut other, b'g').await;
        others.push(other);
    }
    let stats = running.door.stats();
    assert_eq!((stats.guests, stats.turned_away(TurnedAway::AddressFull)), (5, 1));
}

#[tokio::test]
async fn silence_in_a_handshake_holds_nobody_up_and_ends() {
    let pki = Pki::new();
    let tls = Arc::new(pki.server("localhost"));
    let short = Duration::from_millis(300);
    let running = start(DoorConfig { handshake_timeout: short, ..config(50) }, Some(tls));
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(running.addr).await.unwrap());
    }
    let stream = TcpStream::connect(running.addr).await.unwrap();
    let mut honest = patiently(pki.client().connect("localhost", stream)).await.unwrap();
    assert_eq!(patiently(honest.read_u8()).await.unwrap(), b'!');
    let mut garbage = TcpStream::connect(running.addr).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut alert = Vec::new();
    let _ = patiently(garbage.read_to_end(&mut alert)).await;
    for mut stream in silent {
        is_closed(&mut stream).await;
    }
    let stats = running.door.stats();
    assert_eq!(stats.turned_away(TurnedAway::HandshakeTimeout), 20);
    assert_eq!(stats.turned_away(TurnedAway::HandshakeFailed), 1);
}

#[tokio::test]
async fn a_taken_address_is_an_error() {
    let taken = bind(SocketAddr::from(([127, 0, 0, 1], 0)), Some(65_536)).unwrap();
    let error = bind(taken.local_addr().unwrap(), None).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn only_the_peers_own_errors_are_passed_over_without_a_pause() {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const ECONNABORTED: i32 = 103;
    assert!(!is_the_peers_fault(&io::Error::from_raw_os_error(EMFILE)));
    assert!(!is_the_peers_fault(&io::Error::from_raw_os_error(ENFILE)));
    assert!(is_the_peers_fault(&io::Error::from_raw_os_error(ECONNABORTED)));
}
