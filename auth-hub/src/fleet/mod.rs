//! The view of the fleet: which servers there are, which are fresh, how full, and who lives on them.
//!
//! There is no list of servers anywhere: a server exists because it spoke. Knows neither accounts nor sockets; takes messages
//! that opened and `now`, gives orders to send and news. Invariants: the newest boot wins; a will never removes a newer stream;
//! a lost server keeps its entry until it is long forgotten, so that nothing the next status would restore is deleted.

mod overload;
mod placement;
mod population;
mod regions;
mod roster;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use shared_msgs::clock::{Mono, Now};
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, HubId, PlayerId, ServerId, StreamId, TokenHash};
use shared_msgs::keys::KeyName;
use shared_msgs::limits;
use shared_msgs::messages::{EntryKind, Order, RosterEntry, ServerMessage, ServerState, Status, Verdict};
use tracing::{info, warn};

pub(crate) use overload::{BACKLOG_GRANTS, Steps};
pub use overload::{LoadLimits, Pressure};
pub(crate) use placement::Candidate;
pub use placement::{Placement, Policy};
pub use population::{HIGH_FROM_PERCENT, MEDIUM_FROM_PERCENT, Population};
pub(crate) use regions::Regions;
pub use server::Freshness;
pub(crate) use server::{Condition, ServerView};

/// A server unheard for this long is forgotten.
const FORGET_AFTER: Duration = Duration::from_mins(10);

/// Who sent a message, as its envelope proves.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Which server.
    pub server: ServerId,
    /// On which of its connections.
    pub stream: StreamId,
    /// Under which of its keys.
    pub key: KeyName,
}

/// An order for one boot of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    /// Which server.
    pub server: ServerId,
    /// Another boot ignores it.
    pub boot: BootId,
    /// What to do.
    pub order: Order,
}

/// What a message or the passing of time changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// Another run of the server took over: whatever lived on the old one is gone.
    NewBoot(ServerId),
    /// Its connection died.
    Suspect(ServerId),
    /// Unheard for a lease.
    LeaseEnded(ServerId),
    /// It is on a new connection, so orders in flight may be lost.
    Reconnected(ServerId),
    /// It may have room now.
    Room,
    /// Somebody's entry came, changed or went.
    Entry(PlayerId),
    /// The whole roster was learnt anew.
    Roster(ServerId),
}

/// A server as clients may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerSummary {
    /// Operator-chosen.
    pub id: ServerId,
    /// For people.
    pub name: String,
    /// May be empty.
    pub region: String,
    /// May be empty.
    pub build: String,
    /// `online`, `degraded`, `draining`, `starting` or `offline`.
    pub state: &'static str,
    /// What it can be chosen by.
    pub labels: Vec<String>,
    /// One line for players; may be empty.
    pub message: String,
    /// How full it is, by players in game and slots held for those on their way.
    pub population: Population,
    /// In game.
    pub players: u32,
    /// Slots in all.
    pub max_players: u32,
}

/// All servers that spoke lately.
#[derive(Debug)]
pub(crate) struct Fleet {
    hub: HubId,
    servers_max: usize,
    load: Steps,
    servers: BTreeMap<ServerId, ServerView>,
    /// Ordered to drain, whichever boot there is.
    held_back: BTreeSet<ServerId>,
    probes_sent: u64,
    next_beat: Mono,
    lease_ends: u64,
}

impl Fleet {
    pub(crate) fn new(hub: HubId, servers_max: usize, load: LoadLimits) -> Self {
        Self {
            hub,
            servers_max,
            load: load.steps(),
            servers: BTreeMap::new(),
            held_back: BTreeSet::new(),
            probes_sent: 0,
            next_beat: Mono::default(),
            lease_ends: 0,
        }
    }

    pub(crate) fn get(&self, server: &ServerId) -> Option<&ServerView> {
        self.servers.get(server)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ServerId, &ServerView)> {
        self.servers.iter()
    }

    /// How many leases have ended since the start.
    pub(crate) fn lease_ends(&self) -> u64 {
        self.lease_ends
    }

    /// Every entry of a player, with where it is.
    pub(crate) fn entries_of(&self, player: PlayerId) -> impl Iterator<Item = (&ServerId, &RosterEntry)> {
        self.servers.iter().flat_map(move |(id, view)| view.roster.of_player(player).map(move |e| (id, e)))
    }

