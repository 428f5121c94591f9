//! `auth-hub check` and `game-server check`, the real binaries: every finding, its exit code, and that looking changes nothing.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod hub;
mod server;
