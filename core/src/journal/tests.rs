use std::time::Instant;

use proptest::prelude::*;

use super::redact::{KEPT, Pseudonyms};
use super::*;
use crate::http::asset::Asset;
use crate::http::{self, HeadError, Parsed, Request};
use crate::machine::{CloseReason, ConnId, Frame, FrameFault, ListenerId, Machine, Output};
use crate::turn::{Issuer, Secret};

const UNIX: Duration = Duration::from_secs(1_795_196_520);
const SECRETS: Secrecy = Secrecy::Redacted { key: [11, 12], seed: [99; 32] };

/// A server, its driver and its clients.
struct Scene {
    server: Recorded<Vec<u8>>,
    start: Instant,
    now: Instant,
    told: Vec<(ConnId, String)>,
}

impl Scene {
    fn new(config: ServerConfig, secrecy: Secrecy) -> Self {
        let start = Instant::now();
        let server = Recorded::new(start, UNIX, [7; 32], config, secrecy, Vec::new());
        Scene { server, start, now: start, told: Vec::new() }
    }

    fn input(&mut self, input: Input<'_, ServerCommand>) {
        self.now += Duration::from_millis(3);
        self.server.handle_input(self.now, input);
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send { conn, frame: Frame::Text(text) } => self.told.push((conn, text.as_str().to_owned())),
                Output::Respond { conn, response } => {
                    self.told.push((conn, String::from_utf8_lossy(&response.body).into_owned()));
                }
                _ => {}
            }
        }
    }

    fn open(&mut self, conn: u64, remote: &str, path: &str) {
        let conn = ConnId(conn);
        self.input(Input::Accepted { conn, listener: ListenerId(0), remote: remote.parse().unwrap() });
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: signal.example:3000\r\nOrigin: http://signal.example:3000\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUser-Agent: Mallory/7\r\n\r\n"
        );
        self.input(Input::Request { conn, request: request(&head) });
    }

    fn text(&mut self, conn: u64, text: &str) {
        self.input(Input::Frame { conn: ConnId(conn), frame: Frame::text(text) });
    }

    /// The last thing that a client was told.
    fn told(&self, conn: u64) -> &str {
        &self.told.iter().rev().find(|(to, _)| *to == ConnId(conn)).unwrap().1
    }

    fn pass(&mut self) {
        let deadline = self.server.poll_timeout().unwrap();
        self.now = self.now.max(deadline.at);
        self.input(Input::Timeout);
    }

    fn journal(&self) -> Vec<u8> {
        self.server.sink().clone()
    }
}

fn request(head: &str) -> Request {
    match http::parse(head.as_bytes()) {
        Parsed::Complete(request, _) => request,
        other => panic!("{other:?}"),
    }
}

