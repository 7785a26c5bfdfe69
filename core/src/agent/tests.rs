//! Agents among themselves in virtual time: a small relay stands for the server, datagrams take 10 ms.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::dialect::{Codec, Context, Heard, Said};
use crate::ids::Ids;
use crate::limits::Limits;
use crate::machine::{CloseReason, ConnId, DialId, Frame};

const SIGNALING_DELAY: Duration = Duration::from_millis(5);
const PATH_DELAY: Duration = Duration::from_millis(10);

/// What is on its way.
enum Packet {
    Input(usize, Input<'static, AgentCommand>),
    ToRelay(ConnId, Frame),
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
}

/// Everybody in one thread.
struct World {
    start: Instant,
    now: Instant,
    agents: Vec<Agent>,
    hosts: BTreeMap<SocketAddr, usize>,
    packets: BTreeMap<(Instant, u64), Packet>,
    count: u64,
    relay: Relay,
    /// All notices, with the agent and the time since the start.
    notices: Vec<(Duration, usize, AgentNotice)>,
    dials: Vec<(Duration, usize)>,
    closes: Vec<(usize, u16)>,
}

/// A server reduced to what these tests need.
struct Relay {
    conns: BTreeMap<ConnId, (usize, Codec, Option<Name>)>,
    away: BTreeSet<Name>,
    /// Whether connections are accepted.
    listens: bool,
    /// Whether sessions can be resumed.
    resumes: bool,
    /// Answers every registration with this.
    refuses: Option<Refusal>,
    /// Swallows everything.
    mute: bool,
    /// Signals that arrive and are not passed on.
    swallow: usize,
    resumed_after: Vec<u64>,
    ids: Ids,
}

impl Relay {
    /// Takes a frame; what it makes the relay say to whom.
    fn receive(&mut self, conn: ConnId, frame: &Frame, out: &mut Vec<(ConnId, Event)>) {
        let mut heard = Vec::new();
        let limits = Limits::default();
        let mut cx = Context { unix: Duration::ZERO, ids: &mut self.ids, limits: &limits, ice_servers: &[] };
        let Some((_, codec, _)) = self.conns.get_mut(&conn) else { return };
        codec.receive(&mut cx, frame, &mut heard);
        for heard in heard {
            let Heard::Command(command) = heard else { panic!("not understood: {heard:?}") };
            self.command(conn, command, out);
        }
    }

    fn command(&mut self, conn: ConnId, command: Command, out: &mut Vec<(ConnId, Event)>) {
        let by_name = |conns: &BTreeMap<ConnId, (usize, Codec, Option<Name>)>, name: &Name| {
            conns.iter().find(|(_, (_, _, own))| own.as_ref() == Some(name)).map(|(conn, _)| *conn)
        };
        let refused = |refusal, to| Event::Refused { refusal, to, tag: None };
        let registered = |name: &Name, resumed| Event::Registered {
            name: name.clone(),
            token: Some(name.as_str().into()),
            resumed,
        };
        match command {
            Command::Register { .. } if self.refuses.is_some() => {
                out.extend(self.refuses.map(|refusal| (conn, refused(refusal, None))));
            }
            Command::Register { name, .. } => {
                let name = name.unwrap_or_else(|| "invented".into());
                if by_name(&self.conns, &name).is_some() {
                    return out.push((conn, refused(Refusal::NameTaken, None)));
                }
                out.push((conn, registered(&name, Resumed::Fresh)));
                self.conns.get_mut(&conn).unwrap().2 = Some(name);
            }
            Command::Resume { token, received } => {
                self.resumed_after.push(received);
                if !self.resumes {
                    return out.push((conn, refused(Refusal::SessionGone, None)));
                }
                let name = Name::from(token.as_ref());
                out.push((conn, registered(&name, Resumed::Whole)));
                self.conns.get_mut(&conn).unwrap().2 = Some(name);
            }
            Command::Signal(envelope) => {
                let To::Peer(to) = envelope.to else { panic!() };
                let from = self.conns[&conn].2.clone().unwrap();
                if self.swallow > 0 {
                    self.swallow -= 1;
                    return;
                }
                match by_name(&self.conns, &to) {
                    Some(_) if self.away.contains(&to) => {}
                    Some(target) => {
                        out.push((target, Event::Signal { from, to: To::Peer(to), letter: envelope.letter }));
                    }
                    None => out.push((conn, refused(Refusal::NoSuchPeer, Some(to)))),
                }
            }
            Command::List { tag } => {
                let names = self.conns.values().filter_map(|(_, _, name)| name.clone()).collect();
                out.push((conn, Event::Listed { names, tag }));
            }
            Command::Bye => {
                self.conns.get_mut(&conn).unwrap().2 = None;
            }
            other => panic!("{other:?}"),
        }
    }
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        let relay = Relay {
            conns: BTreeMap::new(),
            away: BTreeSet::new(),
            listens: true,
            resumes: true,
            refuses: None,
            mute: false,
            swallow: 0,
            resumed_after: Vec::new(),
            ids: Ids::new(1),
        };
        World {
            start,
            now: start,
            agents: Vec::new(),
            hosts: BTreeMap::new(),
            packets: BTreeMap::new(),
            count: 0,
            relay,
            notices: Vec::new(),
            dials: Vec::new(),
            closes: Vec::new(),
        }
    }

