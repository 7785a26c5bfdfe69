//! What raw clients say: words of every dialect, garbage, floods, and ids that are not theirs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use enishi_core::dialect::Dialect;
use enishi_core::machine::Frame;
use serde_json::json;

use crate::sim::plan::{AGENTS, agent_name, room_name};
use crate::sim::text_frame;

/// Something that a raw client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Connects and registers, in a dialect.
    Hello(Dialect),
    /// The same under the id of an agent.
    Impostor(u8),
    /// Enters a room.
    Join(u8),
    /// Says something to a room that it may be in.
    Shout(u8),
    /// Sends an offer, an answer, a candidate or data to an agent.
    Call(Dialect, u8),
    /// Sends what is no message of any dialect.
    Garbage(u8),
    /// Sends so many messages at once.
    Flood(u8),
    /// Sends a long message.
    Long(u8),
    /// Sends a request that opens no WebSocket.
    Http(u8),
}

impl Word {
    /// One for any two bytes.
    pub fn from_bytes(kind: u8, what: u8) -> Self {
        let dialect = Dialect::ALL[usize::from(what) % Dialect::ALL.len()];
        match kind % 16 {
            0..4 => Word::Hello(dialect),
            4 => Word::Impostor(what),
            5..7 => Word::Join(what),
            7..9 => Word::Shout(what),
            9..12 => Word::Call(dialect, what),
            12 => Word::Garbage(what),
            13 => Word::Flood(what),
            14 => Word::Long(what),
            _ => Word::Http(what),
        }
    }
}

/// What is to be done for a word.
#[derive(Debug, Default)]
pub struct Said {
    /// Connect to this path first.
    pub path: Option<String>,
    /// Send this request first.
    pub head: Option<String>,
    /// Then send these.
    pub frames: Vec<Frame>,
    /// With them somebody enters a room: which, who.
    pub joins: Option<(String, String)>,
}

/// Texts that are no messages, or only nearly.
const GARBAGE: [&str; 12] = [
    "",
    "{",
    "[]",
    "null",
    "{\"type\":7}",
    "{\"type\":\"offer\",\"to\":\"a0\",\"to\":\"a1\",\"sdp\":\"\"}",
    "{\"type\":\"hello\",\"id\":\"\\u0000\"}",
    "{\"Type\":\"sdp\",\"Raw\":\"%%%\"}",
    "{\"type\":\"join\",\"peer_id\":\"\",\"room_id\":\"\"}",
    "42[\"message\"",
    "5:::{\"name\":",
    "{\"id\":\"m\",\"type\":\"sdp\",\"data\":{\"from_id\":\"a0\",\"to_id\":\"a1\",\"session_description\":{\"type\":\"offer\",\"sdp\":\"x\"}}}",
];

/// Requests that open no WebSocket.
const HEADS: [&str; 6] = [
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /stats HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST /ws HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 7\r\n\r\n",
    "GET /ws HTTP/1.1\r\nHost: h\r\nOrigin: https://evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "BREW \x01 HTTP/9.9\r\n\r\n",
];

/// What a raw client does for a word.
pub fn words(name: &str, word: Word) -> Said {
    match word {
        Word::Hello(dialect) => hello(dialect, name),
        Word::Impostor(agent) => hello(Dialect::Enishi, &agent_name(usize::from(agent) % AGENTS)),
        Word::Join(room) => {
            let room = room_name(room);
            let frames = vec![text_frame(json!({"type": "join", "room": room}).to_string())];
            Said { frames, joins: Some((room, name.to_owned())), ..Said::default() }
        }
        Word::Shout(room) => {
            let (room, text) = (room_name(room), format!("room/{}/{name}", room_name(room)));
            let shout = json!({"type": "data", "room": room, "label": "chat", "text": text});
            Said { frames: vec![text_frame(shout.to_string())], ..Said::default() }
        }
        Word::Call(dialect, agent) => Said { frames: call(dialect, name, agent), ..Said::default() },
        Word::Garbage(which) => {
            let text = GARBAGE[usize::from(which) % GARBAGE.len()];
            let binary = Frame::Binary(text.as_bytes().to_vec().into());
            Said { frames: vec![if which & 64 == 0 { text_frame(text) } else { binary }], ..Said::default() }
        }
        Word::Flood(count) => {
            let text = json!({"type": "data", "to": agent_name(usize::from(count) % 4), "text": "flood"}).to_string();
            Said { frames: vec![text_frame(text); 20 + usize::from(count) * 2], ..Said::default() }
        }
        Word::Long(kilobytes) => {
            let text = "x".repeat(usize::from(kilobytes) * 1000);
            let long = json!({"type": "data", "to": agent_name(usize::from(kilobytes) % 4), "text": text});
            Said { frames: vec![text_frame(long.to_string())], ..Said::default() }
        }
        Word::Http(which) => {
            let head = HEADS[usize::from(which) % HEADS.len()];
            Said { head: Some(head.to_owned()), ..Said::default() }
        }
    }
}

