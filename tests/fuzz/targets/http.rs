//! A request's body, for each route that reads one.
#![no_main]

use auth_hub::http::properties::{body, seeds};

libfuzzer_sys::fuzz_target!(init: hub_fuzz::seed("http", seeds()), |bytes: &[u8]| body(bytes));
