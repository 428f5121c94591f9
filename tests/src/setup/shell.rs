//! Another program at the hub's database: a Python with SQLite, for locks held from outside and for rows that no hub would write.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::Scene;

/// Another program with a connection of its own to the database: runs SQL, says so, and keeps what it holds until it is ended.
#[derive(Debug)]
pub struct Shell(Child);

impl Shell {
    /// Runs the statements, parted by `;`, and keeps what they hold.
    ///
    /// # Errors
    /// When one fails.
    pub async fn hold(scene: &Scene, database: &str, sql: &str) -> anyhow::Result<Self> {
        let script = "import sqlite3, sys\n\
                      db = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                      for sql in sys.argv[2].split(';'): db.execute(sql)\n\
                      print('done', flush=True)\n\
                      sys.stdin.read()\n\
                      db.close()\n";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(scene.path(database))
            .arg(sql)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("python3")?;
        let said = BufReader::new(child.stdout.take().context("stdout")?).lines().next_line().await?;
        ensure!(said.as_deref() == Some("done"), "{sql}: {said:?}");
        Ok(Self(child))
    }

    /// Lets go and ends.
    ///
    /// # Errors
    /// When it did not end well.
    pub async fn end(mut self) -> anyhow::Result<()> {
        drop(self.0.stdin.take());
        ensure!(self.0.wait().await?.success(), "the shell failed");
        Ok(())
    }
}

/// Runs the statements and lets go.
///
/// # Errors
/// When one fails.
pub async fn sql(scene: &Scene, database: &str, sql: &str) -> anyhow::Result<()> {
    Shell::hold(scene, database, sql).await?.end().await
}
