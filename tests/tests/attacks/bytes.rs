//! Bad bytes on the game link: before anybody is let in, and from players in game.
//!
//! Each case of a table says its bytes to the real server, many at once. Invariant of the server: what it can judge it refuses by name and
//! counts, all else it closes; it keeps nothing of either, and who plays beside it notices nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use hub_tests::client::GameClient;
use hub_tests::hub::metric;
use hub_tests::site::PATIENCE;
use shared_msgs::codes::Code;
use shared_msgs::frames::{self, ClientFrame, Hello, LENGTH_BYTES, ServerFrame};
use shared_msgs::limits;
use shared_msgs::net::tls::ClientTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::crowd::HALF_TLS;
use crate::rig::{Edge, Stage, Stream, ticks};

/// Each case is said so often, half of them at one time.
const TIMES: usize = 6;
/// What the server's memory may grow by, in KiB: buffers of some dozen connections, and what the allocator keeps of them.
const GROWTH_KIB_MAX: u64 = 16 * 1024;
/// 2^32 - 1, 2^32 and 2^64 - 1 as varints.
const HUGE: [&[u8]; 3] = [
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0x80, 0x80, 0x80, 0x80, 0x10],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];

/// What a client does after its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Waits.
    Stay,
    /// Closes its half.
    Fin,
    /// Breaks the connection.
    Rst,
}

/// A case, and what is heard in the end: one of these codes, or with none the end of the stream.
struct Case {
    name: String,
    bytes: Vec<u8>,
    then: Then,
    hears: &'static [Code],
}

const MALFORMED: &[Code] = &[Code::MalformedHello];
const NOT_GENUINE: &[Code] = &[Code::TokenNotGenuine];
const TOO_OLD: &[Code] = &[Code::ClientTooOld];
const NOTHING: &[Code] = &[];

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length[..], body].concat()
}

fn hello(version: u8, token: &str) -> Vec<u8> {
    let hello = Hello { version, token: token.to_owned(), build: "b".to_owned(), app_data: vec![1] };
    frames::encode(&ClientFrame::Hello(hello)).unwrap()
}

fn resume(version: u8, credential: &str) -> Vec<u8> {
    let (credential, build) = (credential.to_owned(), String::new());
    frames::encode(&ClientFrame::Resume(frames::Resume { version, credential, build, app_data: vec![] }))
        .unwrap()
}

fn app(data: &[u8]) -> Vec<u8> {
    frames::encode(&ClientFrame::App(data.to_vec())).unwrap()
}

fn too_long() -> Vec<u8> {
    let length = u32::try_from(limits::FRAME_BYTES_MAX + 1).unwrap();
    [&length.to_be_bytes()[..], &[0; limits::FRAME_BYTES_MAX + 1]].concat()
}

/// Tag 0, version 1, then the fields in front of the length that lies.
fn bombs() -> Vec<(String, Vec<u8>)> {
    let fields: [(&str, &[u8]); 3] =
        [("token", &[0, 1]), ("build", &[0, 1, 1, b't']), ("app data", &[0, 1, 1, b't', 1, b'b'])];
    let bombs = fields.into_iter().flat_map(|(field, front)| {
        HUGE.map(|length| {
            (format!("{field} of {length:x?} bytes"), framed(&[front, length, b"abc"].concat()))
        })
    });
    let app = HUGE.map(|length| (format!("app of {length:x?} bytes"), framed(&[&[1], length].concat())));
    bombs.chain(app).collect()
}

