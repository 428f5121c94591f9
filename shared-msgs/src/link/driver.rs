//! The task that drives rumqttc for the link.
//!
//! Owns the event loop: a fresh one per attempt, so that no pending publish, will, packet id or half-read packet of one connection
//! can reach the next. Knows what to do from `resync` and what to send from `outbox`. Invariant: `EventLoop::poll` is not cancel
//! safe, so its future is dropped only together with its event loop.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, Outgoing, Packet, QoS, SubscribeFilter, SubscribeReasonCode};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::outbox::{BatchId, IN_FLIGHT_MAX};
use super::resync::{Resync, State, Step, SubackError};
use super::tunnel::Tunnel;
use super::vendor;
use super::{LinkConfig, LinkError, LinkEvent, LinkSender, Opening, Session};
use crate::clock::{Clock, Mono};
use crate::ids::StreamId;
use crate::rng::Rng;
use crate::topics::Topic;

/// rumqttc's own queue: all batches under way, and the few packets that are none.
const REQUESTS_MAX: usize = IN_FLIGHT_MAX + 8;
/// What a graceful stop may take: sending what waits, and getting it acknowledged.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// And for the DISCONNECT after it.
const GOODBYE_TIME: Duration = Duration::from_millis(250);

/// Why a connection is over.
enum End {
    /// Asked to stop, or nobody listens any more.
    Stopped,
    Failed(LinkError),
}

impl<E: Into<LinkError>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// How far a graceful stop is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Running,
    Draining,
    Goodbye,
}

/// See the module.
pub(super) struct Driver<S> {
    config: LinkConfig,
    session: S,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    sender: LinkSender,
    events: mpsc::Sender<LinkEvent>,
    stop: CancellationToken,
    resync: Resync,
    /// Why the link is down, once that was logged as a warning.
    logged_down: Option<LinkError>,
}

/// However the task ends, a panic included, its senders must not believe in it any more.
impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        self.sender.close();
    }
}

/// One connection's publishes.
#[derive(Default)]
struct UnderWay {
    /// Given to rumqttc, which has not numbered them yet.
    handed: VecDeque<BatchId>,
    /// Numbered, and not acknowledged.
    numbered: HashMap<u16, BatchId>,
}

impl UnderWay {
    fn is_empty(&self) -> bool {
        self.handed.is_empty() && self.numbered.is_empty()
    }
}

impl<S: Session> Driver<S> {
    pub(super) fn new(
        config: LinkConfig,
        session: S,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        sender: LinkSender,
        events: mpsc::Sender<LinkEvent>,
        stop: CancellationToken,
    ) -> Self {
        let resync = Resync::new(config.brokers.len(), config.keep_alive * 2, config.connect_timeout);
        Self { config, session, clock, rng, sender, events, stop, resync, logged_down: None }
    }

    pub(super) async fn run(mut self) {
        while let End::Failed(error) = self.connection().await {
            self.sender.close();
            let severity = vendor::severity(&error);
            let retry_in = self.resync.failed(self.mono(), severity, |bound| self.rng.below(bound));
            self.log_down(&error, retry_in);
            if self.emit(LinkEvent::Down { error, retry_in }).await.is_err() {
                break;
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = self.events.closed() => break,
                () = tokio::time::sleep(retry_in) => {}
            }
        }
    }

    /// Once per cause: a broker that stays away does not fill the log.
    fn log_down(&mut self, error: &LinkError, retry_in: Duration) {
        let retry_in_ms = retry_in.as_millis();
        if self.logged_down.as_ref() == Some(error) {
            tracing::debug!(target: "link", %error, retry_in_ms, "link.down");
        } else {
            tracing::warn!(target: "link", %error, retry_in_ms, "link.down");
            self.logged_down = Some(error.clone());
        }
    }

    fn mono(&self) -> Mono {
        self.clock.now().mono
    }

    /// One attempt and, if it succeeds, one connection's whole life.
    async fn connection(&mut self) -> End {
        let stream = StreamId::random(&*self.rng);
        let now = self.clock.now();
        let Opening { subscriptions, will } = self.session.begin(stream, now.unix);
        let broker = self.resync.connect(now.mono);
        let tunnel = match self.config.tls.clone() {
            Some(tls) => match Tunnel::open(&self.config, broker, tls).await {
                Ok(tunnel) => Some(tunnel),
                Err(error) => return End::Failed(error),
            },
            None => None,
        };
        let to = tunnel.as_ref().map_or(&self.config.brokers[broker], Tunnel::entrance);
        let (client, mut eventloop) = AsyncClient::new(vendor::options(&self.config, to, will), REQUESTS_MAX);
        eventloop.set_network_options(vendor::network_options(&self.config));
        let mut connection = Connection {
            driver: self,
            client,
            stream,
            broker,
            subscriptions,
            under_way: UnderWay::default(),
        };
        match tunnel {
            None => connection.live(&mut eventloop).await.unwrap_or_else(|end| end),
            Some(tunnel) => connection.live_through(tunnel, eventloop).await,
        }
    }

