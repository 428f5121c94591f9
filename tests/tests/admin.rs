//! `auth-hub admin` against a hub in a process of its own: the key, bans, maintenance over a restart, the audit, and `docs/ADMIN.md`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hub_tests::client::{ClientError, GameClient, HubClient, http};
use hub_tests::hub::PASSWORD;
use hub_tests::pki::Pki;
use hub_tests::process::Process;
use hub_tests::setup::{Ended, HUB, Scene, hub_with};
use hub_tests::site::{self, env};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

struct Site {
    scene: Scene,
    hub: Process,
    http: SocketAddr,
    admin: SocketAddr,
}

impl Site {
    async fn start() -> anyhow::Result<Self> {
        let scene = Scene::new()?;
        let (hub, http, admin) = Self::hub(&scene).await?;
        let site = Self { scene, hub, http, admin };
        let account = json!({ "login": "ada", "password": PASSWORD });
        ensure!(site.post("/auth/register", &account).await?.0 == 201);
        Ok(site)
    }

    async fn hub(scene: &Scene) -> anyhow::Result<(Process, SocketAddr, SocketAddr)> {
        let mut hub = Process::start("hub", "auth-hub", &["serve"], &env(&HUB), &scene.path(""))?;
        let ready = hub.ready().await?;
        Ok((hub, Process::addr(&ready, "http")?, Process::addr(&ready, "admin")?))
    }

    /// Stops in order, and starts on the same files.
    async fn restart(self) -> anyhow::Result<Self> {
        let Self { scene, mut hub, .. } = self;
        hub.signal("TERM").await?;
        ensure!(hub.exit_code(PATIENCE).await? == Some(0));
        let (hub, http, admin) = Self::hub(&scene).await?;
        Ok(Self { scene, hub, http, admin })
    }

    /// A command, as the operator grace gives it.
    async fn admin(&self, words: &[&str]) -> anyhow::Result<Ended> {
        let listen = self.admin.to_string();
        let args: Vec<_> = ["admin", "--as", "grace"].iter().chain(words).copied().collect();
        self.scene.run("auth-hub", &args, &hub_with(&[("AUTH_HUB__ADMIN__LISTEN", &listen)])).await
    }

