//! A hub with a game server, a raw client, and what must hold after every request.
//!
//! Invariant: no answer repeats [`SECRET`], no task panics, and a healthy player is handed over after each case.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::time::Duration;

use hub_tests::events::{Mark, log};
use hub_tests::hub::TestHub;
use hub_tests::server::TestServer;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Stands where a client might put a password by mistake.
pub(crate) const SECRET: &str = "hunter2hunter2";

/// Far above any answer's time, the body's five seconds included.
const PATIENCE: Duration = Duration::from_secs(20);

static PANICS: AtomicUsize = AtomicUsize::new(0);
static HOOK: Once = Once::new();

/// What a request gets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect {
    /// A success of this status.
    Success(u16),
    /// A problem document of this status and code, whose detail holds this.
    Problem(u16, &'static str, &'static str),
    /// Not HTTP, or none that we speak: a status at most, and the end.
    Bare(u16),
    /// The end without a word.
    Closed,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// A connection on which anything may be said.
pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self(TcpStream::connect(to).await.unwrap())
    }

    /// As much of it as the other side takes: it may have seen enough before the end.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    /// Nothing more will be said.
    pub(crate) async fn finish(&mut self) {
        let _ = self.0.shutdown().await;
    }

    /// The next answer; nothing when the connection ends before it.
    pub(crate) async fn reply(&mut self, has_body: bool) -> Option<Reply> {
        tokio::time::timeout(PATIENCE, self.read_reply(has_body)).await.expect("an answer or the end").ok()
    }

    async fn read_reply(&mut self, has_body: bool) -> io::Result<Reply> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: String::new() };
        let len: usize = reply.header("content-length").map_or(0, |len| len.parse().unwrap());
        if has_body && len > 0 {
            let mut body = vec![0; len];
            self.0.read_exact(&mut body).await?;
            reply.body = String::from_utf8(body).unwrap();
        }
        Ok(reply)
    }

    /// The other side has closed, whatever it said before.
    pub(crate) async fn closed(&mut self) {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest)).await;
        // A reset is an end as well.
        let _ = end.expect("the connection stays open");
    }
}

/// The hub and its one game server.
pub(crate) struct Rig {
    pub(crate) hub: TestHub,
    server: TestServer,
    mark: Mark,
    wrong: Mutex<Vec<String>>,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        HOOK.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                // A test's own thread bears its path; it panics when the test fails.
                if !std::thread::current().name().is_some_and(|name| name.contains("::")) {
                    PANICS.fetch_add(1, Ordering::Relaxed);
                }
                usual(info);
            }));
        });
        let hub = TestHub::start().await.unwrap();
        let server = TestServer::builder(&hub).start().await.unwrap();
        hub.register("healthy").await.unwrap();
        Self { hub, server, mark: log().mark(), wrong: Mutex::default() }
    }

    pub(crate) async fn connect(&self) -> Raw {
        Raw::connect(self.hub.http_addr()).await
    }

    /// Sends one request and says no more.
    pub(crate) async fn check(&self, name: &str, request: &[u8], expect: Expect) {
        let mut raw = self.connect().await;
        raw.say(request).await;
        let reply = raw.reply(!request.starts_with(b"HEAD")).await;
        self.judge(name, reply, expect).await;
    }

    /// The answer is what it should be, and everybody else is well.
    pub(crate) async fn judge(&self, name: &str, reply: Option<Reply>, expect: Expect) {
        let shown = format!("{name}: {expect:?}, got {reply:?}");
        let fits = match (&reply, expect) {
            (None, Expect::Closed) => true,
            (Some(reply), Expect::Success(status)) => reply.status == status,
            (Some(reply), Expect::Bare(status)) => reply.status == status && reply.body.is_empty(),
            (Some(reply), Expect::Problem(status, code, detail)) => {
                let json = reply.json();
                reply.status == status
                    && json["status"] == status
                    && json["code"] == code
                    && reply.header("content-type") == Some("application/problem+json")
                    && json["detail"].as_str().unwrap_or_default().contains(detail)
            }
            (None | Some(_), _) => false,
        };
        if !fits {
            self.wrong.lock().unwrap().push(shown.clone());
        }
        if let Some(reply) = reply {
            assert!(!reply.head.contains(SECRET) && !reply.body.contains(SECRET), "{shown}");
        }
        let ticket = self.hub.ticket("healthy", Some(self.server.id())).await;
        assert!(ticket.is_ok(), "{name}: and then a healthy player gets {:?}", ticket.err());
        self.calm(name);
    }

    fn calm(&self, name: &str) {
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "{name}: something panicked");
        for event in ["http.panicked", "http.failed", "http.deadline"] {
            assert!(log().since(self.mark, event, &[]).is_empty(), "{name}: {event}");
        }
        assert!(!log().story(self.mark).contains(SECRET), "{name}: a secret in the log");
    }
}

impl Drop for Rig {
    /// All of a table's wrong answers at once.
    fn drop(&mut self) {
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty() || std::thread::panicking(), "wrong answers:\n  {}", wrong.join("\n  "));
    }
}

/// A POST of this body.
pub(crate) fn post(path: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    post_as(path, "Content-Type: application/json\r\n", body)
}

/// A POST with these headers, each with its line's end.
pub(crate) fn post_as(path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: hub\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A request without a body: its first line, and headers with their lines' ends.
pub(crate) fn head(line: &str, headers: &str) -> Vec<u8> {
    format!("{line}\r\nHost: hub\r\n{headers}\r\n").into_bytes()
}
