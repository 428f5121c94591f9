//! Whatever comes in, a whole answer goes out, in time.

use super::*;

#[tokio::test]
async fn no_route_and_no_method_are_problems() {
    let api = TestApi::start().await;
    for path in ["/", "/auth/login/", "/auth", "/servers/alpha"] {
        api.get(path).await.problem(404, "not-found");
    }
    for route in routes::clients().map(|route| route.path) {
        let reply = api.send(Request::put(route).body(Body::empty()).unwrap()).await;
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
