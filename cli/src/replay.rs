//! `enishi replay`: a journal once more, without sockets.

use std::fmt::Write as _;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::time::Instant;

use anyhow::Context;
use enishi_core::clock::rfc3339;
use enishi_core::escape::Escaped;
use enishi_core::http::{HeadError, Request, Response};
use enishi_core::journal::{Kind, Replay, Step, Verdict};
use enishi_core::machine::{CloseReason, Frame, Input, Output};
use enishi_core::server::{ServerCommand, ServerNotice};

use crate::args::ReplayArgs;
use crate::failure::{DONE, FAILED, Failure};

/// Replays a journal and compares.
///
/// # Errors
/// It cannot be read, or is no journal; or stdout fails.
pub fn run(args: &ReplayArgs) -> Result<u8, Failure> {
    let shown = args.journal.display();
    let bytes =
        std::fs::read(&args.journal).map_err(|error| Failure::Usage(format!("cannot read {shown}: {error}")))?;
    let mut replay =
        Replay::new(Instant::now(), &bytes).map_err(|error| Failure::Usage(format!("{shown}: {error}")))?;
    let mut page = Page(BufWriter::new(io::stdout().lock()));
    let header = replay.header();
    let (program, start) = (Escaped(&header.program).to_string(), rfc3339(header.unix));
    let kind = if header.redacted { "in pseudonyms" } else { "with secrets" };
    page.line(&format!("recorded by enishi {program} from {start} on, {kind}"))?;
    let other_program = header.program != env!("CARGO_PKG_VERSION");

    let (mut inputs, mut outputs, mut last) = (0, 0, None);
    while args.until.is_none_or(|until| inputs < until) {
        let Some(step) = replay.step() else { break };
        inputs += 1;
        outputs += step.outputs.len();
        if args.explain {
            page.line(&explain(&step))?;
        }
        if let Verdict::Different(recorded) = &step.verdict {
            page.line(&difference(&step, recorded, args.explain))?;
            if other_program {
                page.line(&format!("another version recorded it: replay it with enishi {program} to be sure"))?;
            }
            page.end()?;
            return Ok(FAILED);
        }
        last = Some(step);
    }
    if let Some(step) = last.filter(|step| step.verdict == Verdict::Unknown) {
        page.line(&format!("of input {} no outputs are recorded: the journal ends while it was handled", step.number))?;
    }
    match replay.end() {
        Some(end) if args.until.is_none_or(|until| inputs < until) => page.line(&end.to_string())?,
        _ => page.line("stopped as asked")?,
    }
    page.line(&format!("{inputs} inputs, {outputs} outputs, the same as recorded: {:016x}", replay.digest()))?;
    page.end()?;
    Ok(DONE)
}

/// What is printed. Whoever closed stdout has seen enough.
struct Page(BufWriter<StdoutLock<'static>>);

impl Page {
    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        Self::forgive(writeln!(self.0, "{line}"))
    }

    fn end(&mut self) -> anyhow::Result<()> {
        Self::forgive(self.0.flush())
    }

    fn forgive(result: io::Result<()>) -> anyhow::Result<()> {
        match result {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
            _ => Ok(()),
        }
    }
}

/// An input and its outputs, one a line.
fn explain(step: &Step) -> String {
    let mut text = format!("#{} +{:.6} {}", step.number, step.at.as_secs_f64(), input(&step.input));
    for output in &step.outputs {
        let _ = write!(text, "\n    {}", self::output(output));
    }
    text
}

fn difference(step: &Step, recorded: &[Kind], explained: bool) -> String {
    let (now, recorded) = (kinds(step.outputs.iter().map(Kind::of)), kinds(recorded.iter().copied()));
    let what = if explained { String::new() } else { format!("{}\n", explain(step)) };
    let same = if now == recorded { " (of the same kinds, with something else in them)" } else { "" };
    let number = step.number;
    format!("{what}input {number} had other outputs when it was recorded\n  recorded: {recorded}\n  now: {now}{same}")
}

fn kinds(kinds: impl Iterator<Item = Kind>) -> String {
    let words: Vec<String> = kinds.map(|kind| kind.to_string()).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

fn input(input: &Input<'_, ServerCommand>) -> String {
    match input {
        Input::Timeout => "timeout".to_owned(),
        Input::Accepted { conn, listener, remote } => format!("{conn} accepted from {remote} on {listener}"),
        Input::Request { conn, request } => format!("{conn} request {}", self::request(request)),
        Input::BadRequest { conn, error } => format!("{conn} bad request: {}", bad(error)),
        Input::Frame { conn, frame } => format!("{conn} {}", self::frame(frame)),
        Input::Heard { conn } => format!("{conn} part of a message"),
        Input::Fault { conn, fault } => format!("{conn} fault {fault:?}"),
        Input::Sent { conn, messages, len } => format!("{conn} took {messages} messages, {len} bytes"),
        Input::Closed { conn, reason } => match reason {
            CloseReason::Remote(code) => format!("{conn} closed by the client, {code}"),
            CloseReason::Eof => format!("{conn} hung up"),
            CloseReason::Local => format!("{conn} closed as asked"),
            CloseReason::Error(error) => format!("{conn} failed: {}", Escaped(error)),
        },
        Input::Command(ServerCommand::Drain) => "drain".to_owned(),
        Input::Dialed { .. }
        | Input::DialFailed { .. }
        | Input::Got { .. }
        | Input::Datagram { .. }
        | Input::FileRead { .. }
        | Input::FileWritten { .. } => "nothing for a server".to_owned(),
    }
}

fn output(output: &Output<ServerNotice>) -> String {
    match output {
        Output::Respond { conn, response } => format!("{conn} respond {}", self::response(response)),
        Output::Upgrade { conn, response, .. } => format!("{conn} upgrade {}", self::response(response)),
        Output::Send { conn, frame } => format!("{conn} send {}", self::frame(frame)),
        Output::Read { conn, on: true } => format!("{conn} read on"),
        Output::Read { conn, on: false } => format!("{conn} stop reading"),
        Output::Close { conn, code, reason } => format!("{conn} close {code} {}", Escaped(reason)),
        Output::Drop { conn } => format!("{conn} drop"),
        Output::Notice(ServerNotice::Trace(trace)) => format!("log: {trace}"),
        Output::Notice(ServerNotice::Drained) => "drained".to_owned(),
        Output::ReleaseMemory => "release memory".to_owned(),
        Output::Dial { .. }
        | Output::Get { .. }
        | Output::Datagram { .. }
        | Output::ReadFile { .. }
        | Output::WriteFile { .. } => "nothing that a server does".to_owned(),
    }
}

fn frame(frame: &Frame) -> String {
    match frame {
        Frame::Text(text) => format!("text {}", Escaped(text)),
        Frame::Binary(bytes) => format!("binary {}", bytes.escape_ascii()),
        Frame::Ping => "ping".to_owned(),
        Frame::Pong => "pong".to_owned(),
    }
}

fn request(request: &Request) -> String {
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let headers: Vec<String> = request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let text = format!("{} {}{query} [{}] {}", request.method, request.path, headers.join("; "), body(&request.body));
    Escaped(text.trim_end()).to_string()
}

fn response(response: &Response) -> String {
    format!("{} {}", response.status, Escaped(body(&response.body).trim_end())).trim_end().to_owned()
}

fn body(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn bad(error: &HeadError) -> String {
    match error {
        HeadError::Malformed(why) => Escaped(why).to_string(),
        HeadError::TooLarge => "its head is too large".to_owned(),
        HeadError::BodyTooLarge => "its body is too large".to_owned(),
    }
}
