//! How far a run is, for a person who waits.

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Drawing costs the measuring thread time.
const BETWEEN: Duration = Duration::from_millis(200);

const STEPS: u64 = 1000;

/// A bar on stderr, or nothing if that is no terminal.
pub struct Progress {
    bar: ProgressBar,
    drawn: Cell<Option<Instant>>,
}

impl Progress {
    pub fn new() -> Self {
        let bar = if io::stderr().is_terminal() { ProgressBar::new(STEPS) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent}% {msg}") {
            bar.set_style(style);
        }
        Progress { bar, drawn: Cell::new(None) }
    }

    /// A share of the whole, from 0 to 1, and what is being done.
    pub fn set(&self, share: f64, doing: &'static str) {
        if !self.bar.is_hidden() && self.drawn.get().is_none_or(|at| at.elapsed() >= BETWEEN) {
            self.drawn.set(Some(Instant::now()));
            self.bar.set_message(doing);
            self.bar.set_position((share * STEPS as f64) as u64);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
