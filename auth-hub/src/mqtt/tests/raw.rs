//! MQTT by hand: packets as bytes, good and bad, and a client that sends what it is told.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::within;

pub(crate) const PINGREQ: [u8; 2] = [0xc0, 0];
pub(crate) const PINGRESP: [u8; 2] = [0xd0, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xe0, 0];
pub(crate) const WELCOME: [u8; 4] = [0x20, 2, 0, 0];

pub(crate) fn refusal(code: u8) -> Vec<u8> {
    vec![0x20, 2, 0, code]
}

/// A frame of any type.
pub(crate) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut rest = body.len();
    loop {
        let low = u8::try_from(rest % 128).unwrap();
        rest /= 128;
        out.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

pub(crate) fn text(of: impl AsRef<[u8]>) -> Vec<u8> {
    let of = of.as_ref();
    let mut out = u16::try_from(of.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(of);
    out
}

pub(crate) fn publish(topic: impl AsRef<[u8]>, qos: u8, retain: bool, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    body.extend_from_slice(payload);
    frame(0x30 | qos << 1 | u8::from(retain), &body)
}

pub(crate) fn subscribe(id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    for (filter, qos) in filters {
        body.extend(text(filter));
        body.push(*qos);
    }
    frame(0x82, &body)
}

pub(crate) fn unsubscribe(id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    for filter in filters {
        body.extend(text(filter));
    }
    frame(0xa2, &body)
}

pub(crate) fn puback(id: u16) -> Vec<u8> {
    frame(0x40, &id.to_be_bytes())
}

pub(crate) fn suback(id: u16, codes: &[u8]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend_from_slice(codes);
    frame(0x90, &body)
}

/// A CONNECT to be spoilt.
#[derive(Clone)]
pub(crate) struct Connect {
    pub(crate) client_id: String,
    pub(crate) login: Option<(String, String)>,
    pub(crate) keepalive: u16,
    pub(crate) clean: bool,
    pub(crate) level: u8,
    /// Topic, payload, QoS, retained.
    pub(crate) will: Option<(String, Vec<u8>, u8, bool)>,
}

impl Connect {
    /// One that is let in.
    pub(crate) fn server(id: &str) -> Self {
        Self::user(&format!("gs-{id}"), id)
    }

    pub(crate) fn user(client_id: &str, user: &str) -> Self {
        Self {
            client_id: client_id.into(),
            login: Some((user.into(), format!("pw-{user}"))),
            keepalive: 30,
            clean: true,
            level: 4,
            will: None,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        let mut tail = text(&self.client_id);
        if let Some((topic, payload, qos, retain)) = &self.will {
            flags |= 0x04 | qos << 3 | u8::from(*retain) << 5;
            tail.extend(text(topic));
            tail.extend(text(payload));
        }
        if let Some((user, password)) = &self.login {
            flags |= 0xc0;
            tail.extend(text(user));
            tail.extend(text(password));
        }
        let mut body = text("MQTT");
        body.extend([self.level, flags]);
        body.extend(self.keepalive.to_be_bytes());
        body.extend(tail);
        frame(0x10, &body)
    }
}

/// A client that sends what it is told.
pub(crate) struct Raw {
    stream: TcpStream,
}

impl Raw {
    pub(crate) async fn open(to: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(to).await.unwrap() }
    }

    /// With a receive buffer so small that a peer soon notices who does not read.
    pub(crate) async fn open_narrow(to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self { stream: socket.connect(to).await.unwrap() }
    }

    /// Connected as `connect` says, and welcome.
    pub(crate) async fn welcome(to: SocketAddr, connect: &Connect) -> Self {
        let mut raw = Self::open(to).await;
        raw.send(&connect.bytes()).await;
        raw.expect(&WELCOME).await;
        raw
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
    }

    /// Like [`Self::send`] to a peer that may be gone already.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        within(self.stream.write_all(bytes)).await.is_ok()
    }

    /// Reads exactly these bytes.
    pub(crate) async fn expect(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        within(self.stream.read_exact(&mut got)).await.unwrap();
        assert_eq!(got, bytes);
    }

    /// Reads one whole packet; None at the end of the stream.
    pub(crate) async fn packet(&mut self) -> Option<Vec<u8>> {
        let mut out = vec![within(self.stream.read_u8()).await.ok()?];
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = within(self.stream.read_u8()).await.ok()?;
            out.push(byte);
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let head = out.len();
        out.resize(head + length, 0);
        within(self.stream.read_exact(&mut out[head..])).await.ok()?;
        Some(out)
    }

    /// Waits until the broker closes, with nothing more to read before that.
    pub(crate) async fn closed(&mut self) {
        let left = self.drained().await;
        assert_eq!(left, b"", "closed, but not in silence");
    }

    /// Everything until the broker closes.
    pub(crate) async fn drained(&mut self) -> Vec<u8> {
        let mut left = Vec::new();
        // A reset is an end, too: the broker need not have read all we sent.
        let _ = within(self.stream.read_to_end(&mut left)).await;
        left
    }
}
