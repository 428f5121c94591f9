//! One live session per account: what is older than the highest fence held or live must end, wherever it is.
//!
//! Ends are owed only after the new server's yes, since only a held or live entry raises the highest fence: nobody loses a
//! session for a place that was not there. Cancelled grants do not count.

use std::collections::{BTreeMap, BTreeSet};

use shared_msgs::clock::Now;
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, Fence, HandoverId, PlayerId, ServerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::{End, Order, RosterEntry, Verdict};
use tracing::{debug, info};

use super::{Alarm, Core, Effect};
use crate::accounts::AccountRow;
use crate::fleet::Freshness;
use crate::handover::ends::{Debt, EndKey};

/// A place that was granted, and is to be ended whatever its server's roster says.
pub(super) struct Taken {
    pub(super) key: EndKey,
    pub(super) boot: BootId,
    pub(super) hash: TokenHash,
}

/// Players asked for at once.
const OWNERS_PER_QUESTION_MAX: usize = 500;

impl Core {
    /// Somebody's entries changed: find out whose they are, then keep that account to one session.
    pub(super) fn on_entries(&mut self, players: &[PlayerId], now: Now, fx: &mut Vec<Effect>) {
        let mut accounts = BTreeSet::new();
        let mut unknown = Vec::new();
        for player in players {
            self.note_entries(*player, now, fx);
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
            // What was in the way of an answer may be gone.
            if let Some(id) = self.granting(account) {
                self.advance(id, now, fx);
            }
        }
    }

    /// An entry of an open grant is the server's yes, though its answer was lost.
    fn note_entries(&mut self, player: PlayerId, now: Now, fx: &mut Vec<Effect>) {
        let mut yes = Vec::new();
        for (server, entry) in self.fleet.entries_of(player) {
            let boot = self.fleet.get(server).map(|view| view.boot);
            let open = self.ledger.get(&entry.hash);
            let open = open.filter(|open| open.server == *server && Some(open.boot) == boot);
            yes.extend(open.map(|open| (server.clone(), open.boot, open.grant.handover, entry.hash)));
        }
        for (server, boot, id, hash) in yes {
            self.on_verdict(&server, boot, id, hash, player, Verdict::Held, now, fx);
        }
    }

    /// The account's handover that has a grant out.
    pub(super) fn granting(&self, account: AccountRow) -> Option<HandoverId> {
        let id = self.lines.get(&account)?.front()?;
        self.attempt(id).map(|_| *id)
    }

    /// The account's entries that count: plausible fences, not cancelled.
    fn entries(&mut self, account: AccountRow, now: Now) -> Vec<(ServerId, RosterEntry)> {
        let Self { people, fleet, ends, fences, .. } = self;
        let all = people.of(account).flat_map(|player| fleet.entries_of(player));
        all.filter(|(_, entry)| !ends.is_cancelled(&entry.hash) && fences.is_plausible(entry.fence, now))
            .map(|(server, entry)| (server.clone(), *entry))
            .collect()
    }

    /// The fence of the account's running attempt, once its server has said yes.
    fn accepted_fence(&self, account: AccountRow) -> Option<Fence> {
        let attempt = self.attempt(&self.granting(account)?)?;
        attempt.yes_at.map(|_| attempt.fence)
    }

    /// Owes an end to every server with something older than the account's newest place.
    pub(super) fn keep_single(&mut self, account: AccountRow, now: Now, fx: &mut Vec<Effect>) {
        let entries = self.entries(account, now);
        // The next fence must be above these. Only of accounts we know: nobody else's entry moves our clock.
        for (_, entry) in &entries {
            self.fences.observe(entry.fence, now);
        }
        let newest = entries.iter().map(|(_, entry)| entry.fence).chain(self.accepted_fence(account)).max();
        // What an operator has ended stays ended, though nothing newer is there.
        let floor = self.floors.get(account).filter(|floor| Some(floor.below) > newest);
        let ended = floor.map(|floor| (floor.below, floor.reason));
        let Some((newest, reason)) = ended.or(newest.map(|newest| (newest, Code::Superseded))) else {
            return;
        };
        self.end_below(account, newest, reason, Vec::new(), now, fx);
        // Something newer than the running attempt has come to light, and the attempt has just been ended: again, above it.
        let outrun = self.granting(account).filter(|id| self.attempt(id).is_some_and(|a| a.fence < newest));
        if let Some(id) = outrun {
            self.start_over(id, now, fx);
        }
    }

