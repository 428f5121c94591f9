//! The queue under anything that may happen to it, in any order: after each step its books agree, and who is next is who should be.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shared_msgs::clock::Now;

use super::*;

const SERVERS: [&str; 2] = ["a", "b"];

#[derive(Debug, Clone)]
enum Step {
    Join { account: i64, class: u8, line: u8, party: u8 },
    Saved { nth: usize, is_priority: bool },
    Seen(usize),
    Pass(u32),
    Reserve(u8),
    Claim(usize),
    Granted(usize),
    GiveBack(usize),
    Admitted(usize),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let nth = 0..64_usize;
    prop_oneof![
        4 => (0..40_i64, 0..3_u8, 0..3_u8, 0..6_u8)
            .prop_map(|(account, class, line, party)| Step::Join { account, class, line, party }),
        4 => (nth.clone(), any::<bool>()).prop_map(|(nth, is_priority)| Step::Saved { nth, is_priority }),
        2 => nth.clone().prop_map(Step::Seen),
        2 => (0..40_000_u32).prop_map(Step::Pass),
        3 => (0..2_u8).prop_map(Step::Reserve),
        2 => nth.clone().prop_map(Step::Claim),
        1 => nth.clone().prop_map(Step::Granted),
        1 => nth.clone().prop_map(Step::GiveBack),
        1 => nth.clone().prop_map(Step::Admitted),
        1 => nth.prop_map(Step::Remove),
    ]
}

fn line(n: u8) -> Line {
    match n {
        0 => Line::Anywhere,
        1 => Line::Server("a".parse().unwrap()),
        _ => Line::Regions(["eu".to_owned()].into()),
    }
}

struct Bench {
    queue: Queue,
    now: Now,
    made: u8,
}

impl Bench {
    fn nth(&self, nth: usize) -> Option<TicketId> {
        self.queue.tickets.keys().nth(nth % self.queue.tickets.len().max(1)).copied()
    }

    fn take(&mut self, step: &Step) {
        let class = |n: u8| [Class::Normal, Class::Priority, Class::Reconnect][usize::from(n % 3)];
        match *step {
            Step::Join { account, class: of, line: to, party } => {
                let account = AccountRow::from_raw(account);
                if self.queue.ticket_of(account).is_some() {
                    return;
                }
                self.made = self.made.wrapping_add(1);
                let ticket = TicketId([self.made; 16]);
                let party = (party > 3).then_some(Party { key: [party; 32], size: 2 });
                // Enough of them were made that an old one may still be here.
                if !self.queue.tickets.contains_key(&ticket) {
                    let _ = self.queue.join(ticket, account, line(to), party, class(of), self.now);
                }
            }
            Step::Saved { nth, is_priority } => {
                let class = if is_priority { Class::Priority } else { Class::Normal };
                self.nth(nth).into_iter().for_each(|id| self.queue.saved(id, class));
            }
            Step::Seen(nth) => {
                self.nth(nth).map(|id| self.queue.seen(id, self.now.mono));
            }
            Step::Pass(ms) => {
                self.now.mono = self.now.mono + Duration::from_millis(ms.into());
                self.now.unix = self.now.unix + Duration::from_millis(ms.into());
                self.queue.tick(self.now.mono);
                assert!(
                    self.queue.next_deadline().is_none_or(|at| at > self.now.mono),
                    "a tick left something due"
                );
            }
            Step::Reserve(server) => {
                let server = SERVERS[usize::from(server)].parse().unwrap();
                if let Some(next) = self.queue.heads().pop_first() {
                    let (_, slots, _) = self.queue.wants(next).unwrap();
                    let before = self.queue.kept(&server);
                    let tickets = self.queue.reserve(next, &server, self.now.mono);
                    assert_eq!(self.queue.kept(&server), before + slots, "all of a party or none");
                    assert_eq!(tickets.len(), slots as usize);
                }
            }
            Step::Claim(nth) => {
                self.nth(nth).map(|id| self.queue.claim(id));
            }
            Step::Granted(nth) => self.nth(nth).into_iter().for_each(|id| self.queue.granted(id)),
            Step::GiveBack(nth) => self.nth(nth).into_iter().for_each(|id| self.queue.give_back(id)),
            Step::Admitted(nth) => {
                self.nth(nth).into_iter().for_each(|id| self.queue.admitted(id, self.now.mono));
            }
            Step::Remove(nth) => {
                self.nth(nth).map(|id| self.queue.remove(id));
            }
        }
    }

