//! The short-lived access token: a JWT (RFC 7519, typ `at+jwt`) under the hub's own Ed25519 key.
//!
//! Sans-I/O: takes `now` and the generator. Owns the signing key and the memory of tokens it has verified (a verification
//! costs about 54 µs, a look-up below one). Invariants: one fixed header, compared as text, so that a token cannot choose how it is
//! checked; only what verified is remembered, at most [`REMEMBERED_TOKENS_MAX`], and the expiry is looked at every time.
//!
//! The key is derived from the *current* fleet key: after a rotation of that key, tokens of before are refused, and clients
//! log in again. They live some minutes; remembering old seeds for them is not worth it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use shared_msgs::clock::UnixMs;
use shared_msgs::ids::AccountId;
use shared_msgs::rng::Rng;
use zeroize::Zeroizing;

/// Longest text looked at; ours have about 300 bytes.
const TOKEN_BYTES_MAX: usize = 1024;
/// Verified tokens remembered; the first to expire makes room.
const REMEMBERED_TOKENS_MAX: usize = 1 << 16;
const HEADER: &str = r#"{"alg":"EdDSA","typ":"at+jwt"}"#;
const ISSUER: &str = "auth-hub";

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Not of our making.
    #[error("the access token is not genuine")]
    Invalid,
    /// Of our making, but its time is over.
    #[error("the access token has expired")]
    Expired,
}

/// A fresh token for a client. Secret.
pub struct AccessToken {
    text: Zeroizing<String>,
    /// How long it lives.
    pub life: Duration,
}

impl AccessToken {
    /// The text for the client. Secret.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(secret)")
    }
}

#[derive(Serialize, Deserialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    iat: u64,
    exp: u64,
    sid: &'a str,
}

/// Makes and checks access tokens.
pub struct AccessTokens {
    key: Ed25519KeyPair,
    /// The header's encoded form and its dot.
    head: String,
    life: Duration,
    verified: Mutex<Verified>,
}

impl AccessTokens {
    /// Tokens that live `life`, in whole seconds, signed by the key of this seed.
    ///
    /// # Panics
    /// Never: every 32 bytes are an Ed25519 seed.
    pub fn new(seed: &[u8; 32], life: Duration) -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(seed)
            .unwrap_or_else(|_| unreachable!("an Ed25519 seed is any 32 bytes"));
        let head = URL_SAFE_NO_PAD.encode(HEADER) + ".";
        let life = Duration::from_secs(life.as_secs());
        Self { key, head, life, verified: Mutex::new(Verified::new(REMEMBERED_TOKENS_MAX)) }
    }

    /// A fresh token that names `account`.
    pub fn issue(&self, account: AccountId, now: UnixMs, rng: &dyn Rng) -> AccessToken {
        let iat = now.0 / 1000;
        let exp = iat.saturating_add(self.life.as_secs());
        let sid = URL_SAFE_NO_PAD.encode(rng.array::<16>());
        let claims = Claims { iss: ISSUER, sub: &account.to_string(), iat, exp, sid: &sid };
        let claims = serde_json::to_string(&claims).unwrap_or_else(|_| unreachable!("texts and numbers"));
        let mut text = Zeroizing::new(String::with_capacity(TOKEN_BYTES_MAX));
        text.push_str(&self.head);
        URL_SAFE_NO_PAD.encode_string(claims, &mut text);
        let signature = self.key.sign(text.as_bytes());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        AccessToken { text, life: self.life }
    }

    /// Whom a text names.
    ///
    /// # Errors
    /// See [`AccessError`]. Expiry is looked at only once the signature is right.
    pub fn verify(&self, text: &str, now: UnixMs) -> Result<AccountId, AccessError> {
        self.verify_until(text, now).map(|(account, _)| account)
    }

    /// Whom a text names, and from when on it does not.
    ///
    /// # Errors
    /// As [`AccessTokens::verify`].
    pub fn verify_until(&self, text: &str, now: UnixMs) -> Result<(AccountId, UnixMs), AccessError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(AccessError::Invalid);
        }
        let mut hash = TokenKey::default();
        hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        let remembered = self.lock().get(&hash);
        let (account, exp) = match remembered {
            Some(known) => known,
            None => self.check(text).ok_or(AccessError::Invalid)?,
        };
        if now.0 / 1000 >= exp {
            return Err(AccessError::Expired);
        }
        if remembered.is_none() {
            self.lock().insert(hash, account, exp, now.0 / 1000);
        }
        Ok((account, UnixMs(exp.saturating_mul(1000))))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, text: &str) -> Option<(AccountId, u64)> {
        let (signed, signature) = text.rsplit_once('.')?;
        let claims = signed.strip_prefix(&self.head)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let key = UnparsedPublicKey::new(&ED25519, self.key.public_key().as_ref());
        key.verify(signed.as_bytes(), &signature).ok()?;
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        let claims: Claims<'_> = serde_json::from_slice(&claims).ok()?;
        (claims.iss == ISSUER).then_some((claims.sub.parse().ok()?, claims.exp))
    }
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessTokens").field("life", &self.life).finish_non_exhaustive()
    }
}

