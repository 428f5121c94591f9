//! `/queue/{ticket}`: how a ticket stands, its place when its turn has come, and leaving; `stream` follows one.
//!
//! A ticket is of use to its owner alone: the access token must be of the account that the sealed ticket names. Invariant: a place is
//! given by `GET /queue/{ticket}` and by nothing else, so that none is lost in a stream.

mod stream;

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use shared_msgs::ids::AccountId;
use shared_msgs::limits;
use tracing::info;

use super::entry;
use super::extract::Bearer;
use super::handover::HandoverReply;
use super::pressure::Held;
use super::problem::{Kind, Problem};
use super::state::{HttpState, REQUEST_DEADLINE, STORE_TIME};
use crate::accounts::Account;
use crate::handover::{Answered, NoPlace, TicketAsk};
use crate::queue::{PRESENT_FOR, Standing, TicketId, TicketView};

pub(super) use stream::{Streams, events};

/// The query parameter of a poll.
pub(super) const WAIT_MS: &str = "wait_ms";
/// Longest wait of a poll: the handover that may follow still fits the request.
pub(super) const WAIT_MS_MAX: u64 = 5_000;
/// When the owner of a ticket is to ask again during maintenance: as seldom as the last in line.
const MAINTENANCE_PAUSE: Duration = Duration::from_secs(10);
const _: () = assert!(
    MAINTENANCE_PAUSE.as_millis() * 2 < PRESENT_FOR.as_millis(),
    "who asks as told keeps the place, even if one question is lost"
);
const _: () = assert!(
    REQUEST_DEADLINE.as_millis()
        >= limits::LOGIN_DEADLINE.as_millis() + WAIT_MS_MAX as u128 + STORE_TIME.as_millis(),
    "a long poll, a slow handover and a slow store fit one request"
);

/// How a ticket stands, as the client reads it.
#[derive(Debug, Serialize, PartialEq)]
pub(super) struct QueueReply {
    ticket: String,
    state: &'static str,
    position: u32,
    estimated_wait: Option<Wait>,
    party: Option<Gathered>,
    ask_again_ms: u64,
}

#[derive(Debug, Serialize, PartialEq)]
struct Wait {
    low_s: u64,
    high_s: u64,
}

#[derive(Debug, Serialize, PartialEq)]
struct Gathered {
    here: u8,
    size: u8,
}

impl QueueReply {
    pub(super) fn new(state: &HttpState, account: &Account, view: &TicketView) -> Self {
        let parts = state.parts();
        Self::of(parts.seal.seal(account.id, view.ticket, view.issued, &*parts.rng), view)
    }

