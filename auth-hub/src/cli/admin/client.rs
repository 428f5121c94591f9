//! One question to the admin API: a connection, a request, an answer.
//!
//! Knows HTTP and TLS, no command. Invariants: it ends within [`PATIENCE`]; the key goes to one address in one header, and never over plain
//! TCP to another machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::body::{Body, to_bytes};
use axum::http::uri::Scheme;
use axum::http::{HeaderValue, Request, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use shared_msgs::net::tls::{ClientTls, ClientTlsFiles};
use shared_msgs::text::is_plain;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::admin_key::AdminKey;
use crate::config::Config;
use crate::keyfile;

/// More than the hub takes for any request.
const PATIENCE: Duration = Duration::from_secs(30);
/// Far more than any answer has.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Nobody there, or nobody who answers.
    #[error("{0}; is the hub running, and is this where its admin API listens (admin.listen, --url)?")]
    NoAnswer(String),
    /// The hub said no.
    #[error("{code}: {words}")]
    Refused {
        /// Its code.
        code: String,
        /// For people.
        words: String,
        /// Whether the same again may work.
        may_retry: bool,
    },
}

/// Knows where to ask, and shows the key.
pub(super) struct Client {
    host: String,
    port: u16,
    tls: Option<ClientTls>,
    key: AdminKey,
}

impl Client {
    pub(super) fn new(
        config: &Config,
        url: Option<&str>,
        key_file: Option<&Path>,
        ca: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let uri: Uri = url.map_or_else(|| usual(config), str::to_owned).parse().context("--url")?;
        let has_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => anyhow::bail!("--url begins with http:// or https://"),
        };
        let host = uri.host().context("--url names a host")?.trim_matches(['[', ']']).to_owned();
        let is_here =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        ensure!(
            has_tls || is_here,
            "the key would cross the network as it is: use an https URL, or ssh to the hub"
        );
        let port = uri.port_u16().unwrap_or(if has_tls { 443 } else { 80 });
        let tls = has_tls.then(|| ClientTls::load(ClientTlsFiles { ca, identity: None })).transpose()?;
        let key = keyfile::load_admin(key_file.unwrap_or(&config.admin.key_file))?;
        Ok(Self { host, port, tls, key })
    }

    /// With a body it is a `POST`, else a `GET`.
    pub(super) async fn ask(&self, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
        let asked = tokio::time::timeout(PATIENCE, self.exchange(path, body)).await;
        let (status, text) = asked
            .map_err(|_| Trouble::NoAnswer("the hub does not answer".to_owned()))?
            .map_err(|error| Trouble::NoAnswer(format!("{}:{}: {error:#}", self.host, self.port)))?;
        let json: Option<Value> = serde_json::from_slice(&text).ok();
        match (status, json) {
            (200, Some(reply)) => Ok(reply),
            (_, problem) => Err(refused(status, &problem.unwrap_or_default())),
        }
    }

    async fn exchange(&self, path: &str, body: Option<&Value>) -> anyhow::Result<(u16, Vec<u8>)> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", self.key.expose()))?;
        bearer.set_sensitive(true);
        let builder = Request::builder()
            .method(if body.is_some() { "POST" } else { "GET" })
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, bearer)
            .header(header::CONTENT_TYPE, "application/json");
        let request = builder.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))?;
        match &self.tls {
            Some(tls) => converse(tls.connect(&self.host, socket).await.context("TLS")?, request).await,
            None => converse(socket, request).await,
        }
    }
}

/// Where the settings say that the API is, as seen from this machine.
fn usual(config: &Config) -> String {
    let mut listen = config.admin.listen;
    if listen.ip().is_unspecified() {
        let here = if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        listen.set_ip(here);
    }
    let scheme = if config.admin.tls_cert_file.is_some() { "https" } else { "http" };
    format!("{scheme}://{listen}")
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Body>,
) -> anyhow::Result<(u16, Vec<u8>)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        // The connection ends when its sender is dropped.
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let text = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await?;
        anyhow::Ok((status, text.to_vec()))
    };
    // What the connection died of, the exchange says as well.
    let (_, answer) = tokio::join!(connection, exchange);
    answer
}

fn refused(status: u16, problem: &Value) -> Trouble {
    let text = |name: &str| problem[name].as_str().map(printable);
    let code = text("code").unwrap_or_else(|| format!("HTTP {status}"));
    let words = match (text("title"), text("detail")) {
        (Some(title), Some(detail)) => format!("{title} ({detail})"),
        (title, detail) => title.or(detail).unwrap_or_else(|| "this is no admin API".to_owned()),
    };
    let words = match problem["retry_after_s"].as_u64() {
        Some(seconds) => format!("{words}; try again in {seconds} s"),
        None => words,
    };
    let may_retry = matches!(status, 408 | 429 | 503 | 504);
    Trouble::Refused { code, words, may_retry }
}

/// Nothing that could steer a terminal, or show a text as another.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) { c } else { '\u{fffd}' }).collect()
}
