//! The page in real browsers; `tests/interop/page.mjs` has the scenarios, this has the servers and terminals they ask for.

use std::path::{Path, PathBuf};
use std::process::Command;

use enishi_tests::process::{Program, Runtime, Server, Stream, alone, needs, source, tools};

use crate::e2e::peer;

#[test]
fn two_pages_see_and_hear_each_other() {
    play("two_pages");
}

#[test]
fn two_pages_that_hide_their_addresses_connect() {
    play("hidden_addresses");
}

#[test]
fn four_pages_see_each_other_and_one_is_closed() {
    play("four_pages");
}

#[test]
fn who_leaves_is_gone_at_once() {
    play("leaving");
}

#[test]
fn files_arrive_intact_or_not_at_all() {
    play("files");
}

#[test]
fn a_screen_takes_the_place_of_the_camera_and_gives_it_back() {
    play("screen_share");
}

#[test]
fn a_recording_has_the_right_length_and_plays() {
    play("recording");
}

#[test]
fn a_call_survives_its_server() {
    play("server_restart");
}

#[test]
fn a_page_that_was_offline_comes_back() {
    play("offline_and_back");
}

#[test]
fn both_can_press_retry_at_once() {
    play("both_retry");
}

#[test]
fn without_permission_one_can_still_take_part() {
    play("permission_denied");
}

#[test]
fn without_devices_one_can_still_take_part() {
    play("no_devices");
}

#[test]
fn a_terminal_chats_with_a_page() {
    play("terminal");
}

#[test]
fn a_terminal_shows_its_picture_and_plays_its_tone_to_a_page() {
    play("terminal_sends");
}

#[test]
fn a_terminal_records_the_camera_of_a_page() {
    play("terminal_records");
}

#[test]
fn nothing_in_the_page_keeps_people_out() {
    play("accessible");
}

#[test]
fn a_keyboard_is_enough() {
    play("keyboard");
}

#[test]
fn the_page_speaks_the_language_of_the_browser_and_fits_a_phone() {
    play("languages");
}

#[test]
fn two_pages_in_firefox_see_each_other_and_chat() {
    let _turn = alone();
    needs(tools().join("node_modules/puppeteer-core"));
    let server = Server::start(Runtime::Mio);
    let mut command = Command::new("node");
    command.arg(source().join("tests/interop/firefox.mjs")).arg("--url").arg(format!("http://{}", server.addr));
    let mut script = Program::start("firefox", &mut command);
    while script.hear_on(Stream::Stdout, "passed", |line| Some(line.to_owned())) != "passed" {}
    assert!(script.wait().success(), "{script}");
}

/// Runs a scenario to its end and does what it asks for.
fn play(scenario: &str) {
    let _turn = alone();
    for package in ["playwright-core", "axe-core"] {
        needs(tools().join("node_modules").join(package));
    }
    let mut server = Server::start(Runtime::Mio);
    let addr = server.addr;
    let records = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{scenario}-{}", std::process::id()));
    let mut terminal: Option<Program> = None;
    let mut command = Command::new("node");
    command.arg(source().join("tests/interop/page.mjs")).arg(scenario);
    command.arg("--url").arg(format!("http://{addr}")).arg("--shots").arg(screenshots());
    let mut script = Program::start(scenario, &mut command);
    loop {
        // It says something every few seconds, and keeps its own deadlines. When it fails it ends without `passed`.
        let line = script.hear_on(Stream::Stdout, "passed", |line| Some(line.to_owned()));
        let wish = match line.strip_prefix("ask ") {
            Some(wish) => wish,
            None if line == "passed" => break,
            None => continue,
        };
        let (verb, rest) = wish.split_once(' ').unwrap_or((wish, ""));
        match (verb, &mut terminal) {
            ("stop-server", _) => server.program.kill(),
            ("start-server", _) => server = Server::start_at(Runtime::Smol, addr),
            ("peer", terminal) => {
                std::fs::create_dir_all(&records).expect("a folder for recordings");
                let folder = records.to_str().expect("a readable path");
                let arguments: Vec<_> =
                    rest.split(' ').map(|word| if word == "RECORDS" { folder } else { word }).collect();
                *terminal = Some(peer(&server, Runtime::Mio, "enishi", &arguments));
            }
            ("say", Some(terminal)) => terminal.type_line(rest),
            ("hear", Some(terminal)) => drop(hear(terminal, rest)),
            ("end-peer", Some(terminal)) => {
                terminal.type_line("quit");
                assert!(terminal.wait().success(), "{terminal}\n{script}");
            }
            ("probe", _) => probe(Path::new(rest), &["video", "audio"]),
            ("probe-records", _) => {
                let files: Vec<_> = std::fs::read_dir(&records).expect("the folder").collect();
                assert_eq!(files.len(), 1, "{files:?}\n{}", terminal.as_ref().expect("it recorded"));
                probe(&files[0].as_ref().expect("an entry").path(), &["video", "audio"]);
            }
            _ => panic!("nothing here can {wish:?}\n{script}"),
        }
        script.type_line("done");
    }
    // Nothing is there unless somebody recorded.
    let _ = std::fs::remove_dir_all(&records);
}

/// Where a person can look at them.
fn screenshots() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the folder of cargo's output");
    target.join("screenshots")
}

/// Terminals write what they receive to standard output, and what happens to standard error.
fn hear(terminal: &mut Program, text: &str) -> String {
    let stream = if text.starts_with("channel ") { Stream::Stderr } else { Stream::Stdout };
    terminal.hear_on(stream, text, |line| line.contains(text).then(|| line.to_owned()))
}

/// Decodes a recording whole: it has these kinds of streams, and frames in each.
fn probe(path: &Path, kinds: &[&str]) {
    let length = std::fs::metadata(path).expect("a recording").len();
    assert!(length > 5_000, "{} has {length} bytes", path.display());
    let mut command = Command::new("ffprobe");
    command.args([
        "-v",
        "error",
        "-count_frames",
        "-show_entries",
        "stream=codec_type,nb_read_frames",
        "-of",
        "csv=p=0",
    ]);
    let output = command.arg(path).output().expect("ffprobe, which tests/setup installs with ffmpeg");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{}: {complaints}", path.display());
    for kind in kinds {
        let frames = said.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(',')?.parse::<u32>().ok());
        assert!(frames.is_some_and(|frames| frames >= 20), "{}: {kind} in {said:?}", path.display());
    }
}
