//! What every binary needs around its work.
//!
//! Owns stopping, logging, layered configuration, secrets, checks and the words for what the system refuses. Knows neither hub nor game
//! server, and does nothing
//! on its own: `main` asks for each piece. Invariant: no secret reaches a log, an error or a `Debug`.

mod advice;
pub mod check;
mod config;
pub mod descriptors;
mod lifecycle;
mod reload;
mod secret;
mod telemetry;

pub use advice::{explain, io_remedy};
pub use config::{ConfigError, ConfigFile, load, load_from};
pub use lifecycle::{ExitReason, Hangups, Lifecycle, STOP_GRACE};
pub use reload::Reloader;
pub use secret::{Secret, resolve};
pub use telemetry::{LogFilter, LogFormat, TelemetryError, check_filter, init as init_telemetry};
