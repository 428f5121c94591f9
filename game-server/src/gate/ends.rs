//! Answers owed to the hub: `end`s that wait for a session to leave.
//!
//! Owns which answers each player's session holds up. Knows neither sessions nor time: a player has at most one session here, so all
//! that is owed for the player falls due when it is gone. Invariant: never more than [`OWED_PER_PLAYER_MAX`] per player; the
//! oldest goes first, and costs nothing, for the hub sends it again.

use std::collections::{BTreeMap, VecDeque};

use shared_msgs::ids::{Fence, PlayerId, TokenHash};

/// Different `end`s of one player that wait at once.
pub(super) const OWED_PER_PLAYER_MAX: usize = 8;

/// What an answer echoes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwedEnd {
    pub(super) below: Fence,
    pub(super) hashes: Vec<TokenHash>,
}

/// Answers owed, by player.
#[derive(Default)]
pub(super) struct Ends {
    owed: BTreeMap<PlayerId, VecDeque<OwedEnd>>,
}

impl Ends {
    /// Owes an answer; a repeated `end` is owed one.
    pub(super) fn owe(&mut self, player: PlayerId, end: OwedEnd) {
        let owed = self.owed.entry(player).or_default();
        if owed.contains(&end) {
            return;
        }
        if owed.len() >= OWED_PER_PLAYER_MAX {
            owed.pop_front();
        }
        owed.push_back(end);
    }

    /// All that waited for this player's session, oldest first.
    pub(super) fn take(&mut self, player: PlayerId) -> VecDeque<OwedEnd> {
        self.owed.remove(&player).unwrap_or_default()
    }
}
