//! The handover as a state machine: inputs and `now` in, effects out. No sockets, no clocks, no database.
//!
//! A request goes: its account's line → a server is chosen → the player's id for that realm is found → a grant goes out → the server's
//! yes comes in → older sessions are ended → the client is answered. A no, a will, a lease end or a new boot sends it to the next server.
//!
//! `mod.rs` owns the state; `clients` is what is asked and answered, `queue` who waits for a slot, `slots` for whom one is kept and `turns`
//! whose turn has come; `hear` takes what servers and store say; `place` chooses and grants; `settle` judges answers; `single` keeps one
//! session per account; `wishes` and `orders` do what operators ask; `pressed` has requests wait for overloaded servers; `sticky` knows where
//! players were; `duplicate` refuses second logins; `moves` and `prepared` are about players that a game server moves, `known` counts such
//! moves and `outrun` ends those that came too late.

mod clients;
mod duplicate;
mod hear;
mod known;
mod moves;
mod orders;
mod outrun;
mod place;
mod prepared;
mod pressed;
mod queue;
mod settle;
mod single;
mod slots;
mod sticky;
#[cfg(test)]
mod tests;
mod turns;
mod types;
mod wishes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::ids::{BootId, Fence, HandoverId, HubId, PlayerId, ServerId, TokenHash};
use shared_msgs::keys::FleetKeys;
use shared_msgs::messages::{Endpoint, Occupancy, Order};
use shared_msgs::rng::Rng;
use shared_msgs::token::Token;

pub use duplicate::Duplicate;
pub use moves::{MoveKey, Mover};
pub use types::{Effect, Input};

use queue::Tickets;
use turns::Asker;

use super::HandoverRequest;
use super::ends::{EndKey, Ends};
use super::fences::Fences;
use super::floors::Floors;
use super::grants::Ledger;
use super::journal::Journal;
use super::people::People;
use crate::accounts::AccountRow;
use crate::fleet::{Addressed, Condition, Fleet, Placement, ServerSummary};
use crate::queue::{QueueSettings, TicketId};
use crate::timers::Timers;

/// Handovers under way, over all accounts.
pub(crate) const RUNNING_MAX: usize = 4_096;
/// Grants unanswered, over all servers.
const OPEN_GRANTS_MAX: usize = 65_536;
/// How often the core forgets what nobody needs any more.
const PRUNE_EVERY: std::time::Duration = std::time::Duration::from_mins(1);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Grant(TokenHash),
    End(EndKey),
    Handover(HandoverId),
    Poll(TicketId),
    Wish(ServerId),
    Notice(ServerId, u64),
    Prepared(AccountRow),
    Prune,
}

/// A grant of a running handover.
#[derive(Debug)]
struct Attempt {
    server: ServerId,
    boot: BootId,
    player: PlayerId,
    hash: TokenHash,
    fence: Fence,
    token: Token,
    placed: PlacedAt,
    sent_at: Mono,
    yes_at: Option<Mono>,
}

/// What the client is told of the place, as of the grant.
#[derive(Debug, Clone)]
struct PlacedAt {
    server_name: String,
    region: String,
    endpoints: Vec<Endpoint>,
    expires_at: shared_msgs::clock::UnixMs,
}

#[derive(Debug)]
enum Stage {
    /// Behind another handover of its account.
    InLine,
    /// Just started, the fleet of a cold hub is still coming back.
    Holding,
    /// Every server that would do is overloaded.
    Pressed,
    /// The store looks for the player id.
    FindingPlayer,
    /// A grant is out.
    Granting(Box<Attempt>),
}

#[derive(Debug)]
struct Handover {
    request: HandoverRequest,
    /// How many were asked for before.
    number: u64,
    /// Servers that said no or nothing.
    tried: BTreeSet<ServerId>,
    /// Whether some no was for another reason than a lack of room: then nobody is told that all is full.
    was_refused_oddly: bool,
    deadline: Mono,
    /// A hub that has just started keeps the client waiting for its fleet until then at most.
    hold_until: Mono,
    /// Whose turn has come: its place is on the server that keeps a slot for it.
    ticket: Option<TicketId>,
    stage: Stage,
    /// No client waits: a game server moves its player.
    carries: Option<Box<moves::Carried>>,
}

