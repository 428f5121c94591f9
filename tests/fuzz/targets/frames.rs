//! The game link: one frame either way, and a client's byte stream in pieces.
#![no_main]

use game_server::server::properties::{seeds, stream};
use shared_msgs::frames::{ClientFrame, ServerFrame};
use shared_msgs::properties::{frame, golden};

libfuzzer_sys::fuzz_target!(
    init: hub_fuzz::seed("frames", golden("frame-").into_iter().chain(seeds())),
    |bytes: &[u8]| {
        frame::<ClientFrame>(bytes);
        frame::<ServerFrame>(bytes);
        stream(bytes);
    }
);
