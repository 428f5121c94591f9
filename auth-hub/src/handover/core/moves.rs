//! Moves that game servers ask for: a handover without a client, with luggage.
//!
//! A request goes: the session must live on the server that asks → the store says what the player is called and whether it may play →
//! its account's line → a place, as for any handover → the server that asked hears yes, and then of the older session's end.
//! `prepared` keeps the place for the client, `known` the counts. Invariants: a request is answered the same however often it comes; only a session that
//! the asking server hosts, the account's newest, moves; without a place it is not touched; luggage in all is bounded.

use std::collections::BTreeSet;
use std::time::Duration;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, Fence, HandoverId, PlayerId, ServerId};
use shared_msgs::messages::{EntryKind, Order};
use shared_msgs::moves::{Luggage, Move, MoveAnswer, MoveTarget};
use shared_msgs::{limited, limits};
use tracing::info;

use super::known::{Known, LookingUp};
use super::prepared::Prepared;
use super::{Alarm, Core, Effect, Handover, RUNNING_MAX, Stage};
use crate::accounts::{AccountRow, PlayerRow};
use crate::fleet::Sender;
use crate::handover::ends::EndKey;
use crate::handover::journal::step;
use crate::handover::{HandoverRequest, NoPlace, Placed};

/// Names a move.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MoveKey {
    /// Who asks.
    pub server: ServerId,
    /// In which run.
    pub boot: BootId,
    /// The server's number for it.
    pub request: u64,
}

/// What the store says of a player that is to move.
#[derive(Debug)]
pub struct Mover {
    /// What the player is called.
    pub name: String,
    /// Whether the account may play.
    pub may_play: bool,
    /// The account's ids in all realms it has been to.
    pub players: Vec<PlayerRow>,
}

/// What a handover that no client waits for carries along.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub(super) key: MoveKey,
    /// As the asking server knows it.
    pub(super) player: PlayerId,
    /// Of the session that moves.
    pub(super) fence: Fence,
    pub(super) luggage: Luggage,
    /// Whether the asking server has heard yes: from then on nothing is refused any more, only lost.
    pub(super) is_told: bool,
    /// When its first prepared place ran out: no later one lasts longer.
    pub(super) until: Option<Mono>,
    /// Why the session stays, where no lack of a place says it.
    pub(super) refusal: Option<Code>,
}

/// As the game's protocol names it.
fn code_of(why: NoPlace) -> Code {
    match why {
        NoPlace::NoServerOnline => Code::NoServerOnline,
        NoPlace::AllServersFull => Code::AllServersFull,
        NoPlace::ServerUnknown => Code::ServerUnknown,
        NoPlace::ServerFull => Code::ServerFull,
        NoPlace::ServerDraining => Code::ServerDraining,
        NoPlace::TimedOut => Code::HandoverTimedOut,
        NoPlace::Kicked => Code::Kicked,
        NoPlace::Banned => Code::Banned,
        // A move neither waits for a slot nor has a party, and is of a session that there is.
        NoPlace::HubBusy
        | NoPlace::DuplicateLogin
        | NoPlace::TicketUnknown
        | NoPlace::PartyIncomplete
        | NoPlace::PartyBroken
        | NoPlace::PartyMismatch => Code::HubBusy,
    }
}

impl Core {
    pub(super) fn on_move(&mut self, from: &Sender, asked: &Move, now: Now, fx: &mut Vec<Effect>) {
        let (boot, request) = (asked.stamp.boot, asked.request);
        let key = MoveKey { server: from.server.clone(), boot, request };
        match self.moves.get(&key) {
            Some(Known::Answered(code)) => return Self::send_move_answer(&key, asked.player, code, fx),
            Some(Known::UnderWay) => return,
            None => {}
        }
        if !self.hosts(&key, asked.player, asked.fence) {
            // A roster that lags behind is healed, and the request comes again.
            limited!(warn, target: "handover", server_id = %key.server, player_id = %asked.player, "move.ignored");
            return fx.push(Effect::MoveIgnored);
        }
        let Some(account) = self.people.owner(asked.player) else {
            if self.people.must_ask(asked.player) {
                fx.push(Effect::FindOwners(vec![asked.player]));
            }
            return;
        };
        info!(target: "handover", server_id = %key.server, player_id = %asked.player, request, luggage_bytes = asked.luggage.len(), "move.asked");
        if let Some(floor) = self.floors.get(account).filter(|floor| asked.fence < floor.below) {
            // The session's end is on its way.
            return self.answer_move(&key, asked.player, Some(floor.reason), now, fx);
        }
        if asked.target == MoveTarget::Server(key.server.clone()) {
            return self.answer_move(&key, asked.player, Some(Code::ServerUnknown), now, fx);
        }
        let under_way = self.running.len() + self.moves.looking_up().len() + self.moves.prepared.len();
        let bytes = self.moves.luggage_bytes() + asked.luggage.len();
        let has_room = under_way < RUNNING_MAX && bytes <= limits::LUGGAGE_BYTES_TOTAL_MAX;
        if !has_room || !self.moves.has_room(&key.server) {
            return self.answer_move(&key, asked.player, Some(Code::HubBusy), now, fx);
        }
        let within = Duration::from_millis(asked.within_ms.into()).min(limits::LOGIN_DEADLINE);
        let asked = Box::new(asked.clone());
        self.moves.begin(key.clone(), LookingUp { asked, account, deadline: now.mono + within });
        fx.push(Effect::FindMover { mover: key, account });
    }

