//! A hub and a game server under attack, and honest newcomers who want in meanwhile.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hub_tests::client::{GameClient, HubClient, Ticket};
use hub_tests::hub::{PASSWORD, metric};
use hub_tests::pki::Pki;
use hub_tests::site::{HubProcess, PATIENCE, ServerProcess, Site};
use shared_msgs::net::tls::ClientTls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

const HOSTS: [&str; 2] = ["localhost", "127.0.0.1"];
/// Where crowds may be, too.
const NEAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// An address that no crowd has.
pub(crate) const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 200, 7, 7));

/// A setting of a process.
pub(crate) type Setting = (&'static str, String);

/// A socket, with TLS on it or without.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
/// See [`Duplex`].
pub(crate) type Stream = Box<dyn Duplex>;

/// See the module.
pub(crate) struct Stage {
    pub(crate) site: Site,
    pub(crate) hub: HubProcess,
    pub(crate) alpha: ServerProcess,
    /// Where alpha's metrics are.
    pub(crate) alpha_metrics: SocketAddr,
    pub(crate) pki: Option<Pki>,
}

/// One of the edges that strangers reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    Http,
    Mqtt,
    Game,
}

impl Edge {
    pub(crate) const ALL: [Self; 3] = [Self::Http, Self::Mqtt, Self::Game];

    const fn metric(self) -> (&'static str, &'static str) {
        match self {
            Self::Http => ("hub_", "http"),
            Self::Mqtt => ("hub_", "mqtt"),
            Self::Game => ("game_server_", "game"),
        }
    }
}

/// Held by tests whose crowds leave the machine no time for another's.
pub(crate) async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ALONE.lock().await
}

/// A moment every twentieth of a second, for what can only be asked again and again.
pub(crate) fn ticks() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

impl Stage {
    /// With TLS on every leg, or on none.
    pub(crate) async fn start(tls: bool, of_hub: &[Setting], of_alpha: &[Setting]) -> anyhow::Result<Self> {
        let site = Site::new()?;
        let pki = tls.then(|| Pki::create(&site.path().join("pki"))).transpose()?;
        let mut hub_settings = of_hub.to_vec();
        if let Some(pki) = &pki {
            let files = pki.issue("hub", &HOSTS)?;
            for (setting, path) in [
                ("AUTH_HUB__HTTP__TLS_CERT_FILE", &files.cert),
                ("AUTH_HUB__HTTP__TLS_KEY_FILE", &files.key),
                ("AUTH_HUB__MQTT__TLS_CERT_FILE", &files.cert),
                ("AUTH_HUB__MQTT__TLS_KEY_FILE", &files.key),
            ] {
                hub_settings.push((setting, path.display().to_string()));
            }
        }
        let hub = site.hub(&hub_settings).await?;
        let broker = hub.mqtt.port();
        let (alpha, alpha_metrics) = server((&site, None), pki.as_ref(), "alpha", broker, of_alpha).await?;
        hub.has("alpha").await?;
        Ok(Self { site, hub, alpha, alpha_metrics, pki })
    }

    /// Without TLS, the hub and alpha with no more file descriptors than these.
    pub(crate) async fn start_allowing(
        (of_hub, of_alpha): (Option<u32>, Option<u32>),
    ) -> anyhow::Result<Self> {
        let site = Site::new()?;
        let hub = site.hub_allowing::<String>(of_hub, &[]).await?;
        let (alpha, alpha_metrics) = server((&site, of_alpha), None, "alpha", hub.mqtt.port(), &[]).await?;
        hub.has("alpha").await?;
        Ok(Self { site, hub, alpha, alpha_metrics, pki: None })
    }

    /// Another game server, whose way to the broker is through this port.
    pub(crate) async fn server(&self, id: &str, broker: u16) -> anyhow::Result<ServerProcess> {
        self.server_with(id, broker, &[]).await
    }

    /// As [`Stage::server`], with settings that win.
    pub(crate) async fn server_with(
        &self,
        id: &str,
        broker: u16,
        more: &[Setting],
    ) -> anyhow::Result<ServerProcess> {
        Ok(server((&self.site, None), self.pki.as_ref(), id, broker, more).await?.0)
    }

    pub(crate) fn addr(&self, edge: Edge) -> SocketAddr {
        match edge {
            Edge::Http => self.hub.http,
            Edge::Mqtt => self.hub.mqtt,
            Edge::Game => self.alpha.game,
        }
    }

    pub(crate) fn trust(&self) -> anyhow::Result<Option<ClientTls>> {
        self.pki.as_ref().map(Pki::trust).transpose()
    }

    /// A client of the hub behind this port, a connection for each request.
    pub(crate) fn client(&self, port: u16) -> anyhow::Result<HubClient> {
        Ok(match self.trust()? {
            Some(trust) => HubClient::trusting(format!("https://localhost:{port}"), &trust)?,
            None => HubClient::without_reuse(format!("http://127.0.0.1:{port}"))?,
        })
    }

    /// A new account and a ticket for alpha.
    pub(crate) async fn ticket(&self, login: &str, port: u16) -> anyhow::Result<Ticket> {
        let client = self.client(port)?;
        client.register(login, PASSWORD).await.context("register")?;
        client.login(login, PASSWORD, Some("alpha")).await.context("login")?.handover.context("no handover")
    }

    /// In game with this ticket, through this port.
    pub(crate) async fn enter(&self, mut ticket: Ticket, port: u16) -> anyhow::Result<GameClient> {
        ticket.endpoints[0].address = format!("localhost:{port}");
        let mut game = GameClient::go(&ticket, self.trust()?.as_ref()).await?;
        game.say_hello(&ticket.token).await?;
        let outcome = game.outcome().await?;
        ensure!(outcome.code() == "welcome", "{outcome:?}");
        Ok(game)
    }

