//! What the handover counts, for `/metrics`.

use std::collections::BTreeMap;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::fleet::Condition;

/// Cheap handles; clones share their values.
#[derive(Debug, Clone)]
pub struct Meters {
    /// Seconds from sending a grant to its yes.
    pub grant_round_trip: Histogram,
    /// Grants a server said no to.
    pub grants_refused: Counter,
    /// Messages sent again for want of an answer.
    pub resends: Counter,
    /// Leases that ended without a goodbye.
    pub lease_ends: Counter,
    /// Clients that wait on game servers for their grant.
    pub parked: Gauge,
    /// Handovers not yet answered.
    pub running: Gauge,
    /// Tickets in the login queue.
    pub tickets: Gauge,
    /// Payloads that did not open.
    pub payloads_refused: Counter,
    /// Messages of a newer version or kind, skipped.
    pub messages_unknown: Counter,
    /// Orders the link did not take (they are sent again).
    pub orders_not_sent: Counter,
    /// Servers by how they stand.
    servers: Family<[(&'static str, &'static str); 1], Gauge>,
    /// Moves of players that the asking server does not host.
    pub moves_ignored: Counter,
}

impl Meters {
    /// Makes the meters and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let buckets = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 6.0];
        let meters = Self {
            grant_round_trip: Histogram::new(buckets),
            grants_refused: Counter::default(),
            resends: Counter::default(),
            lease_ends: Counter::default(),
            parked: Gauge::default(),
            running: Gauge::default(),
            tickets: Gauge::default(),
            payloads_refused: Counter::default(),
            messages_unknown: Counter::default(),
            orders_not_sent: Counter::default(),
            servers: Family::default(),
            moves_ignored: Counter::default(),
        };
        let m = meters.clone();
        registry.register("hub_grant_round_trip_seconds", "From a grant to its yes", m.grant_round_trip);
        registry.register("hub_grants_refused", "Grants a server said no to", m.grants_refused);
        registry.register("hub_resends", "Messages sent again for want of an answer", m.resends);
        registry.register("hub_lease_ends", "Leases that ended without a goodbye", m.lease_ends);
        registry.register("hub_parked_clients", "Clients waiting on game servers for their grant", m.parked);
        registry.register("hub_handovers_running", "Handovers not yet answered", m.running);
        registry.register("hub_queue_tickets", "Tickets in the login queue", m.tickets);
        registry.register("hub_payloads_refused", "MQTT payloads that did not open", m.payloads_refused);
        registry.register("hub_messages_unknown", "Messages of a newer kind, skipped", m.messages_unknown);
        registry.register("hub_orders_not_sent", "Orders the link did not take", m.orders_not_sent);
        registry.register("hub_servers", "Game servers by how they stand", m.servers);
        registry.register(
            "hub_moves_ignored",
            "Moves asked by a server that does not host the player",
            m.moves_ignored,
        );
        meters
    }

    /// Takes how many servers stand how.
    pub(crate) fn servers_stand(&self, counts: &BTreeMap<Condition, usize>) {
        for (condition, count) in counts {
            let gauge = self.servers.get_or_create(&[("state", condition.as_str())]);
            gauge.set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
    }
}
