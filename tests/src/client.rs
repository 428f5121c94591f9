//! A player's client: HTTP to the hub, the game link to the server. The `player` binary and all tests go through it.

mod game;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use shared_msgs::frames::FrameError;
use shared_msgs::ids::ServerId;
use shared_msgs::net::tls::ClientTls;
use tokio_rustls::rustls;

pub use game::{GameClient, Outcome};

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
    #[error("the hub's reply names no endpoint that we can use: tcp, or tls where we trust somebody")]
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
    /// Or what to wait with.
    pub queue: Option<Queued>,
}

pub use queue::{Queued, Turn, Wait};

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
    /// `tcp`, `tls`, or a game's own.
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

/// An HTTP client to be built. Without trust in anybody it can only speak plaintext.
pub fn http(trust: Option<&ClientTls>) -> reqwest::ClientBuilder {
    let trusting_nobody = || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.unwrap_or_else(|error| unreachable!("ring and rustls fit: {error}"));
        builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
    };
    let tls = trust.map_or_else(trusting_nobody, |trust| (*trust.config()).clone());
    reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls)
}

/// One plaintext request for what is at `url`.
///
/// # Errors
/// No answer.
pub async fn get(url: &str) -> Result<reqwest::Response, reqwest::Error> {
    http(None).timeout(PATIENCE).build()?.get(url).send().await
}

/// The hub, as a client sees it.
#[derive(Debug, Clone)]
pub struct HubClient {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

impl HubClient {
    /// `base` is `http://host:port`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(base: impl Into<String>) -> Result<Self, ClientError> {
        Self::build(&base.into(), None, usize::MAX)
    }

    /// As [`HubClient::new`] with `https://host:port`, for hubs whose certificate is of an authority in `trust`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn trusting(base: impl Into<String>, trust: &ClientTls) -> Result<Self, ClientError> {
        Self::build(&base.into(), Some(trust), usize::MAX)
    }

    /// As [`HubClient::new`], with a connection of its own for each request.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn without_reuse(base: impl Into<String>) -> Result<Self, ClientError> {
        Self::build(&base.into(), None, 0)
    }

    fn build(base: &str, trust: Option<&ClientTls>, idle_max: usize) -> Result<Self, ClientError> {
        let http = http(trust).timeout(PATIENCE);
        let http = http.pool_max_idle_per_host(idle_max).build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), key: None })
    }

    /// One that sends this `Idempotency-Key` with everything it posts.
    #[must_use]
    pub fn keyed(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
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
        if let Some(key) = &self.key {
            request = request.header("idempotency-key", key);
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
