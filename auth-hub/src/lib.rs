//! Accounts, HTTP API, embedded MQTT broker and the handover to game servers.

pub mod accounts;
pub mod bus;
pub mod fleet;
pub mod handover;
pub mod mqtt;
