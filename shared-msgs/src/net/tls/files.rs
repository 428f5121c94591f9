//! PEM files: certificates, private keys, roots.

use std::path::{Path, PathBuf};

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::TlsError;

/// A file is read up to this size.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A certificate chain and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertFiles {
    /// The chain, the peer's own certificate first.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl CertFiles {
    /// The two settings of a section: both, or neither.
    ///
    /// # Errors
    /// [`TlsError::Half`].
    pub fn of(
        section: &'static str,
        cert: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Option<Self>, TlsError> {
        match (cert, key) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => Ok(Some(Self { cert: cert.to_owned(), key: key.to_owned() })),
            (Some(_), None) | (None, Some(_)) => Err(TlsError::Half { section }),
        }
    }

    pub(super) fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        Ok((certificates(&self.cert)?, private_key(&self.key)?))
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    use std::io::Read as _;
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let mut bytes = Zeroizing::new(Vec::new());
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// All certificates of a file; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let nothing = || TlsError::Nothing { path: path.to_owned(), what: "certificate" };
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|_| nothing())?;
    if all.is_empty() { Err(nothing()) } else { Ok(all) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    refuse_if_public(path)?;
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| TlsError::Nothing { path: path.to_owned(), what: "private key" })
}

/// A group may read it: that is how certificates are commonly shared with the services that use them.
#[cfg(unix)]
fn refuse_if_public(path: &Path) -> Result<(), TlsError> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    let others = mode % 0o10;
    if others == 0 { Ok(()) } else { Err(TlsError::KeyMode { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn refuse_if_public(_: &Path) -> Result<(), TlsError> {
    Ok(())
}

/// What a file says is to be trusted.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Unusable { path: path.to_owned(), problem: error.to_string() })?;
    }
    Ok(roots)
}
