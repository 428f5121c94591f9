//! A game-server process: the real gate, inbox and sealers, and a game that plays, saves and leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use game_server::bus::{BusSession, Inbox};
use game_server::gate::{Effect, Gate, GateConfig, Input, SlotId, Ticket, Timing};
use shared_msgs::clock::Now;
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, ServerId};
use shared_msgs::keys::{FIRST_GENERATION, Purpose};
use shared_msgs::limits;
use shared_msgs::link::Lane;
use shared_msgs::messages::{Endpoint, Profile, ServerMessage, ServerState};
use shared_msgs::token::TokenTag;
use shared_msgs::topics::Topic;

use crate::device::{Attempt, Shows, Told};
use crate::facts::{Fact, Ms, NodeId, Shown};
use crate::node::{Kind, Node};
use crate::world::{Event, World};

/// See the module.
pub(crate) struct Server {
    pub(crate) id: ServerId,
    pub(crate) machine: usize,
    pub(crate) gate: Gate,
    inbox: Inbox,
    pub(crate) session: BusSession,
    /// Who waits for a verdict.
    pub(crate) clients: BTreeMap<Ticket, Attempt>,
    /// Who is in game.
    pub(crate) players: BTreeMap<SlotId, Attempt>,
    /// Those of them whose connection broke.
    pub(crate) lost: BTreeSet<SlotId>,
    is_superseded: bool,
}

impl Server {
    /// Everybody connected to it.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.clients.values().chain(self.players.values()).copied().collect()
    }

    pub(crate) fn has(&self, attempt: Attempt) -> bool {
        self.players.values().any(|other| other.device == attempt.device)
    }

    pub(crate) fn slots(&self) -> Vec<SlotId> {
        self.players.keys().copied().collect()
    }
}

impl World {
    /// A server process starts on a machine and is reached there from now on; an older one that still runs is not.
    pub(crate) fn start_server(&mut self, machine: usize) {
        let plan = self.scenario.servers[machine].clone();
        let (Ok(id), Ok(realm)) = (plan.id.parse::<ServerId>(), plan.realm.parse()) else { return };
        let clock = self.servers[machine].clock(self.now);
        let rng = self.dice.fork();
        let boot = BootId::new(clock.at(self.now).unix, &*rng);
        let key = self.keys.server_key(&id, FIRST_GENERATION);
        let config = GateConfig {
            server: id.clone(),
            boot,
            tag: TokenTag::new(&key, &id, boot),
            profile: Profile {
                name: plan.id.to_uppercase(),
                realm,
                region: plan.region,
                build: String::new(),
                msg_version_max: limits::MSG_VERSION,
                endpoints: vec![Endpoint { transport: "tcp".into(), address: format!("{id}:1") }],
                labels: Vec::new(),
            },
            state: ServerState::Online,
            message: String::new(),
            max_players: plan.max_players,
            parked_max: plan.parked_max,
            marks_max: limits::CLOSED_MARKS_MAX,
            luggage_bytes_max: limits::LUGGAGE_BYTES_TOTAL_MAX,
            timing: Timing::default(),
            reconnect_grace: Duration::from_millis(self.abilities.grace),
            rng: rng.clone(),
        };
        let server = Server {
            id: id.clone(),
            machine,
            gate: Gate::new(config),
            inbox: Inbox::new(key.clone()),
            session: BusSession::new(key, boot),
            clients: BTreeMap::new(),
            players: BTreeMap::new(),
            lost: BTreeSet::new(),
            is_superseded: false,
        };
        let node = self.add(Node::new(clock, rng, Kind::Server(Box::new(server))));
        self.servers[machine].running = Some(node);
        let (max_players, parked_max) = (plan.max_players, plan.parked_max);
        let grace = self.abilities.grace;
        self.state(&Fact::ServerUp { node, server: &id, boot, max_players, parked_max, grace });
        self.connect(node);
        self.settle(node);
    }

    pub(crate) fn server(&mut self, id: NodeId) -> Option<(&mut Server, Now)> {
        let now = self.now;
        let node = self.nodes.get_mut(&id)?;
        let clock = node.clock.at(now);
        match &mut node.kind {
            Kind::Server(server) => Some((server, clock)),
            Kind::Hub(_) => None,
        }
    }

