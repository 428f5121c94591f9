//! Every bound of the protocol, its unit last in its name, and the relations that must hold between them.

use std::time::Duration;

/// Protocol version spoken on the game link.
pub const GAME_LINK_VERSION: u8 = 1;
/// Newest message version this code writes and reads.
pub const MSG_VERSION: u8 = 1;

/// A server id or realm.
pub const NAME_BYTES_MAX: usize = 32;
/// An MQTT payload, sealed.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// One message inside a batch.
pub const MESSAGE_BYTES_MAX: usize = 48 * 1024;
/// A player's display name.
pub const DISPLAY_NAME_BYTES_MAX: usize = 64;
/// A token in its text form.
pub const TOKEN_TEXT_BYTES_MAX: usize = 80;
/// A reconnect credential in its text form.
pub const CREDENTIAL_TEXT_BYTES_MAX: usize = 80;
/// What a client may hand the game with its hello.
pub const APP_DATA_BYTES_MAX: usize = 1024;
/// A client's build name.
pub const BUILD_BYTES_MAX: usize = 64;
/// What an operator says to players at once.
pub const NOTICE_BYTES_MAX: usize = 512;
/// For so long a hub sends a notice again to a server that has not answered it.
pub const NOTICE_LIFE: Duration = Duration::from_secs(30);
/// One frame of the game link, its 4-byte length not counted.
pub const FRAME_BYTES_MAX: usize = 4096;
/// Endpoints in a status.
pub const ENDPOINTS_MAX: usize = 4;
/// One endpoint's address.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// Labels of one game server.
pub const LABELS_MAX: usize = 16;
/// One label.
pub const LABEL_BYTES_MAX: usize = 32;
/// What a game server tells players of the moment.
pub const STATUS_MESSAGE_BYTES_MAX: usize = 256;
/// Entries on one roster page.
pub const ROSTER_PAGE_ENTRIES_MAX: usize = 500;
/// Players that one game server may host; bounds its roster, and so the hub's memory.
pub const PLAYERS_PER_SERVER_MAX: u32 = 20_000;
/// Hashes that one `end` may name.
pub const END_HASHES_MAX: usize = 64;
/// Probe echoes in a status: one per hub.
pub const PROBE_ECHOES_MAX: usize = 64;
/// Streams of one server id that a hub keeps replay windows for.
pub const STREAMS_PER_SERVER_MAX: usize = 8;
/// Hub streams that a game server keeps replay windows for.
pub const HUB_STREAMS_MAX: usize = 64;
/// Closed token hashes a game server remembers; at the bound new grants are refused, none is forgotten.
pub const CLOSED_MARKS_MAX: usize = 1 << 17;
/// Least number of parked clients a game server allows, however few players it hosts.
pub const PARKED_MIN: u32 = 64;
/// What a player may take along to the next server.
pub const LUGGAGE_BYTES_MAX: usize = 16 * 1024;
/// Luggage in all that a hub or a game server keeps at a time.
pub const LUGGAGE_BYTES_TOTAL_MAX: usize = 64 * 1024 * 1024;
/// Regions that a move may name.
pub const MOVE_REGIONS_MAX: usize = 8;
/// Handovers of one account that may wait behind the running one.
pub const WAITING_PER_ACCOUNT_MAX: usize = 4;

