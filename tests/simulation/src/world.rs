//! The simulated world: who exists, what is under way, and the loop that lets the next thing happen.
//!
//! Owns true time and the queue of events; the rooms beside it say what each event means. Invariant: nothing happens but by an event of
//! the queue, and events of one millisecond happen in the order in which they were put in.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use auth_hub::handover::core::Input;
use auth_hub::handover::{Answered, HandoverRequest, Refused};
use auth_hub::queue::TicketId;
use game_server::gate::{self, SlotId, Ticket};
use shared_msgs::codes::Code;
use shared_msgs::ids::{HandoverId, ServerId};
use shared_msgs::keys::FleetKeys;
use shared_msgs::link::outbox::BatchId;
use shared_msgs::topics::Topic;

use crate::abilities::Abilities;
use crate::broker::{Broker, ConnId};
use crate::device::{Attempt, Device, Shows, Told};
use crate::dice::Dice;
use crate::facts::{Fact, Ms, NodeId, Phase};
use crate::hub::Question;
use crate::machine::Machine;
use crate::node::Node;
use crate::scenario::{Scenario, Weather};
use crate::store::Store;
use crate::tickets::Wish;
use crate::watch::Watch;

/// Something that will happen.
pub(crate) enum Event {
    Tick(NodeId),
    Look(NodeId),
    Connect(NodeId),
    Connack(ConnId),
    Suback(ConnId),
    Beat(ConnId),
    Close(ConnId),
    Goodbye(ConnId),
    Publish { conn: ConnId, topic: Topic, payload: Rc<[u8]>, batch: BatchId },
    Puback { conn: ConnId, batch: BatchId },
    Deliver { conn: ConnId, topic: Topic, payload: Rc<[u8]>, altered: bool },
    Will { topic: Topic, payload: Rc<[u8]> },
    Commit { node: NodeId, question: Question },
    Stored { node: NodeId, input: Box<Input> },
    LookUp { node: NodeId, handover: HandoverId, request: Box<HandoverRequest> },
    Answer { attempt: Attempt, answer: Box<Result<Answered, Refused>> },
    Act(Attempt),
    Poll { attempt: Attempt, turn: u32 },
    TicketAsk { node: NodeId, handover: HandoverId, ticket: TicketId, wish: Wish },
    Arrive { attempt: Attempt, server: ServerId, token: Shows },
    Abandon { node: NodeId, ticket: Ticket },
    Told { attempt: Attempt, told: Told },
    Leave { node: NodeId, slot: SlotId },
    Quit { attempt: Attempt, node: NodeId, slot: SlotId },
    Wander { attempt: Attempt, node: NodeId, slot: SlotId },
    SendAway { node: NodeId, slot: SlotId },
    Snap { attempt: Attempt, node: NodeId, slot: SlotId },
    Lost { node: NodeId, slot: SlotId },
    Keep { node: NodeId, slot: SlotId },
    Return { attempt: Attempt, turn: u32 },
    Resume { attempt: Option<Attempt>, server: ServerId, credential: Rc<str> },
    Dropped { node: NodeId, slot: SlotId },
    Exit(NodeId),
    StartHub(usize),
    StartServer(usize),
    Break,
    Operate,
    LetIn(i64),
    End { node: NodeId, account: i64, reason: Code },
    Phase(Phase),
}

struct Entry {
    at: Ms,
    number: u64,
    event: Event,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

/// See the module.
pub(crate) struct World {
    pub(crate) now: Ms,
    queue: BinaryHeap<Entry>,
    put_in: u64,
    pub(crate) dice: Dice,
    pub(crate) scenario: Scenario,
    pub(crate) abilities: Abilities,
    pub(crate) weather: Weather,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) nodes_made: u32,
    pub(crate) hubs: Vec<Machine>,
    pub(crate) servers: Vec<Machine>,
    pub(crate) broker: Broker,
    pub(crate) store: Store,
    pub(crate) keys: Arc<FleetKeys>,
    pub(crate) devices: Vec<Device>,
    pub(crate) asks: BTreeMap<HandoverId, Attempt>,
    pub(crate) tickets: u64,
    pub(crate) phase: Option<Phase>,
    pub(crate) all_in_by: Ms,
    pub(crate) watch: Watch,
}

