//! The client library of the page: its example as the documentation has it, and its modules that need no browser.

use std::process::Command;

use enishi_tests::process::{Program, Runtime, Server, alone, needs, source, tools};

use crate::e2e::peer;

/// The guide promises an example that fits on a screen.
const EXAMPLE_LINES: usize = 15;

#[test]
fn the_example_of_the_guide_talks_with_a_terminal() {
    let _turn = alone();
    needs(tools().join("node_modules/playwright-core"));
    let server = Server::start(Runtime::Mio);
    let mut enishi = peer(&server, Runtime::Mio, "enishi", &["--room", "demo", "--id", "terminal"]);
    let mut command = Command::new("node");
    command.arg(source().join("tests/interop/example.mjs")).args(["--signal", &format!("http://{}", server.addr)]);
    let mut page = Program::start("example", &mut command);
    let lines: usize = page.hear("lines ").trim_start_matches("lines ").parse().expect("a number");
    assert!(lines <= EXAMPLE_LINES, "the example has {lines} lines");
    page.hear("log terminal is connected");
    page.type_line("hello from the example");
    enishi.hear("chat: hello from the example");
    enishi.type_line("broadcast hello from the terminal");
    page.hear("log terminal: hello from the terminal");
}

#[test]
fn the_dictionary_the_hash_and_the_qr_codes_are_right() {
    let output = Command::new("node")
        .arg(source().join("tests/interop/web.mjs"))
        .output()
        .expect("there is node: run tests/setup first");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
