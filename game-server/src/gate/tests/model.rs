//! Any interleaving of grants, ends, clients, leaves, broken connections, returns, time and clock steps, with every message repeated at will.
//!
//! Checks invariants 1, 3, 4, 5 and the server's part of 8 from what comes out alone; the bench checks the books after each input. Of
//! returns: a session has at most two credentials that are good, and one once its client has said that it has it; any other gets nothing
//! and changes nothing; nobody comes back to a session that was told to end, and each lost one ends or is come back to in its time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use shared_msgs::moves::MoveAnswer;

use super::*;

const TOKENS: usize = 10;
const PLAYERS: u8 = 4;

#[derive(Clone, Debug)]
enum Step {
    Grant(usize),
    Show(usize),
    Forge,
    Abandon(usize),
    Leave(usize),
    Drop(usize),
    /// Shows one of the credentials there were, the newest first.
    Return(usize),
    Kept(usize),
    /// Says something of a slot that is nobody's any more.
    SaidLate(u64),
    EndBelow(u8, u64, u32),
    EndHash(usize),
    Pass(u64),
    /// The wall clock now errs by this much, within the skew allowed.
    Skew(i64),
    Drain(u64),
    Superseded,
    Move(usize, bool),
    MoveAnswer(u64, bool),
    LinkUp,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        30 => (0..TOKENS).prop_map(Step::Grant),
        30 => (0..TOKENS).prop_map(Step::Show),
        1 => Just(Step::Forge),
        6 => (0..40_usize).prop_map(Step::Abandon),
        10 => (0..8_usize).prop_map(Step::Leave),
        8 => (0..4_usize).prop_map(Step::Drop),
        12 => (0..6_usize).prop_map(Step::Return),
        5 => (0..4_usize).prop_map(Step::Kept),
        2 => (0..40_u64).prop_map(Step::SaidLate),
        8 => (0..PLAYERS, 0..13_u64, 0..5_000_u32).prop_map(|(who, n, save)| Step::EndBelow(who, n, save)),
        6 => (0..TOKENS).prop_map(Step::EndHash),
        20 => prop_oneof![0..200_u64, 0..12_000_u64, 0..100_000_u64].prop_map(Step::Pass),
        5 => (-30_000..=30_000_i64).prop_map(Step::Skew),
        1 => (0..20_000_u64).prop_map(Step::Drain),
        1 => Just(Step::Superseded),
        8 => (0..8_usize, any::<bool>()).prop_map(|(n, big)| Step::Move(n, big)),
        6 => (0..10_u64, any::<bool>()).prop_map(|(request, yes)| Step::MoveAnswer(request, yes)),
        2 => Just(Step::LinkUp),
    ];
    prop::collection::vec(step, 1..120)
}

/// What an observer knows from the outside.
struct Model {
    bench: Bench,
    issued: Vec<Issued>,
    /// The wall clock without its error.
    true_unix: u64,
    skew: i64,
    waiting: BTreeMap<u64, (usize, Mono)>,
    decided: BTreeSet<u64>,
    /// Tickets that left without a verdict of their own accord.
    abandoned: usize,
    shown: BTreeMap<u64, usize>,
    redeemed: BTreeSet<TokenHash>,
    live: BTreeMap<SlotId, (PlayerId, Fence)>,
    /// Floors that were answered for, and until when they must hold.
    floors: BTreeMap<PlayerId, (Fence, Mono)>,
    /// How long the last `end` keeps each player's floor: from its receipt, not from its answer.
    floor_until: BTreeMap<PlayerId, Mono>,
    kicked: BTreeSet<SlotId>,
    /// Moves asked and not answered, each with its deadline.
    moving: BTreeMap<SlotId, Mono>,
    /// Every credential there was, the oldest first, and whose session it is for.
    issued_ways: Vec<(String, Fence)>,
    /// Per session: the newest credential, and the one before it while that is good.
    good: BTreeMap<Fence, (usize, Option<usize>)>,
    /// Sessions without a connection, and since when.
    lost: BTreeMap<SlotId, Mono>,
    max_players: u32,
}

