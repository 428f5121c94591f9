//! Whatever comes in, a whole answer goes out, in time.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

#[tokio::test]
async fn no_route_and_no_method_are_problems() {
    let api = TestApi::start().await;
    for path in ["/", "/auth/login/", "/auth", "/servers/alpha"] {
        api.get(path).await.problem(404, "not-found");
    }
    for route in ROUTES.iter().map(|route| route.path) {
        let reply = api.send(Request::delete(route).body(Body::empty()).unwrap()).await;
        reply.problem(405, "method-not-allowed");
        assert!(reply.headers.contains_key(header::ALLOW), "{route}");
    }
}

#[tokio::test]
async fn bodies_are_json_objects_of_bounded_size() {
    let api = TestApi::start().await;
    let request = || Request::post("/auth/login").header(header::CONTENT_TYPE, "application/json");
    for body in ["{", "[]", "horse", "{\"login\": \"b\u{0}\"}", "{} {}", &"[".repeat(1000)] {
        let reply = api.send(request().body(Body::from(body.to_owned())).unwrap()).await;
        reply.problem(400, "malformed-request");
        assert!(!reply.text.contains("horse"), "{reply:?}");
    }
    let long = format!("{{\"login\": \"{}\"}}", "x".repeat(BODY_BYTES_MAX));
    api.send(request().body(Body::from(long.clone())).unwrap()).await.problem(413, "body-too-large");
    // Without a length in front, too.
    let chunked = Body::from_stream(Body::from(long).into_data_stream());
    api.send(request().body(chunked).unwrap()).await.problem(413, "body-too-large");
    for content_type in ["text/plain", "application/jsonx", ""] {
        let request = Request::post("/auth/login").header(header::CONTENT_TYPE, content_type);
        let reply = api.send(request.body(Body::from("{}")).unwrap()).await;
        reply.problem(415, "unsupported-media-type");
    }
    // Nothing at all is an empty object.
    let reply = api.send(Request::post("/auth/login").body(Body::empty()).unwrap()).await;
    reply.problem(422, "invalid-request");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let api = TestApi::start_in_time(settings(), Deadlines { body: SOON, ..Deadlines::DEFAULT }).await;
    let (addr, soft, serving) = serve_api(&api, 2).await;
    let mut client = TcpStream::connect(addr).await.unwrap();
    let request = "POST /auth/login HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let head = head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 408"), "{head}");
    soft.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_panic_is_an_answer_without_details_and_the_next_request_works() {
    let api = TestApi::start().await;
    api.desk.panics.store(true, Ordering::Relaxed);
    let reply = api.get("/servers").await;
    reply.problem(500, "internal");
    assert!(!reply.text.contains("horse") && reply.json.get("detail").is_none(), "{reply:?}");
    api.desk.panics.store(false, Ordering::Relaxed);
    assert_eq!(api.get("/servers").await.status, 200);
}

#[tokio::test]
async fn a_broken_store_is_an_answer_without_details() {
    let api = TestApi::start().await;
    api.store.close().await;
    let reply = api.log_in("bob", PASSWORD).await;
    reply.problem(500, "internal");
    assert!(reply.json.get("detail").is_none(), "{reply:?}");
}

#[tokio::test]
async fn every_request_ends_by_the_deadline() {
    let api = TestApi::start_in_time(settings(), Deadlines { request: SOON, ..Deadlines::DEFAULT }).await;
    *api.desk.snapshot.lock().unwrap() = None;
    let started = tokio::time::Instant::now();
    api.get("/servers").await.problem(503, "hub-busy");
    assert!(started.elapsed() >= SOON);
}

#[tokio::test]
async fn requests_beyond_the_bound_are_refused_at_once_but_for_probes() {
    let api = TestApi::start_with(HttpSettings { requests_max: 1, ..settings() }).await;
    *api.desk.snapshot.lock().unwrap() = None;
    let mut held = std::pin::pin!(api.get("/servers"));
    tokio::select! {
        biased;
        reply = &mut held => panic!("{reply:?}"),
        () = api.desk.snapshot_asked.notified() => {}
    }
    let reply = tokio::select! {
        reply = api.get("/servers") => reply,
        () = api.desk.snapshot_asked.notified() => panic!("let through"),
    };
    reply.problem(503, "hub-busy");
    assert_eq!(reply.retry_after_s(), 1);
    for probe in ["/healthz", "/metrics"] {
        assert_eq!(api.get(probe).await.status, 200);
    }
    *api.desk.snapshot.lock().unwrap() = Some(Snapshot::default());
}

