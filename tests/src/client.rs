//! A player's client: HTTP to the hub, the game link to the server. The `player` binary and all tests go through it.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use serde::Deserialize;
use shared_msgs::codes::Retry;
use shared_msgs::frames::{self, ClientFrame, FrameError, Hello, ServerFrame};
use shared_msgs::ids::{HandoverId, ServerId};
use shared_msgs::limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Nothing that a client waits for takes longer than this, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// What went wrong on the client's side.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The hub answered with a problem document.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// No answer, or none we understand.
    #[error("the hub did not answer: {0}")]
    Http(#[from] reqwest::Error),
    /// The reply offers nothing we can connect to.
    #[error("the hub's reply names no tcp endpoint")]
    NoEndpoint,
    /// The game server's connection failed.
    #[error("the game link failed: {0}")]
    Io(#[from] std::io::Error),
    /// The game server sent something else than a frame.
    #[error("the game link sent {0}")]
    Frame(#[from] FrameError),
    /// The game server said nothing for too long.
    #[error("the game server fell silent")]
    Silent,
}

/// RFC 9457, with our members.
#[derive(Debug, Clone, Deserialize, thiserror::Error)]
#[error("{status} {code}{}", .retry_after_s.map(|s| format!(", retry after {s} s")).unwrap_or_default())]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable name.
    pub code: String,
    /// When to try again.
    pub retry_after_s: Option<u64>,
    /// What support asks for.
    pub handover_id: Option<String>,
    /// The password was right, there was no place: go on with this.
    pub access_token: Option<String>,
}

/// `201` of a registration.
#[derive(Debug, Clone, Deserialize)]
pub struct Registered {
    /// Public.
    pub account_id: String,
}

/// `200` of a login.
#[derive(Clone, Deserialize)]
pub struct LoggedIn {
    /// Public.
    pub account_id: String,
    /// For [`HubClient::handover`]. Secret.
    pub access_token: String,
    /// Where to go.
    pub handover: Option<Ticket>,
}

/// Where to go and what to show there.
#[derive(Clone, Deserialize)]
pub struct Ticket {
    /// What support asks for.
    pub handover_id: String,
    /// Which server.
    pub server: ServerRef,
    /// The preferred one first.
    pub endpoints: Vec<EndpointRef>,
    /// Secret.
    pub token: String,
    /// From the reply on.
    pub expires_in_ms: u64,
    /// Whether the server has said yes.
    pub confirmed: bool,
}

/// A server, as the hub names it.
#[derive(Debug, Clone, Deserialize)]
pub struct ServerRef {
    /// Operator-chosen.
    pub id: ServerId,
    /// For people.
    pub name: String,
}

/// A way to connect.
#[derive(Debug, Clone, Deserialize)]
pub struct EndpointRef {
    /// `tcp`, or a game's own.
    pub transport: String,
    /// `host:port`.
    pub address: String,
}

impl Ticket {
    /// The game link's address.
    ///
    /// # Errors
    /// [`ClientError::NoEndpoint`].
    pub fn tcp(&self) -> Result<&str, ClientError> {
        let tcp = self.endpoints.iter().find(|endpoint| endpoint.transport == "tcp");
        tcp.map(|endpoint| endpoint.address.as_str()).ok_or(ClientError::NoEndpoint)
    }
}

/// The hub, as a client sees it.
#[derive(Debug, Clone)]
pub struct HubClient {
    http: reqwest::Client,
    base: String,
}

impl HubClient {
    /// `base` is `http://host:port`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(base: impl Into<String>) -> Result<Self, ClientError> {
        Self::build(&base.into(), usize::MAX)
    }

    /// As [`HubClient::new`], with a connection of its own for each request.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn without_reuse(base: impl Into<String>) -> Result<Self, ClientError> {
        Self::build(&base.into(), 0)
    }

    fn build(base: &str, idle_max: usize) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy();
        let http = http.pool_max_idle_per_host(idle_max).build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned() })
    }

    async fn post<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        bearer: Option<&str>,
        body: serde_json::Value,
    ) -> Result<T, ClientError> {
        let mut request = self.http.post(format!("{}{path}", self.base)).json(&body);
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        if response.status().is_success() {
            Ok(response.json().await?)
        } else {
            Err(ClientError::Problem(Box::new(response.json().await?)))
        }
    }

    /// `POST /auth/register`.
    ///
    /// # Errors
    /// A problem, or no answer.
    pub async fn register(&self, login: &str, password: &str) -> Result<Registered, ClientError> {
        self.post("/auth/register", None, serde_json::json!({"login": login, "password": password})).await
    }

    /// `POST /auth/login`, with a handover; `server` asks for that one only.
    ///
    /// # Errors
    /// A problem, or no answer.
    pub async fn login(
        &self,
        login: &str,
        password: &str,
        server: Option<&str>,
    ) -> Result<LoggedIn, ClientError> {
        let body = serde_json::json!({"login": login, "password": password, "server": server});
        self.post("/auth/login", None, body).await
    }

    /// `POST /handover`.
    ///
    /// # Errors
    /// A problem, or no answer.
    pub async fn handover(&self, access_token: &str, server: Option<&str>) -> Result<Ticket, ClientError> {
        self.post("/handover", Some(access_token), serde_json::json!({"server": server})).await
    }

    /// `GET` of any path: status and text.
    ///
    /// # Errors
    /// No answer.
    pub async fn get(&self, path: &str) -> Result<(u16, String), ClientError> {
        let response = self.http.get(format!("{}{path}", self.base)).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }
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
#[derive(Debug)]
pub struct GameClient {
    stream: TcpStream,
    /// Received and not yet a whole frame.
    buffer: BytesMut,
    /// Whether the server said that it waits for the grant.
    pub delayed: bool,
    /// From hello to the last word on it.
    pub answered_in: Duration,
}

impl GameClient {
    /// Connects to a game link.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn connect(address: &str) -> Result<Self, ClientError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::new(), delayed: false, answered_in: Duration::ZERO })
    }

    /// Says hello and does not wait.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn say_hello(&mut self, token: &str) -> Result<(), ClientError> {
        let hello = Hello {
            version: limits::GAME_LINK_VERSION,
            token: token.to_owned(),
            build: concat!("player/", env!("CARGO_PKG_VERSION")).to_owned(),
            app_data: Vec::new(),
        };
        self.send(&ClientFrame::Hello(hello)).await
    }

    /// Sends any frame.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn send(&mut self, frame: &ClientFrame) -> Result<(), ClientError> {
        Ok(self.stream.write_all(&frames::encode(frame)?).await?)
    }

    /// The next frame we understand; newer ones are skipped.
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
                ServerFrame::App(_) | ServerFrame::Ending { .. } => {}
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
