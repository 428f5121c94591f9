//! Bodies that are not what the route reads.

use crate::rig::{Expect, Rig, SECRET, head, post, post_as};

const LOGIN: &str = "/auth/login";
const REGISTER: &str = "/auth/register";

const MALFORMED: Expect = Expect::Problem(400, "malformed-request", "");

const fn invalid(detail: &'static str) -> Expect {
    Expect::Problem(422, "invalid-request", detail)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_json_object() {
    let rig = Rig::start().await;
    let good = good();
    let cases: Vec<(&str, &str, Vec<u8>, Expect)> = vec![
        ("half a document", LOGIN, format!("{{\"login\":\"a\",\"password\":\"{SECRET}").into(), MALFORMED),
        ("two documents", LOGIN, format!("{{{good}}} {{{good}}}").into(), MALFORMED),
        ("a comma too many", LOGIN, with("").into(), MALFORMED),
        ("a comment", LOGIN, format!("{{{good}}} // {SECRET}").into(), MALFORMED),
        ("single quotes", LOGIN, format!("{{'password': '{SECRET}'}}").into(), MALFORMED),
        ("a byte order mark", LOGIN, format!("\u{feff}{{{good}}}").into(), MALFORMED),
        ("only spaces", LOGIN, "  \n".into(), MALFORMED),
        ("a list", LOGIN, format!("[{{{good}}}]").into(), MALFORMED),
        ("a text", LOGIN, format!("\"{SECRET}\"").into(), MALFORMED),
        ("a number", LOGIN, "42".into(), MALFORMED),
        ("null", LOGIN, "null".into(), MALFORMED),
        ("a number that is none", LOGIN, with("\"region\":NaN").into(), MALFORMED),
        ("a number beyond all", LOGIN, with("\"region\":1e999").into(), MALFORMED),
        ("a raw control character", LOGIN, b"{\"login\":\"a\x00b\"}".to_vec(), MALFORMED),
        ("half a surrogate", LOGIN, with("\"region\":\"\\ud800\"").into(), MALFORMED),
        (
            "not UTF-8",
            LOGIN,
            b"{\"login\":\"\xff\xfe\"}".to_vec(),
            Expect::Problem(400, "malformed-request", "UTF-8"),
        ),
        (
            "not UTF-8 where nobody looks",
            LOGIN,
            b"{\"x\":\"\xc3\x28\"}".to_vec(),
            Expect::Problem(400, "malformed-request", "UTF-8"),
        ),
        ("UTF-16", LOGIN, b"{\0\"\0}\0".to_vec(), MALFORMED),
        ("form fields", LOGIN, format!("login=healthy&password={SECRET}").into(), MALFORMED),
        ("lists without an end", LOGIN, "[".repeat(16_000).into(), MALFORMED),
        ("objects without an end", LOGIN, "{\"login\":".repeat(1_700).into(), MALFORMED),
    ];
    all(&rig, cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_are_not_the_routes() {
    let rig = Rig::start().await;
    let nested = |depth: usize, inner: &str| format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
    let known = "known are `login`, `password`, `server`, `region`, `regions`, `latencies`, `labels`, `sticky`, `party`, `party_size`, `handover`, `build`";
    let cases: Vec<(&str, &str, Vec<u8>, Expect)> = vec![
        (
            "a deep list for a text",
            LOGIN,
            with(&format!("\"region\":{}", nested(7_000, ""))).into(),
            invalid("`region` must be a text"),
        ),
        (
            "a deep list in a list of texts",
            LOGIN,
            with(&format!("\"regions\":[\"eu\",{}]", nested(7_000, &format!("\"{SECRET}\"")))).into(),
            invalid("`regions` must be a list of texts"),
        ),
        (
            "a list of numbers",
            LOGIN,
            with("\"regions\":[1,2.5,-3]").into(),
            invalid("`regions` must be a list of texts"),
        ),
        (
            "a list too long",
            LOGIN,
            with(&format!("\"regions\":[{}\"eu\"]", "\"eu\",".repeat(8))).into(),
            invalid("`regions` has at most 8 of them"),
        ),
        (
            "a region and regions",
            LOGIN,
            with("\"region\":\"eu\",\"regions\":[\"eu\"]").into(),
            invalid("`regions` does not stand beside `region`"),
        ),
        (
            "a deep list under an unknown name",
            LOGIN,
            with(&format!("\"x\":{}", nested(7_000, &format!("\"{SECRET}\"")))).into(),
            invalid(known),
        ),
        ("an unknown member", LOGIN, with(&format!("\"pasword\":\"{SECRET}\"")).into(), invalid(known)),
        ("a password for a name", LOGIN, with(&format!("\"{SECRET}\":1")).into(), invalid(known)),
        (
            "a member in other letters",
            LOGIN,
            format!("{{\"Login\":\"a\",\"password\":\"{SECRET}\"}}").into(),
            invalid(known),
        ),
        (
            "an unknown member of registering",
            REGISTER,
            with("\"admin\":true").into(),
            invalid("known are `login`, `password`, `display_name`"),
        ),
        (
            "a member twice",
            LOGIN,
            with(&format!("\"password\":\"{SECRET}\"")).into(),
            invalid("`password` stands there twice"),
        ),
        (
            "a member twice, once escaped",
            LOGIN,
            with("\"\\u006cogin\":\"other\"").into(),
            invalid("`login` stands there twice"),
        ),
        (
            "a member twice, once null",
            LOGIN,
            with("\"server\":null,\"server\":null").into(),
            invalid("`server` stands there twice"),
        ),
        (
            "an object for a text",
            LOGIN,
            format!("{{\"login\":{{\"$ne\":\"{SECRET}\"}},\"password\":\"x\"}}").into(),
            invalid("`login` must be a text"),
        ),
        (
            "a number for a text",
            LOGIN,
            "{\"login\":7,\"password\":\"x\"}".into(),
            invalid("`login` must be a text"),
        ),
        ("a flag for a text", LOGIN, with("\"server\":true").into(), invalid("`server` must be a text")),
        (
            "a text for a flag",
            LOGIN,
            with("\"handover\":\"true\"").into(),
            invalid("`handover` must be true or false"),
        ),
        (
            "a number for a flag",
            LOGIN,
            with("\"handover\":0").into(),
            invalid("`handover` must be true or false"),
        ),
    ];
    all(&rig, cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_are_missing_or_out_of_bounds() {
    let rig = Rig::start().await;
    let good = good();
    let cases: Vec<(&str, &str, Vec<u8>, Expect)> = vec![
        (
            "null for what must be there",
            LOGIN,
            "{\"login\":null,\"password\":\"x\"}".into(),
            invalid("`login` is missing"),
        ),
        ("nothing of it", LOGIN, "{}".into(), invalid("`login` is missing")),
        ("no body", LOGIN, Vec::new(), invalid("`login` is missing")),
        ("no password", LOGIN, "{\"login\":\"healthy\"}".into(), invalid("`password` is missing")),
        (
            "no server id",
            LOGIN,
            with("\"server\":\"../alpha\"").into(),
            invalid("`server` is not a server id"),
        ),
        (
            "a long region",
            LOGIN,
            with(&format!("\"region\":\"{}\"", "e".repeat(65))).into(),
            invalid("`region` has at most 64 bytes"),
        ),
        (
            "a name nobody can have",
            LOGIN,
            format!("{{\"login\":\"' OR 1=1 --\",\"password\":\"{SECRET}\"}}").into(),
            Expect::Problem(401, "invalid-credentials", ""),
        ),
        (
            "a wrong password",
            LOGIN,
            format!("{{{good}}}").into(),
            Expect::Problem(401, "invalid-credentials", ""),
        ),
        (
            "a name with a NUL",
            REGISTER,
            format!("{{\"login\":\"ada\\u0000\",\"password\":\"{SECRET}\"}}").into(),
            Expect::Problem(422, "invalid-login", "consists of"),
        ),
        (
            "a byte too many",
            LOGIN,
            " ".repeat(16 * 1024 + 1).into(),
            Expect::Problem(413, "body-too-large", "16384"),
        ),
        (
            "the longest body",
            LOGIN,
            format!("{{{good}}}{}", " ".repeat(16 * 1024 - good.len() - 2)).into(),
            Expect::Problem(401, "invalid-credentials", ""),
        ),
    ];
    all(&rig, cases).await;
}

fn good() -> String {
    format!("\"login\":\"healthy\",\"password\":\"{SECRET}\"")
}

fn with(more: &str) -> String {
    format!("{{{},{more}}}", good())
}

async fn all(rig: &Rig, cases: Vec<(&str, &str, Vec<u8>, Expect)>) {
    for (name, path, body, expect) in cases {
        rig.check(name, &post(path, body), expect).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_body_says_it_is() {
    let rig = Rig::start().await;
    let good = format!("{{\"login\":\"healthy\",\"password\":\"{SECRET}\"}}");
    let wrong = Expect::Problem(415, "unsupported-media-type", "");
    let read = Expect::Problem(401, "invalid-credentials", "");
    for (headers, expect) in [
        ("", wrong),
        ("Content-Type:\r\n", wrong),
        ("Content-Type: text/plain\r\n", wrong),
        ("Content-Type: application/jsonp\r\n", wrong),
        ("Content-Type: application/problem+json\r\n", wrong),
        ("Content-Type: application/x-www-form-urlencoded\r\n", wrong),
        ("Content-Type: text/html, application/json\r\n", wrong),
        ("Content-Type: application/json, text/html\r\n", wrong),
        ("Content-Type: application/json\r\nContent-Type: application/json\r\n", wrong),
        ("Content-Type: application/json\u{e9}\r\n", wrong),
        ("Content-Type: application/json\r\n", read),
        ("content-type:   APPLICATION/JSON ; charset=utf-8\r\n", read),
        ("Content-Type: application/json\r\nContent-Encoding: identity\r\n", read),
    ] {
        rig.check(headers, &post_as("/auth/login", headers, &good), expect).await;
    }
    let packed = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let headers = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    rig.check("packed", &post_as("/auth/login", headers, packed), MALFORMED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_none() {
    let rig = Rig::start().await;
    let player = rig.hub.login("healthy", None).await.unwrap().access_token;
    let refused = Expect::Problem(401, "access-token-invalid", "");
    for (headers, expect) in [
        (String::new(), refused),
        ("Authorization:\r\n".to_owned(), refused),
        ("Authorization: Bearer\r\n".to_owned(), refused),
        (format!("Authorization: {player}\r\n"), refused),
        (format!("Authorization: Basic {player}\r\n"), refused),
        (format!("Authorization: Bearer {player}x\r\n"), refused),
        (format!("Authorization: Bearer {player}\u{e9}\r\n"), refused),
        (format!("Authorization: Bearer {}\r\n", "a.".repeat(4_000)), refused),
        (format!("Authorization: Bearer {player}\r\nAuthorization: Bearer {player}\r\n"), refused),
        (format!("authorization: bearer  {player} \r\n"), Expect::Success(200)),
    ] {
        rig.check(&headers, &post_as("/handover", &headers, ""), expect).await;
    }
    // A body counts only behind a good token.
    let bearer = format!("Authorization: Bearer {player}\r\nContent-Type: application/json\r\n");
    for (body, expect) in [
        ("{}", Expect::Success(200)),
        ("[]", MALFORMED),
        ("{\"login\":\"healthy\"}", invalid("known are `server`, `region`, `regions`")),
        ("{\"server\":\"nowhere\"}", Expect::Problem(404, "server-unknown", "")),
    ] {
        rig.check(body, &post_as("/handover", &bearer, body), expect).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_do_not_end_as_they_should() {
    let rig = Rig::start().await;
    let json = "Content-Type: application/json\r\n";
    let announced =
        |len: &str| head("POST /auth/login HTTP/1.1", &format!("{json}Content-Length: {len}\r\n"));

    // It ends before its time: nobody is left to be answered, and nothing is done.
    let mut raw = rig.connect().await;
    raw.say(&[&announced("100")[..], b"{\"login\":"].concat()).await;
    raw.finish().await;
    let reply = raw.reply(true).await;
    rig.judge("a body that ends early", reply, Expect::Problem(400, "malformed-request", "ended early"))
        .await;

    let mut raw = rig.connect().await;
    raw.say(&[&announced("100")[..], b"{\"login\":"].concat()).await;
    let reply = raw.reply(true).await;
    rig.judge("a body that stops", reply, Expect::Problem(408, "request-timed-out", "")).await;
    raw.closed().await;

    let mut raw = rig.connect().await;
    raw.say(&announced("9999999999")).await;
    let reply = raw.reply(true).await;
    rig.judge("an absurd length", reply, Expect::Problem(413, "body-too-large", "")).await;

    let chunked = head("POST /auth/login HTTP/1.1", &format!("{json}Transfer-Encoding: chunked\r\n"));
    let mut raw = rig.connect().await;
    raw.say(&chunked).await;
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    for _ in 0..64 {
        raw.say(chunk.as_bytes()).await;
    }
    let reply = raw.reply(true).await;
    rig.judge("chunks without an end", reply, Expect::Problem(413, "body-too-large", "")).await;

    for (name, chunks) in [
        ("a chunk of no length", "\r\n\r\n"),
        ("a chunk of a strange length", "zz\r\n\r\n"),
        ("a chunk of a huge length", "ffffffffffffffffff\r\n\r\n"),
        ("a chunk longer than it says", "1\r\n{}\r\n0\r\n\r\n"),
    ] {
        let request = [&chunked[..], chunks.as_bytes()].concat();
        rig.check(name, &request, Expect::Problem(400, "malformed-request", "")).await;
    }
    let request = [&chunked[..], b"2\r\n{}\r\n0\r\n\r\n"].concat();
    rig.check("chunks as they should be", &request, invalid("`login` is missing")).await;
}
