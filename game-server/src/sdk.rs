//! The handle an embedding game holds.
//!
//! Owns the start: one thread with a runtime of its own, so that the game needs none and a busy one cannot delay an answer. Never exits
//! the process, installs no signal handler, prints nothing. Invariant: whatever dies inside, the game hears `Closed` and every
//! request is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shared_msgs::codes::Code;
pub use shared_msgs::environment::Environment;
use shared_msgs::ids::{BootId, ServerId};
use shared_msgs::limits;
use shared_msgs::link::{self, LinkConfig, LinkConfigError, LinkEvent, LinkSender};
use shared_msgs::messages::{Occupancy, ServerState};
use shared_msgs::rng::Rng;
use shared_msgs::token::TokenTag;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::bus::{BusSession, Inbox, Outbound};
use crate::config::{Config, ConfigError, message_line};
use crate::events::{self, CloseReason, Event, EventSender, Events, LinkState};
use crate::gate::{DrainReport, Gate, GateConfig, Ticket};
pub use crate::gate_task::Undrained;
use crate::gate_task::{COMMANDS_MAX, Command, GateTask, Waiting, Wishes};
use crate::slot::{Answer, Departure, Hello, PlayerSlot, Redeeming, Refusal, Resume};
use crate::stats::{Snapshot, Stats};

