//! What a program takes from the machine. Tests put their own in its place.

use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::rng::{Rng, SystemRng};

/// Time and randomness.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Both clocks; every timer runs by the monotonic one.
    pub clock: Arc<dyn Clock>,
    /// Keys, tokens, ids and jitter.
    pub rng: Arc<dyn Rng>,
}

impl Default for Environment {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock::new()), rng: Arc::new(SystemRng::new()) }
    }
}
