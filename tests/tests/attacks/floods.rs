//! Floods: one address that opens all it can, and every edge at once as fast as it goes, with a look at the logs.

use std::time::Duration;

use hub_tests::client::ClientError;
use shared_msgs::frames::{self, ClientFrame};
use tokio::time::{Instant, timeout};

use crate::crowd::{Crowd, Manner};
use crate::rig::{self, Edge, Stage};

/// A log may grow by so much a minute, whatever strangers do.
const LOG_BYTES_PER_MINUTE_MAX: u64 = 1_000_000;
/// How long the floods last.
const FLOOD: Duration = Duration::from_secs(15);

fn hello(token: &str) -> Vec<u8> {
    let hello = frames::Hello {
        version: shared_msgs::limits::GAME_LINK_VERSION,
        token: token.to_owned(),
        build: "flood".to_owned(),
        app_data: Vec::new(),
    };
    frames::encode(&ClientFrame::Hello(hello)).unwrap()
}

fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\ncontent-length: {length}"
    );
    format!("{head}\r\n\r\n{body}").into_bytes()
}

/// The last request of a connection.
fn last(request: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(request.to_vec()).unwrap();
    text.replace("host: hub", "host: hub\r\nconnection: close").into_bytes()
}

/// A connection with as many requests as make it worth it.
fn pipelined(request: &[u8]) -> Vec<u8> {
    [request.repeat(30), last(request)].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_that_opens_all_it_can_is_alone_with_that() -> anyhow::Result<()> {
    const SOCKETS: u32 = 1_000;
    let _alone = rig::alone().await;
    let of_alpha = [("GAME_SERVER__GAME__CONNECTIONS_PER_ADDRESS_MAX", "64".to_owned())];
    let stage = Stage::start(false, &[], &of_alpha).await?;
    stage.newcomers("before").await?;
    let mut crowds = Vec::new();
    for edge in Edge::ALL {
        for pace in ["hold", "flood"] {
            let manner = Manner { pace, say: b"", count: SOCKETS, addresses: (1, 77) };
            crowds.push(Crowd::start(stage.addr(edge), manner)?);
        }
    }
    for crowd in &mut crowds {
        crowd.is_there().await?;
    }
    stage.newcomers("during").await?;
    for edge in Edge::ALL {
        let crowded_out = stage.turned_away(edge, "crowded-out").await?;
        assert!(crowded_out > 500, "{edge:?} {crowded_out}");
        let per_address_max = if edge == Edge::Game { 64 } else { 256 };
        assert!(stage.strangers(edge).await? <= per_address_max + 2, "no more than one address may have");
    }
    stage.is_unharmed();
    for crowd in crowds {
        crowd.leave().await?;
    }
    stage.is_quiet().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_full_of_players_gets_no_more_in_and_the_others_do() -> anyhow::Result<()> {
    let of_alpha = [("GAME_SERVER__GAME__CONNECTIONS_PER_ADDRESS_MAX", "2".to_owned())];
    let stage = Stage::start(false, &[], &of_alpha).await?;
    let (http, game) = (stage.hub.http.port(), stage.alpha.game.port());
    let mut players = Vec::new();
    for login in ["ada", "bob"] {
        players.push(stage.enter(stage.ticket(login, http).await?, game).await?);
    }
    let ticket = stage.ticket("cyd", http).await?;
    let refused = stage.enter(ticket.clone(), game).await.map(drop).unwrap_err();
    assert!(refused.downcast_ref::<ClientError>().is_some(), "closed without a word: {refused:#}");
    assert_eq!(stage.turned_away(Edge::Game, "address-full").await?, 1);
    let far = crate::rig::Relay::start(stage.alpha.game, Some(crate::rig::ELSEWHERE)).await?;
    players.push(stage.enter(ticket, far.port).await?);
    for player in &mut players {
        assert_eq!(player.ask(b"hello").await?, b"hello");
    }
    Ok(())
}

/// Lines and bytes of a log since it had so many lines.
fn grown(process: &hub_tests::process::Process, since: usize) -> (usize, u64) {
    let log = process.log();
    let log = log.borrow();
    let lines = &log[since..];
    (lines.len(), lines.iter().map(|line| line.len() as u64 + 1).sum())
}

fn lines(process: &hub_tests::process::Process) -> usize {
    process.log().borrow().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_at_every_edge_writes_no_more_than_a_megabyte_of_log_a_minute() -> anyhow::Result<()> {
    for tls in [false, true] {
        flood_the_logs(tls).await?;
    }
    Ok(())
}

async fn flood_the_logs(tls: bool) -> anyhow::Result<()> {
    let _alone = rig::alone().await;
    // As shipped, but for who may log in how often: a flood from many addresses meets no throttle but that of the names.
    let stage = Stage::start(tls, &[], &[]).await?;
    let bad_login = post("/auth/login", r#"{"login":"nobody","password":"not the password"}"#);
    let bad_body = post("/auth/login", r#"{"login":7}"#);
    let token = "QUFB".repeat(19);
    let floods: Vec<(&str, Edge, Vec<u8>)> = if tls {
        // To a TLS listener all of it is garbage.
        Edge::ALL.map(|edge| ("garbage", edge, b"\x80garbage, and no TLS at all\r\n\r\n".repeat(4))).into()
    } else {
        vec![
            ("wrong passwords", Edge::Http, pipelined(&bad_login)),
            ("bad bodies", Edge::Http, pipelined(&bad_body)),
            ("unknown paths", Edge::Http, pipelined(b"GET /.env HTTP/1.1\r\nhost: hub\r\n\r\n")),
            ("no HTTP", Edge::Http, b"\x16\x03\x01 not HTTP at all\r\n\r\n".to_vec()),
            ("no MQTT", Edge::Mqtt, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            ("bad tokens", Edge::Game, hello(&token)),
            ("malformed tokens", Edge::Game, hello("no token")),
            ("no frames", Edge::Game, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ]
    };
    let before = (lines(&stage.hub.process), lines(&stage.alpha.process));
    let begun = Instant::now();
    let mut crowds = Vec::new();
    for (n, (_, edge, say)) in (100..).zip(&floods) {
        let manner = Manner { pace: "flood", say, count: 1, addresses: (200, n) };
        crowds.push(Crowd::start(stage.addr(*edge), manner)?);
    }
    // Nothing is waited for but the time: that much flood there is.
    let _ = timeout(FLOOD, std::future::pending::<()>()).await;
    stage.newcomers("during").await?;
    for ((name, ..), crowd) in floods.iter().zip(crowds) {
        println!("{name}: {} connections", crowd.leave().await?);
    }
    let lasted = begun.elapsed();
    for (process, since) in [(&stage.hub.process, before.0), (&stage.alpha.process, before.1)] {
        let (lines, bytes) = grown(process, since);
        let of_a_minute = |n: u64| n * 60_000 / u64::try_from(lasted.as_millis()).unwrap().max(1);
        let (lines, bytes) = (of_a_minute(lines as u64), of_a_minute(bytes));
        println!("tls {tls}: {lines} lines and {bytes} bytes a minute, over {lasted:.1?}");
        assert!(bytes <= LOG_BYTES_PER_MINUTE_MAX, "{bytes} bytes a minute:\n{}", process.tail());
    }
    stage.is_unharmed();
    Ok(())
}