    /// Whether this run of the server has this very session in game.
    fn hosts(&self, key: &MoveKey, player: PlayerId, fence: Fence) -> bool {
        let view = self.fleet.get(&key.server).filter(|view| view.boot == key.boot);
        let mut entries = view.into_iter().flat_map(|view| view.roster.of_player(player));
        entries.any(|entry| entry.kind == EntryKind::Live && entry.fence == fence)
    }

    /// The store's answer to [`Effect::FindMover`].
    pub(super) fn on_mover(&mut self, key: MoveKey, found: Option<Mover>, now: Now, fx: &mut Vec<Effect>) {
        let Some(LookingUp { asked, account, deadline }) = self.moves.looked_up(&key) else { return };
        let Move { player, fence, target, luggage, .. } = *asked;
        let refusal = match &found {
            Some(mover) if mover.may_play => None,
            Some(_) => Some(Code::Banned),
            None => Some(Code::HubBusy),
        };
        let Some(mover) = found.filter(|_| refusal.is_none()) else {
            self.moves.over(&key.server, luggage.len());
            return self.answer_move(&key, player, refusal, now, fx);
        };
        self.learn(mover.players);
        let (server, regions) = match target {
            MoveTarget::Server(server) => (Some(server), Vec::new()),
            MoveTarget::Regions(regions) => (None, regions),
            MoveTarget::Anywhere => (None, Vec::new()),
        };
        let request = HandoverRequest {
            server,
            regions,
            is_sticky: false,
            ..HandoverRequest::anywhere(account, mover.name)
        };
        let tried = BTreeSet::from([key.server.clone()]);
        let carried = Carried { key, player, fence, luggage, is_told: false, until: None, refusal: None };
        self.join_line(request, carried, tried, deadline, now, fx);
    }

    /// Gets a move into its account's line.
    pub(super) fn join_line(
        &mut self,
        request: HandoverRequest,
        carried: Carried,
        tried: BTreeSet<ServerId>,
        deadline: Mono,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let account = request.account;
        let id = HandoverId::random(&*self.rng);
        if self.lines.get(&account).is_some_and(|line| line.len() > limits::WAITING_PER_ACCOUNT_MAX) {
            return self.end_move(id, &carried, Code::HubBusy, now, fx);
        }
        let line = self.lines.entry(account).or_default();
        line.push_back(id);
        let is_first = line.len() == 1;
        self.journal.open(account, id, now.unix);
        let request_number = carried.key.request;
        step!(info, self, now, id, Some(&carried.key.server), None, "move.started", request = request_number);
        let handover = Handover {
            request,
            number: self.asked,
            tried,
            was_refused_oddly: false,
            deadline,
            hold_until: now.mono + if carried.is_told { limits::LEASE } else { limits::COLD_HOLD },
            ticket: None,
            stage: Stage::InLine,
            carries: Some(Box::new(carried)),
        };
        self.asked += 1;
        self.running.insert(id, handover);
        self.timers.set(Alarm::Handover(id), deadline.max(now.mono + Duration::from_millis(1)));
        if is_first {
            self.place(id, now, fx);
        }
    }

    /// Until when to wait for a server when there is none. A player who has left for its place has more need of it than others; where
    /// the one server it may go to has failed it, there is nothing to wait for.
    pub(super) fn move_holds_until(handover: &Handover) -> Option<Mono> {
        let is_told = handover.carries.as_ref().is_some_and(|carried| carried.is_told);
        let has_failed =
            handover.request.server.as_ref().is_some_and(|server| handover.tried.contains(server));
        is_told.then(|| if has_failed { Mono::default() } else { handover.hold_until })
    }

