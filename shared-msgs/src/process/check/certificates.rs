//! Checks of a listener's certificate and key: usable, in time, and for the host that others know it by.

use std::path::Path;

use super::Finding;
use crate::clock::UnixMs;
use crate::net::tls::{CertificateFacts, facts};

/// Within this of its end a certificate should have been renewed.
const DAYS_LOW: u64 = 14;
const DAY_MS: u64 = 86_400_000;

/// Looks at the certificate of a section, if it has one. `loads` is what came of loading it with its key; `host` is whom others take it for.
pub fn certificate(
    section: &str,
    cert_file: Option<&Path>,
    loads: Result<(), String>,
    host: Option<&str>,
    now: UnixMs,
) -> Option<Finding> {
    let what = format!("{section}.tls_cert_file");
    if let Err(detail) = loads {
        let remedy = "give the certificate chain and its own private key, in PEM, the key readable by this program alone";
        return Some(Finding::fail(what, detail, remedy));
    }
    let path = cert_file?;
    Some(match facts(path) {
        Ok(facts) => judge(what, path, &facts, host, now),
        Err(error) => Finding::fail(what, error.to_string(), "give the certificate chain in PEM"),
    })
}

fn judge(what: String, path: &Path, facts: &CertificateFacts, host: Option<&str>, now: UnixMs) -> Finding {
    let CertificateFacts { not_before, not_after, names } = facts;
    let (file, renew) = (path.display(), "renew it, then send SIGHUP");
    if now < *not_before {
        return Finding::fail(what, format!("{file}: it is not good yet"), "is this machine's clock right?");
    }
    let Some(left_ms) = not_after.0.checked_sub(now.0).filter(|left| *left > 0) else {
        return Finding::fail(what, format!("{file}: it has ended; nobody believes it any more"), renew);
    };
    let days = left_ms / DAY_MS;
    let covers = |host: &str| names.iter().any(|name| is_for(name, host));
    if let Some(host) = host.filter(|host| !covers(host)) {
        let detail = format!("{file}: it is for {}, and clients are sent to {host}", names.join(", "));
        return Finding::fail(what, detail, "get one for that host, or advertise another");
    }
    let detail = format!("{file}: good for {days} days, for {}", names.join(", "));
    if days < DAYS_LOW { Finding::warn(what, detail, renew) } else { Finding::ok(what, detail) }
}

/// As clients see it: the same name, or one label in the place of the star.
fn is_for(name: &str, host: &str) -> bool {
    let star = name.strip_prefix("*.").zip(host.split_once('.'));
    name.eq_ignore_ascii_case(host)
        || star.is_some_and(|(rest, (_, of_host))| rest.eq_ignore_ascii_case(of_host))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_certificate_is_in_time_and_for_the_host_or_the_finding_says_so() {
        let facts = CertificateFacts {
            not_before: UnixMs(10 * DAY_MS),
            not_after: UnixMs(100 * DAY_MS),
            names: vec!["play.example".to_owned(), "*.wild.example".to_owned(), "127.0.0.1".to_owned()],
        };
        for (day, host, level) in [
            (9, None, Level::Fail),
            (10, None, Level::Ok),
            (86, Some("PLAY.example"), Level::Ok),
            (87, None, Level::Warn),
            (100, None, Level::Fail),
            (50, Some("a.wild.example"), Level::Ok),
            (50, Some("127.0.0.1"), Level::Ok),
            (50, Some("wild.example"), Level::Fail),
            (50, Some("a.b.wild.example"), Level::Fail),
            (50, Some("other.example"), Level::Fail),
        ] {
            let finding =
                judge("a.tls_cert_file".to_owned(), Path::new("a.pem"), &facts, host, UnixMs(day * DAY_MS));
            assert_eq!(finding.level, level, "day {day} {host:?}: {finding:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_no_finding_and_what_does_not_load_is_one() {
        assert!(certificate("a", None, Ok(()), None, UnixMs(0)).is_none());
        let half = certificate("a", None, Err("half".to_owned()), None, UnixMs(0)).unwrap();
        assert_eq!((half.level, half.what.as_str()), (Level::Fail, "a.tls_cert_file"));
    }
}
