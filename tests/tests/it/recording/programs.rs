//! The real program records the real program, on both runtimes.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use enishi_core::media::Kind;
use enishi_tests::process::{PATIENCE, Program, Runtime, Server, Stream, alone};

use super::{ffprobe, frames};
use crate::e2e::peer;

/// Frames in three seconds, at least: a machine that is busy sends fewer pictures.
const LEAST: [(&str, usize); 2] = [("opus", 120), ("vp8", 20)];

/// A folder that is gone with its end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("enishi-recorded-{name}-{}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The file that a recording goes to, as the program says.
pub fn file(program: &mut Program, before: &str) -> PathBuf {
    program.hear_on(Stream::Stderr, before, |line| Some(PathBuf::from(line.split_once(before)?.1)))
}

/// Waits until the disk has so much of both kinds; that much.
pub fn until_longer(program: &Program, path: &PathBuf, time: Duration) -> Duration {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let bytes = fs::read(path).expect("the file");
        let last = |kind| frames(&bytes, kind).last().map_or(Duration::ZERO, |frame| frame.time);
        let both = last(Kind::Audio).min(last(Kind::Video));
        if both >= time {
            return both;
        }
        assert!(Instant::now() < deadline, "only {both:?} of {time:?}\n{program}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn call(server: &Server, runtime: Runtime, folder: &Folder) -> (Program, Program) {
    let bob = peer(server, runtime, "enishi", &["--role", "answer", "--id", "bob", "--record", folder.path()]);
    let offer = ["--role", "offer", "--id", "alice", "--target", "bob"];
    let sends = ["--audio", "tone", "--video", "pattern:bounce"];
    let alice = peer(server, runtime, "enishi", &[&offer[..], &sends[..]].concat());
    (bob, alice)
}

fn killed(runtime: Runtime) {
    let _turn = alone();
    let folder = Folder::new(&format!("killed-{}", runtime.name()));
    let server = Server::start(runtime);
    let (mut bob, _alice) = call(&server, runtime, &folder);
    let path = file(&mut bob, "recording alice to ");
    assert!(path.starts_with(folder.path()), "{path:?}");
    let before = until_longer(&bob, &path, Duration::from_secs(3));
    bob.kill();
    let bytes = fs::read(&path).expect("the file");
    for kind in [Kind::Audio, Kind::Video] {
        assert!(frames(&bytes, kind).last().is_some_and(|frame| frame.time >= before));
    }
    ffprobe("killed", "webm", &bytes).assert_playable(&["opus", "vp8"]);
}

#[test]
fn a_killed_program_leaves_a_file_on_mio() {
    killed(Runtime::Mio);
}

#[test]
fn a_killed_program_leaves_a_file_on_smol() {
    killed(Runtime::Smol);
}

fn stopped(runtime: Runtime) {
    let _turn = alone();
    let folder = Folder::new(&format!("stopped-{}", runtime.name()));
    let server = Server::start(runtime);
    let (mut bob, _alice) = call(&server, runtime, &folder);
    let first = file(&mut bob, "recording alice to ");
    until_longer(&bob, &first, Duration::from_secs(3));
    bob.type_line("record stop");
    bob.hear_on(Stream::Stderr, "the end", |line| line.contains("recorded alice, ").then_some(()));
    ffprobe("first", "webm", &fs::read(&first).expect("it")).assert_whole(&LEAST);
    bob.type_line(&format!("record start {}", folder.path()));
    let second = file(&mut bob, "recording alice to ");
    assert_ne!(first, second);
    // What is left is written before the program ends.
    until_longer(&bob, &second, Duration::from_secs(3));
    bob.type_line("quit");
    bob.hear_on(Stream::Stderr, "the end", |line| line.contains("recorded alice, ").then_some(()));
    assert!(bob.wait().success());
    ffprobe("second", "webm", &fs::read(&second).expect("it")).assert_whole(&LEAST);
}

#[test]
fn a_recording_is_stopped_and_begun_again_on_mio() {
    stopped(Runtime::Mio);
}

#[test]
fn a_recording_is_stopped_and_begun_again_on_smol() {
    stopped(Runtime::Smol);
}

#[test]
fn a_file_that_cannot_be_written_ends_the_recording_and_not_the_call() {
    let _turn = alone();
    for runtime in Runtime::ALL {
        let folder = Folder::new(&format!("nowhere-{}", runtime.name()));
        let server = Server::start(runtime);
        let (mut bob, mut alice) = call(&server, runtime, &folder);
        file(&mut bob, "recording alice to ");
        bob.type_line("record stop");
        bob.hear_on(Stream::Stderr, "the end", |line| line.contains("recorded alice, ").then_some(()));
        let nowhere = format!("{}/no/call.webm", folder.path());
        bob.type_line(&format!("record start {nowhere}"));
        let why = "recording stopped: cannot write ";
        let said = file(&mut bob, why);
        assert_eq!(said.to_str(), Some(format!("{nowhere}: there is no such folder; make it first").as_str()));
        alice.type_line("broadcast still here");
        bob.hear("still here");
    }
}
