//! The core against scripted servers on a virtual clock.

mod cold;
mod confirm;
mod doubles;
mod duplicate;
mod effects;
mod faults;
mod fencing;
mod look;
mod moved_about;
mod moves;
mod orders;
mod peer;
mod placement;
mod policies;
mod pressed;
mod queue;
mod refusals;
mod resend;
mod rig;
mod roster;
mod single;
mod slots;
mod sticky;
mod storm;
mod tickets;
mod wishes;
