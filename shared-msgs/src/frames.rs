//! Frames of the game link, the reference transport between a client and a game server: `length u32 BE ∥ postcard`.
//!
//! The handshake is ours, [`ClientFrame::App`] and [`ServerFrame::App`] are the game's. A client skips frames whose tag it does not know.

use serde::{Deserialize, Serialize};

use crate::codes::{Code, Retry};
use crate::ids::{HandoverId, ServerId};
use crate::limits;

/// Bytes of the length in front of each frame.
pub const LENGTH_BYTES: usize = 4;

/// Client → game server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientFrame {
    /// The first frame, once.
    Hello(Hello),
    /// The game's own.
    App(Vec<u8>),
    /// The player leaves; the server closes.
    Leave,
    /// The first frame, once, of a client that comes back to its session.
    Resume(Resume),
    /// The newest [`ServerFrame::Reconnect`] of this connection has come, and is kept: older ones are of no use any more.
    Kept,
}

/// What a client opens with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`limits::GAME_LINK_VERSION`].
    pub version: u8,
    /// As the hub gave it. Secret.
    pub token: String,
    /// The client's build, for the game.
    pub build: String,
    /// Anything else for the game; kept while the client is parked.
    pub app_data: Vec<u8>,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hello(v{}, build {:?}, {} B app data)", self.version, self.build, self.app_data.len())
    }
}

/// What a client opens with that comes back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// [`limits::GAME_LINK_VERSION`].
    pub version: u8,
    /// The newest that this server gave. Secret.
    pub credential: String,
    /// The client's build, for the game.
    pub build: String,
    /// Anything else for the game.
    pub app_data: Vec<u8>,
}

impl std::fmt::Debug for Resume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resume(v{}, build {:?}, {} B app data)", self.version, self.build, self.app_data.len())
    }
}

/// Game server → client.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerFrame {
    /// You are in.
    Welcome {
        /// The player's own name.
        name: String,
        /// Where you are.
        server: ServerId,
        /// Names the session for support: the id of the handover that opened it.
        session: HandoverId,
    },
    /// Your token is genuine; the rest follows within this time. Not the last word.
    Delayed {
        /// Milliseconds at most.
        deadline_ms: u32,
    },
    /// You are not in, or no longer; the server closes.
    Refused {
        /// A stable name, of [`Code::as_str`].
        code: String,
        /// What to do next.
        retry: Retry,
        /// What support asks for, where the server knows it.
        handover: Option<HandoverId>,
    },
    /// The game's own.
    App(Vec<u8>),
    /// Your session is ending: this long is left. A `Refused` follows.
    Ending {
        /// A stable name, of [`Code::as_str`].
        code: String,
        /// Milliseconds left.
        save_within_ms: u32,
    },
    /// The operators say something to everybody in game: show it.
    Notice {
        /// At most [`limits::NOTICE_BYTES_MAX`] bytes.
        text: String,
    },
    /// If the connection breaks, come back with this; any older one is replaced by it.
    Reconnect {
        /// For [`ClientFrame::Resume`]. Secret.
        credential: String,
        /// How long the session is kept from when the connection broke, in milliseconds.
        within_ms: u32,
    },
}

impl std::fmt::Debug for ServerFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Welcome { name, server, session } => {
                write!(f, "Welcome({name:?}, {server}, session {session})")
            }
            Self::Delayed { deadline_ms } => write!(f, "Delayed({deadline_ms} ms)"),
            Self::Refused { code, retry, handover } => write!(f, "Refused({code}, {retry:?}, {handover:?})"),
            Self::App(data) => write!(f, "App({data:?})"),
            Self::Ending { code, save_within_ms } => write!(f, "Ending({code}, {save_within_ms} ms)"),
            Self::Notice { text } => write!(f, "Notice({text:?})"),
            Self::Reconnect { within_ms, .. } => write!(f, "Reconnect(secret, {within_ms} ms)"),
        }
    }
}

impl ServerFrame {
    /// The refusal for a code, with its usual advice.
    pub fn refused(code: Code, handover: Option<HandoverId>) -> Self {
        Self::Refused { code: code.as_str().to_owned(), retry: code.retry(), handover }
    }
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The announced length exceeds [`limits::FRAME_BYTES_MAX`], or is 0.
    #[error("a frame of {0} bytes")]
    Length(u32),
    /// A tag this version does not know: skip it.
    #[error("unknown frame tag {0}")]
    UnknownTag(u32),
    /// Not what its tag says, or over a limit.
    #[error("malformed frame")]
    Malformed,
}

/// A frame type of one direction.
pub trait Frame: Serialize + for<'de> Deserialize<'de> {
    /// How many tags this version knows.
    const TAGS: u32;
    /// Whether texts and data inside are within their limits.
    fn is_within_limits(&self) -> bool;
}

impl Frame for ClientFrame {
    const TAGS: u32 = 5;
    fn is_within_limits(&self) -> bool {
        match self {
            Self::Hello(hello) => {
                hello.token.len() <= limits::TOKEN_TEXT_BYTES_MAX
                    && hello.build.len() <= limits::BUILD_BYTES_MAX
                    && hello.app_data.len() <= limits::APP_DATA_BYTES_MAX
            }
            Self::Resume(resume) => {
                resume.credential.len() <= limits::CREDENTIAL_TEXT_BYTES_MAX
                    && resume.build.len() <= limits::BUILD_BYTES_MAX
                    && resume.app_data.len() <= limits::APP_DATA_BYTES_MAX
            }
            Self::App(_) | Self::Leave | Self::Kept => true,
        }
    }
}