/// Why a game server did not start. An absent hub is no reason.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The link would not start with it.
    #[error(transparent)]
    Link(#[from] LinkConfigError),
    /// No thread, or no runtime on it.
    #[error("the game server's thread did not start: {0}")]
    Thread(#[from] std::io::Error),
}

/// A running game server. Clones share it; it shuts down when the last one is dropped.
#[derive(Clone)]
pub struct GameServer(Arc<Shared>);

struct Shared {
    server: ServerId,
    boot: BootId,
    commands: mpsc::Sender<Command>,
    wishes: watch::Sender<Wishes>,
    departures: mpsc::UnboundedSender<Departure>,
    tickets: AtomicU64,
    stats: Arc<Stats>,
    /// For its counters.
    link: LinkSender,
    closed: CancellationToken,
}

impl GameServer {
    /// Starts on a thread of its own, with its own runtime. Succeeds while the hub is away.
    ///
    /// # Errors
    /// See [`StartError`]; nothing runs then.
    pub fn start(config: Config) -> Result<(Self, Events), StartError> {
        Self::start_with(config, Environment::default())
    }

    /// As [`GameServer::start`], by another clock or with other randomness.
    ///
    /// # Errors
    /// See [`StartError`]; nothing runs then.
    pub fn start_with(config: Config, environment: Environment) -> Result<(Self, Events), StartError> {
        Self::start_tapped(config, environment, None)
    }

    /// With a `tap`, the hub is heard from there instead of from a broker, and nothing we say goes anywhere.
    pub(crate) fn start_tapped(
        config: Config,
        environment: Environment,
        tap: Option<mpsc::Receiver<LinkEvent>>,
    ) -> Result<(Self, Events), StartError> {
        config.validate()?;
        let Environment { clock, rng } = &environment;
        let boot = BootId::new(clock.now().unix, &**rng);
        let (commands, inbound) = mpsc::channel(COMMANDS_MAX);
        let wishes = Wishes { state: config.state, load_percent: 0, message: config.message_line() };
        let (wishes, follow) = watch::channel(wishes);
        let departures = mpsc::unbounded_channel();
        let (event_sender, events) = events::channel();
        let waiting = Waiting::default();
        let stats = Arc::new(Stats::new(config.max_players, config.state));
        let closed = CancellationToken::new();
        let (server, abandoned) = (config.server_id().clone(), departures.0.clone());
        let engine = Engine {
            config,
            environment,
            boot,
            commands: inbound,
            commander: commands.downgrade(),
            wished: follow,
            departures,
            events: event_sender,
            tap,
            stats: Arc::clone(&stats),
            waiting,
        };
        let ended = closed.clone().drop_guard();
        let (started, starting) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new().name("game-server".into()).spawn(move || {
            let _ended = ended;
            engine.run(&started);
        })?;
        let link = starting.recv().map_err(|_| std::io::Error::other("it ended at once"))??;
        let tickets = AtomicU64::new(0);
        let shared =
            Shared { server, boot, commands, wishes, departures: abandoned, tickets, stats, link, closed };
        Ok((Self(Arc::new(shared)), events))
    }

    /// Lets a client in, once its grant is here; exactly once per token. Needs no particular runtime. Dropping the future
    /// abandons the request.
    ///
    /// # Errors
    /// The named reason why not.
    pub async fn redeem(&self, hello: Hello) -> Result<PlayerSlot, Refusal> {
        self.begin_redeem(hello).await
    }

    /// As [`GameServer::redeem`], for those who poll, or want to tell the client that it waits.
    pub fn begin_redeem(&self, mut hello: Hello) -> Redeeming {
        let token = std::mem::take(&mut hello.token);
        self.ask(hello, |ticket, answers| Command::Arrive { ticket, token, answers })
    }

    /// Lets a client back to its session, whose slot a game has [lost](PlayerSlot::lose) or still has. The older slot
    /// [has moved](PlayerSlot::has_moved) then: its holder does not save, and closes the connection if it is still open.
    ///
    /// # Errors
    /// The named reason why not; nothing has changed for the session then.
    pub async fn resume(&self, resume: Resume) -> Result<PlayerSlot, Refusal> {
        self.begin_resume(resume).await
    }

    /// As [`GameServer::resume`], for those who poll. It is answered at once: never [`Progress::Delayed`](crate::Progress::Delayed).
    pub fn begin_resume(&self, resume: Resume) -> Redeeming {
        let Resume { credential, build, app_data } = resume;
        let hello = Hello { token: String::new(), build, app_data };
        self.ask(hello, |ticket, answers| Command::Resume { ticket, credential, answers })
    }

    fn ask(&self, hello: Hello, question: impl FnOnce(Ticket, mpsc::Sender<Answer>) -> Command) -> Redeeming {
        let ticket = Ticket(self.0.tickets.fetch_add(1, Ordering::Relaxed));
        // One `Delayed` and one `Done`.
        let (sender, answers) = mpsc::channel(2);
        let departures = match self.0.commands.try_send(question(ticket, sender)) {
            Ok(()) => Some(self.0.departures.clone()),
            Err(mpsc::error::TrySendError::Closed(_)) => None,
            Err(mpsc::error::TrySendError::Full(command)) => {
                self.0.stats.count(Err(Code::ServerBusy));
                if let Command::Arrive { answers, .. } | Command::Resume { answers, .. } = command {
                    let _ = answers.try_send(Answer::Done(Err(Code::ServerBusy.into())));
                }
                None
            }
        };
        Redeeming::new(ticket, hello, answers, departures)
    }

    /// Whether the server takes players. A drain is not undone by it: only the hub takes one back, and then what was last said here holds
    /// (online, if that was the drain itself).
    pub fn set_state(&self, state: ServerState) {
        self.0.wishes.send_modify(|wishes| wishes.state = state);
    }

    /// How busy the game is, in percent: orders servers of equal occupancy.
    pub fn set_load(&self, percent: u8) {
        self.0.wishes.send_modify(|wishes| wishes.load_percent = percent);
    }

    /// One line for players, of the moment, as lists of servers show it; empty for none. What cannot be seen is left out, and
    /// what is beyond 256 bytes.
    pub fn set_message(&self, message: &str) {
        let message = message_line(message);
        self.0.wishes.send_modify(|wishes| wishes.message = message);
    }

    /// Which server this is.
    pub fn server_id(&self) -> &ServerId {
        &self.0.server
    }

    /// Which run of it.
    pub fn boot(&self) -> BootId {
        self.0.boot
    }

    /// Its slots.
    pub fn occupancy(&self) -> Occupancy {
        self.snapshot().occupancy
    }

    /// Whether the hub can be heard.
    pub fn link(&self) -> LinkState {
        self.snapshot().link
    }

    /// How it stands, all of one moment.
    pub fn snapshot(&self) -> Snapshot {
        self.0.stats.snapshot()
    }

    /// Follows [`GameServer::snapshot`].
    pub fn watch(&self) -> watch::Receiver<Snapshot> {
        self.0.stats.watch()
    }

    /// Tokens redeemed since the start.
    pub fn redeemed(&self) -> u64 {
        self.0.stats.redeemed()
    }

    /// Sessions that their clients came back to since the start.
    pub fn resumed(&self) -> u64 {
        self.0.stats.resumed()
    }

    /// Clients refused with this code since the start.
    pub fn refused(&self, code: Code) -> u64 {
        self.0.stats.refused(code)
    }

    /// Counts a client that was refused before it could ask.
    pub(crate) fn count_refused(&self, code: Code) {
        self.0.stats.count(Err(code));
    }

    /// Messages to the hub that are not sent yet.
    pub fn messages_waiting(&self) -> usize {
        self.0.link.waiting()
    }

    /// Messages to the hub that were not taken since the start because too many waited. It asks again for what it misses.
    pub fn messages_refused(&self) -> u64 {
        self.0.link.refused_full()
    }

    /// Takes nobody new; who waits is refused, players may finish. Sessions that are left are kicked in time to save before
    /// the limit, and voided at it. Resolves when nobody is left, so by the limit at the latest.
    ///
    /// # Errors
    /// [`Undrained`] when the hub takes the drain back first: players come again, and a limit does not hold any more.
    pub async fn drain(&self, limit: Duration) -> Result<DrainReport, Undrained> {
        self.drain_until(limit, false).await
    }

    /// As [`GameServer::drain`], before the process stops: the hub cannot take it back.
    pub async fn retire(&self, limit: Duration) -> DrainReport {
        self.drain_until(limit, true).await.unwrap_or_default()
    }

    async fn drain_until(&self, limit: Duration, is_final: bool) -> Result<DrainReport, Undrained> {
        let (done, ended) = oneshot::channel();
        let _ = self.0.commands.send(Command::Drain { within: Some(limit), is_final, done }).await;
        // A server that is gone has nobody left.
        ended.await.unwrap_or(Ok(DrainReport::default()))
    }

    /// Answers who waits, voids who is left (drain first), tells the hub, closes the link. Resolves when all that is done.
    pub async fn shutdown(self) {
        let _ = self.0.commands.send(Command::Shutdown).await;
        self.0.closed.cancelled().await;
    }

    /// Resolves when the server has stopped, for whatever reason.
    pub async fn closed(&self) {
        self.0.closed.cancelled().await;
    }
}

impl std::fmt::Debug for GameServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GameServer({}, boot {})", self.0.server, self.0.boot)
    }
}

