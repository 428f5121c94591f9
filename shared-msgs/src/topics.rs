//! The four topics, as types: nobody concatenates topic strings elsewhere.

use std::fmt;
use std::str::FromStr;

use crate::ids::{HubId, ServerId};

/// The hub's subscription to every server's status.
pub const STATUS_FILTER: &str = "handover/v1/servers/+/status";
/// The hub's subscription to every server's events.
pub const EVENTS_FILTER: &str = "handover/v1/servers/+/events";

/// A topic somebody may publish on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Server → hub: full status; also the last will.
    Status(ServerId),
    /// Server → hub: grant replies, ended, joined, left, roster pages, noticed.
    Events(ServerId),
    /// Hub → server: probe, grant, end, drain, undrain, notice, roster request, skew, superseded.
    Inbox(ServerId),
    /// Hub → itself: is the router alive?
    Canary(HubId),
}

/// Not one of our topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a topic of this protocol")]
pub struct TopicError;

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(id) => write!(f, "handover/v1/servers/{id}/status"),
            Self::Events(id) => write!(f, "handover/v1/servers/{id}/events"),
            Self::Inbox(id) => write!(f, "handover/v1/servers/{id}/inbox"),
            Self::Canary(id) => write!(f, "handover/v1/hubs/{id}/canary"),
        }
    }
}

impl FromStr for Topic {
    type Err = TopicError;
    fn from_str(text: &str) -> Result<Self, TopicError> {
        let rest = text.strip_prefix("handover/v1/").ok_or(TopicError)?;
        let mut levels = rest.split('/');
        let (Some(kind), Some(id), Some(leaf), None) =
            (levels.next(), levels.next(), levels.next(), levels.next())
        else {
            return Err(TopicError);
        };
        let server = || id.parse::<ServerId>().map_err(|_| TopicError);
        match (kind, leaf) {
            ("servers", "status") => Ok(Self::Status(server()?)),
            ("servers", "events") => Ok(Self::Events(server()?)),
            ("servers", "inbox") => Ok(Self::Inbox(server()?)),
            ("hubs", "canary") => Ok(Self::Canary(id.parse().map_err(|_| TopicError)?)),
            _ => Err(TopicError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_reads_back_as_itself() {
        let id: ServerId = "alpha-1".parse().unwrap();
        let hub: HubId = "hub-0".parse().unwrap();
        for topic in
            [Topic::Status(id.clone()), Topic::Events(id.clone()), Topic::Inbox(id), Topic::Canary(hub)]
        {
            assert_eq!(topic.to_string().parse(), Ok(topic));
        }
    }

    #[test]
    fn strangers_are_refused() {
        for text in [
            "",
            "handover/v1/servers/+/status",
            "handover/v1/servers/a/status/x",
            "handover/v1/servers/A/status",
            "handover/v2/servers/a/status",
            "handover/v1/servers//status",
            "handover/v1/servers/é/status",
            "handover/v1/hubs/a/status",
        ] {
            assert_eq!(text.parse::<Topic>(), Err(TopicError), "{text}");
        }
    }
}
