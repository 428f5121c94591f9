//! Settings that cannot be read or cannot work. Values are never quoted: they may be secrets.

use anyhow::Context as _;
use hub_tests::setup::Scene;

const HUB: &str = "auth-hub";
const SERVER: &str = "game-server";

/// Which binary, the settings file, variables, what the error must say.
type Case = (&'static str, &'static [u8], &'static [(&'static str, &'static str)], &'static [&'static str]);

const CASES: &[Case] = &[
    // Unknown names, in the file and in the environment.
    (
        HUB,
        b"[http]\nlissten = 'hunter2'",
        &[],
        &["bad.toml", "`http.lissten`", "unknown key", "did you mean `listen`?"],
    ),
    (
        HUB,
        b"[htpp]\nlisten = 'hunter2'",
        &[],
        &["bad.toml", "`htpp`", "unknown section", "did you mean `http`?"],
    ),
    (HUB, b"", &[("AUTH_HUB__HTTP__LISTN", "hunter2")], &["AUTH_HUB__HTTP__LISTN", "did you mean `listen`?"]),
    (
        HUB,
        b"",
        &[("AUTH_HUB__PASSWRODS__PASSES", "1")],
        &["AUTH_HUB__PASSWRODS__PASSES", "did you mean `passwords`?"],
    ),
    (
        HUB,
        b"",
        &[("AUTH_HUB__COLOUR__HUE", "1")],
        &["AUTH_HUB__COLOUR__HUE", "unknown section", "known here: http"],
    ),
    (
        SERVER,
        b"[game]\nmax_player = 1",
        &[],
        &["bad.toml", "`game.max_player`", "did you mean `max_players`?"],
    ),
    (
        SERVER,
        b"",
        &[("GAME_SERVER__HUB__KEYFILE", "x")],
        &["GAME_SERVER__HUB__KEYFILE", "did you mean `key_file`?"],
    ),
    // Wrong kinds and units.
    (
        HUB,
        b"[throttle]\nname_refill_ms = '15s'",
        &[],
        &["`throttle.name_refill_ms`", "whole number of milliseconds without a unit", "found a text"],
    ),
    (
        HUB,
        b"",
        &[("AUTH_HUB__SESSIONS__ACCESS_TOKEN_LIFE_S", "15m")],
        &["whole number of seconds without a unit"],
    ),
    (HUB, b"", &[("AUTH_HUB__PASSWORDS__MEMORY_KIB", "19MB")], &["whole number of KiB without a unit"]),
    (
        SERVER,
        b"",
        &[("GAME_SERVER__GAME__DRAIN_MS", "10s")],
        &["whole number of milliseconds without a unit"],
    ),
    (
        HUB,
        b"[accounts]\nregistration = 'hunter2'",
        &[],
        &["`accounts.registration`", "expected true or false"],
    ),
    (HUB, b"[http]\nlisten = 8080", &[], &["`http.listen`", "found a number"]),
    (HUB, b"", &[("AUTH_HUB__HTTP__LISTEN", "hunter2:80")], &["`http.listen`", "an IP address and a port"]),
    (SERVER, b"", &[("GAME_SERVER__HUB__BROKERS", "hunter2")], &["`hub.brokers`", "expected a list"]),
    (SERVER, b"", &[("GAME_SERVER__HUB__BROKERS", "[hunter2]")], &["`hub.brokers", "host:port"]),
    (SERVER, b"[hub]\nkey = 7", &[], &["`hub.key`", "a text in quotes"]),
    (HUB, b"http = 'hunter2'", &[], &["`http`", "a section"]),
    (HUB, b"[log]\nformat = 'hunter2'", &[], &["`log.format`", "auto, text, json"]),
    (SERVER, b"", &[("GAME_SERVER__GAME__REALM", "Hunter 2")], &["`game.realm`", "1 to 32 characters"]),
    // Out of range.
    (HUB, b"[throttle]\nname_burst = -1", &[], &["`throttle.name_burst`", "0 to 4294967295"]),
    (HUB, b"[http]\nrequests_max = 0", &[], &["http.requests_max must be 1 to 65536"]),
    (
        HUB,
        b"[sessions]\naccess_token_life_s = 3601",
        &[],
        &["sessions.access_token_life_s must be 1 to 3600"],
    ),
    (HUB, b"[mqtt]\nconnections_max = 1", &[], &["mqtt.connections_max must be at least mqtt.servers_max"]),
    (HUB, b"[log]\nfilter = 'info,link=loud'", &[], &["log filter"]),
    // Nothing that TOML knows.
    (HUB, b"[http]\n\xff\xfe", &[], &["bad.toml", "UTF-8"]),
    (HUB, b"[http]\nlisten = 'a\nb'", &[], &["bad.toml", "line 2", "correct the line"]),
    (HUB, b"[http]\n[http]", &[], &["bad.toml", "line 2"]),
    (SERVER, b"\n\nhunter2", &[], &["bad.toml", "line 3"]),
    (HUB, b"", &[("AUTH_HUB__HTTP____LISTEN", "1")], &["AUTH_HUB__HTTP____LISTEN", "empty part"]),
];

#[tokio::test]
async fn every_bad_setting_is_named_with_its_place_and_its_remedy() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    for (binary, file, variables, words) in CASES {
        scene.write("bad.toml", file)?;
        let args: &[&str] =
            if *binary == HUB { &["--config", "bad.toml", "serve"] } else { &["--config", "bad.toml"] };
        let ended = scene.run(binary, args, variables).await?;
        let case = || format!("{binary} {:?} {variables:?}", String::from_utf8_lossy(file));
        ended.failed(1, words).with_context(case)?;
        assert!(!ended.err.contains("hunter2"), "{}: {}", case(), ended.err);
        assert!(ended.err.starts_with(binary), "{}", ended.err);
    }
    assert!(!scene.path("var").exists(), "nothing was made");
    Ok(())
}

#[tokio::test]
async fn a_settings_file_that_cannot_be_read_is_named() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    std::fs::create_dir(scene.path("folder"))?;
    scene.write("locked.toml", b"[http]")?;
    scene.mode("locked.toml", 0o000)?;
    for (binary, command) in [(HUB, Some("serve")), (SERVER, None)] {
        for (file, words) in [
            ("missing.toml", ["missing.toml", "No such file", "correct the path"]),
            ("folder", ["folder", "Is a directory", "name a file"]),
            ("locked.toml", ["locked.toml", "Permission denied", "chmod"]),
            ("locked.toml/x", ["locked.toml/x", "Not a directory", "correct the path"]),
        ] {
            let args: Vec<&str> = ["--config", file].into_iter().chain(command).collect();
            scene.run_bound(binary, &args, &[]).await?.failed(1, &words).context(file)?;
        }
        // Nobody asked for this one; but it is there, and what it says would be missed.
        std::fs::create_dir_all(scene.path("config"))?;
        let file = format!("config/{binary}.toml");
        scene.write(&file, b"")?;
        scene.mode(&file, 0o000)?;
        let args: Vec<&str> = command.into_iter().collect();
        scene.run_bound(binary, &args, &[]).await?.failed(1, &[&file, "Permission denied"])?;
    }
    Ok(())
}
