//! What the programs log, as something a test can wait for.
//!
//! Both sides name each transition of a handover by one event. Tests in one process share one log; each looks only at events of its own
//! server or handover ids, from a mark it took itself. Waiting has a deadline, and a failure shows what was seen instead.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// Long enough for any machine; reaching it means that the event will not come.
const PATIENCE: Duration = Duration::from_secs(40);

/// One log line.
#[derive(Debug, Clone)]
pub struct Event {
    /// The event's name: its message.
    pub name: String,
    /// Everything else, as text.
    pub fields: BTreeMap<String, String>,
}

impl Event {
    /// A field's text; empty when there is none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    fn matches(&self, name: &str, fields: &[(&str, &str)]) -> bool {
        self.name == name && fields.iter().all(|(key, value)| self.field(key) == *value)
    }
}

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(usize);

/// All events of this process.
#[derive(Debug)]
pub struct EventLog {
    events: Mutex<Vec<Event>>,
    grown: watch::Sender<usize>,
}

static LOG: OnceLock<EventLog> = OnceLock::new();

/// The process's log; installed on first use.
pub fn log() -> &'static EventLog {
    LOG.get_or_init(|| {
        shared_msgs::log_limit::lift();
        let subscriber = tracing_subscriber::registry().with(Capture);
        // Fails only if somebody else installed one first; then waiting for events fails, and says so.
        let _ = tracing::subscriber::set_global_default(subscriber);
        EventLog { events: Mutex::default(), grown: watch::Sender::new(0) }
    })
}

impl EventLog {
    fn events(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Here; what comes later is after it.
    pub fn mark(&self) -> Mark {
        Mark(self.events().len())
    }

    /// All since `mark` with this name and these fields.
    pub fn since(&self, mark: Mark, name: &str, fields: &[(&str, &str)]) -> Vec<Event> {
        self.events().iter().skip(mark.0).filter(|event| event.matches(name, fields)).cloned().collect()
    }

    /// The first one since `mark`, waiting for it if need be.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn wait(&self, mark: Mark, name: &str, fields: &[(&str, &str)]) -> Event {
        self.wait_count(mark, 1, name, fields).await.swap_remove(0)
    }

    /// The first `count` of them.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn wait_count(
        &self,
        mark: Mark,
        count: usize,
        name: &str,
        fields: &[(&str, &str)],
    ) -> Vec<Event> {
        let mut grown = self.grown.subscribe();
        let look = async {
            loop {
                let found = self.since(mark, name, fields);
                if found.len() >= count {
                    return found;
                }
                // The sender lives as long as the process.
                let _ = grown.changed().await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, look).await.ok();
        found.unwrap_or_else(|| {
            panic!("no {count} × {name} {fields:?}; since the mark came:\n{}", self.story(mark))
        })
    }

    /// The events since `mark`, a line each.
    pub fn story(&self, mark: Mark) -> String {
        let mut out = String::new();
        for event in self.events().iter().skip(mark.0) {
            // Writing to a text does not fail.
            let _ = writeln!(out, "  {} {:?}", event.name, event.fields);
        }
        out
    }
}

/// The subscriber layer.
struct Capture;

impl<S: tracing::Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let ours = matches!(event.metadata().target(), "handover" | "mqtt" | "link" | "http");
        let Some(log) = LOG.get().filter(|_| ours) else { return };
        let mut seen = Event { name: String::new(), fields: BTreeMap::new() };
        event.record(&mut Fields(&mut seen));
        let mut events = log.events();
        events.push(seen);
        let len = events.len();
        drop(events);
        log.grown.send_replace(len);
    }
}

struct Fields<'a>(&'a mut Event);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.0.name = value;
        } else {
            self.0.fields.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}
