//! The properties of the wire, fed with altered golden bytes.

use proptest::prelude::*;

use super::altered::altered;
use super::*;
use crate::frames::ServerFrame;
use crate::messages::SkewNotice;

fn everything() -> Vec<Vec<u8>> {
    let mut all: Vec<_> = ["server-", "hub-", "skew-", "frame-"].into_iter().flat_map(golden).collect();
    all.push(golden("hub-").concat());
    all.extend(over_limits().concat());
    all
}

fn all_frames() -> Vec<Vec<u8>> {
    golden("frame-").into_iter().chain(over_limits()[1].clone()).collect()
}

/// What chance alters is chance; these are tried every time.
#[test]
fn every_seed_as_it_is() {
    for bytes in everything() {
        messages::<ServerMessage>(&bytes);
        messages::<HubMessage>(&bytes);
    }
    for bytes in all_frames() {
        frame::<ClientFrame>(&bytes);
        frame::<ServerFrame>(&bytes);
    }
    for (bytes, topic) in
        sealed().into_iter().flat_map(|bytes| (0..4).map(move |topic| (bytes.clone(), topic)))
    {
        envelope(topic, &bytes);
    }
    token(minted().expose());
}

proptest! {
    #[test]
    fn batches(bytes in altered(everything())) {
        messages::<ServerMessage>(&bytes);
        messages::<HubMessage>(&bytes);
        messages::<SkewNotice>(&bytes);
    }

    #[test]
    fn game_frames(bytes in altered(all_frames())) {
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
