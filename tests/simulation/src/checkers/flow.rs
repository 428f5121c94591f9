//! Flow: every request is answered, nobody spins, and when faults stop everything comes right.

use std::collections::BTreeMap;

use shared_msgs::ids::HandoverId;
use shared_msgs::limits;

use super::Checker;
use crate::facts::{Fact, Ms, NodeId, Phase, brief};
use crate::truth::Truth;

/// What a millisecond of the hub's own scheduling may add.
const DEADLINE_MS: Ms = limits::LOGIN_DEADLINE.as_secs() * 1_000 + 2;

/// Every request is answered exactly once, by its deadline, while its hub lives.
#[derive(Default)]
pub(super) struct AnsweredOnceInTime {
    waiting: BTreeMap<HandoverId, (NodeId, Ms)>,
}

impl Checker for AnsweredOnceInTime {
    fn name(&self) -> &'static str {
        "answered-once-in-time"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        match fact {
            Fact::Asked { node, handover, wait, .. } => {
                self.waiting.insert(*handover, (*node, now + wait));
            }
            Fact::Answered { handover, .. }
            | Fact::TicketShown { handover, .. }
            | Fact::TicketGivenBack { handover, .. } => match self.waiting.remove(handover) {
                None => return Err(format!("h={} was answered twice", brief(*handover))),
                Some((node, asked)) if now > truth.latest(node, asked + DEADLINE_MS) => {
                    return Err(format!(
                        "h={} was answered {} ms after its turn or its wait",
                        brief(*handover),
                        now - asked
                    ));
                }
                Some(_) => {}
            },
            Fact::Down { node, .. } => self.waiting.retain(|_, (hub, _)| hub != node),
            Fact::Phase(_) => {
                let late = self
                    .waiting
                    .iter()
                    .find(|(_, (node, asked))| now > truth.latest(*node, asked + DEADLINE_MS));
                if let Some((handover, (node, _))) = late {
                    return Err(format!("{node} never answered h={}", brief(*handover)));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A core whose deadline does not move, or moves by a hair each time, is a busy loop.
#[derive(Default)]
pub(super) struct NobodySpins {
    /// The second that runs, and how often each was ticked within it.
    ticks: BTreeMap<NodeId, (Ms, u32)>,
}

/// Within one millisecond.
const TICKS_MAX: u32 = 20;
const TICKS_PER_SECOND_MAX: u32 = 300;

impl Checker for NobodySpins {
    fn name(&self) -> &'static str {
        "nobody-spins"
    }

    fn check(&mut self, fact: &Fact, _truth: &Truth, now: Ms) -> Result<(), String> {
        let Fact::Ticked { node, times } = fact else { return Ok(()) };
        if *times > TICKS_MAX {
            return Err(format!("{node} was ticked {times} times in one millisecond"));
        }
        let (second, ticks) = self.ticks.entry(*node).or_default();
        if *second != now / 1_000 {
            (*second, *ticks) = (now / 1_000, 0);
        }
        *ticks += 1;
        if *ticks > TICKS_PER_SECOND_MAX {
            Err(format!("{node} was ticked {ticks} times within a second"))
        } else {
            Ok(())
        }
    }
}

/// A hub that died may start again, however often it does.
pub(super) struct HubsMayRestart;

impl Checker for HubsMayRestart {
    fn name(&self) -> &'static str {
        "hubs-may-restart"
    }

    fn check(&mut self, fact: &Fact, _truth: &Truth, _now: Ms) -> Result<(), String> {
        match fact {
            Fact::Locked { machine } => {
                Err(format!("hub machine {machine} is too far behind the stored ceiling to start"))
            }
            _ => Ok(()),
        }
    }
}

/// Eventual liveness: once faults stop, every honest client is in, or, where there is not room for all, has a named refusal.
pub(super) struct EverybodyGetsIn;

impl Checker for EverybodyGetsIn {
    fn name(&self) -> &'static str {
        "everybody-gets-in"
    }

    fn check(&mut self, fact: &Fact, _truth: &Truth, _now: Ms) -> Result<(), String> {
        match fact {
            Fact::Home { account, is_in: false, refused: None } => {
                Err(format!("account={account} did not get in though nothing was in its way"))
            }
            _ => Ok(()),
        }
    }
}

/// When it is calm, every hub sees every server as it is.
pub(super) struct ViewsAgree;

impl Checker for ViewsAgree {
    fn name(&self) -> &'static str {
        "views-agree"
    }

    fn check(&mut self, fact: &Fact, _truth: &Truth, _now: Ms) -> Result<(), String> {
        match fact {
            Fact::Seen { node, view } if view.believed != Some(view.is) => {
                Err(format!("{node} sees {} as {:?}, it is {:?}", view.server, view.believed, view.is))
            }
            _ => Ok(()),
        }
    }
}

/// When everybody has left and every token has run out, no slot is taken and nobody waits for anything.
pub(super) struct NothingIsLeft;

impl Checker for NothingIsLeft {
    fn name(&self) -> &'static str {
        "nothing-is-left"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        match fact {
            Fact::Unanswered { node, running, unanswered } if running + unanswered > 0 => {
                Err(format!("{node} waits for {running} handovers and {unanswered} answers"))
            }
            Fact::TicketsLeft { tickets, rows } if tickets + rows > 0 => {
                Err(format!("{tickets} tickets and {rows} rows of tickets are left"))
            }
            Fact::Phase(Phase::AllOut) => {
                let busy = truth.processes.iter().find(|(_, process)| {
                    process.is_up && !(process.live.is_empty() && process.held.is_empty())
                });
                busy.map_or(Ok(()), |(node, process)| {
                    Err(format!(
                        "{node} has {} sessions and {} grants",
                        process.live.len(),
                        process.held.len()
                    ))
                })
            }
            _ => Ok(()),
        }
    }
}
