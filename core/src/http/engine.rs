//! Engine.IO's sessions, and 0.9's: what makes one connection of many requests, or of a WebSocket, or of one after
//! the other.
//!
//! A [`Session`] knows its packets' first character and no more: heartbeats, the upgrade and the end are its own,
//! messages go on to the dialect. It is told of requests and frames, and pushes [`Effect`]s.
//!
//! | | opens with | who asks whether the other is there | silence, then dead |
//! |---|---|---|---|
//! | 0.9 | handshake, then `1::` | server, `2::` 25 s after the last answer | 60 s |
//! | Engine.IO 3 | `0{…}`, `40` | client, `2`, answered by `3` | 45 s |
//! | Engine.IO 4 | `0{…}` | server, `2` 25 s after the last `3` | 20 s |
//!
//! The original's session ids are its clients' names. Here a session's id is a secret, since who has it can read and
//! write in the client's place; in 0.9 the name stands before it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Request, Response};
use crate::dialect::socketio::Version;
use crate::limits::BODY_BYTES;
use crate::machine::{ConnId, Frame};
use crate::signal::Departure;

mod ask;
mod payload;
#[cfg(test)]
mod tests;

pub use ask::{Ask, EngineError, ask};

/// From one sign of life to the question for the next.
const PING_INTERVAL: Duration = Duration::from_secs(25);

/// From that question to the end; Engine.IO.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Engine.IO 3: how long a client may say nothing.
const SILENCE: Duration = PING_INTERVAL.saturating_add(PING_TIMEOUT);

/// From the question to the end in 0.9, and the time that a client has to come after its handshake. Told in the handshake.
const LEGACY_TIMEOUT: Duration = Duration::from_secs(60);

/// 0.9: how long a poll may wait for something.
const LEGACY_POLL: Duration = Duration::from_secs(20);

/// The small client that is served.
const SCRIPT: &str = include_str!("engine/socket.io.js");

/// 0.9: that session is not known (any more); connect anew.
pub const NOT_HANDSHAKEN: &str = "7:::1+0";

/// A session.
#[derive(Debug)]
pub struct Session {
    version: Version,
    carrier: Carrier,
    /// A WebSocket that wants to become the carrier and has not said `5` yet.
    probe: Option<ConnId>,
    /// The probe was answered: polls are not kept waiting, so that the client can change over.
    probed: bool,
    /// Packets that wait for a poll.
    queue: VecDeque<Frame>,
    poll: Option<Pending>,
    /// A post whose answer waits until the client may send more.
    post: Option<Pending>,
    /// Until all packets of an input are there, none leaves.
    corked: bool,
    reading: bool,
    /// 0.9: no transport has come yet.
    fresh: bool,
    /// When something is due from the client, or from us if `asked` is not set.
    due: Instant,
    asked: bool,
    poll_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Polling,
    Socket(ConnId),
}

/// A request that is not answered yet.
#[derive(Debug)]
struct Pending {
    conn: ConnId,
    /// All of the answer but its body.
    answer: Response,
}

/// What a session wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// A packet came: the client is there, and may be too fast.
    Heard,
    /// A message of the client's.
    Message(Frame),
    /// Tell the client, in its turn: comes back by [`Session::deliver`].
    Say(Frame),
    /// All messages of this input are pushed: call [`Session::settle`].
    Settle,
    /// Send on a WebSocket.
    Send(ConnId, Frame),
    /// Answer a request.
    Answer(ConnId, Response),
    /// Packets with so many bytes left with an answer.
    Left {
        /// How many.
        messages: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// Read from a WebSocket, or do not.
    Read(ConnId, bool),
    /// Close a WebSocket.
    Close(ConnId, u16, String),
    /// Drop a WebSocket.
    Drop(ConnId),
    /// The session is over; with a close code where the client is there to hear of it.
    Over {
        /// Why, for the others.
        why: Departure,
        /// RFC 6455, 7.4.
        code: Option<u16>,
        /// For the log and the close frame.
        reason: &'static str,
    },
}

