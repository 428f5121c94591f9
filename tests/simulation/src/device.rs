//! A player's device: logs in, goes where it is sent, plays, leaves, and misbehaves.
//!
//! Honest ones show their token once, where they were sent, in time. The others come late, twice, elsewhere, with altered tokens, or never.

use std::rc::Rc;

use auth_hub::accounts::AccountRow;
use auth_hub::handover::{Answered, HandoverRequest, Refused};
use game_server::gate::{SlotId, Ticket};
use shared_msgs::codes::Code;
use shared_msgs::ids::{HandoverId, ServerId, TokenHash};

use crate::facts::{Ms, NodeId, Phase};
use crate::node::Kind;
use crate::returning::Way;
use crate::scenario::Scenario;
use crate::waiting::Hold;
use crate::world::{Event, World};

/// The longest an honest client waits for its answer: the hub's own deadline, and a little.
const PATIENCE: Ms = 16_000;

/// One round of a device: login, door, game. What comes late for an earlier round is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) device: usize,
    round: u32,
}

impl Attempt {
    pub(crate) const fn first(device: usize) -> Self {
        Self { device, round: 0 }
    }
}

/// What a device shows at a door.
pub(crate) enum Shows {
    /// The token it was given, wherever it goes with it.
    Given { hash: TokenHash, text: String },
    /// Something else.
    MadeUp(String),
}

/// What a device learns.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// Its connection stands.
    Seen { node: NodeId, ticket: Ticket },
    /// It is in; what to come back with.
    In { node: NodeId, slot: SlotId, credential: Option<Rc<str>> },
    /// It is not let in.
    Refused { ticket: Ticket, code: Code },
    /// Its session ends, and a place is ready for it elsewhere.
    Moved { node: NodeId, slot: SlotId },
    /// Its session is over.
    Over { node: NodeId, slot: SlotId },
    /// The process is no more, or nobody was there.
    Gone { node: Option<NodeId> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    Asking,
    /// It has a ticket.
    Waiting(Hold),
    AtDoor {
        mine: Option<(NodeId, Ticket)>,
    },
    InGame {
        node: NodeId,
        slot: SlotId,
    },
    /// Its connection broke; it comes back.
    Away,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) account: i64,
    is_first: bool,
    round: u32,
    pub(crate) state: State,
    pub(crate) refused: Option<&'static str>,
    /// Questions it has asked about its tickets.
    pub(crate) turn: u32,
    /// Its way back to the session it has, or had last.
    pub(crate) way: Option<Way>,
    /// It has asked for another server, and plays on meanwhile.
    pub(crate) is_moving: bool,
    /// It has been in since the storm was over.
    pub(crate) was_in: bool,
}

impl Device {
    pub(crate) fn all(scenario: &Scenario) -> Vec<Self> {
        let device = |account, is_first| Self {
            account,
            is_first,
            round: 0,
            state: State::Idle,
            refused: None,
            turn: 0,
            way: None,
            is_moving: false,
            was_in: false,
        };
        let first = (0..scenario.accounts).map(|account| device(account, true));
        first.chain((0..scenario.second_devices).map(|account| device(account, false))).collect()
    }

    /// Whether it comes back when the storm is over. A few accounts stay away: what they left behind must go by itself.
    pub(crate) fn comes_back(&self) -> bool {
        self.is_first && self.account % 5 != 4
    }

    pub(crate) fn place(&self) -> Option<(NodeId, SlotId)> {
        match self.state {
            State::InGame { node, slot } => Some((node, slot)),
            _ => None,
        }
    }
}

impl World {
    pub(crate) fn current(&mut self, attempt: Attempt) -> Option<&mut Device> {
        self.devices.get_mut(attempt.device).filter(|device| device.round == attempt.round)
    }

    /// Ends this round; the next one begins after a while.
    pub(crate) fn next_round(&mut self, attempt: Attempt, pause: Ms) {
        let has_queue = self.scenario.queue.is_some();
        let Some(device) = self.current(attempt) else { return };
        device.state = State::Idle;
        device.is_moving = false;
        device.round += 1;
        let next = Attempt { round: device.round, ..attempt };
        let is_done = has_queue && device.was_in;
        let wants_in = device.comes_back() && self.phase == Some(Phase::Settled) && !is_done;
        if self.phase.is_none() || wants_in {
            self.after(pause, Event::Act(next));
        }
    }

