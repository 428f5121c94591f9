//! The fleet key and what may be derived from it today: who an MQTT CONNECT is, and which server keys are accepted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared_msgs::ids::{HubId, ServerId};
use shared_msgs::keys::{FIRST_GENERATION, FleetKeys, KeyName, ServerKey};
use shared_msgs::rng::Rng;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::mqtt::{Authenticator, Denied, Principal};

/// Keys, and the generations that are still accepted. Shared by the broker's edge, the link and the desk.
pub struct KeyRing {
    fleet: Arc<FleetKeys>,
    /// Raised while the hub runs, never lowered.
    lowest: Mutex<BTreeMap<ServerId, u32>>,
    hub: HubId,
    hub_password: Zeroizing<String>,
    /// The key each server was last heard with: what its orders are sealed under.
    in_use: Mutex<BTreeMap<ServerId, KeyName>>,
}

impl KeyRing {
    /// `lowest` are the lowest accepted generations of servers that had a key revoked.
    pub fn new(
        fleet: Arc<FleetKeys>,
        lowest: impl IntoIterator<Item = (ServerId, u32)>,
        hub: HubId,
        rng: &dyn Rng,
    ) -> Self {
        let secret: [u8; 32] = rng.array();
        let hub_password = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret));
        let lowest = Mutex::new(lowest.into_iter().collect());
        Self { fleet, lowest, hub, hub_password, in_use: Mutex::default() }
    }

    /// This run of the hub.
    pub fn hub(&self) -> &HubId {
        &self.hub
    }

    /// What the hub's own link shows the broker: drawn at start, never stored.
    pub(crate) fn hub_password(&self) -> Zeroizing<String> {
        self.hub_password.clone()
    }

    pub(crate) fn fleet(&self) -> &Arc<FleetKeys> {
        &self.fleet
    }

    /// The server's key of this name, if we hold the epoch and the generation is not revoked.
    pub(crate) fn accepted(&self, server: &ServerId, name: KeyName) -> Option<ServerKey> {
        let lowest = self.lowest.lock().unwrap_or_else(PoisonError::into_inner).get(server).copied();
        let lowest = lowest.unwrap_or(FIRST_GENERATION);
        (name.generation >= lowest).then(|| self.fleet.server_key_named(server, name)).flatten()
    }

    /// From now on no key of this server below this generation is believed. What is still to be said to it is sealed under the new one:
    /// whoever holds an old key cannot read it, and the hub's link is never without a key.
    pub(crate) fn revoke(&self, server: &ServerId, lowest_generation: u32) {
        let mut lowest = self.lowest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lowest.entry(server.clone()).or_insert(FIRST_GENERATION);
        *known = lowest_generation.max(*known);
        let lowest_generation = *known;
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = in_use.get_mut(server) {
            name.generation = name.generation.max(lowest_generation);
        }
    }

    /// A message under this key has just opened.
    pub(crate) fn note_in_use(&self, server: &ServerId, name: KeyName) {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if in_use.get(server) != Some(&name) {
            in_use.insert(server.clone(), name);
        }
    }

    /// The key to seal a server's orders under.
    pub(crate) fn for_orders(&self, server: &ServerId) -> Option<ServerKey> {
        let name = self.in_use.lock().unwrap_or_else(PoisonError::into_inner).get(server).copied()?;
        self.accepted(server, name)
    }

    /// The hub's own canary is sealed under the key of a server that has the hub's name: nobody else holds it.
    pub(crate) fn canary_key(&self) -> Option<ServerKey> {
        let id = self.hub.as_str().parse().ok()?;
        Some(self.fleet.server_key(&id, 0))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({}, secret)", self.hub)
    }
}

