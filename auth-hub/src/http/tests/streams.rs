//! Streams of a ticket: what they say, and how each of them ends.

use std::time::Duration;

use super::queue::{request, ticket, view};
use super::*;
use crate::accounts::{Account, AccountState};
use crate::queue::Standing;

/// Looks come quickly. Gives bob, and where his ticket's events are.
async fn quick() -> (TestApi, Account, String) {
    let quick = Deadlines { pace: Duration::from_millis(1), ..Deadlines::DEFAULT };
    let api = TestApi::start_in_time(settings(), quick).await;
    let bob = api.account("bob").await;
    let path = format!("/queue/{}/events", ticket(&api).await);
    (api, bob, path)
}

fn events(text: &str) -> Vec<(&str, Value)> {
    let events = text.split_terminator("\n\n").filter(|event| *event != ":");
    let read = events.map(|event| {
        let (name, data) = event.split_once("\ndata: ").unwrap();
        (name.strip_prefix("event: ").unwrap(), serde_json::from_str(data).unwrap())
    });
    read.collect()
}

/// A stream that was opened, and all that it says until it ends.
async fn opened(api: &TestApi, path: &str, account: &Account) -> impl Future<Output = String> + use<> {
    let mut request = request("GET", path, account);
    request.extensions_mut().insert(from(Ipv4Addr::LOCALHOST.into()));
    let response = api.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let whole = tokio::time::timeout(Duration::from_secs(10), response.into_body().collect());
    async { String::from_utf8(whole.await.expect("the stream ends").unwrap().to_bytes().to_vec()).unwrap() }
}

#[tokio::test]
async fn a_stream_tells_what_changes_and_how_it_ends() {
    let (api, bob, path) = quick().await;
    let waiting = |position| Ok(Answered::Queued(view(Standing::Waiting, position)));
    let ready = Ok(Answered::Queued(view(Standing::Ready, 0)));
    let script =
        [waiting(9), waiting(9), Err(NoPlace::HubBusy), waiting(8), ready, Err(NoPlace::TicketUnknown)];
    api.desk.tickets.lock().unwrap().extend(script);
    let reply = api.send(request("GET", &path, &bob)).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.headers[header::CONTENT_TYPE]),
        (200, &"text/event-stream".parse().unwrap())
    );
    let events = events(&reply.text);
    let names: Vec<_> = events.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["position", "position", "ready", "gone"], "{}", reply.text);
    assert_eq!((&events[0].1["position"], &events[1].1["position"]), (&json!(9), &json!(8)));
    assert!(path.contains(events[0].1["ticket"].as_str().unwrap()), "its own ticket");
    assert_eq!(events[3].1["code"], "ticket-unknown");
    assert_eq!(*api.desk.looks.lock().unwrap(), [(bob.row, TicketId([7; 16])); 6]);
    assert!(api.desk.ticket_asks.lock().unwrap().is_empty(), "a stream takes no place");
}

#[tokio::test]
async fn the_newest_stream_of_a_ticket_is_its_only_one() {
    let (api, bob, path) = quick().await;
    *api.desk.stands.lock().unwrap() = Some(view(Standing::Waiting, 9));
    let older = opened(&api, &path, &bob).await;
    let newer = opened(&api, &path, &bob).await;
    assert!(
        events(&older.await).iter().all(|(name, _)| *name == "position"),
        "it ends, and the ticket is not gone"
    );
    *api.desk.stands.lock().unwrap() = None;
    let newer = newer.await;
    let names: Vec<_> = events(&newer).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["position", "gone"], "{newer}");
}

#[tokio::test]
async fn a_stream_ends_with_its_access_token() {
    let (api, bob, path) = quick().await;
    *api.desk.stands.lock().unwrap() = Some(view(Standing::Waiting, 9));
    let stream = opened(&api, &path, &bob).await;
    api.clock.advance(LIFE);
    assert_eq!(events(&stream.await).len(), 1, "the ticket is not gone");
}

#[tokio::test]
async fn a_stream_ends_for_who_may_not_play_any_more() {
    let (api, bob, path) = quick().await;
    *api.desk.stands.lock().unwrap() = Some(view(Standing::Waiting, 9));
    let stream = opened(&api, &path, &bob).await;
    let on = json!({ "message": "back at 9", "operator": "grace", "why": "patch" });
    assert_eq!(api.command("/admin/maintenance", &on).await.status, 200);
    let said = stream.await;
    let (name, data) = events(&said).pop().unwrap();
    assert_eq!((name, &data["code"], &data["detail"]), ("gone", &json!("maintenance"), &json!("back at 9")));
    let off = json!({ "operator": "grace", "why": "done" });
    assert_eq!(api.command("/admin/maintenance", &off).await.status, 200);

    let stream = opened(&api, &path, &bob).await;
    api.store.set_state(bob.row, AccountState::Banned).await.unwrap();
    let said = stream.await;
    let (name, data) = events(&said).pop().unwrap();
    assert_eq!((name, &data["code"]), ("gone", &json!("banned")));
}
