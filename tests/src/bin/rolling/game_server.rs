//! The first scene: a game server is drained, stopped, replaced by a new build, and used again.

use anyhow::ensure;
use hub_tests::client::ClientError;
use hub_tests::site::PATIENCE;
use tokio::time::Instant;

use crate::crew::{Crew, Who};
use crate::player::PASSWORD;
use crate::stage::Stage;
use crate::{FIRST, say};

/// An account that never comes into game by itself.
const ASKS_FOR_ALPHA: &str = "player89";

pub(crate) async fn update(stage: &mut Stage, crew: &mut Crew) -> anyhow::Result<()> {
    say("\n1. A new build of a game server");
    crew.come_in(FIRST).await?;
    let (on_alpha, on_beta) = (crew.on("alpha"), crew.on("beta"));
    say(&format!("   {FIRST} players are in game: {} on alpha, {} on beta.", on_alpha.len(), on_beta.len()));
    ensure!(!on_alpha.is_empty() && !on_beta.is_empty(), "one server has them all");

    drain(stage, crew, &on_alpha).await?;
    ensure!(crew.on("alpha").is_empty(), "somebody is on alpha, which was drained");
    for who in &on_beta {
        let seat = crew.seat(*who);
        ensure!(
            seat.welcomes == 1 && seat.ends.is_empty(),
            "{} on beta was disturbed: {seat:?}",
            crew.name(*who)
        );
    }
    stage.books(crew).await?;
    replace(stage, crew).await?;
    stage.books(crew).await
}

/// Takes alpha out of use, and waits until its players are on beta.
async fn drain(stage: &mut Stage, crew: &mut Crew, on_alpha: &[Who]) -> anyhow::Result<()> {
    let began = Instant::now();
    stage.admin(&["drain", "alpha", "--within", "10s", "--why", "update"]).await?;
    stage.shows("alpha draining", |fleet| fleet["alpha"].state == "draining").await?;
    stage.table.add("drain ordered → alpha says that it drains", began.elapsed());
    let newcomers = crew.come_in(2).await?;
    ensure!(
        newcomers.clone().all(|who| crew.seat(who).server.as_deref() == Some("beta")),
        "a newcomer was sent to a server that drains"
    );
    let asked = stage.client.login(ASKS_FOR_ALPHA, PASSWORD, Some("alpha")).await;
    let Err(ClientError::Problem(problem)) = asked else { anyhow::bail!("alpha was to be had") };
    ensure!(problem.code == "server-draining", "{problem}");
    say("   Newcomers go to beta; who asks for alpha by name is told server-draining.");

    let text = "alpha gets an update, come again";
    stage.admin(&["broadcast", text, "--server", "alpha", "--why", "update"]).await?;
    let (polite, stay): (Vec<Who>, Vec<Who>) =
        on_alpha.iter().copied().partition(|who| who.is_multiple_of(2));
    let on_beta = |_, seat: &crate::player::Seat| seat.server.as_deref() == Some("beta");
    crew.until("comes to beta by itself", polite.iter().copied(), on_beta).await?;
    say(&format!(
        "   {} read that, leave by themselves and are on beta; {} play on.",
        polite.len(),
        stay.len()
    ));
    ensure!(polite.iter().all(|who| crew.seat(*who).ends.is_empty()), "who left by itself was ended");

    crew.until("comes to beta after the deadline", stay.iter().copied(), on_beta).await?;
    stage.table.add("drain ordered → all of alpha are on beta", began.elapsed());
    for who in &stay {
        let seat = crew.seat(*who);
        ensure!(seat.ends == ["server-draining"], "{} heard something else: {seat:?}", crew.name(*who));
    }
    say(&format!(
        "   {:.1} s after the order the {} that stayed are ended: server-draining, ask the hub again. They are on beta.",
        began.elapsed().as_secs_f64(),
        stay.len()
    ));
    Ok(())
}

/// Stops alpha, starts its new build, and takes the drain back.
async fn replace(stage: &mut Stage, crew: &mut Crew) -> anyhow::Result<()> {
    let stopped = Instant::now();
    stage.alpha.process.signal("TERM").await?;
    let code = stage.alpha.process.exit_code(PATIENCE).await?;
    ensure!(code == Some(0), "alpha ended with {code:?}");
    stage.table.add("SIGTERM → alpha has ended, exit code 0", stopped.elapsed());
    stage.start_alpha("2.0.0").await?;
    stage
        .shows("the new build, drained", |fleet| {
            let alpha = &fleet["alpha"];
            alpha.build == "2.0.0" && alpha.is_drain_ordered && alpha.state == "draining"
        })
        .await?;
    stage.table.add("SIGTERM → the new build is in the fleet", stopped.elapsed());
    let newcomers = crew.come_in(1).await?;
    ensure!(
        newcomers.clone().all(|who| crew.seat(who).server.as_deref() == Some("beta")),
        "a newcomer was sent to the new build before the drain was taken back"
    );
    say(
        "   alpha ends with exit code 0. Build 2.0.0 starts under its id, and still gets nobody: the drain is the server's, not the process's.",
    );
    let began = Instant::now();
    stage.admin(&["undrain", "alpha", "--why", "updated"]).await?;
    stage
        .shows("alpha online", |fleet| fleet["alpha"].state == "online" && !fleet["alpha"].is_drain_ordered)
        .await?;
    stage.table.add("undrain ordered → alpha takes players", began.elapsed());
    let newcomers = crew.come_in(4).await?;
    ensure!(
        newcomers.clone().all(|who| crew.seat(who).server.as_deref() == Some("alpha")),
        "the empty alpha gets nobody"
    );
    say("   The next four are sent to alpha.");
    Ok(())
}
