//! Key files: missing, exposed, torn, of another kind. A key is never replaced and never shown.

use std::os::unix::fs::symlink;

use anyhow::Context as _;
use hub_tests::setup::Scene;

#[tokio::test]
async fn a_fleet_key_that_cannot_be_trusted_is_refused_and_left_alone() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    scene.make_hub_files(&[]).await?;
    let key = std::fs::read(scene.path("fleet.key"))?;
    std::fs::create_dir(scene.path("folder"))?;
    scene.write("empty", b"")?;
    scene.write("torn", &key[..key.len() / 2])?;
    scene.write("other", b"hunter2 hunter2")?;
    scene.write("binary", b"\xff\xfe\x00")?;
    for (name, mode) in [("world", 0o604), ("group", 0o640), ("writable", 0o620), ("unreadable", 0o000)] {
        scene.write(name, &key)?;
        scene.mode(name, mode)?;
    }
    symlink(scene.path("world"), scene.path("link"))?;
    symlink(scene.path("link2"), scene.path("link2"))?;
    std::fs::create_dir(scene.path("closed"))?;
    scene.mode("closed", 0o500)?;
    let cases: &[(&str, &[&str])] = &[
        ("world", &["mode 604", "chmod 600"]),
        ("group", &["mode 640", "chmod 600"]),
        ("writable", &["mode 620", "chmod 600"]),
        ("link", &["mode 604", "chmod 600"]),
        ("link2", &["symbolic links"]),
        ("unreadable", &["Permission denied", "chmod"]),
        ("closed/fleet.key", &["Permission denied", "chmod"]),
        ("empty/fleet.key", &["Not a directory", "correct the path"]),
        ("folder", &["not a regular file", "name a file"]),
        ("/dev/null", &["not a regular file", "name a file"]),
        ("empty", &["restore it from its backup"]),
        ("torn", &["restore it from its backup"]),
        ("other", &["restore it from its backup"]),
        ("binary", &["must be a text"]),
    ];
    for (path, words) in cases {
        let words: Vec<&str> = ["fleet key", path].into_iter().chain(words.iter().copied()).collect();
        let ended = scene.hub_bound(&[("AUTH_HUB__KEYS__FLEET_KEY_FILE", path)]).await?;
        ended.failed(1, &words).with_context(|| (*path).to_owned())?;
        let secret = std::str::from_utf8(&key)?.trim().rsplit('.').next().context("a key")?;
        assert!(!ended.err.contains(&secret[..8]) && !ended.err.contains("hunter2"), "{}", ended.err);
    }
    for name in ["world", "group", "writable"] {
        assert_eq!(std::fs::read(scene.path(name))?, key, "{name} is as it was");
    }
    assert_eq!(std::fs::read(scene.path("torn"))?, key[..key.len() / 2]);
    // A missing folder is made: a first start needs no preparation.
    let made = scene.run(
        "auth-hub",
        &["server-key", "alpha"],
        &[
            ("AUTH_HUB__KEYS__FLEET_KEY_FILE", "new/folder/fleet.key"),
            ("AUTH_HUB__DATABASE__PATH", "none.sqlite"),
        ],
    );
    assert_eq!(made.await?.code, Some(0));
    assert!(scene.path("new/folder/fleet.key").is_file());
    Ok(())
}

#[tokio::test]
async fn a_server_key_that_cannot_be_trusted_is_refused() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let key = scene.make_hub_files(&[]).await?;
    std::fs::create_dir(scene.path("folder"))?;
    scene.write("empty", b"\n")?;
    scene.write("torn", &key.as_bytes()[..key.len() / 2])?;
    scene.write("fleet", &std::fs::read(scene.path("fleet.key"))?)?;
    for (name, mode) in [("world", 0o644), ("group", 0o640), ("unreadable", 0o000)] {
        scene.write(name, key.as_bytes())?;
        scene.mode(name, mode)?;
    }
    symlink(scene.path("world"), scene.path("link"))?;
    let cases: &[(&str, &[&str])] = &[
        ("world", &["`hub.key_file` world", "mode 644", "chmod 600"]),
        ("group", &["`hub.key_file` group", "mode 640", "chmod 600"]),
        ("link", &["`hub.key_file` link", "mode 644", "chmod 600"]),
        ("unreadable", &["`hub.key_file` unreadable", "Permission denied", "chown"]),
        ("missing", &["`hub.key_file` missing", "No such file", "correct the path"]),
        ("folder", &["`hub.key_file` folder", "name a file"]),
        ("empty", &["`hub.key_file` empty", "is empty"]),
        ("torn", &["`hub.key_file`", "auth-hub server-key"]),
        ("fleet", &["`hub.key_file`", "auth-hub server-key"]),
    ];
    for (path, words) in cases {
        let ended = scene.run_bound("game-server", &[], &[("GAME_SERVER__HUB__KEY_FILE", path)]).await?;
        ended.failed(1, words).with_context(|| (*path).to_owned())?;
        let secret = key.rsplit('.').next().context("a key")?;
        assert!(!ended.err.contains(&secret[..8]), "{}", ended.err);
    }
    let both = [("GAME_SERVER__HUB__KEY_FILE", "world"), ("GAME_SERVER__HUB__KEY", &*key)];
    scene.run("game-server", &[], &both).await?.failed(1, &["`hub.key`", "both set", "one of them"])?;
    scene.run("game-server", &[], &[]).await?.failed(1, &["hub.key", "auth-hub server-key"])
}
