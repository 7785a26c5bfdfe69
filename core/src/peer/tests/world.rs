//! Two peers and a tiny network between them, in virtual time.

use std::collections::BTreeMap;

use super::super::*;

pub(super) const ALICE: usize = 0;
pub(super) const BOB: usize = 1;

/// What travels to one of the two.
#[derive(Debug)]
pub(super) enum Parcel {
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    Signal(Signal),
}

/// Alice (impolite) and Bob (polite), and what lies between them.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) peers: [Peer; 2],
    /// What each was told, in order. Datagrams and signals are not in it.
    pub(super) told: [Vec<PeerEffect>; 2],
    /// What each signaled, in order.
    pub(super) signaled: [Vec<Signal>; 2],
    pub(super) parcels: BTreeMap<(Instant, u64), (usize, Parcel)>,
    pub(super) posted: u64,
    pub(super) transmitted: u64,
    pub(super) delay: Duration,
    pub(super) signal_delay: Duration,
    pub(super) loss: f64,
    /// Every other datagram is lost: the even ones, or the odd ones.
    pub(super) limps: Option<u64>,
    /// Whether datagrams, and whether signals get through.
    pub(super) path: bool,
    pub(super) signaling: bool,
    /// How many DTLS records each wanted to send.
    pub(super) records: [usize; 2],
    pub(super) rng: fastrand::Rng,
    /// Rewrites a signal on its way.
    pub(super) forge: fn(usize, Signal) -> Signal,
}

/// Where virtual time starts: str0m wants it not to lie before the program.
pub(super) fn start() -> Instant {
    Instant::now()
}

pub(super) fn address(who: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + who as u8], 5000))
}

pub(super) fn config(who: usize) -> PeerConfig {
    PeerConfig {
        polite: who == BOB,
        hosts: vec![address(who)],
        channel_buffer_bytes: limits::CHANNEL_BUFFER_BYTES,
        crypto: Crypto::default(),
        estimate_bandwidth: true,
    }
}

pub(super) fn spec(label: &str) -> ChannelSpec {
    ChannelSpec { label: label.into(), ordered: true, max_retransmits: None, max_lifetime: None }
}

pub(super) fn text(text: &str) -> Payload {
    Payload::Text(text.into())
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        fastrand::seed(seed);
        let now = start();
        World {
            now,
            peers: [Peer::new(now, config(ALICE)), Peer::new(now, config(BOB))],
            told: [Vec::new(), Vec::new()],
            signaled: [Vec::new(), Vec::new()],
            parcels: BTreeMap::new(),
            posted: 0,
            transmitted: 0,
            delay: Duration::from_millis(10),
            signal_delay: Duration::from_millis(20),
            loss: 0.0,
            limps: None,
            path: true,
            signaling: true,
            records: [0, 0],
            rng: fastrand::Rng::with_seed(seed),
            forge: |_, signal| signal,
        }
    }

    /// Two that are connected by a channel of Alice's, which both know under the same key.
    pub(super) fn connected(seed: u64) -> (Self, ChannelKey) {
        let mut world = World::new(seed);
        let chat = world.act(ALICE, |peer, now, out| peer.open_channel(now, spec("chat"), out));
        world.until(Duration::from_secs(5), |world| world.opened(ALICE) == 1 && world.opened(BOB) == 1);
        (world, chat)
    }

    /// Calls one of the two and carries out what it wants.
    pub(super) fn act<T>(&mut self, who: usize, call: impl FnOnce(&mut Peer, Instant, &mut Vec<PeerEffect>) -> T) -> T {
        let mut out = Vec::new();
        let result = call(&mut self.peers[who], self.now, &mut out);
        for effect in out {
            match effect {
                PeerEffect::Transmit { local, remote, bytes } => {
                    assert_eq!(local, address(who));
                    self.records[who] += usize::from((20..64).contains(&bytes[0]));
                    self.transmitted += 1;
                    let limps = self.limps == Some(self.transmitted % 2);
                    if self.path && !limps && self.rng.f64() >= self.loss && remote == address(1 - who) {
                        let parcel = Parcel::Datagram { from: local, to: remote, bytes };
                        self.post(1 - who, self.delay, parcel);
                    }
                }
                PeerEffect::Signal(signal) => {
                    self.signaled[who].push(signal.clone());
                    if self.signaling {
                        let signal = (self.forge)(who, signal);
                        self.post(1 - who, self.signal_delay, Parcel::Signal(signal));
                    }
                }
                effect => self.told[who].push(effect),
            }
        }
        result
    }

    pub(super) fn post(&mut self, who: usize, delay: Duration, parcel: Parcel) {
        self.posted += 1;
        self.parcels.insert((self.now + delay, self.posted), (who, parcel));
    }

    /// Goes on to the next thing that happens, or to `end` if that is earlier. Whether there is more.
    pub(super) fn step(&mut self, end: Instant) -> bool {
        let parcel = self.parcels.keys().next().map(|(at, _)| *at);
        let timers = self.peers.iter().filter_map(Peer::next_timeout).min();
        let Some(next) = parcel.into_iter().chain(timers).min().filter(|next| *next <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        if parcel.is_some_and(|at| at <= self.now) {
            let ((_, _), (who, parcel)) = self.parcels.pop_first().unwrap();
            match parcel {
                Parcel::Signal(signal) => self.act(who, |peer, now, out| peer.receive_signal(now, signal, out)),
                Parcel::Datagram { from, to, bytes } => self.act(who, |peer, now, out| {
                    if peer.accepts(now, to, from, &bytes) {
                        peer.receive_datagram(now, to, from, &bytes, out);
                    }
                }),
            }
        }
        for who in [ALICE, BOB] {
            if self.peers[who].next_timeout().is_some_and(|at| at <= self.now) {
                self.act(who, |peer, now, out| peer.timeout(now, out));
                let next = self.peers[who].next_timeout();
                assert!(next.is_none_or(|next| next > self.now), "a due timeout makes progress");
            }
        }
        true
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Runs until a condition holds; it must within the time.
    #[track_caller]
    pub(super) fn until(&mut self, time: Duration, holds: impl Fn(&World) -> bool) {
        let (start, end) = (self.now, self.now + time);
        while !holds(self) {
            assert!(self.step(end), "not within {time:?}: {:#?}", self.told);
        }
        assert!(self.now - start <= time);
    }

    pub(super) fn has(&self, who: usize, effect: &PeerEffect) -> bool {
        self.told[who].contains(effect)
    }

    pub(super) fn opened(&self, who: usize) -> usize {
        self.told[who].iter().filter(|effect| matches!(effect, PeerEffect::ChannelOpened { .. })).count()
    }

    pub(super) fn key(&self, who: usize, name: &str) -> ChannelKey {
        let keys = self.told[who].iter().filter_map(|effect| match effect {
            PeerEffect::ChannelOpened { channel, spec } if spec.label == name => Some(*channel),
            _ => None,
        });
        keys.last().unwrap()
    }

    pub(super) fn messages(&self, who: usize) -> Vec<Payload> {
        let messages = self.told[who].iter().filter_map(|effect| match effect {
            PeerEffect::Message { payload, .. } => Some(payload.clone()),
            _ => None,
        });
        messages.collect()
    }

    pub(super) fn send(&mut self, who: usize, channel: ChannelKey, payload: &Payload) -> Result<(), SendError> {
        self.act(who, |peer, now, out| peer.send(now, channel, payload, out))
    }
}
