//! The handover as a state machine: inputs and `now` in, effects out. No sockets, no clocks, no database.
//!
//! A request goes: its account's line → a server is chosen → the player's id for that realm is found → a grant goes out → the server's
//! yes comes in → older sessions are ended → the client is answered. A no, a will, a lease end or a new boot sends it to the next server.
//!
//! `mod.rs` owns the state and the clients' side; `hear` takes what servers and store say; `place` chooses and grants; `settle` judges answers; `single` keeps one session per account.

mod hear;
mod place;
mod settle;
mod single;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::ids::{BootId, Fence, HandoverId, HubId, PlayerId, Realm, ServerId, TokenHash};
use shared_msgs::keys::FleetKeys;
use shared_msgs::limits;
use shared_msgs::messages::{Endpoint, Occupancy, Order};
use shared_msgs::rng::Rng;
use shared_msgs::token::Token;
use tracing::{debug, info};

pub use types::{Effect, Input};

use super::ends::{EndKey, Ends};
use super::fences::Fences;
use super::grants::Ledger;
use super::people::People;
use super::timers::Timers;
use super::{HandoverRequest, NoPlace, Placed, Refused};
use crate::accounts::AccountRow;
use crate::fleet::{Addressed, Fleet, Placement, ServerSummary};

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
    /// The store looks for the player id.
    FindingPlayer,
    /// A grant is out.
    Granting(Box<Attempt>),
}

#[derive(Debug)]
struct Handover {
    request: HandoverRequest,
    /// Servers that said no or nothing.
    tried: BTreeSet<ServerId>,
    /// Whether some no was for another reason than a lack of room: then nobody is told that all is full.
    was_refused_oddly: bool,
    deadline: Mono,
    /// A hub that has just started keeps the client waiting for its fleet until then at most.
    hold_until: Mono,
    stage: Stage,
}

