//! Orders that stand until a server has followed them: a drain, its undoing, words to the players.
//!
//! Invariants: nobody is placed on a server from the moment its drain is ordered until it has been taken back and the server says that it
//! takes players again; a drain is said again to every boot and on every connection; what is not followed is said again, ever more rarely;
//! an undrain is dropped only for a status that was sent after it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shared_msgs::clock::{Mono, Now, UnixMs};
use shared_msgs::ids::{BootId, ServerId};
use shared_msgs::limits;
use shared_msgs::messages::{Order, ServerState, Status};
use tracing::info;

use super::{Alarm, Core, Effect};
use crate::fleet::Freshness;
use crate::handover::grants::Resend;
use crate::handover::operations::OperationError;

/// Servers with a drain or its undoing. More than any fleet has; a forgotten server's stays.
const WISHES_MAX: usize = 4_096;
/// Notices that some server has not answered, counted for each server.
const NOTICES_MAX: usize = 4_096;
/// How often a server hears that it is to take players again and does not: one that stops does not. About half a minute.
const UNDRAINS_IGNORED_MAX: u8 = 10;
/// A server that drained before it was told may not have heard the limit: its state says nothing of it.
const SENDS_TO_DRAINING: u8 = 3;

/// What the hub wants of a server, whatever boot of it there is.
#[derive(Debug)]
enum Wish {
    Drain(Drain),
    Undrain(Undrain),
}

#[derive(Debug)]
struct Drain {
    limit: Option<(Mono, UnixMs)>,
    resend: Resend,
    /// How often this boot was told, and how often it must be before its word counts.
    told: Option<(BootId, u8)>,
    tell: u8,
    followed_by: Option<BootId>,
}

#[derive(Debug)]
struct Undrain {
    /// The newest probe that was sent before: a status that echoes a later one was sent behind every drain that the server was ever told.
    after_probe: u64,
    /// The same of the newest time it was said, until a later status says that it drains all the same.
    said_after: Option<u64>,
    ignored: u8,
    resend: Resend,
}

impl Drain {
    /// What is left of its time: never 0, which is for ever.
    fn within_ms(&self, now: Mono) -> u32 {
        self.limit.map_or(0, |(at, _)| u32::try_from(at.since(now).as_millis()).unwrap_or(u32::MAX).max(1))
    }
}

#[derive(Debug)]
struct Notice {
    boot: BootId,
    text: Arc<str>,
    give_up: Mono,
    resend: Resend,
}

/// All orders that stand.
#[derive(Debug, Default)]
pub(super) struct Standing {
    wishes: BTreeMap<ServerId, Wish>,
    notices: BTreeMap<(ServerId, u64), Notice>,
}

impl Standing {
    /// Whether a drain is ordered, and until when it ends the last players.
    pub(super) fn drain_of(&self, server: &ServerId) -> (bool, Option<UnixMs>) {
        match self.wishes.get(server) {
            Some(Wish::Drain(drain)) => (true, drain.limit.map(|(_, unix)| unix)),
            Some(Wish::Undrain(_)) | None => (false, None),
        }
    }
}

impl Core {
    /// See [`crate::handover::operations::Operations::drain`].
    pub(crate) fn drain(
        &mut self,
        server: &ServerId,
        within: Option<Duration>,
        now: Now,
    ) -> (Result<(), OperationError>, Vec<Effect>) {
        let mut fx = Vec::new();
        let view = self.fleet.get(server);
        if view.is_none() && !self.standing.wishes.contains_key(server) {
            return (Err(OperationError::ServerUnknown), fx);
        }
        if self.standing.wishes.len() >= WISHES_MAX && !self.standing.wishes.contains_key(server) {
            return (Err(OperationError::Busy), fx);
        }
        let was_draining = view.is_some_and(|view| view.state == ServerState::Draining);
        let before = match self.standing.wishes.get(server) {
            Some(Wish::Drain(drain)) => drain.limit,
            Some(Wish::Undrain(_)) | None => None,
        };
        // A server keeps to the earlier of two limits.
        let limit =
            within.map(|within| (now.mono + within, now.unix + within)).into_iter().chain(before).min();
        let drain = Drain {
            limit,
            resend: Resend::new(),
            told: None,
            tell: if was_draining { SENDS_TO_DRAINING } else { 1 },
            followed_by: None,
        };
        self.standing.wishes.insert(server.clone(), Wish::Drain(drain));
        self.fleet.hold_back(server, true);
        self.send_wish(server, now, &mut fx);
        (Ok(()), fx)
    }

