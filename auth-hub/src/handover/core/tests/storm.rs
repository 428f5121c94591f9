//! Seeded storms: servers and hubs restart, connections die, the wire loses, repeats, delays and reorders. The rig checks every step
//! (answered once, in time, placed on fresh servers only, no tick without progress); when it is calm again, nothing may be left.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared_msgs::codes::Code;
use shared_msgs::ids::{Fence, PlayerId, ServerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::EntryKind;
use shared_msgs::rng::{Rng, SeededRng};

use super::peer::Peer;
use super::rig::Rig;
use crate::accounts::AccountRow;
use crate::handover::core::Input;

const SERVERS: [(&str, &str, u32); 4] = [("a", "r", 3), ("b", "r", 2), ("c", "r", 4), ("d", "q", 3)];
const ACCOUNTS: u64 = 8;
const STEPS: u32 = 150;
const STORMS: u64 = 100;
const HIGHEST: Fence = Fence { hlc: u64::MAX, hub: u16::MAX };

struct Storm {
    rig: Rig,
    rng: Arc<dyn Rng>,
    boots: u64,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(seed ^ 0x5707));
        let mut rig = Rig::new(seed);
        rig.trusts_wills = false;
        for (id, realm, max) in SERVERS {
            rig.start(Peer::new(id, realm, max, 1));
        }
        let mut storm = Self { rig, rng, boots: 1 };
        storm.blow();
        storm
    }

    fn below(&self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// The wire turns bad.
    fn blow(&mut self) {
        let rng = Arc::clone(&self.rng);
        let loss = self.below(40);
        self.rig.wire = Box::new(move |_| {
            let copies = if rng.below(100) < loss { 0 } else { 1 + usize::from(rng.below(10) == 0) };
            (0..copies).map(|_| rng.below(2) * rng.below(400)).collect()
        });
    }

    fn server(&self) -> (&'static str, &'static str, u32) {
        SERVERS[usize::try_from(self.below(SERVERS.len() as u64)).unwrap()]
    }

    /// Some entry of a server that a client may act on: it was told the token, or plays already.
    fn some_entry(&mut self, server: &str, kind: EntryKind) -> Option<TokenHash> {
        let pick = self.below(4);
        let answers = &self.rig.answers;
        let told = |id| answers.get(id).is_some_and(|(_, answer)| answer.is_ok());
        let peer = &self.rig.peers[&server.parse::<ServerId>().unwrap()];
        let of = peer.entries.iter().filter(|(_, (id, _, e))| e.kind == kind && told(id));
        let all: Vec<_> = of.map(|(hash, _)| *hash).collect();
        all.get(usize::try_from(pick).unwrap() % all.len().max(1)).copied()
    }

    fn step(&mut self) {
        let (server, realm, max) = self.server();
        match self.below(20) {
            0..=5 => {
                let account = i64::try_from(self.below(ACCOUNTS)).unwrap();
                let wanted = self.one_in(3).then_some(server);
                self.rig.ask_for(account, wanted);
            }
            6..=9 => {
                if let Some(hash) = self.some_entry(server, EntryKind::Held) {
                    self.rig.redeem(server, hash);
                }
            }
            10 => {
                if let Some(hash) = self.some_entry(server, EntryKind::Live) {
                    let left = self.rig.peer(server).leave(hash);
                    self.rig.from(server, left);
                }
            }
            11 => {
                let gone = self.rig.peer(server).gone();
                self.rig.from(server, [gone]);
                if self.one_in(2) {
                    self.rig.reconnect(server);
                }
            }
            12 if self.one_in(3) => {
                self.boots += 1;
                self.rig.start(Peer::new(server, realm, max, self.boots));
            }
            13 => self.rig.peer(server).is_silent ^= true,
            14 => {
                let slow = self.one_in(2);
                let peer = self.rig.peer(server);
                peer.saves_slowly = slow;
                let saved = peer.save_all();
                self.rig.from(server, saved);
            }
            15 => {
                let refuses = self.one_in(3).then_some(Code::ServerFull);
                self.rig.peer(server).refuses = refuses;
            }
            16 if self.one_in(4) => self.rig.restart_hub(),
            17 => self.rig.input(Input::LinkUp),
            18 if self.one_in(2) => self.rig.cut_off(server),
            19 => self.blow(),
            _ => {}
        }
        let pause = if self.one_in(8) { self.below(9_000) } else { self.below(400) };
        self.rig.run(pause);
        self.check();
    }

    fn check(&self) {
        for (id, asked) in &self.rig.asked {
            let is_late = self.rig.now.mono > *asked + limits::LOGIN_DEADLINE;
            assert!(!is_late || self.rig.answer(*id).is_some(), "{id} was never answered");
        }
        for peer in self.rig.peers.values() {
            let occupancy = peer.occupancy();
            assert!(occupancy.players + occupancy.held <= occupancy.max_players, "{occupancy:?}");
        }
    }

    fn entries(&mut self) -> BTreeMap<i64, Vec<(Fence, TokenHash, EntryKind)>> {
        let mut all: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for account in 0..i64::try_from(ACCOUNTS).unwrap() {
            let players: Vec<PlayerId> = ["r", "q"].map(|realm| self.rig.player(account, realm)).into();
            for peer in self.rig.peers.values() {
                let of = players.iter().flat_map(|player| peer.of_player(*player));
                all.entry(account).or_default().extend(of.map(|e| (e.fence, e.hash, e.kind)));
            }
        }
        for entries in all.values_mut() {
            entries.sort();
        }
        all
    }

    /// Whether the account's newest session has to go: a grant that was answered unconfirmed may still reach its server, or an
    /// end is owed for a yes whose place has gone with its server since.
    fn is_outrun(&mut self, account: i64) -> bool {
        let row = AccountRow::from_raw(account);
        let players = ["r", "q"].map(|realm| self.rig.player(account, realm));
        let core = &self.rig.core;
        core.ledger.of_account(row, HIGHEST).next().is_some()
            || core.ends.sessions_owed(row).next().is_some()
            || self.rig.peers.values().any(|p| p.saving.iter().any(|end| players.contains(&end.player)))
    }

    /// No more faults: everything must come to rest, with one session per account at most, the newest.
    fn calm(mut self) {
        self.rig.run(16_000);
        self.check();
        let before = self.entries();
        let outrun: Vec<i64> = before.keys().copied().filter(|account| self.is_outrun(*account)).collect();
        self.rig.mend();
        let mut answers = Vec::new();
        for peer in self.rig.peers.values_mut() {
            (peer.is_silent, peer.refuses, peer.saves_slowly) = (false, None, false);
            answers.push((peer.id.clone(), peer.save_all()));
        }
        for (server, messages) in answers {
            self.rig.from(server.as_str(), messages);
        }
        self.rig.run(8_000);
        for (account, entries) in self.entries() {
            assert!(entries.len() <= 1, "account {account} has {entries:?}");
            let newest = before[&account].last().filter(|_| !outrun.contains(&account));
            if let Some((_, newest, EntryKind::Live)) = newest {
                let kept = entries.iter().any(|(_, hash, _)| hash == newest);
                assert!(
                    kept,
                    "account {account} lost its newest session: {:?} {entries:?}",
                    before[&account]
                );
            }
        }
        self.rig.run(230_000);
        self.rig.assert_quiet();
        let core = &self.rig.core;
        assert_eq!(core.ends.remembered(), 0, "answers and dead hashes are never forgotten");
        let ticks = self.rig.ticks;
        self.rig.run(20_000);
        assert!(
            self.rig.ticks - ticks <= 12,
            "a calm hub ticks on each beat only: {}",
            self.rig.ticks - ticks
        );
    }
}

fn storm(seed: u64) {
    let mut storm = Storm::new(seed);
    for _ in 0..STEPS {
        storm.step();
    }
    storm.calm();
}

#[test]
fn after_any_storm_nothing_is_left_but_one_session_per_account() {
    for seed in 0..STORMS {
        let outcome = std::panic::catch_unwind(|| storm(seed));
        assert!(outcome.is_ok(), "storm of seed {seed}");
    }
}
