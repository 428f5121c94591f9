//! Who gets in: not the banned, not old clients, and during maintenance only whom operators allow.
//!
//! Asked by logins and handovers alike, by the hub's clock. Invariants: why an account may not play is told only to who has shown its
//! password or an access token; whoever is banned before their place is told to them does not get it, and the place is taken back.

use shared_msgs::codes::Code;
use shared_msgs::ids::HandoverId;
use tracing::warn;

use super::problem::{Kind, Problem};
use super::state::HttpState;
use crate::accounts::{Account, AccountState, Build};
use crate::handover::{NoPlace, Refused};

/// Refuses clients that are too old. Tells nothing of any account, so it is asked first.
pub(super) fn is_new_enough(state: &HttpState, build: Option<&Build>) -> Result<(), Problem> {
    match state.rules().too_old(build) {
        None => Ok(()),
        Some(least) => Err(Problem::because(Kind::ClientTooOld, format!("the least build is {least}"))),
    }
}

/// Refuses accounts that are shut out, and all but a few during maintenance. Asked only of those who have proved to own it.
pub(super) fn may_play(state: &HttpState, account: &Account) -> Result<(), Problem> {
    is_not_shut_out(state, account)?;
    match state.rules().maintenance_for(&account.login) {
        None => Ok(()),
        Some(maintenance) => Err(Problem::maintenance(&maintenance.message)),
    }
}

fn is_not_shut_out(state: &HttpState, account: &Account) -> Result<(), Problem> {
    if let Some(ban) = account.ban_at(state.unix()) {
        return Err(Problem::banned(ban));
    }
    match account.state {
        AccountState::Active => Ok(()),
        AccountState::Disabled | AccountState::Banned => Err(Problem::new(Kind::Banned)),
    }
}

/// What the desk's refusal is to the client. Of a ban it knows no more than that there is one: why, and until when, is read here.
pub(super) async fn refusal(state: &HttpState, account: &Account, refused: Refused) -> Problem {
    let handover = refused.handover;
    if refused.why != NoPlace::Banned {
        return refused.into();
    }
    match state.parts().store.by_public(account.id).await {
        Ok(Some(now)) => is_not_shut_out(state, &now).err().map(|problem| problem.of_handover(handover)),
        Ok(None) | Err(_) => None,
    }
    .unwrap_or_else(|| refused.into())
}

/// Asked again when there is a place. A ban is stored first, and then all that the account has is ended: who was banned in between is found
/// here if the end came before the place, and the place is found by the end if the ban came after this.
pub(super) async fn may_still_play(
    state: &HttpState,
    account: &Account,
    handover: HandoverId,
) -> Result<(), Problem> {
    let shut_out = match state.parts().store.by_public(account.id).await {
        Ok(Some(now)) => is_not_shut_out(state, &now),
        Ok(None) => Err(Problem::new(Kind::Banned)),
        // Nobody gets in unasked.
        Err(error) => return Err(Problem::from(error).of_handover(handover)),
    };
    let Err(problem) = shut_out else { return Ok(()) };
    // The token was told to nobody: what fails here keeps a slot for its life, and lets nobody in.
    if let Err(error) = state.parts().operations.end(account.row, Code::Banned).await {
        warn!(target: "handover", account_id = %account.id, handover_id = %handover, %error, "place.not_taken_back");
    }
    Err(problem.of_handover(handover))
}
