//! What became of an account's last handovers, for whoever is asked by a player: the steps that the log has, kept together.
//!
//! [`step!`] writes the log and the journal in one call, so that they cannot disagree. A story goes on after its client was answered: its
//! token's hash leads back to it. Invariant: everything is bounded, and the longest unused account goes first. Knows no fleet.
//!
//! Memory, measured: 0.8 KiB for an account with one handover of eight steps, 0.5 KiB for each further one and at most 0.2 KiB more for
//! one of 32; some 35 MB when full.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use shared_msgs::clock::UnixMs;
use shared_msgs::ids::{HandoverId, ServerId, TokenHash};

use super::operations::{Step, Story};
use crate::accounts::AccountRow;

/// Accounts kept.
const ACCOUNTS_MAX: usize = 16_384;
/// Handovers of each.
const STORIES_MAX: usize = 10;
/// Handovers in all.
const ALL_STORIES_MAX: usize = 65_536;
/// Steps of each.
const STEPS_MAX: usize = 32;
/// Tokens by which a story is found again: one for each server that it tried.
const HASHES_MAX: usize = 8;
/// Names of servers that steps can name; a fleet that has had more leaves them out.
const SERVERS_MAX: usize = 8_192;

/// One step of a handover: to the log and to the journal.
macro_rules! step {
    ($level:ident, $core:expr, $now:expr, $id:expr, $server:expr, $code:expr, $name:literal $(, $($field:tt)+)?) => {{
        let (id, server, code): (_, Option<&shared_msgs::ids::ServerId>, Option<&'static str>) = ($id, $server, $code);
        let server_id = server.map(tracing::field::display);
        tracing::$level!(target: "handover", handover_id = %id, server_id, code, $($($field)+,)? $name);
        $core.journal.step(id, $name, server, code, $now.unix);
    }};
}
pub(super) use step;

/// A step in eight bytes: a full journal is large enough as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    /// Since the story's first step.
    after_ms: u32,
    event: u8,
    /// 0: none.
    code: u8,
    /// 0: none.
    server: u16,
}

#[derive(Debug)]
struct Entry {
    handover: HandoverId,
    since: UnixMs,
    marks: VecDeque<Mark>,
    hashes: Vec<TokenHash>,
    superseded_by: Option<HandoverId>,
}

#[derive(Debug, Default)]
struct Page {
    used: u64,
    /// The oldest first.
    stories: VecDeque<Entry>,
}

/// The journal.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pages: BTreeMap<AccountRow, Page>,
    by_use: BTreeSet<(u64, AccountRow)>,
    uses: u64,
    accounts: BTreeMap<HandoverId, AccountRow>,
    hashes: BTreeMap<TokenHash, HandoverId>,
    /// Events and codes, as marks number them.
    words: Vec<&'static str>,
    servers: BTreeMap<ServerId, u16>,
}

impl Journal {
    /// A handover begins. Its steps are kept from now on.
    pub(crate) fn open(&mut self, account: AccountRow, handover: HandoverId, now: UnixMs) {
        let is_full = !self.pages.contains_key(&account) && self.pages.len() >= ACCOUNTS_MAX;
        if is_full || self.accounts.len() >= ALL_STORIES_MAX {
            self.forget_one();
        }
        self.uses += 1;
        let page = self.pages.entry(account).or_default();
        self.by_use.remove(&(page.used, account));
        page.used = self.uses;
        self.by_use.insert((page.used, account));
        let (marks, hashes) = (VecDeque::new(), Vec::with_capacity(1));
        page.stories.push_back(Entry { handover, since: now, marks, hashes, superseded_by: None });
        let over = if page.stories.len() > STORIES_MAX { page.stories.pop_front() } else { None };
        self.accounts.insert(handover, account);
        if let Some(entry) = over {
            self.unindex(&entry);
        }
    }

    fn forget_one(&mut self) {
        let Some((_, account)) = self.by_use.pop_first() else { return };
        for entry in self.pages.remove(&account).into_iter().flat_map(|page| page.stories) {
            self.unindex(&entry);
        }
    }

    fn unindex(&mut self, entry: &Entry) {
        self.accounts.remove(&entry.handover);
        for hash in &entry.hashes {
            self.hashes.remove(hash);
        }
    }

    fn entry(&mut self, handover: HandoverId) -> Option<&mut Entry> {
        let stories = &mut self.pages.get_mut(self.accounts.get(&handover)?)?.stories;
        // Almost always the newest.
        stories.iter_mut().rev().find(|entry| entry.handover == handover)
    }

    /// One step; of a handover that is not kept, nothing.
    pub(crate) fn step(
        &mut self,
        handover: HandoverId,
        event: &'static str,
        server: Option<&ServerId>,
        code: Option<&'static str>,
        now: UnixMs,
    ) {
        if !self.accounts.contains_key(&handover) {
            return;
        }
        let (event, code) = (self.word(event), code.map_or(0, |code| self.word(code)));
        let server = server.map_or(0, |server| self.server(server));
        let Some(entry) = self.entry(handover) else { return };
        let after_ms = u32::try_from(now.0.saturating_sub(entry.since.0)).unwrap_or(u32::MAX);
        if entry.marks.len() == STEPS_MAX {
            entry.marks.pop_front();
        }
        entry.marks.push_back(Mark { after_ms, event, code, server });
    }

