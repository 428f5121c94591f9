//! The access token and what it still has to stand up to.

use std::collections::BTreeMap;

use shared_msgs::ids::AccountId;

use super::*;
use crate::accounts::AccountState;
use crate::sessions::AccessToken;

fn with_bearer(token: &str, body: &Value) -> Request<Body> {
    let mut request = post("/handover", body);
    request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    request
}

fn issue(id: AccountId) -> AccessToken {
    AccessTokens::new(&[3; 32], LIFE).issue(id, START, &SeededRng::new(5))
}

#[tokio::test]
async fn a_bearer_is_handed_over() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let token = issue(bob.id);
    let wishes = json!({ "server": "alpha", "region": "" });
    let reply = api.send(with_bearer(token.expose(), &wishes)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json["handover_id"], HANDOVER.to_string());
    assert_eq!(reply.json["token"], placed().token.expose());
    // No body is no wish, and neither needs a content type.
    let bare =
        Request::post("/handover").header(header::AUTHORIZATION, format!("bearer  {}", token.expose()));
    assert_eq!(api.send(bare.body(Body::empty()).unwrap()).await.status, 200);
    let asked = api.desk.asked.lock().unwrap();
    let [first, second] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((first.account, first.name.as_str()), (bob.row, "The bob"));
    assert_eq!(first.server.as_ref().unwrap().as_str(), "alpha");
    assert_eq!((first.regions.len(), &second.server, second.regions.len()), (0, &None, 0));
}

#[tokio::test]
async fn who_shows_no_genuine_token_is_refused() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let token = issue(bob.id);
    let foreign = AccessTokens::new(&[4; 32], LIFE).issue(bob.id, START, &SeededRng::new(5));
    let nobody = issue(AccountId([1; 16]));
    api.send(post("/handover", &json!({}))).await.problem(401, "access-token-invalid");
    for text in ["", "x", foreign.expose(), nobody.expose(), &format!("{}x", token.expose())] {
        api.send(with_bearer(text, &json!({}))).await.problem(401, "access-token-invalid");
    }
    let mut basic = post("/handover", &json!({}));
    let value = format!("Basic {}", token.expose());
    basic.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
    api.send(basic).await.problem(401, "access-token-invalid");

    api.clock.advance(LIFE);
    let reply = api.send(with_bearer(token.expose(), &json!({}))).await;
    reply.problem(401, "access-token-expired");
    assert!(reply.headers[header::WWW_AUTHENTICATE].to_str().unwrap().contains("expired"));
    assert!(api.desk.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_accounts_state_is_read_every_time() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let token = issue(bob.id);
    assert_eq!(api.send(with_bearer(token.expose(), &json!({}))).await.status, 200);
    for state in [AccountState::Disabled, AccountState::Banned] {
        api.store.set_state(bob.row, state).await.unwrap();
        api.send(with_bearer(token.expose(), &json!({}))).await.problem(403, "banned");
    }
    api.store.set_state(bob.row, AccountState::Active).await.unwrap();
    assert_eq!(api.send(with_bearer(token.expose(), &json!({}))).await.status, 200);
    assert_eq!(api.desk.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_refused_handover_names_its_id_and_gives_no_new_token() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    api.desk.script.lock().unwrap().push_back(NoPlace::ServerFull);
    let reply = api.send(with_bearer(issue(bob.id).expose(), &json!({ "server": "alpha" }))).await;
    reply.problem(409, "server-full");
    assert_eq!(reply.json["handover_id"], HANDOVER.to_string());
    assert!(reply.json.get("access_token").is_none());
}

#[tokio::test]
async fn an_account_in_a_loop_does_not_reach_the_desk() {
    let handovers = Bucket { burst: 2, refill: Duration::from_secs(3), keys_max: 100 };
    let api = TestApi::start_with(HttpSettings { handovers, ..settings() }).await;
    let [bob, eve] = [api.account("bob").await, api.account("eve").await];
    // A login's handover counts like any other.
    assert_eq!(api.log_in("bob", PASSWORD).await.status, 200);
    let again = async |id| api.send(with_bearer(issue(id).expose(), &json!({}))).await;
    assert_eq!(again(bob.id).await.status, 200);
    let reply = again(bob.id).await;
    reply.problem(429, "too-many-attempts");
    assert_eq!((reply.retry_after_s(), reply.json.get("access_token")), (3, None));
    let reply = api.log_in("bob", PASSWORD).await;
    reply.problem(429, "too-many-attempts");
    assert_eq!((reply.retry_after_s(), &reply.json["access_token_expires_in_s"]), (3, &json!(900)));
    assert!(reply.json["access_token"].is_string(), "the password was right");
    assert_eq!(api.desk.asked.lock().unwrap().len(), 2);

    let session = json!({ "login": "bob", "password": PASSWORD, "handover": false });
    assert_eq!(api.post("/auth/login", &session).await.status, 200, "no place, no handover");
    assert_eq!(again(eve.id).await.status, 200, "everybody has their own");
    api.clock.advance(Duration::from_secs(3));
    assert_eq!(again(bob.id).await.status, 200);
    again(bob.id).await.problem(429, "too-many-attempts");
}

#[tokio::test]
async fn regions_are_asked_for_in_their_order() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let token = issue(bob.id);
    let most: Vec<_> = (0..8).map(|n| format!("{n}{}", "x".repeat(63))).collect();
    for (body, regions) in [
        (json!({ "regions": ["eu-west", "eu"] }), vec!["eu-west", "eu"]),
        (json!({ "regions": most }), most.iter().map(String::as_str).collect()),
        (json!({ "region": "eu", "regions": [] }), vec!["eu"]),
        (json!({ "region": "eu", "regions": null }), vec!["eu"]),
        (json!({ "region": "", "regions": ["us"] }), vec!["us"]),
        (json!({ "regions": [] }), vec![]),
    ] {
        api.send(with_bearer(token.expose(), &body)).await;
        assert_eq!(api.desk.asked.lock().unwrap().pop().unwrap().regions, regions, "{body}");
    }
}

