//! Judging stories against what the servers logged and what the torture did.
//!
//! Pure: knows no process and no time but the stories'. Of each handover that was answered with 200, one of:
//!
//! - **welcomed**: one show of its token was.
//! - **refused**: no show was, and the last word was a legal one. For an unconfirmed handover any named refusal is, but `token-spent`
//!   after no welcome. For a confirmed one only `superseded`, and only if some server held a grant of a higher fence for the same
//!   player: newer wins.
//! - **excused**: no welcome was heard, and the server's process that held the grant was stopped (killed, or asked to drain) before the last word;
//!   or the connection between client and server was severed, half-closed or refused by us during a show; or the client came late.
//!   Holding bytes back and passing them on slowly excuse nothing; nor does whatever happens to the hub or to the bus.
//! - **LOST**: none of these. Also when the hub said `confirmed` and no run of the server has ever held the grant, when a session ended
//!   without its player's will, a stop, a cut or a newer handover, and when the hub left a request without an answer while neither it nor
//!   its HTTP leg was disturbed.
//! - **DOUBLED**: two welcomes for one token, heard or logged, on whatever run; or a welcome that is somebody else's.

use std::collections::BTreeMap;

use shared_msgs::clock::Mono;

use super::journal::{Entry, Handover, RunId, Who};
use super::story::{Ending, Heard, Show, Story, Unanswered};

/// A client that comes later than this before its token's expiry is late.
pub const IN_TIME_MS: u64 = 30_000;

/// Where a connection leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// From clients to the hub's HTTP.
    Http,
    /// From clients to this server.
    Game(usize),
}

/// A time during which connections of a leg may have broken.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Which leg.
    pub leg: Leg,
    /// Before the first.
    pub from: Mono,
    /// After the last.
    pub until: Mono,
}

/// When a run was there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// When it said that it was ready.
    pub ready: Option<Mono>,
    /// When it was killed or asked to stop.
    pub stopped: Option<Mono>,
}

/// What the torture did.
#[derive(Debug, Default, Clone)]
pub struct Deeds {
    /// All runs.
    pub runs: BTreeMap<RunId, Span>,
    /// All cuts.
    pub cuts: Vec<Cut>,
}

/// A fence, in its order.
type Fence = (u64, u64, u64);

/// A grant that a server said yes to.
#[derive(Debug, Clone)]
struct Held {
    by: RunId,
    player: String,
    fence: Fence,
}

/// All that stories are judged by.
#[derive(Debug, Default)]
pub struct Facts {
    deeds: Deeds,
    /// By server too: a handover may have been held elsewhere before, and cancelled there.
    held: BTreeMap<(Handover, Who), Held>,
    redeemed: BTreeMap<Handover, Vec<RunId>>,
    highest: BTreeMap<String, Fence>,
}

/// What became of a handover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// One welcome.
    Welcomed,
    /// A legal refusal, by its code.
    Refused(String),
    /// None, and rightly so.
    Excused(&'static str),
    /// The client never came.
    Unshown,
    /// Against the promise.
    Lost(String),
    /// Against the promise.
    Doubled(String),
}

