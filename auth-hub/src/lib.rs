//! Accounts, HTTP API, embedded MQTT broker and the handover to game servers.

pub mod accounts;
pub mod admin_key;
#[cfg(test)]
#[path = "../../shared-msgs/src/properties/altered.rs"]
mod altered;
pub mod bus;
pub mod check;
pub mod cli;
pub mod config;
pub mod fleet;
mod folder;
pub mod handover;
pub mod heartbeat;
pub mod http;
pub mod hub;
pub mod keyfile;
pub mod metrics;
pub mod mqtt;
pub mod queue;
pub mod sessions;
pub mod sole;
mod timers;
