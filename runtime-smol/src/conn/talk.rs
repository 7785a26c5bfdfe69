//! A connection that speaks WebSocket, to its end.
//!
//! One task reads and writes: splitting the stream would put a lock around it. Messages go out in batches through the
//! `Sink` of [`WebSocketStream`], which can flush several at once, and count as sent when the kernel took their batch.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use async_tungstenite::WebSocketStream;
use enishi_core::frames::Frames;
use enishi_core::limits::{CLOSE_REASON_BYTES, DRIVER_WAITING_BYTES};
use enishi_core::machine::{CloseReason, Frame, FrameFault};
use futures_util::Sink;
use smol::Timer;
use smol::future::{or, poll_fn, yield_now};
use smol::stream::Stream;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::Frame as Framed;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Bytes, Error, Message};

use super::wire::Found;
use super::{LINGER, Link, News, Op, Wire, failed};

/// Payload bytes after which a batch is flushed before more is added: the grain of [`News::Sent`].
const BATCH_BYTES: usize = 16 * 1024;

/// Bytes to write beyond which pings are not answered.
const PONG_BACKLOG_BYTES: usize = 64 * 1024;

/// What one message counts in a batch beside its payload; more than the longest frame header (14 bytes).
const FRAME_BYTES: usize = 16;

/// A WebSocket on a wire whose handshake is done; `rest` are the first bytes behind it.
pub(super) async fn open(mut wire: Wire, rest: Vec<u8>, role: Role, max_message_bytes: usize) -> WebSocketStream<Wire> {
    wire.speak(Frames::new(role == Role::Server, max_message_bytes), rest);
    let config = WebSocketConfig::default()
        // Its least: it is fed from memory, frame by frame.
        .read_buffer_size(0)
        .write_buffer_size(BATCH_BYTES)
        // Never reached, since the wire takes everything at once: what waits is counted by the main task.
        .max_write_buffer_size(BATCH_BYTES + DRIVER_WAITING_BYTES)
        .max_message_size(Some(max_message_bytes))
        .max_frame_size(Some(max_message_bytes));
    WebSocketStream::from_raw_socket(wire, role, Some(config)).await
}

/// Speaks WebSocket until the end, and tells it.
pub(crate) fn talk(ws: WebSocketStream<Wire>, role: Role, link: Link) -> impl Future<Output = ()> {
    let (out, batch) = (VecDeque::new(), (0, 0));
    // Boxed before the task begins, or the task would have room for it twice: as an argument and as what it becomes.
    let mut talk = Box::new(Talk { ws, role, link, out, batch, unflushed: false, faulty: false, closing: None });
    async move {
        let reason = talk.converse().await;
        let Talk { ws, mut link, .. } = *talk;
        // The socket is closed before its end is told.
        drop(ws);
        link.tell(News::Closed(reason)).await;
    }
}

struct Talk {
    ws: WebSocketStream<Wire>,
    role: Role,
    link: Link,
    /// Messages that are not on the wire yet.
    out: VecDeque<Frame>,
    /// Messages and payload bytes that are there.
    batch: (usize, usize),
    /// Something was written since the wire was empty.
    unflushed: bool,
    /// The remote broke RFC 6455: what it sends means nothing any more.
    faulty: bool,
    closing: Option<Closing>,
}

/// Our own close, under way.
struct Closing {
    /// What to say, until it is said.
    frame: Option<CloseFrame>,
    patience: Timer,
}

/// What woke a connection that speaks WebSocket.
enum Turn {
    Op(Option<Op>),
    Flushed(Result<(), Error>),
    Message(Option<Result<Message, Error>>),
    Frame(Frame),
    Fault(FrameFault),
    /// Bytes that made no message.
    Heard,
    Discarded,
    /// Nothing more to wait for.
    Over,
}

