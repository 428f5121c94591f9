//! What the units forbid is not needed: system calls, socket families and memory protections that a hub and a game server really use, by
//! strace, against what systemd lets through.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, ensure};
use hub_tests::client::{GameClient, HubClient};
use hub_tests::hub::PASSWORD;
use hub_tests::process::{Process, binaries};

use crate::shipped;
use crate::site::{Env, PATIENCE, auth_hub, hub_env, is_root, server_env, tool};

/// The calls of a group such as `@network-io`, or a call itself.
fn calls(name: &str) -> anyhow::Result<BTreeSet<String>> {
    if !name.starts_with('@') {
        return Ok([name.to_owned()].into());
    }
    let output = Command::new("systemd-analyze").args(["syscall-filter", name]).output()?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let mut found = BTreeSet::new();
    for line in text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        found.extend(calls(line)?);
    }
    Ok(found)
}

/// What the unit's filters leave: the first line allows, the second takes away.
fn allowed(unit: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut allowed = BTreeSet::new();
    let text = shipped(unit);
    for filter in text.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        for name in filter.trim_start_matches('~').split(' ') {
            let named = calls(name)?;
            if filter.starts_with('~') {
                allowed.retain(|call| !named.contains(call));
            } else {
                allowed.extend(named);
            }
        }
    }
    Ok(allowed)
}

fn start(
    name: &str,
    binary: &str,
    args: &[&str],
    env: &Env,
    dir: &std::path::Path,
) -> anyhow::Result<Process> {
    let program = binaries()?.join(binary).to_string_lossy().into_owned();
    let trace = dir.join(format!("{name}.strace")).to_string_lossy().into_owned();
    // -D: strace is nobody's parent, so signals and the exit code are the program's own.
    let words = ["-D", "-f", "-qq", "-s", "0", "-e", "trace=all", "-o", &trace, &program];
    let words: Vec<_> = words.into_iter().chain(args.iter().copied()).collect();
    Process::start(name, &tool("strace")?, &words, env, dir)
}

fn check(unit: &str, trace: &std::path::Path) -> anyhow::Result<()> {
    let trace = std::fs::read(trace)?;
    let trace = String::from_utf8_lossy(&trace);
    let allowed = allowed(unit)?;
    let families = crate::units::value(unit, "RestrictAddressFamilies");
    let mut used = BTreeSet::new();
    for line in trace.lines() {
        let call = line.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
        let name = call.strip_prefix("<... ").unwrap_or(call);
        let name =
            &name[..name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len())];
        if !name.is_empty() && !call.starts_with("---") && !call.starts_with("+++") {
            used.insert(name.to_owned());
        }
        if let Some(family) = call.strip_prefix("socket(").and_then(|rest| rest.split(',').next()) {
            ensure!(families.split(' ').any(|known| known == family), "{unit} forbids {line}");
        }
        ensure!(!call.contains("PROT_WRITE|PROT_EXEC"), "{unit} forbids {line}");
    }
    // systemd itself does this, before the filter stands; and only root's SQLite gives files away.
    used.remove("execve");
    if is_root() {
        used.remove("fchown");
    }
    ensure!(used.contains("socket") && used.contains("accept4"), "an odd trace: {used:?}");
    let forbidden: Vec<_> = used.difference(&allowed).collect();
    ensure!(forbidden.is_empty(), "{unit} forbids {forbidden:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_units_forbid_nothing_that_is_needed() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let env = hub_env("var");
    let mut hub = start("hub", "auth-hub", &["serve"], &env, dir.path())?;
    let ready = hub.ready().await?;
    let key = auth_hub(&["server-key", "alpha"], &env, dir.path()).await?;
    let port = Process::addr(&ready, "mqtt")?.port();
    // By name, as an operator would.
    let env = server_env(&format!("localhost:{port}"), &key);
    let mut server = start("alpha", "game-server", &[], &env, dir.path())?;
    server.ready().await?;
    hub.logged(&["server.eligible"], PATIENCE).await?;
    let client = HubClient::new(format!("http://{}", ready["http"]))?;
    client.register("ada", PASSWORD).await?;
    let ticket = client.login("ada", PASSWORD, None).await?.handover.context("no place")?;
    let (mut player, _) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    player.ask(b"who").await?;
    drop(player);
    for process in [&mut server, &mut hub] {
        process.signal("TERM").await?;
        assert_eq!(process.exit_code(PATIENCE).await?, Some(0));
    }
    check("config/auth-hub.service", &dir.path().join("hub.strace"))?;
    check("config/game-server.service", &dir.path().join("alpha.strace"))
}
