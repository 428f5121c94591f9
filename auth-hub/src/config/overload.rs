//! `[overload]`: what is refused first when there is too much to do.
//!
//! Owns the keys and their defaults. Invariant: what matters less never has more room than what matters more.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{InvalidConfig, range};
use crate::http::ShedLimits;

const DESK_LAG_MS_MIN: u64 = 250;
const DESK_LAG_MS_MAX: u64 = 60_000;
const CALM_MS_MIN: u64 = 250;
const CALM_MS_MAX: u64 = 600_000;

/// `[overload]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OverloadSettings {
    /// Requests under way beyond which registrations are refused, in percent of `http.requests_max`.
    pub registrations_percent: u8,
    /// The same for logins and lists.
    pub logins_percent: u8,
    /// How full the password queue is when registrations are refused.
    pub password_queue_percent: u8,
    /// How late the desk is when registrations are refused; logins at twice, handovers at four times that.
    pub desk_lag_ms: u64,
    /// How long all must be calm before the next are let in again.
    pub calm_ms: u64,
}

impl Default for OverloadSettings {
    fn default() -> Self {
        Self {
            registrations_percent: 50,
            logins_percent: 75,
            password_queue_percent: 50,
            desk_lag_ms: 1_000,
            calm_ms: 2_000,
        }
    }
}

impl OverloadSettings {
    /// For the edge.
    pub fn limits(&self) -> ShedLimits {
        ShedLimits {
            registrations_percent: self.registrations_percent,
            logins_percent: self.logins_percent,
            password_queue_percent: self.password_queue_percent,
            desk_lag: Duration::from_millis(self.desk_lag_ms),
            calm: Duration::from_millis(self.calm_ms),
        }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidConfig> {
        for (key, percent) in [
            ("overload.registrations_percent", self.registrations_percent),
            ("overload.logins_percent", self.logins_percent),
            ("overload.password_queue_percent", self.password_queue_percent),
        ] {
            range(key, percent.into(), 1, 100)?;
        }
        if self.registrations_percent > self.logins_percent {
            return Err(InvalidConfig::OverloadOrder);
        }
        range("overload.desk_lag_ms", self.desk_lag_ms, DESK_LAG_MS_MIN, DESK_LAG_MS_MAX)?;
        range("overload.calm_ms", self.calm_ms, CALM_MS_MIN, CALM_MS_MAX)
    }
}
