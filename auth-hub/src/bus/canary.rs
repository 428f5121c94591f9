//! Is the broker's router alive? The hub publishes a counter to itself and counts the beats on which it did not come back.
//!
//! A router that died leaves sockets open and acknowledges nothing; only a round trip tells. A pure core.

use std::time::Duration;

use shared_msgs::clock::Mono;

/// Between two counters.
const BEAT: Duration = Duration::from_secs(3);
/// So many beats without an echo, on a link that is up, and the router is dead.
const MISSES_MAX: u32 = 3;
const _: () = assert!(BEAT.as_secs() * (MISSES_MAX as u64) < 10);

/// Counts beats.
#[derive(Debug, Default)]
pub(crate) struct Canary {
    sent: u64,
    heard: u64,
    misses: u32,
    /// `None` while the link is down.
    next_beat: Option<Mono>,
}

/// What a beat asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Publish this counter.
    Send(u64),
    /// The router is dead.
    Dead,
}

impl Canary {
    /// The link is up and the canary's topic subscribed.
    pub(crate) fn on_link_up(&mut self, now: Mono) {
        self.misses = 0;
        self.heard = self.sent;
        self.next_beat = Some(now);
    }

    pub(crate) fn on_link_down(&mut self) {
        self.next_beat = None;
    }

    pub(crate) fn on_echo(&mut self, n: u64) {
        self.heard = self.heard.max(n);
        self.misses = 0;
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.next_beat
    }

    pub(crate) fn tick(&mut self, now: Mono) -> Option<Beat> {
        self.next_beat.filter(|at| *at <= now)?;
        self.next_beat = Some(now + BEAT);
        if self.heard < self.sent {
            self.misses += 1;
        }
        if self.misses >= MISSES_MAX {
            return Some(Beat::Dead);
        }
        self.sent += 1;
        Some(Beat::Send(self.sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beats(canary: &mut Canary, from: Mono, count: u32) -> (Vec<Beat>, Mono) {
        let mut now = from;
        let mut seen = Vec::new();
        for _ in 0..count {
            seen.extend(canary.tick(now));
            now = now + BEAT;
        }
        (seen, now)
    }

    #[test]
    fn three_misses_mean_a_dead_router_and_an_echo_clears_them() {
        let mut canary = Canary::default();
        assert_eq!(canary.tick(Mono(0)), None, "nothing before the link is up");
        canary.on_link_up(Mono(0));
        let (seen, now) = beats(&mut canary, Mono(0), 3);
        assert_eq!(seen, [Beat::Send(1), Beat::Send(2), Beat::Send(3)]);
        canary.on_echo(3);
        let (seen, _) = beats(&mut canary, now, 5);
        assert_eq!(seen[..4], [Beat::Send(4), Beat::Send(5), Beat::Send(6), Beat::Dead]);
    }

    #[test]
    fn a_link_that_is_down_is_no_dead_router() {
        let mut canary = Canary::default();
        canary.on_link_up(Mono(0));
        let (_, now) = beats(&mut canary, Mono(0), 3);
        canary.on_link_down();
        assert_eq!(canary.tick(now), None);
        canary.on_link_up(now);
        let (seen, _) = beats(&mut canary, now, 3);
        assert_eq!(seen, [Beat::Send(4), Beat::Send(5), Beat::Send(6)]);
    }
}
