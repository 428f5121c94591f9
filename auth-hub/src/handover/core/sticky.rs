//! Where a player was last: noted when they are in game, preferred the next time.
//!
//! Knows entries of rosters and what the store said. Invariant: it orders equals and decides nothing else, so it may be old or missing.

use shared_msgs::ids::{PlayerId, ServerId};
use shared_msgs::messages::EntryKind;

use super::{Core, Effect};
use crate::handover::HandoverRequest;

impl Core {
    /// Servers that this player was on last, one in each realm; none for who does not care.
    pub(super) fn last_servers(&self, request: &HandoverRequest) -> Vec<&ServerId> {
        if !self.placement.sticky || !request.is_sticky || request.server.is_some() {
            return Vec::new();
        }
        self.people.of(request.account).filter_map(|player| self.people.last_server(player)).collect()
    }

    /// Remembers where a player is in game now, and has it stored if that is news.
    pub(super) fn note_last_server(&mut self, player: PlayerId, fx: &mut Vec<Effect>) {
        let live = self.fleet.entries_of(player).filter(|(_, entry)| entry.kind == EntryKind::Live);
        let Some((server, _)) = live.max_by_key(|(_, entry)| entry.fence) else { return };
        if self.people.is_elsewhere(player, server) {
            let server = server.clone();
            self.people.note_last_server(player, server.clone());
            fx.push(Effect::StoreLastServer { player, server });
        }
    }
}
