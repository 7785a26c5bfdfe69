//! A server of the bench's own, as a child process, and on which cores it and we run.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, anyhow};

use super::process::Pid;
use crate::failure::Failure;
use crate::runtime::Runtime;

/// Limits that hold back who floods, or a full server, would be measured instead of the server. They stay in force.
const RAISED: [&str; 11] = [
    "--max-messages-per-second=1000000000",
    "--max-message-burst=1000000000",
    "--max-connections=100000",
    "--max-clients=100000",
    "--max-rooms=100000",
    "--max-room-members=20000",
    "--outbox-soft-messages=100000",
    "--outbox-hard-messages=200000",
    "--outbox-soft-bytes=268435456",
    "--outbox-hard-bytes=536870912",
    "--stall-seconds=60",
];

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct OwnServer {
    child: Child,
    /// `ws://127.0.0.1:port/ws`
    pub url: String,
}

impl OwnServer {
    /// Starts one on a free port of loopback and waits until it listens; `raised` or with the limits that it has by
    /// itself.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(runtime: Runtime, raised: bool) -> Result<Self, Failure> {
        let program = env::current_exe().context("cannot find this program to start a server")?;
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("ENISHI_") {
                command.env_remove(name);
            }
        }
        let runtime = match runtime {
            Runtime::Mio => "mio",
            Runtime::Smol => "smol",
        };
        command.args(["signal", "--listen", "127.0.0.1:0", "--runtime", runtime]);
        if raised {
            // It is not to measure a log either.
            command.args(RAISED).env("RUST_LOG", "warn");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start a server")?;
        let lines = child.stderr.take().ok_or_else(|| anyhow!("the server has no stderr"))?;
        let mut server = OwnServer { child, url: String::new() };
        let mut lines = BufReader::new(lines).lines().map_while(Result::ok);
        let mut said = String::new();
        for line in lines.by_ref() {
            if let Some(url) = listening(&line) {
                server.url = url;
                break;
            }
            said = line;
        }
        if server.url.is_empty() {
            return Err(anyhow!("the server ended without listening: {said}").into());
        }
        // What it goes on to say is read and forgotten, or it would wait for us.
        thread::spawn(move || lines.for_each(drop));
        Ok(server)
    }

    pub fn pid(&self) -> Pid {
        Pid(self.child.id())
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listening(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("ws://")?;
    let authority: String = rest.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
    Some(format!("ws://{authority}/ws"))
}

/// Gives this thread, and what it starts from now on, one core: the server the first of those that we may use, the
/// load the second. Says whether it could.
#[cfg(target_os = "linux")]
pub fn pin(place: usize) -> bool {
    use std::sync::OnceLock;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    let allowed = ALLOWED.get_or_init(|| {
        let set = sched_getaffinity(None).unwrap_or_default();
        (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
    });
    if allowed.len() < 2 {
        return false;
    }
    let mut one = CpuSet::new();
    one.set(allowed[place % allowed.len()]);
    sched_setaffinity(None, &one).is_ok()
}

/// Gives this thread one core, where there is a way to.
#[cfg(not(target_os = "linux"))]
pub fn pin(_place: usize) -> bool {
    false
}

/// Lets this process, and what it starts, have as many files as the system allows. How many that is.
pub fn raise_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum.unwrap_or(u64::MAX);
    }
    current.unwrap_or(u64::MAX)
}