impl Model {
    fn new(max_players: u32, parked_max: u32, marks_max: usize) -> Self {
        let bench = Bench::with(max_players, |config| {
            config.parked_max = parked_max;
            config.marks_max = marks_max;
            config.luggage_bytes_max = 10;
        });
        let issued = (0..TOKENS as u64).map(|n| {
            let mut issued = bench.issue(u8::try_from(n).unwrap() % PLAYERS, n + 1);
            // Issued one after the other, so that some expire while others live.
            issued.grant.expires_at = UnixMs(START + 90_000 + n * 20_000);
            let (token, hash) = tag_for("alpha", BOOT).mint(issued.grant.expires_at, &bench.rng);
            issued.grant.hash = hash;
            Issued { token, ..issued }
        });
        Self {
            issued: issued.collect(),
            true_unix: START,
            skew: 0,
            waiting: BTreeMap::new(),
            decided: BTreeSet::new(),
            abandoned: 0,
            shown: BTreeMap::new(),
            redeemed: BTreeSet::new(),
            live: BTreeMap::new(),
            floors: BTreeMap::new(),
            floor_until: BTreeMap::new(),
            kicked: BTreeSet::new(),
            moving: BTreeMap::new(),
            issued_ways: Vec::new(),
            good: BTreeMap::new(),
            lost: BTreeMap::new(),
            max_players,
            bench,
        }
    }

    fn run(&mut self, step: &Step) {
        let out = match *step {
            Step::Grant(n) if self.is_sendable(n) => {
                let order = Order::Grant(self.issued[n].grant.clone());
                self.bench.order(order)
            }
            Step::Show(n) => {
                let text = self.issued[n].token.expose().to_owned();
                self.shown.insert(self.bench.tickets + 1, n);
                self.bench.arrive(&text)
            }
            Step::Forge => {
                let (token, _) = tag_for("beta", BOOT).mint(UnixMs(u64::MAX), &self.bench.rng);
                let out = self.bench.arrive(token.expose());
                assert!(
                    !out.iter().any(|e| matches!(e, Effect::Delayed { .. })),
                    "parked without a genuine token"
                );
                self.decided.extend(verdicts(&out).iter().map(|(ticket, _)| *ticket));
                return;
            }
            Step::Abandon(n) => {
                let ticket = n as u64;
                self.abandoned += usize::from(self.waiting.remove(&ticket).is_some());
                self.bench.handle(Input::Abandon(Ticket(ticket)))
            }
            Step::Leave(n) => {
                let Some(slot) = self.live.keys().nth(n).copied() else { return };
                self.live.remove(&slot);
                self.lost.remove(&slot);
                self.bench.handle(Input::Leave(slot))
            }
            Step::Drop(n) => {
                let Some(slot) = self.live.keys().nth(n).copied() else { return };
                if !self.kicked.contains(&slot) {
                    self.lost.entry(slot).or_insert(self.bench.now.mono);
                }
                self.bench.handle(Input::Dropped(slot))
            }
            Step::Return(n) => return self.come_back(n),
            Step::Kept(n) => {
                let Some((slot, (_, fence))) = self.live.iter().nth(n) else { return };
                let newest = self.good[fence].0;
                self.good.insert(*fence, (newest, None));
                self.bench.handle(Input::Kept(*slot))
            }
            Step::SaidLate(n) => {
                let slot = SlotId(n);
                if self.live.contains_key(&slot) {
                    return;
                }
                let late = [Input::Dropped(slot), Input::Kept(slot), Input::Leave(slot)];
                let out: Vec<_> = late.into_iter().flat_map(|input| self.bench.handle(input)).collect();
                assert!(out.iter().all(|effect| matches!(effect, Effect::Status(_))), "{out:?}");
                out
            }
            Step::EndBelow(who, n, save_within_ms) => {
                let (player, below) = (player(who), if n == 0 { Fence::ZERO } else { fence(n) });
                let reason = Code::Kicked;
                if n > 0 {
                    self.floor_until.insert(player, self.bench.now.mono + limits::CLOSED_LIFE);
                }
                self.bench.order(Order::End(End { player, below, hashes: vec![], reason, save_within_ms }))
            }
            Step::EndHash(n) => {
                let Grant { player, hash, .. } = self.issued[n].grant;
                self.bench.end(player.0[0], Fence::ZERO, &[hash])
            }
            Step::Pass(by) => {
                self.true_unix += by;
                self.set_clock(by);
                self.bench.handle(Input::Tick)
            }
            Step::Skew(error) => {
                self.skew = error;
                self.set_clock(0);
                self.bench.handle(Input::Tick)
            }
            Step::Drain(within) => self.bench.handle(Input::Drain { within: Some(ms(within)) }),
            Step::Superseded => self.bench.order(Order::Superseded { by: BootId { random: 9, ..BOOT } }),
            Step::Move(n, big) => {
                let Some(slot) = self.live.keys().nth(n).copied() else { return };
                self.moving.entry(slot).or_insert(self.bench.now.mono + limits::LOGIN_DEADLINE);
                let luggage = vec![0; if big { 9 } else { 2 }].into();
                self.bench.handle(Input::Move { slot, target: MoveTarget::Anywhere, luggage })
            }
            Step::MoveAnswer(request, yes) => {
                let live = self.live.values().map(|(player, _)| *player).collect::<Vec<_>>();
                let code = (!yes).then_some(Code::AllServersFull);
                let answers = live.into_iter().map(|player| MoveAnswer { request, player, code });
                answers.flat_map(|answer| self.bench.order(Order::MoveAnswer(answer))).collect()
            }
            Step::LinkUp => self.bench.handle(Input::Link { up: true }),
            Step::Grant(_) => return,
        };
        self.observe(&out);
    }

