//! An open WebSocket: bytes to messages and back, in memory.

use std::io;

use enishi_core::limits::{CLOSE_REASON_BYTES, DRIVER_WAITING_BYTES};
use enishi_core::machine::{CloseReason, Frame, FrameFault};
use tungstenite::protocol::frame::Frame as Wire;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Error};

use super::wire::{Out, Pipe};

/// tungstenite's own read buffer: all that an idle connection holds. It is fed from memory, so a small one costs no
/// system calls.
const READ_BUFFER_BYTES: usize = 1024;

/// More than the longest frame header (RFC 6455, 5.2: 14 bytes).
const FRAME_BYTES: usize = 16;

/// tungstenite and what it does not tell.
pub(super) struct Talk {
    context: WebSocketContext,
    role: Role,
    /// Our close frame is sent.
    pub(super) closing: bool,
    /// The remote broke the protocol: nothing is read any more.
    pub(super) faulty: bool,
}

/// What [`Talk::next`] found.
pub(super) enum Heard {
    /// No whole message in all that came.
    Nothing,
    Frame(Frame),
    Fault(FrameFault),
    Closed(CloseReason),
}

/// More than [`DRIVER_WAITING_BYTES`] would wait.
pub(super) struct Full;

impl Talk {
    pub(super) fn new(role: Role, max_message_bytes: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(max_message_bytes))
            .max_frame_size(Some(max_message_bytes));
        Talk { context: WebSocketContext::new(role, Some(config)), role, closing: false, faulty: false }
    }

    /// The next message in `chunk`. Pings and close frames are answered into `out`.
    pub(super) fn next(&mut self, chunk: &mut &[u8], out: &mut Out) -> Heard {
        while !self.faulty {
            let mut pipe = Pipe { input: chunk, out, replying: true };
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
                    return Heard::Closed(CloseReason::Remote(frame.map_or(1005, |frame| frame.code.into())));
                }
                Ok(Message::Frame(_)) => continue,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
                Err(error) => {
                    self.faulty = true;
                    return if self.closing { Heard::Closed(CloseReason::Local) } else { Heard::Fault(fault(&error)) };
                }
            };
            if !self.closing {
                return Heard::Frame(frame);
            }
        }
        Heard::Nothing
    }

    /// Queues a message. After a close frame nothing is sent (RFC 6455, 5.5.1).
    pub(super) fn send(&mut self, frame: Frame, out: &mut Out) -> Result<(), Full> {
        let len = frame.len();
        if out.len() + len + FRAME_BYTES > DRIVER_WAITING_BYTES {
            return Err(Full);
        }
        if !self.context.can_write() {
            return Ok(());
        }
        let counted = matches!(frame, Frame::Text(_) | Frame::Binary(_));
        let frame = match frame {
            Frame::Text(text) => Wire::message(text, OpCode::Data(Data::Text), true),
            Frame::Binary(bytes) => Wire::message(bytes, OpCode::Data(Data::Binary), true),
            Frame::Ping => Wire::ping(Bytes::new()),
            Frame::Pong => Wire::pong(Bytes::new()),
        };
        let mut pipe = Pipe { input: &mut &[][..], out, replying: false };
        // A server's frame is not masked, so tungstenite's own buffer, which keeps its size, can be left out.
        let written = match self.role {
            Role::Server => frame.format(&mut pipe),
            Role::Client => self.context.write(&mut pipe, Message::Frame(frame)),
        };
        if counted && written.is_ok() {
            out.mark(len);
        }
        Ok(())
    }

    /// Queues the close frame.
    pub(super) fn close(&mut self, code: u16, reason: &str, out: &mut Out) {
        let fits = |end: &usize| reason.is_char_boundary(*end);
        let end = (0..=reason.len().min(CLOSE_REASON_BYTES)).rev().find(fits).unwrap_or(0);
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason[..end].into() };
        let mut pipe = Pipe { input: &mut &[][..], out, replying: false };
        let _ = self.context.close(&mut pipe, Some(frame));
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