    /// Brings a resting device back; for the last phases.
    pub(crate) fn wake(&mut self, device: usize, delay: Ms) {
        let attempt = Attempt { device, round: self.devices[device].round };
        if self.devices[device].state == State::Idle {
            self.after(delay, Event::Act(attempt));
        }
    }

    pub(crate) fn is_honest(&self) -> bool {
        self.phase.is_some() || self.dice.per_mille(self.scenario.honest)
    }

    pub(crate) fn pause(&self) -> Ms {
        if self.phase.is_some() {
            self.dice.between(200, 1_000)
        } else {
            self.dice.below(self.scenario.pause)
        }
    }

    /// Logs in, or gives up on what it has been waiting for.
    pub(crate) fn act(&mut self, attempt: Attempt) {
        let is_calm = self.phase == Some(Phase::Calm);
        let Some(device) = self.current(attempt) else { return };
        let account = device.account;
        match device.state {
            // In the calm nobody sets out; who is wanted is woken after it.
            State::Idle if is_calm => return,
            State::Idle => {}
            State::InGame { .. } | State::Away | State::Waiting(_) => return,
            State::Asking | State::AtDoor { mine: None } => {
                let pause = self.pause();
                return self.next_round(attempt, pause);
            }
            State::AtDoor { mine: Some((node, ticket)) } => {
                self.after(0, Event::Abandon { node, ticket });
                let pause = self.pause();
                return self.next_round(attempt, pause);
            }
        }
        let request = self.request(account);
        if self.ask_hub(attempt, request) {
            if let Some(device) = self.current(attempt) {
                device.state = State::Asking;
            }
        } else {
            self.after(500, Event::Act(attempt));
        }
    }

    /// Asks some hub for a place; false where there is none. Gives up after a while.
    pub(crate) fn ask_hub(&mut self, attempt: Attempt, request: HandoverRequest) -> bool {
        let hubs: Vec<NodeId> = self.hubs.iter().filter_map(|machine| machine.running).collect();
        let Some(hub) = self.dice.pick(&hubs).copied() else { return false };
        let handover = HandoverId::random(&*self.dice.fork());
        self.asks.insert(handover, attempt);
        let request = Box::new(request);
        let delay = self.dice.long_tailed(1, 10, 1_000);
        self.after(delay, Event::LookUp { node: hub, handover, request });
        let patience = if self.is_honest() { PATIENCE } else { self.dice.between(100, PATIENCE) };
        self.after(delay + patience, Event::Act(attempt));
        true
    }

    fn request(&self, account: i64) -> HandoverRequest {
        let is_choosy = self.phase.is_none() && self.dice.below(10) == 0;
        let plan = self.dice.pick(&self.scenario.servers);
        let queue = self.scenario.queue.filter(|_| self.phase.is_none());
        let party = queue.and_then(|queue| queue.party_of(account, self.now));
        HandoverRequest {
            party,
            server: plan.filter(|_| is_choosy && party.is_none()).and_then(|plan| plan.id.parse().ok()),
            regions: (self.dice.below(3) == 0).then(|| "eu".to_owned()).into_iter().collect(),
            ..HandoverRequest::anywhere(AccountRow::from_raw(account), format!("player {account}"))
        }
    }

    /// The hub's answer is under way; now and then it is lost.
    pub(crate) fn tell_client(&mut self, handover: HandoverId, answer: Result<Answered, Refused>) {
        let Some(attempt) = self.asks.remove(&handover) else { return };
        if self.phase.is_none() && self.dice.below(40) == 0 {
            return;
        }
        let delay = self.dice.long_tailed(1, 10, 500);
        self.after(delay, Event::Answer { attempt, answer: Box::new(answer) });
    }

