//! Data channels between pairs of peers in this process: without a network, over loopback, or through a simulated link.
//!
//! Both ends run on this thread, so CPU time is that of both. Through the simulated link time is virtual: how fast it goes is
//! then a matter of the protocol alone, and what it costs is told beside it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use bytes::BytesMut;
use enishi_core::peer::{ChannelKey, ChannelSpec, Peer, PeerConfig, PeerEffect, PeerState, SendError};
use enishi_core::signal::{Payload, Signal};

use super::link::{Arrival, Link, Path, Way};
use super::pairs::Ledger;
use super::process::{Look, Pid};
use super::progress::Progress;
use super::report::{Report, round};
use crate::dtls;
use crate::failure::Failure;

/// For connecting, in the time of the path.
const PATIENCE: Duration = Duration::from_secs(30);

/// Before the window the rate is followed in steps of this length, of the path's time, until it has not risen in
/// [`LEVEL`] of them: slow start is over, and the round trip is known.
const STEP: Duration = Duration::from_secs(1);
const LEVEL: u32 = 2;
const RISEN: f64 = 1.05;

/// But not for longer.
const WARM_UP_MAX: Duration = Duration::from_secs(30);

/// Messages that a sender may add in one turn, so that both ends get theirs.
const BATCH: usize = 16;

/// Each message starts with its number.
const NUMBER_BYTES: usize = 8;

/// What is sent, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    pub path: Path,
    /// Bytes of a message.
    pub bytes: usize,
    /// Peer connections at once.
    pub connections: usize,
    /// Bytes that a sender holds.
    pub buffer: usize,
    /// Before the window. `None`: until the rate does not rise any more.
    pub warm_up: Option<Duration>,
    pub window: Duration,
}

/// One end of a connection.
struct End {
    peer: Peer,
    channel: Option<ChannelKey>,
    full: bool,
}

/// One connection: the first end sends to the second.
struct Pair {
    ends: [End; 2],
    sent: u64,
    ledger: Ledger,
}

struct Bench {
    link: Link,
    pairs: Vec<Pair>,
    /// What is sent, but for its number.
    message: BytesMut,
    received: u64,
    /// What arrives.
    buffer: Vec<u8>,
    effects: Vec<PeerEffect>,
    /// What comes of effects, until it is carried out.
    signals: VecDeque<(usize, usize, Signal)>,
}

/// Runs the plan and reports.
///
/// # Errors
/// The peers do not connect, or lose each other.
pub fn run(plan: &Plan, progress: &Progress) -> Result<Report, Failure> {
    let own = Pid(std::process::id());
    let before = own.rss();
    let mut bench = Bench::new(plan)?;
    let begin = bench.link.now();
    while bench.pairs.iter().any(|pair| pair.ends.iter().any(|end| end.channel.is_none())) {
        progress.set(0.0, "connecting");
        if bench.link.now() - begin > PATIENCE {
            return Err(anyhow!("the peers have not connected within {} s", PATIENCE.as_secs()).into());
        }
        bench.turn(false)?;
    }
    let connected = own.rss();
    let warm_up = bench.warm_up(plan.warm_up, progress)?;
    let (look, real, start, already) = (Look::now(None), Instant::now(), bench.link.now(), bench.received);
    let end = start + plan.window;
    while bench.link.now() < end {
        let share = (bench.link.now() - start).as_secs_f64() / plan.window.as_secs_f64();
        progress.set(share, "measuring");
        bench.turn(true)?;
    }
    let (usage, real) = (look.since(), real.elapsed());
    let (seconds, messages) = ((bench.link.now() - start).as_secs_f64(), bench.received - already);
    let last = bench.link.now() + PATIENCE;
    while bench.lost() > 0 && bench.link.now() < last {
        bench.turn(false)?;
    }

    let (mut report, bytes) = (Report::default(), messages * plan.bytes as u64);
    report.put("path", "path", Some(plan.path.name()), "");
    report.put("connections", "connections", Some(plan.connections), "");
    report.put("message_bytes", "message", Some(plan.bytes), "bytes");
    let unit = if bench.link.is_virtual() { "virtual s" } else { "s" };
    report.put("warm_up_seconds", "warmed up for", Some(round(warm_up.as_secs_f64())), unit);
    report.put("seconds", "measured for", Some(round(seconds)), unit);
    report.put("messages", "messages", Some(messages), "");
    report.put("megabytes_per_second", "throughput", Some(round(bytes as f64 / 1e6 / seconds)), "MB/s");
    let cpu = usage.load.filter(|_| bytes > 0).map(|time| time.as_secs_f64());
    report.put("cpu_ns_per_byte", "CPU per byte, both ends", cpu.map(|cpu| round(cpu * 1e9 / bytes as f64)), "ns");
    let core = cpu.map(|cpu| round(bytes as f64 / 1e6 / cpu));
    report.put("megabytes_per_core_second", "throughput of a core", core, "MB/s");
    let share = cpu.map(|cpu| round(100.0 * cpu / real.as_secs_f64()));
    report.put("load_cpu_percent", "CPU", share, "% of a core");
    let peers = 2 * plan.connections as u64;
    let each = connected.zip(before).map(|(now, before)| now.saturating_sub(before) / peers);
    report.put("rss_bytes_per_peer", "memory per peer", each, "bytes");
    report.put("rss_bytes", "memory", own.rss(), "bytes");
    let sent: Vec<u64> = bench.pairs.iter().map(|pair| pair.sent).collect();
    let ledgers: Vec<Ledger> = bench.pairs.into_iter().map(|pair| pair.ledger).collect();
    super::pairs::faults(&mut report, &ledgers, |index| sent[index], 0);
    Ok(report)
}

