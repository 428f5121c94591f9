//! `POST /auth/login`: the password check and, in the same round trip, the handover.
//!
//! The order is the point: the client's build, throttle, then argon2, then the account's state, then a place. Invariant: until the password was right,
//! an account that does not exist, and one that may not play, look and cost like any other.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use shared_msgs::clock::Mono;
use shared_msgs::limited;
use tracing::{Instrument as _, Span, debug, info, warn};

use super::entry;
use super::extract::{Body, FromAddress};
use super::fields::{Fields, Wishes};
use super::handover::{HandoverReply, count, place};
use super::idempotency::{Asked, IdempotencyKey, Said, once};
use super::members;
use super::problem::{Kind, Problem};
use super::queue::QueueReply;
use super::routes::LOG_IN;
use super::state::HttpState;
use crate::accounts::throttle::Verdict;
use crate::accounts::{Account, Build, LoginName, Password, Phc};
use crate::handover::{Answered, NoPlace};
use crate::sessions::AccessToken;

#[derive(Serialize)]
struct LoginReply<'a> {
    account_id: String,
    display_name: &'a str,
    access_token: &'a str,
    access_token_expires_in_s: u64,
    message: Option<&'a str>,
    handover: Option<HandoverReply<'a>>,
    queue: Option<QueueReply>,
}

/// What a client asks. No `Debug`.
pub(super) struct LoginRequest {
    /// `None` for a text that nobody can have registered.
    pub(super) login: Option<LoginName>,
    /// `None` for one that nobody can have set.
    pub(super) password: Option<Password>,
    /// `None` when a session is all they want.
    pub(super) wishes: Option<Wishes>,
    /// What asks, if it says so.
    pub(super) build: Option<Build>,
}

impl LoginRequest {
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        let mut fields = Fields::read(body, members::LOG_IN)?;
        let wants_place = fields.flag(&members::WANTS_PLACE);
        let (wishes, build) = (fields.wishes()?, fields.build()?);
        Ok(Self {
            login: fields.text(&members::LOGIN)?.parse().ok(),
            password: Password::attempt(fields.text(&members::PASSWORD)?).ok(),
            wishes: wants_place.then_some(wishes),
            build,
        })
    }
}

pub(super) async fn login(
    State(state): State<HttpState>,
    FromAddress(address): FromAddress,
    key: IdempotencyKey,
    Body(body): Body,
) -> Response {
    let result = match LoginRequest::read(&body) {
        Ok(request) => attempt(&state, address, request, key, &body).await,
        Err(problem) => Err(problem),
    };
    state.parts().metrics.login(result.as_ref().err().map_or("ok", |problem| problem.kind.code()));
    result.unwrap_or_else(|problem| {
        // With a handover id, it was logged where the handover failed.
        if problem.handover().is_none() {
            limited!(info, target: "handover", code = problem.kind.code(), "login.refused");
        }
        problem.into_response()
    })
}

async fn attempt(
    state: &HttpState,
    address: IpAddr,
    request: LoginRequest,
    key: IdempotencyKey,
    body: &[u8],
) -> Result<Response, Problem> {
    let started = state.mono();
    entry::is_new_enough(state, request.build.as_ref())?;
    let account = verify(state, address, request.login, request.password).await?;
    let id = account.id;
    info!(target: "handover", account_id = %id, "login.verified");
    entry::may_play(state, &account)?;

    let access = Arc::new(state.parts().access.issue(id, state.unix(), &*state.parts().rng));
    let wishes = request.wishes;
    let admit = {
        let (state, access, wants_place) = (state.clone(), Arc::clone(&access), wishes.is_some());
        move || if wants_place { count(&state, id).map_err(|it| it.with_access(access)) } else { Ok(()) }
    };
    // From here on the account is known: what the key stands for is told to nobody else.
    let asked = Asked { key, account: id, route: LOG_IN, body };
    let act = enter(state.clone(), account, access, wishes, started);
    Ok(once(state, asked, admit, act).await?.into_response())
}

/// The place, if one is wanted, and the answer.
async fn enter(
    state: HttpState,
    account: Account,
    access: Arc<AccessToken>,
    wishes: Option<Wishes>,
    started: Mono,
) -> Result<Said, Problem> {
    let placed = match wishes {
        None => None,
        Some(wishes) => {
            let placed = place(&state, &account, wishes, started).await;
            // Who was banned meanwhile has earned nothing, whoever found it out.
            Some(placed.map_err(|problem| match problem.kind {
                Kind::Banned | Kind::NoPlace(NoPlace::Banned) => problem,
                _ => problem.with_access(Arc::clone(&access)),
            })?)
        }
    };
    let (handover, queue) = match &placed {
        Some(Answered::Placed(placed)) => (Some(HandoverReply::new(placed, state.unix())), None),
        Some(Answered::Queued(view)) => (None, Some(QueueReply::new(&state, &account, view))),
        None => (None, None),
    };
    let rules = state.rules();
    let say = if queue.is_some() { Said::queued } else { Said::new };
    say(&LoginReply {
        account_id: account.id.to_string(),
        display_name: account.display_name.as_str(),
        access_token: access.expose(),
        access_token_expires_in_s: access.life.as_secs(),
        message: rules.message.as_deref(),
        handover,
        queue,
    })
}

/// The account, if this is its password.
async fn verify(
    state: &HttpState,
    address: IpAddr,
    login: Option<LoginName>,
    password: Option<Password>,
) -> Result<Account, Problem> {
    let wrong = || Problem::new(Kind::InvalidCredentials);
    // Impossible texts are refused for what they are; that tells nothing about any account.
    let (login, password) = login.zip(password).ok_or_else(wrong)?;
    let verdict = state.logins().attempt(&login, address, state.mono());
    let attempt = match verdict {
        Verdict::Allowed(attempt) => attempt,
        Verdict::Denied { retry_after } => return Err(Problem::retry(Kind::TooManyAttempts, retry_after)),
    };
    let account = state.parts().store.by_login(&login).await?;
    let phc = account.as_ref().map(|account| account.phc.clone());
    let verified = match state.parts().passwords.verify(password, phc).await {
        Ok(verified) => verified,
        Err(err) => {
            // Nothing was checked, so nothing was spent.
            state.logins().succeeded(attempt);
            return Err(err.into());
        }
    };
    let account = account.filter(|_| verified.ok).ok_or_else(wrong)?;
    state.logins().succeeded(attempt);
    if let Some(stronger) = verified.upgraded {
        upgrade(state, &account, stronger);
    }
    Ok(account)
}

/// Stores the stronger hash. Nobody waits for it, and a login does not fail for it: the next one tries again.
fn upgrade(state: &HttpState, account: &Account, stronger: Phc) {
    let (store, id) = (state.parts().store.clone(), account.id);
    let (row, old) = (account.row, account.phc.clone());
    let work = async move {
        match store.upgrade_phc(row, old, stronger).await {
            Ok(true) => info!(target: "http", account_id = %id, "password.upgraded"),
            Ok(false) => debug!(target: "http", account_id = %id, "password.changed_meanwhile"),
            Err(err) => warn!(target: "http", account_id = %id, %err, "password.upgrade_failed"),
        }
    };
    state.works().spawn(work.instrument(Span::current()));
}
