//! The game link over in-memory pipes, and the whole server over loopback while its hub is away.

mod reconnect;

use shared_msgs::codes::{Code, Retry};
use shared_msgs::frames::{self, ClientFrame, LENGTH_BYTES, ServerFrame};
use shared_msgs::keys::FleetKeys;
use shared_msgs::limits;
use shared_msgs::net::{Door, DoorConfig};
use shared_msgs::process::Secret;
use shared_msgs::rng::SeededRng;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use super::connection::{Context, serve};
use super::world::{EchoWorld, WHO};
use super::*;
use crate::Config;
use crate::testing::{HandHub, Issued};

struct Client<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn say(&mut self, frame: &ClientFrame) {
        self.0.write_all(&frames::encode(frame).unwrap()).await.unwrap();
    }

    async fn hello(&mut self, token: &str) {
        self.say(&hello(limits::GAME_LINK_VERSION, token)).await;
    }

    /// `None` at the end of the stream.
    async fn hear(&mut self) -> Option<ServerFrame> {
        let mut prefix = [0; LENGTH_BYTES];
        self.0.read_exact(&mut prefix).await.ok()?;
        let mut body = vec![0; frames::frame_length(prefix).unwrap()];
        self.0.read_exact(&mut body).await.unwrap();
        Some(frames::decode(&body).unwrap())
    }

    /// The refusal, which is the last frame.
    async fn refused(&mut self) -> (String, Retry) {
        let Some(ServerFrame::Refused { code, retry, .. }) = self.hear().await else { panic!("no refusal") };
        assert_eq!(self.hear().await, None, "the server closes");
        (code, retry)
    }

    async fn welcomed(&mut self) -> String {
        match self.hear().await {
            Some(ServerFrame::Welcome { name, .. }) => name,
            other => panic!("{other:?}"),
        }
    }
}

fn hello(version: u8, token: &str) -> ClientFrame {
    ClientFrame::Hello(frames::Hello { version, token: token.into(), build: "b".into(), app_data: vec![] })
}

fn refusal(code: Code) -> (String, Retry) {
    (code.as_str().to_owned(), code.retry())
}

/// A game server whose hub is played by hand, and pipes to it.
struct Pipes {
    hub: HandHub,
    context: Context,
    door: Arc<Door>,
    tasks: TaskTracker,
    _events: Events,
}

impl Pipes {
    fn start() -> Self {
        Self::start_with(Duration::ZERO)
    }

    fn start_with(reconnect_grace: Duration) -> Self {
        let (hub, events) = HandHub::start_with(Config { reconnect_grace, ..crate::testing::config() });
        let handler = Arc::new(EchoWorld::default());
        let (notices, _) = tokio::sync::broadcast::channel(4);
        let context = Context {
            game: hub.game.clone(),
            handler,
            notices,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let door = Door::new(DoorConfig {
            name: "game",
            connections_max: 100,
            per_address_max: 100,
            exempt: Vec::new(),
            handshake_timeout: limits::HELLO_DEADLINE,
        });
        Self { hub, context, door, tasks: TaskTracker::new(), _events: events }
    }

    fn connect(&self) -> Client<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (context, door) = (self.context.clone(), Arc::clone(&self.door));
        self.tasks.spawn(async move {
            let visitor = door.admit(std::net::IpAddr::from([127, 0, 0, 1])).await.unwrap();
            serve(context, theirs, visitor).await;
        });
        Client(ours)
    }

