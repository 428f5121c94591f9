//! Sessions that the game wants moved to another server.
//!
//! Owns what the hub has not answered yet, and asks again until it has. Few are asked at a time: luggage is big, and what else hub and
//! servers have to say must not wait behind it. Invariants: a session has at most one move under way; each gets exactly one answer, by
//! its deadline or its session's end; luggage that waits is bounded in all.

use std::collections::BTreeMap;
use std::time::Duration;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::codes::Code;
use shared_msgs::ids::{Fence, PlayerId};
use shared_msgs::limits;
use shared_msgs::messages::ServerMessage;
use shared_msgs::moves::{Luggage, Move, MoveAnswer, MoveTarget};

use super::deadlines::Due;
use super::types::{Effect, SlotId};
use super::{Gate, note};

/// The hub gives up this much before we do, so that its last word arrives.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Asked and not answered, at a time; the others wait for their turn.
pub(super) const IN_FLIGHT_MAX: usize = 32;

/// Not answered yet.
struct Asked {
    request: u64,
    player: PlayerId,
    fence: Fence,
    target: MoveTarget,
    luggage: Luggage,
    deadline: Mono,
    /// When to look at it again, and how long to wait after that.
    next: Mono,
    pause: Duration,
}

/// All that is under way.
#[derive(Default)]
pub(super) struct Moves {
    asked: BTreeMap<SlotId, Asked>,
    /// Those of them that were not sent yet, by request.
    waiting: BTreeMap<u64, SlotId>,
    /// Those the hub has said yes to, whose end is on its way, and for how long it may be.
    promised: BTreeMap<SlotId, Mono>,
    made: u64,
}

impl Moves {
    fn luggage_bytes(&self) -> usize {
        self.asked.values().map(|asked| asked.luggage.len()).sum()
    }

    fn is_sent(&self, asked: &Asked) -> bool {
        !self.waiting.contains_key(&asked.request)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.asked.len()
    }

    #[cfg(test)]
    pub(super) fn promised(&self) -> impl Iterator<Item = &SlotId> {
        self.promised.keys()
    }
}

impl Gate {
    pub(super) fn on_move(&mut self, slot: SlotId, target: MoveTarget, luggage: Luggage, now: Now) {
        // One that is under way gets its own answer.
        if self.moves.asked.contains_key(&slot) {
            return;
        }
        let refused = |code| Effect::Moved { slot, answer: Err(code) };
        let Some(live) = self.ledger.session(slot) else { return self.out.push(refused(Code::ServerClosed)) };
        if let Some(kicked) = live.kicked {
            return self.out.push(refused(kicked.reason));
        }
        if self.moves.luggage_bytes() + luggage.len() > self.config.luggage_bytes_max {
            return self.out.push(refused(Code::ServerOverloaded));
        }
        let (player, fence, handover) = (live.player, live.fence, live.handover);
        let request = self.moves.made;
        self.moves.made += 1;
        note!(self, info, "move.asked", handover_id = %handover, player_id = %player, request, luggage_bytes = luggage.len());
        let deadline = now.mono + limits::LOGIN_DEADLINE;
        let pause = limits::RESEND_FIRST;
        let asked = Asked { request, player, fence, target, luggage, deadline, next: deadline, pause };
        self.moves.asked.insert(slot, asked);
        self.moves.waiting.insert(request, slot);
        self.deadlines.at(deadline, Due::AskToMove(slot));
    }

    /// Sends those whose turn it is.
    pub(super) fn start_moves(&mut self, now: Now) {
        while self.moves.asked.len() - self.moves.waiting.len() < IN_FLIGHT_MAX {
            let Some((_, slot)) = self.moves.waiting.pop_first() else { return };
            if let Some(asked) = self.moves.asked.get(&slot) {
                self.deadlines.cancel(asked.next, Due::AskToMove(slot));
            }
            self.ask_to_move(slot, now);
        }
    }

