//! One TCP connection: the bytes that came, what they mean in its phase, the bytes that wait to leave.
//!
//! tungstenite never sees the socket. It reads from the chunk that was just received and writes into [`Out`], so it
//! is a codec here; `receive` and `flush` are the only system calls.

pub(crate) mod dial;
mod talk;
mod wire;

use std::io::{self, Read, Write};
use std::mem;
use std::net::Shutdown;

use enishi_core::http::{self, HeadError, Parsed, Request, Response};
use enishi_core::limits::{BODY_BYTES, HEAD_BYTES};
use enishi_core::machine::{CloseReason, DialId, Frame, FrameFault, failure};
use mio::net::TcpStream;
use tungstenite::protocol::Role;

use dial::Shake;
use enishi_core::http::handshake::Answer;
use talk::{Full, Heard, Talk};
pub(crate) use wire::Joined;
use wire::Out;

/// Bytes that are read and thrown away while we wait for a remote to close.
const DISCARD_BYTES: usize = 1024 * 1024;

/// A socket and its state.
pub(crate) struct Conn {
    pub(crate) socket: TcpStream,
    phase: Phase,
    /// Bytes that no phase has consumed: a part of a head or a frame, or what came before reading was switched off.
    unread: Vec<u8>,
    out: Out,
    paused: bool,
    /// The socket may have more to read: no short read since the last readiness.
    readable: bool,
    /// The remote has closed its side according to the poll: then a short read is not the last one.
    hung_up: bool,
    /// The stream has ended.
    ended: bool,
    /// There may be something to deliver without a read.
    resumed: bool,
    lingers: bool,
    /// Whether it stands in the ready list.
    pub(crate) queued: bool,
    /// Whether it stands in the list of those to flush.
    pub(crate) dirty: bool,
    /// Whether the poll tells when the kernel takes more: from the first time on that it did not take all.
    pub(crate) room_watched: bool,
}

enum Phase {
    /// A client's handshake. Until the connection stands nothing can be read or written.
    Shaking { dial: DialId, shake: Box<Shake>, connected: bool },
    /// A client's connection that came to nothing.
    Failed { dial: DialId, error: String },
    /// A client's plain request that was answered.
    Got { dial: DialId, answer: String },
    /// HTTP requests.
    Head(Head),
    /// WebSocket messages.
    Ws(Talk),
    /// Flush, tell the remote that there is no more, and for [`CloseReason::Local`] wait until it closes too: closing
    /// with bytes unread would make the kernel reset the connection, and the remote lose our last words.
    Closing { reason: CloseReason, shut: bool, discarded: usize },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    Reading,
    /// A request is with the machine.
    Asked,
    /// The answer is not yet with the kernel. The next request waits for that, or a client that only asks would fill
    /// our memory.
    Answering,
    /// Bad bytes: nothing is read any more.
    Refused,
}

/// What [`Conn::next`] found.
pub(crate) enum Event {
    Request(Request),
    BadRequest(HeadError),
    Frame(Frame),
    Fault(FrameFault),
    /// A dialled connection is open; the subprotocol.
    Opened(DialId, Option<String>),
}

impl Conn {
    pub(crate) fn accepted(socket: TcpStream) -> Self {
        Conn::new(socket, Phase::Head(Head::Reading))
    }

    pub(crate) fn dialled(socket: TcpStream, dial: DialId, shake: Shake) -> Self {
        let request = shake.request.clone();
        let mut conn = Conn::new(socket, Phase::Shaking { dial, shake: Box::new(shake), connected: false });
        conn.out.push(request.into());
        // That it may be written to is how one learns that it is connected.
        conn.room_watched = true;
        conn
    }

    fn new(socket: TcpStream, phase: Phase) -> Self {
        Conn {
            socket,
            phase,
            unread: Vec::new(),
            out: Out::default(),
            paused: false,
            readable: false,
            hung_up: false,
            ended: false,
            resumed: false,
            lingers: false,
            queued: false,
            dirty: false,
            room_watched: false,
        }
    }

