//! One TCP connection: a task that reads, writes and closes, told what to do by [`Op`]s and telling by [`News`].
//!
//! [`serve`] is an accepted connection: requests and answers until an upgrade, then [`talk`]. A dialled one begins in
//! [`dial`] and goes on in [`talk`].

pub(crate) mod dial;
mod talk;
mod wire;

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use enishi_core::http::{self, HeadError, Parsed, Request, Response};
use enishi_core::limits::{BODY_BYTES, HEAD_BYTES};
use enishi_core::machine::{CloseReason, ConnId, Frame, FrameFault};
use smol::channel::{Receiver, Sender};
use smol::future::{or, poll_fn, yield_now};
use smol::stream::Stream;
use smol::{Async, Timer};
use tungstenite::protocol::Role;

pub(crate) use self::talk::talk;
pub(crate) use self::wire::Wire;
use crate::driver::Event;

/// How long a closing connection may take to flush and to hear that the remote closes too. Without waiting, bytes that we
/// have not read would make the kernel send a reset, which discards our last answer on its way.
const LINGER: Duration = Duration::from_secs(5);

/// What a connection may have under way to the main task: beyond it, it stops reading until [`Op::More`].
const WINDOW_BYTES: usize = 64 * 1024;

/// What one piece of news counts in that window beside its payload.
const NEWS_BYTES: usize = 256;

/// What the main task wants of a connection.
pub(crate) enum Op {
    /// Write an answer.
    Respond(Box<Response>),
    /// Write the 101 and speak WebSocket.
    Upgrade {
        /// The 101.
        response: Box<Response>,
        /// The longest message to accept, in bytes.
        max_message_bytes: usize,
    },
    /// Send a message.
    Send(Frame),
    /// Stop or resume reading.
    Read(bool),
    /// News that counted this much was delivered: the window is as much wider.
    More(usize),
    /// Flush, say goodbye, end.
    Close {
        /// RFC 6455, 7.4.
        code: u16,
        /// At most 123 bytes.
        reason: String,
    },
}

/// What a connection tells the main task. [`News::Closed`] is the last.
#[derive(Debug)]
pub(crate) enum News {
    /// A request arrived whole.
    Request(Box<Request>),
    /// No request.
    BadRequest(HeadError),
    /// A message, ping or pong.
    Frame(Frame),
    /// Bytes that made no message.
    Heard,
    /// A violation of RFC 6455.
    Fault(FrameFault),
    /// The kernel took these.
    Sent {
        /// Messages.
        messages: usize,
        /// Their payloads, in bytes.
        len: usize,
    },
    /// The end.
    Closed(CloseReason),
}

impl News {
    /// What it counts in the connection's window. A request counts as all of it: nothing is read behind it before the
    /// machine had its say, so that an answer given at once still goes to a client that has sent its last byte.
    pub(crate) fn weight(&self) -> usize {
        match self {
            News::Request(_) => WINDOW_BYTES,
            News::Frame(frame) => NEWS_BYTES + frame.len(),
            News::Heard => NEWS_BYTES,
            News::BadRequest(_) | News::Fault(_) | News::Sent { .. } | News::Closed(_) => 0,
        }
    }

    /// Whether it waits while the connection is not to be read.
    pub(crate) fn is_read(&self) -> bool {
        match self {
            News::Request(_) | News::BadRequest(_) | News::Frame(_) | News::Heard | News::Fault(_) => true,
            News::Closed(reason) => matches!(reason, CloseReason::Remote(_) | CloseReason::Eof),
            News::Sent { .. } => false,
        }
    }
}

/// A connection's two channels.
pub(crate) struct Link {
    conn: ConnId,
    // Pinned because a channel that is polled is part of its own waiting list.
    ops: Pin<Box<Receiver<Op>>>,
    events: Sender<Event>,
    /// Below zero if the last piece of news was large.
    window: i64,
    reading: bool,
    /// Ops that came while an answer was written.
    stash: VecDeque<Op>,
}

impl Link {
    /// The task's ends of the channels of `conn`.
    pub(crate) fn new(conn: ConnId, ops: Receiver<Op>, events: Sender<Event>) -> Self {
        Link { conn, ops: Box::pin(ops), events, window: WINDOW_BYTES as i64, reading: true, stash: VecDeque::new() }
    }

    async fn tell(&mut self, news: News) {
        self.window -= news.weight() as i64;
        // Nobody listens any more when the driver ends; the ops end then too, and with them this task.
        let _ = self.events.send(Event::Conn(self.conn, news)).await;
    }

    /// The next op; None once the main task has let go.
    fn poll_op(&mut self, cx: &mut Context<'_>) -> Poll<Option<Op>> {
        match self.stash.pop_front() {
            Some(op) => Poll::Ready(Some(op)),
            None => self.ops.as_mut().poll_next(cx),
        }
    }

    /// Writes an answer. Once the connection is to close, because it is the `last` or by order, it has [`LINGER`] for it.
    async fn write(&mut self, wire: &mut Wire, bytes: &[u8], last: bool) -> Result<(), CloseReason> {
        let mut patience = if last { Timer::after(LINGER) } else { Timer::never() };
        wire.put(bytes);
        poll_fn(|cx| {
            while let Poll::Ready(Some(op)) = self.ops.as_mut().poll_next(cx) {
                if let Op::Close { .. } = op {
                    patience.set_after(LINGER);
                }
                self.stash.push_back(op);
            }
            match wire.poll_drain(cx) {
                Poll::Ready(drained) => Poll::Ready(drained.map_err(|error| failed(&error))),
                Poll::Pending => Pin::new(&mut patience).poll(cx).map(|_| Err(CloseReason::Local)),
            }
        })
        .await
    }
}