    /// What needs no new place: a client whose place is prepared, and a move whose session is not the account's newest any more. True
    /// when that was the end of it, or a move must wait with its luggage.
    pub(super) fn ends_without_placing(&mut self, id: HandoverId, now: Now, fx: &mut Vec<Effect>) -> bool {
        let Some(handover) = self.running.get(&id) else { return true };
        let Some(carried) = &handover.carries else {
            // Whose ticket was called has a slot of its own; its ticket was void if a place had been prepared before.
            if handover.ticket.is_some() {
                return false;
            }
            let Some(placed) = self.take_prepared(id, now, fx) else { return false };
            self.answer(id, Ok(placed), now, fx);
            return true;
        };
        let players = self.people.of(handover.request.account);
        let places = players.flat_map(|player| self.fleet.entries_of(player)).map(|(_, entry)| entry);
        let newest =
            places.filter(|entry| !self.ends.is_cancelled(&entry.hash)).map(|entry| entry.fence).max();
        let Carried { key, player, fence, .. } = &**carried;
        // A roster that lags behind shows what its server was told to end.
        let is_over = self.ends.is_over(&(key.server.clone(), *player), key.boot, *fence);
        let has_left = !carried.is_told && (is_over || !self.hosts(key, *player, *fence));
        if !has_left && newest.is_none_or(|newest| newest <= carried.fence) {
            return self.waits_with_luggage(id, now);
        }
        self.refuse_as_superseded(id, now, fx);
        true
    }

    /// The new server has said yes: the one that asked hears it before it hears of the end.
    pub(super) fn tell_of_yes(&mut self, id: HandoverId, now: Now, fx: &mut Vec<Effect>) {
        let carried = self.running.get_mut(&id).and_then(|handover| handover.carries.as_mut());
        let Some(carried) = carried.filter(|carried| !carried.is_told) else { return };
        carried.is_told = true;
        let (key, player) = (carried.key.clone(), carried.player);
        self.answer_move(&key, player, None, now, fx);
    }

    /// Why a session ends for the sake of the account's newest place: it moves, or was replaced.
    pub(super) fn reason_to_end(&self, account: AccountRow, key: &EndKey, newest: Fence) -> Code {
        let running = self.granting(account).filter(|id| self.attempt(id).is_some_and(|a| a.fence == newest));
        let running = running.and_then(|id| self.running.get(&id)?.carries.as_deref());
        let prepared = self.moves.prepared.get(&account).filter(|prepared| prepared.fence == newest);
        let carried = running.or(prepared.map(|prepared| &prepared.carried));
        let moves = carried.is_some_and(|c| c.key.server == key.0 && c.player == key.1);
        if moves { Code::Moved } else { Code::Superseded }
    }

    /// A handover that no client waits for is over: its place is kept, or its server hears why there is none.
    pub(super) fn settle_move(
        &mut self,
        id: HandoverId,
        handover: Handover,
        answer: Result<Placed, NoPlace>,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let Handover { request, stage, carries: Some(carried), .. } = handover else { return };
        match (answer, stage) {
            (Ok(placed), Stage::Granting(attempt)) => {
                // Its owner asks anew, and is given this place.
                self.forget_ticket(request.account, now, fx);
                self.keep_prepared(Prepared::new(request, placed, &attempt, *carried), now);
            }
            (Ok(_), _) => self.moves.over(&carried.key.server, carried.luggage.len()),
            (Err(why), _) => self.end_move(id, &carried, code_of(why), now, fx),
        }
    }

    fn end_move(&mut self, id: HandoverId, carried: &Carried, code: Code, now: Now, fx: &mut Vec<Effect>) {
        let code = carried.refusal.unwrap_or(code);
        if carried.is_told {
            return self.lose(id, carried, code, now);
        }
        self.moves.over(&carried.key.server, carried.luggage.len());
        self.answer_move(&carried.key, carried.player, Some(code), now, fx);
    }

    /// The player has left for a place that is no more. Its next handover finds another, without the luggage.
    pub(super) fn lose(&mut self, id: HandoverId, carried: &Carried, code: Code, now: Now) {
        let Carried { key: MoveKey { server, request, .. }, player, luggage, .. } = carried;
        self.moves.over(server, luggage.len());
        step!(warn, self, now, id, Some(server), Some(code.as_str()), "move.lost", player_id = %player, request, luggage_bytes = luggage.len());
    }

    pub(super) fn answer_move(
        &mut self,
        key: &MoveKey,
        player: PlayerId,
        code: Option<Code>,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let answer = code.map_or("yes", Code::as_str);
        info!(target: "handover", server_id = %key.server, player_id = %player, request = key.request, answer, "move.answered");
        self.moves.answered(key, code, now.mono);
        Self::send_move_answer(key, player, code, fx);
    }

    fn send_move_answer(key: &MoveKey, player: PlayerId, code: Option<Code>, fx: &mut Vec<Effect>) {
        let answer = MoveAnswer { request: key.request, player, code };
        Self::send(&key.server, key.boot, Order::MoveAnswer(answer), fx);
    }
}
