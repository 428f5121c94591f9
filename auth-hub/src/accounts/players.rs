//! Player ids: the one face of an account that game servers of a realm ever see.
//!
//! Invariant: an (account, realm) has one player id, made on first use and never changed; a player id has one account.

use shared_msgs::ids::{PlayerId, Realm};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use super::account::{AccountRow, AccountState};
use super::store::{Store, StoreError, id_bytes};

/// Ids looked up by one query.
const LOOKUP_IDS_MAX: usize = 500;

impl Store {
    /// The account's player ids, in the order of their realms.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn players_of(&self, account: AccountRow) -> Result<Vec<(Realm, PlayerId)>, StoreError> {
        let sql = "SELECT realm, player_id FROM players WHERE account = $1 ORDER BY realm";
        let rows = sqlx::query(sql).bind(account.raw()).fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok((realm(row)?, player(row)?))).collect()
    }

    /// As [`Store::players_of`], of an account that may play now; `None` of one that may not.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn players_who_may_play(
        &self,
        account: AccountRow,
    ) -> Result<Option<Vec<(Realm, PlayerId)>>, StoreError> {
        let sql = "SELECT a.state, p.realm, p.player_id FROM accounts a \
                   LEFT JOIN players p ON p.account = a.id WHERE a.id = $1 ORDER BY p.realm";
        let rows = sqlx::query(sql).bind(account.raw()).fetch_all(&self.readers).await?;
        let state = rows.first().map(|row| row.try_get::<&str, _>("state")).transpose()?;
        if state.and_then(AccountState::from_stored) != Some(AccountState::Active) {
            return Ok(None);
        }
        let known =
            rows.iter().filter(|row| row.try_get::<Option<&str>, _>("realm").is_ok_and(|of| of.is_some()));
        known.map(|row| Ok((realm(row)?, player(row)?))).collect::<Result<_, _>>().map(Some)
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

    /// Whose players these are, in the order of the ids; unknown ones are left out.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn owners(
        &self,
        players: &[PlayerId],
    ) -> Result<Vec<(PlayerId, AccountRow, Realm)>, StoreError> {
        let mut owners = Vec::with_capacity(players.len());
        for some in players.chunks(LOOKUP_IDS_MAX) {
            let mut query = QueryBuilder::<Sqlite>::new(
                "SELECT player_id, account, realm FROM players WHERE player_id IN (",
            );
            let mut list = query.separated(", ");
            for player in some {
                list.push_bind(&player.0[..]);
            }
            query.push(")");
            for row in query.build().fetch_all(&self.readers).await? {
                owners.push((player(&row)?, AccountRow::from_raw(row.try_get("account")?), realm(&row)?));
            }
        }
        owners.sort_unstable();
        owners.dedup();
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

fn player(row: &SqliteRow) -> Result<PlayerId, StoreError> {
    Ok(PlayerId(id_bytes(row.try_get("player_id")?, "player id")?))
}

fn realm(row: &SqliteRow) -> Result<Realm, StoreError> {
    row.try_get::<&str, _>("realm")?.parse().map_err(|_| StoreError::Corrupt("realm"))
}
