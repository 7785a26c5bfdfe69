//! Real clients nobody here wrote, through `enishi signal` to `enishi peer`; see `tests/interop/README.md`.

use std::path::Path;
use std::process::Command;

use enishi_tests::process::{Program, Runtime, Server, Stream, alone, needs, remarkable_text, source, tools};

use crate::e2e::peer;

/// Who offers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offers {
    Client,
    Enishi,
}

#[test]
fn chromium_offers_with_its_addresses() {
    let candidates = talk(chromium, &[], Offers::Client, Runtime::Mio, "conic-c");
    assert!(candidates.iter().all(|candidate| !candidate.contains(".local")), "{candidates:?}");
}

#[test]
fn chromium_answers_with_its_addresses() {
    let candidates = talk(chromium, &[], Offers::Enishi, Runtime::Smol, "conic-c");
    assert!(candidates.iter().all(|candidate| !candidate.contains(".local")), "{candidates:?}");
}

#[test]
fn chromium_offers_with_hidden_addresses() {
    let candidates = talk(chromium, &["--mdns"], Offers::Client, Runtime::Smol, "conic-c");
    assert!(candidates.iter().all(|candidate| candidate.contains(".local")), "{candidates:?}");
}

#[test]
fn chromium_answers_with_hidden_addresses() {
    let candidates = talk(chromium, &["--mdns"], Offers::Enishi, Runtime::Mio, "conic-c");
    assert!(candidates.iter().all(|candidate| candidate.contains(".local")), "{candidates:?}");
}

/// The server passes conic's messages on to a peer that speaks our own protocol, and back.
#[test]
fn chromium_offers_to_our_own_protocol() {
    talk(chromium, &[], Offers::Client, Runtime::Smol, "enishi");
}

#[test]
fn chromium_answers_to_our_own_protocol() {
    talk(chromium, &["--mdns"], Offers::Enishi, Runtime::Mio, "enishi");
}

#[test]
fn pion_offers() {
    talk(pion, &[], Offers::Client, Runtime::Mio, "conic-c");
}

/// conic's own client gathers to the end before it sends its offer: all candidates come first.
#[test]
fn pion_offers_after_its_candidates() {
    talk(pion, &["--candidates-first"], Offers::Client, Runtime::Smol, "conic-c");
}

#[test]
fn pion_answers() {
    talk(pion, &[], Offers::Enishi, Runtime::Mio, "conic-c");
}

#[test]
fn aiortc_offers() {
    talk(aiortc, &[], Offers::Client, Runtime::Smol, "conic-c");
}

#[test]
fn aiortc_answers() {
    talk(aiortc, &[], Offers::Enishi, Runtime::Mio, "conic-c");
}

/// Connects a client with `enishi peer`, exchanges texts both ways and returns the client's candidates.
fn talk(client: fn() -> Command, flags: &[&str], offers: Offers, runtime: Runtime, dialect: &str) -> Vec<String> {
    let _turn = alone();
    let mut command = client();
    let server = Server::start(runtime);
    command.args(["--signal", &server.url(), "--id", "guest"]).args(flags);
    let (mut client, mut enishi) = match offers {
        Offers::Client => {
            let enishi = peer(&server, runtime, dialect, &["--role", "answer", "--id", "host"]);
            let client = Program::start("guest", command.args(["--role", "offer", "--target", "host"]));
            (client, enishi)
        }
        Offers::Enishi => {
            let mut client = Program::start("guest", command.args(["--role", "answer"]));
            client.hear("registered guest");
            let enishi = peer(&server, runtime, dialect, &["--role", "offer", "--id", "host", "--target", "guest"]);
            (client, enishi)
        }
    };
    client.hear("open chat");
    let text = remarkable_text();
    for (to_enishi, to_client) in [("hello from outside", "hello from inside"), (&*text, &*text)] {
        client.type_line(to_enishi);
        enishi.hear(&format!("[guest] chat: {to_enishi}"));
        enishi.type_line(&format!("send chat {to_client}"));
        assert_eq!(client.hear("got "), format!("got {to_client}"), "{client}");
    }
    let candidates =
        client.lines(Stream::Stdout).into_iter().filter(|line| line.starts_with("candidate ")).map(String::from);
    let candidates: Vec<_> = candidates.collect();
    assert!(!candidates.is_empty(), "a connection without candidates\n{client}");
    candidates
}

pub fn chromium() -> Command {
    needs(tools().join("node_modules/playwright-core"));
    let mut command = installed("node");
    command.arg(source().join("tests/interop/chromium.mjs"));
    command
}

fn aiortc() -> Command {
    let python = tools().join("venv/bin/python");
    needs(&python);
    let mut command = Command::new(python);
    command.arg(source().join("tests/interop/aiortc_peer.py"));
    command
}

/// Go's own cache makes all builds but the first quick.
fn pion() -> Command {
    for package in ["pion/webrtc", "gorilla/websocket"] {
        needs(Path::new("/usr/share/gocode/src/github.com").join(package));
    }
    drop(installed("go"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pion-peer");
    let build = source().join("tests/interop/pion/build");
    let status = Command::new(&build).arg(&program).status().expect("the build script runs");
    assert!(status.success(), "{}: {status}", build.display());
    Command::new(program)
}

fn installed(program: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    assert!(
        std::env::split_paths(&path).any(|folder| folder.join(program).exists()),
        "no {program} on the PATH: run tests/setup first"
    );
    Command::new(program)
}
