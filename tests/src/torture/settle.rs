//! After the storm: does everything come to rest, do all agree, does everybody get in?
//!
//! Three accounts of who is in game are compared: the servers' (their own log), the hub's (`GET /servers`) and the players' (open connections);
//! after the roll-call a fourth, the worlds' (`who`). At last all leave, and every slot must be free. Knows no stories. Each wait has a
//! bound; what is not so by then is a finding.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::faults::deadline;
use super::player::{Phase, Presence};
use super::site::Site;
use super::table::{Finding, Kind};

/// A request and a show that are under way may take this long: both have bounds below it.
const REST_MAX: Duration = Duration::from_secs(45);
/// Everything agrees within this: a lease, a save, a few beats.
const AGREE_MAX: Duration = Duration::from_secs(20);
/// Everybody is welcomed within this.
const ROLL_MAX: Duration = Duration::from_secs(20);
/// How often to look.
const LOOK: Duration = Duration::from_millis(100);

/// One device, as settling sees it.
#[derive(Debug)]
pub struct Seat {
    /// Whose.
    pub login: String,
    /// Whether it answers the roll-call.
    pub is_first: bool,
    /// Where it is.
    pub presence: watch::Receiver<Presence>,
}

#[derive(Deserialize)]
struct Servers {
    servers: Vec<Summary>,
}

#[derive(Deserialize)]
struct Summary {
    id: String,
    state: String,
    players: usize,
}

/// How long things took.
#[derive(Debug, Default)]
pub struct Settled {
    /// From the last fault until all agreed.
    pub agreed_in: Duration,
    /// What was wrong.
    pub findings: Vec<Finding>,
}

/// See the module.
///
/// # Errors
/// When there is no client to ask the hub with.
pub async fn settle(site: &Site, seats: &[Seat], phase: &watch::Sender<Phase>) -> anyhow::Result<Settled> {
    let mut settled = Settled::default();
    let calm_at = site.now();
    phase.send_replace(Phase::Calm);
    let mut stuck = |words: String| settled.findings.push(Finding::new(Kind::Stuck, words));
    if !until(REST_MAX, async || seats.iter().all(|seat| *seat.presence.borrow() != Presence::Busy)).await {
        stuck(format!("still on their way: {:?}", busy(seats)));
    }
    let mut findings = agree(site, seats).await?;
    settled.agreed_in = site.now().since(calm_at);
    phase.send_replace(Phase::Roll);
    let is_in = |seat: &Seat| matches!(*seat.presence.borrow(), Presence::In(_));
    if !until(ROLL_MAX, async || seats.iter().filter(|seat| seat.is_first).all(is_in)).await {
        let missing: Vec<&str> =
            seats.iter().filter(|s| s.is_first && !is_in(s)).map(|s| s.login.as_str()).collect();
        stuck(format!("not welcomed within {} s of calm: {missing:?}", ROLL_MAX.as_secs()));
    }
    findings.extend(agree(site, seats).await?);
    phase.send_replace(Phase::Muster);
    let has_asked = |seat: &Seat| !matches!(*seat.presence.borrow(), Presence::In(_) | Presence::Busy);
    if !until(AGREE_MAX, async || seats.iter().all(has_asked)).await {
        findings.push(Finding::new(Kind::Stuck, "a world does not say who is there".to_owned()));
    }
    findings.extend(muster(seats));
    // Whoever has left holds no slot.
    phase.send_replace(Phase::Leave);
    findings.extend(agree(site, seats).await?);
    settled.findings.extend(findings);
    Ok(settled)
}

fn busy(seats: &[Seat]) -> Vec<&str> {
    seats.iter().filter(|s| *s.presence.borrow() == Presence::Busy).map(|s| s.login.as_str()).collect()
}

/// Looks again and again until it is so; false when the time is over.
async fn until(within: Duration, mut is_so: impl AsyncFnMut() -> bool) -> bool {
    let end = deadline(within);
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if is_so().await {
            return true;
        }
        if looks.period().is_zero() || end <= deadline(Duration::ZERO) {
            return false;
        }
    }
}

/// Waits until all agree, and tells what is wrong if they do not.
async fn agree(site: &Site, seats: &[Seat]) -> anyhow::Result<Vec<Finding>> {
    let client = site.client()?;
    let mut wrong = Vec::new();
    let agreed = until(AGREE_MAX, async || {
        let (status, text) = client.get("/servers").await.unwrap_or_default();
        let hub = serde_json::from_str::<Servers>(&text).map(|reply| reply.servers).unwrap_or_default();
        wrong = differences(site, seats, &hub).await;
        if status != 200 {
            wrong.push(Finding::new(Kind::Stuck, format!("GET /servers gave {status}")));
        }
        wrong.is_empty()
    });
    if agreed.await {
        wrong.clear();
    }
    Ok(wrong)
}

async fn differences(site: &Site, seats: &[Seat], hub: &[Summary]) -> Vec<Finding> {
    let mut wrong = Vec::new();
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (n, server) in site.servers.iter().enumerate() {
        let live = site.journal.live(site.run_of(n).await);
        let clients = seats.iter().filter(|seat| *seat.presence.borrow() == Presence::In(n)).count();
        let summary = hub.iter().find(|summary| summary.id == server.id);
        let seen = summary.map(|summary| (summary.state.as_str(), summary.players));
        if seen != Some(("online", live.len())) || clients != live.len() {
            let words = format!(
                "{}: {} in game by its own log, {clients} by their connections, the hub says {seen:?}; {:?}",
                server.id,
                live.len(),
                live.keys().collect::<Vec<_>>()
            );
            wrong.push(Finding::new(if seen.is_none() { Kind::Stuck } else { Kind::Doubled }, words));
        }
        for (handover, player) in live {
            places.entry(player).or_default().push(handover);
        }
    }
    for (player, handovers) in places.into_iter().filter(|(_, handovers)| handovers.len() > 1) {
        let words = format!("player {player} is in game more than once");
        wrong.push(Finding { handovers, ..Finding::new(Kind::Doubled, words) });
    }
    wrong
}

/// The worlds' own words against the players'.
fn muster(seats: &[Seat]) -> Vec<Finding> {
    let mut expected: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    let mut said: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for seat in seats {
        if let Presence::Mustered(server, names) = &*seat.presence.borrow() {
            expected.entry(*server).or_default().insert(seat.login.clone());
            let mut names = names.clone();
            names.sort();
            said.insert(*server, names);
        }
    }
    let mut wrong = Vec::new();
    for (server, names) in &said {
        let expected: Vec<String> =
            expected.get(server).into_iter().flat_map(|names| names.iter().cloned()).collect();
        if *names != expected {
            let words = format!("the world of server-{server} has {names:?}, its clients are {expected:?}");
            wrong.push(Finding::new(Kind::Doubled, words));
        }
    }
    let mut everybody: BTreeMap<&String, usize> = BTreeMap::new();
    said.values().flatten().for_each(|name| *everybody.entry(name).or_default() += 1);
    for seat in seats.iter().filter(|seat| seat.is_first) {
        let times = everybody.get(&seat.login).copied().unwrap_or(0);
        if times != 1 {
            let kind = if times == 0 { Kind::Stuck } else { Kind::Doubled };
            wrong.push(Finding::new(kind, format!("{} is in game {times} times", seat.login)));
        }
    }
    wrong
}
