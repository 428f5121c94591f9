//! The tree of keys: fleet key → server key → one key per purpose → one per stream.
//!
//! Owns every derivation; nothing else in the project touches HKDF. A game server holds its own server key only and can
//! derive nobody else's. Invariant: no key material in `Debug`, `Display` (but for the key line an operator asks for) or an error.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{aead, hkdf, hmac};
use zeroize::Zeroizing;

use crate::ids::{ServerId, StreamId};
use crate::rng::Rng;

const KEY_LEN: usize = 32;
type Secret = Zeroizing<[u8; KEY_LEN]>;

struct Len;
impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        KEY_LEN
    }
}

fn derive(secret: &[u8; KEY_LEN], salt: &[u8], info: &[&[u8]]) -> Secret {
    let mut out = Zeroizing::new([0; KEY_LEN]);
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let filled = prk.expand(info, Len).and_then(|okm| okm.fill(out.as_mut_slice()));
    assert!(filled.is_ok(), "HKDF-SHA-256 yields 32 bytes for any input");
    out
}

/// What an envelope is for. Each has a key of its own, so that no message can be passed off as another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Server → hub, topic status.
    Status = 1,
    /// Server → hub, topic events.
    Events = 2,
    /// Server → hub, topic status, left with the broker at connect and published when the connection dies.
    Will = 3,
    /// Hub → server, topic inbox.
    Inbox = 4,
    /// Hub → server, topic inbox: "your clock is off".
    SkewToServer = 5,
    /// Server → hub, topic events: "your clock is off".
    SkewToHub = 6,
    /// Hub → itself, topic canary.
    Canary = 7,
}

impl Purpose {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// The purpose with this number on the wire.
    pub const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Status,
            2 => Self::Events,
            3 => Self::Will,
            4 => Self::Inbox,
            5 => Self::SkewToServer,
            6 => Self::SkewToHub,
            7 => Self::Canary,
            _ => return None,
        })
    }

    /// Dense index, for tables.
    pub(crate) const fn index(self) -> usize {
        self as usize - 1
    }

    /// Whether the sender's clock must agree with ours. A will is as old as its connection, and a skew message is sent to a
    /// machine whose clock is known to disagree.
    pub const fn is_timed(self) -> bool {
        !matches!(self, Self::Will | Self::SkewToServer | Self::SkewToHub)
    }
}

/// Which key an envelope was sealed under; in its clear header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName {
    /// Which fleet key.
    pub epoch: u8,
    /// Which key of that server; raising the lowest accepted one revokes the older.
    pub generation: u32,
}

/// Generation of a server's keys until one is revoked.
pub const FIRST_GENERATION: u32 = 1;

/// Why a key text was refused. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A fleet key file that is not ours.
    #[error("a fleet key file has one or two lines `hub-fleet-1.EPOCH.KEY`, the current one first")]
    FleetFile,
    /// A server key line that is not ours.
    #[error(
        "a server key is one line `hub-server-1.SERVER-ID.EPOCH.GENERATION.KEY`, as `auth-hub server-key` prints it"
    )]
    ServerLine,
}

/// Whether a text begins as our keys do. Asked where a path is wanted, before it is quoted as one.
pub fn is_key_text(text: &str) -> bool {
    ["hub-fleet-1.", "hub-server-1."].iter().any(|start| text.trim_start().starts_with(start))
}

struct FleetKey {
    epoch: u8,
    secret: Secret,
}

/// The hub's root secret: the current key, and the previous one while servers still move over.
pub struct FleetKeys {
    current: FleetKey,
    previous: Option<FleetKey>,
}

impl FleetKeys {
    /// A fresh fleet key of epoch 1.
    pub fn generate(rng: &dyn Rng) -> Self {
        Self { current: FleetKey { epoch: 1, secret: Zeroizing::new(rng.array()) }, previous: None }
    }

