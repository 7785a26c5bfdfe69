//! One TCP connection: the bytes that came, what they mean in its phase, what waits to leave.
//!
//! It belongs to the main task, which gives it a turn when its [`Bell`] rang. [`Conn::poll_receive`] and
//! [`Conn::poll_flush`] are polled with that bell as their waker; all else is done in memory.

pub(crate) mod dial;
mod out;
mod talk;
mod wire;

use std::io;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use enishi_core::http::{self, HeadError, Parsed, Request, Response};
use enishi_core::limits::{BODY_BYTES, HEAD_BYTES};
use enishi_core::machine::{CloseReason, Frame, FrameFault, failure};
use tungstenite::protocol::Role;

pub(crate) use self::out::Spare;
use self::out::{Full, Out};
use self::talk::{Heard, Talk};
pub(crate) use self::wire::Wire;
use crate::bell::Bell;

/// Batches that one connection may write before it is another's turn.
const BATCHES: usize = 4;

/// A socket and its state.
#[derive(Debug)]
pub(crate) struct Conn {
    bell: Arc<Bell>,
    wire: Wire,
    phase: Phase,
    /// Bytes that no phase has consumed: a part of a head or a frame, or what came before reading was switched off.
    unread: Vec<u8>,
    out: Out,
    paused: bool,
    /// The remote has sent its last byte.
    ended: bool,
    lingers: bool,
    /// Whether it stands in the list of those to flush.
    pub(crate) dirty: bool,
}

#[derive(Debug)]
enum Phase {
    /// HTTP requests.
    Head(Head),
    /// WebSocket messages.
    Ws(Talk),
    /// Write what waits, tell the remote that there is no more, and for [`CloseReason::Local`] wait until it closes too:
    /// closing with bytes unread would make the kernel reset the connection, and the remote lose our last words.
    Closing { reason: CloseReason, shut: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug)]
pub(crate) enum News {
    /// A request arrived whole.
    Request(Request),
    /// No request.
    BadRequest(HeadError),
    /// A message, ping or pong.
    Frame(Frame),
    /// A violation of RFC 6455.
    Fault(FrameFault),
}

impl Conn {
    /// A connection that a listener accepted: it speaks HTTP.
    pub(crate) fn accepted(wire: Wire, bell: Arc<Bell>) -> Self {
        Conn::new(wire, bell, Phase::Head(Head::Reading), Vec::new())
    }

    /// A WebSocket that we dialled; `unread` came right behind the handshake.
    pub(crate) fn dialled(wire: Wire, bell: Arc<Bell>, unread: Vec<u8>, max_message_bytes: usize) -> Self {
        let talk = Talk::new(Role::Client, max_message_bytes);
        Conn::new(wire, bell, Phase::Ws(talk), unread)
    }

    fn new(wire: Wire, bell: Arc<Bell>, phase: Phase, unread: Vec<u8>) -> Self {
        bell.ring();
        let out = Out::default();
        Conn { bell, wire, phase, unread, out, paused: false, ended: false, lingers: false, dirty: false }
    }