/// The state machine.
#[derive(Debug)]
pub struct Core {
    keys: Arc<FleetKeys>,
    rng: Arc<dyn Rng>,
    placement: Placement,
    fleet: Fleet,
    fences: Fences,
    people: People,
    ledger: Ledger,
    ends: Ends,
    running: BTreeMap<HandoverId, Handover>,
    /// Each account's handovers; the first one runs.
    lines: BTreeMap<AccountRow, VecDeque<HandoverId>>,
    /// Those that wait for a cold hub's fleet.
    holding: BTreeSet<HandoverId>,
    /// Set when the link first comes up.
    cold_until: Option<Mono>,
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
        placement: Placement,
    ) -> Self {
        let mut timers = Timers::new();
        timers.set(Alarm::Prune, Mono::default() + PRUNE_EVERY);
        Self {
            keys,
            rng,
            placement,
            fleet: Fleet::new(hub, servers_max),
            fences: Fences::new(number, stored_ceiling),
            people: People::default(),
            ledger: Ledger::default(),
            ends: Ends::default(),
            running: BTreeMap::new(),
            lines: BTreeMap::new(),
            holding: BTreeSet::new(),
            cold_until: None,
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
            Input::LinkUp => self.on_link_up(now, &mut fx),
            Input::CeilingStored(Some(ceiling)) => self.fences.on_stored(ceiling),
            Input::CeilingStored(None) => self.fences.on_store_failed(now),
        }
        fx.extend(self.fences.ceiling_to_store(now).map(Effect::StoreCeiling));
        fx
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
                Alarm::Prune => self.prune(now, &mut fx),
            }
        }
        fx.extend(self.fences.ceiling_to_store(now).map(Effect::StoreCeiling));
        fx
    }

    /// When [`Self::tick`] has something to do.
    pub fn next_deadline(&self) -> Mono {
        self.timers.next().into_iter().chain([self.fleet.next_deadline()]).min().unwrap_or_default()
    }

    /// The fleet as clients may see it, by name.
    pub fn summaries(&self, now: Now) -> Vec<ServerSummary> {
        self.fleet.summaries(now)
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

    fn on_ask(
        &mut self,
        id: HandoverId,
        request: HandoverRequest,
        players: Vec<(Realm, PlayerId)>,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let account = request.account;
        for (realm, player) in players {
            self.people.learn(account, realm, player);
        }
        let line = self.lines.entry(account).or_default();
        if line.len() > limits::WAITING_PER_ACCOUNT_MAX || self.running.len() >= RUNNING_MAX {
            if line.is_empty() {
                self.lines.remove(&account);
            }
            info!(target: "handover", handover_id = %id, code = NoPlace::HubBusy.code(), "handover.refused");
            fx.push(Effect::Answer {
                handover: id,
                answer: Err(Refused { handover: id, why: NoPlace::HubBusy }),
            });
            return;
        }
        line.push_back(id);
        let is_first = line.len() == 1;
        let deadline = now.mono + limits::LOGIN_DEADLINE;
        let hold_until = now.mono + limits::COLD_HOLD;
        let handover = Handover {
            request,
            tried: BTreeSet::new(),
            was_refused_oddly: false,
            deadline,
            hold_until,
            stage: Stage::InLine,
        };
        self.running.insert(id, handover);
        self.timers.set(Alarm::Handover(id), deadline);
        debug!(target: "handover", handover_id = %id, is_first, "handover.asked");
        if is_first {
            self.place(id, now, fx);
        }
    }

    fn on_player(
        &mut self,
        id: HandoverId,
        account: AccountRow,
        realm: Realm,
        player: Option<PlayerId>,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        if let Some(player) = player {
            self.people.learn(account, realm, player);
        }
        let waits = self.running.get(&id).is_some_and(|h| matches!(h.stage, Stage::FindingPlayer));
        match (waits, player) {
            (false, _) => {}
            (true, Some(_)) => self.place(id, now, fx),
            (true, None) => self.answer(id, Err(NoPlace::HubBusy), now, fx),
        }
    }

    /// Answers the client and lets the next in line go.
    fn answer(&mut self, id: HandoverId, answer: Result<Placed, NoPlace>, now: Now, fx: &mut Vec<Effect>) {
        let Some(handover) = self.running.remove(&id) else { return };
        self.timers.cancel(&Alarm::Handover(id));
        self.holding.remove(&id);
        match &answer {
            Ok(placed) => {
                info!(target: "handover", handover_id = %id, server_id = %placed.server, confirmed = placed.confirmed, "handover.answered");
            }
            Err(why) => info!(target: "handover", handover_id = %id, code = why.code(), "handover.refused"),
        }
        let answer = answer.map_err(|why| Refused { handover: id, why });
        fx.push(Effect::Answer { handover: id, answer });
        let account = handover.request.account;
        let Some(line) = self.lines.get_mut(&account) else { return };
        let was_first = line.front() == Some(&id);
        line.retain(|other| *other != id);
        let next = line.front().copied();
        if line.is_empty() {
            self.lines.remove(&account);
        }
        if let (true, Some(next)) = (was_first, next) {
            self.place(next, now, fx);
        }
    }

    fn send(server: &ServerId, boot: BootId, order: Order, fx: &mut Vec<Effect>) {
        fx.push(Effect::Send(Addressed { server: server.clone(), boot, order }));
    }

    fn prune(&mut self, now: Now, fx: &mut Vec<Effect>) {
        self.timers.set(Alarm::Prune, now.mono + PRUNE_EVERY);
        let (lines, fleet) = (&self.lines, &self.fleet);
        self.ends.prune(now.mono, |(server, player), hash| {
            fleet.get(server).is_some_and(|view| view.roster.has(*player, *hash))
        });
        let seen: BTreeSet<PlayerId> =
            fleet.iter().flat_map(|(_, view)| view.roster.entries()).map(|entry| entry.player).collect();
        self.people.retain(|account, realms| {
            lines.contains_key(&account) || realms.values().any(|player| seen.contains(player))
        });
        // Whose owners the store could not name, it may name now.
        let unowned = seen.into_iter().filter(|player| self.people.owner(*player).is_none());
        self.on_entries(&unowned.collect::<Vec<_>>(), now, fx);
    }
}
