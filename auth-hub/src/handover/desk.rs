//! The task around the core: the one owner of the fleet view and of every handover.
//!
//! Feeds the core with what the HTTP edge asks, what the link brings and what the store answers, and carries out its effects.
//! Invariant: everything that reaches it comes through a bounded channel, and the core sees one thing at a time; who asks is one of at
//! most [`LOOKUPS_MAX`] that are looked up, or in the core and counted there.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared_msgs::clock::{Clock, Mono};
use shared_msgs::codec;
use shared_msgs::ids::{HandoverId, ServerId};
use shared_msgs::keys::Purpose;
use shared_msgs::link::{Lane, LinkEvent, LinkSender};
use shared_msgs::messages::{HubMessage, Message};
use shared_msgs::rng::Rng;
use shared_msgs::topics::Topic;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::core::{Core, Duplicate, Effect, Input, Settings};
use super::last_servers::LastServers;
use super::{Answered, HandoverRequest, Meters, NoPlace, Refused};
use crate::accounts::{AccountRow, Store};
use crate::bus::{Beat, Canary, Inlet, KeyRing};
use crate::fleet::{Addressed, ServerSummary};
use crate::heartbeat::Heartbeat;
use crate::queue::{TicketId, TicketRow, TicketView};

/// Requests that may wait for the desk.
const ASKS_MAX: usize = 1_024;
/// Requests whose account may be looked up at one time, until the core has them; one more is refused. Also the store's answers that may
/// wait for the desk.
const LOOKUPS_MAX: usize = 1_024;

/// How often the servers are counted by how they stand: it looks at each.
const STAND_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// The number in this hub's fences: an embedded broker has one hub.
const ONLY_HUB: u16 = 0;

/// How the fleet and the hub's link stand.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By name.
    pub servers: Vec<ServerSummary>,
    /// Whether the hub hears its broker.
    pub link_up: bool,
}

enum Ask {
    HandOver(HandoverRequest, HandoverId, Client),
    /// For a ticket's place; the account's players are looked up.
    Ticket(TicketAsk, HandoverId, Client),
    Look(AccountRow, TicketId, tickets::To<TicketView>),
    Leave(AccountRow, TicketId, tickets::To<()>),
    Snapshot(oneshot::Sender<Snapshot>),
    Wish(wishes::Wish),
}

/// Who waits for an answer.
type Client = oneshot::Sender<Result<Answered, Refused>>;

/// Where the HTTP edge asks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    asks: mpsc::Sender<Ask>,
    store: Store,
    rng: Arc<dyn Rng>,
}

impl Desk {
    /// Hands a player over. Runs to its end even if this future is dropped.
    ///
    /// # Errors
    /// [`Refused`], at once when the desk's queue is full.
    pub async fn hand_over(&self, request: HandoverRequest) -> Result<Answered, Refused> {
        self.ask(|handover, client| Ask::HandOver(request, handover, client)).await
    }

    async fn ask(&self, ask: impl FnOnce(HandoverId, Client) -> Ask) -> Result<Answered, Refused> {
        let handover = HandoverId::random(&*self.rng);
        let busy = Refused { handover, why: NoPlace::HubBusy };
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(ask(handover, answer)).map_err(|_| busy)?;
        answered.await.unwrap_or(Err(busy))
    }

    /// How the fleet stands now; empty when the desk has stopped.
    pub async fn snapshot(&self) -> Snapshot {
        let (answer, answered) = oneshot::channel();
        if self.asks.send(Ask::Snapshot(answer)).await.is_err() {
            return Snapshot::default();
        }
        answered.await.unwrap_or_default()
    }
}

/// What the desk's task works with.
pub(crate) struct DeskParts {
    pub(crate) store: Store,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) meters: Meters,
    pub(crate) servers_max: usize,
    pub(crate) settings: Settings,
    /// Tickets of the hub's last run.
    pub(crate) tickets: Vec<TicketRow>,
    pub(crate) duplicates: Duplicate,
    /// The fence clock ceiling the database holds.
    pub(crate) stored_ceiling: u64,
    pub(crate) link: LinkSender,
    pub(crate) events: mpsc::Receiver<LinkEvent>,
    /// Beats with every turn of the desk.
    pub(crate) heart: Heartbeat,
    /// For look-ups in the store.
    pub(crate) tasks: TaskTracker,
    /// Closes a server's connections under keys below a generation.
    pub(crate) revoke: Revoke,
}

