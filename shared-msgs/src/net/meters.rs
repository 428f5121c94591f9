//! Doors and certificates as metrics, read at each scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::tls::ServerTls;
use super::{Door, DoorStats, TurnedAway};

/// A process's listeners.
#[derive(Debug)]
pub struct DoorMeters {
    prefix: &'static str,
    doors: Vec<(Arc<Door>, Option<Arc<ServerTls>>)>,
}

impl DoorMeters {
    /// Names begin with `prefix`.
    pub fn new(prefix: &'static str, doors: Vec<(Arc<Door>, Option<Arc<ServerTls>>)>) -> Self {
        Self { prefix, doors }
    }

    fn counters(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&DoorStats) -> u64,
    ) -> fmt::Result {
        let name = format!("{}{name}", self.prefix);
        let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for (door, _) in &self.doors {
            let label = [("listener", door.name())];
            ConstCounter::new(value(&door.stats())).encode(family.encode_family(&label)?)?;
        }
        Ok(())
    }
}

impl Collector for DoorMeters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let prefix = self.prefix;
        let name = format!("{prefix}sockets");
        let help = "Open sockets of a listener: strangers have not said who they are, or idle; guests have";
        let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        for (door, _) in &self.doors {
            let DoorStats { strangers, guests, .. } = door.stats();
            for (standing, count) in [("stranger", strangers), ("guest", guests)] {
                let labels = [("listener", door.name()), ("standing", standing)];
                gauge(count).encode(family.encode_family(&labels)?)?;
            }
        }
        self.counters(&mut encoder, "sockets_accepted", "Sockets accepted", |stats| stats.accepted)?;
        let help = "Times that guests held all places of a listener, so that newcomers had to wait";
        self.counters(&mut encoder, "sockets_full", help, |stats| stats.full)?;
        let help = "Accepts that failed, most often for want of file descriptors";
        self.counters(&mut encoder, "accepts_failed", help, |stats| stats.accepts_failed)?;
        let name = format!("{prefix}sockets_turned_away");
        let help = "Sockets closed before they were served to their end, by reason";
        let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for (door, _) in &self.doors {
            let stats = door.stats();
            for why in TurnedAway::ALL {
                let labels = [("listener", door.name()), ("reason", why.as_str())];
                ConstCounter::new(stats.turned_away(why)).encode(family.encode_family(&labels)?)?;
            }
        }
        let name = format!("{prefix}tls_certificate_expires_timestamp_seconds");
        let help = "When the certificate of a listener ends, in seconds since 1970";
        let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        for (door, tls) in &self.doors {
            if let Some(tls) = tls {
                let label = [("listener", door.name())];
                gauge(tls.expires_at().0 / 1_000).encode(family.encode_family(&label)?)?;
            }
        }
        Ok(())
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
