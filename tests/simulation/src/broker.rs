//! The broker and the wires to it, as bad as the weather: who is connected, who gets what, and what is lost on the way.
//!
//! It keeps no message. Wills are published when a connection ends without a goodbye, sooner or later.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use shared_msgs::ids::ServerId;
use shared_msgs::link::outbox::BatchId;
use shared_msgs::topics::{STATUS_FILTER, Topic};

use crate::facts::{Fact, Ms, NodeId};
use crate::world::{Event, World};

/// Payloads that an eavesdropper keeps for later.
const OVERHEARD_MAX: usize = 64;
/// MQTT's one and a half keep-alives of five seconds.
const BROKER_PATIENCE: Ms = 7_500;
/// Between two signs of life on an idle connection.
const BEAT: Ms = 4_000;

/// One connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnId(u64);

/// As the broker sees it.
pub(crate) struct Conn {
    pub(crate) node: NodeId,
    /// MQTT client id: another connection with the same one takes over.
    client: String,
    inbox: Option<ServerId>,
    is_hub: bool,
    will: Option<(Topic, Rc<[u8]>)>,
    is_subscribed: bool,
    heard: Ms,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Broker {
    conns: BTreeMap<ConnId, Conn>,
    made: u64,
    overheard: VecDeque<(Topic, Rc<[u8]>)>,
    pub(crate) down_until: Ms,
}

impl Broker {
    pub(crate) fn open(
        &mut self,
        node: NodeId,
        client: String,
        subscriptions: &[String],
        will: Option<(Topic, Rc<[u8]>)>,
        now: Ms,
    ) -> ConnId {
        let id = ConnId(self.made);
        self.made += 1;
        let inbox = subscriptions.iter().find_map(|filter| match filter.parse() {
            Ok(Topic::Inbox(server)) => Some(server),
            _ => None,
        });
        let is_hub = subscriptions.iter().any(|filter| filter == STATUS_FILTER);
        self.conns.insert(id, Conn { node, client, inbox, is_hub, will, is_subscribed: false, heard: now });
        id
    }

    pub(crate) fn get(&self, conn: ConnId) -> Option<&Conn> {
        self.conns.get(&conn)
    }

    /// Ends a connection without a will.
    pub(crate) fn close(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
    }

    pub(crate) fn all(&self) -> Vec<ConnId> {
        self.conns.keys().copied().collect()
    }

    pub(crate) fn of_node(&self, node: NodeId) -> Vec<ConnId> {
        self.conns.iter().filter(|(_, conn)| conn.node == node).map(|(id, _)| *id).collect()
    }

    fn subscribers(&self, topic: &Topic) -> Vec<ConnId> {
        let wants = |conn: &Conn| match topic {
            Topic::Inbox(server) => conn.inbox.as_ref() == Some(server),
            Topic::Status(_) | Topic::Events(_) => conn.is_hub,
            Topic::Canary(_) => false,
        };
        let subscribed = self.conns.iter().filter(|(_, conn)| conn.is_subscribed && wants(conn));
        subscribed.map(|(id, _)| *id).collect()
    }
}

impl World {
    pub(crate) fn is_broker_up(&self) -> bool {
        self.broker.down_until <= self.now
    }

    /// A packet's time on the wire.
    pub(crate) fn wire(&self) -> Ms {
        self.dice.long_tailed(1, self.weather.delay, self.weather.delay_tail)
    }

    /// CONNECT has reached the broker: an older connection with the same client id ends, its will is published.
    pub(crate) fn accept(&mut self, id: ConnId) {
        let Some(conn) = self.broker.conns.get_mut(&id) else { return };
        conn.heard = self.now;
        let client = conn.client.clone();
        let same = self.broker.conns.iter().filter(|(other, conn)| **other < id && conn.client == client);
        for older in same.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.sever(older);
        }
    }

    pub(crate) fn subscribe(&mut self, id: ConnId) {
        if let Some(conn) = self.broker.conns.get_mut(&id) {
            conn.is_subscribed = true;
        }
    }

