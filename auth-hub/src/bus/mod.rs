//! The hub's side of the bus: which keys count, what arrives is opened, what leaves is sealed.
//!
//! Owns replay windows and sealers. Knows neither the fleet nor handovers: it turns payloads into messages with a proven sender.
//! Invariant: what leaves this room as a `Sender` was sealed under a key of that server which is accepted today.

mod canary;
mod keyring;
mod opening;
mod sealing;

pub(crate) use canary::{Beat, Canary};
pub use keyring::KeyRing;
pub use opening::{Inlet, Received};
pub use sealing::HubSession;

pub use crate::fleet::Sender;
