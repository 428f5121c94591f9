//! Players' devices: they log in all the time, go where they are sent, come twice, leave, move on.
//!
//! Each device is one task with a seeded generator of its own; it writes down stories and judges nothing. Invariants: at most one
//! session per device; a device follows the phase: it lives in the storm, holds still in the calm, and logs in once more at the roll-call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shared_msgs::clock::Mono;
use shared_msgs::codes::Retry;
use shared_msgs::frames::{ClientFrame, ServerFrame};
use shared_msgs::rng::{Rng, SeededRng};
use tokio::sync::watch;

use super::faults::deadline;
use super::site::Site;
use super::story::{Ending, Heard, Show, Story, Unanswered};
use crate::client::{ClientError, GameClient, HubClient, Outcome, Ticket};

/// Everybody's password.
pub const PASSWORD: &str = "correct horse battery";
/// Nobody waits longer than this before the next try, whatever the advice: this is torture.
const WAIT_MAX: Duration = Duration::from_millis(400);
/// A token is shown so many times in a row at most.
const SHOWS_MAX: usize = 4;

/// What all devices do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Live.
    Storm,
    /// Whoever is in game stays; nobody logs in.
    Calm,
    /// The first device of each account logs in until it is welcomed.
    Roll,
    /// Whoever is in game asks who else is.
    Muster,
    /// Whoever is in game leaves, politely or not.
    Leave,
    /// Tell.
    Over,
}

/// Where a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// On its way.
    Busy,
    /// Not in game.
    Out,
    /// In game on a server.
    In(usize),
    /// In game on a server, whose world has said who is here.
    Mustered(usize, Vec<String>),
}

/// What a device has to tell.
#[derive(Debug, Default)]
pub struct Diary {
    /// Its handovers.
    pub stories: Vec<Story>,
    /// Requests without an answer.
    pub unanswered: Vec<Unanswered>,
    /// Requests with another answer than 200, by code.
    pub problems: BTreeMap<String, u64>,
    /// Milliseconds from request to 200.
    pub asked_ms: Vec<u64>,
    /// Milliseconds from hello to welcome.
    pub entered_ms: Vec<u64>,
    /// Milliseconds from the roll-call to the welcome.
    pub rolled_ms: Option<u64>,
}

/// One device of one account.
pub struct Device {
    site: Arc<Site>,
    hub: HubClient,
    login: String,
    is_first: bool,
    rng: SeededRng,
    phase: watch::Receiver<Phase>,
    presence: watch::Sender<Presence>,
    bearer: Option<String>,
    session: Option<Session>,
    diary: Diary,
}

struct Session {
    game: GameClient,
    /// Its story's place in the diary.
    story: usize,
    server: usize,
    /// Before connecting.
    began: Mono,
}

impl Device {
    /// Ready to live.
    ///
    /// # Errors
    /// When it can have no client.
    pub fn new(
        site: &Arc<Site>,
        login: String,
        is_first: bool,
        seed: u64,
        phase: watch::Receiver<Phase>,
    ) -> anyhow::Result<(Self, watch::Receiver<Presence>)> {
        let (presence, watched) = watch::channel(Presence::Out);
        let device = Self {
            hub: site.client()?,
            site: Arc::clone(site),
            login,
            is_first,
            rng: SeededRng::new(seed),
            phase,
            presence,
            bearer: None,
            session: None,
            diary: Diary::default(),
        };
        Ok((device, watched))
    }

    fn chance(&self, percent: u64) -> bool {
        (&self.rng as &dyn Rng).below(100) < percent
    }

    fn some_ms(&self, most: u64) -> Duration {
        Duration::from_millis((&self.rng as &dyn Rng).below(most))
    }

    /// Lives until it is over, and tells.
    pub async fn live(mut self) -> Diary {
        loop {
            let phase = *self.phase.borrow_and_update();
            match phase {
                Phase::Storm => {
                    self.presence.send_replace(Presence::Busy);
                    self.episode().await;
                }
                Phase::Roll if self.is_first && self.diary.rolled_ms.is_none() => {
                    self.presence.send_replace(Presence::Busy);
                    self.roll().await;
                }
                Phase::Muster if matches!(*self.presence.borrow(), Presence::In(_)) => self.muster().await,
                Phase::Leave if self.session.is_some() => self.leave().await,
                Phase::Calm | Phase::Roll | Phase::Muster | Phase::Leave => self.hold_still().await,
                Phase::Over => return self.diary,
            }
        }
    }

