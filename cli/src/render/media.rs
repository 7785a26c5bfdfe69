//! What is said of sound and picture. Pure, like its parent.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use enishi_core::agent::{AgentNotice, MediaNotice, OurTrack, TheirTrack};
use enishi_core::escape::Escaped;
use enishi_core::media::Kind;
use enishi_core::peer::TrackStats;
use enishi_core::signal::Name;
use serde_json::{Value, json};

use crate::render::{Level, Line, rate};

/// What was received on data channels, for the summary.
#[derive(Debug, Default)]
pub struct Tally {
    /// By peer and label: messages sent, received, and bytes received.
    channels: BTreeMap<(Name, String), (u64, u64, usize)>,
}

impl Tally {
    /// Counts what is told.
    pub fn notice(&mut self, notice: &AgentNotice) {
        match notice {
            AgentNotice::ChannelOpened { id, spec } => {
                self.channels.entry((id.clone(), spec.label.clone())).or_default();
            }
            AgentNotice::Sent { id, label, .. } => {
                if let Some(counts) = self.channels.get_mut(&(id.clone(), label.clone())) {
                    counts.0 += 1;
                }
            }
            AgentNotice::Message { id, label, payload } => {
                if let Some(counts) = self.channels.get_mut(&(id.clone(), label.clone())) {
                    counts.1 += 1;
                    counts.2 += payload.length();
                }
            }
            _ => {}
        }
    }

    /// What was received, on one screen.
    pub fn summary(&self, tracks: &[TheirTrack]) -> Vec<Line> {
        let mut lines = vec![Line::Data("received:".into())];
        for ((id, label), (sent, received, bytes)) in &self.channels {
            let label = Escaped(label);
            lines.push(Line::Data(format!(
                "  {id}, channel {label}: {} ({bytes} bytes); {sent} sent",
                count(*received, "message")
            )));
        }
        lines.extend(tracks.iter().map(|track| Line::Data(format!("  {}", theirs(track)))));
        if lines.len() == 1 {
            lines.push(Line::Data("  nothing".into()));
        }
        lines
    }
}

/// The line of a notice.
pub fn status(notice: &MediaNotice) -> Option<Line> {
    let (level, text) = match notice {
        MediaNotice::Published { kind, source } => {
            (Level::Info, format!("sending {}: {}", kind.name(), Escaped(source)))
        }
        MediaNotice::Unpublished { kind, why: None } => (Level::Info, format!("sending no {} any more", kind.name())),
        MediaNotice::Unpublished { kind, why: Some(why) } => {
            (Level::Info, format!("sending no {} any more: {}", kind.name(), Escaped(why)))
        }
        MediaNotice::Replaced { kind, source } => {
            (Level::Info, format!("sending other {}: {}", kind.name(), Escaped(source)))
        }
        MediaNotice::Muted { kind, on: true } => (Level::Info, format!("{} is muted", kind.name())),
        MediaNotice::Muted { kind, on: false } => (Level::Info, format!("{} is not muted any more", kind.name())),
        MediaNotice::Quality { quality, bits_per_second } => {
            let quality = quality.name();
            (Level::Info, format!("sending video in {quality} quality: {} are thought to fit", rate(*bits_per_second)))
        }
        MediaNotice::Added { id, kind } => (Level::Info, format!("{id}: sends {}", kind.name())),
        MediaNotice::Removed { id, kind } => (Level::Info, format!("{id}: sends no {} any more", kind.name())),
        MediaNotice::Refused { id, kind, why, .. } => {
            (Level::Warn, format!("{id}: going on without {}: {}", kind.name(), Escaped(why)))
        }
        MediaNotice::Tracks { .. } => return None,
    };
    Some(Line::Status(level, text))
}

/// What is published, and what arrives.
pub fn tracks(ours: &[OurTrack], theirs: &[TheirTrack]) -> Vec<Line> {
    let mut lines: Vec<Line> = ours.iter().map(|track| Line::Data(self::ours(track))).collect();
    lines.extend(theirs.iter().map(|track| Line::Data(self::theirs(track))));
    if lines.is_empty() { vec![Line::Data("tracks: none".into())] } else { lines }
}

