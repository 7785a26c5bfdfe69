//! What an agent tells, as lines for people or as JSON. Pure. Text that came from a remote is escaped in both.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine;
use enishi_core::agent::{AgentNotice, MediaNotice};
use enishi_core::clock::rfc3339;
use enishi_core::escape::Escaped;
use enishi_core::peer::{ChannelSpec, ConnectionQuality, PeerFault, PeerState, PeerStats};
use enishi_core::signal::{Name, Payload, Refusal};
use serde_json::{Value, json};

use crate::args::Role;
use crate::render::demo::Demo;
use crate::render::media::Tally;
use crate::script::Ask;

pub mod demo;
pub mod media;
mod recording;

/// Bytes of a binary message that are shown to a person.
const SHOWN_BYTES: usize = 32;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is wrong.
    Warn,
    /// The state changed.
    Info,
    /// For who asks for details.
    Debug,
}

/// A line on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Data, for stdout.
    Data(String),
    /// A message, for stderr.
    Status(Level, String),
}

/// Renders notices of one agent.
#[derive(Debug)]
pub struct Renderer {
    /// JSON on stdout instead of text for people.
    pub json: bool,
    /// For what to type next.
    pub role: Role,
    /// Whom an offering peer offers to.
    pub has_target: bool,
    /// The id that was asked for; in some dialects the server chooses another.
    pub wanted: Option<String>,
    /// The room that it enters.
    pub room: Option<String>,
    /// The server, for what to try if it is not there.
    pub signal_url: String,
    /// The flags that another peer needs to meet this one, each with a space in front.
    pub flags: String,
    /// The demo that this peer gives, if its lines are to look like it; JSON has no other look.
    pub demo: Option<Demo>,
    /// What was received so far.
    pub tally: Tally,
}

type Peers = [(Name, PeerState, PeerStats)];

impl Renderer {
    /// The lines for a notice, at this Unix time. `ask` says what [`AgentNotice::Peers`] was asked for.
    pub fn notice(&mut self, unix: Duration, notice: &AgentNotice, ask: Option<Ask>) -> Vec<Line> {
        if ask == Some(Ask::Quietly) {
            return Vec::new();
        }
        self.tally.notice(notice);
        let mut lines = Vec::new();
        if self.json {
            lines.extend(event(unix, notice).map(|event| Line::Data(to_text(&event))));
            // What ends the program is said to a person as well; details are no events.
            if !matches!(notice, AgentNotice::SignalingLost { was_up: false, .. } | AgentNotice::Detail(_)) {
                return lines;
            }
        }
        if let Some(line) = self.demo.as_mut().and_then(|demo| demo.line(notice)) {
            lines.push(line);
            return lines;
        }
        match notice {
            AgentNotice::Message { id, label, payload } => {
                lines.push(Line::Data(format!("[{id}] {}: {}", Escaped(label), shown(payload))));
            }
            AgentNotice::Relayed { from, label, payload } => {
                lines.push(Line::Data(format!("[{from}] {} (relayed): {}", Escaped(label), shown(payload))));
            }
            AgentNotice::Listed(names) => lines.push(Line::Data(format!("registered: {}", joined(names)))),
            AgentNotice::Roster { room, members } => {
                lines.push(Line::Data(format!("room {room}: {}", joined(members))));
            }
            AgentNotice::Peers(peers) => lines.extend(match ask {
                Some(Ask::Channels) => channels(peers),
                Some(Ask::Stats) => stats(peers),
                _ => self::peers(peers),
            }),
            AgentNotice::Media(MediaNotice::Tracks { ours, theirs }) => lines.extend(match ask {
                Some(Ask::Summary) => self.tally.summary(theirs),
                _ => media::tracks(ours, theirs),
            }),
            AgentNotice::Registered { id, .. } => {
                if self.wanted.as_deref().is_some_and(|wanted| wanted != id.as_str()) {
                    lines.push(Line::Status(
                        Level::Warn,
                        "in this dialect the server chooses the id; --id counts for nothing".into(),
                    ));
                }
                lines.extend(self.status(notice));
            }
            notice => lines.extend(self.status(notice)),
        }
        lines
    }

