//! A server and peers: the three terminals of the README, on both drivers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use crate::process::{Running, end, enishi, run};

/// A server on a free port, and its URL.
pub fn server(runtime: &str, more: &[&str]) -> (Running, String) {
    let mut arguments = vec!["signal", "--listen", "127.0.0.1:0", "--runtime", runtime];
    arguments.extend(more);
    let mut server = Running::new(enishi(&arguments).spawn().unwrap());
    let line = server.told("ws://127.0.0.1:");
    let url = line.split_whitespace().find(|word| word.starts_with("ws://")).unwrap().to_owned();
    (server, url)
}

pub fn peer(url: &str, arguments: &[&str]) -> Running {
    let mut command = enishi(&["peer", "--signal", url]);
    command.args(arguments);
    Running::new(command.spawn().unwrap())
}

#[test]
fn a_port_in_use_is_one_line_and_exit_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for runtime in ["mio", "smol"] {
        let done = run(&["signal", "--listen", &address, "--runtime", runtime]);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.err.contains(&address) && done.err.contains("--listen"), "{done:?}");
        assert_eq!(done.err.lines().count(), 1, "{done:?}");
    }
}

#[test]
fn no_server_is_one_line_and_exit_3() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for runtime in ["mio", "smol"] {
        let done = run(&["peer", "--signal", &format!("ws://{free}/ws"), "--runtime", runtime]);
        assert_eq!(done.code, Some(3), "{done:?}");
        assert!(done.err.contains("`enishi signal`") && done.err.contains(&free.to_string()), "{done:?}");
        assert_eq!(done.err.lines().count(), 1, "{done:?}");
    }
}

#[test]
fn a_signal_drains_the_server_and_it_exits_with_0() {
    for (runtime, signal) in [("mio", "TERM"), ("smol", "INT")] {
        let (server, _) = server(runtime, &[]);
        server.signal(signal);
        let done = server.end();
        assert_eq!(done.code, Some(0), "{done:?}");
    }
}

/// A client that never answers the close frame holds the drain up; a second signal does not wait for it.
#[test]
fn a_second_signal_ends_the_server_at_once() {
    for (runtime, signal, code) in [("mio", "TERM", 143), ("smol", "INT", 130)] {
        let (mut server, url) = server(runtime, &[]);
        let address = url.trim_start_matches("ws://").trim_end_matches("/ws");
        let mut client = TcpStream::connect(address).unwrap();
        let key = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        write!(client, "GET /ws HTTP/1.1\r\nHost: {address}\r\n{key}\r\n").unwrap();
        client.read_exact(&mut [0; 12]).unwrap();
        server.signal(signal);
        server.told("a second signal ends at once");
        server.signal(signal);
        let done = server.end();
        assert_eq!(done.code, Some(code), "{done:?}");
    }
}

/// The commands that conic's own prompt knows, in its own dialect.
#[test]
fn conics_commands_work_in_conics_dialect() {
    let (_server, url) = server("mio", &[]);
    let dialect = ["--dialect", "conic-c"];
    let mut bob = peer(&url, &[&dialect[..], &["--id", "bob", "--exec", "wait message 30; wait closed 30"]].concat());
    bob.told("registered as bob");
    let commands = "offer bob; channel c; send c hi; list; quit";
    let alice = peer(&url, &[&dialect[..], &["--id", "alice", "--role", "offer", "--exec", commands]].concat());
    let done = alice.end();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.out.contains("channels with bob: chat, c\n"), "{done:?}");
    let done = bob.end();
    assert_eq!((done.code, done.out.as_str()), (Some(0), "[alice] c: hi\n"), "{done:?}");
}

