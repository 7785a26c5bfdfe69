//! `enishi peer`: a peer at a prompt or in a script.
//!
//! Four threads, each of which may block on one thing only:
//!
//! - this one runs the driver, and gives every notice to the director;
//! - the *director* owns the [`Script`] and the [`Renderer`]: what happens next, and what is printed;
//! - the *input* carries out what the director wants: a command for the driver, or reading the next line;
//! - the output (see [`crate::output`]) writes to the terminal or the pipe.
//!
//! The director waits for nobody but these notices and lines, so a driver that waits for the director never waits
//! in a circle.

use std::collections::BTreeSet;
use std::fs;
use std::io::IsTerminal;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use enishi_core::agent::{self, Agent, AgentCommand, AgentConfig, AgentNotice, MediaConfig, RecordSpec};
use enishi_core::dialect::{Dialect, Rooms};
use enishi_core::media::{Container, Pattern, SourceSpec};
use enishi_core::peer::{ChannelSpec, PeerState};
use enishi_core::signal::Name;
use enishi_core::turn::{Credentials, TurnUri};

use crate::args::{PeerArgs, Role, Show};
use crate::commands;
use crate::config;
use crate::dtls;
use crate::ending::{self, Terminal};
use crate::failure::{DONE, FAILED, Failure, UNREACHABLE};
use crate::log::LogFormat;
use crate::output::{self, Lines};
use crate::render::demo::Demo;
use crate::render::media::Tally;
use crate::render::{Level, Line, Renderer, status_json};
use crate::repl::{self, Heard, Input, Prompt};
use crate::runtime::{self, Driver, Handle};
use crate::script::{Do, Script, Source};
use crate::sockets;
use crate::turn::{self, IcePolicy};

/// Notices and lines that wait for the director; a driver that is faster than the output waits here.
const NOTICES: usize = 1024;

/// Ids that wait for completion to be asked for.
const IDS: usize = 256;

/// How long the last lines may take at the end.
const FLUSH: Duration = Duration::from_secs(1);

/// The port of STUN (RFC 8489, section 8.6).
const STUN_PORT: u16 = 3478;

/// The ids of the two sides of a demo.
const DEMO_OFFERS: &str = "offer";
const DEMO_ANSWERS: &str = "answer";

/// What the director is told.
enum Told {
    Notice(AgentNotice),
    Heard(Heard),
    Over,
}

/// Runs a peer until it quits.
///
/// # Errors
/// A flag is wrong, or there is no socket, thread or driver to be had.
pub fn run(args: PeerArgs) -> Result<u8, Failure> {
    let exec = match args.demo {
        Some(show) => Some(demo_commands(show, args.role)),
        None => args.exec.as_deref().map(|list| checked(list, args.dialect)).transpose()?,
    };
    let udp = bind(&args)?;
    let (config, warnings) = configure(&args, &udp)?;
    let (now, unix, seed) = runtime::start()?;
    let agent = Agent::new(now, unix, seed, config);
    let (driver, handle) = Driver::new(args.runtime, agent, Vec::new(), udp).context("cannot start the driver")?;

    let terminal = Terminal::save();
    let (ids, known) = mpsc::sync_channel(IDS);
    let stop = Stop { handle: handle.clone(), asked: Arc::default() };
    let (source, input, out, err) = open_ends(&args, exec, known, stop.clone()).context("cannot start a thread")?;
    let asked = Arc::clone(&stop.asked);
    ending::on_signal(terminal.clone(), move || stop.ask()).context("cannot watch for signals")?;

    let (told, ears) = mpsc::sync_channel(NOTICES);
    let (orders, wanted) = mpsc::channel();
    let voice = Voice { out, err, format: args.logging.log_format, least: least(&args) };
    warnings.into_iter().for_each(|warning| voice.status(Level::Warn, warning));
    let director = Director {
        script: Script::new(source, args.role, args.dialect),
        renderer: renderer(&args),
        voice: voice.clone(),
        orders,
        ids,
    };
    let direct = move || director.run(&ears);
    let director = thread::Builder::new().name("director".into()).spawn(direct).context("cannot start a thread")?;
    let (lines, finder, finders_voice) = (told.clone(), handle.clone(), voice.clone());
    let feed = move || feed(input, &wanted, &handle, &lines);
    thread::Builder::new().name("input".into()).spawn(feed).context("cannot start a thread")?;

    let mut watch = Watch::default();
    // The first verdict counts: a driver may have more notices at once.
    let mut verdict = None;
    let ran = driver.run(|notice| {
        if let AgentNotice::TurnServers(named) = &notice {
            find_turn(named.clone(), finder.clone(), finders_voice.clone());
        }
        verdict = verdict.or_else(|| watch.verdict(&notice));
        match (verdict, told.send(Told::Notice(notice))) {
            (None, Ok(())) => ControlFlow::Continue(()),
            (Some(_), _) | (None, Err(_)) => ControlFlow::Break(()),
        }
    });
    let _ = told.send(Told::Over);
    let failed = director.join().unwrap_or(true);
    voice.out.flush(FLUSH);
    voice.err.flush(FLUSH);
    terminal.restore();
    ran.context("the driver failed")?;
    // What a script could not finish because it was stopped is no failure of it.
    let failed = failed && !asked.load(Ordering::Relaxed);
    let code = verdict.unwrap_or(DONE);
    Ok(if code == DONE && failed { FAILED } else { code })
}

