//! Bounds, back-pressure and deadlines of the server, as clients see them.

use std::time::Duration;

use enishi_core::machine::{CloseReason, Frame, FrameFault, Input};
use enishi_core::server::ServerConfig;
use enishi_tests::bench_server::{Bench, Got};

fn bench() -> Bench {
    Bench::new(ServerConfig::default())
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_half_sent_request_is_dropped_after_five_seconds() {
    let mut bench = bench();
    let conn = bench.accept();
    bench.pass(Duration::from_millis(4_999));
    assert_eq!(bench.take(conn), []);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.take(conn), [Got::Dropped]);
}

#[test]
fn a_socket_without_a_message_is_closed_after_five_seconds() {
    let mut bench = bench();
    let conn = bench.ws();
    bench.pass(seconds(5));
    assert_eq!(bench.take(conn), [Got::Close(1008, "no message in time".into())]);
    bench.pass(seconds(5));
    assert_eq!(bench.take(conn), [Got::Dropped], "a client that does not answer the close is dropped");
}

#[test]
fn a_message_has_to_end() {
    let mut bench = bench();
    let conn = bench.enishi("a");
    for _ in 0..30 {
        bench.input(Input::Heard { conn });
        bench.pass(seconds(1));
    }
    let got = bench.take(conn);
    assert!(matches!(got.last(), Some(Got::Close(1008, _))), "{got:?}");
}

