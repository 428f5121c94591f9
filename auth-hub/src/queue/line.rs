//! Which slots a ticket waits for.
//!
//! Owns when two lines wait for the same slots. Knows no server. Invariant: that is decided by what was asked alone, so that the number of
//! tickets before one does not rise because a server came or went.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use shared_msgs::ids::ServerId;

/// Tickets that ask for the same stand in one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Line {
    /// Any server will do.
    Anywhere,
    /// Only servers of these regions.
    Regions(BTreeSet<String>),
    /// Only this server.
    Server(ServerId),
    /// Of those, only servers with all of these labels.
    Labelled(BTreeSet<String>, Box<Line>),
}

impl Line {
    /// The labels it asks for, and the line without them.
    pub fn parts(&self) -> (Vec<String>, &Self) {
        match self {
            Self::Labelled(labels, of) => (labels.iter().cloned().collect(), of),
            plain => (Vec::new(), plain),
        }
    }

    /// The one server it is for.
    pub(crate) fn server(&self) -> Option<&ServerId> {
        match self {
            Self::Server(server) => Some(server),
            Self::Labelled(_, of) => of.server(),
            Self::Anywhere | Self::Regions(_) => None,
        }
    }

    /// Whether some server may have slots for both.
    pub fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            // A server may change its labels, too.
            (Self::Labelled(_, of), other) | (other, Self::Labelled(_, of)) => of.meets(other),
            (Self::Server(a), Self::Server(b)) => a == b,
            (Self::Regions(a), Self::Regions(b)) => !a.is_disjoint(b),
            // A server may move to another region; who waits must not fall back for it.
            (Self::Server(_), Self::Regions(_))
            | (Self::Regions(_), Self::Server(_))
            | (Self::Anywhere, _)
            | (_, Self::Anywhere) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_meet_where_a_slot_may_be_for_both() {
        let server = |id: &str| Line::Server(id.parse().unwrap());
        let regions = |names: &[&str]| Line::Regions(names.iter().map(|name| (*name).to_owned()).collect());
        for (a, b, meet) in [
            (Line::Anywhere, server("a"), true),
            (Line::Anywhere, regions(&["eu"]), true),
            (server("a"), server("a"), true),
            (server("a"), server("b"), false),
            (regions(&["eu", "us"]), regions(&["us", "asia"]), true),
            (regions(&["eu"]), regions(&["us"]), false),
            (server("a"), regions(&["eu"]), true),
            (Line::Labelled(["pvp".to_owned()].into(), Box::new(server("a"))), server("a"), true),
            (Line::Labelled(["pvp".to_owned()].into(), Box::new(server("a"))), server("b"), false),
        ] {
            assert_eq!((a.meets(&b), b.meets(&a)), (meet, meet), "{a:?} and {b:?}");
        }
    }
}
