//! Tickets: whose they are, how they are asked for and given back.

use std::time::Duration;

use super::*;
use crate::accounts::{Account, AccountState};
use crate::queue::{Standing, TicketId, TicketView, WaitRange};

fn bearer(account: &Account) -> String {
    let token = AccessTokens::new(&[3; 32], LIFE).issue(account.id, START, &SeededRng::new(5));
    format!("Bearer {}", token.expose())
}

pub(super) fn request(method: &str, path: &str, account: &Account) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header(header::AUTHORIZATION, bearer(account));
    request.body(Body::empty()).unwrap()
}

pub(super) fn view(standing: Standing, position: u32) -> TicketView {
    TicketView {
        ticket: TicketId([7; 16]),
        issued: START,
        standing,
        position,
        wait: Some(WaitRange { low_s: 20, high_s: 95 }),
        ask_again: Duration::from_secs(2),
    }
}

/// A ticket of bob's, as a login with a full fleet gives it.
pub(super) async fn ticket(api: &TestApi) -> String {
    api.desk.tickets.lock().unwrap().push_back(Ok(Answered::Queued(view(Standing::Waiting, 17))));
    let reply = api.log_in("bob", PASSWORD).await;
    assert_eq!((reply.status.as_u16(), &reply.json["handover"]), (202, &Value::Null), "{reply:?}");
    assert!(reply.json["access_token"].is_string());
    let queue = &reply.json["queue"];
    let wait = json!({ "low_s": 20, "high_s": 95 });
    assert_eq!(
        (
            &queue["state"],
            &queue["position"],
            &queue["estimated_wait"],
            &queue["ask_again_ms"],
            &queue["party"]
        ),
        (&json!("waiting"), &json!(17), &wait, &json!(2_000), &Value::Null)
    );
    queue["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_ticket_is_asked_for_by_its_owner_until_it_is_a_place() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let path = format!("/queue/{}", ticket(&api).await);
    api.desk.tickets.lock().unwrap().push_back(Ok(Answered::Queued(view(Standing::Waiting, 3))));
    let reply = api.send(request("GET", &format!("{path}?wait_ms=4000&x=y"), &bob)).await;
    assert_eq!((reply.status.as_u16(), &reply.json["position"]), (202, &json!(3)));
    let asks = std::mem::take(&mut *api.desk.ticket_asks.lock().unwrap());
    assert_eq!((asks[0].account, asks[0].ticket), (bob.row, TicketId([7; 16])));
    let wait = Duration::from_secs(4);
    assert_eq!((asks[0].name.as_str(), asks[0].wait), ("The bob", wait));
    let reply = api.send(request("GET", &path, &bob)).await;
    assert_eq!((reply.status.as_u16(), &reply.json["token"]), (200, &json!(placed().token.expose())));
    api.desk.tickets.lock().unwrap().push_back(Err(NoPlace::PartyBroken));
    api.send(request("GET", &path, &bob)).await.problem(409, "party-broken");
}

#[tokio::test]
async fn nobody_elses_ticket_is_one() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let eve = api.account("eve").await;
    let ticket = ticket(&api).await;
    let path = format!("/queue/{ticket}");
    for method in ["GET", "DELETE"] {
        api.send(request(method, &path, &eve)).await.problem(404, "ticket-unknown");
        api.send(request(method, "/queue/made-up", &bob)).await.problem(404, "ticket-unknown");
        let bare = Request::builder().method(method).uri(&path).body(Body::empty()).unwrap();
        api.send(bare).await.problem(401, "access-token-invalid");
    }
    api.send(request("GET", &format!("{path}/events"), &eve)).await.problem(404, "ticket-unknown");
    api.send(request("GET", &format!("{path}?wait_ms=x"), &bob)).await.problem(422, "invalid-request");
    api.store.set_state(bob.row, AccountState::Banned).await.unwrap();
    api.send(request("GET", &path, &bob)).await.problem(403, "banned");
    assert!(api.desk.ticket_asks.lock().unwrap().is_empty(), "the desk heard of it");
    assert!(api.desk.left.lock().unwrap().is_empty(), "the desk heard of it");
    assert!(api.desk.looks.lock().unwrap().is_empty(), "the desk heard of it");
}

#[tokio::test]
async fn a_ticket_is_given_back() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let path = format!("/queue/{}", ticket(&api).await);
    let reply = api.send(request("DELETE", &path, &bob)).await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (204, ""));
    assert_eq!(*api.desk.left.lock().unwrap(), [(bob.row, TicketId([7; 16]))]);
    api.desk.script.lock().unwrap().push_back(NoPlace::TicketUnknown);
    api.send(request("DELETE", &path, &bob)).await.problem(404, "ticket-unknown");
}

#[tokio::test]
async fn a_party_is_asked_for_whole_or_not_at_all() {
    let api = TestApi::start().await;
    api.account("bob").await;
    let ask = async |party: Value, size: Value| {
        let body = json!({ "login": "bob", "password": PASSWORD, "party": party, "party_size": size });
        api.post("/auth/login", &body).await
    };
    let key = "a".repeat(16);
    for (party, size) in [
        (json!(key), Value::Null),
        (Value::Null, json!(2)),
        (json!("short"), json!(2)),
        (json!("a".repeat(65)), json!(2)),
        (json!(format!("{key} ")), json!(2)),
        (json!(key), json!(1)),
        (json!(key), json!(17)),
        (json!(key), json!(-2)),
        (json!(key), json!(2.5)),
        (json!(key), json!("2")),
    ] {
        ask(party, size).await.problem(422, "invalid-request");
    }
    assert_eq!(ask(json!(key), json!(16)).await.status, 200);
    let asked = api.desk.asked.lock().unwrap();
    assert_eq!(asked.len(), 1);
    let party = asked[0].party.unwrap();
    assert_eq!(party.size, 16);
    assert_ne!(&party.key[..16], key.as_bytes(), "what members share is kept as its hash");
}