impl Frame for ServerFrame {
    const TAGS: u32 = 7;
    fn is_within_limits(&self) -> bool {
        match self {
            Self::Notice { text } => text.len() <= limits::NOTICE_BYTES_MAX,
            Self::Reconnect { credential, .. } => credential.len() <= limits::CREDENTIAL_TEXT_BYTES_MAX,
            Self::Welcome { .. }
            | Self::Delayed { .. }
            | Self::Refused { .. }
            | Self::App(_)
            | Self::Ending { .. } => true,
        }
    }
}

/// A frame with its length in front.
///
/// # Errors
/// [`FrameError::Malformed`] over a limit, [`FrameError::Length`] when too long in all.
pub fn encode<F: Frame>(frame: &F) -> Result<Vec<u8>, FrameError> {
    if !frame.is_within_limits() {
        return Err(FrameError::Malformed);
    }
    let out = vec![0; LENGTH_BYTES];
    let mut out = postcard::to_extend(frame, out).map_err(|_| FrameError::Malformed)?;
    let len = u32::try_from(out.len() - LENGTH_BYTES).unwrap_or(u32::MAX);
    check_length(len)?;
    out[..LENGTH_BYTES].copy_from_slice(&len.to_be_bytes());
    Ok(out)
}

/// How many bytes follow a length prefix.
///
/// # Errors
/// [`FrameError::Length`] when it is 0 or too long: the stream cannot be trusted any further.
pub fn frame_length(prefix: [u8; LENGTH_BYTES]) -> Result<usize, FrameError> {
    check_length(u32::from_be_bytes(prefix))
}

fn check_length(len: u32) -> Result<usize, FrameError> {
    match usize::try_from(len) {
        Ok(n @ 1..=limits::FRAME_BYTES_MAX) => Ok(n),
        _ => Err(FrameError::Length(len)),
    }
}

/// Reads a frame's body, its length prefix taken off.
///
/// # Errors
/// [`FrameError::UnknownTag`] (skip it) or [`FrameError::Malformed`].
pub fn decode<F: Frame>(body: &[u8]) -> Result<F, FrameError> {
    let (tag, _) = postcard::take_from_bytes::<u32>(body).map_err(|_| FrameError::Malformed)?;
    if tag >= F::TAGS {
        return Err(FrameError::UnknownTag(tag));
    }
    match postcard::take_from_bytes::<F>(body) {
        Ok((frame, [])) if frame.is_within_limits() => Ok(frame),
        _ => Err(FrameError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello() -> Hello {
        Hello { version: 1, token: "t".repeat(76), build: "b".into(), app_data: vec![1, 2] }
    }

    #[test]
    fn frames_read_back_and_unknown_tags_are_named() {
        let bytes = encode(&ClientFrame::Hello(hello())).unwrap();
        let (len, body) = bytes.split_first_chunk().unwrap();
        assert_eq!(frame_length(*len).unwrap(), body.len());
        assert!(decode::<ClientFrame>(body) == Ok(ClientFrame::Hello(hello())));
        assert_eq!(decode::<ServerFrame>(&[99, 1, 2]), Err(FrameError::UnknownTag(99)));
        assert_eq!(decode::<ServerFrame>(&[]), Err(FrameError::Malformed));
    }

    #[test]
    fn what_is_over_a_limit_is_refused_on_both_ends() {
        let largest = Hello { app_data: vec![0; limits::APP_DATA_BYTES_MAX], ..hello() };
        assert!(encode(&ClientFrame::Hello(largest)).is_ok());
        let over = ClientFrame::Hello(Hello { app_data: vec![0; limits::APP_DATA_BYTES_MAX + 1], ..hello() });
        assert_eq!(encode(&over), Err(FrameError::Malformed));
        let body = postcard::to_stdvec(&over).unwrap();
        assert!(decode::<ClientFrame>(&body) == Err(FrameError::Malformed));
        for len in [0, 4097, u32::MAX] {
            assert_eq!(frame_length(len.to_be_bytes()), Err(FrameError::Length(len)));
        }
        assert!(encode(&ClientFrame::App(vec![0; limits::FRAME_BYTES_MAX])).is_err());
        let Hello { version, build, .. } = hello();
        let resume = |credential: usize, app_data: usize| {
            let (credential, app_data) = ("c".repeat(credential), vec![0; app_data]);
            encode(&ClientFrame::Resume(Resume { version, credential, build: build.clone(), app_data }))
        };
        assert!(resume(limits::CREDENTIAL_TEXT_BYTES_MAX, limits::APP_DATA_BYTES_MAX).is_ok());
        assert!(resume(limits::CREDENTIAL_TEXT_BYTES_MAX + 1, 0).is_err());
        assert!(resume(1, limits::APP_DATA_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        let Hello { version, token: credential, build, app_data } = hello();
        let back = ServerFrame::Reconnect { credential: credential.clone(), within_ms: 1 };
        let resume = Resume { version, credential, build, app_data };
        let shown = format!("{:?} {resume:?} {back:?}", hello());
        assert!(!shown.contains("ttt"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<ClientFrame>(&bytes);
            let _ = decode::<ServerFrame>(&bytes);
        }
    }
}