#[test]
fn pings_go_out_every_15_seconds_and_silence_ends_after_45() {
    let mut bench = bench();
    let (quiet, alive) = (bench.enishi("quiet"), bench.enishi("alive"));
    bench.text(alive, r#"{"type":"join","room":"r"}"#);
    bench.text(quiet, r#"{"type":"join","room":"r"}"#);
    bench.take(quiet);
    bench.take(alive);
    for _ in 0..44 {
        bench.pass(seconds(1));
        bench.frame(alive, Frame::Pong);
    }
    assert_eq!(bench.take(quiet), [Got::Ping, Got::Ping]);
    bench.pass(seconds(1));
    assert_eq!(bench.take(quiet), [Got::Dropped]);
    bench.frame(alive, Frame::Pong);
    bench.pass(seconds(10));
    let texts = bench.take_texts(alive);
    assert!(texts[0].contains(r#""why":"gone""#), "after the grace time the room is told: {texts:?}");
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut bench = bench();
    let conn = bench.enishi("a");
    for n in 0..20 {
        bench.pass(seconds(10));
        if n % 2 == 0 {
            bench.input(Input::Heard { conn });
        } else {
            bench.text(conn, r#"{"type":"list"}"#);
        }
    }
    assert!(!bench.take(conn).contains(&Got::Dropped));
}

#[test]
fn who_sends_too_fast_waits_and_loses_nothing() {
    let mut bench = bench();
    let conn = bench.enishi("a");
    let mut answered = 0;
    let mut paused = 0;
    for _ in 0..500 {
        bench.text(conn, r#"{"type":"list"}"#);
        for got in bench.take(conn) {
            match got {
                Got::Text(_) => answered += 1,
                Got::Reading(false) => {
                    paused += 1;
                    bench.pass(Duration::from_millis(10));
                    assert_eq!(bench.take(conn), [Got::Reading(true)]);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(answered, 500);
    assert!((298..=301).contains(&paused), "after a burst of 200, one by one: {paused}");
}

#[test]
fn the_memory_of_a_crowd_goes_back_once_it_has_left() {
    let mut bench = bench();
    let crowd: Vec<_> = (0..100).map(|n| bench.enishi(&format!("client-{n}"))).collect();
    for (n, conn) in crowd.into_iter().enumerate() {
        assert_eq!(bench.released, 0, "{n} have left");
        bench.input(Input::Closed { conn, reason: CloseReason::Eof });
    }
    bench.pass(seconds(2));
    assert_eq!(bench.released, 1);
    bench.pass(seconds(3600));
    assert_eq!(bench.released, 1, "nobody came since");
}

#[test]
fn a_slow_reader_stops_who_feeds_it_and_nobody_else() {
    let mut config = ServerConfig::default();
    config.limits.outbox_soft_messages = 4;
    config.limits.outbox_hard_messages = 100;
    let mut bench = Bench::new(config);
    let (slow, feeder, other) = (bench.enishi("slow"), bench.enishi("feeder"), bench.enishi("other"));
    bench.readers.insert(slow, false);
    for _ in 0..5 {
        assert_eq!(bench.take(feeder), []);
        bench.text(feeder, r#"{"type":"restart","to":"slow"}"#);
    }
    assert_eq!(bench.take(feeder), [Got::Reading(false)]);
    bench.text(other, r#"{"type":"restart","to":"feeder"}"#);
    assert_eq!((bench.take(other), bench.take_texts(feeder).len()), (vec![], 1), "others go on");
    bench.read_all(slow);
    assert_eq!(bench.take(feeder), [Got::Reading(true)]);
    assert_eq!(bench.take_texts(slow).len(), 5);
}

#[test]
fn a_reader_that_takes_nothing_is_closed_as_slow_and_its_feeders_go_on() {
    let mut config = ServerConfig::default();
    config.limits.outbox_soft_messages = 4;
    let mut bench = Bench::new(config);
    let (slow, feeder) = (bench.enishi("slow"), bench.enishi("feeder"));
    bench.readers.insert(slow, false);
    for _ in 0..5 {
        bench.text(feeder, r#"{"type":"restart","to":"slow"}"#);
    }
    bench.take(slow);
    bench.pass(seconds(5));
    assert!(matches!(&bench.take(slow)[..], [Got::Close(1013, _)]));
    assert_eq!(bench.take(feeder), [Got::Reading(false), Got::Reading(true)]);
}

#[test]
fn above_the_hard_bound_a_reader_is_closed_at_once() {
    let mut config = ServerConfig::default();
    config.limits.outbox_hard_bytes = 100_000;
    let mut bench = Bench::new(config);
    let (slow, feeder) = (bench.enishi("slow"), bench.enishi("feeder"));
    bench.readers.insert(slow, false);
    let body = "x".repeat(60_000);
    for _ in 0..2 {
        bench.text(feeder, &format!(r#"{{"type":"data","to":"slow","text":"{body}"}}"#));
    }
    let got = bench.take(slow);
    assert!(matches!(&got[..], [Got::Text(_), Got::Text(_), Got::Close(1013, _)]), "{}", got.len());
    assert_eq!(bench.server.stats().slow, 1);
}

#[test]
fn violations_get_the_close_code_of_their_kind() {
    for (fault, code) in [(FrameFault::TooBig, 1009), (FrameFault::NotUtf8, 1007), (FrameFault::Protocol, 1002)] {
        let mut bench = bench();
        let (conn, other) = (bench.enishi("a"), bench.enishi("b"));
        bench.fault(conn, fault);
        assert!(matches!(bench.take(conn)[..], [Got::Close(with, _)] if with == code));
        bench.text(other, r#"{"type":"list"}"#);
        assert_eq!(bench.take(other).len(), 1);
    }
}

#[test]
fn one_address_has_so_many_connections() {
    let mut config = ServerConfig::default();
    config.limits.connections_per_address = 2;
    let mut bench = Bench::new(config);
    let from = |text: &str| text.parse().expect("an address");
    let first = bench.accept_from(from("192.0.2.1:1"));
    bench.accept_from(from("192.0.2.1:2"));
    let third = bench.accept_from(from("192.0.2.1:3"));
    assert!(matches!(bench.take(third)[..], [Got::Answer(429, _)]));
    let v6 = ["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1"].map(|text| bench.accept_from(from(text)));
    assert!(matches!(bench.take(v6[2])[..], [Got::Answer(429, _)]), "a /64 counts as one");
    let elsewhere = bench.accept_from(from("192.0.2.2:1"));
    assert_eq!(bench.take(elsewhere), []);
    bench.hang_up(first);
    bench.hang_up(third);
    let again = bench.accept_from(from("192.0.2.1:4"));
    assert_eq!(bench.take(again), []);
    assert_eq!(bench.server.stats().turned_away, 2);
}

#[test]
fn a_shutdown_is_not_ready_tells_everybody_and_waits() {
    let mut bench = bench();
    let conn = bench.enishi("a");
    bench.drain();
    assert!(matches!(&bench.take(conn)[..], [Got::Close(1012, _)]));
    let probe = bench.accept();
    bench.http(probe, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(matches!(bench.take(probe)[..], [Got::Answer(503, _)]));
    let late = bench.open("/ws", "");
    assert!(matches!(bench.take(late)[..], [Got::Answer(503, _)]));
    assert!(!bench.drained);
    bench.hang_up(conn);
    assert!(bench.drained);
}

#[test]
fn a_shutdown_does_not_wait_forever() {
    let mut bench = bench();
    bench.enishi("a");
    bench.drain();
    bench.pass(seconds(10));
    assert!(bench.drained);
}

#[test]
fn a_pause_of_the_program_counts_against_nobody() {
    let mut bench = bench();
    let (alive, half) = (bench.enishi("alive"), bench.accept());
    let waiting = bench.ws();
    bench.text(waiting, r#"{"type":"hello","id":"waiting"}"#);
    bench.hang_up(waiting);
    bench.pass(seconds(4));
    bench.pause(seconds(3600));
    assert!(!bench.take(alive).contains(&Got::Dropped));
    assert_eq!(bench.take(half), [], "its five seconds are not over");
    bench.text(alive, r#"{"type":"restart","to":"waiting"}"#);
    assert_eq!(bench.take(alive), [], "who waits to resume is still waited for");
    bench.pass(seconds(47));
    assert!(bench.take(alive).contains(&Got::Dropped), "but then the clock runs as before");
    assert_eq!(bench.take(half), [Got::Dropped]);
}

#[test]
fn accepted_is_closed_and_live_together() {
    let mut bench = bench();
    for n in 0..30 {
        let conn = bench.enishi(&format!("n{n}"));
        if n % 3 == 0 {
            bench.hang_up(conn);
        }
    }
    let stats = bench.server.stats();
    assert_eq!(stats.accepted, stats.closed + stats.connections);
    assert_eq!((stats.accepted, stats.closed), (30, 10));
}
