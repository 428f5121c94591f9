//! A request that is sent again: one deed, one answer, and nothing for who only has the key.

use std::sync::atomic::AtomicU32;

use shared_msgs::ids::AccountId;

use super::*;
use crate::queue::Standing;
use crate::sessions::AccessToken;

const KEY: &str = "0123456789abcdef";

fn keyed(mut request: Request<Body>, key: &str) -> Request<Body> {
    request.headers_mut().append("idempotency-key", key.parse().unwrap());
    request
}

fn login(login: &str, password: &str) -> Request<Body> {
    keyed(post("/auth/login", &json!({ "login": login, "password": password })), KEY)
}

fn bearer(id: AccountId) -> AccessToken {
    AccessTokens::new(&[3; 32], LIFE).issue(id, START, &SeededRng::new(5))
}

fn handover(id: AccountId, body: &Value) -> Request<Body> {
    let mut request = keyed(post("/handover", body), KEY);
    let value = format!("Bearer {}", bearer(id).expose());
    request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
    request
}

impl TestApi {
    fn handovers(&self) -> usize {
        self.desk.asked.lock().unwrap().len()
    }

    /// Nothing of an earlier request is still being written.
    async fn at_rest(&self) {
        tokio::time::timeout(Duration::from_secs(10), self.state.finish()).await.unwrap();
    }
}

#[tokio::test]
async fn a_login_that_is_sent_again_gets_the_same_answer_for_a_minute() {
    let api = TestApi::start().await;
    api.account("bob").await;
    let first = api.send(login("bob", PASSWORD)).await;
    assert_eq!((first.status.as_u16(), first.headers.get(header::AGE)), (200, None), "{first:?}");
    api.at_rest().await;
    api.clock.advance(Duration::from_millis(10_500));
    let before = api.hashes();
    let again = api.send(login("bob", PASSWORD)).await;
    assert_eq!((again.status.as_u16(), &again.headers[header::AGE]), (200, &"10".parse().unwrap()));
    assert_eq!(again.headers[header::CONTENT_TYPE], first.headers[header::CONTENT_TYPE]);
    let mut expected = first.json.clone();
    expected["handover"]["expires_in_ms"] = json!(79_500);
    expected["access_token_expires_in_s"] = json!(889);
    assert_eq!(again.json, expected);
    assert_eq!(
        (api.handovers(), api.hashes() - before),
        (1, 1),
        "one place; each time the price of a password"
    );

    api.clock.advance(Duration::from_millis(49_500));
    let anew = api.send(login("bob", PASSWORD)).await;
    assert_eq!((anew.status.as_u16(), api.handovers()), (200, 2));
    assert_ne!(anew.json["access_token"], first.json["access_token"]);
}

#[tokio::test]
async fn a_key_alone_is_worth_nothing() {
    let api = TestApi::start().await;
    api.account("bob").await;
    api.account("eve").await;
    // A wrong password claims nothing.
    api.send(login("bob", "wrong horse")).await.problem(401, "invalid-credentials");
    let first = api.send(login("bob", PASSWORD)).await;
    assert_eq!(first.status, 200);
    api.at_rest().await;
    let before = api.hashes();
    let wrong = api.send(login("bob", "wrong horse")).await;
    wrong.problem(401, "invalid-credentials");
    assert_eq!(api.hashes() - before, 1);
    let fresh = api.log_in("bob", "wrong horse").await;
    assert_eq!((&wrong.text, wrong.headers), (&fresh.text, fresh.headers), "as if there were no key");
    // Two accounts with one key do not meet.
    let eve = api.send(login("eve", PASSWORD)).await;
    assert_eq!((eve.status.as_u16(), &eve.json["display_name"]), (200, &json!("The eve")));
    assert_eq!(api.handovers(), 2);
}

#[tokio::test]
async fn a_key_is_one_request_on_one_route() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    assert_eq!(api.send(login("bob", PASSWORD)).await.status, 200);
    assert_eq!(api.send(handover(bob.id, &json!({ "server": "alpha" }))).await.status, 200, "another route");
    api.at_rest().await;
    for body in [json!({ "server": "beta" }), json!({})] {
        api.send(handover(bob.id, &body)).await.problem(422, "idempotency-key-reused");
    }
    let body = json!({ "login": "bob", "password": PASSWORD, "handover": false });
    api.send(keyed(post("/auth/login", &body), KEY)).await.problem(422, "idempotency-key-reused");
    assert_eq!(api.handovers(), 2);
}

