//! What happens between the lines that are typed and the agent: the order of a script. Pure, like the machines: time
//! and notices in, things to do out.
//!
//! One line is worked on at a time; the next is asked for with [`Do::Ready`]. From a pipe or `--exec`, a command that
//! needs the server or a channel waits for it, and `send` waits until the message was accepted, so that
//! `send chat hello; quit` does what it says. At a prompt nothing waits: the person sees what happens.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use enishi_core::agent::{AgentCommand, AgentNotice};
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

/// What [`AgentNotice::Peers`] was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The `peers` command.
    Peers,
    /// The `channels` command, and the second half of `list`.
    Channels,
    /// The `stats` command.
    Stats,
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
            Some(Doing::Sending { .. } | Doing::Listing { .. }) => self.doing = None,
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
    pub const ALL: [Happening; 17] = [
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
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use enishi_core::peer::{ChannelSpec, ChannelStats, PeerStats};
    use enishi_core::signal::Payload;

    /// Does what there is to do; `Ready` takes the next of `lines`.
    struct Run {
        script: Script,
        lines: VecDeque<&'static str>,
        now: Instant,
        told: Vec<AgentCommand>,
        said: Vec<String>,
        ready: bool,
    }

    impl Run {
        fn new(source: Source, role: Role, lines: &[&'static str]) -> Run {
            let script = Script::new(source, role, Dialect::Enishi);
            let (told, said) = (Vec::new(), Vec::new());
            let mut run =
                Run { script, lines: lines.iter().copied().collect(), now: Instant::now(), told, said, ready: false };
            run.drain();
            run
        }

        fn drain(&mut self) {
            while let Some(action) = self.script.poll() {
                match action {
                    Do::Tell(command) => self.told.push(command),
                    Do::Say(text) | Do::Complain(text) => self.said.push(text),
                    Do::Ready => match self.lines.pop_front() {
                        Some(line) => self.script.lines(self.now, line),
                        None if self.script.source == Source::Prompt => self.ready = true,
                        None => self.script.end_of_input(self.now),
                    },
                }
            }
        }

        fn notice(&mut self, notice: AgentNotice) -> Option<Ask> {
            let ask = self.script.notice(self.now, &notice);
            self.drain();
            ask
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.script.timeout(self.now);
            self.drain();
        }

        fn register(&mut self) {
            self.notice(AgentNotice::Registered { id: "me".into(), resumed: false });
        }

        fn open(&mut self) {
            self.notice(AgentNotice::ChannelOpened { id: "bob".into(), spec: spec() });
        }

        fn buffered(&mut self, buffered: usize) -> Option<Ask> {
            let channels = vec![ChannelStats { label: "chat".into(), open: true, buffered, ..Default::default() }];
            let stats = PeerStats { channels, ..Default::default() };
            self.notice(AgentNotice::Peers(vec![("bob".into(), PeerState::Connected, stats)]))
        }
    }

    fn spec() -> ChannelSpec {
        ChannelSpec { label: "chat".into(), ordered: true, max_retransmits: None, max_lifetime: None }
    }

    fn send(text: &str) -> AgentCommand {
        AgentCommand::Send { to: None, label: Some("chat".into()), payload: Payload::Text(text.into()) }
    }

    fn sent() -> AgentNotice {
        AgentNotice::Sent { id: "bob".into(), label: "chat".into(), bytes: 5 }
    }

    #[test]
    fn a_script_sends_once_it_can_and_quits_once_it_arrived() {
        let mut run = Run::new(Source::Pipe, Role::Offer, &["send chat hello"]);
        assert!(run.told.is_empty());
        run.register();
        assert!(run.told.is_empty());
        run.open();
        assert_eq!(run.told, [send("hello")]);
        run.notice(sent());
        assert_eq!(run.told, [send("hello"), AgentCommand::Peers]);
        assert_eq!(run.buffered(5), Some(Ask::Quietly));
        run.pass(DRAIN_STEP);
        assert_eq!(run.told.len(), 3);
        run.buffered(0);
        assert_eq!(run.told.last(), Some(&AgentCommand::Quit));
        assert!(!run.script.has_failed());
    }

    #[test]
    fn waiting_takes_what_already_happened_but_each_only_once() {
        let mut run = Run::new(Source::Exec, Role::Answer, &["wait message", "wait message 5", "quit"]);
        let message =
            AgentNotice::Message { id: "bob".into(), label: "chat".into(), payload: Payload::Text("x".into()) };
        run.notice(message.clone());
        assert!(run.told.is_empty());
        run.pass(Duration::from_secs(4));
        assert!(run.told.is_empty());
        run.notice(message);
        assert_eq!(run.told, [AgentCommand::Peers]);
    }

    #[test]
    fn waiting_in_vain_fails_and_ends_an_exec() {
        let mut run = Run::new(Source::Exec, Role::Answer, &["wait open 5", "send chat no"]);
        run.pass(Duration::from_secs(5));
        assert_eq!(run.said, ["waited in vain for 'open'"]);
        assert_eq!(run.told, [AgentCommand::Peers]);
        run.notice(AgentNotice::Peers(Vec::new()));
        assert_eq!(run.told.last(), Some(&AgentCommand::Quit));
        assert!(run.script.has_failed());
    }

    #[test]
    fn a_pipe_goes_on_after_a_failure_and_remembers_it() {
        let mut run = Run::new(Source::Pipe, Role::Offer, &["sned chat x", "join lobby"]);
        run.register();
        assert_eq!(run.said.len(), 1);
        assert_eq!(run.told.first(), Some(&AgentCommand::Join("lobby".into())));
        assert!(run.script.has_failed());
    }

    #[test]
    fn a_channel_that_never_opens_is_given_up() {
        let mut run = Run::new(Source::Exec, Role::Offer, &["send chat hello"]);
        run.register();
        run.pass(PATIENCE);
        assert!(run.said[0].contains("within 10 s"), "{:?}", run.said);
        run.notice(AgentNotice::Peers(Vec::new()));
        assert_eq!(run.told, [AgentCommand::Peers, AgentCommand::Quit]);
        assert!(run.script.has_failed());
    }

    #[test]
    fn a_failed_send_does_not_wait_for_its_acceptance() {
        let mut run = Run::new(Source::Exec, Role::Offer, &["send chat hello"]);
        run.register();
        run.open();
        run.notice(AgentNotice::CommandFailed("no".into()));
        run.buffered(0);
        assert_eq!(run.told, [send("hello"), AgentCommand::Peers, AgentCommand::Quit]);
        assert!(run.script.has_failed());
    }

    #[test]
    fn an_answering_peer_outlives_its_input() {
        for (role, lines) in [(Role::Answer, &["join lobby"][..]), (Role::Offer, &[]), (Role::Answer, &[])] {
            let mut run = Run::new(Source::Pipe, role, lines);
            run.register();
            run.pass(Duration::from_secs(3600));
            assert!(!run.told.contains(&AgentCommand::Peers), "{role:?} {lines:?}");
            assert_eq!(run.script.deadline(), None);
        }
    }

    #[test]
    fn a_prompt_waits_for_nothing_but_its_answers() {
        let mut run = Run::new(Source::Prompt, Role::Answer, &["send chat hello"]);
        assert_eq!(run.told, [send("hello")]);
        assert!(run.ready);
        run.notice(AgentNotice::CommandFailed("nobody has a channel chat".into()));
        assert!(!run.script.has_failed());
    }

    /// The input works off what it is asked for in order: a line too many would hold up the commands behind it.
    #[test]
    fn one_line_is_asked_for_at_a_time() {
        let mut script = Script::new(Source::Prompt, Role::Answer, Dialect::Enishi);
        let now = Instant::now();
        assert_eq!(script.poll(), Some(Do::Ready));
        script.notice(now, &AgentNotice::Registered { id: "me".into(), resumed: false });
        script.timeout(now);
        assert_eq!(script.poll(), None);
        script.lines(now, "sleep 1");
        assert_eq!(script.poll(), None);
        script.timeout(now + Duration::from_secs(1));
        assert_eq!(script.poll(), Some(Do::Ready));
        assert_eq!(script.poll(), None);
    }

    #[test]
    fn answers_come_back_to_what_asked() {
        let mut run = Run::new(Source::Prompt, Role::Answer, &["list", "stats"]);
        assert_eq!(run.told, [AgentCommand::Who]);
        run.notice(AgentNotice::Listed(vec!["bob".into()]));
        assert_eq!(run.told, [AgentCommand::Who, AgentCommand::Peers]);
        assert_eq!(run.notice(AgentNotice::Peers(Vec::new())), Some(Ask::Channels));
        assert_eq!(run.told.len(), 3);
        assert_eq!(run.notice(AgentNotice::Peers(Vec::new())), Some(Ask::Stats));
    }

    #[test]
    fn quitting_does_not_wait_forever() {
        let mut run = Run::new(Source::Prompt, Role::Answer, &["quit"]);
        for _ in 0..1000 {
            run.pass(DRAIN_STEP);
        }
        assert_eq!(run.told, [AgentCommand::Peers, AgentCommand::Quit]);
    }

    #[test]
    fn a_paste_is_worked_off_line_by_line() {
        let run = Run::new(Source::Prompt, Role::Answer, &["join a\njoin b\n\nsleep 1\njoin c"]);
        assert_eq!(run.told, [AgentCommand::Join("a".into()), AgentCommand::Join("b".into())]);
    }
}
