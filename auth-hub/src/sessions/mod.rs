//! Who a caller is after the password was checked once: access tokens.
//!
//! Knows account ids, neither the accounts behind them nor HTTP. Invariant: a token names an account only under our own
//! signature and before its expiry; whether the account may still play is for the caller to ask, every time.

mod access_token;
#[cfg(any(test, fuzzing))]
pub mod properties;

pub use access_token::{AccessError, AccessToken, AccessTokens};
