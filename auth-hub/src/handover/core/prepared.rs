//! Places of players that move, kept until their clients come for them.
//!
//! One per account, with the luggage: a place that its server loses is looked for again elsewhere while the wish allows it. Invariants: a
//! place is given to one client, once; its token has been told to nobody before; none outlives its token.

use std::collections::BTreeSet;
use std::time::Duration;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, Fence, HandoverId, PlayerId, ServerId, TokenHash};
use shared_msgs::limits;

use super::moves::Carried;
use super::single::Taken;
use super::{Alarm, Attempt, Core, Effect};
use crate::accounts::AccountRow;
use crate::fleet::Freshness;
use crate::handover::ends::Debt;
use crate::handover::journal::step;
use crate::handover::{HandoverRequest, Placed};

/// A token that is told by then is still good on a server whose clock is ahead.
const PLACE_LIFE: Duration =
    limits::TOKEN_LIFE.checked_sub(limits::CLOCK_SKEW_MAX).expect("a token outlives a skew");

/// A place that waits for its client.
#[derive(Debug)]
pub(super) struct Prepared {
    request: HandoverRequest,
    placed: Placed,
    boot: BootId,
    player: PlayerId,
    hash: TokenHash,
    pub(super) fence: Fence,
    until: Mono,
    pub(super) carried: Carried,
}

impl Prepared {
    pub(super) fn new(
        request: HandoverRequest,
        placed: Placed,
        attempt: &Attempt,
        mut carried: Carried,
    ) -> Self {
        let until = attempt.sent_at + PLACE_LIFE;
        let until = carried.until.map_or(until, |first| first.min(until));
        carried.until = Some(until);
        let &Attempt { boot, player, hash, fence, .. } = attempt;
        Self { request, placed, boot, player, hash, fence, until, carried }
    }
}

impl Core {
    pub(super) fn keep_prepared(&mut self, prepared: Prepared, now: Now) {
        let account = prepared.request.account;
        self.timers.set(Alarm::Prepared(account), prepared.until.max(now.mono + Duration::from_millis(1)));
        if let Some(older) = self.moves.prepared.insert(account, prepared) {
            self.lose(older.placed.handover, &older.carried, Code::Superseded, now);
        }
    }

    fn remove_prepared(&mut self, account: AccountRow) -> Option<Prepared> {
        self.timers.cancel(&Alarm::Prepared(account));
        self.moves.prepared.remove(&account)
    }

    /// The prepared place of this client's account, if that is where it may go. It is the client's from then on.
    pub(super) fn take_prepared(&mut self, id: HandoverId, now: Now, fx: &mut Vec<Effect>) -> Option<Placed> {
        let request = &self.running.get(&id)?.request;
        let account = request.account;
        let prepared = self.moves.prepared.get(&account)?;
        let server = &prepared.placed.server;
        if request.server.as_ref().is_some_and(|wanted| wanted != server) {
            // It wishes to go elsewhere; the place is lost to whatever place it gets, not before.
            return None;
        }
        let view = self.fleet.get(server).filter(|view| view.boot == prepared.boot);
        let is_good = view.is_some_and(|view| view.freshness(now) == Freshness::Fresh);
        let prepared = self.remove_prepared(account)?;
        if is_good && now.mono < prepared.until {
            let (of, at) = (prepared.placed.handover, &prepared.placed.server);
            step!(info, self, now, of, Some(at), None, "move.taken");
            let Carried { key, luggage, .. } = &prepared.carried;
            self.moves.over(&key.server, luggage.len());
            return Some(prepared.placed);
        }
        self.cancel_prepared(&prepared, now, fx);
        self.lose(prepared.placed.handover, &prepared.carried, Code::ServerClosed, now);
        None
    }

    /// Its time is over: nobody has come.
    pub(super) fn expire_prepared(&mut self, account: AccountRow, now: Now, fx: &mut Vec<Effect>) {
        if let Some(prepared) = self.remove_prepared(account) {
            self.cancel_prepared(&prepared, now, fx);
            self.lose(prepared.placed.handover, &prepared.carried, Code::TokenExpired, now);
        }
    }

