//! The router over a real store and a cheap password pool, with a desk that does as it is told.

mod admin;
mod bans;
mod connections;
mod desk;
mod edge;
mod handover;
mod health;
mod idempotency;
mod login;
mod operations;
mod overload;
mod queue;
mod register;
mod rules;
mod streams;

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use shared_msgs::clock::{Clock, Mono, Now, SystemClock, UnixMs};
use shared_msgs::ids::{BootId, HandoverId};
use shared_msgs::keys::FleetKeys;
use shared_msgs::messages::Endpoint;
use shared_msgs::net::{Door, DoorConfig, Listener};
use shared_msgs::rng::{Rng, SeededRng, SystemRng};
use shared_msgs::token::TokenTag;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::state::Deadlines;
use super::*;
use crate::accounts::throttle::Bucket;
use crate::accounts::{
    AccountRow, Cost, EntryRules, NewAccount, Password, PasswordPool, PoolConfig, Store, ThrottleConfig,
};
use crate::admin_key::AdminKey;
use crate::handover::{Answered, HandoverRequest, NoPlace, Placed, Snapshot, TicketAsk};
use crate::metrics::Metrics;
use crate::queue::{TicketId, TicketSeal, TicketView};
use crate::sessions::AccessTokens;
use desk::FakeDesk;
use operations::FakeOperations;

pub(super) const PASSWORD: &str = "correct horse";
pub(super) const HANDOVER: HandoverId = HandoverId([9; 16]);
pub(super) const START: UnixMs = UnixMs(1_700_000_000_000);
/// Long enough for a thread that is not scheduled, short enough to wait for.
pub(super) const SOON: Duration = Duration::from_millis(100);
pub(super) const LIFE: Duration = Duration::from_mins(15);

/// Both clocks, moved by hand.
#[derive(Debug, Default)]
pub(super) struct TestClock(AtomicU64);

impl TestClock {
    pub(super) fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let ms = self.0.load(Ordering::Relaxed);
        Now { mono: Mono(ms), unix: UnixMs(START.0 + ms) }
    }
}

/// The pool's clock: its threads read it before each check, so that closing it holds them.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
    held: Notify,
}

impl Gate {
    pub(super) fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    pub(super) fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    /// A thread is at the gate.
    pub(super) async fn held(&self) {
        self.held.notified().await;
    }
}

impl Clock for Gate {
    fn now(&self) -> Now {
        let closed = self.closed.lock().unwrap();
        if *closed {
            self.held.notify_one();
        }
        drop(self.opened.wait_while(closed, |closed| *closed).unwrap());
        Now::default()
    }
}

pub(super) fn placed() -> Placed {
    let server: shared_msgs::ids::ServerId = "alpha".parse().unwrap();
    let key = FleetKeys::generate(&SeededRng::new(1)).server_key(&server, 1);
    let expires_at = START + Duration::from_secs(90);
    let (token, _) = TokenTag::new(&key, &server, BootId::default()).mint(expires_at, &SeededRng::new(2));
    let endpoints = vec![Endpoint { transport: "tcp".to_owned(), address: "127.0.0.1:7777".to_owned() }];
    Placed {
        handover: HANDOVER,
        server,
        server_name: "Alpha".to_owned(),
        region: "eu".to_owned(),
        endpoints,
        token,
        expires_at,
        confirmed: true,
    }
}

pub(super) fn cheap(t: u32) -> Cost {
    Cost::new(8, t, 1).unwrap()
}

pub(super) fn settings() -> HttpSettings {
    let bucket = |burst| Bucket { burst, refill: Duration::from_secs(10), keys_max: 100 };
    HttpSettings {
        requests_max: 8,
        overload: crate::config::OverloadSettings::default().limits(),
        registration_open: true,
        logins: ThrottleConfig { name: bucket(3), address: bucket(20) },
        registrations: ThrottleConfig { name: bucket(5), address: bucket(4) },
        handovers: bucket(20),
    }
}

pub(super) struct TestApi {
    pub(super) store: Store,
    pub(super) pool: Arc<PasswordPool>,
    pub(super) gate: Arc<Gate>,
    pub(super) desk: Arc<FakeDesk>,
    pub(super) clock: Arc<TestClock>,
    pub(super) tasks: TaskTracker,
    pub(super) stopping: CancellationToken,
    pub(super) state: HttpState,
    pub(super) router: Router,
    pub(super) operators: Router,
    pub(super) admin: Router,
    pub(super) operations: Arc<FakeOperations>,
    pub(super) dir: tempfile::TempDir,
}

impl TestApi {
    pub(super) async fn start() -> Self {
        Self::start_with(settings()).await
    }

    pub(super) async fn start_with(settings: HttpSettings) -> Self {
        Self::start_in_time(settings, Deadlines::DEFAULT).await
    }

