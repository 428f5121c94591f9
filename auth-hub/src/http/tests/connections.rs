//! Connections as clients hold them: kept open, left, stuck, or more of them than there are places.

use std::net::SocketAddr;

use shared_msgs::net::TurnedAway;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

/// A listener at work.
struct Serving {
    addr: SocketAddr,
    door: Arc<Door>,
    soft: CancellationToken,
    task: JoinHandle<()>,
}

impl Serving {
    async fn start(api: &TestApi, connections_max: usize) -> Self {
        Self::start_with(api, connections_max, api.router.clone()).await
    }

    async fn start_with(api: &TestApi, connections_max: usize, router: Router) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let door = Door::new(DoorConfig {
            name: "http",
            connections_max,
            per_address_max: 100,
            exempt: Vec::new(),
            handshake_timeout: SOON,
        });
        let listener = Listener { socket, door: Arc::clone(&door), tls: None };
        let soft = CancellationToken::new();
        let task = api.tasks.spawn(serve(listener, router, Arc::new([]), soft.clone()));
        Self { addr, door, soft, task }
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    fn turned_away(&self, why: TurnedAway) -> u64 {
        self.door.stats().turned_away(why)
    }

    async fn end(self) {
        self.soft.cancel();
        self.task.await.unwrap();
    }
}

async fn ask(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: hub\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Everything until the end.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    rest
}

#[tokio::test]
async fn a_stop_finishes_what_runs_and_closes_what_idles() {
    let api = TestApi::start_in_time(settings(), Deadlines { probe: SOON, ..Deadlines::DEFAULT }).await;
    let serving = Serving::start_with(&api, 2, api.operators.clone()).await;
    let mut idle = serving.client().await;
    ask(&mut idle, "/healthz").await;
    assert!(head(&mut idle).await.starts_with("HTTP/1.1 200"));
    *api.desk.snapshot.lock().unwrap() = None;
    let mut running = serving.client().await;
    ask(&mut running, "/readyz").await;
    api.desk.snapshot_asked.notified().await;

    serving.soft.cancel();
    assert_eq!(rest(&mut idle).await, "{\"status\":\"alive\"}", "and the end");
    // The one that runs gets its whole answer, and then the end.
    assert!(rest(&mut running).await.contains("\"not-ready\""));
    serving.end().await;
}

#[tokio::test]
async fn a_connection_beyond_the_bound_waits_for_a_request_to_end_and_takes_an_idle_ones_place() {
    let api = TestApi::start().await;
    let serving = Serving::start(&api, 1).await;
    *api.desk.snapshot.lock().unwrap() = None;
    let mut first = serving.client().await;
    ask(&mut first, "/healthz").await;
    head(&mut first).await;
    first.read_exact(&mut [0; 18]).await.unwrap();
    ask(&mut first, "/servers").await;
    api.desk.snapshot_asked.notified().await;
    let mut second = serving.client().await;
    ask(&mut second, "/healthz").await;
    // A request that runs is not given up for a newcomer.
    let early = tokio::time::timeout(SOON, second.read_u8()).await;
    assert!(early.is_err(), "{early:?}");
    api.desk.answer_now.notify_one();
    let answer = rest(&mut first).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with('}'),
        "a whole answer, and the end: {answer}"
    );
    assert!(head(&mut second).await.starts_with("HTTP/1.1 200"));
    let mut third = serving.client().await;
    ask(&mut third, "/healthz").await;
    assert!(head(&mut third).await.starts_with("HTTP/1.1 200"));
    serving.end().await;
}

#[tokio::test]
async fn who_still_sends_a_body_holds_up_nobody() {
    let api = TestApi::start_with(HttpSettings { requests_max: 1, ..settings() }).await;
    let serving = Serving::start(&api, 2).await;
    let unfinished = "POST /auth/login HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = serving.client().await;
        stream.write_all(unfinished.as_bytes()).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 100"), "its body is waited for");
        slow.push(stream);
    }
    // Both places are taken, and the newcomer gets the older one's; no request runs but its own.
    let mut newcomer = serving.client().await;
    ask(&mut newcomer, "/servers").await;
    assert!(head(&mut newcomer).await.starts_with("HTTP/1.1 200"));
    assert_eq!(rest(&mut slow[0]).await, "");
    slow[1].write_all(b"{}").await.unwrap();
    assert!(head(&mut slow[1]).await.starts_with("HTTP/1.1 422"));
    serving.end().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let api = TestApi::start_in_time(settings(), Deadlines { body: SOON, ..Deadlines::DEFAULT }).await;
    let serving = Serving::start(&api, 2).await;
    let mut client = serving.client().await;
    let request = "POST /auth/login HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let head = head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 408"), "{head}");
    serving.end().await;
}

/// What is asked for is more than the sockets between us hold.
async fn gorge(stream: &mut TcpStream) {
    let requests = "GET /openapi.json HTTP/1.1\r\nHost: hub\r\n\r\n".repeat(1_000);
    stream.write_all(requests.as_bytes()).await.unwrap();
    // The first answer has begun to come.
    stream.readable().await.unwrap();
}

#[tokio::test]
async fn who_asks_and_does_not_read_keeps_no_place_from_a_newcomer() {
    let api = TestApi::start().await;
    let serving = Serving::start(&api, 2).await;
    let mut gluttons = [serving.client().await, serving.client().await];
    for glutton in &mut gluttons {
        gorge(glutton).await;
    }
    let mut newcomer = serving.client().await;
    ask(&mut newcomer, "/healthz").await;
    assert!(head(&mut newcomer).await.starts_with("HTTP/1.1 200"));
    // It did not come in because one had been closed for not reading.
    assert_eq!(
        (serving.turned_away(TurnedAway::CrowdedOut), serving.turned_away(TurnedAway::Silent)),
        (1, 0)
    );
    drop(gluttons);
    serving.end().await;
}

#[tokio::test]
async fn a_stop_waits_neither_for_half_a_head_nor_for_who_does_not_read() {
    let api = TestApi::start().await;
    let serving = Serving::start(&api, 2).await;
    let mut slow = serving.client().await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: h").await.unwrap();
    let mut glutton = serving.client().await;
    gorge(&mut glutton).await;
    let door = Arc::clone(&serving.door);
    serving.end().await;
    let stats = door.stats();
    assert_eq!(stats.turned_away(TurnedAway::Silent), 0, "their deadlines were not needed");
    assert_eq!((stats.strangers, stats.guests), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_was_served_and_keeps_quiet_is_no_silent_stranger() {
    let api = TestApi::start().await;
    let serving = Serving::start(&api, 4).await;
    let mut served = serving.client().await;
    ask(&mut served, "/healthz").await;
    assert!(head(&mut served).await.starts_with("HTTP/1.1 200"));
    assert_eq!(rest(&mut served).await, "{\"status\":\"alive\"}", "closed after a while");
    assert_eq!(serving.turned_away(TurnedAway::Silent), 0);
    let mut mute = serving.client().await;
    assert_eq!(rest(&mut mute).await, "");
    assert_eq!(serving.turned_away(TurnedAway::Silent), 1);
    let mut slow = serving.client().await;
    ask(&mut slow, "/healthz").await;
    assert!(head(&mut slow).await.starts_with("HTTP/1.1 200"));
    slow.read_exact(&mut [0; 18]).await.unwrap();
    slow.write_all(b"GET /healthz HTT").await.unwrap();
    assert_eq!(rest(&mut slow).await, "");
    assert_eq!(serving.turned_away(TurnedAway::Silent), 2);
    serving.end().await;
}
