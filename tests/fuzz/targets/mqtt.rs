//! The broker's edge: a byte stream in pieces, from its CONNECT on.
#![no_main]

use auth_hub::mqtt::properties::{seeds, stream};

libfuzzer_sys::fuzz_target!(init: hub_fuzz::seed("mqtt", seeds()), |bytes: &[u8]| stream(bytes));
