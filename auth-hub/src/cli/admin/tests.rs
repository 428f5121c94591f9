//! What is typed, what is asked, and what is printed of the answer.

use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};

fn parsed(args: &str) -> Result<AdminArgs, i32> {
    let words = format!("auth-hub admin {args}");
    match Cli::try_parse_from(words.split(' ')).map_err(|error| error.exit_code())?.command {
        Command::Admin(args) => Ok(args),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_command_is_a_route_and_a_body() {
    for (args, path, body) in [
        ("servers", "/admin/servers", Value::Null),
        ("maintenance show", "/admin/rules", Value::Null),
        ("find ad", "/admin/find", json!({ "player": "ad" })),
        ("where ada", "/admin/where", json!({ "player": "ada" })),
        ("explain ada", "/admin/explain", json!({ "player": "ada" })),
        ("audit", "/admin/audit", json!({ "last": 20 })),
        (
            "drain alpha --within 10m --why patch",
            "/admin/drain",
            json!({ "server": "alpha", "within_s": 600, "why": "patch", "operator": "grace" }),
        ),
        (
            "drain alpha --why patch",
            "/admin/drain",
            json!({ "server": "alpha", "why": "patch", "operator": "grace" }),
        ),
        (
            "undrain alpha --why x",
            "/admin/undrain",
            json!({ "server": "alpha", "why": "x", "operator": "grace" }),
        ),
        (
            "revoke-key alpha --lowest 3 --why x",
            "/admin/revoke-key",
            json!({ "server": "alpha", "lowest": 3, "why": "x", "operator": "grace" }),
        ),
        (
            "kick ada --why rude",
            "/admin/kick",
            json!({ "player": "ada", "why": "rude", "operator": "grace" }),
        ),
        (
            "ban ada --for 7d --why rude",
            "/admin/ban",
            json!({ "player": "ada", "for_s": 604_800, "why": "rude", "operator": "grace" }),
        ),
        ("ban ada --why rude", "/admin/ban", json!({ "player": "ada", "why": "rude", "operator": "grace" })),
        (
            "unban ada --why sorry",
            "/admin/unban",
            json!({ "player": "ada", "why": "sorry", "operator": "grace" }),
        ),
        (
            "maintenance on --message soon --allow ada bob --why x",
            "/admin/maintenance",
            json!({ "message": "soon", "allow": ["ada", "bob"], "why": "x", "operator": "grace" }),
        ),
        ("maintenance off --why x", "/admin/maintenance", json!({ "why": "x", "operator": "grace" })),
        (
            "min-build 1.2 --why x",
            "/admin/min-build",
            json!({ "build": "1.2", "why": "x", "operator": "grace" }),
        ),
        ("min-build --none --why x", "/admin/min-build", json!({ "why": "x", "operator": "grace" })),
        (
            "message hello --why x",
            "/admin/message",
            json!({ "message": "hello", "why": "x", "operator": "grace" }),
        ),
        ("message --none --why x", "/admin/message", json!({ "why": "x", "operator": "grace" })),
        (
            "broadcast soon --server alpha --why x",
            "/admin/broadcast",
            json!({ "text": "soon", "server": "alpha", "why": "x", "operator": "grace" }),
        ),
    ] {
        let asked = wish(parsed(args).unwrap().command, "grace");
        assert_eq!((asked.path, asked.body.unwrap_or_default()), (path, body), "{args}");
    }
}

#[test]
fn misuse_ends_with_two() {
    for args in [
        "",
        "nonsense",
        "kick ada",
        "ban ada --for 7 --why x",
        "ban ada --for d --why x",
        "ban ada --for -1d --why x",
        "ban ada --for 99999999999999999999w --why x",
        "drain ALPHA --why x",
        "undrain alpha",
        "revoke-key alpha --lowest 2",
        "revoke-key alpha --why x",
        "broadcast soon",
        "maintenance",
        "maintenance off",
        "maintenance on --message soon",
        "min-build",
        "min-build 1",
        "min-build --none",
        "min-build 1 --none --why x",
        "message",
        "message hello",
    ] {
        assert_eq!(parsed(args).err(), Some(2), "{args}");
    }
    let args = parsed("servers --json --as grace --url http://localhost:1").unwrap();
    assert_eq!(
        (args.json, args.operator.as_deref(), args.url.as_deref()),
        (true, Some("grace"), Some("http://localhost:1"))
    );
}

#[test]
fn the_key_stays_on_this_machine_or_under_tls() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.admin.key_file = dir.path().join("admin.key");
    crate::keyfile::load_or_create_admin(&config.admin.key_file, &shared_msgs::rng::SeededRng::new(1))
        .unwrap();
    let refusal =
        |url: &str| Client::new(&config, Some(url), None, None).err().map(|error| error.to_string());
    for url in ["http://127.0.0.1:1", "http://localhost", "http://[::1]:1"] {
        assert_eq!(refusal(url), None, "{url}");
    }
    for (url, says) in [
        ("http://hub.example.org:8082", "https"),
        ("http://10.0.0.1:8082", "https"),
        ("http://localhost.example.org", "https"),
        ("ftp://localhost", "http:// or https://"),
        ("localhost:1", "http:// or https://"),
    ] {
        assert!(refusal(url).is_some_and(|error| error.contains(says)), "{url}");
    }
}

#[test]
fn answers_are_lines_that_no_name_can_break() {
    let player = json!({
        "login": "ada", "account_id": "id", "display_name": "A\u{1b}[2J\u{202e}d\u{2066}\u{2028}a", "state": "active",
        "ban": { "until_ms": 1_767_225_600_000_u64, "why": "rude", "by": "grace", "since_ms": 0 },
    });
    let out = show::found(&json!({ "players": [player], "has_more": true }));
    assert!(
        out.contains("banned until 2026-01-01 00:00:00 UTC by grace: rude") && out.contains("there are more"),
        "{out}"
    );
    assert!(out.contains("A\u{fffd}[2J\u{fffd}d\u{fffd}\u{fffd}a"), "{out:?}");
    let out = show::banned(&json!({ "player": player, "ended": null }));
    assert!(out.contains("say it again"), "{out}");
    let out = show::rules(
        &json!({ "maintenance": { "message": "soon", "allow": ["ada"] }, "build_min": null, "message": null }),
    );
    assert_eq!(out, "maintenance  on: soon (allowed: ada)\nleast build  -\nmessage      -\n");
    let out = show::stories(&json!({ "player": player, "handovers": [] }));
    assert_eq!(out, "ada has no handover that the hub remembers\n");
    let drained = |within| show::drain(&json!({ "server": "alpha", "within_s": within }));
    assert_eq!(
        [drained(json!(10)), drained(json!(3)), drained(Value::Null)],
        [
            "alpha takes nobody new; who is left in 6 s is told to go, and in 10 s is ended\n",
            "alpha takes nobody new; who is left in 0 s is told to go, and in 3 s is ended\n",
            "alpha takes nobody new; nobody is ended\n",
        ]
    );
    assert_eq!(show::places(&json!({ "player": player, "places": [] })), "ada is nowhere\n");
}

#[test]
fn moments_are_dates() {
    for (ms, date) in [
        (0, "1970-01-01 00:00:00 UTC"),
        (951_782_399_999, "2000-02-28 23:59:59 UTC"),
        (951_782_400_000, "2000-02-29 00:00:00 UTC"),
        (951_868_800_000, "2000-03-01 00:00:00 UTC"),
        (1_709_164_800_000, "2024-02-29 00:00:00 UTC"),
        (1_735_689_599_000, "2024-12-31 23:59:59 UTC"),
        (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
    ] {
        assert_eq!(show::utc(ms), date);
    }
}
