//! Nothing listens beyond this machine until there is TLS.
//!
//! Owns that rule alone. Invariant: an address that other machines could reach is refused before it is bound.

use std::net::SocketAddr;

/// An address that other machines could reach.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{setting} = \"{addr}\" is not a loopback address: without TLS nothing may listen beyond this machine"
)]
pub struct NotLoopback {
    /// As the configuration calls it.
    pub setting: &'static str,
    /// What it says.
    pub addr: SocketAddr,
}

/// Refuses `addr`, the value of `setting`, unless only this machine can reach it.
///
/// # Errors
/// [`NotLoopback`].
pub fn require_loopback(setting: &'static str, addr: SocketAddr) -> Result<(), NotLoopback> {
    // `to_canonical`: an IPv4 address mapped into IPv6 is judged as what it is.
    if addr.ip().to_canonical().is_loopback() { Ok(()) } else { Err(NotLoopback { setting, addr }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_passes() {
        for text in ["127.0.0.1:0", "127.8.9.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert_eq!(require_loopback("http.listen", text.parse().unwrap()), Ok(()), "{text}");
        }
        for text in ["0.0.0.0:80", "10.0.0.1:80", "[::]:80", "[fe80::1]:80", "[::ffff:10.0.0.1]:80"] {
            let error = require_loopback("http.listen", text.parse().unwrap()).unwrap_err().to_string();
            assert!(error.contains("http.listen") && error.contains("TLS"), "{error}");
        }
    }
}
