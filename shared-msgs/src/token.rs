//! The one-time token: what the client carries from the hub to one boot of one game server.
//!
//! version ∥ expiry (unix ms, big-endian u64) ∥ 32 random bytes ∥ 16-byte tag, base64url: 76 characters. The tag is HMAC-SHA-256, cut
//! to 16 bytes, over all before it, the server id and the boot id, under a key only the hub and that server hold: garbage, expired
//! tokens and tokens for elsewhere are refused in about a microsecond, without a look-up. Invariant: the secret text never appears in `Debug`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::clock::UnixMs;
use crate::ids::{BootId, ServerId, TokenHash};
use crate::keys::ServerKey;
use crate::limits;
use crate::rng::Rng;

const VERSION: u8 = 1;
const BODY_BYTES: usize = 1 + 8 + 32;
const TAG_BYTES: usize = 16;
const TOKEN_BYTES: usize = BODY_BYTES + TAG_BYTES;
const TEXT_BYTES: usize = TOKEN_BYTES * 4 / 3;
const _: () = assert!(TEXT_BYTES <= limits::TOKEN_TEXT_BYTES_MAX);

/// A token's text: whoever shows it is let in.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// The text for the client. Secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

/// Why a token is refused before any look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Garbage, forged, for another server or for another boot: one answer for all.
    #[error("token is not genuine here")]
    NotGenuine,
    /// Genuine, but its time is over.
    #[error("token has expired")]
    Expired,
}

/// What a genuine token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Genuine {
    /// What its grant is found by.
    pub hash: TokenHash,
    /// The hub's word on when it ends.
    pub expires_at: UnixMs,
}

/// Makes and checks the tokens of one boot of one server.
#[derive(Clone)]
pub struct TokenTag {
    key: hmac::Key,
    /// What the tag covers besides the token's body.
    bound_to: Vec<u8>,
}

impl TokenTag {
    /// For the tokens of this server's boot.
    pub fn new(key: &ServerKey, server: &ServerId, boot: BootId) -> Self {
        let bound_to =
            [boot.started.0.to_be_bytes().as_slice(), &boot.random.to_be_bytes(), server.as_str().as_bytes()]
                .concat();
        Self { key: key.token_tag_key(), bound_to }
    }

    fn tag(&self, body: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(body);
        context.update(&self.bound_to);
        context.sign()
    }

    /// A fresh token and the hash its grant carries.
    pub fn mint(&self, expires_at: UnixMs, rng: &dyn Rng) -> (Token, TokenHash) {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&expires_at.0.to_be_bytes());
        rng.fill(&mut bytes[9..BODY_BYTES]);
        let tag = self.tag(&bytes[..BODY_BYTES]);
        bytes[BODY_BYTES..].copy_from_slice(&tag.as_ref()[..TAG_BYTES]);
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        (Token(text), hash(bytes.as_slice()))
    }

    /// Checks a text some client showed.
    ///
    /// # Errors
    /// See [`TokenError`]. Expiry is looked at only once the tag is right.
    pub fn verify(&self, text: &str, now: UnixMs) -> Result<Genuine, TokenError> {
        if text.len() != TEXT_BYTES {
            return Err(TokenError::NotGenuine);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new).map_err(|_| TokenError::NotGenuine)?;
        let (body, tag) = bytes.split_at_checked(BODY_BYTES).ok_or(TokenError::NotGenuine)?;
        let expected = self.tag(body);
        if body[0] != VERSION || !bool::from(tag.ct_eq(&expected.as_ref()[..TAG_BYTES])) {
            return Err(TokenError::NotGenuine);
        }
        let expires_at = UnixMs(u64::from_be_bytes(body[1..9].try_into().unwrap_or_default()));
        if now >= expires_at {
            return Err(TokenError::Expired);
        }
        Ok(Genuine { hash: hash(&bytes), expires_at })
    }
}

fn hash(token: &[u8]) -> TokenHash {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
    TokenHash(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::FleetKeys;
    use crate::rng::SeededRng;

    const EXPIRY: UnixMs = UnixMs(90_000);
    const BOOT: BootId = BootId { started: UnixMs(5), random: 6 };

    fn tag(server: &str, boot: BootId) -> TokenTag {
        let server: ServerId = server.parse().unwrap();
        TokenTag::new(&FleetKeys::generate(&SeededRng::new(1)).server_key(&server, 1), &server, boot)
    }

    #[test]
    fn a_token_fits_its_bound_and_verifies_until_its_expiry() {
        let (token, hash) = tag("alpha", BOOT).mint(EXPIRY, &SeededRng::new(2));
        assert_eq!(token.expose().len(), 76);
        let genuine = Genuine { hash, expires_at: EXPIRY };
        assert_eq!(tag("alpha", BOOT).verify(token.expose(), UnixMs(89_999)), Ok(genuine));
        assert_eq!(tag("alpha", BOOT).verify(token.expose(), EXPIRY), Err(TokenError::Expired));
        assert_eq!(format!("{token:?}"), "Token(secret)");
    }

    #[test]
    fn elsewhere_it_is_not_genuine() {
        let (token, _) = tag("alpha", BOOT).mint(EXPIRY, &SeededRng::new(2));
        let later = BootId { random: 7, ..BOOT };
        for other in [tag("beta", BOOT), tag("alpha", later)] {
            assert_eq!(other.verify(token.expose(), UnixMs(0)), Err(TokenError::NotGenuine));
        }
    }

    #[test]
    fn no_altered_character_and_no_other_length_passes() {
        let tag = tag("alpha", BOOT);
        let (token, _) = tag.mint(EXPIRY, &SeededRng::new(2));
        let text = token.expose();
        for at in 0..text.len() {
            for other in ['A', 'b', '-', '=', 'é'] {
                let altered: String =
                    text.char_indices().map(|(i, c)| if i == at { other } else { c }).collect();
                let verified = tag.verify(&altered, UnixMs(0));
                assert!(altered == text || verified == Err(TokenError::NotGenuine), "{at} {other}");
            }
            assert_eq!(tag.verify(&text[..at], UnixMs(0)), Err(TokenError::NotGenuine));
        }
        assert_eq!(tag.verify(&format!("{text}AAAA"), UnixMs(0)), Err(TokenError::NotGenuine));
    }
}
