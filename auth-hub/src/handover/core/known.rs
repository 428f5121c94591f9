//! What the hub knows of the moves it was asked for: which are under way, how the others were answered, what they carry.
//!
//! Plain data with running counts; knows neither servers' rosters nor places. Invariants: no server has more than [`UNDER_WAY_MAX`] moves
//! under way, whatever it asks for, and nothing of one server's moves is forgotten for another's; each move that is begun is over once;
//! the counts equal a recount.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, ServerId};
use shared_msgs::limits;
use shared_msgs::moves::Move;

use super::moves::MoveKey;
use super::prepared::Prepared;
use crate::accounts::AccountRow;

/// Moves that one server has under way, places that wait for their clients included; one more is refused. An eighth of what the hub has
/// room for. Our SDK has 32 that are not answered.
pub(super) const UNDER_WAY_MAX: usize = 512;
/// Answers that are remembered of one server; then the oldest goes first. More than a server that empties hears in the time between
/// two of its questions.
pub(super) const ANSWERS_MAX: usize = 1_024;
/// How long an answer is remembered: servers give a move up before.
const ANSWER_LIFE: Duration = limits::LOGIN_DEADLINE.saturating_mul(2);

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    UnderWay,
    Answered(Option<Code>),
}

/// A request that waits for the store.
#[derive(Debug)]
pub(super) struct LookingUp {
    pub(super) asked: Box<Move>,
    pub(super) account: AccountRow,
    pub(super) deadline: Mono,
}

/// Which run of a server, and its number for the request.
type Number = (BootId, u64);

/// What one server asked for.
#[derive(Debug, Default)]
struct Asked {
    known: BTreeMap<Number, Known>,
    /// Those of them that are answered, the oldest first, and until when they are remembered.
    answered: VecDeque<(Mono, Number)>,
    under_way: usize,
}

/// All that is known of moves.
#[derive(Debug, Default)]
pub(super) struct Moves {
    asked: BTreeMap<ServerId, Asked>,
    looking_up: BTreeMap<MoveKey, LookingUp>,
    pub(super) prepared: BTreeMap<AccountRow, Prepared>,
    luggage_bytes: usize,
}

impl Moves {
    pub(super) fn get(&self, key: &MoveKey) -> Option<Known> {
        self.asked.get(&key.server)?.known.get(&(key.boot, key.request)).copied()
    }

    /// Whether this server may have one more.
    pub(super) fn has_room(&self, server: &ServerId) -> bool {
        self.asked.get(server).is_none_or(|asked| asked.under_way < UNDER_WAY_MAX)
    }

    /// Of all that are under way.
    pub(super) fn luggage_bytes(&self) -> usize {
        self.luggage_bytes
    }

    /// Those that wait for the store.
    pub(super) fn looking_up(&self) -> &BTreeMap<MoveKey, LookingUp> {
        &self.looking_up
    }

    /// From now on it is under way, until it is [over](Self::over).
    pub(super) fn begin(&mut self, key: MoveKey, looking_up: LookingUp) {
        let asked = self.asked.entry(key.server.clone()).or_default();
        asked.known.insert((key.boot, key.request), Known::UnderWay);
        asked.under_way += 1;
        self.luggage_bytes += looking_up.asked.luggage.len();
        self.looking_up.insert(key, looking_up);
    }

    /// The store has answered, or is waited for no longer.
    pub(super) fn looked_up(&mut self, key: &MoveKey) -> Option<LookingUp> {
        self.looking_up.remove(key)
    }

    /// A server's move has come to its end, with this luggage.
    pub(super) fn over(&mut self, server: &ServerId, luggage_bytes: usize) {
        self.luggage_bytes = self.luggage_bytes.saturating_sub(luggage_bytes);
        if let Some(asked) = self.asked.get_mut(server) {
            asked.under_way = asked.under_way.saturating_sub(1);
        }
    }

    /// Remembers what the server was told.
    pub(super) fn answered(&mut self, key: &MoveKey, code: Option<Code>, now: Mono) {
        let number = (key.boot, key.request);
        let asked = self.asked.entry(key.server.clone()).or_default();
        asked.known.insert(number, Known::Answered(code));
        asked.answered.push_back((now + ANSWER_LIFE, number));
        asked.forget(now);
    }

    pub(super) fn prune(&mut self, now: Now) {
        let is_late = |looking_up: &LookingUp| now.mono >= looking_up.deadline + ANSWER_LIFE;
        let late = self.looking_up.iter().filter(|(_, looking_up)| is_late(looking_up));
        for key in late.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            let Some(looking_up) = self.looked_up(&key) else { continue };
            self.over(&key.server, looking_up.asked.luggage.len());
            if let Some(asked) = self.asked.get_mut(&key.server) {
                asked.known.remove(&(key.boot, key.request));
            }
        }
        self.asked.retain(|_, asked| {
            asked.forget(now.mono);
            !asked.known.is_empty() || asked.under_way > 0
        });
    }

    #[cfg(test)]
    pub(super) fn is_untouched(&self) -> bool {
        self.asked.is_empty()
    }

    #[cfg(test)]
    pub(super) fn answers(&self, server: &ServerId) -> usize {
        self.asked.get(server).map_or(0, |asked| asked.answered.len())
    }

    #[cfg(test)]
    pub(super) fn under_way(&self) -> BTreeMap<ServerId, usize> {
        let counts = self.asked.iter().map(|(server, asked)| (server.clone(), asked.under_way));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl Asked {
    /// Forgets the oldest answers: those whose time is over, and those that are too many.
    fn forget(&mut self, now: Mono) {
        while let Some((until, number)) = self.answered.front().copied() {
            if now < until && self.answered.len() <= ANSWERS_MAX {
                return;
            }
            self.answered.pop_front();
            self.known.remove(&number);
        }
    }
}
