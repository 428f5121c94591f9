//! What clients hold: passwords, access tokens, one-time tokens, all of them shown rightly, wrongly and in the wrong places.

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hub_tests::client::{self, GameClient, HubClient, Ticket};
use hub_tests::process::Process;
use hub_tests::site::PATIENCE;
use shared_msgs::clock::UnixMs;
use shared_msgs::ids::BootId;
use shared_msgs::keys::ServerKey;
use shared_msgs::rng::SystemRng;
use shared_msgs::token::TokenTag;

use super::hunt::Hunt;
use super::requests::{ask_oddly, tell};
use super::{beside, loud_hub, loud_server, run, sessions};
use crate::rig::{Setting, Stage, ticks};

/// A token's secret parts, as text and as bytes: what precedes them is its version and its end.
fn found_token(hunt: &mut Hunt, name: &str, token: &str) -> anyhow::Result<()> {
    let bytes = URL_SAFE_NO_PAD.decode(token)?;
    hunt.found(name, token.get(12..).context("a token")?);
    hunt.found(&format!("{name}, random part"), &bytes[9..41]);
    hunt.found(&format!("{name}, tag"), &bytes[41..]);
    Ok(())
}

fn found_access(hunt: &mut Hunt, name: &str, token: &str) -> anyhow::Result<()> {
    let (claims, signature) = token.rsplit_once('.').context("a token")?;
    hunt.found(name, token);
    hunt.found(&format!("{name}, claims"), claims.rsplit('.').next().context("claims")?);
    hunt.found(&format!("{name}, signature"), signature);
    hunt.found(&format!("{name}, signature's bytes"), URL_SAFE_NO_PAD.decode(signature)?);
    Ok(())
}

/// Another character in the middle.
pub(super) fn altered(token: &str) -> String {
    let at = token.len() / 2;
    let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}

