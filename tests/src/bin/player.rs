//! `player`: registers, logs in and plays, and shows each step with its time.
//!
//! Exit codes: 0 in game (or registered, or placed); 3 refused, with the code and what to do next; 1 anything else.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use hub_tests::client::{ClientError, GameClient, HubClient, LoggedIn, Outcome, Ticket};
use shared_msgs::codes::{Code, Retry};
use shared_msgs::frames::{ClientFrame, ServerFrame};
use shared_msgs::net::tls::{ClientTls, ClientTlsFiles};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const EXIT_REFUSED: u8 = 3;
/// First and longest pause between attempts to come back.
const RETURN_FIRST: Duration = Duration::from_millis(250);
const RETURN_MAX: Duration = Duration::from_secs(5);

/// A player's client.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make an account
    Register(Who),
    /// Log in and show where to go
    Login(Who),
    /// Log in, connect, and talk to the game: `who` lists who is here, `move SERVER TEXT` moves to another server with some luggage, `luggage` shows what came along, anything else is echoed
    Play(Who),
}

#[derive(Args)]
struct Who {
    /// The hub's HTTP address, such as http://127.0.0.1:8080
    #[arg(long)]
    hub: String,
    /// Login name
    #[arg(long)]
    login: String,
    /// Password
    #[arg(long, env = "PLAYER_PASSWORD", hide_env_values = true)]
    password: String,
    /// Only this server
    #[arg(long)]
    server: Option<String>,
    /// Authorities to trust, PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl Who {
    /// With `https`, whom to trust.
    fn trust(&self) -> anyhow::Result<Option<ClientTls>> {
        let files = ClientTlsFiles { ca: self.ca_file.clone(), identity: None };
        let wanted = self.hub.starts_with("https:") || files.ca.is_some();
        Ok(wanted.then(|| ClientTls::load(files)).transpose()?)
    }

    fn client(&self) -> anyhow::Result<HubClient> {
        Ok(match self.trust()? {
            Some(trust) => HubClient::trusting(self.hub.clone(), &trust)?,
            None => HubClient::new(self.hub.clone())?,
        })
    }
}

/// Prints steps with their times.
struct Steps(Instant);

impl Steps {
    #[expect(clippy::disallowed_methods, reason = "a client shows what its user waits")]
    fn start() -> Self {
        Self(Instant::now())
    }

    #[expect(clippy::disallowed_methods, reason = "a client shows what its user waits")]
    fn step(&mut self, what: &str) -> std::io::Result<()> {
        let took = self.0.elapsed();
        writeln!(std::io::stdout(), "{:>9.1} ms  {what}", took.as_secs_f64() * 1000.0)?;
        self.0 = Instant::now();
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let command = Cli::parse().command;
    let done = match command {
        Command::Register(who) => register(who).await,
        Command::Login(who) => login(&who, &mut Steps::start()).await.map(|_| ExitCode::SUCCESS),
        Command::Play(who) => play(who).await,
    };
    done.unwrap_or_else(|error| {
        eprintln!("player: {error:#}");
        let refused = matches!(error.downcast_ref(), Some(ClientError::Problem(_)));
        if refused { ExitCode::from(EXIT_REFUSED) } else { ExitCode::FAILURE }
    })
}

async fn register(who: Who) -> anyhow::Result<ExitCode> {
    let mut steps = Steps::start();
    let made = who.client()?.register(&who.login, &who.password).await?;
    steps.step(&format!("registered {} as account {}", who.login, made.account_id))?;
    Ok(ExitCode::SUCCESS)
}

async fn login(who: &Who, steps: &mut Steps) -> anyhow::Result<LoggedIn> {
    let login = who.client()?.login(&who.login, &who.password, who.server.as_deref()).await?;
    if let Some(ticket) = &login.handover {
        let confirmed = if ticket.confirmed { "it expects us" } else { "it has not answered yet" };
        let (server, id) = (&ticket.server.id, &ticket.handover_id);
        let at = ticket.endpoints.first().map_or("nowhere", |endpoint| endpoint.address.as_str());
        steps.step(&format!("logged in: go to {server} at {at}, {confirmed} (handover {id})"))?;
    }
    Ok(login)
}

/// Where the player types.
type Lines = tokio::io::Lines<BufReader<tokio::io::Stdin>>;

async fn play(who: Who) -> anyhow::Result<ExitCode> {
    let mut steps = Steps::start();
    let login = login(&who, &mut steps).await?;
    let mut ticket = login.handover.ok_or(ClientError::NoEndpoint)?;
    let trust = who.trust()?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let mut game = GameClient::go(&ticket, trust.as_ref()).await?;
        game.say_hello(&ticket.token).await?;
        steps.step("connected, said hello")?;
        let outcome = game.outcome().await?;
        let waited = if game.delayed { "delayed, then " } else { "" };
        steps.step(&format!("{waited}{outcome}"))?;
        if let Outcome::Refused { .. } = outcome {
            return Ok(ExitCode::from(EXIT_REFUSED));
        }
        match stay(&ticket, trust.as_ref(), game, &mut lines, &mut steps).await? {
            Heard::Moved => ticket = who.client()?.handover(&login.access_token, None).await?,
            Heard::Over => return Ok(ExitCode::from(EXIT_REFUSED)),
            Heard::Answer | Heard::Else => return Ok(ExitCode::SUCCESS),
        }
        steps.step(&format!("the hub sends us to {} (handover {})", ticket.server.id, ticket.handover_id))?;
    }
}