    fn add(&mut self, id: &str, target: Option<&str>) -> usize {
        let index = self.agents.len();
        let host: SocketAddr = format!("192.0.2.{}:5000", index + 1).parse().unwrap();
        let config = AgentConfig {
            signal_url: "ws://relay/v1".to_owned(),
            dialect: Dialect::Enishi,
            id: Some(id.into()),
            token: None,
            role: if target.is_some() { Role::Offer } else { Role::Answer },
            target: target.map(Name::from),
            channel: spec("chat"),
            hosts: vec![host],
            stun: Vec::new(),
            channel_buffer_bytes: 128 * 1024,
        };
        self.add_with(config, host)
    }

    fn add_with(&mut self, config: AgentConfig, host: SocketAddr) -> usize {
        let index = self.agents.len();
        self.agents.push(Agent::new(self.now, Duration::from_secs(1_790_000_000), [index as u8 + 1; 32], config));
        self.hosts.insert(host, index);
        self.give(index, Input::Timeout);
        index
    }

    fn give(&mut self, index: usize, input: Input<'_, AgentCommand>) {
        let timeout = matches!(input, Input::Timeout);
        let agent = &mut self.agents[index];
        agent.handle_input(self.now, input);
        while let Some(output) = self.agents[index].poll_output() {
            self.act(index, output);
        }
        if timeout && let Some(deadline) = self.agents[index].poll_timeout() {
            assert!(deadline.at > self.now, "busy with {}", deadline.why);
        }
    }

    fn send(&mut self, delay: Duration, packet: Packet) {
        self.count += 1;
        self.packets.insert((self.now + delay, self.count), packet);
    }

