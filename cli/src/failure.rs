//! How the program ends when it cannot do what it was asked to.

use std::io::Write;

/// Everything was done.
pub const DONE: u8 = 0;
/// Something failed while running.
pub const FAILED: u8 = 1;
/// The command line, the environment or the configuration file is wrong.
pub const USAGE: u8 = 2;
/// The signaling server cannot be reached.
pub const UNREACHABLE: u8 = 3;

/// Why the program ends early. Each is said in one line, apart from clap's own, which adds a suggestion.
#[derive(Debug)]
pub enum Failure {
    /// clap's errors, and its help and version, which are no errors but end the program as well.
    Arguments(Box<clap::Error>),
    /// A value is wrong in a way that only becomes clear beside another value.
    Usage(String),
    /// A server cannot be reached.
    Unreachable(String),
    /// Something failed while running.
    Runtime(anyhow::Error),
}

impl Failure {
    /// Says it, and gives the exit code. A closed stdout or stderr is no reason to fail once more.
    pub fn report(self) -> u8 {
        match self {
            Failure::Arguments(error) => {
                let _ = error.print();
                if error.use_stderr() { USAGE } else { DONE }
            }
            Failure::Usage(what) => say(&what, USAGE),
            Failure::Unreachable(what) => say(&what, UNREACHABLE),
            Failure::Runtime(error) => say(&format!("{error:#}"), FAILED),
        }
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Failure::Arguments(Box::new(error))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Runtime(error)
    }
}

fn say(what: &str, code: u8) -> u8 {
    let _ = writeln!(std::io::stderr(), "error: {what}");
    code
}
