//! The rig: a core, a virtual clock, scripted servers, a wire between them that can lose, repeat and delay, and a fake store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use shared_msgs::clock::{Mono, Now, UnixMs};
use shared_msgs::ids::{BootId, HandoverId, HubId, PlayerId, Realm, ServerId, StreamId, TokenHash};
use shared_msgs::keys::FleetKeys;
use shared_msgs::limits;
use shared_msgs::messages::{Order, ServerMessage};
use shared_msgs::rng::{Rng, SeededRng};

use super::super::{Core, Effect, Input, Settings};
use super::peer::Peer;
use crate::accounts::{AccountRow, Owners, PlayerRow};
use crate::fleet::{Addressed, Placement, Sender};
use crate::handover::{HandoverRequest, Placed, Refused};
use crate::queue::{TicketId, TicketRow, TicketView};

pub(super) const EPOCH_MS: u64 = 1_700_000_000_000;
/// More steps without any time passing mean that somebody spins.
const STEPS_PER_INSTANT_MAX: u32 = 200_000;

pub(super) enum Packet {
    ToHub(Sender, ServerMessage),
    ToServer(Addressed),
    Stored(Input),
}

/// How the wire treats one packet: the delay of each copy; none for a lost one.
pub(super) type Wire = Box<dyn FnMut(&Packet) -> Vec<u64>>;

pub(super) struct Rig {
    pub(super) core: Core,
    pub(super) now: Now,
    pub(super) peers: BTreeMap<ServerId, Peer>,
    pub(super) rng: Arc<dyn Rng>,
    keys: Arc<FleetKeys>,
    pub(super) flying: BTreeMap<(Mono, u64), Packet>,
    packets: u64,
    pub(super) wire: Wire,
    /// The store's answers are kept back while this is false.
    pub(super) store_answers: bool,
    pub(super) store_works: bool,
    pub(super) ceiling: u64,
    pub(super) last_servers: BTreeMap<PlayerId, ServerId>,
    pub(super) last_servers_stored: usize,
    pub(super) ceilings_asked: usize,
    pub(super) owners_asked: Vec<PlayerId>,
    pub(super) refusals: usize,
    pub(super) banned: BTreeSet<AccountRow>,
    pub(super) moves_ignored: usize,
    pub(super) players: BTreeMap<(AccountRow, Realm), PlayerId>,
    pub(super) forgotten: BTreeMap<(AccountRow, Realm), PlayerId>,
    pub(super) asked: BTreeMap<HandoverId, Mono>,
    pub(super) answers: BTreeMap<HandoverId, (Mono, Result<Placed, Refused>)>,
    pub(super) sent: Vec<(Mono, ServerId, BootId, Order)>,
    pub(super) queued: BTreeMap<HandoverId, TicketView>,
    /// Those on disk.
    pub(super) tickets: BTreeMap<TicketId, TicketRow>,
    pub(super) priorities: BTreeSet<AccountRow>,
    /// Of the hub that starts next.
    pub(super) settings: Settings,
    /// When each probe was sent, and the newest whose echo the hub has seen, per boot: our own idea of who is fresh.
    pub(super) probes: BTreeMap<u64, Mono>,
    pub(super) fresh: BTreeMap<(ServerId, BootId), Mono>,
    pub(super) granted: BTreeSet<TokenHash>,
    /// Whether a will of a server's newest connection must stop placement at once. Not when connections' messages overtake each other.
    pub(super) trusts_wills: bool,
    pub(super) ticks: u64,
}

fn new_core(keys: &Arc<FleetKeys>, rng: &Arc<dyn Rng>, ceiling: u64, settings: Settings) -> Core {
    Core::new(HubId::random(&**rng), 0, 64, ceiling, Arc::clone(keys), Arc::clone(rng), settings)
}

impl Rig {
    /// A hub on its broker, its clock ceiling stored, no servers yet.
    pub(super) fn new(seed: u64) -> Self {
        let mut rig = Self::cold(seed);
        rig.input(Input::LinkUp);
        rig
    }

