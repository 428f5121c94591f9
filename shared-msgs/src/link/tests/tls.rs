//! The link through TLS: a peer that is believed, and those that are not.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use super::peer::{Got, Link, PASSWORD, Peer, lane, soon};
use crate::link::*;
use crate::net::tls::ServerTls;
use crate::net::tls::tests::Pki;

/// Takes TLS off what comes in and passes it on.
struct Front {
    addr: SocketAddr,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Front {
    async fn start(tls: ServerTls, to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, tasks, stop) =
            (listener.local_addr().unwrap(), TaskTracker::new(), CancellationToken::new());
        let (spawn, stopped) = (tasks.clone(), stop.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let (acceptor, stop) = (tls.acceptor(), stopped.clone());
                spawn.spawn(stop.run_until_cancelled_owned(async move {
                    let Ok(mut near) = acceptor.accept(near).await else { return };
                    let mut far = TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }));
            }
        }));
        Self { addr, tasks, stop }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
    }
}

fn trusting(pki: &Pki) -> impl FnOnce(&mut LinkConfig) {
    let client = pki.client();
    |config| config.tls = Some(client)
}

#[tokio::test]
async fn a_link_with_tls_is_a_link_like_any_other() {
    let (pki, peer) = (Pki::new(), Peer::bind());
    let front = Front::start(pki.server("127.0.0.1"), peer.addr).await;
    let mut link = Link::to(&[front.addr], trusting(&pki));
    for _ in 0..2 {
        let mut conn = peer.accept().await;
        assert_eq!(conn.connect.fields[4], PASSWORD.as_bytes());
        conn.connack(0).await;
        conn.suback(&[1, 1]).await;
        link.up().await;
        link.sender.send(lane(0), vec![7; 5_000]).unwrap();
        let Got::Publish { id, payload, .. } = conn.reader.next().await else { panic!("no PUBLISH") };
        assert_eq!(payload.len(), 5_016);
        conn.puback(id).await;
        drop(conn);
        assert!(matches!(link.down().await.0, LinkError::Lost(_)));
    }
    let mut conn = peer.accept().await;
    conn.connack(0).await;
    conn.suback(&[1, 1]).await;
    link.up().await;
    link.stop.cancel();
    assert_eq!(conn.reader.next().await, Got::Disconnect, "the last word goes out, too");
    soon(link.tasks.wait()).await;
}

#[tokio::test]
async fn a_broker_that_is_not_believed_is_told_nothing_and_the_reason_is_named() {
    let (ours, theirs, peer) = (Pki::new(), Pki::new(), Peer::bind());
    let strange = Front::start(theirs.server("127.0.0.1"), peer.addr).await;
    let misnamed = Front::start(ours.server("other.example"), peer.addr).await;
    for (front, reason) in [(&strange, "invalid peer certificate"), (&misnamed, "not valid for name")] {
        let mut link = Link::to(&[front.addr], trusting(&ours));
        let (error, _) = link.down().await;
        assert!(matches!(&error, LinkError::Tls(text) if text.contains(reason)), "{error}");
    }
    // No TLS at all, and nobody there.
    let mut link = Link::to(&[peer.addr], trusting(&ours));
    let (mut stream, _) = soon(peer.listener.accept()).await.unwrap();
    soon(tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        .await
        .unwrap();
    let (error, _) = link.down().await;
    assert!(matches!(error, LinkError::Tls(_)), "{error}");
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut link = Link::to(&[nobody], trusting(&ours));
    let (error, _) = link.down().await;
    assert!(matches!(error, LinkError::Unreachable(_)), "{error}");
}