    /// Shows a credential, and checks that it is good for what it should be.
    fn come_back(&mut self, n: usize) {
        // Things may fall due first; what the credential meets is what is there then.
        let out = self.bench.handle(Input::Tick);
        self.observe(&out);
        let Some(at) = self.issued_ways.len().checked_sub(n + 1) else { return };
        let (credential, fence) = self.issued_ways[at].clone();
        let session = self.live.iter().find(|(_, (_, of))| *of == fence).map(|(slot, _)| *slot);
        let (newest, before) = self.good[&fence];
        let is_good = at == newest || before == Some(at);
        let occupied = self.bench.gate.occupancy();
        let out = self.bench.resume(&credential);
        let [(_, verdict)] = verdicts(&out)[..] else { panic!("one verdict, at once: {out:?}") };
        assert_eq!(self.bench.gate.occupancy(), occupied, "a return changes no count");
        if let Some(slot) = session.filter(|slot| is_good && !self.kicked.contains(slot)) {
            assert!(verdict.is_ok_and(|to| to != slot), "good, and not let back");
            self.lost.remove(&slot);
            // The one that was shown is what the client has for certain.
            self.good.insert(fence, (self.issued_ways.len(), Some(at)));
        } else {
            assert!(verdict.is_err(), "let back by a credential that is spent");
            let is_quiet = |effect: &Effect| matches!(effect, Effect::Verdict { .. } | Effect::Status(_));
            assert!(out.iter().all(is_quiet), "it changed something: {out:?}");
        }
        self.observe(&out);
    }

    /// The hub sends a grant from its issue until its expiry only.
    fn is_sendable(&self, n: usize) -> bool {
        let expires = self.issued[n].grant.expires_at.0;
        (expires - 90_000..expires).contains(&self.true_unix)
    }

    fn set_clock(&mut self, by: u64) {
        self.bench.now.mono = self.bench.now.mono + ms(by);
        self.bench.now.unix = UnixMs(self.true_unix.saturating_add_signed(self.skew));
    }

