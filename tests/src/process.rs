//! Programs under test as a user sees them: lines in, lines out, an exit code.
//!
//! Everything waits for a line or for an end, up to a deadline; nothing sleeps. Whatever fails shows all that the
//! program has said so far.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a line may take that should come at once: generous, because a loaded machine is slow and not wrong.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    started: Instant,
    incoming: Receiver<(Stream, String)>,
    said: Vec<Said>,
    read: [usize; 2],
}

/// Where a program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output: data.
    Stdout,
    /// Standard error: messages.
    Stderr,
}

#[derive(Debug)]
struct Said {
    at: Duration,
    stream: Stream,
    line: String,
}

impl Program {
    /// Starts `command` with all three streams as pipes; `name` is for failure messages.
    ///
    /// # Panics
    /// The program cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        let (lines, incoming) = channel();
        read_lines(child.stdout.take().expect("a pipe"), Stream::Stdout, lines.clone());
        read_lines(child.stderr.take().expect("a pipe"), Stream::Stderr, lines);
        let stdin = child.stdin.take();
        Program { name: name.to_owned(), child, stdin, started, incoming, said: Vec::new(), read: [0; 2] }
    }

    /// Types one line.
    ///
    /// # Panics
    /// The program no longer reads.
    pub fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is still open");
        if let Err(error) = writeln!(stdin, "{line}") {
            panic!("{} does not read {line:?}: {error}\n{self}", self.name);
        }
    }

    /// Ends the program's standard input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Waits for a line on standard output that contains `text`, and passes over those before it.
    ///
    /// # Panics
    /// There is none within [`PATIENCE`].
    pub fn hear(&mut self, text: &str) -> String {
        self.hear_on(Stream::Stdout, text, |line| line.contains(text).then(|| line.to_owned()))
    }

    /// Waits for a line of which `pick` makes something; each line is offered once. `what` is for the failure message.
    ///
    /// # Panics
    /// There is none within [`PATIENCE`].
    pub fn hear_on<T>(&mut self, stream: Stream, what: &str, mut pick: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(said) = self.said.get(self.read[stream as usize]) {
                self.read[stream as usize] += 1;
                if said.stream == stream
                    && let Some(found) = pick(&said.line)
                {
                    return found;
                }
            }
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.note(line),
                Err(RecvTimeoutError::Timeout) => panic!("{} did not say {what:?} in time\n{self}", self.name),
                Err(RecvTimeoutError::Disconnected) => panic!("{} ended without saying {what:?}\n{self}", self.name),
            }
        }
    }

    /// All lines of `stream` so far.
    pub fn lines(&mut self, stream: Stream) -> Vec<&str> {
        while let Ok(line) = self.incoming.try_recv() {
            self.note(line);
        }
        self.said.iter().filter(|said| said.stream == stream).map(|said| said.line.as_str()).collect()
    }

    /// Sends the signal of this name, such as `TERM`.
    ///
    /// # Panics
    /// It cannot be sent.
    pub fn signal(&self, signal: &str) {
        // The shell's own kill: a separate program of that name is not everywhere.
        let command = format!("kill -{signal} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &command]).status().expect("a shell");
        assert!(status.success(), "{command}: {status}\n{self}");
    }

    /// Waits until the program has ended and closed its output.
    ///
    /// # Panics
    /// It does not end within [`PATIENCE`].
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.note(line),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("an exit status"),
                Err(RecvTimeoutError::Timeout) => panic!("{} did not end in time\n{self}", self.name),
            }
        }
    }

    /// Ends the program as a crash would.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn note(&mut self, (stream, line): (Stream, String)) {
        self.said.push(Said { at: self.started.elapsed(), stream, line });
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "--- {} has said:", self.name)?;
        for Said { at, stream, line } in &self.said {
            let mark = if *stream == Stream::Stdout { "out" } else { "err" };
            writeln!(f, "{:8.3}s {mark} {line}", at.as_secs_f64())?;
        }
        f.write_str("---")
    }
}

fn read_lines(pipe: impl Read + Send + 'static, stream: Stream, lines: Sender<(Stream, String)>) {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            line.clear();
            if lines.send((stream, text)).is_err() {
                break;
            }
        }
    });
}

/// Which driver a program runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// mio and tungstenite.
    Mio,
    /// smol and async-tungstenite.
    Smol,
}

impl Runtime {
    /// Both.
    pub const ALL: [Runtime; 2] = [Runtime::Mio, Runtime::Smol];

    /// What `--runtime` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Runtime::Mio => "mio",
            Runtime::Smol => "smol",
        }
    }
}