    /// See [`crate::handover::operations::Operations::undrain`].
    pub(crate) fn undrain(
        &mut self,
        server: &ServerId,
        now: Now,
    ) -> (Result<(), OperationError>, Vec<Effect>) {
        let mut fx = Vec::new();
        let was_ordered = self.standing.drain_of(server).0;
        let freshness = self.fleet.get(server).map(|view| view.freshness(now));
        let answer = match freshness {
            None if !was_ordered => Err(OperationError::ServerUnknown),
            Some(Freshness::Lost) if !was_ordered => Err(OperationError::ServerOffline),
            None | Some(_) => Ok(()),
        };
        if answer.is_ok() {
            let after_probe = self.fleet.probes_sent();
            let undrain = Undrain { after_probe, said_after: None, ignored: 0, resend: Resend::new() };
            self.standing.wishes.insert(server.clone(), Wish::Undrain(undrain));
            self.fleet.hold_back(server, false);
            self.send_wish(server, now, &mut fx);
        }
        (answer, fx)
    }

    /// See [`crate::handover::operations::Operations::broadcast`]. What is too long is cut.
    pub(crate) fn broadcast(
        &mut self,
        text: &str,
        server: Option<&ServerId>,
        now: Now,
    ) -> (Result<usize, OperationError>, Vec<Effect>) {
        let mut fx = Vec::new();
        let is_heard =
            |server: &ServerId| self.fleet.get(server).map(|view| view.freshness(now) != Freshness::Lost);
        let to: Vec<ServerId> = match server.map(|server| (server, is_heard(server))) {
            Some((_, None)) => return (Err(OperationError::ServerUnknown), fx),
            Some((_, Some(false))) => return (Err(OperationError::ServerOffline), fx),
            Some((server, Some(true))) => vec![server.clone()],
            None => {
                self.fleet.iter().map(|(id, _)| id.clone()).filter(|id| is_heard(id) == Some(true)).collect()
            }
        };
        if self.standing.notices.len() + to.len() > NOTICES_MAX {
            return (Err(OperationError::Busy), fx);
        }
        let text: Arc<str> = text[..text.floor_char_boundary(limits::NOTICE_BYTES_MAX)].into();
        // Drawn: servers remember ids of an earlier run of the hub.
        let id = u64::from_be_bytes(self.rng.array());
        for server in &to {
            let Some(boot) = self.fleet.get(server).map(|view| view.boot) else { continue };
            let (text, give_up) = (Arc::clone(&text), now.mono + limits::NOTICE_LIFE);
            let notice = Notice { boot, text, give_up, resend: Resend::new() };
            self.standing.notices.insert((server.clone(), id), notice);
            self.send_notice(&(server.clone(), id), now, &mut fx);
        }
        (Ok(to.len()), fx)
    }

    /// Says again what a server has not followed, on a new connection or to a new boot.
    pub(super) fn resend_standing(&mut self, server: &ServerId, now: Now, fx: &mut Vec<Effect>) {
        self.send_wish(server, now, fx);
        let from = (server.clone(), 0);
        let notices = self.standing.notices.range(from..).map(|(key, _)| key);
        let notices: Vec<_> = notices.take_while(|key| key.0 == *server).cloned().collect();
        for key in notices {
            self.send_notice(&key, now, fx);
        }
    }

