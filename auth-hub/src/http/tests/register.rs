//! Who may register as what, how often.

use super::*;

fn body(login: &str) -> Value {
    json!({ "login": login, "password": PASSWORD })
}

#[tokio::test]
async fn an_account_is_made_and_can_log_in() {
    let api = TestApi::start().await;
    let new = json!({ "login": "Bob", "password": PASSWORD, "display_name": " Bob ☂ " });
    let reply = api.post("/auth/register", &new).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let account = api.store.by_login(&"bob".parse().unwrap()).await.unwrap().unwrap();
    let expected = json!({ "account_id": account.id.to_string(), "login": "bob", "display_name": "Bob ☂" });
    assert_eq!(reply.json, expected);
    assert_eq!(api.log_in("bob", PASSWORD).await.status, 200);
    let reply = api.post("/auth/register", &body("Carol")).await;
    assert_eq!(reply.json["display_name"], "Carol", "as typed, for want of another");
}

#[tokio::test]
async fn a_taken_name_is_refused_and_costs_no_hash() {
    let api = TestApi::start().await;
    api.account("bob").await;
    let before = api.hashes();
    api.post("/auth/register", &body("BOB")).await.problem(409, "login-taken");
    assert_eq!(api.hashes(), before);
}

#[tokio::test]
async fn what_cannot_be_is_named_and_not_repeated() {
    let api = TestApi::start().await;
    for (body, code, says) in [
        (json!({ "login": "b!b", "password": PASSWORD }), "invalid-login", "consists of"),
        (json!({ "login": "bo", "password": PASSWORD }), "invalid-login", "3 to 32"),
        (json!({ "login": "bob", "password": "horse" }), "invalid-password", "at least 8"),
        (json!({ "login": "bob", "password": "horse".repeat(60) }), "invalid-password", "at most 256"),
        (
            json!({ "login": "bob", "password": PASSWORD, "display_name": "b\nhorse" }),
            "invalid-display-name",
            "control",
        ),
        (json!({ "login": "bob" }), "invalid-request", "`password` is missing"),
        (json!({ "login": "bob", "password": ["horse"] }), "invalid-request", "`password` must be a text"),
        (json!({ "login": 5, "password": PASSWORD }), "invalid-request", "`login` must be a text"),
    ] {
        let reply = api.post("/auth/register", &body).await;
        reply.problem(422, code);
        assert!(reply.json["detail"].as_str().unwrap().contains(says), "{says} in {reply:?}");
        assert!(!reply.text.contains("horse") && !reply.text.contains("b!b"), "{reply:?}");
    }
    assert_eq!(api.hashes(), 0);
}

#[tokio::test]
async fn registration_can_be_closed() {
    let api = TestApi::start_with(HttpSettings { registration_open: false, ..settings() }).await;
    api.post("/auth/register", &body("bob")).await.problem(403, "registration-closed");
    assert_eq!(api.hashes(), 0);
}

#[tokio::test]
async fn registrations_are_throttled_by_address_and_spend_nobodys_logins() {
    let api = TestApi::start().await;
    api.account("bob").await;
    for _ in 0..4 {
        api.post("/auth/register", &body("bob")).await.problem(409, "login-taken");
    }
    let before = api.hashes();
    let reply = api.post("/auth/register", &body("carol")).await;
    reply.problem(429, "too-many-attempts");
    assert_eq!((reply.retry_after_s(), api.hashes()), (10, before));
    let mut elsewhere = post("/auth/register", &body("carol"));
    elsewhere.extensions_mut().insert(from("127.0.0.2".parse().unwrap()));
    assert_eq!(api.send(elsewhere).await.status, 201);
    // The name has three attempts, untouched by those who tried to register it.
    for _ in 0..3 {
        api.log_in("bob", "wrong horse").await.problem(401, "invalid-credentials");
    }
}
