//! What probes see.

use super::*;
use crate::fleet::{Population, ServerSummary};

#[tokio::test]
async fn servers_are_listed_for_anybody() {
    let api = TestApi::start().await;
    let server = ServerSummary {
        id: "alpha".parse().unwrap(),
        name: "Alpha".to_owned(),
        region: "eu".to_owned(),
        build: "1.0".to_owned(),
        state: "online",
        labels: vec!["pvp".to_owned()],
        message: "Hello".to_owned(),
        population: Population::Low,
        players: 3,
        max_players: 10,
    };
    *api.desk.snapshot.lock().unwrap() = Some(Snapshot { link_up: true, servers: vec![server] });
    let reply = api.get("/servers").await;
    assert_eq!(reply.status, 200);
    let expected = json!({ "message": null, "servers": [{
        "id": "alpha", "name": "Alpha", "region": "eu", "build": "1.0", "state": "online",
        "labels": ["pvp"], "message": "Hello",
        "population": "low", "players": 3, "max_players": 10,
    }]});
    assert_eq!(reply.json, expected);
}

#[tokio::test]
async fn only_the_list_itself_may_be_kept_and_no_refusal_in_its_place() {
    let api = TestApi::start().await;
    for (method, body, status) in [("GET", "", 200), ("HEAD", "", 200), ("GET", "{}", 422), ("POST", "", 405)]
    {
        let request = Request::builder().method(method).uri("/servers");
        let reply = api.send(request.body(Body::from(body)).unwrap()).await;
        // What may be kept is checked of every reply.
        assert_eq!(reply.status, status, "{method} {body}");
    }
    let full = TestApi::start_with(HttpSettings { requests_max: 0, ..settings() }).await;
    full.get("/servers").await.problem(503, "hub-busy");
}

#[tokio::test]
async fn ready_is_when_all_parts_are_up() {
    let api = TestApi::start().await;
    assert_eq!(api.get("/readyz").await.status, 200);
    *api.desk.snapshot.lock().unwrap() = Some(Snapshot::default());
    let reply = api.get("/readyz").await;
    reply.problem(503, "not-ready");
    assert_eq!(reply.json["detail"], "link");
    api.stopping.cancel();
    api.store.close().await;
    let reply = api.get("/readyz").await;
    reply.problem(503, "not-ready");
    assert_eq!(reply.json["detail"], "store, link, stopping");
    assert_eq!(api.get("/healthz").await.status, 200, "alive all the same");
}

#[tokio::test]
async fn a_desk_that_does_not_answer_is_not_ready() {
    let deadlines = Deadlines { probe: SOON, ..Deadlines::DEFAULT };
    let api = TestApi::start_in_time(settings(), deadlines).await;
    *api.desk.snapshot.lock().unwrap() = None;
    let reply = api.get("/readyz").await;
    reply.problem(503, "not-ready");
    assert!(reply.json["detail"].as_str().unwrap().ends_with("desk, link"), "{reply:?}");
}

#[tokio::test]
async fn metrics_have_bounded_labels() {
    let api = TestApi::start().await;
    api.get("/healthz").await;
    api.get("/no/such/thing").await;
    api.get("/nor/this").await;
    let reply = api.get("/metrics").await;
    assert!(
        reply.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("application/openmetrics-text")
    );
    for line in [
        "hub_http_requests_total{route=\"/healthz\",status=\"200\"} 1",
        "hub_http_requests_total{route=\"other\",status=\"404\"} 2",
        "# EOF",
    ] {
        assert!(reply.text.lines().any(|l| l == line), "{line} in {}", reply.text);
    }
}
