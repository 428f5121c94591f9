//! One player: logs in, waits where it must, plays, and comes again when told so, as the protocol says.
//!
//! Owns its connection; shows all that becomes of it in a [`Seat`]. Knows no server and no plan. Invariant: it goes on until it is asked
//! to leave, or is refused for good; that stands in the seat.

use std::time::Duration;

use anyhow::{Context as _, bail};
use hub_tests::client::{ClientError, GameClient, HubClient, Outcome, Ticket, Turn};
use serde_json::json;
use shared_msgs::codes::Retry;
use shared_msgs::frames::{ClientFrame, ServerFrame};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Everybody's password.
pub(crate) const PASSWORD: &str = "correct horse battery";
/// Who plays says something so often.
const ECHO_EVERY: Duration = Duration::from_millis(100);
/// A question of a ticket waits so long for its answer.
const POLL: Duration = Duration::from_secs(1);
/// Between two tries of somebody who got no answer, or one that says later.
const PAUSE: Duration = Duration::from_millis(200);
/// Nobody tries longer than this.
const TRY_TIME: Duration = Duration::from_secs(40);

/// What became of a player so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seat {
    /// In game there.
    pub(crate) server: Option<String>,
    /// Welcomes.
    pub(crate) welcomes: u32,
    /// Answers of the game.
    pub(crate) echoes: u64,
    /// Why sessions ended that the player did not end by itself.
    pub(crate) ends: Vec<String>,
    /// When the login was answered with a place or a ticket, and at which try.
    pub(crate) login: Option<(Instant, u32)>,
    /// From the first try to that answer.
    pub(crate) login_took: Duration,
    /// Its place in the line, when it was told one last.
    pub(crate) position: Option<u32>,
    /// Questions of its ticket that were answered.
    pub(crate) polls: u64,
    /// Questions of its ticket without an answer.
    pub(crate) polls_unanswered: u64,
    /// From the end of a session to the next welcome.
    pub(crate) away: Vec<Duration>,
    /// Out for good, and why.
    pub(crate) lost: Option<String>,
}

/// A player that lives in a task of its own.
pub(crate) struct Player {
    pub(crate) name: String,
    pub(crate) hub: HubClient,
    /// Leaves by itself when the game says that the server gets an update.
    pub(crate) is_polite: bool,
    pub(crate) seat: watch::Sender<Seat>,
    pub(crate) leave: CancellationToken,
}

/// How a session ended.
enum Ended {
    Left,
    Again { after: Duration },
}

impl Player {
    pub(crate) async fn live(self) {
        if let Err(error) = self.run().await {
            self.seat.send_modify(|seat| seat.lost = Some(format!("{error:#}")));
        }
        self.seat.send_modify(|seat| seat.server = None);
    }

    async fn pause(&self, time: Duration) {
        let _ = timeout(time, self.leave.cancelled()).await;
    }

    async fn run(&self) -> anyhow::Result<()> {
        let (access, turn) = self.log_in().await?;
        let mut place = self.my_turn(&access, turn).await?;
        let mut since = None;
        loop {
            let ended = match self.come(&place).await? {
                Ok(game) => {
                    self.seat.send_modify(|seat| {
                        seat.server = Some(place.server.id.to_string());
                        seat.welcomes += 1;
                        seat.away.extend(since.map(|since: Instant| since.elapsed()));
                    });
                    let ended = self.play(game).await?;
                    since = Some(Instant::now());
                    self.seat.send_modify(|seat| seat.server = None);
                    ended
                }
                Err(again) => again,
            };
            let Ended::Again { after } = ended else { return Ok(()) };
            self.pause(after).await;
            let turn = self.ask_again(&access).await?;
            place = self.my_turn(&access, turn).await?;
        }
    }

    /// Logs in; while the hub is away, or has too much to do, again and again.
    async fn log_in(&self) -> anyhow::Result<(String, Turn)> {
        let (began, mut tries) = (Instant::now(), 0);
        loop {
            tries += 1;
            match self.hub.login(&self.name, PASSWORD, None).await {
                Ok(reply) => {
                    let turn = match (reply.handover, reply.queue) {
                        (Some(place), _) => Turn::Place(Box::new(place)),
                        (None, Some(queued)) => Turn::Wait(queued),
                        (None, None) => bail!("neither a place nor a ticket"),
                    };
                    let now = Instant::now();
                    self.seat.send_modify(|seat| {
                        seat.login = Some((now, tries));
                        seat.login_took = now - began;
                    });
                    return Ok((reply.access_token, turn));
                }
                Err(error) => self.may_try_again(error, began).await?,
            }
        }
    }

