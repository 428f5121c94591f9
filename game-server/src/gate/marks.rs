//! What must not be forgotten too early: closed token hashes, and players' floors.
//!
//! Owns why each closed hash is closed and the least fence each player may come with. Knows no grant that is still open. Invariant:
//! nothing is forgotten before its time; at the bound new ones are refused instead. A grant that had to be refused without a mark
//! is remembered by its expiry alone: until that is safely over, no grant that expires as early is accepted.

use std::collections::BTreeMap;

use shared_msgs::clock::{Mono, Now, UnixMs};
use shared_msgs::codes::Code;
use shared_msgs::ids::{Fence, HandoverId, PlayerId, TokenHash};
use shared_msgs::limits;

/// How a hash came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Redeemed.
    Spent,
    /// Refused, expired, ended.
    Refused(Code),
}

impl Closed {
    /// What a client that shows the token is told.
    pub(super) fn code(self) -> Code {
        match self {
            Self::Spent => Code::TokenSpent,
            Self::Refused(code) => code,
        }
    }
}

/// A closed hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) closed: Closed,
    /// Unknown when its `end` came before its grant.
    pub(super) handover: Option<HandoverId>,
    /// When it may be forgotten.
    pub(super) until: Mono,
    /// Whether a client has shown its token since.
    shown: bool,
}

#[derive(Clone, Copy)]
struct Floor {
    fence: Fence,
    until: Mono,
}

/// Grants refused without a mark.
#[derive(Clone, Copy)]
struct Unmarked {
    expires_at: UnixMs,
    until: Mono,
}

/// Closed hashes and floors.
pub(super) struct Marks {
    max: usize,
    closed: BTreeMap<TokenHash, Mark>,
    floors: BTreeMap<PlayerId, Floor>,
    unmarked: Option<Unmarked>,
}

impl Marks {
    pub(super) fn new(max: usize) -> Self {
        Self { max, closed: BTreeMap::new(), floors: BTreeMap::new(), unmarked: None }
    }

    pub(super) fn get(&self, hash: TokenHash) -> Option<Mark> {
        self.closed.get(&hash).copied()
    }

    /// Whether its token is shown for the first time since it was closed.
    pub(super) fn is_first_shown(&mut self, hash: TokenHash) -> bool {
        self.closed.get_mut(&hash).is_some_and(|mark| !std::mem::replace(&mut mark.shown, true))
    }

    /// Whether one more hash may be opened or closed. Each held grant has its mark reserved.
    pub(super) fn has_room(&self, held: usize) -> bool {
        self.closed.len() + held < self.max
    }

    /// Closes a hash; returns when to call [`Marks::forget`].
    pub(super) fn close(
        &mut self,
        hash: TokenHash,
        closed: Closed,
        handover: Option<HandoverId>,
        now: Now,
    ) -> Mono {
        let until = now.mono + limits::CLOSED_LIFE;
        self.closed.insert(hash, Mark { closed, handover, until, shown: false });
        until
    }

    pub(super) fn forget(&mut self, hash: TokenHash) {
        self.closed.remove(&hash);
    }

    /// Remembers a refused grant for which there was no room.
    pub(super) fn refuse_unmarked(&mut self, expires_at: UnixMs, now: Now) {
        let before = self.unmarked.map_or(UnixMs(0), |u| u.expires_at);
        let until = now.mono + limits::CLOSED_LIFE;
        self.unmarked = Some(Unmarked { expires_at: before.max(expires_at), until });
    }

    /// Whether a grant with this expiry may have been refused before, without a mark.
    pub(super) fn may_be_unmarked(&self, expires_at: UnixMs, now: Now) -> bool {
        self.unmarked.is_some_and(|u| expires_at <= u.expires_at && now.mono < u.until)
    }

    /// The least fence this player may come with.
    pub(super) fn floor(&self, player: PlayerId) -> Fence {
        self.floors.get(&player).map_or(Fence::ZERO, |floor| floor.fence)
    }

    /// Raises a player's floor, or keeps it for longer. `Ok(Some(_))`: when to call [`Marks::forget_floor`]; `Ok(None)`: that is
    /// due already; `Err`: no room.
    pub(super) fn raise_floor(&mut self, player: PlayerId, to: Fence, now: Now) -> Result<Option<Mono>, ()> {
        let until = now.mono + limits::CLOSED_LIFE;
        if let Some(floor) = self.floors.get_mut(&player) {
            *floor = Floor { fence: floor.fence.max(to), until };
            return Ok(None);
        }
        if self.floors.len() >= self.max {
            return Err(());
        }
        self.floors.insert(player, Floor { fence: to, until });
        Ok(Some(until))
    }

    /// Forgets a floor unless it was renewed; then says when to come again.
    pub(super) fn forget_floor(&mut self, player: PlayerId, now: Now) -> Option<Mono> {
        let until = self.floors.get(&player)?.until;
        if until > now.mono {
            return Some(until);
        }
        self.floors.remove(&player);
        None
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.closed.len() + self.floors.len()
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&TokenHash, &Mark)> {
        self.closed.iter()
    }
}
