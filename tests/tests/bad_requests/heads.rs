//! First lines and headers that no client should send, and protocols that are not HTTP/1.
//!
//! What is not HTTP never reaches the hub's own code: such a connection gets a bare status at most, and ends.

use crate::rig::{Expect, Rig, SECRET, head, post};

const BAD: Expect = Expect::Bare(400);
const NOT_FOUND: Expect = Expect::Problem(404, "not-found", "");
const NO_BODY: Expect = Expect::Problem(422, "invalid-request", "has no body");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_and_paths() {
    let rig = Rig::start().await;
    for (line, allow) in [
        ("GET /auth/login", "POST"),
        ("HEAD /auth/register", "POST"),
        ("HEAD /queue/any", "GET,DELETE"),
        ("HEAD /queue/any/events", "GET"),
        ("PUT /handover", "POST"),
        ("OPTIONS /auth/login", "POST"),
        ("POST /servers", "GET,HEAD"),
        ("DELETE /healthz", "GET,HEAD"),
        ("TRACE /servers", "GET,HEAD"),
        ("BREW /servers", "GET,HEAD"),
        ("get /servers", "GET,HEAD"),
    ] {
        let mut raw = rig.connect().await;
        raw.say(&head(&format!("{line} HTTP/1.1"), "")).await;
        let has_body = !line.starts_with("HEAD");
        let reply = raw.reply(has_body).await.unwrap();
        assert_eq!(reply.header("allow"), Some(allow), "{line}");
        let expect =
            if has_body { Expect::Problem(405, "method-not-allowed", "") } else { Expect::Success(405) };
        rig.judge(line, Some(reply), expect).await;
    }
    for path in [
        "/",
        "//",
        "/auth",
        "/auth/login/",
        "//auth/login",
        "/AUTH/LOGIN",
        "/auth%2flogin",
        "/%61uth/login",
        "/auth/./login",
        "/auth/../servers",
        "/..%2f..%2fetc%2fpasswd",
        "/servers%00",
        "/servers%0d%0aSet-Cookie:x",
        "/%ff%fe",
        "/%zz",
        "/servers;x=1",
        "/servers/alpha",
        "/.git/config",
        "/{id}",
        "/*",
        "/index.html",
    ] {
        rig.check(path, &head(&format!("GET {path} HTTP/1.1"), ""), NOT_FOUND).await;
    }
    for line in [
        "GET /servers?",
        "GET /servers?x=1&x=2",
        "GET /servers?%ff=%00&[]=;",
        "GET http://elsewhere/servers",
        "HEAD /servers",
    ] {
        rig.check(line, &head(&format!("{line} HTTP/1.1"), ""), Expect::Success(200)).await;
    }
    rig.check("OPTIONS *", &head("OPTIONS * HTTP/1.1", ""), NOT_FOUND).await;
    rig.check("no slash", &head("GET servers HTTP/1.1", ""), NOT_FOUND).await;
    rig.check("CONNECT", &head("CONNECT elsewhere:443 HTTP/1.1", ""), NOT_FOUND).await;
    for line in ["GET /serv ers HTTP/1.1", "GET HTTP/1.1", "GET /servers\u{7} HTTP/1.1", "/servers"] {
        rig.check(line, &head(line, ""), BAD).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_and_other_protocols() {
    let rig = Rig::start().await;
    rig.check("HTTP/1.0", b"GET /servers HTTP/1.0\r\n\r\n", Expect::Success(200)).await;
    let old = "POST /auth/login HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    rig.check("a body of HTTP/1.0", old.as_bytes(), Expect::Problem(422, "invalid-request", "`login`")).await;
    for line in [
        "GET /servers HTTP/0.9",
        "GET /servers HTTP/1.2",
        "GET /servers HTTP/2",
        "GET /servers HTTP/3.0",
        "GET /servers",
    ] {
        rig.check(line, &head(line, ""), BAD).await;
    }
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    rig.check("HTTP/2", preface, Expect::Closed).await;
    let upgrade =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n";
    rig.check("an upgrade", &head("GET /servers HTTP/1.1", upgrade), Expect::Success(200)).await;
    let hello = [&[0x16, 3, 1, 0, 0xc8, 1, 0, 0, 0xc4, 3, 3][..], &[7; 196]].concat();
    rig.check("TLS", &hello, BAD).await;
    rig.check("MQTT", b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04abcd", BAD).await;
    rig.check("NULs", &[0; 64], BAD).await;
    let mut raw = rig.connect().await;
    raw.finish().await;
    let reply = raw.reply(true).await;
    rig.judge("nothing", reply, Expect::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers() {
    let rig = Rig::start().await;
    let get = |headers: &str| head("GET /servers HTTP/1.1", headers);
    let many = |count: usize| "X-Many: 1\r\n".repeat(count);
    for (name, request, expect) in [
        (
            "a header that is not UTF-8",
            [b"GET /servers HTTP/1.1\r\nHost: hub\r\nX: \xff\xfe\r\n\r\n".to_vec()].concat(),
            Expect::Success(200),
        ),
        ("a header with a NUL", get("X: a\0b\r\n"), BAD),
        ("a header without a colon", get("Nonsense\r\n"), BAD),
        ("a header without a name", get(": x\r\n"), BAD),
        ("a space before the colon", get("X : x\r\n"), BAD),
        ("a folded header", get("X: a\r\n b\r\n"), BAD),
        ("ninety headers", get(&many(90)), Expect::Success(200)),
        ("a thousand headers", get(&many(1_000)), Expect::Bare(431)),
        ("a header of a megabyte", get(&format!("X: {}\r\n", "x".repeat(1 << 20))), Expect::Bare(431)),
        (
            "a path of a megabyte",
            head(&format!("GET /{} HTTP/1.1", "x".repeat(1 << 20)), ""),
            Expect::Bare(431),
        ),
        (
            "a path of 20,000 bytes",
            head(&format!("GET /{} HTTP/1.1", "x".repeat(20_000)), ""),
            Expect::Bare(431),
        ),
        ("a path of 12,000 bytes", head(&format!("GET /{} HTTP/1.1", "x".repeat(12_000)), ""), NOT_FOUND),
        ("an expectation", get("Expect: the-impossible\r\n"), Expect::Success(200)),
        ("a range", get("Range: bytes=0-1,5-\r\n"), Expect::Success(200)),
    ] {
        rig.check(name, &request, expect).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_that_cannot_be() {
    let rig = Rig::start().await;
    let body = "{\"login\":\"healthy\"}";
    let request = |headers: &str| [&head("POST /auth/login HTTP/1.1", headers)[..], body.as_bytes()].concat();
    for headers in [
        "Content-Length: -1\r\n",
        "Content-Length: +19\r\n",
        "Content-Length: 0x13\r\n",
        "Content-Length: 19, 20\r\n",
        "Content-Length: 19\r\nContent-Length: 20\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
    ] {
        rig.check(headers, &request(headers), BAD).await;
    }
    // Both: whoever stands in front may have believed the other one, so the connection ends with the answer.
    for both in [
        "Content-Type: application/json\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    ] {
        let mut raw = rig.connect().await;
        let smuggled = format!("0\r\n\r\nGET /{SECRET} HTTP/1.1\r\nHost: hub\r\n\r\n");
        raw.say(&[&head("POST /auth/login HTTP/1.1", both)[..], smuggled.as_bytes()].concat()).await;
        let reply = raw.reply(true).await;
        rig.judge("a length and chunks", reply, Expect::Problem(422, "invalid-request", "`login`")).await;
        assert!(raw.reply(true).await.is_none(), "the request behind it is not answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_where_none_belongs() {
    let rig = Rig::start().await;
    for path in ["/servers", "/healthz"] {
        for (name, headers) in [("GET", "Content-Length: 2\r\n"), ("GET", "Transfer-Encoding: chunked\r\n")] {
            let request =
                [&head(&format!("{name} {path} HTTP/1.1"), headers)[..], b"2\r\n{}\r\n0\r\n\r\n"].concat();
            rig.check(path, &request, NO_BODY).await;
        }
    }
    for (line, expect) in [
        ("GET /nowhere HTTP/1.1", NOT_FOUND),
        ("GET /auth/login HTTP/1.1", Expect::Problem(405, "method-not-allowed", "")),
    ] {
        let request = [&head(line, "Content-Length: 2\r\n")[..], b"{}"].concat();
        rig.check(line, &request, expect).await;
    }
    rig.check("an empty one", &head("GET /servers HTTP/1.1", "Content-Length: 0\r\n"), Expect::Success(200))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_at_once_on_one_connection() {
    let rig = Rig::start().await;
    let mut raw = rig.connect().await;
    let login = post("/auth/login", format!("{{\"login\":\"healthy\",\"password\":\"{SECRET}\"}}"));
    let get = head("GET /servers HTTP/1.1", "");
    let one: Vec<u8> =
        [&get[..], &login, &post("/auth/login", "{"), &head("GET /nowhere HTTP/1.1", "")].concat();
    raw.say(&one.repeat(10)).await;
    for _ in 0..10 {
        for expect in [200, 401, 400, 404] {
            assert_eq!(raw.reply(true).await.unwrap().status, expect);
        }
    }
    raw.say(&get[..20]).await;
    raw.say(&get[20..]).await;
    let reply = raw.reply(true).await;
    rig.judge("one more", reply, Expect::Success(200)).await;
}