    /// One handover, and what comes of it.
    async fn episode(&mut self) {
        let Some(ticket) = self.ask().await else { return };
        if self.chance(4) {
            // Never comes: the next handover takes over what was held for it.
            return;
        }
        if self.chance(20) {
            let dawdle = self.some_ms(if self.chance(10) { 3_000 } else { 200 });
            self.wait(dawdle).await;
        }
        self.come(&ticket).await;
        let time = self.some_ms(if self.chance(15) { 6_000 } else { 1_200 });
        self.play(time).await;
        if *self.phase.borrow() != Phase::Storm {
            return;
        }
        if self.session.is_some() && self.chance(30) {
            // Moves on while in game: the next handover ends this session.
            return;
        }
        self.leave().await;
        if self.chance(10) {
            self.show_again(&ticket).await;
        }
        let pause = self.some_ms(300);
        self.wait(pause).await;
    }

    /// Waits, unless the phase changes.
    async fn wait(&mut self, time: Duration) {
        let mut phase = self.phase.clone();
        let now = *phase.borrow();
        let _ = tokio::time::timeout_at(deadline(time), phase.wait_for(|phase| *phase != now)).await;
    }

    /// Asks the hub for a place.
    async fn ask(&mut self) -> Option<Ticket> {
        let asked = self.site.now();
        let servers = self.site.servers.len() as u64;
        let n = usize::try_from((&self.rng as &dyn Rng).below(servers)).unwrap_or(0);
        let wanted = self.chance(15).then(|| self.site.servers[n].id.clone());
        let again = self.bearer.clone().filter(|_| self.chance(50));
        let answer = match again {
            Some(bearer) => self.hub.handover(&bearer, wanted.as_deref()).await,
            None => self.hub.login(&self.login, PASSWORD, wanted.as_deref()).await.and_then(|reply| {
                self.bearer = Some(reply.access_token);
                reply.handover.ok_or(ClientError::NoEndpoint)
            }),
        };
        let answered = self.site.now();
        match answer {
            Ok(ticket) => {
                let took = answered.since(asked).as_millis();
                self.diary.asked_ms.push(u64::try_from(took).unwrap_or(u64::MAX));
                let server =
                    self.site.servers.iter().position(|server| server.id == ticket.server.id.as_str());
                self.diary.stories.push(Story {
                    login: self.login.clone(),
                    handover: ticket.handover_id.clone(),
                    server: server?,
                    server_id: ticket.server.id.to_string(),
                    confirmed: ticket.confirmed,
                    asked,
                    expires: answered + Duration::from_millis(ticket.expires_in_ms),
                    shows: Vec::new(),
                    end: None,
                });
                Some(ticket)
            }
            Err(ClientError::Problem(problem)) => {
                if problem.code.starts_with("access-token") {
                    self.bearer = None;
                }
                *self.diary.problems.entry(problem.code).or_default() += 1;
                let advice = Duration::from_secs(problem.retry_after_s.unwrap_or(0));
                let wait = advice.min(WAIT_MAX) + self.some_ms(100);
                self.wait(wait).await;
                None
            }
            Err(error) => {
                let (login, error) = (self.login.clone(), format!("{error:?}"));
                self.diary.unanswered.push(Unanswered { login, asked, failed: answered, error });
                let wait = self.some_ms(200);
                self.wait(wait).await;
                None
            }
        }
    }

    /// Goes to the server with the token, as often as it helps; sometimes on two connections at once.
    async fn come(&mut self, ticket: &Ticket) {
        let story = self.diary.stories.len() - 1;
        for n in 0..SHOWS_MAX {
            let (site, is_twice) = (Arc::clone(&self.site), n == 0 && self.chance(10));
            let (first, second) = tokio::join!(show(&site, ticket), async {
                if is_twice { Some(show(&site, ticket).await) } else { None }
            });
            let mut advice = None;
            for (show, retry, game) in [Some(first), second].into_iter().flatten() {
                self.diary.stories[story].shows.push(show.clone());
                advice = advice.or(retry);
                let Some(game) = game else { continue };
                let entered = game.answered_in.as_millis();
                self.diary.entered_ms.push(u64::try_from(entered).unwrap_or(u64::MAX));
                let server = self.diary.stories[story].server;
                // An older session of this device is the server's to end; its connection is of no use any more.
                self.session = Some(Session { game, story, server, began: show.began });
            }
            let is_in = self.session.as_ref().is_some_and(|session| session.story == story);
            match advice {
                Some(Retry::SameToken { after_ms }) if !is_in => {
                    self.wait(Duration::from_millis(after_ms.into())).await;
                }
                // Gone without a word: some try again, perhaps on the next boot.
                None if !is_in && self.chance(50) => {
                    let wait = self.some_ms(600);
                    self.wait(wait).await;
                }
                _ => return,
            }
        }
    }

