//! Ten thousand sockets that hang, against each edge, with TLS and without: mute, or stuck half-way through their first word.

use crate::crowd::{Crowd, HALF_CONNECT, HALF_HEAD, HALF_HELLO, HALF_TLS, Manner, SLOW_BODY};
use crate::rig::{self, ELSEWHERE, Edge, Stage};

/// Crowd processes against an edge.
const CROWDS: u8 = 4;
/// Of each.
const SOCKETS: u32 = 2_500;
/// Each crowd's.
const ADDRESSES: u32 = 50;

/// As by default.
fn places(edge: Edge) -> u64 {
    match edge {
        Edge::Http => 4_096,
        Edge::Mqtt => 1_024,
        Edge::Game => 264,
    }
}

async fn under_siege(tls: bool) -> anyhow::Result<()> {
    let _alone = rig::alone().await;
    let stage = Stage::start(tls, &[], &[]).await?;
    stage.newcomers("before").await?;
    stage.is_quiet().await?;
    let before = (stage.hub.process.usage()?, stage.alpha.process.usage()?);
    let mut crowds = Vec::new();
    for (at, edge) in (0..).zip(Edge::ALL) {
        let half = match edge {
            _ if tls => HALF_TLS,
            Edge::Http => HALF_HEAD,
            Edge::Mqtt => HALF_CONNECT,
            Edge::Game => HALF_HELLO,
        };
        for n in 0..CROWDS {
            let say = match n {
                // A request that has begun is no more than a stranger's either.
                3 if edge == Edge::Http && !tls => SLOW_BODY,
                _ if n % 2 == 0 => half,
                _ => b"",
            };
            // The first of each edge shares an address with everybody honest who is near. Some never come again, some always do; among
            // those who share one's address that would be a race for who speaks first.
            let net = if n == 0 { 0 } else { at * CROWDS + n };
            let pace = if n % 2 == 1 { "return" } else { "hold" };
            let manner = Manner { pace, say, count: SOCKETS, addresses: (ADDRESSES, net) };
            crowds.push(Crowd::start(stage.addr(edge), manner)?);
        }
    }
    // From the first of them on.
    stage.newcomer("early", ELSEWHERE).await?;
    for crowd in &mut crowds {
        crowd.is_there().await?;
    }
    for edge in Edge::ALL {
        let strangers = stage.strangers(edge).await?;
        assert!((1..=places(edge)).contains(&strangers), "{edge:?} {strangers}");
    }
    for round in 0..2 {
        stage.newcomers(&format!("round-{round}")).await?;
    }
    let during = (stage.hub.process.usage()?, stage.alpha.process.usage()?);
    stage.is_unharmed();
    for edge in Edge::ALL {
        assert!(stage.strangers(edge).await? <= places(edge));
        let accepted = stage.count(edge, "sockets_accepted_total", "").await?;
        assert!(accepted >= u64::from(u32::from(CROWDS) * SOCKETS), "{edge:?} {accepted}");
        let crowded_out = stage.turned_away(edge, "crowded-out").await?;
        println!("{edge:?}: {accepted} accepted, {crowded_out} crowded out");
        assert!(crowded_out > 0, "{edge:?}");
        assert_eq!(stage.count(edge, "sockets_full_total", "").await?, 0, "{edge:?}");
        assert_eq!(stage.count(edge, "accepts_failed_total", "").await?, 0, "{edge:?}");
    }
    for crowd in crowds {
        crowd.leave().await?;
    }
    stage.is_quiet().await?;
    let after = (stage.hub.process.usage()?, stage.alpha.process.usage()?);
    println!("before {before:?}\nduring {during:?}\nafter {after:?}");
    assert!(after.0.descriptors <= before.0.descriptors + 4, "{before:?} {after:?}");
    assert!(after.1.descriptors <= before.1.descriptors + 4, "{before:?} {after:?}");
    stage.newcomers("after").await?;
    stage.is_unharmed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_means_well_gets_past_ten_thousand_that_hang() -> anyhow::Result<()> {
    under_siege(false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_means_well_gets_past_ten_thousand_that_hang_with_tls() -> anyhow::Result<()> {
    under_siege(true).await
}
