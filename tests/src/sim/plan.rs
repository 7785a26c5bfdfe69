//! From bytes to a story. The same bytes are the same plan, and any bytes are one.

use std::time::Duration;

use enishi_core::dialect::Dialect;

use crate::net::{Bursts, Link, Node, Rate};
use crate::sim::raw::Word;
use crate::world::WireFault;

/// The most agents of a world that was made from bytes.
pub const AGENTS: usize = 8;

/// Raw clients.
pub const RAWS: usize = 3;

/// Rooms.
const ROOMS: u8 = 3;

/// The most operations.
const OPS: usize = 80;

/// Kinds of operations.
const KINDS: usize = 26;

/// A story.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The seed of the world's own generators.
    pub seed: u64,
    /// Who is there at the beginning.
    pub cast: Vec<Member>,
    /// How the network is.
    pub weather: Weather,
    /// Whether some are behind NATs, and there is a STUN server.
    pub nats: bool,
    /// Whether the server's bounds are tight.
    pub tiny: bool,
    /// Whether connections are encrypted as in the world outside.
    pub real_dtls: bool,
    /// What happens.
    pub ops: Vec<Op>,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it speaks.
    pub dialect: Dialect,
    /// The room that it enters at once.
    pub room: Option<u8>,
    /// Whether it is behind a NAT, if there are any.
    pub behind_nat: bool,
    /// How much later the next one comes, in milliseconds.
    pub later: u64,
}

/// How a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// As a wire.
    Fair,
    /// Some loss and jitter: a bad Wi-Fi.
    Lossy,
    /// Bursts of loss, a narrow and long queue: a train.
    Mobile,
    /// Far away.
    Satellite,
    /// Everything at once.
    Hostile,
}

impl Weather {
    /// One way of such a link.
    pub fn link(self) -> Link {
        let ms = Duration::from_millis;
        Link(match self {
            Weather::Fair => Vec::new(),
            Weather::Lossy => vec![Node::Loss(0.03), Node::Delay(ms(10)), Node::Jitter(ms(15))],
            Weather::Mobile => vec![
                Node::Rate(Rate::new(250_000, ms(500))),
                Node::Bursts(Bursts { begin: 0.005, end: 0.1, loss: 0.5, bad: false }),
                Node::Delay(ms(30)),
                Node::Jitter(ms(40)),
            ],
            Weather::Satellite => {
                vec![Node::Rate(Rate::new(1_000_000, ms(300))), Node::Loss(0.005), Node::Delay(ms(140))]
            }
            Weather::Hostile => vec![
                Node::Rate(Rate::new(100_000, ms(200))),
                Node::Mtu(1300),
                Node::Bursts(Bursts { begin: 0.02, end: 0.2, loss: 0.6, bad: false }),
                Node::Duplicate(0.05),
                Node::Reorder(0.05, ms(60)),
                Node::Delay(ms(20)),
                Node::Jitter(ms(50)),
            ],
        })
    }
}

/// What happens next. Numbers name agents and raw clients, modulo how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    /// Time passes, in milliseconds.
    Run(u16),
    Add(Member),
    Join(u8, u8),
    Leave(u8, u8),
    Offer(u8, u8),
    Send(u8, u8),
    Broadcast(u8),
    Relay(u8, u8),
    RestartIce(u8, u8),
    Quit(u8),
    Crash(u8),
    Restart(u8),
    Raw(u8, Word),
    Hurt(u8, WireFault),
    HurtRaw(u8, WireFault),
    Resume,
    KillServer,
    StartServer,
    /// An agent's process is stopped for so many milliseconds.
    Stop(u8, u16),
    StopServer(u16),
    /// The wall clock is so many hours ahead.
    Wall(u8),
    Weather(u8, Weather),
    Part(u8, u8, bool),
    CutOff(u8, bool),
    Roam(u8),
}

impl Op {
    /// Whether something goes wrong.
    pub fn is_fault(&self) -> bool {
        !matches!(
            self,
            Op::Run(_)
                | Op::Add(_)
                | Op::Join(..)
                | Op::Leave(..)
                | Op::Offer(..)
                | Op::Send(..)
                | Op::Broadcast(_)
                | Op::Relay(..)
                | Op::RestartIce(..)
                | Op::Quit(_)
                | Op::Restart(_)
                | Op::Resume
                | Op::StartServer
        )
    }
}

