//! The end of the program from outside: signals, and a terminal that is left as it was found.

use std::io::{self, Write};
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Turns bracketed paste off, which the line editor turns on.
const PASTE_OFF: &[u8] = b"\x1b[?2004l\r\n";

/// The modes of the terminal on stdin, as they were before a line editor changed them.
#[derive(Debug, Clone)]
pub struct Terminal(Option<Termios>);

impl Terminal {
    /// Remembers the modes; there is nothing to remember if stdin is no terminal.
    pub fn save() -> Terminal {
        Terminal(tcgetattr(io::stdin()).ok())
    }

    /// Puts them back. The line editor does so itself at the end of each line, but not if the program ends in one.
    pub fn restore(&self) {
        let Some(saved) = &self.0 else { return };
        let raw = |modes: Termios| !modes.local_modes.contains(LocalModes::ICANON);
        if saved.local_modes.contains(LocalModes::ICANON) && tcgetattr(io::stdin()).is_ok_and(raw) {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, saved);
            let _ = io::stdout().write_all(PASTE_OFF);
        }
    }
}

/// Calls `first` at the first SIGINT, SIGTERM or SIGHUP. At the second, the program ends at once with 128 and the
/// number of the signal.
///
/// # Errors
/// The operating system refuses a handler or a thread.
pub fn on_signal(terminal: Terminal, first: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut arriving = signals.forever();
        if arriving.next().is_some() {
            first();
        }
        if let Some(signal) = arriving.next() {
            terminal.restore();
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}
