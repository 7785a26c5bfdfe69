//! Every dialect calls every other: the table of `docs/dialects.md`, cell by cell, with clients that know nothing but
//! their own system's messages.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use enishi_core::dialect::Dialect;
use enishi_core::machine::{ConnId, Frame};
use enishi_core::server::ServerConfig;
use enishi_tests::bench_server::{Bench, Got};
use serde_json::{Value, json};

/// What is sent, in the order of a call.
const WORDS: [Word; 4] = [Word::Offer, Word::Answer, Word::Candidate, Word::Data];

/// A line that every one of them takes for a candidate.
const CANDIDATE: &str = "candidate:1 1 udp 1 127.0.0.1 9 typ host";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Offer,
    Answer,
    Candidate,
    Data,
}

/// One client.
struct Client {
    dialect: Dialect,
    conn: ConnId,
    name: String,
}

/// The table says for each caller (row) and callee (column) which words arrive: `o` an offer, `a` the answer to it, `c`
/// candidates and `d` relayed data, there and back. `-` stands for a word that does not.
#[test]
fn the_table_of_the_documents_is_true() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/dialects.md");
    let document = fs::read_to_string(file).expect("docs/dialects.md");
    let table = table();
    assert!(document.contains(&table), "docs/dialects.md should have this table:\n{table}");
}

fn table() -> String {
    let names: Vec<_> = Dialect::ALL.iter().map(|dialect| dialect.name()).collect();
    let mut table = format!("| calls → | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for caller in Dialect::ALL {
        let cells: Vec<_> = Dialect::ALL.iter().map(|callee| format!("`{}`", cell(caller, *callee))).collect();
        table.push_str(&format!("| {} | {} |\n", caller.name(), cells.join(" | ")));
    }
    table
}

fn cell(caller: Dialect, callee: Dialect) -> String {
    let mut bench = Bench::new(ServerConfig::default());
    // Of two clients of zenn the first one offers; who calls has to be there first.
    let first = join(&mut bench, caller, "caller", true);
    let second = join(&mut bench, callee, "callee", false);
    let mut cell = String::new();
    for word in WORDS {
        let there = word == Word::Answer || passes(&mut bench, &first, &second, word);
        let back = word == Word::Offer || passes(&mut bench, &second, &first, word);
        cell.push(match (there && back, word) {
            (false, _) => '-',
            (true, Word::Offer) => 'o',
            (true, Word::Answer) => 'a',
            (true, Word::Candidate) => 'c',
            (true, Word::Data) => 'd',
        });
    }
    cell
}

/// Whether what one says arrives at the other as what it is.
fn passes(bench: &mut Bench, from: &Client, to: &Client, word: Word) -> bool {
    bench.take(to.conn);
    let Some(frame) = message(from, &to.name, word) else { return false };
    bench.frame(from.conn, frame);
    bench.take(to.conn).iter().any(|got| understood(to.dialect, got) == Some(word))
}

/// Connects as the system's clients do. `offers` chooses the door where there are two.
fn join(bench: &mut Bench, dialect: Dialect, id: &str, offers: bool) -> Client {
    let before = names(bench);
    let conn = match dialect {
        Dialect::TonyBai => bench.open(if offers { "/offer" } else { "/register" }, ""),
        Dialect::SocketIo => bench.open("/socket.io/?EIO=4&transport=websocket", ""),
        Dialect::SocketIo09 => {
            let conn = bench.get("/socket.io/1/");
            let sid = bench.answer(conn, 200).split(':').next().unwrap_or_default().to_owned();
            bench.open(&format!("/socket.io/1/websocket/{sid}"), "")
        }
        _ => bench.open("/ws", ""),
    };
    let hello = match dialect {
        Dialect::Enishi => Some(json!({"type": "hello", "id": id}).to_string()),
        Dialect::ConicA => Some(json!({"Type": "register", "Raw": null}).to_string()),
        Dialect::ConicB => Some(json!({"type": "register", "raw": null}).to_string()),
        Dialect::ConicC => Some(json!({"type": "register_request", "data": {"client_id": id}}).to_string()),
        Dialect::Zenn => Some(json!({"type": "connect", "id": id}).to_string()),
        Dialect::Mesh => Some(json!({"type": "join", "peer_id": id, "room_id": "r"}).to_string()),
        Dialect::SocketIo => Some("40".to_owned()),
        // 0.9 is connected by the server; Tony Bai's are binary, and offering ones begin with what they have to say.
        Dialect::SocketIo09 | Dialect::TonyBai => None,
    };
    if let Some(hello) = hello {
        bench.text(conn, &hello);
    }
    if dialect == Dialect::TonyBai {
        let (command, body) = if offers { (3, Some(described("offer"))) } else { (1, None) };
        let target = if offers { "nobody" } else { "" };
        bench.frame(conn, tonybai(command, id, target, body));
    }
    let after = names(bench);
    let new: Vec<_> = after.into_iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(new.len(), 1, "{dialect:?} joined");
    bench.take(conn);
    Client { dialect, conn, name: new[0].clone() }
}

