//! What holds for any body of a request, whichever route reads it. For this crate's tests and `tests/fuzz` only.

use serde_json::{Value, json};

use super::extract::{Fields, Wishes};
use super::login::LoginRequest;
use super::problem::Problem;
use super::register::RegisterRequest;

/// All that a refusal may say, if anything, digits taken out: nothing of what the client sent.
const SAYINGS: [&str; 19] = [
    "not a JSON object, see line , column ",
    "`login` is missing",
    "`login` must be a text",
    "`password` is missing",
    "`password` must be a text",
    "`display_name` must be a text",
    "`handover` must be true or false",
    "`server` must be a text",
    "`server` is not a server id",
    "`region` must be a text",
    "`region` has at most  bytes",
    "a login name has  to  characters",
    "a login name consists of a-z, -, '_', '.' and '-'",
    "a login name starts with a letter or a digit",
    "a display name has  to  bytes",
    "a display name has no control characters",
    "a password has at least  bytes",
    "a password has at most  bytes",
    "",
];

/// Bodies as clients send them.
pub fn seeds() -> Vec<Vec<u8>> {
    let login = json!({ "login": "Ada", "password": "correct horse", "server": "alpha", "region": "eu" });
    let session = json!({ "login": "ada", "password": "x", "handover": false, "region": null });
    let register =
        json!({ "login": "ada.l-1_", "password": "correct horse", "display_name": " Ada \u{2602} " });
    [login, session, register, json!({})].map(|body| body.to_string().into_bytes()).into()
}

/// It is refused with a 4xx that repeats none of it, or what it asks for is valid and, said again, is read as the same.
///
/// # Panics
/// When it does not hold.
pub fn body(bytes: &[u8]) {
    match Fields::read(bytes).and_then(LoginRequest::try_from) {
        Err(problem) => refused(&problem),
        Ok(LoginRequest { login, password, wishes }) => {
            assert!(login.is_none_or(|login| login.as_str().parse() == Ok(login)));
            drop(password);
            wishes.as_ref().map(wished);
        }
    }
    match Fields::read(bytes).and_then(RegisterRequest::try_from) {
        Err(problem) => refused(&problem),
        Ok(RegisterRequest { login, password: _, display_name }) => {
            let again = json!({ "login": login.as_str(), "password": "any other", "display_name": display_name.as_str() });
            let again = read::<RegisterRequest>(&again);
            assert_eq!((again.login, again.display_name), (login, display_name));
        }
    }
    match Fields::read(bytes).and_then(|mut fields| fields.wishes()) {
        Err(problem) => refused(&problem),
        Ok(wishes) => wished(&wishes),
    }
}

fn read<T: TryFrom<Fields, Error = Problem>>(body: &Value) -> T {
    let fields = Fields::read(body.to_string().as_bytes());
    fields.and_then(T::try_from).unwrap_or_else(|problem| panic!("{problem:?}"))
}

fn wished(Wishes { server, region }: &Wishes) {
    let server = server.as_ref().map(shared_msgs::ids::ServerId::as_str);
    let body = json!({ "server": server, "region": region }).to_string();
    let again = Fields::read(body.as_bytes()).and_then(|mut fields| fields.wishes());
    let again = again.unwrap_or_else(|problem| panic!("{problem:?}"));
    assert_eq!(again.server.as_ref().map(shared_msgs::ids::ServerId::as_str), server);
    assert_eq!(again.region, *region);
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
