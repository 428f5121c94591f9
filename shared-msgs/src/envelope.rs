//! The sealed envelope around every MQTT payload.
//!
//! A 32-byte clear header (version, suite, purpose, key name, stream, seq), all of it associated data together with the full
//! topic; then AES-256-GCM over `issued_at ∥ batch`. The nonce is `seq`, the key is the stream's, so no counter is ever stored.
//! Invariant: nothing changes and nothing is cached before an open succeeds; (stream key, nonce) never repeats.

use ring::aead::{self, Aad, LessSafeKey, Nonce};

use crate::clock::UnixMs;
use crate::ids::StreamId;
use crate::keys::{KeyName, Purpose, ServerKey};
use crate::limits;
use crate::replay::ReplayWindow;
use crate::topics::Topic;

const VERSION: u8 = 1;
/// HKDF-SHA-256 and AES-256-GCM.
const SUITE: u8 = 1;
/// Bytes before the ciphertext.
pub const HEADER_BYTES: usize = 32;
const ISSUED_BYTES: usize = 8;
const TAG_BYTES: usize = 16;
/// What an envelope adds to a batch.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + ISSUED_BYTES + TAG_BYTES;
/// The largest batch that fits an envelope.
pub const BATCH_BYTES_MAX: usize = limits::PAYLOAD_BYTES_MAX - OVERHEAD_BYTES;

/// Why a batch was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Over [`BATCH_BYTES_MAX`].
    #[error("a batch of {0} bytes does not fit an MQTT payload")]
    TooLarge(usize),
    /// 2⁶⁴ − 1 envelopes were sealed on one stream.
    #[error("the stream's sequence numbers are used up")]
    Exhausted,
}

/// Why a payload was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Shorter than an empty envelope or longer than a payload may be.
    #[error("{0} bytes are no envelope")]
    Size(usize),
    /// A version or suite we do not speak.
    #[error("envelope version or suite unknown")]
    Version,
    /// Not a purpose that belongs on this topic.
    #[error("envelope purpose does not belong here")]
    Purpose,
    /// Sealed under a key we do not hold or no longer accept.
    #[error("envelope names an unknown or revoked key")]
    Key,
    /// This sequence number was seen, or is too old to tell.
    #[error("envelope replayed or too old for the window")]
    Replayed,
    /// The seal is broken: altered, redirected, or sealed with another key.
    #[error("envelope is not genuine")]
    NotGenuine,
    /// Genuine, but the sender's clock and ours disagree by more than [`limits::CLOCK_SKEW_MAX`].
    #[error("envelope was issued at {issued_at}, too far from our clock")]
    Stale {
        /// The sender's clock.
        issued_at: UnixMs,
        /// The sender's stream.
        stream: StreamId,
        /// The sender's key.
        key: KeyName,
    },
}

struct Header {
    purpose: Purpose,
    key: KeyName,
    stream: StreamId,
    seq: u64,
}

impl Header {
    fn write(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0] = VERSION;
        out[1] = SUITE;
        out[2] = self.purpose as u8;
        out[3] = self.key.epoch;
        out[4..8].copy_from_slice(&self.key.generation.to_be_bytes());
        out[8..24].copy_from_slice(&self.stream.0);
        out[24..].copy_from_slice(&self.seq.to_be_bytes());
        out
    }

    fn read(payload: &[u8]) -> Result<Self, OpenError> {
        let size = Err(OpenError::Size(payload.len()));
        if payload.len() < OVERHEAD_BYTES || payload.len() > limits::PAYLOAD_BYTES_MAX {
            return size;
        }
        let Some((head, _)) = payload.split_first_chunk::<HEADER_BYTES>() else { return size };
        let (&[version, suite, purpose, epoch], rest) = head.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let (generation, rest) = rest.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let (stream, seq) = rest.split_first_chunk().unwrap_or((&[0; 16], &[]));
        if (version, suite) != (VERSION, SUITE) {
            return Err(OpenError::Version);
        }
        Ok(Self {
            purpose: Purpose::from_wire(purpose).ok_or(OpenError::Purpose)?,
            key: KeyName { epoch, generation: u32::from_be_bytes(*generation) },
            stream: StreamId(*stream),
            seq: u64::from_be_bytes(seq.try_into().unwrap_or_default()),
        })
    }
}

