//! The bench the gate's tests work on, and the checks that hold after every single input.

mod clients;
mod closing;
mod ends;
mod grants;
mod model;
mod moves;
mod reconnect;
mod status;

use std::time::Duration;

use shared_msgs::clock::{Mono, Now, UnixMs};
use shared_msgs::codes::{Code, Retry};
use shared_msgs::ids::{BootId, Fence, HandoverId, PlayerId, ServerId, TokenHash};
use shared_msgs::keys::FleetKeys;
use shared_msgs::limits;
use shared_msgs::messages::{
    End, Grant, HubMessage, Occupancy, Order, Profile, ServerMessage, ServerState, Stamp, Verdict,
};
use shared_msgs::moves::{Luggage, MoveTarget};
use shared_msgs::rng::SeededRng;
use shared_msgs::token::{Token, TokenTag};

use super::*;

const START: u64 = 1_800_000_000_000;
const BOOT: BootId = BootId { started: UnixMs(START), random: 5 };
const LIFE: Duration = limits::TOKEN_LIFE;
const GRACE: Duration = limits::RECONNECT_GRACE;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// So long, but for a moment.
fn just_under(of: Duration) -> Duration {
    of.saturating_sub(ms(1))
}

fn player(n: u8) -> PlayerId {
    PlayerId([n; 16])
}

fn fence(n: u64) -> Fence {
    Fence { hlc: (START << 16) + n, hub: 0 }
}

fn tag_for(server: &str, boot: BootId) -> TokenTag {
    let id: ServerId = server.parse().unwrap();
    TokenTag::new(&FleetKeys::generate(&SeededRng::new(1)).server_key(&id, 1), &id, boot)
}

/// A token as the hub would issue it, with what its grant says.
struct Issued {
    token: Token,
    grant: Grant,
}

struct Bench {
    gate: Gate,
    now: Now,
    rng: SeededRng,
    tickets: u64,
    last_rev: u64,
}

impl Bench {
    fn new(max_players: u32) -> Self {
        Self::with(max_players, |_| {})
    }

    fn with(max_players: u32, change: impl FnOnce(&mut GateConfig)) -> Self {
        let profile = Profile {
            name: "Alpha".into(),
            realm: "main".parse().unwrap(),
            region: String::new(),
            build: String::new(),
            msg_version_max: limits::MSG_VERSION,
            endpoints: Vec::new(),
            labels: Vec::new(),
        };
        let mut config = GateConfig {
            server: "alpha".parse().unwrap(),
            boot: BOOT,
            tag: tag_for("alpha", BOOT),
            profile,
            state: ServerState::Online,
            message: String::new(),
            max_players,
            parked_max: limits::PARKED_MIN,
            marks_max: limits::CLOSED_MARKS_MAX,
            luggage_bytes_max: limits::LUGGAGE_BYTES_TOTAL_MAX,
            timing: Timing::default(),
            reconnect_grace: GRACE,
            rng: std::sync::Arc::new(SeededRng::new(8)),
        };
        change(&mut config);
        let now = Now { mono: Mono(1_000), unix: UnixMs(START) };
        Self { gate: Gate::new(config), now, rng: SeededRng::new(9), tickets: 0, last_rev: 0 }
    }

    fn issue(&self, who: u8, n: u64) -> Issued {
        let expires_at = self.now.unix + LIFE;
        let (token, hash) = tag_for("alpha", BOOT).mint(expires_at, &self.rng);
        let handover = HandoverId::random(&self.rng);
        let grant = Grant {
            handover,
            hash,
            player: player(who),
            fence: fence(n),
            expires_at,
            name: format!("p{who}"),
            luggage: Luggage::default(),
        };
        Issued { token, grant }
    }

    fn handle(&mut self, input: Input) -> Vec<Effect> {
        let out = self.gate.handle(input, self.now);
        self.check(&out);
        out
    }

    /// What must hold after every input.
    fn check(&mut self, out: &[Effect]) {
        let gate = &self.gate;
        let (digest, occupancy) = gate.ledger.recount(gate.delayed.len());
        assert_eq!((gate.ledger.digest(), gate.occupancy()), (digest, occupancy), "recount");
        assert!(occupancy.players + occupancy.held <= occupancy.max_players, "{occupancy:?}");
        assert!(occupancy.parked <= gate.config.parked_max, "{occupancy:?}");
        assert!(gate.ledger.held_len() + gate.marks.iter().count() <= gate.config.marks_max);
        for hash in gate.ledger.held_hashes() {
            assert!(gate.marks.get(hash).is_none(), "held and closed");
            let held = gate.ledger.held(hash).unwrap();
            assert!(
                held.expires_at > self.now.unix && held.bound > self.now.mono,
                "an expired grant is held"
            );
            let waits = gate.delayed.contains(hash);
            assert!(!waits || gate.ledger.session_of(held.player).is_some(), "waits for nothing");
        }
        for hash in gate.delayed.hashes() {
            assert!(gate.marks.get(hash).is_none(), "parked on a closed hash");
        }
        gate.ways.check(&gate.ledger.slots(), gate.config.max_players);
        for stamp in stamps(out) {
            assert_eq!(stamp.boot, BOOT);
            let expected = self.last_rev + u64::from(stamp.is_change);
            assert_eq!(stamp.rev, expected, "each change of the roster is told of once, in order");
            self.last_rev = stamp.rev;
        }
        assert_eq!(self.last_rev, self.gate.ledger.rev(), "an untold change");
    }