    async fn may_try_again(&self, error: ClientError, began: Instant) -> anyhow::Result<()> {
        let is_passing = match &error {
            ClientError::Problem(problem) => problem.retry_after_s.is_some(),
            error => matches!(error, ClientError::Http(_)),
        };
        if !is_passing || began.elapsed() > TRY_TIME {
            return Err(error).context("refused for good");
        }
        self.pause(PAUSE).await;
        Ok(())
    }

    async fn ask_again(&self, access: &str) -> anyhow::Result<Turn> {
        let began = Instant::now();
        loop {
            match self.hub.ask_place(access, &json!({})).await {
                Ok(turn) => return Ok(turn),
                Err(error) => self.may_try_again(error, began).await?,
            }
        }
    }

    /// Asks for the ticket until it is a place.
    async fn my_turn(&self, access: &str, turn: Turn) -> anyhow::Result<Ticket> {
        let mut queued = match turn {
            Turn::Place(place) => return Ok(*place),
            Turn::Wait(queued) => queued,
        };
        // What keeps the ticket is its first text: that one must stay good.
        let ticket = queued.ticket.clone();
        self.seat.send_modify(|seat| seat.position = Some(queued.position));
        loop {
            let unanswered_since = Instant::now();
            queued = loop {
                match self.hub.ask_ticket(access, &ticket, POLL).await {
                    Ok(Turn::Place(place)) => return Ok(*place),
                    Ok(Turn::Wait(queued)) => break queued,
                    Err(error) => {
                        self.seat.send_modify(|seat| seat.polls_unanswered += 1);
                        self.may_try_again(error, unanswered_since).await?;
                    }
                }
            };
            self.seat.send_modify(|seat| {
                seat.position = Some(queued.position);
                seat.polls += 1;
            });
            self.pause(PAUSE).await;
        }
    }

    /// Shows the token, as often as that helps.
    async fn come(&self, place: &Ticket) -> anyhow::Result<Result<GameClient, Ended>> {
        let began = Instant::now();
        while began.elapsed() < TRY_TIME {
            // A server that is gone: the hub knows a better one.
            let Ok((game, outcome)) = GameClient::enter(place.tcp()?, &place.token).await else {
                return Ok(Err(Ended::Again { after: PAUSE }));
            };
            match outcome {
                Outcome::Welcome { .. } => return Ok(Ok(game)),
                Outcome::Refused { retry: Retry::NewHandover { after_ms }, .. } => {
                    return Ok(Err(Ended::Again { after: Duration::from_millis(after_ms.into()) }));
                }
                Outcome::Refused { retry: Retry::SameToken { after_ms }, .. } => {
                    self.pause(Duration::from_millis(after_ms.into())).await;
                }
                refused @ Outcome::Refused { .. } => bail!("refused for good: {refused}"),
            }
        }
        bail!("the server never said yes or no")
    }

    async fn play(&self, mut game: GameClient) -> anyhow::Result<Ended> {
        let mut echo = interval(ECHO_EVERY);
        echo.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let frame = tokio::select! {
                () = self.leave.cancelled() => {
                    leave(game).await?;
                    return Ok(Ended::Left);
                }
                _ = echo.tick() => {
                    game.send(&ClientFrame::App(b"still here".to_vec())).await.context("no word in")?;
                    continue;
                }
                frame = game.read() => frame.context("the session ended without a word")?,
            };
            match frame {
                ServerFrame::App(said) if said == b"still here" => {
                    self.seat.send_modify(|seat| seat.echoes += 1);
                }
                ServerFrame::Notice { .. } if self.is_polite => {
                    leave(game).await?;
                    return Ok(Ended::Again { after: Duration::ZERO });
                }
                ServerFrame::Refused { code, retry: Retry::NewHandover { after_ms }, .. } => {
                    self.seat.send_modify(|seat| seat.ends.push(code.clone()));
                    return Ok(Ended::Again { after: Duration::from_millis(after_ms.into()) });
                }
                ServerFrame::Refused { code, .. } => bail!("the session ended for good: {code}"),
                _ => {}
            }
        }
    }
}

async fn leave(mut game: GameClient) -> anyhow::Result<()> {
    game.send(&ClientFrame::Leave).await?;
    // The server closes when the slot is free; anything else it still had to say does not matter.
    let deadline = Instant::now() + TRY_TIME;
    while let Ok(Ok(_)) = timeout_at(deadline, game.next()).await {}
    Ok(())
}
