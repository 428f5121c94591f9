//! What an account is made of: validated names, a state, and an id that stays inside.
//!
//! Knows neither the database nor hashing. Invariant: a value of one of these types is valid, and its `Debug` shows no
//! row id, no password and no hash.

use std::fmt;
use std::str::FromStr;

use shared_msgs::clock::UnixMs;
use shared_msgs::ids::AccountId;
use zeroize::{Zeroize, Zeroizing};

use super::bans::Ban;
use super::display_name::DisplayName;
use super::phc::Phc;

/// Shortest and longest login name.
pub const LOGIN_CHARS_MIN: usize = 3;
/// See [`LOGIN_CHARS_MIN`].
pub const LOGIN_CHARS_MAX: usize = 32;
/// Shortest password that may be set.
pub const PASSWORD_BYTES_MIN: usize = 8;
/// Longest password, set or tried.
pub const PASSWORD_BYTES_MAX: usize = 256;

/// The database's key of an account: an opaque value for maps and queries. It has no text form, and cannot be sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountRow(i64);

impl AccountRow {
    /// For tests and simulations of code that only needs distinct keys; real ones come from the store.
    pub const fn from_raw(raw: i64) -> Self {
        Self(raw)
    }

    pub(super) const fn raw(self) -> i64 {
        self.0
    }
}

impl fmt::Debug for AccountRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountRow(..)")
    }
}

/// Why a text cannot be a login name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginNameError {
    /// Too short or too long.
    #[error("a login name has {LOGIN_CHARS_MIN} to {LOGIN_CHARS_MAX} characters")]
    Length,
    /// A character that login names don't have.
    #[error("a login name consists of a-z, 0-9, '_', '.' and '-'")]
    Character,
    /// Starts with punctuation.
    #[error("a login name starts with a letter or a digit")]
    Start,
}

/// What one types to log in: `[a-z0-9][a-z0-9_.-]{2,31}` once its ASCII letters are lower-cased.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoginName(String);

impl LoginName {
    /// The folded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LoginName {
    type Err = LoginNameError;
    fn from_str(text: &str) -> Result<Self, LoginNameError> {
        if !(LOGIN_CHARS_MIN..=LOGIN_CHARS_MAX).contains(&text.len()) {
            return Err(LoginNameError::Length);
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
            return Err(LoginNameError::Character);
        }
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(LoginNameError::Start);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text cannot be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Shorter than may be set.
    #[error("a password has at least {PASSWORD_BYTES_MIN} bytes")]
    TooShort,
    /// Longer than is ever hashed.
    #[error("a password has at most {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
}

/// A password in the clear, wiped from memory when dropped.
pub struct Password(Zeroizing<String>);

impl Password {
    /// A password to be set.
    ///
    /// # Errors
    /// When its length is out of bounds; the text is wiped then, too.
    pub fn new(text: String) -> Result<Self, PasswordError> {
        let password = Self::attempt(text)?;
        if password.0.len() < PASSWORD_BYTES_MIN {
            return Err(PasswordError::TooShort);
        }
        Ok(password)
    }

    /// A password to be tried: an imported account may have a shorter one than may be set here.
    ///
    /// # Errors
    /// When it is too long to be hashed; the text is wiped then, too.
    pub fn attempt(mut text: String) -> Result<Self, PasswordError> {
        if text.len() > PASSWORD_BYTES_MAX {
            text.zeroize();
            return Err(PasswordError::TooLong);
        }
        Ok(Self(Zeroizing::new(text)))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Whether an account may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountState {
    /// May log in.
    Active,
    /// Switched off by an operator; says nothing about its owner.
    Disabled,
    /// Shut out for what its owner did.
    Banned,
}

impl AccountState {
    /// Its name, as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Banned => "banned",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        [Self::Active, Self::Disabled, Self::Banned].into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for AccountState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One who may log in. Its fields' own `Debug` keep the row and the hash to themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The database's key.
    pub row: AccountRow,
    /// The key that clients may know.
    pub id: AccountId,
    /// What one types to log in.
    pub login: LoginName,
    /// What other players see.
    pub display_name: DisplayName,
    /// How the password is checked.
    pub phc: Phc,
    /// Whether it may be used.
    pub state: AccountState,
    /// When it was made, by the hub's clock.
    pub created: UnixMs,
    /// What shuts it out, if its time has not passed: see [`Account::ban_at`].
    pub ban: Option<Ban>,
}

/// An account to be made.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// What one types to log in.
    pub login: LoginName,
    /// What other players see.
    pub display_name: DisplayName,
    /// How the password is checked.
    pub phc: Phc,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_names_are_folded_and_bounded() {
        assert_eq!("Bob_The.1-st".parse::<LoginName>().unwrap().as_str(), "bob_the.1-st");
        let longest = "a".repeat(32);
        assert_eq!(longest.parse::<LoginName>().unwrap().as_str(), longest);
        for (bad, why) in [
            ("ab", LoginNameError::Length),
            (&"a".repeat(33), LoginNameError::Length),
            ("_abc", LoginNameError::Start),
            ("-abc", LoginNameError::Start),
            ("bob bob", LoginNameError::Character),
            ("bób", LoginNameError::Character),
            ("bob\u{212a}", LoginNameError::Character), // the Kelvin sign folds to 'k' in Unicode; not here
        ] {
            assert_eq!(bad.parse::<LoginName>(), Err(why), "{bad}");
        }
    }

    #[test]
    fn passwords_are_bounded() {
        assert_eq!(Password::new("1234567".into()).unwrap_err(), PasswordError::TooShort);
        assert!(Password::new("12345678".into()).is_ok());
        assert!(Password::new("x".repeat(256)).is_ok());
        assert_eq!(Password::new("x".repeat(257)).unwrap_err(), PasswordError::TooLong);
        assert!(Password::attempt("short".into()).is_ok());
        assert_eq!(Password::attempt("x".repeat(257)).unwrap_err(), PasswordError::TooLong);
    }

    #[test]
    fn debug_shows_no_secret_and_no_row() {
        let password = Password::new("correct horse".into()).unwrap();
        let phc = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$tWFcYQmAOQ9hQLGBMXMxDh7V4vBhBd8n9n2eBMd1hZ0";
        let phc: Phc = phc.parse().unwrap();
        let new = NewAccount {
            login: "bob".parse().unwrap(),
            display_name: "Bob".parse().unwrap(),
            phc: phc.clone(),
        };
        let account = Account {
            row: AccountRow::from_raw(424_242),
            id: AccountId([7; 16]),
            login: new.login.clone(),
            display_name: new.display_name.clone(),
            phc,
            state: AccountState::Active,
            created: UnixMs(1),
            ban: None,
        };
        for shown in
            [format!("{password:?}"), format!("{new:?} {new:#?}"), format!("{account:?} {account:#?}")]
        {
            for secret in ["correct horse", "c2FsdHNhbHRz", "tWFcYQmA", "424242", "argon2"] {
                assert!(!shown.contains(secret), "{secret} in {shown}");
            }
        }
        assert!(format!("{account:?}").contains("bob"));
    }
}