pub use tickets::TicketAsk;
/// See [`DeskParts::revoke`].
pub(crate) type Revoke = Box<dyn Fn(&ServerId, u32) + Send + Sync>;

/// The task. Make it, then spawn [`DeskTask::run`].
pub(crate) struct DeskTask {
    core: Core,
    inlet: Inlet,
    canary: Canary,
    parts: DeskParts,
    asks: mpsc::Receiver<Ask>,
    lookups: mpsc::Sender<LookedUp>,
    looked_up: mpsc::Receiver<LookedUp>,
    lookup_permits: Arc<Semaphore>,
    waiting: BTreeMap<HandoverId, Client>,
    /// Requests that the core has not heard of yet, and whose they are.
    looking_up: BTreeMap<HandoverId, AccountRow>,
    link_up: bool,
    lease_ends_counted: u64,
    /// When to look next how the servers stand.
    stand_at: Mono,
    last_servers: LastServers,
}

/// What the store said, and the request's permit.
struct LookedUp {
    input: Input,
    permit: Option<OwnedSemaphorePermit>,
}

/// Why the desk stopped unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum DeskError {
    #[error("the broker's router is dead")]
    RouterDead,
    #[error("the link's task has ended")]
    LinkEnded,
}

impl DeskTask {
    pub(crate) fn new(mut parts: DeskParts) -> (Desk, Self) {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (lookups, looked_up) = mpsc::channel(LOOKUPS_MAX);
        let desk = Desk { asks, store: parts.store.clone(), rng: Arc::clone(&parts.rng) };
        let mut core = Core::new(
            parts.keys.hub().clone(),
            ONLY_HUB,
            parts.servers_max,
            parts.stored_ceiling,
            Arc::clone(parts.keys.fleet()),
            Arc::clone(&parts.rng),
            parts.settings,
        )
        .with_duplicates(parts.duplicates);
        let last_servers = LastServers::start(parts.store.clone(), &parts.tasks);
        core.restore_tickets(std::mem::take(&mut parts.tickets), parts.clock.now());
        let inlet = Inlet::new(Arc::clone(&parts.keys), parts.servers_max);
        let task = Self {
            core,
            inlet,
            canary: Canary::default(),
            parts,
            asks: asked,
            lookups,
            looked_up,
            lookup_permits: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            waiting: BTreeMap::new(),
            looking_up: BTreeMap::new(),
            link_up: false,
            lease_ends_counted: 0,
            stand_at: Mono::default(),
            last_servers,
        };
        (desk, task)
    }

