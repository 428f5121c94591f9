//! The desk as operators see it: their wishes go through the same queue as logins, so that neither can slip past the other.
//!
//! Invariant: a request that waits for the store is ended with the rest of its account.

use std::time::Duration;

use shared_msgs::codes::Code;
use shared_msgs::ids::{HandoverId, ServerId};
use tokio::sync::oneshot;
use tracing::warn;

use super::{Ask, Desk, DeskTask};
use crate::accounts::{AccountRow, PlayerRow};
use crate::handover::NoPlace;
use crate::handover::core::{Effect, Input};
use crate::handover::operations::{
    EndReport, OperationError, Operations, Report, ServerReport, Story, Whereabouts,
};

/// Where an answer goes.
type To<T> = oneshot::Sender<Result<T, OperationError>>;
/// An account's ids, as the store has them.
type Players = Vec<PlayerRow>;

/// One wish, and where its answer goes.
pub(super) enum Wish {
    Servers(To<Vec<ServerReport>>),
    Find(AccountRow, Players, To<Vec<Whereabouts>>),
    End(AccountRow, Players, Code, To<EndReport>),
    Drain(ServerId, Option<Duration>, To<()>),
    Undrain(ServerId, To<()>),
    Revoke(ServerId, u32, To<()>),
    Broadcast(String, Option<ServerId>, To<usize>),
    Explain(AccountRow, To<Vec<Story>>),
}

impl Desk {
    /// Puts a wish into the queue; refuses at once when that is full.
    async fn wish<T>(&self, wish: impl FnOnce(To<T>) -> Wish) -> Result<T, OperationError> {
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(Ask::Wish(wish(answer))).map_err(|_| OperationError::Busy)?;
        answered.await.unwrap_or(Err(OperationError::Busy))
    }

    async fn players(&self, account: AccountRow) -> Result<Players, OperationError> {
        self.store.players_of(account).await.map_err(|error| {
            warn!(target: "handover", %error, "store.failed");
            OperationError::Store
        })
    }
}

impl Operations for Desk {
    fn servers(&self) -> Report<'_, Vec<ServerReport>> {
        Box::pin(self.wish(Wish::Servers))
    }

    fn find(&self, account: AccountRow) -> Report<'_, Vec<Whereabouts>> {
        Box::pin(async move {
            let players = self.players(account).await?;
            self.wish(|to| Wish::Find(account, players, to)).await
        })
    }

    fn end(&self, account: AccountRow, reason: Code) -> Report<'_, EndReport> {
        Box::pin(async move {
            let players = self.players(account).await?;
            self.wish(|to| Wish::End(account, players, reason, to)).await
        })
    }

    fn drain(&self, server: ServerId, within: Option<Duration>) -> Report<'_, ()> {
        Box::pin(self.wish(move |to| Wish::Drain(server, within, to)))
    }

    fn undrain(&self, server: ServerId) -> Report<'_, ()> {
        Box::pin(self.wish(move |to| Wish::Undrain(server, to)))
    }

    fn revoke(&self, server: ServerId, lowest_generation: u32) -> Report<'_, ()> {
        Box::pin(self.wish(move |to| Wish::Revoke(server, lowest_generation, to)))
    }

    fn broadcast(&self, text: String, server: Option<ServerId>) -> Report<'_, usize> {
        Box::pin(self.wish(move |to| Wish::Broadcast(text, server, to)))
    }

    fn explain(&self, account: AccountRow) -> Report<'_, Vec<Story>> {
        Box::pin(self.wish(move |to| Wish::Explain(account, to)))
    }
}

impl DeskTask {
    /// Whoever asked may have left: the wish is carried out all the same.
    pub(super) fn on_wish(&mut self, wish: Wish) {
        let now = self.parts.clock.now();
        match wish {
            Wish::Servers(to) => drop(to.send(Ok(self.core.servers(now)))),
            Wish::Find(account, players, to) => {
                let _ = to.send(Ok(self.core.find(account, &players, now)));
            }
            Wish::End(account, players, reason, to) => {
                self.core.learn(players);
                let (report, effects) = self.core.end(account, reason, now);
                let report = report.map(|report| {
                    let refused = report.refused + self.end_lookups(account, reason);
                    EndReport { refused, ..report }
                });
                self.finish(report, effects, to);
            }
            Wish::Drain(server, within, to) => {
                let (answer, effects) = self.core.drain(&server, within, now);
                self.finish(answer, effects, to);
            }
            Wish::Undrain(server, to) => {
                let (answer, effects) = self.core.undrain(&server, now);
                self.finish(answer, effects, to);
            }
            Wish::Revoke(server, lowest_generation, to) => {
                // First the keys, so that nobody comes in behind; then the view; then whoever is connected.
                self.parts.keys.revoke(&server, lowest_generation);
                let effects = self.core.revoke(&server, lowest_generation, now);
                (self.parts.revoke)(&server, lowest_generation);
                self.finish(Ok(()), effects, to);
            }
            Wish::Broadcast(text, server, to) => {
                let (answer, effects) = self.core.broadcast(&text, server.as_ref(), now);
                self.finish(answer, effects, to);
            }
            Wish::Explain(account, to) => drop(to.send(Ok(self.core.explain(account)))),
        }
    }

    fn finish<T>(&mut self, answer: Result<T, OperationError>, effects: Vec<Effect>, to: To<T>) {
        self.carry_out(effects);
        let _ = to.send(answer);
    }

    /// Requests of an account that wait for the store are refused now. Gives how many.
    fn end_lookups(&mut self, account: AccountRow, reason: Code) -> usize {
        let why = if reason == Code::Banned { NoPlace::Banned } else { NoPlace::Kicked };
        let of_account = self.looking_up.iter().filter(|(_, of)| **of == account).map(|(id, _)| *id);
        let ids: Vec<HandoverId> = of_account.collect();
        for handover in &ids {
            self.looking_up.remove(handover);
            self.feed(Input::Barred { handover: *handover, account, why });
        }
        ids.len()
    }
}
