//! Datagrams from anybody, before, during and after two peers connect.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use enishi_core::limits;
use enishi_core::peer::{ChannelKey, ChannelSpec, Crypto, Peer, PeerConfig, PeerEffect, PeerFault, PeerState};
use enishi_core::signal::{Payload, Signal};

use crate::contained;

/// Steps that are done; more only make runs slow.
const STEPS: usize = 100;

/// Virtual time that steps may take in all.
const LONGEST: Duration = Duration::from_secs(60);

/// Somebody who takes no part.
const STRANGER: ([u8; 4], u16) = ([203, 0, 113, 9], 4000);

/// A script for two peers on a small network, in steps. A step's first byte says what it is (its remainder by 9), whom
/// it is for (its top bit) and has its arguments after it:
///
/// | remainder | step | arguments |
/// |---|---|---|
/// | 0 | time passes | hundredths of a second |
/// | 1 | a datagram from the other's address | length, bytes |
/// | 2 | a datagram from a stranger | length, bytes |
/// | 3 | a datagram that was sent earlier comes again, edited | which, how many edits, then place and value of each |
/// | 4 | the network loses what is sent next | how many |
/// | 5 | a channel is opened | |
/// | 6 | a message is sent | its length |
/// | 7 | a restart | |
/// | 8 | the peer is closed | |
///
/// The first byte of a datagram is its class (RFC 7983). Whatever comes, time goes on; and what nobody could have
/// encrypted or authenticated keeps nobody from connecting, unless it looks like a handshake.
///
/// # Panics
/// On a defect.
pub fn datagram(data: &[u8]) {
    contained::run(|| {
        fastrand::seed(0);
        let mut world = World::new();
        let mut script = Script(data);
        for _ in 0..STEPS {
            let Some(kind) = script.byte() else { break };
            world.step(kind, &mut script);
        }
        world.finish();
    });
}

/// What is left of the input. At its end there are zeros.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte().unwrap_or_default())
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.number().min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }
}

enum Parcel {
    Datagram { from: SocketAddr, bytes: Vec<u8> },
    Signal(Signal),
}

