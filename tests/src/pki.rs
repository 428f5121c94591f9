//! A certificate authority for tests and first tries: made on the spot, in a folder of its own, trusted by nobody else.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use shared_msgs::net::tls::{CertFiles, ClientTls, ClientTlsFiles};

/// An authority and the folder with what it has issued.
#[derive(Debug)]
pub struct Pki {
    dir: PathBuf,
    authority: Authority,
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Pki {
    /// Writes `ca.pem`. The authority's own key is kept nowhere: what it has not issued now it never will.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn create(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, "test authority, trust it nowhere else");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let path = dir.join("ca.pem");
        fs::write(&path, authority.pem()).with_context(|| path.display().to_string())?;
        Ok(Self { dir: dir.to_owned(), authority: Authority(authority) })
    }

    /// Writes `NAME.pem` and `NAME.key` for these host names and addresses; over older ones, if there are any.
    ///
    /// # Errors
    /// What is no host name, or cannot be written.
    pub fn issue(&self, name: &str, hosts: &[&str]) -> anyhow::Result<CertFiles> {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(hosts)?.signed_by(&key, &self.authority.0)?;
        let file = |ending| self.dir.join(format!("{name}.{ending}"));
        let files = CertFiles { cert: file("pem"), key: file("key") };
        fs::write(&files.cert, certificate.pem()).with_context(|| files.cert.display().to_string())?;
        write_private(&files.key, &key.serialize_pem()).with_context(|| files.key.display().to_string())?;
        Ok(files)
    }

    /// The authority's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Trust in this authority alone.
    ///
    /// # Errors
    /// When its file is gone.
    pub fn trust(&self) -> anyhow::Result<ClientTls> {
        Ok(ClientTls::load(ClientTlsFiles { ca: Some(self.ca_file()), identity: None })?)
    }
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // Fresh, for the mode counts only when a file is made.
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
