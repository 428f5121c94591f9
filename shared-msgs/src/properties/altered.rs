//! Seeds for property tests, altered: what chance alone would hardly hit. Shared by the test modules of the crates, which name it by its path.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// One of `seeds` after up to five alterations: a byte set, a bit flipped, bytes cut out, put in, repeated, or taken from another seed.
pub(crate) fn altered(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let alteration = (0_u8..7, any::<Index>(), any::<Index>(), any::<u8>(), select(seeds.clone()));
    let alterations = prop::collection::vec(alteration, 0..=5);
    (select(seeds), alterations).prop_map(|(mut bytes, alterations)| {
        for (how, at, len, byte, other) in alterations {
            let at = at.index(bytes.len() + 1);
            let end = at + len.index(bytes.len() - at + 1).min(usize::from(byte));
            match how {
                0 => bytes.get_mut(at).into_iter().for_each(|old| *old = byte),
                1 => bytes.get_mut(at).into_iter().for_each(|old| *old ^= 1 << (byte % 8)),
                2 => drop(bytes.drain(at..end)),
                3 => bytes.insert(at, byte),
                4 => bytes.extend_from_within(at..end),
                5 => bytes.truncate(at),
                _ => drop(bytes.splice(at.., other.iter().skip(at).copied())),
            }
        }
        bytes
    })
}
