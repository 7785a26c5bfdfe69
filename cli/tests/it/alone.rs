//! What one process does by itself: help, usage, configuration, completions.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::process::{Done, end, enishi, fed, run};

/// A directory of its own for a test.
fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("enishi-it-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

fn assert_says(done: &Done, code: i32, parts: &[&str]) {
    assert_eq!(done.code, Some(code), "{done:?}");
    for part in parts {
        assert!(done.out.contains(part) || done.err.contains(part), "no {part:?} in {done:?}");
    }
    assert!(!done.err.contains("panicked"), "{done:?}");
}

#[test]
fn help_has_examples_on_top_and_every_default_and_variable() {
    let done = run(&["--help"]);
    assert_says(&done, 0, &["enishi peer --role offer --id alice --target bob", "completions", "man"]);
    assert!(done.out.find("enishi signal") < done.out.find("Usage:"), "{}", done.out);
    assert_says(
        &run(&["signal", "--help"]),
        0,
        &["Examples:", "--listen", "ENISHI_LISTEN", "127.0.0.1:3000", "--max-clients", "ENISHI_MAX_CLIENTS", "20000"],
    );
    assert_says(
        &run(&["peer", "-h"]),
        0,
        &["Examples:", "--dialect", "conic-c", "ENISHI_SIGNAL", "ws://127.0.0.1:3000/ws]", "Exit codes"],
    );
    let short = run(&["signal", "-h"]);
    assert!(!short.out.contains("--max-clients"), "the short help is short: {}", short.out);
}

#[test]
fn the_version_is_one_line() {
    assert_says(&run(&["--version"]), 0, &[concat!("enishi ", env!("CARGO_PKG_VERSION"), "\n")]);
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_to_do() {
    for (arguments, parts) in [
        (&["signal", "--lisen", "x"][..], &["--lisen", "--listen"][..]),
        (&["sginal"], &["signal"]),
        (&["signal", "--listen", "localhost"], &["--listen"]),
        (&["signal", "--max-clients", "0"], &["--max-clients"]),
        (&["signal", "--ping-seconds", "60"], &["--dead-seconds"]),
        (&["signal", "--ice-server", "http://a"], &["stun:host:3478"]),
        (&["signal", "--allow-origin", "app.example"], &["https://app.example"]),
        (&["signal", "--token-file", "/nonexistent"], &["cannot read the token file /nonexistent"]),
        (&["signal", "--config", "/nonexistent"], &["cannot read the configuration file /nonexistent"]),
        (&["peer", "--room", "demo", "--dialect", "conic-c"], &["conic-c has no rooms", "mesh"]),
        (&["peer", "--room", "a b"], &["--room", "1 to 64 characters"]),
        (&["peer", "--signal", "http://127.0.0.1:3000"], &["begins with ws://"]),
        (&["peer", "--signal", "wss://127.0.0.1:3000"], &["wss:// is not supported yet"]),
        (&["peer", "--id", "b o b"], &["--id: 'b o b' is no id", "1 to 64 characters"]),
        (&["peer", "--target", "böb"], &["--target", "1 to 64 characters"]),
        (&["peer", "--dialect", "conic-d"], &["conic-c"]),
        (&["peer", "--role", "boss"], &["offer, answer"]),
        (&["peer", "--stun", "host:port"], &["--stun host:port: write a host and a port"]),
        (&["peer", "--exec", "sned chat x"], &["did you mean 'send'?"]),
        (&["peer", "--exec", "send chat"], &["Usage: send [--to <id>] <label> <text>"]),
        (&["turn-credentials", "--user", "alice"], &["--secret-file FILE or in ENISHI_TURN_SECRET"]),
        (&["turn-credentials", "--user", "a", "--secret", "s", "--ttl", "0"], &["seconds from 1 to"]),
        (&["turn-credentials", "--user", "a", "--secret", "s", "--uris", "stun:a"], &["begins with turn:"]),
        (&["signal", "--turn-secret-file", "/nonexistent"], &["needs --turn-uri"]),
        (&["signal", "--turn-uri", "turn:a"], &["needs --turn-secret-file"]),
        (&["signal", "--turn-uri", "turn:a", "--turn-secret-file", "/nonexistent"], &["cannot read", "/nonexistent"]),
        (&["peer", "--turn", "turns:a"], &["over TCP or TLS is not supported; try turn:a:5349?transport=udp"]),
        (&["peer", "--turn", "a:3478"], &["begins with turn:"]),
        (&["peer", "--turn", "turn:127.0.0.1"], &["--turn needs --turn-user USER"]),
        (&["peer", "--turn-user", "a"], &["--turn"]),
        (&["peer", "--ice-policy", "none"], &["all, default-route, relay"]),
        (&["man", "nothing"], &["there is no command 'nothing'"]),
        (&[], &["Usage:"]),
    ] {
        assert_says(&run(arguments), 2, parts);
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let script = format!("set -o pipefail; '{}' --help | head -1", env!("CARGO_BIN_EXE_enishi"));
    for arguments in ["--help", "completions bash", "man signal", "signal --check-config"] {
        let script = script.replace("--help", arguments);
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let done = end(bash);
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{arguments}");
        assert_eq!(done.out.lines().count(), 1, "{arguments}");
    }
}

#[test]
fn completions_are_scripts_that_a_shell_takes() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let done = run(&["completions", shell]);
        assert_says(&done, 0, &["enishi", "signal", "dialect"]);
    }
    let parsed = fed("bash", &["-n"], &run(&["completions", "bash"]).out);
    assert!(parsed.status.success() && parsed.stderr.is_empty(), "{parsed:?}");
}

#[test]
fn man_pages_are_pages() {
    assert_says(&run(&["man"]), 0, &[".TH enishi 1", "enishi\\-signal"]);
    assert_says(&run(&["man", "peer"]), 0, &[".TH enishi-peer 1", "\\-\\-max\\-retransmits"]);
}

#[test]
fn the_check_tells_each_value_and_where_it_comes_from() {
    let directory = directory("check");
    let (config, token) = (directory.join("enishi.toml"), directory.join("token"));
    fs::write(
        &config,
        "max-rooms = 5\nmax-clients = 6\nmax-connections = 7\nlisten = ['127.0.0.1:1', '127.0.0.1:2']\n",
    )
    .unwrap();
    fs::write(&token, "sesame\n").unwrap();
    let mut command = enishi(&["signal", "--check-config", "--max-connections", "9", "--config"]);
    command.arg(&config).arg("--token-file").arg(&token).env("ENISHI_MAX_CLIENTS", "8");
    let done = end(command);
    assert_eq!(done.code, Some(0), "{done:?}");
    let squeezed: Vec<String> =
        done.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let file = config.display();
    for line in [
        "max-connections = 9 (flag)".to_owned(),
        "max-clients = 8 (environment, ENISHI_MAX_CLIENTS)".to_owned(),
        format!("max-rooms = 5 (file, {file}:1)"),
        format!("listen = 127.0.0.1:1, 127.0.0.1:2 (file, {file}:4)"),
        "runtime = mio (default)".to_owned(),
        "ping-seconds = 15 (default)".to_owned(),
        "token is set".to_owned(),
    ] {
        assert!(squeezed.contains(&line), "no {line:?} in\n{}", done.out);
    }
    assert!(!done.out.contains("sesame"), "{}", done.out);

    fs::write(&config, "max-rooms = 5\nmax-room = 5\n").unwrap();
    let mut command = enishi(&["signal", "--check-config", "--config"]);
    command.arg(&config);
    assert_says(&end(command), 2, &["enishi.toml: line 2: there is no setting 'max-room'; did you mean 'max-rooms'?"]);
    fs::write(&config, "max-rooms = 'many'\n").unwrap();
    let mut command = enishi(&["signal", "--check-config", "--config"]);
    command.arg(&config);
    assert_says(&end(command), 2, &["enishi.toml: line 1: invalid value 'many' for '--max-rooms"]);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_variable_is_as_good_as_a_flag_and_checked_like_one() {
    let mut command = enishi(&["signal", "--check-config"]);
    command.env("ENISHI_LISTEN", "127.0.0.1:1,[::1]:2").env("ENISHI_RUNTIME", "smol");
    assert_says(&end(command), 0, &["127.0.0.1:1, [::1]:2", "smol"]);
    let mut command = enishi(&["signal", "--check-config"]);
    command.env("ENISHI_STALL_SECONDS", "soon");
    assert_says(&end(command), 2, &["--stall-seconds"]);
}

/// The vectors of `protocols.md` 002.4.
#[test]
fn turn_credentials_are_those_of_the_article() {
    let uris = "turn:a?transport=udp,turn:a?transport=tcp,turns:a:5349?transport=tcp";
    let arguments = ["--user", "alice", "--expires", "1700086400", "--uris", uris];
    let done = run(&[&["turn-credentials", "--secret", "s3cret"][..], &arguments].concat());
    let wanted = "{\"username\":\"1700086400:alice\",\"password\":\"HJX0XIkrCiQCuU88Z0oeXj+QW60=\",\"ttl\":0,\
                  \"uris\":[\"turn:a?transport=udp\",\"turn:a?transport=tcp\",\"turns:a:5349?transport=tcp\"]}\n";
    assert_eq!((done.code, done.out.as_str()), (Some(0), wanted), "{done:?}");

    let mut command = enishi(&["turn-credentials", "--user", "webrtc", "--expires", "1893456000"]);
    command.env("ENISHI_TURN_SECRET", "north");
    assert_says(&end(command), 0, &["\"1893456000:webrtc\"", "\"nLOyMmPrTZ5kI28Svak7KeGszTA=\"", "\"uris\":[]"]);

    let unix = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let before = unix();
    let done = run(&["turn-credentials", "--secret", "s3cret", "--user", "alice"]);
    let username = done.out.split('"').nth(3).unwrap_or_default();
    let expires: u64 = username.split(':').next().unwrap_or_default().parse().unwrap_or_default();
    assert!((before + 86_400..=unix() + 86_400).contains(&expires), "{done:?}");
    assert!(done.out.contains("\"ttl\":86400"), "{done:?}");
}

/// Whoever can reach such a server could use the operator's TURN server for anything.
#[test]
fn turn_credentials_are_not_for_everybody() {
    let directory = directory("turn");
    let secret = directory.join("secret");
    fs::write(&secret, "north\n").unwrap();
    let check = |arguments: &[&str]| {
        let mut command =
            enishi(&["signal", "--check-config", "--turn-uri", "turn:turn.example", "--turn-secret-file"]);
        command.arg(&secret).args(arguments);
        command
    };
    let public = ["--listen", "127.0.0.1:0", "--listen", "0.0.0.0:0"];
    let done = end(check(&public));
    assert_says(&done, 2, &["open relay", "--token-file"]);
    assert_eq!(done.err.lines().count(), 1, "{done:?}");
    let mut with_token = check(&public);
    with_token.env("ENISHI_TOKEN", "sesame");
    for command in [with_token, check(&[])] {
        let done = end(command);
        assert_says(&done, 0, &["TURN secret is set", "turn:turn.example", "600  (default)"]);
        assert!(!done.out.contains("north"), "{done:?}");
    }
    fs::remove_dir_all(directory).unwrap();
}
