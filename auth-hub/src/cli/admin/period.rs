//! Times as operators type them: 90s, 10m, 12h, 7d, 2w.

use std::str::FromStr;

/// A whole number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period(u64);

impl Period {
    pub(super) const fn as_secs(self) -> u64 {
        self.0
    }
}

/// Why a text is no time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a whole number and its unit: 90s, 10m, 12h, 7d or 2w")]
pub(super) struct NoPeriod;

impl FromStr for Period {
    type Err = NoPeriod;
    fn from_str(text: &str) -> Result<Self, NoPeriod> {
        let unit = text.chars().next_back().ok_or(NoPeriod)?;
        let seconds: u64 = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            'w' => 7 * 24 * 60 * 60,
            _ => return Err(NoPeriod),
        };
        let count = &text[..text.len() - 1];
        if !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NoPeriod);
        }
        let count: u64 = count.parse().map_err(|_| NoPeriod)?;
        count.checked_mul(seconds).map(Self).ok_or(NoPeriod)
    }
}
