//! `dev-certs`: an authority and certificates for a hub and game servers, to try TLS with.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Parser;
use hub_tests::pki::Pki;

/// Makes a test authority in FOLDER (ca.pem) and one certificate for each NAME (NAME.pem, NAME.key). Everything is made anew each
/// time; the authority's key is not kept.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to
    folder: PathBuf,
    /// Whom for
    #[arg(default_values = ["hub", "alpha", "beta"])]
    names: Vec<String>,
    /// Host names and addresses that each certificate is for
    #[arg(long = "host", value_name = "HOST", default_values = ["localhost", "127.0.0.1", "::1"])]
    hosts: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let Arguments { folder, names, hosts } = Arguments::parse();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    let pki = Pki::create(&folder)?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", pki.ca_file().display())?;
    for name in &names {
        let files = pki.issue(name, &hosts)?;
        writeln!(out, "{}\n{}", files.cert.display(), files.key.display())?;
    }
    Ok(())
}
