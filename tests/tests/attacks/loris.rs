//! Clients that take their time: a byte a second, or nothing at all, or answers that they never read. Each is closed at its deadline,
//! and counted.

use std::time::Duration;

use hub_tests::site::PATIENCE;
use shared_msgs::frames::{self, ClientFrame, ServerFrame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use crate::crowd::{HALF_CONNECT, HALF_HEAD, HALF_HELLO, HALF_TLS, SLOW_BODY};
use crate::rig::{Edge, Stage, Stream};

async fn dial(stage: &Stage, edge: Edge) -> Stream {
    let stream = TcpStream::connect(stage.addr(edge)).await.unwrap();
    match stage.trust().unwrap() {
        Some(trust) => Box::new(trust.connect("localhost", stream).await.unwrap()),
        None => Box::new(stream),
    }
}

/// Says `first` at once and `slow` a byte a second, over and over, until the other side closes; gives what it heard.
async fn trickle(mut stream: Stream, first: Vec<u8>, slow: &'static [u8]) -> Vec<u8> {
    stream.write_all(&first).await.unwrap();
    stream.flush().await.unwrap();
    let (mut heard, mut ticks, mut slow) =
        (Vec::new(), interval(Duration::from_secs(1)), slow.iter().cycle());
    let mut broken = false;
    loop {
        tokio::select! {
            _ = ticks.tick(), if !broken => if let Some(byte) = slow.next() {
                broken = stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err();
            },
            read = stream.read_buf(&mut heard) => if !matches!(read, Ok(1..)) {
                return heard;
            },
        }
    }
}

/// Reads until the welcome.
async fn welcomed(stream: &mut Stream) {
    loop {
        let mut prefix = [0; frames::LENGTH_BYTES];
        stream.read_exact(&mut prefix).await.unwrap();
        let mut body = vec![0; frames::frame_length(prefix).unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        match frames::decode(&body).unwrap() {
            ServerFrame::Welcome { .. } => return,
            ServerFrame::Delayed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Says `again` as often as it is taken, and never reads.
async fn gorge(mut stream: Stream, again: Vec<u8>) -> Vec<u8> {
    while stream.write_all(&again).await.is_ok() {}
    Vec::new()
}

/// One that takes its time: at which edge, how long it may live, what its last words from the other side hold.
struct Slow {
    name: &'static str,
    edge: Edge,
    deadline: Duration,
    hears: &'static str,
    life: std::pin::Pin<Box<dyn Future<Output = Vec<u8>> + Send>>,
}

/// Lets all of them live and waits for their ends, each at its own deadline.
async fn outlive(slow: Vec<Slow>) {
    let mut lives = JoinSet::new();
    for Slow { name, deadline, hears, life, .. } in slow {
        lives.spawn(async move {
            let begun = Instant::now();
            let heard = timeout(PATIENCE, life).await.unwrap_or_else(|_| panic!("{name} is never reaped"));
            let (heard, age) = (String::from_utf8_lossy(&heard).into_owned(), begun.elapsed());
            println!("{name}: closed after {age:.1?}");
            assert!(heard.contains(hears), "{name} heard {heard:?}");
            // The lower bound: it was the deadline, and nothing else.
            assert!(age + Duration::from_millis(500) > deadline, "{name} age {age:?}");
        });
    }
    while let Some(life) = lives.join_next().await {
        life.unwrap();
    }
}

/// What speaks the protocol itself, slowly.
async fn slow_speakers(stage: &Stage) -> Vec<Slow> {
    let mut slow = Vec::new();
    let cases: [(_, _, _, _, &'static [u8], _); 6] = [
        ("trickled head", Edge::Http, 10, b"".to_vec(), HALF_HEAD, ""),
        ("mute at http", Edge::Http, 10, b"".to_vec(), b"", ""),
        ("trickled body", Edge::Http, 5, SLOW_BODY.to_vec(), b"a", "request-timed-out"),
        ("trickled CONNECT", Edge::Mqtt, 5, b"".to_vec(), HALF_CONNECT, ""),
        ("mute at mqtt", Edge::Mqtt, 5, b"".to_vec(), b"", ""),
        ("trickled hello", Edge::Game, 5, b"".to_vec(), HALF_HELLO, "hello-timed-out"),
    ];
    for (name, edge, deadline_s, first, bytes, hears) in cases {
        let life = Box::pin(trickle(dial(stage, edge).await, first, bytes));
        slow.push(Slow { name, edge, deadline: Duration::from_secs(deadline_s), hears, life });
    }
    let gets = b"GET /servers HTTP/1.1\r\nhost: hub\r\n\r\n".repeat(1_000);
    let life = Box::pin(gorge(dial(stage, Edge::Http).await, gets));
    let deadline = Duration::from_secs(10);
    slow.push(Slow { name: "never reads its answers", edge: Edge::Http, deadline, hears: "", life });
    // A genuine player who talks and never listens.
    let ticket = stage.ticket("glutton", stage.hub.http.port()).await.unwrap();
    let hello = ClientFrame::Hello(frames::Hello {
        version: shared_msgs::limits::GAME_LINK_VERSION,
        token: ticket.token,
        build: String::new(),
        app_data: Vec::new(),
    });
    let mut stream = dial(stage, Edge::Game).await;
    stream.write_all(&frames::encode(&hello).unwrap()).await.unwrap();
    // Before that, too much behind its hello would be the reason.
    welcomed(&mut stream).await;
    let life = Box::pin(gorge(stream, frames::encode(&ClientFrame::App(vec![7; 4_000])).unwrap()));
    let deadline = Duration::from_secs(5);
    slow.push(Slow { name: "never reads its echoes", edge: Edge::Game, deadline, hears: "", life });
    slow
}

async fn are_reaped(stage: &Stage, more: Vec<Slow>) -> anyhow::Result<()> {
    let slow = slow_speakers(stage).await;
    let of = |slow: &[Slow], edge| slow.iter().filter(|slow| slow.edge == edge).count() as u64;
    let expected = Edge::ALL.map(|edge| (edge, of(&slow, edge), of(&more, edge)));
    outlive(slow.into_iter().chain(more).collect()).await;
    stage.is_quiet().await?;
    for (edge, silent, late) in expected {
        assert_eq!(stage.turned_away(edge, "silent").await?, silent, "{edge:?}");
        assert_eq!(stage.turned_away(edge, "handshake-timeout").await?, late, "{edge:?}");
    }
    stage.is_unharmed();
    stage.newcomers("after").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_trickles_or_never_reads_is_closed_at_its_deadline_and_counted() -> anyhow::Result<()> {
    let stage = Stage::start(false, &[], &[]).await?;
    are_reaped(&stage, Vec::new()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_trickles_or_never_reads_is_closed_at_its_deadline_with_tls() -> anyhow::Result<()> {
    let stage = Stage::start(true, &[], &[]).await?;
    let mut handshakes = Vec::new();
    for (edge, deadline_s) in Edge::ALL.into_iter().zip([10, 5, 5]) {
        let stream = Box::new(TcpStream::connect(stage.addr(edge)).await?);
        let life = Box::pin(trickle(stream, Vec::new(), HALF_TLS));
        let deadline = Duration::from_secs(deadline_s);
        handshakes.push(Slow { name: "trickled handshake", edge, deadline, hears: "", life });
    }
    are_reaped(&stage, handshakes).await
}
