//! A command-line peer: a signaling client, its peer connections and their channels, one [`Machine`].
//!
//! Eight parts: `agent/signaling.rs` reaches the server, `agent/peers.rs` holds the peer connections, `agent/channels.rs`
//! their channels and what waits on them, `agent/stun.rs` asks for addresses, `agent/turn.rs` for relays,
//! `agent/tracks.rs` has what is sent of sound and picture, `agent/heard.rs` what is heard and seen, and
//! `agent/recording.rs` writes it to files. Here they meet: what one part wants of another is worked off in `settle`;
//! `agent/rooms.rs` and `agent/media.rs` are a part of that.

mod channels;
mod habits;
mod heard;
mod media;
mod peers;
mod recording;
mod rooms;
mod signaling;
mod stun;
#[cfg(test)]
mod tests;
mod tracks;
mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::agent::habits::Habits;
use crate::agent::heard::Heard;
pub use crate::agent::media::{MediaCommand, MediaConfig, MediaNotice, OurTrack, TheirTrack};
use crate::agent::peers::{Peers, PeersEffect};
use crate::agent::recording::{Recorder, RecorderEffect};
use crate::agent::signaling::{Signaling, SignalingEffect};
use crate::agent::tracks::{Tracks, TracksEffect};
use crate::agent::turn::Relays;
use crate::clock::WallClock;
use crate::crowd::Crowd;
use crate::dialect::Dialect;
use crate::dialect::socketio::EVERYONE;
use crate::ids::Secrets;
use crate::machine::{Deadline, Input, Machine, Output};
use crate::peer::{ChannelSpec, Crypto, PeerFault, PeerState, PeerStats};
use crate::signal::{Command, Envelope, Event, Letter, Name, Payload, Refusal, Resumed, RoomName, Signal, To};
use crate::turn::{Credentials, TurnServer, TurnUri};

pub use crate::agent::recording::{RecordSpec, RecordingNotice};

/// What the agent does by itself once it is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Offers to the target.
    Offer,
    /// Waits for offers.
    Answer,
}

/// How an agent is set up.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The signaling server, `ws://host:port/path`.
    pub signal_url: String,
    /// The dialect to speak with it.
    pub dialect: Dialect,
    /// The wanted id; the server or the agent invents one otherwise.
    pub id: Option<Name>,
    /// The token for [`Dialect::Enishi`]'s hello, if the server wants one.
    pub token: Option<String>,
    /// What to do once registered.
    pub role: Role,
    /// Whom to offer to.
    pub target: Option<Name>,
    /// The room to enter, where it offers to everybody who is there. For dialects that have rooms.
    pub room: Option<RoomName>,
    /// The channel that an offer opens.
    pub channel: ChannelSpec,
    /// Addresses of the UDP sockets that the driver has bound: the host candidates.
    pub hosts: Vec<SocketAddr>,
    /// STUN servers to ask for server-reflexive candidates.
    pub stun: Vec<SocketAddr>,
    /// TURN servers to allocate relay addresses on; without any, those that the signaling server names in its welcome.
    pub turn: Vec<TurnServer>,
    /// Whether only relayed candidates are used and told (mode 4 of RFC 8828 goes no further than a proxy; this is the
    /// `relay` of `iceTransportPolicy`).
    pub relay_only: bool,
    /// As [`crate::peer::PeerConfig::channel_buffer_bytes`].
    pub channel_buffer_bytes: usize,
    /// As [`crate::peer::PeerConfig::crypto`].
    pub crypto: Crypto,
    /// Whether to send three greetings to each peer, as conic's own peers do.
    pub greet: bool,
    /// How often to send a random text to each peer, as Tony Bai's own peers do.
    pub chatter: Option<Duration>,
    /// What of sound and picture is wanted from the start.
    pub media: MediaConfig,
    /// What to record from the start.
    pub record: Option<RecordSpec>,
}

