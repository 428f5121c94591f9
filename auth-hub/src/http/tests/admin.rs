//! The admin API's door, what each command asks of the desk, and what is written down of it.

use super::*;
use crate::handover::operations::OperationError;

fn with_key(path: &str, key: &str) -> Request<Body> {
    let mut request = post(path, &json!({}));
    request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {key}").parse().unwrap());
    request
}

/// Action, target and outcome of each row of the audit, the newest first.
async fn audit(api: &TestApi) -> Vec<(String, String, Option<String>)> {
    let rows = api.store.audit_last(50).await.unwrap();
    rows.into_iter().map(|row| (row.action, row.target, row.outcome)).collect()
}

#[tokio::test]
async fn without_the_key_there_is_nothing_and_wrong_ones_are_counted() {
    let api = TestApi::start().await;
    let right = admin_key();
    for path in ["/admin/servers", "/admin/ban", "/admin/nothing"] {
        let reply = api.send(post(path, &json!("not even an object"))).await;
        reply.problem(401, "admin-key-invalid");
    }
    for key in ["", &right.expose()[..42], &right.expose()[1..], &format!("{}x", right.expose())] {
        api.send(with_key("/admin/servers", key)).await.problem(401, "admin-key-invalid");
    }
    for _ in 0..3 {
        api.send(with_key("/admin/servers", "x")).await.problem(401, "admin-key-invalid");
    }
    let reply = api.send(with_key("/admin/servers", "x")).await;
    reply.problem(429, "too-many-attempts");
    assert_eq!(reply.retry_after_s(), 6);
    // Who holds the key is not shut out by those who do not.
    api.send(with_key("/admin/nothing", right.expose())).await.problem(404, "not-found");
    api.send(with_key("/admin/servers", right.expose())).await.problem(405, "method-not-allowed");
    api.clock.advance(Duration::from_secs(6));
    api.send(with_key("/admin/servers", "x")).await.problem(401, "admin-key-invalid");
    // Nor is any of it where clients and probes ask.
    for router in [&api.router, &api.operators] {
        let request = with_key("/admin/servers", right.expose());
        let mut request = Request::get(request.uri().clone()).body(Body::empty()).unwrap();
        request.extensions_mut().insert(from(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), 404);
    }
    assert!(api.operations.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_command_asks_for_what_it_says() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let with = |more: Value| {
        let mut body = json!({ "operator": "grace", "why": "because" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (path, body, asked, reply) in [
        ("drain", with(json!({ "server": "alpha", "within_s": 600 })), "drain alpha Some(600s)", "/within_s"),
        ("drain", with(json!({ "server": "alpha" })), "drain alpha None", "/server"),
        ("undrain", with(json!({ "server": "alpha" })), "undrain alpha", "/server"),
        ("broadcast", with(json!({ "text": "soon", "server": "alpha" })), "broadcast soon true", "/servers"),
        ("broadcast", with(json!({ "text": "soon" })), "broadcast soon false", "/servers"),
        ("kick", with(json!({ "player": "BOB" })), "end kicked", "/ended/servers/0"),
        ("kick", with(json!({ "player": bob.id.to_string() })), "end kicked", "/player/login"),
        ("where", json!({ "player": "bob" }), "find", "/places/0/handover_id"),
        ("explain", json!({ "player": "bob" }), "explain", "/handovers/0/steps/0/event"),
    ] {
        let answer = api.command(&format!("/admin/{path}"), &body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.json.pointer(reply).is_some_and(|value| !value.is_null()), "{path}: {answer:?}");
        api.operations.were_asked(&[asked]);
    }
    assert!(api.operations.ended.lock().unwrap().iter().all(|row| *row == bob.row));
    let key = format!("Bearer {}", admin_key().expose());
    let list = Request::get("/admin/servers").header(header::AUTHORIZATION, key).body(Body::empty()).unwrap();
    let list = api.send(list).await;
    let server = &list.json["servers"][0];
    assert_eq!(
        (&server["id"], &server["held"], &server["drain_until_ms"]),
        (&json!("alpha"), &json!(1), &json!(9))
    );
    let [kick, _, _, _, _, _, oldest] = &audit(&api).await[..] else { panic!("looking is not written down") };
    assert_eq!((kick.0.as_str(), kick.1.as_str()), ("kick", "bob"));
    assert_eq!(oldest, &("drain".to_owned(), "alpha within 600 s".to_owned(), Some("done".to_owned())));
}

#[tokio::test]
async fn what_the_desk_refuses_is_told_and_written_down() {
    let api = TestApi::start().await;
    api.account("bob").await;
    for (error, status, code) in [
        (OperationError::ServerUnknown, 404, "server-unknown"),
        (OperationError::ServerOffline, 409, "server-offline"),
        (OperationError::Busy, 503, "hub-busy"),
        (OperationError::Store, 500, "internal"),
    ] {
        *api.operations.fails.lock().unwrap() = Some(error);
        let body = json!({ "server": "alpha", "operator": "grace", "why": "x" });
        api.command("/admin/drain", &body).await.problem(status, code);
        let newest = audit(&api).await.remove(0);
        assert_eq!(newest.2.unwrap(), format!("failed: {code}"));
    }
    let body = json!({ "player": "nobody", "operator": "grace", "why": "x" });
    api.command("/admin/kick", &body).await.problem(404, "account-unknown");
    assert_eq!(audit(&api).await.len(), 4, "nothing was begun");
}

#[tokio::test]
async fn an_action_that_cannot_be_written_down_is_not_done() {
    let api = TestApi::start().await;
    api.account("bob").await;
    api.store.close_writer().await;
    let body = json!({ "player": "bob", "operator": "grace", "why": "x" });
    for path in ["/admin/kick", "/admin/ban"] {
        api.command(path, &body).await.problem(500, "internal");
    }
    let body = json!({ "message": "soon", "operator": "grace", "why": "x" });
    api.command("/admin/maintenance", &body).await.problem(500, "internal");
    api.operations.were_asked(&[]);
    assert_eq!(api.log_in("bob", PASSWORD).await.status, 200, "neither banned nor stopped");
}

#[tokio::test]
async fn what_has_begun_is_written_down_and_runs_to_its_end_without_its_operator() {
    let api = TestApi::start().await;
    api.account("bob").await;
    api.operations.holds.store(true, Ordering::Relaxed);
    let body = json!({ "player": "bob", "operator": "grace", "why": "x" });
    let left = async {
        tokio::select! {
            reply = api.command("/admin/kick", &body) => panic!("answered: {reply:?}"),
            () = api.operations.came.notified() => {}
        }
    };
    left.await;
    assert_eq!(audit(&api).await, [("kick".to_owned(), "bob".to_owned(), None)], "before it takes effect");
    api.operations.go.notify_one();
    api.state.finish().await;
    assert!(audit(&api).await[0].2.as_ref().is_some_and(|outcome| outcome.contains("told")));
}

#[tokio::test]
async fn a_key_is_revoked_in_the_database_first() {
    let api = TestApi::start().await;
    let body =
        |lowest: Value| json!({ "server": "alpha", "operator": "grace", "why": "x", "lowest": lowest });
    // Whoever did not hear the answer says it again, and the key made since is still good.
    for (wanted, stands) in [(2, 2), (2, 2), (3, 3), (2, 3)] {
        let reply = api.command("/admin/revoke-key", &body(json!(wanted))).await;
        assert_eq!(
            (&reply.json["lowest_generation"], &reply.json["in_force"]),
            (&json!(stands), &json!(true))
        );
        api.operations.were_asked(&[&format!("revoke alpha {stands}")]);
    }
    let refused = api.command("/admin/revoke-key", &body(Value::Null)).await;
    refused.problem(422, "invalid-request");
    assert_eq!(refused.json["detail"], "`lowest` is missing");
    *api.operations.fails.lock().unwrap() = Some(OperationError::Busy);
    let reply = api.command("/admin/revoke-key", &body(json!(3))).await;
    assert_eq!((&reply.json["lowest_generation"], &reply.json["in_force"]), (&json!(3), &json!(false)));
    assert_eq!(api.store.lowest_generations().await.unwrap(), [("alpha".parse().unwrap(), 3)]);
    assert!(audit(&api).await[0].2.as_ref().unwrap().contains("not in force"), "{:?}", audit(&api).await);
}

#[tokio::test]
async fn bodies_are_strict_and_texts_are_one_line() {
    let api = TestApi::start().await;
    api.account("bob").await;
    let long = "x".repeat(501);
    for (path, body, says) in [
        ("kick", json!({ "player": "bob", "operator": "grace" }), "`why` is missing"),
        ("kick", json!({ "player": "bob", "why": "x" }), "`operator` is missing"),
        (
            "kick",
            json!({ "player": "bob", "why": "x\u{1b}[2J", "operator": "g" }),
            "`why` is one line, without control or invisible characters",
        ),
        (
            "ban",
            json!({ "player": "bob", "why": "reads \u{202e}drawkcab", "operator": "g" }),
            "`why` is one line, without control or invisible characters",
        ),
        (
            "broadcast",
            json!({ "text": "two\u{2028}lines", "why": "x", "operator": "g" }),
            "`text` is one line, without control or invisible characters",
        ),
        (
            "ban",
            json!({ "player": "bob", "why": "x", "operator": "g", "for_s": 0 }),
            "`for_s` is 1 to 315360000",
        ),
        (
            "ban",
            json!({ "player": "bob", "why": "x", "operator": "g", "for_s": -1 }),
            "`for_s` must be a whole number",
        ),
        (
            "ban",
            json!({ "player": "bob", "why": "x", "operator": "g", "for_s": "7d" }),
            "`for_s` must be a whole number",
        ),
        ("drain", json!({ "server": "ALPHA", "operator": "g", "why": "x" }), "`server` is not a server id"),
        ("message", json!({ "message": long, "operator": "g" }), "`message` has 1 to 500 bytes"),
        (
            "message",
            json!({ "text": "x", "operator": "g" }),
            "a member is unknown; known are `message`, `why`, `operator`",
        ),
        (
            "maintenance",
            json!({ "message": "x", "operator": "g", "allow": ["b b"] }),
            "`allow` has login names",
        ),
        (
            "maintenance",
            json!({ "message": "x", "operator": "g", "allow": vec!["bob"; 65] }),
            "`allow` has at most 64 of them",
        ),
        ("min-build", json!({ "build": "1.x", "operator": "g" }), "`build` is not dotted numbers"),
        ("audit", json!({ "last": 501 }), "`last` is 1 to 500"),
    ] {
        let reply = api.command(&format!("/admin/{path}"), &body).await;
        reply.problem(422, "invalid-request");
        assert_eq!(reply.json["detail"], says, "{path}");
    }
    // Nothing is changed by anybody who does not say why.
    for (path, mut body) in [
        ("drain", json!({ "server": "alpha" })),
        ("undrain", json!({ "server": "alpha" })),
        ("revoke-key", json!({ "server": "alpha", "lowest": 2 })),
        ("broadcast", json!({ "text": "soon" })),
        ("kick", json!({ "player": "bob" })),
        ("ban", json!({ "player": "bob" })),
        ("unban", json!({ "player": "bob" })),
        ("maintenance", json!({ "message": "soon" })),
        ("maintenance", json!({})),
        ("min-build", json!({ "build": "1.2" })),
        ("message", json!({ "message": "soon" })),
    ] {
        body["operator"] = json!("grace");
        for why in [Value::Null, json!("")] {
            body["why"] = why;
            let reply = api.command(&format!("/admin/{path}"), &body).await;
            reply.problem(422, "invalid-request");
            assert!(reply.json["detail"].as_str().unwrap().starts_with("`why` "), "{path}: {reply:?}");
        }
    }
    assert!(audit(&api).await.is_empty() && api.operations.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn players_are_found_and_the_audit_is_shown() {
    let api = TestApi::start().await;
    for login in ["bob", "babs", "eve"] {
        api.account(login).await;
    }
    let found = api.command("/admin/find", &json!({ "player": "the b" })).await;
    let logins: Vec<_> =
        found.json["players"].as_array().unwrap().iter().map(|one| one["login"].clone()).collect();
    assert_eq!((logins, &found.json["has_more"]), (vec![json!("babs"), json!("bob")], &json!(false)));
    let id = found.json["players"][1]["account_id"].clone();
    let by_id = api.command("/admin/find", &json!({ "player": id })).await;
    assert_eq!(by_id.json["players"][0]["display_name"], "The bob");

    let kick = json!({ "player": "bob", "operator": "grace", "why": "language" });
    assert_eq!(api.command("/admin/kick", &kick).await.status, 200);
    let reply = api.command("/admin/audit", &json!({ "last": 1 })).await;
    let entry = &reply.json["entries"][0];
    let told = ["operator", "action", "target", "why", "outcome"].map(|name| entry[name].as_str().unwrap());
    assert_eq!(told, ["grace", "kick", "bob", "language", "1 servers told, 1 handovers refused"]);
    assert_eq!(entry["at_ms"], START.0);
}
