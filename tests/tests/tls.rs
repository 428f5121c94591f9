//! TLS on all three edges, on real processes: who is believed, what is refused, and new certificates without a connection lost.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use hub_tests::client::{GameClient, HubClient};
use hub_tests::hub::PASSWORD;
use hub_tests::pki::Pki;
use hub_tests::process::{Process, binaries};
use hub_tests::site::{HubProcess, PATIENCE, ServerProcess, Site, env};
use shared_msgs::net::tls::{CertFiles, ClientTls, ClientTlsFiles};
use tokio::net::TcpStream;

const HOSTS: [&str; 2] = ["localhost", "127.0.0.1"];

/// Everything with TLS, game servers with certificates of their own.
struct Secured {
    site: Site,
    pki: Pki,
    hub: HubProcess,
    alpha: ServerProcess,
    client: HubClient,
}

fn show(path: &std::path::Path) -> String {
    path.display().to_string()
}

/// What a game server needs for its link.
fn link(pki: &Pki, own: &CertFiles) -> [(&'static str, String); 4] {
    [
        ("GAME_SERVER__HUB__TLS", "true".to_owned()),
        ("GAME_SERVER__HUB__TLS_CA_FILE", show(&pki.ca_file())),
        ("GAME_SERVER__HUB__TLS_CERT_FILE", show(&own.cert)),
        ("GAME_SERVER__HUB__TLS_KEY_FILE", show(&own.key)),
    ]
}

impl Secured {
    async fn start() -> anyhow::Result<Self> {
        let site = Site::new()?;
        let pki = Pki::create(&site.path().join("pki"))?;
        let (of_hub, of_alpha) = (pki.issue("hub", &HOSTS)?, pki.issue("alpha", &HOSTS)?);
        let hub = site
            .hub(&[
                ("AUTH_HUB__HTTP__TLS_CERT_FILE", show(&of_hub.cert)),
                ("AUTH_HUB__HTTP__TLS_KEY_FILE", show(&of_hub.key)),
                ("AUTH_HUB__MQTT__TLS_CERT_FILE", show(&of_hub.cert)),
                ("AUTH_HUB__MQTT__TLS_KEY_FILE", show(&of_hub.key)),
                ("AUTH_HUB__MQTT__TLS_CLIENT_CA_FILE", show(&pki.ca_file())),
            ])
            .await?;
        let mut settings = link(&pki, &of_alpha).to_vec();
        settings.push(("GAME_SERVER__GAME__TLS_CERT_FILE", show(&of_alpha.cert)));
        settings.push(("GAME_SERVER__GAME__TLS_KEY_FILE", show(&of_alpha.key)));
        let alpha = site.server("alpha", &format!("localhost:{}", hub.mqtt.port()), &settings).await?;
        hub.has("alpha").await?;
        let client = HubClient::trusting(format!("https://localhost:{}", hub.http.port()), &pki.trust()?)?;
        client.register("ada", PASSWORD).await?;
        Ok(Self { site, pki, hub, alpha, client })
    }

    async fn in_game(&self, login: &str) -> anyhow::Result<GameClient> {
        let ticket = self.client.login(login, PASSWORD, None).await?.handover.unwrap();
        assert_eq!(ticket.endpoints[0].transport, "tls");
        let mut game = GameClient::go(&ticket, Some(&self.pki.trust()?)).await?;
        game.say_hello(&ticket.token).await?;
        let outcome = game.outcome().await?;
        anyhow::ensure!(outcome.code() == "welcome", "{outcome:?}");
        Ok(game)
    }
}

/// The certificate that a listener shows.
async fn shown(trust: &ClientTls, port: u16) -> anyhow::Result<Vec<u8>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let stream = trust.connect("localhost", stream).await?;
    Ok(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_goes_through_tls_on_every_leg() -> anyhow::Result<()> {
    let secured = Secured::start().await?;
    let mut game = secured.in_game("ada").await?;
    assert_eq!(game.ask(b"hello").await?, b"hello");
    // As a user of the player does it.
    let player = tokio::process::Command::new(binaries()?.join("player"))
        .args(["play", "--hub", &format!("https://localhost:{}", secured.hub.http.port()), "--login", "ada"])
        .args(["--ca-file", &show(&secured.pki.ca_file()), "--password", PASSWORD])
        .stdin(std::process::Stdio::null())
        .output();
    let output = tokio::time::timeout(PATIENCE, player).await??;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("welcome to alpha, ada"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_believed_gets_nothing_and_is_told_why() -> anyhow::Result<()> {
    let Secured { site, pki, hub, client, alpha } = Secured::start().await?;
    let stranger = Pki::create(&site.path().join("stranger"))?;
    // Clients: plaintext, the wrong authority, the wrong name.
    let port = hub.http.port();
    let trusting = |base: String, trust: &ClientTls| HubClient::trusting(base, trust);
    assert!(HubClient::new(format!("http://localhost:{port}"))?.get("/servers").await.is_err());
    assert!(
        trusting(format!("https://localhost:{port}"), &stranger.trust()?)?.get("/servers").await.is_err()
    );
    assert!(trusting(format!("https://127.0.0.2:{port}"), &pki.trust()?)?.get("/servers").await.is_err());
    // Game servers: no TLS, no certificate, one of another authority, a hub that is not believed.
    let broker = format!("localhost:{}", hub.mqtt.port());
    let (own, foreign) = (pki.issue("beta", &HOSTS)?, stranger.issue("beta", &HOSTS)?);
    let good = link(&pki, &own);
    let cases = [
        (vec![], "broke the protocol"),
        (good[..2].to_vec(), "CertificateRequired"),
        (link(&pki, &foreign).to_vec(), "TLS with the broker failed"),
        (link(&stranger, &own).to_vec(), "invalid peer certificate"),
    ];
    for (settings, reason) in cases {
        let beta = site.server("beta", &broker, &settings).await?;
        beta.process
            .logged(&["\"link.down\"", reason], PATIENCE)
            .await
            .map_err(|error| error.context(format!("{reason} in {}", beta.process.tail())))?;
    }
    let _beta = site.server("beta", &broker, &good).await?;
    hub.has("beta").await?;
    drop((client, alpha));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_compares_its_clock_with_a_hub_that_speaks_tls() -> anyhow::Result<()> {
    let Secured { site, pki, hub, .. } = Secured::start().await?;
    let own = pki.issue("beta", &HOSTS)?;
    let (http, broker) = (hub.http.port(), hub.mqtt.port());
    for (host, ok) in [("localhost", true), ("elsewhere.invalid", false)] {
        let checked = std::process::Command::new(binaries()?.join("game-server"))
            .args(["check", "--hub", &format!("https://{host}:{http}")])
            .envs(env(&link(&pki, &own)))
            .env("GAME_SERVER__HUB__KEY", site.key("beta")?)
            .env("GAME_SERVER__HUB__BROKERS", format!("[\"localhost:{broker}\"]"))
            .current_dir(site.path())
            .output()?;
        let found = String::from_utf8(checked.stdout)?;
        assert_eq!(found.contains("ok    clock.hub: "), ok, "{found}");
        assert!(ok || found.contains("warn  clock.hub: "), "{found}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_certificates_are_taken_up_and_no_connection_is_lost() -> anyhow::Result<()> {
    let secured = Secured::start().await?;
    let (hub, alpha, pki) = (&secured.hub, &secured.alpha, &secured.pki);
    let mut game = secured.in_game("ada").await?;
    let trust = pki.trust()?;
    let ports = [hub.http.port(), alpha.game.port()];
    let mut before = Vec::new();
    for port in ports {
        before.push(shown(&trust, port).await?);
    }
    pki.issue("hub", &HOSTS)?;
    pki.issue("alpha", &HOSTS)?;
    for process in [&hub.process, &alpha.process] {
        process.signal("HUP").await?;
        process.logged(&["config.reloaded"], PATIENCE).await?;
    }
    for (port, before) in ports.into_iter().zip(before) {
        assert_ne!(shown(&trust, port).await?, before, "the new one is shown");
    }
    // Whoever was connected still is, and a newcomer gets in.
    assert_eq!(game.ask(b"still here").await?, b"still here");
    secured.client.register("bob", PASSWORD).await?;
    let mut other = secured.in_game("bob").await?;
    assert_eq!(other.ask(b"hello").await?, b"hello");
    assert_eq!(hub.process.count_logged(&["\"mqtt.closed\""]), 0, "{}", hub.process.tail());
    // Settings that cannot be used keep no renewed certificate out.
    let before = shown(&trust, hub.http.port()).await?;
    pki.issue("hub", &HOSTS)?;
    let settings = secured.site.path().join("config");
    std::fs::create_dir(&settings)?;
    std::fs::write(settings.join("auth-hub.toml"), "[http]\nlisen = 1\n")?;
    hub.process.signal("HUP").await?;
    hub.process.logged(&["config.reload_failed", "lisen"], PATIENCE).await?;
    assert_ne!(shown(&trust, hub.http.port()).await?, before, "the new one is shown");
    // A certificate that does not fit is not taken up.
    let files = pki.issue("hub", &HOSTS)?;
    std::fs::write(&files.cert, "no certificate")?;
    hub.process.signal("HUP").await?;
    hub.process.logged(&["tls.reload_failed", "hub.pem"], PATIENCE).await?;
    shown(&trust, hub.http.port()).await?;
    Ok(())
}

/// The shipped script makes what the shipped settings ask for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_address_is_served_with_tls_and_refused_without() -> anyhow::Result<()> {
    let site = Site::new()?;
    let made = std::process::Command::new(binaries()?.join("dev-certs"))
        .args(["certs", "hub"])
        .current_dir(site.path())
        .output()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let public = ("AUTH_HUB__HTTP__LISTEN", "0.0.0.0:0");
    let mut refused = Process::start("hub", "auth-hub", &["serve"], &env(&[public]), site.path())?;
    assert_eq!(refused.exit_code(PATIENCE).await?, Some(1));
    refused.logged(&["http.tls_cert_file", "http.plaintext_to_network"], PATIENCE).await?;
    let hub = site
        .hub(&[
            public,
            ("AUTH_HUB__HTTP__TLS_CERT_FILE", "certs/hub.pem"),
            ("AUTH_HUB__HTTP__TLS_KEY_FILE", "certs/hub.key"),
        ])
        .await?;
    let files = ClientTlsFiles { ca: Some(site.path().join("certs/ca.pem")), identity: None };
    let client =
        HubClient::trusting(format!("https://localhost:{}", hub.http.port()), &ClientTls::load(files)?)?;
    assert_eq!(client.get("/healthz").await?.0, 200);
    drop(hub);
    let hub = site.hub(&[public, ("AUTH_HUB__HTTP__PLAINTEXT_TO_NETWORK", "true")]).await?;
    let client = HubClient::new(format!("http://127.0.0.1:{}", hub.http.port()))?;
    assert_eq!(client.get("/healthz").await?.0, 200);
    Ok(())
}