/// A game server's regular status.
pub const STATUS_BEAT: Duration = Duration::from_secs(2);
/// A server is eligible while the newest probe it echoed was sent less than this ago.
pub const LEASE: Duration = Duration::from_secs(6);
/// Two machines' wall clocks may be this far apart.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(30);
/// A token, and the grant for it.
pub const TOKEN_LIFE: Duration = Duration::from_secs(90);
/// How long a client waits for its grant.
pub const PARK_TIME: Duration = Duration::from_secs(10);
/// How long a closed hash or a player's floor is remembered, from receipt.
pub const CLOSED_LIFE: Duration = TOKEN_LIFE.saturating_add(CLOCK_SKEW_MAX.saturating_mul(2));
/// How long the hub waits for a grant's answer before it answers the client all the same.
pub const CONFIRM_WAIT: Duration = Duration::from_millis(250);
/// First re-send of an unanswered message; doubles up to [`RESEND_MAX`].
pub const RESEND_FIRST: Duration = Duration::from_millis(500);
/// Longest pause between re-sends.
pub const RESEND_MAX: Duration = Duration::from_secs(4);
/// A client must say hello within this.
pub const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// A freshly started hub holds logins at most this long for its fleet to come back.
pub const COLD_HOLD: Duration = Duration::from_secs(2);
/// What a kicked session gets to save.
pub const SAVE_TIME: Duration = Duration::from_secs(4);
/// How long a game server keeps the slot of a player whose connection broke, unless it is set otherwise.
pub const RECONNECT_GRACE: Duration = Duration::from_secs(30);
/// The longest that may be set: such a slot is nobody else's.
pub const RECONNECT_GRACE_MAX: Duration = Duration::from_mins(10);
/// A login is answered within this.
pub const LOGIN_DEADLINE: Duration = Duration::from_secs(15);
/// Statuses sent on change are at least this far apart.
pub const STATUS_GAP_MIN: Duration = Duration::from_millis(100);
/// A fence further ahead of our clock than this is refused.
pub const FENCE_AHEAD_MAX: Duration = Duration::from_mins(10);
/// How far ahead a hub stores its clock ceiling.
pub const FENCE_CEILING_AHEAD: Duration = Duration::from_secs(30);
/// First and longest pause between attempts to reach a broker.
pub const RECONNECT_FIRST: Duration = Duration::from_millis(50);
/// See [`RECONNECT_FIRST`].
pub const RECONNECT_MAX: Duration = Duration::from_secs(1);

const fn ms(of: Duration) -> u128 {
    of.as_millis()
}

const _: () = {
    assert!(ms(LEASE) >= 3 * ms(STATUS_BEAT), "two lost beats must not end a lease");
    assert!(ms(SAVE_TIME) + 1000 < ms(LEASE), "a kick must be over while the hub still waits for it");
    assert!(ms(CLOSED_LIFE) >= ms(TOKEN_LIFE) + 2 * ms(CLOCK_SKEW_MAX), "a mark must outlive its token");
    assert!(ms(PARK_TIME) < ms(TOKEN_LIFE), "a parked client must outwait less than its token");
    assert!(ms(TOKEN_LIFE) > 2 * ms(CLOCK_SKEW_MAX), "a skewed clock must leave the token some life");
    assert!(ms(CONFIRM_WAIT) < ms(RESEND_FIRST), "the client is answered before the first re-send");
    assert!(2 * ms(LEASE) < ms(LOGIN_DEADLINE), "a login outlives one silent server and one slow end");
    assert!(ms(PARK_TIME) > ms(CONFIRM_WAIT) + 2 * ms(RESEND_FIRST), "a parked client sees two re-sends");
    assert!(MESSAGE_BYTES_MAX + 1024 < PAYLOAD_BYTES_MAX, "a message with its envelope fits a payload");
    assert!(ROSTER_PAGE_ENTRIES_MAX * 80 < MESSAGE_BYTES_MAX, "a full roster page fits a message");
    assert!(
        APP_DATA_BYTES_MAX + BUILD_BYTES_MAX + TOKEN_TEXT_BYTES_MAX + 64 < FRAME_BYTES_MAX,
        "a hello fits"
    );
    assert!(NOTICE_BYTES_MAX + 64 < FRAME_BYTES_MAX, "a notice fits a frame");
    assert!(LUGGAGE_BYTES_MAX + 1024 < MESSAGE_BYTES_MAX, "a grant or a move with luggage fits a message");
    assert!(CREDENTIAL_TEXT_BYTES_MAX <= TOKEN_TEXT_BYTES_MAX, "where a hello fits, a resume does");
    assert!(ms(RECONNECT_GRACE) <= ms(RECONNECT_GRACE_MAX), "the default may be set");
    assert!(PARKED_MIN >= 64, "small servers park too");
};
