//! A machine that tells everything it hears and does what it is told.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use enishi_core::http::upgrade::upgrade;
use enishi_core::http::{HeadError, Request, Response};
use enishi_core::machine::{
    CloseReason, ConnId, Deadline, DialId, FileError, FileOp, Frame, FrameFault, Input, ListenerId, Machine, Output,
};

/// The longest message that its connections take.
pub const MESSAGE_BYTES: usize = 100_000;

pub enum Command {
    /// Do this, then tell [`News::Done`].
    Act(Vec<Output<News>>),
    /// Tell [`News::Timer`] after each of these times.
    Timers(Vec<Duration>),
}

/// An input, owned.
#[derive(Debug, PartialEq)]
pub enum News {
    Accepted(ConnId, ListenerId, SocketAddr),
    Request(ConnId, Request),
    BadRequest(ConnId, HeadError),
    Frame(ConnId, Frame),
    Heard(ConnId),
    Fault(ConnId, FrameFault),
    Sent(ConnId, usize, usize),
    Closed(ConnId, CloseReason),
    Dialed(DialId, ConnId, Option<String>),
    DialFailed(DialId, String),
    Got(DialId, String),
    FileRead(FileOp, Result<Bytes, FileError>),
    FileWritten(FileOp, Result<(), FileError>),
    Datagram {
        local: SocketAddr,
        remote: SocketAddr,
        bytes: Vec<u8>,
    },
    /// Due at, told at.
    Timer(Instant, Instant),
    Done,
    Stop,
}

/// Answers requests by their path: `/ws` is upgraded, `/hold` is left alone, `/close` closes, anything else is told
/// back. Says text and binary messages back; after the text "pause" it reads no more.
#[derive(Default)]
pub struct Scripted {
    outputs: VecDeque<Output<News>>,
    timers: BTreeSet<Instant>,
}

impl Machine for Scripted {
    type Command = Command;
    type Notice = News;

    fn handle_input(&mut self, now: Instant, input: Input<'_, Command>) {
        assert!(self.outputs.is_empty(), "outputs are drained before the next input");
        let news = match input {
            Input::Timeout => {
                while let Some(due) = self.timers.first().copied().filter(|due| *due <= now) {
                    self.timers.remove(&due);
                    self.tell(News::Timer(due, now));
                }
                return;
            }
            Input::Accepted { conn, listener, remote } => News::Accepted(conn, listener, remote),
            Input::Request { conn, request } => {
                self.answer(conn, &request);
                News::Request(conn, request)
            }
            Input::BadRequest { conn, error } => {
                self.outputs.push_back(Output::Respond { conn, response: error.response() });
                News::BadRequest(conn, error)
            }
            Input::Frame { conn, frame } => {
                match &frame {
                    Frame::Text(text) if text.as_str() == "pause" => {
                        self.outputs.push_back(Output::Read { conn, on: false });
                    }
                    Frame::Text(_) | Frame::Binary(_) => {
                        self.outputs.push_back(Output::Send { conn, frame: frame.clone() });
                    }
                    Frame::Ping | Frame::Pong => {}
                }
                News::Frame(conn, frame)
            }
            Input::Heard { conn } => News::Heard(conn),
            Input::Fault { conn, fault } => {
                let code = match fault {
                    FrameFault::TooBig => 1009,
                    FrameFault::NotUtf8 => 1007,
                    FrameFault::Protocol => 1002,
                };
                self.outputs.push_back(Output::Close { conn, code, reason: "fault".into() });
                News::Fault(conn, fault)
            }
            Input::Sent { conn, messages, len } => News::Sent(conn, messages, len),
            Input::Closed { conn, reason } => News::Closed(conn, reason),
            Input::Dialed { dial, conn, protocol } => News::Dialed(dial, conn, protocol),
            Input::Got { dial, answer } => News::Got(dial, answer),
            Input::DialFailed { dial, error } => News::DialFailed(dial, error),
            Input::Datagram { local, remote, bytes } => News::Datagram { local, remote, bytes: bytes.to_vec() },
            Input::FileRead { op, result } => News::FileRead(op, result),
            Input::FileWritten { op, result } => News::FileWritten(op, result),
            Input::Command(Command::Act(outputs)) => {
                self.outputs.extend(outputs);
                News::Done
            }
            Input::Command(Command::Timers(after)) => {
                self.timers.extend(after.into_iter().map(|after| now + after));
                News::Done
            }
        };
        self.tell(news);
    }

    fn poll_output(&mut self) -> Option<Output<News>> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.first().map(|at| Deadline { at: *at, why: "a scripted timer" })
    }
}

impl Scripted {
    fn tell(&mut self, news: News) {
        self.outputs.push_back(Output::Notice(news));
    }

    fn answer(&mut self, conn: ConnId, request: &Request) {
        if request.path == "/hold" {
            return;
        }
        if request.path == "/ws" {
            let response = match upgrade(request) {
                Ok(upgrade) => upgrade.accept(None),
                Err(response) => return self.outputs.push_back(Output::Respond { conn, response }),
            };
            return self.outputs.push_back(Output::Upgrade { conn, response, max_message_bytes: MESSAGE_BYTES });
        }
        let response = answer(&request.path, request.path == "/close" || !request.keep_alive);
        self.outputs.push_back(Output::Respond { conn, response });
    }
}

/// A plain answer.
pub fn answer(body: &str, close: bool) -> Response {
    let body = Bytes::copy_from_slice(body.as_bytes());
    Response { status: 200, headers: Vec::new(), body, close, head_only: false }
}