fn fresh_settings(settings: &[Setting], more: &[(&'static str, &str)]) -> Vec<Setting> {
    let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
    settings.iter().cloned().chain(more).collect()
}

/// CONNECT of MQTT 3.1.1, with user and password.
fn connect(user: &str, password: &str) -> anyhow::Result<Vec<u8>> {
    let client = format!("gs-{user}");
    let mut body = b"\x00\x04MQTT\x04\xc2\x00\x05".to_vec();
    for text in [&client, user, password] {
        body.extend(u16::try_from(text.len())?.to_be_bytes());
        body.extend(text.as_bytes());
    }
    ensure!(body.len() < 128, "too long for one byte of length");
    Ok([&[0x10, u8::try_from(body.len())?], body.as_slice()].concat())
}

/// What a server answers to a token.
async fn shown(stage: &Stage, ticket: &Ticket, token: &str, answer: &str) -> anyhow::Result<GameClient> {
    let mut game = GameClient::go(ticket, stage.trust()?.as_ref()).await?;
    game.say_hello(token).await?;
    let outcome = game.outcome().await?;
    ensure!(outcome.code() == answer, "{outcome:?} and not {answer}");
    Ok(game)
}

/// The boot of a server, as the hub names it.
async fn boot(stage: &Stage, server: &str) -> anyhow::Result<BootId> {
    let words = ["\"server.eligible\"", &format!("\"server_id\":\"{server}\"")];
    let line: serde_json::Value = serde_json::from_str(&stage.hub.process.logged(&words, PATIENCE).await?)?;
    let (started, random) = line["boot"].as_str().and_then(|boot| boot.split_once('-')).context("no boot")?;
    Ok(BootId { started: UnixMs(started.parse()?), random: u64::from_str_radix(random, 16)? })
}

/// Tokens: right, a second time, elsewhere, unknown, too late, torn, and what is none.
async fn tokens(stage: &Stage, hub: &HubClient, hunt: &mut Hunt) -> anyhow::Result<String> {
    let password = hunt.spend("ada's password");
    let first = hub.login("ada", &password, Some("alpha")).await?;
    found_access(hunt, "access token", &first.access_token)?;
    let to_alpha = first.handover.context("no handover")?;
    found_token(hunt, "token for alpha", &to_alpha.token)?;
    let mut at_alpha = shown(stage, &to_alpha, &to_alpha.token, "welcome").await?;
    ensure!(at_alpha.ask(b"hello").await? == b"hello");
    // To the other server, which ends the older session.
    let to_beta = hub.handover(&first.access_token, Some("beta")).await?;
    found_token(hunt, "token for beta", &to_beta.token)?;
    let ended = at_alpha.ended().await?;
    ensure!(ended.code() == "superseded", "{ended:?}");
    shown(stage, &to_alpha, &to_beta.token, "token-not-genuine").await?;
    let _at_beta = shown(stage, &to_beta, &to_beta.token, "welcome").await?;
    shown(stage, &to_beta, &to_beta.token, "token-spent").await?;
    // And a second login from elsewhere.
    let second = hub.login("ada", &password, Some("alpha")).await?;
    found_access(hunt, "access token of the second login", &second.access_token)?;
    let again = second.handover.context("no handover")?;
    found_token(hunt, "token of the second login", &again.token)?;
    let _at_alpha = shown(stage, &again, &again.token, "welcome").await?;
    // Strangers.
    let key: ServerKey = stage.site.key("alpha")?.parse()?;
    let tag = TokenTag::new(&key, key.server(), boot(stage, "alpha").await?);
    let (late, _) = tag.mint(UnixMs(1), &SystemRng::new());
    let other = TokenTag::new(&key, key.server(), BootId { started: UnixMs(1), random: 1 });
    let (unknown, _) = other.mint(UnixMs(u64::MAX), &SystemRng::new());
    for (name, token, answer) in [
        ("a token too late", late.expose(), "token-expired"),
        ("a token of another boot", unknown.expose(), "token-not-genuine"),
    ] {
        found_token(hunt, name, token)?;
        shown(stage, &again, token, answer).await?;
    }
    let (torn, forged) = (&again.token[..40], altered(&again.token));
    hunt.found("a forged token", forged.get(40..).context("short")?);
    let odd = hunt.make("what is no token");
    for token in [torn, &forged, &hunt.spend("what is no token"), &format!("{odd}\0\n{odd}"), &odd.repeat(3)]
    {
        shown(stage, &again, token, "token-not-genuine").await?;
    }
    // A hello whose length and content contradict each other.
    let frame = [&[0, 0, 0, 99, 0, 1, 76], again.token.as_bytes(), &[0xff; 40]].concat();
    tell(stage, stage.alpha.game.port(), &frame).await?;
    // And one with a token longer than any.
    let frame = [&[0, 0, 0, 125, 0, 1, 120], odd.repeat(5).as_bytes(), &[0, 0]].concat();
    tell(stage, stage.alpha.game.port(), &frame).await?;
    // Access tokens that are none, or not ours any more.
    let forged = altered(&first.access_token);
    found_access(hunt, "a forged access token", &forged)?;
    for token in [&forged, &format!("{forged}.{forged}"), &first.access_token[..60]] {
        ensure!(hub.handover(token, None).await.is_err(), "a forged access token is taken");
    }
    // MQTT.
    let real = key.mqtt_password();
    for (user, password) in
        [("alpha", hunt.make("MQTT password")), ("alpha", altered(&real)), ("beta", real.to_string())]
    {
        tell(stage, stage.hub.mqtt.port(), &connect(user, &password)?).await?;
    }
    hunt.spend("MQTT password");
    hunt.found("a forged MQTT password", altered(&real).rsplit('.').next().context("short")?);
    Ok(first.access_token)
}

async fn throttled(hub: &HubClient, hunt: &mut Hunt) -> anyhow::Result<()> {
    hunt.make("a guess");
    let guess = hunt.spend("a guess");
    let mut ticks = ticks();
    let refused = async {
        loop {
            ticks.tick().await;
            let refused = hub.login("mallory", &guess, None).await.map(drop).unwrap_err().to_string();
            if refused.starts_with("429 ") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.context("never throttled")
}

/// Files of TLS for a hub that starts again.
fn tls_again(stage: &Stage) -> Vec<Setting> {
    let path = |name: &str| stage.site.path().join("pki").join(name).display().to_string();
    vec![
        ("AUTH_HUB__HTTP__TLS_CERT_FILE", path("hub.pem")),
        ("AUTH_HUB__HTTP__TLS_KEY_FILE", path("hub.key")),
        ("AUTH_HUB__MQTT__TLS_CERT_FILE", path("hub.pem")),
        ("AUTH_HUB__MQTT__TLS_KEY_FILE", path("hub.key")),
        ("AUTH_HUB__MQTT__LISTEN", stage.hub.mqtt.to_string()),
        ("AUTH_HUB__SESSIONS__ACCESS_TOKEN_LIFE_S", "1".to_owned()),
    ]
}

/// New certificates of which the key is none.
async fn bad_reload(stage: &Stage, hunt: &mut Hunt) -> anyhow::Result<()> {
    let file = stage.site.path().join("pki/hub.key");
    let good = std::fs::read(&file)?;
    for (times, text) in [(1, hunt.make("a bad TLS key")), (2, hunt.make("half a TLS key"))] {
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n");
        let end = if times == 1 { "-----END PRIVATE KEY-----\n" } else { "" };
        std::fs::write(&file, pem + end)?;
        stage.hub.process.signal("HUP").await?;
        stage.hub.process.logged_times(&["tls.reload_failed", "\"of\":\"http\""], times, PATIENCE).await?;
    }
    hunt.spend("a bad TLS key");
    hunt.spend("half a TLS key");
    Ok(std::fs::write(&file, good)?)
}

/// Logs in with a hub whose access tokens do not last, until its token has expired.
async fn expired(stage: &Stage, hunt: &mut Hunt) -> anyhow::Result<()> {
    let hub = stage.client(stage.hub.http.port())?;
    let in_time = hub.login("ada", &hunt.spend("ada's password"), None).await?;
    found_access(hunt, "an access token that expires", &in_time.access_token)?;
    found_token(hunt, "a token that nobody shows", &in_time.handover.context("no handover")?.token)?;
    let mut ticks = ticks();
    let expired = async {
        while !matches!(hub.handover(&in_time.access_token, Some("nowhere")).await, Err(error) if error.to_string().contains("expired"))
        {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, expired).await.context("it never expires")
}

async fn stopped(hunt: &mut Hunt, who: &str, process: &mut Process) -> anyhow::Result<()> {
    process.signal("TERM").await?;
    ensure!(process.exit_code(PATIENCE).await? == Some(0), "{who} did not stop well");
    hunt.heard_all(who, process).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_of_players_and_servers_is_in_any_log() -> anyhow::Result<()> {
    let mut hunt = Hunt::default();
    let of_hub = fresh_settings(&loud_hub(), &[("AUTH_HUB__THROTTLE__NAME_BURST", "8")]);
    let of_alpha = fresh_settings(&loud_server(), &[("GAME_SERVER__GAME__RECONNECT_GRACE_MS", "30000")]);
    let mut stage = Stage::start(true, &of_hub, &of_alpha).await?;
    let as_text = fresh_settings(&loud_server(), &[("GAME_SERVER__LOG__FORMAT", "text")]);
    let mut beta = stage.server_with("beta", stage.hub.mqtt.port(), &as_text).await?;
    stage.hub.has("beta").await?;

    let dir = stage.site.path().to_owned();
    let fleet = std::fs::read_to_string(dir.join("fleet.key"))?;
    let fleet_key = fleet.trim().rsplit('.').next().context("a key")?;
    hunt.found("fleet key", fleet_key);
    hunt.found("fleet key, bytes", URL_SAFE_NO_PAD.decode(fleet_key)?);
    let seed = shared_msgs::keys::FleetKeys::parse(&fleet)?.access_token_seed();
    hunt.found("seed of access tokens", seed.as_slice());
    for server in ["alpha", "beta"] {
        hunt.found_server_key(server, &stage.site.key(server)?)?;
        hunt.found_tls_key(server, &dir.join(format!("pki/{server}.key")))?;
    }
    hunt.found_tls_key("the hub", &dir.join("pki/hub.key"))?;

    hunt.make("ada's password");
    let (env, password) = (beside(&[]), hunt.spend("ada's password"));
    let added = run(("auth-hub", &["account", "add", "ada"]), &env, &password, &dir).await?;
    ensure!(added.code == Some(0), "{added:?}");
    hunt.heard("account add", added.out + &added.err);
    let hub = stage.client(stage.hub.http.port())?;
    ask_oddly(&stage, &mut hunt).await?;
    tokens(&stage, &hub, &mut hunt).await?;
    sessions::returns(&stage, &hub, &mut hunt).await?;
    sessions::commands(&stage, &mut hunt).await?;
    throttled(&hub, &mut hunt).await?;
    bad_reload(&stage, &mut hunt).await?;

    beta.process.kill().await?;
    hunt.heard_all("beta", &mut beta.process).await?;
    stage.hub.process.logged(&["\"server.suspect\"", "beta"], PATIENCE).await?;
    for (who, at) in [("hub's metrics", stage.hub.operators), ("alpha's metrics", stage.alpha_metrics)] {
        hunt.heard(who, client::get(&format!("http://{at}/metrics")).await?.text().await?);
    }
    // They are there before the last connection to the database closes and after.
    let hashes = hunt.found_hashes(&dir.join("hub.sqlite"))?;
    ensure!(hashes >= 3, "ada, bob and odd have {hashes} hashes");

    let lines = |process: &Process, words: &[&str]| process.count_logged(words);
    ensure!(lines(&stage.hub.process, &["\"TRACE\"", "\"target\":\"rumqttd"]) > 0, "the hub is not at trace");
    ensure!(lines(&stage.hub.process, &["\"DEBUG\"", "\"http.request\""]) > 20, "the hub is not at debug");
    ensure!(lines(&stage.alpha.process, &["\"DEBUG\"", "connection.closed"]) > 0, "alpha is not at debug");
    stopped(&mut hunt, "hub", &mut stage.hub.process).await?;
    let of_hub = [of_hub, tls_again(&stage)].concat();
    stage.hub = stage.site.hub(&of_hub).await?;
    stage.hub.has("alpha").await?;
    expired(&stage, &mut hunt).await?;
    stopped(&mut hunt, "alpha", &mut stage.alpha.process).await?;
    stopped(&mut hunt, "hub again", &mut stage.hub.process).await?;
    ensure!(!dir.join("session.keys").exists(), "session keys were written");
    let (secrets, bytes) = hunt.size();
    println!("{secrets} secrets looked for in {bytes} bytes");
    hunt.finds_nothing();
    Ok(())
}