fn nonce(seq: u64) -> Nonce {
    let mut bytes = [0; aead::NONCE_LEN];
    bytes[4..].copy_from_slice(&seq.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn associated_data(header: &[u8; HEADER_BYTES], topic: &str) -> Vec<u8> {
    [header.as_slice(), topic.as_bytes()].concat()
}

/// Seals one stream's envelopes of one purpose for one topic. Not `Clone`: two of them would repeat nonces.
pub struct Sealer {
    purpose: Purpose,
    key_name: KeyName,
    stream: StreamId,
    topic: String,
    key: LessSafeKey,
    next_seq: u64,
}

impl Sealer {
    /// `stream` must be fresh for this connection: (stream, purpose, server) names the nonce domain.
    pub fn new(key: &ServerKey, purpose: Purpose, stream: StreamId, topic: &Topic) -> Self {
        // A will is alone in its domain and always seq 0, so that a stream can have only one.
        let next_seq = u64::from(purpose != Purpose::Will);
        Self {
            purpose,
            key_name: key.name(),
            stream,
            topic: topic.to_string(),
            key: key.stream_key(purpose, stream),
            next_seq,
        }
    }

    /// Which of the server's keys this seals under.
    pub fn key_name(&self) -> KeyName {
        self.key_name
    }

    /// A payload ready to publish on the sealer's topic.
    ///
    /// # Errors
    /// When the batch is too large, or the stream has come to its end.
    pub fn seal(&mut self, issued_at: UnixMs, batch: &[u8]) -> Result<Vec<u8>, SealError> {
        if batch.len() > BATCH_BYTES_MAX {
            return Err(SealError::TooLarge(batch.len()));
        }
        let seq = self.next_seq;
        self.next_seq = seq.checked_add(1).ok_or(SealError::Exhausted)?;
        let header = Header { purpose: self.purpose, key: self.key_name, stream: self.stream, seq }.write();
        let mut out = Vec::with_capacity(OVERHEAD_BYTES + batch.len());
        out.extend_from_slice(&header);
        out.extend_from_slice(&issued_at.0.to_be_bytes());
        out.extend_from_slice(batch);
        let aad = Aad::from(associated_data(&header, &self.topic));
        let tag = self.key.seal_in_place_separate_tag(nonce(seq), aad, &mut out[HEADER_BYTES..]);
        out.extend_from_slice(tag.map_err(|_| SealError::TooLarge(batch.len()))?.as_ref());
        Ok(out)
    }
}

/// A payload that opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What it is for.
    pub purpose: Purpose,
    /// Which key the sender uses.
    pub key: KeyName,
    /// The sender's connection.
    pub stream: StreamId,
    /// The sender's clock when it sealed.
    pub issued_at: UnixMs,
    /// The batch of messages.
    pub batch: Vec<u8>,
}

struct Lane {
    key_name: KeyName,
    key: LessSafeKey,
    window: ReplayWindow,
}

struct Stream {
    id: StreamId,
    /// Position in the order of use; the least is the longest idle.
    used: u64,
    /// Each where it is used: a stream has one or two of them, and a key is large.
    lanes: [Option<Box<Lane>>; Purpose::COUNT],
}

/// Opens what one sender seals: a server's streams at a hub, or the hubs' streams at a server.
pub struct Opener {
    streams: Vec<Stream>,
    streams_max: usize,
    uses: u64,
}

impl Opener {
    /// Remembers at most `streams_max` streams; the longest idle goes first (a replay is then harmless: messages are idempotent).
    pub fn new(streams_max: usize) -> Self {
        Self { streams: Vec::new(), streams_max, uses: 0 }
    }

    /// Opens `payload`, received on `topic`. `allowed` are the purposes that belong there; `key_for` finds the key the header names.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing has changed then, except that a [`OpenError::Stale`] one counts as seen.
    pub fn open(
        &mut self,
        topic: &Topic,
        allowed: &[Purpose],
        payload: &[u8],
        now: UnixMs,
        key_for: impl FnOnce(KeyName) -> Option<ServerKey>,
    ) -> Result<Opened, OpenError> {
        let header = Header::read(payload)?;
        if !allowed.contains(&header.purpose) || (header.purpose == Purpose::Will && header.seq != 0) {
            return Err(OpenError::Purpose);
        }
        let server_key = key_for(header.key).ok_or(OpenError::Key)?;
        let at = self.streams.iter().position(|s| s.id == header.stream);
        let lane = at
            .and_then(|at| self.streams[at].lanes[header.purpose.index()].as_ref())
            .filter(|lane| lane.key_name == header.key);
        if lane.is_some_and(|lane| !lane.window.is_fresh(header.seq)) || header.seq == u64::MAX {
            return Err(OpenError::Replayed);
        }
        let fresh_key;
        let key = if let Some(lane) = lane {
            &lane.key
        } else {
            fresh_key = server_key.stream_key(header.purpose, header.stream);
            &fresh_key
        };
        let mut sealed = payload[HEADER_BYTES..].to_vec();
        let aad = Aad::from(associated_data(&header.write(), &topic.to_string()));
        let plain =
            key.open_in_place(nonce(header.seq), aad, &mut sealed).map_err(|_| OpenError::NotGenuine)?;
        let (issued_at, batch) = plain.split_first_chunk().ok_or(OpenError::NotGenuine)?;
        let issued_at = UnixMs(u64::from_be_bytes(*issued_at));
        let opened = Opened {
            purpose: header.purpose,
            key: header.key,
            stream: header.stream,
            issued_at,
            batch: batch.to_vec(),
        };
        self.remember(at, &header, &server_key);
        if header.purpose.is_timed() && issued_at.abs_diff(now) > limits::CLOCK_SKEW_MAX {
            return Err(OpenError::Stale { issued_at, stream: header.stream, key: header.key });
        }
        Ok(opened)
    }

    fn remember(&mut self, at: Option<usize>, header: &Header, server_key: &ServerKey) {
        self.uses += 1;
        let at = at.unwrap_or_else(|| {
            if self.streams.len() >= self.streams_max {
                let idle = self.streams.iter().enumerate().min_by_key(|(_, s)| s.used).map_or(0, |(i, _)| i);
                self.streams.swap_remove(idle);
            }
            self.streams.push(Stream { id: header.stream, used: 0, lanes: Default::default() });
            self.streams.len() - 1
        });
        let stream = &mut self.streams[at];
        stream.used = self.uses;
        let lane = &mut stream.lanes[header.purpose.index()];
        if lane.as_ref().is_none_or(|lane| lane.key_name != header.key) {
            let key = server_key.stream_key(header.purpose, header.stream);
            *lane = Some(Box::new(Lane { key_name: header.key, key, window: ReplayWindow::default() }));
        }
        if let Some(lane) = lane {
            lane.window.accept(header.seq);
        }
    }
}

#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg(test)]
mod tests;