    /// Takes a message that opened.
    pub(crate) fn on_message(
        &mut self,
        from: &Sender,
        message: &ServerMessage,
        now: Now,
        orders: &mut Vec<Addressed>,
    ) -> Vec<News> {
        match message {
            ServerMessage::Status(status) => self.on_status(from, status, now, orders),
            ServerMessage::Gone { boot } => self.on_gone(from, *boot),
            ServerMessage::GrantReply { stamp, hash, player, fence, verdict, .. } => {
                if let Verdict::Refused(Code::ServerDraining | Code::ServerClosed) = verdict
                    && let Some(view) = self.current(&from.server, stamp.boot)
                {
                    // The status that says so too may come behind this answer, and the next one corrects it.
                    view.state = ServerState::Draining;
                }
                let entry =
                    RosterEntry { hash: *hash, player: *player, fence: *fence, kind: EntryKind::Held };
                let add = matches!(verdict, Verdict::Held).then_some(entry);
                self.on_change(from, stamp, *hash, *player, add, now)
            }
            ServerMessage::Joined { stamp, entry } => {
                self.on_change(from, stamp, entry.hash, entry.player, Some(*entry), now)
            }
            ServerMessage::Left { stamp, entry } => {
                self.on_change(from, stamp, entry.hash, entry.player, None, now)
            }
            ServerMessage::Ended { stamp, .. } | ServerMessage::Noticed { stamp, .. } => {
                let Some(view) = self.current(&from.server, stamp.boot) else { return Vec::new() };
                view.on_stamp(stamp, now);
                view.room(now).into_iter().collect()
            }
            ServerMessage::Move(asked) => {
                if let Some(view) = self.current(&from.server, asked.stamp.boot) {
                    view.on_stamp(&asked.stamp, now);
                }
                Vec::new()
            }
            ServerMessage::RosterPage { stamp, request, page, pages, entries } => {
                let Some(view) = self.current(&from.server, stamp.boot) else { return Vec::new() };
                view.on_stamp(stamp, now);
                let was_eligible = view.is_eligible(now);
                if view.roster.on_page(*request, stamp.rev, *page, *pages, entries.clone(), now) {
                    info!(target: "handover", server_id = %from.server, entries = view.roster.entries().count(), "roster.learnt");
                    view.tell_if_eligible(was_eligible, &from.server, now);
                    let news = News::Roster(from.server.clone());
                    [Some(news), view.room(now)].into_iter().flatten().collect()
                } else {
                    Vec::new()
                }
            }
        }
    }

    fn current(&mut self, server: &ServerId, boot: BootId) -> Option<&mut ServerView> {
        self.servers.get_mut(server).filter(|view| view.boot == boot)
    }

    fn on_change(
        &mut self,
        from: &Sender,
        stamp: &shared_msgs::messages::Stamp,
        hash: TokenHash,
        player: PlayerId,
        add: Option<RosterEntry>,
        now: Now,
    ) -> Vec<News> {
        let Some(view) = self.current(&from.server, stamp.boot) else { return Vec::new() };
        view.on_stamp(stamp, now);
        if stamp.is_change {
            view.roster.apply(stamp.rev, player, hash, add, now);
        }
        [Some(News::Entry(player)), view.room(now)].into_iter().flatten().collect()
    }

    fn on_status(
        &mut self,
        from: &Sender,
        status: &Status,
        now: Now,
        orders: &mut Vec<Addressed>,
    ) -> Vec<News> {
        let (server, boot) = (&from.server, status.stamp.boot);
        let is_new = !self.servers.contains_key(server);
        if is_new && self.servers.len() >= self.servers_max && !self.forget_one(now) {
            warn!(target: "handover", server_id = %server, "server.refused_fleet_full");
            return Vec::new();
        }
        let mut news = Vec::new();
        match self.servers.get_mut(server) {
            Some(view) if view.boot == boot => {
                let was_eligible = view.is_eligible(now);
                if view.on_status(&self.hub, from.stream, from.key, status.clone(), self.load, now) {
                    news.push(News::Reconnected(server.clone()));
                    self.probe(server, now, orders);
                    return news;
                }
                view.tell_if_eligible(was_eligible, server, now);
                news.extend(view.room(now));
                return news;
            }
            Some(view) if boot < view.boot && now.mono < view.lease_ends_at() => {
                // Whichever of the two connected last has thrown the other out of the broker, so the older one is told when it speaks.
                if view.outlives(boot, self.probes_sent) {
                    warn!(target: "handover", server_id = %server, boot = %boot, newer = %view.boot, "server.superseded");
                    let order = Order::Superseded { by: view.boot };
                    orders.push(Addressed { server: server.clone(), boot, order });
                } else {
                    self.probe(server, now, orders);
                }
                return Vec::new();
            }
            // Also when it was unknown: we may have forgotten an earlier boot of it, but not all that it owes.
            Some(_) | None => news.push(News::NewBoot(server.clone())),
        }
        info!(target: "handover", server_id = %server, boot = %boot, realm = %status.profile.realm, "server.heard");
        let mut view = ServerView::new(from.stream, from.key, status, self.load, now);
        view.is_held_back = self.held_back.contains(server);
        self.servers.insert(server.clone(), view);
        self.probe(server, now, orders);
        news
    }

    fn on_gone(&mut self, from: &Sender, boot: BootId) -> Vec<News> {
        // A will counts only if its own connection carried the newest status: a late one of an old connection does not.
        let Some(view) = self.current(&from.server, boot).filter(|view| view.stream == from.stream) else {
            info!(target: "handover", server_id = %from.server, "server.will_ignored");
            return Vec::new();
        };
        view.suspect();
        warn!(target: "handover", server_id = %from.server, "server.suspect");
        vec![News::Suspect(from.server.clone())]
    }

