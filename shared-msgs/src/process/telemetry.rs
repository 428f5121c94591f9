//! Logs: to standard error, for people or for machines.
//!
//! Owns the global subscriber; `main` calls it once, no library does. Invariant: in JSON every field stands at the top level, so that
//! `jq 'select(.handover_id == "…")'` finds an attempt.

use std::io::IsTerminal as _;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text when standard error is a terminal, else JSON.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = TelemetryError;
    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(TelemetryError::Format),
        }
    }
}

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Not a format.
    #[error("the log format is auto, text or json")]
    Format,
    /// Not a filter.
    #[error("log filter \"{filter}\": {source}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody was here first.
    #[error("logging was already started")]
    AlreadyStarted,
}

/// What is logged, to be changed while the process runs.
pub struct LogFilter(Box<dyn Fn(EnvFilter) -> bool + Send + Sync>);

impl LogFilter {
    /// For what does not log.
    pub fn none() -> Self {
        Self(Box::new(|_| false))
    }

    /// From now on this is logged.
    ///
    /// # Errors
    /// [`TelemetryError::Filter`]; then all stays as it was.
    pub fn set(&self, filter: &str) -> Result<(), TelemetryError> {
        // False only when the subscriber is gone, and with it whoever could read a log.
        (self.0)(parse(filter)?);
        Ok(())
    }
}

impl std::fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogFilter")
    }
}

/// Starts logging to standard error. `filter` is like `info` or `info,link=debug`.
///
/// # Errors
/// [`TelemetryError`].
pub fn init(format: LogFormat, filter: &str) -> Result<LogFilter, TelemetryError> {
    let (dispatch, filter) = dispatch(format, filter, std::io::stderr().is_terminal(), std::io::stderr)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| TelemetryError::AlreadyStarted)?;
    Ok(filter)
}

/// Whether logging would start with this filter.
///
/// # Errors
/// [`TelemetryError::Filter`].
pub fn check_filter(filter: &str) -> Result<(), TelemetryError> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })
}

fn dispatch<W>(
    format: LogFormat,
    filter: &str,
    terminal: bool,
    writer: W,
) -> Result<(Dispatch, LogFilter), TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = parse(filter)?;
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(terminal);
    Ok(if json {
        let builder = builder.json().flatten_event(true).with_current_span(false).with_span_list(true);
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        (builder.into(), LogFilter(Box::new(move |filter| handle.reload(filter).is_ok())))
    } else {
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        (builder.into(), LogFilter(Box::new(move |filter| handle.reload(filter).is_ok())))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, terminal: bool) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (dispatch, filter) = dispatch(format, "info", terminal, move || writer.clone()).unwrap();
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::info!(handover_id = "h-1", "granted");
            tracing::debug!("filtered");
            filter.set("warn").unwrap();
            tracing::info!("filtered by now");
            assert!(filter.set("info,link=loud").is_err());
            tracing::info!("filtered still");
        });
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_flat_and_auto_follows_the_terminal() {
        for (format, terminal) in [(LogFormat::Json, true), (LogFormat::Auto, false)] {
            let line = logged(format, terminal);
            assert_eq!(line.lines().count(), 1, "{line}");
            assert!(line.starts_with('{') && line.contains(r#""handover_id":"h-1""#), "{line}");
            assert!(line.contains(r#""message":"granted""#) && !line.contains(r#""fields""#), "{line}");
        }
        for (format, terminal) in [(LogFormat::Text, false), (LogFormat::Auto, true)] {
            let line = logged(format, terminal);
            assert!(!line.starts_with('{') && line.contains("granted"), "{line}");
        }
    }

    #[test]
    fn a_broken_filter_is_an_error_that_quotes_it() {
        let error =
            dispatch(LogFormat::Json, "info,link=loud", false, std::io::sink).err().unwrap().to_string();
        assert!(error.contains("link=loud"), "{error}");
        assert!("yaml".parse::<LogFormat>().is_err());
    }
}
