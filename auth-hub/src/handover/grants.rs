//! The grant ledger: grants that a server has not answered yet. They count as taken slots and are sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared_msgs::clock::Mono;
use shared_msgs::ids::{BootId, Fence, PlayerId, ServerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::link::OUTBOX_BYTES_MAX;
use shared_msgs::messages::Grant;

use crate::accounts::AccountRow;
use crate::fleet::{BACKLOG_GRANTS, Pressure};

/// Luggage in grants on their way, to all servers together. Each is sent five times within the ten seconds after which a link that does not
/// move is given up; the rest of the outbox is for what the other servers are told.
pub(crate) const LUGGAGE_ON_ITS_WAY_MAX: usize = 1 << 20;
const _: () = assert!(6 * LUGGAGE_ON_ITS_WAY_MAX <= OUTBOX_BYTES_MAX);

/// The doubling pause between re-sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resend {
    pause: Duration,
}

impl Resend {
    pub(crate) const fn new() -> Self {
        Self { pause: limits::RESEND_FIRST }
    }

    /// When to send again after having sent at `now`.
    pub(crate) fn after(&mut self, now: Mono) -> Mono {
        let at = now + self.pause;
        self.pause = (self.pause * 2).min(limits::RESEND_MAX);
        at
    }
}

/// A grant on its way.
#[derive(Debug, Clone)]
pub(crate) struct OpenGrant {
    pub(crate) server: ServerId,
    pub(crate) boot: BootId,
    pub(crate) account: AccountRow,
    pub(crate) grant: Grant,
    pub(crate) sent_at: Mono,
    /// After this it can neither be taken nor still be held, whatever the clocks.
    pub(crate) void_at: Mono,
    pub(crate) resend: Resend,
}

/// What one server has not answered.
#[derive(Debug, Default)]
struct Backlog {
    hashes: BTreeSet<TokenHash>,
    pressure: Pressure,
}

impl Backlog {
    /// After a change.
    fn weigh(&mut self) {
        let grants = u32::try_from(self.hashes.len()).unwrap_or(u32::MAX);
        self.pressure = BACKLOG_GRANTS.next(self.pressure, grants);
    }
}

/// Unanswered grants.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    by_hash: BTreeMap<TokenHash, OpenGrant>,
    by_server: BTreeMap<ServerId, Backlog>,
    by_account: BTreeMap<AccountRow, BTreeSet<TokenHash>>,
    /// Servers whose backlog was too long and is no more.
    eased: BTreeSet<ServerId>,
    luggage_bytes: usize,
    /// Whether half of the luggage that may be on its way has been taken.
    is_lightened: bool,
}

impl Ledger {
    pub(crate) fn len(&self) -> usize {
        self.by_hash.len()
    }

    pub(crate) fn insert(&mut self, open: OpenGrant) {
        let hash = open.grant.hash;
        self.luggage_bytes += open.grant.luggage.len();
        let backlog = self.by_server.entry(open.server.clone()).or_default();
        backlog.hashes.insert(hash);
        backlog.weigh();
        self.by_account.entry(open.account).or_default().insert(hash);
        self.by_hash.insert(hash, open);
    }

    pub(crate) fn get(&self, hash: &TokenHash) -> Option<&OpenGrant> {
        self.by_hash.get(hash)
    }

    pub(crate) fn get_mut(&mut self, hash: &TokenHash) -> Option<&mut OpenGrant> {
        self.by_hash.get_mut(hash)
    }

    pub(crate) fn remove(&mut self, hash: &TokenHash) -> Option<OpenGrant> {
        let open = self.by_hash.remove(hash)?;
        let before = self.luggage_bytes;
        self.luggage_bytes -= open.grant.luggage.len();
        self.is_lightened |=
            [before, self.luggage_bytes].map(|n| n > LUGGAGE_ON_ITS_WAY_MAX / 2) == [true, false];
        if let Some(backlog) = self.by_server.get_mut(&open.server) {
            backlog.hashes.remove(hash);
            let before = backlog.pressure;
            backlog.weigh();
            if before == Pressure::Overloaded && backlog.pressure < before {
                self.eased.insert(open.server.clone());
            }
            if backlog.hashes.is_empty() {
                self.by_server.remove(&open.server);
            }
        }
        if let Some(hashes) = self.by_account.get_mut(&open.account) {
            hashes.remove(hash);
            if hashes.is_empty() {
                self.by_account.remove(&open.account);
            }
        }
        Some(open)
    }

    /// Whether so much more luggage may go on its way. What is alone always may.
    pub(crate) fn has_room_for_luggage(&self, bytes: usize) -> bool {
        self.luggage_bytes == 0 || self.luggage_bytes + bytes <= LUGGAGE_ON_ITS_WAY_MAX
    }

    /// Whether half of the luggage was taken since this was last asked.
    pub(crate) fn take_lightened(&mut self) -> bool {
        std::mem::take(&mut self.is_lightened)
    }

    #[cfg(test)]
    pub(crate) fn luggage_bytes(&self) -> usize {
        let counted: usize = self.by_hash.values().map(|open| open.grant.luggage.len()).sum();
        assert_eq!(self.luggage_bytes, counted);
        self.luggage_bytes
    }

    /// Slots of a server promised and not yet in its occupancy.
    pub(crate) fn count(&self, server: &ServerId) -> usize {
        self.by_server.get(server).map_or(0, |backlog| backlog.hashes.len())
    }

    /// How hard a server is pressed by what it has not answered.
    pub(crate) fn pressure(&self, server: &ServerId) -> Pressure {
        self.by_server.get(server).map_or(Pressure::Calm, |backlog| backlog.pressure)
    }

    /// Servers whose backlog was too long and is no more, since this was last asked.
    pub(crate) fn take_eased(&mut self) -> BTreeSet<ServerId> {
        std::mem::take(&mut self.eased)
    }

    pub(crate) fn of_server(&self, server: &ServerId) -> Vec<TokenHash> {
        self.by_server.get(server).into_iter().flat_map(|backlog| &backlog.hashes).copied().collect()
    }

    /// An account's open grants with fences below `below`.
    pub(crate) fn of_account(
        &self,
        account: AccountRow,
        below: Fence,
    ) -> impl Iterator<Item = &OpenGrant> + '_ {
        let hashes = self.by_account.get(&account).into_iter().flatten();
        hashes.filter_map(|hash| self.by_hash.get(hash)).filter(move |open| open.grant.fence < below)
    }

    /// Whether `player` has an open grant on `server`: a newer one takes over that slot.
    pub(crate) fn has_player(&self, server: &ServerId, account: AccountRow, player: PlayerId) -> bool {
        let fence_max = Fence { hlc: u64::MAX, hub: u16::MAX };
        self.of_account(account, fence_max).any(|open| open.server == *server && open.grant.player == player)
    }
}
