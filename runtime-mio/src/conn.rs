//! One TCP connection: the bytes that came, what they mean in its phase, the bytes that wait to leave.
//!
//! tungstenite never sees the socket. It reads from the chunk that was just received and writes into [`Out`], so it
//! is a codec here; `receive` and `flush` are the only system calls.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::mem;
use std::net::Shutdown;

use enishi_core::http::{self, HeadError, Parsed, Request, Response};
use enishi_core::limits::{BODY_BYTES, CLOSE_REASON_BYTES, HEAD_BYTES};
use enishi_core::machine::{CloseReason, DialId, Frame, FrameFault};
use mio::net::TcpStream;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Error};

use crate::dial::{Answer, Shake, clause};

/// tungstenite's own read buffer: all that an idle connection holds. It is fed from memory, so its size costs no
/// system calls (performance.md 4).
const READ_BUFFER_BYTES: usize = 1024;

/// More than this waiting for one remote means that the machine's limits failed.
const OUT_BYTES: usize = 64 * 1024 * 1024;

/// With more than this waiting, pings are not answered: RFC 6455, 5.5.3 asks for the most recent one only, and who
/// pings without reading must not fill our memory.
const PONG_BACKLOG_BYTES: usize = 64 * 1024;

/// Capacity that a drained connection keeps.
const KEPT_BYTES: usize = 1024;

/// Bytes that are read and thrown away while we wait for a remote to close.
const DISCARD_BYTES: usize = 1024 * 1024;

/// A socket and its state.
pub(crate) struct Conn {
    pub(crate) socket: TcpStream,
    phase: Phase,
    /// Bytes that no phase has consumed: a part of a head, or what came before reading was switched off.
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
    /// Whether it stands in the ready list.
    pub(crate) queued: bool,
    /// Whether it stands in the list of those to flush.
    pub(crate) dirty: bool,
}

