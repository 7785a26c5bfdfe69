//! What happens between the lines that are typed and the agent: the order of a script. Pure, like the machines: time
//! and notices in, things to do out.
//!
//! One line is worked on at a time; the next is asked for with [`Do::Ready`]. From a pipe or `--exec`, a command that
//! needs the server or a channel waits for it, and `send` waits until the message was accepted, so that
//! `send chat hello; quit` does what it says. At a prompt nothing waits: the person sees what happens.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use enishi_core::agent::{AgentCommand, AgentNotice, MediaCommand, MediaNotice, RecordingNotice};
use enishi_core::dialect::Dialect;
use enishi_core::peer::PeerState;
use enishi_core::signal::Name;

use crate::args::Role;
use crate::commands::{self, Command};

/// How long a script's command waits for the server, for a channel, or for its message to be accepted.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the next command waits for the answer to a question.
const ANSWER: Duration = Duration::from_secs(3);

/// Between two looks at whether everything sent has arrived.
const DRAIN_STEP: Duration = Duration::from_millis(20);

/// Where the lines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A person at a terminal.
    Prompt,
    /// A pipe or a file.
    Pipe,
    /// `--exec`: the first failure ends it, and its end is the end of the program.
    Exec,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Do {
    /// Give the agent a command.
    Tell(AgentCommand),
    /// Read the next line.
    Ready,
    /// An answer for stdout.
    Say(String),
    /// A complaint for stderr.
    Complain(String),
}

/// What [`AgentNotice::Peers`] or [`MediaNotice::Tracks`] was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The `peers` command.
    Peers,
    /// The `channels` command, and the second half of `list`.
    Channels,
    /// The `stats` command.
    Stats,
    /// The `tracks` command.
    Tracks,
    /// The `summary` command.
    Summary,
    /// Nobody: to know whether everything sent has arrived.
    Quietly,
}

/// What `wait` can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    Registered,
    Lost,
    Waiting,
    Refused,
    Connected,
    Disconnected,
    Closed,
    Failed,
    Open,
    ChannelClosed,
    Message,
    Sent,
    Relayed,
    Roster,
    Joined,
    Left,
    Listed,
    Track,
    TrackEnded,
    Recorded,
}

/// The state of a script.
#[derive(Debug)]
pub struct Script {
    source: Source,
    role: Role,
    dialect: Dialect,
    todo: VecDeque<Do>,
    /// Commands of the current line, the one that is waited for in front.
    commands: VecDeque<Command>,
    doing: Option<Doing>,
    asks: VecDeque<Ask>,
    track_asks: VecDeque<Ask>,
    /// How often each happening was seen, and how many of those a `wait` has had.
    seen: [u64; Happening::ALL.len()],
    waited: [u64; Happening::ALL.len()],
    /// Channels that are open.
    open: BTreeSet<(Name, String)>,
    buffered: usize,
    had_commands: bool,
    /// A line was asked for and has not come yet.
    reading: bool,
    input_over: bool,
    quitting: bool,
    failed: bool,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Registering { end: Instant },
    Opening { end: Instant },
    Sending { end: Instant, sent: u64 },
    Waiting { happening: Happening, end: Instant },
    Sleeping { end: Instant },
    Listing { end: Instant, listed: u64 },
    Asking { end: Instant },
    Draining { end: Instant, look: Instant },
}

impl Script {
    /// A script that has read nothing yet. Asks for the first line at once.
    pub fn new(source: Source, role: Role, dialect: Dialect) -> Self {
        Script {
            source,
            role,
            dialect,
            todo: VecDeque::from([Do::Ready]),
            commands: VecDeque::new(),
            doing: None,
            asks: VecDeque::new(),
            track_asks: VecDeque::new(),
            seen: [0; Happening::ALL.len()],
            waited: [0; Happening::ALL.len()],
            open: BTreeSet::new(),
            buffered: 0,
            had_commands: false,
            reading: true,
            input_over: false,
            quitting: false,
            failed: false,
        }
    }

    /// Takes what was asked for with [`Do::Ready`]; several lines if they were pasted.
    pub fn lines(&mut self, now: Instant, text: &str) {
        self.reading = false;
        for line in text.lines() {
            match commands::parse(line, self.dialect) {
                Ok(command) => self.commands.extend(command),
                Err(error) => self.fail(error.to_string()),
            }
        }
        self.had_commands |= !self.commands.is_empty();
        self.advance(now);
    }