fn cases(tls: bool) -> Vec<Case> {
    let version = limits::GAME_LINK_VERSION;
    let text = |of: usize| "t".repeat(of);
    let whole = hello(version, "no token");
    let over = |token: &str, build: &str, data: usize| {
        let mut body = vec![0, version];
        for field in [token.as_bytes(), build.as_bytes(), &vec![7; data]] {
            body.extend(postcard_length(field.len()));
            body.extend(field);
        }
        framed(&body)
    };
    let said: Vec<(&str, Vec<u8>, &'static [Code])> = vec![
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), MALFORMED),
        ("only ones", vec![0xff; 600], MALFORMED),
        ("an empty frame", vec![0; LENGTH_BYTES], MALFORMED),
        ("an oversize frame", too_long(), MALFORMED),
        ("a length of 2^32 - 1", vec![0xff; LENGTH_BYTES], MALFORMED),
        ("a tag without end", framed(&[0x80; 12]), MALFORMED),
        ("a hello without fields", framed(&[0]), MALFORMED),
        ("a hello with more behind it", framed(&[&whole[LENGTH_BYTES..], b"more"].concat()), MALFORMED),
        ("a token that is no text", framed(&[0, 1, 2, 0xc3, 0x28, 0, 0]), MALFORMED),
        ("a long token", over(&text(limits::TOKEN_TEXT_BYTES_MAX + 1), "", 0), MALFORMED),
        ("a long build", over("t", &text(limits::BUILD_BYTES_MAX + 1), 0), MALFORMED),
        ("much app data", over("t", "", limits::APP_DATA_BYTES_MAX + 1), MALFORMED),
        ("all at its bound", over(&text(limits::TOKEN_TEXT_BYTES_MAX), "", 1024), NOT_GENUINE),
        ("an app frame first", app(b"first"), MALFORMED),
        ("leave first", frames::encode(&ClientFrame::Leave).unwrap(), MALFORMED),
        ("kept first", frames::encode(&ClientFrame::Kept).unwrap(), MALFORMED),
        ("a resume without fields", framed(&[3]), MALFORMED),
        ("a resume with no credential", resume(version, "none"), &[Code::ReconnectRefused]),
        ("a resume with a token", resume(version, &text(76)), &[Code::ReconnectRefused]),
        ("a resume of a newer version", resume(version + 1, "none"), TOO_OLD),
        ("a newer version", hello(version + 1, "no token"), TOO_OLD),
        ("version 0", hello(0, "no token"), TOO_OLD),
        ("no token", whole.clone(), NOT_GENUINE),
        ("two hellos", whole.repeat(2), NOT_GENUINE),
        ("a frame of a newer client first", [framed(&[9, 1, 2]), whole.clone()].concat(), NOT_GENUINE),
        // Whichever is seen first: that there is too much, or that the token is none.
        (
            "thousands of frames behind the hello",
            [whole.clone(), app(b"early").repeat(5_000)].concat(),
            &[Code::TokenNotGenuine, Code::MalformedHello],
        ),
    ];
    let mut cases: Vec<Case> = said
        .into_iter()
        .map(|(name, bytes, hears)| Case { name: name.to_owned(), bytes, then: Then::Stay, hears })
        .collect();
    let bombs = bombs().into_iter();
    cases.extend(bombs.map(|(name, bytes)| Case { name, bytes, then: Then::Stay, hears: MALFORMED }));
    if !tls {
        let name = "TLS where there is none".to_owned();
        cases.push(Case { name, bytes: HALF_TLS.to_vec(), then: Then::Stay, hears: MALFORMED });
    }
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("half a length", vec![0, 0]),
        ("half a hello", whole[..9].to_vec()),
        ("thousands of frames of a newer client", framed(&[9]).repeat(3_000)),
    ] {
        for (how, then) in [("FIN", Then::Fin), ("RST", Then::Rst)] {
            let name = format!("{what}, then {how}");
            cases.push(Case { name, bytes: bytes.clone(), then, hears: NOTHING });
        }
    }
    cases
}

fn postcard_length(of: usize) -> Vec<u8> {
    let (low, high) = (u8::try_from(of % 128).unwrap(), u8::try_from(of / 128).unwrap());
    if high == 0 { vec![low] } else { vec![low | 0x80, high] }
}