    fn act(&mut self, index: usize, output: Output<AgentNotice>) {
        match output {
            Output::Notice(notice) => self.notices.push((self.now - self.start, index, notice)),
            Output::Datagram { local, remote, bytes } => {
                self.send(PATH_DELAY, Packet::Datagram { from: local, to: remote, bytes });
            }
            Output::Dial { dial, .. } => {
                self.dials.push((self.now - self.start, index));
                let input = if self.relay.listens {
                    let conn = ConnId(100 + self.dials.len() as u64);
                    self.relay.conns.insert(conn, (index, Codec::enishi(None), None));
                    Input::Dialed { dial, conn, protocol: None }
                } else {
                    Input::DialFailed { dial, error: "connection refused".to_owned() }
                };
                self.send(SIGNALING_DELAY, Packet::Input(index, input));
            }
            Output::Send { conn, frame: Frame::Ping } => {
                if !self.relay.mute {
                    self.send(SIGNALING_DELAY, Packet::Input(index, Input::Frame { conn, frame: Frame::Pong }));
                }
            }
            Output::Send { conn, frame } => self.send(SIGNALING_DELAY, Packet::ToRelay(conn, frame)),
            Output::Close { conn, code, .. } => {
                self.closes.push((index, code));
                self.relay.conns.remove(&conn);
                if !self.relay.mute {
                    let input = Input::Closed { conn, reason: CloseReason::Local };
                    self.send(SIGNALING_DELAY, Packet::Input(index, input));
                }
            }
            Output::Drop { conn } => drop(self.relay.conns.remove(&conn)),
            other => panic!("{other:?}"),
        }
    }

    fn step(&mut self) -> bool {
        let timeouts = self.agents.iter().enumerate();
        let timeout = timeouts.filter_map(|(i, agent)| Some((agent.poll_timeout()?.at, i))).min();
        let packet = self.packets.first_key_value().map(|(&key, _)| key);
        match (timeout, packet) {
            (Some((at, index)), packet) if packet.is_none_or(|(arrival, _)| at < arrival) => {
                self.now = self.now.max(at);
                self.give(index, Input::Timeout);
            }
            (_, Some(key)) => {
                self.now = key.0;
                match self.packets.remove(&key).unwrap() {
                    Packet::Input(index, input) => self.give(index, input),
                    Packet::Datagram { from, to, bytes } => {
                        if let Some(&index) = self.hosts.get(&to) {
                            self.give(index, Input::Datagram { local: to, remote: from, bytes: &bytes });
                        }
                    }
                    Packet::ToRelay(conn, frame) => self.to_relay(conn, &frame),
                }
            }
            _ => return false,
        }
        true
    }

    fn to_relay(&mut self, conn: ConnId, frame: &Frame) {
        let mut events = Vec::new();
        if !self.relay.mute {
            self.relay.receive(conn, frame, &mut events);
        }
        for (conn, event) in events {
            let (index, codec, _) = self.relay.conns.get_mut(&conn).unwrap();
            let (index, limits, mut said) = (*index, Limits::default(), Vec::new());
            let ids = &mut self.relay.ids;
            let mut cx = Context { unix: Duration::ZERO, ids, limits: &limits, ice_servers: &[] };
            codec.encode(&mut cx, &event, &mut said).unwrap();
            for said in said {
                let Said::Frame(frame) = said else { continue };
                self.send(SIGNALING_DELAY, Packet::Input(index, Input::Frame { conn, frame }));
            }
        }
    }

    /// The server dies: every connection ends.
    fn kill_relay(&mut self) {
        self.relay.listens = false;
        for (conn, (index, _, _)) in std::mem::take(&mut self.relay.conns) {
            self.give(index, Input::Closed { conn, reason: CloseReason::Eof });
        }
    }

    fn command(&mut self, index: usize, command: AgentCommand) {
        self.give(index, Input::Command(command));
    }

    fn say(&mut self, index: usize, text: &str) {
        let payload = Payload::Text(text.to_owned());
        self.command(index, AgentCommand::Send { to: None, label: None, payload });
    }

    /// Runs until something is so, for at most this long.
    #[track_caller]
    fn until(&mut self, limit: Duration, what: &str, mut so: impl FnMut(&World) -> bool) {
        let end = self.now + limit;
        while !so(self) {
            assert!(self.step() && self.now <= end, "not within {limit:?}: {what}\n{:#?}", self.notices);
        }
    }