    /// From now on it gets nobody, or may again: as long as the hub's own drain stands.
    pub(crate) fn hold_back(&mut self, server: &ServerId, is_held_back: bool) {
        if is_held_back {
            self.held_back.insert(server.clone());
        } else {
            self.held_back.remove(server);
        }
        if let Some(view) = self.servers.get_mut(server) {
            view.is_held_back = is_held_back;
        }
    }

    /// Takes its lease from a server that was heard under a key of a lower generation. False when there is none.
    pub(crate) fn revoke(&mut self, server: &ServerId, lowest_generation: u32) -> bool {
        let view = self.servers.get_mut(server).filter(|view| view.key.generation < lowest_generation);
        view.map(ServerView::revoke).is_some()
    }

    /// The number of the newest probe.
    pub(crate) fn probes_sent(&self) -> u64 {
        self.probes_sent
    }

    /// The newest of our probes that the server had heard when it sent this.
    pub(crate) fn echoed(&self, status: &Status) -> Option<u64> {
        status.echoes.iter().find(|echo| echo.hub == self.hub).map(|echo| echo.n)
    }

    /// Sends a server a probe out of turn: its echo proves that it was sent after all that the server was told before.
    pub(crate) fn probe(&mut self, server: &ServerId, now: Now, orders: &mut Vec<Addressed>) {
        let Some(view) = self.servers.get_mut(server) else { return };
        self.probes_sent += 1;
        view.on_probe_sent(self.probes_sent, now);
        let order = Order::Probe { hub: self.hub.clone(), n: self.probes_sent };
        orders.push(Addressed { server: server.clone(), boot: view.boot, order });
        if let Some(request) = view.roster.request_due(now) {
            let order = Order::Roster { request };
            orders.push(Addressed { server: server.clone(), boot: view.boot, order });
        }
    }

    /// The hub has just reached its broker: the next tick probes everybody.
    pub(crate) fn on_link_up(&mut self, now: Now) {
        self.next_beat = now.mono;
    }

    /// Lets time pass: probes each beat, asks for rosters, ends leases, forgets the long lost.
    pub(crate) fn tick(&mut self, now: Now, orders: &mut Vec<Addressed>) -> Vec<News> {
        let mut news = Vec::new();
        if now.mono >= self.next_beat {
            let ids: Vec<ServerId> = self.servers.keys().cloned().collect();
            self.next_beat = now.mono + limits::STATUS_BEAT;
            for id in &ids {
                self.probe(id, now, orders);
            }
            self.servers.retain(|_, view| now.mono.since(view.last_heard) < FORGET_AFTER);
        }
        for (id, view) in &mut self.servers {
            if let Some(request) = view.roster.request_due(now) {
                orders.push(Addressed {
                    server: id.clone(),
                    boot: view.boot,
                    order: Order::Roster { request },
                });
            }
            if view.freshness(now) == Freshness::Lost && !view.lease_end_reported {
                view.lease_end_reported = true;
                self.lease_ends += 1;
                warn!(target: "handover", server_id = %id, "server.lease_ended");
                news.push(News::LeaseEnded(id.clone()));
            }
        }
        news
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Mono {
        let of_view = |view: &ServerView| {
            let lease = (!view.lease_end_reported).then(|| view.lease_ends_at());
            lease.into_iter().chain(view.roster.next_deadline())
        };
        self.servers.values().flat_map(of_view).chain([self.next_beat]).min().unwrap_or(self.next_beat)
    }

    /// Makes room for a new server by forgetting the longest lost one.
    fn forget_one(&mut self, now: Now) -> bool {
        let lost = self.servers.iter().filter(|(_, view)| view.freshness(now) == Freshness::Lost);
        let oldest = lost.min_by_key(|(_, view)| view.last_heard).map(|(id, _)| id.clone());
        oldest.and_then(|id| self.servers.remove(&id)).is_some()
    }

    /// The servers as clients may see them, by name.
    pub(crate) fn summaries(&self, pressure: impl Fn(&ServerId) -> Pressure, now: Now) -> Vec<ServerSummary> {
        let summary = |(id, view): (&ServerId, &ServerView)| ServerSummary {
            population: view.population(),
            id: id.clone(),
            name: view.profile.name.clone(),
            region: view.profile.region.clone(),
            build: view.profile.build.clone(),
            state: match view.condition(pressure(id), now) {
                // Whether it gets few or none for now is of no use to players.
                Condition::Overloaded => Condition::Degraded.as_str(),
                other => other.as_str(),
            },
            labels: view.profile.labels.clone(),
            message: view.message.clone(),
            players: view.occupancy().players,
            max_players: view.occupancy().max_players,
        };
        self.servers.iter().map(summary).collect()
    }
}
