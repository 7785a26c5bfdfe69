//! `enishi bench`: the instrument itself. What it finds depends on the machine and is not asserted.

use serde_json::Value;

use crate::process::{Done, run};

fn report(done: &Done) -> Value {
    serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

#[test]
fn a_relay_loses_nothing_and_says_so_in_json() {
    for arguments in [
        &["relay", "--clients", "4", "--seconds", "1", "--json"][..],
        &["relay", "--clients", "4", "--seconds", "1", "--json", "--runtime", "smol", "--payload", "candidate"],
        &["calls", "--clients", "4", "--seconds", "1", "--json", "--dialect", "enishi"],
    ] {
        let done = run(&[&["bench"], arguments].concat());
        assert_eq!(done.code, Some(0), "{done:?}");
        let report = report(&done);
        for fault in ["lost", "reordered", "duplicated", "misdelivered"] {
            assert_eq!(report[fault], 0, "{fault}: {report}");
        }
        assert!(report["messages"].as_u64().is_some_and(|messages| messages > 0), "{report}");
        assert_eq!(report["failures"], Value::Array(Vec::new()), "{report}");
        if cfg!(target_os = "linux") {
            assert!(report["cpu_us_per_message"].as_f64().is_some_and(|cpu| cpu > 0.0), "{report}");
        }
    }
}

#[test]
fn latency_is_told_with_the_senders_own_lateness() {
    let done = run(&["bench", "latency", "--clients", "4", "--rate", "200", "--seconds", "1", "--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let report = report(&done);
    for figure in ["p50_us", "p90_us", "p99_us", "p99_9_us", "late_p50_us", "late_p99_us"] {
        assert!(report[figure].as_f64().is_some_and(|time| time > 0.0), "{figure}: {report}");
    }
}

#[test]
fn who_disturbs_is_not_measured() {
    let others = ["--slow-readers", "1", "--flooders", "1", "--idle", "3", "--usual-limits"];
    let measured = ["bench", "latency", "--clients", "4", "--rate", "100", "--seconds", "1", "--json"];
    let done = run(&[&measured[..], &others].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    let report = report(&done);
    assert_eq!((&report["clients"], &report["lost"]), (&4.into(), &0.into()), "{report}");
}

#[test]
fn every_dialect_can_be_driven() {
    for dialect in ["enishi", "conic-a", "conic-b", "zenn", "mesh", "tonybai", "socketio", "socketio-0.9"] {
        let done = run(&["bench", "relay", "--clients", "2", "--seconds", "1", "--dialect", dialect, "--json"]);
        assert_eq!(done.code, Some(0), "{dialect}: {done:?}");
    }
}

#[test]
fn who_cannot_measure_says_why() {
    for (arguments, code, why) in [
        (&["relay", "--url", "ws://127.0.0.1:1/ws"][..], 3, "cannot connect to ws://127.0.0.1:1/ws"),
        (&["relay", "--clients", "3"], 2, "even"),
        (&["relay", "--dialect", "socketio"], 2, "fanout"),
        (&["relay", "--pid", "1"], 2, "--url"),
        (&["latency", "--rate", "0"], 2, "a rate"),
        (&["relay", "--count", "0"], 2, "--count"),
        (&["fanout", "--count", "9"], 2, "--count"),
        (&["peers", "--peers", "3"], 2, "even"),
    ] {
        let done = run(&[&["bench"], arguments].concat());
        assert_eq!(done.code, Some(code), "{done:?}");
        assert!(done.err.contains(why), "{done:?}");
    }
}

#[test]
fn crowds_and_rooms_lose_nothing_either() {
    for (arguments, figure) in [
        (&["fanout", "--clients", "5", "--seconds", "0.5"][..], "deliveries"),
        (&["fanout", "--clients", "5", "--seconds", "0.5", "--dialect", "socketio"], "deliveries"),
        (&["mesh", "--clients", "5", "--seconds", "0.5"], "pairs"),
        (&["mesh", "--clients", "5", "--seconds", "0.5", "--dialect", "mesh"], "pairs"),
        (&["setup", "--clients", "10", "--seconds", "0.2"], "connections"),
        (&["idle", "--clients", "400", "--seconds", "0.2"], "idle_bytes_per_connection"),
        (&["churn", "--clients", "10", "--rate", "20", "--seconds", "2"], "connections"),
        (&["churn", "--clients", "10", "--rate", "20", "--seconds", "2", "--runtime", "smol"], "files_end"),
    ] {
        let done = run(&[&["bench"], arguments, &["--json"]].concat());
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
        let report = report(&done);
        assert!(report[figure].as_u64().is_some_and(|count| count > 0), "{arguments:?}: {report}");
    }
}

#[test]
fn data_channels_lose_nothing_on_any_path() {
    for arguments in
        [&[][..], &["--path", "loopback", "--connections", "2"], &["--rtt", "20", "--loss", "1", "--mbit", "50"]]
    {
        let done = run(&[&["bench", "datachannel", "--json"], arguments].concat());
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
        let report = report(&done);
        assert!(report["megabytes_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{report}");
        assert_eq!(report["lost"], 0, "{report}");
    }
}

#[test]
fn silent_peers_cost_something_and_go() {
    let done = run(&["bench", "peers", "--peers", "4", "--seconds", "0.5", "--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let report = report(&done);
    assert_eq!(report["peers"], 4, "{report}");
    if cfg!(target_os = "linux") {
        assert!(report["rss_bytes"].as_u64() > report["rss_start_bytes"].as_u64(), "{report}");
        assert!(report["idle_cpu_us_per_peer_second"].as_f64().is_some_and(|cpu| cpu > 0.0), "{report}");
    }
}