/// What the embedding program asks of an agent.
///
/// What comes before the first registration waits for it, so that a script need not: all but [`AgentCommand::Offer`]
/// (which has its own wait), [`AgentCommand::Peers`], those of recordings, and [`AgentCommand::Quit`] (which lets them be
/// done if there is time).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentCommand {
    /// Connect to somebody: open a peer connection with the configured channel and offer.
    Offer(Name),
    /// Open a further data channel to one peer, or to all connected ones.
    Channel {
        /// To whom; `None`: to all.
        to: Option<Name>,
        /// What to open.
        spec: ChannelSpec,
    },
    /// Send on the channel of this label to one peer, or to everybody who has one.
    Send {
        /// To whom; `None`: to all who have the channel.
        to: Option<Name>,
        /// The label; `None`: each peer's first channel.
        label: Option<String>,
        /// The message.
        payload: Payload,
    },
    /// Send through the signaling server.
    Relay {
        /// To whom.
        to: Name,
        /// The label.
        label: String,
        /// The message.
        payload: Payload,
    },
    /// Enter a room and offer to everybody in it with whom there is no connection. Who comes later offers to us.
    Join(RoomName),
    /// Leave a room and close the connections with those in it who share no other room with us.
    Leave(RoomName),
    /// Whom does the server know? Answered by [`AgentNotice::Listed`].
    Who,
    /// Which peers and channels are there? Answered by [`AgentNotice::Peers`].
    Peers,
    /// Restart ICE with a peer that was connected.
    Restart(Name),
    /// Close the connection with a peer.
    Close(Name),
    /// Use these TURN servers from now on: the answer to [`AgentNotice::TurnServers`].
    UseTurn(Vec<TurnServer>),
    /// Something of sound and picture; it waits for nothing.
    Media(MediaCommand),
    /// Record what remote peers send from now on, with those who come later. There is one recording at a time.
    RecordStart(RecordSpec),
    /// End the recording: what is left of it is written.
    RecordStop,
    /// Send what waits, close everything, then [`AgentNotice::Ended`], after two seconds at most.
    Quit,
}

/// What the embedding program is told.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentNotice {
    /// Registered with the signaling server under this id, for the first time or again.
    Registered {
        /// The id.
        id: Name,
        /// Whether an earlier session was resumed.
        resumed: bool,
    },
    /// The signaling connection is lost or could not be made; live peers stay.
    SignalingLost {
        /// A clause for a person.
        why: String,
        /// When it is tried again; `None`: it is not.
        retry: Option<Duration>,
        /// Whether it ever worked.
        was_up: bool,
    },
    /// The target is not there; the offer is tried again when it may be.
    Waiting {
        /// For whom.
        target: Name,
    },
    /// The server refused something.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Whom it was about.
        to: Option<Name>,
    },
    /// A command could not be carried out; a sentence for a person.
    CommandFailed(String),
    /// A peer connection changed state.
    Peer {
        /// Which.
        id: Name,
        /// The new state.
        state: PeerState,
    },
    /// A peer connection failed.
    PeerFailed {
        /// Which.
        id: Name,
        /// Why.
        fault: PeerFault,
    },
    /// A data channel is open.
    ChannelOpened {
        /// With whom.
        id: Name,
        /// What it promises.
        spec: ChannelSpec,
    },
    /// A data channel is closed.
    ChannelClosed {
        /// With whom.
        id: Name,
        /// Its label.
        label: String,
    },
    /// A message arrived on a data channel.
    Message {
        /// From whom.
        id: Name,
        /// On which channel.
        label: String,
        /// The message.
        payload: Payload,
    },
    /// A message of ours was accepted for sending on a data channel.
    Sent {
        /// To whom.
        id: Name,
        /// On which channel.
        label: String,
        /// The message.
        payload: Payload,
    },
    /// A message arrived through the signaling server.
    Relayed {
        /// From whom.
        from: Name,
        /// The label.
        label: String,
        /// The message.
        payload: Payload,
    },
    /// Who is in a room, after joining it.
    Roster {
        /// The room.
        room: RoomName,
        /// Everybody else.
        members: Vec<Name>,
    },
    /// Somebody entered or left a room.
    Presence {
        /// The room.
        room: RoomName,
        /// Who.
        id: Name,
        /// Whether they are there now.
        here: bool,
    },
    /// Whom the server knows.
    Listed(Vec<Name>),
    /// The peers and their counters.
    Peers(Vec<(Name, PeerState, PeerStats)>),
    /// The signaling server named TURN servers by names that have to be looked up; [`AgentCommand::UseTurn`] gives
    /// the agent those that were found.
    TurnServers(Vec<(TurnUri, Credentials)>),
    /// Something of sound and picture.
    Media(MediaNotice),
    /// Something is not as it should be, though nobody's command failed; a sentence for a person.
    Warning(String),
    /// Something for who asks for details.
    Detail(String),
    /// What becomes of a recording.
    Recording(RecordingNotice),
    /// Everything is closed: the program can end.
    Ended,
}

