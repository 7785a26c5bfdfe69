//! Socket.IO's official clients, three generations of them, with each other through `enishi signal`; and `enishi peer`
//! as such a client, through our server and the official ones.

use std::process::Command;

use enishi_tests::process::{Program, Runtime, Server, Stream, alone, enishi, needs, source, tools};

use crate::e2e::peer;

/// Version, and transports in the words of `socketio.cjs`.
const CLIENTS: [(&str, &str); 9] = [
    ("own", "websocket"),
    ("4", "websocket"),
    ("4", "polling"),
    ("4", "both"),
    ("2", "websocket"),
    ("2", "polling"),
    ("2", "both"),
    ("0.9", "websocket"),
    ("0.9", "polling"),
];

#[test]
fn every_client_hears_every_other_on_mio() {
    everybody_hears_everybody(Runtime::Mio);
}

#[test]
fn every_client_hears_every_other_on_smol() {
    everybody_hears_everybody(Runtime::Smol);
}

fn everybody_hears_everybody(runtime: Runtime) {
    let _turn = alone();
    let server = Server::start(runtime);
    let mut clients: Vec<Program> = CLIENTS.map(|(version, transport)| start(&server, version, transport)).into();
    for (client, (version, transport)) in clients.iter_mut().zip(CLIENTS) {
        client.hear("connect");
        client.hear(match (version, transport) {
            ("0.9", "polling") => "transport xhr-polling",
            (_, "polling") => "transport polling",
            _ => "transport websocket",
        });
    }
    let offer = |sender: usize| format!(r#"{{"type":"offer","sdp":"v=0\r\no={sender} 縁 👋\r\n"}}"#);
    for sender in 0..clients.len() {
        clients[sender].type_line(&offer(sender));
        for receiver in (0..clients.len()).filter(|receiver| *receiver != sender) {
            clients[receiver].hear(&format!("message {}", offer(sender)));
        }
    }
    // One after the other leaves; the last one of each kind is told of those before it, once each.
    let mut last = clients.pop().expect("clients");
    for mut client in clients {
        assert!(!client.lines(Stream::Stdout).contains(&"disconnect"), "{client}");
        client.end_input();
        client.hear("disconnect");
        assert_eq!(last.hear("user disconnected"), "user disconnected");
    }
    last.end_input();
    last.hear("disconnect");
    let told = last.lines(Stream::Stdout).iter().filter(|line| line.starts_with("user disconnected")).count();
    assert_eq!(told, CLIENTS.len() - 1, "{last}");
}

/// Every version offers to every other, which is whoever listens.
#[test]
fn our_peers_call_each_other_in_every_version() {
    let _turn = alone();
    for (runtime, offers, answers) in [
        (Runtime::Mio, "socketio", "socketio"),
        (Runtime::Smol, "socketio-0.9", "socketio-0.9"),
        (Runtime::Mio, "socketio", "socketio-0.9"),
        (Runtime::Smol, "socketio-0.9", "socketio"),
    ] {
        let server = Server::start(runtime);
        let mut bob = peer(&server, runtime, answers, &["--role", "answer"]);
        let mut alice = peer(&server, runtime, offers, &["--role", "offer"]);
        talk(&mut alice, "everyone", &mut bob);
    }
}

/// An enishi peer offers to a client of Socket.IO by its name, and gets its answer.
#[test]
fn our_own_protocol_calls_socket_io() {
    let _turn = alone();
    let mut server = Server::start(Runtime::Mio);
    for (dialect, caller) in [("socketio", "alice"), ("socketio-0.9", "carol")] {
        let mut bob = peer(&server, Runtime::Mio, dialect, &["--role", "answer"]);
        // The client of 0.9 is not told its name; the server's log has it.
        let id = server.program.hear_on(Stream::Stderr, "its name", |line| {
            let named = line.split_once("registered as ")?.1.split_once(" (socketio")?.0;
            Some(named.to_owned())
        });
        let mut alice = peer(&server, Runtime::Mio, "enishi", &["--role", "answer", "--id", caller]);
        alice.type_line(&format!("offer {id}"));
        // Its broadcast has gone to the caller since the offer, which comes from everybody as far as it knows.
        talk(&mut alice, &id, &mut bob);
        bob.type_line("quit");
        bob.wait();
    }
}

#[test]
fn our_peers_are_clients_of_the_official_server_of_4() {
    call_through_an_official_server("4", "socketio");
}

#[test]
fn our_peers_are_clients_of_the_official_server_of_0_9() {
    call_through_an_official_server("0.9", "socketio-0.9");
}

fn call_through_an_official_server(version: &str, dialect: &str) {
    let _turn = alone();
    needs(tools().join("socketio/node_modules/server-09"));
    let mut command = Command::new("node");
    command.arg(source().join("tests/interop/socketio-server.cjs")).arg(version);
    let mut server = Program::start(&format!("socket.io {version}"), &mut command);
    let url = server.hear("ws://");
    let join = |runtime: Runtime, role: &str| {
        let mut command = enishi();
        command.args(["peer", "--signal", &url, "--dialect", dialect, "--runtime", runtime.name(), "--role", role]);
        let mut program = Program::start(&format!("{role} on {}", runtime.name()), &mut command);
        program.hear_on(Stream::Stderr, "registered", |line| line.contains("registered").then_some(()));
        program
    };
    let mut bob = join(Runtime::Mio, "answer");
    let mut alice = join(Runtime::Smol, "offer");
    talk(&mut alice, "everyone", &mut bob);
    alice.type_line("quit");
    alice.wait();
    server.hear("disconnected");
    bob.hear_on(Stream::Stderr, "everyone left", |line| line.contains("everyone left").then_some(()));
}

/// A text each way once the channel is open.
fn talk(alice: &mut Program, bobs_name: &str, bob: &mut Program) {
    alice.hear_on(Stream::Stderr, "channel chat is open", |line| line.contains("channel chat is open").then_some(()));
    alice.type_line("send chat hello");
    bob.hear("[everyone] chat: hello");
    bob.type_line("broadcast hello back");
    alice.hear(&format!("[{bobs_name}] chat: hello back"));
}

fn start(server: &Server, version: &str, transport: &str) -> Program {
    needs(tools().join("socketio/node_modules/client-09"));
    let mut command = Command::new("node");
    command.arg(source().join("tests/interop/socketio.cjs"));
    command.args([&format!("http://{}", server.addr), version, transport]);
    Program::start(&format!("client {version} by {transport}"), &mut command)
}

/// S10, S11: the article's `json.send` in our own script, and polling, from pages of another origin.
#[test]
fn pages_of_another_origin_talk_in_chromium() {
    const PAGES: [&str; 3] = ["own", "four", "legacy"];
    let _turn = alone();
    needs(tools().join("socketio/node_modules/client-09"));
    for runtime in Runtime::ALL {
        let server = Server::start(runtime);
        let mut command = Command::new("node");
        command.arg(source().join("tests/interop/socketio-pages.mjs")).arg(format!("http://{}", server.addr));
        let mut browser = Program::start("three pages", &mut command);
        for page in PAGES {
            browser.hear(&format!("{page} connect"));
        }
        for sender in PAGES {
            let message = format!(r#"{{"type":"offer","sdp":"v=0\r\no={sender} 縁\r\n"}}"#);
            browser.type_line(&format!("{sender} {message}"));
            let mut others: Vec<String> =
                PAGES.iter().filter(|page| **page != sender).map(|page| format!("{page} message {message}")).collect();
            while !others.is_empty() {
                let heard = browser.hear("message");
                assert!(others.contains(&heard), "{heard}\n{browser}");
                others.retain(|other| *other != heard);
            }
        }
        browser.type_line("close own");
        let mut told = [browser.hear("user disconnected"), browser.hear("user disconnected")];
        told.sort();
        assert_eq!(told, ["four user disconnected", "legacy user disconnected"], "{browser}");
    }
}