    /// A hub that has not reached its broker yet.
    pub(super) fn cold(seed: u64) -> Self {
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(seed));
        let keys = Arc::new(FleetKeys::generate(&*rng));
        // Tests say where players go: nothing is drawn.
        let placement = Placement { near_percent: 0, sticky: false, ..Placement::default() };
        let settings = Settings { placement, queue: None };
        let mut rig = Self {
            core: new_core(&keys, &rng, 0, settings),
            now: Now { mono: Mono(0), unix: UnixMs(EPOCH_MS) },
            peers: BTreeMap::new(),
            rng,
            keys,
            flying: BTreeMap::new(),
            packets: 0,
            wire: Box::new(|_| vec![0]),
            store_answers: true,
            store_works: true,
            ceiling: 0,
            last_servers: BTreeMap::new(),
            last_servers_stored: 0,
            ceilings_asked: 0,
            owners_asked: Vec::new(),
            refusals: 0,
            banned: BTreeSet::new(),
            moves_ignored: 0,
            players: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            sent: Vec::new(),
            queued: BTreeMap::new(),
            tickets: BTreeMap::new(),
            priorities: BTreeSet::new(),
            settings,
            probes: BTreeMap::new(),
            fresh: BTreeMap::new(),
            granted: BTreeSet::new(),
            trusts_wills: true,
            ticks: 0,
        };
        rig.run(0);
        rig
    }

    /// A warm hub with these servers `(id, slots)`, all of realm `r`, probed and eligible.
    pub(super) fn with(servers: &[(&str, u32)]) -> Self {
        let mut rig = Self::new(1);
        rig.run(2_500);
        for (id, max) in servers {
            rig.start(Peer::new(id, "r", *max, 1));
        }
        rig.run(0);
        rig
    }

    /// Another hub takes over with an empty view. What was under way is forgotten, its clients gone.
    pub(super) fn restart_hub(&mut self) {
        self.core = new_core(&self.keys, &self.rng, self.ceiling, self.settings);
        let mut rows: Vec<TicketRow> = self.tickets.values().cloned().collect();
        rows.sort_by_key(|row| row.arrived_us);
        self.core.restore_tickets(rows, self.now);
        self.flying.retain(|_, packet| !matches!(packet, Packet::Stored(_)));
        self.fresh.clear();
        self.probes.clear();
        self.asked.retain(|id, _| self.answers.contains_key(id) || self.queued.contains_key(id));
        self.run(0);
        self.input(Input::LinkUp);
    }

    pub(super) fn start(&mut self, mut peer: Peer) {
        peer.stream = StreamId::random(&*self.rng);
        peer.next_beat = self.now.mono;
        self.peers.insert(peer.id.clone(), peer);
    }

    /// A new connection of the same process; its status goes out at once.
    pub(super) fn reconnect(&mut self, server: &str) {
        let stream = StreamId::random(&*self.rng);
        let peer = self.peer(server);
        peer.stream = stream;
        let status = peer.status();
        self.from(server, [status]);
    }

    pub(super) fn peer(&mut self, server: &str) -> &mut Peer {
        self.peers.get_mut(&server.parse::<ServerId>().unwrap()).unwrap()
    }

    /// The player of an account in a realm, made when first asked for.
    pub(super) fn player(&mut self, account: i64, realm: &str) -> PlayerId {
        let key = (AccountRow::from_raw(account), realm.parse().unwrap());
        let fresh = PlayerId::random(&*self.rng);
        *self.players.entry(key).or_insert(fresh)
    }

    pub(super) fn ask(&mut self, account: i64) -> HandoverId {
        self.ask_for(account, None)
    }

    pub(super) fn ask_for(&mut self, account: i64, server: Option<&str>) -> HandoverId {
        self.ask_in(account, server, &[])
    }

    pub(super) fn ask_in(&mut self, account: i64, server: Option<&str>, regions: &[&str]) -> HandoverId {
        let account = AccountRow::from_raw(account);
        let server = server.map(|id| id.parse().unwrap());
        let regions = regions.iter().map(|&region| region.into()).collect();
        let request = HandoverRequest { server, regions, ..HandoverRequest::anywhere(account, "Ann".into()) };
        self.ask_with(request)
    }

    pub(super) fn ask_with(&mut self, request: HandoverRequest) -> HandoverId {
        let (handover, account) = (HandoverId::random(&*self.rng), request.account);
        let players = self.players.iter().filter(|((of, _), _)| *of == account && self.store_answers);
        let players = players.map(|((_, realm), player)| self.row(account, realm, *player)).collect();
        self.asked.insert(handover, self.now.mono);
        self.input(Input::Ask { handover, request, players });
        handover
    }

    /// As the store has it.
    pub(super) fn row(&self, account: AccountRow, realm: &Realm, player: PlayerId) -> PlayerRow {
        PlayerRow {
            account,
            realm: realm.clone(),
            player,
            last_server: self.last_servers.get(&player).cloned(),
        }
    }

    pub(super) fn input(&mut self, input: Input) {
        if let Input::Message { from, message } = &input {
            self.note_echo(from, message);
        }
        let effects = self.core.handle(input, self.now);
        self.check_moves();
        self.carry_out(effects);
    }

    fn note_echo(&mut self, from: &Sender, message: &ServerMessage) {
        let key = (from.server.clone(), message.boot());
        match message {
            ServerMessage::Status(status) => {
                let echoed = status.echoes.iter().filter_map(|echo| self.probes.get(&echo.n)).max().copied();
                if let Some(at) = echoed {
                    let fresh = self.fresh.entry(key).or_default();
                    *fresh = (*fresh).max(at);
                }
            }
            ServerMessage::Gone { .. }
                if self.trusts_wills && self.peers[&from.server].stream == from.stream =>
            {
                self.fresh.remove(&key);
            }
            _ => {}
        }
    }

    pub(super) fn fly(&mut self, packet: Packet) {
        let delays = (self.wire)(&packet);
        for delay in delays {
            self.packets += 1;
            let copy = match &packet {
                Packet::ToHub(from, message) => Packet::ToHub(from.clone(), message.clone()),
                Packet::ToServer(order) => Packet::ToServer(order.clone()),
                Packet::Stored(_) => break,
            };
            self.flying.insert((self.now.mono + Duration::from_millis(delay), self.packets), copy);
        }
        if let Packet::Stored(_) = packet {
            self.packets += 1;
            self.flying.insert((self.now.mono, self.packets), packet);
        }
    }

    /// Messages of a server leave for the hub.
    pub(super) fn from(&mut self, server: &str, messages: impl IntoIterator<Item = ServerMessage>) {
        let sender = self.peer(server).sender();
        messages.into_iter().for_each(|message| self.fly(Packet::ToHub(sender.clone(), message)));
    }

    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(order) => {
                    self.check_send(&order);
                    self.sent.push((self.now.mono, order.server.clone(), order.boot, order.order.clone()));
                    self.fly(Packet::ToServer(order));
                }
                Effect::Answer { handover, answer } => {
                    let asked = self.asked.get(&handover).expect("an answer nobody asked for");
                    let took = self.now.mono.since(*asked);
                    assert!(took <= limits::LOGIN_DEADLINE, "answered after {took:?}");
                    let before = self.answers.insert(handover, (self.now.mono, answer));
                    assert!(before.is_none() && !self.queued.contains_key(&handover), "answered twice");
                }
                Effect::FindPlayer { handover, account, realm } => {
                    let fresh = PlayerId::random(&*self.rng);
                    let player = *self.players.entry((account, realm.clone())).or_insert(fresh);
                    let player = Some(player);
                    self.fly(Packet::Stored(Input::Player { handover, account, realm, player }));
                }
                Effect::FindOwners(asked) => {
                    self.owners_asked.extend(&asked);
                    let known = self.players.iter().filter(|(_, player)| asked.contains(player));
                    let found = known.map(|((account, realm), player)| self.row(*account, realm, *player));
                    let players: Vec<PlayerRow> = found.collect();
                    let banned = players.iter().map(|row| row.account).filter(|of| self.banned.contains(of));
                    let found = Owners { banned: banned.collect(), players };
                    let found = self.store_works.then_some(found);
                    self.fly(Packet::Stored(Input::Owners { asked, found }));
                }
                Effect::StoreCeiling(ceiling) => {
                    self.ceilings_asked += 1;
                    let stored = self.store_works.then(|| {
                        self.ceiling = self.ceiling.max(ceiling);
                        self.ceiling
                    });
                    self.fly(Packet::Stored(Input::CeilingStored(stored)));
                }
                Effect::Queued { .. } | Effect::SaveTicket(_) | Effect::DropTickets(_) => {
                    self.on_ticket_effect(effect);
                }
                Effect::StoreLastServer { player, server } => {
                    self.last_servers_stored += 1;
                    self.last_servers.insert(player, server);
                }
                Effect::FindMover { mover, account } => self.on_find_mover(mover, account),
                Effect::MoveIgnored => self.moves_ignored += 1,
                Effect::GrantRefused => self.refusals += 1,
                Effect::GrantRoundTrip { .. } | Effect::Resent => {}
            }
        }
    }

    /// Lets so many milliseconds pass, with everything that falls due on the way.
    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now.mono + Duration::from_millis(ms);
        let (mut instant, mut steps) = (self.now.mono, 0);
        loop {
            (instant, steps) = (self.now.mono, if instant == self.now.mono { steps + 1 } else { 0 });
            assert!(steps < STEPS_PER_INSTANT_MAX, "time stands still");
            let flying =
                self.flying.iter().find(|(_, p)| self.store_answers || !matches!(p, Packet::Stored(_)));
            let flying = flying.map(|(key, _)| *key);
            let beat = self.peers.values().map(|peer| peer.next_beat).min();
            let due =
                flying.map(|(at, _)| at).into_iter().chain(beat).chain([self.core.next_deadline()]).min();
            let due = due.unwrap().max(self.now.mono);
            if due > end {
                return self.sleep_until(end);
            }
            self.sleep_until(due);
            if let Some(key) = flying.filter(|(at, _)| *at <= due) {
                let packet = self.flying.remove(&key).unwrap();
                self.deliver(packet);
            } else if let Some(id) = self.peers.values().find(|p| p.next_beat <= due).map(|p| p.id.clone()) {
                let peer = self.peers.get_mut(&id).unwrap();
                peer.next_beat = due + limits::STATUS_BEAT;
                let mut messages = peer.expire(self.now);
                messages.push(peer.status());
                self.from(id.as_str(), messages);
            } else {
                self.tick();
            }
        }
    }

    fn sleep_until(&mut self, at: Mono) {
        self.now.unix = self.now.unix + at.since(self.now.mono);
        self.now.mono = at;
    }

    fn tick(&mut self) {
        self.ticks += 1;
        let effects = self.core.tick(self.now);
        self.check_moves();
        assert!(self.core.next_deadline() > self.now.mono, "a tick made no progress: the desk would spin");
        self.carry_out(effects);
    }

    fn deliver(&mut self, packet: Packet) {
        match packet {
            Packet::ToHub(from, message) => {
                self.input(Input::Message { from, message: Box::new(message) });
            }
            Packet::Stored(input) => self.input(input),
            Packet::ToServer(Addressed { server, boot, order }) => {
                let Some(peer) = self.peers.get_mut(&server) else { return };
                let answers = peer.on_order(boot, &order, self.now);
                self.from(server.as_str(), answers);
            }
        }
    }
}
