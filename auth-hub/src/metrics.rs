//! What the hub counts of itself: one registry, rendered on `/metrics`.
//!
//! Owns the registry and the counters of the HTTP edge; other rooms register their own. Invariant: every label has a bounded set of
//! values, none of which a client chooses.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use shared_msgs::link::LinkSender;
use shared_msgs::net::Door;
use shared_msgs::net::meters::DoorMeters;
use shared_msgs::net::tls::ServerTls;

use crate::accounts::PasswordPool;
use crate::mqtt::{BrokerHandle, BrokerStats};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByClass {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRoute {
    route: &'static str,
    status: u16,
}

/// One hub's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    logins: Family<ByCode, Counter>,
    requests: Family<ByRoute, Counter>,
    repeated: Counter,
    shed: Family<ByClass, Counter>,
    overload: Gauge,
}

impl Metrics {
    /// The edge's own counters, at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let (logins, requests) = (Family::default(), Family::default());
        registry.register("hub_logins", "Logins by their answer's code", logins.clone());
        registry.register("hub_http_requests", "HTTP requests by route and status", requests.clone());
        let repeated = Counter::default();
        let help = "Requests with an idempotency key that got the answer of an earlier one";
        registry.register("hub_answers_repeated", help, repeated.clone());
        let (shed, overload) = (Family::default(), Gauge::default());
        registry.register(
            "hub_shed",
            "Requests refused for want of room, by what they were for",
            shed.clone(),
        );
        registry.register("hub_overload_level", "What is refused: 0 nothing, 3 all", overload.clone());
        registry.register_collector(Box::new(LogLines));
        Self { registry, logins, requests, repeated, shed, overload }
    }

    /// Where other rooms register theirs, before the hub serves.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Shows the pool's gauges from now on, read at each scrape.
    pub fn watch_passwords(&mut self, pool: &Arc<PasswordPool>) {
        self.registry.register_collector(Box::new(PoolGauges(Arc::clone(pool))));
    }

    /// Shows the listeners' places and certificates from now on, read at each scrape.
    pub fn watch_doors(&mut self, doors: Vec<(Arc<Door>, Option<Arc<ServerTls>>)>) {
        self.registry.register_collector(Box::new(DoorMeters::new("hub_", doors)));
    }

    /// Shows the broker's counters from now on, read at each scrape.
    pub fn watch_broker(&mut self, broker: BrokerHandle) {
        self.registry.register_collector(Box::new(BrokerCounters(broker)));
    }

    /// Shows the outbox of the hub's own link from now on, read at each scrape.
    pub fn watch_link(&mut self, link: LinkSender) {
        self.registry.register_collector(Box::new(LinkOutbox(link)));
    }

    /// A login was answered; `ok` or a problem's code.
    pub(crate) fn login(&self, code: &'static str) {
        self.logins.get_or_create(&ByCode { code }).inc();
    }

    /// A request was answered.
    pub(crate) fn request(&self, route: &'static str, status: u16) {
        self.requests.get_or_create(&ByRoute { route, status }).inc();
    }

    /// A request got the answer of an earlier one.
    pub(crate) fn answer_repeated(&self) {
        self.repeated.inc();
    }

    /// This class of requests is counted, and nothing of it was refused yet.
    pub(crate) fn shed_nothing(&self, class: &'static str) {
        let _ = self.shed.get_or_create(&ByClass { class });
    }

    /// A request of this class was refused.
    pub(crate) fn shed(&self, class: &'static str) {
        self.shed.get_or_create(&ByClass { class }).inc();
    }

    /// The level is this now.
    pub(crate) fn overload_level(&self, level: u8) {
        self.overload.set(level.into());
    }

    /// In the OpenMetrics text format.
    ///
    /// # Errors
    /// Never in practice: writing to a text does not fail.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(8 * 1024);
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct LogLines;

impl Collector for LogLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Log lines not written because strangers caused too many";
        counter(&mut encoder, "hub_log_lines_limited", help, shared_msgs::log_limit::dropped())
    }
}

#[derive(Debug)]
struct PoolGauges(Arc<PasswordPool>);

impl Collector for PoolGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauges = self.0.gauges();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        gauge(&mut encoder, "hub_argon2_queued", "Password checks that wait", count(gauges.queued))?;
        gauge(&mut encoder, "hub_argon2_in_flight", "Password checks that run", count(gauges.in_flight))?;
        let help = "Memory that password threads hold";
        gauge(&mut encoder, "hub_argon2_memory_bytes", help, gauges.memory_bytes)?;
        counter(&mut encoder, "hub_argon2_hashes", "Passwords hashed since the start", gauges.hashes)
    }
}

struct BrokerCounters(BrokerHandle);

impl fmt::Debug for BrokerCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrokerCounters")
    }
}

impl Collector for BrokerCounters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // All of them: a new one does not compile until it is shown.
        let BrokerStats {
            connections,
            router_links,
            connected,
            refused,
            takeovers,
            acl_denied,
            wills_published,
            keepalive_expired,
            slow_consumers,
            protocol_violations,
            router_alive,
        } = self.0.stats();
        for (name, help, value) in [
            ("hub_mqtt_connections", "MQTT connections, the hub's own included", connections),
            (
                "hub_mqtt_router_links",
                "Links to the broker's router: one a connection, one that watches",
                router_links,
            ),
            ("hub_mqtt_router_alive", "Whether the broker's router thread lives", router_alive.into()),
        ] {
            gauge(&mut encoder, name, help, value)?;
        }
        for (name, help, value) in [
            ("hub_mqtt_connected", "MQTT connections accepted", connected),
            ("hub_mqtt_refused", "Sockets turned away before they were MQTT connections", refused),
            ("hub_mqtt_takeovers", "MQTT connections ended by a newer one of the same client", takeovers),
            ("hub_mqtt_acl_denied", "Publishes and subscriptions outside the rules", acl_denied),
            ("hub_mqtt_wills_published", "Wills published", wills_published),
            ("hub_mqtt_keepalive_expired", "MQTT connections ended for silence", keepalive_expired),
            ("hub_mqtt_slow_consumers", "MQTT connections ended for not reading", slow_consumers),
            (
                "hub_mqtt_protocol_violations",
                "MQTT connections ended for what they sent",
                protocol_violations,
            ),
        ] {
            counter(&mut encoder, name, help, value)?;
        }
        Ok(())
    }
}

struct LinkOutbox(LinkSender);

impl fmt::Debug for LinkOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkOutbox")
    }
}

impl Collector for LinkOutbox {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let waiting = u64::try_from(self.0.waiting()).unwrap_or(u64::MAX);
        gauge(&mut encoder, "hub_link_waiting", "Messages that the hub's link has not sent yet", waiting)?;
        let help = "Messages not taken because the link's outbox was full";
        counter(&mut encoder, "hub_link_refused_full", help, self.0.refused_full())
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}
