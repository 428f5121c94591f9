//! One live session per account: what is older than the highest fence held or live must end, wherever it is.
//!
//! Ends are owed only after the new server's yes, since only a held or live entry raises the highest fence: nobody loses a
//! session for a place that was not there. Cancelled grants do not count.

use std::collections::{BTreeMap, BTreeSet};

use shared_msgs::clock::Now;
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, Fence, PlayerId, ServerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::{Order, RosterEntry};
use tracing::{debug, info};

use super::{Alarm, Core, Effect, Stage};
use crate::accounts::AccountRow;
use crate::fleet::Freshness;
use crate::handover::ends::{Debt, EndKey};

/// Players asked for at once.
const OWNERS_PER_QUESTION_MAX: usize = 500;

impl Core {
    /// Somebody's entries changed: find out whose they are, then keep that account to one session.
    pub(super) fn on_entries(&mut self, players: &[PlayerId], now: Now, fx: &mut Vec<Effect>) {
        let mut accounts = BTreeSet::new();
        let mut unknown = Vec::new();
        for player in players {
            match self.people.owner(*player) {
                Some(account) => {
                    accounts.insert(account);
                }
                None if self.people.must_ask(*player) => unknown.push(*player),
                None => {}
            }
        }
        for chunk in unknown.chunks(OWNERS_PER_QUESTION_MAX) {
            fx.push(Effect::FindOwners(chunk.to_vec()));
        }
        for account in accounts {
            self.keep_single(account, now, fx);
        }
    }

    /// The account's entries that count: plausible fences, not cancelled.
    fn entries(&self, account: AccountRow, now: Now) -> Vec<(ServerId, RosterEntry)> {
        let all = self.people.of(account).flat_map(|player| self.fleet.entries_of(player));
        all.filter(|(_, entry)| {
            !self.ends.is_cancelled(&entry.hash) && entry.fence.unix() <= now.unix + limits::FENCE_AHEAD_MAX
        })
        .map(|(server, entry)| (server.clone(), *entry))
        .collect()
    }

    /// The fence of the account's running attempt, once its server has said yes.
    fn accepted_fence(&self, account: AccountRow) -> Option<Fence> {
        let id = self.lines.get(&account)?.front()?;
        match &self.running.get(id)?.stage {
            Stage::Granting(attempt) if attempt.yes_at.is_some() => Some(attempt.fence),
            _ => None,
        }
    }

    /// Owes an end to every server with something older than the account's newest place.
    pub(super) fn keep_single(&mut self, account: AccountRow, now: Now, fx: &mut Vec<Effect>) {
        let entries = self.entries(account, now);
        let newest = entries.iter().map(|(_, entry)| entry.fence).chain(self.accepted_fence(account)).max();
        let Some(newest) = newest else { return };
        let mut debts: BTreeMap<EndKey, (BootId, Vec<TokenHash>)> = BTreeMap::new();
        for (server, entry) in entries.iter().filter(|(_, entry)| entry.fence < newest) {
            if let Some(view) = self.fleet.get(server) {
                debts.entry((server.clone(), entry.player)).or_insert((view.boot, Vec::new()));
            }
        }
        // Grants that were answered unconfirmed are on their way to a place of their own: name them, in case the end comes first.
        for open in self.ledger.of_account(account, newest) {
            let debt =
                debts.entry((open.server.clone(), open.grant.player)).or_insert((open.boot, Vec::new()));
            debt.1.push(open.grant.hash);
        }
        for (key, (boot, hashes)) in debts {
            let until = now.mono + limits::CLOSED_LIFE;
            for hash in &hashes {
                self.ledger.remove(hash);
                self.timers.cancel(&Alarm::Grant(*hash));
            }
            let hashes = hashes.into_iter().map(|hash| (hash, until)).collect();
            let debt =
                Debt { key: key.clone(), boot, account, below: newest, hashes, reason: Code::Superseded };
            if self.ends.owe(debt) {
                self.send_end(&key, false, now, fx);
            }
        }
    }

    /// Sends what is owed, and arms the re-send.
    pub(super) fn send_end(&mut self, key: &EndKey, is_again: bool, now: Now, fx: &mut Vec<Effect>) {
        let Some((boot, end, again)) = self.ends.to_send(key, now.mono) else {
            self.timers.cancel(&Alarm::End(key.clone()));
            return;
        };
        if self.fleet.get(&key.0).is_none() {
            // Forgotten with its whole view; should it come back, its roster tells what is owed.
            debug!(target: "handover", server_id = %key.0, "end.held_back");
        } else {
            info!(target: "handover", server_id = %key.0, player_id = %key.1, below = %end.below, reason = %end.reason, "end.sent");
            if is_again {
                fx.push(Effect::Resent);
            }
            self.send(&key.0, boot, Order::End(end), fx);
        }
        self.timers.set(Alarm::End(key.clone()), again);
    }

    pub(super) fn on_ended(
        &mut self,
        key: &EndKey,
        boot: BootId,
        below: Fence,
        hashes: &[TokenHash],
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        if self.ends.on_ended(key, boot, below, hashes, now.mono) {
            info!(target: "handover", server_id = %key.0, player_id = %key.1, "end.answered");
            self.timers.cancel(&Alarm::End(key.clone()));
        }
        let account = self.people.owner(key.1);
        let first = account.and_then(|account| self.lines.get(&account)?.front().copied());
        if let Some(id) = first {
            self.advance(id, now, fx);
        }
    }

    /// Whether some server that can still answer has not yet said that the account's older sessions are over.
    pub(super) fn waits_for_ends(&self, account: AccountRow, now: Now) -> bool {
        self.ends
            .sessions_owed(account)
            .any(|(server, _)| self.fleet.get(server).is_some_and(|v| v.freshness(now) != Freshness::Lost))
    }

    /// Whether anything of the account older than `fence` may live: then nothing is answered unconfirmed.
    pub(super) fn has_older(&self, account: AccountRow, fence: Fence) -> bool {
        let entries = self.people.of(account).flat_map(|player| self.fleet.entries_of(player));
        let mut live = entries.filter(|(_, entry)| !self.ends.is_cancelled(&entry.hash));
        live.any(|(_, entry)| entry.fence < fence) || self.ledger.of_account(account, fence).next().is_some()
    }
}