fn config() -> ServerConfig {
    ServerConfig {
        token: Some("12open-Sesame==".into()),
        ice_servers: vec![r#"{"urls":"turn:203.0.113.9:3478","username":"u","credential":"hunter2"}"#.into()],
        turn: Some(Issuer {
            secret: Secret::new("north"),
            uris: vec!["turn:turn.example:3478".into()],
            ttl: Duration::from_secs(600),
        }),
        assets: vec![Asset::new("/", "text/html", "<!doctype html>")],
        ..ServerConfig::default()
    }
}

const SDP: &str = "v=0\\r\\no=- 4611731400430051336 2 IN IP4 198.51.100.7\\r\\na=ice-pwd:asd88fgpdd777uzjYhagZg\\r\\n\
                   a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24\\r\\n";

/// Two clients, an offer, a candidate, a lost connection that is resumed, a client that is turned away.
fn evening(secrecy: Secrecy) -> (Scene, String) {
    let mut scene = Scene::new(config(), secrecy);
    scene.open(1, "198.51.100.7:40000", "/v1");
    scene.open(2, "[2001:db8:7::9]:40001", "/v1?room=green");
    scene.text(1, r#"{"type":"hello","id":"alice","token":"12open-Sesame=="}"#);
    assert!(scene.told(1).contains("welcome"), "{}", scene.told(1));
    let (_, rest) = scene.told(1).split_once(r#""resumeToken":""#).unwrap();
    let resume = rest.split('"').next().unwrap().to_owned();
    scene.text(2, r#"{"type":"hello","id":"bob","token":"12open-Sesame=="}"#);
    scene.text(1, r#"{"type":"join","room":"green"}"#);
    scene.text(2, r#"{"type":"join","room":"green"}"#);
    scene.text(1, &format!(r#"{{"type":"offer","to":"bob","sdp":"{SDP}"}}"#));
    assert!(scene.told(2).contains("asd88fgpdd777uzjYhagZg"), "{}", scene.told(2));
    let candidate = "candidate:842163049 1 udp 1677729535 198.51.100.7 46154 typ srflx raddr 10.0.17.1 rport 46154";
    scene.text(
        1,
        &format!(r#"{{"type":"candidate","to":"bob","candidate":{{"candidate":"{candidate}","sdpMid":"0"}}}}"#),
    );
    scene.input(Input::Sent { conn: ConnId(1), messages: 2, len: 400 });
    scene.input(Input::Closed { conn: ConnId(1), reason: CloseReason::Eof });
    scene.pass();
    scene.open(3, "198.51.100.7:40002", "/ws");
    scene.text(
        3,
        &format!(r#"{{"type":"hello","token":"12open-Sesame==","resume":{{"token":"{resume}","received":1}}}}"#),
    );
    assert!(scene.told.iter().any(|(to, text)| *to == ConnId(3) && text.contains(r#""resumed":"#)), "{:?}", scene.told);
    scene.open(4, "192.0.2.3:1", "/ws");
    scene.text(4, r#"{"type":"hello","id":"eve","token":"guessed"}"#);
    scene.input(Input::BadRequest { conn: ConnId(4), error: HeadError::Malformed("odd".into()) });
    scene.input(Input::Command(ServerCommand::Drain));
    scene.pass();
    (scene, resume)
}

fn replay(journal: &[u8]) -> (Vec<Step>, End) {
    let mut replay = Replay::new(Instant::now(), journal).unwrap();
    let steps = std::iter::from_fn(|| replay.step()).collect();
    (steps, replay.end().unwrap().clone())
}

#[test]
fn what_was_recorded_is_what_is_replayed() {
    for secrecy in [Secrecy::Open, SECRETS] {
        let (scene, _) = evening(secrecy);
        let (steps, end) = replay(&scene.journal());
        assert!(steps.len() > 20);
        for step in &steps {
            assert_eq!(step.verdict, Verdict::Same, "{secrecy:?}: {step:?}");
        }
        assert_eq!(end, End::Open);
        assert_eq!(steps.last().unwrap().at, scene.now - scene.start);
    }
}

/// A session's id is in what the server answers and in what the client asks next.
#[test]
fn a_polling_session_goes_on_in_a_redacted_journal() {
    let mut scene = Scene::new(ServerConfig::default(), SECRETS);
    let ask = |scene: &mut Scene, conn: u64, line: &str, body: &str| {
        let conn = ConnId(conn);
        if !scene.told.iter().any(|(to, _)| *to == conn) {
            let remote = "198.51.100.7:4".parse().unwrap();
            scene.input(Input::Accepted { conn, listener: ListenerId(0), remote });
        }
        let length = body.len();
        let head = format!("{line} HTTP/1.1\r\nHost: signal.example\r\nContent-Length: {length}\r\n\r\n{body}");
        scene.input(Input::Request { conn, request: request(&head) });
    };
    ask(&mut scene, 1, "GET /socket.io/?EIO=4&transport=polling", "");
    let sid = scene.told(1).split('"').nth(3).unwrap().to_owned();
    ask(&mut scene, 1, &format!("POST /socket.io/?EIO=4&transport=polling&sid={sid}"), "40");
    assert_eq!(scene.told(1), "ok");
    ask(&mut scene, 1, &format!("GET /socket.io/?EIO=4&transport=polling&sid={sid}"), "");
    assert!(scene.told(1).starts_with("40"), "{}", scene.told(1));
    for step in replay(&scene.journal()).0 {
        assert_eq!(step.verdict, Verdict::Same, "{step:?}");
    }
}

#[test]
fn a_server_that_ends_by_itself_ends_its_journal() {
    struct Lent<'a>(&'a mut Vec<u8>);
    impl Sink for Lent<'_> {
        fn put(&mut self, bytes: Vec<u8>) {
            self.0.extend(bytes);
        }
    }
    let mut journal = Vec::new();
    let now = Instant::now();
    drop(Recorded::new(now, UNIX, [1; 32], config(), Secrecy::Open, Lent(&mut journal)));
    assert_eq!(replay(&journal).1, End::Whole);
    journal.push(0);
    assert!(matches!(replay(&journal).1, End::Cut(_)));
}

#[test]
fn a_redacted_journal_holds_no_secret_and_an_open_one_does() {
    for secrecy in [Secrecy::Open, SECRETS] {
        let (scene, resume) = evening(secrecy);
        let journal = scene.journal();
        for secret in [
            "Sesame",
            "hunter2",
            "north",
            "198.51.100.7",
            "10.0.17.1",
            "203.0.113.9",
            "asd88fgpdd777uzjYhagZg",
            "D2:FA:0E",
            "4611731400430051336",
            "842163049",
            "Mallory",
            "signal.example",
            "alice",
            "guessed",
            &resume,
        ] {
            let found = journal.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert_eq!(found, matches!(secrecy, Secrecy::Open), "{secret}, {secrecy:?}");
        }
        for raw in [&[198, 51, 100, 7][..], &[7; 32][..]] {
            let found = journal.windows(raw.len()).any(|window| window == raw);
            assert_eq!(found, matches!(secrecy, Secrecy::Open), "{raw:?}, {secrecy:?}");
        }
    }
}

#[test]
fn a_difference_is_found_where_it_begins() {
    let (scene, _) = evening(Secrecy::Open);
    let (header, entries) = Entries::open(scene.server.sink()).unwrap();
    let entries: Vec<_> = entries.collect();
    let (mut frames, mut other) = Frames::start(&Header { seed: [8; 32], ..header });
    for entry in &entries {
        other.extend(match entry {
            Entry::Input { at, input } => frames.input(*at, input).unwrap(),
            Entry::Outputs { kinds, digest } => frames.outputs(kinds, *digest),
        });
    }
    let (steps, _) = replay(&other);
    let first = steps.iter().find(|step| step.verdict != Verdict::Same).unwrap();
    // The first thing that the seed decides is the welcome.
    assert_eq!(first.number, 5, "{first:?}");
    assert!(matches!(&first.input, Input::Frame { frame: Frame::Text(text), .. } if text.contains("hello")));
}

/// Whatever is missing at the end, what is there is played, and where it was cut is said.
#[test]
fn a_journal_cut_anywhere_is_played_up_to_the_cut() {
    let (scene, _) = evening(SECRETS);
    let journal = scene.journal();
    let whole: Vec<Entry> = Entries::open(&journal).unwrap().1.collect();
    let mut last = 0;
    for length in 0..journal.len() {
        let Ok((_, mut entries)) = Entries::open(&journal[..length]) else {
            assert_eq!(last, 0);
            continue;
        };
        let read: Vec<Entry> = entries.by_ref().collect();
        assert_eq!(read, whole[..read.len()]);
        assert!(read.len() >= last);
        last = read.len();
        match entries.end().unwrap() {
            End::Cut(cut) => assert!(cut.offset < length),
            End::Open => {}
            End::Whole => panic!("it has no end"),
        }
    }
    assert!(last + 1 >= whole.len());
}

/// A byte that changed is found, and everything before it is played.
#[test]
fn a_journal_damaged_anywhere_is_played_up_to_the_damage() {
    let (scene, _) = evening(Secrecy::Open);
    let journal = scene.journal();
    let whole: Vec<Entry> = Entries::open(&journal).unwrap().1.collect();
    for place in 0..journal.len() {
        let mut damaged = journal.clone();
        damaged[place] ^= 0x10;
        let Ok((_, mut entries)) = Entries::open(&damaged) else { continue };
        let read: Vec<Entry> = entries.by_ref().collect();
        assert!(read.len() < whole.len() && read == whole[..read.len()]);
        assert!(matches!(entries.end(), Some(End::Cut(cut)) if cut.offset <= place));
    }
}

#[test]
fn other_files_and_versions_are_named() {
    assert_eq!(Entries::open(b"").unwrap_err(), JournalError::NotAJournal);
    assert_eq!(Entries::open(b"\x7fELF, and so on and so forth").unwrap_err(), JournalError::NotAJournal);
    let error = Entries::open(b"enishi journal\n\x09\0").unwrap_err();
    assert_eq!(error, JournalError::Version(9));
    assert!(error.to_string().contains("has version 9"), "{error}");
    assert!(matches!(Entries::open(b"enishi journal\n").unwrap_err(), JournalError::Header(_)));
}

#[test]
fn the_kept_words_are_sorted() {
    assert!(KEPT.is_sorted());
}

/// What the words of dialects must survive, each in the text that it is in.
#[test]
fn texts_keep_their_form() {
    let names = Pseudonyms::new([1, 2]);
    let alias = |text: &str| match names.input(&Input::Frame { conn: ConnId(1), frame: Frame::text(text) }) {
        Some(Input::Frame { frame: Frame::Text(text), .. }) => text.as_str().to_owned(),
        other => panic!("{other:?}"),
    };
    for kept in [
        "2probe",
        "3",
        "40",
        "5:::",
        "2::",
        "6:::1+",
        "1::/socket.io",
        r#"{"type":"offer","ok":true,"n":-1.5e10}"#,
        r#"{"timestamp":"2026-11-20T17:42:00.360655523Z"}"#,
        "127.0.0.1",
        "::1",
        r#""\r\n\\r\\n""#,
        "0:0",
    ] {
        assert_eq!(alias(kept), kept);
    }
    for changed in [
        "4alice",
        r#"42["message","xylophone"]"#,
        "203.0.113.9",
        "2001:db8::1",
        "縁",
        "é",
        "🎉",
        r#""\u7e01\ud83c\udf89""#,
        r#"{"offer":"eyJzZHAiOiJ3b25kZXJsYW5kIn0="}"#,
        "\\u0041",
    ] {
        let text = alias(changed);
        assert_ne!(text, changed);
        assert_eq!(text.len(), changed.len(), "{changed} {text}");
        assert_eq!(alias(changed), text);
    }
    assert!(alias("4alice").starts_with('4'));
    assert!(alias("2001:db8::1").parse::<std::net::Ipv6Addr>().is_ok());
    let ip = alias("203.0.113.9");
    assert!(ip.parse::<std::net::Ipv4Addr>().is_ok() && alias("x 203.0.113.9 y").contains(&ip), "{ip}");
    // What is in base64 is changed as it is outside.
    let (inside, outside) = (alias("\"eyJpZCI6ImFsaWNlIn0=\""), alias("{\"id\":\"alice\"}"));
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, inside.trim_matches('"')).unwrap();
    assert_eq!(String::from_utf8(decoded).unwrap(), outside);
}

fn an_input() -> impl Strategy<Value = Input<'static, ServerCommand>> {
    let conn = (0u64..6).prop_map(ConnId);
    let text = prop_oneof![
        ".{0,40}",
        Just(r#"{"type":"hello","id":"a"}"#.to_owned()),
        Just(r#"{"type":"register","id":"b"}"#.to_owned()),
        Just(r#"{"type":"join","room":"r"}"#.to_owned()),
        Just("40".to_owned()),
    ];
    let paths =
        prop_oneof![Just("/v1"), Just("/ws"), Just("/stats"), Just("/socket.io/?EIO=4&transport=polling"), Just("/x")];
    let asked = (paths, any::<bool>()).prop_map(|(path, upgrade)| {
        let upgrade = if upgrade {
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        } else {
            "Connection: close\r\n"
        };
        request(&format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{upgrade}\r\n"))
    });
    (conn, text, asked, any::<u16>(), any::<[u8; 16]>(), 0..18).prop_map(|(conn, text, request, n, ip, which)| {
        match which {
            0 => Input::Timeout,
            1 => Input::Command(ServerCommand::Drain),
            2 | 3 => {
                let remote = if n & 1 == 0 { ([127, 0, 0, 1], n).into() } else { (ip, n).into() };
                Input::Accepted { conn, listener: ListenerId(n % 3), remote }
            }
            4..=6 => Input::Request { conn, request },
            7 => Input::BadRequest { conn, error: HeadError::Malformed(text.into()) },
            8 => Input::BadRequest { conn, error: HeadError::TooLarge },
            9..=11 => Input::Frame { conn, frame: Frame::text(text) },
            12 => Input::Frame { conn, frame: Frame::Binary(ip.to_vec().into()) },
            13 => Input::Frame { conn, frame: if n & 1 == 0 { Frame::Ping } else { Frame::Pong } },
            14 => Input::Heard { conn },
            15 => Input::Fault {
                conn,
                fault: [FrameFault::TooBig, FrameFault::NotUtf8, FrameFault::Protocol][usize::from(n % 3)],
            },
            16 => Input::Sent { conn, messages: n.into(), len: usize::from(n) * 7 },
            _ => Input::Closed {
                conn,
                reason: [CloseReason::Remote(n), CloseReason::Eof, CloseReason::Local, CloseReason::Error(text.into())]
                    [usize::from(n % 4)]
                .clone(),
            },
        }
    })
}

proptest! {
    #[test]
    fn inputs_are_read_as_they_were_written(inputs in proptest::collection::vec((0u64..1 << 40, an_input()), 0..20)) {
        let header = Header { program: "x".into(), redacted: false, unix: UNIX, seed: [3; 32], config: config() };
        let (mut frames, mut journal) = Frames::start(&header);
        let mut at = Duration::ZERO;
        let mut wanted = Vec::new();
        for (after, input) in inputs {
            at += Duration::from_nanos(after);
            journal.extend(frames.input(at, &input).unwrap());
            wanted.push(Entry::Input { at, input });
        }
        journal.extend(frames.end());
        let (read, mut entries) = Entries::open(&journal).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{header:?}"));
        prop_assert_eq!(entries.by_ref().collect::<Vec<_>>(), wanted);
        prop_assert_eq!(entries.end(), Some(&End::Whole));
    }

    /// Also inputs that no driver gives: whatever stands in a journal, a replay ends.
    #[test]
    fn any_list_of_inputs_can_be_recorded_and_replayed(
        inputs in proptest::collection::vec(an_input(), 0..60),
        redacted in any::<bool>(),
    ) {
        let mut scene = Scene::new(ServerConfig::default(), if redacted { SECRETS } else { Secrecy::Open });
        for input in inputs {
            scene.input(input);
        }
        for step in replay(&scene.journal()).0 {
            prop_assert_eq!(&step.verdict, &Verdict::Same, "{:?}", step);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for journal in [bytes.clone(), [&MAGIC[..], &[1, 0], &bytes].concat()] {
            if let Ok(mut replay) = Replay::new(Instant::now(), &journal) {
                while replay.step().is_some() {}
            }
        }
    }

    /// Past the checks, as a fuzzer goes: a header that is right, then frames of anything.
    #[test]
    fn arbitrary_frames_never_panic(bodies in proptest::collection::vec((0u8..24, proptest::collection::vec(any::<u8>(), 0..60)), 0..20)) {
        let header = Header { program: "x".into(), redacted: false, unix: UNIX, seed: [3; 32], config: config() };
        let mut first = Writer::default();
        header.write(&mut first);
        let first = first.bytes();
        let bodies: Vec<Vec<u8>> = bodies.into_iter().map(|(tag, rest)| [vec![tag], rest].concat()).collect();
        let journal = framed(std::iter::once(&first[..]).chain(bodies.iter().map(Vec::as_slice)));
        let mut replay = Replay::new(Instant::now(), &journal).unwrap();
        while replay.step().is_some() {}
        prop_assert!(replay.end().is_some());
    }

    #[test]
    fn a_pseudonym_is_as_long_as_what_it_stands_for(text in "(\\PC|[a-f0-9:.\\\\u%=/+]){0,60}") {
        let names = Pseudonyms::new([5, 6]);
        let alias = names.input(&Input::Frame { conn: ConnId(1), frame: Frame::text(text.clone()) });
        let Some(Input::Frame { frame, .. }) = alias else { panic!("no frame") };
        prop_assert_eq!(frame.len(), text.len());
    }

    #[test]
    fn two_names_never_become_one(names in proptest::collection::btree_set("[a-z]{1,3}", 2..40)) {
        let made = Pseudonyms::new([7, 8]);
        let aliases: std::collections::BTreeSet<String> = names
            .iter()
            .filter(|name| KEPT.binary_search(&name.as_str()).is_err())
            .map(|name| match made.input(&Input::Frame { conn: ConnId(1), frame: Frame::text(name.clone()) }) {
                Some(Input::Frame { frame: Frame::Text(text), .. }) => text.as_str().to_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        let kept = names.iter().filter(|name| KEPT.binary_search(&name.as_str()).is_ok()).count();
        prop_assert_eq!(aliases.len(), names.len() - kept);
    }
}
