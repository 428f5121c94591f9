//! Where a player wants to go, read from a body's members.
//!
//! Invariant: what the key of a party is stays with its members: only its hash is kept.

use ring::digest;
use shared_msgs::ids::ServerId;
use shared_msgs::text::is_label;

use super::{Fields, Scalar, invalid};
use crate::http::members::{
    LABELS, LABELS_MAX, LATENCIES, LATENCIES_MAX, LATENCY_MS_MAX, Member, PARTY, PARTY_BYTES_MAX,
    PARTY_BYTES_MIN, PARTY_SIZE, REGION, REGION_BYTES_MAX, REGIONS, SERVER, STICKY,
};
use crate::http::problem::Problem;
use crate::queue::{PARTY_MAX, Party};

/// Where a player wants to go.
pub(in crate::http) struct Wishes {
    pub(in crate::http) server: Option<ServerId>,
    /// The first one before the next.
    pub(in crate::http) regions: Vec<String>,
    /// Milliseconds by region.
    pub(in crate::http) latencies: Vec<(String, u32)>,
    /// All of these.
    pub(in crate::http) labels: Vec<String>,
    /// Whether the last server is liked.
    pub(in crate::http) is_sticky: bool,
    /// With whom.
    pub(in crate::http) party: Option<Party>,
}

impl Fields {
    /// Where the player wants to go.
    pub(in crate::http) fn wishes(&mut self) -> Result<Wishes, Problem> {
        let server = self.parsed(&SERVER, "is not a server id")?;
        let region = self.optional_text(&REGION).filter(|region| !region.is_empty());
        if region.as_ref().is_some_and(|region| region.len() > REGION_BYTES_MAX) {
            return Err(invalid(&REGION, &format!("has at most {REGION_BYTES_MAX} bytes")));
        }
        let regions = self.texts(&REGIONS)?;
        let latencies = self.latencies()?;
        let labels = self.labels()?;
        let is_sticky = self.flag(&STICKY);
        let party = self.party()?;
        let beside = |one: &'static Member, other: &Member| {
            Err(invalid(one, &format!("does not stand beside `{}`", other.name)))
        };
        let regions = match region {
            Some(_) if !regions.is_empty() => return beside(&REGIONS, &REGION),
            Some(_) if !latencies.is_empty() => return beside(&LATENCIES, &REGION),
            None if !regions.is_empty() && !latencies.is_empty() => return beside(&LATENCIES, &REGIONS),
            Some(region) => vec![region],
            None => regions,
        };
        Ok(Wishes { server, regions, latencies, labels, is_sticky, party })
    }

    fn latencies(&mut self) -> Result<Vec<(String, u32)>, Problem> {
        let Some(Scalar::Numbers(mut numbers, count)) = self.take(&LATENCIES) else { return Ok(Vec::new()) };
        if count > LATENCIES_MAX {
            return Err(invalid(&LATENCIES, &format!("has at most {LATENCIES_MAX} of them")));
        }
        if numbers.iter().any(|(_, ms)| *ms > LATENCY_MS_MAX) {
            return Err(invalid(&LATENCIES, &format!("has numbers of 0 to {LATENCY_MS_MAX}")));
        }
        if numbers.iter().any(|(region, _)| region.len() > REGION_BYTES_MAX) {
            return Err(invalid(&LATENCIES, &format!("has names of at most {REGION_BYTES_MAX} bytes")));
        }
        let is_twice = |at: usize| numbers[..at].iter().any(|(region, _)| **region == *numbers[at].0);
        if (0..numbers.len()).any(is_twice) {
            return Err(invalid(&LATENCIES, "names a region twice"));
        }
        Ok(numbers.iter_mut().map(|(region, ms)| (std::mem::take(&mut **region), *ms)).collect())
    }

    fn labels(&mut self) -> Result<Vec<String>, Problem> {
        let Some(Scalar::Texts(mut texts, count)) = self.take(&LABELS) else { return Ok(Vec::new()) };
        if count > LABELS_MAX {
            return Err(invalid(&LABELS, &format!("has at most {LABELS_MAX} of them")));
        }
        if !texts.iter().all(|label| is_label(label)) {
            return Err(invalid(
                &LABELS,
                "has texts of 1 to 32 of a-z, 0-9, -, = and ., a letter or digit first",
            ));
        }
        Ok(texts.iter_mut().map(|text| std::mem::take(&mut **text)).collect())
    }

    fn party(&mut self) -> Result<Option<Party>, Problem> {
        let key = self.optional_text(&PARTY);
        let size = match self.take(&PARTY_SIZE) {
            Some(Scalar::Number(size)) => Some(size),
            _ => None,
        };
        let (Some(key), Some(size)) = (&key, size) else {
            return match (key, size) {
                (None, None) => Ok(None),
                (Some(_), _) => Err(invalid(&PARTY_SIZE, "is missing beside `party`")),
                (None, _) => Err(invalid(&PARTY, "is missing beside `party_size`")),
            };
        };
        let is_plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if !is_plain || !(PARTY_BYTES_MIN..=PARTY_BYTES_MAX).contains(&key.len()) {
            let form = format!("has {PARTY_BYTES_MIN} to {PARTY_BYTES_MAX} of A-Z, a-z, 0-9, '_' and '-'");
            return Err(invalid(&PARTY, &form));
        }
        let size = u8::try_from(size).ok().filter(|size| (2..=PARTY_MAX).contains(size));
        let size = size.ok_or_else(|| invalid(&PARTY_SIZE, &format!("is 2 to {PARTY_MAX}")))?;
        let mut hashed = [0; 32];
        hashed.copy_from_slice(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
        Ok(Some(Party { key: hashed, size }))
    }
}