    pub(crate) fn gate_input(&mut self, id: NodeId, input: Input) {
        let Some((server, now)) = self.server(id) else { return };
        let effects = server.gate.handle(input, now);
        let occupancy = server.gate.occupancy();
        // Whoever is refused for it is refused in the same step.
        let closes = |effect: &Effect| matches!(effect, Effect::Superseded { .. } | Effect::Draining { .. });
        if effects.iter().any(closes) {
            self.state(&Fact::Closing { node: id });
        }
        for effect in effects {
            self.do_for_gate(id, effect, now);
        }
        self.state(&Fact::Stands { node: id, occupancy });
        self.settle(id);
        let is_done =
            self.server(id).is_some_and(|(server, _)| server.is_superseded && server.players.is_empty());
        if is_done {
            self.after(0, Event::Exit(id));
        }
    }

    pub(crate) fn gate_tick(&mut self, id: NodeId) {
        self.gate_input(id, Input::Tick);
    }

    pub(crate) fn gate_link(&mut self, id: NodeId, up: bool) {
        self.gate_input(id, Input::Link { up });
    }

    pub(crate) fn gate_receives(&mut self, id: NodeId, topic: &Topic, payload: &[u8], altered: bool) {
        let Some((server, now)) = self.server(id) else { return };
        let received = server.inbox.receive(topic, payload, now);
        let events = Topic::Events(server.id.clone());
        if altered {
            self.state(&Fact::AlteredOpened { node: id, messages: received.messages.len() });
        }
        if let Some(notice) = received.skew {
            self.state(&Fact::Fault { what: "clock skew noticed by", node: Some(id) });
            self.put(id, Lane { topic: events, purpose: Purpose::SkewToHub }, &notice);
        }
        for message in received.messages {
            self.gate_input(id, Input::Hub(message));
        }
    }

    /// A client at the door of whatever process is reached there by now, if any.
    pub(crate) fn on_arrive(&mut self, attempt: Attempt, at: &ServerId, token: Shows) {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        let Some(id) = self.at_address(at) else { return self.tell(attempt, Told::Gone { node: None }) };
        let (shown, text) = match token {
            Shows::Given { hash, text } if self.watch.truth().is_minted_for(hash, id) => {
                (Shown::Genuine(hash), text)
            }
            Shows::Given { text, .. } | Shows::MadeUp(text) => (Shown::NotGenuine, text),
        };
        let Some((server, now)) = self.server(id) else { return };
        server.clients.insert(ticket, attempt);
        self.state(&Fact::Arrived { node: id, ticket, shown, unix: now.unix });
        if matches!(shown, Shown::Genuine(_)) {
            self.tell(attempt, Told::Seen { node: id, ticket });
        }
        self.gate_input(id, Input::Arrive { ticket, token: text });
    }

    pub(crate) fn on_abandon(&mut self, id: NodeId, ticket: Ticket) {
        let Some((server, _)) = self.server(id) else { return };
        if server.clients.remove(&ticket).is_some() {
            self.state(&Fact::Abandoned { node: id, ticket });
        }
        self.gate_input(id, Input::Abandon(ticket));
    }

    /// The game lets a player go.
    pub(crate) fn on_leave(&mut self, id: NodeId, slot: SlotId) {
        let Some((server, _)) = self.server(id) else { return };
        if let Some(attempt) = server.players.remove(&slot) {
            let is_lost = server.lost.remove(&slot);
            self.state(&Fact::Left { node: id, slot, voided: false });
            if !is_lost {
                self.tell(attempt, Told::Over { node: id, slot });
            }
        }
        // A game says so of a session that was voided, too.
        self.gate_input(id, Input::Leave(slot));
    }

    /// In order, as one connection carries it.
    pub(crate) fn tell(&mut self, attempt: Attempt, told: Told) {
        self.after(1, Event::Told { attempt, told });
    }

