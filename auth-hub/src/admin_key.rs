//! The key of the admin API: whoever holds it is an operator.
//!
//! Knows neither files nor HTTP. Invariants: it is drawn from 32 random bytes; it has no `Debug` that shows it, is wiped when dropped, and
//! is compared in constant time.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared_msgs::rng::Rng;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;

/// Its text, base64url.
#[derive(Clone)]
pub struct AdminKey(Zeroizing<String>);

impl AdminKey {
    /// A new one.
    pub fn generate(rng: &dyn Rng) -> Self {
        let bytes: Zeroizing<[u8; KEY_BYTES]> = Zeroizing::new(rng.array());
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
    }

    /// Of the content of its file.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        (bytes.len() == KEY_BYTES).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The content of its file.
    pub fn to_file_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n", *self.0))
    }

    /// Whether this is it.
    pub fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }

    /// For the one header that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use shared_msgs::rng::SeededRng;

    use super::*;

    #[test]
    fn a_key_is_itself_and_no_other_and_shows_nothing() {
        let (one, other) = (AdminKey::generate(&SeededRng::new(1)), AdminKey::generate(&SeededRng::new(2)));
        assert!(one.is(one.expose()) && !one.is(other.expose()));
        for part in ["", &one.expose()[1..], &one.expose()[..42], &format!("{}A", one.expose())] {
            assert!(!one.is(part), "{part}");
        }
        assert_eq!(one.expose().len(), 43);
        let read = AdminKey::parse(&one.to_file_text()).unwrap();
        assert!(read.is(one.expose()));
        assert!(!format!("{one:?}").contains(&one.expose()[..4]));
        for text in ["", "short", &one.expose()[1..], &format!("{}AAAA", one.expose()), &"+".repeat(43)] {
            assert!(AdminKey::parse(text).is_none(), "{text}");
        }
    }
}
