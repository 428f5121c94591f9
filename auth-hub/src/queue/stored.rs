//! Tickets as they are stored, and back.
//!
//! What a ticket wishes is bytes to the store, behind a version. Invariant: a wish that another version wrote is left out, not misread.

use serde::{Deserialize, Serialize};

use super::{Class, Line, Party, TicketId, TicketRow};
use crate::accounts::StoredTicket;

/// First byte of a wish.
const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Wish {
    line: Line,
    regions: Vec<String>,
    party: Option<([u8; 32], u8)>,
}

impl TicketRow {
    /// For the store; `None` when it will not fit, which the bounds of requests rule out.
    pub fn to_stored(&self) -> Option<StoredTicket> {
        let party = self.party.map(|party| (party.key, party.size));
        let wish = Wish { line: self.line.clone(), regions: self.regions.clone(), party };
        Some(StoredTicket {
            account: self.account,
            ticket: self.ticket.0,
            arrived_us: self.arrived_us,
            is_reconnect: self.class == Class::Reconnect,
            has_priority: self.class == Class::Priority,
            wish: postcard::to_extend(&wish, vec![VERSION]).ok()?,
        })
    }

    /// What was stored; `None` when this version cannot read it.
    pub fn from_stored(stored: &StoredTicket) -> Option<Self> {
        let Some((&VERSION, wish)) = stored.wish.split_first() else { return None };
        let Ok((Wish { line, regions, party }, [])) = postcard::take_from_bytes::<Wish>(wish) else {
            return None;
        };
        let class = match (stored.is_reconnect, stored.has_priority) {
            (true, _) => Class::Reconnect,
            (false, true) => Class::Priority,
            (false, false) => Class::Normal,
        };
        Some(Self {
            ticket: TicketId(stored.ticket),
            account: stored.account,
            arrived_us: stored.arrived_us,
            class,
            line,
            regions,
            party: party.map(|(key, size)| Party { key, size }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::AccountRow;

    #[test]
    fn a_ticket_reads_back_and_another_versions_does_not() {
        for (class, line) in [
            (Class::Normal, Line::Anywhere),
            (Class::Priority, Line::Server("alpha".parse().unwrap())),
            (Class::Reconnect, Line::Regions(["eu".to_owned()].into())),
        ] {
            let row = TicketRow {
                ticket: TicketId([1; 16]),
                account: AccountRow::from_raw(7),
                arrived_us: 5,
                class,
                line,
                regions: vec!["eu".to_owned(), "us".to_owned()],
                party: Some(Party { key: [2; 32], size: 3 }),
            };
            let mut stored = row.to_stored().unwrap();
            assert_eq!(TicketRow::from_stored(&stored), Some(row));
            stored.wish.push(0);
            assert_eq!(TicketRow::from_stored(&stored), None, "something is behind it");
            stored.wish[0] = 2;
            assert_eq!(TicketRow::from_stored(&stored), None, "a newer version's");
            stored.wish.clear();
            assert_eq!(TicketRow::from_stored(&stored), None);
        }
    }
}
