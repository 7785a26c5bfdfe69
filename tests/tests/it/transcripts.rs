//! Plays the transcripts of `tests/fixtures`; their form is described in `README.md` there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use enishi_core::machine::{ConnId, Frame, FrameFault};
use enishi_core::server::ServerConfig;
use enishi_tests::bench_server::{Bench, Got};

/// What the clock of the bench says at its start.
const TIME: &str = "2026-11-20T17:42:00.000000000Z";

/// Makes one test of every folder; a file that fails is named.
macro_rules! folders {
    ($($test:ident $folder:literal),*) => {$(
        #[test]
        fn $test() {
            play_folder($folder);
        }
    )*};
}

folders!(
    conic_a "conic-a",
    conic_b "conic-b",
    conic_c "conic-c",
    mesh "mesh",
    tonybai "tonybai",
    zenn "zenn"
);

fn play_folder(folder: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder);
    let mut files: Vec<_> =
        fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let mut stage = Stage::default();
        for (number, line) in fs::read_to_string(&file).expect("text").lines().enumerate() {
            stage.play(line).unwrap_or_else(|wrong| panic!("{}:{}: {wrong}", file.display(), number + 1));
        }
        stage.nothing_left().unwrap_or_else(|wrong| panic!("{}: at the end: {wrong}", file.display()));
    }
}

struct Stage {
    bench: Bench,
    clients: BTreeMap<char, ConnId>,
    waiting: BTreeMap<char, Vec<Got>>,
    ids: BTreeMap<String, String>,
}

impl Default for Stage {
    fn default() -> Self {
        let bench = Bench::new(ServerConfig::default());
        Stage { bench, clients: BTreeMap::new(), waiting: BTreeMap::new(), ids: BTreeMap::new() }
    }
}

impl Stage {
    fn play(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (head, rest) = line.split_once(' ').ok_or("no space in the line")?;
        let who = head.chars().next().ok_or("no client")?;
        let (path, step) = match head[1..].strip_prefix('@') {
            Some(path) => path.split_at(path.find(['<', '>']).ok_or("no arrow after the path")?),
            None => ("/ws", &head[1..]),
        };
        match step {
            ">" if rest == "close" => self.bench.hang_up(self.clients[&who]),
            ">" => {
                let text = self.fill(rest);
                self.send(who, path, Frame::text(text));
            }
            ">>" => {
                let text = self.fill(rest);
                self.send(who, path, Frame::Binary(text.into()));
            }
            "<" => return self.expect(who, rest, false),
            "<<" => return self.expect(who, rest, true),
            other => return Err(format!("{other} means nothing")),
        }
        self.collect();
        Ok(())
    }

    fn send(&mut self, who: char, path: &str, frame: Frame) {
        let bench = &mut self.bench;
        let conn = *self.clients.entry(who).or_insert_with(|| {
            let conn = bench.open(path, "");
            assert_eq!(bench.take(conn), [Got::Upgraded(None)]);
            conn
        });
        // What a driver does with a message over the bound that Output::Upgrade gave it.
        if frame.len() > ServerConfig::default().limits.message_bytes {
            self.bench.fault(conn, FrameFault::TooBig);
        } else {
            self.bench.frame(conn, frame);
        }
    }

    fn collect(&mut self) {
        for (who, conn) in &self.clients {
            // What is for the driver's ears only is no part of a conversation.
            let told = self.bench.take(*conn).into_iter().filter(|got| !matches!(got, Got::Reading(_) | Got::Ping));
            self.waiting.entry(*who).or_default().extend(told);
        }
    }

    fn expect(&mut self, who: char, wanted: &str, binary: bool) -> Result<(), String> {
        let waiting = self.waiting.entry(who).or_default();
        if wanted == "nothing" {
            return if waiting.is_empty() { Ok(()) } else { Err(format!("{waiting:.300?} waits")) };
        }
        if waiting.is_empty() {
            return Err("nothing waits".into());
        }
        let got = waiting.remove(0);
        if wanted == "skip" {
            return Ok(());
        }
        match (wanted.strip_prefix("close "), got) {
            (Some(code), Got::Close(got, _)) if code == got.to_string() => Ok(()),
            (None, Got::Text(got)) if !binary && self.is_like(wanted, &got) => Ok(()),
            (None, Got::Binary(got)) if binary && self.fill(wanted).as_bytes() == got => Ok(()),
            (_, got) => Err(format!("got {got:.600?}")),
        }
    }

    /// Whether a text is what the line says, taking the ids that it names.
    fn is_like(&mut self, wanted: &str, got: &str) -> bool {
        let wanted = self.fill(wanted).replace("<time>", TIME);
        let Some((before, rest)) = wanted.split_once("<id") else { return wanted == got };
        let Some((name, after)) = rest.split_once('>') else { return false };
        let Some(tail) = got.strip_prefix(before) else { return false };
        let Some((id, tail)) = tail.split_at_checked(20) else { return false };
        if let Some(name) = name.strip_prefix(':') {
            self.ids.insert(name.to_owned(), id.to_owned());
        }
        tail == after && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'v').contains(&b))
    }

    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, id) in &self.ids {
            text = text.replace(&format!("<id:{name}>"), id);
        }
        text = replace_between(&text, "<x:", ">", |count| "x".repeat(count.parse().expect("a number")));
        // What is innermost first: base64 may be inside base64.
        while let Some((before, rest)) = text.rsplit_once("<base64(") {
            let (inside, after) = rest.split_once(")base64>").expect("a placeholder that ends");
            text = format!("{before}{}{after}", STANDARD.encode(inside));
        }
        text
    }

    fn nothing_left(&self) -> Result<(), String> {
        match self.waiting.iter().find(|(_, waiting)| !waiting.is_empty()) {
            Some((who, waiting)) => Err(format!("{who} got {waiting:.300?} as well")),
            None => Ok(()),
        }
    }
}

fn replace_between(text: &str, from: &str, to: &str, with: impl Fn(&str) -> String) -> String {
    let mut parts = text.split(from);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (inside, after) = part.split_once(to).expect("a placeholder that ends");
        replaced.push_str(&with(inside));
        replaced.push_str(after);
    }
    replaced
}
