//! What the handlers share, and the one thing they ask of the rest of the hub.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use shared_msgs::clock::{Clock, Mono, UnixMs};
use shared_msgs::limits;
use shared_msgs::rng::Rng;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::idempotency::{AnswerKeys, Running};
use super::pressure::Pressure;
use super::queue::Streams;
use super::shed::{Class, ShedLimits};
use crate::accounts::throttle::Bucket;
use crate::accounts::{
    AccountRow, AccountThrottle, AddressThrottle, EntryRules, PasswordPool, Store, Throttle, ThrottleConfig,
};
use crate::admin_key::AdminKey;
use crate::handover::operations::Operations;
use crate::handover::{Answered, Desk, HandoverRequest, NoPlace, Refused, Snapshot, TicketAsk};
use crate::metrics::Metrics;
use crate::queue::{TicketId, TicketSeal, TicketView};
use crate::sessions::AccessTokens;

/// Every request is answered within this.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(25);
/// Of that, for the reads of the store before and after a handover: each may wait two seconds for its turn.
pub(super) const STORE_TIME: Duration = Duration::from_secs(5);
/// Polls of the login queue that may wait at one time, for each request that may run. One more is answered at once.
const WAITS_PER_REQUEST: usize = 2;

/// Requests to the admin API at one time.
const COMMANDS_MAX: usize = 16;
/// Wrong admin keys from one address: ten, and then one more each six seconds.
const WRONG_KEYS: Bucket = Bucket { burst: 10, refill: Duration::from_secs(6), keys_max: 4_096 };

/// An answer that is on its way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where the edge takes players: the [`Desk`], or a test's own.
pub trait Handover: fmt::Debug + Send + Sync + 'static {
    /// Hands a player over.
    fn hand_over(&self, request: HandoverRequest) -> Answer<'_, Result<Answered, Refused>>;
    /// Asks for a ticket's place.
    fn ask_ticket(&self, ask: TicketAsk) -> Answer<'_, Result<Answered, Refused>>;
    /// How a ticket stands.
    fn look_at(&self, account: AccountRow, ticket: TicketId) -> Answer<'_, Result<TicketView, NoPlace>>;
    /// Gives a ticket back.
    fn leave_queue(&self, account: AccountRow, ticket: TicketId) -> Answer<'_, Result<(), NoPlace>>;
    /// How the fleet and the link stand.
    fn snapshot(&self) -> Answer<'_, Snapshot>;
}

impl Handover for Desk {
    fn hand_over(&self, request: HandoverRequest) -> Answer<'_, Result<Answered, Refused>> {
        Box::pin(Desk::hand_over(self, request))
    }

    fn ask_ticket(&self, ask: TicketAsk) -> Answer<'_, Result<Answered, Refused>> {
        Box::pin(Desk::ask_ticket(self, ask))
    }

    fn look_at(&self, account: AccountRow, ticket: TicketId) -> Answer<'_, Result<TicketView, NoPlace>> {
        Box::pin(Desk::look_at(self, account, ticket))
    }

    fn leave_queue(&self, account: AccountRow, ticket: TicketId) -> Answer<'_, Result<(), NoPlace>> {
        Box::pin(Desk::leave_queue(self, account, ticket))
    }

    fn snapshot(&self) -> Answer<'_, Snapshot> {
        Box::pin(Desk::snapshot(self))
    }
}

/// What the edge is built from.
#[derive(Debug)]
pub struct HttpParts {
    /// The accounts.
    pub store: Store,
    /// Who checks passwords.
    pub passwords: Arc<PasswordPool>,
    /// Who finds places.
    pub desk: Arc<dyn Handover>,
    /// Who carries out what operators wish.
    pub operations: Arc<dyn Operations>,
    /// What opens the admin API.
    pub admin_key: AdminKey,
    /// What holds for everybody who wants in, as it is stored.
    pub rules: EntryRules,
    /// Who signs access tokens.
    pub access: AccessTokens,
    /// Who seals tickets.
    pub seal: TicketSeal,
    /// Who seals the answers that are kept.
    pub answers: AnswerKeys,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For token ids and throttle keys.
    pub rng: Arc<dyn Rng>,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// For work that outlives its request.
    pub tasks: TaskTracker,
    /// Once cancelled, `/readyz` says no.
    pub stopping: CancellationToken,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// A whole request.
    pub(super) request: Duration,
    /// Its body's arrival.
    pub(super) body: Duration,
    /// A part of the hub that `/readyz` asks.
    pub(super) probe: Duration,
    /// Between two times that kept answers which have ended are cleared away.
    pub(super) prune: Duration,
    /// Between two looks of a stream of events.
    pub(super) pace: Duration,
}

impl Deadlines {
    pub(super) const DEFAULT: Self = Self {
        request: REQUEST_DEADLINE,
        body: Duration::from_secs(5),
        probe: Duration::from_secs(2),
        prune: Duration::from_mins(1),
        pace: Duration::from_secs(1),
    };
}

const _: () = assert!(
    REQUEST_DEADLINE.as_millis()
        >= limits::LOGIN_DEADLINE.as_millis() + Deadlines::DEFAULT.body.as_millis() + STORE_TIME.as_millis(),
    "a slow body, a slow handover and a slow store fit one request"
);