    /// The broker ends a connection: the will goes out, mostly at once; whoever was connected hears it if the wire still carries anything.
    pub(crate) fn sever(&mut self, id: ConnId) {
        let Some(conn) = self.broker.conns.remove(&id) else { return };
        if let Some((topic, payload)) = conn.will {
            let delay = if self.dice.per_mille(150) { self.dice.below(8_000) } else { self.dice.below(3) };
            self.after(delay, Event::Will { topic, payload });
        }
        if !self.is_cut(conn.node) {
            let delay = self.wire();
            self.after(delay, Event::Close(id));
        }
    }

    /// A sign of life of an idle connection, or the lack of one.
    pub(crate) fn on_beat(&mut self, id: ConnId) {
        let Some(node) = self.broker.get(id).map(|conn| conn.node) else { return };
        let (is_cut, now) = (self.is_cut(node), self.now);
        if let Some(conn) = self.broker.conns.get_mut(&id) {
            if !is_cut {
                conn.heard = now;
            } else if now - conn.heard > BROKER_PATIENCE {
                return self.sever(id);
            }
        }
        if !is_cut {
            self.hear(id);
        }
        self.after(BEAT, Event::Beat(id));
    }

    pub(crate) fn on_publish(&mut self, id: ConnId, topic: Topic, payload: Rc<[u8]>, batch: BatchId) {
        let Some(conn) = self.broker.conns.get_mut(&id) else { return };
        conn.heard = self.now;
        let node = conn.node;
        if self.is_cut(node) {
            return;
        }
        if self.dice.per_mille(self.weather.drop_ack) {
            self.state(&Fact::Fault { what: "acknowledgement lost", node: Some(node) });
        } else {
            let delay = self.dice.between(0, 2);
            self.after(delay, Event::Puback { conn: id, batch });
        }
        self.route(&topic, &payload);
        if self.dice.per_mille(self.weather.replay)
            && let Some((topic, payload)) = self.overheard()
        {
            self.state(&Fact::Fault { what: "replayed", node: None });
            self.route(&topic, &payload);
        }
        if self.broker.overheard.len() >= OVERHEARD_MAX {
            self.broker.overheard.pop_front();
        }
        self.broker.overheard.push_back((topic, payload));
    }

    fn overheard(&mut self) -> Option<(Topic, Rc<[u8]>)> {
        let old = self.broker.overheard.make_contiguous();
        self.dice.pick(old).cloned()
    }

    /// To all subscribers, each by its own wire.
    pub(crate) fn route(&mut self, topic: &Topic, payload: &Rc<[u8]>) {
        if !self.is_broker_up() {
            return;
        }
        for conn in self.broker.subscribers(topic) {
            self.carry(conn, topic, payload);
        }
    }

    fn carry(&mut self, conn: ConnId, topic: &Topic, payload: &Rc<[u8]>) {
        let Some(node) = self.broker.get(conn).map(|conn| conn.node) else { return };
        if self.dice.per_mille(self.weather.drop) {
            return self.state(&Fact::Fault { what: "dropped", node: Some(node) });
        }
        let deliver = |payload, altered| Event::Deliver { conn, topic: topic.clone(), payload, altered };
        let delay = self.wire();
        self.after(delay, deliver(Rc::clone(payload), false));
        if self.dice.per_mille(self.weather.duplicate) {
            self.state(&Fact::Fault { what: "duplicated", node: Some(node) });
            let delay = self.wire();
            self.after(delay, deliver(Rc::clone(payload), false));
        }
        if self.dice.per_mille(self.weather.alter) {
            self.state(&Fact::Fault { what: "altered", node: Some(node) });
            let mut altered = payload.to_vec();
            let at = self.dice.below(u64::try_from(altered.len()).unwrap_or(0) * 8);
            if let Some(byte) = usize::try_from(at / 8).ok().and_then(|at| altered.get_mut(at)) {
                *byte ^= 1 << (at % 8);
            }
            let delay = self.wire();
            self.after(delay, deliver(altered.into(), true));
        }
    }
}
