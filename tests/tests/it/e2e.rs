//! The real program, several processes of it, on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use enishi_tests::process::{PATIENCE, Program, Runtime, Server, Stream, alone, enishi, remarkable_text};

/// From the start of the second peer to the last text.
const CALL: Duration = Duration::from_secs(5);

#[test]
fn mio_calls_mio() {
    call(Runtime::Mio, Runtime::Mio, Runtime::Mio);
}

#[test]
fn mio_calls_smol() {
    call(Runtime::Smol, Runtime::Mio, Runtime::Smol);
}

#[test]
fn smol_calls_mio() {
    call(Runtime::Mio, Runtime::Smol, Runtime::Mio);
}

#[test]
fn smol_calls_smol() {
    call(Runtime::Smol, Runtime::Smol, Runtime::Smol);
}

fn call(server: Runtime, offers: Runtime, answers: Runtime) {
    let _turn = alone();
    let server = Server::start(server);
    let mut bob = peer(&server, answers, "enishi", &["--role", "answer", "--id", "bob"]);
    let started = Instant::now();
    let mut alice = peer(&server, offers, "enishi", &["--role", "offer", "--id", "alice", "--target", "bob"]);
    open(&mut alice);
    exchange((&mut alice, "alice"), (&mut bob, "bob"), "hello");
    let took = started.elapsed();
    assert!(took < CALL, "the call took {took:?}\n{alice}\n{bob}");
    exchange((&mut alice, "alice"), (&mut bob, "bob"), &remarkable_text());
}

/// The server passes each dialect's call on to a peer that speaks our own.
#[test]
fn every_dialect_calls_ours() {
    let _turn = alone();
    let server = Server::start(Runtime::Mio);
    let mut bob = peer(&server, Runtime::Mio, "enishi", &["--role", "answer", "--id", "bob"]);
    for dialect in ["conic-a", "conic-b", "conic-c", "enishi"] {
        // The older conic generations have their ids from the server, whatever is asked for.
        let mut caller = peer(&server, Runtime::Mio, dialect, &["--role", "offer", "--id", dialect, "--target", "bob"]);
        open(&mut caller);
        caller.type_line(&format!("send chat hello from {dialect}"));
        bob.hear(&format!("chat: hello from {dialect}"));
        bob.type_line(&format!("broadcast hello {dialect}"));
        caller.hear(&format!("[bob] chat: hello {dialect}"));
    }
}

/// Two peers that offer to each other at once end with one connection.
#[test]
fn both_offer_at_once() {
    let _turn = alone();
    let server = Server::start(Runtime::Smol);
    let mut alice = peer(&server, Runtime::Mio, "enishi", &["--role", "answer", "--id", "alice"]);
    let mut bob = peer(&server, Runtime::Smol, "enishi", &["--role", "answer", "--id", "bob"]);
    alice.type_line("offer bob");
    bob.type_line("offer alice");
    open(&mut alice);
    open(&mut bob);
    exchange((&mut alice, "alice"), (&mut bob, "bob"), "hello");
}

#[test]
fn calls_outlive_the_server_on_mio() {
    outlive(Runtime::Mio);
}

#[test]
fn calls_outlive_the_server_on_smol() {
    outlive(Runtime::Smol);
}

fn outlive(runtime: Runtime) {
    let _turn = alone();
    let mut server = Server::start(runtime);
    let mut bob = peer(&server, runtime, "enishi", &["--role", "answer", "--id", "bob"]);
    let mut alice = peer(&server, runtime, "enishi", &["--role", "offer", "--id", "alice", "--target", "bob"]);
    open(&mut alice);
    exchange((&mut alice, "alice"), (&mut bob, "bob"), "hello");

    server.program.kill();
    exchange((&mut alice, "alice"), (&mut bob, "bob"), "still here");

    let server = Server::start_at(runtime, server.addr);
    registered(&mut alice);
    registered(&mut bob);
    exchange((&mut alice, "alice"), (&mut bob, "bob"), "here again");
    let mut carol = peer(&server, runtime, "enishi", &["--role", "offer", "--id", "carol", "--target", "bob"]);
    open(&mut carol);
    exchange((&mut carol, "carol"), (&mut bob, "bob"), "and me");
}

