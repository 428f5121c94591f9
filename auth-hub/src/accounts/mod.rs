//! Who may log in: accounts, their passwords, and the player ids they own.
//!
//! Owns the database of accounts ([`store`]), the pool that prices password checks ([`passwords`]), and the limits on
//! how often one may try ([`throttle`]). Knows neither HTTP nor MQTT, neither sessions nor game servers: names, ids and
//! answers go in and out, the rest is its callers' business.
//!
//! Invariant: a database row id, a password or a hash never leaves this process, not even through `Debug`.

pub mod account;
pub mod admin;
pub mod audit;
pub mod bans;
mod db;
mod db_fault;
pub mod display_name;
pub mod entry_rules;
#[cfg(test)]
mod fixture;
mod hasher;
mod hub_state;
pub mod import;
pub mod inspect;
pub mod kept;
pub mod passwords;
pub mod phc;
mod players;
mod queue_rows;
pub mod search;
pub mod store;
pub mod throttle;
pub mod writer;

pub use account::{Account, AccountRow, AccountState, LoginName, NewAccount, Password};
pub use bans::Ban;
pub use display_name::DisplayName;
pub use entry_rules::{Build, EntryRules, Maintenance};
pub use passwords::{PasswordPool, PoolConfig, PoolError, Verified};
pub use phc::{Cost, Phc};
pub use players::{Owners, PlayerRow};
pub use queue_rows::StoredTicket;
pub use store::{Store, StoreError};
pub use throttle::{AccountThrottle, AddressThrottle, Throttle, ThrottleConfig, Verdict};
