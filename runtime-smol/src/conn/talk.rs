//! An open WebSocket: bytes to messages and back, in memory.
//!
//! Messages in one frame are read where they were received. The rest is the library's: control frames, fragments and
//! violations. It is polled with whole frames in a [`Pipe`], so it never waits and keeps no buffer for halves.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use async_tungstenite::WebSocketStream;
use enishi_core::frames::{Begin, Frames};
use enishi_core::limits::CLOSE_REASON_BYTES;
use enishi_core::machine::{CloseReason, Frame, FrameFault};
use futures_util::Sink;
use smol::stream::Stream;
use tungstenite::protocol::frame::Frame as Framed;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Bytes, Error, Message};

use super::wire::Pipe;

/// Bytes to write beyond which pings are not answered. RFC 6455, 5.5.3: not every ping needs its own.
const PONG_BACKLOG_BYTES: usize = 64 * 1024;

/// The library and what it does not tell.
#[derive(Debug)]
pub(super) struct Talk {
    /// Takes the messages that come in one frame.
    frames: Frames,
    /// A server's is there only while it has something to remember.
    library: Option<Box<WebSocketStream<Pipe>>>,
    role: Role,
    /// Our close frame is sent.
    pub(super) closing: bool,
    /// The remote broke RFC 6455: what it sends means nothing any more.
    pub(super) faulty: bool,
}

/// What [`Talk::next`] found.
pub(super) enum Heard {
    /// Nothing more will be read.
    Nothing,
    /// Only a part of a frame, or nothing at all. So many bytes are missing at least.
    Part(usize),
    /// A message, ping or pong.
    Frame(Frame),
    /// A violation.
    Fault(FrameFault),
    /// The end.
    Closed(CloseReason),
}

impl Talk {
    /// A WebSocket whose handshake is done.
    pub(super) fn new(role: Role, max_message_bytes: usize) -> Self {
        let frames = Frames::new(role == Role::Server, max_message_bytes);
        Talk { frames, library: None, role, closing: false, faulty: false }
    }

    fn library(&mut self) -> &mut WebSocketStream<Pipe> {
        let most = Some(self.frames.max_message_bytes());
        self.library.get_or_insert_with(|| {
            let config = WebSocketConfig::default()
                // Its least: it is fed from memory, frame by frame.
                .read_buffer_size(0)
                .write_buffer_size(0)
                .max_message_size(most)
                .max_frame_size(most);
            let stream = WebSocketStream::from_raw_socket(Pipe::default(), self.role, Some(config));
            // Without a handshake there is nothing to wait for.
            Box::new(smol::future::block_on(stream))
        })
    }

    /// The next message in `chunk`. Pings and close frames are answered into `out`. A part of a frame is left there.
    pub(super) fn next(&mut self, chunk: &mut &[u8], out: &mut Vec<u8>) -> Heard {
        while !self.faulty {
            let found = match self.frames.begin(chunk) {
                Begin::Part(missing) => return Heard::Part(missing),
                Begin::Message(Ok(frame), whole) => {
                    *chunk = &chunk[whole..];
                    Heard::Frame(frame)
                }
                Begin::Message(Err(fault), _) => self.refuse(fault),
                Begin::Other(whole) => {
                    let (frame, rest) = chunk.split_at(whole);
                    *chunk = rest;
                    let heard = self.leave(frame, out);
                    self.forget();
                    match heard {
                        Some(heard) => heard,
                        None => continue,
                    }
                }
            };
            if !(self.closing && matches!(found, Heard::Frame(_))) {
                return found;
            }
        }
        Heard::Nothing
    }

    /// Leaves a frame to the library. `None`: it means nothing by itself.
    fn leave(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Option<Heard> {
        let library = self.library();
        library.get_mut().give(frame);
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(found) = Pin::new(library).poll_next(&mut cx) else { return None };
        let heard = match found? {
            Ok(Message::Text(text)) => Heard::Frame(Frame::Text(text)),
            Ok(Message::Binary(bytes)) => Heard::Frame(Frame::Binary(bytes)),
            Ok(Message::Ping(_)) => Heard::Frame(Frame::Ping),
            Ok(Message::Pong(_)) => Heard::Frame(Frame::Pong),
            Ok(Message::Close(frame)) => {
                let code = frame.map_or(CloseCode::Status, |frame| frame.code);
                Heard::Closed(CloseReason::Remote(code.into()))
            }
            Ok(Message::Frame(_)) => return None,
            Err(error) => return Some(self.refuse(fault(&error))),
        };
        let answer = self.written();
        if out.len() <= PONG_BACKLOG_BYTES {
            out.extend_from_slice(&answer);
        }
        Some(heard)
    }

    /// Lets a server's library go while there is nothing to remember: no beginning of a message, no close frame.
    fn forget(&mut self) {
        if self.role == Role::Server && !self.closing && !self.faulty && !self.frames.is_amid_message() {
            self.library = None;
        }
    }

    fn refuse(&mut self, fault: FrameFault) -> Heard {
        self.faulty = true;
        if self.closing { Heard::Closed(CloseReason::Local) } else { Heard::Fault(fault) }
    }

    /// Writes a message.
    pub(super) fn write(&mut self, frame: Frame, out: &mut Vec<u8>) {
        let frame = match frame {
            Frame::Text(text) => Framed::message(text, OpCode::Data(Data::Text), true),
            Frame::Binary(bytes) => Framed::message(bytes, OpCode::Data(Data::Binary), true),
            Frame::Ping => Framed::ping(Bytes::new()),
            Frame::Pong => Framed::pong(Bytes::new()),
        };
        match self.role {
            // Not masked, so the library's own buffer, which keeps its size, can be left out. Writing to memory cannot fail.
            Role::Server => _ = frame.format(out),
            Role::Client => self.say(Message::Frame(frame), out),
        }
    }

    /// Writes the close frame, after which nothing is written (RFC 6455, 5.5.1).
    pub(super) fn close(&mut self, code: u16, reason: &str, out: &mut Vec<u8>) {
        let fits = |end: &usize| reason.is_char_boundary(*end);
        let end = (0..=reason.len().min(CLOSE_REASON_BYTES)).rev().find(fits).unwrap_or(0);
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason[..end].into() };
        self.say(Message::Close(Some(frame)), out);
        self.closing = true;
    }

    fn say(&mut self, message: Message, out: &mut Vec<u8>) {
        // Refused only after a close frame, when nothing is to be written.
        let _ = Pin::new(self.library()).start_send(message);
        out.extend_from_slice(&self.written());
    }

    /// What the library has written.
    fn written(&mut self) -> Vec<u8> {
        // Never pending: the pipe takes everything. An error is of a connection that is closed already.
        let library = self.library();
        let _ = Pin::new(&mut *library).poll_flush(&mut Context::from_waker(Waker::noop()));
        library.get_mut().take()
    }
}

fn fault(error: &Error) -> FrameFault {
    match error {
        Error::Capacity(_) => FrameFault::TooBig,
        Error::Utf8(_) => FrameFault::NotUtf8,
        _ => FrameFault::Protocol,
    }
}