/// The id of an agent.
pub fn agent_name(agent: usize) -> String {
    format!("a{agent}")
}

/// The name of a room.
pub fn room_name(room: u8) -> String {
    format!("r{}", room % ROOMS)
}

impl Plan {
    /// The plan of a seed.
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x00e2_1541);
        let mut bytes = vec![0; rng.usize(60..400)];
        rng.fill(&mut bytes);
        Plan::from_bytes(seed, &bytes)
    }

    /// Peers in one room who talk for so many minutes, in this weather and with the faults that come with it.
    pub fn scenario(seed: u64, peers: usize, weather: Weather, minutes: u64, dialects: &[Dialect]) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let cast = (0..peers).map(|number| {
            let dialect = dialects.get(number % dialects.len().max(1)).copied().unwrap_or(Dialect::Enishi);
            let has_rooms = matches!(dialect, Dialect::Enishi | Dialect::Mesh);
            Member { dialect, room: has_rooms.then_some(0), behind_nat: false, later: rng.u64(50..300) }
        });
        let (cast, mut ops, mut millis) = (cast.collect(), Vec::new(), 0);
        let fault_in = if weather == Weather::Hostile { 5 } else { 15 };
        while millis < minutes * 60_000 {
            let pause = rng.u16(50..2_000);
            millis += u64::from(pause);
            ops.push(Op::Run(pause));
            let (one, other) = (rng.u8(..), rng.u8(..));
            if rng.u8(..fault_in) > 0 {
                ops.push(if rng.bool() { Op::Broadcast(one) } else { Op::Send(one, other) });
                continue;
            }
            let pause = Op::Run(rng.u16(500..8_000));
            match rng.u8(..8) {
                0 => ops.extend([Op::CutOff(one, true), pause, Op::CutOff(one, false)]),
                1 => ops.extend([Op::Part(one, other, true), pause, Op::Part(one, other, false)]),
                2 => ops.extend([Op::Crash(one), pause, Op::Restart(one)]),
                3 => ops.extend([Op::Hurt(one, WireFault::Stall), pause, Op::Resume]),
                4 => ops.push(Op::Hurt(one, WireFault::Vanish)),
                5 => ops.push(Op::Hurt(one, WireFault::Cut)),
                6 => ops.push(Op::Stop(one, rng.u16(100..4_000))),
                _ => ops.extend([Op::KillServer, pause, Op::StartServer]),
            }
        }
        Plan { seed, cast, weather, nats: false, tiny: false, real_dtls: false, ops }
    }

    /// The plan that these bytes are.
    pub fn from_bytes(seed: u64, bytes: &[u8]) -> Self {
        let mut cursor = Cursor { bytes };
        let flags = cursor.byte();
        let weather = cursor.weather();
        let weights = weights(&mut cursor);
        let strangers = flags & 0b11 == 0;
        let nats = flags & 0b1100 == 0;
        let tiny = flags & 0b11_0000 == 0;
        let cast_dialect = cursor.byte();
        let count = 2 + usize::from(cursor.byte() % 4);
        let cast = (0..count).map(|_| member(&mut cursor, cast_dialect, strangers)).collect();
        let mut ops = Vec::new();
        while !cursor.bytes.is_empty() && ops.len() < OPS {
            ops.push(op(&mut cursor, &weights, cast_dialect, strangers, nats));
        }
        Plan { seed, cast, weather, nats, tiny, real_dtls: false, ops }
    }
}

/// Swarm testing: each story does without some kinds of operations and weighs the rest.
fn weights(cursor: &mut Cursor<'_>) -> [u32; KINDS] {
    let mask = u32::from_le_bytes([cursor.byte(), cursor.byte(), cursor.byte(), cursor.byte()]);
    let seed = cursor.byte();
    std::array::from_fn(|kind| {
        let weight = 1 + u32::from(seed.rotate_left(kind as u32) % 8);
        if mask >> kind & 1 == 1 { weight } else { 0 }
    })
}

