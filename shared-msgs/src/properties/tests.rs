//! The properties of the wire, fed with altered golden bytes.

use proptest::prelude::*;

use super::altered::altered;
use super::*;
use crate::frames::{ClientFrame, ServerFrame};
use crate::messages::{HubMessage, ServerMessage, SkewNotice};

fn everything() -> Vec<Vec<u8>> {
    let mut all: Vec<_> = ["server-", "hub-", "skew-", "frame-"].into_iter().flat_map(golden).collect();
    all.push(golden("hub-").concat());
    all
}

proptest! {
    #[test]
    fn batches(bytes in altered(everything())) {
        messages::<ServerMessage>(&bytes);
        messages::<HubMessage>(&bytes);
        messages::<SkewNotice>(&bytes);
    }

    #[test]
    fn game_frames(bytes in altered(golden("frame-"))) {
        frame::<ClientFrame>(&bytes);
        frame::<ServerFrame>(&bytes);
    }

    #[test]
    fn tokens(bytes in altered(vec![minted().expose().into()])) {
        token(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn envelopes(bytes in altered(sealed()), topic in any::<u8>()) {
        envelope(topic, &bytes);
    }
}
