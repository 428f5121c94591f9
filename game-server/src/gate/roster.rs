//! The roster in pages, for a hub whose view does not match our digest.
//!
//! Owns nothing. Invariant: all pages of one answer are as of one (boot, rev), at least one, none over its bound.

use shared_msgs::limits;
use shared_msgs::messages::{RosterEntry, ServerMessage, Stamp};

use super::{Gate, note};

impl Gate {
    pub(super) fn on_roster(&mut self, request: u64) {
        let entries = self.ledger.entries();
        let pages = pages(self.stamp(false), request, &entries);
        note!(
            self,
            info,
            "roster.sent",
            rev = self.ledger.rev(),
            entries = entries.len(),
            pages = pages.len()
        );
        for page in pages {
            self.send(page);
        }
    }
}

fn pages(stamp: Stamp, request: u64, entries: &[RosterEntry]) -> Vec<ServerMessage> {
    let mut chunks: Vec<&[RosterEntry]> = entries.chunks(limits::ROSTER_PAGE_ENTRIES_MAX).collect();
    if chunks.is_empty() {
        chunks.push(&[]);
    }
    let pages = u16::try_from(chunks.len()).unwrap_or(u16::MAX);
    let page = |(page, entries): (u16, &[RosterEntry])| ServerMessage::RosterPage {
        stamp,
        request,
        page,
        pages,
        entries: entries.to_vec(),
    };
    (0..pages).zip(chunks).map(page).collect()
}
