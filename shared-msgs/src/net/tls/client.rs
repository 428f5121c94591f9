//! The end that connects.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{CertFiles, TlsError, facts, files, provider};
use crate::clock::UnixMs;

/// What a connection is checked against, and by what it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTlsFiles {
    /// Authorities to trust; the system's without it.
    pub ca: Option<PathBuf>,
    /// Our own certificate, for a peer that asks for one.
    pub identity: Option<CertFiles>,
}

/// Connects with the files that were read last. Clones share them.
#[derive(Clone, Debug)]
pub struct ClientTls {
    files: Arc<ClientTlsFiles>,
    current: Arc<RwLock<Arc<ClientConfig>>>,
}

impl ClientTls {
    /// Reads the files, or the system's roots.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(files: ClientTlsFiles) -> Result<Self, TlsError> {
        let current = Arc::new(RwLock::new(Arc::new(config(&files)?)));
        Ok(Self { files: Arc::new(files), current })
    }

    /// Reads the files again, for connections to come. On an error all stays as it was.
    ///
    /// # Errors
    /// [`TlsError`]; of a certificate of ours that brokers would refuse `now`, too.
    pub fn reload(&self, now: UnixMs) -> Result<(), TlsError> {
        if let Some(identity) = &self.files.identity {
            facts(&identity.cert)?.good_at(now, &identity.cert)?;
        }
        let fresh = Arc::new(config(&self.files)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Where it comes from.
    pub fn files(&self) -> &ClientTlsFiles {
        &self.files
    }

    /// For clients with a connector of their own.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shakes hands with `host`, a name or an address, whose certificate must say so.
    ///
    /// # Errors
    /// A name that no certificate can have, or a handshake that fails.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "no certificate can be for such a host name")
        })?;
        TlsConnector::from(self.config()).connect(name, stream).await
    }
}

fn config(files: &ClientTlsFiles) -> Result<ClientConfig, TlsError> {
    let roots = match &files.ca {
        Some(path) => files::roots(path)?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        // Of ring's own suites and rustls' own versions: they fit.
        .map_err(|_| TlsError::NoRoots)?
        .with_root_certificates(roots);
    match &files.identity {
        None => Ok(builder.with_no_client_auth()),
        Some(identity) => {
            let (chain, key) = identity.read()?;
            builder.with_client_auth_cert(chain, key).map_err(|error| TlsError::Unusable {
                path: identity.cert.clone(),
                problem: error.to_string(),
            })
        }
    }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Some of a system's roots may be of forms that rustls does not take; the rest will do.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}