/// Everybody's ids, as an onlooker learns them.
fn names(bench: &mut Bench) -> Vec<String> {
    let conn = bench.enishi("onlooker");
    bench.text(conn, r#"{"type":"list"}"#);
    let told = bench.take_texts(conn);
    bench.text(conn, r#"{"type":"bye"}"#);
    let peers: Value = serde_json::from_str(&told[0]).expect("JSON");
    let names = peers["peers"].as_array().expect("a list").iter();
    names.filter_map(Value::as_str).filter(|name| *name != "onlooker").map(str::to_owned).collect()
}

fn described(kind: &str) -> String {
    json!({"type": kind, "sdp": "v=0\r\n"}).to_string()
}

fn candidate() -> Value {
    json!({"candidate": CANDIDATE, "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": null})
}

fn tonybai(command: u8, source: &str, target: &str, body: Option<String>) -> Frame {
    let body = body.map(|body| STANDARD.encode(body));
    let payload = STANDARD.encode(json!({"source": source, "target": target, "body": body}).to_string());
    Frame::Binary(json!({"command": command, "payload": payload}).to_string().into_bytes().into())
}

/// The message in the sender's own words, if it has any.
fn message(from: &Client, to: &str, word: Word) -> Option<Frame> {
    let kind = if word == Word::Offer { "offer" } else { "answer" };
    let description = json!({"type": kind, "sdp": "v=0\r\n"});
    let conic = |inner: Value| STANDARD.encode(inner.to_string());
    let text = match (from.dialect, word) {
        (Dialect::Enishi, Word::Offer | Word::Answer) => json!({"type": kind, "to": to, "sdp": "v=0\r\n"}),
        (Dialect::Enishi, Word::Candidate) => json!({"type": "candidate", "to": to, "candidate": candidate()}),
        (Dialect::Enishi, Word::Data) => json!({"type": "data", "to": to, "label": "chat", "text": "hi"}),
        (Dialect::ConicA, Word::Offer | Word::Answer) => json!({"Type": "sdp",
            "Raw": conic(json!({"ID": from.name, "TargetID": to, "SessionDescription": description}))}),
        (Dialect::ConicA, Word::Candidate) => json!({"Type": "candidate",
            "Raw": conic(json!({"ID": from.name, "TargetID": to, "Candidate": candidate().to_string()}))}),
        (Dialect::ConicB, Word::Offer | Word::Answer) => json!({"type": "sdp",
            "raw": conic(json!({"id": from.name, "target_id": to, "session_description": description}))}),
        (Dialect::ConicB, Word::Candidate) => json!({"type": "candidate",
            "raw": conic(json!({"id": from.name, "target_id": to, "candidate": candidate().to_string()}))}),
        (Dialect::ConicB, Word::Data) => json!({"type": "data_channel",
            "raw": conic(json!({"id": from.name, "target_id": to, "label": "chat", "data": "aGk="}))}),
        (Dialect::ConicC, Word::Offer | Word::Answer) => json!({"id": "m", "type": "sdp",
            "data": {"from_id": from.name, "to_id": to, "session_description": description}}),
        (Dialect::ConicC, Word::Candidate) => json!({"id": "m", "type": "candidate",
            "data": {"from_id": from.name, "to_id": to, "candidate": candidate()}}),
        (Dialect::ConicC, Word::Data) => json!({"id": "m", "type": "data_channel",
            "data": {"from_id": from.name, "to_id": to, "label": "chat", "payload": "aGk="}}),
        // An offer of zenn's has no address: it is kept for who comes.
        (Dialect::Zenn, Word::Offer) => json!({"type": "offer", "id": from.name, "sdp": description}),
        (Dialect::Zenn, Word::Answer) => {
            json!({"type": "answer", "id": from.name, "target_id": to, "sdp": description})
        }
        (Dialect::Zenn, Word::Candidate) => {
            json!({"type": "candidateAdd", "id": from.name, "target_id": to, "candidate": candidate()})
        }
        (Dialect::Mesh, Word::Offer | Word::Answer) => json!({"type": kind, "target": to, kind: description}),
        (Dialect::Mesh, Word::Candidate) => json!({"type": "ice_candidate", "target": to, "candidate": candidate()}),
        (Dialect::TonyBai, Word::Offer) => return Some(tonybai(3, &from.name, to, Some(described("offer")))),
        (Dialect::TonyBai, Word::Answer) => return Some(tonybai(2, &from.name, to, Some(described("answer")))),
        (Dialect::TonyBai, Word::Candidate) => return Some(tonybai(4, &from.name, to, Some(CANDIDATE.to_owned()))),
        // Socket.IO's messages have no address: they go to all others, or to who called.
        (Dialect::SocketIo | Dialect::SocketIo09, word) => {
            let value = match word {
                Word::Offer | Word::Answer => description,
                Word::Candidate => {
                    json!({"type": "candidate", "sdpMLineIndex": 0, "sdpMid": "0", "candidate": CANDIDATE})
                }
                Word::Data => json!("hi"),
            };
            return Some(Frame::text(if from.dialect == Dialect::SocketIo {
                format!("42{}", json!(["message", value]))
            } else {
                format!("4:::{value}")
            }));
        }
        (Dialect::ConicA | Dialect::Zenn | Dialect::Mesh | Dialect::TonyBai, Word::Data) => return None,
    };
    Some(Frame::text(text.to_string()))
}

/// What a client makes of what it got.
fn understood(dialect: Dialect, got: &Got) -> Option<Word> {
    let bytes = match got {
        Got::Text(text) => text.clone().into_bytes(),
        Got::Binary(bytes) => bytes.clone(),
        _ => return None,
    };
    let text = String::from_utf8(bytes).ok()?;
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    let inside = |value: &Value| json(&String::from_utf8(STANDARD.decode(value.as_str()?).ok()?).ok()?);
    let named = |kind: &Value| match kind.as_str()? {
        "offer" => Some(Word::Offer),
        "answer" => Some(Word::Answer),
        "candidate" | "ice_candidate" => Some(Word::Candidate),
        "data" | "data_channel" => Some(Word::Data),
        _ => None,
    };
    let described = |description: &Value| named(description.get("type")?);
    match dialect {
        Dialect::Enishi | Dialect::Mesh => named(json(&text)?.get("type")?),
        Dialect::Zenn => {
            let message = json(&text)?;
            message.get("sdp").or(message.get("candidate"))?;
            named(message.get("type")?)
        }
        Dialect::ConicA => {
            let (message, raw) = (json(&text)?, inside(json(&text)?.get("Raw")?)?);
            raw.get("SessionDescription").map_or_else(|| named(message.get("Type")?), described)
        }
        Dialect::ConicB => {
            let (message, raw) = (json(&text)?, inside(json(&text)?.get("raw")?)?);
            raw.get("session_description").map_or_else(|| named(message.get("type")?), described)
        }
        Dialect::ConicC => {
            let message = json(&text)?;
            let data = message.get("data")?;
            data.get("session_description").map_or_else(|| named(message.get("type")?), described)
        }
        Dialect::TonyBai => match json(&text)?.get("command")?.as_u64()? {
            2 => Some(Word::Answer),
            3 => Some(Word::Offer),
            4 => Some(Word::Candidate),
            _ => None,
        },
        Dialect::SocketIo | Dialect::SocketIo09 => {
            let value = if dialect == Dialect::SocketIo {
                json(text.strip_prefix("42")?)?.get(1)?.clone()
            } else {
                json(text.strip_prefix("5:::")?)?.get("args")?.get(0)?.clone()
            };
            if value.is_string() { Some(Word::Data) } else { described(&value).or(Some(Word::Data)) }
        }
    }
}