/// SHA-256 of the whole text, signature included.
type TokenKey = [u8; 32];

/// Tokens that verified, until they expire.
struct Verified {
    tokens_max: usize,
    by_hash: BTreeMap<TokenKey, (AccountId, u64)>,
    by_expiry: BTreeSet<(u64, TokenKey)>,
}

impl Verified {
    fn new(tokens_max: usize) -> Self {
        Self { tokens_max, by_hash: BTreeMap::new(), by_expiry: BTreeSet::new() }
    }

    fn get(&self, hash: &TokenKey) -> Option<(AccountId, u64)> {
        self.by_hash.get(hash).copied()
    }

    fn insert(&mut self, hash: TokenKey, account: AccountId, exp: u64, now_s: u64) {
        while self.by_expiry.first().is_some_and(|(first, _)| *first <= now_s || self.is_full()) {
            if let Some((_, hash)) = self.by_expiry.pop_first() {
                self.by_hash.remove(&hash);
            }
        }
        self.by_hash.insert(hash, (account, exp));
        self.by_expiry.insert((exp, hash));
    }

    fn is_full(&self) -> bool {
        self.by_hash.len() >= self.tokens_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shared_msgs::rng::SeededRng;

    const LIFE: Duration = Duration::from_mins(15);
    const NOW: UnixMs = UnixMs(1_000_500);
    const BOB: AccountId = AccountId([7; 16]);

    fn tokens() -> AccessTokens {
        AccessTokens::new(&[1; 32], LIFE)
    }

    fn remembered(tokens: &AccessTokens) -> usize {
        let verified = tokens.lock();
        assert_eq!(verified.by_hash.len(), verified.by_expiry.len());
        verified.by_hash.len()
    }

    #[test]
    fn a_token_names_its_account_until_its_expiry() {
        let (tokens, rng) = (tokens(), SeededRng::new(1));
        let token = tokens.issue(BOB, NOW, &rng);
        assert_eq!(token.life, LIFE);
        let last = UnixMs(1_000_000 + 900_000 - 1);
        // Twice each: verified, then remembered.
        for _ in 0..2 {
            assert_eq!(tokens.verify(token.expose(), NOW), Ok(BOB));
            assert_eq!(tokens.verify(token.expose(), last), Ok(BOB));
            assert_eq!(tokens.verify(token.expose(), UnixMs(last.0 + 1)), Err(AccessError::Expired));
        }
        assert_ne!(token.expose(), tokens.issue(BOB, NOW, &rng).expose(), "every token is its own");
        assert_eq!(format!("{token:?} {tokens:?}"), "AccessToken(secret) AccessTokens { life: 900s, .. }");
    }

    #[test]
    fn no_altered_character_and_no_other_length_passes() {
        let (tokens, rng) = (tokens(), SeededRng::new(1));
        let token = tokens.issue(BOB, NOW, &rng);
        let text = token.expose();
        assert_eq!(tokens.verify(text, NOW), Ok(BOB));
        for at in 0..text.len() {
            for other in ['A', 'b', '-', '=', '.', 'é'] {
                let altered: String =
                    text.char_indices().map(|(i, c)| if i == at { other } else { c }).collect();
                let verified = tokens.verify(&altered, NOW);
                assert!(altered == text || verified == Err(AccessError::Invalid), "{at} {other}");
            }
            assert_eq!(tokens.verify(&text[..at], NOW), Err(AccessError::Invalid));
        }
        for longer in [format!("{text}A"), format!("{text}="), format!("{text}.{text}"), "x".repeat(1025)] {
            assert_eq!(tokens.verify(&longer, NOW), Err(AccessError::Invalid));
        }
        assert_eq!(remembered(&tokens), 1, "only what verified is remembered");
    }

    #[test]
    fn no_other_header_key_or_issuer_passes() {
        let (tokens, rng) = (tokens(), SeededRng::new(1));
        let other = AccessTokens::new(&[2; 32], LIFE).issue(BOB, NOW, &rng);
        assert_eq!(tokens.verify(other.expose(), NOW), Err(AccessError::Invalid));

        // Signed by the right key, and yet not what we sign.
        let forge = |header: &str, claims: &str| {
            let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
            let signature = URL_SAFE_NO_PAD.encode(tokens.key.sign(signed.as_bytes()));
            tokens.verify(&format!("{signed}.{signature}"), NOW)
        };
        let claims = |iss: &str, sub: &str| {
            format!(r#"{{"iss":"{iss}","sub":"{sub}","iat":1,"exp":99999,"sid":"x"}}"#)
        };
        let ours = claims(ISSUER, &BOB.to_string());
        assert_eq!(forge(HEADER, &ours), Ok(BOB));
        for header in
            [r#"{"alg":"none"}"#, r#"{"alg":"EdDSA","typ":"JWT"}"#, r#"{"alg":"EdDSA","typ":"at+jwt" }"#]
        {
            assert_eq!(forge(header, &ours), Err(AccessError::Invalid), "{header}");
        }
        for claims in [claims("elsewhere", &BOB.to_string()), claims(ISSUER, "bob"), "{}".to_owned()] {
            assert_eq!(forge(HEADER, &claims), Err(AccessError::Invalid), "{claims}");
        }
        let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(ours));
        assert_eq!(tokens.verify(&unsigned, NOW), Err(AccessError::Invalid));
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_expired_first() {
        let key = |n: u8| [n; 32];
        let mut verified = Verified::new(3);
        for (n, exp) in [(1, 50), (2, 30), (3, 40)] {
            verified.insert(key(n), BOB, exp, 0);
        }
        verified.insert(key(4), BOB, 60, 0);
        assert_eq!(verified.get(&key(2)), None, "the first to expire made room");
        assert_eq!(verified.by_hash.len(), 3);
        verified.insert(key(5), BOB, 70, 50);
        assert_eq!(verified.by_hash.keys().map(|key| key[0]).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(verified.by_expiry.len(), 2);
    }

    proptest! {
        #[test]
        fn whatever_is_shown_is_answered(text in "\\PC{0,400}") {
            prop_assert_eq!(tokens().verify(&text, NOW), Err(AccessError::Invalid));
        }

        #[test]
        fn any_account_and_time_read_back(id: [u8; 16], now in 0..u64::MAX / 2, seed: u64) {
            let tokens = tokens();
            let token = tokens.issue(AccountId(id), UnixMs(now), &SeededRng::new(seed));
            prop_assert_eq!(tokens.verify(token.expose(), UnixMs(now)), Ok(AccountId(id)));
        }
    }
}
