//! SIGHUP: files that are read again while connections stay as they are.
//!
//! Knows no setting but the log's filter. Invariant: what cannot be read again leaves all as it was, and says so.

use std::sync::Arc;

use super::LogFilter;
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
    /// Reads the certificates again and applies a log filter.
    pub fn reload(&self, log_filter: &str) {
        if let Err(error) = self.log.set(log_filter) {
            tracing::error!(target: "process", %error, "config.reload_failed");
        }
        let listeners = self.listeners.iter().map(|(name, tls)| (*name, tls.reload()));
        let link = self.link.iter().map(|tls| ("link", tls.reload()));
        for (of, done) in listeners.chain(link) {
            match done {
                Ok(()) => tracing::info!(target: "process", of, "tls.reloaded"),
                Err(error) => tracing::error!(target: "process", of, %error, "tls.reload_failed"),
            }
        }
    }
}
