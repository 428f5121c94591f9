//! What may happen in a seed beside logins: operators end sessions, connections break and come back, games move their players.
//!
//! Drawn apart from the rest. Invariant: a seed without any of it has the history it would have if there were none in the simulation.

use crate::dice::Dice;
use crate::facts::Ms;

/// Draws of these are not those of the rest.
const APART: u64 = 0x6162_696c_6974_6965;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Abilities {
    /// An operator ends something about this often; zero: never.
    pub(crate) end_every: Ms,
    /// How long servers keep the session of a broken connection; zero: nobody comes back.
    pub(crate) grace: Ms,
    /// Whether players go from server to server, of their own or because a game wants it; only where one hub runs, for every hub hears what
    /// a game wants.
    pub(crate) moves: bool,
}

impl Abilities {
    /// Those of a seed.
    pub(crate) fn of(seed: u64, hubs: u16) -> Self {
        let dice = Dice::new(seed ^ APART);
        let end_every = if dice.below(3) == 0 { dice.between(300, 5_000) } else { 0 };
        // Sessions that nobody comes back to are over when a run's calm is.
        let grace = if dice.below(3) == 0 { dice.between(500, 5_000) } else { 0 };
        Self { end_every, grace, moves: dice.below(2) == 0 && hubs == 1 }
    }

    /// Whether operators end sessions and bar accounts.
    pub(crate) const fn has_operators(self) -> bool {
        self.end_every > 0
    }
}
