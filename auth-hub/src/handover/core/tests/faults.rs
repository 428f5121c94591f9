//! What can go wrong in a rig.

use shared_msgs::ids::{Fence, PlayerId, ServerId, TokenHash};
use shared_msgs::messages::{EntryKind, Order, RosterEntry, ServerMessage};

use super::rig::{Packet, Rig};
use crate::fleet::Addressed;

impl Rig {
    /// Nothing reaches this server or comes from it.
    pub(super) fn cut_off(&mut self, server: &str) {
        let server: ServerId = server.parse().unwrap();
        self.wire = Box::new(move |packet| match packet {
            Packet::ToHub(from, _) if from.server == server => vec![],
            Packet::ToServer(order) if order.server == server => vec![],
            _ => vec![0],
        });
    }

    pub(super) fn lose_ends(&mut self) {
        self.wire = Box::new(|packet| match packet {
            Packet::ToServer(Addressed { order: Order::End(_), .. }) => vec![],
            _ => vec![0],
        });
    }

    pub(super) fn lose_grants_to(&mut self, server: &str) {
        let server: ServerId = server.parse().unwrap();
        self.wire = Box::new(move |packet| match packet {
            Packet::ToServer(Addressed { order: Order::Grant(_), server: to, .. }) if *to == server => vec![],
            _ => vec![0],
        });
    }

    /// The wire loses nothing any more.
    pub(super) fn mend(&mut self) {
        self.wire = Box::new(|_| vec![0]);
    }

    /// A change is lost on the way, the next one tells: the server's roster is asked for anew.
    pub(super) fn restart_roster(&mut self, server: &str) {
        let (hash, player) = (TokenHash([0xee; 32]), PlayerId::random(&*self.rng));
        let entry = RosterEntry { hash, player, fence: Fence::ZERO, kind: EntryKind::Live };
        let peer = self.peer(server);
        peer.rev += 2;
        let left = ServerMessage::Left { stamp: peer.stamp(true), entry };
        self.from(server, [left]);
    }

    /// The store does not know anybody for a while.
    pub(super) fn forget_players(&mut self) {
        self.forgotten = std::mem::take(&mut self.players);
    }

    pub(super) fn recall_players(&mut self) {
        self.players = std::mem::take(&mut self.forgotten);
    }
}
