//! Journals that were cut, damaged or written by somebody hostile.

use std::time::{Duration, Instant};

use enishi_core::http::{self, Parsed};
use enishi_core::journal::{self, Entries, MAGIC, Recorded, Replay, Secrecy, Verdict};
use enishi_core::machine::{ConnId, Frame, Input, ListenerId, Machine};
use enishi_core::server::ServerConfig;
use enishi_tests::bench_server::upgrade_request;

/// Steps that are replayed; more only make runs slow.
const STEPS: usize = 500;

/// Any bytes as a journal, in three ways:
///
/// - as they are;
/// - as frames with the right checks, which nobody would find by chance: a length (one byte), the body, and so on. A
///   first frame that is empty stands for a header that a server wrote;
/// - as an edit of a journal that a server wrote: where it is cut, and places and values.
///
/// Reading ends, in order, with the reason; what is cut is replayed up to the cut as it was.
///
/// # Panics
/// On a defect.
pub fn journal(data: &[u8]) {
    replay(data);
    let recorded = record();
    let header = first_frame(&recorded);
    let mut bodies: Vec<&[u8]> = Vec::new();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first() {
        let (body, after) = after.split_at(usize::from(*length).min(after.len()));
        bodies.push(if bodies.is_empty() && body.is_empty() { header } else { body });
        rest = after;
    }
    replay(&journal::framed(bodies));
    edited(recorded, data);
}

/// A journal with a few other bytes in it, or fewer: too few to make the check right again.
fn edited(recorded: Vec<u8>, data: &[u8]) {
    let mut bytes = recorded.clone();
    let mut edits = data.chunks_exact(3).map(|edit| (usize::from(edit[0]) << 8 | usize::from(edit[1]), edit[2]));
    if let Some((place, _)) = edits.next() {
        bytes.truncate(place % (bytes.len() + 1));
    }
    for (place, value) in edits.take(3) {
        let length = bytes.len().max(1);
        bytes.get_mut(place % length).into_iter().for_each(|byte| *byte = value);
    }
    let same = bytes.iter().zip(&recorded).take_while(|(left, right)| left == right).count();
    let Ok(mut player) = Replay::new(Instant::now(), &bytes) else { return };
    let (mut steps, mut unknown) = (0, 0);
    while let Some(step) = player.step() {
        steps += 1;
        assert_eq!(step.number, steps);
        assert!(!matches!(step.verdict, Verdict::Different(_)), "{step:?} of {same} bytes that are the same");
        unknown += u32::from(step.verdict == Verdict::Unknown);
    }
    assert!(unknown <= 1, "only the last step can lack its outputs");
    assert!(player.end().is_some());
}

fn replay(bytes: &[u8]) {
    if let Ok((_, mut entries)) = Entries::open(bytes) {
        let count = entries.by_ref().count();
        assert!(count <= bytes.len() && entries.end().is_some());
    }
    let Ok(mut player) = Replay::new(Instant::now(), bytes) else { return };
    let mut at = Duration::ZERO;
    for _ in 0..STEPS {
        let Some(step) = player.step() else { break };
        assert!(step.at >= at, "time goes back");
        at = step.at;
    }
}

/// The journal of a short run.
fn record() -> Vec<u8> {
    let start = Instant::now();
    let (unix, config) = (Duration::from_secs(1_795_196_520), ServerConfig::default());
    let mut server = Recorded::new(start, unix, [7; 32], config, Secrecy::Open, Vec::new());
    let mut now = start;
    let mut input = |input| {
        now += Duration::from_millis(3);
        server.handle_input(now, input);
        while server.poll_output().is_some() {}
    };
    for (conn, id) in [(ConnId(1), "a"), (ConnId(2), "b")] {
        let remote = ([127, 0, 0, 1], 50_000).into();
        input(Input::Accepted { conn, listener: ListenerId(0), remote });
        if let Parsed::Complete(request, _) = http::parse(upgrade_request("/v1", "").as_bytes()) {
            input(Input::Request { conn, request });
        }
        input(Input::Frame { conn, frame: Frame::text(format!(r#"{{"type":"hello","id":"{id}"}}"#)) });
        input(Input::Timeout);
    }
    input(Input::Frame { conn: ConnId(1), frame: Frame::text(r#"{"type":"offer","to":"b","sdp":"v=0"}"#) });
    server.sink().clone()
}

/// The body of a journal's first frame: its header.
fn first_frame(journal: &[u8]) -> &[u8] {
    let frame = &journal[MAGIC.len() + 2..];
    let length = frame[..4].iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    &frame[8..8 + length]
}
