//! Ends the hub owes: each is sent again until the server has answered or a new boot has made it moot.
//!
//! A cancelled grant is an end with its hash alone. Invariant: an end that was answered is not owed again for the same boot.

use std::collections::{BTreeMap, BTreeSet};

use shared_msgs::clock::Mono;
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, Fence, PlayerId, ServerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::{End, RosterEntry};

use super::grants::Resend;
use crate::accounts::AccountRow;

/// Who owes nothing below which fence where.
pub(crate) type EndKey = (ServerId, PlayerId);

/// What a server must end for one player.
#[derive(Debug)]
struct Owed {
    boot: BootId,
    account: AccountRow,
    /// [`Fence::ZERO`] when only hashes are to go.
    below: Fence,
    /// Each with the time after which it cannot live any more anyway.
    hashes: BTreeMap<TokenHash, Mono>,
    reason: Code,
    resend: Resend,
}

#[derive(Debug)]
struct Settled {
    boot: BootId,
    below: Fence,
    until: Mono,
}

/// All that is owed, and what lately was.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    owed: BTreeMap<EndKey, Owed>,
    /// The keys of `owed`, by account.
    by_account: BTreeMap<AccountRow, BTreeSet<EndKey>>,
    /// How many hashes `owed` has, by server.
    cancels: BTreeMap<ServerId, usize>,
    settled: BTreeMap<EndKey, Settled>,
    /// Hashes taken back: an entry of one that still shows in a roster counts for nothing.
    dead: BTreeMap<TokenHash, (EndKey, Mono)>,
}

/// Something to end.
pub(crate) struct Debt {
    pub(crate) key: EndKey,
    pub(crate) boot: BootId,
    pub(crate) account: AccountRow,
    pub(crate) below: Fence,
    pub(crate) hashes: Vec<(TokenHash, Mono)>,
    pub(crate) reason: Code,
}

impl Ends {
    /// Adds to what is owed. True when the server must be told: something is new.
    pub(crate) fn owe(&mut self, debt: Debt) -> bool {
        let Debt { key, boot, account, below, hashes, reason } = debt;
        let done = self.settled.get(&key).filter(|s| s.boot == boot).map_or(Fence::ZERO, |s| s.below);
        let below = if below <= done { Fence::ZERO } else { below };
        if below == Fence::ZERO && hashes.is_empty() {
            return false;
        }
        self.dead.extend(hashes.iter().map(|(hash, until)| (*hash, (key.clone(), *until))));
        self.by_account.entry(account).or_default().insert(key.clone());
        self.owed.entry(key.clone()).or_insert_with(|| Owed {
            boot,
            account,
            below: Fence::ZERO,
            hashes: BTreeMap::new(),
            reason,
            resend: Resend::new(),
        });
        let mut is_new = false;
        self.change(&key, |owed| {
            let before = (owed.below, owed.hashes.len());
            if below > owed.below {
                owed.below = below;
                owed.reason = reason;
            }
            owed.hashes.extend(hashes);
            is_new = before != (owed.below, owed.hashes.len());
            if is_new {
                owed.resend = Resend::new();
            }
        });
        is_new
    }

    /// Changes what is owed, keeps the counts, and drops what is owed no more. True when nothing is left for this key.
    fn change(&mut self, key: &EndKey, change: impl FnOnce(&mut Owed)) -> bool {
        let Some(owed) = self.owed.get_mut(key) else { return true };
        let before = owed.hashes.len();
        change(owed);
        let (after, account) = (owed.hashes.len(), owed.account);
        let is_empty = owed.below == Fence::ZERO && owed.hashes.is_empty();
        let cancels = self.cancels.entry(key.0.clone()).or_default();
        *cancels = *cancels + after - before;
        if *cancels == 0 {
            self.cancels.remove(&key.0);
        }
        if is_empty {
            self.owed.remove(key);
            let keys = self.by_account.entry(account).or_default();
            keys.remove(key);
            if keys.is_empty() {
                self.by_account.remove(&account);
            }
        }
        is_empty
    }

    /// The message, and when to send it again; drops hashes whose time is over. `None` when nothing is owed any more.
    pub(crate) fn next_send(&mut self, key: &EndKey, now: Mono) -> Option<(BootId, End, Mono)> {
        self.change(key, |owed| owed.hashes.retain(|_, until| now < *until));
        let owed = self.owed.get_mut(key)?;
        let end = End {
            player: key.1,
            below: owed.below,
            hashes: owed.hashes.keys().take(limits::END_HASHES_MAX).copied().collect(),
            reason: owed.reason,
            save_within_ms: u32::try_from(limits::SAVE_TIME.as_millis()).unwrap_or(u32::MAX),
        };
        Some((owed.boot, end, owed.resend.after(now)))
    }