async fn dial(to: std::net::SocketAddr, trust: Option<ClientTls>, then: Then) -> anyhow::Result<Stream> {
    let stream = TcpStream::connect(to).await?;
    if then == Then::Rst {
        stream.set_zero_linger()?;
    }
    Ok(match trust {
        Some(trust) => Box::new(trust.connect("localhost", stream).await?),
        None => Box::new(stream),
    })
}

/// The next frame, if there is one.
async fn hear(stream: &mut Stream) -> Option<ServerFrame> {
    let mut prefix = [0; LENGTH_BYTES];
    stream.read_exact(&mut prefix).await.ok()?;
    let mut body = vec![0; frames::frame_length(prefix).unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some(frames::decode(&body).unwrap())
}

/// Says the bytes; gives the code of the refusal, which is the only frame.
async fn say(mut stream: Stream, bytes: Vec<u8>, then: Then) -> Option<String> {
    // It may be over before all of it is said.
    let _ = async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    }
    .await;
    match then {
        Then::Rst => return None,
        Then::Fin => drop(stream.shutdown().await),
        Then::Stay => {}
    }
    match hear(&mut stream).await? {
        ServerFrame::Refused { code, .. } => {
            assert_eq!(hear(&mut stream).await, None, "a word behind the refusal");
            Some(code)
        }
        other => panic!("{other:?}"),
    }
}

async fn refused(stage: &Stage) -> anyhow::Result<BTreeMap<&'static str, u64>> {
    let mut counts = BTreeMap::new();
    for code in [Code::MalformedHello, Code::ClientTooOld, Code::TokenNotGenuine] {
        let name = format!("game_server_refused_total{{code=\"{code}\"}}");
        counts.insert(code.as_str(), metric(stage.alpha_metrics, &name).await?);
    }
    Ok(counts)
}

/// A player who is in game and hears the echoes of what it says.
async fn player(stage: &Stage, login: &str) -> anyhow::Result<GameClient> {
    let ticket = stage.ticket(login, stage.hub.http.port()).await?;
    stage.enter(ticket, stage.alpha.game.port()).await
}

/// All of `work` comes to its end while a player goes on playing.
async fn beside<T: 'static>(mut work: JoinSet<T>, player: &mut GameClient) -> anyhow::Result<Vec<T>> {
    let (mut done, mut ticks) = (Vec::new(), ticks());
    let all = async {
        loop {
            tokio::select! {
                next = work.join_next() => match next {
                    Some(next) => done.push(next?),
                    None => break anyhow::Ok(()),
                },
                _ = ticks.tick() => anyhow::ensure!(player.ask(b"still here").await? == b"still here"),
            }
        }
    };
    timeout(PATIENCE, all).await.context("one has no end")??;
    anyhow::ensure!(player.ask(b"after").await? == b"after");
    Ok(done)
}