    /// Newcomers from 127.0.0.1, then from an address of their own.
    pub(crate) async fn newcomers(&self, name: &str) -> anyhow::Result<()> {
        self.newcomer(&format!("{name}-near"), NEAR).await?;
        self.newcomer(&format!("{name}-far"), ELSEWHERE).await
    }

    /// Somebody logs in and plays, and a game server joins.
    pub(crate) async fn newcomer(&self, login: &str, from: IpAddr) -> anyhow::Result<()> {
        let mut ways = Vec::new();
        for edge in Edge::ALL {
            ways.push(Relay::start(self.addr(edge), Some(from)).await?);
        }
        let of = |edge: Edge| ways[edge as usize].port;
        let ticket = self.ticket(login, of(Edge::Http)).await.with_context(|| login.to_owned())?;
        let mut game = self.enter(ticket, of(Edge::Game)).await.with_context(|| login.to_owned())?;
        ensure!(game.ask(b"hello").await? == b"hello");
        let server = self.server(login, of(Edge::Mqtt)).await?;
        self.hub.has(login).await.with_context(|| server.process.tail())
    }

    /// A number of an edge's listener: its name without prefix, and the labels after `listener`.
    pub(crate) async fn count(&self, edge: Edge, name: &str, labels: &str) -> anyhow::Result<u64> {
        let (prefix, listener) = edge.metric();
        let at = if edge == Edge::Game { self.alpha_metrics } else { self.hub.operators };
        metric(at, &format!("{prefix}{name}{{listener=\"{listener}\"{labels}}}")).await
    }

    pub(crate) async fn turned_away(&self, edge: Edge, reason: &str) -> anyhow::Result<u64> {
        self.count(edge, "sockets_turned_away_total", &format!(",reason=\"{reason}\"")).await
    }

    pub(crate) async fn strangers(&self, edge: Edge) -> anyhow::Result<u64> {
        self.count(edge, "sockets", ",standing=\"stranger\"").await
    }

    /// Waits until no stranger is left at any edge.
    pub(crate) async fn is_quiet(&self) -> anyhow::Result<()> {
        let quiet = async {
            let mut ticks = ticks();
            for edge in Edge::ALL {
                while self.strangers(edge).await? > 0 {
                    ticks.tick().await;
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, quiet).await.context("strangers stay")?
    }

    /// Nothing that was well before has suffered: the links, and alpha's standing.
    pub(crate) fn is_unharmed(&self) {
        for event in ["\"link.down\"", "\"server.suspect\"", "\"server.lease_ended\"", "\"mqtt.router_died\""]
        {
            let of_alpha =
                |line: &&String| event == "\"link.down\"" || line.contains("\"server_id\":\"alpha\"");
            let log = self.hub.process.log();
            let harm: Vec<_> =
                log.borrow().iter().filter(|line| line.contains(event)).filter(of_alpha).cloned().collect();
            assert!(harm.is_empty(), "{harm:?}");
        }
        assert_eq!(self.alpha.process.count_logged(&["\"link.down\""]), 0, "{}", self.alpha.process.tail());
    }
}

async fn server(
    (site, descriptors_max): (&Site, Option<u32>),
    pki: Option<&Pki>,
    id: &str,
    broker: u16,
    more: &[Setting],
) -> anyhow::Result<(ServerProcess, SocketAddr)> {
    let mut settings = vec![("GAME_SERVER__METRICS__LISTEN", "127.0.0.1:0".to_owned())];
    if let Some(pki) = pki {
        let files = pki.issue(id, &HOSTS)?;
        settings.push(("GAME_SERVER__HUB__TLS", "true".to_owned()));
        settings.push(("GAME_SERVER__HUB__TLS_CA_FILE", pki.ca_file().display().to_string()));
        settings.push(("GAME_SERVER__GAME__TLS_CERT_FILE", files.cert.display().to_string()));
        settings.push(("GAME_SERVER__GAME__TLS_KEY_FILE", files.key.display().to_string()));
    }
    settings.extend_from_slice(more);
    let broker = format!("localhost:{broker}");
    let server = site.server_allowing(descriptors_max, id, &broker, &settings).await?;
    let line = server.process.logged(&["server.ready", "metrics"], PATIENCE).await?;
    // As JSON or as text.
    let metrics = line.split_once("Some(").and_then(|(_, rest)| rest.split_once(')'));
    let metrics = metrics.context("no metrics")?.0.parse()?;
    Ok((server, metrics))
}

/// A port of 127.0.0.1 from where everything goes on to another, by way of an address of choice.
pub(crate) struct Relay {
    pub(crate) port: u16,
    _stop: DropGuard,
}

impl Relay {
    pub(crate) async fn start(to: SocketAddr, from: Option<IpAddr>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (port, stop, tasks) =
            (listener.local_addr()?.port(), CancellationToken::new(), TaskTracker::new());
        let (stopping, connections) = (stop.clone(), tasks.clone());
        let accept = async move {
            while let Ok((near, _)) = listener.accept().await {
                let stop = stopping.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        _ = carry(near, to, from) => {}
                    }
                });
            }
        };
        let stopping = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = accept => {}
            }
        });
        Ok(Self { port, _stop: stop.drop_guard() })
    }
}

async fn carry(mut near: TcpStream, to: SocketAddr, from: Option<IpAddr>) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    if let Some(from) = from {
        socket.bind((from, 0).into())?;
    }
    let mut far = socket.connect(to).await?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await.map(drop)
}