    async fn join(&mut self, issued: &Issued) -> Client<DuplexStream> {
        self.hub.grant(issued).await;
        let mut client = self.connect();
        client.hello(issued.token.expose()).await;
        loop {
            match client.hear().await {
                Some(ServerFrame::Delayed { .. }) => {}
                Some(ServerFrame::Welcome { .. }) => return client,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn an_early_client_is_told_to_wait_then_plays_and_leaves() {
    let mut pipes = Pipes::start();
    let [ann, bob] = [pipes.hub.issue(1), pipes.hub.issue(2)];
    let mut client = pipes.connect();
    client.hello(ann.token.expose()).await;
    assert_eq!(client.hear().await, Some(ServerFrame::Delayed { deadline_ms: 10_000 }));
    pipes.hub.grant(&ann).await;
    assert_eq!(client.welcomed().await, "p1");
    let _other = pipes.join(&bob).await;
    for (said, heard) in [(&b"hi"[..], &b"hi"[..]), (WHO, b"p1\np2")] {
        client.say(&ClientFrame::App(said.to_vec())).await;
        assert_eq!(client.hear().await, Some(ServerFrame::App(heard.to_vec())));
    }
    client.say(&ClientFrame::Leave).await;
    assert_eq!(client.hear().await, None);
    assert_eq!(pipes.hub.game.occupancy().players, 1, "counted before the connection closes");
}

#[tokio::test]
async fn what_is_no_hello_is_refused_by_name() {
    let pipes = Pipes::start();
    let old = hello(limits::GAME_LINK_VERSION + 1, "t");
    for (frame, code) in [
        (hello(limits::GAME_LINK_VERSION, "nonsense"), Code::TokenNotGenuine),
        (old, Code::ClientTooOld),
        (ClientFrame::App(vec![1]), Code::MalformedHello),
        (ClientFrame::Leave, Code::MalformedHello),
    ] {
        let mut client = pipes.connect();
        client.say(&frame).await;
        assert_eq!(client.refused().await, refusal(code));
    }
    for bytes in [&[0xff; 4][..], &[0; 4], &[0, 0, 0, 1, 0]] {
        let mut client = pipes.connect();
        client.0.write_all(bytes).await.unwrap();
        assert_eq!(client.refused().await, refusal(Code::MalformedHello));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_refused_at_the_hello_deadline() {
    let pipes = Pipes::start();
    let started = tokio::time::Instant::now();
    let mut client = pipes.connect();
    client.0.write_all(&[0, 0]).await.unwrap();
    assert_eq!(client.refused().await, refusal(Code::HelloTimedOut));
    assert!((limits::HELLO_DEADLINE..limits::HELLO_DEADLINE * 2).contains(&started.elapsed()));
}

#[tokio::test]
async fn a_parked_client_that_goes_away_is_forgotten_and_one_that_floods_is_refused() {
    let mut pipes = Pipes::start();
    let [gone, flood] = [pipes.hub.issue(1), pipes.hub.issue(2)];
    let mut client = pipes.connect();
    client.hello(gone.token.expose()).await;
    pipes.hub.until(0, 0, 1).await;
    drop(client);
    pipes.hub.until(0, 0, 0).await;
    let mut client = pipes.connect();
    client.hello(flood.token.expose()).await;
    assert!(matches!(client.hear().await, Some(ServerFrame::Delayed { .. })));
    client.0.write_all(&[1; limits::FRAME_BYTES_MAX + LENGTH_BYTES]).await.unwrap();
    assert_eq!(client.refused().await, refusal(Code::MalformedHello));
    pipes.hub.until(0, 0, 0).await;
}

#[tokio::test]
async fn what_a_client_says_while_it_waits_is_answered_once_it_is_in() {
    let mut pipes = Pipes::start();
    let issued = pipes.hub.issue(1);
    let mut client = pipes.connect();
    client.hello(issued.token.expose()).await;
    client.say(&ClientFrame::App(b"early".to_vec())).await;
    pipes.hub.until(0, 0, 1).await;
    pipes.hub.grant(&issued).await;
    assert!(matches!(client.hear().await, Some(ServerFrame::Delayed { .. })));
    client.welcomed().await;
    assert_eq!(client.hear().await, Some(ServerFrame::App(b"early".to_vec())));
}

#[tokio::test]
async fn a_kicked_player_is_told_and_its_slot_is_free_and_the_world_knows() {
    let mut pipes = Pipes::start();
    let [ann, bob] = [pipes.hub.issue(1), pipes.hub.issue(2)];
    let mut kicked = pipes.join(&ann).await;
    let mut stays = pipes.join(&bob).await;
    pipes.hub.end(1, Code::Banned).await;
    let ending = ServerFrame::Ending { code: "banned".into(), save_within_ms: 4_000 };
    assert_eq!(kicked.hear().await, Some(ending));
    assert_eq!(kicked.refused().await, refusal(Code::Banned));
    pipes.hub.until(1, 0, 0).await;
    stays.say(&ClientFrame::App(WHO.to_vec())).await;
    assert_eq!(stays.hear().await, Some(ServerFrame::App(b"p2".to_vec())));
}

#[tokio::test]
async fn a_player_whose_connection_breaks_frees_the_slot() {
    let mut pipes = Pipes::start();
    let ann = pipes.hub.issue(1);
    let client = pipes.join(&ann).await;
    drop(client);
    pipes.hub.until(0, 0, 0).await;
}

fn settings() -> Settings {
    let key = FleetKeys::generate(&SeededRng::new(1)).server_key(&"alpha".parse().unwrap(), 1);
    let mut settings = Settings::default();
    settings.hub.key = Some(Secret::new(key.to_line().to_string()));
    settings.hub.brokers = vec!["127.0.0.1:1".parse().unwrap()];
    settings.metrics.listen = Some("127.0.0.1:0".parse().unwrap());
    settings
}

#[tokio::test]
async fn only_loopback_is_bound_and_only_reachable_addresses_are_advertised() {
    let refused = async |change: fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        let bound = ReferenceServer::bind(settings, Arc::new(EchoWorld::default()));
        bound.err().unwrap().to_string()
    };
    assert!(refused(|s| s.game.listen = "0.0.0.0:0".parse().unwrap()).await.contains("game.listen"));
    assert!(refused(|s| s.metrics.listen = "0.0.0.0:0".parse().ok()).await.contains("metrics.listen"));
    assert!(refused(|s| s.game.advertise = Some("0.0.0.0:7".into())).await.contains("0.0.0.0:7"));
}

#[tokio::test]
async fn without_its_hub_it_serves_counts_and_stops_cleanly_answering_who_waits() {
    let mut settings = settings();
    // So that a stop which waits for anybody else is a forced one.
    settings.game.drain_ms = 1_000;
    let server = ReferenceServer::bind(settings, Arc::new(EchoWorld::default())).unwrap();
    let (addr, metrics) = (server.addr(), server.metrics_addr().unwrap());
    let game = server.game().clone();
    let lifecycle = Lifecycle::new();
    let soft = lifecycle.soft().clone();
    let tasks = TaskTracker::new();
    let run = tasks.spawn(server.run(lifecycle));
    let mut stranger = Client(TcpStream::connect(addr).await.unwrap());
    stranger.hello("nonsense").await;
    assert_eq!(stranger.refused().await, refusal(Code::TokenNotGenuine));

    let key = FleetKeys::generate(&SeededRng::new(1)).server_key(&"alpha".parse().unwrap(), 1);
    let tag = shared_msgs::token::TokenTag::new(&key, key.server(), game.boot());
    let (token, _) = tag.mint(shared_msgs::clock::UnixMs(u64::MAX), &SeededRng::new(8));
    let mut early = Client(TcpStream::connect(addr).await.unwrap());
    early.hello(token.expose()).await;
    assert!(matches!(early.hear().await, Some(ServerFrame::Delayed { .. })));

    let mut scrape = TcpStream::connect(metrics).await.unwrap();
    scrape.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    scrape.read_to_string(&mut page).await.unwrap();
    for line in [
        "game_server_parked 1",
        "game_server_link_up 0",
        "game_server_link_waiting 0",
        "game_server_link_refused_full_total 0",
        r#"refused_total{code="token-not-genuine"} 1"#,
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }

    // A scrape that is not asked to its end holds up no stop.
    let mut half = TcpStream::connect(metrics).await.unwrap();
    half.write_all(b"GET /m").await.unwrap();
    soft.cancel();
    assert_eq!(early.refused().await, refusal(Code::ServerDraining));
    assert_eq!(run.await.unwrap(), Outcome::Exit(ExitReason::Clean));
    assert!(TcpStream::connect(addr).await.is_err(), "nobody listens any more");
}

#[test]
fn who_was_superseded_is_not_to_be_started_again_however_it_ended() {
    use ExitReason::{Clean, Forced, TaskDied};
    for (exit, ended, outcome) in [
        (Clean, Some(CloseReason::Superseded), Outcome::Superseded),
        (Forced, Some(CloseReason::Superseded), Outcome::Superseded),
        (TaskDied("x"), Some(CloseReason::Superseded), Outcome::Exit(TaskDied("x"))),
        (Clean, Some(CloseReason::Shutdown), Outcome::Exit(Clean)),
        (Forced, Some(CloseReason::Shutdown), Outcome::Exit(Forced)),
        (Clean, Some(CloseReason::TaskDied), Outcome::Exit(TaskDied("game server"))),
        (Clean, None, Outcome::Exit(Clean)),
    ] {
        assert_eq!(outcome_of(exit, ended), outcome, "{exit:?} {ended:?}");
    }
}
