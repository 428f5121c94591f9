//! The hub's clock, as its HTTP answers tell it, against ours.
//!
//! Speaks just enough HTTP for one header. Invariant: bounded in time and bytes; an answer that is not understood is no verdict.

use std::io;
use std::time::Duration;

use shared_msgs::clock::UnixMs;
use shared_msgs::limits;
use shared_msgs::net::tls::{ClientTls, ClientTlsFiles};
use shared_msgs::process::check::Finding;
use shared_msgs::skew::{Suspect, skew_s};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

const WHAT: &str = "clock.hub";
const TIME_MAX: Duration = Duration::from_secs(3);
const ANSWER_BYTES_MAX: u64 = 4096;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Compares the clocks. The hub's is known to a second, and some of the way there is lost: both are far below what is allowed.
///
/// A hub behind `https://` is asked with `tls`, else with the system's roots.
pub(super) async fn compare(hub: &str, tls: Option<&ClientTls>, now: UnixMs) -> Finding {
    let unknown = |detail: &str| {
        let remedy = "give the hub's http.listen as --hub HOST:PORT, or https://HOST:PORT where it has a certificate; when both run, the event clock.skewed tells";
        Finding::warn(WHAT, format!("{hub}: {detail}"), remedy)
    };
    let answer = match tokio::time::timeout(TIME_MAX, ask(hub, tls)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return unknown(&error.to_string()),
        Err(_elapsed) => return unknown("no answer in time"),
    };
    let date = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then(|| parse(value.trim()))?
    });
    date.map_or_else(|| unknown("its answer has no date"), |date| judge(now, date))
}

fn judge(ours: UnixMs, hub: UnixMs) -> Finding {
    let skew_s = skew_s(ours, hub);
    let direction = if skew_s < 0 { "behind" } else { "ahead of" };
    let detail = format!("our clock is {} s {direction} the hub's", skew_s.unsigned_abs());
    let distance = ours.abs_diff(hub);
    if distance > limits::CLOCK_SKEW_MAX {
        Finding::fail(WHAT, detail, Suspect::Either.remedy())
    } else if distance > limits::CLOCK_SKEW_MAX / 2 {
        Finding::warn(WHAT, detail, "no harm yet; use a time service on both machines")
    } else {
        Finding::ok(WHAT, detail)
    }
}

async fn ask(hub: &str, tls: Option<&ClientTls>) -> io::Result<String> {
    let Some(hub) = hub.strip_prefix("https://") else {
        let hub = hub.strip_prefix("http://").unwrap_or(hub);
        return ask_on(TcpStream::connect(hub).await?, hub).await;
    };
    let tls = match tls {
        Some(tls) => tls.clone(),
        None => ClientTls::load(ClientTlsFiles::default()).map_err(io::Error::other)?,
    };
    let host = hub.rsplit_once(':').map_or(hub, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ask_on(tls.connect(host, TcpStream::connect(hub).await?).await?, hub).await
}

async fn ask_on(mut stream: impl AsyncRead + AsyncWrite + Unpin, hub: &str) -> io::Result<String> {
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {hub}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await;
    // What came counts, however it ended: not everybody says goodbye in TLS.
    if answer.is_empty() {
        read?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The one form of date that HTTP still sends: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse(text: &str) -> Option<UnixMs> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let month = MONTHS.iter().position(|name| *name == month)?;
    let time: Vec<u64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = time[..] else { return None };
    let fits = (1..=31).contains(&day)
        && (1970..10_000).contains(&year)
        && hours < 24
        && minutes < 60
        && seconds < 61;
    if !fits {
        return None;
    }
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let before_month = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month];
    let is_leap = leap_days(year) > leap_days(year - 1);
    let days = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969)
        + before_month
        + u64::from(is_leap && month > 1)
        + day
        - 1;
    Some(UnixMs((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000))
}

#[cfg(test)]
mod tests {
    use shared_msgs::process::check::Level;

    use super::*;

    #[test]
    fn dates_are_read_and_nothing_else() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Sat, 21 Nov 2026 15:00:00 GMT", 1_795_273_200),
        ] {
            assert_eq!(parse(text), Some(UnixMs(seconds * 1_000)), "{text}");
        }
        for text in [
            "",
            "now",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "x, 1 Foo 2000 0:0:0 GMT",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_distance_decides() {
        let hub = UnixMs(1_795_273_200_000);
        for (ahead_ms, level) in
            [(0, Level::Ok), (14_000, Level::Ok), (-20_000, Level::Warn), (3_600_000, Level::Fail)]
        {
            assert_eq!(judge(UnixMs(hub.0.saturating_add_signed(ahead_ms)), hub).level, level, "{ahead_ms}");
        }
        let behind = judge(UnixMs(hub.0 - 3_600_000), hub);
        assert_eq!(
            (behind.level, behind.detail.as_str()),
            (Level::Fail, "our clock is 3600 s behind the hub's")
        );
    }
}