impl Authenticator for KeyRing {
    fn authenticate(&self, client_id: &str, user: &str, password: &[u8]) -> Result<Principal, Denied> {
        if client_id == self.hub.as_str() && user == self.hub.as_str() {
            let right = bool::from(self.hub_password.as_bytes().ct_eq(password));
            return if right { Ok(Principal::Hub(self.hub.clone())) } else { Err(Denied::BadCredentials) };
        }
        let server: ServerId = user.parse().map_err(|_| Denied::BadCredentials)?;
        let claimed = std::str::from_utf8(password).ok().and_then(ServerKey::name_in_password);
        let claimed = claimed.ok_or(Denied::BadCredentials)?;
        let key = self.fleet.server_key_named(&server, claimed).ok_or(Denied::BadCredentials)?;
        if !bool::from(key.mqtt_password().as_bytes().ct_eq(password)) {
            return Err(Denied::BadCredentials);
        }
        // Only after the password: whoever does not hold a key learns nothing about revocations.
        self.accepted(&server, claimed).map(|_| Principal::Server(server)).ok_or(Denied::NotAuthorized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared_msgs::rng::SeededRng;

    fn ring() -> KeyRing {
        let rng = SeededRng::new(1);
        let revoked = ("beta".parse().unwrap(), 2);
        KeyRing::new(Arc::new(FleetKeys::generate(&rng)), [revoked], "hub-1".parse().unwrap(), &rng)
    }

    fn password(ring: &KeyRing, server: &str, generation: u32) -> Zeroizing<String> {
        ring.fleet.server_key(&server.parse().unwrap(), generation).mqtt_password()
    }

    #[test]
    fn a_server_is_who_its_key_says() {
        let ring = ring();
        let alpha = password(&ring, "alpha", 1);
        let who = ring.authenticate("gs-alpha", "alpha", alpha.as_bytes());
        assert_eq!(who, Ok(Principal::Server("alpha".parse().unwrap())));
        assert_eq!(ring.authenticate("gs-beta", "beta", alpha.as_bytes()), Err(Denied::BadCredentials));
        for wrong in ["", "1.1.", "1.1.AAAA", "x"] {
            let denied = ring.authenticate("gs-alpha", "alpha", wrong.as_bytes());
            assert_eq!(denied, Err(Denied::BadCredentials), "{wrong}");
        }
    }

    #[test]
    fn a_revoked_generation_is_told_so_only_with_the_right_password() {
        let ring = ring();
        let old = password(&ring, "beta", 1);
        assert_eq!(ring.authenticate("gs-beta", "beta", old.as_bytes()), Err(Denied::NotAuthorized));
        assert_eq!(ring.authenticate("gs-beta", "beta", b"1.1.AAAA"), Err(Denied::BadCredentials));
        assert!(ring.authenticate("gs-beta", "beta", password(&ring, "beta", 2).as_bytes()).is_ok());
    }

    #[test]
    fn a_generation_that_is_revoked_while_the_hub_runs_is_believed_no_more_and_orders_go_to_the_next() {
        let (ring, alpha) = (ring(), "alpha".parse().unwrap());
        let name = |generation| KeyName { epoch: 1, generation };
        ring.note_in_use(&alpha, name(1));
        ring.revoke(&alpha, 2);
        ring.revoke(&alpha, 1);
        let old = password(&ring, "alpha", 1);
        assert_eq!(ring.authenticate("gs-alpha", "alpha", old.as_bytes()), Err(Denied::NotAuthorized));
        assert!(ring.accepted(&alpha, name(1)).is_none(), "a revocation is never taken back");
        assert_eq!(ring.for_orders(&alpha).map(|key| key.name()), Some(name(2)));
        assert!(ring.authenticate("gs-alpha", "alpha", password(&ring, "alpha", 2).as_bytes()).is_ok());
    }

    #[test]
    fn the_hub_has_a_password_of_its_own() {
        let ring = ring();
        let right = ring.hub_password();
        assert!(ring.authenticate("hub-1", "hub-1", right.as_bytes()).is_ok());
        assert_eq!(ring.authenticate("hub-1", "hub-1", b"wrong"), Err(Denied::BadCredentials));
        assert!(!format!("{ring:?}").contains(right.as_str()));
    }
}
