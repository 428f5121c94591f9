//! The hubs' database: what is durable. Whatever was written is there after any crash, whether or not the writer heard of it.

use std::collections::BTreeMap;

use auth_hub::accounts::AccountRow;
use shared_msgs::ids::{PlayerId, Realm};
use shared_msgs::rng::Rng;

use crate::facts::Ms;

/// Players and the fence clock ceiling.
#[derive(Debug, Default)]
pub(crate) struct Store {
    players: BTreeMap<(AccountRow, Realm), PlayerId>,
    owners: BTreeMap<PlayerId, (AccountRow, Realm)>,
    pub(crate) ceiling: u64,
    /// Every question fails until then.
    pub(crate) out_until: Ms,
}

impl Store {
    pub(crate) fn player_in(&mut self, account: AccountRow, realm: &Realm, rng: &dyn Rng) -> PlayerId {
        let player = *self.players.entry((account, realm.clone())).or_insert_with(|| PlayerId::random(rng));
        self.owners.insert(player, (account, realm.clone()));
        player
    }

    /// The highest ceiling that any hub stored; what stands then.
    pub(crate) fn raise_ceiling(&mut self, ceiling: u64) -> u64 {
        self.ceiling = self.ceiling.max(ceiling);
        self.ceiling
    }

    pub(crate) fn players_of(&self, account: AccountRow) -> Vec<(Realm, PlayerId)> {
        let of = self.players.iter().filter(|((row, _), _)| *row == account);
        of.map(|((_, realm), player)| (realm.clone(), *player)).collect()
    }

    pub(crate) fn owners(&self, players: &[PlayerId]) -> Vec<(PlayerId, AccountRow, Realm)> {
        let find = |player: &PlayerId| {
            self.owners.get(player).map(|(account, realm)| (*player, *account, realm.clone()))
        };
        players.iter().filter_map(find).collect()
    }
}