    /// Reads the text of a fleet key file.
    ///
    /// # Errors
    /// [`KeyError::FleetFile`] when it is not one, or both lines have the same epoch.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
            let mut parts = line.trim().split('.');
            let (Some("hub-fleet-1"), Some(epoch), Some(key), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(KeyError::FleetFile);
            };
            let epoch = epoch.parse().map_err(|_| KeyError::FleetFile)?;
            Ok(FleetKey { epoch, secret: decode_secret(key).ok_or(KeyError::FleetFile)? })
        });
        let current = lines.next().ok_or(KeyError::FleetFile)??;
        let previous = lines.next().transpose()?;
        let clash = previous.as_ref().is_some_and(|p| p.epoch == current.epoch);
        if clash || lines.next().is_some() {
            Err(KeyError::FleetFile)
        } else {
            Ok(Self { current, previous })
        }
    }

    /// The text of the key file: what [`FleetKeys::parse`] reads. Secret.
    pub fn to_file_text(&self) -> Zeroizing<String> {
        let line = |key: &FleetKey| {
            format!("hub-fleet-1.{}.{}\n", key.epoch, URL_SAFE_NO_PAD.encode(key.secret.as_slice()))
        };
        Zeroizing::new(line(&self.current) + &self.previous.as_ref().map(line).unwrap_or_default())
    }

    /// The key a server is given today.
    pub fn server_key(&self, server: &ServerId, generation: u32) -> ServerKey {
        ServerKey::derive(&self.current, server, generation)
    }

    /// The key that an envelope's header names; `None` for an epoch we no longer hold.
    pub fn server_key_named(&self, server: &ServerId, name: KeyName) -> Option<ServerKey> {
        std::iter::once(&self.current)
            .chain(&self.previous)
            .find(|key| key.epoch == name.epoch)
            .map(|key| ServerKey::derive(key, server, name.generation))
    }

    /// Seed of the key that signs access tokens.
    pub fn access_token_seed(&self) -> Zeroizing<[u8; 32]> {
        derive(&self.current.secret, b"handover/v1 fleet", &[b"access-token"])
    }

    /// Seals the tickets of the login queue.
    pub fn queue_ticket_key(&self) -> Zeroizing<[u8; 32]> {
        derive(&self.current.secret, b"handover/v1 fleet", &[b"queue-ticket"])
    }

    /// Seed of the key that names requests which must not be carried out twice.
    pub fn request_name_seed(&self) -> Zeroizing<[u8; 32]> {
        derive(&self.current.secret, b"handover/v1 fleet", &[b"request-name"])
    }

    /// Seed of the keys that answers are sealed under while they are kept.
    pub fn kept_answer_seed(&self) -> Zeroizing<[u8; 32]> {
        derive(&self.current.secret, b"handover/v1 fleet", &[b"kept-answer"])
    }
}

impl fmt::Debug for FleetKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FleetKeys(epoch {}, secret)", self.current.epoch)
    }
}

/// What one game server holds.
#[derive(Clone)]
pub struct ServerKey {
    server: ServerId,
    name: KeyName,
    secret: Secret,
}

impl ServerKey {
    fn derive(fleet: &FleetKey, server: &ServerId, generation: u32) -> Self {
        let info: [&[u8]; 3] = [b"server", server.as_str().as_bytes(), &generation.to_be_bytes()];
        let secret = derive(&fleet.secret, b"handover/v1 fleet", &info);
        Self { server: server.clone(), name: KeyName { epoch: fleet.epoch, generation }, secret }
    }

    /// Whose key it is.
    pub fn server(&self) -> &ServerId {
        &self.server
    }

    /// Which of the server's keys it is.
    pub fn name(&self) -> KeyName {
        self.name
    }

    /// The line that `auth-hub server-key` prints and a game server's configuration holds. Secret.
    pub fn to_line(&self) -> Zeroizing<String> {
        let KeyName { epoch, generation } = self.name;
        let key = URL_SAFE_NO_PAD.encode(self.secret.as_slice());
        Zeroizing::new(format!("hub-server-1.{}.{epoch}.{generation}.{key}", self.server))
    }

    /// What the server shows the embedded broker, with its epoch and generation in clear so that the hub can derive the same.
    pub fn mqtt_password(&self) -> Zeroizing<String> {
        let KeyName { epoch, generation } = self.name;
        let secret = derive(&self.secret, b"handover/v1 server", &[b"mqtt-password"]);
        Zeroizing::new(format!("{epoch}.{generation}.{}", URL_SAFE_NO_PAD.encode(secret.as_slice())))
    }

    /// The key name that an MQTT password claims; nothing is checked.
    pub fn name_in_password(password: &str) -> Option<KeyName> {
        let mut parts = password.split('.');
        let epoch = parts.next()?.parse().ok()?;
        let generation = parts.next()?.parse().ok()?;
        Some(KeyName { epoch, generation })
    }

    /// The key of the tag on tokens for this server.
    pub(crate) fn token_tag_key(&self) -> hmac::Key {
        let secret = derive(&self.secret, b"handover/v1 server", &[b"token-tag"]);
        hmac::Key::new(hmac::HMAC_SHA256, secret.as_slice())
    }

    /// The key of one stream's envelopes of one purpose.
    pub(crate) fn stream_key(&self, purpose: Purpose, stream: StreamId) -> aead::LessSafeKey {
        let of_purpose = derive(&self.secret, b"handover/v1 server", &[b"purpose", &[purpose as u8]]);
        let secret = derive(&of_purpose, &stream.0, &[b"stream"]);
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, secret.as_slice());
        aead::LessSafeKey::new(key.unwrap_or_else(|_| unreachable!("AES-256 takes 32 bytes")))
    }
}