    fn status(&self, notice: &AgentNotice) -> Option<Line> {
        let line = |level, text| Some(Line::Status(level, text));
        match notice {
            AgentNotice::Registered { id, resumed: true } => line(Level::Info, format!("registered again as {id}")),
            AgentNotice::Registered { id, resumed: false } => {
                line(Level::Info, format!("registered as {id}; {}", self.next(id)))
            }
            AgentNotice::SignalingLost { why, was_up: false, .. } => line(
                Level::Warn,
                format!(
                    "could not connect to {}: {}; start a server with `enishi signal`, or name another with --signal",
                    self.signal_url,
                    Escaped(why)
                ),
            ),
            AgentNotice::SignalingLost { why, retry: Some(retry), .. } => line(
                Level::Warn,
                format!("signaling server lost: {}; trying again in {:.1} s", Escaped(why), retry.as_secs_f64()),
            ),
            AgentNotice::SignalingLost { why, retry: None, .. } => {
                line(Level::Warn, format!("signaling server lost: {}; not trying again", Escaped(why)))
            }
            AgentNotice::Waiting { target } => line(Level::Info, format!("{target} is not there yet; waiting")),
            AgentNotice::Refused { refusal, to: Some(to) } => {
                line(Level::Warn, format!("refused, for {to}: {refusal}"))
            }
            AgentNotice::Refused { refusal: refusal @ Refusal::Unauthorized, .. } => {
                line(Level::Warn, format!("refused: {refusal}; give one with --token-file or ENISHI_TOKEN"))
            }
            AgentNotice::Refused { refusal, to: None } => line(Level::Warn, format!("refused: {refusal}")),
            AgentNotice::CommandFailed(why) | AgentNotice::Warning(why) => line(Level::Warn, Escaped(why).to_string()),
            AgentNotice::Peer { id, state } => line(Level::Info, format!("{id}: {}", state_word(*state))),
            AgentNotice::PeerFailed { id, fault } => {
                line(Level::Warn, format!("{id}: the connection failed: {}", fault_clause(fault)))
            }
            AgentNotice::ChannelOpened { id, spec } => {
                let label = Escaped(&spec.label);
                line(Level::Info, format!("{id}: channel {label} is open{}", promises(spec)))
            }
            AgentNotice::ChannelClosed { id, label } => {
                line(Level::Info, format!("{id}: channel {} is closed", Escaped(label)))
            }
            AgentNotice::Sent { id, label, payload } => {
                line(Level::Debug, format!("{id}: sent {} bytes on {}", payload.length(), Escaped(label)))
            }
            AgentNotice::Presence { room, id, here: true } => line(Level::Info, format!("{id} joined {room}")),
            AgentNotice::Presence { room, id, here: false } => line(Level::Info, format!("{id} left {room}")),
            AgentNotice::Recording(news) => Some(recording::status(news)),
            AgentNotice::Media(news) => media::status(news),
            AgentNotice::Detail(text) => line(Level::Debug, Escaped(text).to_string()),
            _ => None,
        }
    }

    /// What to type next.
    fn next(&self, id: &Name) -> String {
        if let Some(room) = &self.room {
            return format!("elsewhere type: enishi peer --room {}{}", quoted(room), self.flags);
        }
        match (self.role, self.has_target) {
            (Role::Answer, _) => {
                format!("elsewhere type: enishi peer --role offer --target {}{}", quoted(id.as_str()), self.flags)
            }
            (Role::Offer, true) => "once the channel is open, type: send <label> <text>".to_owned(),
            (Role::Offer, false) => "type: offer <id>".to_owned(),
        }
    }
}

/// The line of a message for stderr in `--log-format json`.
pub fn status_json(unix: Duration, level: Level, text: &str) -> String {
    let level = match level {
        Level::Warn => "WARN",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
    };
    to_text(&json!({ "timestamp": rfc3339(unix), "level": level, "message": text }))
}

