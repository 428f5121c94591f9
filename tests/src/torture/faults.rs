//! What is done to the site: one kill or one fault with its recovery is a cycle.
//!
//! Draws faults from a seeded generator and carries them out. A recovery is what players feel: the next grant that the server says yes
//! to, the next token it redeems, the next login that is answered. Knows no verdicts; tells the site which connections it may break.

use std::sync::Arc;
use std::time::Duration;

use shared_msgs::clock::Mono;
use shared_msgs::rng::Rng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::journal::{Entry, RunId, Who};
use super::site::Site;
use super::verdicts::Leg;
use crate::proxy::{FaultProxy, Way};

/// Where nobody recovers within this, other faults are in the way; what is stuck for good shows at the end.
const RECOVERY_MAX: Duration = Duration::from_secs(30);

/// What is hit. One thing is hit by one fault at a time; different ones overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The hub's process.
    Hub,
    /// Clients' leg to the hub.
    Http,
    /// A server's process or its leg to the broker.
    Server(usize),
    /// Clients' leg to a server.
    Game(usize),
}

/// What is done to a connection, or to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// kill -9, then a new run.
    Kill,
    /// SIGTERM, then a new run.
    Drain,
    /// SIGSTOP, then SIGCONT.
    Freeze,
    /// All connections are closed.
    Sever,
    /// Connections are closed, and new ones refused for a while.
    Refuse,
    /// Nothing passes either way for a while.
    Stall,
    /// Nothing passes one way for a while.
    StallOneWay(Way),
    /// Everything passes late for a while.
    Slow,
    /// One way of all connections ends.
    HalfClose(Way),
}

/// One cycle to come.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The row of the table.
    pub kind: &'static str,
    /// What is hit.
    pub target: Target,
    /// How.
    pub deed: Deed,
    /// For how long.
    pub lasts: Duration,
}

/// A cycle that was.
#[derive(Debug, Clone)]
pub struct Cycle {
    /// The row of the table.
    pub kind: &'static str,
    /// From the kill, or the end of the fault, until players got in again; `None` when other faults did not let them.
    pub recovered_in: Option<Duration>,
}

fn ways(rng: &dyn Rng) -> Way {
    if rng.below(2) == 0 { Way::Up } else { Way::Down }
}

impl Fault {
    /// The next one, for so many servers.
    pub fn draw(rng: &dyn Rng, servers: usize) -> Self {
        let n = usize::try_from(rng.below(servers as u64)).unwrap_or(0);
        let (server, game) = (Target::Server(n), Target::Game(n));
        let short = Duration::from_millis(200 + rng.below(1_300));
        // Some outlast a lease, and what the hub waits for.
        let long = if rng.below(6) == 0 { Duration::from_millis(6_500 + rng.below(2_500)) } else { short };
        let way = ways(rng);
        let fault = |kind, target, deed, lasts| Self { kind, target, deed, lasts };
        match rng.below(100) {
            0..24 => fault("server killed", server, Deed::Kill, Duration::ZERO),
            24..34 => fault("hub killed", Target::Hub, Deed::Kill, Duration::ZERO),
            34..38 => fault("server drained", server, Deed::Drain, Duration::ZERO),
            38..43 => fault("server frozen", server, Deed::Freeze, long),
            43..50 => fault("bus severed", server, Deed::Sever, Duration::ZERO),
            50..54 => fault("bus refused", server, Deed::Refuse, short),
            54..60 => fault("bus stalled", server, Deed::Stall, long),
            60..66 => fault("bus stalled one way", server, Deed::StallOneWay(way), long),
            66..70 => fault("bus slow", server, Deed::Slow, short),
            70..74 => fault("bus half-closed", server, Deed::HalfClose(way), Duration::ZERO),
            74..78 => fault("http severed", Target::Http, Deed::Sever, Duration::ZERO),
            78..82 => fault("http stalled", Target::Http, Deed::Stall, short),
            82..84 => fault("http slow", Target::Http, Deed::Slow, short),
            84..86 => fault("http half-closed", Target::Http, Deed::HalfClose(way), Duration::ZERO),
            86..90 => fault("game severed", game, Deed::Sever, Duration::ZERO),
            90..92 => fault("game refused", game, Deed::Refuse, short),
            92..95 => fault("game stalled", game, Deed::StallOneWay(way), short),
            95..97 => fault("game slow", game, Deed::Slow, short),
            _ => fault("game half-closed", game, Deed::HalfClose(way), Duration::ZERO),
        }
    }

