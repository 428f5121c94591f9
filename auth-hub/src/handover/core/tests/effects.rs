//! What the rig holds of every order, and what its store says of who moves.

use std::collections::BTreeMap;

use shared_msgs::limits;
use shared_msgs::messages::Order;

use super::super::{Input, MoveKey, Mover};
use super::rig::{Packet, Rig};
use crate::accounts::AccountRow;
use crate::fleet::Addressed;

impl Rig {
    pub(super) fn on_find_mover(&mut self, mover: MoveKey, account: AccountRow) {
        let players = self.players.iter().filter(|((of, _), _)| *of == account);
        let players = players.map(|((_, realm), player)| self.row(account, realm, *player)).collect();
        let may_play = !self.banned.contains(&account);
        let found = Mover { name: "Ann".into(), may_play, players };
        let found = self.store_works.then_some(found);
        self.fly(Packet::Stored(Input::Mover { mover, found }));
    }

    /// What is counted of moves, against what there is.
    pub(super) fn check_moves(&self) {
        let (core, moves) = (&self.core, &self.core.moves);
        if moves.is_untouched() {
            return;
        }
        let running = core.running.values().filter_map(|handover| handover.carries.as_deref());
        let carried = running.chain(moves.prepared.values().map(|prepared| &prepared.carried));
        let carried = carried.map(|carried| (&carried.key.server, carried.luggage.len()));
        let looking_up = moves.looking_up().iter().map(|(key, l)| (&key.server, l.asked.luggage.len()));
        let (mut under_way, mut bytes) = (BTreeMap::<_, usize>::new(), 0);
        for (server, luggage) in carried.chain(looking_up) {
            *under_way.entry(server.clone()).or_default() += 1;
            bytes += luggage;
        }
        assert_eq!((moves.under_way(), moves.luggage_bytes()), (under_way, bytes), "counts of moves");
        core.ledger.luggage_bytes();
    }

    /// A grant goes first only to a server whose probe came back within a lease, and with a fence that was stored.
    pub(super) fn check_send(&mut self, Addressed { server, boot, order }: &Addressed) {
        match order {
            Order::Probe { n, .. } => {
                self.probes.insert(*n, self.now.mono);
            }
            Order::Grant(grant) if self.granted.insert(grant.hash) => {
                let fresh = self.fresh.get(&(server.clone(), *boot));
                let is_fresh = fresh.is_some_and(|at| self.now.mono.since(*at) < limits::LEASE);
                assert!(is_fresh, "placed on {server}, which is not fresh: {fresh:?} at {:?}", self.now.mono);
                assert!(
                    self.core.fleet.get(server).unwrap().roster.is_known(),
                    "placed on an unknown roster"
                );
                assert!(grant.fence.hlc <= self.ceiling, "a fence above the stored ceiling");
            }
            _ => {}
        }
    }
}