/// The event of a notice, as docs/peer.md describes it.
fn event(unix: Duration, notice: &AgentNotice) -> Option<Value> {
    let (kind, mut event) = match notice {
        AgentNotice::Registered { id, resumed } => ("registered", json!({ "id": id.as_str(), "resumed": resumed })),
        AgentNotice::SignalingLost { why, retry, was_up } => {
            ("lost", json!({ "why": why, "retry_seconds": retry.map(|retry| retry.as_secs_f64()), "was_up": was_up }))
        }
        AgentNotice::Waiting { target } => ("waiting", json!({ "target": target.as_str() })),
        AgentNotice::Refused { refusal, to } => (
            "refused",
            json!({ "code": refusal.code(), "why": refusal.sentence(), "to": to.as_ref().map(Name::as_str) }),
        ),
        AgentNotice::CommandFailed(why) => ("command_failed", json!({ "why": why })),
        AgentNotice::Peer { id, state } => ("peer", json!({ "id": id.as_str(), "state": state_word(*state) })),
        AgentNotice::PeerFailed { id, fault } => {
            ("failed", json!({ "id": id.as_str(), "code": fault_code(fault), "why": fault_clause(fault) }))
        }
        AgentNotice::ChannelOpened { id, spec } => ("open", {
            let lifetime = spec.max_lifetime.map(|time| time.as_millis() as u64);
            json!({ "id": id.as_str(), "label": spec.label, "ordered": spec.ordered,
                    "max_retransmits": spec.max_retransmits, "max_lifetime_ms": lifetime })
        }),
        AgentNotice::ChannelClosed { id, label } => ("channel_closed", json!({ "id": id.as_str(), "label": label })),
        AgentNotice::Message { id, label, payload } => {
            ("message", with_payload(json!({ "id": id.as_str(), "label": label }), payload))
        }
        AgentNotice::Sent { id, label, payload } => {
            ("sent", json!({ "id": id.as_str(), "label": label, "bytes": payload.length() }))
        }
        AgentNotice::Relayed { from, label, payload } => {
            ("relayed", with_payload(json!({ "id": from.as_str(), "label": label }), payload))
        }
        AgentNotice::Roster { room, members } => {
            ("roster", json!({ "room": room.as_str(), "members": texts(members) }))
        }
        AgentNotice::Presence { room, id, here } => {
            (if *here { "joined" } else { "left" }, json!({ "room": room.as_str(), "id": id.as_str() }))
        }
        AgentNotice::Listed(names) => ("listed", json!({ "ids": texts(names) })),
        AgentNotice::Peers(peers) => ("peers", json!({ "peers": peers.iter().map(peer_json).collect::<Vec<_>>() })),
        AgentNotice::Ended => ("ended", json!({})),
        AgentNotice::Warning(why) => ("warning", json!({ "why": why })),
        AgentNotice::Recording(news) => recording::event(news),
        AgentNotice::Media(news) => media::event(news),
        AgentNotice::Detail(_) | AgentNotice::TurnServers(_) => return None,
    };
    event["type"] = kind.into();
    event["ts"] = rfc3339(unix).into();
    Some(event)
}

fn with_payload(mut event: Value, payload: &Payload) -> Value {
    match payload {
        Payload::Text(text) => event["text"] = text.as_str().into(),
        Payload::Binary(bytes) => {
            event["base64"] = base64::engine::general_purpose::STANDARD.encode(bytes).into();
        }
    }
    event
}

fn peer_json((id, state, stats): &(Name, PeerState, PeerStats)) -> Value {
    let channel = |channel: &enishi_core::peer::ChannelStats| {
        json!({ "label": channel.label, "open": channel.open, "messages_sent": channel.messages_sent,
                "bytes_sent": channel.bytes_sent, "messages_received": channel.messages_received,
                "bytes_received": channel.bytes_received, "buffered": channel.buffered })
    };
    json!({
        "id": id.as_str(),
        "state": state_word(*state),
        "local": stats.path.map(|(local, _)| local.to_string()),
        "remote": stats.path.map(|(_, remote)| remote.to_string()),
        "relayed": stats.relayed,
        "round_trip_ms": stats.round_trip.map(|time| time.as_secs_f64() * 1e3),
        "bytes_sent": stats.bytes_sent,
        "bytes_received": stats.bytes_received,
        "channels": stats.channels.iter().map(channel).collect::<Vec<_>>(),
        "quality": stats.quality(*state).map(ConnectionQuality::name),
        "bandwidth_bps": stats.bandwidth,
        "tracks": stats.tracks.iter().map(media::stats_json).collect::<Vec<_>>(),
    })
}

fn texts(names: &[Name]) -> Vec<&str> {
    names.iter().map(Name::as_str).collect()
}

