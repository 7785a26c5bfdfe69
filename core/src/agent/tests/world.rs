//! Agents among themselves in virtual time: a small relay stands for the server, datagrams take 10 ms.

use std::collections::{BTreeMap, BTreeSet};

use crate::agent::stun::tests::success as answer;
use crate::agent::*;
use crate::dialect::{Codec, Context, Door, Heard, Said};
use crate::ids::Ids;
use crate::limits::Limits;
use crate::machine::{CloseReason, ConnId, FileError, Frame};

pub(super) const SIGNALING_DELAY: Duration = Duration::from_millis(5);
/// The STUN server of this world.
pub(super) const STUN: &str = "198.51.100.1:3478";

pub(super) const PATH_DELAY: Duration = Duration::from_millis(10);
const DISK_DELAY: Duration = Duration::from_millis(2);

/// What is on its way.
pub(super) enum Packet {
    Input(usize, Input<'static, AgentCommand>),
    ToRelay(ConnId, Frame),
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
}

/// Everybody in one thread.
pub(super) struct World {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) agents: Vec<Agent>,
    pub(super) hosts: BTreeMap<SocketAddr, usize>,
    pub(super) packets: BTreeMap<(Instant, u64), Packet>,
    pub(super) count: u64,
    pub(super) relay: Relay,
    /// All notices, with the agent and the time since the start.
    pub(super) notices: Vec<(Duration, usize, AgentNotice)>,
    pub(super) dials: Vec<(Duration, usize)>,
    pub(super) closes: Vec<(usize, u16)>,
    /// Who had free memory go back to the system.
    pub(super) released: Vec<usize>,
    /// Which part of the datagrams is lost.
    pub(super) loss: f64,
    rng: fastrand::Rng,
    /// What the path of each agent carries, in bits per second. More waits up to 300 ms, and then is lost.
    pub(super) narrow: Option<u64>,
    /// Until when each path is busy.
    busy: BTreeMap<usize, Instant>,
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

/// A server reduced to what these tests need.
pub(super) struct Relay {
    pub(super) conns: BTreeMap<ConnId, (usize, Codec, Option<Name>)>,
    pub(super) away: BTreeSet<Name>,
    /// Whether connections are accepted.
    pub(super) listens: bool,
    /// Whether sessions can be resumed.
    pub(super) resumes: bool,
    /// Answers every registration with this.
    pub(super) refuses: Option<Refusal>,
    /// Swallows everything.
    pub(super) mute: bool,
    /// Everything that was to be passed on.
    pub(super) signals: Vec<(Name, Signal)>,
    /// Candidates are taken out of the descriptions: an offer's overtake it, all others are lost.
    pub(super) hasty: bool,
    /// Signals that arrive and are not passed on.
    pub(super) swallow: usize,
    pub(super) resumed_after: Vec<u64>,
    pub(super) ids: Ids,
}

impl Relay {
    /// Takes a frame; what it makes the relay say to whom.
    pub(super) fn receive(&mut self, conn: ConnId, frame: &Frame, out: &mut Vec<(ConnId, Event)>) {
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

    pub(super) fn command(&mut self, conn: ConnId, command: Command, out: &mut Vec<(ConnId, Event)>) {
        let by_name = |conns: &BTreeMap<ConnId, (usize, Codec, Option<Name>)>, name: &Name| {
            conns.iter().find(|(_, (_, _, own))| own.as_ref() == Some(name)).map(|(conn, _)| *conn)
        };
        let refused = |refusal, to| Event::Refused { refusal, to, tag: None };
        let registered =
            |name: &Name, resumed| Event::Registered { name: name.clone(), token: Some(name.as_str().into()), resumed };
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
                let signal = match &envelope.letter {
                    Letter::Open(signal) => signal.clone(),
                    Letter::Sealed(sealed) => crate::dialect::open(sealed).unwrap(),
                };
                self.signals.push((from.clone(), signal.clone()));
                match by_name(&self.conns, &to) {
                    Some(_) if self.away.contains(&to) => {}
                    Some(target) if self.hasty => {
                        for signal in hasty(signal) {
                            let (from, to) = (from.clone(), To::Peer(to.clone()));
                            out.push((target, Event::Signal { from, to, letter: Letter::Open(signal) }));
                        }
                    }
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
    pub(super) fn new() -> Self {
        let start = Instant::now();
        let relay = Relay {
            conns: BTreeMap::new(),
            away: BTreeSet::new(),
            listens: true,
            resumes: true,
            refuses: None,
            mute: false,
            signals: Vec::new(),
            hasty: false,
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
            released: Vec::new(),
            loss: 0.0,
            rng: fastrand::Rng::with_seed(7),
            narrow: None,
            busy: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, id: &str, target: Option<&str>) -> usize {
        let index = self.agents.len();
        let host: SocketAddr = format!("192.0.2.{}:5000", index + 1).parse().unwrap();
        let role = if target.is_some() { Role::Offer } else { Role::Answer };
        let config = AgentConfig { role, target: target.map(Name::from), ..config(id, host) };
        self.add_with(config, host)
    }

    pub(super) fn add_with(&mut self, config: AgentConfig, host: SocketAddr) -> usize {
        let index = self.agents.len();
        self.agents.push(Agent::new(self.now, Duration::from_secs(1_790_000_000), [index as u8 + 1; 32], config));
        self.hosts.insert(host, index);
        self.give(index, Input::Timeout);
        index
    }

    pub(super) fn give(&mut self, index: usize, input: Input<'_, AgentCommand>) {
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

    pub(super) fn send(&mut self, delay: Duration, packet: Packet) {
        self.count += 1;
        self.packets.insert((self.now + delay, self.count), packet);
    }

    pub(super) fn act(&mut self, index: usize, output: Output<AgentNotice>) {
        match output {
            Output::Notice(notice) => self.notices.push((self.now - self.start, index, notice)),
            Output::Datagram { local, remote, bytes } => {
                if self.rng.f64() >= self.loss
                    && let Some(delay) = self.travel(index, bytes.len())
                {
                    self.send(delay, Packet::Datagram { from: local, to: remote, bytes });
                }
            }
            Output::ReadFile { op, path, offset, len } => {
                let part = |file: &Vec<u8>| file.iter().skip(offset as usize).take(len).copied().collect::<Vec<u8>>();
                let result = self.files.get(&path).map(|file| part(file).into()).ok_or(FileError::Missing);
                self.send(DISK_DELAY, Packet::Input(index, Input::FileRead { op, result }));
            }
            Output::Dial { dial, .. } => {
                self.dials.push((self.now - self.start, index));
                let input = if self.relay.listens {
                    let conn = ConnId(100 + self.dials.len() as u64);
                    self.relay.conns.insert(conn, (index, Codec::enter(Door::Own, None).expect("our own"), None));
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
            Output::ReleaseMemory => self.released.push(index),
            other => panic!("{other:?}"),
        }
    }

    /// How long a datagram takes; `None`: it does not arrive.
    fn travel(&mut self, index: usize, bytes: usize) -> Option<Duration> {
        let Some(rate) = self.narrow else { return Some(PATH_DELAY) };
        let begin = self.busy.get(&index).copied().unwrap_or(self.now).max(self.now);
        let end = begin + Duration::from_micros(bytes as u64 * 8_000_000 / rate);
        if end - self.now > Duration::from_millis(300) {
            return None;
        }
        self.busy.insert(index, end);
        Some(end - self.now + PATH_DELAY)
    }

    pub(super) fn step(&mut self) -> bool {
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
                    Packet::Datagram { from, to, bytes } if to.to_string() == STUN => {
                        let bytes = answer(&bytes, &format!("203.0.113.9:{}", from.port() + 1000));
                        self.send(PATH_DELAY, Packet::Datagram { from: to, to: from, bytes });
                    }
                    Packet::Datagram { from, to, bytes } => {
                        if let Some(&index) = self.hosts.get(&to) {
                            self.give(index, Input::Datagram { local: to, remote: from, bytes: &bytes });
                        }
                    }
                    Packet::ToRelay(conn, frame) => self.give_relay(conn, &frame),
                }
            }
            _ => return false,
        }
        true
    }

    pub(super) fn give_relay(&mut self, conn: ConnId, frame: &Frame) {
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
    pub(super) fn kill_relay(&mut self) {
        self.relay.listens = false;
        for (conn, (index, _, _)) in std::mem::take(&mut self.relay.conns) {
            self.give(index, Input::Closed { conn, reason: CloseReason::Eof });
        }
    }

    pub(super) fn command(&mut self, index: usize, command: AgentCommand) {
        self.give(index, Input::Command(command));
    }

    pub(super) fn say(&mut self, index: usize, text: &str) {
        let payload = Payload::Text(text.to_owned());
        self.command(index, AgentCommand::Send { to: None, label: None, payload });
    }

    /// Runs until something is so, for at most this long.
    #[track_caller]
    pub(super) fn until(&mut self, limit: Duration, what: &str, mut so: impl FnMut(&World) -> bool) {
        let end = self.now + limit;
        while !so(self) {
            assert!(self.step() && self.now <= end, "not within {limit:?}: {what}\n{:#?}", self.notices);
        }
    }

    /// Runs for this long.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.send(time, Packet::ToRelay(ConnId(0), Frame::Pong));
        while self.now < end && self.step() {}
    }

    pub(super) fn told(&self, index: usize) -> impl DoubleEndedIterator<Item = &AgentNotice> {
        self.notices.iter().filter(move |(_, of, _)| *of == index).map(|(_, _, notice)| notice)
    }

    pub(super) fn texts(&self, index: usize) -> Vec<&str> {
        self.told(index)
            .filter_map(|notice| match notice {
                AgentNotice::Message { payload: Payload::Text(text), .. } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn count(&self, index: usize, is: impl Fn(&AgentNotice) -> bool) -> usize {
        self.told(index).filter(|notice| is(notice)).count()
    }

    pub(super) fn open(&self, index: usize) -> bool {
        self.count(index, |notice| matches!(notice, AgentNotice::ChannelOpened { .. })) > 0
    }

    #[track_caller]
    pub(super) fn connect(&mut self) {
        self.until(Duration::from_secs(5), "the channel opens", |world| world.open(0) && world.open(1));
    }
}

/// What becomes of a signal when candidates are quick, like those of conic's own client (`protocols.md` 000.2).
fn hasty(signal: Signal) -> Vec<Signal> {
    let split = |sdp: &str| -> (Vec<String>, String) {
        let lines = sdp.split_inclusive('\n');
        let (candidates, rest): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("a=candidate:"));
        (candidates.iter().map(|line| line.trim()[2..].to_owned()).collect(), rest.concat())
    };
    match signal {
        Signal::Offer { sdp } => {
            let (candidates, sdp) = split(&sdp);
            let candidate = |candidate| Signal::Candidate(crate::signal::Candidate { candidate, ..Default::default() });
            candidates.into_iter().map(candidate).chain([Signal::Offer { sdp }]).collect()
        }
        Signal::Answer { sdp } => vec![Signal::Answer { sdp: split(&sdp).1 }],
        Signal::Candidate(_) => Vec::new(),
        other => vec![other],
    }
}

/// An agent that waits for offers.
pub(super) fn config(id: &str, host: SocketAddr) -> AgentConfig {
    AgentConfig {
        signal_url: "ws://relay/v1".to_owned(),
        dialect: Dialect::Enishi,
        id: Some(id.into()),
        token: None,
        room: None,
        role: Role::Answer,
        target: None,
        channel: spec("chat"),
        hosts: vec![host],
        stun: Vec::new(),
        turn: Vec::new(),
        relay_only: false,
        channel_buffer_bytes: 128 * 1024,
        crypto: Crypto::default(),
        greet: false,
        chatter: None,
        media: MediaConfig::default(),
        record: None,
    }
}

pub(super) fn spec(label: &str) -> ChannelSpec {
    ChannelSpec { label: label.to_owned(), ordered: true, max_retransmits: None, max_lifetime: None }
}

pub(super) fn is_peer(notice: &AgentNotice, is: PeerState) -> bool {
    matches!(notice, AgentNotice::Peer { state, .. } if *state == is)
}

pub(super) const SECOND: Duration = Duration::from_secs(1);