    pub(crate) fn on_answer(&mut self, attempt: Attempt, answer: Result<Answered, Refused>) {
        if self.stays_after(attempt, &answer) {
            return;
        }
        let hopes = |state| matches!(state, State::Asking | State::Waiting(_));
        let Some(device) = self.current(attempt).filter(|device| hopes(device.state)) else { return };
        match answer {
            Ok(Answered::Queued(view)) => self.wait_in_line(attempt, &view),
            Ok(Answered::Placed(placed)) => {
                device.state = State::AtDoor { mine: None };
                self.go(attempt, &placed);
            }
            Err(refused) => {
                device.refused = Some(refused.why.code());
                let pause = self.pause() + self.dice.below(2_000);
                self.next_round(attempt, pause);
            }
        }
    }

    /// Whoever is reached at a server's address now.
    pub(crate) fn at_address(&self, server: &ServerId) -> Option<NodeId> {
        let plans = self.scenario.servers.iter().zip(&self.servers);
        plans.into_iter().find(|(plan, _)| plan.id == server.as_str())?.1.running
    }

    pub(crate) fn on_told(&mut self, attempt: Attempt, told: Told) {
        let is_settled = self.phase == Some(Phase::Settled);
        let is_over = is_settled || self.phase == Some(Phase::Calm);
        let has_queue = self.scenario.queue.is_some();
        let Some(device) = self.current(attempt) else {
            // Who has gone on in the meantime leaves what it no longer wants.
            match told {
                Told::Seen { node, ticket } => self.after(0, Event::Abandon { node, ticket }),
                Told::In { node, slot, .. } => self.after(0, Event::Leave { node, slot }),
                Told::Refused { .. } | Told::Moved { .. } | Told::Over { .. } | Told::Gone { .. } => {}
            }
            return;
        };
        // Its own later try has taken the session over.
        let is_again = |at| matches!(&told, Told::In { node, .. } if *node == at);
        if matches!(device.state, State::InGame { node, .. } if is_again(node)) {
            device.state = State::Away;
        }
        match (device.state, told) {
            (State::AtDoor { .. }, Told::Seen { node, ticket }) => {
                device.state = State::AtDoor { mine: Some((node, ticket)) };
            }
            (
                State::AtDoor { .. } | State::Asking | State::Waiting(_) | State::Away,
                Told::In { node, slot, credential },
            ) => {
                device.state = State::InGame { node, slot };
                device.refused = None;
                device.was_in |= is_settled;
                // With a queue, whoever has been in makes room for the next.
                let stays = is_over && !has_queue;
                if !stays {
                    let play = self.dice.below(self.scenario.play);
                    self.after(play, Event::Quit { attempt, node, slot });
                    self.may_move(attempt, node, slot);
                }
                if let Some(credential) = credential {
                    self.has_a_way(attempt, node, slot, credential);
                }
            }
            (State::AtDoor { mine: Some((_, mine)) }, Told::Refused { ticket, code }) if mine == ticket => {
                device.refused = Some(code.as_str());
                let pause = self.pause();
                self.next_round(attempt, pause);
            }
            (State::InGame { node: at, slot: mine }, Told::Over { node, slot })
                if (at, mine) == (node, slot) =>
            {
                self.session_over(attempt);
            }
            (State::InGame { node: at, slot: mine }, Told::Moved { node, slot })
                if (at, mine) == (node, slot) =>
            {
                self.follow(attempt);
            }
            (State::InGame { node: at, .. }, Told::Gone { node: Some(node) }) if at == node => {
                self.lose_heart(attempt);
            }
            (State::AtDoor { .. }, Told::Gone { .. }) | (State::Away, Told::Refused { .. }) => {
                let pause = self.pause();
                self.next_round(attempt, pause);
            }
            _ => {}
        }
    }

    /// Whether the device is where it believes to be.
    pub(crate) fn is_home(&self, device: usize) -> bool {
        let Some((node, _)) = self.devices[device].place() else { return false };
        let attempt = Attempt { device, round: self.devices[device].round };
        match self.nodes.get(&node).map(|node| &node.kind) {
            Some(Kind::Server(server)) => server.has(attempt),
            _ => false,
        }
    }
}