    fn observe(&mut self, out: &[Effect]) {
        let now = self.bench.now;
        self.floors.retain(|_, (_, until)| *until > now.mono);
        for effect in out {
            match effect {
                Effect::Delayed { ticket, deadline } => {
                    let n = self.shown[&ticket.0];
                    self.waiting.insert(ticket.0, (n, *deadline));
                }
                Effect::Verdict { ticket, verdict } => {
                    assert!(self.decided.insert(ticket.0), "two verdicts");
                    self.waiting.remove(&ticket.0);
                    if let Ok(welcome) = verdict {
                        self.welcome(ticket.0, welcome);
                    }
                }
                Effect::Kick { slot, save_by, .. } => {
                    assert!(self.kicked.insert(*slot), "kicked twice");
                    self.lost.remove(slot);
                    assert!(save_by.since(now.mono) <= ms(20_000));
                }
                Effect::Void { slot, .. } => {
                    assert!(self.live.remove(slot).is_some(), "voided what had left");
                }
                Effect::Moved { slot, .. } => {
                    assert!(self.moving.remove(slot).is_some(), "answered what was not asked");
                }
                Effect::Send(ServerMessage::Move(asked)) => {
                    let session = (asked.player, asked.fence);
                    assert!(self.live.values().any(|live| *live == session), "moves who is not here");
                    assert!(Duration::from_millis(asked.within_ms.into()) < limits::LOGIN_DEADLINE);
                }
                Effect::Send(ServerMessage::Ended { player, below, hashes, .. }) => {
                    let older = self.live.values().any(|(who, fence)| who == player && fence < below);
                    assert!(!older, "answered too early");
                    let roster = self.bench.gate.ledger.entries();
                    assert!(!roster.iter().any(|entry| hashes.contains(&entry.hash)), "still in the roster");
                    if let Some(until) = self.floor_until.get(player).filter(|_| *below > Fence::ZERO) {
                        let floor = self.floors.entry(*player).or_insert((Fence::ZERO, *until));
                        *floor = (floor.0.max(*below), floor.1.max(*until));
                    }
                }
                Effect::Send(_)
                | Effect::Status(_)
                | Effect::Draining { .. }
                | Effect::Drained(_)
                | Effect::Undrained
                | Effect::Notice { .. } => {}
                Effect::Superseded { .. } => self.floors.clear(),
            }
        }
        for (slot, since) in &self.lost {
            assert!(now.mono.since(*since) < GRACE, "{slot:?} is neither back nor told to end");
        }
        for (ticket, (_, deadline)) in &self.waiting {
            assert!(*deadline > now.mono, "ticket {ticket} got no verdict by its deadline");
        }
        assert!(self.moving.values().all(|deadline| *deadline > now.mono), "a move without an answer");
        assert!(self.moving.keys().all(|slot| self.live.contains_key(slot)), "moves who has left");
        assert_eq!(self.bench.gate.moves.len(), self.moving.len());
        assert!(self.bench.gate.moves.promised().all(|slot| self.live.contains_key(slot)), "awaits who left");
        let tokens: BTreeSet<_> = self.waiting.values().map(|(n, _)| n).collect();
        assert_eq!(tokens.len(), self.waiting.len(), "two clients wait with one token");
        assert_eq!(self.bench.gate.occupancy().parked as usize, self.waiting.len());
        let players: BTreeSet<_> = self.live.values().map(|(player, _)| player).collect();
        assert_eq!(players.len(), self.live.len(), "two sessions of one player");
        assert!(self.live.len() <= self.max_players as usize);
        assert_eq!(self.bench.gate.occupancy().players as usize, self.live.len());
    }

    fn welcome(&mut self, ticket: u64, welcome: &Welcome) {
        let now = self.bench.now;
        let credential = welcome.reconnect.as_ref().unwrap().credential.expose().to_owned();
        self.issued_ways.push((credential, welcome.fence));
        if let Some(older) = welcome.resumes {
            let session = self.live.remove(&older);
            assert_eq!(session, Some((welcome.player, welcome.fence)), "another session than was lost");
            self.live.insert(welcome.slot, (welcome.player, welcome.fence));
            if let Some(deadline) = self.moving.remove(&older) {
                self.moving.insert(welcome.slot, deadline);
            }
            return;
        }
        self.good.insert(welcome.fence, (self.issued_ways.len() - 1, None));
        let grant = &self.issued[self.shown[&ticket]].grant;
        assert_eq!((welcome.player, welcome.fence), (grant.player, grant.fence), "redeemed = granted");
        assert!(now.unix < grant.expires_at, "welcomed after its expiry");
        assert!(self.redeemed.insert(grant.hash), "redeemed twice");
        if let Some((floor, until)) = self.floors.get(&grant.player) {
            assert!(now.mono >= *until || grant.fence >= *floor, "welcomed below the player's floor");
        }
        self.live.insert(welcome.slot, (grant.player, grant.fence));
    }

    /// Long after everything, nothing is left but who is in game.
    fn settle(&mut self) {
        // What expires in the first pause is closed then, and forgotten in the second.
        self.run(&Step::Pass(1_000_000));
        self.run(&Step::Pass(1_000_000));
        let gate = &self.bench.gate;
        assert_eq!((gate.delayed.len(), gate.ledger.held_len(), gate.marks.len()), (0, 0, 0));
        assert_eq!(gate.deadlines.len(), 0, "deadlines left behind");
        assert!(self.lost.is_empty() && gate.lost() == 0, "somebody is lost for ever");
        assert!(self.waiting.is_empty(), "somebody waits for ever");
        assert_eq!(
            self.decided.len() + self.abandoned,
            usize::try_from(self.bench.tickets).unwrap(),
            "one verdict each"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_invariants_hold_for_any_interleaving(
        steps in steps(),
        max_players in 1..5_u32,
        parked_max in 1..5_u32,
        marks_max in prop_oneof![1 => 2..8_usize, 3 => Just(1_000_usize)],
    ) {
        let mut model = Model::new(max_players, parked_max, marks_max);
        for step in &steps {
            model.run(step);
        }
        model.settle();
    }
}
