//! What a certificate says of itself, for checks and metrics. Decides nothing about trust.

use std::path::Path;

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{TlsError, files};
use crate::clock::UnixMs;

/// The first certificate of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Not good before.
    pub not_before: UnixMs,
    /// Not good after.
    pub not_after: UnixMs,
    /// The names and addresses it is for.
    pub names: Vec<String>,
}

impl CertificateFacts {
    /// Refuses a certificate, read from `path`, that nobody would believe at this time.
    pub(super) fn good_at(&self, now: UnixMs, path: &Path) -> Result<(), TlsError> {
        if (self.not_before..=self.not_after).contains(&now) {
            Ok(())
        } else {
            Err(TlsError::NotValidNow { path: path.to_owned() })
        }
    }
}

/// Reads the first certificate of a file.
///
/// # Errors
/// [`TlsError`].
pub fn facts(path: &Path) -> Result<CertificateFacts, TlsError> {
    facts_of(&files::certificates(path)?, path)
}

/// Of the first certificate of a chain that was read from `path`.
pub(super) fn facts_of(chain: &[CertificateDer<'_>], path: &Path) -> Result<CertificateFacts, TlsError> {
    let nothing = || TlsError::Nothing { path: path.to_owned(), what: "X.509 certificate" };
    let (_, certificate) =
        chain.first().and_then(|der| X509Certificate::from_der(der).ok()).ok_or_else(nothing)?;
    let ms = |seconds: i64| UnixMs(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
    let validity = certificate.validity();
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.map(|of| of.value.general_names.iter().filter_map(name).collect());
    Ok(CertificateFacts {
        not_before: ms(validity.not_before.timestamp()),
        not_after: ms(validity.not_after.timestamp()),
        names: names.unwrap_or_default(),
    })
}

fn name(of: &GeneralName<'_>) -> Option<String> {
    match of {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
            let v6 = <[u8; 16]>::try_from(*bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
            v4.or(v6).ok()
        }
        _ => None,
    }
}
