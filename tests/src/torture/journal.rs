//! What the processes said: their logs, read as they come, reduced to the events that a verdict or a recovery needs.
//!
//! Owns the entries, and who is in game on each run of each server by that server's own words. A line is written before what it tells
//! of leaves the process, so kill -9 loses none that mattered. Knows no rule.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The hub.
    Hub,
    /// A game server, by its number.
    Server(usize),
}

/// One run of one program: a restart is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId {
    /// Which program.
    pub who: Who,
    /// Counted from 1.
    pub run: u32,
}

/// A handover's public id, as text.
pub type Handover = String;

/// One event of one run.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Whose.
    pub by: RunId,
    /// Its name.
    pub event: String,
    /// Empty where there is none.
    pub handover: Handover,
    /// Empty where there is none.
    pub player: String,
    /// Empty where there is none.
    pub fence: String,
    /// Empty where there is none.
    pub server: String,
}

/// A line of JSON; what it lacks is empty.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    message: String,
    handover_id: String,
    player_id: String,
    fence: String,
    server_id: String,
}

/// What is kept of the rest of the log: nothing.
const KEPT: [&str; 8] = [
    "grant.received",
    "grant.held",
    "grant.accepted",
    "token.redeemed",
    "session.left",
    "session.voided",
    "login.answered",
    "server.eligible",
];

#[derive(Debug, Default)]
struct Kept {
    entries: Vec<Entry>,
    live: BTreeMap<RunId, BTreeMap<Handover, String>>,
    /// Lines that are no events: a panic's, say.
    odd: Vec<(RunId, String)>,
}

/// All runs' events, in the order in which they were read.
#[derive(Debug, Default)]
pub struct Journal {
    kept: Mutex<Kept>,
    grown: watch::Sender<usize>,
}

impl Journal {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all that a run logs, until its end.
    pub async fn follow(&self, by: RunId, mut log: watch::Receiver<Vec<String>>) {
        let mut read = 0;
        loop {
            let news: Vec<String> = log.borrow_and_update()[read..].to_vec();
            read += news.len();
            self.take(by, &news);
            if log.changed().await.is_err() {
                let rest: Vec<String> = log.borrow()[read..].to_vec();
                return self.take(by, &rest);
            }
        }
    }

    fn take(&self, by: RunId, lines: &[String]) {
        let mut kept = self.kept();
        for line in lines {
            match serde_json::from_str::<Line>(line) {
                Ok(line) => kept.note(by, line),
                Err(_) => kept.odd.push((by, line.clone())),
            }
        }
        let len = kept.entries.len();
        drop(kept);
        self.grown.send_replace(len);
    }

    /// Where it ends now.
    pub fn mark(&self) -> usize {
        self.kept().entries.len()
    }

    /// The first entry since `mark` that is the one, if it comes by `deadline`.
    pub async fn wait(
        &self,
        mark: usize,
        deadline: Instant,
        is_it: impl Fn(&Entry) -> bool,
    ) -> Option<Entry> {
        let mut grown = self.grown.subscribe();
        let mut seen = mark;
        loop {
            {
                let kept = self.kept();
                if let Some(entry) = kept.entries.iter().skip(seen).find(|entry| is_it(entry)) {
                    return Some(entry.clone());
                }
                seen = kept.entries.len().max(mark);
            }
            let more = tokio::time::timeout_at(deadline, grown.wait_for(|len| *len > seen)).await;
            more.ok()?.ok()?;
        }
    }

    /// Who is in game on this run, by its own words: player by handover.
    pub fn live(&self, run: RunId) -> BTreeMap<Handover, String> {
        self.kept().live.get(&run).cloned().unwrap_or_default()
    }

    /// Everything so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.kept().entries.clone()
    }

    /// Lines that no program of ours writes on purpose.
    pub fn odd(&self) -> Vec<(RunId, String)> {
        self.kept().odd.clone()
    }
}

impl Kept {
    fn note(&mut self, by: RunId, line: Line) {
        if !KEPT.contains(&line.message.as_str()) {
            return;
        }
        let in_game = self.live.entry(by).or_default();
        match line.message.as_str() {
            "token.redeemed" => {
                in_game.insert(line.handover_id.clone(), line.player_id.clone());
            }
            "session.left" | "session.voided" => {
                in_game.remove(&line.handover_id);
            }
            _ => {}
        }
        let Line { message: event, handover_id: handover, player_id: player, fence, server_id: server } =
            line;
        self.entries.push(Entry { by, event, handover, player, fence, server });
    }
}