/// What the edge is told.
#[derive(Clone, Copy, Debug)]
pub struct HttpSettings {
    /// Requests to the API at one time; one more is refused at once.
    pub requests_max: usize,
    /// Which of them are refused first.
    pub overload: ShedLimits,
    /// Whether anybody may register.
    pub registration_open: bool,
    /// How often one may log in.
    pub logins: ThrottleConfig,
    /// How often one may register.
    pub registrations: ThrottleConfig,
    /// How often an account may be handed over.
    pub handovers: Bucket,
}

#[derive(Debug)]
struct Inner {
    parts: HttpParts,
    settings: HttpSettings,
    deadlines: Deadlines,
    streams: Streams,
    works: TaskTracker,
    waits: Semaphore,
    pressure: Pressure,
    commands: Semaphore,
    /// Held by who changes what is stored for everybody: they read it, change it and write it.
    changes: tokio::sync::Mutex<()>,
    rules: RwLock<Arc<EntryRules>>,
    wrong_keys: Mutex<AddressThrottle>,
    logins: Mutex<Throttle>,
    registrations: Mutex<Throttle>,
    handovers: Mutex<AccountThrottle>,
    running: Running,
}

/// Shared by all requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpState(Arc<Inner>);

impl HttpState {
    /// Ready to serve.
    pub fn new(parts: HttpParts, settings: HttpSettings) -> Self {
        Self::with_deadlines(parts, settings, Deadlines::DEFAULT)
    }

    pub(super) fn with_deadlines(parts: HttpParts, settings: HttpSettings, deadlines: Deadlines) -> Self {
        let rng = &*parts.rng;
        for class in Class::ALL {
            parts.metrics.shed_nothing(class.label());
        }
        Self(Arc::new(Inner {
            logins: Mutex::new(Throttle::new(settings.logins, rng)),
            registrations: Mutex::new(Throttle::new(settings.registrations, rng)),
            handovers: Mutex::new(AccountThrottle::new(settings.handovers)),
            streams: Streams::default(),
            works: TaskTracker::new(),
            waits: Semaphore::new(
                settings.requests_max.saturating_mul(WAITS_PER_REQUEST).min(Semaphore::MAX_PERMITS),
            ),
            pressure: Pressure::new(settings.requests_max, settings.overload),
            running: Running::default(),
            commands: Semaphore::new(COMMANDS_MAX),
            changes: tokio::sync::Mutex::default(),
            rules: RwLock::new(Arc::new(parts.rules.clone())),
            wrong_keys: Mutex::new(AddressThrottle::new(WRONG_KEYS)),
            parts,
            settings,
            deadlines,
        }))
    }

    pub(super) fn parts(&self) -> &HttpParts {
        &self.0.parts
    }

    pub(super) fn settings(&self) -> &HttpSettings {
        &self.0.settings
    }

    pub(super) fn deadlines(&self) -> &Deadlines {
        &self.0.deadlines
    }

    /// Who is in, and how great the pressure is.
    pub(super) fn pressure(&self) -> &Pressure {
        &self.0.pressure
    }

    /// Requests with an idempotency key that have no answer yet.
    pub(super) fn running(&self) -> &Running {
        &self.0.running
    }

    /// The streams of events that are open.
    pub(super) fn streams(&self) -> &Streams {
        &self.0.streams
    }

    /// What is finished though its client has gone.
    pub(super) fn works(&self) -> &TaskTracker {
        &self.0.works
    }

    /// Waits until nothing is left of what requests began: after that nothing is written for them.
    pub async fn finish(&self) {
        self.0.works.close();
        self.0.works.wait().await;
    }

    /// One permit per poll that waits.
    pub(super) fn waits(&self) -> &Semaphore {
        &self.0.waits
    }

    /// One permit per request to the admin API.
    pub(super) fn commands(&self) -> &Semaphore {
        &self.0.commands
    }

    /// See [`Inner`].
    pub(super) async fn change(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.changes.lock().await
    }

    /// What holds for everybody now.
    pub(super) fn rules(&self) -> Arc<EntryRules> {
        Arc::clone(&self.0.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Holds from now on. They are stored already.
    pub(super) fn set_rules(&self, rules: EntryRules) {
        *self.0.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    pub(super) fn wrong_keys(&self) -> MutexGuard<'_, AddressThrottle> {
        self.0.wrong_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unix(&self) -> UnixMs {
        self.0.parts.clock.now().unix
    }

    pub(super) fn mono(&self) -> Mono {
        self.0.parts.clock.now().mono
    }

    /// Milliseconds since `started`, for the log.
    pub(super) fn ms_since(&self, started: Mono) -> u64 {
        u64::try_from(self.mono().since(started).as_millis()).unwrap_or(u64::MAX)
    }

    // A throttle is a plain table, consistent between calls: a panic elsewhere while it was locked spoils nothing.
    pub(super) fn logins(&self) -> MutexGuard<'_, Throttle> {
        self.0.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn registrations(&self) -> MutexGuard<'_, Throttle> {
        self.0.registrations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn handovers(&self) -> MutexGuard<'_, AccountThrottle> {
        self.0.handovers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
