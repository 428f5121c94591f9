//! One process: its clock, its link to the broker, and the core it runs; what moves it on as time passes.

use std::sync::Arc;
use std::time::Duration;

use shared_msgs::clock::Now;
use shared_msgs::link::Session;
use shared_msgs::link::outbox::Outbox;
use shared_msgs::link::resync::Resync;
use shared_msgs::rng::Rng;

use crate::broker::ConnId;
use crate::facts::{Fact, Ms, NodeId};
use crate::hub::Hub;
use crate::machine::ProcessClock;
use crate::server::Server;
use crate::world::{Event, World};

/// As in the link's own configuration: twice the keep-alive, the connect timeout, the outbox.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const ANSWER_MAX: Duration = Duration::from_secs(3);
const OUTBOX_MESSAGES_MAX: usize = 8192;
const OUTBOX_BYTES_MAX: usize = 8 << 20;

/// The link's state machines, and the connection they are about.
pub(crate) struct Link {
    pub(crate) resync: Resync,
    pub(crate) outbox: Outbox,
    pub(crate) conn: Option<ConnId>,
    pub(crate) under_way: usize,
    /// Told to close and never to come back.
    pub(crate) is_over: bool,
    pub(crate) look_at: Ms,
}

impl Link {
    fn new() -> Self {
        Self {
            resync: Resync::new(1, SILENCE_MAX, ANSWER_MAX),
            outbox: Outbox::new(OUTBOX_MESSAGES_MAX, OUTBOX_BYTES_MAX),
            conn: None,
            under_way: 0,
            is_over: false,
            look_at: Ms::MAX,
        }
    }
}

/// What kind of process it is.
pub(crate) enum Kind {
    Hub(Box<Hub>),
    Server(Box<Server>),
}

/// See the module.
pub(crate) struct Node {
    pub(crate) clock: ProcessClock,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) link: Link,
    pub(crate) kind: Kind,
    /// Nothing reaches it or leaves it until then.
    pub(crate) cut_until: Ms,
    /// It does nothing until then; what it is to do waits.
    pub(crate) frozen_until: Ms,
    pub(crate) tick_at: Ms,
    ticked_at: Ms,
    ticks_within: u32,
}

impl Node {
    pub(crate) fn new(clock: ProcessClock, rng: Arc<dyn Rng>, kind: Kind) -> Self {
        let link = Link::new();
        Self {
            clock,
            rng,
            link,
            kind,
            cut_until: 0,
            frozen_until: 0,
            tick_at: Ms::MAX,
            ticked_at: 0,
            ticks_within: 0,
        }
    }

    pub(crate) fn session(&mut self) -> &mut dyn Session {
        match &mut self.kind {
            Kind::Hub(hub) => &mut hub.session,
            Kind::Server(server) => &mut server.session,
        }
    }

    fn next_deadline(&self, now: Now) -> Option<Ms> {
        let at = match &self.kind {
            Kind::Hub(hub) => Some(hub.core.next_deadline()),
            Kind::Server(server) => server.gate.next_deadline(now),
        };
        at.map(|at| self.clock.true_time(at))
    }
}

impl World {
    pub(crate) fn is_cut(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_none_or(|node| node.cut_until > self.now)
    }

    pub(crate) fn tick(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.tick_at <= now) else { return };
        node.tick_at = Ms::MAX;
        node.ticks_within = if node.ticked_at == now { node.ticks_within + 1 } else { 1 };
        node.ticked_at = now;
        let times = node.ticks_within;
        let is_hub = matches!(node.kind, Kind::Hub(_));
        self.state(&Fact::Ticked { node: id, times });
        if is_hub {
            self.hub_tick(id);
        } else {
            self.gate_tick(id);
        }
    }

    /// After each step of a process: what it wants to send goes out, and its next deadline is set.
    pub(crate) fn settle(&mut self, id: NodeId) {
        self.pump(id);
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(at) = node.next_deadline(node.clock.at(now)) else { return };
        let at = at.max(now);
        if at < node.tick_at {
            node.tick_at = at;
            self.after(at - now, Event::Tick(id));
        }
    }
}
