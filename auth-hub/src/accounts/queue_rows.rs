//! What the login queue must not forget: its tickets, and which accounts have priority.
//!
//! Knows rows: what a ticket wishes is bytes to it, and the order is the queue's. Invariants: an account has at most one ticket here; tickets
//! are written and dropped in the order in which that was submitted.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use super::account::AccountRow;
use super::store::{Store, StoreError, id_bytes};
use super::writer::Pending;

/// Tickets named by one statement.
const DROPPED_MAX: usize = 500;

/// A ticket as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTicket {
    /// Whose.
    pub account: AccountRow,
    /// Which.
    pub ticket: [u8; 16],
    /// When it came, in microseconds since 1970.
    pub arrived_us: u64,
    /// Whether its owner's server had died.
    pub is_reconnect: bool,
    /// Whether its owner has priority; of the account, so not stored with the ticket.
    pub has_priority: bool,
    /// What it waits for, as the queue wrote it.
    pub wish: Vec<u8>,
}

impl Store {
    /// Queues that a ticket is stored in place of any other of its account, behind what was queued before. Gives whether the account has
    /// priority.
    ///
    /// # Errors
    /// When the queue is full or closed, or the ticket's time is out of range.
    pub fn submit_ticket(&self, row: &StoredTicket) -> Result<Pending<bool, StoreError>, StoreError> {
        let (account, ticket, wish) = (row.account.raw(), row.ticket, row.wish.clone());
        let arrived_us = i64::try_from(row.arrived_us).map_err(|_| StoreError::Range)?;
        let is_reconnect = i64::from(row.is_reconnect);
        let save = self.writer.submit(move |conn| {
            Box::pin(async move {
                let sql = "INSERT INTO queue_tickets (account, ticket_id, arrived_us, is_reconnect, wish) \
                           VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account) DO UPDATE SET \
                           ticket_id = excluded.ticket_id, arrived_us = excluded.arrived_us, \
                           is_reconnect = excluded.is_reconnect, wish = excluded.wish";
                let save = sqlx::query(sql).bind(account).bind(&ticket[..]).bind(arrived_us);
                save.bind(is_reconnect).bind(wish).execute(&mut *conn).await?;
                has_priority(conn, account).await
            })
        });
        Ok(save?)
    }

    /// Queues that these count no more, behind what was queued before.
    ///
    /// # Errors
    /// When the queue is full or closed; some may be gone then.
    pub fn submit_ticket_drops(
        &self,
        tickets: &[[u8; 16]],
    ) -> Result<Vec<Pending<(), StoreError>>, StoreError> {
        let drops = tickets.chunks(DROPPED_MAX).map(|some| {
            let some = some.to_vec();
            let drop = self.writer.submit(move |conn| {
                Box::pin(async move {
                    let mut query =
                        QueryBuilder::<Sqlite>::new("DELETE FROM queue_tickets WHERE ticket_id IN (");
                    let mut list = query.separated(", ");
                    for ticket in &some {
                        list.push_bind(ticket.to_vec());
                    }
                    query.push(")");
                    query.build().execute(conn).await.map(drop).map_err(StoreError::from)
                })
            });
            Ok(drop?)
        });
        drops.collect()
    }

    /// All tickets that count, who came first being the first.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn tickets(&self) -> Result<Vec<StoredTicket>, StoreError> {
        let sql = "SELECT t.account, t.ticket_id, t.arrived_us, t.is_reconnect, t.wish, p.account AS priority \
                   FROM queue_tickets t LEFT JOIN queue_priorities p ON p.account = t.account \
                   ORDER BY t.arrived_us";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
        rows.iter().map(ticket).collect()
    }

    /// Gives an account priority in the queue, or takes it away. Counts for tickets issued from now on.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn set_priority(&self, account: AccountRow, has_priority: bool) -> Result<(), StoreError> {
        let account = account.raw();
        self.writer
            .write(move |conn| {
                Box::pin(async move {
                    let sql = if has_priority {
                        "INSERT INTO queue_priorities (account) VALUES ($1) ON CONFLICT (account) DO NOTHING"
                    } else {
                        "DELETE FROM queue_priorities WHERE account = $1"
                    };
                    sqlx::query(sql).bind(account).execute(conn).await.map(drop).map_err(StoreError::from)
                })
            })
            .await
    }
}

async fn has_priority(conn: &mut SqliteConnection, account: i64) -> Result<bool, StoreError> {
    let sql = "SELECT account FROM queue_priorities WHERE account = $1";
    let found: Option<i64> = sqlx::query_scalar(sql).bind(account).fetch_optional(conn).await?;
    Ok(found.is_some())
}

fn ticket(row: &SqliteRow) -> Result<StoredTicket, StoreError> {
    let arrived_us = row.try_get::<i64, _>("arrived_us")?.try_into();
    Ok(StoredTicket {
        account: AccountRow::from_raw(row.try_get("account")?),
        ticket: id_bytes(row.try_get("ticket_id")?, "ticket id")?,
        arrived_us: arrived_us.map_err(|_| StoreError::Corrupt("arrival"))?,
        is_reconnect: row.try_get::<i64, _>("is_reconnect")? != 0,
        has_priority: row.try_get::<Option<i64>, _>("priority")?.is_some(),
        wish: row.try_get("wish")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::fixture::{TestStore, new_account};

    fn row(account: AccountRow, n: u8) -> StoredTicket {
        StoredTicket {
            account,
            ticket: [n; 16],
            arrived_us: u64::from(n) * 1_000,
            is_reconnect: n > 7,
            has_priority: false,
            wish: vec![n, 0],
        }
    }

    #[tokio::test]
    async fn tickets_come_back_in_order_and_an_account_has_one() {
        let test = TestStore::open().await;
        let store = &test.store;
        let ada = store.register(new_account("ada")).await.unwrap().row;
        let bob = store.register(new_account("bob")).await.unwrap().row;
        store.set_priority(bob, true).await.unwrap();
        let save = async |row| store.submit_ticket(&row).unwrap().committed().await.unwrap();
        let drop_all = async |tickets: &[[u8; 16]]| {
            for drop in store.submit_ticket_drops(tickets).unwrap() {
                drop.committed().await.unwrap();
            }
        };
        assert!(!save(row(ada, 9)).await);
        assert!(save(row(bob, 5)).await, "bob has priority");
        assert!(!save(row(ada, 2)).await);
        let of_bob = StoredTicket { has_priority: true, ..row(bob, 5) };
        assert_eq!(store.tickets().await.unwrap(), [row(ada, 2), of_bob]);
        drop_all(&[[2; 16], [77; 16]]).await;
        store.set_priority(bob, false).await.unwrap();
        assert_eq!(store.tickets().await.unwrap(), [row(bob, 5)]);
        let many: Vec<[u8; 16]> = (0..=u8::MAX).chain(0..=u8::MAX).map(|n| [n; 16]).collect();
        drop_all(&many).await;
        assert_eq!(store.tickets().await.unwrap(), []);
    }
}