#[tokio::test]
async fn figures_labels_and_indifference_reach_the_desk() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let token = issue(bob.id);
    let most: serde_json::Map<_, _> = (0..16).map(|n| (format!("r{n}"), json!(60_000))).collect();
    for (body, latencies, labels, is_sticky) in [
        (json!({ "latencies": { "eu": 23, "us": 110.0 } }), vec![("eu", 23), ("us", 110)], vec![], true),
        (json!({ "latencies": { "": 0 }, "sticky": null }), vec![("", 0)], vec![], true),
        (json!({ "latencies": {}, "regions": ["eu"], "sticky": false }), vec![], vec![], false),
        (json!({ "labels": ["pvp", "mode=ranked"] }), vec![], vec!["pvp", "mode=ranked"], true),
        (json!({ "labels": null, "latencies": null }), vec![], vec![], true),
    ] {
        assert_eq!(api.send(with_bearer(token.expose(), &body)).await.status, 200, "{body}");
        let asked = api.desk.asked.lock().unwrap().pop().unwrap();
        let mut told: Vec<_> = asked.latencies.iter().map(|(region, ms)| (region.as_str(), *ms)).collect();
        told.sort_unstable();
        assert_eq!((told, asked.is_sticky), (latencies, is_sticky), "{body}");
        assert_eq!(asked.labels, labels, "{body}");
    }
    api.send(with_bearer(token.expose(), &json!({ "latencies": most }))).await;
    assert_eq!(api.desk.asked.lock().unwrap().pop().unwrap().latencies.len(), 16);
}

#[tokio::test]
async fn a_lack_of_labelled_servers_is_told_apart() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let token = issue(bob.id);
    for (why, body, is_told) in [
        (NoPlace::NoServerOnline, json!({ "labels": ["pvp"] }), true),
        (NoPlace::AllServersFull, json!({ "labels": ["pvp"] }), true),
        (NoPlace::ServerUnknown, json!({ "labels": ["pvp"] }), true),
        (NoPlace::AllServersFull, json!({}), false),
        (NoPlace::HubBusy, json!({ "labels": ["pvp"] }), false),
    ] {
        api.desk.script.lock().unwrap().push_back(why);
        let reply = api.send(with_bearer(token.expose(), &body)).await;
        let status = if why == NoPlace::ServerUnknown { 404 } else { 503 };
        reply.problem(status, why.code());
        let detail = reply.json.get("detail").and_then(serde_json::Value::as_str);
        assert_eq!(detail.is_some_and(|detail| detail.contains("labels")), is_told, "{why} {body}");
    }
}

