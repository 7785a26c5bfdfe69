//! Our own protocol, as clients see it.

use std::time::Duration;

use enishi_core::server::ServerConfig;
use enishi_core::turn::{Issuer, Secret};
use enishi_tests::bench_server::{Bench, Got};
use serde_json::{Value, json};

fn bench() -> Bench {
    Bench::new(ServerConfig::default())
}

fn told(bench: &mut Bench, conn: enishi_core::machine::ConnId) -> Vec<Value> {
    let texts = bench.take_texts(conn);
    texts.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
}

#[test]
fn hello_is_answered_with_a_welcome() {
    let ice = r#"{"urls":"stun:stun.example.org:3478"}"#.to_owned();
    let mut bench = Bench::new(ServerConfig { ice_servers: vec![ice], ..ServerConfig::default() });
    let conn = bench.open("/v1", "Sec-WebSocket-Protocol: other, enishi.v1\r\n");
    assert_eq!(bench.take(conn), [Got::Upgraded(Some("enishi.v1".into()))]);
    bench.text(conn, r#"{"type":"hello","id":"alice","later":{"version":2}}"#);
    let welcome = &told(&mut bench, conn)[0];
    assert_eq!(welcome["type"], "welcome");
    assert_eq!(welcome["id"], "alice");
    assert_eq!(welcome["resumed"], "no");
    assert_eq!(welcome["graceMs"], 10_000);
    assert_eq!(welcome["limits"]["messageBytes"], 524_288);
    assert_eq!(welcome["iceServers"], json!([{"urls": "stun:stun.example.org:3478"}]));
    assert_eq!(welcome["resumeToken"].as_str().map(str::len), Some(32));
}

#[test]
fn without_an_id_one_is_invented() {
    let mut bench = bench();
    let conn = bench.ws();
    bench.text(conn, r#"{"type":"hello"}"#);
    assert_eq!(told(&mut bench, conn)[0]["id"].as_str().map(str::len), Some(20));
}

#[test]
fn signals_arrive_with_their_sender_and_nothing_is_told_to_the_sender() {
    let mut bench = bench();
    let (alice, bob) = (bench.enishi("alice"), bench.enishi("bob"));
    for (sent, arrives) in [
        (
            json!({"type": "offer", "to": "bob", "sdp": "v=0\r\n\u{1f389}"}),
            json!({"type": "offer", "from": "alice", "to": "bob", "sdp": "v=0\r\n\u{1f389}"}),
        ),
        (
            json!({"type": "answer", "to": "bob", "from": "alice", "sdp": "v=0", "extra": 1}),
            json!({"type": "answer", "from": "alice", "to": "bob", "sdp": "v=0"}),
        ),
        (
            json!({"type": "candidate", "to": "bob", "candidate": {"candidate": "candidate:1", "sdpMLineIndex": 0}}),
            json!({"type": "candidate", "from": "alice", "to": "bob", "candidate": {"candidate": "candidate:1",
                "sdpMid": null, "sdpMLineIndex": 0, "usernameFragment": null}}),
        ),
        (
            json!({"type": "end-of-candidates", "to": "bob", "usernameFragment": "uf"}),
            json!({"type": "end-of-candidates", "from": "alice", "to": "bob", "usernameFragment": "uf"}),
        ),
        (json!({"type": "restart", "to": "bob"}), json!({"type": "restart", "from": "alice", "to": "bob"})),
        (
            json!({"type": "data", "to": "bob", "label": "chat", "text": "hi"}),
            json!({"type": "data", "from": "alice", "to": "bob", "label": "chat", "text": "hi"}),
        ),
        (
            json!({"type": "data", "to": "bob", "base64": "AAE="}),
            json!({"type": "data", "from": "alice", "to": "bob", "label": "", "base64": "AAE="}),
        ),
    ] {
        bench.text(alice, &sent.to_string());
        assert_eq!(told(&mut bench, bob), [arrives]);
        assert_eq!(told(&mut bench, alice), Vec::<Value>::new());
    }
}

#[test]
fn what_cannot_be_done_is_answered_with_a_code_and_the_reference() {
    let mut bench = bench();
    let (alice, _bob) = (bench.enishi("alice"), bench.enishi("bob"));
    for (sent, code, to) in [
        (r#"{"type":"offer","to":"carol","sdp":"v=0","ref":"7"}"#, "no-such-peer", Some("carol")),
        (r#"{"type":"offer","to":"bob","from":"carol","sdp":"v=0","ref":"7"}"#, "not-your-name", Some("bob")),
        (r#"{"type":"offer","to":"bob","ref":"7"}"#, "malformed", Some("bob")),
        (r#"{"type":"offer","to":"bob","sdp":7,"ref":"7"}"#, "malformed", Some("bob")),
        (r#"{"type":"offer","to":"bob","sdp":"\ud800","ref":"7"}"#, "malformed", Some("bob")),
        (r#"{"type":"data","to":"bob","base64":"?","ref":"7"}"#, "malformed", Some("bob")),
        (r#"{"type":"data","to":"bob","room":"r","text":"x","ref":"7"}"#, "malformed", Some("bob")),
        (r#"{"type":"data","room":"nowhere","text":"x","ref":"7"}"#, "not-in-room", None),
        (r#"{"type":"leave","room":"nowhere","ref":"7"}"#, "not-in-room", None),
        (r#"{"type":"join","room":"no spaces","ref":"7"}"#, "bad-name", None),
        (r#"{"type":"sing","ref":"7"}"#, "unknown-type", None),
        (r#"{"type":"hello","id":"alice2","ref":"7"}"#, "already-registered", None),
    ] {
        bench.text(alice, sent);
        let error = &told(&mut bench, alice)[0];
        assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some("error"), Some(code)), "{sent}");
        assert_eq!(error["to"].as_str(), to, "{sent}");
        if code != "already-registered" {
            assert_eq!(error["ref"], "7", "{sent}");
        }
        assert!(error["message"].as_str().is_some_and(|sentence| sentence.len() > 10));
    }
    for garbage in ["", "[", "{}", "[1,2]", r#"{"type":7}"#, r#"{"type":"offer","to":"bob","to":"eve","sdp":""}"#] {
        bench.text(alice, garbage);
        assert_eq!(told(&mut bench, alice)[0]["code"], "malformed", "{garbage}");
    }
    bench.text(alice, &format!("{}{}", "[".repeat(200_000), "]".repeat(200_000)));
    assert_eq!(told(&mut bench, alice)[0]["code"], "malformed");
}

#[test]
fn twenty_messages_in_a_row_that_mean_nothing_end_the_connection() {
    let mut bench = bench();
    let alice = bench.enishi("alice");
    for _ in 0..20 {
        bench.text(alice, "?");
    }
    let got = bench.take(alice);
    assert!(matches!(got.last(), Some(Got::Close(1008, _))), "{got:?}");
    assert_eq!(got.len(), 21);
}

#[test]
fn a_live_id_is_refused_and_a_dead_one_is_free_at_once() {
    let mut bench = bench();
    let (first, bob) = (bench.enishi("alice"), bench.enishi("bob"));
    let second = bench.ws();
    bench.text(second, r#"{"type":"hello","id":"alice"}"#);
    assert_eq!(told(&mut bench, second)[0]["code"], "name-taken");
    bench.text(bob, r#"{"type":"restart","to":"alice"}"#);
    assert_eq!(told(&mut bench, first).len(), 1, "the first keeps its routing");
    bench.hang_up(first);
    bench.text(second, r#"{"type":"hello","id":"alice"}"#);
    assert_eq!(told(&mut bench, second)[0]["type"], "welcome");
    bench.text(bob, r#"{"type":"restart","to":"alice"}"#);
    assert_eq!(told(&mut bench, second)[0]["from"], "bob");
}

#[test]
fn rooms_have_a_roster_and_numbered_events_without_gaps() {
    let mut bench = bench();
    let (a, b, c) = (bench.enishi("a"), bench.enishi("b"), bench.enishi("c"));
    bench.text(a, r#"{"type":"join","room":"r","ref":"j"}"#);
    let roster = told(&mut bench, a).remove(0);
    let epoch = roster["epoch"].clone();
    assert!(epoch.as_u64().is_some_and(|epoch| epoch < 1 << 53));
    let room = "r";
    assert_eq!(roster, json!({"type":"roster","room":room,"epoch":epoch,"seq":1,"peers":[],"ref":"j"}));
    bench.text(b, r#"{"type":"join","room":"r"}"#);
    assert_eq!(told(&mut bench, a), [json!({"type":"joined","room":room,"epoch":epoch,"seq":2,"id":"b"})]);
    assert_eq!(told(&mut bench, b)[0]["peers"], json!(["a"]));
    bench.text(c, r#"{"type":"join","room":"r"}"#);
    assert_eq!(told(&mut bench, c)[0], json!({"type":"roster","room":room,"epoch":epoch,"seq":3,"peers":["a","b"]}));
    bench.text(b, r#"{"type":"data","room":"r","label":"chat","text":"hi all"}"#);
    let text = json!({"type":"data","from":"b","room":room,"label":"chat","text":"hi all"});
    assert_eq!(told(&mut bench, c), std::slice::from_ref(&text));
    assert_eq!(told(&mut bench, b)[0]["type"], "joined", "c's entry, and not its own text");
    bench.text(b, r#"{"type":"leave","room":"r"}"#);
    let left = json!({"type":"left","room":room,"epoch":epoch,"seq":4,"id":"b","why":"left"});
    assert_eq!(told(&mut bench, b), std::slice::from_ref(&left));
    bench.text(c, r#"{"type":"bye"}"#);
    let got = bench.take(c);
    assert!(matches!(&got[..], [Got::Text(_), Got::Close(1000, _)]), "b left, then goodbye: {got:?}");
    let seqs: Vec<_> = told(&mut bench, a).iter().map(|event| event["seq"].clone()).collect();
    assert_eq!(seqs, [json!(3), Value::Null, json!(4), json!(5)], "joined, the text, left, left");
    bench.text(a, r#"{"type":"leave","room":"r"}"#);
    told(&mut bench, a);
    bench.text(a, r#"{"type":"join","room":"r"}"#);
    assert_ne!(told(&mut bench, a)[0]["epoch"], epoch, "an emptied room begins anew");
}

#[test]
fn a_lost_connection_resumes_with_id_rooms_and_everything_missed() {
    let mut bench = bench();
    let (a, b) = (bench.enishi("a"), bench.enishi("b"));
    bench.text(b, r#"{"type":"join","room":"r"}"#);
    let conn = bench.ws();
    bench.text(conn, r#"{"type":"hello","id":"c"}"#);
    let token = told(&mut bench, conn)[0]["resumeToken"].as_str().expect("a token").to_owned();
    bench.text(conn, r#"{"type":"join","room":"r"}"#);
    told(&mut bench, conn);
    told(&mut bench, b);
    bench.hang_up(conn);
    for n in 0..3 {
        bench.text(a, &format!(r#"{{"type":"data","to":"c","text":"{n}"}}"#));
    }
    assert_eq!(told(&mut bench, a), Vec::<Value>::new(), "they are kept, not refused");
    bench.pass(Duration::from_secs(9));
    assert_eq!(told(&mut bench, b), Vec::<Value>::new(), "nobody saw it go");

    let again = bench.ws();
    bench.text(again, &format!(r#"{{"type":"hello","resume":{{"token":"{token}","received":2}}}}"#));
    let events = told(&mut bench, again);
    assert_eq!((&events[0]["resumed"], &events[0]["id"]), (&json!("whole"), &json!("c")));
    let texts: Vec<_> = events[1..].iter().map(|event| event["text"].clone()).collect();
    assert_eq!(texts, ["0", "1", "2"]);
    bench.text(b, r#"{"type":"data","room":"r","text":"still here?"}"#);
    assert_eq!(told(&mut bench, again).len(), 1, "still in the room");

    // Again, with a connection that the server takes for alive: the old one is closed, the new token is good,
    // and the last two messages arrive again because the client says that it has not seen them.
    let token = events[0]["resumeToken"].as_str().expect("a token").to_owned();
    let third = bench.ws();
    bench.text(third, &format!(r#"{{"type":"hello","resume":{{"token":"{token}","received":5}}}}"#));
    assert!(matches!(bench.take(again)[..], [Got::Close(4000, _)]));
    let events = told(&mut bench, third);
    assert_eq!(events.iter().map(|event| event["text"].clone()).collect::<Vec<_>>()[1..], ["2", "still here?"]);

    for wrong in [r#""nonsense","received":0"#.to_owned(), format!(r#""{token}","received":999"#)] {
        let other = bench.ws();
        bench.text(other, &format!(r#"{{"type":"hello","resume":{{"token":{wrong}}}}}"#));
        assert_eq!(told(&mut bench, other)[0]["code"], "session-gone");
    }
}

#[test]
fn after_the_grace_time_the_session_is_gone() {
    let mut bench = bench();
    let b = bench.enishi("b");
    bench.text(b, r#"{"type":"join","room":"r"}"#);
    let conn = bench.ws();
    bench.text(conn, r#"{"type":"hello","id":"c"}"#);
    let token = told(&mut bench, conn)[0]["resumeToken"].as_str().expect("a token").to_owned();
    bench.text(conn, r#"{"type":"join","room":"r"}"#);
    told(&mut bench, b);
    bench.hang_up(conn);
    bench.pass(Duration::from_secs(10));
    assert_eq!(told(&mut bench, b)[0]["why"], "gone");
    let again = bench.ws();
    bench.text(again, &format!(r#"{{"type":"hello","resume":{{"token":"{token}","received":2}}}}"#));
    assert_eq!(told(&mut bench, again)[0]["code"], "session-gone");
    bench.text(again, r#"{"type":"hello","id":"c"}"#);
    assert_eq!(told(&mut bench, again)[0]["type"], "welcome");
}

#[test]
fn a_receiver_that_is_away_holds_so_much_and_then_its_senders_are_told() {
    let mut bench = bench();
    let (a, b) = (bench.enishi("a"), bench.ws());
    bench.text(b, r#"{"type":"hello","id":"b"}"#);
    let token = told(&mut bench, b)[0]["resumeToken"].as_str().expect("a token").to_owned();
    bench.hang_up(b);
    let body = "x".repeat(50_000);
    let mut kept = 0;
    for n in 0..10 {
        bench.text(a, &format!(r#"{{"type":"data","to":"b","label":"{n}","text":"{body}"}}"#));
        match told(&mut bench, a).first() {
            None => kept += 1,
            Some(error) => assert_eq!((&error["code"], &error["to"]), (&json!("peer-away"), &json!("b"))),
        }
    }
    assert_eq!(kept, 5, "256 KiB of 50 KB messages");
    let again = bench.ws();
    bench.text(again, &format!(r#"{{"type":"hello","resume":{{"token":"{token}","received":1}}}}"#));
    let events = told(&mut bench, again);
    assert_eq!(events[0]["resumed"], "whole", "what was refused was never promised");
    assert_eq!(events[1..].iter().map(|event| event["label"].clone()).collect::<Vec<_>>(), ["0", "1", "2", "3", "4"]);
}

#[test]
fn where_the_tail_is_gone_a_snapshot_stands_in() {
    let mut config = ServerConfig::default();
    config.limits.replay_events = 4;
    let mut bench = Bench::new(config);
    let (a, conn) = (bench.enishi("a"), bench.ws());
    bench.text(conn, r#"{"type":"hello","id":"c"}"#);
    let token = told(&mut bench, conn)[0]["resumeToken"].as_str().expect("a token").to_owned();
    bench.text(conn, r#"{"type":"join","room":"r"}"#);
    for _ in 0..10 {
        bench.text(a, r#"{"type":"join","room":"r"}"#);
        bench.text(a, r#"{"type":"leave","room":"r"}"#);
    }
    bench.text(a, r#"{"type":"join","room":"r"}"#);
    bench.text(a, r#"{"type":"restart","to":"c"}"#);
    bench.hang_up(conn);
    let again = bench.ws();
    bench.text(again, &format!(r#"{{"type":"hello","resume":{{"token":"{token}","received":3}}}}"#));
    let events = told(&mut bench, again);
    assert_eq!(events[0]["resumed"], "gap");
    assert_eq!((&events[1]["type"], &events[1]["peers"]), (&json!("roster"), &json!(["a"])));
    assert_eq!(events[1]["seq"], 22);
    assert_eq!(events[2..].iter().map(|event| event["type"].clone()).collect::<Vec<_>>(), ["restart"]);
}

#[test]
fn a_server_with_a_token_lets_in_who_has_it() {
    let mut bench = Bench::new(ServerConfig { token: Some("secret".into()), ..ServerConfig::default() });
    let conn = bench.ws();
    bench.text(conn, r#"{"type":"hello","id":"a","token":"secret"}"#);
    assert_eq!(told(&mut bench, conn)[0]["type"], "welcome");
    for hello in [r#"{"type":"hello"}"#, r#"{"type":"hello","token":"secreT"}"#, r#"{"type":"hello","token":"s"}"#] {
        let conn = bench.ws();
        bench.text(conn, hello);
        let got = bench.take(conn);
        assert!(
            matches!(&got[..], [Got::Text(error), Got::Close(1008, _)] if error.contains("unauthorized")),
            "{got:?}"
        );
    }
}

/// `protocols.md` 002.4: `s3cret`, `1795197120:…`; each client has its own, made when it came.
#[test]
fn turn_credentials_are_made_for_each_client() {
    let turn = Issuer {
        secret: Secret::new("s3cret"),
        uris: vec!["turn:turn.example:3478".to_owned()],
        ttl: Duration::from_secs(600),
    };
    let ice = r#"{"urls":"stun:stun.example.org:3478"}"#.to_owned();
    let config = ServerConfig {
        ice_servers: vec![ice],
        turn: Some(turn.clone()),
        token: Some("sesame".to_owned()),
        ..ServerConfig::default()
    };
    let mut bench = Bench::new(config);
    bench.pass(Duration::from_secs(60));
    let minted = turn.secret.mint("alice", 1_795_196_520 + 60 + 600);
    assert_eq!(minted.username, "1795197180:alice");
    let conn = bench.ws();
    bench.text(conn, r#"{"type":"hello","id":"alice","token":"sesame"}"#);
    let server =
        json!({"urls": ["turn:turn.example:3478"], "username": minted.username, "credential": minted.password});
    assert_eq!(told(&mut bench, conn)[0]["iceServers"], json!([{"urls": "stun:stun.example.org:3478"}, server]));

    let mut ice = |header: &str| {
        let conn = bench.accept();
        bench.http(conn, &format!("GET /ice HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n{header}\r\n"));
        match &bench.take(conn)[..] {
            [Got::Answer(status, body)] => (*status, body.clone()),
            other => panic!("{other:?}"),
        }
    };
    let minted = turn.secret.mint("127.0.0.1", 1_795_196_520 + 60 + 600);
    let (status, body) = ice("Authorization: Bearer sesame\r\n");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(status, 200);
    assert_eq!(body["iceServers"][1]["username"], minted.username);
    assert_eq!(body["iceServers"][1]["credential"], minted.password);
    for header in ["", "Authorization: Bearer sesamE\r\n", "Authorization: Basic c2VzYW1l\r\n"] {
        let (status, body) = ice(header);
        assert_eq!(status, 401, "{header}");
        assert!(body.contains("Authorization: Bearer") && !body.contains("turn.example"), "{body}");
    }
}
