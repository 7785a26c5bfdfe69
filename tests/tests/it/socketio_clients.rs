//! Socket.IO's official clients, three generations of them, with each other through `enishi signal`.

use std::process::Command;

use enishi_tests::process::{Program, Runtime, Server, Stream, alone, needs, source, tools};

/// Version, and transports in the words of `socketio.cjs`.
const CLIENTS: [(&str, &str); 8] = [
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

fn start(server: &Server, version: &str, transport: &str) -> Program {
    needs(tools().join("socketio/node_modules/client-09"));
    let mut command = Command::new("node");
    command.arg(source().join("tests/interop/socketio.cjs"));
    command.args([&format!("http://{}", server.addr), version, transport]);
    Program::start(&format!("client {version} by {transport}"), &mut command)
}
