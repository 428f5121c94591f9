//! A scripted game server: answers as a gate does, numbers its roster changes, keeps its digest, echoes probes. Knobs spoil it.

use std::collections::BTreeMap;

use shared_msgs::clock::{Mono, Now, UnixMs};
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, Fence, HandoverId, HubId, PlayerId, ServerId, StreamId, TokenHash};
use shared_msgs::keys::KeyName;
use shared_msgs::limits;
use shared_msgs::messages::{
    End, Endpoint, EntryKind, Grant, Occupancy, Order, ProbeEcho, Profile, RosterDigest, RosterEntry,
    ServerMessage, ServerState, Stamp, Status, Verdict,
};

use shared_msgs::moves::MoveAnswer;

use crate::fleet::Sender;

/// What became of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    Spent,
    Refused(Code),
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: ServerId,
    pub(super) boot: BootId,
    pub(super) stream: StreamId,
    pub(super) profile: Profile,
    pub(super) state: ServerState,
    pub(super) load_percent: u8,
    pub(super) max: u32,
    pub(super) rev: u64,
    pub(super) entries: BTreeMap<TokenHash, (HandoverId, UnixMs, RosterEntry)>,
    closed: BTreeMap<TokenHash, Closed>,
    floors: BTreeMap<PlayerId, Fence>,
    /// Ends that wait for a session to save.
    pub(super) saving: Vec<End>,
    echoes: BTreeMap<HubId, u64>,
    pub(super) next_beat: Mono,
    /// Takes grants and does not answer them.
    pub(super) is_silent: bool,
    /// Says no to every new grant.
    pub(super) refuses: Option<Code>,
    /// Sessions take their time to save; see [`Peer::save_all`].
    pub(super) saves_slowly: bool,
    /// Entries on one roster page.
    pub(super) page_entries: usize,
    pub(super) superseded: bool,
    pub(super) rosters_asked: Vec<u64>,
    /// `within_ms` of each drain that came.
    pub(super) drains: Vec<u32>,
    pub(super) undrains: u32,
    pub(super) notices: Vec<(u64, String)>,
    /// Of its key.
    pub(super) generation: u32,
    pub(super) move_answers: Vec<MoveAnswer>,
}

impl Peer {
    pub(super) fn new(id: &str, realm: &str, max: u32, boot: u64) -> Self {
        let profile = Profile {
            name: id.to_uppercase(),
            realm: realm.parse().unwrap(),
            region: String::new(),
            build: String::new(),
            msg_version_max: 1,
            endpoints: vec![Endpoint { transport: "tcp".into(), address: format!("{id}:1") }],
            labels: Vec::new(),
        };
        Self {
            id: id.parse().unwrap(),
            boot: BootId { started: UnixMs(boot), random: 0 },
            stream: StreamId([0; 16]),
            profile,
            state: ServerState::Online,
            load_percent: 0,
            max,
            rev: 0,
            entries: BTreeMap::new(),
            closed: BTreeMap::new(),
            floors: BTreeMap::new(),
            saving: Vec::new(),
            echoes: BTreeMap::new(),
            next_beat: Mono(0),
            is_silent: false,
            refuses: None,
            saves_slowly: false,
            page_entries: limits::ROSTER_PAGE_ENTRIES_MAX,
            superseded: false,
            rosters_asked: Vec::new(),
            drains: Vec::new(),
            undrains: 0,
            notices: Vec::new(),
            generation: 1,
            move_answers: Vec::new(),
        }
    }

    pub(super) fn sender(&self) -> Sender {
        let key = KeyName { epoch: 1, generation: self.generation };
        Sender { server: self.id.clone(), stream: self.stream, key }
    }

    pub(super) fn gone(&self) -> ServerMessage {
        ServerMessage::Gone { boot: self.boot }
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        let of = |kind: EntryKind| {
            let players = self.entries.values().filter(move |(_, _, e)| e.kind == kind);
            players.map(|(_, _, e)| e.player).collect::<std::collections::BTreeSet<_>>()
        };
        let (live, held) = (of(EntryKind::Live), of(EntryKind::Held));
        let held = held.difference(&live).count();
        let count = |n: usize| u32::try_from(n).unwrap();
        Occupancy { players: count(live.len()), held: count(held), parked: 0, max_players: self.max }
    }

    fn is_full(&self) -> bool {
        let Occupancy { players, held, max_players, .. } = self.occupancy();
        players + held >= max_players
    }

