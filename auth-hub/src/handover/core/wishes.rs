//! What operators ask of accounts and servers at once: end, find, the fleet as they see it, a key that is believed no more.
//!
//! Invariants: after an end nothing of the account that is older may live, wherever it comes to light while its floor is remembered, and a
//! banned account's after that as well; an end that could not be given its fence changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use shared_msgs::clock::Now;
use shared_msgs::codes::Code;
use shared_msgs::ids::{Fence, HandoverId, PlayerId, ServerId};
use shared_msgs::messages::EntryKind;
use tracing::{info, warn};

use super::single::Taken;
use super::{Core, Effect};
use crate::accounts::{AccountRow, PlayerRow};
use crate::fleet::{Freshness, News};
use crate::handover::journal::step;
use crate::handover::operations::{EndReport, OperationError, ServerReport, Story, Whereabouts};
use crate::handover::{NoPlace, Refused};

/// Above every fence there is.
const FENCE_MAX: Fence = Fence { hlc: u64::MAX, hub: u16::MAX };

impl Core {
    /// The store's word on who an account is in which realm.
    pub fn learn(&mut self, players: Vec<PlayerRow>) {
        for row in players {
            self.people.learn_row(row);
        }
    }

    /// The account was shut out or ended between its request and our hearing of it.
    pub(super) fn on_barred(
        &mut self,
        id: HandoverId,
        account: AccountRow,
        why: NoPlace,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        self.journal.open(account, id, now.unix);
        step!(info, self, now, id, None, Some(why.code()), "handover.refused");
        fx.push(Effect::Answer { handover: id, answer: Err(Refused { handover: id, why }) });
    }

    /// See [`crate::handover::operations::Operations::end`].
    pub fn end(
        &mut self,
        account: AccountRow,
        reason: Code,
        now: Now,
    ) -> (Result<EndReport, OperationError>, Vec<Effect>) {
        let mut fx = Vec::new();
        let players: Vec<PlayerId> = self.people.of(account).collect();
        let below = match self.raise_floor(account, &players, reason, now) {
            Ok(below) => below,
            Err(error) => return (Err(error), fx),
        };
        let report = self.end_all(account, below, reason, now, &mut fx);
        fx.extend(self.fences.ceiling_to_store(now).map(Effect::StoreCeiling));
        (Ok(report), fx)
    }

    /// The floor of an account that the store calls banned; `None` where an end that this run of ours was asked for has set it: what is
    /// above that may have come in after the ban was lifted.
    pub(super) fn floor_of_banned(
        &mut self,
        account: AccountRow,
        players: &[PlayerId],
        now: Now,
    ) -> Result<Option<Fence>, OperationError> {
        if self.floors.get(account).is_some_and(|floor| floor.reason == Code::Banned) {
            return Ok(None);
        }
        self.raise_floor(account, players, Code::Banned, now).map(Some)
    }

    /// A floor above all that an account has with these players.
    fn raise_floor(
        &mut self,
        account: AccountRow,
        players: &[PlayerId],
        reason: Code,
        now: Now,
    ) -> Result<Fence, OperationError> {
        if !self.floors.has_room(account, now.mono) {
            return Err(OperationError::Busy);
        }
        // As for a grant: above every earlier one of the account, and never above what is stored.
        for (_, entry) in players.iter().flat_map(|player| self.fleet.entries_of(*player)) {
            self.fences.observe(entry.fence, now);
        }
        let below = self.fences.issue(now).ok_or(OperationError::Store)?;
        info!(target: "handover", %below, reason = %reason, "account.ended");
        self.floors.raise(account, below, reason, now.mono);
        Ok(below)
    }

    /// Takes all that an account has below its new floor, under way or in game.
    pub(super) fn end_all(
        &mut self,
        account: AccountRow,
        below: Fence,
        reason: Code,
        now: Now,
        fx: &mut Vec<Effect>,
    ) -> EndReport {
        let why = if reason == Code::Banned { NoPlace::Banned } else { NoPlace::Kicked };
        // The last in line first, so that none of them gets its turn.
        let line: Vec<_> = self.lines.get(&account).into_iter().flatten().rev().copied().collect();
        let mut taken = Vec::new();
        for id in &line {
            // Its entry may not be in our view yet, though its server has said yes.
            taken.extend(self.attempt(id).map(|attempt| Taken {
                key: (attempt.server.clone(), attempt.player),
                boot: attempt.boot,
                hash: attempt.hash,
            }));
            self.answer(*id, Err(why), now, fx);
        }
        taken.extend(self.prepared_token(account));
        self.bar_moves(account, below, reason, now, fx);
        let tickets = self.bar_ticket(account, why, now, fx);
        let servers = self.end_below(account, below, reason, taken, now, fx);
        EndReport { servers, refused: line.len() + tickets }
    }

    /// Where an account is, as far as its servers can be heard; live before held. `players` are the store's word on who it is. They are not
    /// learnt: nothing was said of whether it is banned.
    pub(crate) fn find(&self, account: AccountRow, players: &[PlayerRow], now: Now) -> Vec<Whereabouts> {
        let mut places: BTreeMap<ServerId, Whereabouts> = BTreeMap::new();
        let mut put = |place: Whereabouts| {
            let known = places.entry(place.server.clone()).or_insert_with(|| place.clone());
            if place.is_live && !known.is_live {
                *known = place;
            }
        };
        let stored = players.iter().map(|row| row.player);
        let players: BTreeSet<PlayerId> = self.people.of(account).chain(stored).collect();
        for (server, entry) in players.into_iter().flat_map(|player| self.fleet.entries_of(player)) {
            let is_heard = self.fleet.get(server).is_some_and(|view| view.freshness(now) != Freshness::Lost);
            if is_heard && !self.ends.is_cancelled(&entry.hash) {
                let handover = self.journal.handover_of(&entry.hash);
                put(Whereabouts { server: server.clone(), is_live: entry.kind == EntryKind::Live, handover });
            }
        }
        for open in self.ledger.of_account(account, FENCE_MAX) {
            let handover = Some(open.grant.handover);
            put(Whereabouts { server: open.server.clone(), is_live: false, handover });
        }
        places.into_values().collect()
    }

    /// The whole fleet, by name.
    pub(crate) fn servers(&self, now: Now) -> Vec<ServerReport> {
        let summaries = self.summaries(now).into_iter();
        let report = |summary: crate::fleet::ServerSummary| {
            let view = self.fleet.get(&summary.id)?;
            let (is_drain_ordered, drain_until) = self.standing.drain_of(&summary.id);
            Some(ServerReport {
                occupancy: view.occupancy(),
                load_percent: view.load_percent,
                unanswered: self.ledger.count(&summary.id) + self.ends.of_server(&summary.id).count(),
                drain_until,
                is_drain_ordered,
                name: summary.name,
                region: summary.region,
                build: summary.build,
                state: summary.state,
                server: summary.id,
            })
        };
        summaries.filter_map(report).collect()
    }

    /// An account's last handovers, the newest first.
    pub(crate) fn explain(&self, account: AccountRow) -> Vec<Story> {
        self.journal.explain(account)
    }

    /// A server's keys below this generation are believed no more. One that was heard under such a key is lost at once.
    pub(crate) fn revoke(&mut self, server: &ServerId, lowest_generation: u32, now: Now) -> Vec<Effect> {
        let mut fx = Vec::new();
        if self.fleet.revoke(server, lowest_generation) {
            warn!(target: "handover", server_id = %server, lowest_generation, "server.revoked");
            self.on_news(vec![News::LeaseEnded(server.clone())], now, &mut fx);
        }
        fx
    }
}
