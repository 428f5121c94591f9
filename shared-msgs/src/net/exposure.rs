//! What may be reached from other machines: what speaks TLS, and what an operator has said in so many words.
//!
//! Owns that rule alone. Invariant: plaintext beyond this machine is refused before anything is bound, unless it was asked for by name.

use std::net::SocketAddr;

/// A listener that other machines could reach without TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{section}.listen = \"{addr}\" can be reached from other machines: give it a certificate ({section}.tls_cert_file and \
     {section}.tls_key_file), or, where something before it speaks TLS, say so: {section}.plaintext_to_network = true"
)]
pub struct Exposed {
    /// As the configuration calls it.
    pub section: &'static str,
    /// What it says.
    pub addr: SocketAddr,
}

/// Refuses an address that other machines can reach, unless it is `guarded` by TLS or by the operator's word.
///
/// # Errors
/// [`Exposed`].
pub fn require_guard(section: &'static str, addr: SocketAddr, guarded: bool) -> Result<(), Exposed> {
    // `to_canonical`: an IPv4 address mapped into IPv6 is judged as what it is.
    let ours = addr.ip().to_canonical().is_loopback();
    if ours || guarded { Ok(()) } else { Err(Exposed { section, addr }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_passes_without_a_guard() {
        for text in ["127.0.0.1:0", "127.8.9.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert_eq!(require_guard("http", text.parse().unwrap(), false), Ok(()), "{text}");
        }
        for text in ["0.0.0.0:80", "10.0.0.1:80", "[::]:80", "[fe80::1]:80", "[::ffff:10.0.0.1]:80"] {
            let addr = text.parse().unwrap();
            assert_eq!(require_guard("http", addr, true), Ok(()), "{text}");
            let error = require_guard("http", addr, false).unwrap_err().to_string();
            assert!(
                error.contains("http.tls_cert_file") && error.contains("http.plaintext_to_network"),
                "{error}"
            );
        }
    }
}