    /// Its token, for an operator's end: the entry may not be in our view yet.
    pub(super) fn prepared_token(&self, account: AccountRow) -> Option<Taken> {
        let prepared = self.moves.prepared.get(&account)?;
        let key = (prepared.placed.server.clone(), prepared.player);
        Some(Taken { key, boot: prepared.boot, hash: prepared.hash })
    }

    /// Something newer of the account counts now, or an operator's end.
    pub(super) fn outdate_prepared(&mut self, account: AccountRow, newest: Fence, reason: Code, now: Now) {
        if self.moves.prepared.get(&account).is_some_and(|prepared| prepared.fence < newest)
            && let Some(prepared) = self.remove_prepared(account)
        {
            self.lose(prepared.placed.handover, &prepared.carried, reason, now);
        }
    }

    /// Its server has taken the place back.
    pub(super) fn on_prepared_refused(
        &mut self,
        hash: TokenHash,
        code: Code,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let account = self.moves.prepared.iter().find(|(_, p)| p.hash == hash).map(|(account, _)| *account);
        let Some(prepared) = account.and_then(|account| self.remove_prepared(account)) else { return };
        if matches!(code, Code::ServerDraining | Code::ServerClosed | Code::ServerStarting) {
            let tried = [prepared.placed.server.clone()];
            self.replace(prepared, &tried, now, fx);
        } else {
            self.lose(prepared.placed.handover, &prepared.carried, code, now);
        }
    }

    /// A server's connection or lease is gone. Where only this server will do, its place is given up with the lease alone.
    pub(super) fn leave_prepared(&mut self, server: &ServerId, now: Now, fx: &mut Vec<Effect>) {
        let is_lost = self.fleet.get(server).is_none_or(|view| view.freshness(now) == Freshness::Lost);
        for account in self.prepared_at(server) {
            let has_choice = self.moves.prepared.get(&account).is_some_and(|p| p.request.server.is_none());
            if !has_choice && !is_lost {
                continue;
            }
            if let Some(prepared) = self.remove_prepared(account) {
                self.cancel_prepared(&prepared, now, fx);
                self.replace(prepared, std::slice::from_ref(server), now, fx);
            }
        }
    }

    /// Another run of the server holds nothing of the old one; the luggage is here.
    pub(super) fn on_new_boot_of_prepared(&mut self, server: &ServerId, now: Now, fx: &mut Vec<Effect>) {
        let boot = self.fleet.get(server).map(|view| view.boot);
        for account in self.prepared_at(server) {
            if self.moves.prepared.get(&account).is_some_and(|p| Some(p.boot) != boot)
                && let Some(prepared) = self.remove_prepared(account)
            {
                self.replace(prepared, &[], now, fx);
            }
        }
    }

    fn prepared_at(&self, server: &ServerId) -> Vec<AccountRow> {
        let at = self.moves.prepared.iter().filter(|(_, prepared)| prepared.placed.server == *server);
        at.map(|(account, _)| *account).collect()
    }

    /// Looks for another place with the same luggage.
    fn replace(&mut self, prepared: Prepared, tried: &[ServerId], now: Now, fx: &mut Vec<Effect>) {
        let Prepared { request, carried, until, .. } = prepared;
        let origin = carried.key.server.clone();
        let tried: BTreeSet<ServerId> = tried.iter().cloned().chain([origin]).collect();
        let deadline = until.min(now.mono + limits::LOGIN_DEADLINE);
        self.join_line(request, carried, tried, deadline, now, fx);
    }

    /// Frees the slot: nobody was told the token.
    fn cancel_prepared(&mut self, prepared: &Prepared, now: Now, fx: &mut Vec<Effect>) {
        let key = (prepared.placed.server.clone(), prepared.player);
        let debt = Debt {
            key: key.clone(),
            boot: prepared.boot,
            account: prepared.request.account,
            below: Fence::ZERO,
            hashes: vec![(prepared.hash, now.mono + limits::CLOSED_LIFE)],
            reason: Code::Cancelled,
        };
        step!(info, self, now, prepared.placed.handover, Some(&key.0), None, "grant.cancelled");
        if self.ends.owe(debt) {
            self.send_end(&key, false, now, fx);
        }
    }
}
