//! Bans: who hears of them, when they end, and that no login slips past one that is being set.

use super::*;
use crate::handover::operations::OperationError;

fn ban(more: &Value) -> Value {
    let mut body = json!({ "player": "bob", "operator": "grace", "why": "sold accounts" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_ban_is_told_to_its_owner_alone_and_ends_by_itself() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let before = api.log_in("bob", PASSWORD).await;
    let bearer = format!("Bearer {}", before.json["access_token"].as_str().unwrap());
    let reply = api.command("/admin/ban", &ban(&json!({ "for_s": 3600 }))).await;
    assert_eq!(reply.json["player"]["ban"]["until_ms"], START.0 + 3_600_000, "{reply:?}");
    assert_eq!(reply.json["ended"]["servers"], json!(["alpha"]));
    assert_eq!(*api.operations.ended.lock().unwrap(), [bob.row]);
    api.operations.were_asked(&["end banned"]);

    api.log_in("bob", "wrong horse").await.problem(401, "invalid-credentials");
    let mut moved = post("/handover", &json!({}));
    moved.headers_mut().insert(header::AUTHORIZATION, bearer.parse().unwrap());
    for refused in [api.log_in("bob", PASSWORD).await, api.send(moved).await] {
        refused.problem(403, "banned");
        assert_eq!(refused.json["detail"], "sold accounts");
        assert_eq!(refused.json["banned_until_ms"], START.0 + 3_600_000);
        assert!(refused.json.get("access_token").is_none(), "{refused:?}");
    }
    api.clock.advance(Duration::from_millis(3_599_999));
    api.log_in("bob", PASSWORD).await.problem(403, "banned");
    api.clock.advance(Duration::from_millis(1));
    assert_eq!(api.log_in("bob", PASSWORD).await.status, 200, "it is over, and nobody had to lift it");
    assert_eq!(
        api.command("/admin/find", &json!({ "player": "bob" })).await.json["players"][0]["ban"],
        Value::Null
    );
}

#[tokio::test]
async fn a_ban_for_ever_lasts_until_it_is_lifted() {
    let api = TestApi::start().await;
    api.account("bob").await;
    assert_eq!(api.command("/admin/ban", &ban(&json!({}))).await.status, 200);
    api.clock.advance(Duration::from_hours(24 * 365 * 20));
    let refused = api.log_in("bob", PASSWORD).await;
    refused.problem(403, "banned");
    assert!(refused.json.get("banned_until_ms").is_none(), "{refused:?}");
    for was_banned in [true, false] {
        let reply = api.command("/admin/unban", &ban(&json!({}))).await;
        assert_eq!(reply.json["was_banned"], was_banned);
    }
    assert_eq!(api.log_in("bob", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn who_is_banned_while_a_place_is_found_does_not_get_it() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let held = CancellationToken::new();
    *api.desk.holds.lock().unwrap() = Some(held.clone());
    // The end that goes with the ban comes before the place: it cannot take back what is not there yet.
    let banned = async {
        api.desk.handover_asked.notified().await;
        assert_eq!(api.command("/admin/ban", &ban(&json!({}))).await.status, 200);
        api.operations.were_asked(&["end banned"]);
        held.cancel();
    };
    let (refused, ()) = tokio::join!(api.log_in("bob", PASSWORD), banned);
    refused.problem(403, "banned");
    assert!(refused.json.get("access_token").is_none() && !refused.text.contains(placed().token.expose()));
    assert_eq!(refused.json["handover_id"], HANDOVER.to_string());
    api.operations.were_asked(&["end banned"]);
    assert_eq!(*api.operations.ended.lock().unwrap(), [bob.row, bob.row], "the place was taken back");
}

#[tokio::test]
async fn the_ban_stands_when_what_the_account_had_cannot_be_ended() {
    let api = TestApi::start().await;
    api.account("bob").await;
    *api.operations.fails.lock().unwrap() = Some(OperationError::Busy);
    let reply = api.command("/admin/ban", &ban(&json!({}))).await;
    assert_eq!((reply.status.as_u16(), &reply.json["ended"]), (200, &Value::Null));
    api.log_in("bob", PASSWORD).await.problem(403, "banned");
    let outcome = api.store.audit_last(1).await.unwrap().remove(0).outcome.unwrap();
    assert!(outcome.contains("not ended"), "{outcome}");
}

#[tokio::test]
async fn whom_the_desk_refuses_for_a_ban_reads_why_and_gets_no_access_token() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let waiting = super::queue::view(crate::queue::Standing::Waiting, 3);
    api.desk.tickets.lock().unwrap().push_back(Ok(Answered::Queued(waiting)));
    let ticket = api.log_in("bob", PASSWORD).await.json["queue"]["ticket"].as_str().unwrap().to_owned();
    // The ban ends the handover while it runs.
    for refused in ["login", "ticket"] {
        api.desk.script.lock().unwrap().clear();
        let held = CancellationToken::new();
        *api.desk.holds.lock().unwrap() = Some(held.clone());
        *api.desk.waits.lock().unwrap() = Some(held.clone());
        let asked = async {
            if refused == "login" {
                api.desk.script.lock().unwrap().push_back(NoPlace::Banned);
                api.log_in("bob", PASSWORD).await
            } else {
                api.desk.tickets.lock().unwrap().push_back(Err(NoPlace::Banned));
                let path = format!("/queue/{ticket}?wait_ms=5000");
                api.send(super::queue::request("GET", &path, &bob)).await
            }
        };
        let banned = async {
            tokio::select! {
                () = api.desk.handover_asked.notified(), if refused == "login" => {}
                () = api.desk.ticket_asked.notified(), if refused == "ticket" => {}
            }
            assert_eq!(api.command("/admin/ban", &ban(&json!({ "for_s": 60 }))).await.status, 200);
            held.cancel();
        };
        let (reply, ()) = tokio::join!(asked, banned);
        reply.problem(403, "banned");
        assert_eq!(
            (&reply.json["detail"], &reply.json["banned_until_ms"]),
            (&json!("sold accounts"), &json!(START.0 + 60_000))
        );
        assert_eq!(reply.json["handover_id"], HANDOVER.to_string(), "{refused}");
        assert!(reply.json.get("access_token").is_none(), "{reply:?}");
        assert_eq!(api.command("/admin/unban", &ban(&json!({}))).await.status, 200);
    }
    // Lifted again meanwhile, it is a ban without a reason, and earns nothing either.
    *api.desk.holds.lock().unwrap() = None;
    api.desk.script.lock().unwrap().push_back(NoPlace::Banned);
    let reply = api.log_in("bob", PASSWORD).await;
    reply.problem(403, "banned");
    assert!(reply.json.get("access_token").is_none() && reply.json.get("detail").is_none(), "{reply:?}");
}