/// What operators decide.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// How players are spread over the fleet.
    pub placement: Placement,
    /// How those wait for whom there is no slot; without it they are refused.
    pub queue: Option<QueueSettings>,
}

/// The state machine.
#[derive(Debug)]
pub struct Core {
    keys: Arc<FleetKeys>,
    rng: Arc<dyn Rng>,
    placement: Placement,
    duplicates: Duplicate,
    fleet: Fleet,
    fences: Fences,
    people: People,
    ledger: Ledger,
    ends: Ends,
    floors: Floors,
    standing: orders::Standing,
    journal: Journal,
    running: BTreeMap<HandoverId, Handover>,
    /// Each account's handovers; the first one runs.
    lines: BTreeMap<AccountRow, VecDeque<HandoverId>>,
    /// Those that wait for a cold hub's fleet.
    holding: BTreeSet<HandoverId>,
    /// Those that wait for an overloaded server, in the order they came.
    pressed: BTreeMap<u64, HandoverId>,
    /// Handovers ever asked for.
    asked: u64,
    /// Set when the link first comes up.
    cold_until: Option<Mono>,
    queue: Tickets,
    moves: known::Moves,
    timers: Timers<Alarm>,
}

impl Core {
    /// `number` tells hubs on one database apart: 0 where there is only one. `stored_ceiling` is the fence clock ceiling of the database.
    pub fn new(
        hub: HubId,
        number: u16,
        servers_max: usize,
        stored_ceiling: u64,
        keys: Arc<FleetKeys>,
        rng: Arc<dyn Rng>,
        settings: Settings,
    ) -> Self {
        let mut timers = Timers::new();
        timers.set(Alarm::Prune, Mono::default() + PRUNE_EVERY);
        Self {
            keys,
            rng,
            placement: settings.placement,
            fleet: Fleet::new(hub, servers_max, settings.placement.load),
            duplicates: Duplicate::default(),
            fences: Fences::new(number, stored_ceiling),
            people: People::default(),
            ledger: Ledger::default(),
            ends: Ends::default(),
            floors: Floors::default(),
            standing: orders::Standing::default(),
            journal: Journal::default(),
            running: BTreeMap::new(),
            lines: BTreeMap::new(),
            holding: BTreeSet::new(),
            pressed: BTreeMap::new(),
            asked: 0,
            cold_until: None,
            queue: Tickets::new(settings.queue),
            moves: known::Moves::default(),
            timers,
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Effect> {
        let mut fx = Vec::new();
        match input {
            Input::Ask { handover, request, players } => {
                self.on_ask(handover, request, players, now, &mut fx);
            }
            Input::Player { handover, account, realm, player } => {
                self.on_player(handover, account, realm, player, now, &mut fx);
            }
            Input::Owners { asked, found } => self.on_owners(&asked, found, now, &mut fx),
            Input::Message { from, message } => self.on_message(&from, &message, now, &mut fx),
            Input::Mover { mover, found } => self.on_mover(mover, found, now, &mut fx),
            Input::LinkUp => self.on_link_up(now, &mut fx),
            Input::Barred { handover, account, why } => {
                self.on_barred(handover, account, why, now, &mut fx);
            }
            Input::CeilingStored(Some(ceiling)) => self.fences.on_stored(ceiling),
            Input::CeilingStored(None) => self.fences.on_store_failed(now),
            Input::Poll { handover, account, players, name, ticket, wait } => {
                let asker = Asker { account, players, name };
                self.on_poll(handover, asker, ticket, wait, now, &mut fx);
            }
            Input::TicketSaved { ticket, is_priority } => self.on_saved(ticket, is_priority, now, &mut fx),
            Input::TicketsDropped { tickets, is_done } => self.queue.on_dropped(tickets, is_done),
        }
        self.settle_up(now, &mut fx);
        fx
    }

    /// What follows from anything: room for who waits for it, and fences to store.
    fn settle_up(&mut self, now: Now, fx: &mut Vec<Effect>) {
        self.serve_pressed(now, fx);
        fx.extend(self.fences.ceiling_to_store(now).map(Effect::StoreCeiling));
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Now) -> Vec<Effect> {
        let mut fx = Vec::new();
        let mut orders = Vec::new();
        let news = self.fleet.tick(now, &mut orders);
        fx.extend(orders.into_iter().map(Effect::Send));
        self.on_news(news, now, &mut fx);
        while let Some(alarm) = self.timers.pop_due(now.mono) {
            match alarm {
                Alarm::Grant(hash) => self.resend_grant(hash, now, &mut fx),
                Alarm::End(key) => self.send_end(&key, true, now, &mut fx),
                Alarm::Handover(id) => self.advance(id, now, &mut fx),
                Alarm::Poll(ticket) => self.answer_poll(ticket, now, &mut fx),
                Alarm::Wish(server) => self.send_wish(&server, now, &mut fx),
                Alarm::Notice(server, id) => self.send_notice(&(server, id), now, &mut fx),
                Alarm::Prepared(account) => self.expire_prepared(account, now, &mut fx),
                Alarm::Prune => self.prune(now, &mut fx),
            }
        }
        self.tick_queue(now, &mut fx);
        self.settle_up(now, &mut fx);
        fx
    }

    /// When [`Self::tick`] has something to do.
    pub fn next_deadline(&self) -> Mono {
        let timers = self.timers.next().into_iter().chain(self.queue.next_deadline());
        timers.chain([self.fleet.next_deadline()]).min().unwrap_or_default()
    }

    /// The fleet as clients may see it, by name.
    pub fn summaries(&self, now: Now) -> Vec<ServerSummary> {
        self.fleet.summaries(|server| self.ledger.pressure(server), now)
    }

    /// How many servers stand how.
    pub(crate) fn conditions(&self, now: Now) -> BTreeMap<Condition, usize> {
        let mut counts: BTreeMap<_, _> = Condition::ALL.into_iter().map(|condition| (condition, 0)).collect();
        for (server, view) in self.fleet.iter() {
            *counts.entry(view.condition(self.ledger.pressure(server), now)).or_default() += 1;
        }
        counts
    }

    /// Handovers that have no answer yet.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Which boot of a server counts, and its slots as of the newest that it said.
    pub fn slots(&self, server: &ServerId) -> Option<(BootId, Occupancy)> {
        self.fleet.get(server).map(|view| (view.boot, view.occupancy()))
    }

    /// Grants and ends that servers have not answered yet.
    pub fn unanswered(&self) -> usize {
        self.ledger.len() + self.ends.len()
    }

    pub(crate) fn lease_ends(&self) -> u64 {
        self.fleet.lease_ends()
    }

    /// Clients waiting on game servers.
    pub(crate) fn parked(&self) -> u64 {
        self.fleet.iter().map(|(_, view)| u64::from(view.occupancy().parked)).sum()
    }

    fn send(server: &ServerId, boot: BootId, order: Order, fx: &mut Vec<Effect>) {
        fx.push(Effect::Send(Addressed { server: server.clone(), boot, order }));
    }

    fn prune(&mut self, now: Now, fx: &mut Vec<Effect>) {
        self.timers.set(Alarm::Prune, now.mono + PRUNE_EVERY);
        self.queue.prune(now, fx);
        self.floors.prune(now.mono);
        self.moves.prune(now);
        let (lines, fleet, queue) = (&self.lines, &self.fleet, &self.queue);
        self.ends.prune(now.mono, |(server, player), hash| {
            fleet.get(server).is_some_and(|view| view.roster.has(*player, *hash))
        });
        let seen: BTreeSet<PlayerId> =
            fleet.iter().flat_map(|(_, view)| view.roster.entries()).map(|entry| entry.player).collect();
        self.people.retain(|account, realms| {
            lines.contains_key(&account)
                || queue.has(account)
                || realms.values().any(|player| seen.contains(player))
        });
        // Whose owners the store could not name, it may name now.
        let unowned = seen.into_iter().filter(|player| self.people.owner(*player).is_none());
        self.on_entries(&unowned.collect::<Vec<_>>(), now, fx);
    }
}
