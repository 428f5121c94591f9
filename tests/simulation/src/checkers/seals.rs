//! Seals: no nonce twice, and nothing altered is believed.

use std::collections::BTreeMap;

use shared_msgs::envelope::HEADER_BYTES;
use shared_msgs::topics::Topic;

use super::Checker;
use crate::facts::{Fact, Ms};
use crate::truth::Truth;

/// §10.6: (stream key, nonce) never repeats: on each stream, purpose, key and topic the numbers only grow.
#[derive(Default)]
pub(super) struct NoncesNeverRepeat {
    last: BTreeMap<(Vec<u8>, Topic), u64>,
}

impl Checker for NoncesNeverRepeat {
    fn name(&self) -> &'static str {
        "nonces-never-repeat"
    }

    fn check(&mut self, fact: &Fact, _truth: &Truth, _now: Ms) -> Result<(), String> {
        let Fact::Sealed { topic, payload } = fact else { return Ok(()) };
        // Version, suite, purpose, key name and stream; then the number.
        let (Some(domain), Some(number)) = (payload.get(..24), payload.get(24..HEADER_BYTES)) else {
            return Err(format!("{} bytes for {topic} are no envelope", payload.len()));
        };
        let number = number.try_into().map(u64::from_be_bytes).unwrap_or_default();
        match self.last.insert((domain.to_vec(), (*topic).clone()), number) {
            Some(last) if number <= last => Err(format!("number {number} after {last} on {topic}")),
            _ => Ok(()),
        }
    }
}

/// §10.6: any flipped bit fails.
pub(super) struct AlteredNeverOpens;

impl Checker for AlteredNeverOpens {
    fn name(&self) -> &'static str {
        "altered-never-opens"
    }

    fn check(&mut self, fact: &Fact, _truth: &Truth, _now: Ms) -> Result<(), String> {
        match fact {
            Fact::AlteredOpened { node, messages } if *messages > 0 => {
                Err(format!("{node} believed {messages} messages of altered bytes"))
            }
            _ => Ok(()),
        }
    }
}