    pub(super) fn stamp(&self, is_change: bool) -> Stamp {
        Stamp { boot: self.boot, rev: self.rev, is_change, occupancy: self.occupancy() }
    }

    pub(super) fn status(&self) -> ServerMessage {
        let mut digest = RosterDigest::default();
        self.entries.values().for_each(|(_, _, entry)| digest.add(entry));
        let echoes = self.echoes.iter().map(|(hub, n)| ProbeEcho { hub: hub.clone(), n: *n });
        ServerMessage::Status(Box::new(Status {
            stamp: self.stamp(false),
            profile: self.profile.clone(),
            state: self.state,
            load_percent: self.load_percent,
            digest,
            echoes: echoes.collect(),
            message: String::new(),
        }))
    }

    /// Takes an order for its boot; the answers in the order they go out.
    pub(super) fn on_order(&mut self, boot: BootId, order: &Order, now: Now) -> Vec<ServerMessage> {
        if boot != self.boot || self.superseded {
            return Vec::new();
        }
        match order {
            Order::Probe { hub, n } => {
                let echo = self.echoes.entry(hub.clone()).or_default();
                *echo = (*echo).max(*n);
                vec![self.status()]
            }
            Order::Grant(_) if self.is_silent => Vec::new(),
            Order::Grant(grant) => vec![self.on_grant(grant, now)],
            Order::End(end) => self.on_end(end),
            Order::Roster { request } => self.pages(*request),
            Order::Superseded { .. } => {
                self.superseded = true;
                Vec::new()
            }
            Order::Drain { within_ms } => {
                self.drains.push(*within_ms);
                self.state = ServerState::Draining;
                vec![self.status()]
            }
            Order::Undrain => {
                self.undrains += 1;
                self.state = ServerState::Online;
                vec![self.status()]
            }
            Order::Notice { id, text } => {
                self.notices.push((*id, text.clone()));
                vec![ServerMessage::Noticed { stamp: self.stamp(false), id: *id }]
            }
            Order::MoveAnswer(answer) => {
                self.move_answers.push(*answer);
                Vec::new()
            }
        }
    }

    fn reply(&self, grant: &Grant, is_change: bool, verdict: Verdict) -> ServerMessage {
        let &Grant { handover, hash, player, fence, .. } = grant;
        ServerMessage::GrantReply { stamp: self.stamp(is_change), handover, hash, player, fence, verdict }
    }

    fn on_grant(&mut self, grant: &Grant, now: Now) -> ServerMessage {
        match (self.closed.get(&grant.hash), self.entries.get(&grant.hash)) {
            (Some(Closed::Spent), _) => return self.reply(grant, false, Verdict::Redeemed),
            (Some(Closed::Refused(code)), _) => return self.reply(grant, false, Verdict::Refused(*code)),
            (None, Some(_)) => return self.reply(grant, false, Verdict::Held),
            (None, None) => {}
        }
        let of_player = || self.entries.values().filter(|(_, _, e)| e.player == grant.player);
        let highest = of_player().map(|(_, _, e)| e.fence).chain(self.floors.get(&grant.player).copied());
        let code = if self.refuses.is_some() {
            self.refuses
        } else if highest.max().is_some_and(|floor| grant.fence < floor) {
            Some(Code::Superseded)
        } else if grant.expires_at <= now.unix {
            Some(Code::TokenExpired)
        } else if of_player().next().is_none() && self.is_full() {
            Some(Code::ServerFull)
        } else {
            None
        };
        if let Some(code) = code {
            self.closed.insert(grant.hash, Closed::Refused(code));
            return self.reply(grant, false, Verdict::Refused(code));
        }
        let &Grant { hash, player, fence, .. } = grant;
        let entry = RosterEntry { hash, player, fence, kind: EntryKind::Held };
        self.entries.insert(hash, (grant.handover, grant.expires_at, entry));
        self.rev += 1;
        self.reply(grant, true, Verdict::Held)
    }

    pub(super) fn close_held(&mut self, hash: TokenHash, code: Code) -> Option<ServerMessage> {
        let (handover, _, RosterEntry { player, fence, .. }) =
            *self.entries.get(&hash).filter(|(_, _, e)| e.kind == EntryKind::Held)?;
        self.entries.remove(&hash);
        self.closed.insert(hash, Closed::Refused(code));
        self.rev += 1;
        let (stamp, verdict) = (self.stamp(true), Verdict::Refused(code));
        Some(ServerMessage::GrantReply { stamp, handover, hash, player, fence, verdict })
    }

