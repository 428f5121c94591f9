//! What each packet of an established connection means: what goes on to the router, what we answer ourselves, and what
//! ends the connection. A state machine without I/O; `now` comes in, packets come out.
//!
//! Invariants: a packet is routed only if the principal may send it and the router survives it; PUBACKs reach the router
//! exactly in the order in which it sent the messages; each list is bounded by what was asked and not yet answered.

use std::collections::VecDeque;

use bytes::BytesMut;
use rumqttd::protocol::{
    Filter, Packet, PingResp, PubAck, Publish, QoS, SubAck, Subscribe, SubscribeReasonCode, UnsubAck,
    Unsubscribe,
};
use shared_msgs::limits::PAYLOAD_BYTES_MAX;
use shared_msgs::topics::Topic;
use tokio::time::Instant;

use super::acl;
use super::auth::Principal;
use super::codec;
use super::stats::CloseReason;

/// Publishes of a client that the router has yet to acknowledge; beyond it we stop reading, not closing.
const UNACKED_IN_MAX: usize = 256;
/// Filters in one SUBSCRIBE or UNSUBSCRIBE. The hub needs three.
const FILTERS_MAX: usize = 16;
/// Filters refused on one connection. Each is a line in the log, which a client in a loop must not fill.
const REFUSED_MAX: usize = 64;

/// Why the connection ends here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) reason: CloseReason,
    /// What exactly, for the log.
    pub(crate) detail: &'static str,
    /// The topic, if it was one of ours and merely not the client's.
    pub(crate) topic: Option<Topic>,
}

/// What one packet of the client leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// For the router.
    pub(crate) route: Option<Packet>,
    /// For the client, from us.
    pub(crate) reply: Option<Packet>,
    /// Filters that were refused.
    pub(crate) refused: Vec<String>,
}

/// A SUBSCRIBE that the router has yet to answer: which of its filters got there.
struct PendingSuback {
    packet_id: u16,
    routed: Vec<bool>,
}

/// One connection's state.
pub(crate) struct Exchange {
    principal: Principal,
    /// At most as many as the principal may have.
    subscribed: Vec<String>,
    subacks: VecDeque<PendingSuback>,
    /// Sent to the client and not acknowledged; the router stops at 100.
    unacked_out: VecDeque<(u16, Instant)>,
    unacked_in: usize,
    refused: usize,
}

fn violation(detail: &'static str) -> Close {
    Close { reason: CloseReason::ProtocolViolation, detail, topic: None }
}

fn denied(detail: &'static str) -> Close {
    Close { reason: CloseReason::PublishDenied, detail, topic: None }
}

impl Exchange {
    pub(crate) fn new(principal: Principal) -> Self {
        Self {
            principal,
            subscribed: Vec::new(),
            subacks: VecDeque::new(),
            unacked_out: VecDeque::new(),
            unacked_in: 0,
            refused: 0,
        }
    }

    /// May more be read, or does the router still owe too many answers?
    pub(crate) fn may_read(&self) -> bool {
        self.unacked_in < UNACKED_IN_MAX && self.subacks.len() < FILTERS_MAX
    }

    /// When the message was sent that waits longest for the client's acknowledgement.
    pub(crate) fn unacked_since(&self) -> Option<Instant> {
        self.unacked_out.front().map(|(_, since)| *since)
    }

