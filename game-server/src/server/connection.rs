//! One client, from its hello to its end.
//!
//! Owns the handshake of the game link. Decides nothing about who may come in. Invariants: every client that speaks is answered
//! by name; one that says that it leaves, or makes no sense, gives its slot back, and one whose connection breaks has lost it for a while
//! only; it can make us hold one frame's worth of bytes at most.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use shared_msgs::codes::Code;
use shared_msgs::frames::{self, ClientFrame, ServerFrame};
use shared_msgs::ids::HandoverId;
use shared_msgs::limits;
use shared_msgs::net::{TurnedAway, Visitor};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::frame_io::{FrameReader, ReadError, close, write};
use super::presence::Presence;
use super::world::PlayerHandler;
use crate::{GameServer, Hello, MoveError, Moving, PlayerSlot, Progress, Resume};

/// What all connections share.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) game: GameServer,
    pub(super) handler: Arc<dyn PlayerHandler>,
    /// What operators say to everybody in game.
    pub(super) notices: broadcast::Sender<Arc<str>>,
    /// Nobody is served any more.
    pub(super) stop: CancellationToken,
    /// Players whose connection broke wait here: the socket and its place at the door are given back.
    pub(super) tasks: TaskTracker,
}

/// Why a connection is closed without another word.
#[derive(Debug, thiserror::Error)]
pub(super) enum Gone {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Serves a client to its end, however that comes.
pub(super) async fn serve<S: AsyncRead + AsyncWrite>(context: Context, stream: S, visitor: Visitor) {
    if let Err(gone) = Connection::new(context, stream, visitor.clone()).run().await {
        if gone.is_silence() {
            visitor.turned_away(TurnedAway::Silent);
        }
        tracing::debug!(target: "handover", %gone, "connection.closed");
    }
}

impl Gone {
    /// It took nothing for too long.
    fn is_silence(&self) -> bool {
        matches!(self, Self::Write(error) if error.kind() == io::ErrorKind::TimedOut)
    }

    /// The connection broke; the client did nothing wrong.
    fn is_loss(&self) -> bool {
        !matches!(self, Self::Read(ReadError::Frame(_)))
    }
}

/// How a client opens.
enum Opening {
    Hello(frames::Hello),
    Resume(frames::Resume),
}

/// A client's connection.
struct Connection<S> {
    context: Context,
    visitor: Visitor,
    reader: FrameReader<ReadHalf<S>>,
    writer: WriteHalf<S>,
}

impl<S: AsyncRead + AsyncWrite> Connection<S> {
    fn new(context: Context, stream: S, visitor: Visitor) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { context, visitor, reader: FrameReader::new(reader), writer }
    }

    async fn run(mut self) -> Result<(), Gone> {
        let opening = match self.opening().await? {
            Ok(opening) => opening,
            Err(code) => return self.turn_away(code).await,
        };
        let Some(slot) = self.let_in(opening).await? else { return Ok(()) };
        let (handover, comes_back) = (slot.session(), slot.reconnect().is_some());
        let presence = Presence::begin(Arc::clone(&self.context.handler), slot);
        let ended = self.play(presence.slot()).await;
        match ended {
            Err(gone) if gone.is_loss() && comes_back => {
                self.context.tasks.spawn(presence.outlast());
                Err(gone)
            }
            Err(gone) => {
                presence.leave().await;
                Err(gone)
            }
            Ok(Ended::Left) => {
                presence.leave().await;
                Ok(close(&mut self.writer).await?)
            }
            Ok(Ended::Kicked(code)) => {
                presence.leave().await;
                self.refuse(code, Some(handover)).await
            }
        }
    }

    async fn refuse(&mut self, code: Code, handover: Option<HandoverId>) -> Result<(), Gone> {
        write(&mut self.writer, &ServerFrame::refused(code, handover)).await?;
        Ok(close(&mut self.writer).await?)
    }

    /// Refuses a client that the gate has not judged.
    async fn turn_away(&mut self, code: Code) -> Result<(), Gone> {
        self.context.game.count_refused(code);
        self.refuse(code, None).await
    }

    async fn opening(&mut self) -> Result<Result<Opening, Code>, Gone> {
        let frame = tokio::select! {
            frame = self.reader.next() => frame,
            () = tokio::time::sleep(limits::HELLO_DEADLINE) => {
                self.visitor.turned_away(TurnedAway::Silent);
                return Ok(Err(Code::HelloTimedOut));
            }
            () = self.context.stop.cancelled() => return Ok(Err(Code::ServerClosed)),
        };
        match frame {
            Ok(ClientFrame::Hello(hello)) if hello.version == limits::GAME_LINK_VERSION => {
                Ok(Ok(Opening::Hello(hello)))
            }
            Ok(ClientFrame::Resume(resume)) if resume.version == limits::GAME_LINK_VERSION => {
                Ok(Ok(Opening::Resume(resume)))
            }
            Ok(ClientFrame::Hello(_) | ClientFrame::Resume(_)) => Ok(Err(Code::ClientTooOld)),
            Ok(ClientFrame::App(_) | ClientFrame::Leave | ClientFrame::Kept) | Err(ReadError::Frame(_)) => {
                Ok(Err(Code::MalformedHello))
            }
            Err(error @ (ReadError::Closed | ReadError::Io(_))) => Err(error.into()),
        }
    }

