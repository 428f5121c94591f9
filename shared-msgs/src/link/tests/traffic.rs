//! What the link carries: batches, bounds, back-pressure, and a stop that leaves nothing behind.

use tokio::io::AsyncWriteExt as _;

use super::super::outbox::LANE_IN_FLIGHT_MAX;
use super::peer::publish;
use super::*;

/// Whether `wait` is not done yet.
async fn pends(wait: &mut (impl Future<Output = ()> + Unpin)) -> bool {
    tokio::select! {
        biased;
        () = wait => false,
        () = std::future::ready(()) => true,
    }
}

#[tokio::test]
async fn what_waits_for_a_busy_lane_travels_in_one_batch() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |_| {});
    let mut conn = peer.accept_up().await;
    link.up().await;
    let mut ids = Vec::new();
    for n in 0..LANE_IN_FLIGHT_MAX {
        link.sender.send(lane(0), vec![u8::try_from(n).unwrap()]).unwrap();
        let (id, _, batch) = conn.published().await;
        assert_eq!(batch, [u8::try_from(n).unwrap()], "an idle lane sends at once");
        ids.push(id);
    }
    for n in 0..100 {
        link.sender.send(lane(0), vec![n]).unwrap();
    }
    // Another lane is not held up.
    link.sender.send(lane(1), b"other".to_vec()).unwrap();
    assert_eq!(conn.published().await.2, b"other");
    conn.puback(ids[0]).await;
    assert_eq!(conn.published().await.2, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_outbox_refuses_and_loses_nothing_it_took() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |config| config.outbox_messages_max = 10);
    let mut conn = peer.accept_up().await;
    link.up().await;
    let mut ids = Vec::new();
    for _ in 0..LANE_IN_FLIGHT_MAX {
        link.sender.send(lane(0), vec![0xff]).unwrap();
        ids.push(conn.published().await.0);
    }
    for n in 0..10 {
        assert_eq!(link.sender.send(lane(0), vec![n]), Ok(()));
    }
    assert_eq!(link.sender.send(lane(0), vec![10]), Err(SendError::Full));
    assert_eq!((link.sender.refused_full(), link.sender.waiting()), (1, 10));
    assert_eq!(
        link.sender.send(lane(0), vec![0; crate::limits::PAYLOAD_BYTES_MAX]),
        Err(SendError::TooLarge(crate::limits::PAYLOAD_BYTES_MAX))
    );
    conn.puback(ids[0]).await;
    assert_eq!(conn.published().await.2, (0..10).collect::<Vec<_>>());
    assert_eq!(link.sender.send(lane(0), vec![10]), Ok(()));
}

#[tokio::test]
async fn a_flush_ends_with_the_last_acknowledgement() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |_| {});
    let mut conn = peer.accept_up().await;
    link.up().await;
    soon(link.sender.flush()).await;
    link.sender.send(lane(0), b"a".to_vec()).unwrap();
    link.sender.send(lane(1), b"b".to_vec()).unwrap();
    let mut flush = Box::pin(link.sender.flush());
    // Sent later: not waited for.
    link.sender.send(lane(2), b"c".to_vec()).unwrap();
    let ids = [conn.published().await.0, conn.published().await.0, conn.published().await.0];
    conn.puback(ids[1]).await;
    // What comes back proves that the acknowledgement before it was seen.
    conn.write(&publish(&status().to_string(), 1, b"seen")).await;
    assert!(matches!(link.event().await, LinkEvent::Message { .. }));
    assert!(pends(&mut flush).await);
    conn.puback(ids[0]).await;
    soon(flush).await;
}

#[tokio::test]
async fn messages_arrive_whole_and_strangers_are_skipped() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |_| {});
    let mut conn = peer.accept_up().await;
    link.up().await;
    let large: Vec<u8> = (0..=255).cycle().take(crate::limits::PAYLOAD_BYTES_MAX).collect();
    conn.write(&publish("handover/v1/servers/é/status", 1, b"x")).await;
    conn.write(&publish("something/else", 2, b"x")).await;
    conn.write(&publish(&status().to_string(), 3, &large)).await;
    assert_eq!(link.event().await, LinkEvent::Message { topic: status(), payload: large.into() });
    for id in 1..=3 {
        assert_eq!(conn.reader.next().await, Got::PubAck(id));
    }
}