/// For what waits to be sent and for connections to say goodbye before the program ends; [`signaling`] adds a second
/// for the server.
const GOODBYE: Duration = Duration::from_millis(900);

/// Commands that wait for the first registration, at most.
const POSTPONED: usize = 1024;

/// Peer connections whose memory is worth giving back when they have ended: each has some fifty kilobytes.
const CROWD: usize = 16;

/// The mark on relayed data, so that its refusal is told apart from that of a candidate.
const RELAY_TAG: &str = "relay";

/// A command-line peer.
#[derive(Debug)]
pub struct Agent {
    signaling: Signaling,
    peers: Peers,
    crowd: Crowd,
    /// Whether TURN servers are taken from the signaling server.
    takes_turn: bool,
    habits: Habits,
    tracks: Tracks,
    heard: Heard,
    recorder: Recorder,
    /// Where the embedding program wants to be, and who else is there as far as we know; `None` before the server's
    /// answer. Entered again when the server forgot us, or may not have heard us.
    rooms: BTreeMap<RoomName, Option<BTreeSet<Name>>>,
    /// Rooms that we asked to leave without having heard that we did.
    leaving: BTreeSet<RoomName>,
    /// Commands that came before the first registration, so that a script need not wait for it.
    postponed: VecDeque<AgentCommand>,
    /// Until when what waits may be sent and the connections may say goodbye.
    quitting: Option<Instant>,
    ended: bool,
    from_signaling: Vec<SignalingEffect>,
    from_peers: Vec<PeersEffect>,
    from_tracks: Vec<TracksEffect>,
    from_recorder: Vec<RecorderEffect>,
    outputs: VecDeque<Output<AgentNotice>>,
}

impl Agent {
    /// An agent that starts at `now`, when Unix time is `unix`. `seed` comes from the operating system.
    /// It dials with its first input; until then its deadline is `now`.
    pub fn new(now: Instant, unix: Duration, seed: [u8; 32], config: AgentConfig) -> Self {
        let mut secrets = Secrets::new(seed);
        let settings = signaling::Settings {
            url: config.signal_url,
            dialect: config.dialect,
            name: config.id,
            token: config.token,
            offers: config.role == Role::Offer,
            room: config.room.clone(),
        };
        let clock = WallClock::new(now, unix);
        let signaling = Signaling::new(now, clock, secrets.number(), settings);
        let takes_turn = config.turn.is_empty();
        let relays = Relays::new(now, clock, config.turn);
        let habits = Habits::new(config.role, config.greet, config.chatter, secrets.number());
        let settings = peers::Settings {
            hosts: config.hosts,
            stun: config.stun,
            relay_only: config.relay_only,
            channel: config.channel,
            channel_buffer_bytes: config.channel_buffer_bytes,
            crypto: config.crypto,
            told_of_absence: config.dialect == Dialect::Enishi,
            asked_to_offer: config.dialect == Dialect::Zenn,
        };
        let peers = Peers::new(settings, relays, secrets);
        let mut agent = Agent {
            signaling,
            peers,
            crowd: Crowd::of(CROWD),
            takes_turn,
            habits,
            tracks: Tracks::new(config.media.once),
            heard: Heard::default(),
            recorder: Recorder::new(now, clock),
            rooms: config.room.into_iter().map(|room| (room, None)).collect(),
            leaving: BTreeSet::new(),
            postponed: VecDeque::new(),
            quitting: None,
            ended: false,
            from_signaling: Vec::new(),
            from_peers: Vec::new(),
            from_tracks: Vec::new(),
            from_recorder: Vec::new(),
            outputs: VecDeque::new(),
        };
        agent.publish_configured(now, config.media);
        if let Some(spec) = config.record {
            agent.recorder.start(spec, &mut agent.from_recorder);
        }
        // Socket.IO's broadcast has no address, so nobody needs to give one.
        let is_broadcast = matches!(config.dialect, Dialect::SocketIo09 | Dialect::SocketIo);
        let target = config.target.or_else(|| is_broadcast.then(|| EVERYONE.into()));
        if let (Role::Offer, Some(target)) = (config.role, target) {
            agent.peers.offer(now, target, &mut agent.from_peers);
        }
        agent
    }