    /// Does it, undoes it, and waits until players get in again. `calm` cuts waiting short.
    ///
    /// # Errors
    /// When a process ended by itself, did not end when asked, or does not start.
    pub async fn carry_out(
        self,
        site: Arc<Site>,
        slots: usize,
        calm: CancellationToken,
    ) -> anyhow::Result<Cycle> {
        let Self { kind, target, deed, lasts } = self;
        site.note(&format!("{kind}: {target:?} {deed:?} for {} ms", lasts.as_millis()));
        let mut mark = site.journal.mark();
        let mut since = site.now();
        let mut run = None;
        match (self.target, self.deed) {
            (Target::Hub, _) => {
                site.kill_hub().await?;
                run = Some(site.start_hub().await?);
            }
            (Target::Server(n), Deed::Kill | Deed::Drain) => {
                if self.deed == Deed::Kill {
                    site.kill_server(n).await?;
                } else {
                    site.drain_server(n).await?;
                    since = site.now();
                }
                run = Some(site.start_server(n, slots).await?);
            }
            (Target::Server(n), Deed::Freeze) => {
                site.freeze_server(n, true).await?;
                pass(self.lasts, &calm).await;
                site.freeze_server(n, false).await?;
                (mark, since) = (site.journal.mark(), site.now());
            }
            _ => {
                self.meddle(&site, &calm).await;
                (mark, since) = (site.journal.mark(), site.now());
            }
        }
        site.note(&format!("{kind}: {target:?} over"));
        let recovered_in = self.recovery(&site, run, mark, since, &calm).await;
        site.note(&format!("{kind}: {target:?} recovered in {recovered_in:?}"));
        Ok(Cycle { kind, recovered_in })
    }

    /// A fault of a leg, from its beginning to its end.
    async fn meddle(self, site: &Site, calm: &CancellationToken) {
        let (proxy, leg): (&FaultProxy, Option<Leg>) = match self.target {
            Target::Hub | Target::Http => (&site.http, Some(Leg::Http)),
            Target::Server(n) => (&site.servers[n].bus, None),
            Target::Game(n) => (&site.servers[n].game, Some(Leg::Game(n))),
        };
        let breaks = matches!(self.deed, Deed::Sever | Deed::Refuse | Deed::HalfClose(_));
        let cut = leg.filter(|_| breaks).map(|leg| site.cutting(leg));
        match self.deed {
            Deed::Kill | Deed::Drain | Deed::Freeze => {}
            Deed::Sever => proxy.cut(),
            Deed::Refuse => {
                proxy.admit(false);
                proxy.cut();
                pass(self.lasts, calm).await;
                proxy.admit(true);
            }
            Deed::Stall | Deed::StallOneWay(_) => {
                let ways = match self.deed {
                    Deed::StallOneWay(way) => vec![way],
                    _ => vec![Way::Up, Way::Down],
                };
                for way in &ways {
                    proxy.hold(*way);
                }
                pass(self.lasts, calm).await;
                for way in ways {
                    proxy.release(way);
                }
            }
            Deed::Slow => {
                for by in [Duration::from_millis(60), Duration::ZERO] {
                    proxy.delay(Way::Up, by);
                    proxy.delay(Way::Down, by);
                    if !by.is_zero() {
                        pass(self.lasts, calm).await;
                    }
                }
            }
            Deed::HalfClose(way) => proxy.half_close(way),
        }
        if let Some(cut) = cut {
            site.mended(cut);
        }
    }

    async fn recovery(
        self,
        site: &Site,
        run: Option<RunId>,
        mark: usize,
        since: Mono,
        calm: &CancellationToken,
    ) -> Option<Duration> {
        let is_new = |entry: &Entry| run.is_none_or(|run| entry.by == run);
        let is_it = |entry: &Entry| match self.target {
            Target::Hub | Target::Http => entry.event == "login.answered" && is_new(entry),
            Target::Server(n) if run.is_none() => {
                entry.event == "grant.accepted" && entry.server == site.servers[n].id
            }
            Target::Server(n) | Target::Game(n) => {
                entry.event == "token.redeemed" && entry.by.who == Who::Server(n) && is_new(entry)
            }
        };
        let deadline = deadline(RECOVERY_MAX);
        tokio::select! {
            biased;
            entry = site.journal.wait(mark, deadline, is_it) => entry.map(|_| site.now().since(since)),
            () = calm.cancelled() => None,
        }
    }
}

pub(super) fn deadline(after: Duration) -> Instant {
    Instant::now() + after
}

/// Lets time pass, unless it is to end.
pub(super) async fn pass(time: Duration, end: &CancellationToken) {
    let _ = tokio::time::timeout_at(deadline(time), end.cancelled()).await;
}
