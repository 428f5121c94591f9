//! Two thousand players for a hundred free slots.

use std::collections::BTreeSet;
use std::sync::Arc;

use hub_tests::hub::PASSWORD;
use hub_tests::server::TestServer;
use tokio::task::JoinSet;

use crate::lines::hub;

const PLAYERS: usize = 2_000;
const SLOTS: usize = 100;
/// Requests on their way at one time.
const AT_ONCE: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_as_many_as_there_are_slots_come_in_and_the_rest_is_queued_in_order() -> anyhow::Result<()> {
    let hub = hub().await?;
    let servers = [
        TestServer::builder(&hub).max_players(60).start().await?,
        TestServer::builder(&hub).max_players(40).start().await?,
    ];
    let client = Arc::new(hub.client().clone());
    let mut work = JoinSet::new();
    let room = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    for n in 0..PLAYERS {
        let (client, room) = (Arc::clone(&client), Arc::clone(&room));
        work.spawn(async move {
            let _room = room.acquire().await;
            let login = format!("player-{n}");
            client.register(&login, PASSWORD).await?;
            client.login(&login, PASSWORD, None).await
        });
    }
    let (mut placed, mut positions) = (0, BTreeSet::new());
    while let Some(done) = work.join_next().await {
        let who = done??;
        match (who.handover, who.queue) {
            (Some(_), None) => placed += 1,
            (None, Some(queued)) => assert!(positions.insert(queued.position), "two at {}", queued.position),
            _ => panic!("neither a place nor a ticket"),
        }
    }
    assert_eq!(placed, SLOTS);
    let expected: BTreeSet<u32> = (1..=u32::try_from(PLAYERS - SLOTS)?).collect();
    assert_eq!(positions, expected, "one place in line each, none skipped");
    hub.metric_stands("hub_queue_tickets", (PLAYERS - SLOTS) as u64).await?;
    let held: u32 = servers.iter().map(|server| server.game().occupancy().held).sum();
    assert_eq!(held as usize, SLOTS);
    Ok(())
}
