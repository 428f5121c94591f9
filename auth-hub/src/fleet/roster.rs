//! What the hub believes lives on one server: held grants and sessions.
//!
//! Kept up by change messages, each numbered by the server; checked against the digest in every status. A gap in the
//! numbers or a digest that differs makes it stale, and a stale roster is asked for anew, in pages. Knows no accounts.

use std::collections::BTreeMap;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::ids::{PlayerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::{RosterDigest, RosterEntry};

/// How long change messages may lag behind a status before they count as lost.
const GAP_GRACE: std::time::Duration = limits::RESEND_FIRST;
/// Entries of one server: each slot may have a session and some held grants that take over from one another.
const ENTRIES_MAX: usize = 4 * limits::PLAYERS_PER_SERVER_MAX as usize;
/// Pages of one answer.
const PAGES_MAX: usize = ENTRIES_MAX / limits::ROSTER_PAGE_ENTRIES_MAX;

/// One server's roster as of one revision.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    /// By player, so that all of one player's are found at once.
    entries: BTreeMap<(PlayerId, TokenHash), RosterEntry>,
    digest: RosterDigest,
    /// The last change applied.
    rev: u64,
    sync: Sync,
    /// Numbers requests, so that pages of an abandoned one are not mixed in.
    requests: u64,
}

#[derive(Debug, Default)]
enum Sync {
    /// Matches the newest digest as far as we can tell.
    #[default]
    Known,
    /// A status spoke of changes we have not seen; they may still be on their way.
    Behind { since: Mono, rev: u64 },
    /// Something is lost: to be asked for at once.
    Stale,
    /// Asked for.
    Requested { at: Mono, pages: Option<Pages> },
}

#[derive(Debug)]
struct Pages {
    rev: u64,
    of: u16,
    got: BTreeMap<u16, Vec<RosterEntry>>,
}

impl Roster {
    pub(crate) fn entries(&self) -> impl Iterator<Item = &RosterEntry> {
        self.entries.values()
    }

    /// Whether this player is here with this token.
    pub(crate) fn has(&self, player: PlayerId, hash: TokenHash) -> bool {
        self.entries.contains_key(&(player, hash))
    }

    pub(crate) fn of_player(&self, player: PlayerId) -> impl Iterator<Item = &RosterEntry> {
        let all = (player, TokenHash([0; 32]))..=(player, TokenHash([0xff; 32]));
        self.entries.range(all).map(|(_, entry)| entry)
    }

    /// Whether placement and one-session decisions may rely on it. Merely lagging changes are of our own making
    /// or lower the occupancy, which travels in every message; only a lost one is dangerous.
    pub(crate) fn is_known(&self) -> bool {
        matches!(self.sync, Sync::Known | Sync::Behind { .. })
    }

    /// Pages waiting for the others of their answer.
    #[cfg(test)]
    pub(crate) fn pages_collected(&self) -> usize {
        match &self.sync {
            Sync::Requested { pages: Some(pages), .. } => pages.got.len(),
            _ => 0,
        }
    }

    /// Applies one change. `add` is the entry as it stands after the change, `None` when it left.
    pub(crate) fn apply(
        &mut self,
        rev: u64,
        player: PlayerId,
        hash: TokenHash,
        add: Option<RosterEntry>,
        now: Now,
    ) {
        if rev <= self.rev {
            return;
        }
        let gap = rev > self.rev + 1;
        if let Some(old) = self.entries.remove(&(player, hash)) {
            self.digest.remove(&old);
        }
        // A server over the bound is out of its mind: its digest will differ, and it gets nobody.
        if let Some(entry) = add.filter(|_| self.entries.len() < ENTRIES_MAX) {
            self.digest.add(&entry);
            self.entries.insert((player, hash), entry);
        }
        self.rev = rev;
        match &mut self.sync {
            // Pages as of an earlier revision would undo this change: they are asked for again.
            Sync::Requested { pages, .. } => *pages = None,
            sync if gap => *sync = Sync::Stale,
            // They have come, late; what more the server has done since, its next status says.
            Sync::Behind { rev: awaited, .. } if rev >= *awaited => self.sync = Sync::Known,
            Sync::Behind { since, .. } => *since = now.mono,
            Sync::Known | Sync::Stale => {}
        }
    }

    /// Compares with a status. `same_stream` is false when the server has reconnected, so that nothing older is still on its way.
    pub(crate) fn check(&mut self, rev: u64, digest: &RosterDigest, same_stream: bool, now: Now) {
        if rev < self.rev || matches!(self.sync, Sync::Requested { .. }) {
            return;
        }
        let matches = *digest == self.digest;
        if rev == self.rev || (matches && !same_stream) {
            self.rev = rev;
            self.sync = if matches { Sync::Known } else { Sync::Stale };
        } else if !same_stream {
            self.sync = Sync::Stale;
        } else if matches!(self.sync, Sync::Known) {
            self.sync = Sync::Behind { since: now.mono, rev };
        }
    }

