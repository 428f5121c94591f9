//! Ten thousand tickets on one hub: what they hold, and what asking costs. Figures are printed; what is asserted is that none is lost and that
//! memory stays bounded.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hub_tests::client::{GameClient, HubClient, Queued, Turn};
use hub_tests::hub::PASSWORD;
use hub_tests::site::Site;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

const TICKETS: usize = 10_000;
/// Requests on their way at one time.
const AT_ONCE: usize = 16;
/// Questions that are timed, and as many of the rival.
const TIMED: usize = 1_000;
/// More than a ticket may hold, with all that a login leaves behind for a while: its account in caches and throttles, its handover in the
/// journal.
const TICKET_BYTES_MAX: u64 = 8 * 1024;

/// Logs in from so many places at a time, and gives each one's access token and ticket.
async fn crowd(client: &HubClient) -> anyhow::Result<Vec<(String, Queued)>> {
    let (room, mut work) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for n in 0..TICKETS {
        let (client, room) = (client.clone(), Arc::clone(&room));
        work.spawn(async move {
            let _room = room.acquire().await;
            let login = format!("player-{n}");
            client.register(&login, PASSWORD).await?;
            let who = client.login(&login, PASSWORD, None).await?;
            let queued = who.queue.with_context(|| format!("{login} has no ticket"))?;
            anyhow::Ok((who.access_token, queued))
        });
    }
    let mut all = Vec::with_capacity(TICKETS);
    while let Some(done) = work.join_next().await {
        all.push(done??);
    }
    Ok(all)
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    format!("p50 {:.2?}, p99 {:.2?}", times[times.len() / 2], times[times.len() * 99 / 100])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tickets_have_one_place_in_line_each() -> anyhow::Result<()> {
    let site = Site::new()?;
    let settings = [
        ("AUTH_HUB__QUEUE__ENABLED", "true"),
        ("AUTH_HUB__THROTTLE__ADDRESS_BURST", "1000000"),
        ("AUTH_HUB__THROTTLE__REGISTRATION_BURST", "1000000"),
        ("AUTH_HUB__QUEUE__ABANDON_AFTER_S", "3600"),
    ];
    let hub = site.hub(&settings).await?;
    let _server =
        site.server("alpha", &hub.mqtt.to_string(), &[("GAME_SERVER__GAME__MAX_PLAYERS", "1")]).await?;
    let client = HubClient::new(format!("http://{}", hub.http))?;
    client.register("first", PASSWORD).await?;
    let first = client.login("first", PASSWORD, None).await?;
    let place = first.handover.context("one slot")?;
    let (_playing, outcome) = GameClient::enter(place.tcp()?, &place.token).await?;
    assert_eq!(outcome.code(), "welcome");
    let before = hub.process.usage()?;
    let begun = Instant::now();
    let mut all = crowd(&client).await?;
    let took = begun.elapsed();
    let after = hub.process.usage()?;
    let bytes = (after.rss_kib.saturating_sub(before.rss_kib)) * 1024 / TICKETS as u64;
    println!(
        "{TICKETS} tickets in {took:.1?}; {} KiB before, {} KiB after: {bytes} bytes a ticket",
        before.rss_kib, after.rss_kib
    );
    assert!(bytes < TICKET_BYTES_MAX, "{bytes} bytes a ticket");
    all.sort_by_key(|(_, queued)| queued.position);
    let (mut polls, mut rivals) = (Vec::new(), Vec::new());
    for n in 0..TIMED {
        let (access, queued) = &all[n * (TICKETS / TIMED)];
        let begun = Instant::now();
        let turn = client.ask_ticket(access, &queued.ticket, Duration::ZERO).await?;
        polls.push(begun.elapsed());
        assert!(matches!(turn, Turn::Wait(_)));
        let begun = Instant::now();
        client.get("/healthz").await?;
        rivals.push(begun.elapsed());
    }
    println!(
        "a question of a ticket: {}; GET /healthz beside it: {}",
        percentiles(polls),
        percentiles(rivals)
    );
    // All of them, as their clients would within ten seconds.
    let (room, mut work, begun) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new(), Instant::now());
    let all = Arc::new(all);
    for n in 0..TICKETS {
        let (client, room, all) = (client.clone(), Arc::clone(&room), Arc::clone(&all));
        work.spawn(async move {
            let _room = room.acquire().await;
            let (access, queued) = &all[n];
            Ok::<_, anyhow::Error>(
                client.ask_ticket(access, &queued.ticket, Duration::ZERO).await?.wait().position,
            )
        });
    }
    let mut positions = Vec::with_capacity(TICKETS);
    while let Some(done) = work.join_next().await {
        positions.push(done??);
    }
    let took = begun.elapsed();
    println!("all {TICKETS} asked once in {took:.1?}");
    positions.sort_unstable();
    assert!(positions.iter().copied().eq(1..=u32::try_from(TICKETS)?), "one place in line each");
    Ok(())
}
