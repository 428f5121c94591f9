//! Hubs, game servers and players on one thread, one seed and one virtual clock, with everything going wrong.
//!
//! The cores are the real ones: the hub's handover core with fleet view, placement and ledgers, the game server's gate, both sides'
//! envelopes and replay windows, the link's re-sync and outbox. Around them are a broker and wires that lose, repeat, delay, reorder,
//! alter and replay, processes that die at any step and keep only what is durable, clocks that are off, and clients of all manners.
//!
//! `world` owns time and events; `broker` and `link` carry, `hub` and `server` run the cores, `device` is a player, `doorstep` what it does with its token, `waiting` one with a ticket, `returning` one
//! whose connection broke, `moving` one that goes
//! from server to server,
//! `tickets` are a hub's queue, `operators` end and bar, `faults` break, `phases` end the run; `abilities` draws which of this a seed has. All of them state `facts`; `truth` remembers, `checkers` judge, `tally` counts, `watch` holds them.
//!
//! Invariant: a run depends on its seed alone. No clock but the simulated one, no chance but the dice, no map whose order is chance.

mod abilities;
mod broker;
mod checkers;
mod device;
mod dice;
mod doorstep;
mod facts;
mod faults;
mod hub;
mod link;
mod machine;
mod moving;
mod node;
mod operators;
mod phases;
mod returning;
mod scenario;
mod server;
mod store;
mod tally;
mod tickets;
mod truth;
mod waiting;
mod watch;
mod world;

pub use tally::Tally;
pub use watch::Violation;

use watch::Watch;
use world::World;

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    /// Its counts.
    pub tally: Tally,
    /// The first invariant that did not hold; the run ends there.
    pub violation: Option<Violation>,
    /// One line a fact, when asked for.
    pub history: Vec<String>,
}

/// Runs a seed to its end, or to its first violation.
pub fn run(seed: u64, keeps_history: bool) -> Outcome {
    let Watch { tally, violation, history, .. } = World::new(seed, Watch::new(keeps_history)).run();
    Outcome { tally, violation, history: history.unwrap_or_default() }
}

/// The names of the invariants that are checked, in order.
pub fn checkers() -> Vec<&'static str> {
    checkers::all().iter().map(|checker| checker.name()).collect()
}
