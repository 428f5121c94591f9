//! Ends the hub owes: each is sent again until the server has answered or a new boot has made it moot.
//!
//! A cancelled grant is an end with its hash alone. Invariant: an end that was answered is not owed again for the same boot.

use std::collections::BTreeMap;

use shared_msgs::clock::Mono;
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, Fence, PlayerId, ServerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::End;

use super::grants::Resend;
use crate::accounts::AccountRow;

/// Who owes nothing below which fence where.
pub(crate) type EndKey = (ServerId, PlayerId);

/// What a server must end for one player.
#[derive(Debug)]
pub(crate) struct Owed {
    pub(crate) boot: BootId,
    pub(crate) account: AccountRow,
    /// [`Fence::ZERO`] when only hashes are to go.
    pub(crate) below: Fence,
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
    settled: BTreeMap<EndKey, Settled>,
    /// Hashes taken back: an entry of one that still shows in a roster counts for nothing.
    dead: BTreeMap<TokenHash, Mono>,
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
        let done =
            self.settled.get(&debt.key).filter(|s| s.boot == debt.boot).map_or(Fence::ZERO, |s| s.below);
        if debt.below <= done && debt.hashes.is_empty() {
            return false;
        }
        let owed = self.owed.entry(debt.key).or_insert_with(|| Owed {
            boot: debt.boot,
            account: debt.account,
            below: Fence::ZERO,
            hashes: BTreeMap::new(),
            reason: debt.reason,
            resend: Resend::new(),
        });
        let before = (owed.below, owed.hashes.len());
        if debt.below > owed.below {
            owed.below = debt.below;
            owed.reason = debt.reason;
        }
        self.dead.extend(debt.hashes.iter().copied());
        owed.hashes.extend(debt.hashes);
        let is_new = before != (owed.below, owed.hashes.len());
        if is_new {
            owed.resend = Resend::new();
        }
        is_new
    }

    /// The message, and when to send it again; drops hashes whose time is over. `None` when nothing is owed any more.
    pub(crate) fn to_send(&mut self, key: &EndKey, now: Mono) -> Option<(BootId, End, Mono)> {
        let owed = self.owed.get_mut(key)?;
        owed.hashes.retain(|_, until| now < *until);
        if owed.below == Fence::ZERO && owed.hashes.is_empty() {
            self.owed.remove(key);
            return None;
        }
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
        let settled =
            self.settled.entry(key.clone()).or_insert(Settled { boot, below: Fence::ZERO, until: now });
        if settled.boot != boot {
            *settled = Settled { boot, below: Fence::ZERO, until: now };
        }
        settled.below = settled.below.max(below);
        settled.until = now + limits::CLOSED_LIFE;
        let Some(owed) = self.owed.get_mut(key).filter(|owed| owed.boot == boot) else { return false };
        hashes.iter().for_each(|hash| {
            owed.hashes.remove(hash);
        });
        if below >= owed.below {
            owed.below = Fence::ZERO;
        }
        let done = owed.below == Fence::ZERO && owed.hashes.is_empty();
        if done {
            self.owed.remove(key);
        }
        done
    }

    /// A refusal of its grant has closed this hash.
    pub(crate) fn on_hash_closed(&mut self, key: &EndKey, hash: &TokenHash) {
        if let Some(owed) = self.owed.get_mut(key) {
            owed.hashes.remove(hash);
        }
    }

    /// Forgets what was owed to an earlier boot. Gives the keys, for their timers.
    pub(crate) fn on_new_boot(&mut self, server: &ServerId, boot: BootId) -> Vec<EndKey> {
        let keys: Vec<EndKey> = self.of_server(server).cloned().collect();
        let stale = keys.into_iter().filter(|key| self.owed.get(key).is_some_and(|o| o.boot != boot));
        let stale: Vec<EndKey> = stale.collect();
        stale.iter().for_each(|key| {
            self.owed.remove(key);
        });
        stale
    }

    pub(crate) fn of_server<'a>(&'a self, server: &'a ServerId) -> impl Iterator<Item = &'a EndKey> {
        let from = (server.clone(), PlayerId([0; 16]));
        self.owed.range(from..).map(|(key, _)| key).take_while(move |key| key.0 == *server)
    }

    /// Slots of a server whose cancelled grants may still be held.
    pub(crate) fn cancels(&self, server: &ServerId) -> usize {
        self.of_server(server).filter_map(|key| self.owed.get(key)).map(|owed| owed.hashes.len()).sum()
    }

    pub(crate) fn is_cancelled(&self, hash: &TokenHash) -> bool {
        self.dead.contains_key(hash)
    }

    /// Servers that still owe an account their answer about sessions below a fence.
    pub(crate) fn sessions_owed(&self, account: AccountRow) -> impl Iterator<Item = &EndKey> {
        self.owed
            .iter()
            .filter(move |(_, owed)| owed.account == account && owed.below > Fence::ZERO)
            .map(|(key, _)| key)
    }

    /// Forgets answers old enough.
    pub(crate) fn prune(&mut self, now: Mono) {
        self.settled.retain(|_, settled| now < settled.until);
        self.dead.retain(|_, until| now < *until);
    }
}
