//! Counts over one run or many, and the table of them.

use std::collections::BTreeMap;
use std::fmt;

use crate::facts::{Fact, Ms, Phase};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Seeds run.
    pub runs: u64,
    /// Requests that reached a hub.
    pub asked: u64,
    /// Requests that a hub answered, with a place or a refusal: handovers.
    pub handovers: u64,
    /// Of these, with a place.
    pub placed: u64,
    /// Of these, without the server's yes.
    pub unconfirmed: u64,
    /// Tickets of the login queue.
    pub tickets: u64,
    /// Tickets that a restarted hub had from its database.
    pub restored: u64,
    /// Clients let in.
    pub welcomes: u64,
    /// Clients that waited for their grant.
    pub parked: u64,
    /// Sessions told to end.
    pub kicks: u64,
    /// Players back in their session after their connection broke.
    pub returns: u64,
    /// Of so many tries, good and bad ones.
    pub tried_to_return: u64,
    /// Moves that games asked for.
    pub moves: u64,
    /// Of these, with a yes.
    pub moved: u64,
    /// Players who came with luggage.
    pub luggage: u64,
    /// Ends that operators asked for, and hubs carried out.
    pub operators_ends: u64,
    /// Simulated time.
    pub simulated_ms: u64,
    /// Runs in which an invariant did not hold.
    pub violations: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Clients refused, by code: hubs' and servers'.
    pub refusals: BTreeMap<&'static str, u64>,
    pub(crate) last_phase: Option<Phase>,
}

impl Tally {
    pub(crate) fn count(&mut self, now: Ms, fact: &Fact) {
        self.simulated_ms = now;
        match fact {
            Fact::Asked { .. } => self.asked += 1,
            Fact::Answered { answer, .. } => {
                self.handovers += 1;
                match answer {
                    Ok(placed) => {
                        self.placed += 1;
                        self.unconfirmed += u64::from(!placed.confirmed);
                    }
                    Err(refused) => *self.refusals.entry(refused.why.code()).or_default() += 1,
                }
            }
            Fact::Verdict { verdict: Ok(welcome), .. } if welcome.resumes.is_some() => self.returns += 1,
            Fact::Verdict { verdict: Ok(welcome), .. } => {
                self.welcomes += 1;
                self.luggage += u64::from(!welcome.luggage.is_empty());
            }
            Fact::MoveAsked { .. } => self.moves += 1,
            Fact::MoveAnswered { answer: Ok(()), .. } => self.moved += 1,
            Fact::CameBack { .. } => self.tried_to_return += 1,
            Fact::Verdict { verdict: Err(refused), .. } => {
                *self.refusals.entry(refused.code.as_str()).or_default() += 1;
            }
            Fact::TicketMade { .. } => self.tickets += 1,
            Fact::TicketRestored { .. } => self.restored += 1,
            Fact::Parked { .. } => self.parked += 1,
            Fact::Kicked { .. } => self.kicks += 1,
            Fact::OperatorEnds { is_done: true, .. } => self.operators_ends += 1,
            Fact::Fault { what, .. } => *self.faults.entry(what).or_default() += 1,
            Fact::Phase(phase) => self.last_phase = Some(*phase),
            _ => {}
        }
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.asked += other.asked;
        self.handovers += other.handovers;
        self.placed += other.placed;
        self.unconfirmed += other.unconfirmed;
        self.tickets += other.tickets;
        self.restored += other.restored;
        self.welcomes += other.welcomes;
        self.parked += other.parked;
        self.kicks += other.kicks;
        self.returns += other.returns;
        self.tried_to_return += other.tried_to_return;
        self.moves += other.moves;
        self.moved += other.moved;
        self.luggage += other.luggage;
        self.operators_ends += other.operators_ends;
        self.simulated_ms += other.simulated_ms;
        self.violations += other.violations;
        for (what, n) in &other.faults {
            *self.faults.entry(what).or_default() += n;
        }
        for (code, n) in &other.refusals {
            *self.refusals.entry(code).or_default() += n;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, n: u64| writeln!(f, "{name:<28}{n:>12}");
        row("seeds", self.runs)?;
        row("simulated seconds", self.simulated_ms / 1_000)?;
        row("requests at hubs", self.asked)?;
        row("handovers answered", self.handovers)?;
        row("  with a place", self.placed)?;
        row("  of these unconfirmed", self.unconfirmed)?;
        row("tickets", self.tickets)?;
        row("  restored", self.restored)?;
        row("clients parked", self.parked)?;
        row("welcomes", self.welcomes)?;
        row("sessions told to end", self.kicks)?;
        row("tries to come back", self.tried_to_return)?;
        row("  back", self.returns)?;
        row("moves", self.moves)?;
        row("  with a yes", self.moved)?;
        row("  arrived with luggage", self.luggage)?;
        row("ends by operators", self.operators_ends)?;
        row("violations", self.violations)?;
        writeln!(f, "what broke, and what followed")?;
        for (what, n) in &self.faults {
            writeln!(f, "  {what:<26}{n:>12}")?;
        }
        writeln!(f, "refusals")?;
        for (code, n) in &self.refusals {
            writeln!(f, "  {code:<26}{n:>12}")?;
        }
        Ok(())
    }
}
