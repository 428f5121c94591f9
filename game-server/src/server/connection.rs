//! One client, from its hello to its end.
//!
//! Owns the handshake of the game link. Decides nothing about who may come in. Invariants: every client that speaks is answered
//! by name; its slot is dropped when it is gone; it can make us hold one frame's worth of bytes at most.

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

use super::frame_io::{FrameReader, ReadError, close, write};
use super::world::PlayerHandler;
use crate::{GameServer, Hello, MoveError, Moving, PlayerSlot, Progress};

/// What all connections share.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) game: GameServer,
    pub(super) handler: Arc<dyn PlayerHandler>,
    /// What operators say to everybody in game.
    pub(super) notices: broadcast::Sender<Arc<str>>,
    /// Nobody is served any more.
    pub(super) stop: CancellationToken,
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
        let hello = match self.hello().await? {
            Ok(hello) => hello,
            Err(code) => return self.turn_away(code).await,
        };
        let Some(slot) = self.let_in(hello).await? else { return Ok(()) };
        let handler = Arc::clone(&self.context.handler);
        let handover = slot.session();
        let ended = {
            let _presence = Presence::begin(&*handler, &slot);
            self.play(&slot).await
        };
        slot.leave().await;
        match ended? {
            Ended::Left => Ok(close(&mut self.writer).await?),
            Ended::Kicked(code) => self.refuse(code, Some(handover)).await,
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

    async fn hello(&mut self) -> Result<Result<frames::Hello, Code>, Gone> {
        let frame = tokio::select! {
            frame = self.reader.next() => frame,
            () = tokio::time::sleep(limits::HELLO_DEADLINE) => {
                self.visitor.turned_away(TurnedAway::Silent);
                return Ok(Err(Code::HelloTimedOut));
            }
            () = self.context.stop.cancelled() => return Ok(Err(Code::ServerClosed)),
        };
        match frame {
            Ok(ClientFrame::Hello(hello)) if hello.version == limits::GAME_LINK_VERSION => Ok(Ok(hello)),
            Ok(ClientFrame::Hello(_)) => Ok(Err(Code::ClientTooOld)),
            Ok(ClientFrame::App(_) | ClientFrame::Leave) | Err(ReadError::Frame(_)) => {
                Ok(Err(Code::MalformedHello))
            }
            Err(error @ (ReadError::Closed | ReadError::Io(_))) => Err(error.into()),
        }
    }

    /// Waits for the gate's word; a client that goes away meanwhile has abandoned its request.
    async fn let_in(&mut self, hello: frames::Hello) -> Result<Option<PlayerSlot>, Gone> {
        let frames::Hello { token, build, app_data, .. } = hello;
        let mut redeeming = self.context.game.begin_redeem(Hello { token, build, app_data });
        loop {
            let progress = tokio::select! {
                progress = redeeming.progress() => progress,
                gone = self.reader.gone() => {
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
                    let welcome = ServerFrame::Welcome {
                        name: slot.name().to_owned(),
                        server: self.context.game.server_id().clone(),
                        session: slot.session(),
                    };
                    write(&mut self.writer, &welcome).await?;
                    return Ok(Some(slot));
                }
                Progress::Done(Err(refusal)) => {
                    self.refuse(refusal.code(), refusal.handover_id()).await?;
                    return Ok(None);
                }
            }
        }
    }

    async fn play(&mut self, slot: &PlayerSlot) -> Result<Ended, Gone> {
        let mut notices = self.context.notices.subscribe();
        let mut moving: Option<Moving> = None;
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
                // A second hello is a client that has lost its way.
                ClientFrame::Leave | ClientFrame::Hello(_) => return Ok(Ended::Left),
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

/// A player in the world. However it ends, the world hears of it before the slot is free.
struct Presence<'a> {
    handler: &'a dyn PlayerHandler,
    slot: &'a PlayerSlot,
}

impl<'a> Presence<'a> {
    fn begin(handler: &'a dyn PlayerHandler, slot: &'a PlayerSlot) -> Self {
        handler.joined(slot);
        Self { handler, slot }
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.handler.leaving(self.slot);
    }
}

fn millis(of: Duration) -> u32 {
    u32::try_from(of.as_millis()).unwrap_or(u32::MAX)
}