impl Bench {
    fn new(plan: &Plan) -> Result<Self, Failure> {
        let link = Link::new(plan.path.clone(), plan.connections).map_err(|error| anyhow!(error))?;
        let mut bench = Bench {
            pairs: Vec::new(),
            message: BytesMut::from_iter(std::iter::repeat_n(0x5a, plan.bytes.max(NUMBER_BYTES))),
            received: 0,
            buffer: Vec::new(),
            effects: Vec::new(),
            signals: VecDeque::new(),
            link,
        };
        let now = bench.link.now();
        for index in 0..plan.connections {
            let end = |side: usize| End {
                peer: Peer::new(
                    now,
                    PeerConfig {
                        polite: side == 1,
                        hosts: vec![bench.link.address(Way { pair: index, side })],
                        channel_buffer_bytes: plan.buffer,
                        crypto: dtls::crypto(),
                        estimate_bandwidth: false,
                    },
                ),
                channel: None,
                full: false,
            };
            bench.pairs.push(Pair { ends: [end(0), end(1)], sent: 0, ledger: Ledger::default() });
        }
        for index in 0..plan.connections {
            let spec = ChannelSpec { label: "bench".into(), ordered: true, max_retransmits: None, max_lifetime: None };
            bench.act(Way { pair: index, side: 0 }, |peer, now, out| {
                peer.open_channel(now, spec, out);
            })?;
        }
        Ok(bench)
    }

    /// Sends until the rate is what it will be, or for a given time. For how long it was.
    fn warm_up(&mut self, time: Option<Duration>, progress: &Progress) -> Result<Duration, Failure> {
        let (start, mut best, mut level) = (self.link.now(), 0.0, 0);
        let longest = time.unwrap_or(WARM_UP_MAX);
        while self.link.now() - start < longest && (time.is_some() || level < LEVEL) {
            let (begin, already) = (self.link.now(), self.received);
            let end = (begin + STEP).min(start + longest);
            while self.link.now() < end {
                progress.set(0.0, "warming up");
                self.turn(true)?;
            }
            let rate = (self.received - already) as f64 / (self.link.now() - begin).as_secs_f64();
            level = if rate > best * RISEN { 0 } else { level + 1 };
            best = rate.max(best);
        }
        Ok(self.link.now() - start)
    }

    /// Carries everything that has arrived, wakes who is due, and lets senders send. If nothing happened, time goes on.
    fn turn(&mut self, sending: bool) -> Result<(), Failure> {
        let mut moved = false;
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(Arrival { to, from, len, each }) = self.link.receive(&mut buffer) {
            moved = true;
            let local = self.link.address(to);
            for bytes in buffer[..len].chunks(each.max(1)) {
                self.act(to, |peer, now, out| peer.receive_datagram(now, local, from, bytes, out))?;
            }
        }
        self.buffer = buffer;
        while let Some((pair, side, signal)) = self.signals.pop_front() {
            moved = true;
            self.act(Way { pair, side }, |peer, now, out| peer.receive_signal(now, signal, out))?;
        }
        let now = self.link.now();
        let mut next: Option<Instant> = None;
        for pair in 0..self.pairs.len() {
            for side in 0..2 {
                let due = self.pairs[pair].ends[side].peer.next_timeout();
                if due.is_some_and(|due| due <= now) {
                    moved = true;
                    self.act(Way { pair, side }, |peer, now, out| peer.timeout(now, out))?;
                }
                next = [next, self.pairs[pair].ends[side].peer.next_timeout()].into_iter().flatten().min();
            }
            if sending {
                moved |= self.fill(pair)?;
            }
        }
        self.link.flush();
        if !moved {
            self.link.idle(next);
        }
        Ok(())
    }