impl Talk {
    async fn converse(&mut self) -> CloseReason {
        loop {
            match poll_fn(|cx| self.poll_turn(cx)).await {
                Turn::Op(Some(op)) => self.obey(op),
                Turn::Op(None) => {
                    self.last_words();
                    return CloseReason::Local;
                }
                Turn::Flushed(Ok(())) => {
                    self.unflushed = false;
                    let (messages, len) = std::mem::take(&mut self.batch);
                    if messages > 0 {
                        self.link.tell(News::Sent { messages, len }).await;
                    }
                    self.hang_up();
                }
                Turn::Message(Some(Ok(Message::Close(frame)))) => {
                    // Boxed: it is a part of every connection's task otherwise.
                    return Box::pin(self.acknowledge(frame)).await;
                }
                Turn::Message(Some(Ok(message))) => self.hear(message).await,
                Turn::Frame(frame) => self.pass_on(frame).await,
                Turn::Fault(fault) => self.refuse(fault).await,
                Turn::Message(Some(Err(error))) | Turn::Flushed(Err(error)) => match verdict(error) {
                    Ok(fault) => self.refuse(fault).await,
                    Err(_) if self.closing.is_some() => return CloseReason::Local,
                    Err(reason) => return reason,
                },
                Turn::Message(None) if self.closing.is_none() => return CloseReason::Eof,
                Turn::Heard => {
                    if self.closing.is_none() {
                        self.link.tell(News::Heard).await;
                    }
                    yield_now().await;
                }
                Turn::Discarded => yield_now().await,
                Turn::Message(None) | Turn::Over => return CloseReason::Local,
            }
        }
    }

