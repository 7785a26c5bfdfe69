//! Sound and picture between a real browser and the real program, on both runtimes; see `tests/interop/README.md`.

use std::fs;
use std::time::Duration;

use enishi_tests::process::{Program, Runtime, Server, Stream, alone};

use super::ffprobe;
use super::programs::{Folder, file, until_longer};
use crate::e2e::peer;
use crate::interop::chromium;

/// A page that offers to `host`. `mode` is what media.js shall send.
fn page(server: &Server, mode: &str, folder: &Folder) -> Program {
    let mut command = chromium();
    command.args(["--signal", &server.url(), "--id", "guest", "--role", "offer", "--target", "host"]);
    Program::start("guest", command.args(["--media", mode, "--files", folder.path()]))
}

fn recorded(runtime: Runtime) {
    let _turn = alone();
    let folder = Folder::new(&format!("chromium-{}", runtime.name()));
    let server = Server::start(runtime);
    let mut host = peer(&server, runtime, "enishi", &["--role", "answer", "--id", "host", "--record", folder.path()]);
    let mut guest = page(&server, "camera", &folder);
    let path = file(&mut host, "recording guest to ");
    until_longer(&host, &path, Duration::from_secs(4));
    host.type_line("record stop");
    host.hear_on(Stream::Stderr, "the end", |line| line.contains("recorded guest, ").then_some(()));
    let probe = ffprobe("chromium", "webm", &fs::read(&path).expect("it"));
    probe.assert_whole(&[("opus", 180), ("vp8", 20)]);

    guest.type_line(&format!("play {}", path.file_name().and_then(|name| name.to_str()).expect("a name")));
    let played = guest.hear("played ");
    let json = played.strip_prefix("played ").expect("what was played");
    let played: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let number = |name: &str| played[name].as_f64().expect("a number");
    assert!((3.5..8.0).contains(&number("seconds")), "{played}");
    assert!((number("sound") - number("seconds")).abs() < 0.5, "{played}");
    assert!(number("frames") >= 20.0 && number("pictures") >= 10.0, "{played}");
    assert!(number("loudest") > 0.01, "the fake microphone beeps: {played}");
}

#[test]
fn chromium_is_recorded_on_mio_and_plays_it() {
    recorded(Runtime::Mio);
}

#[test]
fn chromium_is_recorded_on_smol_and_plays_it() {
    recorded(Runtime::Smol);
}

/// The two pixels of a line of the page.
fn two_pixels(line: &str) -> Option<[[u8; 3]; 2]> {
    let mut pixels = line.strip_prefix("pixels ")?.split(' ').map(|pixel| {
        let parts: Vec<u8> = pixel.split('/').filter_map(|part| part.parse().ok()).collect();
        <[u8; 3]>::try_from(parts).ok()
    });
    Some([pixels.next()??, pixels.next()??])
}

fn is_white(pixel: [u8; 3]) -> bool {
    pixel.iter().all(|part| *part > 200)
}

fn is_black(pixel: [u8; 3]) -> bool {
    pixel.iter().all(|part| *part < 50)
}

fn is_checkerboard([left, right]: [[u8; 3]; 2]) -> bool {
    is_white(left) && is_black(right) || is_black(left) && is_white(right)
}

/// One colour all over, and none of the greys.
fn is_colour([left, right]: [[u8; 3]; 2]) -> bool {
    let [low, high] = [left.iter().min(), left.iter().max()].map(|part| part.copied().unwrap_or(0));
    high - low > 80 && left.iter().zip(right).all(|(left, right)| left.abs_diff(right) < 20)
}

fn sees(guest: &mut Program, what: &str, is_it: impl Fn([[u8; 3]; 2]) -> bool) {
    guest.hear_on(Stream::Stdout, what, |line| two_pixels(line).filter(|seen| is_it(*seen)).map(drop));
}

fn hears(guest: &mut Program, hz: f64) {
    let number = |line: &str| line.strip_prefix("hz ")?.parse::<f64>().ok();
    guest.hear_on(Stream::Stdout, "the tone", |line| number(line).filter(|heard| (heard - hz).abs() < 5.0).map(drop));
}

fn descriptions(guest: &mut Program) -> usize {
    guest.lines(Stream::Stdout).iter().filter(|line| line.starts_with("description ")).count()
}

fn shown(runtime: Runtime) {
    let _turn = alone();
    let folder = Folder::new(&format!("shown-{}", runtime.name()));
    let server = Server::start(runtime);
    let sends = ["--audio", "tone:440", "--video", "pattern:checkerboard"];
    let mut host = peer(&server, runtime, "enishi", &[&["--role", "answer", "--id", "host"][..], &sends].concat());
    let mut guest = page(&server, "camera", &folder);
    sees(&mut guest, "black and white squares", is_checkerboard);
    let rate = |line: &str| line.strip_prefix("rate ")?.parse::<f64>().ok();
    // A busy machine shows less than 30 for a while.
    guest.hear_on(Stream::Stdout, "30 frames a second", |line| {
        rate(line).filter(|rate| (20.0..40.0).contains(rate)).map(drop)
    });
    hears(&mut guest, 440.0);

    let before = descriptions(&mut guest);
    host.type_line("replace video pattern:color");
    sees(&mut guest, "one colour", is_colour);
    host.type_line("replace video pattern:checkerboard");
    sees(&mut guest, "black and white squares", is_checkerboard);
    host.type_line("mute video");
    sees(&mut guest, "black", |[left, right]| is_black(left) && is_black(right));
    host.type_line("unmute video");
    sees(&mut guest, "black and white squares", is_checkerboard);
    host.type_line("mute audio");
    guest.hear("silence");
    host.type_line("unmute audio");
    hears(&mut guest, 440.0);
    assert_eq!(descriptions(&mut guest), before, "nothing of this needs an offer\n{guest}");
}

#[test]
fn chromium_sees_and_hears_what_is_sent_on_mio() {
    shown(Runtime::Mio);
}

#[test]
fn chromium_sees_and_hears_what_is_sent_on_smol() {
    shown(Runtime::Smol);
}

fn foreign(runtime: Runtime) {
    let _turn = alone();
    let folder = Folder::new(&format!("foreign-{}", runtime.name()));
    let server = Server::start(runtime);
    let mut host = peer(&server, runtime, "enishi", &["--role", "answer", "--id", "host", "--audio", "tone:440"]);
    let mut guest = page(&server, "h264", &folder);
    hears(&mut guest, 440.0);
    let said = host.lines(Stream::Stderr);
    let refused: Vec<_> = said.iter().filter(|line| line.contains("video") || line.contains("picture")).collect();
    assert_eq!(refused.len(), 1, "one line about the picture\n{host}");
}

#[test]
fn a_codec_that_is_not_ours_is_a_call_without_that_track_on_mio() {
    foreign(Runtime::Mio);
}

#[test]
fn a_codec_that_is_not_ours_is_a_call_without_that_track_on_smol() {
    foreign(Runtime::Smol);
}
