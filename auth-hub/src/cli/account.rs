//! `auth-hub account …`: what an operator does to accounts.
//!
//! Knows arguments and texts; the rules are those of the accounts room. Works on the database file, beside a running hub or without one.

use std::io::{BufRead, Read as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use shared_msgs::clock::{Clock, SystemClock};
use shared_msgs::rng::{Rng, SystemRng};
use shared_msgs::text::is_plain;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::admin::user;
use super::{Terminal, open_store};
use crate::accounts::account::PASSWORD_BYTES_MAX;
use crate::accounts::admin::AdminError;
use crate::accounts::audit::{Deed, REASON_BYTES_MAX};
use crate::accounts::store::PAGE_ACCOUNTS_MAX;
use crate::accounts::{
    Account, AccountState, DisplayName, LoginName, Password, PasswordPool, PlayerRow, PoolConfig, Store,
    admin, import,
};
use crate::config::Config;

/// What to do to accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Make an account; its password is one line of standard input
    Add {
        /// What one types to log in
        login: LoginName,
        /// What other players see [default: the login name]
        #[arg(long, value_name = "NAME")]
        display_name: Option<DisplayName>,
    },
    /// Show an account
    Show {
        /// Whose
        login: LoginName,
    },
    /// List all accounts, by login name
    List,
    /// Set a new password: one line of standard input
    SetPassword {
        /// Whose
        login: LoginName,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        why: String,
    },
    /// Let nobody log in with this account
    Disable {
        /// Whose
        login: LoginName,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        why: String,
    },
    /// Undo `disable`
    Enable {
        /// Whose
        login: LoginName,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        why: String,
    },
    /// Let this account go before others in the login queue, or no longer
    Priority {
        /// Whose
        login: LoginName,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        why: String,
        /// on or off
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(["on", "off"]))]
        state: String,
    },
    /// Make accounts from JSON lines {"login","display_name","phc"}
    Import {
        /// The file, or - for standard input
        file: PathBuf,
    },
}

