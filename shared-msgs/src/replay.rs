//! A sliding window over sequence numbers, as in RFC 6479: accepts each number once, refuses what is too old to know.

/// The 64 numbers below the highest seen, one bit each.
#[derive(Clone, Debug, Default)]
pub struct ReplayWindow {
    /// One above the highest accepted number; 0 before the first.
    top: u64,
    /// Bit `n` is set when `top - 1 - n` was accepted.
    seen: u64,
}

impl ReplayWindow {
    /// Whether `seq` would be accepted. Changes nothing: call it before the open, [`Self::accept`] after.
    pub fn is_fresh(&self, seq: u64) -> bool {
        if seq >= self.top {
            return seq < u64::MAX;
        }
        let age = self.top - 1 - seq;
        age < 64 && self.seen & (1 << age) == 0
    }

    /// Marks `seq` as seen. The caller has checked it with [`Self::is_fresh`].
    pub fn accept(&mut self, seq: u64) {
        if seq >= self.top {
            let shift = seq + 1 - self.top;
            self.seen = if shift >= 64 { 0 } else { self.seen << shift };
            self.top = seq + 1;
        }
        self.seen |= 1 << (self.top - 1 - seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn accepts_each_number_once_and_nothing_older_than_the_window(
            seqs in prop::collection::vec(0_u64..200, 1..200)
        ) {
            let mut window = ReplayWindow::default();
            let mut seen = BTreeSet::new();
            for seq in seqs {
                let highest = seen.last().copied().unwrap_or(0);
                let expected = !seen.contains(&seq) && (seq > highest || highest - seq < 64);
                prop_assert_eq!(window.is_fresh(seq), expected, "seq {} highest {}", seq, highest);
                if expected {
                    window.accept(seq);
                    seen.insert(seq);
                }
            }
        }
    }

    #[test]
    fn the_last_number_is_never_accepted_so_that_the_top_cannot_wrap() {
        assert!(!ReplayWindow::default().is_fresh(u64::MAX));
    }
}
