//! Passwords and tokens in requests to the hub: where they belong, and wherever else a client may put them by mistake.

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hub_tests::client;
use hub_tests::site::PATIENCE;
use reqwest::{Method, header};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::hunt::Hunt;
use crate::rig::Stage;

/// The strangest letters that a password may have, and some that every encoding changes.
const ODD: &str = "pa\"ss\\wörd 100% <&> ?~";

/// A request to the hub, and what it is answered with.
struct Odd {
    method: Method,
    path: String,
    header: Option<(header::HeaderName, String)>,
    body: String,
    status: u16,
}

#[expect(clippy::needless_pass_by_value, reason = "a table is easier to read without references")]
fn odd(status: u16, path: impl Into<String>, body: impl ToString) -> Odd {
    Odd { method: Method::POST, path: path.into(), header: None, body: body.to_string(), status }
}

fn bearing(status: u16, authorization: String) -> Odd {
    Odd { header: Some((header::AUTHORIZATION, authorization)), ..odd(status, "/handover", "{}") }
}

/// Everybody's passwords, where they belong and where they do not.
fn odd_requests(hunt: &mut Hunt) -> anyhow::Result<Vec<Odd>> {
    let long =
        (0..20).fold(String::new(), |text, n| text + &hunt.make(&format!("piece {n} of the long one")));
    for n in 0..20 {
        hunt.spend(&format!("piece {n} of the long one"));
    }
    hunt.keep("an over-long password", &long);
    hunt.keep("an odd password", ODD);
    for name in [
        "a wrong password",
        "in a torn body",
        "of a wrong type",
        "as login",
        "as display name",
        "as member",
        "as server",
        "as region",
        "in a query",
        "in a path",
        "as a file",
        "as Basic",
        "as Bearer",
        "as a cookie",
        "as a content type",
        "of nobody",
        "in a plain body",
        "as a method",
        "as host",
        "a new password",
        "twice",
        "as a forwarded address",
    ] {
        hunt.make(name);
    }
    let mut secret = |name: &str| hunt.spend(name);
    let login = |login: &str, password: String| json!({ "login": login, "password": password });
    let long = secret("an over-long password");
    let basic = STANDARD.encode(format!("ada:{}", secret("as Basic")));
    let text = |header, value: String, asked: Odd| Odd { header: Some((header, value)), ..asked };
    let get = |status, path: String| Odd { method: Method::GET, ..odd(status, path, "") };
    Ok(vec![
        odd(201, "/auth/register", login("bob", secret("a new password"))),
        odd(201, "/auth/register", login("odd", secret("an odd password"))),
        odd(200, "/auth/login", login("odd", secret("an odd password"))),
        odd(409, "/auth/register", login("bob", secret("twice"))),
        odd(422, "/auth/register", login("cyd", long.clone())),
        odd(401, "/auth/login", login("ada", long)),
        odd(401, "/auth/login", login("ada", secret("a wrong password"))),
        odd(401, "/auth/login", login("nobody", secret("of nobody"))),
        odd(400, "/auth/login", format!("{{\"login\":\"ada\",\"password\":\"{}\"", secret("in a torn body"))),
        odd(422, "/auth/login", json!({ "login": "ada", "password": [secret("of a wrong type")] })),
        odd(401, "/auth/login", login(&secret("as login"), secret("a wrong password"))),
        odd(
            422,
            "/auth/register",
            json!({ "login": "dee", "password": "long enough", "display_name": format!("{}{}", secret("as display name"), "\u{200b}") }),
        ),
        odd(422, "/auth/login", json!({ "login": "ada", "password": "wrong", secret("as member"): 1 })),
        odd(
            422,
            "/auth/login",
            json!({ "login": "ada", "password": "wrong", "server": secret("as server").to_uppercase() + "!" }),
        ),
        odd(
            401,
            "/auth/login",
            json!({ "login": "ada", "password": "wrong", "region": secret("as region") }),
        ),
        odd(401, format!("/auth/login?password={}", secret("in a query")), login("ada", "wrong".to_owned())),
        odd(404, format!("/auth/{}", secret("in a path")), "{}"),
        get(404, format!("/{}/.env?x#y", secret("as a file"))),
        get(200, format!("/servers?token={}", secret("in a query"))),
        bearing(401, format!("Basic {basic}")),
        bearing(401, format!("Bearer {}", secret("as Bearer"))),
        text(header::COOKIE, format!("session={}", secret("as a cookie")), odd(401, "/handover", "{}")),
        text(
            header::FORWARDED,
            format!("for={}", secret("as a forwarded address")),
            odd(401, "/handover", "{}"),
        ),
        text(
            header::CONTENT_TYPE,
            format!("text/{}", secret("as a content type")),
            odd(415, "/auth/login", "{}"),
        ),
        Odd {
            method: Method::from_bytes(secret("as a method").to_uppercase().as_bytes())?,
            ..odd(405, "/auth/login", "")
        },
    ])
}

/// Sends them, and what is no request and no TLS.
pub(super) async fn ask_oddly(stage: &Stage, hunt: &mut Hunt) -> anyhow::Result<()> {
    let requests = odd_requests(hunt)?;
    let mut secret = |name: &str| hunt.spend(name);
    let trust = stage.trust()?.context("no TLS")?;
    let http = client::http(Some(&trust)).timeout(PATIENCE).build()?;
    for Odd { method, path, header, body, status } in requests {
        let url = format!("https://localhost:{}{path}", stage.hub.http.port());
        let request = http.request(method, url).body(body).header(header::CONTENT_TYPE, "application/json");
        let request = header.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let request = request.build()?;
        let shown = format!("{} {}", request.method(), request.url());
        let answer = http.execute(request).await?.status().as_u16();
        ensure!(answer == status, "{shown}: {answer}, not {status}");
    }
    let torn = format!("POST /{} HTTP/9.9\r\nhost: {}\r\n\r\n", secret("in a path"), secret("as host"));
    tell(stage, stage.hub.http.port(), torn.as_bytes()).await?;
    let plain = format!("POST /auth/login HTTP/1.1\r\n\r\n{}", secret("in a plain body"));
    for port in [stage.hub.http.port(), stage.hub.mqtt.port(), stage.alpha.game.port()] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(plain.as_bytes()).await?;
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await?;
    }
    Ok(())
}

/// Says something through TLS and waits for the end of the connection, or what is said first.
pub(super) async fn tell(stage: &Stage, port: u16, bytes: &[u8]) -> anyhow::Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut stream = stage.trust()?.context("no TLS")?.connect("localhost", stream).await?;
    stream.write_all(bytes).await?;
    stream.flush().await?;
    let mut answer = [0; 64];
    // A reset is an end as well.
    let _ = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await?;
    Ok(())
}