async fn strangers_with_bad_bytes(tls: bool) -> anyhow::Result<()> {
    let all = [("GAME_SERVER__GAME__CONNECTIONS_PER_ADDRESS_MAX", "250".to_owned())];
    let stage = Stage::start(tls, &[], &all).await?;
    let mut healthy = player(&stage, "healthy").await?;
    let (usage, counted) = (stage.alpha.process.usage()?, refused(&stage).await?);
    let (mut heard, mut said) = (BTreeMap::<String, u64>::new(), 0);
    for _ in 0..2 {
        let mut work = JoinSet::new();
        for case in (0..TIMES / 2).flat_map(|_| cases(tls)) {
            let (to, trust) = (stage.addr(Edge::Game), stage.trust()?);
            said += 1;
            work.spawn(async move {
                let stream = dial(to, trust, case.then).await.unwrap();
                let code = say(stream, case.bytes, case.then).await;
                let expected = match &code {
                    Some(code) => case.hears.iter().any(|hears| hears.as_str() == code),
                    None => case.hears.is_empty(),
                };
                assert!(expected, "{} heard {code:?}", case.name);
                code
            });
        }
        for code in beside(work, &mut healthy).await?.into_iter().flatten() {
            *heard.entry(code).or_default() += 1;
        }
    }
    stage.is_quiet().await?;
    let now = refused(&stage).await?;
    for (code, now) in now {
        let (heard, counted) = (heard.get(code).copied().unwrap_or_default(), now - counted[code]);
        // Of a client with too much behind its hello, the token may have been judged as well.
        let more = if code == Code::TokenNotGenuine.as_str() { TIMES as u64 } else { 0 };
        assert!((heard..=heard + more).contains(&counted), "{code}: {heard} heard, {counted} counted");
    }
    let after = stage.alpha.process.usage()?;
    println!("tls {tls}: {said} connections, refused {heard:?}\nbefore {usage:?}\nafter  {after:?}");
    assert!(after.rss_kib <= usage.rss_kib + GROWTH_KIB_MAX, "{usage:?} {after:?}");
    assert!(after.descriptors <= usage.descriptors + 2, "{usage:?} {after:?}");
    assert_eq!(healthy.ask(b"hello").await?, b"hello");
    stage.is_unharmed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_bytes_are_refused_by_name_or_closed_and_nothing_is_kept() -> anyhow::Result<()> {
    strangers_with_bad_bytes(false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_bytes_are_refused_by_name_or_closed_and_nothing_is_kept_with_tls() -> anyhow::Result<()> {
    strangers_with_bad_bytes(true).await
}

/// What players say in game, and what they still hear: echoes, then the end without a word.
fn in_game() -> Vec<(&'static str, Vec<u8>, Then, usize)> {
    vec![
        ("an empty frame", vec![0; LENGTH_BYTES], Then::Stay, 0),
        ("an oversize frame", too_long(), Then::Stay, 0),
        (
            "an app frame that lies",
            [app(b"x"), framed(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f])].concat(),
            Then::Stay,
            1,
        ),
        ("a second hello", hello(limits::GAME_LINK_VERSION, "no token"), Then::Stay, 0),
        ("frames of a newer client", [framed(&[9]).repeat(2_000), app(b"x")].concat(), Then::Fin, 1),
        ("half a frame", app(b"half of it")[..7].to_vec(), Then::Fin, 0),
        ("RST", app(b"x"), Then::Rst, 0),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_whose_bytes_are_bad_is_out_without_a_word_and_its_slot_is_free() -> anyhow::Result<()> {
    for tls in [false, true] {
        let stage = Stage::start(tls, &[], &[]).await?;
        let mut healthy = player(&stage, "healthy").await?;
        let mut work = JoinSet::new();
        for (n, (name, bytes, then, echoes)) in in_game().into_iter().enumerate() {
            let ticket = stage.ticket(&format!("player-{n}"), stage.hub.http.port()).await?;
            let mut stream = dial(stage.addr(Edge::Game), stage.trust()?, then).await?;
            let hello = hello(limits::GAME_LINK_VERSION, &ticket.token);
            // Frames behind the hello are heard once the player is in.
            stream.write_all(&[hello, app(b"in")].concat()).await?;
            stream.flush().await?;
            work.spawn(async move {
                while !matches!(hear(&mut stream).await.unwrap(), ServerFrame::App(_)) {}
                stream.write_all(&bytes).await.unwrap();
                stream.flush().await.unwrap();
                match then {
                    Then::Rst => return,
                    Then::Fin => drop(stream.shutdown().await),
                    Then::Stay => {}
                }
                for _ in 0..echoes {
                    assert!(matches!(hear(&mut stream).await, Some(ServerFrame::App(_))), "{name}: no echo");
                }
                assert_eq!(hear(&mut stream).await, None, "{name}: a word");
            });
        }
        beside(work, &mut healthy).await?;
        let alone = async {
            let mut ticks = ticks();
            while metric(stage.alpha_metrics, "game_server_players").await? > 1 {
                ticks.tick().await;
            }
            anyhow::Ok(())
        };
        timeout(Duration::from_secs(30), alone).await.context("players stay")??;
        assert_eq!(healthy.ask(b"hello").await?, b"hello");
        stage.is_unharmed();
    }
    Ok(())
}