    fn of(ticket: String, view: &TicketView) -> Self {
        let (state, party) = match view.standing {
            Standing::Waiting => ("waiting", None),
            Standing::Ready => ("ready", None),
            Standing::Gathering { size, here } => ("gathering", Some(Gathered { here, size })),
        };
        Self {
            ticket,
            state,
            position: view.position,
            estimated_wait: view.wait.map(|wait| Wait { low_s: wait.low_s, high_s: wait.high_s }),
            party,
            ask_again_ms: u64::try_from(view.ask_again.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What a handover, or a ticket, came to.
pub(super) fn reply(state: &HttpState, account: &Account, answered: &Answered) -> Response {
    match answered {
        Answered::Placed(placed) => Json(HandoverReply::new(placed, state.unix())).into_response(),
        Answered::Queued(view) => {
            (StatusCode::ACCEPTED, Json(QueueReply::new(state, account, view))).into_response()
        }
    }
}

/// The account that asks, and its ticket. What is no ticket of its own is none at all.
async fn owned(state: &HttpState, id: AccountId, text: &str) -> Result<(Account, TicketId), Problem> {
    let face = state.parts().seal.open(text).filter(|face| face.account == id);
    let account = state.parts().store.by_public(id).await?;
    let account = account.ok_or_else(|| Problem::new(Kind::AccessTokenInvalid))?;
    let face = face.ok_or_else(|| Problem::new(Kind::NoPlace(NoPlace::TicketUnknown)))?;
    Ok((account, face.ticket))
}

/// How a ticket stands; its owner is still here.
async fn look(state: &HttpState, account: &Account, ticket: TicketId) -> Result<TicketView, NoPlace> {
    state.parts().desk.look_at(account.row, ticket).await
}

/// Whether a ticket's owner may play now. Whom maintenance stops is heard by the desk all the same: who keeps asking keeps the place.
async fn may_play(state: &HttpState, account: &Account, ticket: TicketId) -> Result<(), Problem> {
    let Err(refused) = entry::may_play(state, account) else { return Ok(()) };
    if refused.kind == Kind::Maintenance {
        // A desk that is busy hears the next question.
        let _ = look(state, account, ticket).await;
    }
    Err(paced(refused))
}

/// Whoever waits comes back in time to keep the place.
fn paced(refused: Problem) -> Problem {
    if refused.kind == Kind::Maintenance { refused.after(MAINTENANCE_PAUSE) } else { refused }
}

/// How long a poll may wait; 0 when it does not say.
fn wait(query: Option<&str>) -> Result<Duration, Problem> {
    let mut said = query.unwrap_or_default().split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == WAIT_MS).then_some(value)
    });
    let Some(value) = said.next() else { return Ok(Duration::ZERO) };
    let ms = value.parse().ok().filter(|ms| *ms <= WAIT_MS_MAX && said.next().is_none());
    ms.map(Duration::from_millis).ok_or_else(|| {
        Problem::because(Kind::InvalidRequest, format!("`{WAIT_MS}` is 0 to {WAIT_MS_MAX}, once"))
    })
}

pub(super) async fn poll(
    State(state): State<HttpState>,
    bearer: Bearer,
    Path(ticket): Path<String>,
    RawQuery(query): RawQuery,
    Extension(held): Extension<Held>,
) -> Result<Response, Problem> {
    let wait = wait(query.as_deref())?;
    let (account, ticket) = owned(&state, bearer.account, &ticket).await?;
    may_play(&state, &account, ticket).await?;
    // Who waits takes nothing from who acts: the waiting have a bound of their own, and where it is full nobody is refused for it.
    let room = if wait.is_zero() { None } else { state.waits().try_acquire().ok() };
    let wait = if room.is_some() { wait } else { Duration::ZERO };
    if room.is_some() {
        held.give_up();
    }
    let ask = |wait| {
        let name = account.display_name.to_string();
        state.parts().desk.ask_ticket(TicketAsk { account: account.row, name, ticket, wait })
    };
    let answered = tokio::select! {
        biased;
        // A hub that stops keeps nobody waiting: the ticket is as good at the next one.
        () = state.parts().stopping.cancelled(), if !wait.is_zero() => ask(Duration::ZERO).await,
        answered = ask(wait) => answered,
    };
    let answered = match answered {
        Ok(answered) => answered,
        Err(refused) => return Err(entry::refusal(&state, &account, refused).await),
    };
    if let Answered::Placed(placed) = &answered {
        entry::may_still_play(&state, &account, placed.handover).await?;
        info!(target: "handover", account_id = %account.id, handover_id = %placed.handover, server_id = %placed.server, "ticket.used");
    }
    Ok(reply(&state, &account, &answered))
}

pub(super) async fn leave(
    State(state): State<HttpState>,
    bearer: Bearer,
    Path(ticket): Path<String>,
) -> Result<StatusCode, Problem> {
    let (account, ticket) = owned(&state, bearer.account, &ticket).await?;
    state.parts().desk.leave_queue(account.row, ticket).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_strictly_and_other_parameters_are_ignored() {
        let ms = |query| wait(query).ok().map(|wait| wait.as_millis());
        for (query, read) in [
            (None, Some(0)),
            (Some(""), Some(0)),
            (Some("a=b&wait_ms=5000"), Some(5_000)),
            (Some("wait_ms=5001"), None),
            (Some("wait_ms=1&wait_ms=1"), None),
            (Some("wait_ms"), None),
            (Some("wait_ms=-1"), None),
            (Some("xwait_ms=7"), Some(0)),
        ] {
            assert_eq!(ms(query), read, "{query:?}");
        }
    }
}
