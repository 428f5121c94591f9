//! How a request is named, and how its answer is sealed while it is kept.
//!
//! Knows keys and bytes, no table and no request's meaning. Invariants: no key is used for two answers; an answer opens only as the one it
//! was sealed for; what is derived from a request tells nothing about the password in it to whoever has not got the key.

use std::fmt;

use axum::body::Bytes;
use ring::{aead, hmac};
use shared_msgs::clock::UnixMs;
use shared_msgs::ids::AccountId;
use shared_msgs::keys::FleetKeys;
use shared_msgs::rng::Rng;
use zeroize::Zeroizing;

use crate::accounts::kept::{Digest, Name};

const SALT_BYTES: usize = 16;
const TIME_BYTES: usize = 8;

/// Longest answer that is kept.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Names requests and seals their answers, under keys of the fleet key's.
pub struct AnswerKeys {
    names: hmac::Key,
    answers: hmac::Key,
}

/// A request that must not be carried out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: Name,
    pub(super) request: Digest,
}

/// An answer that was kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) answered: UnixMs,
    pub(super) body: Bytes,
}

impl AnswerKeys {
    /// Those of this fleet key.
    pub fn new(fleet: &FleetKeys) -> Self {
        let key = |seed: Zeroizing<[u8; 32]>| hmac::Key::new(hmac::HMAC_SHA256, seed.as_slice());
        Self { names: key(fleet.request_name_seed()), answers: key(fleet.kept_answer_seed()) }
    }

    /// The request that this account sends to this route under this key, and what it asks for.
    pub(super) fn name(&self, account: AccountId, route: &'static str, key: &str, body: &[u8]) -> Named {
        // Of fixed length, or without a zero byte in it.
        let name = self.tag(b'n', &[&account.0, route.as_bytes(), &[0], key.as_bytes()]);
        Named { name, request: self.tag(b'r', &[body]) }
    }

    /// For tests that write a row of their own.
    #[cfg(test)]
    pub(in crate::http) fn named_for_tests(
        &self,
        account: AccountId,
        route: &'static str,
        key: &str,
        body: &[u8],
    ) -> (Name, Digest) {
        let Named { name, request } = self.name(account, route, key, body);
        (name, request)
    }

    fn tag(&self, purpose: u8, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.names);
        context.update(&[purpose]);
        for part in parts {
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    /// What may be written down of an answer.
    pub(super) fn seal(&self, of: Named, answered: UnixMs, body: &[u8], rng: &dyn Rng) -> Option<Vec<u8>> {
        let salt: [u8; SALT_BYTES] = rng.array();
        let mut text = Zeroizing::new(Vec::with_capacity(TIME_BYTES + body.len() + aead::MAX_TAG_LEN));
        text.extend_from_slice(&answered.0.to_be_bytes());
        text.extend_from_slice(body);
        let (key, nonce) = self.key_of(&salt, of);
        key.seal_in_place_append_tag(nonce, aad(of), &mut *text).ok()?;
        Some([&salt[..], &text].concat())
    }

    /// The answer, if it is one to this request; not if it was sealed under another fleet key.
    pub(super) fn open(&self, of: Named, sealed: &[u8]) -> Option<Opened> {
        let (salt, text) = sealed.split_at_checked(SALT_BYTES)?;
        let mut text = Zeroizing::new(text.to_vec());
        let (key, nonce) = self.key_of(salt, of);
        let text = key.open_in_place(nonce, aad(of), &mut text).ok()?;
        let (answered, body) = text.split_first_chunk::<TIME_BYTES>()?;
        Some(Opened { answered: UnixMs(u64::from_be_bytes(*answered)), body: Bytes::copy_from_slice(body) })
    }

    /// A key for one answer: its salt is random, so that no nonce of it is needed twice, however many answers there are.
    fn key_of(&self, salt: &[u8], of: Named) -> (aead::LessSafeKey, aead::Nonce) {
        let mut context = hmac::Context::with_key(&self.answers);
        context.update(salt);
        context.update(&of.name);
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, context.sign().as_ref());
        let key = key.unwrap_or_else(|_| unreachable!("AES-256 takes the 32 bytes of a SHA-256"));
        (aead::LessSafeKey::new(key), aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN]))
    }
}

fn aad(Named { name, request }: Named) -> aead::Aad<[u8; 64]> {
    let mut aad = [0; 64];
    aad[..32].copy_from_slice(&name);
    aad[32..].copy_from_slice(&request);
    aead::Aad::from(aad)
}

impl fmt::Debug for AnswerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerKeys(secret)")
    }
}

#[cfg(test)]
mod tests {
    use shared_msgs::rng::SeededRng;

    use super::*;

    const KEY: &str = "0123456789abcdef";
    const ADA: AccountId = AccountId([1; 16]);

    fn keys(seed: u64) -> AnswerKeys {
        AnswerKeys::new(&FleetKeys::generate(&SeededRng::new(seed)))
    }

    #[test]
    fn a_request_is_named_by_whose_it_is_where_it_goes_and_its_key() {
        let named = keys(1).name(ADA, "/handover", KEY, b"{}");
        assert_eq!(named, keys(1).name(ADA, "/handover", KEY, b"{}"));
        let same_name = keys(1).name(ADA, "/handover", KEY, b"{ }");
        assert_eq!(same_name.name, named.name);
        assert_ne!(same_name.request, named.request);
        for other in [
            keys(2).name(ADA, "/handover", KEY, b"{}"),
            keys(1).name(AccountId([2; 16]), "/handover", KEY, b"{}"),
            keys(1).name(ADA, "/auth/login", KEY, b"{}"),
            keys(1).name(ADA, "/handover", "0123456789abcdeF", b"{}"),
        ] {
            assert_ne!(other.name, named.name);
        }
    }

    #[test]
    fn an_answer_opens_as_what_it_was_sealed_for_and_as_nothing_else() {
        let (keys, body) = (keys(1), b"a secret of 16 B");
        let of = keys.name(ADA, "/handover", KEY, b"{}");
        let rng = SeededRng::new(7);
        let sealed = keys.seal(of, UnixMs(5), body, &rng).unwrap();
        let opened = Opened { answered: UnixMs(5), body: Bytes::from_static(body) };
        assert_eq!(keys.open(of, &sealed), Some(opened));
        assert!(!sealed.windows(4).any(|part| part == &body[..4]), "nothing of it is there to be read");
        assert_ne!(sealed, keys.seal(of, UnixMs(5), body, &rng).unwrap(), "no two are alike");
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(keys.open(of, &altered), None, "byte {at}");
            assert_eq!(keys.open(of, &sealed[..at]), None, "{at} bytes");
        }
        let elsewhere = keys.name(ADA, "/handover", KEY, b"{ }");
        assert_eq!(keys.open(elsewhere, &sealed), None);
        let renamed = Named { name: [0; 32], ..of };
        assert_eq!(keys.open(renamed, &sealed), None);
        assert_eq!(super::tests::keys(2).open(of, &sealed), None, "another fleet key");
    }
}