    /// Runs until `stop`; ends before only when it cannot go on.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut tick_at = Mono::default();
        loop {
            self.parts.heart.beat();
            let now = self.parts.clock.now();
            if now.mono >= tick_at
                && let Err(error) = self.tick()
            {
                error!(target: "handover", %error, "desk.failed");
                return;
            }
            tick_at = self.core.next_deadline().min(self.canary.next_deadline().unwrap_or(Mono(u64::MAX)));
            let pause = tick_at.since(self.parts.clock.now().mono);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                Some(ask) = self.asks.recv() => self.on_ask(ask),
                Some(answer) = self.looked_up.recv() => self.on_looked_up(answer),
                event = self.parts.events.recv() => {
                    let Some(event) = event else {
                        error!(target: "handover", error = %DeskError::LinkEnded, "desk.failed");
                        return;
                    };
                    self.on_link(event);
                }
            }
        }
    }

    fn tick(&mut self) -> Result<(), DeskError> {
        let now = self.parts.clock.now();
        match self.canary.tick(now.mono) {
            Some(Beat::Dead) => return Err(DeskError::RouterDead),
            Some(Beat::Send(n)) => {
                let topic = Topic::Canary(self.parts.keys.hub().clone());
                let lane = Lane { topic, purpose: Purpose::Canary };
                // A counter that is not sent is a miss, which is the truth.
                let _ = self.parts.link.send(lane, n.to_be_bytes().to_vec());
            }
            None => {}
        }
        let effects = self.core.tick(now);
        self.carry_out(effects);
        self.count();
        Ok(())
    }

    fn feed(&mut self, input: Input) {
        let effects = self.core.handle(input, self.parts.clock.now());
        self.carry_out(effects);
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Snapshot(answer) => {
                let servers = self.core.summaries(self.parts.clock.now());
                // Whoever asked may have left.
                let _ = answer.send(Snapshot { servers, link_up: self.link_up });
            }
            Ask::Wish(wish) => self.on_wish(wish),
            Ask::HandOver(request, handover, client) => {
                self.with_players(request.account, handover, client, move |players| Input::Ask {
                    handover,
                    request,
                    players,
                });
            }
            Ask::Ticket(ask, handover, client) => self.on_ticket_ask(ask, handover, client),
            Ask::Look(account, ticket, to) => {
                let (view, effects) = self.core.look(account, ticket, self.parts.clock.now());
                self.carry_out(effects);
                // Whoever asked may have left.
                let _ = to.send(view);
            }
            Ask::Leave(account, ticket, to) => {
                let (left, effects) = self.core.leave(account, ticket, self.parts.clock.now());
                self.carry_out(effects);
                let _ = to.send(left);
            }
        }
    }

    fn on_link(&mut self, event: LinkEvent) {
        let now = self.parts.clock.now();
        match event {
            LinkEvent::Up { .. } => {
                self.link_up = true;
                self.canary.on_link_up(now.mono);
                self.feed(Input::LinkUp);
            }
            LinkEvent::Down { error, .. } => {
                self.link_up = false;
                self.canary.on_link_down();
                warn!(target: "handover", %error, "hub.link_down");
            }
            LinkEvent::Message { topic, payload } => {
                let received = self.inlet.receive(&topic, &payload, now);
                self.parts.meters.payloads_refused.inc_by(u64::from(received.refused));
                self.parts.meters.messages_unknown.inc_by(received.unknown as u64);
                if let Some(n) = received.canary {
                    self.canary.on_echo(n);
                }
                if let Some((server, notice)) = received.skew {
                    let lane = Lane { topic: Topic::Inbox(server), purpose: Purpose::SkewToServer };
                    self.send(lane, &notice);
                }
                for (from, message) in received.messages {
                    self.feed(Input::Message { from, message: Box::new(message) });
                }
            }
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(Addressed { server, boot, order }) => {
                    let lane = Lane { topic: Topic::Inbox(server), purpose: Purpose::Inbox };
                    self.send(lane, &HubMessage::Order { boot, order });
                }
                Effect::Answer { handover, answer } => self.answer(handover, answer.map(Answered::Placed)),
                Effect::Queued { handover, view } => self.answer(handover, Ok(Answered::Queued(view))),
                Effect::SaveTicket(row) => self.save_ticket(&row),
                Effect::DropTickets(tickets) => self.drop_tickets(tickets),
                Effect::FindPlayer { .. }
                | Effect::FindOwners(_)
                | Effect::FindMover { .. }
                | Effect::StoreCeiling(_) => self.ask_store(effect),
                Effect::StoreLastServer { player, server } => self.last_servers.note(player, server),
                Effect::MoveIgnored => {
                    self.parts.meters.moves_ignored.inc();
                }
                Effect::GrantRoundTrip { ms } => {
                    let seconds = std::time::Duration::from_millis(ms).as_secs_f64();
                    self.parts.meters.grant_round_trip.observe(seconds);
                }
                Effect::GrantRefused => {
                    self.parts.meters.grants_refused.inc();
                }
                Effect::Resent => {
                    self.parts.meters.resends.inc();
                }
            }
        }
    }

    fn answer(&mut self, handover: HandoverId, answer: Result<Answered, Refused>) {
        if let Some(client) = self.waiting.remove(&handover) {
            // The client may have left; the handover has run to its end all the same.
            let _ = client.send(answer);
        }
    }

    fn count(&mut self) {
        let meters = &self.parts.meters;
        meters.parked.set(i64::try_from(self.core.parked()).unwrap_or(i64::MAX));
        meters.running.set(i64::try_from(self.core.running()).unwrap_or(i64::MAX));
        meters.tickets.set(i64::try_from(self.core.tickets()).unwrap_or(i64::MAX));
        let now = self.parts.clock.now();
        if now.mono >= self.stand_at {
            self.stand_at = now.mono + STAND_EVERY;
            meters.servers_stand(&self.core.conditions(now));
        }
        let ends = self.core.lease_ends();
        meters.lease_ends.inc_by(ends - self.lease_ends_counted);
        self.lease_ends_counted = ends;
    }

    fn send<M: Message>(&mut self, lane: Lane, message: &M) {
        let sent = match codec::encode(message) {
            Ok(bytes) => self.parts.link.send(lane, bytes).is_ok(),
            Err(error) => {
                error!(target: "handover", topic = %lane.topic, %error, "message.too_large");
                false
            }
        };
        if !sent {
            self.parts.meters.orders_not_sent.inc();
        }
    }
}

mod lookups;
#[cfg(test)]
mod tests;
mod tickets;
mod wishes;
