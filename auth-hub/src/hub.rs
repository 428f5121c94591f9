//! The composition root: binds everything, then runs it. The only room that knows all others.
//!
//! Invariant: whatever can fail at start-up has failed before a task runs; a task that ends unasked ends the hub.

mod error;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use shared_msgs::clock::Clock;
pub use shared_msgs::environment::Environment;
use shared_msgs::ids::HubId;
use shared_msgs::keys::FleetKeys;
use shared_msgs::link::{self, BrokerAddr, LinkConfig, LinkConfigError, LinkEvent, LinkSender};
use shared_msgs::net::tls::{ServerTls, ServerTlsFiles};
use shared_msgs::net::{self, Door, DoorConfig, Listener};
use shared_msgs::process::{Lifecycle, descriptors};
use shared_msgs::rng::Rng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::accounts::{EntryRules, PasswordPool, Store};
use crate::admin_key::AdminKey;
use crate::bus::{HubSession, KeyRing};
use crate::config::{Config, InvalidConfig};
use crate::handover::core::Settings;
use crate::handover::operations::Operations;
use crate::handover::{DeskParts, DeskTask, Meters, fence_clock, fences_are_startable};
use crate::heartbeat::Heartbeat;
use crate::http::{
    AnswerKeys, HEAD_TIME, HttpParts, HttpSettings, HttpState, admin_router, operators_router, prune_answers,
    router, serve, watch_desk,
};
use crate::keyfile;
use crate::metrics::Metrics;
use crate::mqtt::{Broker, BrokerConfig, BrokerHandle};
use crate::queue::{TicketRow, TicketSeal};
use crate::sessions::AccessTokens;
use crate::sole::{self, Sole};

pub use error::StartError;

/// Open connections of probes and scrapes.
const OPERATORS_CONNECTIONS_MAX: usize = 64;
/// Open connections of who commands.
const ADMIN_CONNECTIONS_MAX: usize = 16;
/// Descriptors beyond those of players and game servers: the operators', the database's files, listeners, the hub's own link, what the
/// runtime needs.
pub(crate) const DESCRIPTORS_SPARE: u64 = (OPERATORS_CONNECTIONS_MAX + ADMIN_CONNECTIONS_MAX) as u64 + 48;

/// A hub that is bound and ready to run.
pub struct Hub {
    http: Listener,
    http_addr: SocketAddr,
    operators: Listener,
    operators_addr: SocketAddr,
    admin: Listener,
    admin_addr: SocketAddr,
    admin_key: AdminKey,
    rules: EntryRules,
    broker: Broker,
    mqtt_tls: Option<Arc<ServerTls>>,
    keys: Arc<KeyRing>,
    store: Store,
    sole: Sole,
    passwords: Arc<PasswordPool>,
    stored_ceiling: u64,
    tickets: Vec<TicketRow>,
    config: Config,
    environment: Environment,
}

