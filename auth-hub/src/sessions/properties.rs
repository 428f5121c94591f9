//! What holds for any text shown as an access token. For this crate's tests and `tests/fuzz` only.

use std::sync::LazyLock;
use std::time::Duration;

use shared_msgs::clock::UnixMs;
use shared_msgs::ids::AccountId;
use shared_msgs::rng::SeededRng;

use super::{AccessError, AccessTokens};

const NOW: UnixMs = UnixMs(1_767_225_600_000);
const LIFE: Duration = Duration::from_mins(15);
const ADA: AccountId = AccountId([7; 16]);

static OURS: LazyLock<AccessTokens> = LazyLock::new(|| AccessTokens::new(&[1; 32], LIFE));
static THEIRS: LazyLock<AccessTokens> = LazyLock::new(|| AccessTokens::new(&[2; 32], LIFE));
static ISSUED: LazyLock<String> =
    LazyLock::new(|| OURS.issue(ADA, NOW, &SeededRng::new(3)).expose().to_owned());

/// The token that [`access_token`] takes for genuine, and one of another hub.
pub fn seeds() -> Vec<Vec<u8>> {
    let theirs = THEIRS.issue(ADA, NOW, &SeededRng::new(3));
    vec![ISSUED.clone().into(), theirs.expose().into()]
}

/// It names its account if it is the issued one to the letter and in its time, and nobody else ever.
///
/// # Panics
/// When it does not hold.
pub fn access_token(text: &str) {
    let is_it = text == *ISSUED;
    // Once a genuine token is remembered, nothing else is.
    for _ in 0..2 {
        assert_eq!(OURS.verify(text, NOW), if is_it { Ok(ADA) } else { Err(AccessError::Invalid) });
    }
    let late = if is_it { AccessError::Expired } else { AccessError::Invalid };
    assert_eq!(OURS.verify(text, NOW + LIFE), Err(late));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::altered::altered;

    proptest! {
        #[test]
        fn access_tokens(bytes in altered(seeds())) {
            access_token(&String::from_utf8_lossy(&bytes));
        }
    }
}
