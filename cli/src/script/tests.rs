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
    AgentNotice::Sent { id: "bob".into(), label: "chat".into(), payload: Payload::Text("hello".into()) }
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
    let message = AgentNotice::Message { id: "bob".into(), label: "chat".into(), payload: Payload::Text("x".into()) };
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
fn channels_are_listed_even_where_the_server_cannot_be_asked() {
    let mut run = Run::new(Source::Exec, Role::Answer, &["list", "sleep 1"]);
    run.register();
    run.notice(AgentNotice::CommandFailed("conic-c has no word for it".into()));
    assert_eq!(run.told, [AgentCommand::Who, AgentCommand::Peers]);
    assert_eq!(run.notice(AgentNotice::Peers(Vec::new())), Some(Ask::Channels));
    assert!(!run.script.has_failed());
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
