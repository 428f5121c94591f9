//! Player ids: the one face of an account that game servers of a realm ever see.
//!
//! Invariant: an (account, realm) has one player id, made on first use and never changed; a player id has one account.

use std::collections::BTreeSet;

use shared_msgs::clock::UnixMs;
use shared_msgs::ids::{PlayerId, Realm, ServerId};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use super::account::{AccountRow, AccountState};
use super::bans;
use super::store::{Store, StoreError, id_bytes};

/// Ids looked up by one query.
const LOOKUP_IDS_MAX: usize = 500;

/// One face of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayerRow {
    /// Whose.
    pub account: AccountRow,
    /// In which realm.
    pub realm: Realm,
    /// Who they are there.
    pub player: PlayerId,
    /// Where they were last in game; nothing may depend on it.
    pub last_server: Option<ServerId>,
}

/// Whose players these are, as far as they are anybody's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    /// In the order of the ids.
    pub players: Vec<PlayerRow>,
    /// Which of their accounts are banned.
    pub banned: BTreeSet<AccountRow>,
}

impl Store {
    /// The account's players, in the order of their realms.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn players_of(&self, account: AccountRow) -> Result<Vec<PlayerRow>, StoreError> {
        let sql =
            "SELECT account, realm, player_id, last_server FROM players WHERE account = $1 ORDER BY realm";
        let rows = sqlx::query(sql).bind(account.raw()).fetch_all(&self.readers).await?;
        rows.iter().map(read).collect()
    }

    /// Notes where players were last in game; of a player named twice, the later place. Unknown players are left out.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn set_last_servers(&self, lasts: Vec<(PlayerId, ServerId)>) -> Result<(), StoreError> {
        let set = self.writer.write(move |conn| {
            Box::pin(async move {
                for (player, server) in &lasts {
                    let sql = "UPDATE players SET last_server = $2 WHERE player_id = $1";
                    sqlx::query(sql).bind(&player.0[..]).bind(server.as_str()).execute(&mut *conn).await?;
                }
                Ok::<_, StoreError>(())
            })
        });
        set.await
    }

    /// As [`Store::players_of`], of an account that may play at `now`; `None` of one that may not, by its state or by a ban.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn players_who_may_play(
        &self,
        account: AccountRow,
        now: UnixMs,
    ) -> Result<Option<Vec<PlayerRow>>, StoreError> {
        let sql = "SELECT a.state, a.id AS account, p.realm, p.player_id, p.last_server, \
                   b.until_ms, b.reason, b.banned_by, b.since_ms FROM accounts a \
                   LEFT JOIN players p ON p.account = a.id LEFT JOIN bans b ON b.account = a.id \
                   WHERE a.id = $1 ORDER BY p.realm";
        let rows = sqlx::query(sql).bind(account.raw()).fetch_all(&self.readers).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let is_active = AccountState::from_stored(first.try_get("state")?) == Some(AccountState::Active);
        if !is_active || bans::ban(first)?.is_some_and(|ban| ban.holds_at(now)) {
            return Ok(None);
        }
        let known =
            rows.iter().filter(|row| row.try_get::<Option<&str>, _>("realm").is_ok_and(|of| of.is_some()));
        known.map(read).collect::<Result<_, _>>().map(Some)
    }

    /// The account's player id in a realm, made on first use. Whoever races for it gets the same one.
    ///
    /// # Errors
    /// [`StoreError::UnknownAccount`], or the store's own troubles.
    pub async fn player_in(&self, account: AccountRow, realm: &Realm) -> Result<PlayerId, StoreError> {
        let sql = "SELECT player_id FROM players WHERE account = $1 AND realm = $2";
        let known =
            sqlx::query(sql).bind(account.raw()).bind(realm.as_str()).fetch_optional(&self.readers).await?;
        if let Some(row) = known {
            return player(&row);
        }
        let (realm, fresh) = (realm.clone(), PlayerId::random(&*self.rng));
        self.writer.write(move |conn| Box::pin(make(conn, account, realm, fresh))).await
    }

    /// Whose players these are, unknown ones left out, and who of them is banned at `now`.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn owners(&self, players: &[PlayerId], now: UnixMs) -> Result<Owners, StoreError> {
        let mut owners = Owners::default();
        for some in players.chunks(LOOKUP_IDS_MAX) {
            let mut query = QueryBuilder::<Sqlite>::new(
                "SELECT p.account, p.realm, p.player_id, p.last_server, a.state, \
                 b.until_ms, b.reason, b.banned_by, b.since_ms FROM players p \
                 JOIN accounts a ON a.id = p.account LEFT JOIN bans b ON b.account = p.account \
                 WHERE p.player_id IN (",
            );
            let mut list = query.separated(", ");
            for player in some {
                list.push_bind(&player.0[..]);
            }
            query.push(")");
            for row in query.build().fetch_all(&self.readers).await? {
                let owner = read(&row)?;
                // The state is none that a command sets; whoever set it by hand means the same.
                let is_marked =
                    AccountState::from_stored(row.try_get("state")?) == Some(AccountState::Banned);
                if is_marked || bans::ban(&row)?.is_some_and(|ban| ban.holds_at(now)) {
                    owners.banned.insert(owner.account);
                }
                owners.players.push(owner);
            }
        }
        owners.players.sort_unstable_by_key(|row| row.player);
        owners.players.dedup();
        Ok(owners)
    }
}

async fn make(
    conn: &mut SqliteConnection,
    account: AccountRow,
    realm: Realm,
    fresh: PlayerId,
) -> Result<PlayerId, StoreError> {
    // The no-op update makes the row that won the race come back, in one statement.
    let sql = "INSERT INTO players (account, realm, player_id) VALUES ($1, $2, $3) \
               ON CONFLICT (account, realm) DO UPDATE SET player_id = players.player_id RETURNING player_id";
    let made =
        sqlx::query(sql).bind(account.raw()).bind(realm.as_str()).bind(&fresh.0[..]).fetch_one(conn).await;
    match made {
        Ok(row) => player(&row),
        Err(sqlx::Error::Database(err)) if err.is_foreign_key_violation() => Err(StoreError::UnknownAccount),
        Err(err) => Err(err.into()),
    }
}

fn read(row: &SqliteRow) -> Result<PlayerRow, StoreError> {
    let last_server: Option<&str> = row.try_get("last_server")?;
    Ok(PlayerRow {
        account: AccountRow::from_raw(row.try_get("account")?),
        realm: realm(row)?,
        player: player(row)?,
        // What is no server id is as good as none.
        last_server: last_server.and_then(|server| server.parse().ok()),
    })
}

fn player(row: &SqliteRow) -> Result<PlayerId, StoreError> {
    Ok(PlayerId(id_bytes(row.try_get("player_id")?, "player id")?))
}

fn realm(row: &SqliteRow) -> Result<Realm, StoreError> {
    row.try_get::<&str, _>("realm")?.parse().map_err(|_| StoreError::Corrupt("realm"))
}
