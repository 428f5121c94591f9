//! A whole hub in this process, asked from outside.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

/// Says `text` and reads until the other side closes.
async fn say(address: SocketAddr, text: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Closing on bytes nobody reads is a reset: the end, too.
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_the_broker_and_the_link_count_is_scraped() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    (config.http.listen, config.mqtt.listen) = (anywhere, anywhere);
    (config.operators.listen, config.admin.listen) = (anywhere, anywhere);
    config.database.path = dir.path().join("hub.sqlite");
    config.keys.fleet_key_file = dir.path().join("fleet.key");
    config.admin.key_file = dir.path().join("admin.key");
    (config.passwords.memory_kib, config.passwords.passes) = (64, 1);
    let lifecycle = Lifecycle::new();
    let hub = Hub::bind(config, Environment::default(), &lifecycle).await.unwrap();
    let (http, operators, mqtt) = (hub.http_addr(), hub.operators_addr(), hub.mqtt_addr());
    hub.start(&lifecycle).unwrap();
    say(mqtt, "this is no MQTT at all").await;
    let public = say(http, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(public.starts_with("HTTP/1.1 404"), "{public}");
    let text = say(operators, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    for line in [
        "hub_mqtt_router_alive 1",
        "hub_mqtt_refused_total 1",
        "hub_mqtt_takeovers_total 0",
        "hub_sockets_accepted_total{listener=\"mqtt\"} 1",
        "hub_sockets_turned_away_total{listener=\"http\",reason=\"crowded-out\"} 0",
        "hub_link_waiting 0",
        "hub_link_refused_full_total 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    }
    lifecycle.hard().cancel();
}
