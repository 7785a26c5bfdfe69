//! Log lines on stderr.

use std::io::IsTerminal;

use enishi_core::machine::ConnId;
use enishi_core::signal::Name;
use enishi_core::trace::Trace;
use tracing::Level;
use tracing::level_filters::LevelFilter;
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

/// Logs what a server told: notable things at `info`, the rest at `debug`. For programs, with a stable word for what
/// it is, the connection and the id.
pub fn trace(format: LogFormat, trace: &Trace) {
    let level = if trace.is_notable() { Level::INFO } else { Level::DEBUG };
    if level > LevelFilter::current() {
        return;
    }
    if format == LogFormat::Text {
        return if level == Level::INFO { tracing::info!("{trace}") } else { tracing::debug!("{trace}") };
    }
    let (event, conn, id) = fields(trace);
    let (conn, id) = (conn.map(|conn| conn.to_string()), id.map(|id| id.as_str()));
    let conn = conn.as_deref();
    if level == Level::INFO {
        tracing::info!(event, conn, id, "{trace}");
    } else {
        tracing::debug!(event, conn, id, "{trace}");
    }
}

/// Whether stderr takes colours: a terminal does, unless it is dumb or told not to.
fn colours() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    std::io::stderr().is_terminal() && !dumb && !set("NO_COLOR")
}

fn fields(trace: &Trace) -> (&'static str, Option<ConnId>, Option<&Name>) {
    match trace {
        Trace::Accepted { conn, .. } => ("accepted", Some(*conn), None),
        Trace::Answered { conn, .. } => ("answered", Some(*conn), None),
        Trace::Upgraded { conn } => ("upgraded", Some(*conn), None),
        Trace::Registered { conn, name, .. } => ("registered", Some(*conn), Some(name)),
        Trace::Unregistered { name, .. } => ("unregistered", None, Some(name)),
        Trace::Routed { from, .. } => ("routed", None, Some(from)),
        Trace::Refused { conn, .. } => ("refused", Some(*conn), None),
        Trace::Closed { conn, .. } => ("closed", Some(*conn), None),
    }
}
