//! Accounts, HTTP API, embedded MQTT broker and the handover to game servers.

pub mod mqtt;
