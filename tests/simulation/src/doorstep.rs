//! What a device does with the token that it was given: shows it once, where it was sent, in time; or late, twice, elsewhere, altered, or never.

use auth_hub::handover::Placed;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use shared_msgs::ids::{ServerId, TokenHash};

use crate::device::{Attempt, Shows};
use crate::facts::Ms;
use crate::world::{Event, World};

/// The longest an honest client waits for its verdict: the park time, and a little.
const DOOR_PATIENCE: Ms = 11_000;

fn hash_of(token: &str) -> TokenHash {
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, &bytes).as_ref());
    TokenHash(hash)
}

impl World {
    pub(crate) fn go(&mut self, attempt: Attempt, placed: &Placed) {
        let text = placed.token.expose().to_owned();
        let hash = hash_of(&text);
        let soon = self.dice.between(1, 30);
        let conduct = if self.is_honest() { 0 } else { self.dice.between(1, 7) };
        match conduct {
            // It comes with its life nearly or really over, or never.
            1 => {
                let late = self.dice.between(60_000, 130_000);
                self.show(attempt, &placed.server, hash, &text, late);
            }
            2 => {}
            // Twice, at about the same time.
            3 => {
                self.show(attempt, &placed.server, hash, &text, soon);
                let again = self.dice.between(1, 60);
                self.show(attempt, &placed.server, hash, &text, again);
            }
            // Again, when it has been used.
            4 => {
                self.show(attempt, &placed.server, hash, &text, soon);
                let again = self.dice.between(500, 40_000);
                self.show(attempt, &placed.server, hash, &text, again);
            }
            // Altered, made up, or somewhere else, before the real one.
            5 => {
                let mut altered = text.clone().into_bytes();
                let at = usize::try_from(self.dice.below(76)).unwrap_or(0);
                altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
                let altered = String::from_utf8(altered).unwrap_or_default();
                self.show_false(attempt, &placed.server, altered, soon);
                self.show(attempt, &placed.server, hash, &text, soon + 1);
            }
            6 => {
                let other = self.dice.pick(&self.scenario.servers).map(|plan| plan.id.clone());
                if let Some(other) = other.and_then(|id| id.parse::<ServerId>().ok()) {
                    self.show(attempt, &other, hash, &text, soon);
                }
                self.show(attempt, &placed.server, hash, &text, soon + 1);
            }
            // Goes away while it waits.
            7 => {
                self.show(attempt, &placed.server, hash, &text, soon);
                let wait = soon + self.dice.below(3_000);
                self.after(wait, Event::Act(attempt));
            }
            _ => self.show(attempt, &placed.server, hash, &text, soon),
        }
        let patience = if conduct == 1 { 140_000 } else { DOOR_PATIENCE };
        self.after(patience, Event::Act(attempt));
    }

    fn show(&mut self, attempt: Attempt, server: &ServerId, hash: TokenHash, text: &str, delay: Ms) {
        let token = Shows::Given { hash, text: text.to_owned() };
        self.after(delay, Event::Arrive { attempt, server: server.clone(), token });
    }

    fn show_false(&mut self, attempt: Attempt, server: &ServerId, text: String, delay: Ms) {
        self.after(delay, Event::Arrive { attempt, server: server.clone(), token: Shows::MadeUp(text) });
    }
}