    /// Sends what is not answered, again and again; at its deadline the session stays.
    pub(super) fn ask_to_move(&mut self, slot: SlotId, now: Now) {
        let stamp = self.stamp(false);
        let Some(asked) = self.moves.asked.get_mut(&slot) else { return };
        let left = asked.deadline.since(now.mono);
        if left.is_zero() {
            return self.end_move(slot, Err(Code::HandoverTimedOut));
        }
        let within = left.saturating_sub(ANSWER_TIME);
        let message = (!within.is_zero()).then(|| {
            ServerMessage::Move(Box::new(Move {
                stamp,
                request: asked.request,
                player: asked.player,
                fence: asked.fence,
                target: asked.target.clone(),
                luggage: asked.luggage.clone(),
                within_ms: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
            }))
        });
        asked.next = (now.mono + asked.pause).min(asked.deadline);
        asked.pause = (asked.pause * 2).min(limits::RESEND_MAX);
        let next = asked.next;
        self.deadlines.at(next, Due::AskToMove(slot));
        if let Some(message) = message {
            self.send(message);
        }
    }

    /// A session goes on in a slot of another number, and its move with it.
    pub(super) fn follow_move(&mut self, from: SlotId, to: SlotId) {
        if let Some(until) = self.moves.promised.remove(&from) {
            self.moves.promised.insert(to, until);
        }
        let Some(asked) = self.moves.asked.remove(&from) else { return };
        self.deadlines.cancel(asked.next, Due::AskToMove(from));
        self.deadlines.at(asked.next, Due::AskToMove(to));
        if let Some(slot) = self.moves.waiting.get_mut(&asked.request) {
            *slot = to;
        }
        self.moves.asked.insert(to, asked);
    }

    /// The hub can be heard again: what was sent may be lost.
    pub(super) fn ask_again(&mut self, now: Now) {
        let sent = self.moves.asked.iter().filter(|(_, asked)| self.moves.is_sent(asked));
        let slots: Vec<_> = sent.map(|(slot, asked)| (*slot, asked.next)).collect();
        for (slot, next) in slots {
            self.deadlines.cancel(next, Due::AskToMove(slot));
            self.ask_to_move(slot, now);
        }
    }

    pub(super) fn on_move_answer(&mut self, answer: MoveAnswer, now: Now) {
        let MoveAnswer { request, player, code } = answer;
        let ours = |asked: &Asked| asked.request == request && asked.player == player;
        let slot = self.moves.asked.iter().find(|(_, asked)| ours(asked)).map(|(slot, _)| *slot);
        if let Some(slot) = slot {
            self.end_move(slot, code.map_or(Ok(()), Err));
            if code.is_none() {
                self.moves.promised.insert(slot, now.mono + limits::TOKEN_LIFE);
            }
        }
    }

    /// What a session is told that is to end. A hub that was restarted knows of no move: the place that the one before it got looks to it
    /// like that of a newer login. Nobody was told the place's token, so the client must not be told to stay away. Where there is a newer
    /// login, the hub refuses the move before it ends the session.
    pub(super) fn reason_to_end(&self, slot: SlotId, reason: Code, now: Now) -> Code {
        let is_asked = self.moves.asked.get(&slot).is_some_and(|asked| self.moves.is_sent(asked));
        let is_promised = self.moves.promised.get(&slot).is_some_and(|until| now.mono < *until);
        if reason == Code::Superseded && (is_asked || is_promised) { Code::Moved } else { reason }
    }

    /// The session has been told to end: if it moves, the hub's yes was lost on the way.
    pub(super) fn end_move_of_kicked(&mut self, slot: SlotId, reason: Code) {
        self.end_move(slot, if reason == Code::Moved { Ok(()) } else { Err(reason) });
    }

    /// Answers the game, once.
    pub(super) fn end_move(&mut self, slot: SlotId, answer: Result<(), Code>) {
        self.moves.promised.remove(&slot);
        let Some(asked) = self.moves.asked.remove(&slot) else { return };
        self.moves.waiting.remove(&asked.request);
        self.deadlines.cancel(asked.next, Due::AskToMove(slot));
        let said = answer.err().map_or("yes", Code::as_str);
        note!(self, info, "move.answered", player_id = %asked.player, request = asked.request, answer = said);
        self.out.push(Effect::Moved { slot, answer });
    }
}
