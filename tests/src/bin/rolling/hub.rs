//! The second scene: the hub is stopped while logins are under way and two wait for a slot, and comes back.

use anyhow::{Context as _, ensure};
use hub_tests::client::get;
use hub_tests::site::PATIENCE;
use tokio::time::{Duration, Instant, interval, timeout};

use crate::crew::{Crew, Who};
use crate::stage::Stage;
use crate::{SLOTS, say};

/// Logins under way when the hub is asked to stop.
const LOGINS: usize = 8;
/// Who logs in while there is no hub.
const LATE: usize = 2;
/// How often the hub's metrics are read.
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(crate) async fn update(stage: &mut Stage, crew: &mut Crew) -> anyhow::Result<()> {
    say("\n2. A new build of the hub");
    let playing: usize = crew.in_game().values().map(Vec::len).sum();
    crew.come_in(2 * SLOTS - playing).await?;
    let playing: Vec<Who> = crew.in_game().into_values().flatten().collect();
    stage.books(crew).await?;
    let mut line = Vec::new();
    for place in 1..=2 {
        let who = crew.come(1).start;
        crew.until("is in line", [who], |_, seat| seat.position == Some(place) && seat.polls > 0).await?;
        line.push(who);
    }
    say(&format!("   All {} slots are taken; two more wait in line.", playing.len()));
    let welcomes: Vec<u32> = playing.iter().map(|who| crew.seat(*who).welcomes).collect();
    crew.echo(&playing).await?;

    let in_flight = stop(stage, crew).await?;
    let down = Instant::now();
    crew.echo(&playing).await?;
    let late = crew.come(LATE);
    say("   There is no hub. Everybody in game still plays; two more try to log in, and try again.");
    stage.start_hub().await?;
    let polls: Vec<u64> = (0..late.start).map(|who| crew.seat(who).polls).collect();
    stage.hub.has("alpha").await?;
    stage.hub.has("beta").await?;
    stage.table.add("hub has ended → its successor knows the fleet", down.elapsed());

    crew.until("logs in after all", late.clone(), |_, seat| seat.login.is_some()).await?;
    for who in late.clone() {
        let seat = crew.seat(who);
        ensure!(seat.login.is_some_and(|(_, tries)| tries > 1), "{} had an answer of no hub", crew.name(who));
        stage.table.add("login while there is no hub → answered", seat.login_took);
    }
    let waiting = || line.iter().copied().chain(in_flight.iter().copied());
    crew.until("is heard by the new hub", waiting(), |who, seat| seat.polls > polls[who]).await?;
    crew.until("is in line after the restart", late.clone(), |_, seat| seat.polls > 0).await?;
    in_order(crew, &mut line, &in_flight, late)?;
    say(&format!(
        "   The hub is back on its ports and files: {} tickets are good, in the order in which they were given.",
        line.len()
    ));
    crew.echo(&playing).await?;
    for (who, welcomes) in playing.iter().zip(welcomes) {
        let seat = crew.seat(*who);
        ensure!(seat.welcomes == welcomes && seat.server.is_some(), "{} noticed: {seat:?}", crew.name(*who));
    }
    say(&format!(
        "   The {} in game never noticed: same session, echoes before, during and after.",
        playing.len()
    ));
    stage.books(crew).await?;
    serve(stage, crew, &line, &playing).await?;
    stage.books(crew).await
}

/// Asks the hub to stop while logins are under way, and checks that each of them is answered. They all get tickets.
async fn stop(stage: &mut Stage, crew: &mut Crew) -> anyhow::Result<Vec<Who>> {
    let logins = crew.come(LOGINS);
    let metrics = format!("http://{}/metrics", stage.hub.operators);
    let mut look = interval(LOOK_EVERY);
    let all_begun = async {
        loop {
            look.tick().await;
            let text = get(&metrics).await?.text().await?;
            let of = |name: &str| -> Option<usize> {
                text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            };
            let checked = of("hub_argon2_queued ").zip(of("hub_argon2_in_flight "));
            let (queued, running) = checked.context("no such metrics")?;
            let answered = logins.clone().filter(|who| crew.seat(*who).login.is_some()).count();
            if queued + running + answered >= LOGINS {
                return anyhow::Ok(());
            }
        }
    };
    timeout(PATIENCE, all_begun).await.context("the logins are never under way")??;
    let asked = Instant::now();
    stage.hub.process.signal("TERM").await?;
    let code = stage.hub.process.exit_code(PATIENCE).await?;
    ensure!(code == Some(0), "the hub ended with {code:?}");
    stage.table.add("SIGTERM → the hub has ended, exit code 0", asked.elapsed());
    crew.until("has an answer to its login", logins.clone(), |_, seat| seat.login.is_some()).await?;
    let mut after = 0;
    for who in logins.clone() {
        let seat = crew.seat(who);
        let (when, tries) = seat.login.context("no answer")?;
        ensure!(tries == 1, "the login of {} had no answer at first", crew.name(who));
        ensure!(seat.position.is_some(), "{} has a place on a full server", crew.name(who));
        if when > asked {
            after += 1;
            stage.table.add("login under way at SIGTERM → answered", when - asked);
        }
    }
    ensure!(after > 0, "no login was under way when the hub was asked to stop");
    say(&format!(
        "   SIGTERM with {after} of {LOGINS} logins under way: each is answered, with a ticket. The hub ends with exit code 0."
    ));
    Ok(logins.collect())
}

/// The line after the restart: the two first, then who was answered at the end, then who came last.
fn in_order(
    crew: &Crew,
    line: &mut Vec<Who>,
    in_flight: &[Who],
    late: std::ops::Range<Who>,
) -> anyhow::Result<()> {
    let position = |who: &Who| crew.seat(*who).position;
    for group in [in_flight.to_vec(), late.collect()] {
        let mut group = group;
        group.sort_by_key(position);
        line.extend(group);
    }
    let positions: Vec<_> = line.iter().map(position).collect();
    let wanted: Vec<_> = (1..).map(Some).take(line.len()).collect();
    ensure!(positions == wanted, "the line came back in another order: {positions:?}");
    Ok(())
}

/// One leaves, the next in line comes, and nobody before its turn.
async fn serve(stage: &mut Stage, crew: &Crew, line: &[Who], playing: &[Who]) -> anyhow::Result<()> {
    for (n, (next, leaver)) in line.iter().zip(playing).enumerate() {
        let began = Instant::now();
        crew.dismiss(*leaver);
        crew.until("has its turn", [*next], |_, seat| seat.server.is_some()).await?;
        stage.table.add("a slot frees → the next in line is in game", began.elapsed());
        let early = line[n + 1..].iter().find(|who| crew.seat(**who).server.is_some());
        ensure!(early.is_none(), "{:?} came before its turn", early.map(|who| crew.name(*who)));
    }
    say(&format!(
        "   {} leave, one by one: each time the next in line is in game, first come, first served.",
        line.len()
    ));
    Ok(())
}
