//! A hub process: the real core, inlet and sealers, and the simulated world around them.

use std::sync::Arc;

use auth_hub::accounts::AccountRow;
use auth_hub::bus::{HubSession, Inlet, KeyRing};
use auth_hub::fleet::{Addressed, Placement, Policy};
use auth_hub::handover::core::{Core, Effect, Input, MoveKey, Settings};
use auth_hub::handover::{Answered, HandoverRequest, fences_are_startable};
use auth_hub::queue::{TicketId, TicketRow};
use shared_msgs::clock::Now;
use shared_msgs::codec;
use shared_msgs::ids::{HandoverId, HubId, PlayerId, Realm};
use shared_msgs::keys::Purpose;
use shared_msgs::link::Lane;
use shared_msgs::messages::{HubMessage, Message, ServerMessage};
use shared_msgs::topics::Topic;

use crate::facts::{Fact, Ms, NodeId};
use crate::node::{Kind, Node};
use crate::world::{Event, World};

const SERVERS_MAX: usize = 64;

/// What a hub asks its database.
pub(crate) enum Question {
    Player { handover: HandoverId, account: AccountRow, realm: Realm },
    Owners(Vec<PlayerId>),
    Mover { mover: MoveKey, account: AccountRow },
    Ceiling(u64),
    Save(TicketRow),
    Drop(Vec<TicketId>),
}

/// See the module.
pub(crate) struct Hub {
    pub(crate) id: HubId,
    pub(crate) machine: usize,
    pub(crate) core: Core,
    inlet: Inlet,
    pub(crate) session: HubSession,
}

impl World {
    /// A hub starts on a machine, unless one runs there.
    pub(crate) fn start_hub(&mut self, machine: usize) {
        if self.hubs[machine].running.is_some() {
            return;
        }
        let clock = self.hubs[machine].clock(self.now);
        let may_start = fences_are_startable(self.store.ceiling, clock.at(self.now).unix);
        if !may_start {
            self.state(&Fact::Locked { machine });
            return self.after(1_000, Event::StartHub(machine));
        }
        let rng = self.dice.fork();
        let id = HubId::random(&*rng);
        let keyring = Arc::new(KeyRing::new(Arc::clone(&self.keys), [], id.clone(), &*rng));
        let number = u16::try_from(machine).unwrap_or(u16::MAX);
        let (keys, core_rng) = (Arc::clone(&self.keys), Arc::clone(&rng));
        // Invariants hold wherever players are sent.
        let policies = [Policy::LeastLoaded, Policy::Packed, Policy::Weighted];
        let policy = policies[usize::try_from(rng.below(3)).unwrap_or_default()];
        let placement = Placement { policy, ..Placement::default() };
        let settings = Settings { placement, queue: self.scenario.queue.map(|plan| plan.settings) };
        let hub = Hub {
            id: id.clone(),
            machine,
            core: Core::new(id.clone(), number, SERVERS_MAX, self.store.ceiling, keys, core_rng, settings),
            inlet: Inlet::new(Arc::clone(&keyring), SERVERS_MAX),
            session: HubSession::new(keyring),
        };
        let node = self.add(Node::new(clock, rng, Kind::Hub(Box::new(hub))));
        self.hubs[machine].running = Some(node);
        if self.scenario.is_embedded {
            self.broker.down_until = self.now;
        }
        self.state(&Fact::HubUp { node, number, id: &id });
        self.restore_tickets(node);
        self.connect(node);
        self.hub_tick(node);
    }

    pub(crate) fn add(&mut self, node: Node) -> NodeId {
        let id = NodeId(self.nodes_made);
        self.nodes_made += 1;
        self.nodes.insert(id, node);
        id
    }

    pub(crate) fn hub(&mut self, id: NodeId) -> Option<(&mut Hub, Now)> {
        let now = self.now;
        let node = self.nodes.get_mut(&id)?;
        let clock = node.clock.at(now);
        match &mut node.kind {
            Kind::Hub(hub) => Some((hub, clock)),
            Kind::Server(_) => None,
        }
    }