#[test]
fn two_peers_meet_and_a_message_goes_each_way() {
    for runtime in ["mio", "smol"] {
        let (_server, url) = server(runtime, &[]);
        let mut bob = peer(
            &url,
            &[
                "--role",
                "answer",
                "--id",
                "bob",
                "--runtime",
                runtime,
                "--exec",
                "wait message 30; send chat hello alice; wait closed 30",
            ],
        );
        bob.told("registered as bob");
        let alice = peer(
            &url,
            &["--role", "offer", "--id", "alice", "--target", "bob", "--runtime", runtime]
                .into_iter()
                .chain(["--exec", "send chat hello bob; wait message 30; list; quit"])
                .collect::<Vec<_>>(),
        );
        let done = alice.end();
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.out.contains("[bob] chat: hello alice\n"), "{done:?}");
        assert!(done.out.contains("channels with bob: chat\n"), "{done:?}");
        let done = bob.end();
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.out.contains("[alice] chat: hello bob\n"), "{done:?}");
    }
}

#[test]
fn commands_on_a_pipe_are_carried_out_before_the_end_of_input_counts() {
    let (_server, url) = server("mio", &[]);
    let mut bob = peer(&url, &["--id", "bob", "--json"]);
    bob.said("\"registered\"");
    let mut command = enishi(&["peer", "--signal", &url, "--role", "offer", "--target", "bob", "--id", "alice"]);
    let mut alice = Running::new(command.stdin(Stdio::piped()).spawn().unwrap());
    alice.types("send chat one\nsend chat two");
    alice.close_input();
    assert_eq!(alice.end().code, Some(0));
    let line = bob.said("\"one\"");
    assert!(line.contains("\"type\":\"message\"") && line.contains("\"ts\":\""), "{line}");
    bob.said("\"two\"");
    // Its stdin was closed from the start: it answers until it is told to stop.
    bob.signal("TERM");
    assert_eq!(bob.end().code, Some(0));
}

#[test]
fn an_id_that_is_taken_is_refused_with_what_to_do() {
    let (_server, url) = server("mio", &[]);
    let mut first = peer(&url, &["--id", "bob"]);
    first.told("registered as bob");
    let mut command = enishi(&["peer", "--signal", &url, "--id", "bob"]);
    command.stdin(Stdio::null());
    let done = end(command);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.contains("choose another"), "{done:?}");
}

#[test]
fn a_server_with_a_token_takes_only_those_who_have_it() {
    let directory = std::env::temp_dir().join(format!("enishi-it-token-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("token");
    std::fs::write(&file, "sesame\n").unwrap();
    let file = file.to_str().unwrap();
    let (_server, url) = server("mio", &["--token-file", file]);
    let done = run(&["peer", "--signal", &url]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.contains("token") && done.err.contains("--token-file"), "{done:?}");
    let done = run(&["peer", "--signal", &url, "--token-file", file, "--id", "bob", "--exec", "list"]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), "registered: bob\nchannels: none\n"), "{done:?}");
    std::fs::remove_dir_all(directory).unwrap();
}

/// The peers' connection needs no server, and the server's return is noticed.
#[test]
fn peers_outlive_their_server() {
    let (server, url) = server("mio", &[]);
    let mut bob = peer(&url, &["--id", "bob", "--exec", "wait lost 30; send chat still here; wait closed 30"]);
    bob.told("registered as bob");
    let mut alice =
        peer(&url, &["--role", "offer", "--target", "bob", "--exec", "wait open 30; wait lost 30; wait message 30"]);
    alice.told("channel chat is open");
    bob.told("channel chat is open");
    drop(server);
    let done = alice.end();
    assert_eq!((done.code, done.out.as_str()), (Some(0), "[bob] chat: still here\n"), "{done:?}");
}

#[test]
fn a_closed_stdout_ends_a_peer_quietly() {
    let (_server, url) = server("mio", &[]);
    let enishi = env!("CARGO_BIN_EXE_enishi");
    // Says something again and again: a closed pipe is only noticed by who writes to it.
    let commands = "join a; sleep 0.05; leave a; sleep 0.05; ".repeat(600);
    let script = format!("set -o pipefail; '{enishi}' peer --signal {url} --json --exec '{commands}' | head -1");
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = end(bash);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!done.err.contains("panicked"), "{done:?}");
}
