//! A scripted MQTT peer over raw bytes, and a link to try on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket};

use crate::clock::SystemClock;
use crate::link::*;
use crate::rng::SystemRng;

pub(super) const FILTERS: [&str; 2] = ["handover/v1/servers/+/status", "handover/v1/servers/+/events"];
pub(super) const PASSWORD: &str = "hunter2-hunter2";

/// Bounds a wait that a correct link ends long before.
pub(super) async fn soon<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("in time")
}

pub(super) fn lane(n: usize) -> Lane {
    Lane { topic: Topic::Inbox(format!("s{n}").parse().unwrap()), purpose: Purpose::Inbox }
}

pub(super) fn status() -> Topic {
    Topic::Status("alpha".parse().unwrap())
}

/// "Seals" by putting the stream in front, so that a peer sees under which stream something was sealed.
struct Plain {
    stream: Option<StreamId>,
    filters: Vec<String>,
}

impl Session for Plain {
    fn begin(&mut self, stream: StreamId, _now: UnixMs) -> Opening {
        self.stream = Some(stream);
        Opening { subscriptions: self.filters.clone(), will: Some((status(), stream.0.to_vec())) }
    }

    fn seal(&mut self, lane: &Lane, batch: &[u8], _now: UnixMs) -> Result<Vec<u8>, SessionError> {
        if batch == b"unsealable" {
            return Err(SessionError::NoKey(lane.topic.clone()));
        }
        Ok([&self.stream.expect("begun").0, batch].concat())
    }
}

