//! Log lines on stderr.

use std::io::IsTerminal;

use enishi_core::trace::Trace;
use tracing_subscriber::EnvFilter;

use crate::args::Logging;
use crate::output::Lines;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Sends what is traced to `lines`. `RUST_LOG` has the last word on what that is.
pub fn start(logging: &Logging, lines: Lines) {
    let level = match (logging.quiet, logging.verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(move || lines.clone());
    // A subscriber may be set already only in tests; then that one serves.
    let _ = match logging.log_format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(colours()).try_init(),
    };
}

/// Logs what a server told: notable things at `info`, the rest at `debug`.
pub fn trace(trace: &Trace) {
    if trace.is_notable() {
        tracing::info!(event = event(trace), "{trace}");
    } else {
        tracing::debug!(event = event(trace), "{trace}");
    }
}

/// Whether stderr takes colours: a terminal does, unless it is dumb or told not to.
fn colours() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    std::io::stderr().is_terminal() && !dumb && !set("NO_COLOR")
}

/// A stable word for programs that read the log.
fn event(trace: &Trace) -> &'static str {
    match trace {
        Trace::Accepted { .. } => "accepted",
        Trace::Answered { .. } => "answered",
        Trace::Upgraded { .. } => "upgraded",
        Trace::Registered { .. } => "registered",
        Trace::Unregistered { .. } => "unregistered",
        Trace::Routed { .. } => "routed",
        Trace::Refused { .. } => "refused",
        Trace::Closed { .. } => "closed",
    }
}
