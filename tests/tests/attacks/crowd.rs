//! Crowd processes, and what each of their sockets says. They end with the fixture.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hub_tests::process::binaries;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Thousands of sockets on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A TLS record that promises a client's hello, and the first bytes of one.
pub(crate) const HALF_TLS: &[u8] =
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half a hello and no more of it";
/// A request without the end of its head.
pub(crate) const HALF_HEAD: &[u8] =
    b"POST /auth/login HTTP/1.1\r\nhost: hub\r\ncontent-length: 10\r\nx-more: ";
/// A request whose body does not come to its end.
pub(crate) const SLOW_BODY: &[u8] =
    b"POST /auth/login HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\n\
    content-length: 16000\r\n\r\n{\"login\":\"";
/// CONNECT with a length that is not reached.
pub(crate) const HALF_CONNECT: &[u8] = b"\x10\x50\x00\x04MQTT\x04\xc2\x00\x3c\x00\x08gs-al";
/// A hello's frame that says how long it is and does not get there.
pub(crate) const HALF_HELLO: &[u8] = b"\x00\x00\x00\x60\x00\x01\x4cAbCdEf";

/// How a crowd behaves; see the binary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner<'a> {
    pub(crate) pace: &'a str,
    pub(crate) say: &'a [u8],
    pub(crate) count: u32,
    /// How many, and the block they are of. Block 0 begins with 127.0.0.1, from where everybody honest comes.
    pub(crate) addresses: (u32, u8),
}

/// A running crowd.
#[derive(Debug)]
pub(crate) struct Crowd {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Crowd {
    pub(crate) fn start(to: SocketAddr, manner: Manner<'_>) -> anyhow::Result<Self> {
        let Manner { pace, say, count, addresses: (addresses, net) } = manner;
        let mut hex = String::new();
        for byte in say {
            write!(hex, "{byte:02x}")?;
        }
        let mut child = Command::new(binaries()?.join("crowd"))
            .arg(to.to_string())
            .args(["--pace", pace, "--say", &hex, "--count", &count.to_string()])
            .args(["--addresses", &addresses.to_string(), "--net", &net.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        Ok(Self { child, stdout: BufReader::new(stdout).lines() })
    }

    async fn counted(&mut self, what: &str) -> anyhow::Result<u64> {
        let counted = async {
            while let Some(line) = self.stdout.next_line().await? {
                let count = line.strip_prefix("COUNT ").and_then(|rest| rest.strip_prefix(what));
                if let Some(count) = count.and_then(|rest| rest.strip_prefix('=')) {
                    return Ok(count.parse()?);
                }
            }
            bail!("the crowd has ended")
        };
        tokio::time::timeout(PATIENCE, counted).await.context("the crowd is slow")?
    }

    /// Waits until all its sockets have been opened.
    pub(crate) async fn is_there(&mut self) -> anyhow::Result<()> {
        self.counted("open").await.map(drop)
    }

    /// Sends it away; gives how often it spoke, if it was a flood.
    pub(crate) async fn leave(mut self) -> anyhow::Result<u64> {
        drop(self.child.stdin.take());
        let said = self.counted("said").await?;
        ensure!(tokio::time::timeout(PATIENCE, self.child.wait()).await??.success(), "the crowd failed");
        Ok(said)
    }
}
