//! Who may publish and subscribe what. Pure.
//!
//! Invariant: a game server reads its own inbox and writes its own status and events; the hub writes inboxes, reads every
//! status and event, and talks to itself on its own canary. Everything else is refused.

use shared_msgs::topics::{EVENTS_FILTER, STATUS_FILTER, Topic};

use super::auth::Principal;

/// May `principal` publish on `topic`?
pub(crate) fn may_publish(principal: &Principal, topic: &Topic) -> bool {
    match (principal, topic) {
        (Principal::Server(id), Topic::Status(of) | Topic::Events(of)) => id == of,
        (Principal::Server(_), Topic::Inbox(_) | Topic::Canary(_))
        | (Principal::Hub(_), Topic::Status(_) | Topic::Events(_)) => false,
        (Principal::Hub(_), Topic::Inbox(_)) => true,
        (Principal::Hub(id), Topic::Canary(of)) => id == of,
    }
}

/// May `principal` leave a will on `topic`?
pub(crate) fn may_leave_will(principal: &Principal, topic: &Topic) -> bool {
    matches!((principal, topic), (Principal::Server(id), Topic::Status(of)) if id == of)
}

/// May `principal` subscribe to `filter`? The hub's wildcards are compared as text: no other filter with a wildcard,
/// `$share` or `$SYS` can pass, because none of them is a topic of ours.
pub(crate) fn may_subscribe(principal: &Principal, filter: &str) -> bool {
    match principal {
        Principal::Server(id) => filter.parse() == Ok(Topic::Inbox(id.clone())),
        Principal::Hub(id) => {
            filter == STATUS_FILTER
                || filter == EVENTS_FILTER
                || filter.parse() == Ok(Topic::Canary(id.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Principal {
        Principal::Server("alpha".parse().unwrap())
    }

    fn hub() -> Principal {
        Principal::Hub("hub-1".parse().unwrap())
    }

    const TOPICS: [&str; 8] = [
        "handover/v1/servers/alpha/status",
        "handover/v1/servers/alpha/events",
        "handover/v1/servers/alpha/inbox",
        "handover/v1/servers/beta/status",
        "handover/v1/servers/beta/events",
        "handover/v1/servers/beta/inbox",
        "handover/v1/hubs/hub-1/canary",
        "handover/v1/hubs/hub-2/canary",
    ];

    fn allowed(may: impl Fn(&str) -> bool) -> Vec<&'static str> {
        TOPICS.into_iter().filter(|topic| may(topic)).collect()
    }

    #[test]
    fn each_side_publishes_its_own_topics_only() {
        let of = |principal: Principal| allowed(|topic| may_publish(&principal, &topic.parse().unwrap()));
        assert_eq!(of(server()), ["handover/v1/servers/alpha/status", "handover/v1/servers/alpha/events"]);
        assert_eq!(
            of(hub()),
            [
                "handover/v1/servers/alpha/inbox",
                "handover/v1/servers/beta/inbox",
                "handover/v1/hubs/hub-1/canary"
            ]
        );
    }

    #[test]
    fn each_side_subscribes_its_own_topics_only() {
        let of = |principal: Principal| allowed(|filter| may_subscribe(&principal, filter));
        assert_eq!(of(server()), ["handover/v1/servers/alpha/inbox"]);
        assert_eq!(of(hub()), ["handover/v1/hubs/hub-1/canary"]);
    }

    #[test]
    fn wildcards_are_the_hubs_two() {
        for filter in [STATUS_FILTER, EVENTS_FILTER] {
            assert!(may_subscribe(&hub(), filter));
            assert!(!may_subscribe(&server(), filter));
        }
        for filter in [
            "#",
            "+/+/+/+/+",
            "$SYS/#",
            "$share/g/handover/v1/servers/alpha/inbox",
            "$share/g/handover/v1/servers/+/status",
            "handover/v1/servers/+/inbox",
            "handover/v1/servers/#",
            "handover/v1/servers/alpha/inbox/",
            "",
            "é",
        ] {
            assert!(!may_subscribe(&hub(), filter), "{filter}");
            assert!(!may_subscribe(&server(), filter), "{filter}");
        }
    }

    #[test]
    fn a_will_is_a_servers_own_status() {
        let of = |principal: Principal| allowed(|topic| may_leave_will(&principal, &topic.parse().unwrap()));
        assert_eq!(of(server()), ["handover/v1/servers/alpha/status"]);
        assert!(of(hub()).is_empty());
    }
}