    /// Waits for the gate's word; a client that goes away meanwhile has abandoned its request. One that comes back is not looked after:
    /// the word on it is there at once, and to abandon it would end the session that it came back to.
    async fn let_in(&mut self, opening: Opening) -> Result<Option<PlayerSlot>, Gone> {
        let may_abandon = matches!(opening, Opening::Hello(_));
        let mut redeeming = match opening {
            Opening::Hello(frames::Hello { token, build, app_data, .. }) => {
                self.context.game.begin_redeem(Hello { token, build, app_data })
            }
            Opening::Resume(frames::Resume { credential, build, app_data, .. }) => {
                self.context.game.begin_resume(Resume { credential, build, app_data })
            }
        };
        loop {
            let progress = tokio::select! {
                progress = redeeming.progress() => progress,
                gone = self.reader.gone(), if may_abandon => {
                    drop(redeeming);
                    if matches!(gone, ReadError::Frame(_)) {
                        self.turn_away(Code::MalformedHello).await?;
                    }
                    return Err(gone.into());
                }
            };
            match progress {
                Progress::Waiting => {}
                Progress::Delayed { within } => {
                    // Its token is genuine. If it had to go by now, this connection is about to be dropped.
                    let _ = self.visitor.introduced();
                    write(&mut self.writer, &ServerFrame::Delayed { deadline_ms: millis(within) }).await?;
                }
                Progress::Done(Ok(slot)) => {
                    let _ = self.visitor.introduced();
                    return Ok(Some(slot));
                }
                Progress::Done(Err(refusal)) => {
                    self.refuse(refusal.code(), refusal.handover_id()).await?;
                    return Ok(None);
                }
            }
        }
    }

    async fn welcome(&mut self, slot: &PlayerSlot) -> Result<(), Gone> {
        let welcome = ServerFrame::Welcome {
            name: slot.name().to_owned(),
            server: self.context.game.server_id().clone(),
            session: slot.session(),
        };
        write(&mut self.writer, &welcome).await?;
        if let Some(reconnect) = slot.reconnect() {
            let credential = reconnect.credential.expose().to_owned();
            let reconnect = ServerFrame::Reconnect { credential, within_ms: millis(reconnect.within) };
            write(&mut self.writer, &reconnect).await?;
        }
        Ok(())
    }

    async fn play(&mut self, slot: &PlayerSlot) -> Result<Ended, Gone> {
        // From before its welcome: who has heard that it is in hears all that is said from then on.
        let mut notices = self.context.notices.subscribe();
        let mut moving: Option<Moving> = None;
        self.welcome(slot).await?;
        loop {
            let frame = tokio::select! {
                // One that moves hears so as its session's end.
                stays = stays(&mut moving) => {
                    write(&mut self.writer, &ServerFrame::App(format!("stays: {stays}").into_bytes())).await?;
                    continue;
                }
                frame = self.reader.next() => frame?,
                notice = notices.recv() => {
                    // Of too many at once it misses some; the sender lives as long as we do.
                    if let Ok(text) = notice {
                        write(&mut self.writer, &ServerFrame::Notice { text: text.as_ref().to_owned() }).await?;
                    }
                    continue;
                }
                ending = slot.kicked() => {
                    let (code, save_within_ms) = (ending.reason, millis(ending.save_within));
                    let ending = ServerFrame::Ending { code: code.as_str().to_owned(), save_within_ms };
                    write(&mut self.writer, &ending).await?;
                    return Ok(Ended::Kicked(code));
                }
            };
            match frame {
                ClientFrame::App(data) => {
                    if let Some(request) = self.context.handler.moves(slot, &data) {
                        // Asked twice, the first one counts.
                        moving.get_or_insert_with(|| slot.move_to(request));
                    } else if let Some(reply) = self.context.handler.said(slot, &data) {
                        write(&mut self.writer, &ServerFrame::App(reply)).await?;
                    }
                }
                ClientFrame::Kept => slot.credential_kept(),
                // A second opening is a client that has lost its way.
                ClientFrame::Leave | ClientFrame::Hello(_) | ClientFrame::Resume(_) => {
                    return Ok(Ended::Left);
                }
            }
        }
    }
}

/// Why the player stays; waits for ever while there is nothing to say.
async fn stays(moving: &mut Option<Moving>) -> MoveError {
    if let Some(asked) = moving
        && let Err(error) = asked.await
    {
        *moving = None;
        return error;
    }
    *moving = None;
    std::future::pending().await
}

/// How a session ended, the client still being there.
enum Ended {
    Left,
    Kicked(Code),
}

fn millis(of: Duration) -> u32 {
    u32::try_from(of.as_millis()).unwrap_or(u32::MAX)
}
