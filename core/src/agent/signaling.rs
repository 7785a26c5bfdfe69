//! The way to the signaling server: dial, register or resume, keep alive, dial again.
//!
//! Knows no peer. What the server tells goes to the owner as [`Event`]s, in order; what the owner asks goes out by
//! [`Signaling::ask`] while the connection is registered.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::agent::AgentNotice;
use crate::clock::WallClock;
use crate::dialect::{ClientCodec, ClientSetup, Context, Dialect, Rooms, mesh};
use crate::ids::Ids;
use crate::limits::{self, Limits};
use crate::machine::{CloseReason, ConnId, DialId, Frame, FrameFault, Output};
use crate::signal::{Command, Event, Name, Refusal, Resumed, RoomName};
use crate::turn::{Credentials, TurnUri};

/// The first wait before another attempt is between half of this and this; it doubles with each failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The longest wait before another attempt.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// For an answer of the driver to a dial; a name look-up, TCP and a handshake are in it.
const DIAL: Duration = Duration::from_secs(15);

/// From the open WebSocket to the registration.
const REGISTER: Duration = Duration::from_secs(10);

/// Silence after which we ask whether the server is still there.
const PING: Duration = Duration::from_secs(20);

/// Silence after which it is not.
const DEAD: Duration = Duration::from_secs(45);

/// For the server to take our goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the signaling connection wants done or tells.
#[derive(Debug)]
pub(super) enum SignalingEffect {
    /// Something for the driver.
    Do(Output<AgentNotice>),
    /// Registered: from now on the server can be asked. It named these TURN servers.
    Up { name: Name, resumed: Resumed, turn: Vec<(TurnUri, Credentials)> },
    /// The server tells something else.
    Event(Event),
    /// The connection is gone; nothing can be asked until `Up`.
    Down,
    /// There will be no further connection.
    Over,
}

/// How the server is reached.
#[derive(Debug)]
pub(super) struct Settings {
    /// Where to dial.
    pub(super) url: String,
    /// What to speak.
    pub(super) dialect: Dialect,
    /// The wanted id, then the one that we have.
    pub(super) name: Option<Name>,
    /// What the server wants to see, if anything.
    pub(super) token: Option<String>,
    /// Whether we mean to offer.
    pub(super) offers: bool,
    /// The room to register in, where the dialect does both at once.
    pub(super) room: Option<RoomName>,
}

/// The client's side of signaling.
#[derive(Debug)]
pub(super) struct Signaling {
    settings: Settings,
    state: State,
    session: Option<Session>,
    was_up: bool,
    dials: u64,
    failures: u32,
    clock: WallClock,
    ids: Ids,
    jitter: fastrand::Rng,
    limits: Limits,
}

/// What a server can continue on another connection.
#[derive(Debug)]
struct Session {
    token: Box<str>,
    /// Messages of this session that arrived so far, understood or not, each welcome included.
    received: u64,
}

#[derive(Debug)]
enum State {
    /// Before the first input, which is due at once.
    Idle {
        since: Instant,
    },
    Dialing {
        dial: DialId,
        until: Instant,
        codec: ClientCodec,
    },
    Open(Connection),
    /// Until the next attempt.
    Waiting {
        until: Instant,
    },
    /// We said goodbye.
    Closing {
        conn: ConnId,
        until: Instant,
    },
    Over,
}

#[derive(Debug)]
struct Connection {
    conn: ConnId,
    codec: ClientCodec,
    registered: bool,
    opened: Instant,
    heard: Instant,
    pinged: bool,
    /// When we last asked to be registered.
    asked: Instant,
}

impl Signaling {
    /// A client that has not dialled yet.
    pub(super) fn new(now: Instant, clock: WallClock, seed: u64, settings: Settings) -> Self {
        Signaling {
            settings,
            state: State::Idle { since: now },
            session: None,
            was_up: false,
            dials: 0,
            failures: 0,
            clock,
            ids: Ids::new(seed),
            jitter: fastrand::Rng::with_seed(seed.rotate_left(32)),
            limits: Limits::default(),
        }
    }

