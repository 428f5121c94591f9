//! Maintenance, the least build and the message of the day, at the door.

use super::*;

#[tokio::test]
async fn maintenance_stops_all_but_a_few_and_only_those_who_know_their_password() {
    let api = TestApi::start().await;
    for login in ["bob", "eve"] {
        api.account(login).await;
    }
    let before = api.log_in("eve", PASSWORD).await;
    let bearer = format!("Bearer {}", before.json["access_token"].as_str().unwrap());
    let on = json!({ "message": "back at nine", "allow": ["BOB"], "operator": "grace", "why": "patch" });
    let reply = api.command("/admin/maintenance", &on).await;
    assert_eq!(
        reply.json["maintenance"],
        json!({ "message": "back at nine", "allow": ["bob"] }),
        "{reply:?}"
    );

    api.log_in("eve", "wrong horse").await.problem(401, "invalid-credentials");
    let mut moved = post("/handover", &json!({}));
    moved.headers_mut().insert(header::AUTHORIZATION, bearer.parse().unwrap());
    for refused in [api.log_in("eve", PASSWORD).await, api.send(moved).await] {
        refused.problem(503, "maintenance");
        assert_eq!((&refused.json["detail"], refused.retry_after_s()), (&json!("back at nine"), 60));
    }
    assert_eq!(api.log_in("bob", PASSWORD).await.status, 200, "on the list");
    assert_eq!(api.get("/servers").await.status, 200, "the list of servers stays");
    assert_eq!(api.store.entry_rules().await.unwrap().maintenance.unwrap().message, "back at nine");

    let off = api.command("/admin/maintenance", &json!({ "operator": "grace", "why": "patch" })).await;
    assert_eq!(off.json["maintenance"], Value::Null);
    assert_eq!(api.log_in("eve", PASSWORD).await.status, 200);
    assert_eq!(api.store.entry_rules().await.unwrap(), EntryRules::default());
    let rows = api.store.audit_last(2).await.unwrap();
    let told: Vec<_> = rows.iter().map(|row| (&*row.action, &*row.target, &*row.reason)).collect();
    let on = ("maintenance-on", "back at nine (allowed: bob)", "patch");
    assert_eq!(told, [("maintenance-off", "", "patch"), on], "whom it lets in is written down, too");
}

#[tokio::test]
async fn clients_below_the_least_build_are_told_to_update() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let log_in = async |build: Value| {
        api.post("/auth/login", &json!({ "login": "bob", "password": PASSWORD, "build": build })).await
    };
    assert_eq!(log_in(json!("0.1")).await.status, 200, "nobody asks");
    assert_eq!(
        api.command("/admin/min-build", &json!({ "build": "1.10", "operator": "grace", "why": "patch" }))
            .await
            .status,
        200
    );
    let before = api.hashes();
    for old in [json!("1.9.9"), Value::Null] {
        let refused = log_in(old).await;
        refused.problem(403, "client-too-old");
        assert_eq!(refused.json["detail"], "the least build is 1.10");
    }
    assert_eq!(api.hashes(), before, "an old client costs no hash");
    assert_eq!(log_in(json!("1.10.0")).await.status, 200);
    let token = AccessTokens::new(&[3; 32], LIFE).issue(bob.id, START, &SeededRng::new(5));
    for (body, status) in [(json!({}), 403), (json!({ "build": "1.9" }), 403), (json!({ "build": "2" }), 200)]
    {
        let mut request = post("/handover", &body);
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, format!("Bearer {}", token.expose()).parse().unwrap());
        assert_eq!(api.send(request).await.status, status, "{body}");
    }
    log_in(json!("1.x")).await.problem(422, "invalid-request");
    assert_eq!(
        api.command("/admin/min-build", &json!({ "operator": "grace", "why": "patch" })).await.json["build_min"],
        Value::Null
    );
    assert_eq!(api.log_in("bob", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn the_message_of_the_day_is_read_by_everybody() {
    let api = TestApi::start().await;
    api.account("bob").await;
    for message in [json!("harvest festival"), Value::Null] {
        let set = json!({ "message": message, "operator": "grace", "why": "patch" });
        assert_eq!(api.command("/admin/message", &set).await.json["message"], message);
        assert_eq!(api.log_in("bob", PASSWORD).await.json["message"], message);
        assert_eq!(api.get("/servers").await.json["message"], message);
    }
    // The others are left alone.
    let rules = api
        .command("/admin/min-build", &json!({ "build": "1.2", "operator": "grace", "why": "patch" }))
        .await;
    assert_eq!(rules.json, json!({ "maintenance": null, "build_min": "1.2", "message": null }));
}