/// Two peers, what is on its way to them, and what was.
struct World {
    start: Instant,
    now: Instant,
    peers: [Peer; 2],
    channels: [Vec<ChannelKey>; 2],
    parcels: BTreeMap<(Instant, usize), (usize, Parcel)>,
    posted: usize,
    history: Vec<(usize, Vec<u8>)>,
    lose: usize,
    /// Whether nothing was done that may keep the two from connecting.
    harmless: bool,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        World {
            start: now,
            now,
            peers: [Peer::new(now, config(0)), Peer::new(now, config(1))],
            channels: [Vec::new(), Vec::new()],
            parcels: BTreeMap::new(),
            posted: 0,
            history: Vec::new(),
            lose: 0,
            harmless: true,
        }
    }

    fn step(&mut self, kind: u8, script: &mut Script<'_>) {
        let who = usize::from(kind >> 7);
        match kind % 9 {
            0 => {
                let end = self.now + Duration::from_millis(10) * script.number() as u32;
                self.run(end.min(self.start + LONGEST));
            }
            1 => self.inject(who, address(1 - who), script.bytes()),
            2 => self.inject(who, STRANGER.into(), script.bytes()),
            3 => self.again(script),
            4 => {
                self.lose = script.number() % 16;
                self.harmless &= self.lose == 0;
            }
            5 => self.open(who),
            6 => {
                let payload = Payload::Binary(vec![7; script.number() + 1].into());
                if let Some(channel) = self.channels[who].last().copied() {
                    self.act(who, |peer, now, out| _ = peer.send(now, channel, &payload, out));
                }
            }
            7 => self.act(who, |peer, now, out| peer.restart(now, out)),
            _ => {
                self.harmless = false;
                self.act(who, |peer, now, out| peer.close(now, out));
            }
        }
    }

    fn open(&mut self, who: usize) {
        let spec = ChannelSpec { label: "c".into(), ordered: true, max_retransmits: None, max_lifetime: None };
        let mut key = None;
        self.act(who, |peer, now, out| key = Some(peer.open_channel(now, spec, out)));
        self.channels[who].extend(key);
    }

    /// A datagram that nobody sent.
    fn inject(&mut self, who: usize, from: SocketAddr, bytes: &[u8]) {
        self.harmless &= !bytes.first().is_some_and(|class| (20..64).contains(class));
        self.arrive(who, from, bytes);
    }

    /// A datagram that was sent, edited, comes at once.
    fn again(&mut self, script: &mut Script<'_>) {
        self.harmless = false;
        let (which, edits) = (script.number(), script.number() % 8);
        let Some((who, bytes)) = self.history.get(which % self.history.len().max(1)) else { return };
        let (who, mut bytes) = (*who, bytes.clone());
        for _ in 0..edits {
            let place = script.number();
            let value = script.byte().unwrap_or_default();
            match bytes.get_mut(place) {
                Some(byte) => *byte = value,
                None => bytes.truncate(value.into()),
            }
        }
        self.arrive(who, address(1 - who), &bytes);
    }

    /// As an agent does: a peer that says a datagram is its own gets it; so does one to whose address it came.
    fn arrive(&mut self, who: usize, from: SocketAddr, bytes: &[u8]) {
        let to = address(who);
        let _ = self.peers[who].accepts(self.now, to, from, bytes);
        self.act(who, |peer, now, out| peer.receive_datagram(now, to, from, bytes, out));
    }

    fn act(&mut self, who: usize, call: impl FnOnce(&mut Peer, Instant, &mut Vec<PeerEffect>)) {
        let mut out = Vec::new();
        call(&mut self.peers[who], self.now, &mut out);
        for effect in out {
            match effect {
                PeerEffect::Transmit { local, remote, bytes } => {
                    assert_eq!(local, address(who));
                    if self.history.len() < 256 {
                        self.history.push((1 - who, bytes.clone()));
                    }
                    if self.lose > 0 {
                        self.lose -= 1;
                    } else if remote == address(1 - who) {
                        self.post(1 - who, 10, Parcel::Datagram { from: local, bytes });
                    }
                }
                PeerEffect::Signal(signal) => self.post(1 - who, 20, Parcel::Signal(signal)),
                PeerEffect::ChannelOpened { channel, .. } => self.channels[who].push(channel),
                PeerEffect::Failed(PeerFault::Panicked(_)) => self.harmless = false,
                _ => {}
            }
        }
    }

    fn post(&mut self, who: usize, delay_ms: u64, parcel: Parcel) {
        self.posted += 1;
        self.parcels.insert((self.now + Duration::from_millis(delay_ms), self.posted), (who, parcel));
    }

    fn run(&mut self, end: Instant) {
        loop {
            let parcel = self.parcels.keys().next().map(|(at, _)| *at);
            let timers = self.peers.iter().filter_map(Peer::next_timeout);
            let Some(next) = timers.chain(parcel).min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if parcel.is_some_and(|at| at <= self.now)
                && let Some((_, (who, parcel))) = self.parcels.pop_first()
            {
                match parcel {
                    Parcel::Signal(signal) => self.act(who, |peer, now, out| peer.receive_signal(now, signal, out)),
                    Parcel::Datagram { from, bytes } => self.arrive(who, from, &bytes),
                }
            }
            for who in [0, 1] {
                if self.peers[who].next_timeout().is_some_and(|at| at <= self.now) {
                    self.act(who, |peer, now, out| peer.timeout(now, out));
                    let next = self.peers[who].next_timeout();
                    assert!(next.is_none_or(|next| next > self.now), "a due timeout makes no progress");
                }
            }
        }
        self.now = self.now.max(end);
    }

    /// Whom nobody hindered connect.
    fn finish(&mut self) {
        self.lose = 0;
        self.open(0);
        self.run(self.now + Duration::from_secs(5));
        let states = [self.peers[0].state(), self.peers[1].state()];
        assert!(!self.harmless || states == [PeerState::Connected; 2], "{states:?}");
    }
}

fn address(who: usize) -> SocketAddr {
    ([10, 0, 0, 1 + who as u8], 5000).into()
}

fn config(who: usize) -> PeerConfig {
    let (polite, hosts) = (who == 1, vec![address(who)]);
    PeerConfig {
        polite,
        hosts,
        channel_buffer_bytes: limits::CHANNEL_BUFFER_BYTES,
        crypto: Crypto::default(),
        estimate_bandwidth: true,
    }
}