    /// As [`Site::admin`], for one that prints a line with these words.
    async fn says(&self, words: &[&str], told: &[&str]) -> anyhow::Result<String> {
        let ended = self.admin(words).await?;
        let is_it = |line: &str| told.iter().all(|word| line.contains(word));
        ensure!(ended.out.lines().any(is_it), "{words:?}: no line with {told:?} in {ended:?}");
        Ok(ended.out)
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let client = http(None).timeout(PATIENCE).build()?;
        let response = client.post(format!("http://{}{path}", self.http)).json(body).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// Logs in without wanting a place: a session is had without any server.
    async fn log_in(&self, login: &str, build: Option<&str>) -> anyhow::Result<(u16, Value)> {
        let body = json!({ "login": login, "password": PASSWORD, "build": build, "handover": false });
        self.post("/auth/login", &body).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_is_private_and_needed() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let key = std::fs::read_to_string(site.scene.path("admin.key"))?;
    assert_eq!(std::fs::metadata(site.scene.path("admin.key"))?.permissions().mode() & 0o777, 0o600);
    assert_eq!(key.trim().len(), 43);
    site.says(&["maintenance", "show"], &["maintenance", "off"]).await?;

    // Another hub's key, well formed.
    site.scene.write("other.key", format!("{}\n", "A".repeat(43)).as_bytes())?;
    let ended = site.admin(&["audit", "--key-file", "other.key"]).await?;
    ended.failed(1, &["admin-key-invalid", "missing or wrong"])?;
    site.hub.logged(&["admin.key_refused"], PATIENCE).await?;
    site.scene.mode("other.key", 0o644)?;
    site.admin(&["audit", "--key-file", "other.key"]).await?.failed(1, &["chmod 600"])?;
    site.admin(&["audit", "--url", "http://10.0.0.1:1"]).await?.failed(1, &["https"])?;
    site.admin(&["audit", "--url", "http://127.0.0.1:1"]).await?.failed(75, &["is the hub running"])?;
    assert_eq!(site.admin(&["kick", "ada"]).await?.code, Some(2));
    // Nor does it stand in what the hub says.
    let log = site.hub.log().borrow().join("\n");
    assert!(!log.contains(&key.trim()[..8]), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_player_reads_why_and_the_audit_knows_who() -> anyhow::Result<()> {
    let site = Site::start().await?;
    assert_eq!(site.log_in("ada", None).await?.0, 200);
    site.says(
        &["ban", "ada", "--for", "7d", "--why", "sold accounts"],
        &["ada is banned until", "by grace: sold accounts"],
    )
    .await?;
    let (status, refused) = site.log_in("ada", None).await?;
    assert_eq!(
        (status, &refused["code"], &refused["detail"]),
        (403, &json!("banned"), &json!("sold accounts"))
    );
    assert!(refused["banned_until_ms"].is_u64(), "{refused}");
    site.says(&["find", "AD"], &["ada", "banned until", "sold accounts"]).await?;

    let site = site.restart().await?;
    assert_eq!(site.log_in("ada", None).await?.0, 403, "a restart lifts no ban");
    // The shortest there is replaces it, and is over by the hub's clock: the login that is let in is waited for.
    site.says(&["ban", "ada", "--for", "1s", "--why", "a warning"], &["ada is banned until"]).await?;
    let over = async {
        while site.log_in("ada", None).await?.0 != 200 {}
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, over).await.context("the ban does not end")??;
    site.says(&["unban", "ada", "--why", "served"], &["ada is let in again"]).await?;
    site.says(&["unban", "ada", "--why", "served"], &["ada was not banned"]).await?;
    site.admin(&["ban", "nobody", "--why", "x"]).await?.failed(1, &["account-unknown"])?;

    let audit = site
        .says(&["audit", "--last", "9"], &["grace", "ban", "ada", "banned until", "sold accounts"])
        .await?;
    assert_eq!(audit.lines().count(), 5, "a head and four actions, the refused one not begun:\n{audit}");
    let json = site.admin(&["audit", "--json", "--last", "1"]).await?.out;
    let entry = &serde_json::from_str::<Value>(&json)?["entries"][0];
    assert_eq!((&entry["action"], &entry["outcome"]), (&json!("unban"), &json!("there was no ban")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_ends_who_plays_and_who_waits() -> anyhow::Result<()> {
    let site = site::Site::new()?;
    let hub = site.hub(&[("AUTH_HUB__QUEUE__ENABLED", "true")]).await?;
    let broker = format!("127.0.0.1:{}", hub.mqtt.port());
    let _alpha = site.server("alpha", &broker, &[("GAME_SERVER__GAME__MAX_PLAYERS", "1")]).await?;
    hub.has("alpha").await?;
    let client = HubClient::new(format!("http://{}", hub.http))?;
    for login in ["ada", "bob"] {
        client.register(login, PASSWORD).await?;
    }
    let place = client.login("ada", PASSWORD, None).await?.handover.context("no place")?;
    let (mut ada, outcome) = GameClient::enter(place.tcp()?, &place.token).await?;
    ensure!(outcome.code() == "welcome");
    let bob = client.login("bob", PASSWORD, None).await?;
    let ticket = bob.queue.context("no ticket")?.ticket;

    let url = format!("http://{}", hub.admin);
    let ban = async |login: &str| {
        let mut command = tokio::process::Command::new(hub_tests::process::binaries()?.join("auth-hub"));
        command.args(["admin", "--as", "grace", "ban", login, "--why", "x", "--url", &url]);
        let ended = command.envs(site::hub_settings()).current_dir(site.path()).output().await?;
        ensure!(ended.status.success(), "{ended:?}");
        anyhow::Ok(())
    };
    let (asked, banned) =
        tokio::join!(client.ask_ticket(&bob.access_token, &ticket, Duration::from_secs(5)), ban("bob"));
    banned?;
    let Err(ClientError::Problem(problem)) = asked else { anyhow::bail!("bob waits on") };
    ensure!(problem.code == "banned", "{problem:?}");
    let (ended, banned) = tokio::join!(ada.ended(), ban("ada"));
    banned?;
    ensure!(ended?.code() == "banned");
    let line: Value = serde_json::from_str(&hub.process.logged(&["\"account.ended\""], PATIENCE).await?)?;
    ensure!(line["reason"] == "banned", "{line}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_holds_for_everybody_holds_over_a_restart() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let account = json!({ "login": "bob", "password": PASSWORD });
    assert_eq!(site.post("/auth/register", &account).await?.0, 201);
    site.says(
        &["maintenance", "on", "--message", "back at nine", "--allow", "bob", "--why", "patch"],
        &["on: back at nine", "bob"],
    )
    .await?;
    site.says(&["min-build", "1.10", "--why", "patch"], &["least build", "1.10"]).await?;
    site.says(&["message", "hello all", "--why", "festival"], &["message", "hello all"]).await?;

    let site = site.restart().await?;
    let (status, refused) = site.log_in("ada", Some("1.10")).await?;
    assert_eq!(
        (status, &refused["code"], &refused["detail"]),
        (503, &json!("maintenance"), &json!("back at nine"))
    );
    let (status, reply) = site.log_in("bob", Some("1.10.1")).await?;
    assert_eq!((status, &reply["message"]), (200, &json!("hello all")));
    assert_eq!(site.log_in("bob", Some("1.9")).await?.1["code"], "client-too-old");
    for off in [&["maintenance", "off"][..], &["min-build", "--none"], &["message", "--none"]] {
        assert_eq!(site.admin(off).await?.code, Some(2), "{off:?}: nobody said why");
        let off = [off, &["--why", "done"]].concat();
        assert_eq!(site.admin(&off).await?.code, Some(0), "{off:?}");
    }
    let (status, reply) = site.log_in("ada", None).await?;
    assert_eq!((status, &reply["message"]), (200, &Value::Null));
    Ok(())
}

/// The settings that make the hub speak TLS make the command do so, too; whom it does not believe gets no key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_the_hub_must_be_who_it_says() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let pki = Pki::create(&scene.path("pki"))?;
    let files = pki.issue("hub", &["localhost", "127.0.0.1"])?;
    let path = |path: &Path| path.display().to_string();
    let (cert, key, ca) = (path(&files.cert), path(&files.key), path(&pki.ca_file()));
    let stranger = path(&Pki::create(&scene.path("stranger"))?.ca_file());
    let tls = [("AUTH_HUB__ADMIN__TLS_CERT_FILE", &*cert), ("AUTH_HUB__ADMIN__TLS_KEY_FILE", &*key)];
    let settings =
        hub_with(&tls).into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut hub = Process::start("hub", "auth-hub", &["serve"], &settings, &scene.path(""))?;
    let port = Process::addr(&hub.ready().await?, "admin")?.port();
    let ask = async |url: &str, listen: &str, ca: &str| {
        let args: Vec<_> =
            ["admin", "audit", "--ca-file", ca].into_iter().chain(url.split_whitespace()).collect();
        let env = [tls[0], tls[1], ("AUTH_HUB__ADMIN__LISTEN", listen)];
        scene.run("auth-hub", &args, &hub_with(&env)).await
    };
    for (url, listen) in [
        (format!("--url https://localhost:{port}"), "127.0.0.1:1".to_owned()),
        (String::new(), format!("127.0.0.1:{port}")),
    ] {
        let ended = ask(&url, &listen, &ca).await?;
        ensure!(ended.code == Some(0) && ended.out.starts_with("WHEN"), "{url}: {ended:?}");
        ask(&url, &listen, &stranger).await?.failed(75, &["TLS"])?;
    }
    let plain = ask(&format!("--url http://localhost:{port}"), "127.0.0.1:1", &ca).await?;
    assert_eq!(plain.code, Some(75), "{plain:?}");
    Ok(())
}

/// Every command of the program stands in the guide, and every command of the guide is one.
#[tokio::test]
async fn the_guide_has_every_command() -> anyhow::Result<()> {
    let guide = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ADMIN.md"))?;
    let scene = Scene::new()?;
    let help = scene.run("auth-hub", &["admin", "--help"], &[]).await?.out;
    let commands =
        help.split("Commands:").nth(1).and_then(|rest| rest.split("Options:").next()).context("commands")?;
    let listed = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let known: BTreeSet<_> =
        listed.filter_map(|line| line.split_whitespace().next()).filter(|word| *word != "help").collect();
    let rows = guide
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter(|row| !row.starts_with(['-', 'G', 'P']));
    let mut told: BTreeSet<_> = rows.filter_map(|row| row.split([' ', '`']).next()).collect();
    ensure!(guide.contains("`audit [--last N]`"));
    told.insert("audit");
    assert_eq!(told, known);
    Ok(())
}