    /// Its number, from 1. There are fewer than fifty, all of them in our own code.
    fn word(&mut self, word: &'static str) -> u8 {
        let at = self.words.iter().position(|known| *known == word).unwrap_or_else(|| {
            self.words.push(word);
            self.words.len() - 1
        });
        u8::try_from(at + 1).unwrap_or(0)
    }

    fn server(&mut self, server: &ServerId) -> u16 {
        if let Some(known) = self.servers.get(server) {
            return *known;
        }
        if self.servers.len() >= SERVERS_MAX {
            return 0;
        }
        let number = u16::try_from(self.servers.len() + 1).unwrap_or(0);
        self.servers.insert(server.clone(), number);
        number
    }

    /// A handover is known by this token from now on.
    pub(crate) fn granted(&mut self, handover: HandoverId, hash: TokenHash) {
        let Some(entry) = self.entry(handover) else { return };
        let over = if entry.hashes.len() == HASHES_MAX { Some(entry.hashes.remove(0)) } else { None };
        entry.hashes.push(hash);
        self.hashes.insert(hash, handover);
        over.map(|over| self.hashes.remove(&over));
    }

    /// Which handover a token belongs to.
    pub(crate) fn handover_of(&self, hash: &TokenHash) -> Option<HandoverId> {
        self.hashes.get(hash).copied()
    }

    /// Whether the last step of a handover is this one; `false` for one that is not kept.
    pub(crate) fn ends_with(&mut self, handover: HandoverId, event: &'static str) -> bool {
        let event = self.word(event);
        self.entry(handover).and_then(|entry| entry.marks.back()).is_some_and(|mark| mark.event == event)
    }

    /// A newer handover takes this one's place away.
    pub(crate) fn superseded(&mut self, handover: HandoverId, by: HandoverId) {
        if let Some(entry) = self.entry(handover).filter(|_| handover != by) {
            entry.superseded_by.get_or_insert(by);
        }
    }

    /// An account's handovers, the newest first.
    pub(crate) fn explain(&self, account: AccountRow) -> Vec<Story> {
        let servers: BTreeMap<u16, &ServerId> = self.servers.iter().map(|(id, n)| (*n, id)).collect();
        let stories = self.pages.get(&account).into_iter().flat_map(|page| page.stories.iter().rev());
        stories.map(|entry| self.story(entry, &servers)).collect()
    }

    fn story(&self, entry: &Entry, servers: &BTreeMap<u16, &ServerId>) -> Story {
        let word = |n: u8| n.checked_sub(1).and_then(|n| self.words.get(usize::from(n))).copied();
        let step = |mark: &Mark| Step {
            at: UnixMs(entry.since.0.saturating_add(mark.after_ms.into())),
            event: word(mark.event).unwrap_or_default(),
            server: servers.get(&mark.server).map(|id| (*id).clone()),
            code: word(mark.code),
        };
        let steps: Vec<Step> = entry.marks.iter().map(step).collect();
        let outcome = outcome(&steps, entry.superseded_by);
        Story { handover: entry.handover, steps, outcome }
    }
}

/// How it stands, by the last step that says so.
fn outcome(steps: &[Step], superseded_by: Option<HandoverId>) -> String {
    let says = |step: &&Step| {
        let is_of_place = matches!(step.event, "session.began" | "session.over" | "handover.answered");
        is_of_place || step.event == "handover.refused" || step.event == "grant.refused"
    };
    let was_answered = steps.iter().any(|step| step.event == "handover.answered");
    let Some(last) = steps.iter().rev().find(says) else { return "under way".into() };
    let server = last.server.as_ref().map_or("a server", ServerId::as_str);
    let by = superseded_by.map(|by| format!(", handover {by}")).unwrap_or_default();
    match (last.event, last.code) {
        ("session.began", _) => format!("in game on {server}"),
        ("session.over", None) => format!("played on {server} and left"),
        ("session.over", Some("superseded")) => {
            format!("played on {server} until a newer login took over{by}")
        }
        ("session.over", Some("kicked")) => format!("played on {server} until an operator ended the session"),
        ("session.over", Some("banned")) => format!("played on {server} until the account was shut out"),
        ("session.over", Some(code)) => format!("played on {server} until the session was ended: {code}"),
        ("handover.answered", _) => format!("told to go to {server}, and not come there yet"),
        ("handover.refused", code) => format!("came to nothing: {}", code.unwrap_or("no reason")),
        // Only a no to a place that the client was sent to is the end of it; after any other the search goes on.
        (_, _) if !was_answered => "under way".into(),
        (_, Some("token-expired")) => format!("sent to {server}, and nobody came with the token in time"),
        (_, Some("superseded")) => format!("sent to {server}, and a newer login took over first{by}"),
        (_, code) => {
            format!("sent to {server}, and the place was taken back: {}", code.unwrap_or("no reason"))
        }
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