impl World {
    pub(crate) fn new(seed: u64, watch: Watch) -> Self {
        let dice = Dice::new(seed);
        let scenario = Scenario::new(&dice).with_queue(seed);
        let abilities = Abilities::of(seed, scenario.hubs);
        let keys = Arc::new(FleetKeys::generate(&*dice.fork()));
        let machine = || Machine::new(&dice, &scenario);
        let hubs = (0..scenario.hubs).map(|_| machine()).collect();
        let servers = scenario.servers.iter().map(|_| machine()).collect();
        let mut world = Self {
            now: 0,
            queue: BinaryHeap::new(),
            put_in: 0,
            weather: scenario.weather,
            nodes: BTreeMap::new(),
            nodes_made: 0,
            hubs,
            servers,
            broker: Broker::default(),
            store: Store::default(),
            keys,
            devices: Device::all(&scenario),
            asks: BTreeMap::new(),
            tickets: 0,
            phase: None,
            all_in_by: Ms::MAX,
            watch,
            dice,
            scenario,
            abilities,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for machine in 0..self.hubs.len() {
            let at = self.dice.below(500);
            self.after(at, Event::StartHub(machine));
        }
        for machine in 0..self.servers.len() {
            let at = self.dice.below(3_000);
            self.after(at, Event::StartServer(machine));
        }
        for device in 0..self.devices.len() {
            let at = self.dice.below(self.scenario.pause + 1_000);
            self.after(at, Event::Act(Attempt::first(device)));
        }
        self.after(self.scenario.fault_every, Event::Break);
        if self.abilities.has_operators() {
            self.after(self.abilities.end_every, Event::Operate);
        }
        self.after(self.scenario.storm, Event::Phase(Phase::Calm));
    }

    /// Lets everything happen, until the end or the first violation.
    pub(crate) fn run(mut self) -> Watch {
        while let Some(Entry { at, event, .. }) = self.queue.pop() {
            self.now = at;
            if let Some(until) = self.frozen_until(&event) {
                self.after(until - at, event);
                continue;
            }
            let happened = std::panic::catch_unwind(AssertUnwindSafe(|| self.happen(event)));
            if let Err(panic) = happened {
                self.watch.panicked(self.now, &*panic);
            }
            if self.phase == Some(Phase::AllOut) || self.watch.is_violated() {
                break;
            }
        }
        self.watch.end(self.now);
        self.watch
    }

    /// Until when what would happen has to wait, because the process it happens to stands still. The order is kept.
    fn frozen_until(&self, event: &Event) -> Option<Ms> {
        let node = match event {
            Event::Tick(node)
            | Event::Look(node)
            | Event::Connect(node)
            | Event::Stored { node, .. }
            | Event::LookUp { node, .. }
            | Event::End { node, .. }
            | Event::TicketAsk { node, .. }
            | Event::Abandon { node, .. }
            | Event::Leave { node, .. }
            | Event::Quit { node, .. }
            | Event::SendAway { node, .. }
            | Event::Lost { node, .. }
            | Event::Keep { node, .. }
            | Event::Dropped { node, .. }
            | Event::Exit(node) => *node,
            Event::Suback(conn)
            | Event::Close(conn)
            | Event::Puback { conn, .. }
            | Event::Deliver { conn, .. } => self.broker.get(*conn)?.node,
            Event::Arrive { server, .. } | Event::Resume { server, .. } => self.at_address(server)?,
            _ => return None,
        };
        self.nodes.get(&node).map(|node| node.frozen_until).filter(|until| *until > self.now)
    }

    /// Puts an event into the queue, so long from now.
    pub(crate) fn after(&mut self, delay: Ms, event: Event) {
        self.put_in += 1;
        self.queue.push(Entry { at: self.now + delay, number: self.put_in, event });
    }

    /// Tells the checkers, the tally and the history.
    pub(crate) fn state(&mut self, fact: &Fact) {
        self.watch.see(self.now, fact);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(node) => self.tick(node),
            Event::Look(node) => self.look(node),
            Event::Connect(node) => self.connect(node),
            Event::Connack(conn) => self.on_connack(conn),
            Event::Suback(conn) => self.on_suback(conn),
            Event::Beat(conn) => self.on_beat(conn),
            Event::Close(conn) => self.on_close(conn),
            Event::Goodbye(conn) => self.broker.close(conn),
            Event::Publish { conn, topic, payload, batch } => self.on_publish(conn, topic, payload, batch),
            Event::Puback { conn, batch } => self.on_puback(conn, batch),
            Event::Deliver { conn, topic, payload, altered } => {
                self.on_deliver(conn, &topic, &payload, altered);
            }
            Event::Will { topic, payload } => self.route(&topic, &payload),
            Event::Commit { node, question } => self.on_commit(node, question),
            Event::Stored { node, input } => self.hub_input(node, *input),
            Event::LookUp { node, handover, request } => self.on_look_up(node, handover, *request),
            Event::Answer { attempt, answer } => self.on_answer(attempt, *answer),
            Event::Act(attempt) => self.act(attempt),
            Event::Poll { attempt, turn } => self.poll(attempt, turn),
            Event::TicketAsk { node, handover, ticket, wish } => {
                self.on_ticket_ask(node, handover, ticket, wish);
            }
            Event::Arrive { attempt, server, token } => self.on_arrive(attempt, &server, token),
            Event::Abandon { node, ticket } => self.on_abandon(node, ticket),
            Event::Told { attempt, told } => self.on_told(attempt, told),
            Event::Leave { node, slot } => self.on_leave(node, slot),
            Event::Quit { attempt, node, slot } => self.on_quit(attempt, node, slot),
            Event::Snap { attempt, node, slot } => self.on_snap(attempt, node, slot),
            Event::Wander { attempt, node, slot } => self.on_wander(attempt, node, slot),
            Event::SendAway { node, slot } => self.send_away(node, slot),
            Event::Lost { node, slot } => self.on_lost(node, slot),
            Event::Keep { node, slot } => self.on_keep(node, slot),
            Event::Return { attempt, turn } => self.come_back(attempt, turn),
            Event::Resume { attempt, server, credential } => self.on_resume(attempt, &server, &credential),
            Event::Dropped { node, slot } => self.gate_input(node, gate::Input::Leave(slot)),
            Event::Exit(node) => self.exit(node),
            Event::StartHub(machine) => self.start_hub(machine),
            Event::StartServer(machine) if self.servers[machine].running.is_some() => {}
            Event::StartServer(machine) => self.start_server(machine),
            Event::Break => self.break_something(),
            Event::Operate => self.operate(),
            Event::LetIn(account) => self.let_in(account),
            Event::End { node, account, reason } => self.on_end(node, account, reason),
            Event::Phase(phase) => self.begin_phase(phase),
        }
    }
}
