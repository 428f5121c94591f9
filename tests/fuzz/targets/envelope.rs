//! A payload on a topic, the topic chosen by the first byte.
#![no_main]

use shared_msgs::properties::{envelope, sealed};

libfuzzer_sys::fuzz_target!(
    init: {
        // Each as it was sealed, fourteen to a topic, and on the next topic.
        let topics = (0_u8..).flat_map(|topic| [topic; 14]);
        hub_fuzz::seed("envelope", sealed().into_iter().zip(topics).flat_map(|(payload, topic)| {
            [topic, topic + 1].map(|topic| [vec![topic], payload.clone()].concat())
        }));
    },
    |bytes: &[u8]| {
        if let Some((topic, payload)) = bytes.split_first() {
            envelope(*topic, payload);
        }
    }
);