enum Phase {
    /// A client's handshake. Until the connection stands nothing can be read or written.
    Shaking { dial: DialId, shake: Box<Shake>, connected: bool },
    /// A client's connection that came to nothing.
    Failed { dial: DialId, error: String },
    /// HTTP requests.
    Head(Head),
    /// WebSocket messages.
    Ws(Box<Ws>),
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

struct Ws {
    context: WebSocketContext,
    /// Our close frame is sent.
    closing: bool,
    /// The remote broke the protocol: nothing is read any more.
    faulty: bool,
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
        conn.out.bytes = request;
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
            queued: false,
            dirty: false,
        }
    }

    /// The poll says that there is something to read.
    pub(crate) fn set_readable(&mut self, hung_up: bool) {
        self.readable = true;
        self.hung_up |= hung_up;
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
            Phase::Head(Head::Refused) | Phase::Failed { .. } => false,
            Phase::Ws(ws) => !ws.faulty,
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
            Phase::Failed { .. } => None,
        }
    }

    fn next_answer(&mut self, chunk: &mut &[u8]) -> Option<Event> {
        self.unread.extend_from_slice(mem::take(chunk));
        let Phase::Shaking { dial, shake, .. } = &self.phase else { return None };
        let dial = *dial;
        match shake.check(&self.unread) {
            Answer::Partial => None,
            Answer::Open(protocol, len) => {
                let max_message_bytes = shake.max_message_bytes;
                self.open(Role::Client, len, max_message_bytes);
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
        let Phase::Ws(ws) = &mut self.phase else { return None };
        if ws.faulty {
            return None;
        }
        let event = if self.unread.is_empty() {
            ws.next(chunk, &mut self.out)
        } else {
            let mut stash: &[u8] = &self.unread;
            let before = stash.len();
            let event = ws.next(&mut stash, &mut self.out);
            let used = before - stash.len();
            self.forget(used);
            match event {
                // What was left over is used up: go on with the chunk.
                WsEvent::Nothing => return self.next_frame(chunk),
                event => event,
            }
        };
        match event {
            WsEvent::Nothing => None,
            WsEvent::Tell(event) => Some(event),
            WsEvent::Closed(reason) => {
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

    /// Keeps what [`Conn::next`] left of a chunk because reading was switched off.
    pub(crate) fn keep(&mut self, chunk: &[u8]) {
        self.unread.extend_from_slice(chunk);
    }

    /// Whether frames, as opposed to requests, are expected: only then bytes are a sign of life worth telling.
    pub(crate) fn hears(&self) -> bool {
        matches!(&self.phase, Phase::Ws(ws) if !ws.closing && !ws.faulty)
    }

    /// Draws the conclusion from the stream's end, once everything before it was delivered.
    pub(crate) fn settle(&mut self) {
        if self.ended && !self.paused && !matches!(self.phase, Phase::Head(Head::Answering)) {
            self.end(CloseReason::Eof);
        }
    }

    pub(crate) fn respond(&mut self, response: &Response) {
        let Phase::Head(head) = self.phase else { return };
        self.out.push(&response.encode());
        if response.close || head == Head::Refused {
            self.end(CloseReason::Local);
        } else {
            self.phase = Phase::Head(Head::Answering);
        }
    }

    pub(crate) fn upgrade(&mut self, response: &Response, max_message_bytes: usize) {
        if matches!(self.phase, Phase::Head(_)) {
            self.out.push(&response.encode());
            self.open(Role::Server, 0, max_message_bytes);
        }
    }

    fn open(&mut self, role: Role, used: usize, max_message_bytes: usize) {
        self.forget(used);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(OUT_BYTES)
            .max_message_size(Some(max_message_bytes))
            .max_frame_size(Some(max_message_bytes));
        let context = WebSocketContext::new(role, Some(config));
        self.phase = Phase::Ws(Box::new(Ws { context, closing: false, faulty: false }));
        self.resumed = true;
    }

    pub(crate) fn send(&mut self, frame: Frame) {
        let Phase::Ws(ws) = &mut self.phase else { return };
        let len = frame.len();
        let (message, counted) = match frame {
            Frame::Text(text) => (Message::Text(text), true),
            Frame::Binary(bytes) => (Message::Binary(bytes), true),
            Frame::Ping => (Message::Ping(Bytes::new()), false),
            Frame::Pong => (Message::Pong(Bytes::new()), false),
        };
        let mut pipe = Pipe { input: &mut &[][..], out: &mut self.out, bounded: false };
        let written = ws.context.write(&mut pipe, message).is_ok();
        if counted && written {
            self.out.mark(len);
        }
        if self.out.len() > OUT_BYTES {
            self.out = Out::default();
            self.end(CloseReason::Error("more than 64 MiB wait to be sent".into()));
        }
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        self.pause(false);
        let Phase::Ws(ws) = &mut self.phase else { return self.end(CloseReason::Local) };
        let fits = |end: &usize| reason.is_char_boundary(*end);
        let end = (0..=reason.len().min(CLOSE_REASON_BYTES)).rev().find(fits).unwrap_or(0);
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason[..end].into() };
        let mut pipe = Pipe { input: &mut &[][..], out: &mut self.out, bounded: false };
        let _ = ws.context.close(&mut pipe, Some(frame));
        ws.closing = true;
        if ws.faulty {
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
            (Phase::Closing { .. } | Phase::Failed { .. }, _) => return,
            (Phase::Shaking { dial, .. }, CloseReason::Error(error)) => {
                self.phase = Phase::Failed { dial: *dial, error };
                return;
            }
            (Phase::Shaking { dial, .. }, _) => {
                self.phase = Phase::Failed { dial: *dial, error: "the server closed the connection".into() };
                return;
            }
            (Phase::Ws(ws), _) if ws.closing => CloseReason::Local,
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
        self.end(CloseReason::Error(clause(error)));
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
    pub(crate) fn flush(&mut self) {
        if matches!(self.phase, Phase::Shaking { connected: false, .. }) {
            return;
        }
        while !self.out.is_empty() {
            match self.socket.write(self.out.pending()) {
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

    /// Whether only time bounds what it still waits for.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// Whether it is over, and how; `late` means that it has had the time to end by itself.
    pub(crate) fn over(&self, late: bool) -> Option<Over> {
        match &self.phase {
            Phase::Failed { dial, error } => Some(Over::NotOpened(*dial, error.clone())),
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
}

enum WsEvent {
    Nothing,
    Tell(Event),
    Closed(CloseReason),
}

impl Ws {
    fn next(&mut self, chunk: &mut &[u8], out: &mut Out) -> WsEvent {
        loop {
            let mut pipe = Pipe { input: chunk, out, bounded: true };
            let frame = match self.context.read(&mut pipe) {
                Ok(Message::Text(text)) => Frame::Text(text),
                Ok(Message::Binary(bytes)) => Frame::Binary(bytes),
                Ok(Message::Ping(_)) => {
                    // The pong is queued inside; flushing moves it to `out`.
                    let _ = self.context.flush(&mut pipe);
                    Frame::Ping
                }
                Ok(Message::Pong(_)) => Frame::Pong,
                Ok(Message::Close(frame)) => {
                    let _ = self.context.flush(&mut pipe);
                    return WsEvent::Closed(CloseReason::Remote(frame.map_or(1005, |frame| frame.code.into())));
                }
                Ok(Message::Frame(_)) => continue,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return WsEvent::Nothing,
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return WsEvent::Closed(CloseReason::Eof),
                Err(error) => {
                    self.faulty = true;
                    if self.closing {
                        return WsEvent::Closed(CloseReason::Local);
                    }
                    return WsEvent::Tell(Event::Fault(match error {
                        Error::Capacity(_) => FrameFault::TooBig,
                        Error::Utf8(_) => FrameFault::NotUtf8,
                        _ => FrameFault::Protocol,
                    }));
                }
            };
            if !self.closing {
                return WsEvent::Tell(Event::Frame(frame));
            }
        }
    }
}

/// Bytes that wait for the kernel, and where the messages in them end.
#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    /// How many of them the kernel has.
    start: usize,
    /// How many bytes the kernel has had before `bytes`.
    past: u64,
    /// Per message: the position of its end since the beginning, and the length of its payload.
    marks: VecDeque<(u64, usize)>,
    /// Messages, and payload bytes of them, that left and are not told.
    sent: (usize, usize),
}

impl Out {
    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A message ends here.
    fn mark(&mut self, len: usize) {
        self.marks.push_back((self.past + self.bytes.len() as u64, len));
    }

    fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The kernel took `len` bytes.
    fn taken(&mut self, len: usize) {
        self.start += len;
        let reached = self.past + self.start as u64;
        while let Some(&(end, len)) = self.marks.front() {
            if end > reached {
                break;
            }
            self.marks.pop_front();
            self.sent.0 += 1;
            self.sent.1 += len;
        }
        if self.is_empty() || self.start > self.len() {
            self.past = reached;
            self.bytes.drain(..mem::take(&mut self.start));
            if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES {
                self.bytes = Vec::new();
            }
        }
    }
}

/// The stream that tungstenite sees: a chunk in memory to read, [`Out`] to write. Never blocks on writing.
struct Pipe<'p, 'b> {
    input: &'p mut &'b [u8],
    out: &'p mut Out,
    /// Whether only control frames are written, which may be dropped when much is waiting.
    bounded: bool,
}

impl Read for Pipe<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Pipe<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.bounded || self.out.len() <= PONG_BACKLOG_BYTES {
            self.out.push(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
