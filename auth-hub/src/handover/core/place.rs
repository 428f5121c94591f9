//! Choosing a server and sending it the grant.

use shared_msgs::clock::Now;
use shared_msgs::ids::{HandoverId, PlayerId, Realm, ServerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::{Grant, Order};
use shared_msgs::token::TokenTag;
use tracing::info;

use super::{Alarm, Attempt, Core, Effect, Handover, OPEN_GRANTS_MAX, PlacedAt, Stage};
use crate::fleet::{Candidate, Freshness, ServerView, choose};
use crate::handover::NoPlace;
use crate::handover::grants::{OpenGrant, Resend};

impl Core {
    /// Finds the handover a server, or says why there is none.
    pub(super) fn place(&mut self, id: HandoverId, now: Now, fx: &mut Vec<Effect>) {
        let Some(handover) = self.running.get(&id) else { return };
        let Some((server, realm)) = self.best_server(handover, now) else {
            if self.cold_until.is_none_or(|until| now.mono < until) {
                return self.hold(id);
            }
            let why = self.why_not(handover, now);
            return self.answer(id, Err(why), now, fx);
        };
        let account = handover.request.account;
        match self.people.in_realm(account, &realm) {
            Some(player) => self.grant(id, &server, player, now, fx),
            None => {
                self.set_stage(id, Stage::FindingPlayer);
                fx.push(Effect::FindPlayer { handover: id, account, realm });
            }
        }
    }

    pub(super) fn set_stage(&mut self, id: HandoverId, stage: Stage) {
        if let Some(handover) = self.running.get_mut(&id) {
            handover.stage = stage;
        }
    }

    /// A cold hub's fleet is still coming back: wait for it a little.
    fn hold(&mut self, id: HandoverId) {
        self.set_stage(id, Stage::Holding);
        self.holding.insert(id);
        if let (Some(until), Some(handover)) = (self.cold_until, self.running.get(&id)) {
            self.timers.set(Alarm::Handover(id), until.min(handover.deadline));
        }
    }

    fn best_server(&self, handover: &Handover, now: Now) -> Option<(ServerId, Realm)> {
        let request = &handover.request;
        let eligible = self.fleet.iter().filter(|(server, view)| {
            view.is_eligible(now)
                && !handover.tried.contains(*server)
                && request.server.as_ref().is_none_or(|wanted| wanted == *server)
        });
        let candidates = eligible.filter_map(|(server, view)| {
            let taken = self.taken(server, view, handover)?;
            Some(Candidate {
                server,
                state: view.state,
                in_region: request.region.as_ref().is_none_or(|region| *region == view.profile.region),
                taken,
                max_players: view.occupancy().max_players,
                load_percent: view.load_percent,
            })
        });
        let best = choose(candidates)?.server;
        self.fleet.get(best).map(|view| (best.clone(), view.profile.realm.clone()))
    }

    /// Slots taken or promised, not counting the one that this player would take over; `None` when none is free.
    fn taken(&self, server: &ServerId, view: &ServerView, handover: &Handover) -> Option<u32> {
        let occupancy = view.occupancy();
        let account = handover.request.account;
        let player = self.people.in_realm(account, &view.profile.realm);
        let has_slot = player.is_some_and(|player| {
            view.roster.of_player(player).next().is_some() || self.ledger.has_player(server, account, player)
        });
        let promised = self.ledger.count(server) + self.ends.cancels(server);
        let taken = u64::from(occupancy.players) + u64::from(occupancy.held) + promised as u64;
        let taken = taken.saturating_sub(u64::from(has_slot));
        u32::try_from(taken).ok().filter(|taken| *taken < occupancy.max_players)
    }

    fn why_not(&self, handover: &Handover, now: Now) -> NoPlace {
        use shared_msgs::messages::ServerState::Draining;
        if let Some(wanted) = &handover.request.server {
            return match self.fleet.get(wanted) {
                None => NoPlace::ServerUnknown,
                Some(view) if view.state == Draining => NoPlace::ServerDraining,
                Some(view) if view.freshness(now) == Freshness::Fresh => NoPlace::ServerFull,
                Some(_) => NoPlace::NoServerOnline,
            };
        }
        let any_full = self.fleet.iter().any(|(_, view)| view.is_eligible(now));
        if any_full { NoPlace::AllServersFull } else { NoPlace::NoServerOnline }
    }

    fn grant(&mut self, id: HandoverId, server: &ServerId, player: PlayerId, now: Now, fx: &mut Vec<Effect>) {
        let (Some(handover), Some(view)) = (self.running.get(&id), self.fleet.get(server)) else { return };
        // A fence must be above any earlier one of the account, wherever it was issued.
        for (_, entry) in self.people.of(handover.request.account).flat_map(|p| self.fleet.entries_of(p)) {
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
        let grant = Grant { handover: id, hash, player, fence, expires_at, name };
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
        info!(target: "handover", handover_id = %id, server_id = %server, player_id = %player, "handover.placed");
        self.ledger.insert(OpenGrant {
            server: server.clone(),
            boot: view.boot,
            account: handover.request.account,
            grant,
            sent_at: now.mono,
            void_at: now.mono + limits::CLOSED_LIFE,
            resend: Resend::new(),
        });
        self.set_stage(id, Stage::Granting(Box::new(attempt)));
        self.send_grant(hash, now, fx);
        self.arm(id, now);
    }

    fn send_grant(&mut self, hash: TokenHash, now: Now, fx: &mut Vec<Effect>) {
        let Some(open) = self.ledger.get_mut(&hash) else { return };
        let (server, boot, grant) = (open.server.clone(), open.boot, open.grant.clone());
        let again = open.resend.after(now.mono);
        self.timers.set(Alarm::Grant(hash), again);
        info!(target: "handover", handover_id = %grant.handover, server_id = %server, token_hash = %hash, "grant.sent");
        self.send(&server, boot, Order::Grant(grant), fx);
    }

    /// Sends an unanswered grant again, with the same id, until its answer or its end.
    pub(super) fn resend_grant(&mut self, hash: TokenHash, now: Now, fx: &mut Vec<Effect>) {
        let Some(open) = self.ledger.get_mut(&hash) else { return };
        if now.mono >= open.void_at {
            info!(target: "handover", handover_id = %open.grant.handover, server_id = %open.server, "grant.forgotten");
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
