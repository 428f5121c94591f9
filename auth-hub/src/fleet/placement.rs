//! Which server gets the next player: the least loaded one, degraded ones last. Pure, and the same answer for the same fleet.

use std::cmp::Ordering;

use shared_msgs::ids::ServerId;
use shared_msgs::messages::ServerState;

/// A server that may take the player, with what orders it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate<'a> {
    pub(crate) server: &'a ServerId,
    pub(crate) state: ServerState,
    /// In the region the client asked for, or it asked for none.
    pub(crate) in_region: bool,
    /// Slots taken or promised.
    pub(crate) taken: u32,
    pub(crate) max_players: u32,
    pub(crate) load_percent: u8,
}

impl Candidate<'_> {
    /// Best first.
    fn order(&self, other: &Self) -> Ordering {
        let degraded = |c: &Self| c.state == ServerState::Degraded;
        // Compared as fractions, cross-multiplied: taken / max.
        let fill = u64::from(self.taken) * u64::from(other.max_players);
        let other_fill = u64::from(other.taken) * u64::from(self.max_players);
        degraded(self)
            .cmp(&degraded(other))
            .then(other.in_region.cmp(&self.in_region))
            .then(fill.cmp(&other_fill))
            .then(self.load_percent.cmp(&other.load_percent))
            .then(self.server.cmp(other.server))
    }
}

/// The best of them.
pub(crate) fn choose<'a>(candidates: impl Iterator<Item = Candidate<'a>>) -> Option<Candidate<'a>> {
    candidates.min_by(Candidate::order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ServerId {
        text.parse().unwrap()
    }

    #[test]
    fn least_filled_first_then_load_then_name_and_degraded_last() {
        let (a, b, c, d) = (id("a"), id("b"), id("c"), id("d"));
        let of = |server, state, taken, max_players, load_percent| Candidate {
            server,
            state,
            in_region: true,
            taken,
            max_players,
            load_percent,
        };
        let fleet = [
            of(&a, ServerState::Degraded, 0, 100, 0),
            of(&b, ServerState::Online, 50, 100, 0),
            of(&c, ServerState::Online, 4, 10, 90),
            of(&d, ServerState::Online, 4, 10, 20),
        ];
        let backwards = fleet.iter().rev().cloned().collect();
        for mut fleet in [fleet.to_vec(), backwards] {
            let mut order = Vec::new();
            while let Some(best) = choose(fleet.iter().cloned()) {
                fleet.retain(|c| c.server != best.server);
                order.push(best.server.as_str());
            }
            assert_eq!(order, ["d", "c", "b", "a"]);
        }
    }

    #[test]
    fn the_region_asked_for_comes_before_a_lower_fill_but_not_before_health() {
        let (a, b, c) = (id("a"), id("b"), id("c"));
        let of = |server, state, in_region, taken| Candidate {
            server,
            state,
            in_region,
            taken,
            max_players: 10,
            load_percent: 0,
        };
        let near_and_full = of(&a, ServerState::Online, true, 9);
        let far_and_empty = of(&b, ServerState::Online, false, 0);
        let near_and_ill = of(&c, ServerState::Degraded, true, 0);
        let best = choose([near_and_ill, far_and_empty, near_and_full.clone()].into_iter());
        assert_eq!(best, Some(near_and_full));
    }
}
