//! How a player likes the fleet's regions: as listed, or by measured latency.
//!
//! Knows names of regions and milliseconds, no server. Invariant: a measured latency only orders; it never rules a region out.

/// The regions that somebody names, and how far down each stands; the first is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Regions<'a> {
    ranks: Vec<(&'a str, usize)>,
    /// Of every other region; `None` when the player is not to go there.
    others: Option<usize>,
}

impl<'a> Regions<'a> {
    /// All the same.
    pub(crate) const ANY: Self = Self { ranks: Vec::new(), others: Some(0) };

    /// In this order, and then the others, if they are open at all.
    pub(crate) fn listed(wanted: &'a [String], others_are_open: bool) -> Self {
        if wanted.is_empty() {
            return Self::ANY;
        }
        let ranks = wanted.iter().enumerate().map(|(rank, region)| (region.as_str(), rank)).collect();
        Self { ranks, others: others_are_open.then_some(wanted.len()) }
    }

    /// The nearest first. Regions are equals while they are less than a band slower than the nearest of them; those without a figure come after
    /// all of these. Regions that the fleet does not have do not count.
    pub(crate) fn measured(
        latencies: &'a [(String, u32)],
        band_ms: u32,
        is_known: impl Fn(&str) -> bool,
    ) -> Self {
        let known = latencies.iter().filter(|(region, _)| is_known(region));
        let mut nearest_first: Vec<(u32, &str)> = known.map(|(region, ms)| (*ms, region.as_str())).collect();
        nearest_first.sort_unstable();
        let (mut rank, mut band_from_ms) = (0, None);
        let ranks: Vec<_> = nearest_first
            .into_iter()
            .map(|(ms, region)| {
                let from = *band_from_ms.get_or_insert(ms);
                if ms > from && ms - from >= band_ms {
                    (rank, band_from_ms) = (rank + 1, Some(ms));
                }
                (region, rank)
            })
            .collect();
        let others = ranks.last().map_or(0, |(_, rank)| rank + 1);
        Self { ranks, others: Some(others) }
    }

    /// How far down this region stands; `None` when the player is not to go there.
    pub(crate) fn rank(&self, region: &str) -> Option<usize> {
        self.ranks.iter().find(|(one, _)| *one == region).map_or(self.others, |(_, rank)| Some(*rank))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn latencies(of: &[(&str, u32)]) -> Vec<(String, u32)> {
        of.iter().map(|(region, ms)| ((*region).to_owned(), *ms)).collect()
    }

    #[test]
    fn regions_a_few_milliseconds_apart_are_equals() {
        let figures = latencies(&[("us", 110), ("eu", 23), ("eu-west", 25), ("asia", 240), ("eu-east", 43)]);
        let regions = Regions::measured(&figures, 20, |_| true);
        let ranks = ["eu", "eu-west", "eu-east", "us", "asia", "", "mars"].map(|region| regions.rank(region));
        assert_eq!(ranks, [0, 0, 1, 2, 3, 4, 4].map(Some), "those without a figure come last");
        let exact = Regions::measured(&figures, 0, |_| true);
        assert_eq!(["eu", "eu-west", "eu-east"].map(|region| exact.rank(region)), [0, 1, 2].map(Some));
    }

    #[test]
    fn a_region_nobody_stands_in_draws_no_border() {
        let figures = latencies(&[("mars", 4), ("eu", 23), ("us", 25)]);
        let regions = Regions::measured(&figures, 20, |region| region != "mars");
        assert_eq!([regions.rank("eu"), regions.rank("us")], [Some(0), Some(0)]);
        assert_eq!(Regions::measured(&figures, 20, |_| false).rank("eu"), Some(0), "no figure helps");
    }

    proptest! {
        #[test]
        fn a_nearer_region_never_stands_below_and_a_band_is_no_wider_than_said(
            ms in prop::collection::vec(0..500_u32, 1..16),
            band_ms in 0..100_u32,
        ) {
            let figures: Vec<_> = ms.iter().enumerate().map(|(n, ms)| (format!("r{n}"), *ms)).collect();
            let regions = Regions::measured(&figures, band_ms, |_| true);
            let rank = |name: &str| regions.rank(name).unwrap();
            for (one, one_ms) in &figures {
                prop_assert!(rank(one) < regions.others.unwrap());
                for (other, other_ms) in &figures {
                    prop_assert!(one_ms > other_ms || rank(one) <= rank(other));
                    let apart = one_ms.abs_diff(*other_ms);
                    prop_assert!(rank(one) != rank(other) || apart == 0 || apart < band_ms);
                }
            }
        }
    }
}