#[tokio::test]
async fn a_request_that_is_left_frees_its_place() {
    let api = TestApi::start_with(HttpSettings { requests_max: 1, ..settings() }).await;
    let snapshot = api.desk.snapshot.lock().unwrap().take();
    tokio::select! {
        biased;
        reply = api.get("/servers") => panic!("{reply:?}"),
        () = api.desk.snapshot_asked.notified() => {}
    }
    *api.desk.snapshot.lock().unwrap() = snapshot;
    assert_eq!(api.get("/servers").await.status, 200);
}

async fn serve_api(api: &TestApi, connections_max: usize) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    serve_router(api, connections_max, api.router.clone()).await
}

async fn serve_router(
    api: &TestApi,
    connections_max: usize,
    router: Router,
) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    let door = Door::new(DoorConfig {
        name: "http",
        connections_max,
        per_address_max: 100,
        exempt: Vec::new(),
        handshake_timeout: SOON,
    });
    let listener = Listener { socket, door, tls: None };
    let soft = CancellationToken::new();
    let serving = api.tasks.spawn(serve(listener, router, Arc::new([]), soft.clone()));
    (addr, soft, serving)
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
    let (addr, soft, serving) = serve_router(&api, 2, api.operators.clone()).await;
    let mut idle = TcpStream::connect(addr).await.unwrap();
    ask(&mut idle, "/healthz").await;
    assert!(head(&mut idle).await.starts_with("HTTP/1.1 200"));
    *api.desk.snapshot.lock().unwrap() = None;
    let mut running = TcpStream::connect(addr).await.unwrap();
    ask(&mut running, "/readyz").await;
    api.desk.snapshot_asked.notified().await;

    soft.cancel();
    assert_eq!(rest(&mut idle).await, "{\"status\":\"alive\"}", "and the end");
    // The one that runs gets its whole answer, and then the end.
    assert!(rest(&mut running).await.contains("\"not-ready\""));
    serving.await.unwrap();
}

#[tokio::test]
async fn a_connection_beyond_the_bound_waits_for_a_request_to_end_and_takes_an_idle_ones_place() {
    let api = TestApi::start().await;
    let (addr, soft, serving) = serve_api(&api, 1).await;
    *api.desk.snapshot.lock().unwrap() = None;
    let mut first = TcpStream::connect(addr).await.unwrap();
    ask(&mut first, "/healthz").await;
    head(&mut first).await;
    first.read_exact(&mut [0; 18]).await.unwrap();
    ask(&mut first, "/servers").await;
    api.desk.snapshot_asked.notified().await;
    let mut second = TcpStream::connect(addr).await.unwrap();
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
    let mut third = TcpStream::connect(addr).await.unwrap();
    ask(&mut third, "/healthz").await;
    assert!(head(&mut third).await.starts_with("HTTP/1.1 200"));
    soft.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn who_still_sends_a_body_holds_up_nobody() {
    let api = TestApi::start_with(HttpSettings { requests_max: 1, ..settings() }).await;
    let (addr, soft, serving) = serve_api(&api, 2).await;
    let unfinished = "POST /auth/login HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(unfinished.as_bytes()).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 100"), "its body is waited for");
        slow.push(stream);
    }
    // Both places are taken, and the newcomer gets the older one's; no request runs but its own.
    let mut newcomer = TcpStream::connect(addr).await.unwrap();
    ask(&mut newcomer, "/servers").await;
    assert!(head(&mut newcomer).await.starts_with("HTTP/1.1 200"));
    assert_eq!(rest(&mut slow[0]).await, "");
    slow[1].write_all(b"{}").await.unwrap();
    assert!(head(&mut slow[1]).await.starts_with("HTTP/1.1 422"));
    soft.cancel();
    serving.await.unwrap();
}
