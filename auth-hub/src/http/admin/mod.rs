//! The admin API: what operators tell a running hub to do.
//!
//! Owns the door to it (a key), how an action is written down, and how accounts are named; one file per resource beside it. Invariants:
//! without the key no route is reached, and no body is read; an action that cannot be written down first is not done; one that has begun
//! runs to its end, whether or not the operator waits for it.
//!
//! Log events: `admin.key_refused`, `admin.done`, `admin.outcome_lost`, `admin.half_done` (target `admin`).

pub(super) mod audit;
pub(super) mod members;
pub(super) mod players;
pub(super) mod rules;
pub(super) mod servers;

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use shared_msgs::ids::AccountId;
use shared_msgs::limited;
use tracing::{Instrument as _, Span, info, warn};

use super::edge::peer_of;
use super::extract::bearer;
use super::fields::Fields;
use super::problem::{Kind, Problem};
use super::state::HttpState;
use crate::accounts::audit::Deed;
use crate::accounts::{Account, LoginName};
use crate::handover::operations::{OperationError, Report};

/// The desk answers at once, or is in trouble.
const OPERATION_TIME: Duration = Duration::from_secs(10);

/// Around everything of the admin API. The right key is always let in: nobody can shut operators out by showing wrong ones.
pub(super) async fn require_key(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    let parts = state.parts();
    if bearer(request.headers()).is_some_and(|shown| parts.admin_key.is(shown)) {
        return next.run(request).await;
    }
    let Some(peer) = peer_of(&request) else { return Problem::new(Kind::Internal).into_response() };
    limited!(warn, target: "admin", peer = %peer.client, "admin.key_refused");
    let counted = state.wrong_keys().attempt(peer.client, state.mono());
    match counted {
        Ok(()) => Problem::new(Kind::AdminKeyInvalid).into_response(),
        Err(after) => Problem::retry(Kind::TooManyAttempts, after).into_response(),
    }
}

/// What was done, and what the audit says of it.
pub(super) struct Done<T> {
    reply: T,
    outcome: String,
}

impl<T> Done<T> {
    fn well(reply: T) -> Self {
        Self { reply, outcome: "done".to_owned() }
    }
}

/// Who does what, why: members that each action has.
fn deed(fields: &mut Fields, action: &'static str, target: impl Into<String>) -> Result<Deed, Problem> {
    let operator = fields.needed_line(&members::OPERATOR)?;
    let reason = fields.needed_line(&members::WHY)?;
    Ok(Deed { operator, action, target: target.into(), reason })
}

/// Writes an action down, does it, and writes down what came of it.
async fn perform<T: Send + 'static>(
    state: &HttpState,
    deed: Deed,
    work: impl Future<Output = Result<Done<T>, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let owned = state.clone();
    let whole = async move {
        let state = owned;
        let store = &state.parts().store;
        let (operator, action, target) = (deed.operator.clone(), deed.action, deed.target.clone());
        let id = store.audit_begin(deed, state.unix()).await?;
        let result = work.await;
        let outcome = match &result {
            Ok(done) => done.outcome.clone(),
            Err(problem) => format!("failed: {}", problem.kind.code()),
        };
        info!(target: "admin", operator, action, on = target, outcome, "admin.done");
        if let Err(error) = store.audit_end(id, outcome).await {
            warn!(target: "admin", audit_id = id, action, %error, "admin.outcome_lost");
        }
        result.map(|done| done.reply)
    };
    // The handler's own future goes with its client; this does not.
    let task = state.works().spawn(whole.instrument(Span::current()));
    task.await.unwrap_or_else(|error| Err(Problem::internal(&error)))
}

/// Asks the desk, and does not wait for ever.
async fn ask<T>(report: Report<'_, T>) -> Result<T, OperationError> {
    tokio::time::timeout(OPERATION_TIME, report).await.unwrap_or(Err(OperationError::Busy))
}

/// The account of a login name or an account id.
async fn account(state: &HttpState, player: &str) -> Result<Account, Problem> {
    let store = &state.parts().store;
    let found = match (player.parse::<AccountId>(), player.parse::<LoginName>()) {
        (Ok(id), _) => store.by_public(id).await?,
        (_, Ok(login)) => store.by_login(&login).await?,
        _ => None,
    };
    found.ok_or_else(|| {
        Problem::because(Kind::AccountUnknown, "name a login name or an account id; `find` looks for one")
    })
}
