//! Peer connections that say nothing, in this process: what memory each takes, what silence costs, and what stays when
//! they have left.
//!
//! Each peer is connected with one other and has an open channel to it. Datagrams are handed over, in real time, so that
//! sockets are not in the figures.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use enishi_core::deadlines::Deadlines;
use enishi_core::limits::CHANNEL_BUFFER_BYTES;
use enishi_core::peer::{ChannelSpec, Peer, PeerConfig, PeerEffect, PeerState};
use enishi_core::signal::Signal;
use enishi_runtime_mio::system;

use super::datachannel::imagined;
use super::link::Way;
use super::process::{Look, Pid};
use super::progress::Progress;
use super::report::{Report, round};
use crate::dtls;
use crate::failure::Failure;

/// For all to connect.
const PATIENCE: Duration = Duration::from_secs(60);

/// After that, what connecting has begun is over.
const SETTLE: Duration = Duration::from_secs(1);

/// Peers that come and go before anything is measured: what the first of all needs, such as tables of the
/// cryptography, is no peer's.
const FIRST: usize = 2;

/// Connects so many peers, looks at them while they are silent, lets all go, and the same again.
///
/// # Errors
/// The peers do not connect, or lose each other.
pub fn run(count: usize, time: Duration, progress: &Progress) -> Result<Report, Failure> {
    let own = Pid(std::process::id());
    let start = own.rss();
    Crowd::connected(FIRST, progress)?.rest(SETTLE, progress, "settling")?;
    let before = own.rss();
    let begin = Look::now(None);
    let mut crowd = Crowd::connected(count, progress)?;
    let connecting = begin.since();
    crowd.rest(SETTLE, progress, "settling")?;
    let connected = own.rss();
    let (look, since) = (Look::now(None), Instant::now());
    crowd.rest(time, progress, "measuring")?;
    let (usage, window) = (look.since(), since.elapsed());
    let left = left(crowd);
    let mut crowd = Crowd::connected(count, progress)?;
    crowd.rest(SETTLE, progress, "settling")?;
    let again = own.rss();
    let left_again = self::left(crowd);

    let mut report = Report::default();
    report.put("peers", "peers", Some(count), "");
    report.put("seconds", "measured for", Some(round(window.as_secs_f64())), "s");
    let each = |now: Option<u64>| Some(now?.saturating_sub(before?) / count as u64);
    report.put("rss_bytes_per_peer", "memory per peer", each(connected), "bytes");
    let idle = usage.load.map(|cpu| cpu.as_secs_f64() / window.as_secs_f64());
    let micros = |cpu: f64| round(cpu * 1e6 / count as f64);
    report.put("idle_cpu_us_per_peer_second", "CPU per peer and second", idle.map(micros), "µs");
    report.put("load_cpu_percent", "CPU", idle.map(|share| round(100.0 * share)), "% of a core");
    let cpu = connecting.load.map(|cpu| micros(cpu.as_secs_f64()));
    report.put("connect_cpu_us_per_peer", "CPU per peer to connect", cpu, "µs");
    report.put("rss_start_bytes", "memory at the start", start, "bytes");
    report.put("rss_before_bytes", "after the first two", before, "bytes");
    report.put("rss_bytes", "with all peers", connected, "bytes");
    report.put("rss_after_bytes", "after all left", left, "bytes");
    let more = |now: Option<u64>, then: Option<u64>| Some(round((now? as f64 / then? as f64 - 1.0) * 100.0));
    report.put("rss_growth_percent", "more than before", more(left, before), "%");
    report.put("rss_again_bytes", "with all again", again, "bytes");
    report.put("rss_after_again_bytes", "after all left again", left_again, "bytes");
    report.put("rss_second_growth_percent", "more than the first time", more(left_again, left), "%");
    Ok(report)
}

/// Memory once all have left. Gives what is free back to the system, as a driver does after a crowd.
fn left(crowd: Crowd) -> Option<u64> {
    drop(crowd);
    system::release_memory();
    Pid(std::process::id()).rss()
}