/// JSON on one line, in which everything that could act on a terminal is written as `\u…`.
fn to_text(value: &Value) -> String {
    let mut text = String::new();
    // In JSON, such characters can only be inside of strings.
    for c in value.to_string().chars() {
        if c.is_ascii() && c != '\u{7f}' || !Escaped(c.encode_utf8(&mut [0; 4])).to_string().starts_with('\\') {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

fn peers(peers: &Peers) -> Vec<Line> {
    if peers.is_empty() {
        return vec![Line::Data("no peers".into())];
    }
    peers.iter().map(|(id, state, stats)| Line::Data(format!("{id}: {}{}", state_word(*state), path(stats)))).collect()
}

fn channels(peers: &Peers) -> Vec<Line> {
    let open = |stats: &PeerStats| {
        let labels = stats.channels.iter().filter(|channel| channel.open);
        labels.map(|channel| Escaped(&channel.label).to_string()).collect::<Vec<_>>().join(", ")
    };
    let lines: Vec<Line> = peers
        .iter()
        .map(|(id, _, stats)| (id, open(stats)))
        .filter(|(_, labels)| !labels.is_empty())
        .map(|(id, labels)| Line::Data(format!("channels with {id}: {labels}")))
        .collect();
    if lines.is_empty() { vec![Line::Data("channels: none".into())] } else { lines }
}

fn stats(peers: &Peers) -> Vec<Line> {
    let mut lines = Vec::new();
    for (id, state, stats) in peers {
        let quality = stats.quality(*state).map_or_else(String::new, |quality| format!(", {}", quality.name()));
        lines.push(Line::Data(format!(
            "{id}: {}{quality}{}, {} bytes sent, {} received",
            state_word(*state),
            path(stats),
            stats.bytes_sent,
            stats.bytes_received
        )));
        for channel in &stats.channels {
            lines.push(Line::Data(format!(
                "  {}{}: sent {} messages ({} bytes), received {} ({} bytes), {} bytes buffered",
                Escaped(&channel.label),
                if channel.open { "" } else { " (closed)" },
                channel.messages_sent,
                channel.bytes_sent,
                channel.messages_received,
                channel.bytes_received,
                channel.buffered
            )));
        }
        lines.extend(stats.tracks.iter().map(|track| Line::Data(media::stats(track))));
        lines.extend(stats.bandwidth.map(|bits| Line::Data(format!("  bandwidth: {} are thought to fit", rate(bits)))));
    }
    if lines.is_empty() { self::peers(peers) } else { lines }
}

fn path(stats: &PeerStats) -> String {
    let path = stats.path.map_or_else(String::new, |(local, remote)| format!(", {local} to {remote}"));
    let time = stats.round_trip.map_or_else(String::new, |time| format!(", {:.1} ms", time.as_secs_f64() * 1e3));
    let relayed = if stats.relayed { ", relayed" } else { "" };
    path + relayed + &time
}

/// Bits per second, for a person.
fn rate(bits_per_second: u64) -> String {
    match bits_per_second {
        0..10_000 => format!("{bits_per_second} bit/s"),
        10_000..10_000_000 => format!("{} kbit/s", bits_per_second / 1_000),
        _ => format!("{} Mbit/s", bits_per_second / 1_000_000),
    }
}

fn joined(names: &[Name]) -> String {
    if names.is_empty() {
        return "nobody else".into();
    }
    names.iter().map(Name::to_string).collect::<Vec<_>>().join(", ")
}

fn shown(payload: &Payload) -> String {
    match payload {
        Payload::Text(text) => Escaped(text).to_string(),
        Payload::Binary(bytes) => {
            let mut text = format!("({} bytes)", bytes.len());
            for (i, byte) in bytes.iter().take(SHOWN_BYTES).enumerate() {
                let _ = write!(text, "{}{byte:02x}", if i == 0 { " " } else { "" });
            }
            text + if bytes.len() > SHOWN_BYTES { "…" } else { "" }
        }
    }
}

fn promises(spec: &ChannelSpec) -> String {
    let mut text = if spec.ordered { String::new() } else { ", unordered".to_owned() };
    if let Some(times) = spec.max_retransmits {
        let _ = write!(text, ", at most {times} retransmissions");
    }
    if let Some(time) = spec.max_lifetime {
        let _ = write!(text, ", for at most {} ms", time.as_millis());
    }
    text
}

fn state_word(state: PeerState) -> &'static str {
    match state {
        PeerState::Connecting => "connecting",
        PeerState::Connected => "connected",
        PeerState::Disconnected => "disconnected",
        PeerState::Closed => "closed",
    }
}

fn fault_code(fault: &PeerFault) -> &'static str {
    match fault {
        PeerFault::Refused(_) => "refused",
        PeerFault::Fingerprint => "fingerprint",
        PeerFault::Panicked(_) => "panicked",
        PeerFault::NoPath => "no-path",
        PeerFault::Broken => "broken",
    }
}

fn fault_clause(fault: &PeerFault) -> String {
    match fault {
        PeerFault::Refused(why) => Escaped(why).to_string(),
        PeerFault::Fingerprint => {
            "its certificate is not the one that its description names; somebody may be in between".into()
        }
        PeerFault::Panicked(_) => "what it sent could not be handled; the other connections are not touched".into(),
        PeerFault::Broken => "its data channels broke off; offer again".into(),
        PeerFault::NoPath => {
            "no network path was found; a firewall may block UDP, or both need --stun HOST:PORT".into()
        }
    }
}

/// A word for a shell: a name that another peer chose could be anything.
fn quoted(text: &str) -> String {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "._~@:+-".contains(c)) && !text.is_empty() {
        return text.to_owned();
    }
    format!("'{}'", Escaped(text).to_string().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use enishi_core::peer::ChannelStats;

    fn renderer(json: bool) -> Renderer {
        Renderer {
            room: None,
            json,
            role: Role::Answer,
            has_target: false,
            wanted: Some("bob".into()),
            signal_url: "ws://127.0.0.1:3000/ws".into(),
            flags: String::new(),
            demo: None,
            tally: Tally::default(),
        }
    }

    #[test]
    fn who_enters_a_room_is_told_how_others_come_there() {
        let mut renderer = Renderer { room: Some("the lobby".into()), ..renderer(false) };
        let registered = AgentNotice::Registered { id: "bob".into(), resumed: false };
        let lines = renderer.notice(Duration::ZERO, &registered, None);
        let wanted = "registered as bob; elsewhere type: enishi peer --room 'the lobby'";
        assert_eq!(lines, [Line::Status(Level::Info, wanted.to_owned())]);
    }

    fn message(text: &str) -> AgentNotice {
        AgentNotice::Message { id: "bob".into(), label: "chat".into(), payload: Payload::Text(text.into()) }
    }

    fn text_of(notice: &AgentNotice, ask: Option<Ask>) -> Vec<String> {
        let lines = renderer(false).notice(Duration::ZERO, notice, ask);
        lines
            .into_iter()
            .map(|line| match line {
                Line::Data(text) => format!("out {text}"),
                Line::Status(level, text) => format!("{level:?} {text}"),
            })
            .collect()
    }

    #[test]
    fn messages_are_data_and_states_are_status() {
        let spec = ChannelSpec { label: "chat".into(), ordered: false, max_retransmits: Some(0), max_lifetime: None };
        for (notice, line) in [
            (message("hi there"), "out [bob] chat: hi there"),
            (
                AgentNotice::Relayed {
                    from: "eve".into(),
                    label: "c".into(),
                    payload: Payload::Binary(bytes::Bytes::from_static(b"\x00\xff")),
                },
                "out [eve] c (relayed): (2 bytes) 00ff",
            ),
            (
                AgentNotice::Registered { id: "bob".into(), resumed: false },
                "Info registered as bob; elsewhere type: enishi peer --role offer --target bob",
            ),
            (AgentNotice::Peer { id: "bob".into(), state: PeerState::Connected }, "Info bob: connected"),
            (
                AgentNotice::ChannelOpened { id: "bob".into(), spec },
                "Info bob: channel chat is open, unordered, at most 0 retransmissions",
            ),
            (
                AgentNotice::SignalingLost { why: "connection refused".into(), retry: None, was_up: false },
                "Warn could not connect to ws://127.0.0.1:3000/ws: connection refused; start a server with \
                 `enishi signal`, or name another with --signal",
            ),
            (
                AgentNotice::SignalingLost {
                    why: "gone".into(),
                    retry: Some(Duration::from_millis(1250)),
                    was_up: true,
                },
                "Warn signaling server lost: gone; trying again in 1.2 s",
            ),
            (AgentNotice::Listed(vec!["a".into(), "b".into()]), "out registered: a, b"),
            (AgentNotice::Warning("TURN server 127.0.0.1:1: gone".into()), "Warn TURN server 127.0.0.1:1: gone"),
            (AgentNotice::Detail("skipped a .local candidate".into()), "Debug skipped a .local candidate"),
        ] {
            assert_eq!(text_of(&notice, None), [line]);
        }
        assert_eq!(text_of(&AgentNotice::Ended, None), Vec::<String>::new());
    }

    #[test]
    fn remote_text_can_do_nothing_to_a_terminal() {
        let evil = "\u{1b}]52;c;x\u{7}\r\n\u{202e}\u{9b}31m";
        let notices = [
            message(evil),
            AgentNotice::Message { id: evil.into(), label: evil.into(), payload: Payload::Text("x".into()) },
            AgentNotice::Registered { id: evil.into(), resumed: false },
            AgentNotice::ChannelClosed { id: evil.into(), label: evil.into() },
            AgentNotice::CommandFailed(evil.into()),
            AgentNotice::Warning(evil.into()),
            AgentNotice::Detail(evil.into()),
            AgentNotice::SignalingLost { why: evil.into(), retry: None, was_up: false },
            AgentNotice::PeerFailed { id: evil.into(), fault: PeerFault::Refused(evil.into()) },
            AgentNotice::Listed(vec![evil.into()]),
            AgentNotice::Roster { room: evil.into(), members: vec![evil.into()] },
            AgentNotice::Presence { room: evil.into(), id: evil.into(), here: true },
        ];
        for json in [false, true] {
            for notice in &notices {
                for line in renderer(json).notice(Duration::ZERO, notice, None) {
                    let (Line::Data(text) | Line::Status(_, text)) = line;
                    assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn json_events_have_a_type_and_a_time_and_parse_back() {
        let text = "q\"\\\n\u{202e}縁🎉\u{9b}";
        let lines = renderer(true).notice(Duration::from_millis(1500), &message(text), None);
        let [Line::Data(line)] = &lines[..] else { panic!("{lines:?}") };
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            event,
            json!({ "type": "message", "ts": "1970-01-01T00:00:01.500000000Z", "id": "bob", "label": "chat", "text": text })
        );
        assert!(line.contains("縁🎉"));
    }

    #[test]
    fn a_refusal_keeps_its_code() {
        let notice = AgentNotice::Refused { refusal: Refusal::NoSuchPeer, to: Some("bob".into()) };
        let lines = renderer(true).notice(Duration::ZERO, &notice, None);
        let [Line::Data(line)] = &lines[..] else { panic!("{lines:?}") };
        assert!(line.contains(r#""code":"no-such-peer""#) && line.contains(r#""to":"bob""#), "{line}");
    }

    #[test]
    fn peers_are_shown_as_they_were_asked_for() {
        let channels = vec![
            ChannelStats { label: "chat".into(), open: true, messages_sent: 2, bytes_sent: 9, ..Default::default() },
            ChannelStats { label: "old".into(), ..Default::default() },
        ];
        let path = Some(("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()));
        let stats = PeerStats { path, round_trip: Some(Duration::from_micros(1500)), channels, ..Default::default() };
        let notice = AgentNotice::Peers(vec![("bob".into(), PeerState::Connected, stats)]);
        assert_eq!(text_of(&notice, Some(Ask::Peers)), ["out bob: connected, 127.0.0.1:1 to 127.0.0.1:2, 1.5 ms"]);
        assert_eq!(text_of(&notice, Some(Ask::Channels)), ["out channels with bob: chat"]);
        assert_eq!(text_of(&notice, Some(Ask::Quietly)), Vec::<String>::new());
        let stats = text_of(&notice, Some(Ask::Stats));
        assert!(stats[1].contains("chat: sent 2 messages (9 bytes)"), "{stats:?}");
        assert!(stats[2].contains("old (closed)"), "{stats:?}");
        assert_eq!(text_of(&AgentNotice::Peers(Vec::new()), Some(Ask::Stats)), ["out no peers"]);
    }
}