    /// The server has answered. True when nothing is left for this key.
    pub(crate) fn on_ended(
        &mut self,
        key: &EndKey,
        boot: BootId,
        below: Fence,
        hashes: &[TokenHash],
        now: Mono,
    ) -> bool {
        // Only what was asked is noted, or a server could fill our memory with answers.
        if self.owed.get(key).is_none_or(|owed| owed.boot != boot) {
            return false;
        }
        let settled = Settled { boot, below, until: now + limits::CLOSED_LIFE };
        let known = self.settled.get(key).filter(|known| known.boot == boot).map(|known| known.below);
        let below = known.max(Some(below)).unwrap_or_default();
        self.settled.insert(key.clone(), Settled { below, ..settled });
        self.change(key, |owed| {
            for hash in hashes {
                owed.hashes.remove(hash);
            }
            if below >= owed.below {
                owed.below = Fence::ZERO;
            }
        })
    }

    /// A refusal of its grant has closed this hash.
    pub(crate) fn on_hash_closed(&mut self, key: &EndKey, hash: &TokenHash) {
        self.change(key, |owed| {
            owed.hashes.remove(hash);
        });
    }

    /// Forgets what was owed to an earlier boot. Gives the keys, for their timers.
    pub(crate) fn on_new_boot(&mut self, server: &ServerId, boot: BootId) -> Vec<EndKey> {
        let keys: Vec<EndKey> = self.of_server(server).cloned().collect();
        let stale = keys.into_iter().filter(|key| self.owed.get(key).is_some_and(|o| o.boot != boot));
        let stale: Vec<EndKey> = stale.collect();
        for key in &stale {
            self.forget(key);
        }
        stale
    }

    /// Nothing of this is owed any more.
    pub(crate) fn forget(&mut self, key: &EndKey) {
        self.change(key, |owed| {
            owed.below = Fence::ZERO;
            owed.hashes.clear();
        });
    }

    /// (server, player) pairs that have not answered.
    pub(crate) fn len(&self) -> usize {
        self.owed.len()
    }

    pub(crate) fn of_server<'a>(&'a self, server: &'a ServerId) -> impl Iterator<Item = &'a EndKey> {
        let from = (server.clone(), PlayerId([0; 16]));
        self.owed.range(from..).map(|(key, _)| key).take_while(move |key| key.0 == *server)
    }

    /// Slots of a server whose cancelled grants may still be held.
    pub(crate) fn cancels(&self, server: &ServerId) -> usize {
        self.cancels.get(server).copied().unwrap_or_default()
    }

    /// How many of them are one player's.
    pub(crate) fn cancels_of(&self, key: &EndKey) -> usize {
        self.owed.get(key).map_or(0, |owed| owed.hashes.len())
    }

    /// Whether this server's run was told to end what is below a fence above this one, whatever its roster shows still.
    pub(crate) fn is_over(&self, key: &EndKey, boot: BootId, fence: Fence) -> bool {
        let owed = self.owed.get(key).filter(|owed| owed.boot == boot).map(|owed| owed.below);
        let settled =
            self.settled.get(key).filter(|settled| settled.boot == boot).map(|settled| settled.below);
        owed.max(settled).is_some_and(|below| fence < below)
    }

    /// Why this is to end, if it is.
    pub(crate) fn reason_for(&self, key: &EndKey, entry: &RosterEntry) -> Option<Code> {
        let owed = self.owed.get(key)?;
        (entry.fence < owed.below || owed.hashes.contains_key(&entry.hash)).then_some(owed.reason)
    }

    pub(crate) fn is_cancelled(&self, hash: &TokenHash) -> bool {
        self.dead.contains_key(hash)
    }

    /// Servers that still owe an account their answer about sessions below a fence.
    pub(crate) fn sessions_owed(&self, account: AccountRow) -> impl Iterator<Item = &EndKey> {
        let keys = self.by_account.get(&account).into_iter().flatten();
        keys.filter(|key| self.owed.get(key).is_some_and(|owed| owed.below > Fence::ZERO))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.owed.is_empty() && self.by_account.is_empty() && self.cancels.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.settled.len() + self.dead.len()
    }

