//! Players that go from server to server: they ask for another one and play on until they have it, or their game asks the hub to move them,
//! with luggage, and they follow when told to.
//!
//! Some never follow, or go elsewhere. Luggage is different each time, so that it is known whose it is.

use auth_hub::accounts::AccountRow;
use auth_hub::fleet::Addressed;
use auth_hub::handover::core::Mover;
use auth_hub::handover::{Answered, HandoverRequest, Refused};
use game_server::gate::{Input, SlotId};
use shared_msgs::ids::ServerId;
use shared_msgs::messages::Order;
use shared_msgs::moves::{Luggage, MoveTarget};

use crate::device::{Attempt, State, Told};
use crate::facts::{Fact, NodeId};
use crate::world::{Event, World};

impl World {
    /// Somebody is in game: perhaps not to the end of it on this server.
    pub(crate) fn may_move(&mut self, attempt: Attempt, node: NodeId, slot: SlotId) {
        if !self.abilities.moves || self.phase.is_some() {
            return;
        }
        let at = self.dice.below(self.scenario.play);
        match self.dice.below(4) {
            0 => self.after(at, Event::Wander { attempt, node, slot }),
            1 | 2 => self.after(at, Event::SendAway { node, slot }),
            _ => {}
        }
    }

    fn any_server(&self) -> Option<ServerId> {
        self.dice.pick(&self.scenario.servers).and_then(|plan| plan.id.parse().ok())
    }

    fn request_of(&self, attempt: Attempt) -> HandoverRequest {
        let account = self.devices[attempt.device].account;
        HandoverRequest::anywhere(AccountRow::from_raw(account), format!("player {account}"))
    }

    /// A player asks for another server, and plays on.
    pub(crate) fn on_wander(&mut self, attempt: Attempt, node: NodeId, slot: SlotId) {
        let is_over = self.phase.is_some();
        let is_there = |state| state == (State::InGame { node, slot }) && !is_over;
        if !self.current(attempt).is_some_and(|device| is_there(device.state)) {
            return;
        }
        let request = HandoverRequest { server: self.any_server(), ..self.request_of(attempt) };
        let is_asked = self.ask_hub(attempt, request);
        if let Some(device) = self.current(attempt) {
            device.is_moving = is_asked;
        }
    }

    /// The answer to who plays on. True when it stays where it is; else it goes, and what it leaves behind is ended by the hub.
    pub(crate) fn stays_after(&mut self, attempt: Attempt, answer: &Result<Answered, Refused>) -> bool {
        let Some(device) = self.current(attempt) else { return false };
        let was_moving = std::mem::replace(&mut device.is_moving, false);
        if !was_moving || !matches!(device.state, State::InGame { .. }) {
            return false;
        }
        let has_place = matches!(answer, Ok(Answered::Placed(_)));
        if has_place {
            device.state = State::Asking;
        }
        !has_place
    }

    /// Its session is over. Who has asked for another place waits for the answer.
    pub(crate) fn session_over(&mut self, attempt: Attempt) {
        if let Some(device) = self.current(attempt).filter(|device| device.is_moving) {
            device.state = State::Asking;
            return;
        }
        let pause = self.pause();
        self.next_round(attempt, pause);
    }

    /// A game wants a player elsewhere.
    pub(crate) fn send_away(&mut self, id: NodeId, slot: SlotId) {
        let target = match (self.dice.below(3), self.any_server()) {
            (0, Some(server)) => MoveTarget::Server(server),
            (1, _) => MoveTarget::Regions(vec!["eu".to_owned(), "us".to_owned()]),
            _ => MoveTarget::Anywhere,
        };
        let mut bytes = vec![0; usize::try_from(self.dice.between(16, 400)).unwrap_or(16)];
        self.dice.fork().fill(&mut bytes);
        let luggage = Luggage::from(bytes);
        let is_over = self.phase.is_some();
        let Some((server, _)) = self.server(id) else { return };
        if is_over || !server.players.contains_key(&slot) {
            return;
        }
        self.state(&Fact::MoveAsked { node: id, slot, target: &target, luggage: &luggage });
        self.gate_input(id, Input::Move { slot, target, luggage });
    }

    /// The player hears that a place is ready for it elsewhere, unless it hears nothing any more.
    pub(crate) fn tell_to_follow(&mut self, id: NodeId, slot: SlotId) {
        let Some((server, _)) = self.server(id) else { return };
        let is_heard = !server.lost.contains(&slot);
        if let Some(attempt) = server.players.get(&slot).copied().filter(|_| is_heard) {
            self.tell(attempt, Told::Moved { node: id, slot });
        }
    }

    /// It asks for the place that is ready: most at once, a few for another one, a few never.
    pub(crate) fn follow(&mut self, attempt: Attempt) {
        let is_honest = self.is_honest();
        let conduct = if is_honest { 2 } else { self.dice.below(3) };
        let server = if conduct == 0 { self.any_server() } else { None };
        let request = HandoverRequest { server, ..self.request_of(attempt) };
        if conduct != 1 && self.ask_hub(attempt, request) {
            if let Some(device) = self.current(attempt) {
                device.state = State::Asking;
            }
        } else {
            let pause = self.pause();
            self.next_round(attempt, pause);
        }
    }

    /// What the store says of a player that is to move.
    pub(crate) fn mover(&self, account: AccountRow) -> Mover {
        Mover {
            name: "a player".to_owned(),
            may_play: !self.store.is_barred(account),
            players: self.store.players_of(account),
        }
    }

    /// Whose place this is that a hub grants without having been asked by a client.
    pub(crate) fn name_owner(&mut self, to: &Addressed) {
        let Order::Grant(grant) = &to.order else { return };
        if self.watch.truth().accounts.contains_key(&grant.handover) {
            return;
        }
        if let Some(row) = self.store.owners(&[grant.player]).players.first() {
            let account = self.number_of(row.account);
            self.state(&Fact::Carries { handover: grant.handover, account });
        }
    }
}
