//! `[admin]`: where operators command a running hub.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shared_msgs::net::tls::{CertFiles, ServerTlsFiles, TlsError};

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminListen {
    /// Where `auth-hub admin` connects; port 0 picks one.
    pub listen: SocketAddr,
    /// The key that it shows; made where it is missing.
    pub key_file: PathBuf,
    /// The certificate chain.
    pub tls_cert_file: Option<PathBuf>,
    /// Its private key.
    pub tls_key_file: Option<PathBuf>,
}

impl Default for AdminListen {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8082)),
            key_file: "var/admin.key".into(),
            tls_cert_file: None,
            tls_key_file: None,
        }
    }
}

impl AdminListen {
    /// The files of its TLS.
    ///
    /// # Errors
    /// One without the other.
    pub fn tls(&self) -> Result<Option<ServerTlsFiles>, TlsError> {
        let identity = CertFiles::of("admin", self.tls_cert_file.as_deref(), self.tls_key_file.as_deref())?;
        Ok(identity.map(|identity| ServerTlsFiles { identity, client_ca: None }))
    }
}
