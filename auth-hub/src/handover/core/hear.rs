//! What servers and the store say, and a link that comes up: taken into the view first, then acted on.

use std::collections::{BTreeMap, BTreeSet};

use shared_msgs::clock::Now;
use shared_msgs::codes::Code;
use shared_msgs::ids::{PlayerId, ServerId};
use shared_msgs::limits;
use shared_msgs::messages::{EntryKind, RosterEntry, ServerMessage};

use super::{Alarm, Core, Effect};
use crate::accounts::{AccountRow, Owners, PlayerRow};
use crate::fleet::{News, Sender};
use crate::handover::ends::EndKey;
use crate::handover::journal::step;

impl Core {
    pub(super) fn on_owners(
        &mut self,
        asked: &[PlayerId],
        found: Option<Owners>,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        self.people.not_found(asked);
        let Some(Owners { players, banned }) = found else {
            // Until their owner is known, nobody's older session ends: ask again soon.
            return self.timers.set(Alarm::Prune, now.mono + limits::RESEND_MAX);
        };
        let mut accounts: BTreeMap<AccountRow, Vec<PlayerRow>> = BTreeMap::new();
        for row in players {
            accounts.entry(row.account).or_default().push(row);
        }
        let mut is_any_left = false;
        for (account, rows) in accounts {
            let players: Vec<PlayerId> = rows.iter().map(|row| row.player).collect();
            // Its end may have been given by a run of the hub before this one, which took what it owed along.
            let below = banned.contains(&account).then(|| self.floor_of_banned(account, &players, now));
            let Ok(below) = below.transpose() else {
                // Not learnt: its players are asked for again, and then it can be ended.
                is_any_left = true;
                continue;
            };
            self.learn(rows);
            for player in players {
                self.note_last_server(player, fx);
            }
            match below.flatten() {
                Some(below) => drop(self.end_all(account, below, Code::Banned, now, fx)),
                None => self.keep_single(account, now, fx),
            }
        }
        if is_any_left {
            self.timers.set(Alarm::Prune, now.mono + limits::RESEND_MAX);
        }
    }

    pub(super) fn on_message(
        &mut self,
        from: &Sender,
        message: &ServerMessage,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let mut orders = Vec::new();
        let news = self.fleet.on_message(from, message, now, &mut orders);
        fx.extend(orders.into_iter().map(Effect::Send));
        match message {
            ServerMessage::GrantReply { stamp, handover, hash, player, verdict, .. } => {
                self.on_verdict(&from.server, stamp.boot, *handover, *hash, *player, *verdict, now, fx);
            }
            ServerMessage::Ended { stamp, player, below, hashes } => {
                self.on_ended(&(from.server.clone(), *player), stamp.boot, *below, hashes, now, fx);
            }
            ServerMessage::Joined { entry, .. } => {
                self.note_last_server(entry.player, fx);
                self.on_joined(&from.server, entry, now);
            }
            ServerMessage::Left { entry, .. } => self.on_left(&from.server, entry, now),
            ServerMessage::Noticed { stamp, id } => self.on_noticed(&from.server, stamp.boot, *id),
            ServerMessage::Move(asked) => self.on_move(from, asked, now, fx),
            _ => {}
        }
        self.on_news(news, now, fx);
        if let ServerMessage::Status(status) = message {
            self.on_state(&from.server, status, now, fx);
        }
    }

    fn on_joined(&mut self, server: &ServerId, entry: &RosterEntry, now: Now) {
        let Some(id) = self.journal.handover_of(&entry.hash) else { return };
        if !self.journal.ends_with(id, "session.began") {
            step!(debug, self, now, id, Some(server), None, "session.began");
        }
    }

    fn on_left(&mut self, server: &ServerId, entry: &RosterEntry, now: Now) {
        let Some(id) = self.journal.handover_of(&entry.hash) else { return };
        let reason = self.ends.reason_for(&(server.clone(), entry.player), entry).map(Code::as_str);
        if !self.journal.ends_with(id, "session.over") {
            step!(debug, self, now, id, Some(server), reason, "session.over");
        }
    }

    pub(super) fn on_news(&mut self, news: Vec<News>, now: Now, fx: &mut Vec<Effect>) {
        let mut is_any_lost = false;
        for item in news {
            match item {
                News::NewBoot(server) => {
                    self.on_new_boot(&server, now, fx);
                    self.resend_standing(&server, now, fx);
                }
                News::Suspect(server) | News::LeaseEnded(server) => {
                    self.note_lost(&server, now);
                    self.leave_server(&server, now, fx);
                    is_any_lost = true;
                }
                News::Reconnected(server) => self.resync(&server, now, fx),
                News::Room => {
                    self.pump(now, fx);
                    self.try_holding(now, fx);
                }
                News::Entry(player) => self.on_entries(&[player], now, fx),
                News::Roster(server) => {
                    let view = self.fleet.get(&server);
                    let players: BTreeSet<PlayerId> =
                        view.into_iter().flat_map(|v| v.roster.entries()).map(|e| e.player).collect();
                    let players: Vec<PlayerId> = players.into_iter().collect();
                    self.on_entries(&players, now, fx);
                    for player in players {
                        self.note_last_server(player, fx);
                    }
                }
            }
        }
        // Only when all who were lost at once have been left: or a client would be sent to one of them.
        if is_any_lost {
            self.advance_all_waiting_for_ends(now, fx);
        }
    }

    /// The fleet has room, or a cold hub's time is up.
    fn try_holding(&mut self, now: Now, fx: &mut Vec<Effect>) {
        for id in std::mem::take(&mut self.holding) {
            self.place(id, now, fx);
        }
    }

    /// A server died: whoever was in game there and comes back goes before others.
    fn note_lost(&mut self, server: &ServerId, now: Now) {
        let Some(view) = self.fleet.get(server) else { return };
        let live = view.roster.entries().filter(|entry| entry.kind == EntryKind::Live);
        let owners = live.filter_map(|entry| self.people.owner(entry.player));
        self.queue.lost.extend(owners.map(|account| (account, now.mono)));
    }

    pub(super) fn on_link_up(&mut self, now: Now, fx: &mut Vec<Effect>) {
        self.cold_until.get_or_insert(now.mono + limits::COLD_HOLD);
        self.fleet.on_link_up(now);
        let servers: Vec<ServerId> = self.fleet.iter().map(|(id, _)| id.clone()).collect();
        for server in &servers {
            self.resync(server, now, fx);
        }
        self.try_holding(now, fx);
    }

    /// Sends again, at once, all that a server has not answered: the messages may have died with a connection.
    fn resync(&mut self, server: &ServerId, now: Now, fx: &mut Vec<Effect>) {
        for hash in self.ledger.of_server(server) {
            self.resend_grant(hash, now, fx);
        }
        let keys: Vec<EndKey> = self.ends.of_server(server).cloned().collect();
        for key in &keys {
            self.send_end(key, true, now, fx);
        }
        self.resend_standing(server, now, fx);
    }
}
