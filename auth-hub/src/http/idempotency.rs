//! `Idempotency-Key`: a request that is sent again is answered again, and not carried out again.
//!
//! Around what a route does, once it knows whose request it is; knows neither passwords nor places. The first request of a key runs on a task
//! of its own, so that it ends even if its client does not wait: it looks whether the answer is kept, claims the key on disk, acts, tells
//! whoever waits, and writes the answer down, sealed. A ticket's answer is not kept, only that there was one: the same request is carried out
//! again, as what was begun already, and another one is refused. Invariants: what is carried out was claimed on disk before; only a success is
//! kept, for [`KEPT_FOR`] by the hub's clock; whoever hears an answer has shown what the request itself asks for; without a key nothing
//! of this happens.
//!
//! The answer goes out before it is on disk. If the hub dies in between, the key stands claimed without an answer, and whether
//! anything came of it nobody knows. It counts as under way for as long as a handover may take, and then may be begun anew:
//! the newer handover replaces the older by its fence.

mod running;
mod seal;

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use shared_msgs::clock::UnixMs;
use shared_msgs::ids::AccountId;
use shared_msgs::limited;
use shared_msgs::limits::LOGIN_DEADLINE;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, warn};

use super::problem::{Kind, Problem};
use super::state::HttpState;
use crate::accounts::kept::{Digest, Kept};

pub(super) use running::Running;
use running::{Lead, Told, Turn};
pub use seal::AnswerKeys;
use seal::{ANSWER_BYTES_MAX, Opened};

/// The header.
pub(super) const HEADER: &str = "idempotency-key";
/// Its value's length.
pub(super) const KEY_CHARACTERS_MIN: usize = 16;
/// Its value's length.
pub(super) const KEY_CHARACTERS_MAX: usize = 64;
/// How long an answer is given again. Shorter than a token lives, so that one that was repeated is still good for something.
pub(super) const KEPT_FOR: Duration = Duration::from_mins(1);
/// How long a claim without an answer counts, and how long a request waits for the first of its key.
const UNDER_WAY: Duration = LOGIN_DEADLINE;

const _: () = assert!(KEPT_FOR.as_millis() > UNDER_WAY.as_millis());

/// How a request ended, for all who asked.
type Outcome = Result<Said, Problem>;

/// A success.
#[derive(Clone, Debug)]
pub(super) struct Said {
    status: StatusCode,
    body: Bytes,
    /// How old it is; none for one that is new.
    age: Option<Duration>,
}

impl Said {
    /// With this body.
    pub(super) fn new(reply: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(reply).map_err(|err| Problem::internal(&err))?;
        Ok(Self { status: StatusCode::OK, body: body.into(), age: None })
    }

    /// A ticket. What it says is not kept: an account has one, and who asks again gets the same, as it stands then.
    pub(super) fn queued(reply: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self { status: StatusCode::ACCEPTED, ..Self::new(reply)? })
    }
}

impl IntoResponse for Said {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.status, [(header::CONTENT_TYPE, json)], self.body).into_response();
        if let Some(age) = self.age {
            response.headers_mut().insert(header::AGE, age.as_secs().into());
        }
        response
    }
}

/// The key of a request, if it has one. No `Debug`: whoever has an account's password and its key gets its answers.
pub(super) struct IdempotencyKey(Option<String>);

impl FromRequestParts<HttpState> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &HttpState) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let key = value.to_str().ok().filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()));
        let key = key.filter(|key| (KEY_CHARACTERS_MIN..=KEY_CHARACTERS_MAX).contains(&key.len()));
        match (key, values.next()) {
            (Some(key), None) => Ok(Self(Some(key.to_owned()))),
            _ => Err(Problem::because(
                Kind::InvalidRequest,
                format!(
                    "Idempotency-Key has {KEY_CHARACTERS_MIN} to {KEY_CHARACTERS_MAX} visible ASCII characters and stands there once"
                ),
            )),
        }
    }
}

/// Whose request it is, where it goes, and what it says.
pub(super) struct Asked<'a> {
    pub(super) key: IdempotencyKey,
    pub(super) account: AccountId,
    pub(super) route: &'static str,
    pub(super) body: &'a [u8],
}

/// Clears away what has ended, at once and then by a timer, until `stop`: a token that was given again is not kept for longer than it is
/// good for because nobody else sends a key.
pub async fn prune_answers(state: HttpState, stop: CancellationToken) {
    let prune = async {
        let mut pace = tokio::time::interval(state.deadlines().prune);
        loop {
            pace.tick().await;
            let more = state.parts().store.prune_answers(state.unix()).await;
            match more {
                // At once; each round makes fewer.
                Ok(true) => pace.reset_immediately(),
                Ok(false) => {}
                Err(error) => warn!(target: "http", %error, "answers.not_pruned"),
            }
        }
    };
    stop.run_until_cancelled(prune).await;
}

/// Answers a request, by carrying it out if it must be. `admit` is asked before anything is claimed or done, and not for an answer
/// that is given again.
pub(super) async fn once(
    state: &HttpState,
    asked: Asked<'_>,
    admit: impl FnOnce() -> Result<(), Problem> + Send + 'static,
    act: impl Future<Output = Outcome> + Send + 'static,
) -> Outcome {
    let IdempotencyKey(Some(key)) = asked.key else {
        admit()?;
        return act.await;
    };
    let of = state.parts().answers.name(asked.account, asked.route, &key, asked.body);
    match state.running().turn(of) {
        Turn::Reused => Err(Problem::new(Kind::IdempotencyKeyReused)),
        Turn::Full => Err(Problem::busy()),
        Turn::Joined(told) => {
            let outcome = tokio::time::timeout(UNDER_WAY, end_of(told)).await;
            let under_way = |_| Problem::retry(Kind::RequestInProgress, Duration::from_secs(1));
            Ok(repeated(state, asked.account, outcome.map_err(under_way)??))
        }
        Turn::First(lead, told) => {
            let work = run(state.clone(), lead, asked.account, admit, act);
            state.works().spawn(work.instrument(Span::current()));
            end_of(told).await
        }
    }
}