    /// Takes a complaint about the input, such as a line that is no text.
    pub fn bad_input(&mut self, now: Instant, complaint: String) {
        self.reading = false;
        self.fail(complaint);
        self.advance(now);
    }

    /// Takes the end of the input. It is the end of the program for `--exec`, at a prompt, and for an offering peer
    /// that was given commands; an answering peer, or one whose stdin was never used, goes on until a signal.
    pub fn end_of_input(&mut self, now: Instant) {
        self.input_over = true;
        let ends = match self.source {
            Source::Prompt | Source::Exec => true,
            Source::Pipe => self.role == Role::Offer && self.had_commands,
        };
        if ends {
            self.commands.push_back(Command::Quit);
        }
        self.advance(now);
    }

    /// Takes a notice. What comes back is what it was asked for, for notices that answer something.
    pub fn notice(&mut self, now: Instant, notice: &AgentNotice) -> Option<Ask> {
        if let Some(happening) = Happening::of(notice) {
            self.seen[happening as usize] += 1;
        }
        let mut asked = None;
        match notice {
            AgentNotice::ChannelOpened { id, spec } => {
                self.open.insert((id.clone(), spec.label.clone()));
            }
            AgentNotice::ChannelClosed { id, label } => {
                self.open.remove(&(id.clone(), label.clone()));
            }
            AgentNotice::Peer { id, state: PeerState::Closed } => self.open.retain(|(with, _)| with != id),
            AgentNotice::Peers(peers) => {
                asked = Some(self.asks.pop_front().unwrap_or(Ask::Peers));
                let channels = peers.iter().flat_map(|(_, _, stats)| &stats.channels);
                self.buffered = channels.filter(|channel| channel.open).map(|channel| channel.buffered).sum();
                if let Some(Doing::Draining { end, .. }) = self.doing {
                    self.doing = Some(Doing::Draining { end, look: now + DRAIN_STEP });
                    if self.buffered == 0 {
                        self.quit();
                    }
                }
                if asked != Some(Ask::Quietly) && matches!(self.doing, Some(Doing::Asking { .. })) {
                    self.doing = None;
                }
            }
            AgentNotice::Media(MediaNotice::Tracks { .. }) => {
                asked = self.track_asks.pop_front();
                if matches!(self.doing, Some(Doing::Asking { .. })) {
                    self.doing = None;
                }
            }
            // A dialect without a word for it: the second half of `list` is still an answer.
            AgentNotice::CommandFailed(_) if matches!(self.doing, Some(Doing::Listing { .. })) => self.doing = None,
            // The agent says why; here it only counts as a failure of the script.
            AgentNotice::CommandFailed(_) => self.failure(),
            _ => {}
        }
        self.advance(now);
        asked
    }

