//! Each process's link: the real state machines of `shared_msgs::link`, and a wire in place of a socket.

use std::rc::Rc;

use shared_msgs::ids::StreamId;
use shared_msgs::link::Opening;
use shared_msgs::link::outbox::BatchId;
use shared_msgs::link::resync::{Severity, Step};
use shared_msgs::topics::Topic;

use crate::broker::ConnId;
use crate::facts::{Fact, Ms, NodeId};
use crate::node::{Kind, Node};
use crate::world::{Event, World};

fn client_id(node: &Node) -> String {
    match &node.kind {
        Kind::Hub(hub) => hub.id.to_string(),
        Kind::Server(server) => format!("gs-{}", server.id),
    }
}

impl World {
    /// An attempt begins: a fresh stream, a fresh will.
    pub(crate) fn connect(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.link.is_over) else { return };
        let stream = StreamId::random(&*node.rng);
        let clock = node.clock.at(now);
        let Opening { subscriptions, will } = node.session().begin(stream, clock.unix);
        node.link.resync.connect(clock.mono);
        let will: Option<(Topic, Rc<[u8]>)> = will.map(|(topic, payload)| (topic, payload.into()));
        let client = client_id(node);
        let conn = self.broker.open(id, client, &subscriptions, will.clone(), now);
        node.link.conn = Some(conn);
        if let Some((topic, payload)) = will {
            self.state(&Fact::Sealed { topic: &topic, payload: &payload });
        }
        if !self.is_broker_up() {
            self.broker.close(conn);
            self.after(1, Event::Close(conn));
        } else if !self.is_cut(id) {
            let delay = self.wire();
            self.after(delay, Event::Connack(conn));
        }
        self.arm_look(id);
    }

    /// The process at this end, if this is its connection still.
    fn holder(&mut self, conn: ConnId) -> Option<(NodeId, &mut Node)> {
        let id = self.broker.get(conn)?.node;
        let node = self.nodes.get_mut(&id).filter(|node| node.link.conn == Some(conn))?;
        Some((id, node))
    }

    pub(crate) fn on_connack(&mut self, conn: ConnId) {
        self.accept(conn);
        let now = self.now;
        let Some((id, node)) = self.holder(conn) else { return };
        let mono = node.clock.at(now).mono;
        let step = node.link.resync.connected(mono, 1);
        if step == Step::Subscribe && !self.is_cut(id) {
            let delay = self.wire();
            self.after(delay, Event::Suback(conn));
        }
        self.arm_look(id);
    }

    pub(crate) fn on_suback(&mut self, conn: ConnId) {
        self.subscribe(conn);
        let now = self.now;
        let Some((id, node)) = self.holder(conn) else { return };
        let mono = node.clock.at(now).mono;
        if node.link.resync.suback(mono, &[true]) != Ok(Step::Up) {
            return;
        }
        node.link.outbox.open();
        self.arm_look(id);
        self.after(1, Event::Beat(conn));
        self.link_changed(id, true);
    }

    pub(crate) fn hear(&mut self, conn: ConnId) {
        let now = self.now;
        if let Some((_, node)) = self.holder(conn) {
            let mono = node.clock.at(now).mono;
            node.link.resync.heard(mono);
        }
    }

    /// The broker has closed the connection.
    pub(crate) fn on_close(&mut self, conn: ConnId) {
        let at_its_end = self.nodes.iter().find(|(_, node)| node.link.conn == Some(conn));
        if let Some(id) = at_its_end.map(|(id, _)| *id) {
            self.fail(id);
        }
    }

    fn arm_look(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let next = node.link.resync.next_look(node.clock.at(now).mono);
        let delay = Ms::try_from(next.as_millis()).unwrap_or(Ms::MAX);
        node.link.look_at = now + delay;
        self.after(delay, Event::Look(id));
    }

    pub(crate) fn look(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.nodes.get(&id).filter(|node| node.link.look_at <= now) else { return };
        if node.link.resync.overdue(node.clock.at(now).mono).is_some() {
            self.fail(id);
        } else {
            self.arm_look(id);
        }
    }

    /// The connection is over for the process: all that waited is gone, and it tries again.
    fn fail(&mut self, id: NodeId) {
        let now = self.now;
        let is_cut = self.is_cut(id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let mono = node.clock.at(now).mono;
        let conn = node.link.conn.take();
        node.link.outbox.close();
        node.link.under_way = 0;
        let rng = &node.rng;
        let wait = node.link.resync.failed(mono, Severity::Passing, |bound| rng.below(bound));
        let is_over = node.link.is_over;
        if let Some(conn) = conn.filter(|_| !is_cut) {
            self.sever(conn);
        }
        if !is_over {
            self.after(Ms::try_from(wait.as_millis()).unwrap_or(Ms::MAX), Event::Connect(id));
        }
        self.link_changed(id, false);
    }

    /// Says goodbye and never comes back.
    pub(crate) fn hang_up(&mut self, id: NodeId) {
        self.pump(id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.link.is_over = true;
        node.link.outbox.close();
        let Some(conn) = node.link.conn.take() else { return };
        // What was sent before it arrives before it.
        self.after(3, Event::Goodbye(conn));
    }

    fn link_changed(&mut self, id: NodeId, up: bool) {
        match self.nodes.get(&id).map(|node| &node.kind) {
            Some(Kind::Hub(_)) if up => self.hub_link_up(id),
            Some(Kind::Server(_)) => self.gate_link(id, up),
            Some(Kind::Hub(_)) | None => {}
        }
    }

    /// Seals and sends all that may go out now.
    pub(crate) fn pump(&mut self, id: NodeId) {
        let now = self.now;
        let is_cut = self.is_cut(id);
        while let Some(node) = self.nodes.get_mut(&id) {
            let Some(conn) = node.link.conn else { return };
            let Some(batch) = node.link.outbox.next_batch() else { return };
            let clock = node.clock.at(now);
            let Ok(payload) = node.session().seal(&batch.lane, &batch.bytes, clock.unix) else {
                return self.fail(id);
            };
            node.link.resync.published(clock.mono);
            node.link.under_way += 1;
            let topic = batch.lane.topic;
            self.state(&Fact::Sealed { topic: &topic, payload: &payload });
            // A wire that is cut swallows it; TCP would keep order, so the delay to the broker is the same for all.
            if !is_cut {
                self.after(1, Event::Publish { conn, topic, payload: payload.into(), batch: batch.id });
            }
        }
    }

    pub(crate) fn on_puback(&mut self, conn: ConnId, batch: BatchId) {
        let now = self.now;
        let Some((id, node)) = self.holder(conn).filter(|(_, node)| node.cut_until <= now) else { return };
        let mono = node.clock.at(now).mono;
        let is_oldest = node.link.outbox.acked(batch);
        node.link.under_way = node.link.under_way.saturating_sub(1);
        node.link.resync.heard(mono);
        if is_oldest {
            node.link.resync.acked(mono, node.link.under_way > 0);
        }
        self.pump(id);
    }

    pub(crate) fn on_deliver(&mut self, conn: ConnId, topic: &Topic, payload: &[u8], altered: bool) {
        let now = self.now;
        let Some((id, node)) = self.holder(conn).filter(|(_, node)| node.cut_until <= now) else { return };
        let mono = node.clock.at(now).mono;
        node.link.resync.heard(mono);
        match node.kind {
            Kind::Hub(_) => self.hub_receives(id, topic, payload, altered),
            Kind::Server(_) => self.gate_receives(id, topic, payload, altered),
        }
    }
}