#[tokio::test]
async fn a_slow_owner_slows_the_broker_and_loses_nothing() {
    const MESSAGES: u16 = 400;
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |config| {
        (config.events_max, config.keep_alive) = (2, Duration::from_secs(1));
    });
    let peer::Conn { mut reader, mut writer, .. } = peer.accept_up().await;
    link.up().await;
    let writing = TaskTracker::new();
    let mut written = writing.spawn(async move {
        for n in 1..=MESSAGES {
            let payload = [n.to_be_bytes().as_slice(), &vec![0; 60_000]].concat();
            soon(writer.write_all(&publish(&status().to_string(), n, &payload))).await.unwrap();
        }
        writer
    });
    let acks = writing.spawn(async move {
        let mut acked = 0;
        while acked < MESSAGES {
            acked += u16::from(matches!(reader.next().await, Got::PubAck(_)));
        }
        reader
    });
    // 24 MB fit no socket buffer: the peer cannot finish while nobody takes events. Longer than the watchdog is patient.
    assert!(
        tokio::time::timeout(Duration::from_millis(2500), &mut written).await.is_err(),
        "no back-pressure"
    );
    for n in 1..=MESSAGES {
        match link.event().await {
            LinkEvent::Message { payload, .. } => assert_eq!(payload[..2], n.to_be_bytes()),
            other => panic!("{other:?}"),
        }
    }
    let _open = (soon(written).await.unwrap(), soon(acks).await.unwrap());
    assert!(link.events.try_recv().is_err(), "still up");
}

#[tokio::test]
async fn what_cannot_be_sealed_costs_the_connection() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |_| {});
    let _conn = peer.accept_up().await;
    link.up().await;
    link.sender.send(lane(0), b"unsealable".to_vec()).unwrap();
    assert_eq!(link.down().await.0, LinkError::Session(SessionError::NoKey(lane(0).topic)));
}

#[tokio::test]
async fn a_stop_sends_what_waits_and_says_goodbye() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |_| {});
    let mut conn = peer.accept_up().await;
    link.up().await;
    let mut ids = Vec::new();
    for _ in 0..LANE_IN_FLIGHT_MAX {
        link.sender.send(lane(0), vec![0xff]).unwrap();
        ids.push(conn.published().await.0);
    }
    // These can go only once something is acknowledged.
    for n in 0..50 {
        link.sender.send(lane(0), vec![n]).unwrap();
    }
    link.stop.cancel();
    for id in ids {
        conn.puback(id).await;
    }
    let (id, _, batch) = conn.published().await;
    assert_eq!(batch, (0..50).collect::<Vec<_>>());
    conn.puback(id).await;
    assert_eq!(conn.reader.next().await, Got::Disconnect);
    assert_eq!(conn.reader.next().await, Got::End);
    assert_eq!(soon(link.events.recv()).await, None);
    soon(link.tasks.wait()).await;
    assert_eq!(link.sender.send(lane(0), vec![1]), Err(SendError::NotConnected));
    soon(link.sender.flush()).await;
}

#[tokio::test]
async fn a_stop_is_bounded_and_says_goodbye_even_unacknowledged() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |_| {});
    let mut conn = peer.accept_up().await;
    link.up().await;
    link.sender.send(lane(0), vec![1]).unwrap();
    link.stop.cancel();
    conn.published().await;
    assert_eq!(conn.reader.next().await, Got::Disconnect);
    soon(link.tasks.wait()).await;
}

#[tokio::test]
async fn a_stop_ends_every_other_state_at_once() {
    let peer = Peer::bind();
    // Connecting.
    let link = Link::to(&[peer.addr], |_| {});
    let connecting = peer.accept().await;
    link.stop.cancel();
    soon(link.tasks.wait()).await;
    drop(connecting);
    // Blocked on a slow owner.
    let mut link = Link::to(&[peer.addr], |config| config.events_max = 1);
    let mut conn = peer.accept_up().await;
    for id in 1..=2 {
        conn.write(&publish(&status().to_string(), id, b"x")).await;
        assert_eq!(conn.reader.next().await, Got::PubAck(id));
        if id == 1 {
            link.up().await;
        }
    }
    link.stop.cancel();
    assert_eq!(conn.reader.next().await, Got::Disconnect);
    soon(link.tasks.wait()).await;
    // Backing off.
    let mut link = Link::to(&[peer.addr], |_| {});
    peer.accept().await.connack(5).await;
    link.down().await;
    link.stop.cancel();
    soon(link.tasks.wait()).await;
    // Nobody listens any more.
    let mut link = Link::to(&[peer.addr], |_| {});
    let _conn = peer.accept_up().await;
    link.up().await;
    link.events.close();
    soon(link.tasks.wait()).await;
}