    fn command(&mut self, now: Instant, command: AgentCommand) {
        let is_immediate = matches!(
            command,
            AgentCommand::Offer(_)
                | AgentCommand::Peers
                | AgentCommand::UseTurn(_)
                | AgentCommand::Media(_)
                | AgentCommand::RecordStart(_)
                | AgentCommand::RecordStop
                | AgentCommand::Quit
        );
        if self.signaling.is_up_soon() && !is_immediate && self.postponed.len() < POSTPONED {
            return self.postponed.push_back(command);
        }
        let out = &mut self.from_peers;
        match command {
            AgentCommand::Offer(to) => self.peers.offer(now, to, out),
            AgentCommand::Channel { to, spec } => self.peers.open_channel(now, to, &spec, out),
            AgentCommand::Send { to, label, payload } => self.peers.send(now, to, label.as_deref(), &payload, out),
            AgentCommand::Restart(name) => self.peers.restart(now, name, out),
            AgentCommand::Close(name) => self.close(now, name),
            AgentCommand::Peers => self.peers.list(out),
            AgentCommand::UseTurn(servers) => self.peers.use_turn(now, servers, out),
            AgentCommand::Media(command) => self.media_command(now, command),
            AgentCommand::Relay { to, label, payload } => {
                let envelope = Envelope {
                    from: self.signaling.name().cloned(),
                    to: To::Peer(to),
                    letter: Letter::Open(Signal::Data { label, payload }),
                    tag: Some(RELAY_TAG.into()),
                    receipt: false,
                };
                self.ask(now, &Command::Signal(envelope), "relay");
            }
            AgentCommand::Join(room) => self.join(now, room),
            AgentCommand::Leave(room) => self.leave(now, room),
            AgentCommand::Who => {
                self.ask(now, &Command::List { tag: None }, "list who is there");
            }
            AgentCommand::RecordStart(spec) => self.recorder.start(spec, &mut self.from_recorder),
            AgentCommand::RecordStop => self.recorder.stop(now, &mut self.from_recorder),
            AgentCommand::Quit => {
                self.recorder.finish(now, &mut self.from_recorder);
                self.quitting.get_or_insert(now + GOODBYE);
            }
        }
    }

    /// Asks the server for what a command needs; `what` completes "cannot".
    fn ask(&mut self, now: Instant, command: &Command, what: &str) -> bool {
        let sentence = match self.signaling.ask(now, command, &mut self.from_signaling) {
            Ok(()) => return true,
            Err(Refusal::NotRegistered) => {
                format!("cannot {what}: there is no connection to the signaling server; try again when it is back")
            }
            Err(Refusal::NoWordForThis) => {
                let dialect = self.signaling.dialect().name();
                format!("cannot {what}: {dialect} has no word for it; the dialect enishi has")
            }
            Err(refusal) => format!("cannot {what}: {}", refusal.sentence()),
        };
        self.notice(AgentNotice::CommandFailed(sentence));
        false
    }

    /// Works off what the parts want of each other and of the driver, until there is nothing left.
    fn settle(&mut self, now: Instant) {
        loop {
            let from_signaling = std::mem::take(&mut self.from_signaling);
            let from_peers = std::mem::take(&mut self.from_peers);
            let from_recorder = std::mem::take(&mut self.from_recorder);
            if from_signaling.is_empty() && from_peers.is_empty() && from_recorder.is_empty() {
                break;
            }
            for effect in from_signaling {
                self.signaling_effect(now, effect);
            }
            for effect in from_peers {
                self.peers_effect(now, effect);
            }
            for effect in from_recorder {
                self.recorder_effect(now, effect);
            }
        }
    }