#[tokio::test]
async fn keys_are_random_texts_of_a_size() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    for key in ["", "0123456789abcde", &"x".repeat(65), "0123456789 abcdef", "0123456789abcde\u{e4}"] {
        let reply = api.send(keyed(post("/auth/login", &json!({})), key)).await;
        reply.problem(422, "invalid-request");
        assert!(reply.json["detail"].as_str().unwrap().contains("Idempotency-Key"), "{reply:?}");
    }
    api.send(keyed(login("bob", PASSWORD), KEY)).await.problem(422, "invalid-request");
    for key in ["!~#$%&'()*+,-./:", &"x".repeat(64)] {
        let body = json!({ "login": "bob", "password": PASSWORD });
        assert_eq!(api.send(keyed(post("/auth/login", &body), key)).await.status, 200, "{key}");
    }
    // Nobody else reads it.
    let list = Request::get("/servers").header("idempotency-key", "x").body(Body::empty()).unwrap();
    assert_eq!(api.send(list).await.status, 200);
    let _ = bob;
}

#[tokio::test]
async fn what_came_to_nothing_is_tried_again() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let refusals = [NoPlace::AllServersFull, NoPlace::HubBusy, NoPlace::TimedOut, NoPlace::NoServerOnline];
    api.desk.script.lock().unwrap().extend(refusals);
    for why in refusals {
        let reply = api.send(handover(bob.id, &json!({}))).await;
        assert_eq!(reply.json["code"], why.code());
        api.at_rest().await;
    }
    // Another wish is another request now: the key stands for nothing.
    assert_eq!(api.send(handover(bob.id, &json!({ "server": "alpha" }))).await.status, 200);
    assert_eq!(api.handovers(), 5);
}

#[tokio::test]
async fn the_throttle_counts_deeds_and_stands_before_the_claim() {
    let handovers = Bucket { burst: 1, refill: Duration::from_secs(3), keys_max: 10 };
    let api = TestApi::start_with(HttpSettings { handovers, ..settings() }).await;
    let bob = api.account("bob").await;
    for _ in 0..4 {
        assert_eq!(api.send(handover(bob.id, &json!({}))).await.status, 200);
        api.at_rest().await;
    }
    let commits = api.store.writer().commits();
    let refused = api.send(login("bob", PASSWORD)).await;
    refused.problem(429, "too-many-attempts");
    assert!(refused.json["access_token"].is_string(), "the password was right");
    api.at_rest().await;
    assert!(api.store.writer().commits() - commits <= 1, "at most a release: nothing was claimed");
    api.clock.advance(Duration::from_secs(3));
    assert_eq!(api.send(login("bob", PASSWORD)).await.status, 200);
    assert_eq!(api.handovers(), 2);
}

#[tokio::test]
async fn a_ticket_is_asked_for_again_by_the_same_request_alone_and_counts_once() {
    let handovers = Bucket { burst: 1, refill: Duration::from_secs(170), keys_max: 10 };
    let api = TestApi::start_with(HttpSettings { handovers, ..settings() }).await;
    let bob = api.account("bob").await;
    let queued = |position| Ok(Answered::Queued(super::queue::view(Standing::Waiting, position)));
    api.desk.tickets.lock().unwrap().extend([queued(9), queued(8)]);
    for position in [9, 8] {
        let reply = api.send(handover(bob.id, &json!({}))).await;
        assert_eq!((reply.status.as_u16(), &reply.json["position"]), (202, &json!(position)), "as it stands");
        assert!(reply.headers.get(header::AGE).is_none(), "it is a new answer");
        api.at_rest().await;
        api.clock.advance(Duration::from_millis(59_999));
        api.send(handover(bob.id, &json!({ "server": "alpha" })))
            .await
            .problem(422, "idempotency-key-reused");
        api.at_rest().await;
    }
    // A place is the end of it: that is kept.
    for _ in 0..2 {
        assert_eq!(api.send(handover(bob.id, &json!({}))).await.status, 200);
        api.at_rest().await;
    }
    assert_eq!(api.handovers(), 3);
    api.clock.advance(Duration::from_mins(1));
    assert_eq!(api.send(handover(bob.id, &json!({ "server": "alpha" }))).await.status, 200, "a new request");
}

#[tokio::test]
async fn what_has_ended_is_cleared_away_at_the_start_and_by_a_timer() {
    let quick = Deadlines { prune: Duration::from_millis(1), ..Deadlines::DEFAULT };
    let api = TestApi::start_in_time(settings(), quick).await;
    let bob = api.account("bob").await;
    let keys = AnswerKeys::new(&FleetKeys::generate(&SeededRng::new(3)));
    let (name, request) = keys.named_for_tests(bob.id, "/handover", KEY, b"{}");
    let stop = CancellationToken::new();
    let rounds = async {
        for _ in 0..2 {
            api.store.claim(name, request, START, START + Duration::from_millis(1)).await.unwrap();
            api.clock.advance(Duration::from_millis(1));
            while api.store.kept(&name).await.unwrap().is_some() {
                tokio::task::yield_now().await;
            }
        }
        stop.cancel();
    };
    let both = async { tokio::join!(prune_answers(api.state.clone(), stop.clone()), rounds) };
    tokio::time::timeout(Duration::from_secs(10), both).await.expect("they go");
}

