//! The invariants of the design, each a checker with a name; they judge facts and remember only what they need.
//!
//! Not here, since no core of the simulation has them: password work (9), refresh families (10), durable registration (11).

mod answers;
mod doors;
mod ends;
mod flow;
mod heard;
mod line;
mod moves;
mod placing;
mod queue;
mod returns;
mod seals;
mod sessions;
mod slots;
mod tokens;

use crate::facts::{Fact, Ms};
use crate::truth::Truth;

/// One invariant.
pub(crate) trait Checker {
    /// As it is called in tables and histories.
    fn name(&self) -> &'static str;

    /// Judges a fact; `truth` is as it is after it.
    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String>;
}

/// All of them, in the order of the design's list.
pub(crate) fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(tokens::RedeemedOnce),
        Box::new(tokens::ConfirmedGetsIn),
        Box::new(tokens::RedeemedAsGranted),
        Box::new(tokens::RefusedStaysRefused::default()),
        Box::new(doors::OneVerdictInTime::default()),
        Box::new(doors::OnlyGenuineWait),
        Box::new(slots::NeverOverCapacity),
        Box::new(slots::NewestOccupancyCounts::default()),
        Box::new(slots::FreeSlotsAreCounted::default()),
        Box::new(seals::NoncesNeverRepeat::default()),
        Box::new(seals::AlteredNeverOpens),
        Box::new(placing::PlacedOnTheFresh::default()),
        Box::new(placing::PlacedOnTheKnown::default()),
        Box::new(placing::WillsSpareNewerStreams::default()),
        Box::new(sessions::EndedMeansEnded::default()),
        Box::new(answers::AnsweredOnceClear::default()),
        Box::new(sessions::NobodyEndsForNothing),
        Box::new(ends::KickedGoInTime::default()),
        Box::new(ends::EndsReachAll::default()),
        Box::new(ends::ShutOutStaysOut::default()),
        Box::new(returns::WaysLeadHome::default()),
        Box::new(returns::KeptForTheGrace::default()),
        Box::new(moves::LuggageComesAlong::default()),
        Box::new(moves::WhoIsRefusedStays::default()),
        Box::new(sessions::OneSessionInTheEnd),
        Box::new(sessions::HighestFenceWins),
        Box::new(sessions::ToldIsNotCancelled),
        Box::new(sessions::FencesGrow::default()),
        Box::new(flow::AnsweredOnceInTime::default()),
        Box::new(flow::NobodySpins::default()),
        Box::new(flow::HubsMayRestart),
        Box::new(queue::FirstComeFirstServed::default()),
        Box::new(queue::NoTicketIsLost::default()),
        Box::new(queue::PositionsHold::default()),
        Box::new(queue::PartiesGoTogether::default()),
        Box::new(flow::EverybodyGetsIn),
        Box::new(flow::ViewsAgree),
        Box::new(flow::NothingIsLeft),
    ]
}
