//! Too much to do: who is refused, in which order, and who is not.

use super::*;

fn register(n: u32) -> Value {
    json!({ "login": format!("new{n}"), "password": PASSWORD })
}

async fn handover(api: &TestApi, id: shared_msgs::ids::AccountId) -> Reply {
    let token = AccessTokens::new(&[3; 32], LIFE).issue(id, START, &SeededRng::new(5));
    let mut request = post("/handover", &json!({}));
    let value = format!("Bearer {}", token.expose());
    request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
    api.send(request).await
}

#[tokio::test]
async fn logins_that_wait_leave_room_for_handovers() {
    let api = Arc::new(TestApi::start().await);
    let ada = api.account("ada").await;
    let held = CancellationToken::new();
    let crowd = TaskTracker::new();
    for n in 0..6 {
        let login = format!("bob{n}");
        api.account(&login).await;
        *api.desk.holds.lock().unwrap() = Some(held.clone());
        let waiting = Arc::clone(&api);
        crowd.spawn(async move { assert_eq!(waiting.log_in(&login, PASSWORD).await.status, 200) });
        api.desk.handover_asked.notified().await;
    }
    *api.desk.holds.lock().unwrap() = None;
    let before = api.hashes();
    let refused = api.log_in("ada", PASSWORD).await;
    refused.problem(503, "hub-busy");
    assert_eq!(refused.retry_after_s(), 2);
    let refused = api.post("/auth/register", &register(1)).await;
    refused.problem(503, "hub-busy");
    assert_eq!(refused.retry_after_s(), 5);
    api.get("/servers").await.problem(503, "hub-busy");
    assert_eq!(api.hashes(), before, "what is refused costs nothing");
    assert_eq!(handover(&api, ada.id).await.status, 200);
    let metrics = api.get("/metrics").await.text;
    for (class, n) in [("registration", 1), ("login", 1), ("list", 1), ("handover", 0)] {
        assert!(
            metrics.contains(&format!("hub_shed_total{{class=\"{class}\"}} {n}\n")),
            "{class}: {metrics}"
        );
    }
    assert!(
        metrics.contains("hub_logins_total{code=\"hub-busy\"} 1\n"),
        "it is a login that failed: {metrics}"
    );
    held.cancel();
    crowd.close();
    tokio::time::timeout(Duration::from_secs(10), crowd.wait()).await.unwrap();
    assert_eq!(api.log_in("ada", PASSWORD).await.status, 200);
    assert_eq!(api.post("/auth/register", &register(1)).await.status, 201);
}

#[tokio::test]
async fn a_long_queue_of_passwords_takes_no_registrations() {
    let api = TestApi::start().await;
    let ada = api.account("ada").await;
    api.gate.close();
    let check = || api.pool.verify(Password::attempt(PASSWORD.to_owned()).unwrap(), None);
    let (mut running, mut waiting) = (std::pin::pin!(check()), std::pin::pin!(check()));
    for check in [&mut running, &mut waiting] {
        tokio::select! {
            biased;
            checked = check.as_mut() => panic!("{checked:?}"),
            () = api.gate.held() => {}
            () = std::future::ready(()), if api.pool.gauges().in_flight > 0 => {}
        }
    }
    assert_eq!(api.pool.gauges().queued, 1);
    let before = api.hashes();
    let refused = api.post("/auth/register", &register(1)).await;
    refused.problem(503, "hub-busy");
    assert_eq!(refused.retry_after_s(), 5);
    assert_eq!(handover(&api, ada.id).await.status, 200, "needs no password");
    api.gate.open();
    running.await.unwrap();
    waiting.await.unwrap();
    assert_eq!(api.log_in("ada", PASSWORD).await.status, 200, "the queue has room again");
    api.post("/auth/register", &register(1)).await.problem(503, "hub-busy");
    assert_eq!(api.hashes(), before + 3, "the three of the queue");
    api.clock.advance(Duration::from_secs(2));
    assert_eq!(api.post("/auth/register", &register(1)).await.status, 201, "calm for long enough");
}

#[tokio::test]
async fn a_desk_that_is_late_is_spared_and_gets_back_to_work() {
    let api = TestApi::start().await;
    let ada = api.account("ada").await;
    let codes = async |expected: [u16; 3]| {
        let register = api.post("/auth/register", &json!({ "login": "x" })).await.status.as_u16();
        let login = api.log_in("ada", PASSWORD).await.status.as_u16();
        assert_eq!([register, login, handover(&api, ada.id).await.status.as_u16()], expected);
    };
    codes([422, 200, 200]).await;
    for (ms, expected) in [(1_000, [503, 200, 200]), (2_000, [503, 503, 200]), (4_000, [503, 503, 503])] {
        api.state.observe(Some(Duration::from_millis(ms)));
        codes(expected).await;
    }
    assert!(api.get("/metrics").await.text.contains("hub_overload_level 3\n"));
    api.state.observe(Some(Duration::ZERO));
    for expected in [[503, 503, 200], [503, 200, 200], [422, 200, 200]] {
        api.clock.advance(Duration::from_secs(2));
        codes(expected).await;
    }
    assert!(api.get("/metrics").await.text.contains("hub_overload_level 0\n"));
}

#[tokio::test(start_paused = true)]
async fn the_desks_lag_is_measured_while_it_does_not_answer() {
    let api = TestApi::start().await;
    let snapshot = api.desk.snapshot.lock().unwrap().take();
    let stop = CancellationToken::new();
    api.tasks.spawn(watch_desk(api.state.clone(), stop.clone()));
    let level_is = async |level: u8| {
        let wanted = format!("hub_overload_level {level}\n");
        let comes = async {
            while !api.state.parts().metrics.render().unwrap().contains(&wanted) {
                api.clock.advance(Duration::from_millis(50));
                tokio::time::advance(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), comes).await.unwrap();
    };
    for level in [1, 2, 3] {
        level_is(level).await;
    }
    *api.desk.snapshot.lock().unwrap() = snapshot;
    api.desk.answer_now.notify_one();
    for level in [2, 1, 0] {
        level_is(level).await;
    }
    stop.cancel();
    api.tasks.close();
    api.tasks.wait().await;
}
