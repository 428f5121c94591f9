//! A device whose connection breaks: it comes back to its session, straight to its server, with the newest credential that it has; or it
//! comes too late, or never. Replies are lost, servers notice late, and others try with what is spent, altered, or of another session.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use game_server::gate::{Input, SlotId, Ticket, Welcome};
use shared_msgs::ids::ServerId;

use crate::device::{Attempt, State, Told};
use crate::facts::{Fact, Ms, NodeId};
use crate::world::{Event, World};

/// From when on an answer does not come any more.
const PATIENCE: Ms = 3_000;

/// What a device comes back with.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    server: ServerId,
    newest: Rc<str>,
    /// Older ones of the same session.
    spent: Vec<Rc<str>>,
    /// Not worth a try after that.
    until: Ms,
}

impl World {
    /// A client is in, and has something to come back with.
    pub(crate) fn has_a_way(&mut self, attempt: Attempt, node: NodeId, slot: SlotId, credential: Rc<str>) {
        let Some(server) = self.watch.truth().processes.get(&node).map(|process| process.server.clone())
        else {
            return;
        };
        let Some(device) = self.current(attempt) else { return };
        let older = device.way.take().filter(|way| way.server == server);
        let spent = older.map(|way| [way.spent, vec![way.newest]].concat()).unwrap_or_default();
        device.way = Some(Way { server, newest: credential, spent, until: 0 });
        // Its word that it has the credential may be lost like any other.
        if self.phase.is_some() || self.dice.below(8) > 0 {
            let delay = self.dice.long_tailed(1, 20, 2_000);
            self.after(delay, Event::Keep { node, slot });
        }
        if self.phase.is_none() && self.dice.below(2) == 0 {
            let play = self.dice.below(self.scenario.play);
            self.after(play, Event::Snap { attempt, node, slot });
        }
    }

    /// The connection breaks: the device knows at once, the server sooner or later.
    pub(crate) fn on_snap(&mut self, attempt: Attempt, node: NodeId, slot: SlotId) {
        let is_over = self.phase.is_some();
        let Some(device) = self.current(attempt).filter(|_| !is_over) else { return };
        if device.state != (State::InGame { node, slot }) {
            return;
        }
        device.state = State::Away;
        let notice = self.dice.long_tailed(0, 100, 8_000);
        self.after(notice, Event::Lost { node, slot });
        self.sets_out(attempt);
    }

    /// The process is gone. Most log in anew; some try the way back, which leads nowhere.
    pub(crate) fn lose_heart(&mut self, attempt: Attempt) {
        let has_way = self.current(attempt).is_some_and(|device| device.way.is_some());
        if has_way && self.phase.is_none() && self.dice.below(4) == 0 {
            if let Some(device) = self.current(attempt) {
                device.state = State::Away;
            }
            return self.sets_out(attempt);
        }
        let pause = self.pause();
        self.next_round(attempt, pause);
    }

    fn sets_out(&mut self, attempt: Attempt) {
        let grace = self.abilities.grace;
        let soon =
            if self.dice.below(4) == 0 { grace / 2 + self.dice.below(grace) } else { self.dice.below(1_500) };
        let until = self.now + 2 * grace + PATIENCE;
        let Some(device) = self.current(attempt) else { return };
        device.turn += 1;
        let turn = device.turn;
        let Some(way) = &mut device.way else { return };
        way.until = until;
        let way = way.clone();
        if self.dice.below(3) == 0 {
            self.others_try(&way);
        }
        self.after(soon, Event::Return { attempt, turn });
    }

    /// Somebody tries to get into the session without its newest credential.
    fn others_try(&mut self, way: &Way) {
        let text = match self.dice.below(4) {
            0 => way.spent.first().cloned(),
            1 => {
                let mut bytes = way.newest.as_bytes().to_vec();
                let at = usize::try_from(self.dice.below(60)).unwrap_or(0) + 1;
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                String::from_utf8(bytes).ok().map(Rc::from)
            }
            2 => {
                let mut bytes = [0; 49];
                self.dice.fork().fill(&mut bytes);
                bytes[0] = 1;
                Some(URL_SAFE_NO_PAD.encode(bytes).into())
            }
            _ => Some(Rc::clone(&way.newest)),
        };
        let plan = self.dice.pick(&self.scenario.servers).and_then(|plan| plan.id.parse::<ServerId>().ok());
        let is_own = text.as_ref() == Some(&way.newest);
        // The real one, at another server.
        let server = plan.filter(|server| is_own && *server != way.server);
        let server = if is_own { server } else { Some(way.server.clone()) };
        let delay = self.dice.below(3_000);
        if let (Some(server), Some(credential)) = (server, text) {
            self.after(delay, Event::Resume { attempt: None, server, credential });
        }
    }