impl Hub {
    /// Binds all listeners, opens the database, starts the password threads.
    ///
    /// # Errors
    /// [`StartError`] names the setting that does not work.
    pub async fn bind(
        config: Config,
        environment: Environment,
        lifecycle: &Lifecycle,
    ) -> Result<Self, StartError> {
        config.validate()?;
        let Environment { clock, rng } = environment.clone();
        let fleet: FleetKeys = keyfile::load_or_create(&config.keys.fleet_key_file, &*rng)?;
        let admin_key =
            keyfile::load_or_create_admin(&config.admin.key_file, &*rng).map_err(StartError::AdminKey)?;
        let path = &config.database.path;
        let sole = sole::take(path).await?;
        let death = watched(lifecycle, "store");
        let store = Store::open(path, lifecycle.tasks(), &death, rng.clone(), clock.clone()).await?;
        let (stored_ceiling, revoked) = store.remembered().await?;
        let tickets = store.tickets().await?.iter().filter_map(TicketRow::from_stored).collect();
        let rules = store.entry_rules().await?;
        let now = clock.now().unix;
        if !fences_are_startable(stored_ceiling, now) {
            let behind_s = fence_clock(stored_ceiling).abs_diff(now).as_secs();
            return Err(StartError::ClockBehind { behind_s });
        }
        let keys = Arc::new(KeyRing::new(Arc::new(fleet), revoked, HubId::random(&*rng), &*rng));
        let pool = config.passwords.pool().map_err(InvalidConfig::Cost)?;
        let passwords = Arc::new(PasswordPool::start(pool, &watched(lifecycle, "passwords"), &rng, &clock)?);
        let load = |files: Option<ServerTlsFiles>| files.map(ServerTls::load).transpose();
        let admin_tls = load(config.admin.tls()?)?;
        let (http_tls, mqtt_tls) = (load(config.http.tls()?)?, load(config.mqtt.tls()?)?.map(Arc::new));
        let wanted = [config.http.connections_max, config.mqtt.connections_max];
        let [http_max, mqtt_max] = descriptors::share(DESCRIPTORS_SPARE, wanted);
        let broker_config = BrokerConfig {
            listen: config.mqtt.listen,
            tls: mqtt_tls.clone(),
            connections_max: mqtt_max,
            per_address_max: descriptors::part(config.mqtt.connections_per_address_max, mqtt_max, wanted[1]),
            servers_max: config.mqtt.servers_max.min(mqtt_max),
            ..BrokerConfig::default()
        };
        let broker = Broker::bind(broker_config, keys.clone()).await?;
        let door = DoorConfig {
            name: "http",
            connections_max: http_max,
            per_address_max: descriptors::part(config.http.connections_per_address_max, http_max, wanted[0]),
            exempt: config.http.trusted_proxies.clone(),
            handshake_timeout: HEAD_TIME,
        };
        let (http, http_addr) = listen("http", config.http.listen, door, http_tls)?;
        let door = |name, connections_max| DoorConfig {
            name,
            connections_max,
            per_address_max: connections_max,
            exempt: Vec::new(),
            handshake_timeout: HEAD_TIME,
        };
        let of_operators = door("operators", OPERATORS_CONNECTIONS_MAX);
        let (operators, operators_addr) = listen("operators", config.operators.listen, of_operators, None)?;
        let of_admin = door("admin", ADMIN_CONNECTIONS_MAX);
        let (admin, admin_addr) = listen("admin", config.admin.listen, of_admin, admin_tls)?;
        Ok(Self {
            http,
            http_addr,
            operators,
            operators_addr,
            admin,
            admin_addr,
            admin_key,
            rules,
            broker,
            mqtt_tls,
            keys,
            store,
            sole,
            passwords,
            stored_ceiling,
            tickets,
            config,
            environment,
        })
    }

    /// Where clients log in.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where operators look.
    pub fn operators_addr(&self) -> SocketAddr {
        self.operators_addr
    }

    /// Where operators command.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// The listeners with TLS, by name, whose certificates can be read again.
    pub fn tls(&self) -> Vec<(&'static str, Arc<ServerTls>)> {
        let of = |name, tls: &Option<Arc<ServerTls>>| tls.clone().map(|tls| (name, tls));
        let all = [of("http", &self.http.tls), of("mqtt", &self.mqtt_tls), of("admin", &self.admin.tls)];
        all.into_iter().flatten().collect()
    }

    /// Where game servers connect.
    pub fn mqtt_addr(&self) -> SocketAddr {
        self.broker.public_addr()
    }

    /// Reaches the broker while the hub runs.
    pub fn broker(&self) -> BrokerHandle {
        self.broker.handle()
    }

    /// Spawns everything on the lifecycle. The hub then runs until the lifecycle stops it: HTTP finishes its requests first,
    /// the desk, the link and the broker follow, the database is closed last. Gives the desk's heartbeat, for a watch.
    ///
    /// # Errors
    /// When the hub's own link cannot be set up.
    pub fn start(self, lifecycle: &Lifecycle) -> Result<Heartbeat, StartError> {
        self.start_operated(lifecycle).map(|(heart, _)| heart)
    }