    pub(super) async fn start_in_time(settings: HttpSettings, deadlines: Deadlines) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rng: Arc<dyn Rng> = Arc::new(SystemRng::new());
        let process = CancellationToken::new();
        let (tasks, clock, gate) =
            (TaskTracker::new(), Arc::new(TestClock::default()), Arc::new(Gate::default()));
        let path = dir.path().join("hub.sqlite");
        let system_clock = Arc::new(SystemClock::new());
        let store =
            Store::open(&path, &TaskTracker::new(), &process, Arc::clone(&rng), system_clock).await.unwrap();
        let one = NonZeroUsize::MIN;
        let pool =
            PoolConfig { threads: one, queue_checks_max: one, cost: cheap(2), ..PoolConfig::default() };
        let pool_clock: Arc<dyn Clock> = gate.clone();
        let pool = Arc::new(PasswordPool::start(pool, &process, &rng, &pool_clock).unwrap());
        let desk = Arc::new(FakeDesk::default());
        *desk.snapshot.lock().unwrap() = Some(Snapshot { link_up: true, servers: Vec::new() });
        let mut metrics = Metrics::new();
        metrics.watch_passwords(&pool);
        let stopping = CancellationToken::new();
        let operations = Arc::new(FakeOperations::default());
        let parts = HttpParts {
            operations: operations.clone(),
            admin_key: admin_key(),
            rules: EntryRules::default(),
            store: store.clone(),
            passwords: Arc::clone(&pool),
            desk: desk.clone(),
            access: AccessTokens::new(&[3; 32], LIFE),
            seal: TicketSeal::new(&zeroize::Zeroizing::new([4; 32]), "hub-1".parse().unwrap()),
            answers: AnswerKeys::new(&FleetKeys::generate(&SeededRng::new(3))),
            clock: clock.clone(),
            rng,
            metrics,
            tasks: tasks.clone(),
            stopping: stopping.clone(),
        };
        let state = HttpState::with_deadlines(parts, settings, deadlines);
        let (router, operators) = (router(state.clone()), operators_router(state.clone()));
        let admin = admin_router(state.clone());
        Self {
            store,
            pool,
            gate,
            desk,
            clock,
            tasks,
            stopping,
            state,
            router,
            operators,
            admin,
            operations,
            dir,
        }
    }

    /// An account whose password is [`PASSWORD`].
    pub(super) async fn account(&self, login: &str) -> crate::accounts::Account {
        let phc = self.pool.hash(Password::new(PASSWORD.to_owned()).unwrap()).await.unwrap();
        let display_name = format!("The {login}").parse().unwrap();
        self.store.register(NewAccount { login: login.parse().unwrap(), display_name, phc }).await.unwrap()
    }

    pub(super) fn hashes(&self) -> u64 {
        self.pool.gauges().hashes
    }

    pub(super) async fn send(&self, mut request: Request<Body>) -> Reply {
        if request.extensions().get::<ConnectInfo<Peer>>().is_none() {
            request.extensions_mut().insert(from(Ipv4Addr::LOCALHOST.into()));
        }
        let router = match request.uri().path() {
            "/readyz" | "/metrics" => &self.operators,
            path if path.starts_with("/admin") => &self.admin,
            _ => &self.router,
        };
        let is_list = request.uri().path() == "/servers";
        let response = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        // One answer alone may be kept.
        let caching = if is_list && parts.status == 200 { "public, max-age=1" } else { "no-store" };
        assert_eq!(parts.headers[header::CACHE_CONTROL], caching);
        Reply { status: parts.status, headers: parts.headers, text, json }
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(post(path, body)).await
    }

    /// With the admin key.
    pub(super) async fn command(&self, path: &str, body: &Value) -> Reply {
        let mut request = post(path, body);
        let key = format!("Bearer {}", admin_key().expose());
        request.headers_mut().insert(header::AUTHORIZATION, key.parse().unwrap());
        self.send(request).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(super) async fn log_in(&self, login: &str, password: &str) -> Reply {
        self.post("/auth/login", &json!({ "login": login, "password": password })).await
    }
}

pub(super) fn admin_key() -> AdminKey {
    AdminKey::generate(&SeededRng::new(6))
}

pub(super) fn from(ip: IpAddr) -> ConnectInfo<Peer> {
    ConnectInfo(Peer::new(ip))
}

pub(super) fn post(path: &str, body: &Value) -> Request<Body> {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json; charset=utf-8");
    request.body(Body::from(body.to_string())).unwrap()
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
    pub(super) json: Value,
}

impl Reply {
    /// It is a whole problem document of this code.
    #[track_caller]
    pub(super) fn problem(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.json["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!((&self.json["type"], &self.json["status"]), (&json!("about:blank"), &json!(status)));
        assert!(self.json["title"].as_str().is_some_and(|title| !title.is_empty()));
        let after = self.headers.get(header::RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(
            after,
            self.json["retry_after_s"].as_u64().map(|s| s.to_string()),
            "one advice, said twice"
        );
        assert_eq!(self.headers.contains_key(header::WWW_AUTHENTICATE), status == 401, "{self:?}");
    }

    #[track_caller]
    pub(super) fn retry_after_s(&self) -> u64 {
        self.json["retry_after_s"].as_u64().unwrap()
    }
}