    /// It tries, until it is in, or is refused, or it is too late.
    pub(crate) fn come_back(&mut self, attempt: Attempt, turn: u32) {
        let now = self.now;
        let Some(device) = self.current(attempt) else { return };
        if device.state != State::Away || device.turn != turn {
            return;
        }
        let Some(way) = device.way.clone().filter(|way| now < way.until) else {
            let pause = self.pause();
            return self.next_round(attempt, pause);
        };
        device.turn += 1;
        let turn = device.turn;
        let Way { server, newest, .. } = way;
        let delay = self.dice.between(1, 30);
        self.after(delay, Event::Resume { attempt: Some(attempt), server, credential: newest });
        self.after(PATIENCE, Event::Return { attempt, turn });
    }

    /// A client that comes back, at the door of whatever process is reached there by now.
    pub(crate) fn on_resume(&mut self, attempt: Option<Attempt>, at: &ServerId, credential: &str) {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        let Some(id) = self.at_address(at) else { return };
        let Some((server, _)) = self.server(id) else { return };
        server.clients.extend(attempt.map(|attempt| (ticket, attempt)));
        self.state(&Fact::CameBack { node: id, ticket, credential });
        self.gate_input(id, Input::Resume { ticket, credential: credential.to_owned() });
    }

    /// A server notices that a connection is gone; perhaps when the session goes on elsewhere already.
    pub(crate) fn on_lost(&mut self, id: NodeId, slot: SlotId) {
        let Some((server, _)) = self.server(id) else { return };
        if server.players.contains_key(&slot) && server.lost.insert(slot) {
            self.state(&Fact::Dropped { node: id, slot });
        }
        self.gate_input(id, Input::Dropped(slot));
    }

    pub(crate) fn on_keep(&mut self, id: NodeId, slot: SlotId) {
        let Some((server, _)) = self.server(id) else { return };
        if server.players.contains_key(&slot) {
            self.state(&Fact::Kept { node: id, slot });
        }
        self.gate_input(id, Input::Kept(slot));
    }

    /// A player has had enough. Whose connection is broken cannot say so.
    pub(crate) fn on_quit(&mut self, attempt: Attempt, id: NodeId, slot: SlotId) {
        let is_away = self.current(attempt).is_some_and(|device| device.state == State::Away);
        let is_lost = self.server(id).is_some_and(|(server, _)| server.lost.contains(&slot));
        if !is_away && !is_lost {
            self.on_leave(id, slot);
        }
    }

    /// A session goes on in another slot: nobody is in the older one any more.
    pub(crate) fn takes_over(&mut self, id: NodeId, client: Option<Attempt>, welcome: &Welcome) {
        let (Some(from), Some((server, _))) = (welcome.resumes, self.server(id)) else { return };
        server.lost.remove(&from);
        let before = server.players.remove(&from);
        // Its connection, if it is still open, is closed.
        if let Some(before) = before.filter(|before| Some(*before) != client) {
            self.tell(before, Told::Gone { node: Some(id) });
        }
    }

    /// A client is let in. Who comes back may not hear of it, and tries again.
    pub(crate) fn welcome(&mut self, id: NodeId, attempt: Attempt, welcome: &Welcome) {
        let slot = welcome.slot;
        let is_lost = self.phase.is_none() && welcome.resumes.is_some() && self.dice.below(6) == 0;
        if is_lost {
            let notice = self.dice.long_tailed(0, 100, 8_000);
            self.after(notice, Event::Lost { node: id, slot });
            // Should an earlier try have got it in, that connection is closed.
            return self.tell(attempt, Told::Gone { node: Some(id) });
        }
        let credential = welcome.reconnect.as_ref().map(|way| Rc::from(way.credential.expose()));
        self.tell(attempt, Told::In { node: id, slot, credential });
    }
}
