//! Moves whose session is not to move any more: a newer login has taken over, or an operator has ended it.
//!
//! Invariant: the server that asked hears so before it hears of the session's end, or it would take the end for the move's.

use shared_msgs::clock::Now;
use shared_msgs::codes::Code;
use shared_msgs::ids::{Fence, HandoverId};

use super::moves::Known;
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
        let known = self.moves.known.iter();
        let waiting = known.filter_map(|(key, known)| match known {
            Known::LookingUp { asked, account: of, .. } if *of == account && asked.fence < below => {
                Some((key.clone(), asked.player))
            }
            _ => None,
        });
        for (key, player) in waiting.collect::<Vec<_>>() {
            self.answer_move(&key, player, Some(code), now, fx);
        }
    }
}
