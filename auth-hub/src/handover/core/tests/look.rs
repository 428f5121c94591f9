//! What tests look at in a rig.

use shared_msgs::clock::Mono;
use shared_msgs::ids::{HandoverId, TokenHash};
use shared_msgs::messages::{End, Grant, Order};

use super::rig::Rig;
use crate::handover::{NoPlace, Placed, Refused};

impl Rig {
    /// The client of a placed handover comes to its server.
    pub(super) fn redeem(&mut self, server: &str, hash: TokenHash) -> bool {
        let joined = self.peer(server).redeem(hash);
        let came = joined.is_some();
        self.from(server, joined);
        came
    }

    /// An account logs in and plays on a server.
    pub(super) fn play(&mut self, account: i64, server: &str) -> TokenHash {
        let id = self.ask_for(account, Some(server));
        self.run(0);
        assert_eq!(self.placed(id), server);
        let hash = self.grants(server).last().unwrap().hash;
        assert!(self.redeem(server, hash));
        self.run(0);
        hash
    }

    /// An account logs in and plays on a server, though the account's older session takes its time to end.
    pub(super) fn play_after_lease(&mut self, account: i64, server: &str) {
        let id = self.ask_for(account, Some(server));
        self.run(7_000);
        assert_eq!(self.placed(id), server);
        let hash = self.grants(server).last().unwrap().hash;
        assert!(self.redeem(server, hash));
        self.run(0);
    }

    pub(super) fn answer(&self, id: HandoverId) -> Option<&Result<Placed, Refused>> {
        self.answers.get(&id).map(|(_, answer)| answer)
    }

    pub(super) fn waits(&self, id: HandoverId) -> bool {
        self.answer(id).is_none()
    }

    pub(super) fn answered_at(&self, id: HandoverId) -> Option<Mono> {
        self.answers.get(&id).map(|(at, _)| *at)
    }

    pub(super) fn placed(&self, id: HandoverId) -> &str {
        let placed = self.answer(id).expect("not answered").as_ref();
        placed.expect("refused").server.as_str()
    }

    pub(super) fn confirmed(&self, id: HandoverId) -> bool {
        self.answer(id).expect("not answered").as_ref().expect("refused").confirmed
    }

    pub(super) fn why(&self, id: HandoverId) -> NoPlace {
        self.answer(id).expect("not answered").as_ref().expect_err("placed").why
    }

    pub(super) fn grants(&self, server: &str) -> Vec<&Grant> {
        let of = self.sent.iter().filter(|(_, to, ..)| to.as_str() == server);
        of.filter_map(|(.., order)| if let Order::Grant(grant) = order { Some(grant) } else { None })
            .collect()
    }

    pub(super) fn ends(&self, server: &str) -> Vec<(Mono, &End)> {
        let of = self.sent.iter().filter(|(_, to, ..)| to.as_str() == server);
        of.filter_map(|(at, _, _, order)| if let Order::End(end) = order { Some((*at, end)) } else { None })
            .collect()
    }

    pub(super) fn count(&self, server: &str, of: impl Fn(&Order) -> bool) -> usize {
        self.sent.iter().filter(|(_, to, _, order)| to.as_str() == server && of(order)).count()
    }

    /// Nothing is under way or owed any more.
    pub(super) fn assert_quiet(&self) {
        assert_eq!(self.core.running.len(), 0, "running");
        assert_eq!(self.core.lines.len(), 0, "lines");
        assert_eq!(self.core.holding.len(), 0, "holding");
        assert_eq!(self.core.ledger.len(), 0, "open grants");
        assert!(self.core.ends.is_empty(), "ends owed: {:?}", self.core.ends);
        let is_answered = |id| self.answers.contains_key(id) || self.queued.contains_key(id);
        let unanswered: Vec<_> = self.asked.keys().filter(|id| !is_answered(*id)).collect();
        assert!(unanswered.is_empty(), "never answered: {unanswered:?}");
    }
}