/// What a frame of the game means to us.
#[derive(PartialEq, Eq)]
enum Heard {
    Answer,
    Else,
    /// The session ended, and the next handover leads on.
    Moved,
    /// The session ended.
    Over,
}

/// Talks until the session or the input ends, and comes back whenever the connection breaks.
async fn stay(
    ticket: &Ticket,
    trust: Option<&ClientTls>,
    mut game: GameClient,
    lines: &mut Lines,
    steps: &mut Steps,
) -> anyhow::Result<Heard> {
    loop {
        let broken = match talk(&mut game, lines, steps).await {
            Err(error) if matches!(error.downcast_ref(), Some(ClientError::Io(_))) => error,
            done => return done,
        };
        let Some((credential, within)) = game.way_back() else { return Err(broken) };
        steps.step(&format!("{broken}; coming back"))?;
        match come_back(ticket, trust, credential, within).await? {
            (back, Outcome::Welcome { .. }) => game = back,
            (_, refused) => {
                steps.step(&refused.to_string())?;
                let moves = matches!(&refused, Outcome::Refused { code, .. } if code == Code::Moved.as_str());
                return Ok(if moves { Heard::Moved } else { Heard::Over });
            }
        }
        steps.step("back in game")?;
    }
}

/// Tries until there is a word on it, or the time to come back is over.
async fn come_back(
    ticket: &Ticket,
    trust: Option<&ClientTls>,
    credential: &str,
    within: Duration,
) -> anyhow::Result<(GameClient, Outcome)> {
    let until = tokio::time::Instant::now() + within;
    let mut pause = RETURN_FIRST;
    loop {
        let attempt = async {
            let mut game = GameClient::go(ticket, trust).await?;
            game.ask_back(credential).await?;
            let outcome = game.outcome().await?;
            Ok::<_, ClientError>((game, outcome))
        };
        let word = attempt.await;
        let is_over = tokio::time::Instant::now() + pause >= until;
        match word {
            Ok((_, Outcome::Refused { retry: Retry::SameToken { .. }, .. })) | Err(_) if !is_over => {}
            word => return Ok(word?),
        }
        // Nothing else happens meanwhile.
        let _ = tokio::time::timeout(pause, std::future::pending::<()>()).await;
        pause = (pause * 2).min(RETURN_MAX);
    }
}

fn hear(frame: ServerFrame, steps: &mut Steps) -> std::io::Result<Heard> {
    Ok(match frame {
        ServerFrame::Refused { code, .. } => {
            steps.step(&format!("the session ended: {code}"))?;
            if code == Code::Moved.as_str() { Heard::Moved } else { Heard::Over }
        }
        ServerFrame::Ending { code, save_within_ms } => {
            steps.step(&format!("the session ends within {save_within_ms} ms: {code}"))?;
            Heard::Else
        }
        ServerFrame::App(said) => {
            steps.step(&String::from_utf8_lossy(&said))?;
            Heard::Answer
        }
        ServerFrame::Notice { text } => {
            steps.step(&format!("notice: {text}"))?;
            Heard::Else
        }
        ServerFrame::Welcome { .. } | ServerFrame::Delayed { .. } | ServerFrame::Reconnect { .. } => {
            Heard::Else
        }
    })
}

/// Lines of standard input go to the game until it, or the session, ends.
async fn talk(game: &mut GameClient, lines: &mut Lines, steps: &mut Steps) -> anyhow::Result<Heard> {
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            frame = game.read() => match hear(frame?, steps)? {
                Heard::Answer | Heard::Else => continue,
                end => return Ok(end),
            },
        };
        let Some(line) = line else { break };
        game.send(&ClientFrame::App(line.into_bytes())).await?;
        loop {
            match hear(game.next().await?, steps)? {
                Heard::Else => {}
                Heard::Answer => break,
                end => return Ok(end),
            }
        }
    }
    game.send(&ClientFrame::Leave).await?;
    steps.step("left")?;
    Ok(Heard::Else)
}
