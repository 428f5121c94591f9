//! What holds for everybody who wants in: maintenance, the least build, the message of the day.
//!
//! Owns these rules, how builds compare, and the row that keeps them over a restart; knows nobody who asks. Invariant: rules that were read
//! are rules that were set, all of them together.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use shared_msgs::limits::BUILD_BYTES_MAX;
use sqlx::Row as _;

use super::account::LoginName;
use super::store::{Store, StoreError};

/// Login names that maintenance does not stop.
pub const ALLOWED_MAX: usize = 64;

/// A client's build: dotted numbers, compared as numbers. 1.10 is newer than 1.9, and 1.2 the same as 1.2.0.
#[derive(Clone, Debug)]
pub struct Build(Vec<u64>);

/// Why a text is no build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a build is dotted numbers, like 1.12.3, of at most {BUILD_BYTES_MAX} bytes")]
pub struct NoBuild;

impl FromStr for Build {
    type Err = NoBuild;
    fn from_str(text: &str) -> Result<Self, NoBuild> {
        if text.len() > BUILD_BYTES_MAX {
            return Err(NoBuild);
        }
        let number = |part: &str| {
            // `parse` would take a sign.
            let is_number = part.bytes().all(|b| b.is_ascii_digit());
            part.parse().ok().filter(|_| is_number).ok_or(NoBuild)
        };
        text.split('.').map(number).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

impl Ord for Build {
    fn cmp(&self, other: &Self) -> Ordering {
        let part = |build: &Self, at| build.0.get(at).copied().unwrap_or(0);
        let parts = self.0.len().max(other.0.len());
        (0..parts)
            .map(|at| part(self, at).cmp(&part(other, at)))
            .find(|by| by.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Build {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Build {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Build {}

/// Nobody new gets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// What players are told.
    pub message: String,
    /// Who gets in all the same.
    pub allowed: Vec<LoginName>,
}

/// The rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryRules {
    /// Stops everybody but a few.
    pub maintenance: Option<Maintenance>,
    /// Stops clients that are older, or do not say what they are.
    pub build_min: Option<Build>,
    /// The message of the day.
    pub message: Option<String>,
}

impl EntryRules {
    /// What stops this account, if anything.
    pub fn maintenance_for(&self, login: &LoginName) -> Option<&Maintenance> {
        self.maintenance.as_ref().filter(|maintenance| !maintenance.allowed.contains(login))
    }

    /// The least build, where this one does not reach it.
    pub fn too_old(&self, build: Option<&Build>) -> Option<&Build> {
        self.build_min.as_ref().filter(|least| build.is_none_or(|build| build < *least))
    }
}

impl Store {
    /// The rules that were set last; none at first.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn entry_rules(&self) -> Result<EntryRules, StoreError> {
        let sql = "SELECT maintenance, allowed, build_min, message FROM entry_rules";
        let Some(row) = sqlx::query(sql).fetch_optional(&self.readers).await? else {
            return Ok(EntryRules::default());
        };
        let allowed: Result<Vec<LoginName>, _> =
            row.try_get::<&str, _>("allowed")?.split_whitespace().map(str::parse).collect();
        let allowed = allowed.map_err(|_| StoreError::Corrupt("login name"))?;
        let message: Option<String> = row.try_get("maintenance")?;
        let build: Option<&str> = row.try_get("build_min")?;
        Ok(EntryRules {
            maintenance: message.map(|message| Maintenance { message, allowed }),
            build_min: build.map(str::parse).transpose().map_err(|_| StoreError::Corrupt("build"))?,
            message: row.try_get("message")?,
        })
    }

    /// Sets all of them.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn set_entry_rules(&self, rules: EntryRules) -> Result<(), StoreError> {
        let EntryRules { maintenance, build_min, message } = rules;
        let names = |maintenance: &Maintenance| {
            let names: Vec<_> = maintenance.allowed.iter().map(LoginName::as_str).collect();
            names.join(" ")
        };
        let allowed = maintenance.as_ref().map(names).unwrap_or_default();
        let (maintenance, build) =
            (maintenance.map(|of| of.message), build_min.map(|build| build.to_string()));
        self.writer
            .write(move |conn| {
                Box::pin(async move {
                    let sql = "INSERT INTO entry_rules (id, maintenance, allowed, build_min, message) \
                               VALUES (1, $1, $2, $3, $4) ON CONFLICT (id) DO UPDATE SET \
                               maintenance = excluded.maintenance, allowed = excluded.allowed, \
                               build_min = excluded.build_min, message = excluded.message";
                    let set = sqlx::query(sql).bind(maintenance).bind(allowed).bind(build).bind(message);
                    set.execute(conn).await?;
                    Ok(())
                })
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::fixture::TestStore;

    fn build(text: &str) -> Build {
        text.parse().unwrap()
    }

    #[test]
    fn builds_compare_as_numbers() {
        for (older, newer) in [("1.9", "1.10"), ("1.2.3", "1.3"), ("0", "0.0.1"), ("9.9.9", "10")] {
            assert!(build(older) < build(newer), "{older} {newer}");
        }
        assert!(build("1.2") == build("1.2.0") && build("01.2") == build("1.2"));
        assert_eq!(build("01.2.0").to_string(), "1.2.0");
        let long = format!("1.{}", "0".repeat(BUILD_BYTES_MAX));
        for text in ["", ".", "1.", "1..2", "+1", "-1", "1.2-beta", "v1", "1 ", "99999999999999999999", &long]
        {
            assert_eq!(text.parse::<Build>(), Err(NoBuild), "{text}");
        }
    }

    #[test]
    fn rules_say_whom_they_stop() {
        let [bob, eve]: [LoginName; 2] = ["bob", "eve"].map(|name| name.parse().unwrap());
        let maintenance = Maintenance { message: "back at 9".to_owned(), allowed: vec![bob.clone()] };
        let none = EntryRules::default();
        assert!(none.maintenance_for(&eve).is_none() && none.too_old(None).is_none());
        let rules = EntryRules {
            maintenance: Some(maintenance.clone()),
            build_min: Some(build("1.4")),
            message: None,
        };
        assert_eq!((rules.maintenance_for(&bob), rules.maintenance_for(&eve)), (None, Some(&maintenance)));
        for (said, stopped) in
            [(None, true), (Some("1.3.9"), true), (Some("1.4.0"), false), (Some("2"), false)]
        {
            let said = said.map(build);
            assert_eq!(rules.too_old(said.as_ref()).is_some(), stopped, "{said:?}");
        }
    }

    #[tokio::test]
    async fn rules_are_kept_as_they_were_set() {
        let test = TestStore::open().await;
        assert_eq!(test.store.entry_rules().await.unwrap(), EntryRules::default());
        let allowed = vec!["bob".parse().unwrap(), "eve".parse().unwrap()];
        let all = EntryRules {
            maintenance: Some(Maintenance { message: "two words".to_owned(), allowed }),
            build_min: Some(build("1.2.3")),
            message: Some("hello".to_owned()),
        };
        for rules in [all, EntryRules { message: Some("bye".to_owned()), ..EntryRules::default() }] {
            test.store.set_entry_rules(rules.clone()).await.unwrap();
            assert_eq!(test.store.entry_rules().await.unwrap(), rules);
        }
    }
}