impl FromStr for ServerKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.trim().split('.');
        let (Some("hub-server-1"), Some(server), Some(epoch), Some(generation), Some(key), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(KeyError::ServerLine);
        };
        let bad = |_| KeyError::ServerLine;
        Ok(Self {
            server: server.parse().map_err(|_| KeyError::ServerLine)?,
            name: KeyName {
                epoch: epoch.parse().map_err(bad)?,
                generation: generation.parse().map_err(|_| KeyError::ServerLine)?,
            },
            secret: decode_secret(key).ok_or(KeyError::ServerLine)?,
        })
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerKey({}, {:?}, secret)", self.server, self.name)
    }
}

fn decode_secret(text: &str) -> Option<Secret> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    fn fleet() -> FleetKeys {
        FleetKeys::generate(&SeededRng::new(1))
    }

    fn id(text: &str) -> ServerId {
        text.parse().unwrap()
    }

    #[test]
    fn files_and_lines_read_back() {
        let fleet = fleet();
        let again = FleetKeys::parse(&fleet.to_file_text()).unwrap();
        let key = fleet.server_key(&id("alpha"), 3);
        assert_eq!(again.server_key(&id("alpha"), 3).secret, key.secret);
        let line: ServerKey = key.to_line().parse().unwrap();
        assert_eq!((line.server, line.name, line.secret), (key.server, key.name, key.secret));
    }

    #[test]
    fn the_previous_epoch_still_opens() {
        let old = fleet();
        let new = FleetKey { epoch: 2, secret: Zeroizing::new([7; 32]) };
        let both = FleetKeys { current: new, previous: Some(old.current) };
        let both = FleetKeys::parse(&both.to_file_text()).unwrap();
        let name = KeyName { epoch: 1, generation: 1 };
        let key = both.server_key_named(&id("alpha"), name).unwrap();
        assert_eq!(key.secret, fleet().server_key(&id("alpha"), 1).secret);
        assert_eq!(both.server_key(&id("alpha"), 1).name.epoch, 2, "new keys come from the current one");
        assert!(both.server_key_named(&id("alpha"), KeyName { epoch: 3, generation: 1 }).is_none());
    }

    #[test]
    fn every_name_and_purpose_has_a_key_of_its_own() {
        let fleet = fleet();
        let one = fleet.server_key(&id("alpha"), 1);
        for other in [fleet.server_key(&id("beta"), 1), fleet.server_key(&id("alpha"), 2)] {
            assert_ne!(one.secret, other.secret);
            assert_ne!(one.mqtt_password(), other.mqtt_password());
        }
    }

    #[test]
    fn each_of_the_hubs_own_seeds_is_the_fleet_keys_and_no_other() {
        let of = |fleet: &FleetKeys| {
            [fleet.access_token_seed(), fleet.request_name_seed(), fleet.kept_answer_seed()]
        };
        let seeds = of(&fleet());
        assert_eq!(seeds, of(&fleet()));
        let other = of(&FleetKeys::generate(&SeededRng::new(2)));
        let all: Vec<_> = seeds.iter().chain(&other).chain([&fleet().current.secret]).cloned().collect();
        for (n, seed) in all.iter().enumerate() {
            assert!(!all[..n].contains(seed), "seed {n}");
        }
    }

    #[test]
    fn a_password_says_which_key_it_was_derived_from() {
        let key = fleet().server_key(&id("alpha"), 3);
        assert_eq!(ServerKey::name_in_password(&key.mqtt_password()), Some(key.name()));
        for text in ["", "1", "x.3.", "1.x."] {
            assert_eq!(ServerKey::name_in_password(text), None, "{text}");
        }
    }

    #[test]
    fn each_purpose_has_its_number_on_the_wire_and_its_place_in_a_table() {
        for (index, number) in (1..).enumerate().take(Purpose::COUNT) {
            let purpose = Purpose::from_wire(number).unwrap();
            assert_eq!((purpose as u8, purpose.index()), (number, index));
        }
        assert_eq!((Purpose::from_wire(0), Purpose::from_wire(8)), (None, None));
    }

    #[test]
    fn broken_texts_are_named_errors() {
        for text in ["", "hub-fleet-1.1.AAAA", "hub-fleet-1.x.", "nonsense"] {
            assert_eq!(FleetKeys::parse(text).unwrap_err(), KeyError::FleetFile, "{text}");
        }
        let line = fleet().to_file_text();
        assert!(FleetKeys::parse(&format!("{}{}", *line, *line)).is_err(), "same epoch twice");
        for text in ["", "hub-server-1.alpha.1.1.AAAA", "hub-server-1.ALPHA.1.1.", "hub-server-2.a.1.1."] {
            assert_eq!(text.parse::<ServerKey>().unwrap_err(), KeyError::ServerLine, "{text}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = fleet().server_key(&id("alpha"), 1);
        let line = key.to_line();
        let secret = line.rsplit('.').next().unwrap();
        assert!(!format!("{key:?} {:?}", fleet()).contains(secret));
    }
}
