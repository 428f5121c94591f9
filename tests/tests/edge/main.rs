//! The MQTT edge of an assembled hub under clients that mean it no good: raw bytes over TCP, with genuine credentials and without.
//!
//! `auth-hub/src/mqtt` has tests of its own, of each rule alone. Here the whole hub stands behind the edge, and the question after every case
//! is the same: does it still serve the others? Invariant: [`rig::Rig::check`] follows each case.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod connects;
mod crowds;
mod exhaustion;
mod lengths;
mod messages;
mod packets;
mod raw;
mod rig;