    /// Takes the time.
    pub fn timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// When to call [`Script::timeout`].
    pub fn deadline(&self) -> Option<Instant> {
        self.doing.map(|doing| match doing {
            Doing::Registering { end }
            | Doing::Opening { end }
            | Doing::Sending { end, .. }
            | Doing::Waiting { end, .. }
            | Doing::Listing { end, .. }
            | Doing::Asking { end }
            | Doing::Sleeping { end } => end,
            Doing::Draining { end, look } => end.min(look),
        })
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Do> {
        self.todo.pop_front()
    }

    /// Whether a command failed.
    pub fn has_failed(&self) -> bool {
        self.failed && self.source != Source::Prompt
    }

    fn advance(&mut self, now: Instant) {
        if self.quitting {
            return;
        }
        loop {
            if let Some(doing) = self.doing {
                if !self.settle(now, doing) {
                    return;
                }
                self.doing = None;
                continue;
            }
            let Some(command) = self.commands.front() else { break };
            self.doing = self.hold(now, command);
            if self.doing.is_none()
                && let Some(command) = self.commands.pop_front()
            {
                self.start(now, command);
            }
            if self.quitting {
                return;
            }
        }
        if !self.input_over && !self.reading {
            self.reading = true;
            self.todo.push_back(Do::Ready);
        }
    }

    /// What a script's command has to wait for before it can be carried out.
    fn hold(&self, now: Instant, command: &Command) -> Option<Doing> {
        if self.source == Source::Prompt {
            return None;
        }
        let end = now + PATIENCE;
        let for_server = matches!(command, Command::Agent(_) | Command::List);
        if for_server && self.seen[Happening::Registered as usize] == 0 {
            return Some(Doing::Registering { end });
        }
        (!self.is_open_for(command)).then_some(Doing::Opening { end })
    }

    /// Whether a command finds the channel that it needs.
    fn is_open_for(&self, command: &Command) -> bool {
        match command {
            Command::Agent(AgentCommand::Send { to, label, .. }) => self.open.iter().any(|(id, open)| {
                to.as_ref().is_none_or(|to| to == id) && label.as_ref().is_none_or(|label| label == open)
            }),
            _ => true,
        }
    }

    fn start(&mut self, now: Instant, command: Command) {
        match command {
            Command::Agent(command) => {
                if self.source != Source::Prompt && matches!(command, AgentCommand::Send { .. }) {
                    let sent = self.seen[Happening::Sent as usize];
                    self.doing = Some(Doing::Sending { end: now + PATIENCE, sent });
                }
                self.todo.push_back(Do::Tell(command));
            }
            Command::List => {
                self.todo.push_back(Do::Tell(AgentCommand::Who));
                let listed = self.seen[Happening::Listed as usize];
                self.doing = Some(Doing::Listing { end: now + ANSWER, listed });
                self.commands.push_front(Command::Channels);
            }
            Command::Channels => self.ask(now, Ask::Channels),
            Command::Peers => self.ask(now, Ask::Peers),
            Command::Stats => self.ask(now, Ask::Stats),
            Command::Tracks => self.ask_for_tracks(now, Ask::Tracks),
            Command::Summary => self.ask_for_tracks(now, Ask::Summary),
            Command::Wait { happening, limit } => self.doing = Some(Doing::Waiting { happening, end: now + limit }),
            Command::Sleep(time) => self.doing = Some(Doing::Sleeping { end: now + time }),
            Command::Help(None) => self.todo.push_back(Do::Say(commands::help_text())),
            Command::Help(Some(entry)) => self.todo.push_back(Do::Say(format!("{}: {}", entry.usage, entry.help))),
            Command::Quit => {
                self.commands.clear();
                self.tell_peers(Ask::Quietly);
                self.doing = Some(Doing::Draining { end: now + PATIENCE, look: now + DRAIN_STEP });
            }
        }
    }

    /// Whether what is waited for is there, or will not come.
    fn settle(&mut self, now: Instant, doing: Doing) -> bool {
        let seen = |happening: Happening| self.seen[happening as usize];
        match doing {
            Doing::Registering { end } => {
                seen(Happening::Registered) > 0
                    || self.give_up(now, end, || "the signaling server did not register us within 10 s".into())
            }
            Doing::Opening { end } => {
                let open = self.commands.front().is_none_or(|command| self.is_open_for(command));
                open || self.give_up(now, end, || "no such channel opened within 10 s; is the other side there?".into())
            }
            Doing::Sending { end, sent } => {
                seen(Happening::Sent) > sent
                    || self.give_up(now, end, || "the message was not accepted for sending within 10 s".into())
            }
            Doing::Waiting { happening, end } => {
                let index = happening as usize;
                if self.seen[index] > self.waited[index] {
                    self.waited[index] += 1;
                    return true;
                }
                self.give_up(now, end, || format!("waited in vain for '{}'", happening.name()))
            }
            Doing::Sleeping { end } => now >= end,
            Doing::Asking { end } => now >= end,
            Doing::Listing { end, listed } => seen(Happening::Listed) > listed || now >= end,
            Doing::Draining { end, look } => {
                if now >= end {
                    self.todo
                        .push_back(Do::Complain("not everything that was sent was acknowledged within 10 s".into()));
                    self.quit();
                } else if now >= look && !self.asks.contains(&Ask::Quietly) {
                    self.tell_peers(Ask::Quietly);
                }
                if let Some(Doing::Draining { look, .. }) = &mut self.doing
                    && now >= *look
                {
                    *look = now + DRAIN_STEP;
                }
                false
            }
        }
    }

    /// After its deadline, a command is given up: it is dropped if it had not begun yet.
    fn give_up(&mut self, now: Instant, end: Instant, why: impl FnOnce() -> String) -> bool {
        if now < end {
            return false;
        }
        if matches!(self.doing, Some(Doing::Registering { .. } | Doing::Opening { .. })) {
            self.commands.pop_front();
        }
        self.fail(why());
        true
    }

    /// The answer is waited for, so that what is printed comes in the order of the commands.
    fn ask(&mut self, now: Instant, ask: Ask) {
        self.tell_peers(ask);
        self.doing = Some(Doing::Asking { end: now + ANSWER });
    }

    fn ask_for_tracks(&mut self, now: Instant, ask: Ask) {
        self.track_asks.push_back(ask);
        self.todo.push_back(Do::Tell(AgentCommand::Media(MediaCommand::Tracks)));
        self.doing = Some(Doing::Asking { end: now + ANSWER });
    }

    fn tell_peers(&mut self, ask: Ask) {
        self.asks.push_back(ask);
        self.todo.push_back(Do::Tell(AgentCommand::Peers));
    }

    fn fail(&mut self, why: String) {
        self.todo.push_back(Do::Complain(why));
        self.failure();
    }

    fn failure(&mut self) {
        self.failed = true;
        match self.doing {
            Some(Doing::Draining { .. }) => {}
            _ if self.source == Source::Exec => {
                self.doing = None;
                self.commands = VecDeque::from([Command::Quit]);
            }
            Some(Doing::Sending { .. }) => self.doing = None,
            _ => {}
        }
    }

    fn quit(&mut self) {
        self.quitting = true;
        self.doing = None;
        self.todo.push_back(Do::Tell(AgentCommand::Quit));
    }
}

impl Happening {
    /// All of them, each at its own position.
    pub const ALL: [Happening; 20] = [
        Happening::Registered,
        Happening::Lost,
        Happening::Waiting,
        Happening::Refused,
        Happening::Connected,
        Happening::Disconnected,
        Happening::Closed,
        Happening::Failed,
        Happening::Open,
        Happening::ChannelClosed,
        Happening::Message,
        Happening::Sent,
        Happening::Relayed,
        Happening::Roster,
        Happening::Joined,
        Happening::Left,
        Happening::Listed,
        Happening::Track,
        Happening::TrackEnded,
        Happening::Recorded,
    ];

