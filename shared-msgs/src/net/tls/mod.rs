//! TLS by rustls with ring: certificates from files, read again when asked, for either end of a connection.
//!
//! Knows no socket and no protocol. Invariants: a certificate that does not fit its key, or a key that anybody on this machine may
//! read, is never used; reading again changes all or nothing, and touches no connection that is open; a peer's name is always checked.

mod certificate;
mod client;
mod files;
mod server;

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls;

pub use certificate::{CertificateFacts, facts};
pub use client::{ClientTls, ClientTlsFiles};
pub use files::CertFiles;
pub use server::{ServerTls, ServerTlsFiles};

/// Why there is no TLS. Names files, never what is in them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A private key that is no secret.
    #[error("{}: anybody on this machine may read this private key (mode {mode:03o}): chmod o-rwx it", path.display())]
    KeyMode {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not PEM, or nothing of the kind in it.
    #[error("{}: no {what} in PEM form in it", path.display())]
    Nothing {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Read, and of no use.
    #[error("{}: {problem}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// As rustls says.
        problem: String,
    },
    /// Not yet, or no more.
    #[error("{}: this certificate is not valid at this time; look at its dates with the check command", path.display())]
    NotValidNow {
        /// Which.
        path: PathBuf,
    },
    /// One without the other.
    #[error("{section}.tls_cert_file and {section}.tls_key_file go together")]
    Half {
        /// As the configuration calls it.
        section: &'static str,
    },
    /// Nothing to check peers against.
    #[error("this system has no root certificates that can be read: name a file with those to trust")]
    NoRoots,
}

/// All of our TLS runs on ring, whatever else is linked in.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
pub(crate) mod tests;
