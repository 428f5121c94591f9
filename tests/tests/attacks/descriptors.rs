//! A process whose file descriptors are all taken: it does not spin, keeps whom it has, counts what failed, and serves again after. And one that
//! is allowed fewer than its settings ask for: a crowd at one listener takes nothing from the others.

use std::time::Duration;

use hub_tests::client::HubClient;
use hub_tests::hub::PASSWORD;
use hub_tests::process::Process;
use hub_tests::site::PATIENCE;
use tokio::time::{Instant, timeout};

use crate::crowd::{Crowd, Manner};
use crate::rig::{Edge, Stage};

/// Too few for the crowd, enough for the process itself.
const FEW: u32 = 64;
/// More than either program needs for itself, fewer than its settings ask for.
const SOME: u32 = 256;
/// How long the want lasts while its price is looked at.
const WANT: Duration = Duration::from_secs(3);

fn of_edge(stage: &Stage, edge: Edge) -> &Process {
    if edge == Edge::Game { &stage.alpha.process } else { &stage.hub.process }
}

fn crowd(stage: &Stage, edge: Edge, count: u32) -> anyhow::Result<Crowd> {
    // From many addresses, and whoever is sent away comes again.
    Crowd::start(stage.addr(edge), Manner { pace: "return", say: b"", count, addresses: (20, 90) })
}

async fn without_descriptors(edge: Edge) -> anyhow::Result<()> {
    let (of_hub, of_alpha) = if edge == Edge::Game { (None, Some(FEW)) } else { (Some(FEW), None) };
    let stage = Stage::start_allowing((of_hub, of_alpha)).await?;
    let ticket = stage.ticket("inside", stage.hub.http.port()).await?;
    let mut player = stage.enter(ticket, stage.alpha.game.port()).await?;
    let crowd = crowd(&stage, edge, 4 * FEW)?;
    let process = of_edge(&stage, edge);
    process.logged(&["net.accept_failed"], PATIENCE).await?;
    let (begun, before) = (Instant::now(), process.usage()?);
    // Nothing is waited for but the time.
    let _ = timeout(WANT, std::future::pending::<()>()).await;
    let (lasted, after) = (begun.elapsed(), process.usage()?);
    let cpu = after.cpu.saturating_sub(before.cpu);
    println!("{edge:?}: {cpu:?} of processor time in {lasted:.1?}, {after:?}");
    assert!(cpu < lasted / 3, "it spins: {cpu:?} in {lasted:?}");
    // Who was in is served as before.
    assert_eq!(player.ask(b"hello").await?, b"hello");
    stage.is_unharmed();
    crowd.leave().await?;
    stage.is_quiet().await?;
    assert!(stage.count(edge, "accepts_failed_total", "").await? > 0);
    stage.newcomers("after").await?;
    assert_eq!(player.ask(b"hello").await?, b"hello");
    stage.is_unharmed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_without_descriptors_keeps_whom_it_has_and_does_not_spin() -> anyhow::Result<()> {
    without_descriptors(Edge::Http).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_game_server_without_descriptors_keeps_whom_it_has_and_does_not_spin() -> anyhow::Result<()> {
    without_descriptors(Edge::Game).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_one_listener_takes_no_descriptors_from_the_others() -> anyhow::Result<()> {
    let stage = Stage::start_allowing((Some(SOME), Some(SOME))).await?;
    stage.hub.process.logged(&["\"net.clamped\""], PATIENCE).await?;
    let mut crowds = Vec::new();
    for edge in [Edge::Http, Edge::Game] {
        crowds.push(crowd(&stage, edge, 4 * SOME)?);
    }
    for crowd in &mut crowds {
        crowd.is_there().await?;
    }
    // Players log in and play, game servers join, operators look.
    stage.newcomers("during").await?;
    for edge in Edge::ALL {
        // Whoever is crowded out gives its descriptor back a moment after its place.
        let failed = stage.count(edge, "accepts_failed_total", "").await?;
        let accepted = stage.count(edge, "sockets_accepted_total", "").await?;
        println!("{edge:?}: {accepted} accepted, {failed} accepts failed");
        assert!(failed * 20 <= accepted, "{edge:?}: {failed} of {accepted}");
    }
    assert!(stage.turned_away(Edge::Http, "crowded-out").await? > 0);
    stage.is_unharmed();
    for crowd in crowds {
        crowd.leave().await?;
    }
    stage.is_quiet().await?;
    HubClient::new(format!("http://{}", stage.hub.http))?.register("last", PASSWORD).await?;
    Ok(())
}