pub(super) async fn run(
    command: AccountCommand,
    config: &Config,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<ExitCode> {
    let store = open_store(config, &CancellationToken::new()).await?;
    let done = perform(command, config, &store, terminal).await;
    store.close().await;
    done
}

async fn perform(
    command: AccountCommand,
    config: &Config,
    store: &Store,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<ExitCode> {
    match command {
        AccountCommand::Add { login, display_name } => {
            let display_name = display_name.map_or_else(|| login.as_str().parse(), Ok)?;
            let password = read_password(terminal)?;
            let account = admin::add(store, &pool(config)?, login, display_name, password).await?;
            writeln!(terminal.output, "added {} {}", account.login, account.id)?;
        }
        AccountCommand::Show { login } => {
            let account = admin::find(store, &login).await?;
            let players = store.players_of(account.row).await?;
            let Account { id, login, display_name, state, created, ban, row: _, phc: _ } = account;
            writeln!(terminal.output, "login         {login}")?;
            writeln!(terminal.output, "display name  {display_name}")?;
            writeln!(terminal.output, "account id    {id}")?;
            writeln!(terminal.output, "state         {state}")?;
            writeln!(terminal.output, "created       {created} ms since 1970")?;
            if let Some(ban) = ban {
                let until = ban
                    .until
                    .map_or_else(|| "for ever".to_owned(), |until| format!("until {until} ms since 1970"));
                writeln!(terminal.output, "banned        {until}: {}", ban.reason)?;
            }
            for PlayerRow { realm, player, .. } in players {
                writeln!(terminal.output, "player id     {player} in {realm}")?;
            }
        }
        AccountCommand::List => {
            let mut after = None;
            loop {
                let page = store.list(after.as_ref(), PAGE_ACCOUNTS_MAX).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.login.clone());
                for account in &page {
                    let Account { id, login, display_name, state, .. } = account;
                    writeln!(terminal.output, "{login}\t{state}\t{id}\t{display_name}")?;
                }
            }
        }
        AccountCommand::SetPassword { login, why } => {
            // Asked first, so that nobody types a password for nothing.
            admin::find(store, &login).await?;
            let password = read_password(terminal)?;
            let pool = pool(config)?;
            let work = admin::set_password(store, &pool, &login, password);
            audited(store, "account-set-password", login.to_string(), why, work).await?;
            writeln!(terminal.output, "password of {login} set")?;
        }
        AccountCommand::Disable { login, why } => {
            admin::find(store, &login).await?;
            let work = admin::set_state(store, &login, AccountState::Disabled);
            audited(store, "account-disable", login.to_string(), why, work).await?;
            writeln!(terminal.output, "{login} is disabled")?;
        }
        AccountCommand::Enable { login, why } => {
            admin::find(store, &login).await?;
            let work = admin::set_state(store, &login, AccountState::Active);
            audited(store, "account-enable", login.to_string(), why, work).await?;
            writeln!(terminal.output, "{login} is active")?;
        }
        AccountCommand::Priority { login, why, state } => {
            let account = admin::find(store, &login).await?;
            let work = async { Ok(store.set_priority(account.row, state == "on").await?) };
            audited(store, "account-priority", format!("{login} {state}"), why, work).await?;
            writeln!(terminal.output, "priority of {login} is {state}")?;
        }
        AccountCommand::Import { file } => return import_file(store, &file, terminal).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes an action down, does it, and writes down what came of it: as a running hub does for its admin API.
async fn audited(
    store: &Store,
    action: &'static str,
    target: String,
    reason: String,
    work: impl Future<Output = Result<(), AdminError>>,
) -> anyhow::Result<()> {
    let deed = Deed { operator: user(), action, target, reason };
    let id = store.audit_begin(deed, SystemClock::new().now().unix).await?;
    let done = work.await;
    let outcome = done.as_ref().map_or_else(|error| format!("failed: {error}"), |()| "done".to_owned());
    store.audit_end(id, outcome).await?;
    Ok(done?)
}

/// What the audit holds as a reason.
fn reason(text: &str) -> Result<String, String> {
    if !(1..=REASON_BYTES_MAX).contains(&text.len()) || !text.chars().all(is_plain) {
        return Err(format!(
            "a reason is one line of 1 to {REASON_BYTES_MAX} bytes, without invisible characters"
        ));
    }
    Ok(text.to_owned())
}

async fn import_file(store: &Store, file: &Path, terminal: &mut Terminal<'_>) -> anyhow::Result<ExitCode> {
    let complaints = &mut *terminal.complaints;
    let mut unheard = Ok(());
    let report = |err: import::LineError| {
        if let Err(failed) = writeln!(complaints, "{err}") {
            unheard = Err(failed);
        }
    };
    let summary = if file == Path::new("-") {
        // Read as it comes: the reader gives whole buffers, and nothing else runs here that would wait for it.
        import::import_lines(store, Blocking(terminal.input), report).await?
    } else {
        let source = tokio::fs::File::open(file).await.with_context(|| file.display().to_string())?;
        import::import_lines(store, tokio::io::BufReader::new(source), report).await?
    };
    unheard?;
    writeln!(terminal.output, "imported {}, refused {}", summary.imported, summary.refused)?;
    Ok(if summary.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A pool of one thread, for one hash.
pub(super) fn pool(config: &Config) -> anyhow::Result<PasswordPool> {
    let (rng, clock): (Arc<dyn Rng>, Arc<dyn Clock>) =
        (Arc::new(SystemRng::new()), Arc::new(SystemClock::new()));
    let config = PoolConfig { threads: NonZeroUsize::MIN, ..config.passwords.pool()? };
    Ok(PasswordPool::start(config, &CancellationToken::new(), &rng, &clock)?)
}

/// One line.
fn read_password(terminal: &mut Terminal<'_>) -> anyhow::Result<Password> {
    if terminal.interactive {
        write!(terminal.complaints, "Password (shown as you type): ")?;
        terminal.complaints.flush()?;
    }
    // A longer line is refused by its length; there is no need to read all of it. One allocation, so that one wipe gets it all.
    let limit = PASSWORD_BYTES_MAX + 3;
    let mut line = Zeroizing::new(Vec::with_capacity(limit));
    (&mut *terminal.input).take(limit as u64).read_until(b'\n', &mut line)?;
    let text = line.strip_suffix(b"\n").unwrap_or(&line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    ensure!(!text.is_empty(), "no password on standard input");
    let text = std::str::from_utf8(text).ok().context("the password is not UTF-8")?;
    Ok(Password::new(text.to_owned())?)
}

/// Standard input where the import wants an asynchronous reader.
struct Blocking<'a>(&'a mut (dyn BufRead + Send));

impl tokio::io::AsyncRead for Blocking<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(self.0.read(buf.initialize_unfilled()).map(|n| buf.advance(n)))
    }
}

impl tokio::io::AsyncBufRead for Blocking<'_> {
    fn poll_fill_buf(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<&[u8]>> {
        std::task::Poll::Ready(self.get_mut().0.fill_buf())
    }

    fn consume(self: std::pin::Pin<&mut Self>, amount: usize) {
        self.get_mut().0.consume(amount);
    }
}
