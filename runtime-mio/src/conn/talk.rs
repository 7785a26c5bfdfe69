//! An open WebSocket: bytes to messages and back, in memory.

use std::io;

use enishi_core::frames::{Begin, Frames};
use enishi_core::limits::{CLOSE_REASON_BYTES, DRIVER_WAITING_BYTES};
use enishi_core::machine::{CloseReason, Frame, FrameFault};
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame as Wire, FrameHeader};
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Error};

use super::wire::{Out, Pipe};

/// More than the longest frame header (RFC 6455, 5.2: 14 bytes).
const FRAME_BYTES: usize = 16;

/// tungstenite and what it does not tell.
pub(super) struct Talk {
    /// Takes the messages that come in one frame.
    frames: Frames,
    /// tungstenite has the rest: control frames, fragments, violations, our close frame, and what a client says. It gets
    /// whole frames, so it holds no buffer for halves, and a server has it only while it has something to remember.
    library: Option<Box<WebSocketContext>>,
    role: Role,
    /// Our close frame is sent.
    pub(super) closing: bool,
    /// The remote broke the protocol: nothing is read any more.
    pub(super) faulty: bool,
}

/// What [`Talk::next`] found.
pub(super) enum Heard {
    /// Nothing more will be read.
    Nothing,
    /// Only a part of a frame, or nothing at all. So many bytes are missing at least.
    Part(usize),
    Frame(Frame),
    Fault(FrameFault),
    Closed(CloseReason),
}

/// More than [`DRIVER_WAITING_BYTES`] would wait.
pub(super) struct Full;

impl Talk {
    pub(super) fn new(role: Role, max_message_bytes: usize) -> Self {
        let frames = Frames::new(role == Role::Server, max_message_bytes);
        Talk { frames, library: None, role, closing: false, faulty: false }
    }

    fn library(&mut self) -> &mut WebSocketContext {
        let most = Some(self.frames.max_message_bytes());
        self.library.get_or_insert_with(|| {
            let config = WebSocketConfig::default()
                // Its least: it is fed from memory, frame by frame.
                .read_buffer_size(0)
                .write_buffer_size(0)
                .max_message_size(most)
                .max_frame_size(most);
            Box::new(WebSocketContext::new(self.role, Some(config)))
        })
    }

    /// The next message in `chunk`. Pings and close frames are answered into `out`. A part of a frame is left there.
    pub(super) fn next(&mut self, chunk: &mut &[u8], out: &mut Out) -> Heard {
        while !self.faulty {
            let found = match self.frames.begin(chunk) {
                Begin::Part(missing) => return Heard::Part(missing),
                Begin::Message(Ok(frame), whole) => {
                    *chunk = &chunk[whole..];
                    Heard::Frame(frame)
                }
                Begin::Message(Err(fault), _) => self.refuse(fault),
                Begin::Other(whole) => {
                    let (mut frame, rest) = chunk.split_at(whole);
                    *chunk = rest;
                    let heard = self.leave(&mut frame, out);
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

    /// Leaves a frame to tungstenite. `None`: it means nothing by itself.
    fn leave(&mut self, frame: &mut &[u8], out: &mut Out) -> Option<Heard> {
        let mut pipe = Pipe { input: frame, out, replying: true };
        let library = self.library();
        Some(Heard::Frame(match library.read(&mut pipe) {
            Ok(Message::Text(text)) => Frame::Text(text),
            Ok(Message::Binary(bytes)) => Frame::Binary(bytes),
            Ok(Message::Ping(_)) => {
                // The pong is queued inside; flushing moves it to `out`.
                let _ = library.flush(&mut pipe);
                Frame::Ping
            }
            Ok(Message::Pong(_)) => Frame::Pong,
            Ok(Message::Close(frame)) => {
                let _ = library.flush(&mut pipe);
                return Some(Heard::Closed(CloseReason::Remote(frame.map_or(1005, |frame| frame.code.into()))));
            }
            Ok(Message::Frame(_)) => return None,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => return Some(self.refuse(fault(&error))),
        }))
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

    /// Queues a message. After a close frame nothing is sent (RFC 6455, 5.5.1).
    pub(super) fn send(&mut self, frame: Frame, out: &mut Out) -> Result<(), Full> {
        let len = frame.len();
        if out.len() + len + FRAME_BYTES > DRIVER_WAITING_BYTES {
            return Err(Full);
        }
        if self.library.as_ref().is_some_and(|library| !library.can_write()) {
            return Ok(());
        }
        let counted = matches!(frame, Frame::Text(_) | Frame::Binary(_));
        let (opcode, payload) = match frame {
            Frame::Text(text) => (OpCode::Data(Data::Text), text.into()),
            Frame::Binary(bytes) => (OpCode::Data(Data::Binary), bytes),
            Frame::Ping => (OpCode::Control(Control::Ping), Bytes::new()),
            Frame::Pong => (OpCode::Control(Control::Pong), Bytes::new()),
        };
        match self.role {
            Role::Server => out.push_frame(opcode, payload, counted),
            // A client masks, with random numbers of tungstenite's.
            Role::Client => {
                let mut pipe = Pipe { input: &mut &[][..], out, replying: false };
                let frame = Wire::from_payload(FrameHeader { opcode, ..FrameHeader::default() }, payload);
                if self.library().write(&mut pipe, Message::Frame(frame)).is_ok() && counted {
                    out.mark(len);
                }
            }
        }
        Ok(())
    }

    /// Queues the close frame.
    pub(super) fn close(&mut self, code: u16, reason: &str, out: &mut Out) {
        let fits = |end: &usize| reason.is_char_boundary(*end);
        let end = (0..=reason.len().min(CLOSE_REASON_BYTES)).rev().find(fits).unwrap_or(0);
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason[..end].into() };
        let mut pipe = Pipe { input: &mut &[][..], out, replying: false };
        let _ = self.library().close(&mut pipe, Some(frame));
        self.closing = true;
    }
}

fn fault(error: &Error) -> FrameFault {
    match error {
        Error::Capacity(_) => FrameFault::TooBig,
        Error::Utf8(_) => FrameFault::NotUtf8,
        _ => FrameFault::Protocol,
    }
}
