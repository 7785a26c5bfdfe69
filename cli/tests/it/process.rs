//! Starting `enishi`, reading what it says, and never waiting longer than [`LIMIT`].

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// No test waits longer for anything: generous, because the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(60);

/// `enishi` with these arguments and without what the tester's environment sets.
pub fn enishi(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enishi"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ENISHI_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Done {
    end(enishi(arguments))
}

/// Runs a command to its end.
pub fn end(mut command: Command) -> Done {
    let child = command.spawn().expect("the program starts");
    Running::new(child).end()
}

/// A program that ended.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A program that runs; killed if it is dropped.
pub struct Running {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
    seen_out: Vec<String>,
    seen_err: Vec<String>,
}

impl Running {
    pub fn new(mut child: Child) -> Running {
        let out = lines(child.stdout.take());
        let err = lines(child.stderr.take());
        Running { child, out, err, seen_out: Vec::new(), seen_err: Vec::new() }
    }

    /// Waits for a line on stdout that holds `part`.
    pub fn said(&mut self, part: &str) -> String {
        await_line(&self.out, &mut self.seen_out, part).unwrap_or_else(|| panic!("no {part:?} on stdout: {self:?}"))
    }

    /// Waits for a line on stderr that holds `part`.
    pub fn told(&mut self, part: &str) -> String {
        await_line(&self.err, &mut self.seen_err, part).unwrap_or_else(|| panic!("no {part:?} on stderr: {self:?}"))
    }

    /// Types a line; stdin must be piped.
    pub fn types(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().expect("stdin is piped"), "{line}").expect("it reads");
    }

    /// Ends the input.
    pub fn close_input(&mut self) {
        self.child.stdin.take();
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end.
    pub fn end(mut self) -> Done {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            assert!(start.elapsed() < LIMIT, "it does not end: {self:?}");
            thread::sleep(Duration::from_millis(5));
        };
        self.seen_out.extend(self.out.iter());
        self.seen_err.extend(self.err.iter());
        Done { code: status.code(), out: self.seen_out.concat(), err: self.seen_err.concat() }
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stdout {:#?} stderr {:#?}", self.seen_out, self.seen_err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Feeds text to a program's stdin.
pub fn fed(program: &str, arguments: &[&str], text: &str) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn lines(stream: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (give, take) = channel();
    if let Some(stream) = stream {
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                if give.send(std::mem::take(&mut line)).is_err() {
                    return;
                }
            }
        });
    }
    take
}

fn await_line(lines: &Receiver<String>, seen: &mut Vec<String>, part: &str) -> Option<String> {
    let end = Instant::now() + LIMIT;
    loop {
        let line = lines.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
        seen.push(line.clone());
        if line.contains(part) {
            return Some(line);
        }
    }
}