#[tokio::test]
async fn twenty_at_once_are_one_handover() {
    let api = Arc::new(TestApi::start_with(HttpSettings { requests_max: 64, ..settings() }).await);
    let bob = api.account("bob").await;
    let held = CancellationToken::new();
    *api.desk.holds.lock().unwrap() = Some(held.clone());
    let crowd = TaskTracker::new();
    let (waiting, tokens) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
    for _ in 0..20 {
        let (api, waiting, tokens) = (Arc::clone(&api), Arc::clone(&waiting), Arc::clone(&tokens));
        crowd.spawn(async move {
            waiting.fetch_add(1, Ordering::Relaxed);
            let reply = api.send(handover(bob.id, &json!({}))).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            tokens.lock().unwrap().push(reply.json["token"].clone());
        });
    }
    api.desk.handover_asked.notified().await;
    while waiting.load(Ordering::Relaxed) < 20 {
        tokio::task::yield_now().await;
    }
    api.send(handover(bob.id, &json!({ "server": "alpha" }))).await.problem(422, "idempotency-key-reused");
    held.cancel();
    crowd.close();
    tokio::time::timeout(Duration::from_secs(10), crowd.wait()).await.unwrap();
    let tokens = tokens.lock().unwrap();
    assert_eq!((tokens.len(), api.handovers()), (20, 1));
    assert!(tokens.iter().all(|token| *token == tokens[0]));
}

#[tokio::test]
async fn a_client_that_did_not_wait_finds_its_answer() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let held = CancellationToken::new();
    *api.desk.holds.lock().unwrap() = Some(held.clone());
    tokio::select! {
        biased;
        reply = api.send(handover(bob.id, &json!({}))) => panic!("{reply:?}"),
        () = api.desk.handover_asked.notified() => {}
    }
    tokio::select! {
        biased;
        () = api.state.finish() => panic!("a hub that stops leaves it behind"),
        () = tokio::task::yield_now() => {}
    }
    held.cancel();
    api.at_rest().await;
    let reply = api.send(handover(bob.id, &json!({}))).await;
    assert_eq!((reply.status.as_u16(), api.handovers()), (200, 1));
    assert_eq!(reply.headers[header::AGE], "0");
}

#[tokio::test]
async fn a_claim_that_nobody_answered_holds_for_as_long_as_a_handover_may_take() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    // What a hub leaves behind that died over it.
    let keys = AnswerKeys::new(&FleetKeys::generate(&SeededRng::new(3)));
    let (name, request) = keys.named_for_tests(bob.id, "/handover", KEY, b"{}");
    api.store.claim(name, request, START, START + Duration::from_mins(1)).await.unwrap();
    let reply = api.send(handover(bob.id, &json!({}))).await;
    reply.problem(409, "request-in-progress");
    assert_eq!((reply.retry_after_s(), api.handovers()), (15, 0));
    api.at_rest().await;
    api.clock.advance(Duration::from_millis(14_100));
    assert_eq!(api.send(handover(bob.id, &json!({}))).await.retry_after_s(), 1);
    api.clock.advance(Duration::from_secs(1));
    assert_eq!((api.send(handover(bob.id, &json!({}))).await.status.as_u16(), api.handovers()), (200, 1));
}

#[tokio::test]
async fn nothing_is_written_without_a_key_and_no_token_with_one() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let commits = api.store.writer().commits();
    assert_eq!(api.log_in("bob", PASSWORD).await.status, 200);
    api.at_rest().await;
    assert_eq!(api.store.writer().commits(), commits, "without a key");
    let first = api.send(login("bob", PASSWORD)).await;
    api.at_rest().await;
    assert_eq!(api.store.writer().commits(), commits + 2, "a claim and an answer");
    assert_eq!(api.send(login("bob", PASSWORD)).await.json["handover"], first.json["handover"]);
    api.at_rest().await;
    assert_eq!(api.store.writer().commits(), commits + 2, "to repeat it writes nothing");

    let secrets = [&first.json["access_token"], &first.json["handover"]["token"]];
    let secrets = secrets.map(|secret| secret.as_str().unwrap().as_bytes());
    let mut found_name = false;
    for file in std::fs::read_dir(api.dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let has = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
        found_name |= has(bob.login.as_str().as_bytes());
        for text in secrets.into_iter().chain([KEY.as_bytes(), PASSWORD.as_bytes(), b"127.0.0.1:7777"]) {
            assert!(!has(text), "{}", String::from_utf8_lossy(text));
        }
        let digest = ring::digest::digest(
            &ring::digest::SHA256,
            b"{\"login\":\"bob\",\"password\":\"correct horse\"}",
        );
        assert!(
            !has(digest.as_ref()),
            "a plain digest of a password's request is as good as a weak hash of it"
        );
    }
    assert!(found_name, "these are the files that count");
}