fn member(cursor: &mut Cursor<'_>, cast: u8, strangers: bool) -> Member {
    let byte = cursor.byte();
    let stranger = strangers && byte & 0b11 == 0;
    let dialect = match cast % 3 {
        _ if stranger => Dialect::ALL[usize::from(byte >> 2) % Dialect::ALL.len()],
        0 => Dialect::Enishi,
        1 => Dialect::Mesh,
        _ if byte & 0b100 == 0 => Dialect::Mesh,
        _ => Dialect::Enishi,
    };
    let has_rooms = matches!(dialect, Dialect::Enishi | Dialect::Mesh);
    let room = has_rooms.then_some(if byte & 0b1_1000 == 0 { 1 } else { 0 });
    Member { dialect, room, behind_nat: byte & 0b10_0000 == 0, later: u64::from(cursor.byte()) * 4 }
}

fn op(cursor: &mut Cursor<'_>, weights: &[u32; KINDS], cast: u8, strangers: bool, nats: bool) -> Op {
    let first = cursor.byte();
    // A third of the time, time passes.
    if first.is_multiple_of(3) {
        return Op::Run(cursor.millis());
    }
    let sum: u32 = weights.iter().sum();
    if sum == 0 {
        return Op::Run(cursor.millis());
    }
    let mut left = (u32::from(first) * 251 + u32::from(cursor.byte())) % sum;
    let mut kind = 0;
    while left >= weights[kind] {
        left -= weights[kind];
        kind += 1;
    }
    match kind {
        0 => Op::Add(member(cursor, cast, strangers)),
        1 => Op::Join(cursor.byte(), cursor.byte()),
        2 => Op::Leave(cursor.byte(), cursor.byte()),
        3 => Op::Offer(cursor.byte(), cursor.byte()),
        4 | 5 => Op::Send(cursor.byte(), cursor.byte()),
        6 => Op::Broadcast(cursor.byte()),
        7 => Op::Relay(cursor.byte(), cursor.byte()),
        8 => Op::RestartIce(cursor.byte(), cursor.byte()),
        9 => Op::Quit(cursor.byte()),
        10 => Op::Crash(cursor.byte()),
        11 => Op::Restart(cursor.byte()),
        12 | 13 => Op::Raw(cursor.byte(), Word::from_bytes(cursor.byte(), cursor.byte())),
        14 => Op::Hurt(cursor.byte(), cursor.wire_fault()),
        15 => Op::HurtRaw(cursor.byte(), cursor.wire_fault()),
        16 => Op::Resume,
        17 => Op::KillServer,
        18 => Op::StartServer,
        19 => Op::Stop(cursor.byte(), cursor.millis()),
        20 => Op::StopServer(cursor.millis()),
        21 => Op::Wall(cursor.byte()),
        22 => Op::Weather(cursor.byte(), cursor.weather()),
        23 => Op::Part(cursor.byte(), cursor.byte(), cursor.byte() & 1 == 0),
        24 => Op::CutOff(cursor.byte(), cursor.byte() & 1 == 0),
        // Without a STUN server nobody can learn the address of somebody who moved.
        _ if nats => Op::Roam(cursor.byte()),
        _ => Op::Resume,
    }
}

/// Reads bytes; after the last one come zeros.
struct Cursor<'a> {
    bytes: &'a [u8],
}

impl Cursor<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    /// Mostly short, at most half a minute.
    fn millis(&mut self) -> u16 {
        let (byte, more) = (u16::from(self.byte()), u16::from(self.byte()));
        match more % 8 {
            0..3 => byte,
            3..6 => byte * 8,
            6 => byte * 32,
            _ => byte * 117,
        }
    }

    fn weather(&mut self) -> Weather {
        match self.byte() % 8 {
            0..2 => Weather::Fair,
            2..5 => Weather::Lossy,
            5 => Weather::Mobile,
            6 => Weather::Satellite,
            _ => Weather::Hostile,
        }
    }

    fn wire_fault(&mut self) -> WireFault {
        match self.byte() % 5 {
            0 => WireFault::Cut,
            1 => WireFault::Stall,
            2 => WireFault::SlowReader,
            3 => WireFault::Vanish,
            _ => WireFault::HalfClose,
        }
    }
}
