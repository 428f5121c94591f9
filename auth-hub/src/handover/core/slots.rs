//! Free slots and whose they are: those who wait, in their order, before anybody new.
//!
//! Invariant: a slot goes to the first in the order who can use it and is present; a party's slots gather on one server, and are passed by on the others.

use std::collections::BTreeMap;

use shared_msgs::clock::Now;
use shared_msgs::ids::ServerId;

use super::{Core, Effect};
use crate::fleet::{Pressure, ServerView};
use crate::handover::HandoverRequest;
use crate::queue::{Line, Next};

/// Free slots, by server.
type Free = BTreeMap<ServerId, u32>;

impl Core {
    /// Keeps each free slot for the first who waits for it and is present.
    pub(super) fn pump(&mut self, now: Now, fx: &mut Vec<Effect>) {
        if !self.queue.queue.is_anybody_present() {
            return;
        }
        let mut free = self.free_slots(now);
        let mut heads = self.queue.queue.heads();
        let mut called = Vec::new();
        while !free.is_empty() {
            let Some(next) = heads.pop_first() else { break };
            let Some((line, slots, ticket)) = self.queue.queue.wants(next) else { break };
            let line = line.clone();
            let Some(request) = self.queue.requests.get(&ticket) else { continue };
            if let Some(server) = self.choose_for(request, &line, slots, &free, now) {
                let left = free.get(&server).map_or(0, |slots_free| slots_free - slots);
                if left == 0 {
                    free.remove(&server)
                } else {
                    free.insert(server.clone(), left)
                };
                called.extend(self.queue.queue.reserve(next, &server, now.mono));
            } else if slots == 1 || self.open_to(&line, &free).next().is_none() {
                // Nor is there one for anybody else of this line.
                continue;
            } else if let Some(server) = self.gathering_place(next, request, &line, slots, &free, now) {
                // A party waits where most is free already; elsewhere the others go on.
                free.remove(&server);
                self.queue.queue.pin(next, &server);
            }
            heads.extend(self.queue.queue.after(next, &line));
        }
        for ticket in called {
            self.start(ticket, now, fx);
        }
    }

    /// What eligible servers have, but for what is kept.
    fn free_slots(&self, now: Now) -> Free {
        let eligible = self.fleet.iter().filter(|(server, view)| {
            view.is_eligible(now) && self.pressure(server, view) != Pressure::Overloaded
        });
        let free = eligible.filter_map(|(server, view)| {
            // A gathering party's slots are free for it, and for who is before it.
            let taken = self.promised(server, view) + u64::from(self.queue.queue.kept(server));
            let free = u64::from(view.occupancy().max_players).saturating_sub(taken);
            (free > 0).then(|| (server.clone(), u32::try_from(free).unwrap_or(u32::MAX)))
        });
        free.collect()
    }

    /// Where so many of a line go, by the placement's policy.
    fn choose_for(
        &self,
        request: &HandoverRequest,
        line: &Line,
        slots: u32,
        free: &Free,
        now: Now,
    ) -> Option<ServerId> {
        let regions = self.regions(request, now);
        let last_servers = self.last_servers(request);
        let candidates = self.open_to(line, free).filter(|(_, _, free)| *free >= slots);
        let candidates = candidates.filter_map(|(server, view, free)| {
            let rank = regions.rank(&view.profile.region)?;
            let taken = view.occupancy().max_players.saturating_sub(free);
            Some(self.candidate(server, view, rank, last_servers.contains(&server), taken))
        });
        self.placement.choose(candidates, &*self.rng).map(|candidate| candidate.server.clone())
    }

    /// Where slots gather for a party that no server has room for: where they did, else where most are free.
    fn gathering_place(
        &self,
        next: Next,
        request: &HandoverRequest,
        line: &Line,
        slots: u32,
        free: &Free,
        now: Now,
    ) -> Option<ServerId> {
        let regions = self.regions(request, now);
        let could = |view: &ServerView| {
            view.occupancy().max_players >= slots && regions.rank(&view.profile.region).is_some()
        };
        let before = self.queue.queue.pinned(next).filter(|server| {
            let view = self.fleet.get(server).filter(|view| view.is_eligible(now) && could(view));
            view.is_some_and(|view| is_of(line, server, view))
        });
        let fitting = self.open_to(line, free).filter(|(_, view, _)| could(view));
        let most = fitting.max_by_key(|(_, _, free)| *free).map(|(server, ..)| server);
        before.or(most).cloned()
    }

    /// Servers with free slots for those of a line.
    fn open_to<'a>(
        &'a self,
        line: &'a Line,
        free: &'a Free,
    ) -> impl Iterator<Item = (&'a ServerId, &'a ServerView, u32)> {
        let servers = match line.server() {
            Some(only) => free.range(only..=only),
            None => free.range::<ServerId, _>(..),
        };
        servers.filter_map(move |(server, free)| {
            let view = self.fleet.get(server).filter(|view| is_of(line, server, view))?;
            Some((server, view, *free))
        })
    }
}

/// Whether a server's slots are for those of a line.
fn is_of(line: &Line, server: &ServerId, view: &ServerView) -> bool {
    match line {
        Line::Anywhere => true,
        Line::Regions(regions) => regions.contains(&view.profile.region),
        Line::Server(only) => only == server,
        Line::Labelled(labels, of) => {
            labels.iter().all(|label| view.profile.labels.contains(label)) && is_of(of, server, view)
        }
    }
}
