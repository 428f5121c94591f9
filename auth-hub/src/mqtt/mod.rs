//! The embedded broker: our own MQTT 3.1.1 edge in front of rumqttd's router.
//!
//! Owns: CONNECT and who may do what, keepalive, takeover, wills, write timeouts. Does not know what a payload
//! says, nor which servers exist: an [`Authenticator`] decides who a CONNECT is. `rumqttd` is named in this module only.
//!
//! Invariant: nothing reaches the router but well-formed packets that the principal was allowed to send, and a router
//! link is unregistered exactly once. One bad packet can end its own connection, never the router.
//!
//! Flow of a connection: [`shared_msgs::net`] (accept, place, TLS) → `connect` (CONNECT, [`Authenticator`]) → `registry` (newest wins)
//! → `router` (link) → `session` (the loop) ↔ `exchange` (what each packet means).
//!
//! Log events, all with target `mqtt`: `mqtt.listening`, `mqtt.connected`, `mqtt.refused`, `mqtt.taken_over`,
//! `mqtt.acl_denied`, `mqtt.will_published`, `mqtt.will_lost`, `mqtt.closed`, `mqtt.router_died`,
//! `mqtt.stopped`.

mod acl;
mod auth;
mod broker;
mod codec;
mod config;
mod connect;
mod exchange;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod registry;
mod router;
mod session;
mod stats;

#[cfg(test)]
mod tests;

pub use auth::{Authenticator, Denied, Principal};
pub use broker::{BindError, Broker, BrokerHandle};
pub use config::{BrokerConfig, ConfigError};
pub use stats::BrokerStats;
