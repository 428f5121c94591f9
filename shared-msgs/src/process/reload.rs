//! SIGHUP: files that are read again while connections stay as they are.
//!
//! Knows no setting but the log's filter. Invariant: what cannot be read again leaves all as it was, and says so.

use std::sync::Arc;

use super::{LogFilter, TelemetryError};
use crate::clock::UnixMs;
use crate::net::tls::{ClientTls, ServerTls};

/// What a process reads again when it is told to.
#[derive(Debug)]
pub struct Reloader {
    /// Listeners, by name.
    pub listeners: Vec<(&'static str, Arc<ServerTls>)>,
    /// The link's.
    pub link: Option<ClientTls>,
    /// What is logged.
    pub log: LogFilter,
}

impl Reloader {
    /// Reads the certificates again, each by itself. One that is not good now is not taken.
    pub fn reload_tls(&self, now: UnixMs) {
        let listeners = self.listeners.iter().map(|(name, tls)| (*name, tls.reload(now)));
        let link = self.link.iter().map(|tls| ("link", tls.reload(now)));
        for (of, done) in listeners.chain(link) {
            match done {
                Ok(()) => tracing::info!(target: "process", of, "tls.reloaded"),
                Err(error) => tracing::error!(target: "process", of, %error, "tls.reload_failed"),
            }
        }
    }

    /// From now on this is logged.
    ///
    /// # Errors
    /// [`TelemetryError::Filter`]; then all stays as it was.
    pub fn set_log_filter(&self, filter: &str) -> Result<(), TelemetryError> {
        self.log.set(filter)
    }
}