    fn order(&mut self, order: Order) -> Vec<Effect> {
        self.handle(Input::Hub(HubMessage::Order { boot: BOOT, order }))
    }

    fn grant(&mut self, issued: &Issued) -> Vec<Effect> {
        self.order(Order::Grant(issued.grant.clone()))
    }

    fn arrive(&mut self, token: &str) -> Vec<Effect> {
        self.tickets += 1;
        self.handle(Input::Arrive { ticket: Ticket(self.tickets), token: token.to_owned() })
    }

    fn show(&mut self, issued: &Issued) -> Vec<Effect> {
        self.arrive(issued.token.expose())
    }

    fn resume(&mut self, credential: &str) -> Vec<Effect> {
        self.tickets += 1;
        let credential = credential.to_owned();
        self.handle(Input::Resume { ticket: Ticket(self.tickets), credential })
    }

    /// Grant, then client.
    fn enter(&mut self, who: u8, n: u64) -> (Issued, SlotId) {
        let issued = self.issue(who, n);
        self.grant(&issued);
        let slot = welcomed(&self.show(&issued));
        (issued, slot)
    }

    fn end(&mut self, who: u8, below: Fence, hashes: &[TokenHash]) -> Vec<Effect> {
        let hashes = hashes.to_vec();
        let end = End { player: player(who), below, hashes, reason: Code::Superseded, save_within_ms: 4_000 };
        self.order(Order::End(end))
    }

    fn pass(&mut self, by: Duration) -> Vec<Effect> {
        self.now = Now { mono: self.now.mono + by, unix: self.now.unix + by };
        self.handle(Input::Tick)
    }
}

fn stamps(out: &[Effect]) -> Vec<Stamp> {
    let stamp = |effect: &Effect| match effect {
        Effect::Send(
            ServerMessage::GrantReply { stamp, .. }
            | ServerMessage::Ended { stamp, .. }
            | ServerMessage::Joined { stamp, .. }
            | ServerMessage::Left { stamp, .. }
            | ServerMessage::RosterPage { stamp, .. }
            | ServerMessage::Noticed { stamp, .. },
        ) => Some(*stamp),
        Effect::Status(status) => Some(status.stamp),
        _ => None,
    };
    out.iter().filter_map(stamp).collect()
}

fn verdicts(out: &[Effect]) -> Vec<(u64, Result<SlotId, Code>)> {
    let verdict = |effect: &Effect| match effect {
        Effect::Verdict { ticket, verdict } => {
            Some((ticket.0, verdict.as_ref().map(|w| w.slot).map_err(|r| r.code)))
        }
        _ => None,
    };
    out.iter().filter_map(verdict).collect()
}

fn welcomed(out: &[Effect]) -> SlotId {
    match verdicts(out)[..] {
        [(_, Ok(slot))] => slot,
        ref other => panic!("{other:?}"),
    }
}

fn refused(out: &[Effect]) -> Code {
    match verdicts(out)[..] {
        [(_, Err(code))] => code,
        ref other => panic!("{other:?}"),
    }
}

fn is_parked(out: &[Effect]) -> bool {
    verdicts(out).is_empty() && out.iter().any(|effect| matches!(effect, Effect::Delayed { .. }))
}

/// What was said on the grant with this hash: the verdict, and whether it tells of a change.
fn replies(out: &[Effect]) -> Vec<(Verdict, bool)> {
    let reply = |effect: &Effect| match effect {
        Effect::Send(ServerMessage::GrantReply { stamp, verdict, .. }) => Some((*verdict, stamp.is_change)),
        _ => None,
    };
    out.iter().filter_map(reply).collect()
}

fn kicks(out: &[Effect]) -> Vec<(SlotId, Code, Mono)> {
    let kick = |effect: &Effect| match effect {
        Effect::Kick { slot, reason, save_by, .. } => Some((*slot, *reason, *save_by)),
        _ => None,
    };
    out.iter().filter_map(kick).collect()
}

fn voids(out: &[Effect]) -> Vec<SlotId> {
    let void = |effect: &Effect| match effect {
        Effect::Void { slot, .. } => Some(*slot),
        _ => None,
    };
    out.iter().filter_map(void).collect()
}

fn ended(out: &[Effect]) -> usize {
    out.iter().filter(|effect| matches!(effect, Effect::Send(ServerMessage::Ended { .. }))).count()
}

fn occupied(bench: &Bench) -> (u32, u32, u32) {
    let Occupancy { players, held, parked, .. } = bench.gate.occupancy();
    (players, held, parked)
}
