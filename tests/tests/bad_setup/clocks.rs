//! Clocks that are an hour off: both sides say by how much, whose is likely wrong and what to do; nobody is placed until it is right.

use hub_tests::events::{Event, Mark, log};
use hub_tests::hub::TestHub;
use hub_tests::server::TestServer;

const HOUR_MS: i64 = 3_600_000;

/// What hub and server said of it first, in this order.
async fn told(server: &TestServer, mark: Mark) -> [Event; 2] {
    let id = ("server_id", server.id().as_str());
    let mut sides = [None, None];
    for count in 1.. {
        let seen = log().wait_count(mark, count, "clock.skewed", &[id]).await;
        let event = &seen[count - 1];
        // Only the server calls one of the clocks the hub's.
        sides[usize::from(event.fields.contains_key("hub_clock_ms"))].get_or_insert(event.clone());
        if let [Some(hub), Some(server)] = &sides {
            return [hub.clone(), server.clone()];
        }
    }
    unreachable!("there are numbers enough")
}

/// An hour, give or take what passed on the way.
fn is_an_hour(event: &Event, sign: i64) {
    let skew_s: i64 = event.fields["skew_s"].parse().unwrap();
    assert!((3_590..=3_610).contains(&(skew_s * sign)), "{event:?}");
    assert!(event.fields["remedy"].contains("time service"), "{event:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_an_hour_off_is_named_on_both_sides_and_comes_back() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    hub.ready().await?;
    let _witness = TestServer::builder(&hub).start().await?;
    for sign in [1, -1] {
        let mark = log().mark();
        let server = TestServer::builder(&hub).wall_offset_ms(sign * HOUR_MS).start_unheard().await?;
        let [by_hub, by_server] = told(&server, mark).await;
        is_an_hour(&by_hub, sign);
        is_an_hour(&by_server, sign);
        assert_eq!(by_hub.fields["likely"], "the server's clock", "the other server agrees with the hub");
        assert_eq!(by_server.fields["likely"], "either clock", "it knows no third one");
        assert_eq!(server.count(mark, "server.eligible"), 0);
        let login = format!("ada{sign}").replace('-', "x");
        hub.register(&login).await?;
        assert!(hub.ticket(&login, Some(server.id())).await.is_err(), "nobody is sent there");
        server.clock().step_wall_to(0);
        server.eligible(mark).await;
        assert_eq!(&hub.ticket(&login, Some(server.id())).await?.server.id, server.id());
        // Both sides complain to each other for as long as it lasts; each has said so once.
        assert_eq!(server.count(mark, "clock.skewed"), 2);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_whose_clock_jumps_by_an_hour_suspects_itself_and_recovers() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    hub.ready().await?;
    let alpha = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let mark = log().mark();
    hub.clock().step_wall_to(HOUR_MS);
    let [by_hub, by_server] = told(&alpha, mark).await;
    is_an_hour(&by_hub, -1);
    is_an_hour(&by_server, -1);
    assert_eq!(by_hub.fields["likely"], "the hub's clock");
    assert_eq!(by_server.fields["likely"], "either clock");
    alpha.saw(mark, "server.lease_ended").await;
    assert!(hub.ticket("ada", Some(alpha.id())).await.is_err(), "nobody is sent there");
    let back = log().mark();
    hub.clock().step_wall_to(0);
    alpha.eligible(back).await;
    assert_eq!(&hub.ticket("ada", None).await?.server.id, alpha.id());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_clock_jumps_suspects_itself() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    hub.ready().await?;
    let alpha = TestServer::builder(&hub).start().await?;
    let mark = log().mark();
    alpha.clock().step_wall_to(HOUR_MS);
    let [by_hub, by_server] = told(&alpha, mark).await;
    is_an_hour(&by_hub, 1);
    is_an_hour(&by_server, 1);
    assert_eq!(by_server.fields["likely"], "the server's clock");
    Ok(())
}