fn fence(text: &str) -> Fence {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

impl Facts {
    /// From what was logged and done.
    pub fn new(entries: &[Entry], deeds: Deeds) -> Self {
        let mut facts = Self { deeds, ..Self::default() };
        let mut fences: BTreeMap<(&str, RunId), Fence> = BTreeMap::new();
        for entry in entries {
            match entry.event.as_str() {
                "grant.received" => {
                    fences.insert((&entry.handover, entry.by), fence(&entry.fence));
                }
                "grant.held" => {
                    let fence = fences.get(&(entry.handover.as_str(), entry.by)).copied().unwrap_or_default();
                    let highest = facts.highest.entry(entry.player.clone()).or_default();
                    *highest = fence.max(*highest);
                    let held = Held { by: entry.by, player: entry.player.clone(), fence };
                    facts.held.insert((entry.handover.clone(), entry.by.who), held);
                }
                "token.redeemed" => facts.redeemed.entry(entry.handover.clone()).or_default().push(entry.by),
                _ => {}
            }
        }
        facts
    }

    fn held(&self, story: &Story) -> Option<&Held> {
        self.held.get(&(story.handover.clone(), Who::Server(story.server)))
    }

    fn is_outrun(&self, story: &Story) -> bool {
        self.held(story).is_some_and(|held| self.highest.get(&held.player) > Some(&held.fence))
    }

    fn was_cut(&self, leg: Leg, from: Mono, until: Mono) -> bool {
        self.deeds.cuts.iter().any(|cut| cut.leg == leg && cut.from <= until && cut.until >= from)
    }

    fn was_stopped(&self, run: RunId, by: Mono) -> bool {
        self.deeds.runs.get(&run).and_then(|span| span.stopped).is_some_and(|at| at <= by)
    }

    fn was_ready(&self, run: RunId, by: Mono) -> bool {
        self.deeds.runs.get(&run).and_then(|span| span.ready).is_some_and(|at| at < by)
    }

    /// Whether no run of a program was there for all of that time.
    fn was_away(&self, who: Who, from: Mono, until: Mono) -> bool {
        let mut runs = self.deeds.runs.iter().filter(|(run, _)| run.who == who).map(|(_, span)| span);
        // Within one millisecond nobody knows what came first.
        !runs.any(|span| span.ready.is_some_and(|at| at < from) && span.stopped.is_none_or(|at| at > until))
    }

    /// Why no word can be expected of this show, if so.
    fn excuse(&self, story: &Story, shows: &[Show]) -> Option<&'static str> {
        let (first, last) = (shows.first()?, shows.iter().map(|show| show.over).max()?);
        let stopped = match self.held(story) {
            // Not yet ready: it may have said yes before clients were led to it.
            Some(held) => self.was_stopped(held.by, last) || !self.was_ready(held.by, first.began),
            None => self.was_away(Who::Server(story.server), story.asked, last),
        };
        if stopped {
            return Some("server stopped");
        }
        let leg = Leg::Game(story.server);
        if shows.iter().any(|show| self.was_cut(leg, show.began, show.over)) {
            return Some("client's connection cut");
        }
        (first.began.0 + IN_TIME_MS > story.expires.0).then_some("client late")
    }

    /// Judges what became of a handover's token.
    pub fn judge(&self, story: &Story) -> Verdict {
        let redeemed = self.redeemed.get(&story.handover).map_or(&[][..], Vec::as_slice);
        let welcomes = story.shows.iter().filter(|show| matches!(show.heard, Heard::Welcome { .. })).count();
        if welcomes > 1 || redeemed.len() > 1 {
            return Verdict::Doubled(format!("{welcomes} welcomes heard, redeemed by {redeemed:?}"));
        }
        for show in &story.shows {
            if let Heard::Welcome { name, server, session } = &show.heard
                && (name, server, session) != (&story.login, &story.server_id, &story.handover)
            {
                return Verdict::Doubled(format!("welcomed as {name} on {server}, session {session}"));
            }
        }
        if story.confirmed && self.held(story).is_none() {
            return Verdict::Lost("confirmed, and the server has never held the grant".to_owned());
        }
        if welcomes == 1 {
            return Verdict::Welcomed;
        }
        if story.shows.is_empty() {
            return Verdict::Unshown;
        }
        let codes = story.shows.iter().rev().filter_map(|show| match &show.heard {
            Heard::Refused { code } => Some(code.as_str()),
            _ => None,
        });
        let codes: Vec<&str> = codes.collect();
        if codes.contains(&"superseded") && self.is_outrun(story) {
            return Verdict::Refused("superseded".to_owned());
        }
        if let Some(excuse) = self.excuse(story, &story.shows) {
            return Verdict::Excused(excuse);
        }
        match codes.first() {
            // Spent by whom, if nobody was welcomed?
            Some(code) if !story.confirmed && *code != "token-spent" => Verdict::Refused((*code).to_owned()),
            Some(code) => Verdict::Lost(format!("refused {code}")),
            None => Verdict::Lost(format!("no word: {:?}", story.shows.last().map(|show| &show.heard))),
        }
    }

    /// What is wrong with the end of a story's session, if anything is.
    pub fn judge_end(&self, story: &Story, end: &Ending) -> Option<String> {
        let run = self.redeemed.get(&story.handover).and_then(|runs| runs.first());
        let stopped = run.is_none_or(|run| self.was_stopped(*run, end.at));
        let legal = match &end.heard {
            Heard::Refused { code } if code == "superseded" => self.is_outrun(story),
            Heard::Refused { code } if code == "server-draining" || code == "server-closed" => stopped,
            Heard::Gone(_) => stopped || self.was_cut(Leg::Game(story.server), end.began, end.at),
            Heard::Welcome { .. } | Heard::Refused { .. } => false,
        };
        (!legal).then(|| format!("a session ended by {:?}", end.heard))
    }

    /// What is wrong with a request that got no answer, if anything is.
    pub fn judge_unanswered(&self, ask: &Unanswered) -> Option<String> {
        let disturbed =
            self.was_away(Who::Hub, ask.asked, ask.failed) || self.was_cut(Leg::Http, ask.asked, ask.failed);
        let Unanswered { login, asked, failed, error } = ask;
        (!disturbed)
            .then(|| format!("{login}: asked at {} ms, no answer at {} ms: {error}", asked.0, failed.0))
    }
}