    /// The word for `wait`.
    pub fn name(self) -> &'static str {
        match self {
            Happening::Registered => "registered",
            Happening::Lost => "lost",
            Happening::Waiting => "waiting",
            Happening::Refused => "refused",
            Happening::Connected => "connected",
            Happening::Disconnected => "disconnected",
            Happening::Closed => "closed",
            Happening::Failed => "failed",
            Happening::Open => "open",
            Happening::ChannelClosed => "channel-closed",
            Happening::Message => "message",
            Happening::Sent => "sent",
            Happening::Relayed => "relayed",
            Happening::Roster => "roster",
            Happening::Joined => "joined",
            Happening::Left => "left",
            Happening::Listed => "listed",
            Happening::Track => "track",
            Happening::TrackEnded => "track-ended",
            Happening::Recorded => "recorded",
        }
    }

    fn of(notice: &AgentNotice) -> Option<Happening> {
        Some(match notice {
            AgentNotice::Registered { .. } => Happening::Registered,
            AgentNotice::SignalingLost { .. } => Happening::Lost,
            AgentNotice::Waiting { .. } => Happening::Waiting,
            AgentNotice::Refused { .. } => Happening::Refused,
            AgentNotice::Peer { state: PeerState::Connected, .. } => Happening::Connected,
            AgentNotice::Peer { state: PeerState::Disconnected, .. } => Happening::Disconnected,
            AgentNotice::Peer { state: PeerState::Closed, .. } => Happening::Closed,
            AgentNotice::PeerFailed { .. } => Happening::Failed,
            AgentNotice::ChannelOpened { .. } => Happening::Open,
            AgentNotice::ChannelClosed { .. } => Happening::ChannelClosed,
            AgentNotice::Message { .. } => Happening::Message,
            AgentNotice::Sent { .. } => Happening::Sent,
            AgentNotice::Relayed { .. } => Happening::Relayed,
            AgentNotice::Roster { .. } => Happening::Roster,
            AgentNotice::Presence { here: true, .. } => Happening::Joined,
            AgentNotice::Presence { here: false, .. } => Happening::Left,
            AgentNotice::Listed(_) => Happening::Listed,
            AgentNotice::Media(MediaNotice::Added { .. }) => Happening::Track,
            AgentNotice::Media(MediaNotice::Removed { .. }) => Happening::TrackEnded,
            AgentNotice::Recording(RecordingNotice::Complete { .. }) => Happening::Recorded,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
