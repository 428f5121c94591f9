//! Certificates made on the spot: who is believed, what is refused, and what reading again changes.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::clock::UnixMs;

/// In the year 2026; certificates are good from 1975 on unless a test says otherwise.
const NOW: UnixMs = UnixMs(1_767_225_600_000);

/// An authority in a folder of its own.
pub(crate) struct Pki {
    dir: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        Self { dir, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a fresh certificate for `name`, over an older one.
    fn issue(&self, name: &str) -> CertFiles {
        self.issue_with(name, |_| {})
    }

    fn issue_with(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> CertFiles {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let files =
            CertFiles { cert: self.path(&format!("{name}.pem")), key: self.path(&format!("{name}.key")) };
        fs::write(&files.cert, certificate.pem()).unwrap();
        write_private(&files.key, &key.serialize_pem());
        files
    }

    pub(crate) fn server(&self, name: &str) -> ServerTls {
        ServerTls::load(ServerTlsFiles { identity: self.issue(name), client_ca: None }).unwrap()
    }

    pub(crate) fn client(&self) -> ClientTls {
        ClientTls::load(ClientTlsFiles { ca: Some(self.path("ca.pem")), identity: None }).unwrap()
    }
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    set_mode(path, 0o600);
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The certificate that the client saw, or why there was no connection: a byte goes each way.
async fn shake(server: &ServerTls, client: &ClientTls, host: &str) -> Result<Vec<u8>, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let serve = async {
        let mut stream = server.acceptor().accept(accepted).await?;
        stream.write_u8(1).await?;
        stream.read_u8().await
    };
    let connect = async {
        let mut stream = client.connect(host, stream).await?;
        stream.write_u8(2).await?;
        let byte = stream.read_u8().await?;
        assert_eq!(byte, 1);
        Ok::<_, std::io::Error>(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec())
    };
    let (heard, connected) = tokio::join!(serve, connect);
    let seen = connected.map_err(|error| error.to_string())?;
    assert_eq!(heard.unwrap(), 2);
    Ok(seen)
}

#[tokio::test]
async fn only_our_authority_and_the_right_name_are_believed() {
    let (ours, theirs) = (Pki::new(), Pki::new());
    let server = ours.server("hub.example");
    assert!(shake(&server, &ours.client(), "hub.example").await.is_ok());
    let error = shake(&server, &ours.client(), "other.example").await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    let error = shake(&server, &ours.client(), "127.0.0.1").await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    let error = shake(&server, &theirs.client(), "hub.example").await.unwrap_err();
    assert!(error.contains("invalid peer certificate"), "{error}");
    assert!(shake(&server, &ours.client(), "no name").await.unwrap_err().contains("host name"));
    assert!(shake(&ours.server("127.0.0.1"), &ours.client(), "127.0.0.1").await.is_ok());
}

#[tokio::test]
async fn mutual_tls_wants_a_certificate_of_its_authority() {
    let (ours, theirs) = (Pki::new(), Pki::new());
    let files = ServerTlsFiles { identity: ours.issue("hub.example"), client_ca: Some(ours.path("ca.pem")) };
    let server = ServerTls::load(files).unwrap();
    let client =
        |identity| ClientTls::load(ClientTlsFiles { ca: Some(ours.path("ca.pem")), identity }).unwrap();
    assert!(shake(&server, &client(Some(ours.issue("alpha"))), "hub.example").await.is_ok());
    assert!(shake(&server, &client(None), "hub.example").await.is_err());
    assert!(shake(&server, &client(Some(theirs.issue("alpha"))), "hub.example").await.is_err());
}

#[tokio::test]
async fn reading_again_changes_all_or_nothing() {
    let pki = Pki::new();
    let server = pki.server("hub.example");
    let seen = async || shake(&server, &pki.client(), "hub.example").await.unwrap();
    let first = seen().await;
    let files = pki.issue("hub.example");
    assert_eq!(seen().await, first, "nobody has asked yet");
    server.reload(NOW).unwrap();
    let second = seen().await;
    assert_ne!(second, first);
    write_private(&files.key, &KeyPair::generate().unwrap().serialize_pem());
    let error = server.reload(NOW).unwrap_err().to_string();
    assert!(error.contains("hub.example.key"), "{error}");
    assert_eq!(seen().await, second);
}

#[tokio::test]
async fn a_certificate_that_clients_would_refuse_does_not_replace_a_good_one() {
    let pki = Pki::new();
    let server = pki.server("hub.example");
    let good = server.expires_at();
    pki.issue_with("hub.example", |params| params.not_after = rcgen::date_time_ymd(2025, 12, 31));
    assert!(matches!(server.reload(NOW), Err(TlsError::NotValidNow { .. })));
    pki.issue_with("hub.example", |params| params.not_before = rcgen::date_time_ymd(2026, 1, 2));
    assert!(matches!(server.reload(NOW), Err(TlsError::NotValidNow { .. })));
    assert_eq!(server.expires_at(), good);
    shake(&server, &pki.client(), "hub.example").await.unwrap();
    // Nor one of ours that brokers would refuse.
    let identity = Some(pki.issue("alpha"));
    let client = ClientTls::load(ClientTlsFiles { ca: Some(pki.path("ca.pem")), identity }).unwrap();
    client.reload(NOW).unwrap();
    pki.issue_with("alpha", |params| params.not_after = rcgen::date_time_ymd(2025, 12, 31));
    assert!(matches!(client.reload(NOW), Err(TlsError::NotValidNow { .. })));
}

#[test]
fn files_of_no_use_are_named_with_the_reason() {
    let pki = Pki::new();
    let good = pki.issue("hub.example");
    let load = |identity: CertFiles| {
        ServerTls::load(ServerTlsFiles { identity, client_ca: None }).unwrap_err().to_string()
    };
    let (missing, garbage) = (pki.path("missing.pem"), pki.path("garbage.pem"));
    write_private(&garbage, "hunter2");
    for (identity, file, reason) in [
        (CertFiles { cert: missing.clone(), ..good.clone() }, "missing.pem", "No such file"),
        (CertFiles { key: missing, ..good.clone() }, "missing.pem", "No such file"),
        (CertFiles { cert: garbage.clone(), ..good.clone() }, "garbage.pem", "no certificate"),
        (CertFiles { key: garbage, ..good.clone() }, "garbage.pem", "no private key"),
        (CertFiles { cert: good.key.clone(), ..good.clone() }, "hub.example.key", "no certificate"),
    ] {
        let error = load(identity);
        assert!(error.contains(file) && error.contains(reason) && !error.contains("hunter2"), "{error}");
    }
    set_mode(&good.key, 0o640);
    assert!(ServerTls::load(ServerTlsFiles { identity: good.clone(), client_ca: None }).is_ok());
    set_mode(&good.key, 0o644);
    assert!(load(good.clone()).contains("chmod"));
    let half = CertFiles::of("http", Some(&good.cert), None).unwrap_err().to_string();
    assert!(half.contains("http.tls_cert_file and http.tls_key_file"), "{half}");
}

#[test]
fn a_certificate_tells_until_when_and_for_whom_it_is_good() {
    let pki = Pki::new();
    let mut params = CertificateParams::new(vec!["a.example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 1, 2);
    let key = KeyPair::generate().unwrap();
    let path = pki.path("old.pem");
    fs::write(&path, params.signed_by(&key, &pki.authority).unwrap().pem()).unwrap();
    let facts = facts(&path).unwrap();
    assert_eq!(facts.names, ["a.example", "127.0.0.1"]);
    assert_eq!((facts.not_before.0, facts.not_after.0), (1_577_836_800_000, 1_577_923_200_000));
}
