//! The real binaries: killed, stopped, silenced, started in the wrong order.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use hub_tests::client::{ClientError, GameClient, HubClient, LoggedIn, Ticket};
use hub_tests::hub::PASSWORD;
use hub_tests::process::{Process, binaries};
use hub_tests::proxy::FaultProxy;
use hub_tests::setup::HUB;
use hub_tests::site::env;
use shared_msgs::clock::{Clock as _, SystemClock};
use tempfile::TempDir;

/// A lease and a good deal more: reaching it means that it will not happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A hub's files, and the ports of its first run for those that follow.
struct Site {
    dir: TempDir,
    listen: Option<(SocketAddr, SocketAddr)>,
}

/// A running hub.
struct Hub {
    process: Process,
    http: SocketAddr,
    mqtt: SocketAddr,
    client: HubClient,
}

/// A running game server.
struct Server {
    process: Process,
    game: String,
}

impl Site {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { dir: tempfile::tempdir()?, listen: None })
    }

    fn start_hub(&self, more: &[(&str, String)]) -> anyhow::Result<Process> {
        let any = "127.0.0.1:0".parse()?;
        let (http, mqtt) = self.listen.unwrap_or((any, any));
        let mut settings = env(&HUB);
        settings.extend(env(&[
            ("AUTH_HUB__HTTP__LISTEN", http.to_string()),
            ("AUTH_HUB__MQTT__LISTEN", mqtt.to_string()),
            ("AUTH_HUB__THROTTLE__ADDRESS_BURST", "1000".to_owned()),
            // No lots are drawn: the emptiest, then the first by id.
            ("AUTH_HUB__PLACEMENT__NEAR_PERCENT", "0".to_owned()),
            ("AUTH_HUB__PLACEMENT__STICKY", "false".to_owned()),
        ]));
        settings.extend(env(more));
        Process::start("hub", "auth-hub", &["serve"], &settings, self.dir.path())
    }

    /// Starts the hub, on the ports it had before.
    async fn hub(&mut self) -> anyhow::Result<Hub> {
        let mut process = self.start_hub(&[])?;
        let ready = process.ready().await?;
        let (http, mqtt) = (Process::addr(&ready, "http")?, Process::addr(&ready, "mqtt")?);
        self.listen = Some((http, mqtt));
        Ok(Hub { process, http, mqtt, client: HubClient::new(format!("http://{http}"))? })
    }

    /// The key line, as an operator gets it.
    fn key(&self, id: &str) -> anyhow::Result<String> {
        let output = std::process::Command::new(binaries()?.join("auth-hub"))
            .args(["server-key", id])
            .env("AUTH_HUB__DATABASE__PATH", "hub.sqlite")
            .env("AUTH_HUB__KEYS__FLEET_KEY_FILE", "fleet.key")
            .current_dir(self.dir.path())
            .output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    async fn server(&self, id: &str, broker: SocketAddr) -> anyhow::Result<Server> {
        self.server_that_drains(id, broker, 1_000).await
    }

    async fn server_that_drains(&self, id: &str, broker: SocketAddr, ms: u32) -> anyhow::Result<Server> {
        let env = env(&[
            ("GAME_SERVER__HUB__BROKERS", format!("[\"{broker}\"]")),
            ("GAME_SERVER__HUB__KEY", self.key(id)?),
            ("GAME_SERVER__GAME__MAX_PLAYERS", "10".to_owned()),
            ("GAME_SERVER__GAME__DRAIN_MS", ms.to_string()),
        ]);
        let mut process = Process::start(id, "game-server", &[], &env, self.dir.path())?;
        let game = Process::addr(&process.ready().await?, "game")?.to_string();
        Ok(Server { process, game })
    }
}

impl Hub {
    async fn saw(&self, event: &str, server: &str) -> anyhow::Result<()> {
        self.process.logged(&[&message(event), &server_id(server)], PATIENCE).await.map(drop)
    }

