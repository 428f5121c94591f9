//! Databases that are locked, closed, broken, too new or not databases: at the start, and under a running hub.

use anyhow::{Context as _, ensure};
use hub_tests::client::{ClientError, HubClient};
use hub_tests::hub::PASSWORD;
use hub_tests::process::Process;
use hub_tests::setup::shell::{Shell, sql};
use hub_tests::setup::{HUB, Scene};
use hub_tests::site::env;

const PATH: &str = "AUTH_HUB__DATABASE__PATH";

#[tokio::test]
async fn a_database_that_cannot_be_used_is_named_and_left_alone() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    scene.make_hub_files(&[]).await?;
    let good = std::fs::read(scene.path("hub.sqlite"))?;
    for name in ["header", "page", "short", "newer", "altered", "readonly", "unreadable", "locked"] {
        scene.write(name, &good)?;
    }
    scene.write("text", &b"hunter2\n".repeat(1_000))?;
    scene.overwrite("header", 0, &[0xA5; 100])?;
    scene.overwrite("page", 4_096, &[0xA5; 4_096])?;
    std::fs::OpenOptions::new().write(true).open(scene.path("short"))?.set_len(good.len() as u64 / 2)?;
    let later = "INSERT INTO _sqlx_migrations SELECT 999, description, installed_on, success, checksum, execution_time \
                 FROM _sqlx_migrations LIMIT 1";
    sql(&scene, "newer", later).await?;
    sql(&scene, "altered", "UPDATE _sqlx_migrations SET checksum = x'00'").await?;
    scene.mode("readonly", 0o400)?;
    scene.mode("unreadable", 0o000)?;
    for folder in ["folder", "closed", "sealed"] {
        std::fs::create_dir(scene.path(folder))?;
    }
    scene.write("closed/hub.sqlite", &good)?;
    scene.mode("closed", 0o500)?;
    scene.mode("sealed", 0o500)?;
    let held = Shell::hold(&scene, "locked", "PRAGMA locking_mode=EXCLUSIVE;BEGIN EXCLUSIVE").await?;
    let cases: &[(&str, &[&str])] = &[
        ("text", &["not a database", "correct database.path"]),
        ("header", &["not a database", "restore the file from its backup"]),
        ("page", &["damaged", "restore it from its backup"]),
        ("short", &["damaged", "restore it from its backup"]),
        ("newer", &["newer than this program", "999", "run the newer program"]),
        ("altered", &["cannot bring the database up to date", "1"]),
        ("readonly", &["cannot be written", "chmod"]),
        ("unreadable", &["cannot be opened", "must be able to write it"]),
        ("folder", &["cannot be opened", "must name a file"]),
        ("closed/hub.sqlite", &["Permission denied", "chmod"]),
        ("sealed/hub.sqlite", &["Permission denied", "chmod"]),
        ("text/hub.sqlite", &["Not a directory", "correct the path"]),
        ("locked", &["locked by another process", "wait for it"]),
    ];
    for (path, words) in cases {
        let words: Vec<&str> = ["database.path", path].into_iter().chain(words.iter().copied()).collect();
        let before = std::fs::read(scene.path(path)).ok();
        let ended = scene.hub_bound(&[(PATH, path)]).await?;
        ended.failed(1, &words).with_context(|| (*path).to_owned())?;
        assert!(!ended.err.contains("hunter2"), "{}", ended.err);
        assert_eq!(std::fs::read(scene.path(path)).ok(), before, "{path} is as it was");
    }
    held.end().await
}

/// A running hub on the scene's files.
async fn running(scene: &Scene, name: &str) -> anyhow::Result<(Process, HubClient)> {
    let env = env(&HUB);
    let dir = scene.path("hub.sqlite");
    let mut hub = Process::start(name, "auth-hub", &["serve"], &env, dir.parent().context("a folder")?)?;
    let http = Process::addr(&hub.ready().await?, "http")?;
    Ok((hub, HubClient::new(format!("http://{http}"))?))
}

/// That the password is right. There is no game server to send anybody to.
async fn knows(client: &HubClient, login: &str) -> anyhow::Result<()> {
    let refused = client.login(login, PASSWORD, None).await;
    let problem = match refused {
        Err(ClientError::Problem(problem)) => problem,
        Err(other) => return Err(other.into()),
        Ok(_) => anyhow::bail!("a place without a server"),
    };
    ensure!(problem.code == "no-server-online", "{problem:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_hub_on_the_same_database_is_refused_until_the_first_is_gone() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let (mut first, client) = running(&scene, "first").await?;
    client.register("ada", PASSWORD).await?;
    let words = ["database.path", "another hub runs on the database hub.sqlite", "stop it first"];
    scene.hub(&[]).await?.failed(1, &words)?;
    // Commands beside it are welcome.
    let list = scene.run("auth-hub", &["account", "list"], &HUB).await?;
    assert!(list.code == Some(0) && list.out.contains("ada"), "{list:?}");
    client.register("bob", PASSWORD).await?;
    first.kill().await?;
    let (_second, client) = running(&scene, "second").await?;
    knows(&client, "bob").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_on_the_database_of_a_running_hub_is_answered_and_outlived() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let (mut hub, client) = running(&scene, "hub").await?;
    client.register("ada", PASSWORD).await?;
    let held = Shell::hold(&scene, "hub.sqlite", "BEGIN IMMEDIATE").await?;
    let refused = client.register("bob", PASSWORD).await;
    let Err(ClientError::Problem(problem)) = refused else { anyhow::bail!("{refused:?}") };
    assert_eq!((problem.status, &*problem.code), (503, "hub-busy"));
    hub.logged(&["database.commit_failed", "locked by another process"], std::time::Duration::from_secs(5))
        .await?;
    // Who only reads does not notice.
    knows(&client, "ada").await?;
    held.end().await?;
    client.register("bob", PASSWORD).await?;
    knows(&client, "bob").await?;
    assert!(hub.ended()?.is_none());
    Ok(())
}