    fn signaling_effect(&mut self, now: Instant, effect: SignalingEffect) {
        match effect {
            SignalingEffect::Do(output) => self.outputs.push_back(output),
            SignalingEffect::Up { name, resumed, turn } => {
                self.take_turn(now, turn);
                self.notice(AgentNotice::Registered { id: name.clone(), resumed: resumed != Resumed::Fresh });
                self.recorder.named(name.clone());
                self.peers.up(now, name, &mut self.from_peers);
                self.enter_rooms(now, resumed);
                for command in std::mem::take(&mut self.postponed) {
                    self.command(now, command);
                }
            }
            SignalingEffect::Event(event) => self.event(now, event),
            SignalingEffect::Down => self.peers.down(),
            SignalingEffect::Over => {
                self.ended = true;
                self.notice(AgentNotice::Ended);
            }
        }
    }

    /// Takes TURN servers from the signaling server: those with an address at once, the rest once they are looked up.
    fn take_turn(&mut self, now: Instant, named: Vec<(TurnUri, Credentials)>) {
        if !self.takes_turn || named.is_empty() {
            return;
        }
        let (usable, other): (Vec<_>, Vec<_>) = named.into_iter().partition(|(uri, _)| uri.plain_udp);
        for (uri, _) in other {
            self.notice(AgentNotice::Detail(format!(
                "TURN server {uri} was left out: only turn: over UDP is supported"
            )));
        }
        let known = |(uri, credentials): &(TurnUri, Credentials)| {
            let address = SocketAddr::new(uri.host.parse().ok()?, uri.port);
            Some(TurnServer { address, credentials: credentials.clone() })
        };
        match usable.iter().map(known).collect::<Option<Vec<_>>>() {
            Some(servers) => self.peers.use_turn(now, servers, &mut self.from_peers),
            None => {
                self.peers.await_turn();
                self.notice(AgentNotice::TurnServers(usable));
            }
        }
    }

    fn peers_effect(&mut self, now: Instant, effect: PeersEffect) {
        match effect {
            PeersEffect::Media { from, effect } => self.media_effect(now, from, effect),
            PeersEffect::Notice(notice) => {
                if let AgentNotice::PeerFailed { id, fault } = &notice {
                    self.failed(now, id, fault);
                }
                if let AgentNotice::Peer { id, state: PeerState::Closed } = &notice {
                    self.media_gone(now, id);
                }
                self.habits.notice(now, &notice);
                self.notice(notice);
            }
            PeersEffect::Datagram { local, remote, bytes } => {
                self.outputs.push_back(Output::Datagram { local, remote, bytes });
            }
            PeersEffect::Deliver { to, signal } => {
                let envelope = Envelope {
                    from: self.signaling.name().cloned(),
                    to: To::Peer(to.clone()),
                    letter: Letter::Open(signal.clone()),
                    tag: None,
                    receipt: false,
                };
                if let Err(refusal) = self.signaling.ask(now, &Command::Signal(envelope), &mut self.from_signaling) {
                    self.peers.undelivered(now, to, signal, refusal, &mut self.from_peers);
                }
            }
        }
    }

    /// The server tells something.
    fn event(&mut self, now: Instant, event: Event) {
        let notice = match event {
            Event::Signal { from, letter: Letter::Open(Signal::Data { label, payload }), .. } => {
                AgentNotice::Relayed { from, label, payload }
            }
            Event::Signal { from, to: To::Peer(_), letter: Letter::Open(signal) } => {
                if self.quitting.is_none() || self.peers.knows(&from) {
                    self.peers.receive_signal(now, from, signal, &mut self.from_peers);
                }
                return;
            }
            Event::Signal { from, .. } => {
                let from = from.as_str();
                AgentNotice::Detail(format!("a signal from {from} was skipped: it is not for this peer alone"))
            }
            // It was heard the first time.
            Event::Refused { tag: Some(tag), .. } if tag.as_str() == rooms::LEAVE_AGAIN => return,
            Event::Refused { refusal, to, tag } => {
                let relayed = tag.is_some_and(|tag| tag.as_str() == RELAY_TAG);
                if !relayed && self.peers.refused(now, to.as_ref(), refusal, &mut self.from_peers) {
                    return;
                }
                if let Some(to) = to.as_ref().filter(|to| !relayed && self.peers.knows(to)) {
                    // One of many candidates for somebody who left, whose connection may live on.
                    let (to, why) = (to.as_str(), refusal.sentence());
                    return self.notice(AgentNotice::Detail(format!("a signal for {to} was refused: {why}")));
                }
                AgentNotice::Refused { refusal, to }
            }
            Event::Roster { room, members, .. } => return self.roster(now, room, members),
            Event::Joined { room, name, .. } => return self.joined(room, name),
            Event::Left { room, name, why, .. } => return self.left(now, room, name, why),
            Event::Listed { names, .. } => AgentNotice::Listed(names),
            Event::Unregistered { name } => {
                let name = name.as_str();
                AgentNotice::Detail(format!("the server gave up the id {name}"))
            }
            // Registration is told as SignalingEffect::Up, and receipts are not asked for.
            Event::Registered { .. } | Event::Accepted { .. } => return,
        };
        self.notice(notice);
    }