    /// Its turn has come: what wakes it from now on is news. Gives the waker to poll it with.
    pub(crate) fn wake_up(&self) -> Waker {
        self.bell.hush();
        self.waker()
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.bell))
    }

    /// Whether something can be told that was received before.
    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Asks for another turn.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// Whether it is a WebSocket with nothing to send: then a flush would do nothing.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self.phase, Phase::Ws(_)) && self.out.is_empty()
    }

    /// Reads once. Pending: nothing for now, or nothing is wanted until something changes, which rings.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<usize> {
        if self.paused || self.ended || !self.wants_bytes() {
            return Poll::Pending;
        }
        match ready!(self.wire.poll_read(cx, scratch)) {
            Ok(0) => self.ended = true,
            Ok(len) => return Poll::Ready(len),
            Err(error) => self.fail(&error),
        }
        Poll::Pending
    }

    fn wants_bytes(&self) -> bool {
        match &self.phase {
            Phase::Head(Head::Reading) => true,
            // The remote's going away must be seen while an answer is awaited; more than a little is not read ahead.
            Phase::Head(Head::Asked | Head::Answering) => self.unread.len() < HEAD_BYTES,
            Phase::Head(Head::Refused) => false,
            Phase::Ws(talk) => !talk.faulty,
            Phase::Closing { .. } => true,
        }
    }

    /// The next thing that the bytes mean: first those left over, then those of `chunk`.
    pub(crate) fn next(&mut self, chunk: &mut &[u8]) -> Option<News> {
        if self.paused {
            return None;
        }
        match &self.phase {
            Phase::Head(_) => self.next_request(chunk),
            Phase::Ws(_) => self.next_frame(chunk),
            Phase::Closing { .. } => {
                *chunk = &[];
                None
            }
        }
    }

    fn next_request(&mut self, chunk: &mut &[u8]) -> Option<News> {
        self.unread.extend_from_slice(mem::take(chunk));
        if !matches!(self.phase, Phase::Head(Head::Reading)) || self.unread.is_empty() {
            return None;
        }
        let (head, news) = match http::parse(&self.unread) {
            Parsed::Partial if self.unread.len() <= HEAD_BYTES + BODY_BYTES => return None,
            Parsed::Partial => (Head::Refused, News::BadRequest(HeadError::TooLarge)),
            Parsed::Refused(error) => (Head::Refused, News::BadRequest(error)),
            Parsed::Complete(request, len) => {
                self.forget(len);
                (Head::Asked, News::Request(request))
            }
        };
        self.phase = Phase::Head(head);
        Some(news)
    }

    fn next_frame(&mut self, chunk: &mut &[u8]) -> Option<News> {
        let Phase::Ws(talk) = &mut self.phase else { return None };
        let mut heard = Heard::Part(0);
        while !self.unread.is_empty() {
            let mut kept: &[u8] = &self.unread;
            heard = talk.next(&mut kept, &mut self.out.bytes);
            let used = self.unread.len() - kept.len();
            self.unread.drain(..used);
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
        if self.unread.is_empty() {
            // An idle connection keeps no buffer.
            self.unread = Vec::new();
            if let Heard::Part(_) = heard {
                heard = talk.next(chunk, &mut self.out.bytes);
            }
        }
        match heard {
            Heard::Nothing | Heard::Part(_) => None,
            Heard::Frame(frame) => Some(News::Frame(frame)),
            Heard::Fault(fault) => Some(News::Fault(fault)),
            Heard::Closed(reason) => {
                self.end(reason);
                None
            }
        }
    }

    fn forget(&mut self, len: usize) {
        self.unread.drain(..len.min(self.unread.len()));
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

    /// Queues an answer.
    pub(crate) fn respond(&mut self, response: &Response) {
        let Phase::Head(head) = self.phase else { return };
        self.out.bytes.extend_from_slice(&response.encode());
        if response.close || head == Head::Refused {
            self.end(CloseReason::Local);
        } else {
            self.phase = Phase::Head(Head::Answering);
        }
    }

    /// Queues the 101; what follows are frames.
    pub(crate) fn upgrade(&mut self, response: &Response, max_message_bytes: usize) {
        if let Phase::Head(_) = self.phase {
            self.out.bytes.extend_from_slice(&response.encode());
            self.phase = Phase::Ws(Talk::new(Role::Server, max_message_bytes));
            self.bell.ring();
        }
    }

    /// Queues a message. After a close frame nothing is sent (RFC 6455, 5.5.1).
    pub(crate) fn send(&mut self, frame: Frame) {
        let Phase::Ws(talk) = &self.phase else { return };
        if talk.closing {
            return;
        }
        if let Err(Full) = self.out.push(frame) {
            self.out = Out::default();
            self.end(CloseReason::Error("the remote reads too slowly".into()));
        }
    }

    /// Queues the close frame behind all messages.
    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        self.pause(false);
        let Phase::Ws(talk) = &mut self.phase else { return self.end(CloseReason::Local) };
        if !talk.closing {
            self.out.fill_all(talk);
            talk.close(code, reason, &mut self.out.bytes);
            if talk.faulty {
                self.end(CloseReason::Local);
            }
        }
    }

    /// Stops or resumes reading.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused;
        if !paused {
            self.bell.ring();
        }
    }

    /// Goes to the closing phase, if it is not in it.
    fn end(&mut self, reason: CloseReason) {
        let reason = match &mut self.phase {
            Phase::Closing { .. } => return,
            Phase::Ws(talk) => {
                self.out.fill_all(talk);
                if talk.closing { CloseReason::Local } else { reason }
            }
            Phase::Head(_) => reason,
        };
        self.paused = false;
        self.unread = Vec::new();
        self.phase = Phase::Closing { reason, shut: false };
        self.bell.ring();
    }

    /// The socket failed: nothing more will leave.
    fn fail(&mut self, error: &io::Error) {
        self.out = Out::default();
        self.ended = true;
        self.end(CloseReason::Error(failure(error)));
    }

    /// Writes some of what waits; rings if that was not all that the kernel may take.
    pub(crate) fn flush(&mut self, spare: &mut Spare) {
        let waker = self.waker();
        let mut cx = Context::from_waker(&waker);
        for _ in 0..BATCHES {
            match self.poll_flush(&mut cx, spare) {
                Poll::Ready(true) => {}
                Poll::Ready(false) | Poll::Pending => return,
            }
        }
        self.bell.ring();
    }

    /// Writes what the kernel takes at once.
    pub(crate) fn flush_all(&mut self, spare: &mut Spare) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(true) = self.poll_flush(&mut cx, spare) {}
    }

    /// Writes once. `false`: nothing waits any more.
    fn poll_flush(&mut self, cx: &mut Context<'_>, spare: &mut Spare) -> Poll<bool> {
        if let Phase::Ws(talk) = &mut self.phase {
            self.out.fill(talk, spare);
        }
        if self.out.is_empty() {
            self.written();
            return Poll::Ready(false);
        }
        match ready!(self.wire.poll_write(cx, self.out.pending())) {
            Ok(len) => self.out.taken(len, spare),
            Err(error) => self.fail(&error),
        }
        Poll::Ready(true)
    }

    /// All is with the kernel.
    fn written(&mut self) {
        match &mut self.phase {
            Phase::Head(head @ Head::Answering) => {
                *head = Head::Reading;
                self.bell.ring();
            }
            Phase::Closing { reason: CloseReason::Local, shut, .. } if !*shut => {
                *shut = true;
                self.wire.shut();
            }
            _ => {}
        }
    }

    /// Whether, from now on, it has only so much time to end. True once.
    pub(crate) fn begins_to_linger(&mut self) -> bool {
        let ends = match &self.phase {
            Phase::Closing { .. } => true,
            Phase::Ws(talk) => talk.closing,
            Phase::Head(_) => false,
        };
        ends && !mem::replace(&mut self.lingers, true)
    }

    /// Whether it is over, and why; `late` means that it has had the time to end by itself.
    pub(crate) fn over(&self, late: bool) -> Option<CloseReason> {
        match &self.phase {
            Phase::Closing { reason, .. } => {
                let waits = *reason == CloseReason::Local && !self.ended;
                (late || (self.out.is_empty() && !waits)).then(|| reason.clone())
            }
            Phase::Ws(talk) if talk.closing => late.then_some(CloseReason::Local),
            Phase::Ws(_) | Phase::Head(_) => None,
        }
    }

    /// The messages and payload bytes that left since the last call, if any.
    pub(crate) fn take_sent(&mut self) -> Option<(usize, usize)> {
        self.out.take_sent()
    }
}
