//! The reference game server: `game-server [--config FILE] [check [--json] [--hub HOST:PORT]]`.
//!
//! Prints one line on stdout once it serves: `READY game=ADDR server_id=ID`; logs go to stderr. Exit codes: 0 stopped as asked; 1 it did not
//! start (the reason is on stderr); 2 wrong arguments; 3 superseded by a newer process with the same server id, so do not restart it;
//! 70 a task of its own died; 75 it did not stop in time. `check` starts nothing: 0 nothing fails, 1 something does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use game_server::server::settings::Settings;
use game_server::server::world::EchoWorld;
use game_server::server::{ReferenceServer, check};
use shared_msgs::clock::{Clock as _, SystemClock};
use shared_msgs::process::check::{exit_code, tell};
use shared_msgs::process::{ConfigFile, Lifecycle, Reloader, explain, init_telemetry};

/// Reference game server of the handover hub.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file; without it, config/game-server.toml if there is one. GAME_SERVER__SECTION__KEY variables win.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// What to do instead of serving.
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Look at settings, key, addresses and broker without starting; one line per finding
    Check {
        /// One JSON object per line
        #[arg(long)]
        json: bool,
        /// Where the hub's HTTP answers, to compare its clock with ours; https:// in front where it has a certificate
        #[arg(long, value_name = "HOST:PORT")]
        hub: Option<String>,
    },
}

impl Arguments {
    fn file(&self) -> ConfigFile<'_> {
        match &self.config {
            Some(path) => ConfigFile::Named(path),
            None => ConfigFile::IfPresent(Path::new("config/game-server.toml")),
        }
    }
}

/// What changed beside the log's filter needs a restart; its section is named. Certificates are read whatever the settings say now.
fn reload(file: ConfigFile<'_>, started_with: &[(&'static str, String)], reloader: &Reloader) {
    reloader.reload_tls(SystemClock::new().now().unix);
    let loaded = Settings::load(file).map_err(anyhow::Error::from);
    let applied = loaded.and_then(|settings| {
        reloader.set_log_filter(&settings.log.filter)?;
        Ok(settings)
    });
    match applied {
        Err(error) => tracing::error!(target: "process", %error, "config.reload_failed"),
        Ok(settings) => {
            for (section, shown) in settings.shown() {
                if !started_with.contains(&(section, shown)) {
                    tracing::warn!(target: "process", section, "config.needs_restart");
                }
            }
            tracing::info!(target: "process", "config.reloaded");
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    run(Arguments::parse()).await.unwrap_or_else(|error| {
        eprintln!("game-server: {}", explain(&*error));
        ExitCode::FAILURE
    })
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(arguments.file());
    if let Some(Command::Check { json, hub }) = arguments.command {
        let found = check::findings(settings, hub.as_deref(), SystemClock::new().now().unix).await;
        tell(&found, json, &mut std::io::stdout())?;
        return Ok(exit_code(&found).into());
    }
    serve(settings?, arguments).await
}

async fn serve(settings: Settings, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let log = init_telemetry(settings.log.format, &settings.log.filter)?;
    let started_with = settings.shown();
    let lifecycle = Lifecycle::new();
    let hangups = lifecycle.listen_for_signals()?;
    let server = ReferenceServer::bind(settings, Arc::new(EchoWorld::default()))?;
    let (game_tls, link) = server.tls();
    let listeners = game_tls.map(|tls| ("game", tls)).into_iter().collect();
    let reloader = Reloader { listeners, link, log };
    lifecycle.on_hangup(hangups, move || reload(arguments.file(), &started_with, &reloader));
    let (game, server_id) = (server.addr(), server.server_id());
    tracing::info!(target: "handover", %server_id, %game, metrics = ?server.metrics_addr(), "server.ready");
    let mut stdout = std::io::stdout();
    writeln!(stdout, "READY game={game} server_id={server_id}")?;
    stdout.flush()?;
    Ok(server.run(lifecycle).await.into())
}