    /// As [`Hub::start`]; gives what operators ask through, too.
    ///
    /// # Errors
    /// As [`Hub::start`].
    pub fn start_operated(
        self,
        lifecycle: &Lifecycle,
    ) -> Result<(Heartbeat, Arc<dyn Operations>), StartError> {
        let Self {
            http,
            operators,
            admin,
            admin_key,
            rules,
            broker,
            mqtt_tls,
            keys,
            store,
            sole,
            passwords,
            stored_ceiling,
            tickets,
            config,
            environment,
            ..
        } = self;
        let Environment { clock, rng } = environment;
        // Stops only when HTTP has answered what it took: the desk must still work for those requests.
        let inner = lifecycle.hard().child_token();
        let (private, broker_handle) = (broker.private_addr(), broker.handle());
        broker.run(lifecycle.tasks(), inner.clone());
        let (link, events) = start_link(&keys, private, &clock, &rng, lifecycle, inner.clone())?;
        let mut metrics = Metrics::new();
        let meters = Meters::register(metrics.registry_mut());
        metrics.watch_passwords(&passwords);
        metrics.watch_doors(vec![
            (Arc::clone(&http.door), http.tls.clone()),
            (Arc::clone(&operators.door), None),
            (Arc::clone(&admin.door), admin.tls.clone()),
            (Arc::clone(broker_handle.door()), mqtt_tls),
        ]);
        metrics.watch_broker(broker_handle.clone());
        metrics.watch_link(link.clone());
        let access =
            AccessTokens::new(&keys.fleet().access_token_seed(), config.sessions.access_token_life());
        let seal = TicketSeal::new(&keys.fleet().queue_ticket_key(), keys.hub().clone());
        let answers = AnswerKeys::new(keys.fleet());
        let heart = Heartbeat::default();
        let (desk, task) = DeskTask::new(DeskParts {
            store: store.clone(),
            keys,
            clock: clock.clone(),
            rng: rng.clone(),
            meters,
            servers_max: config.mqtt.servers_max,
            settings: Settings { placement: config.placement.placement(), queue: config.queue.settings() },
            tickets,
            duplicates: config.sessions.duplicate,
            stored_ceiling,
            link,
            events,
            heart: heart.clone(),
            tasks: lifecycle.tasks().clone(),
            revoke: Box::new(move |server, lowest| {
                broker_handle.revoke(server, lowest);
            }),
        });
        let operations: Arc<dyn Operations> = Arc::new(desk.clone());
        let state = HttpState::new(
            HttpParts {
                store: store.clone(),
                passwords,
                operations: Arc::new(desk.clone()),
                admin_key,
                rules,
                desk: Arc::new(desk),
                access,
                seal,
                answers,
                clock,
                rng,
                metrics,
                tasks: lifecycle.tasks().clone(),
                stopping: lifecycle.soft().clone(),
            },
            http_settings(&config),
        );
        lifecycle.spawn("desk", task.run(inner.clone()));
        lifecycle.spawn("answers", prune_answers(state.clone(), inner.clone()));
        lifecycle.spawn("overload", watch_desk(state.clone(), inner.clone()));
        let (soft, proxies) = (lifecycle.soft().clone(), config.http.trusted_proxies.into());
        // To the last: it shows how the hub stops.
        let operators = serve(operators, operators_router(state.clone()), Arc::new([]), inner.clone());
        lifecycle.spawn("operators", operators);
        let admin = serve(admin, admin_router(state.clone()), Arc::new([]), soft.clone());
        lifecycle.spawn("http", async move {
            // All need the desk and the store to finish what they took, also for clients that have gone.
            tokio::join!(serve(http, router(state.clone()), proxies, soft), admin);
            state.finish().await;
            inner.cancel();
            store.close().await;
            drop(sole);
            info!(target: "handover", "hub.stopped");
        });
        Ok((heart, operations))
    }
}

fn http_settings(config: &Config) -> HttpSettings {
    HttpSettings {
        requests_max: config.http.requests_max,
        overload: config.overload.limits(),
        registration_open: config.accounts.registration,
        logins: config.throttle.logins(),
        registrations: config.throttle.registrations(),
        handovers: config.throttle.handovers(),
    }
}

fn listen(
    section: &'static str,
    address: SocketAddr,
    door: DoorConfig,
    tls: Option<ServerTls>,
) -> Result<(Listener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { section, address, source };
    let socket = net::bind(address, None).map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    Ok((Listener { socket, door: Door::new(door), tls: tls.map(Arc::new) }, bound))
}

/// A token for a part that is no task of ours: whoever cancels it says that the part died, and the hub stops with a failure.
fn watched(lifecycle: &Lifecycle, name: &'static str) -> CancellationToken {
    let (death, soft) = (CancellationToken::new(), lifecycle.soft().clone());
    let died = death.clone();
    lifecycle.spawn(name, async move {
        tokio::select! {
            () = died.cancelled() => {}
            () = soft.cancelled() => {}
        }
    });
    death
}

/// The hub is an ordinary MQTT client of its broker, on a listener of its own that no crowd can fill.
fn start_link(
    keys: &Arc<KeyRing>,
    broker: SocketAddr,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
    lifecycle: &Lifecycle,
    stop: CancellationToken,
) -> Result<(LinkSender, mpsc::Receiver<LinkEvent>), LinkConfigError> {
    let hub = keys.hub().to_string();
    let addr = BrokerAddr { host: Ipv4Addr::LOCALHOST.to_string(), port: broker.port() };
    let config = LinkConfig::new(vec![addr], hub.clone(), hub, keys.hub_password());
    let session = HubSession::new(keys.clone());
    link::spawn(config, session, clock.clone(), rng.clone(), lifecycle.tasks(), stop)
}

#[cfg(test)]
mod tests;
