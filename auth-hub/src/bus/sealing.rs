//! What the link asks of the hub: subscriptions, no will, and a sealer for each server's inbox on each connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared_msgs::clock::UnixMs;
use shared_msgs::envelope::Sealer;
use shared_msgs::ids::StreamId;
use shared_msgs::keys::{KeyName, Purpose};
use shared_msgs::link::{Lane, Opening, Session, SessionError};
use shared_msgs::topics::{EVENTS_FILTER, STATUS_FILTER, Topic};

use super::KeyRing;

/// Sealers of one connection, made when first needed.
pub struct HubSession {
    keys: Arc<KeyRing>,
    stream: Option<StreamId>,
    sealers: BTreeMap<(Lane, KeyName), Sealer>,
}

impl HubSession {
    /// Seals under the keys its servers were last heard with.
    pub fn new(keys: Arc<KeyRing>) -> Self {
        Self { keys, stream: None, sealers: BTreeMap::new() }
    }
}

impl Session for HubSession {
    fn begin(&mut self, stream: StreamId, _now: UnixMs) -> Opening {
        self.stream = Some(stream);
        self.sealers.clear();
        let canary = Topic::Canary(self.keys.hub().clone()).to_string();
        Opening {
            subscriptions: vec![STATUS_FILTER.to_owned(), EVENTS_FILTER.to_owned(), canary],
            will: None,
        }
    }

    fn seal(&mut self, lane: &Lane, batch: &[u8], now: UnixMs) -> Result<Vec<u8>, SessionError> {
        let no_key = || SessionError::NoKey(lane.topic.clone());
        let key = match &lane.topic {
            Topic::Inbox(server) => self.keys.for_orders(server),
            Topic::Canary(_) if lane.purpose == Purpose::Canary => self.keys.canary_key(),
            Topic::Canary(_) | Topic::Status(_) | Topic::Events(_) => None,
        };
        let (key, stream) = (key.ok_or_else(no_key)?, self.stream.ok_or_else(no_key)?);
        // By key name too: a server that moves to another key and back must find its old sealer, or nonces would repeat.
        let sealer = self.sealers.entry((lane.clone(), key.name()));
        let sealer = sealer.or_insert_with(|| Sealer::new(&key, lane.purpose, stream, &lane.topic));
        Ok(sealer.seal(now, batch)?)
    }
}