    /// The poll says that there is something to read.
    pub(crate) fn set_readable(&mut self, hung_up: bool) {
        self.readable = true;
        self.hung_up |= hung_up;
    }

    /// Whether it is an open WebSocket with nothing to send: then a flush would do nothing.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self.phase, Phase::Ws(_)) && self.out.is_empty()
    }

    /// Whether something is left that the kernel did not take.
    pub(crate) fn waits_for_room(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether a turn of reading would do anything.
    pub(crate) fn has_work(&self) -> bool {
        !self.paused && (self.resumed || (self.readable && self.wants_bytes()))
    }

    /// Whether something can be delivered that was read before. Answers once.
    pub(crate) fn take_resumed(&mut self) -> bool {
        mem::take(&mut self.resumed)
    }

    /// Reads once. `None`: nothing for now, or never again.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> Option<usize> {
        if self.paused || !self.readable || !self.wants_bytes() {
            return None;
        }
        match self.socket.read(scratch) {
            Ok(0) => {
                self.readable = false;
                self.ended = true;
                None
            }
            Ok(len) => {
                // A short read has emptied a stream socket (epoll(7)); the next byte is a new event.
                self.readable = self.hung_up || len == scratch.len();
                Some(len)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                None
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(error) => {
                self.fail(&error);
                None
            }
        }
    }

    fn wants_bytes(&self) -> bool {
        match &self.phase {
            Phase::Shaking { connected, .. } => *connected,
            Phase::Head(Head::Reading) => true,
            // The remote's going away must be seen while an answer is awaited; more than a little is not read ahead.
            Phase::Head(Head::Asked | Head::Answering) => self.unread.len() < HEAD_BYTES,
            Phase::Head(Head::Refused) | Phase::Failed { .. } | Phase::Got { .. } => false,
            Phase::Ws(talk) => !talk.faulty,
            Phase::Closing { .. } => true,
        }
    }

    /// The next thing that the bytes mean: first those left over, then those of `chunk`.
    pub(crate) fn next(&mut self, chunk: &mut &[u8]) -> Option<Event> {
        if self.paused {
            return None;
        }
        match &mut self.phase {
            Phase::Shaking { .. } => self.next_answer(chunk),
            Phase::Head(_) => self.next_request(chunk),
            Phase::Ws(_) => self.next_frame(chunk),
            Phase::Closing { discarded, .. } => {
                *discarded = discarded.saturating_add(mem::take(chunk).len());
                None
            }
            Phase::Failed { .. } | Phase::Got { .. } => None,
        }
    }

    fn next_answer(&mut self, chunk: &mut &[u8]) -> Option<Event> {
        self.unread.extend_from_slice(mem::take(chunk));
        let Phase::Shaking { dial, shake, .. } = &self.phase else { return None };
        let dial = *dial;
        let (answer, max_message_bytes) = shake.check(&self.unread);
        match answer {
            Answer::Partial => None,
            Answer::Open { protocol, taken } => {
                self.open(Role::Client, taken, max_message_bytes);
                Some(Event::Opened(dial, protocol))
            }
            Answer::Refused(error) => {
                self.phase = Phase::Failed { dial, error };
                None
            }
        }
    }

    fn next_request(&mut self, chunk: &mut &[u8]) -> Option<Event> {
        self.unread.extend_from_slice(mem::take(chunk));
        if !matches!(self.phase, Phase::Head(Head::Reading)) || self.unread.is_empty() {
            return None;
        }
        let (head, event) = match http::parse(&self.unread) {
            Parsed::Partial if self.unread.len() <= HEAD_BYTES + BODY_BYTES => return None,
            Parsed::Partial => (Head::Refused, Event::BadRequest(HeadError::TooLarge)),
            Parsed::Refused(error) => (Head::Refused, Event::BadRequest(error)),
            Parsed::Complete(request, len) => {
                self.forget(len);
                (Head::Asked, Event::Request(request))
            }
        };
        self.phase = Phase::Head(head);
        Some(event)
    }

    fn next_frame(&mut self, chunk: &mut &[u8]) -> Option<Event> {
        let Phase::Ws(talk) = &mut self.phase else { return None };
        let mut heard = Heard::Part(0);
        while !self.unread.is_empty() {
            let mut stash: &[u8] = &self.unread;
            heard = talk.next(&mut stash, &mut self.out);
            match stash.len() {
                0 => self.unread = Vec::new(),
                left => drop(self.unread.drain(..self.unread.len() - left)),
            }
            // A frame that has begun takes what it needs of the chunk, and nothing of what follows it.
            match heard {
                Heard::Part(missing) if !self.unread.is_empty() && !chunk.is_empty() => {
                    let (more, rest) = chunk.split_at(missing.min(chunk.len()));
                    self.unread.extend_from_slice(more);
                    *chunk = rest;
                }
                _ => break,
            }
        }
        if matches!(heard, Heard::Part(_)) && self.unread.is_empty() {
            heard = talk.next(chunk, &mut self.out);
        }
        match heard {
            Heard::Nothing | Heard::Part(_) => None,
            Heard::Frame(frame) => Some(Event::Frame(frame)),
            Heard::Fault(fault) => Some(Event::Fault(fault)),
            Heard::Closed(reason) => {
                self.end(reason);
                None
            }
        }
    }

    fn forget(&mut self, len: usize) {
        self.unread.drain(..len);
        if self.unread.is_empty() {
            self.unread = Vec::new();
        }
    }

    /// Keeps what [`Conn::next`] left of a chunk: a part of a frame, or all that came since reading was switched off.
    pub(crate) fn keep(&mut self, chunk: &[u8]) {
        if self.paused || matches!(&self.phase, Phase::Ws(talk) if !talk.faulty) {
            self.unread.extend_from_slice(chunk);
        }
    }

    /// Whether frames, as opposed to requests, are expected: only then bytes are a sign of life worth telling.
    pub(crate) fn hears(&self) -> bool {
        matches!(&self.phase, Phase::Ws(talk) if !talk.closing && !talk.faulty)
    }

    /// Draws the conclusion from the stream's end, once everything before it was delivered.
    pub(crate) fn settle(&mut self) {
        if self.ended && !self.paused && !matches!(self.phase, Phase::Head(Head::Answering)) {
            self.end(CloseReason::Eof);
        }
    }

    pub(crate) fn respond(&mut self, response: &Response) {
        let Phase::Head(head) = self.phase else { return };
        self.out.push(response.encode().into());
        if response.close || head == Head::Refused {
            self.end(CloseReason::Local);
        } else {
            self.phase = Phase::Head(Head::Answering);
        }
    }

    pub(crate) fn upgrade(&mut self, response: &Response, max_message_bytes: usize) {
        if matches!(self.phase, Phase::Head(_)) {
            self.out.push(response.encode().into());
            self.open(Role::Server, 0, max_message_bytes);
        }
    }

    fn open(&mut self, role: Role, used: usize, max_message_bytes: usize) {
        self.forget(used);
        self.phase = Phase::Ws(Talk::new(role, max_message_bytes));
        self.resumed = true;
    }

    pub(crate) fn send(&mut self, frame: Frame) {
        let Phase::Ws(talk) = &mut self.phase else { return };
        if let Err(Full) = talk.send(frame, &mut self.out) {
            self.out = Out::default();
            self.end(CloseReason::Error("too much waits to be sent".into()));
        }
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        self.pause(false);
        let Phase::Ws(talk) = &mut self.phase else { return self.end(CloseReason::Local) };
        talk.close(code, reason, &mut self.out);
        if talk.faulty {
            self.end(CloseReason::Local);
        }
    }

    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.resumed |= !paused;
    }

    /// Goes to the closing phase, if it is not in it.
    fn end(&mut self, reason: CloseReason) {
        let reason = match (&self.phase, reason) {
            (Phase::Closing { .. } | Phase::Failed { .. } | Phase::Got { .. }, _) => return,
            (Phase::Shaking { dial, .. }, CloseReason::Error(error)) => {
                self.phase = Phase::Failed { dial: *dial, error: error.into_owned() };
                return;
            }
            (Phase::Shaking { dial, shake, .. }, _) => {
                let dial = *dial;
                self.phase = match shake.end(&self.unread) {
                    Ok(answer) => Phase::Got { dial, answer },
                    Err(error) => Phase::Failed { dial, error },
                };
                return;
            }
            (Phase::Ws(talk), _) if talk.closing => CloseReason::Local,
            (Phase::Head(_) | Phase::Ws(_), reason) => reason,
        };
        self.paused = false;
        self.unread = Vec::new();
        self.phase = Phase::Closing { reason, shut: false, discarded: 0 };
    }

    /// The socket failed: nothing more will leave.
    pub(crate) fn fail(&mut self, error: &io::Error) {
        self.out = Out::default();
        self.ended = true;
        self.readable = false;
        self.end(CloseReason::Error(failure(error)));
    }

    /// The poll says that a connection under way may stand, or have failed.
    pub(crate) fn check_connected(&mut self) {
        let Phase::Shaking { connected, .. } = &mut self.phase else { return };
        match self.socket.take_error() {
            Ok(None) => *connected = *connected || self.socket.peer_addr().is_ok(),
            Ok(Some(error)) | Err(error) => self.fail(&error),
        }
    }

    /// Writes what the kernel takes.
    pub(crate) fn flush(&mut self, joined: &mut Joined) {
        if matches!(self.phase, Phase::Shaking { connected: false, .. }) {
            return;
        }
        while !self.out.is_empty() {
            match self.socket.write(self.out.join(joined)) {
                Ok(len) => self.out.taken(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fail(&error),
            }
        }
        match &mut self.phase {
            Phase::Head(head @ Head::Answering) => {
                *head = Head::Reading;
                self.resumed = true;
            }
            Phase::Closing { reason: CloseReason::Local, shut, .. } if !*shut => {
                *shut = true;
                let _ = self.socket.shutdown(Shutdown::Write);
            }
            _ => {}
        }
    }

    /// Whether, from now on, only time bounds what it still waits for. True once.
    pub(crate) fn begins_to_linger(&mut self) -> bool {
        matches!(self.phase, Phase::Closing { .. }) && !mem::replace(&mut self.lingers, true)
    }

    /// Whether it is over, and how; `late` means that it has had the time to end by itself.
    pub(crate) fn over(&self, late: bool) -> Option<Over> {
        match &self.phase {
            Phase::Failed { dial, error } => Some(Over::NotOpened(*dial, error.clone())),
            Phase::Got { dial, answer } => Some(Over::Got(*dial, answer.clone())),
            Phase::Closing { reason, discarded, .. } => {
                let waits = *reason == CloseReason::Local && !self.ended && *discarded < DISCARD_BYTES;
                (late || (self.out.is_empty() && !waits)).then(|| Over::Closed(reason.clone()))
            }
            _ => None,
        }
    }

    /// The messages and payload bytes that left since the last call, if any.
    pub(crate) fn take_sent(&mut self) -> Option<(usize, usize)> {
        let sent = mem::take(&mut self.out.sent);
        (sent.0 > 0).then_some(sent)
    }

    /// Whether [`Conn::take_sent`] has something to tell.
    pub(crate) fn has_sent(&self) -> bool {
        self.out.sent.0 > 0
    }
}

/// How a connection ended.
pub(crate) enum Over {
    Closed(CloseReason),
    NotOpened(DialId, String),
    Got(DialId, String),
}
