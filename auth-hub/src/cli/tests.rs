//! Commands against files of their own: what is printed, what is refused, what is never said.

use std::fmt::Write as _;
use std::path::Path;

use clap::CommandFactory as _;
use shared_msgs::keys::ServerKey;
use shared_msgs::process::LogFilter;

use super::*;
use crate::keyfile;

struct Bench {
    dir: tempfile::TempDir,
    config: Config,
}

/// What a command did.
#[derive(Debug)]
struct Done {
    ok: bool,
    out: String,
    complaints: String,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.database.path = dir.path().join("var/hub.sqlite");
        config.keys.fleet_key_file = dir.path().join("var/fleet.key");
        (config.passwords.memory_kib, config.passwords.passes) = (8, 1);
        Self { dir, config }
    }

    async fn run(&self, args: &str, input: &str) -> Done {
        let cli = Cli::try_parse_from(std::iter::once("auth-hub").chain(args.split(' '))).unwrap();
        let (mut input, mut output, mut complaints) = (input.as_bytes(), Vec::new(), Vec::new());
        let mut terminal = Terminal {
            input: &mut input,
            output: &mut output,
            interactive: false,
            complaints: &mut complaints,
        };
        let settings = Settings { file: None, config: self.config.clone(), log: LogFilter::none() };
        let result = run(cli.command, settings, &mut terminal).await;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, mut complaints) = (text(output), text(complaints));
        let ok = match result {
            Ok(code) => code == ExitCode::SUCCESS,
            Err(err) => {
                let _ = write!(complaints, "{err:#}");
                false
            }
        };
        Done { ok, out, complaints }
    }

    async fn store(&self) -> Store {
        open_store(&self.config, &CancellationToken::new()).await.unwrap()
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn fleet(path: &Path) -> shared_msgs::keys::FleetKeys {
    keyfile::load_or_create(path, &SystemRng::new()).unwrap()
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
    let parse = |args: &str| Cli::try_parse_from(args.split(' '));
    for misuse in
        ["auth-hub", "auth-hub server-key ALPHA", "auth-hub account add b!b", "auth-hub account add bob pw"]
    {
        assert_eq!(parse(misuse).unwrap_err().exit_code(), 2, "{misuse}");
    }
    let cli = parse("auth-hub serve --config x.toml").unwrap();
    assert_eq!((cli.config, matches!(cli.command, Command::Serve)), (Some("x.toml".into()), true));
}

#[tokio::test]
async fn a_server_key_is_the_derived_one_and_one_line() {
    let bench = Bench::new();
    let first = bench.run("server-key alpha", "").await;
    assert!(first.ok && first.complaints.is_empty(), "{first:?}");
    assert!(!bench.config.database.path.exists(), "printing a key makes no database");
    let (line, rest) = first.out.split_once('\n').unwrap();
    assert_eq!(rest, "");
    let key: ServerKey = line.parse().unwrap();
    let derived = fleet(&bench.config.keys.fleet_key_file).server_key(&"alpha".parse().unwrap(), 1);
    assert_eq!((key.server(), key.name()), (derived.server(), derived.name()));
    assert_eq!(*key.to_line(), *derived.to_line());
    assert_eq!(bench.run("server-key alpha", "").await.out, first.out, "the same each time");
    assert_ne!(bench.run("server-key beta", "").await.out, first.out);
}

#[tokio::test]
async fn a_server_key_is_of_an_accepted_generation() {
    let bench = Bench::new();
    let store = bench.store().await;
    store.raise_lowest_generation(&"alpha".parse().unwrap(), 3).await.unwrap();
    store.close().await;
    let generation = |done: Done| done.out.trim().parse::<ServerKey>().unwrap().name().generation;
    assert_eq!(generation(bench.run("server-key alpha", "").await), 3);
    assert_eq!(generation(bench.run("server-key beta", "").await), 1);
    assert_eq!(generation(bench.run("server-key alpha --generation 5", "").await), 5);
    let revoked = bench.run("server-key alpha --generation 2", "").await;
    assert!(!revoked.ok && revoked.out.is_empty() && revoked.complaints.contains("lowest accepted one is 3"));
}

#[tokio::test]
async fn accounts_are_made_shown_listed_and_switched() {
    let bench = Bench::new();
    let added = bench.run("account add Bob --display-name B", "correct horse\r\nmore\n").await;
    assert!(added.ok, "{added:?}");
    assert!(bench.run("account add carol", "battery staple").await.ok);

    let store = bench.store().await;
    let bob = store.by_login(&"bob".parse().unwrap()).await.unwrap().unwrap();
    let player = store.player_in(bob.row, &"main".parse().unwrap()).await.unwrap();
    store.close().await;
    assert_eq!(added.out, format!("added bob {}\n", bob.id));
    let shown = bench.run("account show bob", "").await.out;
    for told in ["bob", "display name  B\n", &bob.id.to_string(), "active", &format!("{player} in main")] {
        assert!(shown.contains(told), "{told} in {shown}");
    }
    assert!(!shown.contains("argon2"), "{shown}");

    assert!(bench.run("account disable bob --why cheats", "").await.ok);
    let listed = bench.run("account list", "").await.out;
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert_eq!(lines[0], format!("bob\tdisabled\t{}\tB", bob.id));
    assert!(lines[1].starts_with("carol\tactive\t") && lines[1].ends_with("\tcarol"));
    assert!(bench.run("account enable bob --why sorry", "").await.ok);
    assert!(bench.run("account show bob", "").await.out.contains("state         active"));
}

#[tokio::test]
async fn what_changes_an_account_is_written_down() {
    let bench = Bench::new();
    assert!(bench.run("account add bob", "correct horse\n").await.ok);
    for args in ["disable bob --why cheats", "enable bob --why sorry", "priority bob on --why pays"] {
        assert!(bench.run(&format!("account {args}"), "").await.ok, "{args}");
    }
    assert!(bench.run("account set-password bob --why forgotten", "battery staple\n").await.ok);
    assert!(!bench.run("account disable nobody --why x", "").await.ok);
    let store = bench.store().await;
    let rows = store.audit_last(9).await.unwrap();
    store.close().await;
    let told: Vec<_> = rows
        .iter()
        .map(|row| (&*row.action, &*row.target, &*row.reason, row.outcome.as_deref().unwrap_or("begun")))
        .collect();
    let expected = [
        ("account-set-password", "bob", "forgotten", "done"),
        ("account-priority", "bob on", "pays", "done"),
        ("account-enable", "bob", "sorry", "done"),
        ("account-disable", "bob", "cheats", "done"),
    ];
    assert_eq!(told, expected, "for the last there was nobody");
    assert!(rows.iter().all(|row| !row.operator.is_empty() && row.at.0 > 0));
    let parse = |args: &[&str]| Cli::try_parse_from([&["auth-hub", "account"][..], args].concat());
    for misuse in [
        &["disable", "bob"][..],
        &["enable", "bob", "--why", ""],
        &["priority", "bob", "on", "--why", "two\nlines"],
        &["set-password", "bob", "--why", &"x".repeat(201)],
    ] {
        assert_eq!(parse(misuse).err().map(|error| error.exit_code()), Some(2), "{misuse:?}");
    }
}

#[tokio::test]
async fn passwords_come_from_standard_input() {
    let bench = Bench::new();
    assert!(bench.run("account add bob", "correct horse\n").await.ok);
    assert!(bench.run("account set-password bob --why forgotten", "battery staple\n").await.ok);
    let store = bench.store().await;
    let bob = store.by_login(&"bob".parse().unwrap()).await.unwrap().unwrap();
    let pool = account::pool(&bench.config).unwrap();
    for (password, ok) in [("battery staple", true), ("correct horse", false)] {
        let password = crate::accounts::Password::attempt(password.to_owned()).unwrap();
        assert_eq!(pool.verify(password, Some(bob.phc.clone())).await.unwrap().ok, ok);
    }
    store.close().await;
    for (args, input, says) in [
        ("account add dave", "", "no password"),
        ("account add dave", "\n", "no password"),
        ("account add dave", "short", "at least 8"),
        ("account add dave", &"horse".repeat(100), "at most 256"),
        ("account add bob", "correct horse\n", "taken"),
        ("account set-password nobody --why x", "correct horse\n", "no such account"),
        ("account show nobody", "", "no such account"),
        ("account disable nobody --why x", "", "no such account"),
    ] {
        let done = bench.run(args, input).await;
        assert!(!done.ok && done.out.is_empty() && done.complaints.contains(says), "{args}: {done:?}");
        assert!(!done.complaints.contains("horse"), "{done:?}");
    }
}

#[tokio::test]
async fn imports_report_each_line_and_fail_if_any_did() {
    const HASH: &str =
        "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$tWFcYQmAOQ9hQLGBMXMxDh7V4vBhBd8n9n2eBMd1hZ0";
    let bench = Bench::new();
    let line = |login: &str| {
        serde_json::json!({ "login": login, "display_name": login, "phc": HASH }).to_string() + "\n"
    };
    let good = bench.run("account import -", &(line("bob") + "\n" + &line("carol"))).await;
    assert!(good.ok, "{good:?}");
    assert_eq!(good.out, "imported 2, refused 0\n");

    let file = bench.file("accounts.jsonl", &(line("dave") + "nonsense\n" + &line("bob")));
    let mixed = bench.run(&format!("account import {}", file.display()), "").await;
    assert!(!mixed.ok);
    assert_eq!(mixed.out, "imported 1, refused 2\n");
    let complaints: Vec<_> = mixed.complaints.lines().collect();
    assert!(complaints[0].starts_with("line 2: ") || complaints[1].starts_with("line 2: "), "{mixed:?}");
    assert!(mixed.complaints.contains("line 3: login: the name is taken"), "{mixed:?}");
    assert!(!mixed.complaints.contains("argon2"), "{mixed:?}");

    let missing = bench.run("account import /nonexistent", "").await;
    assert!(!missing.ok && missing.complaints.contains("/nonexistent"), "{missing:?}");
}
