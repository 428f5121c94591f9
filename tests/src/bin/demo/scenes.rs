//! The eight scenes.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hub_tests::client::{GameClient, HubClient, Turn};
use hub_tests::proxy::Way;
use shared_msgs::frames::{ClientFrame, ServerFrame};
use tokio::task::JoinSet;

use crate::say;
use crate::stage::{PASSWORD, SLOTS, Stage, stopwatch};

const LOGIN: &str = "login (argon2, grant, yes)";
const WELCOME: &str = "login reply → welcome";
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest that the hub lets a question of a ticket wait.
const LONG_POLL: Duration = Duration::from_secs(5);

pub(crate) async fn play(stage: &mut Stage) -> anyhow::Result<()> {
    normal(stage).await?;
    early(stage).await?;
    twice(stage).await?;
    elsewhere(stage).await?;
    full(stage).await?;
    killed(stage).await?;
    hub_restarted(stage).await?;
    same_account(stage).await
}

fn scene(n: u8, title: &str) {
    say(&format!("\n{n}. {title}"));
}

async fn leave(mut game: GameClient) -> anyhow::Result<()> {
    game.send(&ClientFrame::Leave).await?;
    // The server closes when the slot is free; anything else it still had to say does not matter.
    while game.next().await.is_ok() {}
    Ok(())
}

async fn normal(stage: &mut Stage) -> anyhow::Result<()> {
    scene(1, "A normal login");
    let mut delayed = 0;
    let logins = 100;
    for n in 0..logins {
        let name = stage.player().await?;
        let ticket = stage.login(&name, None, LOGIN).await?;
        let mut game = stage.enter(&ticket, WELCOME).await?;
        delayed += u32::from(game.delayed);
        if n == 0 {
            let who = String::from_utf8(game.ask(b"who").await?)?;
            say(&format!("   {name} logs in, is sent to {} and is in. Here: {who}.", ticket.server.id));
        }
        leave(game).await?;
    }
    say(&format!("   {} more do the same; {delayed} of {logins} had to wait for their grant.", logins - 1));
    stage.table.note(format!("unhurried logins that were parked: {delayed} of {logins}"));
    Ok(())
}

async fn early(stage: &mut Stage) -> anyhow::Result<()> {
    scene(2, "A client that arrives before its grant");
    for n in 0..5 {
        let name = stage.player().await?;
        let alpha = &stage.servers[0];
        alpha.proxy.hold(Way::Down);
        let ticket = stage.login(&name, Some("alpha"), "login, grant held back (unconfirmed)").await?;
        ensure!(!ticket.confirmed, "the held-back server cannot have said yes");
        let mut game = GameClient::connect(ticket.tcp()?).await?;
        game.say_hello(&ticket.token).await?;
        let ServerFrame::Delayed { deadline_ms } = game.next().await? else {
            bail!("{name} was not delayed")
        };
        if n == 0 {
            say(
                "   alpha's leg to the broker is held back; the hub answers after 250 ms without alpha's yes.",
            );
            say(&format!("   {name} is there first: delayed, for {deadline_ms} ms at most."));
        }
        let clock = stopwatch();
        stage.servers[0].proxy.release(Way::Down);
        let outcome = game.outcome().await?;
        ensure!(outcome.code() == "welcome", "{outcome}");
        stage.table.add("grant released → delayed client welcome", clock.elapsed());
        if n == 0 {
            say("   The leg is released, the grant arrives: welcome.");
        }
        leave(game).await?;
    }
    Ok(())
}

async fn twice(stage: &mut Stage) -> anyhow::Result<()> {
    scene(3, "A token used twice");
    let name = stage.player().await?;
    let ticket = stage.login(&name, None, LOGIN).await?;
    let game = stage.enter(&ticket, WELCOME).await?;
    let outcome = stage.refused(ticket.tcp()?, &ticket.token, "token-spent").await?;
    say(&format!("   {name} is in; a copy of the token is {outcome}"));
    leave(game).await
}

async fn elsewhere(stage: &mut Stage) -> anyhow::Result<()> {
    scene(4, "A token shown to the other server");
    let name = stage.player().await?;
    let for_beta = stage.login(&name, Some("beta"), LOGIN).await?;
    let other = stage.player().await?;
    let for_alpha = stage.login(&other, Some("alpha"), LOGIN).await?;
    let outcome = stage.refused(for_alpha.tcp()?, &for_beta.token, "token-not-genuine").await?;
    say(&format!("   beta's token at alpha is {outcome}"));
    let game = stage.enter(&for_beta, WELCOME).await?;
    say("   At beta it is still good: welcome.");
    leave(game).await?;
    leave(stage.enter(&for_alpha, WELCOME).await?).await
}

