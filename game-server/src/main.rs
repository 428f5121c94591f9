//! The reference game server: `game-server [--config FILE]`.
//!
//! Prints one line on stdout once it serves: `READY game=ADDR server_id=ID`; logs go to stderr. Exit codes: 0 stopped as asked; 1 it did not
//! start (the reason is on stderr); 2 wrong arguments; 3 superseded by a newer process with the same server id, so do not restart it;
//! 70 a task of its own died; 75 it did not stop in time.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use game_server::server::ReferenceServer;
use game_server::server::settings::Settings;
use game_server::server::world::EchoWorld;
use shared_msgs::process::{ConfigFile, Lifecycle, Reloader, init_telemetry};

/// Reference game server of the handover hub.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file; without it, config/game-server.toml if there is one. GAME_SERVER__SECTION__KEY variables win.
    #[arg(long)]
    config: Option<PathBuf>,
}

impl Arguments {
    fn file(&self) -> ConfigFile<'_> {
        match &self.config {
            Some(path) => ConfigFile::Named(path),
            None => ConfigFile::IfPresent(Path::new("config/game-server.toml")),
        }
    }
}

/// What changed beside the log's filter needs a restart; its section is named.
fn reload(file: ConfigFile<'_>, started_with: &[(&'static str, String)], reloader: &Reloader) {
    match Settings::load(file) {
        Err(error) => tracing::error!(target: "process", %error, "config.reload_failed"),
        Ok(settings) => {
            for (section, shown) in settings.shown() {
                if !started_with.contains(&(section, shown)) {
                    tracing::warn!(target: "process", section, "config.needs_restart");
                }
            }
            reloader.reload(&settings.log.filter);
            tracing::info!(target: "process", "config.reloaded");
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let settings = Settings::load(arguments.file())?;
    let log = init_telemetry(settings.log.format, &settings.log.filter)?;
    let started_with = settings.shown();
    let lifecycle = Lifecycle::new();
    lifecycle.listen_for_signals()?;
    let server = ReferenceServer::bind(settings, Arc::new(EchoWorld::default()))?;
    let (game_tls, link) = server.tls();
    let listeners = game_tls.map(|tls| ("game", tls)).into_iter().collect();
    let reloader = Reloader { listeners, link, log };
    lifecycle.on_hangup(move || reload(arguments.file(), &started_with, &reloader))?;
    let (game, server_id) = (server.addr(), server.server_id());
    tracing::info!(target: "handover", %server_id, %game, metrics = ?server.metrics_addr(), "server.ready");
    let mut stdout = std::io::stdout();
    writeln!(stdout, "READY game={game} server_id={server_id}")?;
    stdout.flush()?;
    Ok(server.run(lifecycle).await.into())
}
