//! Looking for an account by the start of a name.
//!
//! Reads the whole table where it must: for operators, not for clients. Invariant: what was typed is compared as it is, never as a pattern.

use super::account::Account;
use super::store::{Store, StoreError, account, select_accounts};

/// Accounts that a search gives.
pub const FOUND_ACCOUNTS_MAX: u32 = 20;

impl Store {
    /// Accounts whose login or display name begins so, by login name; at most `limit`. The case of ASCII letters does not count.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn find_accounts(&self, start: &str, limit: u32) -> Result<Vec<Account>, StoreError> {
        let sql = select_accounts!(
            "WHERE lower(login) LIKE $1 ESCAPE '!' OR lower(display_name) LIKE $1 ESCAPE '!' \
             ORDER BY login LIMIT $2"
        );
        let mut pattern = String::with_capacity(start.len() + 1);
        for c in start.chars() {
            if matches!(c, '%' | '_' | '!') {
                pattern.push('!');
            }
            pattern.push(c.to_ascii_lowercase());
        }
        pattern.push('%');
        let rows = sqlx::query(sql).bind(pattern).bind(i64::from(limit)).fetch_all(&self.readers).await?;
        rows.iter().map(account).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::accounts::fixture::{TestStore, new_account};

    #[tokio::test]
    async fn names_are_found_by_their_start_and_signs_are_only_signs() {
        let test = TestStore::open().await;
        for login in ["ada", "bob", "b_b", "babs"] {
            test.store.register(new_account(login)).await.unwrap();
        }
        let found = async |start: &str, limit| -> Vec<String> {
            let found = test.store.find_accounts(start, limit).await.unwrap();
            found.into_iter().map(|account| account.login.to_string()).collect()
        };
        assert_eq!(found("b", 20).await, ["b_b", "babs", "bob"]);
        assert_eq!(found("B_", 20).await, ["b_b"], "no sign stands for another");
        assert_eq!(found("THE A", 20).await, ["ada"], "what others see counts, too");
        assert_eq!(found("the ", 2).await, ["ada", "b_b"]);
        assert!(found("%", 20).await.is_empty() && found("o", 20).await.is_empty());
    }
}