    /// A packet from the client.
    pub(crate) fn client_sent(&mut self, packet: Packet) -> Result<Step, Close> {
        match packet {
            Packet::Publish(publish, _) => self.publish(&publish),
            Packet::PubAck(ack, _) => self.acknowledge(ack),
            Packet::Subscribe(subscribe, _) => self.subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe, _) => self.unsubscribe(unsubscribe),
            Packet::PingReq(_) => Ok(Step { reply: Some(Packet::PingResp(PingResp)), ..Step::default() }),
            Packet::Disconnect(..) => {
                Err(Close { reason: CloseReason::Disconnected, detail: "DISCONNECT", topic: None })
            }
            Packet::PubRec(..) | Packet::PubRel(..) | Packet::PubComp(..) => {
                Err(violation("QoS 2 handshake"))
            }
            Packet::Connect(..) => Err(violation("second CONNECT")),
            Packet::ConnAck(..) | Packet::SubAck(..) | Packet::UnsubAck(..) | Packet::PingResp(_) => {
                Err(violation("a broker's packet"))
            }
        }
    }

    fn publish(&mut self, publish: &Publish) -> Result<Step, Close> {
        if publish.retain {
            return Err(denied("retained"));
        }
        if publish.payload.is_empty() {
            return Err(denied("empty payload"));
        }
        if publish.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(denied("payload too large"));
        }
        let topic = std::str::from_utf8(&publish.topic).map_err(|_| denied("topic not UTF-8"))?;
        let topic: Topic = topic.parse().map_err(|_| denied("not a topic of ours"))?;
        if !acl::may_publish(&self.principal, &topic) {
            return Err(Close { topic: Some(topic), ..denied("topic not the client's") });
        }
        let codec::Detached { qos, publish } = codec::detach(publish);
        match qos {
            0 => {}
            1 => self.unacked_in += 1,
            _ => return Err(denied("QoS 2")),
        }
        Ok(Step { route: Some(Packet::Publish(publish, None)), ..Step::default() })
    }

    fn acknowledge(&mut self, ack: PubAck) -> Result<Step, Close> {
        match self.unacked_out.pop_front() {
            Some((expected, _)) if expected == ack.pkid => {
                Ok(Step { route: Some(Packet::PubAck(ack, None)), ..Step::default() })
            }
            Some(_) => Err(violation("PUBACK out of order")),
            None => Err(violation("stray PUBACK")),
        }
    }

    fn subscribe(&mut self, subscribe: Subscribe) -> Result<Step, Close> {
        let Subscribe { pkid, filters } = subscribe;
        if pkid == 0 || filters.len() > FILTERS_MAX {
            return Err(violation("bad SUBSCRIBE"));
        }
        let may = |filter: &Filter| {
            filter.qos != QoS::ExactlyOnce && acl::may_subscribe(&self.principal, &filter.path)
        };
        let routed: Vec<bool> = filters.iter().map(may).collect();
        let (mut granted, mut refused) = (Vec::new(), Vec::new());
        for (filter, routed) in filters.into_iter().zip(&routed) {
            if *routed { granted.push(filter) } else { refused.push(filter.path) }
        }
        self.refused += refused.len();
        if self.refused > REFUSED_MAX {
            return Err(violation("too many refused filters"));
        }
        if granted.is_empty() {
            let return_codes = vec![SubscribeReasonCode::Failure; routed.len()];
            let reply = Some(Packet::SubAck(SubAck { pkid, return_codes }, None));
            return Ok(Step { reply, refused, route: None });
        }
        for filter in &granted {
            if !self.subscribed.contains(&filter.path) {
                self.subscribed.push(filter.path.clone());
            }
        }
        self.subacks.push_back(PendingSuback { packet_id: pkid, routed });
        let route = Some(Packet::Subscribe(Subscribe { pkid, filters: granted }, None));
        Ok(Step { route, refused, reply: None })
    }

    /// Answered by us: the router answers once per filter, and not at all for one it does not know.
    fn unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<Step, Close> {
        let Unsubscribe { pkid, mut filters } = unsubscribe;
        if pkid == 0 || filters.is_empty() || filters.len() > FILTERS_MAX {
            return Err(violation("bad UNSUBSCRIBE"));
        }
        filters.retain(|filter| {
            let known = self.subscribed.iter().position(|known| known == filter);
            known.map(|at| self.subscribed.swap_remove(at)).is_some()
        });
        let route = (!filters.is_empty()).then_some(Packet::Unsubscribe(Unsubscribe { pkid, filters }, None));
        let reply = Some(Packet::UnsubAck(UnsubAck { pkid, reasons: Vec::new() }, None));
        Ok(Step { route, reply, refused: Vec::new() })
    }

    /// A packet from the router: appends to `out` what the client gets of it.
    pub(crate) fn router_sent(
        &mut self,
        packet: Packet,
        now: Instant,
        out: &mut BytesMut,
    ) -> Result<(), Close> {
        let written = match packet {
            Packet::Publish(publish, _) => codec::write_publish(publish, out)
                .map(|wants_ack| self.unacked_out.extend(wants_ack.map(|packet_id| (packet_id, now)))),
            Packet::PubAck(ack, _) => {
                self.unacked_in = self.unacked_in.saturating_sub(1);
                codec::write(Packet::PubAck(ack, None), out)
            }
            Packet::SubAck(ack, _) => codec::write(Packet::SubAck(self.complete(ack), None), out),
            Packet::UnsubAck(..)
            | Packet::ConnAck(..)
            | Packet::PingResp(_)
            | Packet::Connect(..)
            | Packet::PubRec(..)
            | Packet::PubRel(..)
            | Packet::PubComp(..)
            | Packet::PingReq(_)
            | Packet::Subscribe(..)
            | Packet::Unsubscribe(..) => Ok(()),
            Packet::Disconnect(..) => {
                return Err(Close {
                    reason: CloseReason::RouterGone,
                    detail: "router's DISCONNECT",
                    topic: None,
                });
            }
        };
        written.map_err(|_| violation("a packet we cannot encode"))
    }

    /// Puts the router's return codes where its filters stood in the client's SUBSCRIBE.
    fn complete(&mut self, ack: SubAck) -> SubAck {
        let Some(PendingSuback { packet_id, routed }) = self.subacks.pop_front() else { return ack };
        let mut codes = ack.return_codes.into_iter();
        let mut code =
            |routed: bool| routed.then(|| codes.next()).flatten().unwrap_or(SubscribeReasonCode::Failure);
        SubAck { pkid: packet_id, return_codes: routed.into_iter().map(&mut code).collect() }
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
