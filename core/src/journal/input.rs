//! Inputs as bytes. A request travels as HTTP: so what is read back is what [`http::parse`] lets in, and nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::wire::{Broken, Reader, Writer};
use crate::http::{self, HeadError, Parsed, Request};
use crate::machine::{CloseReason, ConnId, Frame, FrameFault, Input, ListenerId, Utf8Bytes};
use crate::server::ServerCommand;

const ACCEPTED: u64 = 2;
const REQUEST: u64 = 3;
const MALFORMED: u64 = 4;
const HEAD_TOO_LARGE: u64 = 5;
const BODY_TOO_LARGE: u64 = 6;
const TEXT: u64 = 7;
const BINARY: u64 = 8;
const PING: u64 = 9;
const PONG: u64 = 10;
const HEARD: u64 = 11;
const FAULT: u64 = 12;
const SENT: u64 = 13;
const CLOSED_BY_REMOTE: u64 = 14;
const CLOSED_EOF: u64 = 15;
const CLOSED_BY_US: u64 = 16;
const CLOSED_BY_ERROR: u64 = 17;
const DRAIN: u64 = 18;
const TIMEOUT: u64 = 19;

/// How faults are numbered.
const FAULTS: [FrameFault; 3] = [FrameFault::TooBig, FrameFault::NotUtf8, FrameFault::Protocol];

/// What a driver reports as sent at once is less: sums stay in range.
const MOST_SENT: usize = 1 << 40;

/// `None`: an input that a server has no use for.
pub(super) fn write(to: &mut Writer, after: Duration, input: &Input<'_, ServerCommand>) -> Option<()> {
    let mut begin = |tag: u64, conn: Option<&ConnId>| {
        to.number(tag);
        to.time(after);
        if let Some(conn) = conn {
            to.number(conn.0);
        }
    };
    match input {
        Input::Timeout => begin(TIMEOUT, None),
        Input::Command(ServerCommand::Drain) => begin(DRAIN, None),
        Input::Accepted { conn, listener, remote } => {
            begin(ACCEPTED, Some(conn));
            to.number(listener.0.into());
            to.address(*remote);
        }
        Input::Request { conn, request } => {
            begin(REQUEST, Some(conn));
            to.bytes_of(&as_http(request));
        }
        Input::BadRequest { conn, error: HeadError::Malformed(why) } => {
            begin(MALFORMED, Some(conn));
            to.text(why);
        }
        Input::BadRequest { conn, error: HeadError::TooLarge } => begin(HEAD_TOO_LARGE, Some(conn)),
        Input::BadRequest { conn, error: HeadError::BodyTooLarge } => begin(BODY_TOO_LARGE, Some(conn)),
        Input::Frame { conn, frame: Frame::Text(text) } => {
            begin(TEXT, Some(conn));
            to.text(text);
        }
        Input::Frame { conn, frame: Frame::Binary(bytes) } => {
            begin(BINARY, Some(conn));
            to.bytes_of(bytes);
        }
        Input::Frame { conn, frame: Frame::Ping } => begin(PING, Some(conn)),
        Input::Frame { conn, frame: Frame::Pong } => begin(PONG, Some(conn)),
        Input::Heard { conn } => begin(HEARD, Some(conn)),
        Input::Fault { conn, fault } => {
            begin(FAULT, Some(conn));
            to.size(FAULTS.iter().position(|known| known == fault)?);
        }
        Input::Sent { conn, messages, len } => {
            begin(SENT, Some(conn));
            to.size(*messages);
            to.size(*len);
        }
        Input::Closed { conn, reason: CloseReason::Remote(code) } => {
            begin(CLOSED_BY_REMOTE, Some(conn));
            to.number((*code).into());
        }
        Input::Closed { conn, reason: CloseReason::Eof } => begin(CLOSED_EOF, Some(conn)),
        Input::Closed { conn, reason: CloseReason::Local } => begin(CLOSED_BY_US, Some(conn)),
        Input::Closed { conn, reason: CloseReason::Error(error) } => {
            begin(CLOSED_BY_ERROR, Some(conn));
            to.text(error);
        }
        Input::Dialed { .. }
        | Input::DialFailed { .. }
        | Input::Got { .. }
        | Input::Datagram { .. }
        | Input::FileRead { .. }
        | Input::FileWritten { .. } => return None,
    }
    Some(())
}