#[tokio::test]
async fn a_hub_that_stops_ends_its_streams_and_keeps_no_poll_waiting() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let path = format!("/queue/{}", ticket(&api).await);
    let waiting = || Ok(Answered::Queued(view(Standing::Waiting, 9)));
    // A poll that would have waited asks once more.
    api.desk.tickets.lock().unwrap().extend([waiting(), waiting(), waiting()]);
    api.stopping.cancel();
    let reply = api.send(request("GET", &format!("{path}/events"), &bob)).await;
    assert_eq!(reply.text.matches("event:").count(), 1);
    let reply = api.send(request("GET", &format!("{path}?wait_ms=5000"), &bob)).await;
    assert_eq!(reply.status, 202);
}

#[tokio::test]
async fn polls_that_wait_shut_nobody_out_and_beyond_their_bound_are_answered_at_once() {
    let api = Arc::new(TestApi::start_with(HttpSettings { requests_max: 1, ..settings() }).await);
    let bob = api.account("bob").await;
    let path = format!("/queue/{}", ticket(&api).await);
    let poll = format!("{path}?wait_ms=5000");
    let over = CancellationToken::new();
    *api.desk.waits.lock().unwrap() = Some(over.clone());
    let crowd = TaskTracker::new();
    for _ in 0..2 {
        let (waiting, request) = (Arc::clone(&api), request("GET", &poll, &bob));
        crowd.spawn(async move { assert_eq!(waiting.send(request).await.status, 200) });
        let asked = tokio::time::timeout(Duration::from_secs(10), api.desk.ticket_asked.notified()).await;
        asked.expect("a poll is let in while another waits");
    }
    assert_eq!(api.log_in("bob", PASSWORD).await.status, 200, "there is room for one request");
    api.desk.tickets.lock().unwrap().push_back(Ok(Answered::Queued(view(Standing::Waiting, 3))));
    assert_eq!(api.send(request("GET", &poll, &bob)).await.status, 202);
    let waits: Vec<_> = api.desk.ticket_asks.lock().unwrap().iter().map(|ask| ask.wait.as_secs()).collect();
    assert_eq!(waits, [5, 5, 0]);
    over.cancel();
    crowd.close();
    tokio::time::timeout(Duration::from_secs(10), crowd.wait()).await.unwrap();
    assert_eq!(api.send(request("GET", &poll, &bob)).await.status, 200);
    assert_eq!(api.desk.ticket_asks.lock().unwrap()[3].wait.as_secs(), 5, "there is room to wait again");
}

#[tokio::test]
async fn who_keeps_asking_during_maintenance_is_heard_and_told_to_come_back_in_time() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let path = format!("/queue/{}", ticket(&api).await);
    let on = json!({ "message": "back at 9", "operator": "grace", "why": "patch" });
    assert_eq!(api.command("/admin/maintenance", &on).await.status, 200);
    for path in [path.clone(), format!("{path}?wait_ms=5000"), format!("{path}/events")] {
        let refused = api.send(request("GET", &path, &bob)).await;
        refused.problem(503, "maintenance");
        assert_eq!((refused.retry_after_s(), &refused.json["detail"]), (10, &json!("back at 9")));
        assert_eq!(api.desk.looks.lock().unwrap().split_off(0), [(bob.row, TicketId([7; 16]))], "{path}");
    }
    assert!(api.desk.ticket_asks.lock().unwrap().is_empty(), "nobody gets a place");
    // Who has no ticket to lose comes back when it may be over.
    assert_eq!(api.log_in("bob", PASSWORD).await.retry_after_s(), 60);
}

#[tokio::test]
async fn head_takes_no_place() {
    let api = TestApi::start().await;
    let bob = api.account("bob").await;
    let path = format!("/queue/{}", ticket(&api).await);
    for (path, allow) in [(path.clone(), "GET,DELETE"), (format!("{path}/events"), "GET")] {
        for method in ["HEAD", "PUT"] {
            let refused = api.send(request(method, &path, &bob)).await;
            let told = (refused.status.as_u16(), refused.headers[header::ALLOW].to_str().unwrap());
            assert_eq!(told, (405, allow), "{method} {path}");
        }
    }
    assert!(api.desk.ticket_asks.lock().unwrap().is_empty() && api.desk.looks.lock().unwrap().is_empty());
    assert_eq!(api.send(request("GET", &path, &bob)).await.status, 200, "the place is still there");
    // Looking changes nothing elsewhere, and may be asked for by its head.
    for route in routes::all().filter(|route| route.verb == routes::Verb::Get) {
        let mut head = request("HEAD", route.path, &bob);
        let key = format!("Bearer {}", admin_key().expose());
        head.headers_mut().insert(header::AUTHORIZATION, key.parse().unwrap());
        assert_eq!(api.send(head).await.status, 200, "{}", route.path);
    }
    assert!(api.store.audit_last(9).await.unwrap().is_empty());
}