    fn fill(&mut self, pair: usize) -> Result<bool, Failure> {
        let Some(channel) = self.pairs[pair].ends[0].channel else { return Ok(false) };
        let mut moved = false;
        for _ in 0..BATCH {
            if self.pairs[pair].ends[0].full {
                break;
            }
            let number = self.pairs[pair].sent;
            self.message[..NUMBER_BYTES].copy_from_slice(&number.to_be_bytes());
            let payload = Payload::Binary(self.message.split().freeze());
            let mut result = Ok(());
            self.act(Way { pair, side: 0 }, |peer, now, out| result = peer.send(now, channel, &payload, out))?;
            // Nobody has kept it: no copy.
            if let Payload::Binary(bytes) = payload {
                self.message = bytes.into();
            }
            match result {
                Ok(()) => {
                    self.pairs[pair].sent += 1;
                    moved = true;
                }
                Err(SendError::Full) => self.pairs[pair].ends[0].full = true,
                Err(error) => return Err(anyhow!("a message is not taken: {error:?}; try a smaller --bytes").into()),
            }
        }
        Ok(moved)
    }

    /// Calls one end and carries out what it wants.
    fn act(&mut self, way: Way, call: impl FnOnce(&mut Peer, Instant, &mut Vec<PeerEffect>)) -> Result<(), Failure> {
        let now = self.link.now();
        let mut effects = std::mem::take(&mut self.effects);
        let pair = &mut self.pairs[way.pair];
        call(&mut pair.ends[way.side].peer, now, &mut effects);
        for effect in effects.drain(..) {
            let end = &mut pair.ends[way.side];
            match effect {
                PeerEffect::Transmit { remote, bytes, .. } => self.link.send(way, remote, bytes),
                PeerEffect::Signal(signal) => self.signals.push_back((way.pair, 1 - way.side, signal)),
                PeerEffect::ChannelOpened { channel, .. } => end.channel = Some(channel),
                PeerEffect::Writable { .. } => end.full = false,
                PeerEffect::Message { payload: Payload::Binary(bytes), .. } => {
                    self.received += 1;
                    let number = bytes.first_chunk().map_or(u64::MAX, |number| u64::from_be_bytes(*number));
                    pair.ledger.take(number);
                }
                PeerEffect::Failed(fault) => return Err(anyhow!("connection {}: {fault:?}", way.pair).into()),
                PeerEffect::State(PeerState::Closed | PeerState::Disconnected) => {
                    return Err(anyhow!("connection {} was lost", way.pair).into());
                }
                _ => {}
            }
        }
        self.effects = effects;
        Ok(())
    }

    fn lost(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.ledger.lost(pair.sent)).sum()
    }
}

/// The address of an end where nothing is bound.
pub fn imagined(way: Way) -> SocketAddr {
    let [high, low] = (way.pair as u16).to_be_bytes();
    SocketAddr::from(([10, 1 + way.side as u8, high, low], 5000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_arrives_whatever_its_length_and_whatever_the_path_loses() {
        let lossy = Path::Simulated { rtt: Duration::from_millis(20), loss: 0.02, megabits: Some(100.0) };
        for path in [Path::Memory, Path::Loopback { through: Vec::new() }, lossy] {
            for bytes in [1_200, 65_535, 262_144] {
                let (buffer, window) = (1 << 20, Duration::from_millis(100));
                let plan =
                    Plan { path: path.clone(), bytes, connections: 2, buffer, warm_up: Some(Duration::ZERO), window };
                let report = run(&plan, &Progress::new()).unwrap_or_else(|_| panic!("{plan:?}"));
                assert!(!report.failed(), "{plan:?}: {}", report.text());
            }
        }
    }
}
