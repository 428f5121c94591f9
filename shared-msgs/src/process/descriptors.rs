//! File descriptors: how many this process may have, and what its listeners get of them.
//!
//! Invariant: listeners together never get what the process needs for itself, so no crowd at one of them keeps another one, the link or the
//! database from opening a socket or a file. Under the least limit that `check` lets pass nothing can be kept back, and all stays as set.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// What any listener gets where there is anything to share.
const PLACES_MIN: u64 = 8;

/// Connections for listeners that want so many: as many where the limit, raised as far as the system lets, allows that and `spare` more;
/// else in proportion to what they want.
pub fn share<const N: usize>(spare: u64, wanted: [usize; N]) -> [usize; N] {
    let sum = wanted.iter().fold(spare, |sum, n| sum.saturating_add(*n as u64));
    let Some(allowed) = raise(sum) else { return wanted };
    let given = divide(allowed, spare, wanted);
    if given != wanted {
        warn!(target: "net", allowed, wanted = sum, ?given, "net.clamped");
    }
    given
}

/// What is left of a part where only `given` of `wanted` were: of a bound per address, say, so that it stays one.
pub fn part(part: usize, given: usize, wanted: usize) -> usize {
    let scaled = part as u128 * given as u128 / (wanted as u128).max(1);
    usize::try_from(scaled).unwrap_or(part).clamp(1, part.max(1))
}

/// Raises the soft limit; gives what is allowed then, nothing without a limit.
fn raise(wanted: u64) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let aim = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if current.is_some_and(|current| current < aim) {
        // Refused, it stays as it is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(aim), maximum });
    }
    getrlimit(Resource::Nofile).current
}

fn divide<const N: usize>(allowed: u64, spare: u64, wanted: [usize; N]) -> [usize; N] {
    let sum = wanted.iter().fold(0_u64, |sum, n| sum.saturating_add(*n as u64));
    let free = allowed.saturating_sub(spare);
    if free == 0 || sum <= free {
        return wanted;
    }
    wanted.map(|n| {
        let part = u128::from(free) * n as u128 / u128::from(sum);
        n.min(usize::try_from(part).unwrap_or(n).max(usize::try_from(PLACES_MIN).unwrap_or(n)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_shared_and_the_spare_kept() {
        for (allowed, given) in [
            (8_192, [4_096, 1_024]),
            (5_248, [4_096, 1_024]),
            (5_247, [4_095, 1_023]),
            (1_024, [716, 179]),
            (256, [102, 25]),
            (140, [9, 8]),
            // Nothing to keep back from.
            (128, [4_096, 1_024]),
            (64, [4_096, 1_024]),
        ] {
            assert_eq!(divide(allowed, 128, [4_096, 1_024]), given, "{allowed}");
        }
        assert_eq!(divide(200, 128, [4, 1_024]), [4, 71]);
    }

    #[test]
    fn a_part_shrinks_with_the_whole_and_never_to_nothing() {
        for (bound, given, wanted, left) in
            [(266, 192, 1_064, 48), (256, 4_096, 4_096, 256), (64, 8, 4_096, 1), (4_096, 8, 8, 4_096)]
        {
            assert_eq!(part(bound, given, wanted), left);
        }
    }
}
