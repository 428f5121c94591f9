//! One server as the hub sees it: its newest boot, how fresh it is, its slots and its roster.
//!
//! Invariant: fresh means that a probe we sent less than a lease ago, on our own clock, came back. No clocks are compared, and
//! no backlog of old statuses revives the dead. A will only makes it suspect; the next fresh status restores everything.

use std::collections::VecDeque;
use std::time::Duration;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::ids::{BootId, HubId, ServerId, StreamId};
use shared_msgs::keys::KeyName;
use shared_msgs::messages::{Occupancy, Profile, ServerState, Stamp, Status};
use shared_msgs::{limits, text};
use tracing::info;

use super::News;
use super::overload::{Pressure, Steps};
use super::population::Population;
use super::roster::Roster;

/// Without an echo for this long a server gets nobody new: two beats and a little.
pub(super) const SUSPECT_AFTER: Duration = Duration::from_millis(4_500);
const _: () = assert!(SUSPECT_AFTER.as_millis() < limits::LEASE.as_millis());
const _: () = assert!(SUSPECT_AFTER.as_millis() > 2 * limits::STATUS_BEAT.as_millis());

/// Probes whose echo we still wait for; older ones are past any lease.
const PROBES_MAX: usize = 16;

/// Freshness of a server, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// Takes new players.
    Fresh,
    /// Its connection died or a beat was missed: nobody new, nothing forgotten.
    Suspect,
    /// Unheard for a lease.
    Lost,
}

/// How a server stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    Online,
    Degraded,
    Overloaded,
    Draining,
    Starting,
    Offline,
}

impl Condition {
    pub(crate) const ALL: [Self; 6] =
        [Self::Online, Self::Degraded, Self::Overloaded, Self::Draining, Self::Starting, Self::Offline];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::Starting => "starting",
            Self::Offline => "offline",
        }
    }
}

/// A message as players may be shown it, whoever wrote the server.
fn shown(message: &str) -> String {
    text::one_line(message, limits::STATUS_MESSAGE_BYTES_MAX)
}

/// One server.
#[derive(Debug)]
pub(crate) struct ServerView {
    pub(crate) boot: BootId,
    pub(crate) stream: StreamId,
    /// Connections it had before: what they still bring late makes none of them its connection again.
    past_streams: VecDeque<StreamId>,
    /// The key it uses: what we seal and mint under.
    pub(crate) key: KeyName,
    pub(crate) profile: Profile,
    pub(crate) state: ServerState,
    pub(crate) load_percent: u8,
    /// By its load alone.
    pub(crate) load: Pressure,
    /// One line for players.
    pub(crate) message: String,
    pub(crate) roster: Roster,
    occupancy: Occupancy,
    occupancy_rev: u64,
    /// Sent and not yet answered, oldest first.
    probes: VecDeque<(u64, Mono)>,
    /// When the newest echoed probe was sent.
    fresh_at: Option<Mono>,
    faith: Faith,
    /// The newest probe it has answered in time.
    answered: u64,
    /// An older boot that still speaks, and the newest probe sent when it was first heard.
    rival: Option<(BootId, u64)>,
    /// When this boot was first heard: a boot that has not answered a probe yet has a lease all the same.
    first_heard: Mono,
    pub(crate) last_heard: Mono,
    pub(crate) lease_end_reported: bool,
    /// The hub has ordered it to drain, whatever it says itself.
    pub(super) is_held_back: bool,
}

/// Whether its last echo still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Faith {
    Kept,
    /// Its connection died.
    Suspected,
    /// Its key is believed no more: nothing it said counts until it proves itself anew.
    Revoked,
}

impl ServerView {
    pub(crate) fn new(stream: StreamId, key: KeyName, status: &Status, load: Steps, now: Now) -> Self {
        let mut view = Self {
            boot: status.stamp.boot,
            stream,
            past_streams: VecDeque::new(),
            key,
            profile: status.profile.clone(),
            state: status.state,
            load_percent: status.load_percent,
            load: load.next(Pressure::Calm, status.load_percent.into()),
            message: shown(&status.message),
            roster: Roster::default(),
            occupancy: status.stamp.occupancy,
            occupancy_rev: status.stamp.rev,
            probes: VecDeque::new(),
            fresh_at: None,
            faith: Faith::Kept,
            answered: 0,
            rival: None,
            first_heard: now.mono,
            last_heard: now.mono,
            lease_end_reported: false,
            is_held_back: false,
        };
        view.roster.check(status.stamp.rev, &status.digest, false, now);
        view
    }

    /// Takes a status of the boot we know. True when it reconnected.
    pub(crate) fn on_status(
        &mut self,
        hub: &HubId,
        stream: StreamId,
        key: KeyName,
        status: Status,
        load: Steps,
        now: Now,
    ) -> bool {
        // A status older than what we know is a late one of an earlier connection, though it be the first we hear of it.
        let is_new = stream != self.stream && !self.past_streams.contains(&stream);
        let reconnected = is_new && status.stamp.rev >= self.occupancy_rev;
        if reconnected {
            if self.past_streams.len() == limits::STREAMS_PER_SERVER_MAX {
                self.past_streams.pop_front();
            }
            self.past_streams.push_back(self.stream);
            self.stream = stream;
            self.key = key;
        }
        self.on_stamp(&status.stamp, now);
        self.roster.check(status.stamp.rev, &status.digest, !reconnected, now);
        self.profile = status.profile;
        self.state = status.state;
        self.load_percent = status.load_percent;
        self.load = load.next(self.load, status.load_percent.into());
        self.message = shown(&status.message);
        if let Some(echo) = status.echoes.iter().find(|echo| echo.hub == *hub) {
            self.on_echo(echo.n, now);
        }
        reconnected
    }