fn hello(dialect: Dialect, id: &str) -> Said {
    let text = match dialect {
        Dialect::Enishi => json!({"type": "hello", "id": id}),
        Dialect::ConicA => json!({"Type": "register", "Raw": null}),
        Dialect::ConicB => json!({"type": "register", "raw": null}),
        Dialect::ConicC => json!({"type": "register_request", "data": {"client_id": id}}),
        Dialect::Zenn => json!({"type": "connect", "id": id}),
        Dialect::Mesh => json!({"type": "join", "peer_id": id, "room_id": "r1"}),
        Dialect::SocketIo | Dialect::SocketIo09 | Dialect::TonyBai => json!(null),
    };
    let (path, frame) = match dialect {
        Dialect::SocketIo => ("/socket.io/?EIO=4&transport=websocket", text_frame("40")),
        Dialect::SocketIo09 => ("/socket.io/1/websocket/1", text_frame("1::")),
        Dialect::TonyBai => ("/register", tonybai(1, id, "", None)),
        _ => ("/ws", text_frame(text.to_string())),
    };
    let joins = (dialect == Dialect::Mesh).then(|| ("r1".to_owned(), id.to_owned()));
    Said { path: Some(path.to_owned()), frames: vec![frame], joins, ..Said::default() }
}

fn call(dialect: Dialect, from: &str, what: u8) -> Vec<Frame> {
    let to = agent_name(usize::from(what >> 4) % AGENTS);
    let kind = if what & 8 == 0 { "offer" } else { "answer" };
    let description = json!({"type": kind, "sdp": "v=0\r\n"});
    let raw = |inner: serde_json::Value| STANDARD.encode(inner.to_string());
    let text = match dialect {
        Dialect::Enishi if what & 4 == 0 => json!({"type": kind, "to": to, "sdp": "v=0\r\n"}),
        Dialect::Enishi => json!({"type": "data", "to": to, "text": "hi"}),
        Dialect::ConicA => json!({"Type": "sdp",
            "Raw": raw(json!({"ID": from, "TargetID": to, "SessionDescription": description}))}),
        Dialect::ConicB => json!({"type": "sdp",
            "raw": raw(json!({"id": from, "target_id": to, "session_description": description}))}),
        Dialect::ConicC => json!({"id": "m", "type": "sdp",
            "data": {"from_id": from, "to_id": to, "session_description": description}}),
        Dialect::Zenn => json!({"type": kind, "id": from, "target_id": to, "sdp": description}),
        Dialect::Mesh => json!({"type": kind, "target": to, kind: description}),
        Dialect::TonyBai => {
            return vec![tonybai(if kind == "offer" { 3 } else { 2 }, from, &to, Some(description.to_string()))];
        }
        Dialect::SocketIo => return vec![text_frame(format!("42{}", json!(["message", description])))],
        Dialect::SocketIo09 => return vec![text_frame(format!("4:::{description}"))],
    };
    vec![text_frame(text.to_string())]
}

fn tonybai(command: u8, source: &str, target: &str, body: Option<String>) -> Frame {
    let body = body.map(|body| STANDARD.encode(body));
    let payload = STANDARD.encode(json!({"source": source, "target": target, "body": body}).to_string());
    Frame::Binary(json!({"command": command, "payload": payload}).to_string().into_bytes().into())
}