#[test]
fn relayed_texts_pass_through_the_server() {
    let _turn = alone();
    for runtime in Runtime::ALL {
        let server = Server::start(runtime);
        let mut bob = peer(&server, runtime, "conic-c", &["--role", "answer", "--id", "bob"]);
        let mut alice = peer(&server, runtime, "conic-c", &["--role", "answer", "--id", "alice"]);
        let text = remarkable_text();
        alice.type_line(&format!("relay bob notes {text}"));
        let heard = bob.hear(&text);
        assert!(heard.contains("alice") && heard.contains("notes"), "{heard}\n{bob}");
    }
}

/// conic's demo (C15): three texts each way, printed on both sides as its own peers print them.
#[test]
fn greetings_look_as_in_conics_demo() {
    let _turn = alone();
    let server = Server::start(Runtime::Mio);
    let mut bob = peer(&server, Runtime::Mio, "conic-c", &["--role", "answer", "--id", "bob", "--greet"]);
    let offer = ["--role", "offer", "--id", "alice", "--target", "bob", "--greet"];
    let mut alice = peer(&server, Runtime::Smol, "conic-c", &offer);
    let from_alice = ["Hello from offer side!", "This is a sample message", "WebRTC data channel is working!"];
    let from_bob = ["Hello from answer side!", "Thanks for the messages!", "Data channel communication confirmed!"];
    for (program, said, heard) in [(&mut alice, from_alice, from_bob), (&mut bob, from_bob, from_alice)] {
        whole_line(program, Stream::Stderr, "📨 Data channel 'chat' is open");
        for text in said {
            whole_line(program, Stream::Stderr, &format!("✅ Sent: {text}"));
        }
        for text in heard {
            whole_line(program, Stream::Stdout, &format!("📩 Received: {text}"));
        }
    }
}

/// Tony Bai's clients (B7): each side prints what it sends and what it hears, as the article's log shows it.
#[test]
fn chatter_looks_as_in_tony_bais_article() {
    let _turn = alone();
    let server = Server::start(Runtime::Mio);
    let mut bob = peer(&server, Runtime::Smol, "tonybai", &["--role", "answer", "--chatter", "500ms"]);
    let offer = ["--role", "offer", "--target", "answer-peer-1", "--chatter", "500ms"];
    let mut alice = peer(&server, Runtime::Mio, "tonybai", &offer);
    for (program, side) in [(&mut alice, "offer"), (&mut bob, "answer")] {
        let rest = "Random messages will now be sent to any connected DataChannels every 0.5 seconds";
        whole_line(program, Stream::Stderr, &format!("{side}: Data channel 'data' open. {rest}"));
    }
    for _ in 0..2 {
        let text = chattered(&mut alice, "offer");
        whole_line(&mut bob, Stream::Stdout, &format!("answer: message from DataChannel 'data': '{text}'"));
        let text = chattered(&mut bob, "answer");
        whole_line(&mut alice, Stream::Stdout, &format!("offer: Message from DataChannel 'data': '{text}'"));
    }
}

/// The next text of chatter that a peer says it sends.
fn chattered(peer: &mut Program, side: &str) -> String {
    let start = format!("{side}: Sending '");
    let pick = |line: &str| line.strip_prefix(&start)?.strip_suffix('\'').map(str::to_owned);
    let text = peer.hear_on(Stream::Stderr, &start, pick);
    let number = text.strip_prefix(side).and_then(|rest| rest.strip_prefix('-'));
    assert!(number.is_some_and(|number| number.parse::<u32>().is_ok()), "{text}");
    text
}

/// Waits for a line that is this and nothing else.
fn whole_line(peer: &mut Program, stream: Stream, wanted: &str) {
    peer.hear_on(stream, wanted, |line| (line == wanted).then_some(()));
}

#[test]
fn peers_quit_with_success() {
    let _turn = alone();
    for runtime in Runtime::ALL {
        let server = Server::start(runtime);
        let mut bob = peer(&server, runtime, "enishi", &["--role", "answer", "--id", "bob"]);
        let mut alice = peer(&server, runtime, "enishi", &["--role", "offer", "--id", "alice", "--target", "bob"]);
        open(&mut alice);
        alice.type_line("quit");
        assert_eq!(alice.wait().code(), Some(0), "{alice}");
        bob.signal("TERM");
        assert_eq!(bob.wait().code(), Some(0), "{bob}");
    }
}

