//! The bodies of the fuzz targets, as plain functions: compiled, linted and replayed like everything else.
//!
//! `cargo fuzz run --features libfuzzer http` (with `-s none` on a stable toolchain) looks for new inputs; what it finds
//! stays in `corpus/`, and `cargo test` runs all of that.

use enishi_core::http::{self, Parsed};
use enishi_core::machine::Frame;
use enishi_core::server::ServerConfig;
use enishi_tests::bench_server::{Bench, Got};
use enishi_tests::hub_model::{Model, Op, Real};

/// A request head: any bytes, and whatever is parsed is the same however the bytes were split.
///
/// # Panics
/// On a defect.
pub fn http(data: &[u8]) {
    let whole = http::parse(data);
    if let Parsed::Complete(request, taken) = &whole {
        assert_eq!(http::parse(&data[..*taken]), Parsed::Complete(request.clone(), *taken));
        assert_eq!(http::parse(&data[..*taken - 1]), Parsed::Partial);
    }
}

/// Messages to a server, one a line, from two clients in turn: a third one is served as before.
///
/// # Panics
/// On a defect.
pub fn dialect(data: &[u8]) {
    let mut bench = Bench::new(ServerConfig::default());
    let bystander = bench.enishi("bystander");
    let clients = [bench.ws(), bench.ws()];
    for (n, line) in data.split(|byte| *byte == b'\n').take(100).enumerate() {
        let frame = match std::str::from_utf8(line) {
            Ok(text) => Frame::text(text),
            Err(_) => Frame::Binary(line.to_vec().into()),
        };
        bench.frame(clients[n % 2], frame);
    }
    bench.take(bystander);
    bench.text(bystander, r#"{"type":"list"}"#);
    assert!(matches!(&bench.take(bystander)[..], [Got::Text(peers)] if peers.contains("bystander")));
}

/// Operations on the hub, three bytes each, against the reference model.
///
/// # Panics
/// On a defect.
pub fn hub(data: &[u8]) {
    let (mut model, mut real) = (Model::default(), Real::default());
    for step in data.chunks_exact(3).take(200) {
        let op = op([step[0], step[1], step[2]]);
        assert_eq!(model.apply(op), real.apply(op), "{op:?}");
    }
}

fn op([kind, client, what]: [u8; 3]) -> Op {
    let (c, name, room) = (client % 6, what % 4, what % 2);
    match kind % 12 {
        0 => Op::Connect,
        1 => Op::Register(c, name, what & 4 != 0),
        2 => Op::Unregister(c, name),
        3 => Op::Join(c, room),
        4 => Op::Leave(c, room),
        5 => Op::Send(c, name, (what & 4 != 0).then_some(what / 8 % 4)),
        6 => Op::Shout(c, room),
        7 => Op::List(c),
        8 => Op::Lose(c),
        9 => Op::Bye(c),
        10 => Op::Resume(c, what % 8),
        _ => Op::Pass(what % 12),
    }
}
