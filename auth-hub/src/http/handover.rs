//! `POST /handover`: a place for somebody who has logged in before: a move, a reconnect, another try.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use shared_msgs::clock::{Mono, UnixMs};
use shared_msgs::ids::AccountId;
use tracing::info;

use super::entry;
use super::extract::{Bearer, Body};
use super::fields::{Fields, Wishes};
use super::idempotency::{Asked, IdempotencyKey, Said, once};
use super::members;
use super::problem::{Kind, Problem};
use super::queue::QueueReply;
use super::routes::HAND_OVER;
use super::state::HttpState;
use crate::accounts::Account;
use crate::handover::{Answered, HandoverRequest, NoPlace, Placed};

/// Where to go, as the client reads it.
#[derive(Serialize)]
pub(super) struct HandoverReply<'a> {
    handover_id: String,
    server: Server<'a>,
    endpoints: Vec<Endpoint<'a>>,
    token: &'a str,
    expires_at_ms: u64,
    expires_in_ms: u64,
    confirmed: bool,
}

#[derive(Serialize)]
struct Server<'a> {
    id: &'a str,
    name: &'a str,
    region: &'a str,
}

#[derive(Serialize)]
struct Endpoint<'a> {
    transport: &'a str,
    address: &'a str,
}

impl<'a> HandoverReply<'a> {
    pub(super) fn new(placed: &'a Placed, now: UnixMs) -> Self {
        let endpoints = placed.endpoints.iter();
        Self {
            handover_id: placed.handover.to_string(),
            server: Server { id: placed.server.as_str(), name: &placed.server_name, region: &placed.region },
            endpoints: endpoints.map(|e| Endpoint { transport: &e.transport, address: &e.address }).collect(),
            token: placed.token.expose(),
            expires_at_ms: placed.expires_at.0,
            expires_in_ms: placed.expires_at.0.saturating_sub(now.0),
            confirmed: placed.confirmed,
        }
    }
}

pub(super) async fn hand_over(
    State(state): State<HttpState>,
    Bearer { account: id, .. }: Bearer,
    key: IdempotencyKey,
    Body(body): Body,
) -> Result<Response, Problem> {
    let started = state.mono();
    let mut fields = Fields::read(&body, members::HAND_OVER)?;
    let (wishes, build) = (fields.wishes()?, fields.build()?);
    entry::is_new_enough(&state, build.as_ref())?;
    // The token says who; whether they may still play is read every time.
    let account = state.parts().store.by_public(id).await?;
    let account = account.ok_or_else(|| Problem::new(Kind::AccessTokenInvalid))?;
    entry::may_play(&state, &account)?;
    let admit = {
        let state = state.clone();
        move || count(&state, id)
    };
    let asked = Asked { key, account: id, route: HAND_OVER, body: &body };
    let act = {
        let state = state.clone();
        async move {
            match place(&state, &account, wishes, started).await? {
                Answered::Placed(placed) => Said::new(&HandoverReply::new(&placed, state.unix())),
                Answered::Queued(view) => Said::queued(&QueueReply::new(&state, &account, &view)),
            }
        }
    };
    Ok(once(&state, asked, admit, act).await?.into_response())
}

/// Counts a handover. An account that asks too often does not reach the desk.
pub(super) fn count(state: &HttpState, account: AccountId) -> Result<(), Problem> {
    let counted = state.handovers().attempt(account, state.mono());
    counted.map_err(|retry_after| Problem::retry(Kind::TooManyAttempts, retry_after))
}

/// There may be room elsewhere.
const ONLY_LABELLED: &str = "only servers with all of `labels` were asked";

fn is_lack(why: NoPlace) -> bool {
    matches!(why, NoPlace::NoServerOnline | NoPlace::AllServersFull | NoPlace::ServerUnknown)
}

/// Finds a place, and tells the log.
pub(super) async fn place(
    state: &HttpState,
    account: &Account,
    Wishes { server, regions, latencies, labels, is_sticky, party }: Wishes,
    started: Mono,
) -> Result<Answered, Problem> {
    let name = account.display_name.to_string();
    let by_label = !labels.is_empty();
    let request =
        HandoverRequest { account: account.row, name, server, regions, latencies, labels, is_sticky, party };
    let result = match state.parts().desk.hand_over(request).await {
        Ok(Answered::Placed(placed)) => {
            let still = entry::may_still_play(state, account, placed.handover).await;
            still.map(|()| Answered::Placed(placed))
        }
        Err(refused) if by_label && is_lack(refused.why) => {
            Err(Problem::from(refused).with_detail(ONLY_LABELLED))
        }
        Err(refused) => Err(entry::refusal(state, account, refused).await),
        Ok(queued) => Ok(queued),
    };
    let ms = state.ms_since(started);
    match &result {
        Ok(Answered::Queued(_)) => {
            info!(target: "handover", account_id = %account.id, ms, "login.queued");
        }
        Ok(Answered::Placed(placed)) => info!(
            target: "handover",
            account_id = %account.id,
            handover_id = %placed.handover,
            server_id = %placed.server,
            confirmed = placed.confirmed,
            ms,
            "login.answered"
        ),
        Err(problem) => info!(
            target: "handover",
            account_id = %account.id,
            handover_id = problem.handover().map(tracing::field::display),
            code = problem.kind.code(),
            ms,
            "login.refused"
        ),
    }
    result
}