    fn timeout(&mut self, now: Instant) {
        if self.crowd.has_left(now, self.peers.len()) {
            self.outputs.push_back(Output::ReleaseMemory);
        }
        self.signaling.timeout(now, &mut self.from_signaling);
        self.peers.timeout(now, &mut self.from_peers);
        self.play(now);
        self.recorder.timeout(now, &mut self.from_recorder);
        let due = self.habits.due(now);
        for (name, text) in due.into_iter().filter(|_| self.quitting.is_none()) {
            self.peers.send(now, Some(name), None, &Payload::Text(text), &mut self.from_peers);
        }
    }

    /// What waits is sent, then the connections are closed, then the server is left; each as far as there is time.
    fn quit(&mut self, now: Instant, until: Instant) {
        if now >= until {
            self.postponed.clear();
            self.peers.close_all(now, &mut self.from_peers);
        } else if self.postponed.is_empty() {
            self.peers.close_idle(now, &mut self.from_peers);
        }
        self.settle(now);
        let is_done = self.postponed.is_empty() && self.peers.is_empty() && !self.recorder.is_busy();
        if (is_done || now >= until) && !self.signaling.is_leaving() {
            self.signaling.hang_up(now, &mut self.from_signaling);
        }
        self.settle(now);
    }

    fn notice(&mut self, notice: AgentNotice) {
        self.outputs.push_back(Output::Notice(notice));
    }
}

impl Machine for Agent {
    type Command = AgentCommand;
    type Notice = AgentNotice;

    fn handle_input(&mut self, now: Instant, input: Input<'_, AgentCommand>) {
        if self.ended {
            return;
        }
        let out = &mut self.from_signaling;
        self.signaling.start(now, out);
        match input {
            Input::Timeout => self.timeout(now),
            Input::Dialed { dial, conn, .. } => self.signaling.dialed(now, dial, conn, out),
            Input::Got { dial, answer } => self.signaling.got(now, dial, &answer, out),
            Input::DialFailed { dial, error } => self.signaling.dial_failed(now, dial, error, out),
            Input::Frame { conn, frame } => self.signaling.receive(now, conn, &frame, out),
            Input::Heard { conn } => self.signaling.heard(now, conn),
            Input::Fault { conn, fault } => self.signaling.fault(now, conn, fault, out),
            Input::Closed { conn, reason } => self.signaling.closed(now, conn, &reason, out),
            Input::Datagram { local, remote, bytes } => {
                self.peers.receive_datagram(now, local, remote, bytes, &mut self.from_peers);
            }
            Input::Command(command) => self.command(now, command),
            // A client is sent no requests, and what the kernel took of its few messages says nothing to it.
            Input::Accepted { .. } | Input::Request { .. } | Input::BadRequest { .. } | Input::Sent { .. } => {}
            Input::FileRead { op, result } => self.file_read(now, op, &result),
            Input::FileWritten { op, result } => self.file_written(now, op, result),
        }
        self.settle(now);
        self.crowd.count(now, self.peers.len());
        if let Some(until) = self.quitting.filter(|_| !self.ended) {
            self.quit(now, until);
        }
    }

    fn poll_output(&mut self) -> Option<Output<AgentNotice>> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        if self.ended {
            return None;
        }
        let quitting = self.quitting.filter(|_| !self.signaling.is_leaving()).map(|at| (at, "quit"));
        let next = [
            self.crowd.next_timeout().map(|at| (at, "memory of a crowd")),
            self.signaling.next_timeout(),
            self.peers.next_timeout(),
            self.habits.next_timeout(),
            quitting,
            self.tracks.next_timeout(),
            self.recorder.next_timeout(),
        ];
        next.into_iter().flatten().min().map(|(at, why)| Deadline { at, why })
    }
}
