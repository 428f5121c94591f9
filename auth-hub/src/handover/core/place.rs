//! Choosing a server and sending it the grant.

use shared_msgs::clock::{Mono, Now};
use shared_msgs::ids::{HandoverId, PlayerId, Realm, ServerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::{Grant, Order, ServerState};
use shared_msgs::token::TokenTag;

use super::{Alarm, Attempt, Core, Effect, Handover, OPEN_GRANTS_MAX, PlacedAt, Stage};
use crate::fleet::{Candidate, Pressure, Regions, ServerView};
use crate::handover::grants::{OpenGrant, Resend};
use crate::handover::journal::step;
use crate::handover::{HandoverRequest, NoPlace};
use crate::queue::Party;

/// Where a handover goes.
enum Choice {
    Server(ServerId, Realm),
    /// Only overloaded servers would do.
    Pressed,
    None,
}

/// Whether the server has every label that the player asks for.
pub(super) fn has_labels(request: &HandoverRequest, view: &ServerView) -> bool {
    request.labels.iter().all(|label| view.profile.labels.contains(label))
}

/// Whether the server, were it empty, is what is asked for.
fn is_as_wished(request: &HandoverRequest, view: &ServerView) -> bool {
    let is_large_enough = |party: Party| view.occupancy().max_players >= u32::from(party.size);
    has_labels(request, view) && request.party.is_none_or(is_large_enough)
}

impl Core {
    /// Finds the handover a server, or says why there is none.
    pub(super) fn place(&mut self, id: HandoverId, now: Now, fx: &mut Vec<Effect>) {
        if self.ends_without_placing(id, now, fx) {
            return;
        }
        self.wait_no_longer(id);
        let Some(handover) = self.running.get(&id) else { return };
        if let Some(ticket) = handover.ticket {
            return self.place_ticket(id, ticket, now, fx);
        }
        if handover.carries.is_none() && self.is_duplicate(handover, now) {
            return self.answer(id, Err(NoPlace::DuplicateLogin), now, fx);
        }
        // Nobody new goes past those who wait.
        self.pump(now, fx);
        let Some(handover) = self.running.get(&id) else { return };
        // A party has its slots all at once, from the queue.
        let is_alone = handover.request.party.is_none();
        let choice = if is_alone { self.best_server(handover, now) } else { Choice::None };
        let (server, realm) = match choice {
            Choice::Server(server, realm) => (server, realm),
            Choice::Pressed => return self.wait_for_ease(id, now),
            Choice::None if now.mono < self.hold_until(handover) => {
                self.set_stage(id, Stage::Holding);
                self.holding.insert(id);
                return self.arm(id, now);
            }
            Choice::None => {
                let why = self.why_not(handover, now);
                // A player that a game server moves keeps playing where it is.
                if matches!(why, NoPlace::AllServersFull | NoPlace::ServerFull) && handover.carries.is_none()
                {
                    return self.enqueue(id, why, now, fx);
                }
                return self.answer(id, Err(why), now, fx);
            }
        };
        self.grant_in(id, &server, realm, now, fx);
    }

    /// Grants a place on a server of this realm, once it is known who the player is there.
    pub(super) fn grant_in(
        &mut self,
        id: HandoverId,
        server: &ServerId,
        realm: Realm,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let Some(account) = self.running.get(&id).map(|handover| handover.request.account) else { return };
        if let Some(player) = self.people.in_realm(account, &realm) {
            self.grant(id, server, player, now, fx);
        } else {
            self.set_stage(id, Stage::FindingPlayer);
            self.arm(id, now);
            fx.push(Effect::FindPlayer { handover: id, account, realm });
        }
    }

    pub(super) fn set_stage(&mut self, id: HandoverId, stage: Stage) {
        if let Some(handover) = self.running.get_mut(&id) {
            handover.stage = stage;
        }
    }

    /// Until when this handover waits for a cold hub's fleet to come back.
    pub(super) fn hold_until(&self, handover: &Handover) -> Mono {
        let cold_until = self.cold_until.map_or(handover.hold_until, |until| until.min(handover.hold_until));
        Self::move_holds_until(handover).unwrap_or(cold_until)
    }

    fn best_server(&self, handover: &Handover, now: Now) -> Choice {
        let regions = self.regions(&handover.request, now);
        let last_servers = self.last_servers(&handover.request);
        let mut is_pressed = false;
        let candidates = self.fleet.iter().filter_map(|(server, view)| {
            let is_open = Self::is_open(handover, server, view, now);
            let region_rank = is_open.then(|| regions.rank(&view.profile.region)).flatten()?;
            let taken = self.taken(server, view, handover)?;
            if self.pressure(server, view) == Pressure::Overloaded {
                is_pressed = true;
                return None;
            }
            Some(self.candidate(server, view, region_rank, last_servers.contains(&server), taken))
        });
        let best = self.placement.choose(candidates, &*self.rng).map(|best| best.server);
        match best.and_then(|server| Some((server, self.fleet.get(server)?))) {
            Some((server, view)) => Choice::Server(server.clone(), view.profile.realm.clone()),
            None if is_pressed => Choice::Pressed,
            None => Choice::None,
        }
    }

    /// How the player likes the fleet's regions. Who names a server is asked for no region.
    pub(super) fn regions<'a>(&self, request: &'a HandoverRequest, now: Now) -> Regions<'a> {
        let is_known = |region: &str| {
            self.fleet.iter().any(|(_, view)| view.profile.region == region && view.is_eligible(now))
        };
        if request.server.is_some() {
            Regions::ANY
        } else if request.regions.is_empty() && !request.latencies.is_empty() {
            Regions::measured(&request.latencies, self.placement.latency_band_ms, is_known)
        } else {
            Regions::listed(&request.regions, self.placement.region_fallback)
        }
    }

    /// Whether the player may go to this server, were it not for its region and its slots.
    fn is_open(handover: &Handover, server: &ServerId, view: &ServerView, now: Now) -> bool {
        view.is_eligible(now)
            && !handover.tried.contains(server)
            && handover.request.server.as_ref().is_none_or(|wanted| wanted == server)
            && has_labels(&handover.request, view)
    }

    /// Whether the player may go to this server, whether or not it has room.
    pub(super) fn may_go_to(&self, handover: &Handover, server: &ServerId, now: Now) -> bool {
        let view = self.fleet.get(server).filter(|view| Self::is_open(handover, server, view, now));
        view.is_some_and(|view| self.regions(&handover.request, now).rank(&view.profile.region).is_some())
    }

    /// How hard it is for a server, by its own word and by what it has not answered.
    pub(super) fn pressure(&self, server: &ServerId, view: &ServerView) -> Pressure {
        self.ledger.pressure(server).max(view.load)
    }

    pub(super) fn candidate<'a>(
        &self,
        server: &'a ServerId,
        view: &ServerView,
        region_rank: usize,
        is_last: bool,
        taken: u32,
    ) -> Candidate<'a> {
        let is_strained = self.pressure(server, view) == Pressure::Strained;
        Candidate {
            server,
            is_degraded: view.state == ServerState::Degraded || is_strained,
            region_rank,
            is_last,
            taken,
            max_players: view.occupancy().max_players,
            load_percent: view.load_percent,
        }
    }

    /// Slots taken or promised.
    pub(super) fn promised(&self, server: &ServerId, view: &ServerView) -> u64 {
        let occupancy = view.occupancy();
        let promised = self.ledger.count(server) + self.ends.cancels(server);
        u64::from(occupancy.players) + u64::from(occupancy.held) + promised as u64
    }

    /// Slots taken, promised or kept; `None` when none is free for this player.
    fn taken(&self, server: &ServerId, view: &ServerView, handover: &Handover) -> Option<u32> {
        let kept = self.queue.kept(server).unwrap_or(view.occupancy().max_players);
        let taken = self.promised(server, view) + u64::from(kept);
        let free = u64::from(view.occupancy().max_players).checked_sub(taken + 1);
        // What the player has or was promised there is one slot, counted before: the grant takes it over.
        let account = handover.request.account;
        let has_slot = || {
            let player = self.people.in_realm(account, &view.profile.realm)?;
            let is_promised = self.ledger.has_player(server, account, player)
                || self.ends.cancels_of(&(server.clone(), player)) > 0;
            (is_promised || view.roster.of_player(player).next().is_some()).then_some(())
        };
        (free.is_some() || has_slot().is_some()).then(|| u32::try_from(taken).unwrap_or(u32::MAX))
    }

    fn why_not(&self, handover: &Handover, now: Now) -> NoPlace {
        if let Some(wanted) = &handover.request.server {
            return match self.fleet.get(wanted) {
                None => NoPlace::ServerUnknown,
                Some(view) if view.is_draining() => NoPlace::ServerDraining,
                Some(_) if handover.was_refused_oddly => NoPlace::HubBusy,
                // None of this name that is what was asked for.
                Some(view) if !is_as_wished(&handover.request, view) => NoPlace::ServerUnknown,
                Some(view) if view.is_eligible(now) => NoPlace::ServerFull,
                Some(_) => NoPlace::NoServerOnline,
            };
        }
        if handover.was_refused_oddly {
            return NoPlace::HubBusy;
        }
        // Of a fleet that is here, none is what was asked for: waiting does not help.
        let mut fleet = self.fleet.iter().peekable();
        if fleet.peek().is_some() && !fleet.any(|(_, view)| is_as_wished(&handover.request, view)) {
            return NoPlace::ServerUnknown;
        }
        let regions = self.regions(&handover.request, now);
        let is_open = |view: &ServerView| {
            view.is_eligible(now)
                && is_as_wished(&handover.request, view)
                && regions.rank(&view.profile.region).is_some()
        };
        let any_full = self.fleet.iter().any(|(_, view)| is_open(view));
        if any_full { NoPlace::AllServersFull } else { NoPlace::NoServerOnline }
    }

    fn grant(&mut self, id: HandoverId, server: &ServerId, player: PlayerId, now: Now, fx: &mut Vec<Effect>) {
        let (Some(handover), Some(view)) = (self.running.get(&id), self.fleet.get(server)) else { return };
        let account = handover.request.account;
        // A fence must be above any earlier one of the account, wherever it was issued.
        for (_, entry) in self.people.of(account).flat_map(|p| self.fleet.entries_of(p)) {
            self.fences.observe(entry.fence, now);
        }
        let fence = self.fences.issue(now).filter(|_| self.ledger.len() < OPEN_GRANTS_MAX);
        let key = self.keys.server_key_named(server, view.key);
        let (Some(fence), Some(key)) = (fence, key) else {
            return self.answer(id, Err(NoPlace::HubBusy), now, fx);
        };
        let expires_at = now.unix + limits::TOKEN_LIFE;
        let (token, hash) = TokenTag::new(&key, server, view.boot).mint(expires_at, &*self.rng);
        let name = handover.request.name.clone();
        let luggage = handover.carries.as_ref().map(|carried| carried.luggage.clone()).unwrap_or_default();
        let grant = Grant { handover: id, hash, player, fence, expires_at, name, luggage };
        let attempt = Attempt {
            server: server.clone(),
            boot: view.boot,
            player,
            hash,
            fence,
            token,
            placed: PlacedAt {
                server_name: view.profile.name.clone(),
                region: view.profile.region.clone(),
                endpoints: view.profile.endpoints.clone(),
                expires_at,
            },
            sent_at: now.mono,
            yes_at: None,
        };
        let boot = view.boot;
        step!(info, self, now, id, Some(server), None, "handover.placed", player_id = %player);
        self.journal.granted(id, hash);
        self.ledger.insert(OpenGrant {
            server: server.clone(),
            boot,
            account,
            grant,
            sent_at: now.mono,
            void_at: now.mono + limits::CLOSED_LIFE,
            resend: Resend::new(),
        });
        let ticket = handover.ticket;
        if let Some(ticket) = ticket {
            self.queue.granted(ticket);
        }
        self.set_stage(id, Stage::Granting(Box::new(attempt)));
        self.send_grant(hash, now, fx);
        self.arm(id, now);
    }

    fn send_grant(&mut self, hash: TokenHash, now: Now, fx: &mut Vec<Effect>) {
        let Some(open) = self.ledger.get_mut(&hash) else { return };
        let (server, boot, grant) = (open.server.clone(), open.boot, open.grant.clone());
        let again = open.resend.after(now.mono);
        self.timers.set(Alarm::Grant(hash), again);
        step!(info, self, now, grant.handover, Some(&server), None, "grant.sent", token_hash = %hash);
        Self::send(&server, boot, Order::Grant(grant), fx);
    }

    /// Sends an unanswered grant again, with the same id, until its answer or its end.
    pub(super) fn resend_grant(&mut self, hash: TokenHash, now: Now, fx: &mut Vec<Effect>) {
        let Some(open) = self.ledger.get_mut(&hash) else { return };
        if now.mono >= open.void_at {
            let (id, server) = (open.grant.handover, open.server.clone());
            step!(info, self, now, id, Some(&server), None, "grant.forgotten");
            self.ledger.remove(&hash);
        } else if now.unix >= open.grant.expires_at {
            // The server would only refuse it; the slot stays counted until no clock can still hold it.
            self.timers.set(Alarm::Grant(hash), open.void_at);
        } else {
            fx.push(Effect::Resent);
            self.send_grant(hash, now, fx);
        }
    }
}
