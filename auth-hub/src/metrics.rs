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
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::accounts::PasswordPool;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    code: &'static str,
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
}

impl Metrics {
    /// The edge's own counters, at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let (logins, requests) = (Family::default(), Family::default());
        registry.register("hub_logins", "Logins by their answer's code", logins.clone());
        registry.register("hub_http_requests", "HTTP requests by route and status", requests.clone());
        Self { registry, logins, requests }
    }

    /// Where other rooms register theirs, before the hub serves.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Shows the pool's gauges from now on, read at each scrape.
    pub fn watch_passwords(&mut self, pool: &Arc<PasswordPool>) {
        self.registry.register_collector(Box::new(PoolGauges(Arc::clone(pool))));
    }

    /// A login was answered; `ok` or a problem's code.
    pub(crate) fn login(&self, code: &'static str) {
        self.logins.get_or_create(&ByCode { code }).inc();
    }

    /// A request was answered.
    pub(crate) fn request(&self, route: &'static str, status: u16) {
        self.requests.get_or_create(&ByRoute { route, status }).inc();
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
struct PoolGauges(Arc<PasswordPool>);

impl Collector for PoolGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauges = self.0.gauges();
        let clamp = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        for (name, help, value) in [
            ("hub_argon2_queued", "Password checks that wait", gauges.queued),
            ("hub_argon2_in_flight", "Password checks that run", gauges.in_flight),
        ] {
            let gauge = ConstGauge::new(clamp(value));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let hashes = ConstCounter::new(gauges.hashes);
        let help = "Passwords hashed since the start";
        hashes.encode(encoder.encode_descriptor("hub_argon2_hashes", help, None, hashes.metric_type())?)
    }
}