    /// Tells the owner, waiting while it is slow. The socket is not read meanwhile: that is the back-pressure.
    async fn emit(&mut self, event: LinkEvent) -> Result<(), End> {
        let event = match self.events.try_send(event) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(End::Stopped),
            Err(mpsc::error::TrySendError::Full(event)) => event,
        };
        let sent = tokio::select! {
            // Whoever stops us listens no more, so the event is of no use to anybody.
            () = self.stop.cancelled() => Ok(()),
            sent = self.events.send(event) => sent.map_err(|_| End::Stopped),
        };
        self.resync.resumed(self.mono());
        sent
    }
}

struct Connection<'a, S> {
    driver: &'a mut Driver<S>,
    client: AsyncClient,
    stream: StreamId,
    broker: usize,
    subscriptions: Vec<String>,
    under_way: UnderWay,
}

impl<S: Session> Connection<'_, S> {
    /// As [`Self::live`], with TLS. What went wrong with that is more to the point than what rumqttc makes of it.
    async fn live_through(&mut self, tunnel: Tunnel, mut eventloop: EventLoop) -> End {
        let mut carried = pin!(tunnel.run());
        let mut outcome = None;
        let end = {
            let mut live = pin!(self.live(&mut eventloop));
            loop {
                tokio::select! {
                    end = &mut live => break end.unwrap_or_else(|end| end),
                    done = &mut carried, if outcome.is_none() => outcome = Some(done),
                }
            }
        };
        // Its end of the socket closes; what it said last still goes out.
        drop(eventloop);
        if outcome.is_none() {
            outcome = tokio::time::timeout(GOODBYE_TIME, carried).await.ok();
        }
        match (end, outcome) {
            (End::Failed(LinkError::Lost(_) | LinkError::Unreachable(_)), Some(Err(why))) => End::Failed(why),
            (end, _) => end,
        }
    }

    async fn live(&mut self, eventloop: &mut EventLoop) -> Result<End, End> {
        let stop_asked = self.driver.stop.clone();
        let sender = self.driver.sender.clone();
        let mut stop = Stop::Running;
        let mut watchdog = pin!(tokio::time::sleep(self.driver.resync.next_look(self.driver.mono())));
        let mut stop_limit = pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            let event = {
                let mut poll = pin!(eventloop.poll());
                loop {
                    tokio::select! {
                        // The rare before the frequent; sending before receiving, since what is under way bounds it.
                        biased;
                        () = &mut watchdog => {
                            let now = self.driver.mono();
                            if let Some(overdue) = self.driver.resync.overdue(now) {
                                tracing::warn!(target: "link", ?overdue, "link.wedged");
                                return Err(vendor::overdue_error(overdue).into());
                            }
                            watchdog.as_mut().reset(tokio::time::Instant::now() + self.driver.resync.next_look(now));
                        }
                        () = self.driver.events.closed(), if stop == Stop::Running => return Err(End::Stopped),
                        () = stop_asked.cancelled(), if stop == Stop::Running => {
                            if !self.is_up() {
                                return Err(End::Stopped);
                            }
                            sender.drain();
                            self.pump()?;
                            stop = Stop::Draining;
                            stop_limit.as_mut().reset(tokio::time::Instant::now() + DRAIN_TIME);
                            stop = self.goodbye_if_drained(stop, stop_limit.as_mut());
                        }
                        () = &mut stop_limit, if stop != Stop::Running => {
                            if stop == Stop::Goodbye {
                                return Err(End::Stopped);
                            }
                            sender.close();
                            stop = self.goodbye_if_drained(stop, stop_limit.as_mut());
                        }
                        () = sender.work(), if self.is_up() => self.pump()?,
                        event = &mut poll => break event,
                    }
                }
            };
            let event = event.map_err(|error| vendor::link_error(error, self.is_up()))?;
            if stop == Stop::Goodbye && event == Event::Outgoing(Outgoing::Disconnect) {
                return Ok(End::Stopped);
            }
            if matches!(event, Event::Incoming(_)) {
                // rumqttc gives up when a ping's answer is late, even if that only queues behind other packets. Silence is the
                // watchdog's business.
                eventloop.state.await_pingresp = false;
            }
            let before = self.driver.resync.state();
            self.on_event(event).await?;
            if self.driver.resync.state() != before {
                // A new state may have a nearer deadline than the one being slept for.
                let look = self.driver.resync.next_look(self.driver.mono());
                watchdog.as_mut().reset(tokio::time::Instant::now() + look);
            }
            stop = self.goodbye_if_drained(stop, stop_limit.as_mut());
        }
    }

    fn is_up(&self) -> bool {
        matches!(self.driver.resync.state(), State::Up { .. })
    }

    /// Once nothing is left to send, says DISCONNECT.
    fn goodbye_if_drained(&self, stop: Stop, limit: std::pin::Pin<&mut tokio::time::Sleep>) -> Stop {
        if stop != Stop::Draining || !self.driver.sender.is_idle() {
            return stop;
        }
        // Full only when a stalled broker took nothing for the whole drain; then the limit ends it.
        let _ = self.client.try_disconnect();
        limit.reset(tokio::time::Instant::now() + GOODBYE_TIME);
        Stop::Goodbye
    }

    async fn on_event(&mut self, event: Event) -> Result<(), End> {
        let packet = match event {
            Event::Incoming(packet) => packet,
            Event::Outgoing(Outgoing::Publish(pkid)) => {
                if let Some(batch) = self.under_way.handed.pop_front() {
                    self.under_way.numbered.insert(pkid, batch);
                }
                return Ok(());
            }
            Event::Outgoing(_) => return Ok(()),
        };
        let now = self.driver.mono();
        self.driver.resync.heard(now);
        match packet {
            Packet::ConnAck(_) => match self.driver.resync.connected(now, self.subscriptions.len()) {
                Step::Up => self.up().await,
                Step::Subscribe => {
                    let filters = self
                        .subscriptions
                        .iter()
                        .map(|filter| SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce));
                    // Refused only for a malformed filter: the queue of a fresh event loop is empty.
                    self.client.try_subscribe_many(filters).map_err(|_| {
                        LinkError::Protocol("a subscription is no topic filter".to_owned()).into()
                    })
                }
            },
            Packet::SubAck(suback) => {
                let granted: Vec<bool> = suback
                    .return_codes
                    .iter()
                    .map(|code| matches!(code, SubscribeReasonCode::Success(_)))
                    .collect();
                match self.driver.resync.suback(now, &granted) {
                    Ok(_) => self.up().await,
                    Err(SubackError::Refused(index)) => {
                        let filter = self.subscriptions.get(index).cloned().unwrap_or_default();
                        Err(LinkError::SubscriptionRefused(filter).into())
                    }
                    Err(SubackError::Unexpected) => {
                        Err(LinkError::Protocol("unexpected SUBACK".to_owned()).into())
                    }
                }
            }
            Packet::Publish(publish) => {
                let Ok(topic) = publish.topic.parse::<Topic>() else {
                    tracing::debug!(target: "link", "link.foreign_topic");
                    return Ok(());
                };
                self.driver.emit(LinkEvent::Message { topic, payload: publish.payload }).await
            }
            Packet::PubAck(puback) => {
                let batch = self.under_way.numbered.remove(&puback.pkid);
                if batch.is_some_and(|batch| self.driver.sender.acked(batch)) {
                    self.driver.resync.acked(now, !self.under_way.is_empty());
                }
                self.pump()
            }
            _ => Ok(()),
        }
    }

    async fn up(&mut self) -> Result<(), End> {
        let broker = self.driver.config.brokers[self.broker].clone();
        tracing::info!(target: "link", %broker, "link.up");
        self.driver.logged_down = None;
        // First the outbox, then the word: the owner may send as soon as it hears it.
        self.driver.sender.open();
        self.driver.emit(LinkEvent::Up { stream: self.stream, broker }).await
    }

    /// Seals and hands to rumqttc all that may go out now.
    fn pump(&mut self) -> Result<(), End> {
        let now = self.driver.clock.now();
        while let Some(batch) = self.driver.sender.next_batch() {
            let payload =
                self.driver.session.seal(&batch.lane, &batch.bytes, now.unix).map_err(LinkError::from)?;
            // Cannot be full: the outbox gives out no more than fit.
            self.client
                .try_publish(batch.lane.topic.to_string(), QoS::AtLeastOnce, false, payload)
                .map_err(|_| LinkError::Protocol("the request queue is full".to_owned()))?;
            self.under_way.handed.push_back(batch.id);
            self.driver.resync.published(now.mono);
        }
        Ok(())
    }
}