/// How the requests on a connection ended.
enum Head {
    Over(CloseReason),
    Upgraded(Wire, Vec<u8>, usize),
}

/// An accepted connection, to its end.
pub(crate) async fn serve(tcp: Async<TcpStream>, mut link: Link) {
    // Each part of a life has memory of its own, given back when it is over: a task is as large as its largest part.
    let reason = match Box::pin(requests(Wire::new(tcp), &mut link)).await {
        Head::Over(reason) => reason,
        Head::Upgraded(wire, rest, max_message_bytes) => {
            let ws = Box::pin(talk::open(wire, rest, Role::Server, max_message_bytes)).await;
            return talk(ws, Role::Server, link).await;
        }
    };
    link.tell(News::Closed(reason)).await;
}

/// Requests and answers, one after the other.
async fn requests(mut wire: Wire, link: &mut Link) -> Head {
    let mut bytes = Vec::new();
    // Bytes arrived that were not looked at yet.
    let mut fresh = false;
    let (mut answered, mut refused) = (true, false);
    loop {
        if fresh && link.reading && answered && !refused {
            fresh = false;
            match http::parse(&bytes) {
                Parsed::Complete(request, length) => {
                    bytes.drain(..length.min(bytes.len()));
                    answered = false;
                    link.tell(News::Request(Box::new(request))).await;
                }
                Parsed::Refused(error) => {
                    refused = true;
                    link.tell(News::BadRequest(error)).await;
                }
                Parsed::Partial if bytes.len() >= HEAD_BYTES + BODY_BYTES => {
                    refused = true;
                    link.tell(News::BadRequest(HeadError::TooLarge)).await;
                }
                Parsed::Partial => {}
            }
        }
        // Behind a request that waits for its answer, only the end of the stream matters.
        let wanted = link.reading && link.window > 0 && !refused && (answered || bytes.len() < HEAD_BYTES);
        let turn = poll_fn(|cx| match link.poll_op(cx) {
            Poll::Ready(op) => Poll::Ready(Turn::Op(op)),
            Poll::Pending if wanted => wire.poll_fill(cx, &mut bytes).map(Turn::Filled),
            Poll::Pending => Poll::Pending,
        });
        match turn.await {
            Turn::Op(None) => return Head::Over(CloseReason::Local),
            Turn::Op(Some(Op::Respond(response))) => {
                let last = response.close || refused;
                if let Err(reason) = link.write(&mut wire, &response.encode(), last).await {
                    return Head::Over(reason);
                }
                if last {
                    return Head::Over(farewell(wire).await);
                }
                (answered, fresh) = (true, true);
            }
            Turn::Op(Some(Op::Upgrade { response, max_message_bytes })) => {
                return match link.write(&mut wire, &response.encode(), false).await {
                    Ok(()) => Head::Upgraded(wire, bytes, max_message_bytes),
                    Err(reason) => Head::Over(reason),
                };
            }
            Turn::Op(Some(Op::Close { .. })) => return Head::Over(farewell(wire).await),
            Turn::Op(Some(Op::Read(on))) => (link.reading, fresh) = (on, true),
            Turn::Op(Some(Op::More(weight))) => link.window += weight as i64,
            Turn::Op(Some(Op::Send(_))) => {}
            Turn::Filled(Ok(0)) => return Head::Over(CloseReason::Eof),
            Turn::Filled(Ok(_)) => {
                fresh = true;
                yield_now().await;
            }
            Turn::Filled(Err(error)) => return Head::Over(failed(&error)),
        }
    }
}

/// What woke a connection that speaks HTTP.
enum Turn {
    Op(Option<Op>),
    Filled(io::Result<usize>),
}

/// Ends a stream so that the remote reads our last bytes: no more from us, then its end, or [`LINGER`].
async fn farewell(mut wire: Wire) -> CloseReason {
    wire.shut();
    let theirs = async {
        while let Ok(1..) = poll_fn(|cx| wire.poll_discard(cx)).await {
            yield_now().await;
        }
    };
    or(theirs, async { _ = Timer::after(LINGER).await }).await;
    CloseReason::Local
}

/// A socket's failure as the end of its connection.
fn failed(error: &io::Error) -> CloseReason {
    CloseReason::Error(clause(error))
}

/// A clause for a person.
fn clause(error: &io::Error) -> String {
    use io::ErrorKind as Kind;
    let clause = match error.kind() {
        Kind::ConnectionRefused => "connection refused",
        Kind::ConnectionReset => "connection reset by the remote",
        Kind::ConnectionAborted => "connection aborted",
        Kind::BrokenPipe => "the remote reads no more",
        Kind::TimedOut => "the remote did not answer in time",
        Kind::HostUnreachable => "host unreachable",
        Kind::NetworkUnreachable => "network unreachable",
        _ => return error.to_string(),
    };
    clause.to_owned()
}