#[test]
fn servers_end_with_success_when_asked() {
    let _turn = alone();
    for runtime in Runtime::ALL {
        for signal in ["TERM", "INT"] {
            let mut server = Server::start(runtime);
            let _client = peer(&server, runtime, "enishi", &["--role", "answer", "--id", "bob"]);
            let started = Instant::now();
            server.program.signal(signal);
            assert_eq!(server.program.wait().code(), Some(0), "{}", server.program);
            assert!(started.elapsed() < CALL, "{}", server.program);
        }
    }
}

#[test]
fn every_endpoint_answers() {
    let _turn = alone();
    for runtime in Runtime::ALL {
        let server = Server::start(runtime);
        let _client = peer(&server, runtime, "enishi", &["--role", "answer", "--id", "bob"]);
        let get = |path: &str| http(server.addr, &format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr));

        assert_eq!(get("/livez").status, 200);
        assert_eq!(get("/readyz").status, 200);

        for path in ["/", "/endpoints"] {
            let page = get(path);
            assert_eq!(page.status, 200);
            assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
        }
        let page = get("/endpoints");
        for endpoint in ["/ws", "/livez", "/readyz", "/stats", "/metrics", "/ice"] {
            assert!(page.body.contains(endpoint), "{endpoint} is not on the page: {page:?}");
        }

        let stats = get("/stats");
        assert_eq!((stats.status, &*stats.header("content-type")), (200, "application/json"), "{stats:?}");
        let numbers: serde_json::Value = serde_json::from_str(&stats.body).expect("JSON");
        assert_eq!(numbers["connected_clients"], 1, "{numbers}");

        let metrics = get("/metrics");
        assert_eq!(metrics.status, 200);
        assert!(metrics.header("content-type").starts_with("text/plain"), "{metrics:?}");
        assert!(metrics.body.contains("# TYPE "), "{metrics:?}");

        let ice = get("/ice");
        assert_eq!((ice.status, &*ice.header("content-type")), (200, "application/json"), "{ice:?}");
        let configuration: serde_json::Value = serde_json::from_str(&ice.body).expect("JSON");
        assert!(configuration["iceServers"].is_array(), "{configuration}");
    }
}

#[test]
fn wrong_requests_are_told_why() {
    let _turn = alone();
    for runtime in Runtime::ALL {
        let server = Server::start(runtime);
        let host = format!("Host: {}", server.addr);
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let long = "x".repeat(9000);
        for (request, status) in [
            (format!("GET /nowhere HTTP/1.1\r\n{host}\r\n\r\n"), 404),
            (format!("DELETE /stats HTTP/1.1\r\n{host}\r\n\r\n"), 405),
            (format!("GET /ws HTTP/1.1\r\n{host}\r\n\r\n"), 426),
            (format!("GET /ws HTTP/1.1\r\n{host}\r\n{upgrade}\r\nOrigin: https://elsewhere.example\r\n\r\n"), 403),
            (format!("GET /ws HTTP/1.1\r\n{host}\r\n{upgrade}\r\nOrigin: http://{}\r\n\r\n", server.addr), 101),
            (format!("GET / HTTP/1.1\r\n{host}\r\nX-Long: {long}\r\n\r\n"), 431),
            ("not a request\r\n\r\n".to_owned(), 400),
        ] {
            let answer = http(server.addr, &request);
            let start: String = request.chars().take(200).collect();
            assert_eq!(answer.status, status, "{start}\n{answer:?}\n{}", server.program);
            if ![101, 431].contains(&status) {
                assert!(!answer.body.trim().is_empty(), "{status} without a word\n{start}\n{answer:?}");
            }
        }
    }
}

#[test]
fn four_processes_make_a_mesh_in_enishi() {
    mesh([("enishi", "chat"); 4]);
}

#[test]
fn four_processes_make_a_mesh_in_mesh() {
    mesh([("mesh", "messages"); 4]);
}

#[test]
fn four_processes_of_two_dialects_make_a_mesh() {
    mesh([("mesh", "messages"), ("enishi", "chat"), ("enishi", "chat"), ("mesh", "messages")]);
}