    fn on_end(&mut self, end: &End) -> Vec<ServerMessage> {
        let mut out = Vec::new();
        let floor = self.floors.entry(end.player).or_default();
        *floor = (*floor).max(end.below);
        for hash in &end.hashes {
            if !self.entries.contains_key(hash) {
                self.closed.entry(*hash).or_insert(Closed::Refused(end.reason));
            }
            out.extend(self.close_held(*hash, end.reason));
        }
        let older = self.entries.values().map(|(_, _, e)| *e);
        let older: Vec<_> = older.filter(|e| e.player == end.player && e.fence < end.below).collect();
        for entry in older {
            out.extend(self.close_held(entry.hash, end.reason));
        }
        let hits = |e: &RosterEntry| e.fence < end.below || end.hashes.contains(&e.hash);
        let is_live = self.of_player(end.player).iter().any(hits);
        if !self.saving.contains(end) {
            self.saving.push(end.clone());
        }
        if !self.saves_slowly || !is_live {
            out.extend(self.save_all());
        }
        out
    }

    /// Every session that was told to end leaves, and the ends are answered.
    pub(super) fn save_all(&mut self) -> Vec<ServerMessage> {
        let mut out = Vec::new();
        for End { player, below, hashes, .. } in std::mem::take(&mut self.saving) {
            let ends = |e: &RosterEntry| e.player == player && (e.fence < below || hashes.contains(&e.hash));
            let leaving = self.entries.values().map(|(_, _, e)| *e).filter(ends).map(|e| e.hash);
            for hash in leaving.collect::<Vec<_>>() {
                out.extend(self.leave(hash));
            }
            out.push(ServerMessage::Ended { stamp: self.stamp(false), player, below, hashes });
        }
        out
    }

    fn pages(&mut self, request: u64) -> Vec<ServerMessage> {
        self.rosters_asked.push(request);
        let entries = self.roster();
        let mut chunks: Vec<Vec<_>> = entries.chunks(self.page_entries).map(<[_]>::to_vec).collect();
        if chunks.is_empty() {
            chunks.push(Vec::new());
        }
        let (stamp, pages) = (self.stamp(false), u16::try_from(chunks.len()).unwrap());
        let page = |(page, entries)| ServerMessage::RosterPage { stamp, request, page, pages, entries };
        (0..).zip(chunks).map(page).collect()
    }

    /// A client comes with its token. A player's older session has left by then, or it waits.
    pub(super) fn redeem(&mut self, hash: TokenHash) -> Option<ServerMessage> {
        let (_, _, entry) = self.entries.get(&hash).filter(|(_, _, e)| e.kind == EntryKind::Held)?;
        let player = entry.player;
        if self.entries.values().any(|(_, _, e)| e.player == player && e.kind == EntryKind::Live) {
            return None;
        }
        let (_, _, entry) = self.entries.get_mut(&hash)?;
        entry.kind = EntryKind::Live;
        let entry = *entry;
        self.closed.insert(hash, Closed::Spent);
        self.rev += 1;
        Some(ServerMessage::Joined { stamp: self.stamp(true), entry })
    }

    pub(super) fn leave(&mut self, hash: TokenHash) -> Option<ServerMessage> {
        self.entries.get(&hash).filter(|(_, _, e)| e.kind == EntryKind::Live)?;
        let (_, _, entry) = self.entries.remove(&hash)?;
        self.rev += 1;
        Some(ServerMessage::Left { stamp: self.stamp(true), entry })
    }

    /// Held grants whose time is over.
    pub(super) fn expire(&mut self, now: Now) -> Vec<ServerMessage> {
        let over = self.entries.iter().filter(|(_, (_, at, _))| *at <= now.unix).map(|(hash, _)| *hash);
        let over: Vec<_> = over.collect();
        over.into_iter().filter_map(|hash| self.close_held(hash, Code::TokenExpired)).collect()
    }

    pub(super) fn roster(&self) -> Vec<RosterEntry> {
        self.entries.values().map(|(_, _, entry)| *entry).collect()
    }

    pub(super) fn of_player(&self, player: PlayerId) -> Vec<RosterEntry> {
        self.entries.values().map(|(_, _, e)| *e).filter(|e| e.player == player).collect()
    }
}
