//! What lies between two peers of `bench datachannel`.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use enishi_core::ids::Secrets;
use enishi_runtime_mio::udp::{Port, Received};
use mio::{Events, Poll, Token};

use super::datachannel::imagined;

/// What is read from a socket at once: many datagrams, where the kernel gives them together.
const READ_BYTES: usize = 64 * 1024;

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

/// Datagrams that have arrived together, in the buffer that [`Link::receive`] was given.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub to: Way,
    pub from: SocketAddr,
    /// Bytes of all of them.
    pub len: usize,
    /// Bytes of each but the last, which may be shorter.
    pub each: usize,
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
    /// Of loopback: those of the first pair, of the second...
    ports: Vec<[Port; 2]>,
    /// Tells when one of them can be read.
    poll: Poll,
    addresses: Vec<[SocketAddr; 2]>,
    /// Whose port is read next.
    turn: usize,
}

impl Link {
    /// # Errors
    /// No sockets can be had.
    pub fn new(path: Path, pairs: usize) -> io::Result<Self> {
        let now = Instant::now();
        let (mut ports, poll) = (Vec::new(), Poll::new()?);
        if matches!(path, Path::Loopback { .. }) {
            for _ in 0..pairs {
                ports.push([bind(&poll)?, bind(&poll)?]);
            }
        }
        let mut addresses = Vec::new();
        for pair in 0..pairs {
            addresses.push(match ports.get(pair) {
                Some([a, b]) => [a.local(), b.local()],
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
            ports,
            poll,
            addresses,
            turn: 0,
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

    /// Takes a datagram from an end, which leaves at the latest with [`Link::flush`]. What is not for the other end of its
    /// connection gets lost.
    pub fn send(&mut self, from: Way, to: SocketAddr, bytes: Vec<u8>) {
        let (source, other) = (self.address(from), Way { side: 1 - from.side, ..from });
        if to != self.address(other) {
            return;
        }
        match &self.path {
            Path::Memory => self.queue.push_back((other, source, bytes)),
            Path::Loopback { through } => {
                let port = through.get(2 * from.pair + from.side).copied().unwrap_or(to.port());
                self.ports[from.pair][from.side].send(SocketAddr::new(to.ip(), port), &bytes);
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

    /// Sends what waits for more datagrams of its kind.
    pub fn flush(&mut self) {
        self.ports.iter_mut().flatten().for_each(Port::flush);
    }

    /// What has arrived next; `None`: nothing more now.
    pub fn receive(&mut self, buffer: &mut Vec<u8>) -> Option<Arrival> {
        let (to, from, bytes) = match &self.path {
            Path::Memory => self.queue.pop_front()?,
            Path::Simulated { .. } => {
                let now = self.now();
                let (at, _) = self.flying.first_key_value()?.0;
                if *at > now {
                    return None;
                }
                self.flying.pop_first()?.1
            }
            Path::Loopback { .. } => return self.read(buffer),
        };
        *buffer = bytes;
        Some(Arrival { to, from, len: buffer.len(), each: buffer.len() })
    }

    /// Reads one port until it is empty. Then what its end answered leaves, and it is the next one's turn.
    fn read(&mut self, buffer: &mut Vec<u8>) -> Option<Arrival> {
        buffer.resize(READ_BYTES, 0);
        for _ in 0..2 * self.ports.len() {
            let to = Way { pair: self.turn / 2, side: self.turn % 2 };
            let port = &mut self.ports[to.pair][to.side];
            if let Received::Datagrams { len, each, .. } = port.receive(buffer) {
                // The peers know nothing of a link between them.
                let from = self.address(Way { side: 1 - to.side, ..to });
                return Some(Arrival { to, from, len, each });
            }
            port.flush();
            self.turn = (self.turn + 1) % (2 * self.ports.len());
        }
        None
    }

    /// Nothing happens now: goes on to the next arrival, or to `next` if that is earlier.
    pub fn idle(&mut self, next: Option<Instant>) {
        if !self.ports.is_empty() {
            let wait = next.map_or(LONGEST, |next| next.saturating_duration_since(Instant::now()).min(LONGEST));
            // If it fails, the ports are looked at again all the same.
            let _ = self.poll.poll(&mut Events::with_capacity(1), Some(wait));
        }
        if let Some(now) = self.now {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let at = [arrival, next].into_iter().flatten().min();
            // A millisecond where nobody waits for anything: time must not stand still.
            self.now = Some(at.unwrap_or(now + Duration::from_millis(1)).max(now));
        }
    }
}

fn bind(poll: &Poll) -> io::Result<Port> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    Port::new(socket, poll.registry(), Token(0))
}
