//! Moves whose session is not to move any more: a newer login has taken over, or an operator has ended it.
//!
//! Invariant: the server that asked hears so before it hears of the session's end, or it would take the end for the move's.

use shared_msgs::clock::Now;
use shared_msgs::codes::Code;
use shared_msgs::ids::{Fence, HandoverId};

use super::{Core, Effect};
use crate::accounts::AccountRow;
use crate::handover::NoPlace;

impl Core {
    /// A newer login has taken over. Moves of the session before it that had no turn yet are refused now: a server that hears of its
    /// session's end first takes that for the move's.
    pub(super) fn refuse_outrun(
        &mut self,
        account: AccountRow,
        newest: Fence,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let behind = self.lines.get(&account).into_iter().flatten().skip(1).copied();
        let is_outrun = |id: &HandoverId| {
            let carried = self.running.get(id).and_then(|handover| handover.carries.as_ref());
            carried.is_some_and(|carried| !carried.is_told && carried.fence < newest)
        };
        for id in behind.filter(is_outrun).collect::<Vec<_>>() {
            self.refuse_as_superseded(id, now, fx);
        }
        self.bar_moves(account, newest, Code::Superseded, now, fx);
    }

    pub(super) fn refuse_as_superseded(&mut self, id: HandoverId, now: Now, fx: &mut Vec<Effect>) {
        if let Some(carried) = self.running.get_mut(&id).and_then(|handover| handover.carries.as_mut()) {
            carried.refusal = Some(Code::Superseded);
        }
        self.answer(id, Err(NoPlace::HubBusy), now, fx);
    }

    /// What the account has below a fence ends: a move of it that waits for the store starts no more.
    pub(super) fn bar_moves(
        &mut self,
        account: AccountRow,
        below: Fence,
        code: Code,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let of_account = self
            .moves
            .looking_up()
            .iter()
            .filter(|(_, looking_up)| looking_up.account == account && looking_up.asked.fence < below);
        for key in of_account.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            let Some(looking_up) = self.moves.looked_up(&key) else { continue };
            self.moves.over(&key.server, looking_up.asked.luggage.len());
            self.answer_move(&key, looking_up.asked.player, Some(code), now, fx);
        }
    }
}
