//! Clients that keep to no order.

use std::time::Duration;

use enishi_core::machine::{ConnId, Machine};
use enishi_tests::bench_server::Got;
use proptest::prelude::*;

use super::{bench, between};

/// What a client may do that keeps to no order.
#[derive(Debug, Clone)]
enum Step {
    Open(usize),
    Socket(usize),
    Poll(usize),
    Post(usize, String),
    Leave(usize),
    Upgrade(usize),
    Text(usize, String),
    HangUp(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let packet = || {
        prop_oneof![
            Just("40".to_owned()),
            Just(r#"42["message",{"type":"offer","sdp":""}]"#.to_owned()),
            Just("4:::{}".to_owned()),
            Just("2probe".to_owned()),
            Just("5".to_owned()),
            Just("41".to_owned()),
            Just("1".to_owned()),
            Just("2".to_owned()),
            Just("3".to_owned()),
            Just("2::".to_owned()),
            Just("0::".to_owned()),
            "[0-9:\\[\"{}\\],/a\u{1e}\u{fffd}]{0,12}",
        ]
    };
    let number = || 0..8_usize;
    prop_oneof![
        number().prop_map(Step::Open),
        number().prop_map(Step::Socket),
        number().prop_map(Step::Poll),
        (number(), packet()).prop_map(|(session, body)| Step::Post(session, body)),
        number().prop_map(Step::Leave),
        number().prop_map(Step::Upgrade),
        (0..64_usize, packet()).prop_map(|(conn, text)| Step::Text(conn, text)),
        (0..64_usize).prop_map(Step::HangUp),
        (1..30_u64).prop_map(Step::Pass),
    ]
}

/// The path of a session, in place of `polling` with another transport if one is given.
fn path(session: &(usize, String), socket: bool) -> String {
    let (kind, sid) = session;
    match (kind % 3, socket) {
        (0, true) => format!("/socket.io/1/websocket/{sid}"),
        (0, false) => format!("/socket.io/1/xhr-polling/{sid}"),
        (kind, true) => format!("/socket.io/?EIO={}&transport=websocket&sid={sid}", kind + 2),
        (kind, false) => format!("/socket.io/?EIO={}&transport=polling&sid={sid}", kind + 2),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever clients do, the server goes on, each of its timeouts makes progress, and when they are gone nothing is
    /// left of them.
    #[test]
    fn nothing_is_left_of_clients_that_keep_to_no_order(steps in prop::collection::vec(step(), 0..60)) {
        let mut bench = bench();
        let mut sessions: Vec<(usize, String)> = Vec::new();
        let mut conns: Vec<ConnId> = Vec::new();
        let mut gone: Vec<ConnId> = Vec::new();
        for step in steps {
            let find = |number: usize| sessions.get(number % sessions.len().max(1)).cloned();
            let before = conns.len();
            match step {
                Step::Open(kind) => {
                    let conn = bench.get(&match kind % 3 {
                        0 => "/socket.io/1/".to_owned(),
                        kind => format!("/socket.io/?EIO={}&transport=polling", kind + 2),
                    });
                    conns.push(conn);
                    if let [Got::Answer(200, body)] = bench.take(conn).as_slice() {
                        let sid = match kind % 3 {
                            0 => body.split(':').next().unwrap(),
                            _ => between(body, r#"{"sid":""#, "\""),
                        };
                        sessions.push((kind, sid.to_owned()));
                    }
                }
                Step::Socket(kind) => {
                    conns.push(bench.open(&format!("/socket.io/?EIO={}&transport=websocket", 3 + kind % 2), ""));
                }
                Step::Poll(session) => conns.extend(find(session).map(|session| bench.get(&path(&session, false)))),
                Step::Post(session, body) => {
                    conns.extend(find(session).map(|session| bench.post(&path(&session, false), &body)));
                }
                Step::Leave(session) => {
                    conns.extend(find(session).map(|session| bench.get(&(path(&session, false) + "?disconnect"))));
                }
                Step::Upgrade(session) => {
                    conns.extend(find(session).map(|session| bench.open(&path(&session, true), "")));
                }
                Step::Text(conn, text) => {
                    // Only an open WebSocket has frames.
                    if let Some(conn) = conns.get(conn % conns.len().max(1)).copied()
                        && bench.is_open_socket(conn)
                    {
                        bench.text(conn, &text);
                    }
                }
                Step::HangUp(conn) => {
                    if let Some(conn) = conns.get(conn % conns.len().max(1)).copied()
                        && !gone.contains(&conn)
                        && !bench.was_dropped(conn)
                    {
                        gone.push(conn);
                        bench.hang_up(conn);
                    }
                }
                Step::Pass(seconds) => bench.pass(Duration::from_secs(seconds)),
            }
            prop_assert!(conns.len() <= before + 1);
        }
        for conn in conns {
            if !gone.contains(&conn) && !bench.was_dropped(conn) {
                bench.hang_up(conn);
            }
        }
        bench.pass(Duration::from_secs(200));
        let stats = bench.server.stats();
        prop_assert_eq!((stats.connections, stats.hub.clients, stats.hub.names, stats.hub.rooms), (0, 0, 0, 0));
        prop_assert_eq!((stats.queued_messages, bench.server.poll_timeout()), (0, None));
    }
}
