//! The reconnect credential: what a player whose connection broke comes back with, straight to its game server.
//!
//! version ∥ 16-byte name ∥ 32 random bytes, base64url: 66 characters. The name finds the session and is no secret; the rest is compared
//! as a SHA-256 hash, in constant time, that also covers the server's boot, the player and the fence: so one credential is good for one
//! session of one run. Owns no session and no time. Invariant: the secret text never appears in `Debug`, and only its hash is kept.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::ids::{BootId, Fence, PlayerId};
use crate::limits;
use crate::rng::Rng;

const VERSION: u8 = 1;
const NAME_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const BYTES: usize = 1 + NAME_BYTES + SECRET_BYTES;
const TEXT_BYTES: usize = (BYTES * 4).div_ceil(3);
const _: () = assert!(TEXT_BYTES <= limits::CREDENTIAL_TEXT_BYTES_MAX);

/// A credential's text: whoever shows it takes the session over.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Zeroizing<String>);

impl Credential {
    /// The text for the client. Secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(secret)")
    }
}

/// What a session's credentials are found by; the same for all that it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CredentialName([u8; NAME_BYTES]);

impl CredentialName {
    /// A fresh one.
    pub fn random(rng: &dyn Rng) -> Self {
        Self(rng.array())
    }
}

/// All that is kept of a credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CredentialHash([u8; 32]);

/// The session that a credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundTo {
    /// The run of the server.
    pub boot: BootId,
    /// Whose session.
    pub player: PlayerId,
    /// Which of the player's.
    pub fence: Fence,
}

impl BoundTo {
    /// A fresh credential, and what to keep of it.
    pub fn mint(&self, name: CredentialName, rng: &dyn Rng) -> (Credential, CredentialHash) {
        let mut bytes = Zeroizing::new([0; BYTES]);
        bytes[0] = VERSION;
        bytes[1..=NAME_BYTES].copy_from_slice(&name.0);
        rng.fill(&mut bytes[1 + NAME_BYTES..]);
        let hash = self.hash(&bytes[1 + NAME_BYTES..]);
        (Credential(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()))), hash)
    }

    fn hash(&self, secret: &[u8]) -> CredentialHash {
        let Self { boot, player, fence } = self;
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"handover/v1 reconnect");
        context.update(&boot.started.0.to_be_bytes());
        context.update(&boot.random.to_be_bytes());
        context.update(&player.0);
        context.update(&fence.to_bytes());
        context.update(secret);
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        CredentialHash(out)
    }
}

/// What a client showed, well-formed and no more than that.
pub struct Shown {
    name: CredentialName,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl Shown {
    /// Reads a text; `None` when it is no credential of this version.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_BYTES {
            return None;
        }
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        let (version, rest) = bytes.split_first()?;
        let (name, secret) = rest.split_first_chunk()?;
        let secret = Zeroizing::new(secret.try_into().ok()?);
        (*version == VERSION).then_some(Self { name: CredentialName(*name), secret })
    }

    /// Which session it asks for.
    pub fn name(&self) -> CredentialName {
        self.name
    }

    /// Whether it is the credential of this session that `kept` was kept of. In constant time.
    pub fn is(&self, kept: &CredentialHash, of: &BoundTo) -> bool {
        of.hash(self.secret.as_slice()).0.ct_eq(&kept.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMs;
    use crate::rng::SeededRng;

    fn bound() -> BoundTo {
        BoundTo {
            boot: BootId { started: UnixMs(5), random: 6 },
            player: PlayerId([7; 16]),
            fence: Fence { hlc: 8, hub: 9 },
        }
    }

    #[test]
    fn a_credential_is_known_by_its_hash_and_for_its_session_only() {
        let rng = SeededRng::new(1);
        let name = CredentialName::random(&rng);
        let (credential, hash) = bound().mint(name, &rng);
        let (_, other) = bound().mint(name, &rng);
        assert_eq!(credential.expose().len(), 66);
        let shown = Shown::parse(credential.expose()).unwrap();
        assert!(shown.name() == name && shown.is(&hash, &bound()));
        assert!(!shown.is(&other, &bound()), "another one of the same session");
        let boot = BootId { random: 7, ..bound().boot };
        let elsewhere = [
            BoundTo { boot, ..bound() },
            BoundTo { player: PlayerId([8; 16]), ..bound() },
            BoundTo { fence: Fence { hlc: 8, hub: 10 }, ..bound() },
        ];
        assert!(elsewhere.iter().all(|of| !shown.is(&hash, of)), "good for another session");
        assert_eq!(format!("{credential:?}"), "Credential(secret)");
    }

    #[test]
    fn no_altered_character_and_no_other_length_passes() {
        let rng = SeededRng::new(1);
        let name = CredentialName::random(&rng);
        let (credential, hash) = bound().mint(name, &rng);
        let text = credential.expose();
        for at in 0..text.len() {
            for other in ['A', 'b', '-', '=', 'é'] {
                let altered: String =
                    text.char_indices().map(|(i, c)| if i == at { other } else { c }).collect();
                let passes = Shown::parse(&altered)
                    .is_some_and(|shown| shown.name() == name && shown.is(&hash, &bound()));
                assert!(altered == text || !passes, "{at} {other}");
            }
            assert!(Shown::parse(&text[..at]).is_none());
        }
        assert!(Shown::parse(&format!("{text}AAAA")).is_none());
    }
}
