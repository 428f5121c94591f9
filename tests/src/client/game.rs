//! The game link, as a player's client sees it.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use shared_msgs::codes::Retry;
use shared_msgs::frames::{self, ClientFrame, FrameError, Hello, Resume, ServerFrame};
use shared_msgs::ids::{HandoverId, ServerId};
use shared_msgs::limits;
use shared_msgs::net::tls::ClientTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use zeroize::Zeroizing;

use super::{ClientError, PATIENCE, Ticket};

const BUILD: &str = concat!("player/", env!("CARGO_PKG_VERSION"));

type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

async fn dial(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// How a hello ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// In.
    Welcome {
        /// The player's own name.
        name: String,
        /// Where.
        server: ServerId,
        /// For support.
        session: HandoverId,
    },
    /// Not in.
    Refused {
        /// The stable name.
        code: String,
        /// What to do next.
        retry: Retry,
        /// For support.
        handover: Option<HandoverId>,
    },
}

impl Outcome {
    /// `welcome`, or the refusal's code.
    pub fn code(&self) -> &str {
        match self {
            Self::Welcome { .. } => "welcome",
            Self::Refused { code, .. } => code,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Welcome { name, server, .. } => write!(f, "welcome to {server}, {name}"),
            Self::Refused { code, retry, handover } => {
                let next = match retry {
                    Retry::Never => "do not try again".to_owned(),
                    Retry::SameToken { after_ms } => format!("try again in {after_ms} ms"),
                    Retry::NewHandover { after_ms: 0 } => "ask the hub again".to_owned(),
                    Retry::NewHandover { after_ms } => format!("ask the hub again in {after_ms} ms"),
                };
                write!(f, "refused: {code} ({next}")?;
                handover.map_or(Ok(()), |id| write!(f, "; handover {id}"))?;
                f.write_str(")")
            }
        }
    }
}

/// A connection to a game server.
pub struct GameClient {
    stream: Stream,
    /// Received and not yet a whole frame.
    buffer: BytesMut,
    /// What the server gave to come back with, and for how long. Secret.
    way_back: Option<(Zeroizing<String>, Duration)>,
    /// Whether the server said that it waits for the grant.
    pub delayed: bool,
    /// From hello to the last word on it.
    pub answered_in: Duration,
}

