//! The game link: one frame either way, and a client's byte stream in pieces.
#![no_main]

use game_server::server::properties::{seeds, stream};
use shared_msgs::frames::{ClientFrame, ServerFrame};
use shared_msgs::properties::{frame, golden, over_limits};

libfuzzer_sys::fuzz_target!(
    init: hub_fuzz::seed("frames", golden("frame-").into_iter().chain(seeds()).chain(over_limits()[1].clone())),
    |bytes: &[u8]| {
        frame::<ClientFrame>(bytes);
        frame::<ServerFrame>(bytes);
        stream(bytes);
    }
);
