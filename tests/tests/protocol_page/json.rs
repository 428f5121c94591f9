//! The page's JSON against the answers of a hub in this process: members and types, and the words of problems.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use auth_hub::config::Config;
use auth_hub::hub::{Environment, Hub};
use hub_tests::events;
use serde_json::Value;
use shared_msgs::messages::Endpoint;
use shared_msgs::process::Lifecycle;

use super::{blocks, page, samples};

const PATIENCE: Duration = Duration::from_secs(30);

/// Where two documents differ in members or types; texts and numbers of problems count as well.
fn differences(at: &str, page: &Value, real: &Value, out: &mut Vec<String>) {
    match (page, real) {
        (Value::Object(page), Value::Object(real)) => {
            let missing = real.keys().filter(|key| !page.contains_key(*key));
            out.extend(missing.map(|key| format!("{at}/{key}: the page lacks it")));
            for (key, value) in page {
                match real.get(key) {
                    Some(real) => differences(&format!("{at}/{key}"), value, real, out),
                    None => out.push(format!("{at}/{key}: only on the page")),
                }
            }
        }
        (Value::Array(page), Value::Array(real)) => match (page.first(), real.first()) {
            (Some(page), Some(real)) => differences(&format!("{at}/0"), page, real, out),
            _ => out.push(format!("{at}: an empty list shows nothing")),
        },
        _ if std::mem::discriminant(page) != std::mem::discriminant(real) => {
            out.push(format!("{at}: {page} on the page, another type in truth"));
        }
        _ => {
            let exact = ["type", "title", "status", "code", "detail", "retry_after_s", "state"];
            let (is_problem, key) = (at.starts_with("problem"), at.rsplit('/').next().unwrap());
            if is_problem && exact.contains(&key) && page != real {
                out.push(format!("{at}: {page} on the page, {real} in truth"));
            }
        }
    }
}

/// The page's JSON against a hub in this process.
struct Reality {
    base: String,
    http: reqwest::Client,
    json: BTreeMap<String, Value>,
    unseen: Vec<String>,
    wrong: Vec<String>,
}

impl Reality {
    fn new(base: String) -> Self {
        let page = page();
        let read = |(name, range): (&str, std::ops::Range<usize>)| {
            (
                name.to_owned(),
                serde_json::from_str(&page[range]).unwrap_or_else(|err| panic!("{name}: {err}")),
            )
        };
        let json: BTreeMap<String, Value> = blocks(&page, "json").into_iter().map(read).collect();
        let unseen = json.keys().cloned().collect();
        let http = hub_tests::client::http(None).timeout(PATIENCE).build().unwrap();
        Self { base, http, json, unseen, wrong: Vec::new() }
    }

    fn shown(&mut self, name: &str) -> Value {
        self.unseen.retain(|unseen| unseen != name);
        self.json.get(name).unwrap_or_else(|| panic!("the page has no {name}")).clone()
    }

    /// Sends a request and compares the answer with what the page shows under this name.
    async fn check(&mut self, request: reqwest::RequestBuilder, status: u16, reply: &str) -> Value {
        let response = request.send().await.unwrap();
        let (got, kind) = (response.status().as_u16(), response.headers()["content-type"].clone());
        let real: Value = response.json().await.unwrap();
        assert_eq!(got, status, "{reply}: {real}");
        assert_eq!(kind.to_str().unwrap().starts_with("application/problem+json"), status >= 400, "{reply}");
        let page = self.shown(reply);
        differences(reply, &page, &real, &mut self.wrong);
        real
    }

    fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http.post(format!("{}{path}", self.base)).json(body)
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}{path}", self.base))
    }
}

fn hub_config(dir: &Path) -> Config {
    let mut config = Config::default();
    config.http.listen = "127.0.0.1:0".parse().unwrap();
    config.mqtt.listen = "127.0.0.1:0".parse().unwrap();
    config.operators.listen = "127.0.0.1:0".parse().unwrap();
    config.admin.listen = "127.0.0.1:0".parse().unwrap();
    config.admin.key_file = dir.join("admin.key");
    config.database.path = dir.join("hub.sqlite");
    config.keys.fleet_key_file = dir.join("fleet.key");
    (config.passwords.memory_kib, config.passwords.passes) = (64, 1);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_on_the_page_is_the_hubs() {
    let mark = events::log().mark();
    let dir = tempfile::tempdir().unwrap();
    let lifecycle = Lifecycle::new();
    let config = hub_config(dir.path());
    let hub = Hub::bind(config.clone(), Environment::default(), &lifecycle).await.unwrap();
    let (base, mqtt) = (format!("http://{}", hub.http_addr()), hub.mqtt_addr());
    let operators = format!("http://{}", hub.operators_addr());
    hub.start(&lifecycle).unwrap();
    let mut it = Reality::new(base);

    let body = it.shown("register-request");
    it.check(it.post("/auth/register", &body), 201, "register-reply").await;
    let login = it.shown("login-request");
    it.check(it.post("/auth/login", &login), 503, "problem-no-server-online").await;
    let mut wrong = login.clone();
    wrong["password"] = "wrong password".into();
    it.check(it.post("/auth/login", &wrong), 401, "problem-invalid-credentials").await;
    it.check(it.post("/auth/login", &serde_json::json!({})), 422, "problem-invalid-request").await;

    let fleet =
        shared_msgs::keys::FleetKeys::parse(&fs::read_to_string(&config.keys.fleet_key_file).unwrap());
    let key = fleet.unwrap().server_key(&samples::server(), 1);
    let endpoint = Endpoint { transport: "tcp".into(), address: "127.0.0.1:7000".into() };
    let mut config = game_server::Config::new(key, vec![mqtt.to_string().parse().unwrap()], vec![endpoint]);
    (config.name, config.region, config.build) = ("Alpha".into(), "eu".into(), "1.2.3".into());
    config.max_players = 1;
    config.labels = ["pvp", "mode=ranked"].map(String::from).into();
    config.message = "Season 2 starts at 20:00".into();
    let (game, _events) = game_server::GameServer::start(config).unwrap();
    events::log().wait(mark, "server.eligible", &[("server_id", "alpha")]).await;

    let reply = it.check(it.post("/auth/login", &login), 200, "login-reply").await;
    let access = reply["access_token"].as_str().unwrap();
    let body = it.shown("handover-request");
    it.check(it.post("/handover", &body).bearer_auth(access), 200, "handover-reply").await;
    // The one slot is ada's.
    let bob = serde_json::json!({ "login": "bob", "password": "correct horse" });
    it.post("/auth/register", &bob).send().await.unwrap();
    let waits: Value = it.post("/auth/login", &bob).send().await.unwrap().json().await.unwrap();
    let (bobs, ticket) =
        (waits["access_token"].as_str().unwrap(), waits["queue"]["ticket"].as_str().unwrap());
    it.check(it.get(&format!("/queue/{ticket}")).bearer_auth(bobs), 202, "queue-reply").await;
    it.check(it.get("/servers"), 200, "servers-reply").await;
    it.check(it.get("/healthz"), 200, "healthz-reply").await;
    it.base = operators;
    it.check(it.get("/readyz"), 200, "readyz-reply").await;
    assert_eq!(it.get("/metrics").send().await.unwrap().status().as_u16(), 200);

    game.shutdown().await;
    lifecycle.soft().cancel();
    lifecycle.run_to_end(PATIENCE).await;
    assert!(it.wrong.is_empty(), "the page and the hub differ:\n  {}", it.wrong.join("\n  "));
    assert!(it.unseen.is_empty(), "JSON on the page that nothing checks: {:?}", it.unseen);
}