/// The input with this tag, and how long after the one before it.
pub(super) fn read(from: &mut Reader<'_>, tag: u64) -> Result<(Duration, Input<'static, ServerCommand>), Broken> {
    if !(ACCEPTED..=TIMEOUT).contains(&tag) {
        return Err(Broken("an input of a kind that this version does not know"));
    }
    let after = from.time()?;
    let conn = match tag {
        DRAIN => return Ok((after, Input::Command(ServerCommand::Drain))),
        TIMEOUT => return Ok((after, Input::Timeout)),
        _ => conn(from)?,
    };
    let input = match tag {
        ACCEPTED => Input::Accepted { conn, listener: ListenerId(from.small()?), remote: remote(from)? },
        REQUEST => Input::Request { conn, request: of_http(from.bytes_of()?)? },
        MALFORMED => Input::BadRequest { conn, error: HeadError::Malformed(from.text()?.to_owned().into()) },
        HEAD_TOO_LARGE => Input::BadRequest { conn, error: HeadError::TooLarge },
        BODY_TOO_LARGE => Input::BadRequest { conn, error: HeadError::BodyTooLarge },
        TEXT => Input::Frame { conn, frame: Frame::Text(Utf8Bytes::from(from.text()?)) },
        BINARY => Input::Frame { conn, frame: Frame::Binary(Bytes::copy_from_slice(from.bytes_of()?)) },
        PING => Input::Frame { conn, frame: Frame::Ping },
        PONG => Input::Frame { conn, frame: Frame::Pong },
        HEARD => Input::Heard { conn },
        FAULT => {
            let fault = FAULTS.get(from.small::<usize>()?).copied().ok_or(Broken("an unknown fault"))?;
            Input::Fault { conn, fault }
        }
        SENT => Input::Sent { conn, messages: sent(from)?, len: sent(from)? },
        CLOSED_BY_REMOTE => Input::Closed { conn, reason: CloseReason::Remote(from.small()?) },
        CLOSED_EOF => Input::Closed { conn, reason: CloseReason::Eof },
        CLOSED_BY_US => Input::Closed { conn, reason: CloseReason::Local },
        _ => Input::Closed { conn, reason: CloseReason::Error(from.text()?.to_owned().into()) },
    };
    Ok((after, input))
}

/// A driver's connection: no session of the machine's own.
fn conn(from: &mut Reader<'_>) -> Result<ConnId, Broken> {
    Some(ConnId(from.number()?)).filter(|conn| !conn.is_session()).ok_or(Broken("a connection that no driver has"))
}

fn sent(from: &mut Reader<'_>) -> Result<usize, Broken> {
    Some(from.small()?).filter(|count| *count <= MOST_SENT).ok_or(Broken("a number out of range"))
}

fn remote(from: &mut Reader<'_>) -> Result<SocketAddr, Broken> {
    from.address()
}

/// Never longer than what was parsed: no space where none has to be.
fn as_http(request: &Request) -> Vec<u8> {
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let closes = request.list("connection").any(|option| option.eq_ignore_ascii_case("close"));
    let minor = if request.keep_alive || closes { 1 } else { 0 };
    let mut head = format!("{} {}{query} HTTP/1.{minor}\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        head.extend([name, ":", value, "\r\n"]);
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&request.body);
    bytes
}

fn of_http(bytes: &[u8]) -> Result<Request, Broken> {
    match http::parse(bytes) {
        Parsed::Complete(request, taken) if taken == bytes.len() => Ok(request),
        _ => Err(Broken("a request that no server takes")),
    }
}
