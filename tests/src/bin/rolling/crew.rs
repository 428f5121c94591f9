//! All players, and waiting for what becomes of them.
//!
//! Invariant: whoever waits here hears at once of a player that was lost.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hub_tests::client::HubClient;
use hub_tests::site::PATIENCE;
use hub_tests::times::Table;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::player::{PASSWORD, Player, Seat};

/// As many accounts as the whole show needs.
const ACCOUNTS: usize = 90;
/// Registrations under way; more would be refused.
const AT_ONCE: usize = 8;

/// One of the players, by its number in the order in which they came.
pub(crate) type Who = usize;

struct Member {
    name: String,
    seat: watch::Receiver<Seat>,
    leave: CancellationToken,
}

/// All players that came so far.
pub(crate) struct Crew {
    hub: HubClient,
    members: Vec<Member>,
    tasks: TaskTracker,
}

fn name(n: usize) -> String {
    format!("player{n}")
}

impl Crew {
    /// Makes the accounts; nobody comes yet.
    pub(crate) async fn register(hub: &HubClient) -> anyhow::Result<Self> {
        let mut under_way = JoinSet::new();
        for n in 0..ACCOUNTS {
            if n >= AT_ONCE {
                under_way.join_next().await.context("a registration")???;
            }
            let hub = hub.clone();
            under_way.spawn(async move { hub.register(&name(n), PASSWORD).await.map(drop) });
        }
        while let Some(done) = under_way.join_next().await {
            done??;
        }
        Ok(Self { hub: hub.clone(), members: Vec::new(), tasks: TaskTracker::new() })
    }

    /// So many more log in. Every other one leaves by itself when asked to.
    pub(crate) fn come(&mut self, count: usize) -> std::ops::Range<Who> {
        let first = self.members.len();
        for n in first..first + count {
            let (seat, leave) = (watch::Sender::new(Seat::default()), CancellationToken::new());
            self.members.push(Member { name: name(n), seat: seat.subscribe(), leave: leave.clone() });
            let player =
                Player { name: name(n), hub: self.hub.clone(), is_polite: n.is_multiple_of(2), seat, leave };
            self.tasks.spawn(player.live());
        }
        first..first + count
    }

    /// So many more log in and are in game.
    pub(crate) async fn come_in(&mut self, count: usize) -> anyhow::Result<std::ops::Range<Who>> {
        let who = self.come(count);
        self.until("is in game", who.clone(), |_, seat| seat.server.is_some()).await?;
        Ok(who)
    }

    /// Asked to leave.
    pub(crate) fn dismiss(&self, who: Who) {
        self.members[who].leave.cancel();
    }

    pub(crate) fn name(&self, who: Who) -> &str {
        &self.members[who].name
    }

    pub(crate) fn seat(&self, who: Who) -> Seat {
        self.members[who].seat.borrow().clone()
    }

    /// Everybody who is in game, by server.
    pub(crate) fn in_game(&self) -> BTreeMap<String, Vec<Who>> {
        let mut seated: BTreeMap<String, Vec<Who>> = BTreeMap::new();
        for (who, member) in self.members.iter().enumerate() {
            if let Some(server) = member.seat.borrow().server.clone() {
                seated.entry(server).or_default().push(who);
            }
        }
        seated
    }

    /// Those in game on this server.
    pub(crate) fn on(&self, server: &str) -> Vec<Who> {
        self.in_game().remove(server).unwrap_or_default()
    }

    /// Waits until each of them has come to this.
    pub(crate) async fn until(
        &self,
        what: &str,
        who: impl IntoIterator<Item = Who>,
        is_it: impl Fn(Who, &Seat) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for who in who {
            let mut seat = self.members[who].seat.clone();
            let found = seat.wait_for(|seat| seat.lost.is_some() || is_it(who, seat));
            match timeout_at(deadline, found).await {
                Ok(Ok(seat)) if seat.lost.is_none() => {}
                _ => bail!("{} never {what}: {:?}", self.name(who), self.seat(who)),
            }
        }
        self.nobody_lost()
    }

    /// Waits until the game has answered each of them a few more times.
    pub(crate) async fn echo(&self, who: &[Who]) -> anyhow::Result<()> {
        let before: BTreeMap<Who, u64> = who.iter().map(|who| (*who, self.seat(*who).echoes)).collect();
        let has_more = |who, seat: &Seat| seat.echoes >= before.get(&who).copied().unwrap_or(0) + 3;
        self.until("hears the game", who.iter().copied(), has_more).await
    }

    pub(crate) fn nobody_lost(&self) -> anyhow::Result<()> {
        for member in &self.members {
            let seat = member.seat.borrow();
            ensure!(seat.lost.is_none(), "{} was lost: {:?}", member.name, *seat);
        }
        Ok(())
    }

    /// What everybody waited goes into the table.
    pub(crate) fn sum_up(&self, table: &mut Table) {
        let mut away: Vec<Duration> = Vec::new();
        let (mut echoes, mut welcomes, mut broken) = (0, 0, 0);
        for member in &self.members {
            let seat = member.seat.borrow();
            away.extend(&seat.away);
            echoes += seat.echoes;
            welcomes += seat.welcomes;
            broken += seat.polls_unanswered;
        }
        for away in away {
            table.add("session over → in game on another server", away);
        }
        table.note(format!(
            "{} players, {welcomes} welcomes, {echoes} echoes; refused for good: 0; questions of tickets asked again: {broken}",
            self.members.len()
        ));
    }

    /// All leave.
    pub(crate) async fn leave(self) -> anyhow::Result<()> {
        self.nobody_lost()?;
        self.members.iter().for_each(|member| member.leave.cancel());
        self.tasks.close();
        timeout_at(Instant::now() + PATIENCE, self.tasks.wait()).await.context("somebody does not leave")?;
        self.nobody_lost()
    }
}
