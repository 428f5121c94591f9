//! `/queue/{ticket}/events`: what changes of a ticket, as it changes.
//!
//! Knows how a ticket stands, and never its place. Invariants: a ticket has one stream, the newest; a stream tells nothing once its access token
//! is over, nor for long to an account that may not play; a desk that is busy ends none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use http_body_util::channel::{Channel, Sender};
use serde::Serialize;
use shared_msgs::clock::UnixMs;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::{QueueReply, look, may_play, owned, paced};
use crate::accounts::Account;
use crate::handover::NoPlace;
use crate::http::entry;
use crate::http::extract::Bearer;
use crate::http::problem::{Kind, Problem};
use crate::http::state::HttpState;
use crate::queue::{Standing, TicketId, TicketView};

/// Streams at one time; one more is refused at once, and its client polls instead.
const STREAMS_MAX: usize = 512;
/// A stream ends after this, or when its access token is over: its client opens another, and shows its token anew.
const STREAM_LIFE: Duration = Duration::from_mins(10);
/// Looks without news before a stream says that it lives.
const QUIET_MAX: u32 = 10;
/// Looks until it is asked again whether the account may play.
const LOOKS_PER_CHECK: u32 = 10;

/// All that are open.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Streams(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    opened: u64,
    by_ticket: BTreeMap<TicketId, (u64, CancellationToken)>,
}

/// One stream's place among them, until it is dropped.
#[derive(Debug)]
struct Place {
    streams: Streams,
    ticket: TicketId,
    number: u64,
    /// A newer one follows the same ticket.
    is_replaced: CancellationToken,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, Open> {
        // A plain table, consistent between calls.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new one, which ends the older one of its ticket; `None` when there are too many.
    fn open(&self, ticket: TicketId) -> Option<Place> {
        let mut open = self.lock();
        let older = open.by_ticket.remove(&ticket);
        if let Some((_, older)) = &older {
            older.cancel();
        }
        if open.by_ticket.len() >= STREAMS_MAX {
            return None;
        }
        open.opened += 1;
        let (number, is_replaced) = (open.opened, CancellationToken::new());
        open.by_ticket.insert(ticket, (number, is_replaced.clone()));
        drop(open);
        Some(Place { streams: self.clone(), ticket, number, is_replaced })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        if open.by_ticket.get(&self.ticket).is_some_and(|(number, _)| *number == self.number) {
            open.by_ticket.remove(&self.ticket);
        }
    }
}

pub(in crate::http) async fn events(
    State(state): State<HttpState>,
    Bearer { account: id, until }: Bearer,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let (account, ticket) = owned(&state, id, &text).await?;
    may_play(&state, &account, ticket).await?;
    let first = look(&state, &account, ticket).await?;
    let place = state.streams().open(ticket).ok_or_else(Problem::busy)?;
    let (sender, body) = Channel::<Bytes>::new(1);
    let tasks = state.parts().tasks.clone();
    let followed = Followed { state, account, text, ticket, until };
    let follow = async move {
        place.is_replaced.run_until_cancelled(followed.tell(first, sender)).await;
        drop(place);
    };
    tasks.spawn(follow.instrument(Span::current()));
    let kind = [(header::CONTENT_TYPE, "text/event-stream")];
    Ok((kind, Body::new(body)).into_response())
}

/// A ticket, and who follows it.
struct Followed {
    state: HttpState,
    account: Account,
    text: String,
    ticket: TicketId,
    until: UnixMs,
}

impl Followed {
    /// Tells the client what changes, until the ticket is no more, its owner may not play or has left, the hub stops or the stream's time
    /// is over.
    async fn tell(&self, first: TicketView, mut out: Sender<Bytes>) {
        let state = &self.state;
        let mut told: Option<TicketView> = None;
        let (mut quiet, mut looks) = (0, 0);
        let mut view = first;
        let mut pace = tokio::time::interval(state.deadlines().pace);
        let over = tokio::time::sleep(STREAM_LIFE);
        tokio::pin!(over);
        loop {
            let is_news = told.as_ref().is_none_or(|told| {
                (told.position, told.standing, told.wait) != (view.position, view.standing, view.wait)
            });
            quiet = if is_news { 0 } else { quiet + 1 };
            let said = if is_news {
                let name = if view.standing == Standing::Ready { "ready" } else { "position" };
                event(name, &QueueReply::of(self.text.clone(), &view))
            } else if quiet % QUIET_MAX == 0 {
                Bytes::from_static(b":\n\n")
            } else {
                Bytes::new()
            };
            // A client that does not read is closed by its connection, and this with it.
            if !said.is_empty() && out.send_data(said).await.is_err() {
                return;
            }
            told = Some(view);
            tokio::select! {
                biased;
                () = state.parts().stopping.cancelled() => return,
                _ = pace.tick() => {}
                () = &mut over => return,
            }
            if state.unix() >= self.until {
                return;
            }
            looks += 1;
            let shut_out = if looks % LOOKS_PER_CHECK == 0 { self.shut_out().await } else { None };
            let end = match (shut_out, look(state, &self.account, self.ticket).await) {
                (Some(problem), _) => problem,
                (None, Ok(now)) => {
                    view = now;
                    continue;
                }
                // It stands as it stood; the next look may see more.
                (None, Err(NoPlace::HubBusy)) => continue,
                (None, Err(why)) => why.into(),
            };
            let _ = out.send_data(event("gone", &end.document())).await;
            return;
        }
    }

    /// Why the account may not play any more. A store that does not say so is asked again.
    async fn shut_out(&self) -> Option<Problem> {
        match self.state.parts().store.by_public(self.account.id).await {
            Ok(Some(now)) => entry::may_play(&self.state, &now).err().map(paced),
            Ok(None) => Some(Problem::new(Kind::AccessTokenInvalid)),
            Err(_) => None,
        }
    }
}

fn event(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_and_one_of_a_ticket() {
        let streams = Streams::default();
        let ticket = |n: usize| TicketId(u128::try_from(n).unwrap().to_be_bytes());
        let mut places: Vec<_> = (0..STREAMS_MAX).filter_map(|n| streams.open(ticket(n))).collect();
        assert_eq!(places.len(), STREAMS_MAX);
        assert!(streams.open(ticket(STREAMS_MAX)).is_none());
        let newer = streams.open(ticket(0)).expect("the older one's place is free");
        assert!(places[0].is_replaced.is_cancelled() && !newer.is_replaced.is_cancelled());
        // The older one ends later, and takes nothing of the newer one's with it.
        drop(places.remove(0));
        assert!(streams.open(ticket(STREAMS_MAX)).is_none());
        drop(newer);
        assert!(streams.open(ticket(STREAMS_MAX)).is_some());
    }
}
