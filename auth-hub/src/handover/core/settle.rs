//! Judging what comes back: verdicts on grants, silence, lost servers; and when the client may be answered.

use std::time::Duration;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, HandoverId, PlayerId, ServerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::Verdict;

use super::{Alarm, Attempt, Core, Effect, Handover, Stage};
use crate::handover::ends::Debt;
use crate::handover::journal::step;
use crate::handover::{NoPlace, Placed};

impl Core {
    pub(super) fn attempt(&self, id: &HandoverId) -> Option<&Attempt> {
        match &self.running.get(id)?.stage {
            Stage::Granting(attempt) => Some(attempt),
            _ => None,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message, taken apart once")]
    pub(super) fn on_verdict(
        &mut self,
        server: &ServerId,
        boot: BootId,
        id: HandoverId,
        hash: TokenHash,
        player: PlayerId,
        verdict: Verdict,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let is_ours = |grant_boot: BootId, of: &ServerId| grant_boot == boot && of == server;
        let open = self.ledger.get_mut(&hash).filter(|open| is_ours(open.boot, &open.server));
        let was_open = open.map(|open| now.mono.since(open.sent_at));
        if was_open.is_some() {
            self.ledger.remove(&hash);
            self.timers.cancel(&Alarm::Grant(hash));
        }
        let is_current = self.attempt(&id).is_some_and(|a| a.hash == hash && is_ours(a.boot, &a.server));
        match verdict {
            Verdict::Held | Verdict::Redeemed => {
                if let Some(after) = was_open {
                    step!(info, self, now, id, Some(server), None, "grant.accepted");
                    fx.push(Effect::GrantRoundTrip {
                        ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
                    });
                }
                if let (true, Some(Stage::Granting(attempt))) =
                    (is_current, self.running.get_mut(&id).map(|h| &mut h.stage))
                {
                    attempt.yes_at.get_or_insert(now.mono);
                }
                if is_current {
                    self.tell_of_yes(id, now, fx);
                }
                let of_current = self.running.get(&id).filter(|_| is_current).map(|h| h.request.account);
                if let Some(account) = of_current.or_else(|| self.people.owner(player)) {
                    self.keep_single(account, now, fx);
                }
                self.advance(id, now, fx);
            }
            Verdict::Refused(code) => {
                self.ends.on_hash_closed(&(server.clone(), player), &hash);
                let is_no = was_open.is_some() || is_current;
                // Or the end of a place that was held: nobody came, or it was taken back.
                let was_held = self.journal.handover_of(&hash) == Some(id);
                if is_no || (was_held && !self.journal.ends_with(id, "grant.refused")) {
                    step!(info, self, now, id, Some(server), Some(code.as_str()), "grant.refused");
                }
                self.on_prepared_refused(hash, code, now, fx);
                if is_no {
                    fx.push(Effect::GrantRefused);
                }
                if is_current {
                    let is_odd = !matches!(
                        code,
                        Code::ServerFull | Code::ServerDraining | Code::ServerStarting | Code::ServerClosed
                    );
                    if let Some(handover) = self.running.get_mut(&id) {
                        handover.was_refused_oddly |= is_odd;
                    }
                    self.try_next(id, now, fx);
                }
            }
        }
    }

    /// Marks the attempt's server as tried and looks for another.
    fn try_next(&mut self, id: HandoverId, now: Now, fx: &mut Vec<Effect>) {
        let Some(handover) = self.running.get_mut(&id) else { return };
        if let Stage::Granting(attempt) = &handover.stage {
            handover.tried.insert(attempt.server.clone());
        }
        self.start_over(id, now, fx);
    }

    /// Looks for a place again, the attempt's server among the others.
    pub(super) fn start_over(&mut self, id: HandoverId, now: Now, fx: &mut Vec<Effect>) {
        self.set_stage(id, Stage::InLine);
        self.arm(id, now);
        self.place(id, now, fx);
    }

    /// Takes the attempt's grant back: the client was never told its token.
    pub(super) fn cancel_attempt(&mut self, id: HandoverId, now: Now, fx: &mut Vec<Effect>) {
        let Some(handover) = self.running.get(&id) else { return };
        let Stage::Granting(attempt) = &handover.stage else { return };
        let (hash, until) = (attempt.hash, attempt.sent_at + limits::CLOSED_LIFE);
        let debt = Debt {
            key: (attempt.server.clone(), attempt.player),
            boot: attempt.boot,
            account: handover.request.account,
            below: shared_msgs::ids::Fence::ZERO,
            hashes: vec![(hash, until)],
            reason: Code::Cancelled,
        };
        step!(info, self, now, id, Some(&debt.key.0), None, "grant.cancelled");
        self.ledger.remove(&hash);
        self.timers.cancel(&Alarm::Grant(hash));
        let key = debt.key.clone();
        if self.ends.owe(debt) {
            self.send_end(&key, false, now, fx);
        }
    }

    /// A will or a lease end: until the client is answered it counts as a no, even after a yes.
    pub(super) fn leave_server(&mut self, server: &ServerId, now: Now, fx: &mut Vec<Effect>) {
        for id in self.attempts_at(server) {
            self.cancel_attempt(id, now, fx);
            self.try_next(id, now, fx);
        }
        self.leave_prepared(server, now, fx);
    }

    /// Whatever lived on the old boot is gone, and its grants with it.
    pub(super) fn on_new_boot(&mut self, server: &ServerId, now: Now, fx: &mut Vec<Effect>) {
        let Some(boot) = self.fleet.get(server).map(|view| view.boot) else { return };
        for hash in self.ledger.of_server(server) {
            if self.ledger.get_mut(&hash).is_some_and(|open| open.boot != boot) {
                self.ledger.remove(&hash);
                self.timers.cancel(&Alarm::Grant(hash));
            }
        }
        for key in self.ends.on_new_boot(server, boot) {
            self.timers.cancel(&Alarm::End(key));
        }
        for id in self.attempts_at(server) {
            if self.attempt(&id).is_some_and(|a| a.boot != boot) {
                self.try_next(id, now, fx);
            }
        }
        self.on_new_boot_of_prepared(server, now, fx);
        self.advance_all_waiting_for_ends(now, fx);
    }

    fn attempts_at(&self, server: &ServerId) -> Vec<HandoverId> {
        let ids = self.running.keys().copied();
        ids.filter(|id| self.attempt(id).is_some_and(|a| a.server == *server)).collect()
    }

    pub(super) fn advance_all_waiting_for_ends(&mut self, now: Now, fx: &mut Vec<Effect>) {
        let ids = self.running.keys().copied();
        let waiting: Vec<HandoverId> =
            ids.filter(|id| self.attempt(id).is_some_and(|a| a.yes_at.is_some())).collect();
        for id in waiting {
            self.advance(id, now, fx);
        }
    }

    /// Whether the client may be told of a place only once its server has confirmed it: something would be lost for it.
    fn needs_yes(&self, handover: &Handover, attempt: &Attempt) -> bool {
        handover.carries.is_some()
            || handover.ticket.is_some()
            || self.has_older(handover.request.account, attempt.fence)
    }

    /// When the attempt must be looked at again if nothing happens before.
    fn next_look(&self, id: HandoverId) -> Option<Mono> {
        let handover = self.running.get(&id)?;
        let attempt = match &handover.stage {
            Stage::Granting(attempt) => attempt,
            Stage::Holding => return Some(self.hold_until(handover).min(handover.deadline)),
            Stage::InLine | Stage::FindingPlayer | Stage::Pressed => return Some(handover.deadline),
        };
        let at = match attempt.yes_at {
            Some(yes_at) => yes_at + limits::LEASE,
            None if self.needs_yes(handover, attempt) => attempt.sent_at + limits::LEASE,
            None => attempt.sent_at + limits::CONFIRM_WAIT,
        };
        Some(at.min(handover.deadline))
    }

    pub(super) fn arm(&mut self, id: HandoverId, now: Now) {
        if let Some(at) = self.next_look(id) {
            // Never for now: whatever could be done now has been done, and a tick must come to its end.
            self.timers.set(Alarm::Handover(id), at.max(now.mono + Duration::from_millis(1)));
        }
    }

    /// Answers the client if it may be answered, gives up on a silent server, or waits on.
    pub(super) fn advance(&mut self, id: HandoverId, now: Now, fx: &mut Vec<Effect>) {
        let Some(handover) = self.running.get(&id) else { return };
        let is_late = now.mono >= handover.deadline;
        let Stage::Granting(attempt) = &handover.stage else {
            if is_late {
                let is_pressed = matches!(handover.stage, Stage::Pressed);
                let why = if is_pressed { NoPlace::HubBusy } else { NoPlace::TimedOut };
                self.answer(id, Err(why), now, fx);
            } else if matches!(handover.stage, Stage::Pressed) {
                self.place(id, now, fx);
            } else if matches!(handover.stage, Stage::Holding) {
                self.holding.remove(&id);
                self.place(id, now, fx);
            } else {
                self.arm(id, now);
            }
            return;
        };
        let account = handover.request.account;
        let may_answer = match attempt.yes_at {
            Some(yes_at) => {
                is_late || now.mono >= yes_at + limits::LEASE || !self.waits_for_ends(account, now)
            }
            None => {
                now.mono >= attempt.sent_at + limits::CONFIRM_WAIT
                    && !is_late
                    && !self.needs_yes(handover, attempt)
            }
        };
        if may_answer {
            let placed = Placed {
                handover: id,
                server: attempt.server.clone(),
                server_name: attempt.placed.server_name.clone(),
                region: attempt.placed.region.clone(),
                endpoints: attempt.placed.endpoints.clone(),
                token: attempt.token.clone(),
                expires_at: attempt.placed.expires_at,
                confirmed: attempt.yes_at.is_some(),
            };
            self.answer(id, Ok(placed), now, fx);
        } else if is_late {
            self.cancel_attempt(id, now, fx);
            self.answer(id, Err(NoPlace::TimedOut), now, fx);
        } else if attempt.yes_at.is_none() && now.mono >= attempt.sent_at + limits::LEASE {
            self.cancel_attempt(id, now, fx);
            self.try_next(id, now, fx);
        } else {
            self.arm(id, now);
        }
    }
}