    pub(super) fn send_wish(&mut self, server: &ServerId, now: Now, fx: &mut Vec<Effect>) {
        let alarm = Alarm::Wish(server.clone());
        let (Some(wish), Some(boot)) =
            (self.standing.wishes.get_mut(server), self.fleet.get(server).map(|view| view.boot))
        else {
            // Unknown again: the drain stands, and is said when it comes back.
            return self.timers.cancel(&alarm);
        };
        let (order, resend) = match wish {
            Wish::Drain(drain) if drain.followed_by == Some(boot) => return self.timers.cancel(&alarm),
            Wish::Drain(drain) => {
                let times = drain.told.filter(|(told, _)| *told == boot).map_or(0, |(_, times)| times);
                if times == 0 {
                    drain.resend = Resend::new();
                }
                drain.told = Some((boot, times.saturating_add(1)));
                (Order::Drain { within_ms: drain.within_ms(now.mono) }, &mut drain.resend)
            }
            Wish::Undrain(undrain) => {
                undrain.said_after = Some(self.fleet.probes_sent());
                (Order::Undrain, &mut undrain.resend)
            }
        };
        self.timers.set(alarm, resend.after(now.mono));
        if let Order::Drain { within_ms } = order {
            info!(target: "handover", server_id = %server, within_ms, "drain.sent");
            return Self::send(server, boot, order, fx);
        }
        info!(target: "handover", server_id = %server, "undrain.sent");
        Self::send(server, boot, order, fx);
        // Else the proof that it was followed would wait for a beat, and the order be said again meanwhile.
        let mut probe = Vec::new();
        self.fleet.probe(server, now, &mut probe);
        fx.extend(probe.into_iter().map(Effect::Send));
    }

    /// What a status says of the drain that stands, or of its undoing.
    pub(super) fn on_state(&mut self, server: &ServerId, status: &Status, now: Now, fx: &mut Vec<Effect>) {
        let boot = status.stamp.boot;
        if self.fleet.get(server).is_none_or(|view| view.boot != boot) {
            return;
        }
        let is_draining = status.state == ServerState::Draining;
        let echoed = self.fleet.echoed(status);
        match self.standing.wishes.get_mut(server) {
            Some(Wish::Drain(drain)) => {
                let is_told = drain.told.is_some_and(|(told, times)| told == boot && times >= drain.tell);
                let was_followed = drain.followed_by == Some(boot);
                drain.followed_by = (is_draining && is_told).then_some(boot);
                if was_followed != drain.followed_by.is_some() {
                    // Followed: nothing more to say. Not any more, or a status from before: say it again.
                    self.send_wish(server, now, fx);
                }
            }
            // One that may have been sent before the server heard of the drain says nothing of its undoing.
            Some(Wish::Undrain(undrain)) if echoed > Some(undrain.after_probe) => {
                undrain.ignored +=
                    u8::from(undrain.said_after.take_if(|said| echoed > Some(*said)).is_some());
                if !is_draining || undrain.ignored >= UNDRAINS_IGNORED_MAX {
                    self.standing.wishes.remove(server);
                    self.timers.cancel(&Alarm::Wish(server.clone()));
                }
            }
            Some(Wish::Undrain(_)) | None => {}
        }
    }

    pub(super) fn send_notice(&mut self, key: &(ServerId, u64), now: Now, fx: &mut Vec<Effect>) {
        let alarm = Alarm::Notice(key.0.clone(), key.1);
        let boot = self.fleet.get(&key.0).map(|view| view.boot);
        let Some(notice) = self.standing.notices.get_mut(key) else { return self.timers.cancel(&alarm) };
        // A newer boot has nobody in game who was meant.
        if now.mono >= notice.give_up || Some(notice.boot) != boot {
            self.standing.notices.remove(key);
            return self.timers.cancel(&alarm);
        }
        let order = Order::Notice { id: key.1, text: notice.text.as_ref().to_owned() };
        let (boot, again) = (notice.boot, notice.resend.after(now.mono).min(notice.give_up));
        self.timers.set(alarm, again);
        info!(target: "handover", server_id = %key.0, notice = key.1, "notice.sent");
        Self::send(&key.0, boot, order, fx);
    }

    pub(super) fn on_noticed(&mut self, server: &ServerId, boot: BootId, id: u64) {
        let key = (server.clone(), id);
        if self.standing.notices.get(&key).is_some_and(|notice| notice.boot == boot) {
            self.standing.notices.remove(&key);
            self.timers.cancel(&Alarm::Notice(key.0, id));
        }
    }
}
