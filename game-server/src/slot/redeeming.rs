//! A request to be let in, on its way.
//!
//! Owns the wait for the gate's answer. Invariant: it is answered once, or abandoned when it is dropped.

use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use shared_msgs::codes::Code;
use tokio::sync::mpsc;

use super::{Answer, Departure, Hello, Place, PlayerSlot, Refusal};
use crate::gate::Ticket;

/// How a request stands.
#[derive(Debug)]
pub enum Progress {
    /// Nothing new.
    Waiting,
    /// The token is genuine, the grant has not come yet: said once.
    Delayed {
        /// The answer comes within this.
        within: Duration,
    },
    /// The answer, once; after that only [`Progress::Waiting`].
    Done(Result<PlayerSlot, Refusal>),
}

/// A client's request to be let in, or to be let back. Dropping it abandons the request; a session that was let back by then is over.
///
/// Also a future of the answer.
#[must_use = "dropping it abandons the request"]
pub struct Redeeming {
    ticket: Ticket,
    answers: mpsc::Receiver<Answer>,
    /// `None` when the gate's task never got the request, and so need not hear of its end.
    departures: Option<mpsc::UnboundedSender<Departure>>,
    /// Taken with the answer.
    hello: Option<Hello>,
}

impl Redeeming {
    /// `hello` without its secret, which went to the gate.
    pub(crate) fn new(
        ticket: Ticket,
        hello: Hello,
        answers: mpsc::Receiver<Answer>,
        departures: Option<mpsc::UnboundedSender<Departure>>,
    ) -> Self {
        Self { ticket, answers, departures, hello: Some(hello) }
    }

    /// What is new, without waiting: once a tick of a game loop.
    pub fn poll(&mut self) -> Progress {
        match self.answers.try_recv() {
            Ok(answer) => self.progress_of(Some(answer)),
            Err(mpsc::error::TryRecvError::Empty) => Progress::Waiting,
            Err(mpsc::error::TryRecvError::Disconnected) => self.progress_of(None),
        }
    }

    /// Waits for what is new. Never [`Progress::Waiting`] before the answer. Cancel-safe.
    pub async fn progress(&mut self) -> Progress {
        let answer = self.answers.recv().await;
        self.progress_of(answer)
    }

    fn progress_of(&mut self, answer: Option<Answer>) -> Progress {
        let done = match answer {
            Some(Answer::Delayed { within }) => return Progress::Delayed { within },
            Some(Answer::Done(done)) => done,
            None => Err(Code::ServerClosed.into()),
        };
        let Some(Hello { build, app_data, .. }) = self.hello.take() else { return Progress::Waiting };
        let slot = |mut place: Box<Place>| {
            place.take();
            PlayerSlot { place, build, app_data, kept: AtomicBool::new(false) }
        };
        Progress::Done(done.map(slot))
    }
}

impl Future for Redeeming {
    type Output = Result<PlayerSlot, Refusal>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let answer = ready!(self.answers.poll_recv(cx));
            match self.progress_of(answer) {
                Progress::Delayed { .. } => {}
                Progress::Done(done) => return Poll::Ready(done),
                // Polled again after its end.
                Progress::Waiting => return Poll::Pending,
            }
        }
    }
}

impl Drop for Redeeming {
    fn drop(&mut self) {
        if self.hello.is_some()
            && let Some(departures) = &self.departures
        {
            let _ = departures.send(Departure::Abandoned(self.ticket));
        }
    }
}