    /// Orders first, so that a pause takes effect before the next read and sends make one batch; then writing, then
    /// reading.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if let Poll::Ready(op) = self.link.poll_op(cx) {
            return Poll::Ready(Turn::Op(op));
        }
        if let Some(closing) = &mut self.closing
            && Pin::new(&mut closing.patience).poll(cx).is_ready()
        {
            return Poll::Ready(Turn::Over);
        }
        if !self.unflushed
            && let Err(error) = self.fill_batch(cx)
        {
            return Poll::Ready(Turn::Flushed(Err(error)));
        }
        // From here on the library writes nothing but pongs. RFC 6455, 5.5.3: not every ping needs its own.
        let piled_up = self.ws.get_ref().backlog() > PONG_BACKLOG_BYTES;
        self.ws.get_mut().mute(piled_up);
        if self.unflushed
            && let Poll::Ready(flushed) = self.poll_flush(cx)
        {
            return Poll::Ready(Turn::Flushed(flushed));
        }
        match &self.closing {
            Some(_) if self.faulty => return self.ws.get_mut().poll_discard(cx).map(discarded),
            Some(_) => {}
            None if self.faulty || !self.link.reading || self.link.window <= 0 => return Poll::Pending,
            None => {}
        }
        self.ws.get_mut().begin_turn();
        let turn = self.poll_read(cx);
        // What makes a message is no news by itself.
        let heard = self.ws.get_mut().take_heard();
        if turn.is_pending() && heard { Poll::Ready(Turn::Heard) } else { turn }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        loop {
            return Poll::Ready(match ready!(self.ws.get_mut().poll_frame(cx)) {
                Ok(Found::Message(Ok(frame))) => Turn::Frame(frame),
                Ok(Found::Message(Err(fault))) => Turn::Fault(fault),
                Ok(Found::End) => Turn::Message(None),
                Ok(Found::Other) => match Pin::new(&mut self.ws).poll_next(cx) {
                    Poll::Ready(message) => Turn::Message(message),
                    // The frame alone made no message.
                    Poll::Pending => continue,
                },
                Err(error) => Turn::Message(Some(Err(Error::Io(error)))),
            });
        }
    }

    fn obey(&mut self, op: Op) {
        match op {
            Op::Send(frame) if self.closing.is_none() => self.out.push_back(frame),
            Op::Read(on) => self.link.reading = on,
            Op::More(weight) => self.link.window += weight as i64,
            Op::Close { code, reason } if self.closing.is_none() => {
                let end = (0..=CLOSE_REASON_BYTES)
                    .rev()
                    .find(|&end| end <= reason.len() && reason.is_char_boundary(end))
                    .unwrap_or(0);
                let reason = reason.get(..end).unwrap_or(&reason).into();
                let frame = CloseFrame { code: CloseCode::from(code), reason };
                self.closing = Some(Closing { frame: Some(frame), patience: Timer::after(LINGER) });
            }
            Op::Send(_) | Op::Close { .. } | Op::Respond(_) | Op::Upgrade { .. } => {}
        }
    }

    async fn hear(&mut self, message: Message) {
        // The library answers pings.
        self.unflushed |= matches!(message, Message::Ping(_));
        self.pass_on(match message {
            Message::Text(text) => Frame::Text(text),
            Message::Binary(bytes) => Frame::Binary(bytes),
            Message::Ping(_) => Frame::Ping,
            Message::Pong(_) => Frame::Pong,
            Message::Close(_) | Message::Frame(_) => return,
        })
        .await;
    }

    async fn pass_on(&mut self, frame: Frame) {
        match self.closing {
            Some(_) => yield_now().await,
            None => self.link.tell(News::Frame(frame)).await,
        }
    }

    async fn refuse(&mut self, fault: FrameFault) {
        self.faulty = true;
        if self.closing.is_none() {
            self.link.tell(News::Fault(fault)).await;
        }
        self.hang_up();
    }

    /// Puts on the wire what one flush should carry: some messages, or the close frame after the last of them.
    fn fill_batch(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.ws.get_mut().mute(false);
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(frame) = self.out.pop_front()
        {
            bytes += FRAME_BYTES + frame.len();
            if let Frame::Text(_) | Frame::Binary(_) = frame {
                self.batch.0 += 1;
                self.batch.1 += frame.len();
            }
            self.put(frame)?;
        }
        if bytes == 0
            && let Some(frame) = self.closing.as_mut().and_then(|closing| closing.frame.take())
        {
            self.unflushed = true;
            Pin::new(&mut self.ws).start_send(Message::Close(Some(frame)))?;
        }
        if !self.unflushed {
            return Ok(());
        }
        match Pin::new(&mut self.ws).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(error),
            // Never pending: the wire takes everything.
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn put(&mut self, frame: Frame) -> Result<(), Error> {
        self.unflushed = true;
        let frame = match frame {
            Frame::Text(text) => Framed::message(text, OpCode::Data(Data::Text), true),
            Frame::Binary(bytes) => Framed::message(bytes, OpCode::Data(Data::Binary), true),
            Frame::Ping => Framed::ping(Bytes::new()),
            Frame::Pong => Framed::pong(Bytes::new()),
        };
        // A server's frame is not masked, so the library's own buffer, which keeps its size, can be left out.
        match self.role {
            Role::Server => frame.format(self.ws.get_mut().out()),
            Role::Client => Pin::new(&mut self.ws).start_send(Message::Frame(frame)),
        }
    }

    /// Empties the library's buffer into the wire, and the wire into the kernel.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(Pin::new(&mut self.ws).poll_flush(cx))?;
        self.ws.get_mut().poll_drain(cx).map_err(Error::Io)
    }

    /// A remote that broke the rules cannot answer our close frame in a way that means something: the end of the stream
    /// follows it.
    fn hang_up(&self) {
        let said = self.closing.as_ref().is_some_and(|closing| closing.frame.is_none()) && !self.unflushed;
        if self.faulty && said {
            self.ws.get_ref().shut();
        }
    }

    /// The remote said goodbye. The library has the answer ready; it only needs to be flushed.
    async fn acknowledge(&mut self, frame: Option<CloseFrame>) -> CloseReason {
        // A remote that closed the stream together with its close frame makes this fail, which changes nothing.
        self.ws.get_mut().mute(false);
        let flushed = poll_fn(|cx| self.poll_flush(cx));
        or(async { _ = flushed.await }, async { _ = Timer::after(LINGER).await }).await;
        self.ws.get_ref().shut();
        match (&self.closing, frame) {
            (Some(_), _) => CloseReason::Local,
            (None, Some(frame)) => CloseReason::Remote(frame.code.into()),
            (None, None) => CloseReason::Remote(CloseCode::Status.into()),
        }
    }

    /// The driver ends: hand the kernel what it takes at once.
    fn last_words(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while self.unflushed || !self.out.is_empty() || self.closing.as_ref().is_some_and(|c| c.frame.is_some()) {
            if !self.unflushed && self.fill_batch(&mut cx).is_err() {
                return;
            }
            match self.poll_flush(&mut cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
        }
    }
}

fn discarded(read: std::io::Result<usize>) -> Turn {
    match read {
        Ok(1..) => Turn::Discarded,
        Ok(0) | Err(_) => Turn::Over,
    }
}

/// Whether the library's error is the remote's fault or the connection's end.
fn verdict(error: Error) -> Result<FrameFault, CloseReason> {
    match error {
        Error::Capacity(_) => Ok(FrameFault::TooBig),
        Error::Utf8(_) => Ok(FrameFault::NotUtf8),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Err(CloseReason::Eof),
        Error::Protocol(_) | Error::AttackAttempt => Ok(FrameFault::Protocol),
        Error::Io(error) => Err(failed(&error)),
        other => Err(CloseReason::Error(other.to_string())),
    }
}
