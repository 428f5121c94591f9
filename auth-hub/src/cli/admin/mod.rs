//! `auth-hub admin …`: what an operator tells a running hub.
//!
//! Knows arguments and which route each command is; `client` asks, `show` prints. Invariant: what was typed is checked by the hub, which
//! says what is wrong with it; nothing here touches the database. Exit codes: 0 done, 1 refused, 2 misused, 75 try again.

mod client;
mod period;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use shared_msgs::ids::ServerId;

use super::Terminal;
use crate::config::Config;
use client::{Client, Trouble};
use period::Period;

/// Nothing was done, or not all of it: the same command again may do it.
const TRY_AGAIN: u8 = 75;

/// Where to ask, as whom, and what.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// Where the admin API is [default: admin.listen of the settings]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// File with its key [default: admin.key_file of the settings]
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Authorities to trust where the URL is https [default: the system's]
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Who you are, for the audit [default: the system's user name]
    #[arg(long = "as", global = true, value_name = "NAME")]
    operator: Option<String>,
    /// Print the hub's answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: AdminCommand,
}

/// What to tell it.
#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// List the game servers
    Servers,
    /// Let a server run empty: it takes nobody new
    Drain {
        server: ServerId,
        /// End who is left after this long, like 90s, 10m, 2h [default: wait for them]
        #[arg(long, value_name = "TIME")]
        within: Option<Period>,
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
    /// Take a drain back
    Undrain {
        server: ServerId,
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
    /// Believe no key of this server below a generation any more
    RevokeKey {
        server: ServerId,
        /// The lowest generation that is still believed: the fourth part of a key's line says its own
        #[arg(long, value_name = "N")]
        lowest: u32,
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
    /// Look for accounts by login name, account id, or the start of a login or display name
    Find { player: String },
    /// Show where a player is
    Where { player: String },
    /// End what a player has: sessions, places, logins under way
    Kick {
        player: String,
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
    /// Shut a player out; they read the reason
    Ban {
        player: String,
        /// Until it ends by itself, like 12h, 7d, 2w [default: for ever]
        #[arg(long = "for", value_name = "TIME")]
        life: Option<Period>,
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
    /// Let a player in again
    Unban {
        player: String,
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
    /// Stop logins for everybody but a few
    #[command(subcommand)]
    Maintenance(Maintenance),
    /// Let no client in that is older
    MinBuild {
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// Dotted numbers, like 1.12.3
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        build: Option<String>,
        /// Let all in
        #[arg(long)]
        none: bool,
    },
    /// Set the message of the day
    Message {
        #[arg(long, value_name = "TEXT")]
        why: String,
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        text: Option<String>,
        /// Have none
        #[arg(long)]
        none: bool,
    },
    /// Say something to players in game
    Broadcast {
        text: String,
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// Only to those of this server
        #[arg(long, value_name = "SERVER")]
        server: Option<ServerId>,
    },
    /// Show a player's last handovers, step by step
    Explain { player: String },
    /// Show what operators did, the newest first
    Audit {
        /// How many
        #[arg(long, default_value_t = 20, value_name = "N")]
        last: u32,
    },
}

#[derive(Debug, Subcommand)]
enum Maintenance {
    /// From now on
    On {
        /// What players are told
        #[arg(long, value_name = "TEXT")]
        message: String,
        /// Login names that get in all the same
        #[arg(long, num_args = 1.., value_name = "LOGIN")]
        allow: Vec<String>,
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
    /// Let everybody in again
    Off {
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
    /// Show what holds for everybody
    Show,
}

/// What is asked, and how its answer is printed.
struct Wish {
    path: &'static str,
    /// `None` for what only looks at a fixed thing.
    body: Option<Value>,
    print: fn(&Value) -> String,
}

impl Wish {
    fn get(path: &'static str, print: fn(&Value) -> String) -> Self {
        Self { path, body: None, print }
    }

    fn look(path: &'static str, body: Value, print: fn(&Value) -> String) -> Self {
        Self { path, body: Some(body), print }
    }

    /// What is missing is left out.
    fn act(path: &'static str, operator: &str, body: Value, print: fn(&Value) -> String) -> Self {
        let members = if let Value::Object(members) = body { members } else { Map::new() };
        let mut members: Map<_, _> = members.into_iter().filter(|(_, value)| !value.is_null()).collect();
        members.insert("operator".to_owned(), operator.into());
        Self::look(path, Value::Object(members), print)
    }
}

fn wish(command: AdminCommand, operator: &str) -> Wish {
    let act = |path, body, print| Wish::act(path, operator, body, print);
    match command {
        AdminCommand::Servers => Wish::get("/admin/servers", show::servers),
        AdminCommand::Drain { server, within, why } => {
            let body = json!({ "server": server, "within_s": within.map(Period::as_secs), "why": why });
            act("/admin/drain", body, show::drain)
        }
        AdminCommand::Undrain { server, why } => {
            act("/admin/undrain", json!({ "server": server, "why": why }), show::undrain)
        }
        AdminCommand::RevokeKey { server, lowest, why } => {
            act("/admin/revoke-key", json!({ "server": server, "lowest": lowest, "why": why }), show::revoked)
        }
        AdminCommand::Find { player } => Wish::look("/admin/find", json!({ "player": player }), show::found),
        AdminCommand::Where { player } => {
            Wish::look("/admin/where", json!({ "player": player }), show::places)
        }
        AdminCommand::Explain { player } => {
            Wish::look("/admin/explain", json!({ "player": player }), show::stories)
        }
        AdminCommand::Kick { player, why } => {
            act("/admin/kick", json!({ "player": player, "why": why }), show::kicked)
        }
        AdminCommand::Ban { player, life, why } => {
            let body = json!({ "player": player, "for_s": life.map(Period::as_secs), "why": why });
            act("/admin/ban", body, show::banned)
        }
        AdminCommand::Unban { player, why } => {
            act("/admin/unban", json!({ "player": player, "why": why }), show::unbanned)
        }
        AdminCommand::Maintenance(Maintenance::On { message, allow, why }) => {
            let body = json!({ "message": message, "allow": allow, "why": why });
            act("/admin/maintenance", body, show::rules)
        }
        AdminCommand::Maintenance(Maintenance::Off { why }) => {
            act("/admin/maintenance", json!({ "why": why }), show::rules)
        }
        AdminCommand::Maintenance(Maintenance::Show) => Wish::get("/admin/rules", show::rules),
        AdminCommand::MinBuild { why, build, none: _ } => {
            act("/admin/min-build", json!({ "build": build, "why": why }), show::rules)
        }
        AdminCommand::Message { why, text, none: _ } => {
            act("/admin/message", json!({ "message": text, "why": why }), show::rules)
        }
        AdminCommand::Broadcast { text, why, server } => {
            let body = json!({ "text": text, "server": server, "why": why });
            act("/admin/broadcast", body, show::broadcast)
        }
        AdminCommand::Audit { last } => Wish::look("/admin/audit", json!({ "last": last }), show::audit),
    }
}

pub(super) async fn run(
    args: AdminArgs,
    config: &Config,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<ExitCode> {
    let AdminArgs { url, key_file, ca_file, operator, json, command } = args;
    let client = Client::new(config, url.as_deref(), key_file.as_deref(), ca_file)?;
    let Wish { path, body, print } = wish(command, &operator.unwrap_or_else(user));
    let reply = match client.ask(path, body.as_ref()).await {
        Ok(reply) => reply,
        Err(trouble) => {
            writeln!(terminal.complaints, "auth-hub: {trouble}")?;
            let again = matches!(trouble, Trouble::NoAnswer(_) | Trouble::Refused { may_retry: true, .. });
            return Ok(if again { TRY_AGAIN.into() } else { ExitCode::FAILURE });
        }
    };
    if json {
        writeln!(terminal.output, "{reply}")?;
    } else {
        write!(terminal.output, "{}", print(&reply))?;
    }
    // A ban that is stored, but did not end what the player has; a key that is revoked in the database only.
    let is_half_done = reply.get("ended") == Some(&Value::Null) || reply["in_force"] == json!(false);
    Ok(if is_half_done { TRY_AGAIN.into() } else { ExitCode::SUCCESS })
}

/// What the system calls whoever runs this; only a word for the audit.
pub(super) fn user() -> String {
    use std::os::unix::fs::MetadataExt as _;
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        let uid = std::fs::metadata("/proc/self").map(|of| of.uid().to_string());
        uid.map_or_else(|_| "unknown".to_owned(), |uid| format!("user {uid}"))
    })
}

#[cfg(test)]
mod tests;