/// The UDP sockets: what the policy lets a remote peer know, or where TURN servers can be reached from.
fn bind(args: &PeerArgs) -> anyhow::Result<Vec<UdpSocket>> {
    if args.path.ice_policy == IcePolicy::DefaultRoute {
        return sockets::bind_default_route()
            .context("cannot open a UDP socket for --ice-policy default-route; try --ice-policy all");
    }
    let loopback = args.signal.is_loopback() || turn::is_local(&args.path);
    sockets::bind_hosts(loopback).context("cannot open a UDP socket on any address of this machine")
}

/// Finds TURN servers that the signaling server named by name. A thread, for the resolver takes its time.
fn find_turn(named: Vec<(TurnUri, Credentials)>, handle: Handle<AgentCommand>, voice: Voice) {
    let find = move || {
        let (servers, warnings) = turn::look_up(&named);
        warnings.into_iter().for_each(|warning| voice.status(Level::Warn, warning));
        handle.send(AgentCommand::UseTurn(servers));
    };
    // Without a thread there is no relay; direct paths serve.
    let _ = thread::Builder::new().name("lookup".into()).spawn(find);
}

/// Ends the program from outside of the script: by a signal, or because nobody reads stdout any more.
#[derive(Clone)]
struct Stop {
    handle: Handle<AgentCommand>,
    asked: Arc<AtomicBool>,
}

impl Stop {
    fn ask(self) {
        self.asked.store(true, Ordering::Relaxed);
        self.handle.send(AgentCommand::Quit);
    }
}

/// Judges when the program has to end, and how.
#[derive(Debug, Default)]
struct Watch {
    registered: bool,
    live: BTreeSet<Name>,
}

impl Watch {
    fn verdict(&mut self, notice: &AgentNotice) -> Option<u8> {
        match notice {
            AgentNotice::Ended => return Some(DONE),
            AgentNotice::Registered { .. } => self.registered = true,
            AgentNotice::SignalingLost { was_up: false, .. } if !self.registered => return Some(UNREACHABLE),
            // There is no way back to the server, and nobody to talk to without it.
            AgentNotice::SignalingLost { retry: None, .. } if self.live.is_empty() => return Some(FAILED),
            AgentNotice::Refused { to: None, .. } if !self.registered => return Some(FAILED),
            AgentNotice::Peer { id, state: PeerState::Closed } => {
                self.live.remove(id);
            }
            AgentNotice::Peer { id, .. } => {
                self.live.insert(id.clone());
            }
            _ => {}
        }
        None
    }
}

/// What the director thread owns.
struct Director {
    script: Script,
    renderer: Renderer,
    voice: Voice,
    orders: Sender<Do>,
    ids: SyncSender<String>,
}

