//! The end that is connected to.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use super::certificate::{CertificateFacts, facts_of};
use super::{CertFiles, TlsError, files, provider};
use crate::clock::UnixMs;

/// What a listener is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTlsFiles {
    /// Its certificate and key.
    pub identity: CertFiles,
    /// With it, only clients that show a certificate of these authorities are let in.
    pub client_ca: Option<PathBuf>,
}

/// Accepts connections with the certificate that was read last.
#[derive(Debug)]
pub struct ServerTls {
    files: ServerTlsFiles,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    facts: CertificateFacts,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(files: ServerTlsFiles) -> Result<Self, TlsError> {
        let current = RwLock::new(Current::read(&files)?);
        Ok(Self { files, current })
    }

    /// Reads the files again, for connections to come. On an error all stays as it was.
    ///
    /// # Errors
    /// [`TlsError`]; of a certificate that clients would refuse `now`, too.
    pub fn reload(&self, now: UnixMs) -> Result<(), TlsError> {
        let fresh = Current::read(&self.files)?;
        fresh.facts.good_at(now, &self.files.identity.cert)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Where it comes from.
    pub fn files(&self) -> &ServerTlsFiles {
        &self.files
    }

    /// When the certificate ends.
    pub fn expires_at(&self) -> UnixMs {
        self.current.read().unwrap_or_else(PoisonError::into_inner).facts.not_after
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config).into()
    }
}

impl Current {
    fn read(files: &ServerTlsFiles) -> Result<Self, TlsError> {
        let (chain, key) = files.identity.read()?;
        let facts = facts_of(&chain, &files.identity.cert)?;
        Ok(Self { config: Arc::new(config(files, chain, key)?), facts })
    }
}

fn config(
    files: &ServerTlsFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let unusable = |path: &PathBuf, error: String| TlsError::Unusable { path: path.clone(), problem: error };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.identity.cert, error.to_string()))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(files::roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| unusable(path, error.to_string()))?)
        }
    };
    // Fails for a key that is not the certificate's.
    builder.with_single_cert(chain, key).map_err(|error| {
        unusable(&files.identity.cert, format!("{error} (with {})", files.identity.key.display()))
    })
}