    async fn login(&self, login: &str) -> Result<LoggedIn, ClientError> {
        self.client.login(login, PASSWORD, None).await
    }

    async fn ticket(&self, login: &str, server: Option<&str>) -> anyhow::Result<Ticket> {
        self.client.login(login, PASSWORD, server).await?.handover.context("no handover")
    }

    async fn register(&self, login: &str) -> anyhow::Result<()> {
        Ok(self.client.register(login, PASSWORD).await.map(drop)?)
    }
}

fn message(event: &str) -> String {
    format!("\"message\":\"{event}\"")
}

fn server_id(server: &str) -> String {
    format!("\"server_id\":\"{server}\"")
}

async fn enter(ticket: &Ticket) -> anyhow::Result<GameClient> {
    let (client, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    anyhow::ensure!(outcome.code() == "welcome", "{outcome:?}");
    Ok(client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_gets_nobody_once_the_hub_has_noticed() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    let hub = site.hub().await?;
    let (mut alpha, _beta) = (site.server("alpha", hub.mqtt).await?, site.server("beta", hub.mqtt).await?);
    hub.saw("server.eligible", "alpha").await?;
    hub.saw("server.eligible", "beta").await?;
    let clock = SystemClock::new();
    let killed_at = clock.now().mono;
    alpha.process.kill().await?;
    hub.saw("server.suspect", "alpha").await?;
    println!("suspect {} ms after kill -9", clock.now().mono.since(killed_at).as_millis());
    for n in 0..10 {
        let login = format!("player-{n}");
        hub.register(&login).await?;
        assert_eq!(hub.ticket(&login, None).await?.server.id.as_str(), "beta");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_between_reply_and_client_is_replaced_by_another() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    let hub = site.hub().await?;
    let mut alpha = site.server("alpha", hub.mqtt).await?;
    let beta = site.server("beta", hub.mqtt).await?;
    hub.saw("server.eligible", "alpha").await?;
    hub.saw("server.eligible", "beta").await?;
    hub.register("ada").await?;
    let login = hub.login("ada").await?;
    let ticket = login.handover.context("no handover")?;
    assert_eq!(ticket.tcp()?, alpha.game, "equally empty, the first by name");
    alpha.process.kill().await?;
    assert!(GameClient::enter(ticket.tcp()?, &ticket.token).await.is_err(), "nobody is there any more");
    // The client asks again at once, whether or not the hub has noticed: nothing can be confirmed by the dead.
    let (clock, access) = (SystemClock::new(), login.access_token);
    let asked_at = clock.now().mono;
    let ticket = hub.client.handover(&access, None).await?;
    println!("another place {} ms after the first one died", clock.now().mono.since(asked_at).as_millis());
    assert_eq!(ticket.tcp()?, beta.game);
    enter(&ticket).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_gets_nobody_after_its_lease_and_comes_back() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    let hub = site.hub().await?;
    let (alpha, _beta) = (site.server("alpha", hub.mqtt).await?, site.server("beta", hub.mqtt).await?);
    hub.saw("server.eligible", "alpha").await?;
    hub.saw("server.eligible", "beta").await?;
    let clock = SystemClock::new();
    let stopped_at = clock.now().mono;
    alpha.process.signal("STOP").await?;
    hub.saw("server.lease_ended", "alpha").await?;
    println!("lease over {} ms after SIGSTOP", clock.now().mono.since(stopped_at).as_millis());
    for n in 0..5 {
        let login = format!("player-{n}");
        hub.register(&login).await?;
        assert_eq!(hub.ticket(&login, None).await?.server.id.as_str(), "beta");
    }
    let eligible = [message("server.eligible"), server_id("alpha")];
    let words: Vec<&str> = eligible.iter().map(String::as_str).collect();
    assert_eq!(hub.process.count_logged(&words), 1);
    alpha.process.signal("CONT").await?;
    hub.process.logged_times(&words, 2, PATIENCE).await?;
    let ticket = hub.ticket("player-0", Some("alpha")).await?;
    enter(&ticket).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_hub_comes_back_to_players_who_did_not_notice() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    let mut hub = site.hub().await?;
    let _alpha = site.server("alpha", hub.mqtt).await?;
    hub.saw("server.eligible", "alpha").await?;
    hub.register("ada").await?;
    let mut ada = enter(&hub.ticket("ada", None).await?).await?;
    // Registered, acknowledged, and killed before anything else can happen.
    hub.register("bob").await?;
    hub.process.kill().await?;
    assert_eq!(ada.ask(b"who").await?, b"ada");
    assert!(hub.login("bob").await.is_err(), "there is no hub");
    let hub = site.hub().await?;
    let clock = SystemClock::new();
    let up_at = clock.now().mono;
    let mut bob = enter(&hub.ticket("bob", None).await?).await?;
    println!("in game {} ms after the hub came back", clock.now().mono.since(up_at).as_millis());
    assert_eq!(bob.ask(b"who").await?, b"ada\nbob");
    assert_eq!(ada.ask(b"who").await?, b"ada\nbob");
    // It knows again who is where.
    let mut again = enter(&hub.ticket("ada", None).await?).await?;
    assert_eq!(ada.ended().await?.code(), "superseded");
    assert_eq!(again.ask(b"who").await?, b"bob\nada");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_with_one_id_end_with_the_newer_one() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    let hub = site.hub().await?;
    let mut older = site.server("alpha", hub.mqtt).await?;
    hub.saw("server.eligible", "alpha").await?;
    hub.register("ada").await?;
    let mut ada = enter(&hub.ticket("ada", None).await?).await?;
    let newer = site.server("alpha", hub.mqtt).await?;
    assert_eq!(older.process.exit_code(PATIENCE).await?, Some(3), "superseded: not to be restarted");
    assert_eq!(ada.ended().await?.code(), "superseded");
    hub.saw("server.superseded", "alpha").await?;
    let ticket = hub.ticket("ada", Some("alpha")).await?;
    assert_eq!(ticket.tcp()?, newer.game);
    enter(&ticket).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_before_its_hub_says_so_and_waits() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    // The hub's address before there is a hub: closes what connects.
    let road = FaultProxy::start("127.0.0.1:1".parse()?).await?;
    road.admit(false);
    let alpha = site.server("alpha", road.addr()).await?;
    alpha.process.logged(&[&message("link.down")], PATIENCE).await?;
    let hub = site.hub().await?;
    road.set_target(hub.mqtt);
    road.admit(true);
    hub.saw("server.eligible", "alpha").await?;
    alpha.process.logged(&[&message("link.up")], PATIENCE).await?;
    hub.register("ada").await?;
    enter(&hub.ticket("ada", None).await?).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_programs_end_cleanly_when_asked() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    let mut hub = site.hub().await?;
    let mut alpha = site.server("alpha", hub.mqtt).await?;
    hub.saw("server.eligible", "alpha").await?;
    hub.register("ada").await?;
    let mut ada = enter(&hub.ticket("ada", None).await?).await?;
    alpha.process.signal("TERM").await?;
    assert_eq!(ada.ended().await?.code(), "server-draining");
    assert_eq!(alpha.process.exit_code(PATIENCE).await?, Some(0));
    hub.process.signal("TERM").await?;
    assert_eq!(hub.process.exit_code(PATIENCE).await?, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_server_whose_players_would_play_on() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    let hub = site.hub().await?;
    let mut alpha = site.server_that_drains("alpha", hub.mqtt, 3_600_000).await?;
    hub.saw("server.eligible", "alpha").await?;
    hub.register("ada").await?;
    let _ada = enter(&hub.ticket("ada", None).await?).await?;
    alpha.process.signal("TERM").await?;
    alpha.process.logged(&[&message("process.stopping")], PATIENCE).await?;
    alpha.process.signal("TERM").await?;
    assert_eq!(alpha.process.exit_code(PATIENCE).await?, Some(75));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_are_named_and_nothing_starts() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    let cases = [
        ("AUTH_HUB__HTTP__LISTEN", "0.0.0.0:0", "http.plaintext_to_network"),
        ("AUTH_HUB__OPERATORS__LISTEN", "0.0.0.0:0", "operators.plaintext_to_network"),
        ("AUTH_HUB__ADMIN__LISTEN", "0.0.0.0:0", "admin.tls_cert_file"),
        ("AUTH_HUB__HTTP__PORT", "80", "port"),
        ("AUTH_HUB__PASSWORDS__MEMORY_KIB", "1", "passwords.memory_kib"),
        ("AUTH_HUB__DATABASE__PATH", "fleet.key/hub.sqlite", "database"),
    ];
    for (variable, value, named) in cases {
        let mut process = site.start_hub(&[(variable, value.to_owned())])?;
        assert_eq!(process.exit_code(PATIENCE).await?, Some(1), "{variable}={value}");
        process.logged(&[named], PATIENCE).await?;
    }
    let hub = site.hub().await?;
    // A second hub on the same port.
    let mut second = site.start_hub(&[("AUTH_HUB__DATABASE__PATH", "other.sqlite".to_owned())])?;
    assert_eq!(second.exit_code(PATIENCE).await?, Some(1));
    second.logged(&["listen", &hub.mqtt.to_string()], PATIENCE).await?;
    assert!(hub.http.port() != 0);
    let server_cases = [
        ("GAME_SERVER__HUB__KEY", "hunter2", "hub.key"),
        ("GAME_SERVER__GAME__LISTEN", "0.0.0.0:0", "game.plaintext_to_network"),
    ];
    for (variable, value, named) in server_cases {
        let env = env(&[(variable, value.to_owned())]);
        let mut process = Process::start("server", "game-server", &[], &env, site.dir.path())?;
        assert_eq!(process.exit_code(PATIENCE).await?, Some(1), "{variable}={value}");
        process.logged(&[named], PATIENCE).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_dies_over_a_login_with_a_key_says_that_it_does_not_know() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    let mut hub = site.hub().await?;
    hub.register("ada").await?;
    let alpha = site.server("alpha", hub.mqtt).await?;
    hub.saw("server.eligible", "alpha").await?;
    let _ada = enter(&hub.ticket("ada", None).await?).await?;
    // Her session cannot be ended, so that her next login has no answer yet.
    alpha.process.signal("STOP").await?;
    let keyed = hub.client.keyed("a-key-that-outlives-the-hub");
    let asking = tokio::time::timeout(PATIENCE, keyed.login("ada", PASSWORD, None));
    let (asked, killed) = tokio::join!(asking, async {
        hub.process.logged_times(&[&message("grant.sent")], 2, PATIENCE).await?;
        hub.process.kill().await
    });
    killed?;
    assert!(asked?.is_err(), "it was answered");
    alpha.process.signal("CONT").await?;
    let hub = site.hub().await?;
    let unknown = hub.client.keyed("a-key-that-outlives-the-hub").login("ada", PASSWORD, None).await;
    let Err(ClientError::Problem(problem)) = unknown else { anyhow::bail!("it was answered") };
    assert_eq!((problem.status, &*problem.code), (409, "request-in-progress"));
    assert!(problem.retry_after_s.is_some_and(|s| (1..=15).contains(&s)), "{problem:?}");
    // Who cannot wait takes another key.
    hub.saw("server.eligible", "alpha").await?;
    let ticket = hub.client.keyed("another-key-of-the-same-ada").login("ada", PASSWORD, None).await?;
    enter(&ticket.handover.context("no handover")?).await?;
    Ok(())
}