    fn check(&self) {
        let queue = &self.queue;
        let mut kept = BTreeMap::<ServerId, u32>::new();
        for (id, ticket) in &queue.tickets {
            if let State::Reserved(server, _) | State::Placing(Some(server)) = &ticket.state {
                *kept.entry(server.clone()).or_default() += 1;
            }
            assert_eq!(queue.by_account.get(&ticket.account), Some(id));
            assert!(queue.units[&ticket.unit].members.contains(id));
        }
        assert_eq!(queue.kept, kept, "a slot is kept for nobody, or for two");
        assert_eq!(queue.by_account.len(), queue.tickets.len());
        let mut waiting = BTreeMap::<Line, u32>::new();
        for (key, unit) in &queue.order {
            let unit = &queue.units[unit];
            assert_eq!(unit.key, Some(*key));
            *waiting.entry(unit.line.clone()).or_default() += u32::try_from(unit.members.len()).unwrap();
            let is_here =
                |id: &TicketId| queue.tickets[id].is_present && queue.tickets[id].state == State::Waiting;
            let is_listed = queue.present.get(&unit.line).is_some_and(|keys| keys.contains(key));
            assert_eq!(unit.members.iter().all(is_here), is_listed, "whose turn may come");
        }
        assert_eq!(queue.waiting, waiting);
        let mut lines = BTreeMap::<Line, usize>::new();
        queue.units.values().for_each(|unit| *lines.entry(unit.line.clone()).or_default() += 1);
        assert_eq!(queue.lines, lines);
        for (server, unit) in &queue.pins {
            assert_eq!(queue.units[unit].pinned.as_ref(), Some(server), "slots gather for nobody");
        }
        let listed: usize = queue.present.values().map(BTreeSet::len).sum();
        assert!(listed <= queue.order.len());
        let first = queue.order.iter().find(|(key, unit)| {
            queue.present.get(&queue.units[unit].line).is_some_and(|keys| keys.contains(key))
        });
        let next = queue.heads().pop_first().and_then(|next| queue.wants(next));
        let wanted = first.map(|(_, unit)| queue.units[unit].members[0]);
        assert_eq!(next.map(|(_, _, ticket)| ticket), wanted, "the first who is here is next");
        for unit in queue.parties.values() {
            assert!(queue.units.contains_key(unit));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_books_agree_whatever_happens(steps in prop::collection::vec(step(), 1..200)) {
        let settings = QueueSettings { tickets_max: 30, ..QueueSettings::default() };
        let now = Now { mono: Mono(1), unix: UnixMs(1_700_000_000_000) };
        let mut bench = Bench { queue: Queue::new(settings), now, made: 0 };
        for step in &steps {
            bench.take(step);
            bench.check();
        }
    }
}

#[test]
fn within_a_class_the_order_is_that_of_arrival_and_positions_do_not_rise() {
    let mut bench = Bench {
        queue: Queue::new(QueueSettings::default()),
        now: Now { mono: Mono(1), unix: UnixMs(1_700_000_000_000) },
        made: 0,
    };
    let mut told = BTreeMap::new();
    for account in 0..20 {
        bench.take(&Step::Join { account, class: 0, line: u8::try_from(account % 3).unwrap(), party: 0 });
    }
    // Saved in another order than they came in.
    let mut ids: Vec<TicketId> = bench.queue.tickets.keys().copied().collect();
    ids.reverse();
    for id in ids {
        bench.queue.saved(id, Class::Normal);
    }
    let mut look = |bench: &mut Bench| {
        bench.take(&Step::Pass(1_000));
        for id in bench.queue.tickets.keys().copied().collect::<Vec<_>>() {
            bench.queue.seen(id, bench.now.mono);
            let view = bench.queue.view(id, bench.now.mono).unwrap();
            if view.standing == Standing::Waiting {
                let before = told.insert(id, view.position).unwrap_or(u32::MAX);
                assert!(view.position <= before, "{id}: from {before} to {}", view.position);
            }
        }
    };
    for round in 0..20 {
        // Before it is let in, who is called does not come for its slot: nobody behind it falls back.
        for comes in [false, true] {
            look(&mut bench);
            let next = bench.queue.heads().pop_first().unwrap();
            let (_, _, first) = bench.queue.wants(next).unwrap();
            assert_eq!(first, TicketId([round + 1; 16]), "who came first");
            bench.queue.reserve(next, &"a".parse().unwrap(), bench.now.mono);
            look(&mut bench);
            if comes {
                bench.queue.admitted(first, bench.now.mono);
            } else {
                bench.queue.give_back(first);
            }
        }
    }
}

#[test]
fn lines_that_askers_make_up_are_bounded_and_those_of_servers_are_not() {
    let mut queue = Queue::new(QueueSettings::default());
    let now = Now { mono: Mono(1), unix: UnixMs(1_700_000_000_000) };
    let mut join = |n: u16, line: Line| {
        let ticket = TicketId([n.to_be_bytes(); 8].concat().try_into().unwrap());
        queue.join(ticket, AccountRow::from_raw(n.into()), line, None, Class::Normal, now).map(|_| ())
    };
    let region = |n: usize| Line::Regions([n.to_string()].into());
    for n in 0..LINES_MAX {
        join(u16::try_from(n).unwrap(), region(n)).unwrap();
    }
    assert_eq!(join(1_000, region(LINES_MAX)), Err(NoTicket::Full));
    join(1_001, region(0)).unwrap();
    join(1_002, Line::Anywhere).unwrap();
    join(1_003, Line::Server("a".parse().unwrap())).unwrap();
}