/// Peers, each connected with the one beside it: 0 with 1, 2 with 3.
struct Crowd {
    peers: Vec<Peer>,
    /// How many have their channel.
    open: usize,
    deadlines: Deadlines<usize>,
    /// To whom, from where, what.
    datagrams: VecDeque<(usize, SocketAddr, Vec<u8>)>,
    signals: VecDeque<(usize, Signal)>,
    effects: Vec<PeerEffect>,
}

impl Crowd {
    fn connected(count: usize, progress: &Progress) -> Result<Self, Failure> {
        let begin = Instant::now();
        let peer = |index: usize| {
            let config = PeerConfig {
                polite: !index.is_multiple_of(2),
                hosts: vec![address(index)],
                channel_buffer_bytes: CHANNEL_BUFFER_BYTES,
                crypto: dtls::crypto(),
                estimate_bandwidth: false,
            };
            Peer::new(begin, config)
        };
        let mut crowd = Crowd {
            peers: (0..count).map(peer).collect(),
            open: 0,
            deadlines: Deadlines::default(),
            datagrams: VecDeque::new(),
            signals: VecDeque::new(),
            effects: Vec::new(),
        };
        for index in (0..count).step_by(2) {
            let spec = ChannelSpec { label: "bench".into(), ordered: true, max_retransmits: None, max_lifetime: None };
            crowd.act(index, |peer, now, out| _ = peer.open_channel(now, spec, out))?;
        }
        while crowd.open < count {
            if begin.elapsed() > PATIENCE {
                return Err(anyhow!("the peers have not connected within {} s", PATIENCE.as_secs()).into());
            }
            progress.set(crowd.open as f64 / count as f64, "connecting");
            crowd.turn(Instant::now() + SETTLE)?;
        }
        Ok(crowd)
    }

    fn rest(&mut self, time: Duration, progress: &Progress, doing: &'static str) -> Result<(), Failure> {
        let begin = Instant::now();
        while begin.elapsed() < time {
            progress.set(begin.elapsed().as_secs_f64() / time.as_secs_f64(), doing);
            self.turn(begin + time)?;
        }
        Ok(())
    }

    /// Sleeps until somebody is due, or until `end`, and carries everything to its receiver.
    fn turn(&mut self, end: Instant) -> Result<(), Failure> {
        let next = self.deadlines.next().map_or(end, |(at, _)| at.min(end));
        if self.datagrams.is_empty() && self.signals.is_empty() {
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let now = Instant::now();
        while let Some(index) = self.deadlines.pop_due(now) {
            self.act(index, |peer, now, out| peer.timeout(now, out))?;
        }
        while let Some((index, signal)) = self.signals.pop_front() {
            self.act(index, |peer, now, out| peer.receive_signal(now, signal, out))?;
        }
        while let Some((index, from, bytes)) = self.datagrams.pop_front() {
            self.act(index, |peer, now, out| peer.receive_datagram(now, address(index), from, &bytes, out))?;
        }
        Ok(())
    }

    /// Calls a peer and carries out what it wants.
    fn act(
        &mut self,
        index: usize,
        call: impl FnOnce(&mut Peer, Instant, &mut Vec<PeerEffect>),
    ) -> Result<(), Failure> {
        let (mut effects, other) = (std::mem::take(&mut self.effects), index ^ 1);
        let peer = &mut self.peers[index];
        call(peer, Instant::now(), &mut effects);
        match peer.next_timeout() {
            Some(at) => self.deadlines.set(index, at),
            None => self.deadlines.clear(&index),
        }
        for effect in effects.drain(..) {
            match effect {
                PeerEffect::Transmit { local, remote, bytes } if remote == address(other) => {
                    self.datagrams.push_back((other, local, bytes));
                }
                PeerEffect::Signal(signal) => self.signals.push_back((other, signal)),
                PeerEffect::ChannelOpened { .. } => self.open += 1,
                PeerEffect::Failed(fault) => return Err(anyhow!("peer {index}: {fault:?}").into()),
                PeerEffect::State(PeerState::Closed | PeerState::Disconnected) => {
                    return Err(anyhow!("peer {index} lost its connection").into());
                }
                _ => {}
            }
        }
        self.effects = effects;
        Ok(())
    }
}

fn address(index: usize) -> SocketAddr {
    imagined(Way { pair: index / 2, side: index % 2 })
}
