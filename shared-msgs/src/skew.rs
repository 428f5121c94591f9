//! Two clocks that disagree: by how much, whose is likely wrong, what to do, and how often to say so.
//!
//! Owns the words and the pace; who hears what is its callers' business. Invariant: the same disagreement has the same sign on both
//! sides, and is told at most once a minute while it lasts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Mono, Now, UnixMs};
use crate::limits;
use crate::messages::Message;

/// A disagreement that lasts is told again after this.
const TELL_AGAIN: Duration = Duration::from_mins(1);
/// One that comes back is told again after this.
const TELL_APART: Duration = Duration::from_secs(5);

/// The game server's clock minus the hub's, in seconds: positive when the server is ahead.
pub fn skew_s(server: UnixMs, hub: UnixMs) -> i64 {
    let distance = i64::try_from(server.abs_diff(hub).as_secs()).unwrap_or(i64::MAX);
    if server < hub { -distance } else { distance }
}

/// Whose clock is likely wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspect {
    /// The game server's.
    Server,
    /// The hub's.
    Hub,
    /// Nothing speaks for one rather than the other.
    Either,
}

impl Suspect {
    /// For logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "the server's clock",
            Self::Hub => "the hub's clock",
            Self::Either => "either clock",
        }
    }

    /// What to do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Server => {
                "set the clock of the game server's machine by a time service (timedatectl, chronyc tracking); it gets nobody until then"
            }
            Self::Hub => {
                "set the clock of the hub's machine by a time service (timedatectl, chronyc tracking); game servers that disagree get nobody until then"
            }
            Self::Either => {
                "compare both machines with a time service (timedatectl, chronyc tracking) and set the one that is wrong; the game server gets nobody until then"
            }
        }
    }
}

/// Notices when our own wall clock has jumped since it was last agreed with.
#[derive(Debug, Default)]
pub struct OwnClock {
    agreed: Option<Now>,
}

impl OwnClock {
    /// Somebody's clock says the same as ours.
    pub fn on_agreed(&mut self, now: Now) {
        self.agreed = Some(now);
    }

    /// Whether our wall clock has gone another way than our monotonic one.
    pub fn has_jumped(&mut self, now: Now) -> bool {
        let agreed = *self.agreed.get_or_insert(now);
        let expected = agreed.unix + now.mono.since(agreed.mono);
        expected.abs_diff(now.unix) >= limits::CLOCK_SKEW_MAX
    }
}

/// When to tell of one peer's clock.
#[derive(Debug, Default)]
pub struct Teller {
    told: Option<Mono>,
    agreed_since: bool,
}

impl Teller {
    /// It agrees with ours.
    pub fn on_agreed(&mut self) {
        self.agreed_since = true;
    }

    /// It does not: whether to say so now.
    pub fn is_due(&mut self, now: Mono) -> bool {
        let gap = if self.agreed_since { TELL_APART } else { TELL_AGAIN };
        let due = self.told.is_none_or(|told| now.since(told) >= gap);
        if due {
            (self.told, self.agreed_since) = (Some(now), false);
        }
        due
    }
}

/// "Your message was genuine, but our clocks disagree": either side to the other, never answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SkewNotice {
    /// Both clocks, as the one who complains saw them.
    Clocks {
        /// Of the one who complains.
        ours: UnixMs,
        /// As the refused message was stamped.
        yours: UnixMs,
    },
}

impl Message for SkewNotice {
    const VARIANTS: u32 = 1;
    fn is_within_limits(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono: u64, unix: u64) -> Now {
        Now { mono: Mono(mono), unix: UnixMs(unix) }
    }

    #[test]
    fn the_sign_is_the_server_s() {
        let (early, late) = (UnixMs(1_000), UnixMs(3_601_000));
        assert_eq!((skew_s(late, early), skew_s(early, late), skew_s(late, late)), (3_600, -3_600, 0));
    }

    #[test]
    fn a_clock_that_jumped_is_noticed_until_somebody_agrees() {
        let mut own = OwnClock::default();
        assert!(!own.has_jumped(at(0, 1_000_000)));
        assert!(!own.has_jumped(at(3_600_000, 4_600_000)), "an hour is an hour on both");
        assert!(own.has_jumped(at(3_600_000, 8_200_000)) && own.has_jumped(at(3_600_000, 1_000_000)));
        own.on_agreed(at(3_600_000, 8_200_000));
        assert!(!own.has_jumped(at(3_600_001, 8_200_001)));
    }

    #[test]
    fn a_lasting_disagreement_is_told_once_a_minute_and_a_new_one_at_once() {
        let mut teller = Teller::default();
        let told = |teller: &mut Teller, ms: &[u64]| {
            ms.iter().map(|&ms| teller.is_due(Mono(ms))).collect::<Vec<_>>()
        };
        assert_eq!(told(&mut teller, &[0, 1_000, 59_999, 60_000, 60_001]), [true, false, false, true, false]);
        teller.on_agreed();
        assert_eq!(told(&mut teller, &[64_999, 65_000, 70_000]), [false, true, false]);
    }
}