impl std::fmt::Debug for GameClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GameClient").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl GameClient {
    /// Connects to a game link.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn connect(address: &str) -> Result<Self, ClientError> {
        Ok(Self::over(Either::Left(dial(address).await?)))
    }

    /// Connects to where the ticket says: with TLS, where it offers that and we trust somebody.
    ///
    /// # Errors
    /// No endpoint for us, or no connection.
    pub async fn go(ticket: &Ticket, trust: Option<&ClientTls>) -> Result<Self, ClientError> {
        let of = |transport| ticket.endpoints.iter().find(|endpoint| endpoint.transport == transport);
        let Some((trust, endpoint)) = trust.zip(of("tls")) else { return Self::connect(ticket.tcp()?).await };
        let host = endpoint.address.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let stream = trust.connect(host, dial(&endpoint.address).await?).await?;
        Ok(Self::over(Either::Right(Box::new(stream))))
    }

    fn over(stream: Stream) -> Self {
        let (buffer, answered_in) = (BytesMut::new(), Duration::ZERO);
        Self { stream, buffer, way_back: None, delayed: false, answered_in }
    }

    /// Says hello and does not wait.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn say_hello(&mut self, token: &str) -> Result<(), ClientError> {
        let (token, build) = (token.to_owned(), BUILD.to_owned());
        let hello = Hello { version: limits::GAME_LINK_VERSION, token, build, app_data: Vec::new() };
        self.send(&ClientFrame::Hello(hello)).await
    }

    /// Asks to be let back into a session, and does not wait.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn ask_back(&mut self, credential: &str) -> Result<(), ClientError> {
        let (credential, build) = (credential.to_owned(), BUILD.to_owned());
        let resume = Resume { version: limits::GAME_LINK_VERSION, credential, build, app_data: Vec::new() };
        self.send(&ClientFrame::Resume(resume)).await
    }

    /// What to come back with if this connection breaks, and within what time. Secret.
    pub fn way_back(&self) -> Option<(&str, Duration)> {
        self.way_back.as_ref().map(|(credential, within)| (credential.as_str(), *within))
    }

    /// Sends any frame.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn send(&mut self, frame: &ClientFrame) -> Result<(), ClientError> {
        self.stream.write_all(&frames::encode(frame)?).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next frame that is for the player; newer ones are skipped, and the way back is kept.
    ///
    /// # Errors
    /// When the connection ends or falls silent.
    pub async fn next(&mut self) -> Result<ServerFrame, ClientError> {
        tokio::time::timeout(PATIENCE, self.read()).await.map_err(|_| ClientError::Silent)?
    }

    /// As [`GameClient::next`], for as long as it takes. Cancel-safe: what came of a frame so far is kept.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn read(&mut self) -> Result<ServerFrame, ClientError> {
        loop {
            match self.take_frame() {
                Some(Err(ClientError::Frame(FrameError::UnknownTag(_)))) => {}
                Some(Ok(ServerFrame::Reconnect { credential, within_ms })) => {
                    let within = Duration::from_millis(within_ms.into());
                    self.way_back = Some((credential.into(), within));
                    // Unsaid, the older one stays good: no harm. A server that is gone is found out by the next read.
                    let _ = self.send(&ClientFrame::Kept).await;
                }
                Some(frame) => return frame,
                None if self.stream.read_buf(&mut self.buffer).await? == 0 => {
                    return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                }
                None => {}
            }
        }
    }

    fn take_frame(&mut self) -> Option<Result<ServerFrame, ClientError>> {
        let prefix = *self.buffer.first_chunk()?;
        let len = match frames::frame_length(prefix) {
            Ok(len) => frames::LENGTH_BYTES + len,
            Err(error) => return Some(Err(error.into())),
        };
        if self.buffer.len() < len {
            return None;
        }
        let frame = self.buffer.split_to(len);
        Some(frames::decode(&frame[frames::LENGTH_BYTES..]).map_err(ClientError::from))
    }

    /// Waits for the last word on the hello.
    ///
    /// # Errors
    /// When the connection ends or falls silent.
    pub async fn outcome(&mut self) -> Result<Outcome, ClientError> {
        loop {
            match self.next().await? {
                ServerFrame::Welcome { name, server, session } => {
                    return Ok(Outcome::Welcome { name, server, session });
                }
                ServerFrame::Refused { code, retry, handover } => {
                    return Ok(Outcome::Refused { code, retry, handover });
                }
                ServerFrame::Delayed { .. } => self.delayed = true,
                ServerFrame::App(_)
                | ServerFrame::Ending { .. }
                | ServerFrame::Notice { .. }
                | ServerFrame::Reconnect { .. } => {}
            }
        }
    }

    /// Connects, says hello and waits for the last word.
    ///
    /// # Errors
    /// When the connection fails.
    #[expect(clippy::disallowed_methods, reason = "a client measures what its user waits")]
    pub async fn enter(address: &str, token: &str) -> Result<(Self, Outcome), ClientError> {
        let started = Instant::now();
        let mut client = Self::connect(address).await?;
        client.say_hello(token).await?;
        let outcome = client.outcome().await?;
        client.answered_in = started.elapsed();
        Ok((client, outcome))
    }

    /// Connects, asks to be let back and waits for the word on it.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn come_back(address: &str, credential: &str) -> Result<(Self, Outcome), ClientError> {
        let mut client = Self::connect(address).await?;
        client.ask_back(credential).await?;
        let outcome = client.outcome().await?;
        Ok((client, outcome))
    }

    /// Sends the game some bytes and gives its answer.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn ask(&mut self, bytes: &[u8]) -> Result<Vec<u8>, ClientError> {
        self.send(&ClientFrame::App(bytes.to_vec())).await?;
        loop {
            if let ServerFrame::App(answer) = self.next().await? {
                return Ok(answer);
            }
        }
    }

    /// Waits until the server ends the session, and gives its reason.
    ///
    /// # Errors
    /// When the connection ends without one.
    pub async fn ended(&mut self) -> Result<Outcome, ClientError> {
        self.outcome().await
    }
}