    /// Runs for this long.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.send(time, Packet::ToRelay(ConnId(0), Frame::Pong));
        while self.now < end && self.step() {}
    }

    fn told<'a>(&'a self, index: usize) -> impl DoubleEndedIterator<Item = &'a AgentNotice> {
        self.notices.iter().filter(move |(_, of, _)| *of == index).map(|(_, _, notice)| notice)
    }

    fn texts(&self, index: usize) -> Vec<&str> {
        self.told(index)
            .filter_map(|notice| match notice {
                AgentNotice::Message { payload: Payload::Text(text), .. } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    fn count(&self, index: usize, is: impl Fn(&AgentNotice) -> bool) -> usize {
        self.told(index).filter(|notice| is(notice)).count()
    }

    fn open(&self, index: usize) -> bool {
        self.count(index, |notice| matches!(notice, AgentNotice::ChannelOpened { .. })) > 0
    }

    #[track_caller]
    fn connect(&mut self) {
        self.until(Duration::from_secs(5), "the channel opens", |world| world.open(0) && world.open(1));
    }
}

fn spec(label: &str) -> ChannelSpec {
    ChannelSpec { label: label.to_owned(), ordered: true, max_retransmits: None, max_lifetime: None }
}

fn is_peer(notice: &AgentNotice, is: PeerState) -> bool {
    matches!(notice, AgentNotice::Peer { state, .. } if *state == is)
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn two_agents_talk() {
    let mut world = World::new();
    let bob = world.add("bob", None);
    let alice = world.add("alice", Some("bob"));
    world.connect();
    world.say(alice, "hello");
    world.say(bob, "hello yourself");
    world.until(SECOND, "both have heard", |world| !world.texts(alice).is_empty() && !world.texts(bob).is_empty());
    assert_eq!((world.texts(bob), world.texts(alice)), (vec!["hello"], vec!["hello yourself"]));
    let sent = AgentNotice::Sent { id: "bob".into(), label: "chat".to_owned(), bytes: 5 };
    assert_eq!(world.count(alice, |notice| *notice == sent), 1);
    assert_eq!(world.count(bob, |notice| is_peer(notice, PeerState::Connected)), 1);
}

#[test]
fn glare_gives_one_connection() {
    let mut world = World::new();
    world.add("bob", Some("alice"));
    world.add("alice", Some("bob"));
    world.connect();
    world.say(0, "from bob");
    world.say(1, "from alice");
    world.until(SECOND, "both have heard", |world| !world.texts(0).is_empty() && !world.texts(1).is_empty());
    world.run(SECOND * 60);
    for index in [0, 1] {
        assert_eq!(world.count(index, |notice| is_peer(notice, PeerState::Connected)), 1);
        assert_eq!(world.count(index, |notice| matches!(notice, AgentNotice::PeerFailed { .. })), 0);
        assert_eq!(world.texts(index).len(), 1);
    }
}

#[test]
fn an_offer_waits_for_its_target() {
    let mut world = World::new();
    world.add("alice", Some("bob"));
    // Longer than a connection has patience for: it starts over.
    world.run(SECOND * 75);
    let waiting = AgentNotice::Waiting { target: "bob".into() };
    assert_eq!(world.count(0, |notice| *notice == waiting), 1);
    assert_eq!(world.count(0, |notice| matches!(notice, AgentNotice::Refused { .. })), 0);
    world.say(0, "are you there?");
    world.say(0, "now?");
    world.add("bob", None);
    world.until(SECOND * 5, "the messages arrive", |world| world.texts(1).len() == 2);
    assert_eq!(world.texts(1), ["are you there?", "now?"]);
    assert_eq!(world.count(0, |notice| matches!(notice, AgentNotice::PeerFailed { .. })), 0);
}

#[test]
fn a_lost_offer_is_said_again() {
    let mut world = World::new();
    world.add("bob", None);
    world.relay.swallow = 2;
    world.add("alice", Some("bob"));
    world.until(SECOND * 17, "the channel opens", |world| world.open(0) && world.open(1));
}

#[test]
fn a_message_before_the_channel_opens_arrives_once_and_in_order() {
    let mut world = World::new();
    world.add("bob", None);
    world.add("alice", Some("bob"));
    world.until(SECOND, "registered", |world| world.count(1, |n| matches!(n, AgentNotice::Registered { .. })) == 1);
    for text in ["one", "two", "three"] {
        world.say(1, text);
    }
    assert_eq!(world.count(1, |notice| matches!(notice, AgentNotice::Sent { .. })), 0);
    world.run(SECOND * 20);
    assert_eq!(world.texts(0), ["one", "two", "three"]);
    assert_eq!(world.count(1, |notice| matches!(notice, AgentNotice::Sent { .. })), 3);
}

#[test]
fn more_than_the_buffer_holds_arrives_in_order() {
    let mut world = World::new();
    world.add("bob", None);
    world.add("alice", Some("bob"));
    world.connect();
    let texts: Vec<String> = (0..40).map(|n| format!("{n}:{}", "x".repeat(30_000))).collect();
    for text in &texts {
        world.say(1, text);
    }
    world.until(SECOND * 30, "all arrive", |world| world.texts(0).len() == texts.len());
    assert!(world.texts(0).iter().eq(texts.iter()));
}

#[test]
fn a_restarted_remote_is_met_anew() {
    let mut world = World::new();
    world.add("bob", None);
    let alice = world.add("alice", Some("bob"));
    world.connect();
    // Alice's program dies without a word; its socket is found dead; it is started again on another port.
    let (&conn, _) = world.relay.conns.iter().find(|(_, (index, _, _))| *index == alice).unwrap();
    world.relay.conns.remove(&conn);
    world.agents[alice] = Agent::new(world.now, Duration::ZERO, [99; 32], world_config("alice", "192.0.2.9:5000"));
    world.agents[alice].ended = true;
    let again = world.add_with(
        AgentConfig { role: Role::Offer, target: Some("bob".into()), ..world_config("alice", "192.0.2.10:5000") },
        "192.0.2.10:5000".parse().unwrap(),
    );
    world.until(SECOND * 5, "the channel opens", |world| world.open(again));
    world.say(again, "me again");
    world.until(SECOND, "it arrives", |world| world.texts(0) == ["me again"]);
}

fn world_config(id: &str, host: &str) -> AgentConfig {
    AgentConfig {
        signal_url: "ws://relay/v1".to_owned(),
        dialect: Dialect::Enishi,
        id: Some(id.into()),
        token: None,
        role: Role::Answer,
        target: None,
        channel: spec("chat"),
        hosts: vec![host.parse().unwrap()],
        stun: Vec::new(),
        channel_buffer_bytes: 128 * 1024,
    }
}

#[test]
fn live_connections_outlive_the_server_and_the_session_resumes() {
    let mut world = World::new();
    world.add("bob", None);
    world.add("alice", Some("bob"));
    world.connect();
    let heard_by_alice = 3; // the welcome, bob's answer, its end of candidates
    world.kill_relay();
    world.run(SECOND * 100);
    world.say(1, "still here");
    world.until(SECOND, "it arrives", |world| world.texts(0) == ["still here"]);
    for index in [0, 1] {
        let lost = |notice: &AgentNotice| matches!(notice, AgentNotice::SignalingLost { was_up: true, .. });
        assert!(world.count(index, lost) > 3);
        let waits: Vec<Duration> = world
            .told(index)
            .filter_map(|notice| match notice {
                AgentNotice::SignalingLost { retry, .. } => *retry,
                _ => None,
            })
            .collect();
        for (n, wait) in waits.iter().enumerate() {
            let longest = SECOND.saturating_mul(1 << n.min(10)).min(SECOND * 30);
            assert!(*wait >= longest / 2 && *wait <= longest, "{waits:?}");
        }
    }
    world.relay.listens = true;
    let resumed = |notice: &AgentNotice| matches!(notice, AgentNotice::Registered { resumed: true, .. });
    world.until(SECOND * 31, "both resume", |world| (0..2).all(|i| world.count(i, resumed) == 1));
    assert!(world.relay.resumed_after.contains(&heard_by_alice), "{:?}", world.relay.resumed_after);
    assert_eq!(world.count(0, |notice| is_peer(notice, PeerState::Closed)), 0);
}

#[test]
fn a_forgotten_session_registers_anew_under_the_same_id() {
    let mut world = World::new();
    world.add("bob", None);
    world.run(SECOND);
    world.relay.resumes = false;
    world.kill_relay();
    world.relay.listens = true;
    let registered = AgentNotice::Registered { id: "bob".into(), resumed: false };
    world.until(SECOND * 5, "registered again", |world| world.count(0, |notice| *notice == registered) == 2);
}

#[test]
fn a_negotiation_that_the_server_interrupts_goes_on() {
    for millis in [2, 7, 12, 18, 24, 30, 40, 50] {
        let mut world = World::new();
        world.add("bob", None);
        world.run(SECOND);
        world.add("alice", Some("bob"));
        world.run(Duration::from_millis(millis + 10));
        world.relay.resumes = millis % 4 == 0;
        world.kill_relay();
        world.run(Duration::from_millis(200));
        world.relay.listens = true;
        if millis == 2 {
            // It never worked for alice: she gave up.
            assert_eq!(world.count(1, |notice| matches!(notice, AgentNotice::SignalingLost { retry: None, .. })), 1);
            continue;
        }
        world.until(SECOND * 40, "the channel opens", |world| world.open(0) && world.open(1));
    }
}

#[test]
fn without_a_server_there_is_no_second_attempt() {
    let mut world = World::new();
    world.relay.listens = false;
    world.add("alice", Some("bob"));
    world.run(SECOND * 60);
    assert_eq!(world.dials.len(), 1);
    let why = "connection refused".to_owned();
    let lost = AgentNotice::SignalingLost { why, retry: None, was_up: false };
    assert_eq!(world.told(0).collect::<Vec<_>>(), [&lost]);
    assert_eq!(world.agents[0].poll_timeout(), None);
}

#[test]
fn a_taken_id_ends_the_first_attempt_but_not_a_later_one() {
    let mut world = World::new();
    world.add("alice", None);
    world.run(SECOND);
    let second = world.add("alice", None);
    world.run(SECOND * 5);
    let refused = AgentNotice::Refused { refusal: Refusal::NameTaken, to: None };
    assert_eq!(world.told(second).collect::<Vec<_>>(), [&refused, &AgentNotice::Ended]);

    world.kill_relay();
    (world.relay.listens, world.relay.resumes, world.relay.refuses) = (true, false, Some(Refusal::NameTaken));
    world.run(SECOND * 10);
    world.relay.refuses = None;
    let registered = |notice: &AgentNotice| matches!(notice, AgentNotice::Registered { .. });
    world.until(SECOND * 31, "registered again", |world| world.count(0, registered) == 2);
}

#[test]
fn a_silent_server_is_asked_and_then_left() {
    let mut world = World::new();
    world.add("alice", None);
    world.run(SECOND * 120);
    assert_eq!(world.dials.len(), 1, "pongs are signs of life");
    world.relay.mute = true;
    let lost = |notice: &AgentNotice| matches!(notice, AgentNotice::SignalingLost { .. });
    let before = world.now;
    world.until(SECOND * 46, "given up", |world| world.count(0, lost) == 1);
    assert!(world.now - before > SECOND * 24);
}

#[test]
fn quitting_says_goodbye_to_all() {
    let mut world = World::new();
    world.add("bob", None);
    world.add("alice", Some("bob"));
    world.connect();
    world.say(1, "last words");
    world.command(1, AgentCommand::Quit);
    world.until(SECOND * 2, "alice ends", |world| world.told(1).next_back() == Some(&AgentNotice::Ended));
    world.until(SECOND * 2, "bob notices", |world| world.count(0, |n| is_peer(n, PeerState::Closed)) == 1);
    assert_eq!(world.texts(0), ["last words"]);
    assert_eq!(world.closes, [(1, 1000)]);
    assert_eq!(world.agents[1].poll_timeout(), None);
}

#[test]
fn quitting_ends_within_two_seconds_whatever_is_broken() {
    for broken in 0..4 {
        let mut world = World::new();
        world.add("bob", None);
        world.add("alice", Some("bob"));
        world.connect();
        match broken {
            0 => world.relay.mute = true,
            1 => drop(world.hosts.remove(&"192.0.2.1:5000".parse().unwrap())),
            2 => world.kill_relay(),
            _ => {
                world.relay.mute = true;
                world.hosts.clear();
            }
        }
        world.say(1, "x");
        world.command(1, AgentCommand::Quit);
        world.until(SECOND * 2, "alice ends", |world| world.told(1).next_back() == Some(&AgentNotice::Ended));
    }
}

#[test]
fn commands_that_cannot_be_done_say_so() {
    let mut world = World::new();
    world.add("bob", None);
    world.add("alice", Some("bob"));
    let text = |text: &str| Payload::Text(text.to_owned());
    let to = |name: &str| Some(Name::from(name));
    world.command(1, AgentCommand::Who);
    world.connect();
    let long = ChannelSpec { label: "l".repeat(300), ..spec("") };
    let failing = [
        AgentCommand::Offer("alice".into()),
        AgentCommand::Offer("bob".into()),
        AgentCommand::Close("carol".into()),
        AgentCommand::Restart("carol".into()),
        AgentCommand::Send { to: to("carol"), label: None, payload: text("x") },
        AgentCommand::Send { to: to("bob"), label: Some("nope".to_owned()), payload: text("x") },
        AgentCommand::Send { to: None, label: Some("nope".to_owned()), payload: text("x") },
        AgentCommand::Send { to: None, label: None, payload: text("") },
        AgentCommand::Send { to: None, label: None, payload: text(&"x".repeat(300_000)) },
        AgentCommand::Channel { to: None, spec: spec("chat") },
        AgentCommand::Channel { to: None, spec: long },
    ];
    let failed = |world: &World| world.count(1, |notice| matches!(notice, AgentNotice::CommandFailed(_)));
    for command in failing {
        let before = failed(&world);
        let shown = format!("{command:?}");
        world.command(1, command);
        assert_eq!(failed(&world), before + 1, "{shown}");
    }
    world.say(1, "after all that");
    world.until(SECOND, "the channel still works", |world| world.texts(0) == ["after all that"]);
}

#[test]
fn further_channels_restarts_lists_and_relays_work() {
    let mut world = World::new();
    world.add("bob", None);
    world.add("alice", Some("bob"));
    world.connect();
    world.command(1, AgentCommand::Channel { to: None, spec: spec("more") });
    let payload = Payload::Text("on more".to_owned());
    world.command(1, AgentCommand::Send { to: None, label: Some("more".to_owned()), payload });
    world.until(SECOND, "it arrives", |world| {
        world.told(0).any(|notice| matches!(notice, AgentNotice::Message { label, .. } if label == "more"))
    });
    world.command(1, AgentCommand::Restart("bob".into()));
    world.run(SECOND * 5);
    world.say(0, "after the restart");
    world.until(SECOND, "it arrives", |world| world.texts(1) == ["after the restart"]);
    let payload = Payload::Text("by the server".to_owned());
    world.command(1, AgentCommand::Relay { to: "bob".into(), label: "chat".to_owned(), payload: payload.clone() });
    let relayed = AgentNotice::Relayed { from: "alice".into(), label: "chat".to_owned(), payload };
    world.until(SECOND, "relayed", |world| world.told(0).any(|notice| *notice == relayed));
    world.command(0, AgentCommand::Who);
    let listed = AgentNotice::Listed(vec!["bob".into(), "alice".into()]);
    world.until(SECOND, "listed", |world| world.told(0).any(|notice| *notice == listed));
    world.command(0, AgentCommand::Peers);
    let peers = world.told(0).find_map(|notice| match notice {
        AgentNotice::Peers(peers) => Some(peers),
        _ => None,
    });
    let [(name, state, stats)] = peers.unwrap().as_slice() else { panic!() };
    assert_eq!((name.as_str(), *state), ("alice", PeerState::Connected));
    let labels: Vec<&str> = stats.channels.iter().map(|channel| channel.label.as_str()).collect();
    assert_eq!(labels, ["chat", "more"]);
    world.command(0, AgentCommand::Close("alice".into()));
    for index in [0, 1] {
        world.until(SECOND * 5, "closed", |world| world.count(index, |n| is_peer(n, PeerState::Closed)) == 1);
    }
}

#[test]
fn hostile_signals_are_bounded_and_skipped() {
    let mut world = World::new();
    let agent = world.add("bob", None);
    world.run(SECOND);
    let conn = *world.relay.conns.keys().next().unwrap();
    let mut say = |world: &mut World, from: &str, letter: Signal| {
        let (index, codec, _) = world.relay.conns.get_mut(&conn).unwrap();
        assert_eq!(*index, agent);
        let limits = Limits::default();
        let ids = &mut world.relay.ids;
        let mut cx = Context { unix: Duration::ZERO, ids, limits: &limits, ice_servers: &[] };
        let mut said = Vec::new();
        let event = Event::Signal { from: from.into(), to: To::Peer("bob".into()), letter: Letter::Open(letter) };
        codec.encode(&mut cx, &event, &mut said).unwrap();
        for said in said {
            let Said::Frame(frame) = said else { continue };
            world.give(agent, Input::Frame { conn, frame });
        }
    };
    for n in 0..1000 {
        let candidate = crate::signal::Candidate { candidate: "candidate:junk".to_owned(), ..Default::default() };
        say(&mut world, &format!("flood{}", n % 7), Signal::Candidate(candidate));
        say(&mut world, &format!("x{n}"), Signal::Answer { sdp: "v=0".to_owned() });
        say(&mut world, &format!("x{n}"), Signal::Offer { sdp: "not an offer".to_owned() });
        say(&mut world, &format!("x{n}"), Signal::Restart);
        say(&mut world, "bob", Signal::Restart);
    }
    assert!(world.agents[agent].peers.early_count() <= crate::limits::EARLY_SIGNALS);
    for text in ["", "{", "null", "[]", "{\"type\":\"welcome\"}", "{\"type\":\"offer\",\"from\":\"x\"}"] {
        world.give(agent, Input::Frame { conn, frame: Frame::text(text) });
    }
    let (local, remote) = ("192.0.2.1:5000".parse().unwrap(), "198.51.100.1:1".parse().unwrap());
    for bytes in [&[][..], &[0; 20], &[0x16; 100], &[0x80; 12]] {
        world.give(agent, Input::Datagram { local, remote, bytes });
    }
    world.run(SECOND * 60);
    let alice = world.add("alice", Some("bob"));
    world.until(SECOND * 5, "an honest peer connects", |world| world.open(alice));
}

#[test]
fn stale_inputs_are_ignored() {
    let mut world = World::new();
    world.add("bob", None);
    world.run(SECOND);
    let before = world.notices.len();
    let (dial, conn) = (DialId(77), ConnId(9_999));
    world.give(0, Input::Dialed { dial, conn, protocol: None });
    world.give(0, Input::DialFailed { dial, error: "late".to_owned() });
    world.give(0, Input::Closed { conn, reason: CloseReason::Eof });
    world.give(0, Input::Frame { conn, frame: Frame::text("{}") });
    world.give(0, Input::Timeout);
    assert_eq!(world.notices.len(), before);
}