pub(super) struct Link {
    pub(super) sender: LinkSender,
    pub(super) events: mpsc::Receiver<LinkEvent>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Link {
    pub(super) fn to(brokers: &[std::net::SocketAddr], adjust: impl FnOnce(&mut LinkConfig)) -> Self {
        let brokers = brokers.iter().map(|&addr| addr.into()).collect();
        let password = Zeroizing::new(PASSWORD.to_owned());
        let mut config = LinkConfig::new(brokers, "gs-alpha".to_owned(), "alpha".to_owned(), password);
        adjust(&mut config);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let session = Plain { stream: None, filters: FILTERS.map(str::to_owned).into() };
        let (clock, rng) = (Arc::new(SystemClock::new()), Arc::new(SystemRng::new()));
        let (sender, events) = spawn(config, session, clock, rng, &tasks, stop.clone()).unwrap();
        tasks.close();
        Self { sender, events, stop, tasks }
    }

    pub(super) async fn event(&mut self) -> LinkEvent {
        soon(self.events.recv()).await.expect("the link still runs")
    }

    pub(super) async fn up(&mut self) -> StreamId {
        match self.event().await {
            LinkEvent::Up { stream, .. } => stream,
            other => panic!("not up: {other:?}"),
        }
    }

    pub(super) async fn down(&mut self) -> (LinkError, Duration) {
        match self.event().await {
            LinkEvent::Down { error, retry_in } => (error, retry_in),
            other => panic!("not down: {other:?}"),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Listens; one connection at a time is accepted.
pub(super) struct Peer {
    pub(super) listener: TcpListener,
    pub(super) addr: std::net::SocketAddr,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    Subscribe { id: u16, filters: Vec<String> },
    Publish { topic: String, id: u16, payload: Vec<u8> },
    PubAck(u16),
    Ping,
    Disconnect,
    End,
}

pub(super) struct Connect {
    pub(super) flags: u8,
    pub(super) keep_alive_s: u16,
    /// Client id, will topic, will payload, user, password.
    pub(super) fields: Vec<Vec<u8>>,
}

impl Connect {
    pub(super) fn will(&self) -> &[u8] {
        &self.fields[2]
    }
}

pub(super) struct Reader(BufReader<OwnedReadHalf>);

pub(super) struct Conn {
    pub(super) reader: Reader,
    pub(super) writer: OwnedWriteHalf,
    pub(super) connect: Connect,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Takes `len u16 ∥ bytes` off the front.
fn field(bytes: &mut &[u8]) -> Vec<u8> {
    let len = usize::from(number(bytes));
    let (field, rest) = bytes.split_at(len);
    *bytes = rest;
    field.to_vec()
}

fn number(bytes: &mut &[u8]) -> u16 {
    let (number, rest) = bytes.split_first_chunk().unwrap();
    *bytes = rest;
    u16::from_be_bytes(*number)
}

impl Reader {
    /// A packet's first byte and its body; `None` at the end.
    async fn raw(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.0.read_u8().await.ok()?;
        let (mut len, mut shift) = (0, 0);
        loop {
            let byte = self.0.read_u8().await.ok()?;
            len |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body).await.ok()?;
        Some((first, body))
    }

    /// The next packet.
    pub(super) async fn next(&mut self) -> Got {
        let Some((first, body)) = soon(self.raw()).await else { return Got::End };
        let mut body = body.as_slice();
        match first {
            0x82 => {
                let (id, mut filters) = (number(&mut body), Vec::new());
                while !body.is_empty() {
                    filters.push(text(&field(&mut body)));
                    assert_eq!(body.split_off_first(), Some(&1), "QoS 1");
                }
                Got::Subscribe { id, filters }
            }
            0x32 => {
                let topic = text(&field(&mut body));
                Got::Publish { topic, id: number(&mut body), payload: body.to_vec() }
            }
            0x40 => Got::PubAck(number(&mut body)),
            0xc0 => Got::Ping,
            0xe0 => Got::Disconnect,
            other => panic!("unexpected packet {other:#x}: no duplicates, no retained, QoS 1 only"),
        }
    }
}

impl Peer {
    pub(super) fn bind() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Small, so that a peer that does not read is soon felt.
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(16).unwrap();
        let addr = listener.local_addr().unwrap();
        Self { listener, addr }
    }

    /// Takes the next connection and reads its CONNECT.
    pub(super) async fn accept(&self) -> Conn {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        let (reader, writer) = stream.into_split();
        let mut reader = Reader(BufReader::new(reader));
        let (first, body) = soon(reader.raw()).await.expect("CONNECT");
        assert_eq!((first, &body[..7]), (0x10, b"\0\x04MQTT\x04".as_slice()), "CONNECT of MQTT 3.1.1");
        let (flags, mut rest) = (body[7], &body[8..]);
        let keep_alive_s = number(&mut rest);
        let mut fields = Vec::new();
        while !rest.is_empty() {
            fields.push(field(&mut rest));
        }
        Conn { reader, writer, connect: Connect { flags, keep_alive_s, fields } }
    }

    /// The next connection, brought up.
    pub(super) async fn accept_up(&self) -> Conn {
        let mut conn = self.accept().await;
        conn.connack(0).await;
        conn.suback(&[1, 1]).await;
        conn
    }
}

impl Conn {
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        soon(self.writer.write_all(bytes)).await.unwrap();
    }

    pub(super) async fn connack(&mut self, code: u8) {
        self.write(&[0x20, 2, 0, code]).await;
    }

    /// Reads the SUBSCRIBE and answers it.
    pub(super) async fn suback(&mut self, codes: &[u8]) {
        let Got::Subscribe { id, filters } = self.reader.next().await else { panic!("no SUBSCRIBE") };
        assert_eq!(filters, FILTERS);
        let head = [0x90, 2 + u8::try_from(codes.len()).unwrap()];
        self.write(&[&head, id.to_be_bytes().as_slice(), codes].concat()).await;
    }

    pub(super) async fn puback(&mut self, id: u16) {
        self.write(&[[0x40, 2], id.to_be_bytes()].concat()).await;
    }

    /// The next PUBLISH: its id, the stream it was sealed under, and the batch. Answers pings.
    pub(super) async fn published(&mut self) -> (u16, StreamId, Vec<u8>) {
        loop {
            match self.reader.next().await {
                Got::Publish { id, payload, .. } => {
                    let (stream, batch) = payload.split_first_chunk().unwrap();
                    return (id, StreamId(*stream), batch.to_vec());
                }
                Got::Ping => self.write(&[0xd0, 0]).await,
                other => panic!("no PUBLISH: {other:?}"),
            }
        }
    }
}

/// A PUBLISH with QoS 1.
pub(super) fn publish(topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    let topic_len = u16::try_from(topic.len()).unwrap().to_be_bytes();
    let body = [&topic_len, topic.as_bytes(), &id.to_be_bytes(), payload].concat();
    let (mut len, mut out) = (body.len(), vec![0x32]);
    while len >= 0x80 {
        out.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        len >>= 7;
    }
    out.push(u8::try_from(len).unwrap());
    out.extend_from_slice(&body);
    out
}
