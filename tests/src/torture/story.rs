//! What a player lived through with one handover, as it was seen from the player's side.
//!
//! Plain data: the players write it, the verdicts read it.

use shared_msgs::clock::Mono;

use super::journal::Handover;

/// From the hub's 200 to the last word on its token.
#[derive(Debug, Clone)]
pub struct Story {
    /// The account's login, which is also what its player is called.
    pub login: String,
    /// Names the attempt.
    pub handover: Handover,
    /// The server's number.
    pub server: usize,
    /// Its name.
    pub server_id: String,
    /// Whether the hub said that the server had said yes.
    pub confirmed: bool,
    /// When the hub was asked.
    pub asked: Mono,
    /// When the token is worth nothing any more.
    pub expires: Mono,
    /// Each time the token was shown.
    pub shows: Vec<Show>,
    /// How the session ended, if the player did not leave of their own will.
    pub end: Option<Ending>,
}

/// The token was shown once.
#[derive(Debug, Clone)]
pub struct Show {
    /// Before connecting.
    pub began: Mono,
    /// When its last word came.
    pub over: Mono,
    /// Whether the server said to wait.
    pub delayed: bool,
    /// The last word.
    pub heard: Heard,
}

/// A server's last word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// In.
    Welcome {
        /// Under this name.
        name: String,
        /// Where.
        server: String,
        /// The handover that opened it.
        session: Handover,
    },
    /// Not in, or no longer.
    Refused {
        /// The stable name.
        code: String,
    },
    /// The connection failed; for people.
    Gone(String),
}

/// A session's end that was not its player's will.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Before connecting: what breaks a connection may be felt later.
    pub began: Mono,
    /// When the end did.
    pub at: Mono,
    /// The word on it.
    pub heard: Heard,
}

/// A request that the hub did not answer.
#[derive(Debug, Clone)]
pub struct Unanswered {
    /// Who asked.
    pub login: String,
    /// When.
    pub asked: Mono,
    /// When it failed.
    pub failed: Mono,
    /// For people.
    pub error: String,
}
