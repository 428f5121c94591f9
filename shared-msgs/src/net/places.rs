//! Who holds the places of a listener: strangers, who have not said who they are, and guests, who have.
//!
//! A sans-I/O core: no clock, no socket. Invariants: at most `places_max` in all and `per_address_max` of one address; a newcomer is
//! never refused while a stranger could go for it; a guest never goes for anybody. Whom a newcomer replaces is the oldest stranger of
//! its own address where that is full, else of the network that has most strangers: so few networks, however busy,
//! crowd out only themselves. Of several such networks it is the one whose oldest has been there longest: so among many with a
//! stranger each nobody goes before its turn, whatever its address.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::client_addr::{ClientAddr, Network};

/// How many may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// In all.
    pub(super) places_max: usize,
    /// From one address.
    pub(super) per_address_max: usize,
}

/// Names one holder; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(u64);

/// What became of a newcomer. `T` is what the owner keeps of a holder, given back with one that must go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival<T> {
    /// It is in.
    In(Place),
    /// It is in, and this stranger must go.
    InsteadOf(Place, T),
    /// Its address holds all it may, all of them guests.
    AddressFull,
    /// All places are held by guests.
    Full,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Places<T> {
    bounds: Bounds,
    next: u64,
    holders: HashMap<Place, Holder<T>>,
    addresses: HashMap<ClientAddr, OfAddress>,
    /// The strangers of each network by turn, the oldest first; no network without.
    crowds: HashMap<Network, BTreeMap<u64, Place>>,
    /// Networks by how many strangers they have and the turn of the oldest.
    ranking: BTreeSet<Rank>,
}

type Rank = (usize, Reverse<u64>, Network);

#[derive(Debug)]
struct Holder<T> {
    address: ClientAddr,
    /// Its turn among the strangers; none for a guest.
    turn: Option<u64>,
    kept: T,
}

#[derive(Debug, Default)]
struct OfAddress {
    holders: usize,
    /// By turn, the oldest first.
    strangers: BTreeMap<u64, Place>,
}

impl<T> Places<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            next: 0,
            holders: HashMap::new(),
            addresses: HashMap::new(),
            crowds: HashMap::new(),
            ranking: BTreeSet::new(),
        }
    }

    /// Strangers and guests.
    pub(super) fn count(&self) -> (usize, usize) {
        let strangers = self.ranking.iter().map(|(count, ..)| count).sum();
        (strangers, self.holders.len() - strangers)
    }

    /// Somebody comes, as a stranger.
    pub(super) fn arrive(&mut self, address: ClientAddr, kept: T) -> Arrival<T> {
        self.arrive_as(address, self.bounds.per_address_max, kept)
    }

    /// As [`Self::arrive`], from an address that speaks for many.
    pub(super) fn arrive_from_proxy(&mut self, address: ClientAddr, kept: T) -> Arrival<T> {
        self.arrive_as(address, usize::MAX, kept)
    }

    fn arrive_as(&mut self, address: ClientAddr, per_address_max: usize, kept: T) -> Arrival<T> {
        let of_address = self.addresses.get(&address);
        let crowded = if of_address.is_some_and(|of| of.holders >= per_address_max) {
            match of_address.and_then(|of| of.strangers.values().next()) {
                Some(oldest) => Some(*oldest),
                None => return Arrival::AddressFull,
            }
        } else if self.holders.len() >= self.bounds.places_max {
            match self.most_crowded() {
                Some(oldest) => Some(oldest),
                None => return Arrival::Full,
            }
        } else {
            None
        };
        let gone = crowded.and_then(|place| self.leave(place));
        let place = Place(self.turn());
        self.holders.insert(place, Holder { address, turn: None, kept });
        self.addresses.entry(address).or_default().holders += 1;
        self.estrange(place);
        match gone {
            Some(gone) => Arrival::InsteadOf(place, gone),
            None => Arrival::In(place),
        }
    }

    /// A stranger goes, so that what it holds is free for somebody: which one is as for a newcomer.
    pub(super) fn make_room(&mut self) -> Option<T> {
        self.most_crowded().and_then(|place| self.leave(place))
    }

    /// A stranger has introduced itself. False if it had to go before; true for one that is a guest already.
    pub(super) fn welcome(&mut self, place: Place) -> bool {
        let Some(holder) = self.holders.get_mut(&place) else { return false };
        if let Some(turn) = holder.turn.take() {
            let address = holder.address;
            self.recount(address, |strangers| {
                strangers.remove(&turn);
            });
        }
        true
    }

    /// A guest has nothing to do here for now: the youngest of the strangers again.
    pub(super) fn estrange(&mut self, place: Place) {
        let turn = self.turn();
        let Some(holder) = self.holders.get_mut(&place).filter(|holder| holder.turn.is_none()) else {
            return;
        };
        holder.turn = Some(turn);
        let address = holder.address;
        self.recount(address, |strangers| {
            strangers.insert(turn, place);
        });
    }

    /// Somebody is gone; nobody's place is left twice.
    pub(super) fn leave(&mut self, place: Place) -> Option<T> {
        self.welcome(place);
        let Holder { address, kept, .. } = self.holders.remove(&place)?;
        if let Some(of) = self.addresses.get_mut(&address) {
            of.holders -= 1;
            if of.holders == 0 {
                self.addresses.remove(&address);
            }
        }
        Some(kept)
    }

    fn most_crowded(&self) -> Option<Place> {
        let (.., network) = self.ranking.last()?;
        self.crowds.get(network)?.values().next().copied()
    }

    fn turn(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn recount(&mut self, address: ClientAddr, change: impl Fn(&mut BTreeMap<u64, Place>)) {
        let Some(of) = self.addresses.get_mut(&address) else { return };
        change(&mut of.strangers);
        let network = address.network();
        let strangers = self.crowds.entry(network).or_default();
        if let Some(rank) = rank(network, strangers) {
            self.ranking.remove(&rank);
        }
        change(strangers);
        match rank(network, strangers) {
            Some(rank) => {
                self.ranking.insert(rank);
            }
            None => {
                self.crowds.remove(&network);
            }
        }
    }
}

fn rank(network: Network, strangers: &BTreeMap<u64, Place>) -> Option<Rank> {
    let (oldest, _) = strangers.first_key_value()?;
    Some((strangers.len(), Reverse(*oldest), network))
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
