//! A roster's entries, and the digest by which two sides know that theirs are the same. Knows neither order nor revision.

use ring::digest;
use serde::{Deserialize, Serialize};

use crate::ids::{Fence, PlayerId, TokenHash};

/// Whether a roster entry is a promise or a player.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EntryKind {
    /// Granted, not redeemed.
    Held,
    /// In game.
    Live,
}

/// One player's grant or session on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// The token it came by.
    pub hash: TokenHash,
    /// Whose it is.
    pub player: PlayerId,
    /// Its place in the order of the account's handovers.
    pub fence: Fence,
    /// Promise or player.
    pub kind: EntryKind,
}

/// Tells whether two rosters are the same without sending them: equal digests, equal rosters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterDigest {
    /// How many entries.
    pub count: u32,
    /// XOR over the entries of SHA-256(player ∥ fence ∥ kind).
    pub xor: [u8; 32],
}

impl RosterDigest {
    fn toggle(&mut self, entry: &RosterEntry) {
        let mut input = [0; 27];
        input[..16].copy_from_slice(&entry.player.0);
        input[16..24].copy_from_slice(&entry.fence.hlc.to_be_bytes());
        input[24..26].copy_from_slice(&entry.fence.hub.to_be_bytes());
        input[26] = entry.kind as u8;
        let sum = digest::digest(&digest::SHA256, &input);
        self.xor.iter_mut().zip(sum.as_ref()).for_each(|(x, s)| *x ^= s);
    }

    /// Counts an entry in.
    pub fn add(&mut self, entry: &RosterEntry) {
        self.toggle(entry);
        self.count += 1;
    }

    /// Takes an entry out that was counted in.
    pub fn remove(&mut self, entry: &RosterEntry) {
        self.toggle(entry);
        self.count = self.count.saturating_sub(1);
    }
}