impl Director {
    /// Works until there are no more notices. Returns whether a command of a script failed.
    fn run(mut self, ears: &Receiver<Told>) -> bool {
        loop {
            self.act();
            let told = match self.script.deadline() {
                Some(at) => ears.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => ears.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let now = Instant::now();
            match told {
                Ok(Told::Notice(notice)) => self.notice(now, &notice),
                Ok(Told::Heard(Heard::Lines(text))) => self.script.lines(now, &text),
                Ok(Told::Heard(Heard::Unusable(why))) => self.script.bad_input(now, why),
                Ok(Told::Heard(Heard::End)) => self.script.end_of_input(now),
                Err(RecvTimeoutError::Timeout) => self.script.timeout(now),
                Ok(Told::Over) | Err(RecvTimeoutError::Disconnected) => return self.script.has_failed(),
            }
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.script.poll() {
            match action {
                Do::Say(text) => self.voice.data(text),
                Do::Complain(text) => self.voice.status(Level::Warn, text),
                // The input is gone only at the end of the program.
                order => drop(self.orders.send(order)),
            }
        }
    }

    fn notice(&mut self, now: Instant, notice: &AgentNotice) {
        for id in ids_in(notice).into_iter().filter(|id| repl::is_typeable(id.as_str())) {
            // Completion that knows fewer ids is no loss worth waiting for.
            let _ = self.ids.try_send(id.as_str().to_owned());
        }
        let ask = self.script.notice(now, notice);
        for line in self.renderer.notice(runtime::unix_time(), notice, ask) {
            match line {
                Line::Data(text) => self.voice.data(text),
                Line::Status(level, text) => self.voice.status(level, text),
            }
        }
    }
}

/// Says things where they belong.
#[derive(Clone)]
struct Voice {
    out: Lines,
    err: Lines,
    format: LogFormat,
    least: Level,
}

impl Voice {
    fn data(&self, text: String) {
        self.out.line(text);
    }

    fn status(&self, level: Level, text: String) {
        if level <= self.least {
            self.err.line(match self.format {
                LogFormat::Text => text,
                LogFormat::Json => status_json(runtime::unix_time(), level, &text),
            });
        }
    }
}

/// Carries out orders: commands go to the driver, `Ready` reads a line.
fn feed(mut input: Input, orders: &Receiver<Do>, handle: &Handle<AgentCommand>, told: &SyncSender<Told>) {
    for order in orders {
        match order {
            Do::Tell(command) => handle.send(command),
            Do::Ready => {
                if told.send(Told::Heard(input.next())).is_err() {
                    return;
                }
            }
            Do::Say(_) | Do::Complain(_) => {}
        }
    }
}

/// Opens both ends that a person or a script holds: where lines come from and where they go.
fn open_ends(
    args: &PeerArgs,
    exec: Option<Vec<String>>,
    ids: Receiver<String>,
    stop: Stop,
) -> std::io::Result<(Source, Input, Lines, Lines)> {
    let closed = move || stop.ask();
    let (source, input) = match exec {
        Some(commands) => (Source::Exec, Input::List(commands.into())),
        None if !std::io::stdin().is_terminal() => (Source::Pipe, Input::Pipe),
        None => match (!args.json).then(|| Prompt::open(ids)).flatten() {
            Some((prompt, printer)) => {
                let out = Lines::start(output::above_prompt(printer), closed)?;
                let to_terminal = std::io::stderr().is_terminal();
                let err = if to_terminal { out.clone() } else { Lines::start(output::stderr, || ())? };
                return Ok((Source::Prompt, Input::Prompt(Box::new(prompt)), out, err));
            }
            None => (Source::Prompt, Input::Pipe),
        },
    };
    let out = Lines::start(output::stdout, closed)?;
    Ok((source, input, out, Lines::start(output::stderr, || ())?))
}

/// A wrong command in `--exec` is found before anything is done.
fn checked(list: &str, dialect: Dialect) -> Result<Vec<String>, Failure> {
    let commands = commands::split(list);
    for command in &commands {
        commands::parse(command, dialect)
            .map_err(|error| Failure::Usage(format!("--exec '{}': {error}", command.trim().escape_debug())))?;
    }
    Ok(commands)
}

/// What a demo does by itself: it waits for the other side, for the answering one as long as it takes, and ends with a
/// summary.
fn demo_commands(show: Show, role: Role) -> Vec<String> {
    let patience = match role {
        Role::Offer => 30,
        Role::Answer => 86_400,
    };
    // The last greeting is said after 6 s.
    let seconds = if show == Show::Datachannel { 7 } else { 5 };
    [format!("wait connected {patience}"), format!("sleep {seconds}"), "summary".into(), "quit".into()].into()
}

/// What is sent and recorded from the start.
fn media(args: &PeerArgs) -> Result<(MediaConfig, Option<RecordSpec>), Failure> {
    let pattern = |pattern| Some(SourceSpec::Pattern(pattern));
    let shown = match (args.demo, args.role) {
        (Some(Show::Audio), Role::Offer) => (Some(SourceSpec::Tone { hz: 440 }), None),
        (Some(Show::Audio), Role::Answer) => (Some(SourceSpec::Tone { hz: 880 }), None),
        (Some(Show::Video), Role::Offer) => (None, pattern(Pattern::Flash)),
        (Some(Show::Video), Role::Answer) => (None, pattern(Pattern::Gradient)),
        (Some(Show::Datachannel) | None, _) => (None, None),
    };
    let (audio, video) = (args.audio.clone().or(shown.0), args.video.clone().or(shown.1));
    for (flag, source) in [("--audio", &audio), ("--video", &video)] {
        if let Some(SourceSpec::File { path }) = source {
            fs::metadata(path).with_context(|| format!("{flag} {}: cannot read it", path.escape_debug()))?;
        }
    }
    let record = args.record.clone().map(|path| RecordSpec { path, ours_too: args.record_both });
    if let Some(RecordSpec { path, .. }) = &record
        && Container::of(path).is_none()
        && !Path::new(path).is_dir()
    {
        let path = path.escape_debug();
        let why = format!(
            "--record {path}: there is no such folder; create it, or name a file .webm, .ogg, .opus, .wav or .ivf"
        );
        return Err(anyhow::anyhow!(why).into());
    }
    Ok((MediaConfig { audio, video, once: args.once }, record))
}

/// The agent's configuration, and what is worth a warning.
fn configure(args: &PeerArgs, udp: &[UdpSocket]) -> Result<(AgentConfig, Vec<String>), Failure> {
    let name = |flag: &str, text: &Option<String>| match text {
        Some(text) => {
            commands::name(text, args.dialect).map(Some).map_err(|why| Failure::Usage(format!("{flag}: {why}")))
        }
        None => Ok(None),
    };
    let room = name("--room", &args.room)?;
    if room.is_some() && args.dialect.rooms() == Rooms::None {
        let dialect = args.dialect.name();
        return Err(Failure::Usage(format!("--room: {dialect} has no rooms; --dialect enishi and mesh have them")));
    }
    let (token, warning) = config::token(args.token_file.as_deref())?;
    let mut warnings: Vec<String> = warning.into_iter().collect();
    let mut stun = Vec::new();
    for server in &args.stun {
        match resolve(server)? {
            Ok(addresses) => stun.extend(addresses),
            Err(why) => warnings.push(format!("going on without the STUN server {}: {why}", server.escape_debug())),
        }
    }
    let (media, record) = media(args)?;
    let (turn, without) = turn::servers(&args.path)?;
    warnings.extend(without);
    let channel = ChannelSpec {
        label: args.channel.clone().unwrap_or_else(|| habitual_channel(args.dialect).to_owned()),
        ordered: !args.unordered,
        max_retransmits: args.max_retransmits,
        max_lifetime: None,
    };
    let config = AgentConfig {
        signal_url: args.signal.as_str().to_owned(),
        dialect: args.dialect,
        id: name("--id", &args.id)?.or_else(|| habitual_id(args)),
        token,
        role: match args.role {
            Role::Offer => agent::Role::Offer,
            Role::Answer => agent::Role::Answer,
        },
        target: name("--target", &args.target)?.or_else(|| habitual_target(args)),
        room,
        channel,
        hosts: udp.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>().context("cannot use a UDP socket")?,
        stun,
        turn,
        relay_only: args.path.ice_policy == IcePolicy::Relay,
        channel_buffer_bytes: args.channel_buffer,
        crypto: dtls::crypto(),
        greet: args.greet || args.demo == Some(Show::Datachannel),
        chatter: args.chatter,
        media,
        record,
    };
    Ok((config, warnings))
}

/// The label that the users of a system expect.
fn habitual_channel(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::TonyBai => "data",
        Dialect::Mesh => "messages",
        _ => "chat",
    }
}

/// The id that the users of a system expect, where it has one; a demo has one for each role.
fn habitual_id(args: &PeerArgs) -> Option<Name> {
    match (args.dialect, args.role) {
        (Dialect::TonyBai, Role::Offer) => Some("offer-peer-1".into()),
        (Dialect::TonyBai, Role::Answer) => Some("answer-peer-1".into()),
        (_, Role::Offer) => args.demo.map(|_| DEMO_OFFERS.into()),
        (_, Role::Answer) => args.demo.map(|_| DEMO_ANSWERS.into()),
    }
}

/// Whom a demo calls, if it is not told.
fn habitual_target(args: &PeerArgs) -> Option<Name> {
    let calls = args.demo.is_some() && args.role == Role::Offer && args.room.is_none();
    let target = if args.dialect == Dialect::TonyBai { "answer-peer-1" } else { DEMO_ANSWERS };
    calls.then(|| target.into())
}

/// Looks a STUN server up. A name that cannot be found now is no mistake of the command line; a wrong form is.
fn resolve(server: &str) -> Result<Result<Vec<SocketAddr>, String>, Failure> {
    let text = server.strip_prefix("stun:").unwrap_or(server);
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.starts_with('[') => (host, port.parse().ok()),
        _ => (text, Some(STUN_PORT)),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let Some(port) = port.filter(|&port| port != 0 && !host.is_empty()) else {
        let server = server.escape_debug();
        return Err(Failure::Usage(format!("--stun {server}: write a host and a port, such as stun.example.org:3478")));
    };
    Ok((host, port).to_socket_addrs().map(Iterator::collect).map_err(|error| error.to_string()))
}

fn renderer(args: &PeerArgs) -> Renderer {
    let mut flags = String::new();
    if args.signal.as_str() != "ws://127.0.0.1:3000/ws" {
        flags += &format!(" --signal {}", args.signal);
    }
    if args.dialect != Dialect::Enishi {
        flags += &format!(" --dialect {}", args.dialect.name());
    }
    Renderer {
        json: args.json,
        room: args.room.clone(),
        role: args.role,
        has_target: args.target.is_some() || args.demo.is_some(),
        wanted: args.id.clone(),
        signal_url: args.signal.to_string(),
        flags,
        demo: if args.json { None } else { demo(args) },
        tally: Tally::default(),
    }
}

/// The demo of another system that was asked for.
fn demo(args: &PeerArgs) -> Option<Demo> {
    match (args.greet || args.demo == Some(Show::Datachannel), args.dialect, args.chatter) {
        (true, _, _) => Some(Demo::conic()),
        (false, Dialect::TonyBai, Some(every)) => Some(Demo::tony_bai(args.role, every)),
        _ => None,
    }
}

fn least(args: &PeerArgs) -> Level {
    match (args.logging.quiet, args.logging.verbose) {
        (true, _) => Level::Warn,
        (false, 0) => Level::Info,
        (false, _) => Level::Debug,
    }
}

fn ids_in(notice: &AgentNotice) -> Vec<&Name> {
    match notice {
        AgentNotice::Peer { id, .. } | AgentNotice::Presence { id, .. } => vec![id],
        AgentNotice::Relayed { from, .. } => vec![from],
        AgentNotice::Waiting { target } => vec![target],
        AgentNotice::Listed(names) | AgentNotice::Roster { members: names, .. } => names.iter().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use enishi_core::signal::Refusal;

    fn lost(was_up: bool, retry: Option<Duration>) -> AgentNotice {
        AgentNotice::SignalingLost { why: "gone".into(), retry, was_up }
    }

    #[test]
    fn a_server_that_was_never_there_ends_the_program() {
        let retry = Some(Duration::from_secs(1));
        assert_eq!(Watch::default().verdict(&lost(false, retry)), Some(UNREACHABLE));
        let refused = AgentNotice::Refused { refusal: Refusal::NameTaken, to: None };
        assert_eq!(Watch::default().verdict(&refused), Some(FAILED));
    }

    #[test]
    fn a_server_that_went_away_does_not_while_it_may_come_back_or_somebody_is_connected() {
        let mut watch = Watch::default();
        assert_eq!(watch.verdict(&AgentNotice::Registered { id: "a".into(), resumed: false }), None);
        assert_eq!(watch.verdict(&lost(true, Some(Duration::from_secs(1)))), None);
        assert_eq!(watch.verdict(&AgentNotice::Peer { id: "b".into(), state: PeerState::Connected }), None);
        assert_eq!(watch.verdict(&lost(true, None)), None);
        assert_eq!(watch.verdict(&AgentNotice::Peer { id: "b".into(), state: PeerState::Closed }), None);
        assert_eq!(watch.verdict(&lost(true, None)), Some(FAILED));
        assert_eq!(watch.verdict(&AgentNotice::Ended), Some(DONE));
    }

    #[test]
    fn stun_servers_are_hosts_with_or_without_a_port() {
        for (text, address) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("stun:127.0.0.1", "127.0.0.1:3478"),
            ("[::1]:5", "[::1]:5"),
            ("::1", "[::1]:3478"),
        ] {
            let Ok(Ok(addresses)) = resolve(text) else { panic!("{text}") };
            assert_eq!(addresses, [address.parse().unwrap()], "{text}");
        }
        for bad in ["", ":1", "a:0", "a:b", "a:99999"] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wrong_command_is_found_before_it_runs() {
        assert!(checked("wait open; send chat hi; quit", Dialect::Enishi).is_ok());
        let Err(Failure::Usage(why)) = checked("sned chat hi", Dialect::Enishi) else { panic!("accepted") };
        assert!(why.contains("did you mean 'send'?"), "{why}");
    }
}
