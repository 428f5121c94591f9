//! `auth-hub check` and `game-server check`, the real binaries: every finding, its exit code, and that looking changes nothing.

mod hub;
mod server;