async fn end_of(mut told: Told) -> Outcome {
    match told.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(Problem::new(Kind::Internal))),
        // It panicked: the hook has told what about.
        Err(_gone) => Err(Problem::new(Kind::Internal)),
    }
}

fn repeated(state: &HttpState, account: AccountId, said: Said) -> Said {
    limited!(info, target: "http", account_id = %account, "answer.repeated");
    state.parts().metrics.answer_repeated();
    said
}

/// The first of a key.
async fn run(
    state: HttpState,
    lead: Lead,
    account: AccountId,
    admit: impl FnOnce() -> Result<(), Problem> + Send,
    act: impl Future<Output = Outcome> + Send,
) {
    match begin(&state, &lead, account, admit).await {
        Ok(None) => {}
        Ok(Some(said)) => return lead.tell(Ok(said)),
        Err(problem) => return lead.tell(Err(problem)),
    }
    let outcome = act.await;
    let store = &state.parts().store;
    let written = match &outcome {
        Ok(said) if said.status == StatusCode::OK && said.body.len() <= ANSWER_BYTES_MAX => {
            let now = state.unix();
            match state.parts().answers.seal(lead.of, now, &said.body, &*state.parts().rng) {
                Some(sealed) => store.submit_answer(lead.of.name, sealed, now + KEPT_FOR),
                None => store.submit_release(lead.of.name),
            }
        }
        Ok(said) if said.status == StatusCode::ACCEPTED => {
            store.submit_answer(lead.of.name, Vec::new(), state.unix() + KEPT_FOR)
        }
        // A refusal is not kept: who asks again is to be looked at again.
        Ok(_) | Err(_) => store.submit_release(lead.of.name),
    };
    // In the queue it is safe from a stop; on disk nobody waits for it, but the next of its key.
    lead.tell(outcome);
    let written = match written {
        Ok(pending) => pending.committed().await,
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        warn!(target: "http", account_id = %account, %error, "answer.not_kept");
    }
}

/// What the key stands for: an answer, or nothing, and then it is claimed.
async fn begin(
    state: &HttpState,
    lead: &Lead,
    account: AccountId,
    admit: impl FnOnce() -> Result<(), Problem> + Send,
) -> Result<Option<Said>, Problem> {
    let (store, of) = (&state.parts().store, lead.of);
    let now = state.unix();
    let mut has_begun = false;
    let kept = store.kept(&of.name).await?;
    match standing(kept, &of.request, now) {
        Standing::Reused => return Err(Problem::new(Kind::IdempotencyKeyReused)),
        Standing::UnderWay(left) => return Err(Problem::retry(Kind::RequestInProgress, left)),
        Standing::Answered(sealed) => {
            // One of another fleet key is of no use to its client either: the access token in it is not accepted.
            if let Some(said) = state.parts().answers.open(of, &sealed).and_then(|opened| aged(&opened, now))
            {
                return Ok(Some(repeated(state, account, said)));
            }
        }
        Standing::Queued => has_begun = true,
        Standing::Free => {}
    }
    if !has_begun {
        admit()?;
    }
    if let Err(error) = store.claim(of.name, of.request, now, now + KEPT_FOR).await {
        // Whether it came to be or not, nothing is done for it.
        if let Ok(release) = store.submit_release(of.name) {
            let _ = release.committed().await;
        }
        return Err(error.into());
    }
    Ok(None)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Free,
    Answered(Vec<u8>),
    /// Its answer was a ticket.
    Queued,
    /// For so long, at most.
    UnderWay(Duration),
    Reused,
}

/// What a row of the table means now. One from the future was written before the clock was set back: it counts no more.
fn standing(kept: Option<Kept>, request: &Digest, now: UnixMs) -> Standing {
    let Some(Kept { request: other, claimed, ends, sealed }) = kept else { return Standing::Free };
    let until = if sealed.is_some() { ends } else { claimed + UNDER_WAY };
    let left = until.0.saturating_sub(now.0);
    let longest = if sealed.is_some() { KEPT_FOR } else { UNDER_WAY };
    if left == 0 || Duration::from_millis(left) > longest {
        return Standing::Free;
    }
    match sealed {
        _ if other != *request => Standing::Reused,
        Some(sealed) if sealed.is_empty() => Standing::Queued,
        Some(sealed) => Standing::Answered(sealed),
        None => Standing::UnderWay(Duration::from_millis(left)),
    }
}

/// An answer as it reads now: what it says is left of something's life is less by its age.
fn aged(opened: &Opened, now: UnixMs) -> Option<Said> {
    let age = Duration::from_millis(now.0.saturating_sub(opened.answered.0));
    let mut reply: Value = serde_json::from_slice(&opened.body).ok()?;
    let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    for (path, by) in [
        ("/expires_in_ms", age_ms),
        ("/handover/expires_in_ms", age_ms),
        // Rounded up: what is left is never said to be more than it is.
        ("/access_token_expires_in_s", age_ms.div_ceil(1000)),
    ] {
        if let Some(left) = reply.pointer_mut(path) {
            *left = left.as_u64()?.saturating_sub(by).into();
        }
    }
    let body = serde_json::to_vec(&reply).ok()?.into();
    Some(Said { status: StatusCode::OK, body, age: Some(age) })
}

#[cfg(test)]
mod tests;
