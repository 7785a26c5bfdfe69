//! What lies between two peers of `bench datachannel`.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use enishi_core::ids::Secrets;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::datachannel::imagined;

/// The largest datagram.
const DATAGRAM_BYTES: usize = 2048;

/// A router drops what would wait longer than this.
const QUEUE: Duration = Duration::from_millis(200);

/// For the sockets, at once: who waits has a window that ends.
const LONGEST: Duration = Duration::from_millis(10);

/// A network.
#[derive(Debug, Clone, PartialEq)]
pub enum Path {
    /// None: datagrams are handed over.
    Memory,
    /// UDP sockets on 127.0.0.1.
    Loopback {
        /// What each end sends to instead of the other, in the order of pairs and sides: ports of a link between them.
        through: Vec<u16>,
    },
    /// In virtual time.
    Simulated {
        /// There and back.
        rtt: Duration,
        /// The share that is lost, in each direction, from 0 to 1.
        loss: f64,
        /// Megabits a second that all connections share in each direction.
        megabits: Option<f64>,
    },
}

impl Path {
    pub fn name(&self) -> String {
        match self {
            Path::Memory => "memory".into(),
            Path::Loopback { through } if through.is_empty() => "loopback".into(),
            Path::Loopback { .. } => "loopback, through a link".into(),
            Path::Simulated { rtt, loss, megabits } => {
                let rate = megabits.map(|rate| format!(", {rate} Mbit/s")).unwrap_or_default();
                format!("simulated: {} ms, {} % loss{rate}", rtt.as_secs_f64() * 1e3, loss * 100.0)
            }
        }
    }
}

/// An end: whose, and which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    pub pair: usize,
    pub side: usize,
}

/// A path and what is on it.
pub struct Link {
    path: Path,
    /// Virtual time, if it is.
    now: Option<Instant>,
    /// Handed over at once: to whom, from where, what.
    queue: VecDeque<(Way, SocketAddr, Vec<u8>)>,
    /// On their way.
    flying: BTreeMap<(Instant, u64), (Way, SocketAddr, Vec<u8>)>,
    posted: u64,
    /// When each direction has sent what was given to it.
    free: [Instant; 2],
    dice: Secrets,
    sockets: Vec<[UdpSocket; 2]>,
    addresses: Vec<[SocketAddr; 2]>,
    /// Whose socket is looked at next.
    turn: usize,
    scratch: Vec<u8>,
}

impl Link {
    /// # Errors
    /// No sockets can be had.
    pub fn new(path: Path, pairs: usize) -> io::Result<Self> {
        let now = Instant::now();
        let mut sockets = Vec::new();
        if matches!(path, Path::Loopback { .. }) {
            for _ in 0..pairs {
                sockets.push([bind()?, bind()?]);
            }
        }
        let mut addresses = Vec::new();
        for pair in 0..pairs {
            addresses.push(match sockets.get(pair) {
                Some([a, b]) => [a.local_addr()?, b.local_addr()?],
                None => [imagined(Way { pair, side: 0 }), imagined(Way { pair, side: 1 })],
            });
        }
        let is_virtual = matches!(path, Path::Simulated { .. });
        Ok(Link {
            path,
            now: is_virtual.then_some(now),
            queue: VecDeque::new(),
            flying: BTreeMap::new(),
            posted: 0,
            free: [now; 2],
            dice: Secrets::new([7; 32]),
            sockets,
            addresses,
            turn: 0,
            scratch: vec![0; DATAGRAM_BYTES],
        })
    }

    pub fn is_virtual(&self) -> bool {
        self.now.is_some()
    }

    pub fn now(&self) -> Instant {
        self.now.unwrap_or_else(Instant::now)
    }

    pub fn address(&self, way: Way) -> SocketAddr {
        self.addresses[way.pair][way.side]
    }

    /// Takes a datagram from an end. What is not for the other end of its connection gets lost.
    pub fn send(&mut self, from: Way, to: SocketAddr, bytes: Vec<u8>) {
        let (source, other) = (self.address(from), Way { side: 1 - from.side, ..from });
        if to != self.address(other) {
            return;
        }
        match &self.path {
            Path::Memory => self.queue.push_back((other, source, bytes)),
            Path::Loopback { through } => {
                let port = through.get(2 * from.pair + from.side).copied().unwrap_or(to.port());
                // What the kernel does not take now is lost, as on any network.
                drop(self.sockets[from.pair][from.side].send_to(&bytes, (to.ip(), port)));
            }
            &Path::Simulated { rtt, loss, megabits } => {
                let lost = (self.dice.number() >> 11) as f64 / ((1_u64 << 53) as f64) < loss;
                let mut at = self.now();
                if let Some(megabits) = megabits {
                    let free = self.free[from.side].max(at);
                    if free > at + QUEUE {
                        return;
                    }
                    // With the headers of UDP and IP.
                    at = free + Duration::from_secs_f64((bytes.len() + 28) as f64 * 8.0 / (megabits * 1e6));
                    self.free[from.side] = at;
                }
                if !lost {
                    self.posted += 1;
                    self.flying.insert((at + rtt / 2, self.posted), (other, source, bytes));
                }
            }
        }
    }

    /// What has arrived: to whom, from where, what.
    pub fn receive(&mut self) -> Option<(Way, SocketAddr, Vec<u8>)> {
        match &self.path {
            Path::Memory => self.queue.pop_front(),
            Path::Simulated { .. } => {
                let (at, _) = *self.flying.keys().next()?;
                if at > self.now() {
                    return None;
                }
                self.flying.pop_first().map(|(_, parcel)| parcel)
            }
            Path::Loopback { .. } => {
                for _ in 0..2 * self.sockets.len() {
                    let way = Way { pair: self.turn / 2, side: self.turn % 2 };
                    if let Ok((len, _)) = self.sockets[way.pair][way.side].recv_from(&mut self.scratch) {
                        // The peers know nothing of a link between them.
                        let from = self.address(Way { side: 1 - way.side, ..way });
                        return Some((way, from, self.scratch[..len].to_vec()));
                    }
                    self.turn = (self.turn + 1) % (2 * self.sockets.len());
                }
                None
            }
        }
    }

    /// Nothing happens now: goes on to the next arrival, or to `next` if that is earlier.
    pub fn idle(&mut self, next: Option<Instant>) {
        if !self.sockets.is_empty() {
            let wait = next.map_or(LONGEST, |next| next.saturating_duration_since(Instant::now()).min(LONGEST));
            let mut sockets: Vec<_> =
                self.sockets.iter().flatten().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
            // If it fails, the sockets are looked at again all the same.
            let _ = Timespec::try_from(wait).map(|wait| poll(&mut sockets, Some(&wait)));
        }
        if let Some(now) = self.now {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let at = [arrival, next].into_iter().flatten().min();
            // A millisecond where nobody waits for anything: time must not stand still.
            self.now = Some(at.unwrap_or(now + Duration::from_millis(1)).max(now));
        }
    }
}

fn bind() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    Ok(socket)
}
