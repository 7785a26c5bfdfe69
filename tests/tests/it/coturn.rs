//! A TURN server that nobody here wrote, in shared-secret mode, and the real program.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use enishi_tests::process::{Coturn, Program, Runtime, Server, Stream, alone, enishi, remarkable_text};
use serde_json::Value;

use crate::e2e::{exchange, open, peer};

const SECRET: &str = "north of the river";
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A file that only this test writes, gone with it.
struct Secret(PathBuf);

impl Secret {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("enishi-coturn-{name}-{}", std::process::id()));
        fs::write(&path, text).expect("a file");
        Secret(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What `enishi turn-credentials` prints: user name and password.
fn credentials(user: &str, arguments: &[&str]) -> (String, String) {
    let secret = Secret::new(&format!("secret-{user}"), &format!("{SECRET}\n"));
    let mut command = enishi();
    command.args(["turn-credentials", "--secret-file", secret.path(), "--user", user]).args(arguments);
    let output = command.output().expect("it runs");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let text = |key: &str| json[key].as_str().expect("a text").to_owned();
    (text("username"), text("password"))
}

/// Starts a peer that may only use this TURN server.
fn relay_only(server: &Server, runtime: Runtime, coturn: &Coturn, id: &str, minted: &[&str], more: &[&str]) -> Program {
    let (user, password) = credentials(id, minted);
    let password = Secret::new(&format!("password-{id}"), &password);
    let (uri, file) = (coturn.uri(), password.path());
    let mut arguments = vec!["--id", id, "--ice-policy", "relay", "--turn", &uri, "--turn-user", &user];
    arguments.extend(["--turn-password-file", file]);
    arguments.extend(more);
    peer(server, runtime, "enishi", &arguments)
}

fn assert_relayed(peer: &mut Program) {
    peer.type_line("stats");
    let line = peer.hear(": connected, ");
    assert!(line.contains(", relayed, "), "{line}\n{peer}");
    let local = line.split([' ', ',']).find_map(|word| word.parse::<SocketAddr>().ok()).expect("an address");
    let port = local.port();
    assert!((20_000..=20_999).contains(&port), "not an address of coturn: {line}");
}

#[test]
fn credentials_that_we_print_open_coturn() {
    let _turn = alone();
    let coturn = Coturn::start(SECRET);
    for runtime in Runtime::ALL {
        let server = Server::start(runtime);
        let mut bob = relay_only(&server, runtime, &coturn, "bob", &[], &["--role", "answer"]);
        let offer = ["--role", "offer", "--target", "bob"];
        let mut alice = relay_only(&server, runtime, &coturn, "alice", &["--ttl", "60"], &offer);
        open(&mut alice);
        exchange((&mut alice, "alice"), (&mut bob, "bob"), "hello");
        exchange((&mut alice, "alice"), (&mut bob, "bob"), &remarkable_text());
        assert_relayed(&mut alice);
        assert_relayed(&mut bob);
    }
}

/// `enishi signal` mints for each client, and its clients need no flag but the policy.
#[test]
fn credentials_of_the_welcome_open_coturn() {
    let _turn = alone();
    let coturn = Coturn::start(SECRET);
    let secret = Secret::new("server", SECRET);
    // A name has to be looked up first.
    let uri = format!("turn:localhost:{}", coturn.addr.port());
    let arguments = ["--turn-secret-file", secret.path(), "--turn-uri", &uri];
    let server = Server::start_with(Runtime::Mio, LOOPBACK, &arguments);
    let mut bob = peer(&server, Runtime::Smol, "enishi", &["--id", "bob", "--ice-policy", "relay"]);
    let offer = ["--role", "offer", "--id", "alice", "--target", "bob", "--ice-policy", "relay"];
    let mut alice = peer(&server, Runtime::Mio, "enishi", &offer);
    open(&mut alice);
    exchange((&mut alice, "alice"), (&mut bob, "bob"), "hello");
    assert_relayed(&mut alice);
    assert_relayed(&mut bob);
}

#[test]
fn expired_credentials_are_refused_in_words() {
    let _turn = alone();
    let coturn = Coturn::start(SECRET);
    let server = Server::start(Runtime::Mio);
    let _bob = peer(&server, Runtime::Mio, "enishi", &["--role", "answer", "--id", "bob"]);
    let offer = ["--role", "offer", "--target", "bob"];
    let mut alice = relay_only(&server, Runtime::Mio, &coturn, "alice", &["--expires", "1700000000"], &offer);
    let wanted = "the credentials of 1700000000:alice expired at 2023-11-14T22:13:20Z; ask for new ones";
    alice.hear_on(Stream::Stderr, wanted, |line| line.contains(wanted).then_some(()));
}

#[test]
fn a_wrong_secret_is_refused_in_words() {
    let _turn = alone();
    let coturn = Coturn::start("another secret");
    let server = Server::start(Runtime::Mio);
    let _bob = peer(&server, Runtime::Mio, "enishi", &["--role", "answer", "--id", "bob"]);
    let offer = ["--role", "offer", "--target", "bob"];
    let mut alice = relay_only(&server, Runtime::Mio, &coturn, "alice", &[], &offer);
    let wanted = "alice; check user and password";
    alice.hear_on(Stream::Stderr, wanted, |line| line.contains(wanted).then_some(()));
}