    /// Forgets answers old enough, and hashes taken back once nothing `shows` them any more.
    pub(crate) fn prune(&mut self, now: Mono, shows: impl Fn(&EndKey, &TokenHash) -> bool) {
        self.settled.retain(|_, settled| now < settled.until);
        self.dead.retain(|hash, (key, until)| now < *until || shows(key, hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared_msgs::clock::UnixMs;

    fn debt(boot: u64, below: u64, hashes: &[u8]) -> Debt {
        Debt {
            key: ("a".parse().unwrap(), PlayerId([1; 16])),
            boot: BootId { started: UnixMs(boot), random: 0 },
            account: AccountRow::from_raw(1),
            below: Fence { hlc: below, hub: 0 },
            hashes: hashes.iter().map(|n| (TokenHash([*n; 32]), Mono(100))).collect(),
            reason: Code::Superseded,
        }
    }

    fn answer(ends: &mut Ends, to: &Debt) -> bool {
        let hashes: Vec<TokenHash> = to.hashes.iter().map(|(hash, _)| *hash).collect();
        ends.on_ended(&to.key, to.boot, to.below, &hashes, Mono(1))
    }

    #[test]
    fn what_was_answered_is_owed_again_only_to_another_boot() {
        let mut ends = Ends::default();
        assert!(ends.owe(debt(1, 5, &[])) && !ends.owe(debt(1, 5, &[])));
        assert!(!answer(&mut ends, &debt(2, 5, &[])), "another boot answered");
        assert!(answer(&mut ends, &debt(1, 5, &[])) && ends.is_empty());
        assert!(ends.owe(debt(1, 0, &[1])) && answer(&mut ends, &debt(1, 0, &[1])), "a hash alone");
        assert!(!ends.owe(debt(1, 5, &[])) && !ends.owe(debt(1, 4, &[])));
        assert!(ends.owe(debt(1, 6, &[])));
        assert_eq!(ends.on_new_boot(&"a".parse().unwrap(), debt(2, 0, &[]).boot).len(), 1);
        assert!(ends.is_empty() && ends.owe(debt(2, 5, &[])));
    }

    #[test]
    fn what_is_below_an_end_is_over_on_that_boot_whether_or_not_the_server_has_answered() {
        let mut ends = Ends::default();
        let (key, boot) = (debt(1, 0, &[]).key, debt(1, 0, &[]).boot);
        let fence = |hlc| Fence { hlc, hub: 0 };
        ends.owe(debt(1, 5, &[]));
        for is_answered in [false, true] {
            assert_eq!(answer(&mut ends, &debt(1, if is_answered { 5 } else { 0 }, &[])), is_answered);
            assert!(ends.is_over(&key, boot, fence(4)) && !ends.is_over(&key, boot, fence(5)));
            assert!(!ends.is_over(&key, debt(2, 0, &[]).boot, fence(4)), "of another boot");
        }
        ends.owe(debt(1, 0, &[1]));
        assert!(!ends.is_over(&key, boot, fence(5)), "a hash alone ends no session");
    }

    #[test]
    fn the_reason_is_that_of_the_highest_fence_and_an_equal_one_does_not_change_it() {
        let mut ends = Ends::default();
        let owed = [(5, Code::Superseded, Code::Superseded), (5, Code::Cancelled, Code::Superseded)];
        for (below, reason, told) in owed.into_iter().chain([(6, Code::Banned, Code::Banned)]) {
            ends.owe(Debt { reason, ..debt(1, below, &[1]) });
            let (_, end, _) = ends.next_send(&debt(1, 0, &[]).key, Mono(0)).unwrap();
            assert_eq!(end.reason, told);
        }
    }

    #[test]
    fn answers_and_dead_hashes_are_forgotten_when_their_time_is_over_and_nothing_shows_them() {
        let mut ends = Ends::default();
        ends.owe(debt(1, 5, &[1]));
        answer(&mut ends, &debt(1, 5, &[1]));
        let later = Mono(1) + limits::CLOSED_LIFE;
        let just_before = Mono(later.0 - 1);
        for (now, is_shown, left) in [
            (Mono(99), false, 2),
            (Mono(100), true, 2),
            (Mono(100), false, 1),
            (just_before, false, 1),
            (later, false, 0),
        ] {
            ends.prune(now, |_, _| is_shown);
            assert_eq!(ends.remembered(), left, "{now:?}");
        }
    }

    #[test]
    fn an_answer_nobody_asked_for_leaves_no_trace() {
        let mut ends = Ends::default();
        assert!(!answer(&mut ends, &debt(1, 5, &[1])));
        assert_eq!(ends.remembered(), 0);
    }

    #[test]
    fn the_counts_follow_what_is_owed_whatever_takes_it_away() {
        let mut ends = Ends::default();
        let (server, key) = ("a".parse().unwrap(), debt(1, 0, &[]).key);
        ends.owe(debt(1, 5, &[1, 2, 3, 4]));
        assert_eq!((ends.cancels(&server), ends.cancels_of(&key)), (4, 4));
        assert!(!answer(&mut ends, &debt(1, 5, &[1])), "three are left");
        ends.on_hash_closed(&key, &TokenHash([2; 32]));
        assert_eq!((ends.cancels(&server), ends.sessions_owed(AccountRow::from_raw(1)).count()), (2, 0));
        let (_, end, again) = ends.next_send(&key, Mono(99)).unwrap();
        assert_eq!((end.hashes.len(), end.below, again), (2, Fence::ZERO, Mono(599)));
        assert!(ends.next_send(&key, Mono(100)).is_none(), "their time is over");
        assert!(ends.is_empty());
    }

    #[test]
    fn one_message_names_a_bounded_number_of_hashes_and_the_next_the_rest() {
        let mut ends = Ends::default();
        let all: Vec<u8> = (0..=64).collect();
        ends.owe(debt(1, 0, &all));
        let (_, first, _) = ends.next_send(&debt(1, 0, &[]).key, Mono(0)).unwrap();
        assert_eq!(first.hashes.len(), limits::END_HASHES_MAX);
        assert!(!answer(&mut ends, &debt(1, 0, &all[..64])));
        let (_, rest, _) = ends.next_send(&debt(1, 0, &[]).key, Mono(0)).unwrap();
        assert_eq!(rest.hashes, [TokenHash([64; 32])]);
    }
}