    /// As the desk does it: what has fallen due comes before what has come in.
    pub(crate) fn catch_up(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.tick_at <= now) else { return };
        node.tick_at = Ms::MAX;
        self.hub_tick(id);
    }

    pub(crate) fn hub_input(&mut self, id: NodeId, input: Input) {
        self.catch_up(id);
        let Some((_, now)) = self.hub(id) else { return };
        if let Input::TicketSaved { ticket, is_priority } = &input {
            let fact = Fact::TicketKept { node: id, ticket: *ticket, is_kept: is_priority.is_some() };
            self.watch.see(self.now, &fact);
        }
        let Some((hub, _)) = self.hub(id) else { return };
        let effects = hub.core.handle(input, now);
        self.carry_out(id, effects);
        self.settle(id);
    }

    pub(crate) fn hub_tick(&mut self, id: NodeId) {
        let Some((hub, now)) = self.hub(id) else { return };
        let effects = hub.core.tick(now);
        self.carry_out(id, effects);
        self.settle(id);
    }

    pub(crate) fn hub_link_up(&mut self, id: NodeId) {
        self.hub_input(id, Input::LinkUp);
    }

    pub(crate) fn hub_receives(&mut self, id: NodeId, topic: &Topic, payload: &[u8], altered: bool) {
        self.catch_up(id);
        let Some((hub, now)) = self.hub(id) else { return };
        let received = hub.inlet.receive(topic, payload, now);
        if altered {
            self.state(&Fact::AlteredOpened { node: id, messages: received.messages.len() });
        }
        if let Some((server, notice)) = received.skew {
            self.state(&Fact::Fault { what: "clock skew noticed by", node: Some(id) });
            self.put(id, Lane { topic: Topic::Inbox(server), purpose: Purpose::SkewToServer }, &notice);
        }
        for (from, message) in received.messages {
            let Some((hub, now)) = self.hub(id) else { return };
            let is_placed_on =
                |core: &Core| core.summaries(now).iter().any(|s| s.id == from.server && s.state != "offline");
            let gone = if let ServerMessage::Gone { boot } = message { Some(boot) } else { None };
            let before = gone.is_some() && is_placed_on(&hub.core);
            let input = Input::Message { from: from.clone(), message: Box::new(message.clone()) };
            let effects = hub.core.handle(input, now);
            let believed = hub.core.slots(&from.server);
            let after = gone.is_some() && is_placed_on(&hub.core);
            // What is heard comes before what follows from it.
            self.state(&Fact::Heard { node: id, from: &from, message: &message, believed });
            if let Some(boot) = gone {
                self.state(&Fact::WillHeard { node: id, from: &from, boot, before, after });
            }
            self.carry_out(id, effects);
        }
        self.settle(id);
    }

    /// A client's request is at the HTTP edge; the account's players are looked up first.
    pub(crate) fn on_look_up(&mut self, id: NodeId, handover: HandoverId, request: HandoverRequest) {
        let account = request.account;
        let asker = self.asks.get(&handover).map_or(-1, |attempt| self.devices[attempt.device].account);
        if self.hub(id).is_none() {
            return;
        }
        let is_out = self.store.out_until > self.now;
        let players = if is_out { Vec::new() } else { self.store.players_of(account) };
        let input = Input::Ask { handover, request, players };
        self.state(&Fact::Asked { node: id, handover, account: asker, wait: 0 });
        if !is_out && self.is_turned_away(id, handover, account) {
            return;
        }
        self.hub_input(id, input);
    }

    pub(crate) fn carry_out(&mut self, id: NodeId, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(to) => {
                    self.name_owner(&to);
                    self.state(&Fact::Ordered { node: id, to: &to });
                    let Addressed { server, boot, order } = to;
                    let lane = Lane { topic: Topic::Inbox(server), purpose: Purpose::Inbox };
                    self.put(id, lane, &HubMessage::Order { boot, order });
                }
                Effect::Answer { handover, answer } => {
                    self.state(&Fact::Answered { node: id, handover, answer: &answer });
                    let answer = self.last_look(id, handover, answer.map(Answered::Placed));
                    self.tell_client(handover, answer);
                }
                Effect::FindPlayer { handover, account, realm } => {
                    self.state(&Fact::Searched { node: id, handover });
                    self.ask_store(id, Question::Player { handover, account, realm });
                }
                Effect::StoreLastServer { player, server } => self.store.note_last_server(player, server),
                Effect::FindOwners(asked) => self.ask_store(id, Question::Owners(asked)),
                Effect::FindMover { mover, account } => {
                    self.ask_store(id, Question::Mover { mover, account });
                }
                Effect::StoreCeiling(ceiling) => self.ask_store(id, Question::Ceiling(ceiling)),
                Effect::Resent => self.state(&Fact::Fault { what: "re-sent by", node: Some(id) }),
                Effect::MoveIgnored | Effect::GrantRoundTrip { .. } | Effect::GrantRefused => {}
                other => self.carry_out_ticket(id, other),
            }
        }
    }

    /// The database acts some time later, and answers some time after that. A hub that dies meanwhile may leave a write behind or not.
    pub(crate) fn ask_store(&mut self, node: NodeId, question: Question) {
        let delay = self.dice.long_tailed(0, 4, 400);
        let delay = self.written_after(delay, &question);
        self.after(delay, Event::Commit { node, question });
    }

    pub(crate) fn on_commit(&mut self, node: NodeId, question: Question) {
        // A question of a hub that is no more may have reached the database, or not.
        if self.hub(node).is_none() && (self.dice.below(2) == 0 || self.is_written_by_its_heir(&question)) {
            return;
        }
        let is_out = self.store.out_until > self.now;
        let rng = self.dice.fork();
        // What is written may be written though the answer is an error.
        let is_lost = self.phase.is_none() && self.dice.below(50) == 0;
        let is_answered = !is_out && !is_lost;
        let input = match question {
            Question::Player { handover, account, realm } => {
                let player = (!is_out).then(|| self.store.player_in(account, &realm, &*rng));
                Input::Player { handover, account, realm, player: player.filter(|_| is_answered) }
            }
            Question::Owners(asked) => {
                let found = is_answered.then(|| self.store.owners(&asked));
                Input::Owners { asked, found }
            }
            Question::Mover { mover, account } => {
                let found = is_answered.then(|| self.mover(account));
                Input::Mover { mover, found }
            }
            Question::Ceiling(ceiling) => {
                let stored = (!is_out).then(|| self.store.raise_ceiling(ceiling));
                Input::CeilingStored(stored.filter(|_| is_answered))
            }
            Question::Save(row) => self.save_ticket(row, is_out, is_answered),
            Question::Drop(tickets) => {
                if !is_out {
                    self.store.tickets.remove(&tickets);
                }
                Input::TicketsDropped { tickets, is_done: is_answered }
            }
        };
        let delay = self.dice.long_tailed(1, 3, 300);
        self.after(delay, Event::Stored { node, input: Box::new(input) });
    }

    /// Puts a message into a process's outbox. What the link does not take is lost, as in the real thing.
    pub(crate) fn put<M: Message>(&mut self, id: NodeId, lane: Lane, message: &M) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if let Ok(bytes) = codec::encode(message) {
            let _ = node.link.outbox.push(lane, bytes);
        }
    }
}
