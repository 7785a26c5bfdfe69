//! A link in real time, for races between WebRTC stacks: UDP datagrams wait for half a round trip, queue for a rate, and
//! get lost by a seed.
//!
//! For each connection it opens two ports on 127.0.0.1 and prints them: what one end sends to the first leaves from the
//! second to the other end, and back. Each end is who sends first to its port. It runs until its input ends, on a core
//! of its own, for it does not sleep while something is about to be due; then it tells what it did.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

const INPUT: Token = Token(usize::MAX);

/// What the kernel may hold for each port: a burst must not get lost before the link has seen it.
const SOCKET_BYTES: usize = 4 << 20;

const DATAGRAM_BYTES: usize = 2048;

/// Headers of UDP and IPv4, which a rate counts.
const HEADER_BYTES: usize = 28;

/// A router drops what would wait longer than this for its turn.
const QUEUE: Duration = Duration::from_millis(200);

/// Datagrams on their way in one direction; more are dropped.
const FLYING: usize = 200_000;

/// Datagrams that are read from one port before others get their turn.
const BATCH: usize = 64;

/// The system sleeps in milliseconds: what is due sooner is waited for awake.
const AWAKE: Duration = Duration::from_millis(1);

struct Port {
    socket: UdpSocket,
    /// The end on this side of the link.
    end: Option<SocketAddr>,
}

/// One direction, for all connections.
struct Direction {
    /// When it is due, for which port, what. In this order, for all take equally long.
    flying: VecDeque<(Instant, usize, Vec<u8>)>,
    /// When the rate has let everything pass.
    free: Instant,
    dice: fastrand::Rng,
}

#[derive(Default)]
struct Counts {
    passed: u64,
    lost: u64,
    /// By the queue or by [`FLYING`].
    overflowed: u64,
}

struct Link {
    delay: Duration,
    /// From 0 to 1.
    loss: f64,
    bits_per_second: Option<f64>,
    /// Those of a connection are neighbours.
    ports: Vec<Port>,
    directions: [Direction; 2],
    counts: Counts,
}

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let (mut rtt, mut loss, mut mbit, mut seed, mut connections) = (50.0, 0.0, None, 1, 1_usize);
    while let Some(word) = words.next() {
        let number = words.next().and_then(|value| value.parse::<f64>().ok()).filter(|number| *number >= 0.0);
        let number = number.ok_or_else(|| wrong(&format!("{word} wants a number")))?;
        match word.as_str() {
            "--rtt" => rtt = number,
            "--loss" => loss = number,
            "--mbit" => mbit = Some(number).filter(|rate| *rate > 0.0),
            "--seed" => seed = number as u64,
            "--connections" => connections = number as usize,
            _ => {
                return Err(wrong(&format!(
                    "{word} is not known; there are --rtt MS, --loss PERCENT, --mbit RATE, --seed N, --connections N"
                )));
            }
        }
    }
    let mut link =
        Link::new(Duration::from_secs_f64(rtt / 2e3), loss / 100.0, mbit.map(|rate| rate * 1e6), seed, connections)?;
    link.run()?;
    let Counts { passed, lost, overflowed } = link.counts;
    writeln!(io::stdout(), "{{\"passed\":{passed},\"lost\":{lost},\"overflowed\":{overflowed}}}")
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, text)
}

impl Link {
    fn new(
        delay: Duration,
        loss: f64,
        bits_per_second: Option<f64>,
        seed: u64,
        connections: usize,
    ) -> io::Result<Self> {
        let mut ports = Vec::new();
        for _ in 0..2 * connections {
            let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            SockRef::from(&socket).set_recv_buffer_size(SOCKET_BYTES)?;
            ports.push(Port { socket, end: None });
        }
        let direction =
            |seed| Direction { flying: VecDeque::new(), free: Instant::now(), dice: fastrand::Rng::with_seed(seed) };
        let directions = [direction(2 * seed), direction(2 * seed + 1)];
        Ok(Link { delay, loss, bits_per_second, ports, directions, counts: Counts::default() })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut poll = Poll::new()?;
        let input = io::stdin().as_raw_fd();
        poll.registry().register(&mut SourceFd(&input), INPUT, Interest::READABLE)?;
        for (index, port) in self.ports.iter_mut().enumerate() {
            poll.registry().register(&mut port.socket, Token(index), Interest::READABLE)?;
        }
        for ends in self.ports.chunks(2) {
            let [first, second] = ends else { continue };
            writeln!(
                io::stdout(),
                "link {} {}",
                first.socket.local_addr()?.port(),
                second.socket.local_addr()?.port()
            )?;
        }
        let mut events = Events::with_capacity(1024);
        // Ports that may have more: they are told of once.
        let mut ready = vec![false; self.ports.len()];
        loop {
            let wait = if ready.contains(&true) { Some(Duration::ZERO) } else { self.wait() };
            match poll.poll(&mut events, wait) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    INPUT if io::stdin().read(&mut [0; 64])? == 0 => return Ok(()),
                    INPUT => {}
                    Token(index) => ready[index] = true,
                }
            }
            for (index, ready) in ready.iter_mut().enumerate().filter(|(_, ready)| **ready) {
                *ready = self.read(index);
            }
            self.deliver();
        }
    }

    /// How long nothing is due.
    fn wait(&self) -> Option<Duration> {
        let due = self.directions.iter().filter_map(|way| way.flying.front()).map(|(due, ..)| *due).min()?;
        let rest = due.saturating_duration_since(Instant::now());
        Some(rest.saturating_sub(AWAKE))
    }

    /// Takes what has arrived at a port. Whether there may be more.
    fn read(&mut self, index: usize) -> bool {
        for _ in 0..BATCH {
            let mut bytes = vec![0; DATAGRAM_BYTES];
            let (len, from) = match self.ports[index].socket.recv_from(&mut bytes) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // An end is gone, which the kernel tells of here.
                Err(_) => continue,
            };
            if *self.ports[index].end.get_or_insert(from) == from {
                bytes.truncate(len);
                self.take(index, bytes);
            }
        }
        true
    }

    fn take(&mut self, index: usize, bytes: Vec<u8>) {
        let (now, direction) = (Instant::now(), &mut self.directions[index % 2]);
        let mut sent = now;
        if let Some(rate) = self.bits_per_second {
            let free = direction.free.max(now);
            if free > now + QUEUE {
                self.counts.overflowed += 1;
                return;
            }
            sent = free + Duration::from_secs_f64((bytes.len() + HEADER_BYTES) as f64 * 8.0 / rate);
            direction.free = sent;
        }
        if direction.dice.f64() < self.loss {
            self.counts.lost += 1;
        } else if direction.flying.len() == FLYING {
            self.counts.overflowed += 1;
        } else {
            direction.flying.push_back((sent + self.delay, index ^ 1, bytes));
        }
    }

    /// Hands over what is due.
    fn deliver(&mut self) {
        let now = Instant::now();
        for direction in &mut self.directions {
            while direction.flying.front().is_some_and(|(due, ..)| *due <= now)
                && let Some((_, index, bytes)) = direction.flying.pop_front()
            {
                let port = &self.ports[index];
                // Nobody is there yet, or the kernel has no room: lost, as on any network.
                if port.end.is_some_and(|end| port.socket.send_to(&bytes, end).is_ok()) {
                    self.counts.passed += 1;
                }
            }
        }
    }
}