/// What the thread starts with.
struct Engine {
    config: Config,
    environment: Environment,
    boot: BootId,
    commands: mpsc::Receiver<Command>,
    commander: mpsc::WeakSender<Command>,
    wished: watch::Receiver<Wishes>,
    departures: (mpsc::UnboundedSender<Departure>, mpsc::UnboundedReceiver<Departure>),
    events: EventSender,
    tap: Option<mpsc::Receiver<LinkEvent>>,
    stats: Arc<Stats>,
    waiting: Waiting,
}

impl Engine {
    fn run(self, started: &std::sync::mpsc::SyncSender<Result<LinkSender, StartError>>) {
        let events = self.events.clone();
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error.into()))),
        };
        runtime.block_on(async {
            let tasks = TaskTracker::new();
            let (task, link) = match self.gate_task(&tasks) {
                Ok(made) => made,
                Err(error) => return drop(started.send(Err(error.into()))),
            };
            let _ = started.send(Ok(link));
            let span = tracing::info_span!(target: "handover", "gate");
            let ended = tasks.spawn(task.run().instrument(span)).await;
            events.tell(Event::Closed(ended.unwrap_or(CloseReason::TaskDied)));
        });
    }

    fn gate_task(self, tasks: &TaskTracker) -> Result<(GateTask, LinkSender), LinkConfigError> {
        let Self { config, environment, boot, commands, commander, wished, .. } = self;
        let (departures, events, tap) = (self.departures, self.events, self.tap);
        let (stats, waiting) = (self.stats, self.waiting);
        let Environment { clock, rng } = environment;
        let stop_link = CancellationToken::new();
        let session = BusSession::new(config.key.clone(), boot);
        let link_config = link_config(&config);
        let (sender, link) = link::spawn(
            link_config,
            session,
            Arc::clone(&clock),
            Arc::clone(&rng),
            tasks,
            stop_link.clone(),
        )?;
        let task = GateTask {
            gate: Gate::new(gate_config(&config, boot, rng)),
            clock,
            commands,
            commander,
            wished,
            departures,
            link: tap.unwrap_or(link),
            stop_link,
            inbox: Inbox::new(config.key.clone()),
            outbound: Outbound::new(sender.clone(), &config.key),
            events,
            stats,
            waiting,
        };
        Ok((task, sender))
    }
}

pub(crate) fn link_config(config: &Config) -> LinkConfig {
    let server = config.server_id();
    let (user, password) = match &config.broker_login {
        Some(login) => (login.user.clone(), login.password.clone().into_inner()),
        None => (server.to_string(), config.key.mqtt_password()),
    };
    let tls = config.tls.clone();
    LinkConfig { tls, ..LinkConfig::new(config.brokers.clone(), format!("gs-{server}"), user, password) }
}

fn gate_config(config: &Config, boot: BootId, rng: Arc<dyn Rng>) -> GateConfig {
    GateConfig {
        server: config.server_id().clone(),
        boot,
        tag: TokenTag::new(&config.key, config.server_id(), boot),
        profile: config.profile(),
        state: config.state,
        message: config.message_line(),
        max_players: config.max_players,
        parked_max: config.parked_max(),
        marks_max: limits::CLOSED_MARKS_MAX,
        luggage_bytes_max: limits::LUGGAGE_BYTES_TOTAL_MAX,
        timing: config.timing,
        reconnect_grace: config.reconnect_grace,
        rng,
    }
}

#[cfg(test)]
mod tests;