    fn do_for_gate(&mut self, id: NodeId, effect: Effect, now: Now) {
        match effect {
            Effect::Verdict { ticket, verdict } => {
                self.state(&Fact::Verdict { node: id, ticket, verdict: &verdict, unix: now.unix });
                let Some((server, _)) = self.server(id) else { return };
                let client = server.clients.remove(&ticket);
                if let Ok(welcome) = &verdict {
                    self.takes_over(id, client, welcome);
                }
                let Some((server, _)) = self.server(id) else { return };
                match (client, verdict) {
                    (Some(attempt), Ok(welcome)) => {
                        server.players.insert(welcome.slot, attempt);
                        self.welcome(id, attempt, &welcome);
                    }
                    (Some(attempt), Err(refused)) => {
                        self.tell(attempt, Told::Refused { ticket, code: refused.code });
                    }
                    // Nobody is there any more: the place is dropped, and so freed.
                    (None, Ok(welcome)) => {
                        self.state(&Fact::Left { node: id, slot: welcome.slot, voided: false });
                        self.after(0, Event::Dropped { node: id, slot: welcome.slot });
                    }
                    (None, Err(_)) => {}
                }
            }
            Effect::Delayed { ticket, deadline } => {
                let deadline = self.nodes.get(&id).map_or(0, |node| node.clock.true_time(deadline));
                self.state(&Fact::Parked { node: id, ticket, deadline });
            }
            Effect::Send(message) => {
                self.state(&Fact::Said { node: id, message: &message });
                self.put_for(id, &message, Purpose::Events);
            }
            Effect::Status(status) => {
                let message = ServerMessage::Status(status);
                self.state(&Fact::Said { node: id, message: &message });
                self.put_for(id, &message, Purpose::Status);
            }
            Effect::Kick { slot, player, reason, save_by } => {
                let save_by = self.nodes.get(&id).map_or(0, |node| node.clock.true_time(save_by));
                self.state(&Fact::Kicked { node: id, slot, player, reason, save_by });
                if reason == Code::Moved {
                    self.tell_to_follow(id, slot);
                }
                let delay = self.save_time();
                self.after(delay, Event::Leave { node: id, slot });
            }
            Effect::Void { slot, .. } => {
                self.state(&Fact::Left { node: id, slot, voided: true });
                let Some((server, _)) = self.server(id) else { return };
                let is_lost = server.lost.remove(&slot);
                if let Some(attempt) = server.players.remove(&slot).filter(|_| !is_lost) {
                    self.tell(attempt, Told::Over { node: id, slot });
                }
            }
            Effect::Moved { slot, answer } => self.state(&Fact::MoveAnswered { node: id, slot, answer }),
            Effect::Draining { .. } | Effect::Undrained | Effect::Notice { .. } => {}
            Effect::Drained(_) => self.after(self.dice.below(200), Event::Exit(id)),
            Effect::Superseded { .. } => {
                self.state(&Fact::Fault { what: "superseded", node: Some(id) });
                if let Some((server, _)) = self.server(id) {
                    server.is_superseded = true;
                }
                self.hang_up(id);
            }
        }
    }

    fn put_for(&mut self, id: NodeId, message: &ServerMessage, purpose: Purpose) {
        let Some((server, _)) = self.server(id) else { return };
        let server = server.id.clone();
        let topic = if purpose == Purpose::Status { Topic::Status(server) } else { Topic::Events(server) };
        self.put(id, Lane { topic, purpose }, message);
    }

    /// Most games save at once, some slowly, a few never.
    fn save_time(&self) -> Ms {
        match self.dice.below(10) {
            0 => 60_000,
            1 | 2 => self.dice.between(500, 4_500),
            _ => self.dice.below(200),
        }
    }

    /// A process ends by itself: says what there is to say, says goodbye, and is gone.
    pub(crate) fn exit(&mut self, id: NodeId) {
        let Some((server, now)) = self.server(id) else { return };
        let machine = server.machine;
        let effects = server.gate.handle(Input::Close, now);
        for effect in effects {
            self.do_for_gate(id, effect, now);
        }
        self.hang_up(id);
        self.drop_clients(id);
        self.nodes.remove(&id);
        self.state(&Fact::Down { node: id, why: "ended by itself" });
        if self.servers[machine].running == Some(id) {
            self.servers[machine].running = None;
            let delay = self.dice.between(50, 3_000);
            self.after(delay, Event::StartServer(machine));
        }
    }

    /// Connections of a process that is about to be no more.
    pub(crate) fn drop_clients(&mut self, id: NodeId) {
        let attempts = self.server(id).map(|(server, _)| server.attempts()).unwrap_or_default();
        for attempt in attempts {
            self.tell(attempt, Told::Gone { node: Some(id) });
        }
    }
}
