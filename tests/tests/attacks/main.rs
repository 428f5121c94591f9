//! Attacks on the real binaries: crowds that hang, trickle and flood, want of descriptors, bad bytes, full logs, and secrets looked for in all logs.
//!
//! The crowds are processes of their own (`tests/src/bin/crowd.rs`), from many addresses of this machine. The question is the same each time:
//! does whoever means well get in meanwhile, and is everything given back in the end? Invariant: every wait has an end.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and prints what it measured"
)]

mod bytes;
mod crowd;
mod descriptors;
mod floods;
mod half_open;
mod loris;
mod memory;
mod rig;
mod secrets;