#[tokio::test]
async fn who_is_in_game_already_hears_so_and_when_to_come_back() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    api.desk.script.lock().unwrap().push_back(NoPlace::DuplicateLogin);
    let reply = api.send(with_bearer(issue(bob.id).expose(), &json!({}))).await;
    reply.problem(409, "duplicate-login");
    assert_eq!(reply.retry_after_s(), 5);
}

#[tokio::test]
async fn impossible_wishes_are_named() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let token = issue(bob.id);
    for (body, says) in [
        (json!({ "server": "NO NAME" }), "`server` is not a server id"),
        (json!({ "server": 1 }), "`server` must be a text"),
        (json!({ "region": "x".repeat(65) }), "`region` has at most 64 bytes"),
        (json!({ "regions": "eu" }), "`regions` must be a list of texts"),
        (json!({ "regions": ["eu", null] }), "`regions` must be a list of texts"),
        (json!({ "regions": ["eu", ["us"]] }), "`regions` must be a list of texts"),
        (json!({ "regions": vec!["eu"; 9] }), "`regions` has at most 8 of them"),
        (json!({ "regions": vec!["eu"; 2_000] }), "`regions` has at most 8 of them"),
        (json!({ "regions": ["eu", ""] }), "`regions` has texts of 1 to 64 bytes"),
        (json!({ "regions": ["x".repeat(65)] }), "`regions` has texts of 1 to 64 bytes"),
        (json!({ "region": "eu", "regions": ["eu"] }), "`regions` does not stand beside `region`"),
        (json!({ "region": ["eu"] }), "`region` must be a text"),
        (json!({ "latencies": [23] }), "`latencies` must be an object of whole numbers"),
        (json!({ "latencies": 23 }), "`latencies` must be an object of whole numbers"),
        (json!({ "latencies": { "eu": "23" } }), "`latencies` must be an object of whole numbers"),
        (json!({ "latencies": { "eu": 2.5 } }), "`latencies` must be an object of whole numbers"),
        (json!({ "latencies": { "eu": -1 } }), "`latencies` must be an object of whole numbers"),
        (json!({ "latencies": { "eu": { "ms": 1 } } }), "`latencies` must be an object of whole numbers"),
        (json!({ "latencies": { "eu": 60_001 } }), "`latencies` has numbers of 0 to 60000"),
        (json!({ "latencies": { "eu": u64::MAX } }), "`latencies` has numbers of 0 to 60000"),
        (json!({ "latencies": { "x".repeat(65): 1 } }), "`latencies` has names of at most 64 bytes"),
        (
            json!({ "latencies": (0..17).map(|n| (n.to_string(), 1)).collect::<BTreeMap<_, _>>() }),
            "`latencies` has at most 16 of them",
        ),
        (json!({ "region": "eu", "latencies": { "eu": 1 } }), "`latencies` does not stand beside `region`"),
        (
            json!({ "regions": ["eu"], "latencies": { "eu": 1 } }),
            "`latencies` does not stand beside `regions`",
        ),
        (json!({ "labels": "pvp" }), "`labels` must be a list of texts"),
        (json!({ "labels": vec!["pvp"; 9] }), "`labels` has at most 8 of them"),
        (
            json!({ "labels": ["PvP"] }),
            "`labels` has texts of 1 to 32 of a-z, 0-9, -, = and ., a letter or digit first",
        ),
        (json!({ "sticky": "yes" }), "`sticky` must be true or false"),
    ] {
        let reply = api.send(with_bearer(token.expose(), &body)).await;
        reply.problem(422, "invalid-request");
        assert_eq!(reply.json["detail"], says);
    }
    let twice = r#"{ "latencies": { "eu": 1, "eu": 2 } }"#;
    let mut request = with_bearer(token.expose(), &json!({}));
    *request.body_mut() = Body::from(twice);
    request.headers_mut().remove(header::CONTENT_LENGTH);
    let reply = api.send(request).await;
    reply.problem(422, "invalid-request");
    assert_eq!(reply.json["detail"], "`latencies` names a region twice");
    let body = json!({ "login": "bob", "password": PASSWORD, "handover": "yes" });
    let reply = api.post("/auth/login", &body).await;
    reply.problem(422, "invalid-request");
    assert_eq!(reply.json["detail"], "`handover` must be true or false");
}
