//! What the desk asks the store, beside its own work; the answers come back as inputs.
//!
//! Invariant: a client's question that waits for the store holds one of a bounded number of permits until the core has it.

use std::sync::Arc;

use shared_msgs::clock::UnixMs;
use shared_msgs::ids::HandoverId;
use tokio::sync::OwnedSemaphorePermit;
use tracing::{Instrument as _, info, info_span, warn};

use super::{Client, DeskTask, Effect, Input, LookedUp};
use crate::accounts::{AccountRow, AccountState, PlayerRow, Store, StoreError};
use crate::handover::core::Mover;
use crate::handover::{NoPlace, Refused};

impl DeskTask {
    /// Asks what the core wants to know of the store, or stores what it must.
    pub(super) fn ask_store(&self, effect: Effect) {
        match effect {
            Effect::FindPlayer { handover, account, realm } => {
                let store = self.parts.store.clone();
                self.look_up(None, async move {
                    let player = store.player_in(account, &realm).await.inspect_err(|error| {
                        warn!(target: "handover", handover_id = %handover, %error, "store.failed");
                    });
                    Input::Player { handover, account, realm, player: player.ok() }
                });
            }
            Effect::FindOwners(asked) => {
                let (store, now) = (self.parts.store.clone(), self.parts.clock.now().unix);
                self.look_up(None, async move {
                    let found = store.owners(&asked, now).await.inspect_err(|error| {
                        warn!(target: "handover", %error, "store.failed");
                    });
                    Input::Owners { asked, found: found.ok() }
                });
            }
            Effect::FindMover { mover, account } => {
                let (store, now) = (self.parts.store.clone(), self.parts.clock.now().unix);
                self.look_up(None, async move {
                    let found = find_mover(&store, account, now).await.inspect_err(|error| {
                        warn!(target: "handover", %error, "store.failed");
                    });
                    Input::Mover { mover, found: found.ok() }
                });
            }
            Effect::StoreCeiling(ceiling) => {
                let store = self.parts.store.clone();
                self.look_up(None, async move {
                    let stored = store.raise_clock_ceiling(ceiling).await.inspect_err(|error| {
                        warn!(target: "handover", %error, "store.failed");
                    });
                    Input::CeilingStored(stored.ok())
                });
            }
            _ => {}
        }
    }

    /// Asks the core a client's question, with the players of its account.
    pub(super) fn with_players(
        &mut self,
        account: AccountRow,
        handover: HandoverId,
        client: Client,
        question: impl FnOnce(Vec<PlayerRow>) -> Input + Send + 'static,
    ) {
        let Ok(permit) = Arc::clone(&self.lookup_permits).try_acquire_owned() else {
            let _ = client.send(Err(Refused { handover, why: NoPlace::HubBusy }));
            return;
        };
        self.waiting.insert(handover, client);
        self.looking_up.insert(handover, account);
        let (store, now) = (self.parts.store.clone(), self.parts.clock.now().unix);
        self.look_up(Some(permit), async move {
            // Asked again here: an account that was shut out a moment ago has been ended, and must not slip in behind that.
            let barred = |why| Input::Barred { handover, account, why };
            match store.players_who_may_play(account, now).await {
                Ok(Some(players)) => question(players),
                Ok(None) => barred(NoPlace::Banned),
                // Whoever may not play would get in as well.
                Err(error) => {
                    warn!(target: "handover", handover_id = %handover, %error, "store.failed");
                    barred(NoPlace::HubBusy)
                }
            }
        });
    }

    pub(super) fn on_looked_up(&mut self, LookedUp { input, permit }: LookedUp) {
        let of_request = match &input {
            Input::Ask { handover, .. } | Input::Poll { handover, .. } | Input::Barred { handover, .. } => {
                Some(*handover)
            }
            _ => None,
        };
        // One that was ended meanwhile has its answer.
        if of_request.is_none_or(|handover| self.looking_up.remove(&handover).is_some()) {
            self.feed(input);
        }
        // The core has it now, with a bound of its own.
        drop(permit);
    }

    /// Asks the store beside the desk's own work; the answer comes back as an input.
    pub(super) fn look_up(
        &self,
        permit: Option<OwnedSemaphorePermit>,
        question: impl Future<Output = Input> + Send + 'static,
    ) {
        let answers = self.lookups.clone();
        let ask = async move {
            let input = question.await;
            if answers.send(LookedUp { input, permit }).await.is_err() {
                info!(target: "handover", "desk.gone");
            }
        };
        self.parts.tasks.spawn(ask.instrument(info_span!("lookup")));
    }
}

/// Who is to move. What the account may do is read anew, as for every handover.
pub(super) async fn find_mover(store: &Store, account: AccountRow, now: UnixMs) -> Result<Mover, StoreError> {
    let found = store.by_row(account).await?.ok_or(StoreError::UnknownAccount)?;
    let players = store.players_of(account).await?;
    let may_play = found.state == AccountState::Active && found.ban_at(now).is_none();
    Ok(Mover { name: found.display_name.to_string(), may_play, players })
}
