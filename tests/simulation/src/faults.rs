//! What breaks, and when: processes, wires, connections, the broker, the database, clocks.

use game_server::gate::Input;
use shared_msgs::messages::ServerState;

use crate::facts::{Fact, Ms, NodeId};
use crate::node::Kind;
use crate::world::{Event, World};

impl World {
    fn fault(&mut self, what: &'static str, node: Option<NodeId>) {
        self.state(&Fact::Fault { what, node });
    }

    /// One thing breaks; the next one is planned.
    pub(crate) fn break_something(&mut self) {
        if self.phase.is_some() {
            return;
        }
        match self.dice.below(19) {
            0 | 1 => self.crash_a_hub(),
            2..=4 => self.crash_a_server(),
            5..=7 => self.cut_a_wire(),
            8..=10 => self.sever_a_connection(),
            11 => self.restart_broker(),
            12 => self.wish(Input::Drain { within: Some(std::time::Duration::from_secs(5)) }, "drain"),
            13 => self.wish(Input::SetState(ServerState::Degraded), "degraded"),
            14 => self.start_a_twin(),
            15 | 16 => self.freeze(),
            17 => self.step_a_clock(),
            _ => self.store_outage(),
        }
        let next = self.dice.between(1, 2 * self.scenario.fault_every);
        self.after(next, Event::Break);
    }

    fn nodes_of(&self, is_hub: bool) -> Vec<NodeId> {
        let of = self.nodes.iter().filter(|(_, node)| matches!(node.kind, Kind::Hub(_)) == is_hub);
        of.map(|(id, _)| *id).collect()
    }

    /// The process is gone at once, with all it knew. Its peers' kernels say so, unless the wire is cut.
    fn kill(&mut self, id: NodeId) {
        self.drop_clients(id);
        self.nodes.remove(&id);
        self.state(&Fact::Down { node: id, why: "killed" });
        for conn in self.broker.of_node(id) {
            self.sever(conn);
        }
    }

    fn crash_a_hub(&mut self) {
        let Some(id) = self.dice.pick(&self.nodes_of(true)).copied() else { return };
        let Some(machine) = self.hub(id).map(|(hub, _)| hub.machine) else { return };
        self.fault("hub killed", Some(id));
        self.kill(id);
        self.hubs[machine].running = None;
        if self.scenario.is_embedded {
            self.end_all_connections(false);
            self.broker.down_until = Ms::MAX;
        }
        self.maybe_misset_hub(machine);
        let delay = self.dice.long_tailed(20, 2_000, 20_000);
        self.after(delay, Event::StartHub(machine));
    }

    fn crash_a_server(&mut self) {
        let Some(id) = self.dice.pick(&self.nodes_of(false)).copied() else { return };
        let Some(machine) = self.server(id).map(|(server, _)| server.machine) else { return };
        self.fault("server killed", Some(id));
        self.kill(id);
        if self.servers[machine].running == Some(id) {
            self.servers[machine].running = None;
            if self.dice.below(8) == 0 {
                self.fault("clock set", None);
                self.servers[machine].misset(&self.dice, &self.scenario);
            }
            let delay = self.dice.long_tailed(1, 1_500, 15_000);
            self.after(delay, Event::StartServer(machine));
        }
    }

    fn maybe_misset_hub(&mut self, machine: usize) {
        if self.dice.below(8) == 0 {
            self.fault("clock set", None);
            self.hubs[machine].misset(&self.dice, &self.scenario);
        }
    }

