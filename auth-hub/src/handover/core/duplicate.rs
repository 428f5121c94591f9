//! Who is logged in twice: under `refuse`, a second login waits outside until the first session is over.
//!
//! Owns the policy and what counts as a session. Knows rosters, the ledger and the account's line. Invariants: an account's handovers come
//! here one after the other, so of two at once one wins; what no client was told of, and what is on a server that is not heard, is no session.

use serde::{Deserialize, Serialize};
use shared_msgs::clock::Now;
use shared_msgs::ids::{BootId, Fence, ServerId};

use super::{Core, Handover};
use crate::fleet::Freshness;

/// What a login does to a session of the same account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duplicate {
    /// It ends it, once the new place is certain.
    #[default]
    NewestWins,
    /// It is refused while the session is alive.
    Refuse,
}

/// Above every fence.
const FENCE_MAX: Fence = Fence { hlc: u64::MAX, hub: u16::MAX };

impl Core {
    /// With this policy; without it, the newest wins.
    #[must_use]
    pub fn with_duplicates(self, duplicates: Duplicate) -> Self {
        Self { duplicates, ..self }
    }

    /// Whether this handover is to be refused: its account has a session, or a place that a client was told of. Who names the server
    /// that has it wants to be back there, and may.
    pub(super) fn is_duplicate(&self, handover: &Handover, now: Now) -> bool {
        if self.duplicates == Duplicate::NewestWins {
            return false;
        }
        let account = handover.request.account;
        let counts = |server: &ServerId, boot: Option<BootId>| {
            handover.request.server.as_ref() != Some(server)
                && self.fleet.get(server).is_some_and(|view| {
                    view.freshness(now) == Freshness::Fresh && boot.is_none_or(|boot| boot == view.boot)
                })
        };
        let mut entries = self.people.of(account).flat_map(|player| self.fleet.entries_of(player));
        let is_there =
            entries.any(|(server, entry)| !self.ends.is_cancelled(&entry.hash) && counts(server, None));
        // Answered to a client without the server's yes: it may be on its way there.
        is_there
            || self.ledger.of_account(account, FENCE_MAX).any(|open| {
                !self.running.contains_key(&open.grant.handover)
                    && now.unix < open.grant.expires_at
                    && counts(&open.server, Some(open.boot))
            })
    }
}
