//! Other people's MQTT clients as game servers: Mosquitto's and paho, within the subset of `docs/PROTOCOL.md`.
//!
//! Needs mosquitto_pub and mosquitto_sub in the path and paho-mqtt in the Python that PAHO_PYTHON names; without them it fails. `.ci/run`
//! installs both. Invariant: what these clients get is opened here with the server's key, so it is what the hub sent, whole.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hub_tests::hub::TestHub;
use hub_tests::rogue::RogueServer;
use shared_msgs::clock::{Clock as _, SystemClock};
use shared_msgs::codec;
use shared_msgs::envelope::Opener;
use shared_msgs::ids::ServerId;
use shared_msgs::keys::{Purpose, ServerKey};
use shared_msgs::limits;
use shared_msgs::messages::{HubMessage, Order};
use shared_msgs::topics::Topic;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const ALPHA: &str = "alpha";

const REFUSED: &str = "hub_payloads_refused_total";

struct Outcome {
    success: bool,
    out: String,
    err: String,
}

/// Runs a program to its end, with this on its standard input.
async fn run(program: impl Into<OsString>, args: &[&str], input: &[u8]) -> Outcome {
    let program = program.into();
    let child = Command::new(&program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let mut stdin = child.stdin.take().unwrap();
    // A program that ends without reading is judged by how it ends.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    let output = tokio::time::timeout(Duration::from_secs(40), child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{} {args:?} does not end", program.display())).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome { success: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
}

struct Site {
    hub: TestHub,
    key: ServerKey,
}

impl Site {
    async fn start() -> Self {
        let hub = TestHub::start().await.unwrap();
        hub.ready().await.unwrap();
        let key = hub.server_key(&id()).unwrap().parse().unwrap();
        Self { hub, key }
    }

    /// One of Mosquitto's clients, as the server alpha would run it.
    async fn mosquitto(&self, program: &str, password: &str, args: &[&str], input: &[u8]) -> Outcome {
        let port = self.hub.mqtt_addr().port().to_string();
        let login = ["-h", "127.0.0.1", "-p", &port, "-V", "mqttv311", "-i", "gs-alpha", "-u", ALPHA];
        run(program, &[&login[..], &["-P", password, "-q", "1"], args].concat(), input).await
    }

    fn password(&self) -> String {
        self.key.mqtt_password().to_string()
    }

    /// A status that this server might send, sealed.
    async fn status(&self) -> Vec<u8> {
        let mut server = RogueServer::connect(&self.hub, &id()).await.unwrap();
        let batch = codec::encode(&server.status(None)).unwrap();
        let now = server.now();
        server.seal(Purpose::Status, now, &batch).unwrap()
    }

    /// The hub's messages in a payload of alpha's inbox: they open, and one is a probe.
    fn assert_probe(&self, payload: &[u8]) {
        let topic = Topic::Inbox(id());
        let now = SystemClock::new().now().unix;
        let mut opener = Opener::new(limits::HUB_STREAMS_MAX);
        let key = |name| (name == self.key.name()).then(|| self.key.clone());
        let message = opener.open(&topic, &[Purpose::Inbox], payload, now, key).unwrap();
        let messages = codec::decode::<HubMessage>(&message.batch).unwrap().messages;
        let is_probe = |HubMessage::Order { order, .. }: &HubMessage| matches!(order, Order::Probe { .. });
        assert!(messages.iter().any(is_probe), "{messages:?}");
    }

    /// Waits until the hub has refused this many payloads: they came from a client that cannot seal, and they arrived.
    async fn refused(&self, payloads: u64) {
        let arrived = async { while self.hub.metric(REFUSED).await.unwrap() != payloads {} };
        tokio::time::timeout(Duration::from_secs(20), arrived).await.expect("they do not arrive");
    }
}

fn id() -> ServerId {
    ALPHA.parse().unwrap()
}

fn topic(of: &str) -> String {
    format!("handover/v1/servers/alpha/{of}")
}

fn from_hex(text: &str) -> Vec<u8> {
    let nibble = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    text.as_bytes().chunks_exact(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_s_clients_publish_and_receive() {
    let site = Site::start().await;
    let password = site.password();
    let (status, events, inbox) = (topic("status"), topic("events"), topic("inbox"));
    for (of, payloads) in [(&status, 1), (&events, 2)] {
        let sent = site.mosquitto("mosquitto_pub", &password, &["-t", of, "-m", "not sealed"], b"").await;
        assert!(sent.success, "{}", sent.err);
        site.refused(payloads).await;
    }
    // A genuine one, by its hand: from now on the hub probes alpha at each beat.
    let sealed = site.status().await;
    let sent = site.mosquitto("mosquitto_pub", &password, &["-t", &status, "-s"], &sealed).await;
    assert!(sent.success, "{}", sent.err);
    let listen = ["-t", &inbox, "-C", "1", "-W", "20", "-F", "%t %q %r %x"];
    let heard = site.mosquitto("mosquitto_sub", &password, &listen, b"").await;
    assert!(heard.success, "{} {}", heard.out, heard.err);
    let payload = heard.out.trim().strip_prefix(&format!("{inbox} 1 0 ")).unwrap_or_default();
    site.assert_probe(&from_hex(payload));
    assert_eq!(site.hub.metric(REFUSED).await.unwrap(), 2, "the genuine one was not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_s_clients_are_told_what_they_may_not() {
    let site = Site::start().await;
    let password = site.password();
    let wrong = site.mosquitto("mosquitto_pub", "1.1.wrong", &["-t", &topic("events"), "-m", "x"], b"").await;
    assert!(!wrong.success && wrong.err.contains("Connection Refused"), "{}", wrong.err);
    let (events, inbox) = (topic("events"), topic("inbox"));
    for (program, args, said) in [
        ("mosquitto_pub", &["-t", "handover/v1/servers/beta/events", "-m", "x"][..], "connection was lost"),
        ("mosquitto_pub", &["-t", &events, "-m", "x", "-r"], "connection was lost"),
        ("mosquitto_pub", &["-t", &events, "-m", "x", "-q", "2"], "connection was lost"),
        ("mosquitto_pub", &["-t", &events, "-n"], "connection was lost"),
        ("mosquitto_sub", &["-t", "#", "-W", "20"], "denied"),
        ("mosquitto_sub", &["-t", "$SYS/#", "-W", "20"], "denied"),
        ("mosquitto_sub", &["-t", "$share/g/handover/v1/servers/+/status", "-W", "20"], "denied"),
        ("mosquitto_sub", &["-t", &inbox, "-k", "61", "-W", "20"], "Connection Refused"),
        ("mosquitto_sub", &["-t", &inbox, "-c", "-W", "20"], "Connection Refused"),
    ] {
        let outcome = site.mosquitto(program, &password, args, b"").await;
        assert!(outcome.err.contains(said) && outcome.out.is_empty(), "{program} {args:?}: {}", outcome.err);
    }
    assert_eq!(site.hub.metric(REFUSED).await.unwrap(), 0, "nothing of it arrived");
}

/// Given the key line that `auth-hub server-key` prints, and no more: the password is derived over there, by the page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paho_subscribes_publishes_and_receives_on_one_connection() {
    let site = Site::start().await;
    let python = std::env::var_os("PAHO_PYTHON").unwrap_or_else(|| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/paho_client.py");
    let port = site.hub.mqtt_addr().port().to_string();
    let key_line = site.hub.server_key(&id()).unwrap();
    let sealed = site.status().await;
    let outcome = run(python, &[script.to_str().unwrap(), &port, key_line.as_str()], &sealed).await;
    assert!(outcome.success, "{}{}", outcome.out, outcome.err);
    let lines: Vec<&str> = outcome.out.lines().collect();
    let [granted, unsealed, sealed, message] = lines.as_slice() else { panic!("{}", outcome.out) };
    assert_eq!((*granted, *unsealed, *sealed), ("granted 1 128", "acknowledged", "acknowledged"));
    let payload = message.strip_prefix(&format!("{} 1 ", topic("inbox"))).unwrap_or_default();
    site.assert_probe(&from_hex(payload));
    site.refused(1).await;
}