    fn cut_a_wire(&mut self) {
        let all: Vec<NodeId> = self.nodes.keys().copied().collect();
        let Some(id) = self.dice.pick(&all).copied() else { return };
        let length = self.dice.long_tailed(50, 4_000, 15_000);
        self.fault("wire cut", Some(id));
        let until = self.now + length;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.cut_until = until;
        }
    }

    /// A process that is stopped, or starved: nothing is lost, everything is late.
    fn freeze(&mut self) {
        let all: Vec<NodeId> = self.nodes.keys().copied().collect();
        let Some(id) = self.dice.pick(&all).copied() else { return };
        self.fault("process frozen", Some(id));
        let until = self.now + self.dice.long_tailed(100, 5_000, 20_000);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.frozen_until = until;
        }
        self.state(&Fact::Frozen { node: id, until });
    }

    /// Somebody sets a machine's clock while its process runs.
    fn step_a_clock(&mut self) {
        let all: Vec<NodeId> = self.nodes.keys().copied().collect();
        let Some(id) = self.dice.pick(&all).copied() else { return };
        self.fault("clock stepped", Some(id));
        let offset = self.scenario.offset;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.clock.step(&self.dice, offset);
        }
        self.settle(id);
    }

    fn sever_a_connection(&mut self) {
        let conn = self.dice.pick(&self.broker.all()).copied();
        if let Some(conn) = conn {
            let node = self.broker.get(conn).map(|conn| conn.node);
            self.fault("connection severed", node);
            self.sever(conn);
        }
    }

    fn restart_broker(&mut self) {
        self.fault("broker restarted", None);
        let with_wills = self.dice.below(2) == 0;
        self.end_all_connections(with_wills);
        // A moment passes before it is down, so that wills go out; one that crashes publishes none.
        self.broker.down_until = self.broker.down_until.max(self.now + self.dice.below(1_000));
    }

    /// A broker that dies publishes no will.
    fn end_all_connections(&mut self, with_wills: bool) {
        for conn in self.broker.all() {
            if with_wills {
                self.sever(conn);
            } else {
                self.broker.close(conn);
                let delay = self.wire();
                self.after(delay, Event::Close(conn));
            }
        }
    }

    fn wish(&mut self, input: Input, what: &'static str) {
        if let Some(id) = self.dice.pick(&self.nodes_of(false)).copied() {
            self.fault(what, Some(id));
            self.gate_input(id, input);
        }
    }

    /// A second process with the same id, as by a deployment gone wrong: the newer one is to win.
    fn start_a_twin(&mut self) {
        let machine = self.dice.below(u64::try_from(self.servers.len()).unwrap_or(0));
        let machine = usize::try_from(machine).unwrap_or(0);
        if self.servers[machine].running.is_some() {
            self.fault("twin started", self.servers[machine].running);
            if self.dice.below(2) == 0 {
                // Then the later one may look like the older.
                self.servers[machine].misset(&self.dice, &self.scenario);
            }
            self.start_server(machine);
        }
    }

    fn store_outage(&mut self) {
        self.fault("database out", None);
        self.store.out_until = self.now + self.dice.below(3_000);
    }

    /// Everything is mended: wires, broker, database, clocks, processes.
    pub(crate) fn mend(&mut self) {
        const RIGHT_MS: i64 = 14_000;
        self.weather = crate::scenario::Weather::FAIR;
        self.broker.down_until = 0;
        self.store.out_until = 0;
        self.scenario.offset = self.scenario.offset.min(RIGHT_MS.unsigned_abs());
        // Whoever stands still goes on when its time is over: soon enough for what follows.
        for node in self.nodes.values_mut() {
            node.cut_until = 0;
            node.clock.set_right(RIGHT_MS);
        }
        for machine in self.hubs.iter_mut().chain(&mut self.servers) {
            machine.set_right(RIGHT_MS);
        }
        self.let_all_in();
        for machine in 0..self.hubs.len() {
            self.start_hub(machine);
        }
        for machine in 0..self.servers.len() {
            if self.servers[machine].running.is_none() {
                self.start_server(machine);
            }
        }
        for id in self.nodes_of(false) {
            self.gate_input(id, Input::SetState(ServerState::Online));
        }
    }

    /// From the storm's end until everything must have come to rest: two leases, the longest back-off and the longest save.
    pub(crate) const SETTLE: Ms = 30_000;
}