    /// Shows a token that was used up, or worth nothing: must not be welcomed twice.
    async fn show_again(&mut self, ticket: &Ticket) {
        let wait = self.some_ms(1_000);
        self.wait(wait).await;
        let (show, _, _) = show(&self.site, ticket).await;
        let story = self.diary.stories.len() - 1;
        self.diary.stories[story].shows.push(show);
    }

    /// In game for a while, unless it ends.
    async fn play(&mut self, time: Duration) {
        let Some(session) = &mut self.session else { return };
        let mut phase = self.phase.clone();
        let until = deadline(time);
        tokio::select! {
            heard = last_word(&mut session.game) => self.ended(heard),
            _ = tokio::time::timeout_at(until, phase.wait_for(|phase| *phase != Phase::Storm)) => {}
        }
    }

    fn ended(&mut self, heard: Heard) {
        if let Some(session) = self.session.take() {
            let end = Ending { began: session.began, at: self.site.now(), heard };
            self.diary.stories[session.story].end = Some(end);
        }
    }

    /// Says goodbye, or just goes.
    async fn leave(&mut self) {
        if let Some(mut session) = self.session.take()
            && self.chance(60)
        {
            // The connection may have died just now.
            let _ = session.game.send(&ClientFrame::Leave).await;
        }
    }

    /// Whatever it has, it keeps, until the next phase.
    async fn hold_still(&mut self) {
        let mut phase = self.phase.clone();
        let now = *phase.borrow();
        let next = phase.wait_for(|phase| *phase != now);
        if let Some(session) = &mut self.session {
            if !matches!(*self.presence.borrow(), Presence::Mustered(..)) {
                self.presence.send_replace(Presence::In(session.server));
            }
            tokio::select! {
                heard = last_word(&mut session.game) => self.ended(heard),
                _ = next => {}
            }
        } else {
            self.presence.send_replace(Presence::Out);
            // The sender outlives the devices.
            let _ = next.await;
        }
    }

    /// Logs in until it is welcomed.
    async fn roll(&mut self) {
        let began = self.site.now();
        while *self.phase.borrow() == Phase::Roll && self.diary.rolled_ms.is_none() {
            let Some(ticket) = self.ask().await else { continue };
            self.session = None;
            self.come(&ticket).await;
            if self.session.is_some() {
                let took = self.site.now().since(began).as_millis();
                self.diary.rolled_ms = Some(u64::try_from(took).unwrap_or(u64::MAX));
            }
        }
    }

    async fn muster(&mut self) {
        let Some(session) = &mut self.session else { return };
        match session.game.ask(b"who").await {
            Ok(names) => {
                let names = String::from_utf8_lossy(&names).lines().map(str::to_owned).collect();
                self.presence.send_replace(Presence::Mustered(session.server, names));
            }
            Err(error) => {
                self.ended(Heard::Gone(format!("{error:?}")));
                self.presence.send_replace(Presence::Out);
            }
        }
    }
}

/// Connects, shows the token, hears the last word.
async fn show(site: &Site, ticket: &Ticket) -> (Show, Option<Retry>, Option<GameClient>) {
    let began = site.now();
    let entered = match ticket.tcp() {
        Ok(address) => GameClient::enter(address, &ticket.token).await,
        Err(error) => Err(error),
    };
    let over = site.now();
    let (delayed, heard, retry, game) = match entered {
        Ok((game, Outcome::Welcome { name, server, session })) => {
            let (server, session) = (server.to_string(), session.to_string());
            (game.delayed, Heard::Welcome { name, server, session }, None, Some(game))
        }
        Ok((game, Outcome::Refused { code, retry, .. })) => {
            (game.delayed, Heard::Refused { code }, Some(retry), None)
        }
        Err(error) => (false, Heard::Gone(format!("{error:?}")), None, None),
    };
    (Show { began, over, delayed, heard }, retry, game)
}

/// Reads until the session ends. Cancel-safe.
async fn last_word(game: &mut GameClient) -> Heard {
    loop {
        match game.read().await {
            Ok(ServerFrame::Refused { code, .. }) => return Heard::Refused { code },
            Ok(_) => {}
            Err(error) => return Heard::Gone(format!("{error:?}")),
        }
    }
}