async fn full(stage: &mut Stage) -> anyhow::Result<()> {
    scene(5, "All servers full");
    let mut in_game = Vec::new();
    for _ in 0..2 * SLOTS {
        let name = stage.player().await?;
        let ticket = stage.login(&name, None, LOGIN).await?;
        in_game.push(stage.enter(&ticket, WELCOME).await?);
    }
    let name = stage.player().await?;
    let login = stage.client.login(&name, PASSWORD, None).await?;
    if let Some(ticket) = login.handover {
        bail!("{} took a player beyond its slots", ticket.server.id);
    }
    let queued = login.queue.context("neither a place nor a ticket")?;
    say(&format!(
        "   {} players fill {} slots; one more gets a ticket and is number {} in line.",
        in_game.len(),
        2 * SLOTS,
        queued.position
    ));
    let mut in_game = in_game.into_iter();
    if let Some(first) = in_game.next() {
        leave(first).await?;
    }
    let clock = stopwatch();
    let place = loop {
        let turn = stage.client.ask_ticket(&login.access_token, &queued.ticket, LONG_POLL).await?;
        if let Turn::Place(place) = turn {
            break *place;
        }
    };
    stage.table.add("a slot frees → the next in line has it", clock.elapsed());
    say(&format!("   One leaves: the next in line is sent to {}.", place.server.id));
    leave(stage.enter(&place, WELCOME).await?).await?;
    for game in in_game {
        leave(game).await?;
    }
    Ok(())
}

async fn killed(stage: &mut Stage) -> anyhow::Result<()> {
    scene(6, "kill -9 of a server while players log in");
    let mut logins = JoinSet::new();
    for _ in 0..SLOTS {
        let name = stage.player().await?;
        let client = stage.client.clone();
        logins.spawn(async move { persist(&client, &name).await });
    }
    let mut in_game = Vec::new();
    let mut noticed = None;
    while let Some(login) = logins.join_next().await {
        in_game.push(login??);
        if in_game.len() == 3 {
            let clock = stopwatch();
            stage.servers[0].process.kill().await?;
            say("   Twelve log in at once; when three are in, alpha is killed.");
            stage.hub.logged(&["server.suspect", "\"alpha\""], PATIENCE).await?;
            noticed = Some(clock.elapsed());
        }
    }
    if let Some(noticed) = noticed {
        stage.table.add("kill -9 → nobody is sent there any more", noticed);
    }
    let at_beta = in_game.iter().filter(|entered| entered.server == "beta").count();
    let stranded = in_game.iter().filter(|entered| entered.tries > 1).count();
    say(&format!(
        "   All {} got in, {at_beta} at beta; {stranded} had been sent to the dying alpha and asked again.",
        in_game.len()
    ));
    let name = stage.player().await?;
    let ticket = stage.login(&name, None, LOGIN).await?;
    ensure!(ticket.server.id.as_str() == "beta", "a dead server got a player");
    leave(stage.enter(&ticket, WELCOME).await?).await?;
    for entered in in_game {
        if entered.server == "beta" {
            leave(entered.game).await?;
        }
    }
    stage.respawn(0).await?;
    say("   alpha is started again.");
    Ok(())
}

/// A player who got in.
struct Entered {
    server: String,
    tries: u32,
    game: GameClient,
}

/// Logs in and connects; one who was sent to a server that died meanwhile asks again, as the protocol says.
async fn persist(hub: &HubClient, name: &str) -> anyhow::Result<Entered> {
    for tries in 1..=5 {
        let login = hub.login(name, PASSWORD, None).await?;
        let ticket = login.handover.context("no place")?;
        match GameClient::enter(ticket.tcp()?, &ticket.token).await {
            Ok((game, outcome)) if outcome.code() == "welcome" => {
                return Ok(Entered { server: ticket.server.id.to_string(), tries, game });
            }
            Ok((_, outcome)) => bail!("{name}: {outcome}"),
            Err(_) => {}
        }
    }
    bail!("{name} never got in")
}

async fn hub_restarted(stage: &mut Stage) -> anyhow::Result<()> {
    scene(7, "kill -9 of the hub while players are in game");
    let mut in_game = Vec::new();
    for _ in 0..6 {
        let name = stage.player().await?;
        let ticket = stage.login(&name, None, LOGIN).await?;
        in_game.push(stage.enter(&ticket, WELCOME).await?);
    }
    let late = stage.player().await?;
    stage.hub.kill().await?;
    for game in &mut in_game {
        ensure!(game.ask(b"still here?").await? == b"still here?", "the game stopped with the hub");
    }
    say("   The hub is dead; all six players still play.");
    stage.restart_hub().await?;
    let ticket = stage.login(&late, None, "first login after a hub restart").await?;
    let game = stage.enter(&ticket, WELCOME).await?;
    for game in &mut in_game {
        ensure!(game.ask(b"still here?").await? == b"still here?", "the restart ended a session");
    }
    say(&format!(
        "   The hub is back, and {late} logs in at once, on {}; the six never noticed.",
        ticket.server.id
    ));
    stage.hub_knows("alpha").await?;
    stage.hub_knows("beta").await?;
    in_game.push(game);
    for game in in_game {
        leave(game).await?;
    }
    Ok(())
}

async fn same_account(stage: &mut Stage) -> anyhow::Result<()> {
    scene(8, "The same account logs in twice");
    let name = stage.player().await?;
    for n in 0..5 {
        let first = stage.login(&name, Some("alpha"), LOGIN).await?;
        let mut older = stage.enter(&first, WELCOME).await?;
        let second = stage.login(&name, Some("beta"), "second login (older session ends first)").await?;
        let ended = older.ended().await.context("the older session was not told")?;
        ensure!(ended.code() == "superseded", "{ended}");
        let newer = stage.enter(&second, WELCOME).await?;
        if n == 0 {
            say(&format!("   {name} plays on alpha and logs in again for beta."));
            say(&format!("   alpha ends the older session first: {ended}. Then beta: welcome."));
        }
        leave(newer).await?;
    }
    Ok(())
}
