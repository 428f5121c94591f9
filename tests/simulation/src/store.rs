//! The hubs' database: what is durable. Whatever was written is there after any crash, whether or not the writer heard of it.

use std::collections::{BTreeMap, BTreeSet};

use auth_hub::accounts::{AccountRow, Owners, PlayerRow};
use shared_msgs::ids::{PlayerId, Realm, ServerId};
use shared_msgs::rng::Rng;

use crate::facts::Ms;
use crate::tickets::Rows;

/// Players, tickets and the fence clock ceiling.
#[derive(Debug, Default)]
pub(crate) struct Store {
    players: BTreeMap<(AccountRow, Realm), PlayerId>,
    last_servers: BTreeMap<PlayerId, ServerId>,
    owners: BTreeMap<PlayerId, (AccountRow, Realm)>,
    /// Accounts that may not play.
    barred: BTreeSet<AccountRow>,
    pub(crate) ceiling: u64,
    pub(crate) tickets: Rows,
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

    /// Shuts an account out, or lets it in again. True when that is news.
    pub(crate) fn bar(&mut self, account: AccountRow, is_barred: bool) -> bool {
        if is_barred { self.barred.insert(account) } else { self.barred.remove(&account) }
    }

    pub(crate) fn is_barred(&self, account: AccountRow) -> bool {
        self.barred.contains(&account)
    }

    /// Written behind everybody's back; here at once.
    pub(crate) fn note_last_server(&mut self, player: PlayerId, server: ServerId) {
        self.last_servers.insert(player, server);
    }

    fn row(&self, account: AccountRow, realm: &Realm, player: PlayerId) -> PlayerRow {
        let last_server = self.last_servers.get(&player).cloned();
        PlayerRow { account, realm: realm.clone(), player, last_server }
    }

    pub(crate) fn players_of(&self, account: AccountRow) -> Vec<PlayerRow> {
        let of = self.players.iter().filter(|((row, _), _)| *row == account);
        of.map(|((_, realm), player)| self.row(account, realm, *player)).collect()
    }

    pub(crate) fn owners(&self, players: &[PlayerId]) -> Owners {
        let find = |player: &PlayerId| {
            self.owners.get(player).map(|(account, realm)| self.row(*account, realm, *player))
        };
        let players: Vec<PlayerRow> = players.iter().filter_map(find).collect();
        let accounts = players.iter().map(|row| row.account);
        let banned = accounts.filter(|account| self.is_barred(*account)).collect();
        Owners { players, banned }
    }
}
