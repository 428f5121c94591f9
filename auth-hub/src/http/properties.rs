//! What holds for any body of a request, whichever route reads it. For this crate's tests and `tests/fuzz` only.

use std::collections::BTreeMap;

use serde_json::{Map, json};

use super::fields::{Fields, Wishes};
use super::login::LoginRequest;
use super::members;
use super::problem::Problem;
use super::register::RegisterRequest;

/// All that a refusal may say, if anything, digits taken out: nothing of what the client sent.
const SAYINGS: [&str; 53] = [
    "the body is not UTF-",
    "not a JSON object, see line , column ",
    "a member is unknown; known are `login`, `password`, `display_name`",
    "a member is unknown; known are `login`, `password`, `server`, `region`, `regions`, `latencies`, `labels`, `sticky`, `party`, `party_size`, `handover`, `build`",
    "a member is unknown; known are `server`, `region`, `regions`, `latencies`, `labels`, `sticky`, `party`, `party_size`, `build`",
    "`login` is missing",
    "`login` must be a text",
    "`login` stands there twice",
    "`password` is missing",
    "`password` must be a text",
    "`password` stands there twice",
    "`display_name` must be a text",
    "`display_name` stands there twice",
    "`handover` must be true or false",
    "`handover` stands there twice",
    "`server` must be a text",
    "`server` is not a server id",
    "`server` stands there twice",
    "`region` must be a text",
    "`region` stands there twice",
    "`region` has at most  bytes",
    "`build` must be a text",
    "`build` stands there twice",
    "`build` is not dotted numbers",
    "`regions` must be a list of texts",
    "`regions` stands there twice",
    "`regions` does not stand beside `region`",
    "`regions` has at most  of them",
    "`regions` has texts of  to  bytes",
    "`latencies` must be an object of whole numbers",
    "`latencies` stands there twice",
    "`latencies` does not stand beside `region`",
    "`latencies` does not stand beside `regions`",
    "`latencies` has at most  of them",
    "`latencies` has numbers of  to ",
    "`latencies` has names of at most  bytes",
    "`latencies` names a region twice",
    "`labels` must be a list of texts",
    "`labels` stands there twice",
    "`labels` has at most  of them",
    "`labels` has texts of  to  of a-z, -, -, = and ., a letter or digit first",
    "`sticky` must be true or false",
    "`sticky` stands there twice",
    "a login name has  to  characters",
    "a login name consists of a-z, -, '_', '.' and '-'",
    "a login name starts with a letter or a digit",
    "a display name has  to  bytes, as UTF- and normalised",
    "a display name has no control, format, invisible, private or unassigned characters; joiners count as such",
    "a display name has combining marks only behind other characters, at most  in a row",
    "a display name keeps to one script; only Latin goes with Chinese, Japanese and Korean",
    "a password has at least  bytes",
    "a password has at most  bytes",
    "",
];

/// Bodies as clients send them.
pub fn seeds() -> Vec<Vec<u8>> {
    let login = json!({ "login": "Ada", "password": "correct horse", "server": "alpha", "region": "eu", "build": "1.2" });
    let session = json!({ "login": "ada", "password": "x", "handover": false, "region": null });
    let register =
        json!({ "login": "ada.l-1_", "password": "correct horse", "display_name": " Ada \u{2602} " });
    let choosy = json!({ "server": null, "region": "", "regions": ["eu-west", "eu"] });
    let near =
        json!({ "latencies": { "eu": 23, "us": 110 }, "labels": ["pvp", "mode=ranked"], "sticky": false });
    [login, session, register, choosy, near, json!({})].map(|body| body.to_string().into_bytes()).into()
}

/// It is refused with a 4xx that repeats none of it, or what it asks for is valid and, said again, is read as the same.
///
/// # Panics
/// When it does not hold.
pub fn body(bytes: &[u8]) {
    match LoginRequest::read(bytes) {
        Err(problem) => refused(&problem),
        Ok(LoginRequest { login, password, wishes, build }) => {
            assert!(build.is_none_or(|build| build.to_string().parse() == Ok(build)));
            assert!(login.is_none_or(|login| login.as_str().parse() == Ok(login)));
            drop(password);
            wishes.as_ref().map(wished);
        }
    }
    match RegisterRequest::read(bytes) {
        Err(problem) => refused(&problem),
        Ok(RegisterRequest { login, password: _, display_name }) => {
            let again = json!({ "login": login.as_str(), "password": "any other", "display_name": display_name.as_str() });
            let again = RegisterRequest::read(again.to_string().as_bytes());
            let again = again.unwrap_or_else(|problem| panic!("{problem:?}"));
            assert_eq!((again.login, again.display_name), (login, display_name));
        }
    }
    match wishes(bytes) {
        Err(problem) => refused(&problem),
        Ok(wishes) => wished(&wishes),
    }
}

fn wishes(body: &[u8]) -> Result<Wishes, Problem> {
    Fields::read(body, members::HAND_OVER)?.wishes()
}

fn wished(Wishes { server, regions, latencies, labels, is_sticky, party: _ }: &Wishes) {
    let server = server.as_ref().map(shared_msgs::ids::ServerId::as_str);
    let figures: Map<_, _> = latencies.iter().map(|(region, ms)| (region.clone(), json!(ms))).collect();
    let body = json!({
        "server": server, "regions": regions, "latencies": figures, "labels": labels, "sticky": is_sticky,
    });
    let body = body.to_string();
    let again = wishes(body.as_bytes());
    let again = again.unwrap_or_else(|problem| panic!("{problem:?}"));
    assert_eq!(again.server.as_ref().map(shared_msgs::ids::ServerId::as_str), server);
    assert_eq!(again.regions, *regions);
    assert_eq!((again.labels, again.is_sticky), (labels.clone(), *is_sticky));
    let sorted = |latencies: &[(String, u32)]| latencies.iter().cloned().collect::<BTreeMap<_, _>>();
    assert_eq!(sorted(&again.latencies), sorted(latencies));
}

fn refused(problem: &Problem) {
    assert!(problem.kind.status().is_client_error(), "{problem:?}");
    let detail: String =
        problem.detail().unwrap_or_default().chars().filter(|c| !c.is_ascii_digit()).collect();
    assert!(SAYINGS.contains(&detail.as_str()), "{detail:?}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::altered::altered;

    proptest! {
        #[test]
        fn bodies(bytes in altered(seeds())) {
            body(&bytes);
        }
    }
}
