//! What an operator does to accounts from the command line, where it takes more than one call.
//!
//! Knows store and pool; parses no arguments and prints nothing. Invariant: it changes nothing that the store's own
//! rules would not allow.

use super::account::{Account, AccountState, LoginName, NewAccount, Password};
use super::display_name::DisplayName;
use super::passwords::{PasswordPool, PoolError};
use super::store::{Store, StoreError};

/// Why an operator's wish was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The password was not hashed.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

/// Makes an account.
///
/// # Errors
/// When its name is taken, or hashing or storing fails.
pub async fn add(
    store: &Store,
    pool: &PasswordPool,
    login: LoginName,
    display_name: DisplayName,
    password: Password,
) -> Result<Account, AdminError> {
    // Asked first, so that a taken name costs no hash; the store decides.
    if store.by_login(&login).await?.is_some() {
        return Err(StoreError::NameTaken.into());
    }
    let phc = pool.hash(password).await?;
    Ok(store.register(NewAccount { login, display_name, phc }).await?)
}

/// The account of a login name.
///
/// # Errors
/// [`StoreError::UnknownAccount`], or the store's own troubles.
pub async fn find(store: &Store, login: &LoginName) -> Result<Account, AdminError> {
    Ok(store.by_login(login).await?.ok_or(StoreError::UnknownAccount)?)
}

/// Sets a new password.
///
/// # Errors
/// When there is no such account, or hashing or storing fails.
pub async fn set_password(
    store: &Store,
    pool: &PasswordPool,
    login: &LoginName,
    password: Password,
) -> Result<(), AdminError> {
    let account = find(store, login).await?;
    let phc = pool.hash(password).await?;
    Ok(store.set_phc(account.row, phc).await?)
}

/// Enables, disables or bans.
///
/// # Errors
/// When there is no such account, or storing fails.
pub async fn set_state(store: &Store, login: &LoginName, state: AccountState) -> Result<(), AdminError> {
    let account = find(store, login).await?;
    Ok(store.set_state(account.row, state).await?)
}

#[cfg(test)]
mod tests;
