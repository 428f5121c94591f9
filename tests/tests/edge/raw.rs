//! MQTT 3.1.1 by hand: packets as bytes, good and bad, and a client that sends what it is told. Knows nothing of envelopes.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

pub(crate) const PINGREQ: [u8; 2] = [0xc0, 0];
pub(crate) const PINGRESP: [u8; 2] = [0xd0, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xe0, 0];
pub(crate) const WELCOME: [u8; 4] = [0x20, 2, 0, 0];

/// Waits for what is there at once when all is well.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("took too long")
}

/// The CONNACK of somebody who is not let in.
pub(crate) fn refusal(code: u8) -> Vec<u8> {
    vec![0x20, 2, 0, code]
}

/// A remaining length in as few bytes as it takes.
pub(crate) fn length(mut of: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(of % 128).unwrap();
        of /= 128;
        out.push(if of > 0 { low | 0x80 } else { low });
        if of == 0 {
            return out;
        }
    }
}

/// A frame of any type.
pub(crate) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first], &length(body.len())[..], body].concat()
}

/// A text with its length before it.
pub(crate) fn text(of: impl AsRef<[u8]>) -> Vec<u8> {
    let of = of.as_ref();
    [&u16::try_from(of.len()).unwrap().to_be_bytes()[..], of].concat()
}

pub(crate) fn publish(topic: impl AsRef<[u8]>, qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let id = if qos > 0 { id.to_be_bytes().to_vec() } else { Vec::new() };
    frame(0x30 | qos << 1, &[&text(topic), &id[..], payload].concat())
}

pub(crate) fn subscribe(id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    frame(0x82, &body)
}

pub(crate) fn unsubscribe(id: u16, filter: &str) -> Vec<u8> {
    frame(0xa2, &[&id.to_be_bytes()[..], &text(filter)].concat())
}

/// PUBACK and all others that are a packet id and no more.
pub(crate) fn ack(first: u8, id: u16) -> Vec<u8> {
    frame(first, &id.to_be_bytes())
}

pub(crate) fn suback(id: u16, codes: &[u8]) -> Vec<u8> {
    frame(0x90, &[&id.to_be_bytes()[..], codes].concat())
}

/// Topic, packet id (0 for QoS 0) and payload of a PUBLISH; None for anything else.
pub(crate) fn message(packet: &[u8]) -> Option<(&[u8], u16, &[u8])> {
    let (first, rest) = packet.split_first()?;
    let length_bytes = rest.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let (topic_length, rest) = rest.get(length_bytes..)?.split_first_chunk()?;
    let (topic, rest) = rest.split_at_checked(u16::from_be_bytes(*topic_length).into())?;
    let id_bytes = if first & 0x06 == 0 { 0 } else { 2 };
    let (id, payload) = rest.split_at_checked(id_bytes)?;
    (first >> 4 == 3).then(|| (topic, id.try_into().map_or(0, u16::from_be_bytes), payload))
}

/// A CONNECT to be spoilt.
#[derive(Clone)]
pub(crate) struct Connect {
    pub(crate) protocol: Vec<u8>,
    pub(crate) level: u8,
    /// Beyond those that follow from what is there.
    pub(crate) more_flags: u8,
    pub(crate) keepalive: u16,
    pub(crate) client_id: Vec<u8>,
    /// Topic, payload, QoS, retained.
    pub(crate) will: Option<(String, Vec<u8>, u8, bool)>,
    pub(crate) user: Option<Vec<u8>>,
    pub(crate) password: Option<Vec<u8>>,
}

impl Connect {
    pub(crate) fn new(client_id: &str, user: &str, password: &str) -> Self {
        Self {
            protocol: b"MQTT".to_vec(),
            level: 4,
            more_flags: 2,
            keepalive: 60,
            client_id: client_id.into(),
            will: None,
            user: Some(user.into()),
            password: Some(password.into()),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut flags = self.more_flags;
        let mut tail = text(&self.client_id);
        if let Some((topic, payload, qos, retain)) = &self.will {
            flags |= 0x04 | qos << 3 | u8::from(*retain) << 5;
            tail.extend(text(topic));
            tail.extend(text(payload));
        }
        for (bit, part) in [(0x80, &self.user), (0x40, &self.password)] {
            if let Some(part) = part {
                flags |= bit;
                tail.extend(text(part));
            }
        }
        let keepalive = self.keepalive.to_be_bytes();
        frame(0x10, &[&text(&self.protocol)[..], &[self.level, flags], &keepalive, &tail].concat())
    }
}

/// A client that sends what it is told.
pub(crate) struct Raw {
    stream: TcpStream,
}

impl Raw {
    pub(crate) async fn open(to: SocketAddr) -> Self {
        Self { stream: within(TcpStream::connect(to)).await.unwrap() }
    }

    /// With a receive buffer so small that a peer soon notices who does not read.
    pub(crate) async fn open_narrow(to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self { stream: within(socket.connect(to)).await.unwrap() }
    }

    /// Opened, and has sent this.
    pub(crate) async fn saying(to: SocketAddr, bytes: &[u8]) -> Self {
        let mut raw = Self::open(to).await;
        raw.send(bytes).await;
        raw
    }

    /// Let in.
    pub(crate) async fn welcome(to: SocketAddr, connect: &Connect) -> Self {
        let mut raw = Self::saying(to, &connect.bytes()).await;
        raw.expect(&WELCOME).await;
        raw
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        assert!(self.try_send(bytes).await, "the other side is gone");
    }

    /// Sends to a peer that may be gone already.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        within(self.stream.write_all(bytes)).await.is_ok()
    }

    /// Writes as much as the other side takes at once, waiting until it takes any; None when it is gone.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Option<usize> {
        within(self.stream.write(bytes)).await.ok()
    }

    /// Says that nothing more will come; it can still hear.
    pub(crate) async fn half_close(&mut self) {
        // The other side may have closed first.
        let _ = self.stream.shutdown().await;
    }

    /// Leaves by a reset.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Reads exactly these bytes.
    pub(crate) async fn expect(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        within(self.stream.read_exact(&mut got)).await.unwrap();
        assert_eq!(got, bytes);
    }

    /// Reads this packet; messages that come before it go to `heard`.
    pub(crate) async fn expect_besides(&mut self, bytes: &[u8], heard: &mut Vec<Vec<u8>>) {
        let mut packet = self.packet().await.unwrap();
        while message(&packet).is_some() {
            heard.push(packet);
            packet = self.packet().await.unwrap();
        }
        assert_eq!(packet, bytes);
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

    /// Everything until the other side closes. A reset is an end, too: it need not have read all we sent.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = within(self.stream.read_to_end(&mut rest)).await;
        rest
    }
}
