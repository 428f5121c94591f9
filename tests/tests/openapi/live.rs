//! What a live hub answers is what the document says.

use std::collections::BTreeSet;

use auth_hub::http::document;
use hub_tests::client::GameClient;
use hub_tests::hub::{PASSWORD, TestHub};
use hub_tests::server::TestServer;
use reqwest::Method;
use serde_json::{Value, json};

use super::{fits, operations, strict};

/// A hub, its document, and what was seen of it.
struct Watched {
    hub: TestHub,
    http: reqwest::Client,
    document: Value,
    seen: BTreeSet<String>,
}

impl Watched {
    async fn start() -> Self {
        let hub = TestHub::start_with(|config| {
            config.throttle.handover_burst = 6;
            config.queue.enabled = true;
        });
        let hub = hub.await.unwrap();
        let http = hub_tests::client::http(None).build().unwrap();
        Self { hub, http, document: document(), seen: BTreeSet::new() }
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        self.http.request(method, format!("http://{}{path}", self.hub.http_addr()))
    }

    /// The path as the document has it.
    fn form(&self, path: &str) -> String {
        let path = path.split('?').next().unwrap();
        let fits = |form: &str| {
            let (parts, forms) = (path.split('/'), form.split('/'));
            parts.clone().count() == forms.clone().count()
                && parts.zip(forms).all(|(part, form)| part == form || form.starts_with('{'))
        };
        let paths = self.document["paths"].as_object().unwrap().keys();
        paths.into_iter().find(|form| fits(form)).unwrap_or_else(|| panic!("no {path}")).clone()
    }