/// Each with its dialect and the label of the channels that it opens, on both runtimes. All connect, hear a
/// broadcast, and notice that one of them is killed.
fn mesh(cast: [(&str, &str); 4]) {
    let _turn = alone();
    let server = Server::start(Runtime::Smol);
    let names = ["a", "b", "c", "d"];
    let mut peers: Vec<Program> = Vec::new();
    for (index, ((dialect, label), name)) in cast.into_iter().zip(names).enumerate() {
        let mut newcomer = peer(&server, Runtime::ALL[index % 2], dialect, &["--room", "demo", "--id", name]);
        for _ in 0..index {
            open_as(&mut newcomer, label);
        }
        for (earlier, _) in names.iter().enumerate().take(index) {
            open_as(&mut peers[earlier], label);
        }
        peers.push(newcomer);
    }
    peers[1].type_line("broadcast hello all");
    for index in [0, 2, 3] {
        peers[index].hear("hello all");
    }
    let (_, label) = cast[3];
    peers[3].type_line(&format!("send --to a {label} only for you"));
    peers[0].hear(&format!("[d] {label}: only for you"));
    peers[2].kill();
    for index in [0, 1, 3] {
        // In any order: the server gives a session of our own protocol 10 s to come back, ICE a path 9 s.
        let (mut left, mut closed) = (false, false);
        peers[index].hear_on(Stream::Stderr, "c left demo, and c: closed", |line| {
            left |= line.contains("c left demo");
            closed |= line.contains("c: closed");
            (left && closed).then_some(())
        });
    }
    peers[0].type_line("broadcast still here");
    for index in [1, 3] {
        peers[index].hear("still here");
    }
    assert!(!peers[1].lines(Stream::Stdout).iter().any(|line| line.contains("only for you")), "{}", peers[1]);
}

/// The room mesh's server has only a close frame to say so.
#[test]
fn an_id_that_is_taken_ends_a_peer_with_a_reason() {
    let _turn = alone();
    let server = Server::start(Runtime::Mio);
    let _first = peer(&server, Runtime::Mio, "mesh", &["--room", "demo", "--id", "a"]);
    for (runtime, dialect) in Runtime::ALL.into_iter().flat_map(|runtime| [(runtime, "mesh"), (runtime, "enishi")]) {
        let mut command = enishi();
        command.args(["peer", "--signal", &server.url(), "--dialect", dialect, "--runtime", runtime.name()]);
        let mut second = Program::start(dialect, command.args(["--room", "demo", "--id", "a"]));
        second.hear_on(Stream::Stderr, "taken", |line| line.contains("choose another").then_some(()));
        assert_eq!(second.wait().code(), Some(1), "{second}");
    }
}

/// Starts `enishi peer` and waits until the server knows it.
pub fn peer(server: &Server, runtime: Runtime, dialect: &str, args: &[&str]) -> Program {
    let mut command = enishi();
    command.args(["peer", "--signal", &server.url(), "--dialect", dialect, "--runtime", runtime.name()]).args(args);
    let mut program = Program::start(&format!("peer {} on {}", args.join(" "), runtime.name()), &mut command);
    registered(&mut program);
    program
}

fn registered(peer: &mut Program) {
    peer.hear_on(Stream::Stderr, "registered", |line| line.contains("registered").then_some(()));
}

/// Waits until the peer has an open channel.
pub fn open(peer: &mut Program) {
    open_as(peer, "chat");
}

/// Waits until the peer has another open channel of this label.
fn open_as(peer: &mut Program, label: &str) {
    let words = format!("channel {label} is open");
    peer.hear_on(Stream::Stderr, &words, |line| line.contains(&words).then_some(()));
}

/// A text each way on the channel `chat`.
pub fn exchange((alice, alice_id): (&mut Program, &str), (bob, bob_id): (&mut Program, &str), text: &str) {
    alice.type_line(&format!("send chat {text}, {bob_id}"));
    bob.hear(&format!("[{alice_id}] chat: {text}, {bob_id}"));
    bob.type_line(&format!("send chat {text}, {alice_id}"));
    alice.hear(&format!("[{bob_id}] chat: {text}, {alice_id}"));
}

/// An HTTP answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// The first header of this name, or nothing.
    fn header(&self, name: &str) -> String {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(':'));
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    }
}

/// One request, as curl would do it: the answer ends with its `Content-Length`, or after the head if there is none.
fn http(addr: SocketAddr, request: &str) -> Answer {
    let mut socket = TcpStream::connect(addr).expect("the server accepts");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // A server may answer and close before it has read all of a wrong request.
    let _ = socket.write_all(request.as_bytes());
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
            let answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
            let length = answer.header("content-length").parse().unwrap_or(0);
            if body.len() >= length {
                return answer;
            }
        }
        match socket.read(&mut buffer) {
            Ok(0) => panic!("the server closed after {text:?}"),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) => panic!("no answer to {request:?} after {text:?}: {error}"),
        }
    }
}
