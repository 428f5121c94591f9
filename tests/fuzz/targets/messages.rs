//! A batch, read as each type of message.
#![no_main]

use shared_msgs::messages::{HubMessage, ServerMessage, SkewNotice};
use shared_msgs::properties::{golden, messages, over_limits};

libfuzzer_sys::fuzz_target!(
    init: hub_fuzz::seed("messages", ["server-", "hub-", "skew-"].into_iter().flat_map(golden).chain(over_limits()[0].clone())),
    |bytes: &[u8]| {
        messages::<ServerMessage>(bytes);
        messages::<HubMessage>(bytes);
        messages::<SkewNotice>(bytes);
    }
);
