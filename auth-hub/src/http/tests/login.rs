//! The order of a login, and what each step gives away.

use std::fmt::Write as _;
use std::task::Poll;

use super::*;
use crate::accounts::AccountState;

#[tokio::test]
async fn a_login_is_an_account_a_session_and_a_place() {
    let api = TestApi::start().await;
    let account = api.account("bob").await;
    let body = json!({ "login": "BOB", "password": PASSWORD, "server": "alpha", "region": "eu" });
    let reply = api.post("/auth/login", &body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let access = reply.json["access_token"].as_str().unwrap();
    let expected = json!({
        "account_id": account.id.to_string(),
        "display_name": "The bob",
        "access_token": access,
        "access_token_expires_in_s": 900,
        "message": null,
        "handover": {
            "handover_id": HANDOVER.to_string(),
            "server": { "id": "alpha", "name": "Alpha", "region": "eu" },
            "endpoints": [{ "transport": "tcp", "address": "127.0.0.1:7777" }],
            "token": placed().token.expose(),
            "expires_at_ms": START.0 + 90_000,
            "expires_in_ms": 90_000,
            "confirmed": true,
        },
        "queue": null,
    });
    assert_eq!(reply.json, expected);
    let asked = api.desk.asked.lock().unwrap();
    let [request] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((request.account, request.name.as_str()), (account.row, "The bob"));
    let server = request.server.as_ref().map(shared_msgs::ids::ServerId::as_str);
    assert_eq!((server, &*request.regions), (Some("alpha"), &["eu".to_owned()][..]));
}

#[tokio::test]
async fn who_wants_no_place_gets_none() {
    let api = TestApi::start().await;
    api.account("bob").await;
    let body = json!({ "login": "bob", "password": PASSWORD, "handover": false });
    let reply = api.post("/auth/login", &body).await;
    assert_eq!((reply.status.as_u16(), &reply.json["handover"]), (200, &Value::Null));
    assert!(reply.json["access_token"].is_string());
    assert!(api.desk.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn unknown_accounts_and_wrong_passwords_are_one_answer_at_one_price() {
    let api = TestApi::start().await;
    api.account("bob").await;
    let banned = api.account("eve").await;
    api.store.set_state(banned.row, AccountState::Banned).await.unwrap();
    let mut answers = Vec::new();
    for login in ["bob", "nobody", "eve"] {
        let before = api.hashes();
        let reply = api.log_in(login, "wrong horse").await;
        reply.problem(401, "invalid-credentials");
        assert_eq!(api.hashes() - before, 1, "{login}");
        answers.push((reply.text, format!("{:?}", reply.headers)));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // What nobody can have registered or set answers the same, and needs no hash to be known for wrong.
    let before = api.hashes();
    for (login, password) in [("no name at all", "x"), ("bob", "x".repeat(257).as_str())] {
        assert_eq!(api.log_in(login, password).await.text, answers[0].0);
    }
    assert_eq!(api.hashes(), before);
    assert!(api.desk.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_throttle_stands_before_the_hash() {
    let api = TestApi::start().await;
    api.account("bob").await;
    for _ in 0..3 {
        api.log_in("bob", "wrong horse").await.problem(401, "invalid-credentials");
    }
    let before = api.hashes();
    for login in ["bob", "BOB"] {
        let reply = api.log_in(login, PASSWORD).await;
        reply.problem(429, "too-many-attempts");
        assert_eq!(reply.retry_after_s(), 10);
    }
    assert_eq!(api.hashes(), before);
    api.clock.advance(Duration::from_millis(9_500));
    assert_eq!(api.log_in("bob", PASSWORD).await.retry_after_s(), 1, "rounded up");
    api.clock.advance(Duration::from_millis(500));
    // A right password gives its attempt back, so that it can be used at once again.
    for _ in 0..3 {
        assert_eq!(api.log_in("bob", PASSWORD).await.status, 200);
    }
}

/// Polls once.
async fn start<F: Future>(future: std::pin::Pin<&mut F>) {
    let mut future = future;
    std::future::poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn a_full_pool_is_said_at_once_and_costs_no_attempt() {
    let api = TestApi::start().await;
    api.account("bob").await;
    api.gate.close();
    let check = || api.pool.verify(Password::attempt(PASSWORD.to_owned()).unwrap(), None);
    let (mut running, mut waiting) = (std::pin::pin!(check()), std::pin::pin!(check()));
    start(running.as_mut()).await;
    api.gate.held().await;
    start(waiting.as_mut()).await;
    // More often than the name has attempts.
    for _ in 0..5 {
        let reply = api.log_in("bob", PASSWORD).await;
        reply.problem(503, "hub-busy");
        assert!(reply.retry_after_s() >= 1);
    }
    api.gate.open();
    running.await.unwrap();
    waiting.await.unwrap();
    assert_eq!(api.log_in("bob", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn who_is_shut_out_learns_it_with_the_right_password_only() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    for state in [AccountState::Disabled, AccountState::Banned] {
        api.store.set_state(bob.row, state).await.unwrap();
        let reply = api.log_in("bob", PASSWORD).await;
        reply.problem(403, "banned");
        assert!(reply.json.get("access_token").is_none());
        api.log_in("bob", "wrong horse").await.problem(401, "invalid-credentials");
    }
    assert!(api.desk.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_login_without_a_place_is_no_dead_end() {
    let api = TestApi::start().await;
    api.account("bob").await;
    for (why, status, code, retry_after_s) in [
        (NoPlace::NoServerOnline, 503, "no-server-online", json!(2)),
        (NoPlace::AllServersFull, 503, "all-servers-full", json!(5)),
        (NoPlace::HubBusy, 503, "hub-busy", json!(1)),
        (NoPlace::ServerFull, 409, "server-full", json!(5)),
        (NoPlace::ServerDraining, 409, "server-draining", Value::Null),
        (NoPlace::ServerUnknown, 404, "server-unknown", Value::Null),
        (NoPlace::TimedOut, 504, "handover-timed-out", json!(1)),
        (NoPlace::Kicked, 409, "kicked", Value::Null),
    ] {
        api.desk.script.lock().unwrap().push_back(why);
        let refused = api.log_in("bob", PASSWORD).await;
        refused.problem(status, code);
        assert_eq!(refused.json["handover_id"], HANDOVER.to_string());
        assert_eq!(refused.json["retry_after_s"], retry_after_s);
        assert_eq!(refused.json["access_token_expires_in_s"], 900);

        let before = api.hashes();
        let bearer = format!("Bearer {}", refused.json["access_token"].as_str().unwrap());
        let mut again = post("/handover", &json!({}));
        again.headers_mut().insert(header::AUTHORIZATION, bearer.parse().unwrap());
        assert_eq!(api.send(again).await.status, 200);
        assert_eq!(api.hashes(), before, "trying again hashes nothing");
    }
}

#[tokio::test]
async fn a_weaker_hash_is_replaced_behind_the_login() {
    let api = TestApi::start().await;
    let (rng, clock): (Arc<dyn Rng>, Arc<dyn Clock>) =
        (Arc::new(SystemRng::new()), Arc::new(SystemClock::new()));
    let config = PoolConfig {
        threads: NonZeroUsize::MIN,
        queue_checks_max: NonZeroUsize::MIN,
        cost: cheap(1),
        ..PoolConfig::default()
    };
    let weaker = PasswordPool::start(config, &CancellationToken::new(), &rng, &clock).unwrap();
    let phc = weaker.hash(Password::new(PASSWORD.to_owned()).unwrap()).await.unwrap();
    let login = "bob".parse().unwrap();
    let new = NewAccount { login, display_name: "Bob".parse().unwrap(), phc };
    let before = api.store.register(new).await.unwrap();

    assert_eq!(api.log_in("bob", PASSWORD).await.status, 200);
    api.state.finish().await;
    let after = api.store.by_login(&before.login).await.unwrap().unwrap();
    assert_ne!(after.phc, before.phc);
    let hashes = api.hashes();
    assert_eq!(api.log_in("bob", PASSWORD).await.status, 200);
    assert_eq!(api.hashes() - hashes, 1, "strong enough now");
}

#[tokio::test]
async fn logins_are_counted_by_their_answer() {
    let api = TestApi::start().await;
    api.account("bob").await;
    api.log_in("bob", PASSWORD).await;
    api.log_in("bob", "wrong horse").await;
    api.log_in("nobody", PASSWORD).await;
    api.desk.script.lock().unwrap().push_back(NoPlace::AllServersFull);
    api.log_in("bob", PASSWORD).await;
    let text = api.get("/metrics").await.text;
    for line in [
        "hub_logins_total{code=\"ok\"} 1",
        "hub_logins_total{code=\"invalid-credentials\"} 2",
        "hub_logins_total{code=\"all-servers-full\"} 1",
        "hub_http_requests_total{route=\"/auth/login\",status=\"401\"} 2",
        "hub_argon2_hashes_total 5",
        "hub_argon2_in_flight 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    }
}

/// Writes every field of every event and span of its thread down.
#[derive(Clone, Default)]
struct Everything(Arc<Mutex<String>>);

impl tracing::field::Visit for Everything {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0.lock().unwrap(), " {field}={value:?}");
    }
}

impl tracing::Subscriber for Everything {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let _ = write!(self.0.lock().unwrap(), "\n{}", event.metadata().target());
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// What a client can do that is worth a line; the answer to the good login.
async fn exercise(api: &TestApi) -> Reply {
    let new = json!({ "login": "bob", "password": PASSWORD });
    assert_eq!(api.post("/auth/register", &new).await.status, 201);
    let reply = api.log_in("bob", PASSWORD).await;
    api.log_in("bob", "wrong horse").await;
    api.desk.script.lock().unwrap().push_back(NoPlace::AllServersFull);
    api.log_in("bob", PASSWORD).await;
    // Broken in ways that make parsers quote.
    for body in [format!("{{\"login\": \"bob\", \"password\": {PASSWORD}}}"), format!("\"{PASSWORD}\"")] {
        let request = Request::post("/auth/login").header(header::CONTENT_TYPE, "application/json");
        let reply = api.send(request.body(Body::from(body)).unwrap()).await;
        reply.problem(400, "malformed-request");
        assert!(!reply.text.contains("horse"), "{reply:?}");
    }
    reply
}

#[tokio::test]
async fn no_secret_reaches_a_log() {
    // An event's first use, in whatever thread, decides whether anybody is interested in it; while there is but one subscriber, it is
    // that thread's own that is asked. So there are two, every event is used once, and then all are decided anew.
    shared_msgs::log_limit::lift();
    let _other = tracing::Dispatch::new(Everything::default());
    let log = Everything::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    exercise(&TestApi::start().await).await;
    tracing::callsite::rebuild_interest_cache();
    log.0.lock().unwrap().clear();
    let api = TestApi::start().await;
    let reply = exercise(&api).await;
    let shown = log.0.lock().unwrap().clone();
    let access = reply.json["access_token"].as_str().unwrap();
    let signature = access.rsplit('.').next().unwrap();
    for secret in ["horse", "argon2id", signature, placed().token.expose()] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let account = reply.json["account_id"].as_str().unwrap();
    for told in [
        format!("message=account.registered account_id={account}"),
        format!("message=login.verified account_id={account}"),
        format!(
            "message=login.answered account_id={account} handover_id={HANDOVER} server_id=alpha confirmed=true"
        ),
        "message=login.refused code=\"invalid-credentials\"".to_owned(),
        format!(
            "message=login.refused account_id={account} handover_id={HANDOVER} code=\"all-servers-full\""
        ),
    ] {
        assert!(shown.contains(&told), "{told} in {shown}");
    }
    assert_eq!(shown.matches("login.refused").count(), 4, "each refusal once: {shown}");
}
