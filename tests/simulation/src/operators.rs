//! Operators: they end what an account has, shut it out, and let it in again.
//!
//! As the admin API and the HTTP edge do it: a ban is on disk before anything is ended; it is read when a login begins and again when there
//! is a place for it. Whether a hub hears of an end at all is chance; a ban stands all the same.

use auth_hub::accounts::AccountRow;
use auth_hub::handover::core::Input;
use auth_hub::handover::{Answered, NoPlace, Refused};
use shared_msgs::codes::Code;
use shared_msgs::ids::HandoverId;

use crate::facts::{Fact, NodeId};
use crate::world::{Event, World};

/// One in so many wishes shuts an account out.
const BAN_ONE_IN: u64 = 3;

impl World {
    /// An operator does something, and the next one is planned.
    pub(crate) fn operate(&mut self) {
        if self.phase.is_some() {
            return;
        }
        let every = self.abilities.end_every;
        let next = self.dice.between(1, 2 * every);
        self.after(next, Event::Operate);
        let account = i64::try_from(self.dice.below(self.accounts())).unwrap_or(0);
        let is_ban = self.dice.below(BAN_ONE_IN) == 0;
        if is_ban {
            if self.store.out_until > self.now {
                return;
            }
            self.bar(account, true);
            let over = self.dice.between(500, 30_000);
            self.after(over, Event::LetIn(account));
        }
        let hubs: Vec<NodeId> = self.hubs.iter().filter_map(|machine| machine.running).collect();
        let Some(node) = self.dice.pick(&hubs).copied() else { return };
        let reason = if is_ban { Code::Banned } else { Code::Kicked };
        let delay = self.dice.long_tailed(0, 5, 500);
        self.after(delay, Event::End { node, account, reason });
    }

    fn accounts(&self) -> u64 {
        u64::try_from(self.scenario.accounts).unwrap_or(1)
    }

    fn bar(&mut self, account: i64, is_barred: bool) {
        let row = AccountRow::from_raw(account);
        if self.store.bar(row, is_barred) {
            self.state(&Fact::Barred { account, is_barred });
        }
    }

    /// A ban's time is over. Those who stay away for good may stay shut out, too.
    pub(crate) fn let_in(&mut self, account: i64) {
        let is_awaited = self.devices.iter().any(|device| device.account == account && device.comes_back());
        if self.phase.is_none() || is_awaited {
            self.bar(account, false);
        }
    }

    /// Everybody who is expected at the end of the run may play by then.
    pub(crate) fn let_all_in(&mut self) {
        for account in 0..self.scenario.accounts {
            self.let_in(account);
        }
    }

    /// A hub hears what an operator wants ended.
    pub(crate) fn on_end(&mut self, id: NodeId, account: i64, reason: Code) {
        if self.hub(id).is_none() {
            return;
        }
        self.catch_up(id);
        let row = AccountRow::from_raw(account);
        let players = self.store.players_of(row);
        let Some((hub, now)) = self.hub(id) else { return };
        hub.core.learn(players);
        let (report, effects) = hub.core.end(row, reason, now);
        self.state(&Fact::OperatorEnds { node: id, account, reason, is_done: report.is_ok() });
        self.carry_out(id, effects);
        self.settle(id);
        self.state(&Fact::OperatorDone { node: id });
    }

    /// What the hub's edge makes of a request whose account is shut out; false where it may play.
    pub(crate) fn is_turned_away(&mut self, id: NodeId, handover: HandoverId, account: AccountRow) -> bool {
        let is_barred = self.store.is_barred(account);
        if is_barred {
            self.hub_input(id, Input::Barred { handover, account, why: NoPlace::Banned });
        }
        is_barred
    }

    /// The account is read again when there is a place: whoever was shut out meanwhile does not get it, and it is taken back.
    pub(crate) fn last_look(
        &mut self,
        id: NodeId,
        handover: HandoverId,
        answer: Result<Answered, Refused>,
    ) -> Result<Answered, Refused> {
        let account = self.asks.get(&handover).map(|attempt| self.devices[attempt.device].account);
        match (&answer, account) {
            (Ok(Answered::Placed(_)), Some(account))
                if self.store.is_barred(AccountRow::from_raw(account)) =>
            {
                self.after(0, Event::End { node: id, account, reason: Code::Banned });
                Err(Refused { handover, why: NoPlace::Banned })
            }
            _ => answer,
        }
    }
}