impl Session {
    /// A session that nobody has used yet, carried by polling until [`Session::socket`].
    pub fn new(now: Instant, version: Version) -> Self {
        let (due, asked) = match version {
            Version::Legacy => (after(now, LEGACY_TIMEOUT), true),
            Version::Three => (after(now, SILENCE), true),
            Version::Four => (after(now, PING_INTERVAL), false),
        };
        Session {
            version,
            carrier: Carrier::Polling,
            probe: None,
            probed: false,
            queue: VecDeque::new(),
            poll: None,
            post: None,
            corked: false,
            reading: true,
            fresh: version == Version::Legacy,
            due,
            asked,
            poll_until: None,
        }
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether this WebSocket carries it: what left there was the session's.
    pub fn is_on(&self, conn: ConnId) -> bool {
        self.carrier == Carrier::Socket(conn)
    }

    /// The first packets of a session of Engine.IO. `greeting` is what the dialect hears first, if the client does not
    /// say it by itself.
    pub fn open(&mut self, sid: &str, greeting: Option<Frame>, fx: &mut Vec<Effect>) {
        let upgrades = if self.carrier == Carrier::Polling { r#""websocket""# } else { "" };
        let (interval, timeout) = (PING_INTERVAL.as_millis(), PING_TIMEOUT.as_millis());
        let payload = match self.version {
            Version::Four => format!(r#","maxPayload":{BODY_BYTES}"#),
            _ => String::new(),
        };
        let open = format!(
            r#"0{{"sid":"{sid}","upgrades":[{upgrades}],"pingInterval":{interval},"pingTimeout":{timeout}{payload}}}"#
        );
        self.corked = true;
        fx.push(Effect::Say(Frame::text(open)));
        fx.extend(greeting.map(Effect::Message));
        fx.push(Effect::Settle);
    }

    /// When [`Session::timeout`] is due next.
    pub fn next_timeout(&self) -> Instant {
        self.poll_until.map_or(self.due, |until| until.min(self.due))
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Instant, fx: &mut Vec<Effect>) {
        if self.poll_until.is_some_and(|until| until <= now) {
            self.answer_poll("8::", fx);
        }
        if self.due > now {
            return;
        }
        if std::mem::replace(&mut self.asked, true) {
            self.due = after(now, LEGACY_TIMEOUT); // never reached
            return fx.push(Effect::Over { why: Departure::Gone, code: None, reason: "no heartbeat" });
        }
        let (question, patience) = match self.version {
            Version::Legacy => ("2::", LEGACY_TIMEOUT),
            Version::Three | Version::Four => ("2", PING_TIMEOUT),
        };
        self.due = after(now, patience);
        fx.push(Effect::Say(Frame::text(question)));
    }

    /// A packet for the client.
    pub fn deliver(&mut self, frame: Frame, fx: &mut Vec<Effect>) {
        match self.carrier {
            Carrier::Socket(conn) => fx.push(Effect::Send(conn, frame)),
            Carrier::Polling => {
                self.queue.push_back(frame);
                self.flush(fx);
            }
        }
    }

    /// All messages of an input were taken.
    pub fn settle(&mut self, fx: &mut Vec<Effect>) {
        self.corked = false;
        self.flush(fx);
        if self.reading {
            self.answer_post(fx);
        }
    }

    /// Whether the client may send more.
    pub fn read(&mut self, on: bool, fx: &mut Vec<Effect>) {
        self.reading = on;
        match self.carrier {
            Carrier::Socket(conn) => fx.push(Effect::Read(conn, on)),
            Carrier::Polling if on && !self.corked => self.answer_post(fx),
            Carrier::Polling => {}
        }
    }

    /// The client asks what there is. `answer` is all of the answer but its body.
    pub fn poll(
        &mut self,
        now: Instant,
        conn: ConnId,
        answer: Response,
        greeting: Option<Frame>,
        fx: &mut Vec<Effect>,
    ) {
        if self.carrier != Carrier::Polling {
            return fx.push(Effect::Answer(conn, bad_request(&answer)));
        }
        match (self.poll.is_some(), self.version) {
            (false, _) => {}
            // The client gave up the one before.
            (true, Version::Legacy) => self.answer_poll("8::", fx),
            (true, _) => {
                fx.push(Effect::Answer(conn, bad_request(&answer)));
                return fx.push(over(1002, "two polls at once"));
            }
        }
        self.poll = Some(Pending { conn, answer });
        self.poll_until = (self.version == Version::Legacy).then(|| after(now, LEGACY_POLL));
        self.begin(now, greeting, fx);
        self.flush(fx);
        if self.probed {
            self.answer_poll("6", fx);
        }
    }

    /// The client posts packets.
    pub fn post(
        &mut self,
        now: Instant,
        conn: ConnId,
        answer: Response,
        body: &Bytes,
        greeting: Option<Frame>,
        fx: &mut Vec<Effect>,
    ) {
        if self.post.is_some() || self.carrier != Carrier::Polling {
            fx.push(Effect::Answer(conn, bad_request(&answer)));
            if self.post.is_some() {
                fx.push(over(1002, "two posts at once"));
            }
            return;
        }
        let packets = std::str::from_utf8(body).ok().and_then(|body| payload::decode(self.version, body));
        let Some(packets) = packets else {
            fx.push(Effect::Answer(conn, bad_request(&answer)));
            return fx.push(over(1002, "this is not a payload of Engine.IO"));
        };
        self.post = Some(Pending { conn, answer });
        self.corked = true;
        self.begin(now, greeting, fx);
        for packet in packets {
            self.packet(now, Frame::text(packet), fx);
        }
        fx.push(Effect::Settle);
    }

    /// A WebSocket for this session. `false`: there is one already.
    pub fn socket(&mut self, now: Instant, conn: ConnId, greeting: Option<Frame>, fx: &mut Vec<Effect>) -> bool {
        if self.carrier != Carrier::Polling {
            return false;
        }
        if self.version == Version::Legacy {
            self.take_over(conn, fx);
            self.begin(now, greeting, fx);
        } else {
            fx.extend(self.probe.replace(conn).map(Effect::Drop));
            self.probed = false;
        }
        true
    }

    /// The WebSocket with which a session of Engine.IO begins.
    pub fn begin_on(&mut self, conn: ConnId) {
        self.carrier = Carrier::Socket(conn);
    }

    /// A message on a WebSocket of this session.
    pub fn frame(&mut self, now: Instant, conn: ConnId, frame: Frame, fx: &mut Vec<Effect>) {
        if self.is_on(conn) {
            return self.packet(now, frame, fx);
        }
        let Frame::Text(text) = frame else { return };
        match text.as_str() {
            "2probe" if self.probe == Some(conn) && !self.probed => {
                self.probed = true;
                fx.push(Effect::Send(conn, Frame::text("3probe")));
                self.answer_poll("6", fx);
            }
            "5" if self.probe == Some(conn) && self.probed => self.take_over(conn, fx),
            _ if self.probe == Some(conn) => {
                self.forget(conn, fx);
                fx.push(Effect::Drop(conn));
            }
            _ => {}
        }
    }

    /// A connection that had to do with this session is gone.
    pub fn forget(&mut self, conn: ConnId, fx: &mut Vec<Effect>) {
        if self.is_on(conn) {
            self.carrier = Carrier::Polling; // there is nothing to close any more
            fx.push(Effect::Over { why: Departure::Gone, code: None, reason: "its connection is gone" });
        }
        if self.probe == Some(conn) {
            (self.probe, self.probed) = (None, false);
        }
        if self.poll.as_ref().is_some_and(|poll| poll.conn == conn) {
            (self.poll, self.poll_until) = (None, None);
        }
        if self.post.as_ref().is_some_and(|post| post.conn == conn) {
            self.post = None;
        }
    }

    /// Ends the session: with a close frame of this code and reason, or without a word. Nothing may be called after it.
    pub fn close(&mut self, goodbye: Option<(u16, String)>, fx: &mut Vec<Effect>) {
        self.corked = false;
        fx.extend(self.probe.take().map(Effect::Drop));
        match (self.carrier, goodbye) {
            (Carrier::Socket(conn), Some((code, reason))) => fx.push(Effect::Close(conn, code, reason)),
            (Carrier::Socket(conn), None) => fx.push(Effect::Drop(conn)),
            (Carrier::Polling, _) => {
                let last = if self.version == Version::Legacy { "0::" } else { "1" };
                self.queue.push_back(Frame::text(last));
                self.flush(fx);
            }
        }
        self.answer_post(fx);
    }

    /// 0.9: the first sign of a client after its handshake.
    fn begin(&mut self, now: Instant, greeting: Option<Frame>, fx: &mut Vec<Effect>) {
        if std::mem::take(&mut self.fresh) {
            (self.due, self.asked) = (after(now, PING_INTERVAL), false);
            fx.extend(greeting.map(Effect::Message));
        }
    }

    fn take_over(&mut self, conn: ConnId, fx: &mut Vec<Effect>) {
        let noop = if self.version == Version::Legacy { "8::" } else { "6" };
        self.answer_poll(noop, fx);
        self.answer_post(fx);
        (self.carrier, self.probe, self.probed) = (Carrier::Socket(conn), None, false);
        fx.extend(self.queue.drain(..).map(|frame| Effect::Send(conn, frame)));
        if !self.reading {
            fx.push(Effect::Read(conn, false));
        }
    }

    /// A packet from the client.
    fn packet(&mut self, now: Instant, frame: Frame, fx: &mut Vec<Effect>) {
        fx.push(Effect::Heard);
        let Frame::Text(text) = &frame else {
            if matches!(frame, Frame::Binary(_)) {
                fx.push(Effect::Message(frame));
            }
            return;
        };
        let text = text.as_str();
        if self.version == Version::Legacy {
            return match text {
                "2::" | "2:::" => (self.due, self.asked) = (after(now, PING_INTERVAL), false),
                "8::" => {}
                _ => fx.push(Effect::Message(frame)),
            };
        }
        if self.version == Version::Three {
            self.due = after(now, SILENCE);
        }
        match (text.chars().next(), self.version) {
            (Some('1'), _) => fx.push(Effect::Over { why: Departure::Left, code: Some(1000), reason: "goodbye" }),
            (Some('2'), Version::Three) => {
                let pong = text.replacen('2', "3", 1);
                fx.push(Effect::Say(Frame::text(pong)));
            }
            (Some('3'), Version::Four) => (self.due, self.asked) = (after(now, PING_INTERVAL), false),
            (Some('4'), _) => fx.push(Effect::Message(frame)),
            (Some('b'), _) => fx.push(Effect::Message(Frame::Binary(Bytes::copy_from_slice(text.as_bytes())))),
            (Some('0' | '5' | '6'), _) => {}
            _ => fx.push(over(1002, "this is not a packet of Engine.IO")),
        }
    }

    /// Answers a waiting poll with what waits for it.
    fn flush(&mut self, fx: &mut Vec<Effect>) {
        if self.corked || self.queue.is_empty() || self.carrier != Carrier::Polling {
            return;
        }
        let Some(Pending { conn, answer }) = self.poll.take() else { return };
        self.poll_until = None;
        let (mut messages, mut bytes) = (0_usize, 0_usize);
        for frame in &self.queue {
            if messages > 0 && bytes.saturating_add(frame.len()) > BODY_BYTES {
                break;
            }
            messages = messages.saturating_add(1);
            bytes = bytes.saturating_add(frame.len());
        }
        let frames: Vec<Frame> = self.queue.drain(..messages).collect();
        let texts: Vec<&str> = frames
            .iter()
            .filter_map(|frame| if let Frame::Text(text) = frame { Some(text.as_str()) } else { None })
            .collect();
        let body = payload::encode(self.version, texts.into_iter());
        fx.push(Effect::Answer(conn, Response { body: body.into(), ..answer }));
        fx.push(Effect::Left { messages, bytes });
    }

    /// Answers a waiting poll with one packet of the session's own.
    fn answer_poll(&mut self, packet: &str, fx: &mut Vec<Effect>) {
        self.poll_until = None;
        if let Some(Pending { conn, answer }) = self.poll.take() {
            let body = payload::encode(self.version, [packet].into_iter());
            fx.push(Effect::Answer(conn, Response { body: body.into(), ..answer }));
        }
    }

    fn answer_post(&mut self, fx: &mut Vec<Effect>) {
        if let Some(Pending { conn, answer }) = self.post.take() {
            let body = if self.version == Version::Legacy { "1" } else { "ok" };
            fx.push(Effect::Answer(conn, Response { body: body.into(), ..answer }));
        }
    }
}

/// The answer to a handshake of 0.9.
pub fn handshake(sid: &str, jsonp: Option<u32>) -> Response {
    let seconds = LEGACY_TIMEOUT.as_secs();
    let session = format!("{sid}:{seconds}:{seconds}:websocket,xhr-polling");
    match jsonp {
        None => text(session),
        Some(number) => script(format!(r#"io.j[{number}]("{session}");"#)),
    }
}

/// The answer to `GET /socket.io/`.
pub fn welcome() -> Response {
    text("Welcome to socket.io.")
}

/// The small client.
pub fn client_script() -> Response {
    // Pages of other origins load it, too.
    script(SCRIPT).with("Cross-Origin-Resource-Policy", "cross-origin")
}

/// The answer to a page that asks whether it may ask.
pub fn preflight(request: &Request) -> Response {
    let answer = text("").with("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    match request.header("access-control-request-headers") {
        Some(headers) => answer.with("Access-Control-Allow-Headers", headers.to_owned()),
        None => answer,
    }
}

/// Text as the original's answers have it.
pub fn text(text: impl Into<Bytes>) -> Response {
    Response::new(200, "text/plain; charset=UTF-8", text)
}

fn script(text: impl Into<Bytes>) -> Response {
    Response::new(200, "application/javascript; charset=UTF-8", text)
}

/// The error in place of an answer that was meant to be another.
fn bad_request(answer: &Response) -> Response {
    let error = EngineError::BadRequest.response();
    let json = error.headers.iter().find(|(name, _)| *name == "Content-Type").map(|(_, value)| value.clone());
    let answer = Response { status: error.status, body: error.body, ..answer.clone() };
    match json {
        Some(json) => answer.with("Content-Type", json),
        None => answer,
    }
}

/// The end of a wait. The clock's own end is some hundred years away.
fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or(now)
}

fn over(code: u16, reason: &'static str) -> Effect {
    Effect::Over { why: Departure::Gone, code: Some(code), reason }
}
