//! What a client shows as its one-time token.
#![no_main]

use shared_msgs::properties::{minted, token};

libfuzzer_sys::fuzz_target!(
    init: hub_fuzz::seed("token", [minted().expose().into()]),
    |text: &str| token(text)
);