    /// The number of a request to send now, if one is due.
    pub(crate) fn request_due(&mut self, now: Now) -> Option<u64> {
        let due = match self.sync {
            Sync::Known => false,
            Sync::Stale => true,
            Sync::Behind { since, .. } => now.mono >= since + GAP_GRACE,
            Sync::Requested { at, .. } => now.mono >= at + limits::STATUS_BEAT,
        };
        due.then(|| {
            self.requests += 1;
            self.sync = Sync::Requested { at: now.mono, pages: None };
            self.requests
        })
    }

    /// When [`Self::request_due`] wants to be asked again.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        match self.sync {
            Sync::Known => None,
            Sync::Stale => Some(Mono(0)),
            Sync::Behind { since, .. } => Some(since + GAP_GRACE),
            Sync::Requested { at, .. } => Some(at + limits::STATUS_BEAT),
        }
    }

    /// Takes one page. True when it was the last one missing and the roster is now the server's. Pages as of one revision are
    /// the same whichever request they answer, and each one that comes puts off asking again: a slow link must get there too.
    pub(crate) fn on_page(
        &mut self,
        request: u64,
        rev: u64,
        page: u16,
        of: u16,
        entries: Vec<RosterEntry>,
        now: Now,
    ) -> bool {
        let Sync::Requested { at, pages } = &mut self.sync else { return false };
        if request > self.requests || rev < self.rev || usize::from(of) > PAGES_MAX {
            return false;
        }
        let fits = pages.as_ref().is_none_or(|p| p.rev == rev && p.of == of);
        if !fits {
            *pages = None;
        }
        *at = now.mono;
        let collected = pages.get_or_insert_with(|| Pages { rev, of, got: BTreeMap::new() });
        collected.got.insert(page, entries);
        if collected.got.len() < usize::from(of) {
            return false;
        }
        let all = std::mem::take(&mut collected.got).into_values().flatten();
        self.entries = all.map(|entry| ((entry.player, entry.hash), entry)).collect();
        self.digest = RosterDigest::default();
        for entry in self.entries.values() {
            self.digest.add(entry);
        }
        self.rev = rev;
        self.sync = Sync::Known;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared_msgs::clock::UnixMs;
    use shared_msgs::ids::Fence;
    use shared_msgs::messages::EntryKind;

    fn at(ms: u64) -> Now {
        Now { mono: Mono(ms), unix: UnixMs(ms) }
    }

    fn entry(n: u8) -> RosterEntry {
        RosterEntry {
            hash: TokenHash([n; 32]),
            player: PlayerId([n; 16]),
            fence: Fence { hlc: n.into(), hub: 0 },
            kind: EntryKind::Live,
        }
    }

    fn digest(entries: &[u8]) -> RosterDigest {
        let mut digest = RosterDigest::default();
        for n in entries {
            digest.add(&entry(*n));
        }
        digest
    }

    fn with(entries: &[u8]) -> Roster {
        let mut roster = Roster::default();
        for (rev, n) in (1..).zip(entries) {
            roster.apply(rev, entry(*n).player, entry(*n).hash, Some(entry(*n)), at(1));
        }
        roster
    }

    #[test]
    fn changes_in_order_keep_it_known_and_a_matching_digest_confirms() {
        let mut roster = with(&[1, 2]);
        roster.apply(3, entry(1).player, entry(1).hash, None, at(2));
        roster.check(3, &digest(&[2]), true, at(3));
        assert!(roster.is_known() && roster.request_due(at(10_000)).is_none());
        roster.apply(2, entry(2).player, entry(2).hash, None, at(4));
        assert_eq!(roster.entries().count(), 1, "an old change was applied again");
    }

    #[test]
    fn changes_still_on_their_way_are_waited_for() {
        let mut roster = with(&[1]);
        roster.check(2, &digest(&[1, 2]), true, at(100));
        assert!(roster.request_due(at(101)).is_none());
        roster.apply(2, entry(2).player, entry(2).hash, Some(entry(2)), at(102));
        roster.check(2, &digest(&[1, 2]), true, at(103));
        assert!(roster.request_due(at(10_000)).is_none());
    }

    #[test]
    fn each_change_that_comes_gives_those_behind_it_a_grace_of_their_own() {
        let mut roster = with(&[1]);
        roster.check(3, &digest(&[1, 2, 3]), true, at(100));
        roster.apply(2, entry(2).player, entry(2).hash, Some(entry(2)), at(200));
        assert!(roster.request_due(at(199).plus(GAP_GRACE)).is_none());
        assert!(roster.request_due(at(200).plus(GAP_GRACE)).is_some());
    }

    #[test]
    fn changes_that_undo_each_other_are_waited_for_all_the_same() {
        let mut roster = with(&[1]);
        roster.check(3, &digest(&[1]), true, at(100));
        assert!(roster.request_due(at(100).plus(GAP_GRACE)).is_some());
    }

    #[test]
    fn lost_changes_are_asked_for_after_the_grace_or_at_once_after_a_gap_or_a_reconnect() {
        let mut late = with(&[1]);
        late.check(2, &digest(&[1, 2]), true, at(100));
        assert!(late.request_due(at(100).plus(GAP_GRACE)).is_some());
        let mut gap = with(&[1]);
        gap.apply(3, entry(3).player, entry(3).hash, Some(entry(3)), at(100));
        assert!(gap.request_due(at(100)).is_some());
        let mut reconnected = with(&[1]);
        reconnected.check(2, &digest(&[1, 2]), false, at(100));
        assert!(reconnected.request_due(at(100)).is_some());
        assert!(!reconnected.is_known());
    }

    #[test]
    fn pages_replace_the_roster_when_all_of_one_revision_are_there() {
        let mut roster = with(&[1]);
        roster.check(4, &digest(&[2, 3]), false, at(1));
        let request = roster.request_due(at(1)).unwrap();
        assert!(!roster.on_page(request, 4, 0, 2, vec![entry(2)], at(3)));
        assert!(!roster.on_page(request + 1, 4, 1, 2, vec![entry(9)], at(3)), "another request's page");
        assert!(roster.on_page(request, 4, 1, 2, vec![entry(3)], at(3)));
        assert_eq!(roster.entries().count(), 2);
        roster.check(4, &digest(&[2, 3]), true, at(2));
        assert!(roster.is_known() && roster.request_due(at(9_000)).is_none());
    }

    #[test]
    fn a_change_in_the_middle_of_the_pages_voids_them_until_asked_again() {
        let mut roster = with(&[1]);
        roster.check(4, &digest(&[2, 3]), false, at(1));
        let request = roster.request_due(at(1)).unwrap();
        assert!(!roster.on_page(request, 4, 0, 2, vec![entry(2)], at(3)));
        roster.apply(5, entry(2).player, entry(2).hash, None, at(2));
        assert!(!roster.on_page(request, 4, 1, 2, vec![entry(3)], at(3)), "as of before the change");
        assert!(!roster.is_known());
        let again = roster.request_due(at(3).plus(limits::STATUS_BEAT)).unwrap();
        assert!(roster.on_page(again, 5, 0, 1, vec![entry(3)], at(3)));
    }

    #[test]
    fn a_roster_that_takes_longer_than_a_beat_arrives_all_the_same() {
        let mut roster = with(&[1]);
        roster.check(4, &digest(&[2, 3]), false, at(1));
        let request = roster.request_due(at(1)).unwrap();
        assert!(!roster.on_page(request, 4, 0, 2, vec![entry(2)], at(1_900)));
        assert_eq!(roster.request_due(at(2_100)), None, "asked again while pages were coming");
        // Even when it is asked again, what the first request still brings counts.
        let again = roster.request_due(at(1_900).plus(limits::STATUS_BEAT)).unwrap();
        assert!(!roster.on_page(request, 4, 0, 2, vec![entry(2)], at(4_000)));
        assert!(roster.on_page(again, 4, 1, 2, vec![entry(3)], at(4_001)));
        assert!(roster.is_known());
    }

    #[test]
    fn a_roster_at_its_bound_takes_no_more_entries() {
        let mut roster = Roster::default();
        for rev in 1..=ENTRIES_MAX as u64 + 1 {
            let mut entry = entry(1);
            entry.hash.0[..8].copy_from_slice(&rev.to_be_bytes());
            roster.apply(rev, entry.player, entry.hash, Some(entry), at(1));
        }
        assert_eq!(roster.entries().count(), ENTRIES_MAX);
    }

    #[test]
    fn as_many_pages_are_collected_as_a_roster_can_have() {
        for (of, collected) in [(PAGES_MAX, 1), (PAGES_MAX + 1, 0)] {
            let mut roster = with(&[1]);
            roster.check(4, &digest(&[2]), false, at(1));
            let request = roster.request_due(at(1)).unwrap();
            roster.on_page(request, 4, 0, u16::try_from(of).unwrap(), vec![entry(2)], at(1));
            assert_eq!(roster.pages_collected(), collected, "{of}");
        }
    }

    #[test]
    fn pages_of_different_answers_are_not_put_together() {
        for (rev, of) in [(5, 2), (4, 3)] {
            let mut roster = with(&[1]);
            roster.check(4, &digest(&[2, 3]), false, at(1));
            let request = roster.request_due(at(1)).unwrap();
            assert!(!roster.on_page(request, 4, 0, 2, vec![entry(2)], at(1)));
            assert!(!roster.on_page(request, rev, 1, of, vec![entry(3)], at(1)));
            assert_eq!(roster.pages_collected(), 1, "rev {rev}, {of} pages");
        }
    }

    trait Plus {
        fn plus(self, by: std::time::Duration) -> Self;
    }
    impl Plus for Now {
        fn plus(self, by: std::time::Duration) -> Self {
            Now { mono: self.mono + by, unix: self.unix + by }
        }
    }
}
