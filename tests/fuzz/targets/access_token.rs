//! What a client shows as its access token.
#![no_main]

use auth_hub::sessions::properties::{access_token, seeds};

libfuzzer_sys::fuzz_target!(
    init: hub_fuzz::seed("access_token", seeds()),
    |text: &str| access_token(text)
);
