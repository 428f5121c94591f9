//! Which players belong to which account: what the core has been told by the store so far. A cache; the store is the truth.

use std::collections::{BTreeMap, BTreeSet};

use shared_msgs::ids::{PlayerId, Realm, ServerId};

use crate::accounts::{AccountRow, PlayerRow};

/// Accounts and their players.
#[derive(Debug, Default)]
pub(crate) struct People {
    players: BTreeMap<AccountRow, BTreeMap<Realm, PlayerId>>,
    owner: BTreeMap<PlayerId, AccountRow>,
    last_server: BTreeMap<PlayerId, ServerId>,
    /// Asked for and not answered.
    asked: BTreeSet<PlayerId>,
}

impl People {
    pub(crate) fn learn(&mut self, account: AccountRow, realm: Realm, player: PlayerId) {
        self.asked.remove(&player);
        self.owner.insert(player, account);
        self.players.entry(account).or_default().insert(realm, player);
    }

    /// As the store has it. What we know of the player's last server is newer.
    pub(crate) fn learn_row(&mut self, row: PlayerRow) {
        let PlayerRow { account, realm, player, last_server } = row;
        self.learn(account, realm, player);
        if let Some(server) = last_server {
            self.last_server.entry(player).or_insert(server);
        }
    }

    pub(crate) fn last_server(&self, player: PlayerId) -> Option<&ServerId> {
        self.last_server.get(&player)
    }

    /// Whether somebody's player is noted elsewhere than there, or nowhere.
    pub(crate) fn is_elsewhere(&self, player: PlayerId, server: &ServerId) -> bool {
        self.owner.contains_key(&player) && self.last_server.get(&player) != Some(server)
    }

    pub(crate) fn note_last_server(&mut self, player: PlayerId, server: ServerId) {
        self.last_server.insert(player, server);
    }

    pub(crate) fn in_realm(&self, account: AccountRow, realm: &Realm) -> Option<PlayerId> {
        self.players.get(&account)?.get(realm).copied()
    }

    pub(crate) fn of(&self, account: AccountRow) -> impl Iterator<Item = PlayerId> + '_ {
        self.players.get(&account).into_iter().flat_map(|realms| realms.values().copied())
    }

    pub(crate) fn owner(&self, player: PlayerId) -> Option<AccountRow> {
        self.owner.get(&player).copied()
    }

    /// True the first time an unknown player is seen: the store must be asked.
    pub(crate) fn must_ask(&mut self, player: PlayerId) -> bool {
        !self.owner.contains_key(&player) && self.asked.insert(player)
    }

    /// The store was asked and said nothing of these, or failed: they may be asked for again.
    pub(crate) fn not_found(&mut self, players: &[PlayerId]) {
        for player in players {
            self.asked.remove(player);
        }
    }

    /// Forgets accounts of which nothing is going on.
    pub(crate) fn retain(&mut self, keep: impl Fn(AccountRow, &BTreeMap<Realm, PlayerId>) -> bool) {
        self.players.retain(|account, realms| keep(*account, realms));
        let players = &self.players;
        self.owner.retain(|_, account| players.contains_key(account));
        let owner = &self.owner;
        self.last_server.retain(|player, _| owner.contains_key(player));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_player_is_asked_for_once_and_a_known_one_never() {
        let mut people = People::default();
        let (known, unknown) = (PlayerId([1; 16]), PlayerId([2; 16]));
        people.learn(AccountRow::from_raw(1), "r".parse().unwrap(), known);
        assert!(!people.must_ask(known));
        assert!(people.must_ask(unknown) && !people.must_ask(unknown));
        people.not_found(&[unknown]);
        assert!(people.must_ask(unknown), "the store may know by now");
    }

    #[test]
    fn an_account_is_forgotten_with_its_players() {
        let mut people = People::default();
        let [kept, gone] = [(1, 1), (2, 2)].map(|(row, n)| (AccountRow::from_raw(row), PlayerId([n; 16])));
        for (account, player) in [kept, gone] {
            people.learn(account, "r".parse().unwrap(), player);
        }
        people.retain(|account, _| account == kept.0);
        assert_eq!((people.owner(kept.1), people.owner(gone.1)), (Some(kept.0), None));
        assert_eq!((people.of(kept.0).count(), people.of(gone.0).count()), (1, 0));
    }
}
