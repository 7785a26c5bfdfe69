//! Sound and picture between two programs: what one sends, the other hears and sees. On both drivers.

use serde_json::Value;

use crate::process::run;
use crate::together::{peer, server};

/// The last event of a type.
fn event(out: &str, kind: &str) -> Value {
    let mut events = out.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is an event"));
    events.rfind(|event| event["type"] == kind).unwrap_or_else(|| panic!("no {kind} in {out}"))
}

#[test]
fn a_demo_ends_with_what_was_received() {
    for (runtime, show) in [("mio", "audio"), ("smol", "audio"), ("mio", "datachannel")] {
        let (_server, url) = server(runtime, &[]);
        let mut answer = peer(&url, &["--role", "answer", "--demo", show, "--runtime", runtime]);
        answer.told("registered as answer");
        let offer = peer(&url, &["--role", "offer", "--demo", show, "--runtime", runtime]).end();
        let answer = answer.end();
        for (done, other, hz) in [(&offer, "answer", "880."), (&answer, "offer", "440.")] {
            assert_eq!(done.code, Some(0), "{done:?}");
            assert!(done.out.contains("received:\n"), "{done:?}");
            let line = done.out.lines().find(|line| line.starts_with(&format!("  {other}, {}", line_of(show))));
            let line = line.unwrap_or_else(|| panic!("{done:?}"));
            match show {
                "audio" => assert!(line.contains("opus, ") && line.contains(&format!("tone of {hz}")), "{line}"),
                _ => assert!(line.contains("3 messages"), "{line}"),
            }
        }
    }
}

fn line_of(show: &str) -> &str {
    if show == "audio" { "audio" } else { "channel chat" }
}

#[test]
fn a_picture_is_seen_and_another_one_takes_its_place() {
    for runtime in ["mio", "smol"] {
        let (_server, url) = server(runtime, &[]);
        let look = "wait track 30; sleep 2; tracks; wait message 30; sleep 2; tracks; send chat done; wait closed 30";
        let mut bob = peer(&url, &["--id", "bob", "--json", "--runtime", runtime, "--exec", look]);
        bob.said("registered");
        let show = "wait open 30; sleep 2.5; replace video pattern:color; send chat look; wait message 30";
        let more = ["--video", "pattern:checkerboard", "--runtime", runtime, "--exec", show];
        let alice = peer(&url, &[&["--role", "offer", "--id", "alice", "--target", "bob"], &more[..]].concat()).end();
        assert_eq!(alice.code, Some(0), "{alice:?}");
        let bob = bob.end();
        assert_eq!(bob.code, Some(0), "{bob:?}");
        let looks: Vec<Value> = bob.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let looks = looks.iter().filter(|event| event["type"] == "tracks").map(|event| &event["theirs"][0]);
        let patterns: Vec<&Value> = looks.map(|track| &track["pattern"]).collect();
        assert_eq!(patterns, ["checkerboard", "color"], "{bob:?}");
        assert_eq!(event(&bob.out, "track")["kind"], "video");
    }
}

#[test]
fn a_source_that_is_not_there_is_one_line_and_exit_1() {
    for (flag, path) in [("--audio", "no/such.wav"), ("--video", "no/such.ivf"), ("--record", "no/such")] {
        let done = run(&["peer", flag, path]);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.err.contains(flag) && done.err.contains(path), "{done:?}");
        assert_eq!(done.err.lines().count(), 1, "{done:?}");
    }
    for (flag, source, hint) in [
        ("--audio", "tone:0", "20000 Hz"),
        ("--audio", "pattern", "is no sound"),
        ("--video", "song.mp3", "files that end in"),
    ] {
        let done = run(&["peer", flag, source]);
        assert_eq!(done.code, Some(2), "{done:?}");
        assert!(done.err.contains(hint), "{done:?}");
    }
}
