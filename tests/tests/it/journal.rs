//! Journals of real runs: what two drivers did with real sockets is what the machine does without any.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use enishi_core::journal::{self, End, Entries, Entry};
use enishi_tests::bench_server::{Bench, Got};
use enishi_tests::process::{PATIENCE, Runtime, Server, alone, enishi};
use tungstenite::{Message, WebSocket};

/// What a journal without secrets must not have.
const SECRETS: [&str; 5] = ["alice", "meadow", "sha-256 4A:AD", "8hhY", "198.51.100.7"];

const SDP: &str = "v=0\\r\\no=- 0 0 IN IP4 198.51.100.7\\r\\na=ice-pwd:8hhY\\r\\na=fingerprint:sha-256 4A:AD\\r\\n";

/// A new file's name in a folder that goes with the build.
fn file(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}.journal", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn record(runtime: Runtime, path: &Path, more: &[&str]) -> Server {
    let arguments = [&["--record", path.to_str().unwrap()], more].concat();
    Server::start_with(runtime, SocketAddr::from(([127, 0, 0, 1], 0)), &arguments)
}

fn replay(path: &Path, more: &[&str]) -> Output {
    let mut command: Command = enishi();
    command.arg("replay").arg(path).args(more).output().unwrap()
}

fn says(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// A client with a script: says something, hears until something.
struct Client {
    socket: WebSocket<TcpStream>,
    heard: Vec<String>,
}

impl Client {
    fn open(server: &Server, path: &str) -> Self {
        let stream = TcpStream::connect(server.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(format!("ws://{}{path}", server.addr), stream).unwrap();
        Client { socket, heard: Vec::new() }
    }

    fn say(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).unwrap();
    }

    fn hear(&mut self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    self.heard.push(text.as_str().to_owned());
                    if text.contains(part) {
                        return text.as_str().to_owned();
                    }
                }
                Ok(_) => {}
                Err(error) => panic!("{error} before {part:?}; heard {:?}", self.heard),
            }
        }
        panic!("no {part:?} in time; heard {:?}", self.heard);
    }

    /// Everything up to the end.
    fn rest(&mut self) {
        while let Ok(message) = self.socket.read() {
            if let Message::Text(text) = message {
                self.heard.push(text.as_str().to_owned());
            }
        }
    }
}