    /// Owes ends to every server where the account has an entry or an open grant below a fence, and for what is `taken`. Gives the servers.
    pub(super) fn end_below(
        &mut self,
        account: AccountRow,
        newest: Fence,
        reason: Code,
        taken: Vec<Taken>,
        now: Now,
        fx: &mut Vec<Effect>,
    ) -> Vec<ServerId> {
        self.outdate_prepared(account, newest, reason, now);
        if reason == Code::Superseded {
            self.refuse_outrun(account, newest, now, fx);
        }
        let entries = self.entries(account, now);
        let by = entries.iter().find(|(_, entry)| entry.fence == newest).map(|(_, entry)| entry.hash);
        let by = by.and_then(|hash| self.journal.handover_of(&hash));
        let by = by.or_else(|| {
            self.granting(account).filter(|id| self.attempt(id).is_some_and(|a| a.fence == newest))
        });
        let older = entries.iter().filter(|(_, entry)| entry.fence < newest).map(|(_, entry)| entry.hash);
        let open = self.ledger.of_account(account, newest).map(|open| open.grant.hash);
        for hash in older.chain(open).collect::<Vec<_>>() {
            if let (Some(id), Some(by)) = (self.journal.handover_of(&hash), by) {
                self.journal.superseded(id, by);
            }
        }
        let mut debts: BTreeMap<EndKey, (BootId, BTreeSet<TokenHash>)> = BTreeMap::new();
        for (server, entry) in entries.iter().filter(|(_, entry)| entry.fence < newest) {
            if let Some(view) = self.fleet.get(server) {
                debts.entry((server.clone(), entry.player)).or_insert((view.boot, BTreeSet::new()));
            }
        }
        for Taken { key, boot, hash } in taken {
            debts.entry(key).or_insert((boot, BTreeSet::new())).1.insert(hash);
        }
        // Grants that were answered unconfirmed are on their way to a place of their own: name them, in case the end comes first.
        for open in self.ledger.of_account(account, newest) {
            let debt =
                debts.entry((open.server.clone(), open.grant.player)).or_insert((open.boot, BTreeSet::new()));
            debt.1.insert(open.grant.hash);
        }
        let servers: BTreeSet<ServerId> = debts.keys().map(|(server, _)| server.clone()).collect();
        for (key, (boot, hashes)) in debts {
            let until = now.mono + limits::CLOSED_LIFE;
            for hash in &hashes {
                self.ledger.remove(hash);
                self.timers.cancel(&Alarm::Grant(*hash));
            }
            let hashes = hashes.into_iter().map(|hash| (hash, until)).collect();
            let reason =
                if reason == Code::Superseded { self.reason_to_end(account, &key, newest) } else { reason };
            let debt = Debt { key: key.clone(), boot, account, below: newest, hashes, reason };
            if self.ends.owe(debt) {
                self.send_end(&key, false, now, fx);
            }
        }
        servers.into_iter().collect()
    }

    /// Sends what is owed, and arms the re-send.
    pub(super) fn send_end(&mut self, key: &EndKey, is_again: bool, now: Now, fx: &mut Vec<Effect>) {
        if self.fleet.get(&key.0).is_none() {
            // Forgotten with its whole view; should it come back, its roster tells what is owed.
            debug!(target: "handover", server_id = %key.0, "end.forgotten");
            self.ends.forget(key);
        }
        let Some((boot, end, again)) = self.ends.next_send(key, now.mono) else {
            self.timers.cancel(&Alarm::End(key.clone()));
            return;
        };
        info!(target: "handover", server_id = %key.0, player_id = %key.1, below = %end.below, reason = %end.reason, "end.sent");
        if is_again {
            fx.push(Effect::Resent);
        } else {
            self.note_end(key, &end, now);
        }
        Self::send(&key.0, boot, Order::End(end), fx);
        self.timers.set(Alarm::End(key.clone()), again);
    }

    /// Tells the stories of what an end is about.
    fn note_end(&mut self, key: &EndKey, end: &End, now: Now) {
        let entries = self.fleet.get(&key.0).into_iter().flat_map(|view| view.roster.of_player(key.1));
        let older = entries.filter(|entry| entry.fence < end.below).map(|entry| entry.hash);
        let hashes: BTreeSet<TokenHash> = older.chain(end.hashes.iter().copied()).collect();
        for id in hashes.iter().filter_map(|hash| self.journal.handover_of(hash)).collect::<BTreeSet<_>>() {
            self.journal.step(id, "end.sent", Some(&key.0), Some(end.reason.as_str()), now.unix);
        }
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