    /// Dials, if that was never done.
    pub(super) fn start(&mut self, now: Instant, out: &mut Vec<SignalingEffect>) {
        if matches!(self.state, State::Idle { .. }) {
            if self.settings.name.is_none() && self.settings.dialect.client_chooses_id() {
                // conic's own clients make up ids like this.
                self.settings.name = Some(Name::new(self.ids.next(self.clock.unix(now))));
            }
            self.dial(now, out);
        }
    }

    /// Whether the server can be asked.
    pub(super) fn is_up(&self) -> bool {
        matches!(&self.state, State::Open(connection) if connection.registered)
    }

    /// Whether the first registration is under way.
    pub(super) fn is_up_soon(&self) -> bool {
        !self.was_up && !matches!(self.state, State::Closing { .. } | State::Over)
    }

    /// Whether we said goodbye and wait for the server to take it.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.state, State::Closing { .. })
    }

    /// Our id, once it is chosen.
    pub(super) fn name(&self) -> Option<&Name> {
        self.settings.name.as_ref()
    }

    /// The dialect that is spoken.
    pub(super) fn dialect(&self) -> Dialect {
        self.settings.dialect
    }

    /// From now on registers in this room, where the dialect does both at once.
    pub(super) fn set_room(&mut self, room: RoomName) {
        self.settings.room = Some(room);
    }

    /// Asks the server.
    ///
    /// # Errors
    /// [`Refusal::NotRegistered`] without a connection, or the dialect's own refusal where it has no word for it.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        command: &Command,
        out: &mut Vec<SignalingEffect>,
    ) -> Result<(), Refusal> {
        if self.is_up() { self.send(now, command, out) } else { Err(Refusal::NotRegistered) }
    }

    /// The driver opened the connection.
    pub(super) fn dialed(&mut self, now: Instant, dial: DialId, conn: ConnId, out: &mut Vec<SignalingEffect>) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Dialing { dial: wanted, codec, .. } if wanted == dial => {
                let (registered, pinged) = (false, false);
                let (opened, heard, asked) = (now, now, now);
                self.state = State::Open(Connection { conn, codec, registered, opened, heard, pinged, asked });
                self.introduce(now, out);
            }
            other => {
                self.state = other;
                out.push(SignalingEffect::Do(Output::Drop { conn })); // an attempt that was given up
            }
        }
    }

    /// The server answered what has to be asked before the connection can be opened.
    pub(super) fn got(&mut self, now: Instant, dial: DialId, answer: &str, out: &mut Vec<SignalingEffect>) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Dialing { dial: wanted, mut codec, until } if wanted == dial => match codec.begin(answer) {
                Ok(()) => self.open(codec, until, out),
                Err(why) => self.lose(now, why.to_owned(), out),
            },
            other => self.state = other,
        }
    }

    /// The driver could not open the connection.
    pub(super) fn dial_failed(&mut self, now: Instant, dial: DialId, error: String, out: &mut Vec<SignalingEffect>) {
        if matches!(self.state, State::Dialing { dial: wanted, .. } if wanted == dial) {
            self.lose(now, error, out);
        }
    }

    /// A message, a ping or a pong arrived.
    pub(super) fn receive(&mut self, now: Instant, conn: ConnId, frame: &Frame, out: &mut Vec<SignalingEffect>) {
        self.heard(now, conn);
        let State::Open(connection) = &mut self.state else { return };
        if connection.conn != conn || matches!(frame, Frame::Ping | Frame::Pong) {
            return;
        }
        if let Some(frame) = connection.codec.answer(frame) {
            out.push(SignalingEffect::Do(Output::Send { conn, frame }));
        }
        let mut events = Vec::new();
        let (unix, ids, limits) = (self.clock.unix(now), &mut self.ids, &self.limits);
        let mut cx = Context { unix, ids, limits, ice_servers: &[] };
        if let Err(refusal) = connection.codec.receive(&mut cx, frame, &mut events) {
            detail(out, format!("the server sent something that was skipped ({}): {refusal}", refusal.code()));
        }
        for event in events {
            self.take(now, event, out);
        }
        if self.is_up()
            && let Some(session) = &mut self.session
        {
            session.received += 1;
        }
    }

    /// Bytes arrived: the server lives.
    pub(super) fn heard(&mut self, now: Instant, conn: ConnId) {
        if let State::Open(connection) = &mut self.state
            && connection.conn == conn
        {
            (connection.heard, connection.pinged) = (now, false);
        }
    }

    /// The server broke the rules of WebSocket.
    pub(super) fn fault(&mut self, now: Instant, conn: ConnId, fault: FrameFault, out: &mut Vec<SignalingEffect>) {
        let (code, why) = match fault {
            FrameFault::TooBig => (1009, "the server sent a message that is too long"),
            FrameFault::NotUtf8 => (1007, "the server sent text that is not UTF-8"),
            FrameFault::Protocol => (1002, "the server broke the WebSocket protocol"),
        };
        if self.conn() == Some(conn) {
            out.push(SignalingEffect::Do(Output::Close { conn, code, reason: String::new() }));
            self.lose(now, why.to_owned(), out);
        }
    }

    /// The connection ended.
    pub(super) fn closed(&mut self, now: Instant, conn: ConnId, reason: &CloseReason, out: &mut Vec<SignalingEffect>) {
        match &self.state {
            State::Open(connection) if connection.conn == conn => {
                if let CloseReason::Remote(code) = reason
                    && let Some(refusal) = connection.codec.refusal_of_close(*code)
                {
                    self.state = State::Over;
                    return self.refused(now, refusal, out);
                }
                let why = match reason {
                    CloseReason::Remote(1001 | 1012) => "the server is going away".to_owned(),
                    CloseReason::Remote(code) => format!("the server closed the connection with code {code}"),
                    CloseReason::Eof => "the server closed the connection without a word".to_owned(),
                    CloseReason::Local => "the connection was closed".to_owned(),
                    CloseReason::Error(error) => error.clone().into_owned(),
                };
                self.lose(now, why, out);
            }
            State::Closing { conn: closing, .. } if *closing == conn => self.end(out),
            _ => {}
        }
    }

    /// Says goodbye; [`SignalingEffect::Over`] follows.
    pub(super) fn hang_up(&mut self, now: Instant, out: &mut Vec<SignalingEffect>) {
        if self.is_up() {
            let _ = self.send(now, &Command::Bye, out); // a dialect without the word has the close frame
        }
        match self.conn() {
            Some(conn) => {
                out.push(SignalingEffect::Do(Output::Close { conn, code: 1000, reason: "bye".to_owned() }));
                self.state = State::Closing { conn, until: now + GOODBYE };
            }
            None => self.end(out),
        }
    }

    /// Does what is due.
    pub(super) fn timeout(&mut self, now: Instant, out: &mut Vec<SignalingEffect>) {
        if self.next_timeout().is_none_or(|(at, _)| at > now) {
            return;
        }
        self.renew(now, out);
        match &mut self.state {
            State::Idle { .. } | State::Over => {}
            State::Waiting { .. } => self.dial(now, out),
            State::Dialing { .. } => self.lose(now, format!("no connection within {} s", DIAL.as_secs()), out),
            State::Closing { conn, .. } => {
                out.push(SignalingEffect::Do(Output::Drop { conn: *conn }));
                self.end(out);
            }
            State::Open(connection) if connection.patience().0 > now => {}
            State::Open(connection) => {
                let conn = connection.conn;
                let silence = now.saturating_duration_since(connection.heard);
                if silence < DEAD && connection.registered && !connection.pinged {
                    connection.pinged = true;
                    return out.push(SignalingEffect::Do(Output::Send { conn, frame: Frame::Ping }));
                }
                let why = if connection.registered {
                    format!("the server was silent for {} s", silence.as_secs())
                } else {
                    format!("the server did not answer the registration within {} s", REGISTER.as_secs())
                };
                out.push(SignalingEffect::Do(Output::Drop { conn }));
                self.lose(now, why, out);
            }
        }
    }

    /// Registers again, where the dialect wants that and it is time.
    fn renew(&mut self, now: Instant, out: &mut Vec<SignalingEffect>) {
        let State::Open(connection) = &mut self.state else { return };
        if connection.renewal().is_some_and(|at| at <= now) {
            connection.asked = now;
            let _ = self.send(now, &self.registration(), out); // it was taken before
        }
    }

    /// When [`Signaling::timeout`] is due next, and what for.
    pub(super) fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        match &self.state {
            State::Idle { since } => Some((*since, "signaling: start")),
            State::Over => None,
            State::Dialing { until, .. } => Some((*until, "signaling: dial")),
            State::Waiting { until } => Some((*until, "signaling: dial again")),
            State::Closing { until, .. } => Some((*until, "signaling: goodbye")),
            State::Open(connection) => {
                let renewal = connection.renewal().map(|at| (at, "signaling: registration again"));
                renewal.into_iter().chain([connection.patience()]).min()
            }
        }
    }

    fn conn(&self) -> Option<ConnId> {
        if let State::Open(connection) = &self.state { Some(connection.conn) } else { None }
    }

    fn dial(&mut self, now: Instant, out: &mut Vec<SignalingEffect>) {
        let codec = ClientCodec::new(&ClientSetup {
            dialect: self.settings.dialect,
            token: self.settings.token.clone(),
            offers: self.settings.offers,
        });
        self.open(codec, now + DIAL, out);
    }

    /// Asks the driver for a connection, or first for what the codec needs to know.
    fn open(&mut self, codec: ClientCodec, until: Instant, out: &mut Vec<SignalingEffect>) {
        let dial = DialId(self.dials);
        self.dials += 1;
        let url = codec.url(&self.settings.url);
        out.push(SignalingEffect::Do(if codec.asks_first() {
            Output::Get { dial, url }
        } else {
            let (protocol, max_message_bytes) = (codec.protocol(), limits::SIGNALING_MESSAGE_BYTES);
            Output::Dial { dial, url, protocol, max_message_bytes }
        }));
        self.state = State::Dialing { dial, until, codec };
    }

    /// The first word on a new connection: resume where that is possible, else register.
    fn introduce(&mut self, now: Instant, out: &mut Vec<SignalingEffect>) {
        let command = match &self.session {
            Some(Session { token, received }) => Command::Resume { token: token.clone(), received: *received },
            None => self.registration(),
        };
        if let Err(refusal) = self.send(now, &command, out).and_then(|()| self.enter(now, out)) {
            return self.refused(now, refusal, out);
        }
        let is_silent = matches!(&self.state, State::Open(connection) if connection.codec.registers_silently());
        if let (true, Some(name)) = (is_silent, self.settings.name.clone()) {
            self.take(now, Event::Registered { name, token: None, resumed: Resumed::Fresh }, out);
        }
    }

    /// In some dialects one is known only in a room.
    fn enter(&mut self, now: Instant, out: &mut Vec<SignalingEffect>) -> Result<(), Refusal> {
        if self.settings.dialect.rooms() != Rooms::One {
            return Ok(());
        }
        let room = self.settings.room.clone().unwrap_or_else(|| mesh::LOBBY.into());
        self.send(now, &Command::Join { room, tag: None }, out)
    }

    fn registration(&self) -> Command {
        let resumable = self.settings.dialect == Dialect::Enishi;
        Command::Register { name: self.settings.name.clone(), resumable }
    }

    fn send(&mut self, now: Instant, command: &Command, out: &mut Vec<SignalingEffect>) -> Result<(), Refusal> {
        let State::Open(connection) = &mut self.state else { return Err(Refusal::NotRegistered) };
        let mut frames = Vec::new();
        let (unix, ids, limits) = (self.clock.unix(now), &mut self.ids, &self.limits);
        connection.codec.encode(&mut Context { unix, ids, limits, ice_servers: &[] }, command, &mut frames)?;
        let conn = connection.conn;
        out.extend(frames.into_iter().map(|frame| SignalingEffect::Do(Output::Send { conn, frame })));
        Ok(())
    }

    fn take(&mut self, now: Instant, event: Event, out: &mut Vec<SignalingEffect>) {
        let State::Open(connection) = &mut self.state else { return };
        match event {
            Event::Registered { name, token, resumed } => {
                connection.registered = true;
                self.failures = 0;
                let received = match (&self.session, resumed) {
                    (Some(session), Resumed::Whole | Resumed::WithGap) => session.received,
                    _ => 0,
                };
                self.session = token.map(|token| Session { token, received });
                self.settings.name = Some(name.clone());
                self.was_up = true;
                let turn = connection.codec.turn_servers().to_vec();
                out.push(SignalingEffect::Up { name, resumed, turn });
            }
            Event::Refused { refusal, .. } if !connection.registered => self.refused(now, refusal, out),
            event if connection.registered => out.push(SignalingEffect::Event(event)),
            _ => detail(out, "the server told something before it registered us; that was skipped".to_owned()),
        }
    }

    /// The server will not have us, at least not like this.
    fn refused(&mut self, now: Instant, refusal: Refusal, out: &mut Vec<SignalingEffect>) {
        // What time may cure leaves the session as it is.
        if !matches!(refusal, Refusal::Draining | Refusal::ServerFull | Refusal::TooFast)
            && self.session.take().is_some()
            && refusal == Refusal::SessionGone
        {
            return self.introduce(now, out);
        }
        let conn = self.conn();
        if self.was_up {
            // The old socket may not be dead yet on the server, or it is just starting.
            out.extend(conn.map(|conn| SignalingEffect::Do(Output::Drop { conn })));
            return self.lose(now, format!("the server refused us ({}): {refusal}", refusal.code()), out);
        }
        out.push(SignalingEffect::Do(Output::Notice(AgentNotice::Refused { refusal, to: None })));
        match conn {
            Some(conn) => {
                out.push(SignalingEffect::Do(Output::Close { conn, code: 1000, reason: String::new() }));
                self.state = State::Closing { conn, until: now + GOODBYE };
            }
            None => self.end(out),
        }
    }

    /// Without a connection: try again later, unless it never worked.
    fn lose(&mut self, now: Instant, why: String, out: &mut Vec<SignalingEffect>) {
        let was_up = self.was_up;
        let retry = was_up.then(|| self.back_off());
        self.state = retry.map_or(State::Over, |wait| State::Waiting { until: now + wait });
        out.push(SignalingEffect::Down);
        out.push(SignalingEffect::Do(Output::Notice(AgentNotice::SignalingLost { why, retry, was_up })));
    }

    /// Between half of a duration that doubles with each failure and all of it, so that many clients of a server that
    /// comes back do not come at once.
    fn back_off(&mut self) -> Duration {
        let longest = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(LAST_RETRY);
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(0.5 + self.jitter.f64() / 2.0)
    }

    fn end(&mut self, out: &mut Vec<SignalingEffect>) {
        self.state = State::Over;
        out.push(SignalingEffect::Over);
    }
}

impl Connection {
    /// When to register again.
    fn renewal(&self) -> Option<Instant> {
        self.codec.renewal().filter(|_| self.registered).map(|every| self.asked + every)
    }

    /// Until when the server may be silent, and at which step.
    fn patience(&self) -> (Instant, &'static str) {
        match (self.registered, self.pinged) {
            (false, _) => (self.opened + REGISTER, "signaling: registration"),
            (true, false) => (self.heard + PING, "signaling: ping"),
            (true, true) => (self.heard + DEAD, "signaling: silence"),
        }
    }
}

fn detail(out: &mut Vec<SignalingEffect>, text: String) {
    out.push(SignalingEffect::Do(Output::Notice(AgentNotice::Detail(text))));
}
