//! Broken connections on the game link: kept, back, taken over, ended.

use std::time::Duration;

use super::*;

impl Pipes {
    /// Waits until so many sessions are without a connection.
    async fn lost(&self, n: u32) {
        let mut snapshots = self.hub.game.watch();
        let waited = tokio::time::timeout(Duration::from_secs(20), snapshots.wait_for(|now| now.lost == n));
        assert!(waited.await.is_ok(), "still {:?}", self.hub.game.snapshot());
    }

    /// A player in game, and its credential.
    async fn enter(&mut self, issued: &Issued) -> (Client<DuplexStream>, String) {
        let mut client = self.join(issued).await;
        let credential = client.way_back().await;
        (client, credential)
    }

    async fn who(client: &mut Client<DuplexStream>) -> Vec<u8> {
        client.say(&ClientFrame::App(WHO.to_vec())).await;
        let Some(ServerFrame::App(names)) = client.hear().await else { panic!("no names") };
        names
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn resume(&mut self, credential: &str) {
        let credential = credential.to_owned();
        let (version, build) = (limits::GAME_LINK_VERSION, "b".to_owned());
        let resume = frames::Resume { version, credential, build, app_data: vec![] };
        self.say(&ClientFrame::Resume(resume)).await;
    }

    async fn way_back(&mut self) -> String {
        match self.hear().await {
            Some(ServerFrame::Reconnect { credential, within_ms: 30_000 }) => credential,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_player_whose_connection_breaks_comes_back_to_its_place() {
    let mut pipes = Pipes::start_with(limits::RECONNECT_GRACE);
    let [ann, bob] = [pipes.hub.issue(1), pipes.hub.issue(2)];
    let (client, first) = pipes.enter(&ann).await;
    let (mut other, _) = pipes.enter(&bob).await;
    drop(client);
    pipes.lost(1).await;
    pipes.hub.until(2, 0, 0).await;
    assert_eq!(Pipes::who(&mut other).await, b"p1\np2", "the world keeps it");

    let mut back = pipes.connect();
    back.resume(&first).await;
    assert_eq!(back.welcomed().await, "p1");
    let second = back.way_back().await;
    pipes.lost(0).await;
    assert_eq!(Pipes::who(&mut back).await, b"p2\np1", "in a slot of a new number, and once");
    assert_eq!((pipes.hub.game.redeemed(), pipes.hub.game.resumed()), (2, 1));

    // What it says first counts as well: both are read before the goodbye is.
    back.say(&ClientFrame::Kept).await;
    back.say(&ClientFrame::Leave).await;
    assert_eq!(back.hear().await, None);
    pipes.hub.until(1, 0, 0).await;
    for spent in [first, second, "nonsense".to_owned()] {
        let mut late = pipes.connect();
        late.resume(&spent).await;
        assert_eq!(late.refused().await, refusal(Code::ReconnectRefused));
    }
    assert_eq!(pipes.hub.game.refused(Code::ReconnectRefused), 3);
}

#[tokio::test]
async fn the_older_connection_is_closed_and_its_end_ends_nothing() {
    let mut pipes = Pipes::start_with(limits::RECONNECT_GRACE);
    let ann = pipes.hub.issue(1);
    let (mut older, first) = pipes.enter(&ann).await;
    let mut newer = pipes.connect();
    newer.resume(&first).await;
    newer.welcomed().await;
    let second = newer.way_back().await;
    newer.say(&ClientFrame::Kept).await;
    let ending = ServerFrame::Ending { code: "connected-elsewhere".into(), save_within_ms: 0 };
    assert_eq!(older.hear().await, Some(ending));
    assert_eq!(older.refused().await, refusal(Code::ConnectedElsewhere));
    assert_eq!(Pipes::who(&mut newer).await, b"p1", "the world was told that it left");
    pipes.hub.until(1, 0, 0).await;
    // A replay gets nothing, and costs nothing.
    let mut replay = pipes.connect();
    replay.resume(&first).await;
    assert_eq!(replay.refused().await, refusal(Code::ReconnectRefused));
    assert_eq!(Pipes::who(&mut newer).await, b"p1");
    drop(newer);
    pipes.lost(1).await;
    let mut back = pipes.connect();
    back.resume(&second).await;
    back.welcomed().await;
}

#[tokio::test]
async fn a_client_that_is_gone_before_the_word_on_its_return_can_still_come_back() {
    let mut pipes = Pipes::start_with(limits::RECONNECT_GRACE);
    let ann = pipes.hub.issue(1);
    let (client, first) = pipes.enter(&ann).await;
    drop(client);
    pipes.lost(1).await;
    for n in 1..=20 {
        let mut gone = pipes.connect();
        gone.resume(&first).await;
        drop(gone);
        let mut snapshots = pipes.hub.game.watch();
        let came = async {
            while pipes.hub.game.resumed() < n {
                snapshots.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), came).await.unwrap();
        pipes.lost(1).await;
    }
    let mut back = pipes.connect();
    back.resume(&first).await;
    assert_eq!(back.welcomed().await, "p1");
    back.way_back().await;
    assert_eq!(Pipes::who(&mut back).await, b"p1");
}

#[tokio::test]
async fn a_lost_player_that_is_kicked_or_given_up_is_saved_and_gone() {
    let mut pipes = Pipes::start_with(limits::RECONNECT_GRACE);
    let [ann, bob, cyd] = [1, 2, 3].map(|who| pipes.hub.issue(who));
    let (client, credential) = pipes.enter(&ann).await;
    let (given_up, _) = pipes.enter(&bob).await;
    let (mut stays, _) = pipes.enter(&cyd).await;
    drop((client, given_up));
    pipes.lost(2).await;
    pipes.hub.end(1, Code::Banned).await;
    pipes.hub.until(2, 0, 0).await;
    let mut back = pipes.connect();
    back.resume(&credential).await;
    assert_eq!(back.refused().await, refusal(Code::Banned), "it is told why");
    assert_eq!(Pipes::who(&mut stays).await, b"p2\np3");
    pipes.hub.clock.advance(limits::RECONNECT_GRACE);
    pipes.hub.until(1, 0, 0).await;
    assert_eq!(Pipes::who(&mut stays).await, b"p3");
}

#[tokio::test]
async fn who_leaves_or_makes_no_sense_has_left_at_once() {
    let mut pipes = Pipes::start_with(limits::RECONNECT_GRACE);
    let bytes = [frames::encode(&ClientFrame::Leave).unwrap(), vec![0xff; 4]];
    for (who, bytes) in (1..).zip(bytes) {
        let issued = pipes.hub.issue(who);
        let (mut client, credential) = pipes.enter(&issued).await;
        client.0.write_all(&bytes).await.unwrap();
        pipes.hub.until(0, 0, 0).await;
        let mut late = pipes.connect();
        late.resume(&credential).await;
        assert_eq!(late.refused().await, refusal(Code::ReconnectRefused));
    }
}

#[tokio::test]
async fn without_a_grace_no_way_back_is_offered() {
    let mut pipes = Pipes::start();
    let ann = pipes.hub.issue(1);
    let mut client = pipes.join(&ann).await;
    assert_eq!(Pipes::who(&mut client).await, b"p1", "the first frame behind the welcome");
}