fn ours(track: &OurTrack) -> String {
    let mut text = format!("sending {}: {}", track.kind.name(), Escaped(&track.source));
    if track.kind == Kind::Video {
        let _ = write!(text, ", {} quality", track.quality.name());
    }
    if track.muted {
        text += ", muted";
    }
    text + ", to " + &count(track.listeners as u64, "peer")
}

fn theirs(track: &TheirTrack) -> String {
    let mut text = format!("{}, {}: {}", track.id, track.kind.name(), track.codec.name());
    if let Some((width, height)) = track.size {
        let _ = write!(text, " {width}x{height}");
    }
    let _ = write!(
        text,
        ", {:.1} s, {}, {}, {:.1} % lost",
        track.time.as_secs_f64(),
        count(track.packets, "packet"),
        count(track.frames, "frame"),
        track.loss() * 100.0
    );
    if let Some(hz) = track.tone_hz {
        let _ = write!(text, ", tone of {hz:.1} Hz");
    } else if track.kind == Kind::Audio && track.frames > 0 {
        text += ", silence";
    }
    if let Some(rate) = track.frame_rate {
        let _ = write!(text, ", {rate:.1} frames/s");
    }
    if let Some(pattern) = track.pattern {
        let _ = write!(text, ", looks like {}", pattern.name());
    }
    if !track.live {
        text += ", ended";
    }
    text
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The counters of a track, in one line.
pub fn stats(track: &TrackStats) -> String {
    let (verb, asked) = if track.ours { ("sent", "asked to repeat") } else { ("received", "asked for repeats") };
    let mut text = format!(
        "  {} {}{}: {} frames ({} key), {} packets, {} bytes, {}",
        track.kind.name(),
        verb,
        if track.live { "" } else { " (not flowing)" },
        track.frames,
        track.key_frames,
        track.packets,
        track.bytes,
        rate(track.bitrate)
    );
    if let Some(loss) = track.loss {
        let _ = write!(text, ", {:.1} % lost", loss * 100.0);
    }
    if track.missing > 0 {
        let _ = write!(text, ", {} never came", count(track.missing, "packet"));
    }
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    if let Some(jitter) = track.jitter {
        let _ = write!(text, ", jitter {:.1} ms", millis(jitter));
    }
    if let Some(time) = track.round_trip {
        let _ = write!(text, ", round trip {:.1} ms", millis(time));
    }
    let _ = write!(text, ", {asked} {} times, {} key frames asked for", track.nacks, track.key_requests);
    text
}

/// The same, as docs/peer.md describes it.
pub fn stats_json(track: &TrackStats) -> Value {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    json!({ "kind": track.kind.name(), "codec": track.codec.name(), "ours": track.ours, "live": track.live,
            "packets": track.packets, "bytes": track.bytes, "bitrate_bps": track.bitrate, "frames": track.frames,
            "key_frames": track.key_frames, "missing": track.missing, "loss": track.loss,
            "jitter_ms": track.jitter.map(millis), "round_trip_ms": track.round_trip.map(millis),
            "nacks": track.nacks, "key_requests": track.key_requests })
}

/// The event of a notice, as docs/peer.md describes it: its type, and what it says.
pub fn event(notice: &MediaNotice) -> (&'static str, Value) {
    match notice {
        MediaNotice::Published { kind, source } => ("published", json!({ "kind": kind.name(), "source": source })),
        MediaNotice::Unpublished { kind, why } => ("unpublished", json!({ "kind": kind.name(), "why": why })),
        MediaNotice::Replaced { kind, source } => ("replaced", json!({ "kind": kind.name(), "source": source })),
        MediaNotice::Muted { kind, on } => (if *on { "muted" } else { "unmuted" }, json!({ "kind": kind.name() })),
        MediaNotice::Quality { quality, bits_per_second } => (
            "quality",
            json!({ "kind": Kind::Video.name(), "quality": quality.name(), "bandwidth_bps": bits_per_second }),
        ),
        MediaNotice::Added { id, kind } => ("track", json!({ "id": id.as_str(), "kind": kind.name() })),
        MediaNotice::Removed { id, kind } => ("track_ended", json!({ "id": id.as_str(), "kind": kind.name() })),
        MediaNotice::Refused { id, kind, ours, why } => {
            ("track_refused", json!({ "id": id.as_str(), "kind": kind.name(), "ours": ours, "why": why }))
        }
        MediaNotice::Tracks { ours, theirs } => {
            let ours: Vec<Value> = ours.iter().map(our_json).collect();
            let theirs: Vec<Value> = theirs.iter().map(their_json).collect();
            ("tracks", json!({ "ours": ours, "theirs": theirs }))
        }
    }
}

fn our_json(track: &OurTrack) -> Value {
    json!({ "kind": track.kind.name(), "source": track.source, "muted": track.muted,
            "quality": track.quality.name(), "peers": track.listeners })
}

fn their_json(track: &TheirTrack) -> Value {
    json!({ "id": track.id.as_str(), "kind": track.kind.name(), "codec": track.codec.name(), "live": track.live,
            "seconds": track.time.as_secs_f64(), "frames": track.frames, "key_frames": track.key_frames,
            "packets": track.packets, "missing": track.missing, "loss": track.loss(), "bytes": track.bytes,
            "tone_hz": track.tone_hz, "frame_rate": track.frame_rate,
            "width": track.size.map(|(width, _)| width), "height": track.size.map(|(_, height)| height),
            "pattern": track.pattern.map(|pattern| pattern.name()) })
}

#[cfg(test)]
mod tests {
    use enishi_core::media::{Codec, Pattern, Quality};
    use enishi_core::peer::ChannelSpec;
    use enishi_core::signal::Payload;

    use super::*;

    fn tone() -> TheirTrack {
        TheirTrack {
            id: "bob".into(),
            kind: Kind::Audio,
            codec: Codec::Opus,
            live: true,
            time: Duration::from_millis(4_980),
            frames: 225,
            key_frames: 225,
            packets: 225,
            missing: 25,
            bytes: 20_000,
            tone_hz: Some(440.04),
            frame_rate: None,
            size: None,
            pattern: None,
        }
    }

    fn texts(lines: Vec<Line>) -> Vec<String> {
        lines.into_iter().map(|(Line::Data(text) | Line::Status(_, text))| text).collect()
    }

    #[test]
    fn the_summary_fits_a_screen() {
        let mut tally = Tally::default();
        let spec = ChannelSpec { label: "chat".into(), ordered: true, max_retransmits: None, max_lifetime: None };
        tally.notice(&AgentNotice::ChannelOpened { id: "bob".into(), spec });
        let payload = Payload::Text("hello".into());
        tally.notice(&AgentNotice::Message { id: "bob".into(), label: "chat".into(), payload });
        let picture = TheirTrack {
            kind: Kind::Video,
            codec: Codec::Vp8,
            live: false,
            missing: 0,
            tone_hz: None,
            frame_rate: Some(29.97),
            size: Some((640, 480)),
            pattern: Some(Pattern::Flash),
            ..tone()
        };
        assert_eq!(
            texts(tally.summary(&[tone(), picture])),
            [
                "received:",
                "  bob, channel chat: 1 message (5 bytes); 0 sent",
                "  bob, audio: opus, 5.0 s, 225 packets, 225 frames, 10.0 % lost, tone of 440.0 Hz",
                "  bob, video: VP8 640x480, 5.0 s, 225 packets, 225 frames, 0.0 % lost, 30.0 frames/s, looks like flash, ended",
            ]
        );
        assert_eq!(texts(Tally::default().summary(&[])), ["received:", "  nothing"]);
    }

    #[test]
    fn tracks_are_listed_with_ours_first() {
        let ours = OurTrack {
            kind: Kind::Video,
            source: "pattern:flash".into(),
            muted: true,
            quality: Quality::Medium,
            listeners: 1,
        };
        let lines = texts(tracks(&[ours], &[tone()]));
        assert_eq!(lines[0], "sending video: pattern:flash, medium quality, muted, to 1 peer");
        assert!(lines[1].starts_with("bob, audio: opus"));
        assert_eq!(texts(tracks(&[], &[])), ["tracks: none"]);
    }

    #[test]
    fn what_a_remote_says_of_its_tracks_is_escaped() {
        let why = "it offers video as \u{1b}[2J".to_owned();
        let refused = MediaNotice::Refused { id: "bob".into(), kind: Kind::Video, ours: false, why };
        let Some(Line::Status(Level::Warn, text)) = status(&refused) else { panic!() };
        assert_eq!(text, "bob: going on without video: it offers video as \\u{1b}[2J");
    }
}