/// A running `enishi signal` on loopback.
#[derive(Debug)]
pub struct Server {
    /// The program.
    pub program: Program,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Server {
    /// Starts one on a free port and waits until it listens.
    pub fn start(runtime: Runtime) -> Self {
        Self::start_at(runtime, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts one on this address and waits until it listens.
    pub fn start_at(runtime: Runtime, addr: SocketAddr) -> Self {
        Self::start_with(runtime, addr, &[])
    }

    /// The same with further arguments.
    pub fn start_with(runtime: Runtime, addr: SocketAddr, arguments: &[&str]) -> Self {
        let mut command = enishi();
        command.args(["signal", "--listen", &addr.to_string(), "--runtime", runtime.name()]).args(arguments);
        let mut program = Program::start(&format!("signal on {}", runtime.name()), &mut command);
        let addr = program.hear_on(Stream::Stderr, "ws://127.0.0.1:<port>", listening);
        Server { program, addr }
    }

    /// The URL of its WebSocket.
    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.addr)
    }
}

/// The address in the banner's first URL.
fn listening(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("ws://")?;
    rest.split(|c: char| !c.is_ascii_digit() && !".:".contains(c)).next()?.parse().ok()
}

/// A coturn in shared-secret mode on loopback.
#[derive(Debug)]
pub struct Coturn {
    /// The program.
    pub program: Program,
    /// Where it listens, for UDP.
    pub addr: SocketAddr,
}

impl Coturn {
    /// Starts one that knows this secret, and waits until it listens.
    ///
    /// # Panics
    /// It is not installed, or does not listen.
    pub fn start(secret: &str) -> Self {
        needs("/usr/bin/turnserver");
        // Free at this moment; coturn itself does not choose.
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = free.local_addr().expect("an address");
        drop(free);
        let mut command = Command::new("/usr/bin/turnserver");
        command.args(["-n", "--use-auth-secret", "--realm=enishi.test", "--listening-ip=127.0.0.1"]);
        command.args(["--relay-ip=127.0.0.1", "--allow-loopback-peers", "--no-tls", "--no-dtls", "--no-tcp"]);
        command.args(["--no-cli", "--no-rfc5780", "--log-file=stdout", "--pidfile=/dev/null", "--verbose"]);
        command.args(["--min-port=20000", "--max-port=20999"]);
        command.arg(format!("--static-auth-secret={secret}")).arg(format!("--listening-port={}", addr.port()));
        let mut program = Program::start("coturn", &mut command);
        program.hear(&format!("UDP listener opened on: {addr}"));
        Coturn { program, addr }
    }

    /// Its URI.
    pub fn uri(&self) -> String {
        format!("turn:{}?transport=udp", self.addr)
    }
}

/// The program under test, up to date and ready for arguments. `ENISHI_BIN` names another one to test.
pub fn enishi() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| std::env::var_os("ENISHI_BIN").map_or_else(build, PathBuf::from));
    let mut command = Command::new(program);
    // What the person who runs the tests has set must not change what they see.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ENISHI_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG");
    command
}

/// Builds the program in the profile of this test, and asks cargo where it is.
fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "enishi", "--message-format", "json-render-diagnostics"]);
    command.current_dir(source());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.stderr(Stdio::inherit()).output().expect("cargo runs");
    assert!(output.status.success(), "cargo cannot build enishi: {}", output.status);
    let messages = String::from_utf8(output.stdout).expect("cargo writes JSON");
    let executable = messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    executable.expect("cargo says where it put enishi")
}

/// The root of the source.
pub fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are one level below it")
}

/// Holds back other tests that start several programs: on a small machine they would time each other out.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed in its turn does not spoil the next one's.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Panics unless this file is there, naming `tests/setup`.
///
/// # Panics
/// See above; a test whose tools are missing fails, it does not skip.
pub fn needs(path: impl AsRef<OsStr>) {
    let path = Path::new(path.as_ref());
    assert!(path.exists(), "no {}: run tests/setup first", path.display());
}

/// Where `tests/setup` puts what is no system package.
///
/// # Panics
/// Neither `ENISHI_TEST_TOOLS` nor `HOME` is set.
pub fn tools() -> PathBuf {
    let named = std::env::var_os("ENISHI_TEST_TOOLS").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").expect("a home")).join(".cache/enishi-tests"))
}

/// A line in which a person would notice if it were cut, reordered or re-encoded. Nothing in it needs escaping.
pub fn remarkable_text() -> String {
    let mut text = String::from("縁 <b>\"quoted\"</b> & 'é' 👋 ");
    for number in 0..200 {
        write!(text, "{number} ").expect("writing to a string");
    }
    text.trim_end().to_owned()
}