/// Two clients of our own protocol, one of conic's, one of Tony Bai's doors, a plain request, a lost connection and its
/// resumption, rubbish, a shutdown. What each heard, in the order in which they came.
fn evening(server: &mut Server) -> Vec<Vec<String>> {
    let mut alice = Client::open(server, "/v1");
    alice.say(r#"{"type":"hello","id":"alice"}"#);
    let welcome = alice.hear("welcome");
    let token = welcome.split(r#""resumeToken":""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let mut bob = Client::open(server, "/ws");
    bob.say(r#"{"type":"hello","id":"bob"}"#);
    bob.hear("welcome");
    for client in [&mut alice, &mut bob] {
        client.say(r#"{"type":"join","room":"meadow","ref":"7"}"#);
        client.hear("roster");
    }
    alice.say(format!(r#"{{"type":"offer","to":"bob","sdp":"{SDP}"}}"#));
    bob.hear("offer");
    let mut carol = Client::open(server, "/ws");
    carol.say(r#"{"type":"register","id":"carol"}"#);
    carol.say("no JSON");
    carol.say(r#"{"type":"hello","id":"carol"}"#);
    bob.say(r#"{"type":"data","room":"meadow","label":"chat","text":"good evening, \u7e01 🎉"}"#);
    alice.hear("good evening");
    drop(std::mem::replace(&mut alice.socket, Client::open(server, "/v1").socket));
    alice.say(format!(r#"{{"type":"hello","resume":{{"token":"{token}","received":4}}}}"#));
    alice.hear("resumed");
    alice.say(r#"{"type":"list"}"#);
    alice.hear("peers");
    server.program.signal("TERM");
    for client in [&mut alice, &mut bob, &mut carol] {
        client.rest();
    }
    assert_eq!(server.program.wait().code(), Some(0), "{}", server.program);
    vec![alice.heard, bob.heard, carol.heard]
}

#[test]
fn a_run_on_mio_replays() {
    replays(Runtime::Mio);
}

#[test]
fn a_run_on_smol_replays() {
    replays(Runtime::Smol);
}

fn replays(runtime: Runtime) {
    let _turn = alone();
    for secrets in [&["--record-secrets"][..], &[]] {
        let path = file(&format!("{}-{}", runtime.name(), secrets.len()));
        evening(&mut record(runtime, &path, secrets));
        let replayed = replay(&path, &[]);
        let said = says(&replayed);
        assert_eq!(replayed.status.code(), Some(0), "{said}");
        assert!(said.contains("the journal is whole") && said.contains("the same as recorded"), "{said}");
        assert_eq!(replay(&path, &[]).stdout, replayed.stdout);

        let explained = says(&replay(&path, &["--explain"]));
        let bytes = std::fs::read(&path).unwrap();
        for secret in SECRETS {
            let is_there = !secrets.is_empty();
            assert_eq!(explained.contains(secret), is_there, "{secret}\n{explained}");
            assert_eq!(bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), is_there, "{secret}");
        }
        assert!(explained.contains("welcome") && !explained.contains('\x1b'), "{explained}");
        let two = says(&replay(&path, &["--until", "2", "--explain"]));
        assert!(two.contains("\n#2 ") && !two.contains("\n#3 ") && two.contains("stopped as asked"), "{two}");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_file(path).unwrap();
    }
}

/// One trace of inputs through three: a driver with sockets, the bench, and (above) the replay. What clients heard from
/// the first is what the second says.
#[test]
fn the_bench_says_what_drivers_said() {
    let _turn = alone();
    for runtime in Runtime::ALL {
        let path = file(&format!("bench-{}", runtime.name()));
        let heard = evening(&mut record(runtime, &path, &["--record-secrets"]));
        let journal = std::fs::read(&path).unwrap();
        let (header, mut entries) = Entries::open(&journal).unwrap();
        let mut bench = Bench::starting(header.unix, header.seed, header.config);
        let start = bench.now;
        for entry in entries.by_ref() {
            if let Entry::Input { at, input } = entry {
                bench.now = start + at;
                bench.input(input);
            }
        }
        assert_eq!(entries.end(), Some(&End::Whole));
        assert!(bench.drained);
        // Connections are counted in the order in which they were accepted; the fourth is the first's return.
        let conns = bench.known();
        let told: Vec<Vec<String>> = conns.into_iter().map(|conn| texts(bench.take(conn))).collect();
        let [first, bob, carol, back] = told.try_into().expect("four connections");
        // What was on its way when the connection was lost counts as told.
        let alice: Vec<String> = [first, back].concat();
        assert_eq!(heard, [alice, bob, carol], "{runtime:?}");
        std::fs::remove_file(path).unwrap();
    }
}

fn texts(got: Vec<Got>) -> Vec<String> {
    got.into_iter().filter_map(|got| if let Got::Text(text) = got { Some(text) } else { None }).collect()
}

#[test]
fn a_killed_server_leaves_its_journal() {
    let _turn = alone();
    for runtime in Runtime::ALL {
        let path = file(&format!("killed-{}", runtime.name()));
        let mut server = record(runtime, &path, &["--record-secrets"]);
        let mut alice = Client::open(&server, "/v1");
        alice.say(r#"{"type":"hello","id":"alice"}"#);
        alice.hear("welcome");
        let start = Instant::now();
        while !says(&replay(&path, &["--explain"])).contains("welcome") {
            assert!(start.elapsed() < Duration::from_secs(5), "{}", says(&replay(&path, &["--explain"])));
        }
        server.program.kill();
        let replayed = replay(&path, &[]);
        assert_eq!(replayed.status.code(), Some(0), "{}", says(&replayed));
        assert!(says(&replayed).contains("stops without an end"), "{}", says(&replayed));

        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let cut = replay(&path, &[]);
        assert_eq!(cut.status.code(), Some(0), "{}", says(&cut));
        assert!(says(&cut).contains("the journal is cut: a frame that is not whole at byte "), "{}", says(&cut));

        std::fs::write(&path, other_digest(&bytes)).unwrap();
        let different = replay(&path, &[]);
        assert_eq!(different.status.code(), Some(1), "{}", says(&different));
        assert!(says(&different).contains("input 1 had other outputs when it was recorded"), "{}", says(&different));
        std::fs::remove_file(path).unwrap();
    }
}

/// The same journal, but for the recorded digests.
fn other_digest(journal: &[u8]) -> Vec<u8> {
    let mut rest = &journal[journal::MAGIC.len() + 2..];
    let mut bodies = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let end = 4 + u32::from_le_bytes(*length) as usize;
        let mut body = after[4..end].to_vec();
        // Frames with outputs have the tag 1 and then the digest; the header is the first frame.
        if !bodies.is_empty() && body[0] == 1 {
            body[1] ^= 1;
        }
        bodies.push(body);
        rest = &after[end..];
    }
    journal::framed(bodies.iter().map(Vec::as_slice))
}

#[test]
fn what_is_no_journal_is_refused_and_no_file_is_replaced() {
    let _turn = alone();
    let path = file("other");
    std::fs::write(&path, "dear diary").unwrap();
    let refused = replay(&path, &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(says(&refused).contains("this is no journal"), "{}", says(&refused));
    std::fs::write(&path, b"enishi journal\n\x02\0").unwrap();
    let refused = replay(&path, &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(says(&refused).contains("has version 2"), "{}", says(&refused));

    let mut command = enishi();
    command.args(["signal", "--listen", "127.0.0.1:0", "--record"]).arg(&path);
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(says(&refused).contains("a recording replaces no file"), "{}", says(&refused));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(replay(&path, &[]).status.code(), Some(2));
}
