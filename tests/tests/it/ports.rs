//! Ports that are for the clients of one system.

use enishi_core::dialect::Family;
use enishi_core::server::{Listener, ServerConfig};
use enishi_tests::bench_server::{Bench, Got};

/// A bench whose clients all come in by a port of this family.
fn bench(only: Family) -> Bench {
    let address = "127.0.0.1:8080".parse().expect("an address");
    Bench::new(ServerConfig { listeners: vec![Listener { address, only: Some(only) }], ..ServerConfig::default() })
}

/// What becomes of a WebSocket on this path, and of its first message.
fn outcome(bench: &mut Bench, path: &str, first: &str) -> &'static str {
    let conn = bench.open(path, "");
    if bench.take(conn).first() != Some(&Got::Upgraded(None)) {
        return "refused";
    }
    bench.text(conn, first);
    match bench.take(conn).first() {
        Some(Got::Close(1003, _)) => "closed",
        _ => "served",
    }
}

#[test]
fn each_port_serves_its_own_and_nobody_else() {
    let clients = [
        (Family::Conic, "/ws", r#"{"type":"register_request","data":{"client_id":"a"}}"#),
        (Family::Zenn, "/ws", r#"{"type":"connect","id":"a"}"#),
        (Family::Mesh, "/", r#"{"type":"join","peer_id":"a","room_id":"r"}"#),
        (Family::TonyBai, "/register", r#"{"command":1,"payload":""}"#),
        (Family::SocketIo, "/socket.io/?EIO=4&transport=websocket", "40"),
    ];
    for port in clients.map(|(family, ..)| family) {
        for (client, path, first) in clients {
            let wanted = match (client == port, client) {
                (true, _) => "served",
                (false, Family::TonyBai | Family::SocketIo) => "refused",
                (false, _) if port == Family::TonyBai => "refused",
                (false, _) => "closed",
            };
            let mut bench = bench(port);
            assert_eq!(outcome(&mut bench, path, first), wanted, "{client:?} at the port of {port:?}");
        }
        assert_eq!(outcome(&mut bench(port), "/v1", r#"{"type":"hello"}"#), "refused");
    }
}
