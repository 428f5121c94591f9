//! A ticket as its owner holds it: sealed, so that nobody makes one up, reads one or uses another's.
//!
//! It names the account, the ticket, when it was issued and by which run of a hub. Whether it still counts, the queue knows. Invariant: a text
//! opens only if this fleet's key sealed it, and it has no `Debug` that shows it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use shared_msgs::clock::UnixMs;
use shared_msgs::ids::{AccountId, HubId};
use shared_msgs::rng::Rng;
use zeroize::Zeroizing;

/// Version, account, ticket, time of issue.
const FIXED_BYTES: usize = 1 + 16 + 16 + 8;
const VERSION: u8 = 1;
const PURPOSE: &[u8] = b"handover/v1 queue-ticket";
/// Longest text of a ticket.
pub const TICKET_TEXT_BYTES_MAX: usize = 160;

/// Names a ticket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId(pub [u8; 16]);

impl TicketId {
    /// A fresh one.
    pub fn random(rng: &dyn Rng) -> Self {
        let mut id = [0; 16];
        rng.fill(&mut id);
        Self(id)
    }
}

impl fmt::Debug for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketId({self})")
    }
}

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a ticket says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketFace {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub ticket: TicketId,
    /// When, by the hub's clock.
    pub issued: UnixMs,
    /// The run of a hub that issued it.
    pub hub: HubId,
}

/// Seals tickets and opens them.
pub struct TicketSeal {
    key: LessSafeKey,
    hub: HubId,
}

impl fmt::Debug for TicketSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSeal(..)")
    }
}

impl TicketSeal {
    /// `key` is the fleet's for this purpose; `hub` the run that issues.
    ///
    /// # Panics
    /// Never: the key has the length that the cipher wants.
    pub fn new(key: &Zeroizing<[u8; 32]>, hub: HubId) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &**key).expect("32 bytes are a key of AES-256");
        Self { key: LessSafeKey::new(key), hub }
    }

    /// The text for the owner. A nonce is drawn; 2³² tickets of one fleet key stay far from a likely repeat.
    pub fn seal(&self, account: AccountId, ticket: TicketId, issued: UnixMs, rng: &dyn Rng) -> String {
        let mut nonce = [0; NONCE_LEN];
        rng.fill(&mut nonce);
        let mut face = Vec::with_capacity(FIXED_BYTES + 64);
        face.push(VERSION);
        face.extend(account.0);
        face.extend(ticket.0);
        face.extend(issued.0.to_be_bytes());
        face.extend(self.hub.as_str().as_bytes());
        let sealed = Nonce::assume_unique_for_key(nonce);
        // Sealing fails only on a text of many gigabytes.
        let _ = self.key.seal_in_place_append_tag(sealed, Aad::from(PURPOSE), &mut face);
        URL_SAFE_NO_PAD.encode([&nonce[..], &face].concat())
    }

    /// What a text says; `None` unless this fleet sealed it.
    pub fn open(&self, text: &str) -> Option<TicketFace> {
        if text.len() > TICKET_TEXT_BYTES_MAX {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let face = &*self.key.open_in_place(nonce, Aad::from(PURPOSE), sealed).ok()?;
        let (fixed, hub) = face.split_at_checked(FIXED_BYTES)?;
        if fixed[0] != VERSION {
            return None;
        }
        Some(TicketFace {
            account: AccountId(fixed[1..17].try_into().ok()?),
            ticket: TicketId(fixed[17..33].try_into().ok()?),
            issued: UnixMs(u64::from_be_bytes(fixed[33..41].try_into().ok()?)),
            hub: std::str::from_utf8(hub).ok()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use shared_msgs::rng::SeededRng;

    use super::*;

    fn seal(key: u8) -> TicketSeal {
        TicketSeal::new(&Zeroizing::new([key; 32]), "hub-1".parse().unwrap())
    }

    #[test]
    fn a_ticket_opens_for_its_fleet_alone_and_says_what_was_sealed() {
        let rng = SeededRng::new(1);
        let (account, ticket) = (AccountId([3; 16]), TicketId::random(&rng));
        let text = seal(1).seal(account, ticket, UnixMs(77), &rng);
        assert!(text.len() <= TICKET_TEXT_BYTES_MAX, "{}", text.len());
        let face = seal(1).open(&text).unwrap();
        assert_eq!((face.account, face.ticket, face.issued), (account, ticket, UnixMs(77)));
        assert_eq!(seal(2).open(&text), None, "another fleet's");
        assert_ne!(text, seal(1).seal(account, ticket, UnixMs(77), &rng), "no two texts are alike");
        let longest = TicketSeal::new(&Zeroizing::new([1; 32]), "h".repeat(32).parse().unwrap());
        assert!(longest.seal(account, ticket, UnixMs(u64::MAX), &rng).len() <= TICKET_TEXT_BYTES_MAX);
    }

    #[test]
    fn an_altered_ticket_or_none_at_all_does_not_open() {
        let rng = SeededRng::new(2);
        let text = seal(1).seal(AccountId([3; 16]), TicketId([4; 16]), UnixMs(77), &rng);
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for at in 0..bytes.len() {
            for bit in [1, 0x80] {
                let mut altered = bytes.clone();
                altered[at] ^= bit;
                assert_eq!(seal(1).open(&URL_SAFE_NO_PAD.encode(altered)), None, "byte {at}");
            }
            assert_eq!(seal(1).open(&URL_SAFE_NO_PAD.encode(&bytes[..at])), None, "cut at {at}");
        }
        for text in ["", "A", "not base64!", &"A".repeat(200)] {
            assert_eq!(seal(1).open(text), None, "{text}");
        }
    }
}
