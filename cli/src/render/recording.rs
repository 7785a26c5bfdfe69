//! What is said of recordings. Pure, like its parent.

use enishi_core::agent::RecordingNotice;
use enishi_core::escape::Escaped;
use enishi_core::signal::Name;
use serde_json::{Value, json};

use crate::render::{Level, Line};

/// The line of a notice.
pub fn status(notice: &RecordingNotice) -> Line {
    let whom = |id: &Option<Name>| id.as_ref().map_or_else(|| "our own".to_owned(), Name::to_string);
    let (level, text) = match notice {
        RecordingNotice::Begun { path, id } => (Level::Info, format!("recording {} to {}", whom(id), Escaped(path))),
        RecordingNotice::Complete { path, id, length, dropped } => {
            let (level, loss) = match dropped {
                0 => (Level::Info, String::new()),
                1 => (Level::Warn, "; the disk was too slow for 1 frame".to_owned()),
                dropped => (Level::Warn, format!("; the disk was too slow for {dropped} frames")),
            };
            let seconds = length.as_secs_f64();
            (level, format!("recorded {}, {seconds:.1} s, to {}{loss}", whom(id), Escaped(path)))
        }
        RecordingNotice::Failed { path, why, .. } => {
            (Level::Warn, format!("recording stopped: cannot write {}: {}", Escaped(path), Escaped(why)))
        }
    };
    Line::Status(level, text)
}

/// The event of a notice, as docs/peer.md describes it: its type, and what it says.
pub fn event(notice: &RecordingNotice) -> (&'static str, Value) {
    let whom = |id: &Option<Name>| id.as_ref().map(|id| id.as_str().to_owned());
    match notice {
        RecordingNotice::Begun { path, id } => ("recording", json!({ "path": path, "id": whom(id) })),
        RecordingNotice::Complete { path, id, length, dropped } => {
            let seconds = length.as_secs_f64();
            ("recorded", json!({ "path": path, "id": whom(id), "seconds": seconds, "dropped": dropped }))
        }
        RecordingNotice::Failed { path, id, why } => {
            ("recording_failed", json!({ "path": path, "id": whom(id), "why": why }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_recording_is_told_in_a_line_each() {
        let (path, id) = ("out/a.webm".to_owned(), Some(Name::from("alice")));
        let length = Duration::from_millis(12_340);
        let complete = |dropped| RecordingNotice::Complete { path: path.clone(), id: None, length, dropped };
        for (notice, expected) in [
            (
                RecordingNotice::Begun { path: path.clone(), id: id.clone() },
                Line::Status(Level::Info, "recording alice to out/a.webm".into()),
            ),
            (complete(0), Line::Status(Level::Info, "recorded our own, 12.3 s, to out/a.webm".into())),
            (
                complete(7),
                Line::Status(
                    Level::Warn,
                    "recorded our own, 12.3 s, to out/a.webm; the disk was too slow for 7 frames".into(),
                ),
            ),
            (
                RecordingNotice::Failed { path: path.clone(), id, why: "the disk is full".into() },
                Line::Status(Level::Warn, "recording stopped: cannot write out/a.webm: the disk is full".into()),
            ),
        ] {
            assert_eq!(status(&notice), expected);
        }
    }
}