    /// Sends it; whatever comes back must be in the document.
    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Option<Value>,
        bearer: Option<&str>,
    ) -> (u16, Value) {
        let mut request = self.request(method, path);
        request = if let Some(body) = body { request.json(&body) } else { request };
        request = if let Some(bearer) = bearer { request.bearer_auth(bearer) } else { request };
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let form = self.form(path);
        let at = format!("{method} {form} {status}");
        let said = self.document["paths"][&form][method]["responses"].get(status.to_string());
        let said = said.unwrap_or_else(|| panic!("{at}: not in the document")).clone();
        let content = said.get("content").and_then(Value::as_object);
        let Some((media, content)) = content.and_then(|content| content.iter().next()) else {
            assert_eq!(response.text().await.unwrap(), "", "{at}");
            self.seen.insert(format!("{at} "));
            return (status, Value::Null);
        };
        let real = headers["content-type"].to_str().unwrap().split(';').next().unwrap().to_owned();
        assert_eq!(&real, media, "{at}");
        let declared = said["headers"].as_object().unwrap();
        for (name, header) in declared {
            assert!(headers.contains_key(name) || header["required"] != true, "{at}: no {name}");
            if let Some(only) = header["schema"]["const"].as_str() {
                assert_eq!(headers[name.as_str()].to_str().unwrap(), only, "{at}: {name}");
            }
        }
        for name in ["retry-after", "www-authenticate", "allow"] {
            let is_declared = declared.keys().any(|known| known.eq_ignore_ascii_case(name));
            assert!(is_declared || !headers.contains_key(name), "{at}: {name} is not in the document");
        }
        let text = response.text().await.unwrap();
        let value =
            if media.ends_with("json") { serde_json::from_str(&text).unwrap() } else { Value::from(text) };
        fits(&strict(&self.document, &content["schema"]), &value, &at);
        self.seen.insert(format!("{at} {}", value["code"].as_str().unwrap_or_default()));
        (status, value)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_what_the_document_says() {
    let mut it = Watched::start().await;
    for path in ["/servers", "/openapi.json", "/healthz"] {
        it.ask("get", path, None, None).await;
        it.ask("get", path, Some(json!({})), None).await;
    }
    it.hub.ready().await.unwrap();
    assert_eq!(it.ask("get", "/openapi.json", None, None).await.1, it.document);

    let account = |login: &str, password: &str| json!({ "login": login, "password": password });
    for (body, status) in [
        (account("ada", PASSWORD), 201),
        (account("ada", PASSWORD), 409),
        (account("a", PASSWORD), 422),
        (account("bob", "short"), 422),
        (json!({ "login": "bob", "password": PASSWORD, "display_name": "p\u{430}ypal" }), 422),
        (json!({ "login": "bob" }), 422),
        (json!([]), 400),
        (json!("x".repeat(20_000)), 413),
    ] {
        assert_eq!(it.ask("post", "/auth/register", Some(body), None).await.0, status);
    }
    let (status, none) = it.ask("post", "/auth/login", Some(account("ada", PASSWORD)), None).await;
    assert_eq!((status, &none["code"]), (503, &json!("no-server-online")));
    assert_eq!(it.ask("post", "/auth/login", Some(account("ada", "wrong password")), None).await.0, 401);

    let server = TestServer::builder(&it.hub).start().await.unwrap();
    let session = json!({ "login": "ada", "password": PASSWORD, "handover": false });
    assert_eq!(it.ask("post", "/auth/login", Some(session), None).await.1["handover"], Value::Null);
    let (status, reply) = it.ask("post", "/auth/login", Some(account("ada", PASSWORD)), None).await;
    assert_eq!(status, 200);
    let access = reply["access_token"].as_str().unwrap();
    let here = json!({ "server": server.id().as_str() });
    assert_eq!(it.ask("post", "/handover", Some(here), Some(access)).await.0, 200);
    let anywhere = json!({ "regions": ["atlantis", "eu"] });
    assert_eq!(it.ask("post", "/handover", Some(anywhere), Some(access)).await.0, 200, "by fallback");
    let nowhere = json!({ "server": "nowhere" });
    assert_eq!(it.ask("post", "/handover", Some(nowhere), Some(access)).await.0, 404);
    assert_eq!(it.ask("post", "/handover", None, Some("none")).await.0, 401);
    assert_eq!(it.ask("get", "/servers", None, None).await.1["servers"].as_array().unwrap().len(), 1);
    // Six at once, and then one each three seconds.
    let mut last = 200;
    for _ in 0..6 {
        last = it.ask("post", "/handover", None, Some(access)).await.0;
    }
    assert_eq!(last, 429);
    tickets(&mut it).await;
    for (path, method, operation) in operations(&it.document) {
        let success =
            operation["responses"].as_object().unwrap().keys().find(|status| status.starts_with('2'));
        let wanted = format!("{method} {path} {} ", success.unwrap());
        assert!(it.seen.contains(&wanted), "no success seen of {wanted}");
    }
}

/// A server with one slot, and what its queue answers.
async fn tickets(it: &mut Watched) {
    let small = TestServer::builder(&it.hub).max_players(1).start().await.unwrap();
    let here = |login: &str| json!({ "login": login, "password": PASSWORD, "server": small.id().as_str() });
    for login in ["zoe", "joe", "max"] {
        it.hub.register(login).await.unwrap();
    }
    let (_, zoe) = it.ask("post", "/auth/login", Some(here("zoe")), None).await;
    let token = zoe["handover"]["token"].as_str().unwrap();
    let (playing, _) = GameClient::enter(&small.addr(), token).await.unwrap();
    let (status, joe) = it.ask("post", "/auth/login", Some(here("joe")), None).await;
    assert_eq!(status, 202);
    let access = joe["access_token"].as_str();
    let path = format!("/queue/{}", joe["queue"]["ticket"].as_str().unwrap());
    assert_eq!(it.ask("get", &path, None, access).await.0, 202);
    assert_eq!(it.ask("get", &format!("{path}?wait_ms=x"), None, access).await.0, 422);
    assert_eq!(it.ask("get", "/queue/none", None, access).await.0, 404);
    assert_eq!(it.ask("delete", &path, None, None).await.0, 401);
    let (status, max) = it.ask("post", "/auth/login", Some(here("max")), None).await;
    assert_eq!((status, &max["queue"]["position"]), (202, &json!(2)));
    let theirs = max["access_token"].as_str().unwrap();
    let stream = format!("/queue/{}", max["queue"]["ticket"].as_str().unwrap());
    // It ends when the ticket does.
    let events = it.request("get", &format!("{stream}/events")).bearer_auth(theirs).send().await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    it.seen.insert("get /queue/{ticket}/events 200 ".to_owned());
    assert_eq!(it.ask("delete", &stream, None, Some(theirs)).await.0, 204);
    assert!(events.text().await.unwrap().contains("event: gone"));
    drop(playing);
    while it.ask("get", &format!("{path}?wait_ms=5000"), None, access).await.0 == 202 {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_router_has_these_routes_and_methods_and_no_other() {
    let it = Watched::start().await;
    for (path, method, _) in operations(&it.document) {
        let all = it.document["paths"][path].as_object().unwrap();
        for other in ["get", "post", "put", "patch", "delete", "options", "trace"] {
            let response = it.request(other, path).send().await.unwrap();
            let is_refused = response.status().as_u16() == 405;
            assert_eq!(is_refused, !all.contains_key(other), "{other} {path}: {}", response.status());
            if is_refused {
                let allow = response.headers()["allow"].to_str().unwrap().to_uppercase();
                assert!(allow.contains(&method.to_uppercase()), "{other} {path}: {allow}");
                let told = allow.split(',').filter(|allowed| *allowed != "HEAD").count();
                assert_eq!(told, all.len(), "{other} {path}: {allow}");
            }
        }
    }
    for path in [
        "/readyz",
        "/metrics",
        "/docs",
        "/swagger",
        "/openapi",
        "/openapi.yaml",
        "/admin",
        "/auth",
        "/auth/logout",
    ] {
        assert_eq!(it.request("get", path).send().await.unwrap().status().as_u16(), 404, "{path}");
    }
}