    fn on_echo(&mut self, n: u64, now: Now) {
        let Some(&(_, sent_at)) = self.probes.iter().find(|(sent, _)| *sent == n) else { return };
        self.probes.retain(|(sent, _)| *sent > n);
        if now.mono.since(sent_at) < limits::LEASE {
            self.fresh_at = self.fresh_at.max(Some(sent_at));
            self.answered = self.answered.max(n);
            self.faith = Faith::Kept;
            self.lease_end_reported = false;
        }
    }

    /// Takes the head of any message of this boot.
    pub(crate) fn on_stamp(&mut self, stamp: &Stamp, now: Now) {
        self.last_heard = now.mono;
        if stamp.rev >= self.occupancy_rev {
            self.occupancy = stamp.occupancy;
            self.occupancy_rev = stamp.rev;
        }
    }

    /// Remembers a probe that goes out now.
    pub(crate) fn on_probe_sent(&mut self, n: u64, now: Now) {
        if self.probes.len() == PROBES_MAX {
            self.probes.pop_front();
        }
        self.probes.push_back((n, now.mono));
    }

    /// An older boot spoke. True when ours has answered a probe that was sent after that one was first heard: until then the older
    /// may be the only one alive, after a crash within the lease and a clock that was set back before the restart.
    pub(crate) fn outlives(&mut self, older: BootId, probes_sent: u64) -> bool {
        let (_, sent_before) = match self.rival {
            Some(known) if known.0 == older => known,
            _ => *self.rival.insert((older, probes_sent)),
        };
        self.answered > sent_before
    }

    /// Its connection died: only the echo of a probe sent from now on counts again.
    pub(crate) fn suspect(&mut self) {
        if self.faith == Faith::Kept {
            self.faith = Faith::Suspected;
        }
        self.probes.clear();
    }

    /// Its key was revoked: it is lost now, and its lease over.
    pub(super) fn revoke(&mut self) {
        self.suspect();
        self.faith = Faith::Revoked;
        self.lease_end_reported = true;
    }

    /// Whether it takes nobody new, by its own word or by ours.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_held_back || self.state == ServerState::Draining
    }

    pub(crate) fn freshness(&self, now: Now) -> Freshness {
        if self.faith == Faith::Revoked {
            return Freshness::Lost;
        }
        let unheard = self.fresh_at.map(|at| now.mono.since(at));
        match unheard {
            Some(unheard) if unheard < SUSPECT_AFTER && self.faith == Faith::Kept => Freshness::Fresh,
            Some(unheard) if unheard < limits::LEASE => Freshness::Suspect,
            None if now.mono.since(self.first_heard) < limits::LEASE => Freshness::Suspect,
            _ => Freshness::Lost,
        }
    }

    /// When [`Self::freshness`] changes by itself.
    pub(crate) fn lease_ends_at(&self) -> Mono {
        match self.faith {
            Faith::Revoked => Mono::default(),
            Faith::Kept | Faith::Suspected => self.fresh_at.unwrap_or(self.first_heard) + limits::LEASE,
        }
    }

    /// Whether it may get new players: probed, roster known, and willing.
    pub(crate) fn is_eligible(&self, now: Now) -> bool {
        self.freshness(now) == Freshness::Fresh
            && self.roster.is_known()
            && !self.is_held_back
            && matches!(self.state, ServerState::Online | ServerState::Degraded)
            && !self.profile.endpoints.is_empty()
    }

    /// How it stands, in one word; `backlog` is the pressure of what it has not answered.
    pub(crate) fn condition(&self, backlog: Pressure, now: Now) -> Condition {
        match (self.freshness(now), self.state, self.load.max(backlog)) {
            (Freshness::Suspect | Freshness::Lost, _, _) => Condition::Offline,
            (Freshness::Fresh, _, _) if self.is_draining() => Condition::Draining,
            (Freshness::Fresh, ServerState::Starting, _) => Condition::Starting,
            (Freshness::Fresh, ServerState::Draining, _) => Condition::Draining,
            (Freshness::Fresh, _, Pressure::Overloaded) => Condition::Overloaded,
            (Freshness::Fresh, ServerState::Degraded, _) | (Freshness::Fresh, _, Pressure::Strained) => {
                Condition::Degraded
            }
            (Freshness::Fresh, ServerState::Online, Pressure::Calm) => Condition::Online,
        }
    }

    /// Logs that it may get new players from now on: probed, and its roster known.
    pub(super) fn tell_if_eligible(&self, was_eligible: bool, server: &ServerId, now: Now) {
        if !was_eligible && self.is_eligible(now) {
            info!(target: "handover", server_id = %server, boot = %self.boot, "server.eligible");
        }
    }

    /// That it may have room now, if it may get players at all.
    pub(super) fn room(&self, now: Now) -> Option<News> {
        self.is_eligible(now).then_some(News::Room)
    }

    pub(crate) fn occupancy(&self) -> Occupancy {
        self.occupancy
    }

    /// How full it says it is.
    pub(super) fn population(&self) -> Population {
        let Occupancy { players, held, max_players, .. } = self.occupancy;
        Population::of(u64::from(players) + u64::from(held), max_players)
    }
}
