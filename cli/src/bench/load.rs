//! The load: many clients in one thread that never sleeps while it measures.
//!
//! A receiver that sleeps has to be woken, and the kernel charges that to who sends: the server would pay for our being
//! idle.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use enishi_core::http::get;
use enishi_core::http::handshake::Place;
use enishi_core::machine::Frame;
use enishi_core::signal::Name;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use super::client::{Client, Identity, Stage, Surroundings};
use super::progress::Progress;
use super::speech::{Speech, Tongue};
use crate::failure::Failure;

/// Connections under way at once: less than servers have places in their backlog.
const UNDER_WAY: usize = 128;

/// Without any progress in connecting, it has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections from one address to one server: some less than the ports that Linux gives by itself.
const PORTS: usize = 25_000;

/// Read at once.
const SCRATCH_BYTES: usize = 64 * 1024;

const EVENTS: usize = 1024;

/// All clients.
pub struct Load {
    pub clients: Vec<Client>,
    pub around: Surroundings,
    pub tongue: Tongue,
    /// How often somebody was told of another's entering a room.
    pub notices: u64,
    url: String,
    /// The server, once its name was looked up.
    server: Option<SocketAddr>,
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
}

impl Load {
    /// No client yet.
    ///
    /// # Errors
    /// The system gives no poll.
    pub fn new(url: &str, tongue: Tongue) -> Result<Self, Failure> {
        Ok(Load {
            clients: Vec::new(),
            around: Surroundings::new(),
            tongue,
            notices: 0,
            url: url.to_owned(),
            server: None,
            poll: Poll::new().context("cannot poll sockets")?,
            events: Events::with_capacity(EVENTS),
            scratch: vec![0; SCRATCH_BYTES],
        })
    }

    /// Connects and registers clients until there are `count`, as fast as the server takes them; `room` says which room
    /// each is in where a dialect registers that way.
    ///
    /// # Errors
    /// The server cannot be reached, or does not register somebody.
    pub fn connect(&mut self, count: usize, room: fn(usize) -> usize, progress: &Progress) -> Result<(), Failure> {
        let unreachable = |why: String| Failure::Unreachable(why);
        let (begin, mut moved) = (self.clients.len(), Instant::now());
        let mut registered = begin;
        while registered < count {
            while self.clients.len() < count && self.clients.len() - registered < UNDER_WAY {
                let index = self.clients.len();
                let name = Name::new(format!("bench-{index:06}"));
                let client = self.dial(index, name, room(index)).map_err(unreachable)?;
                self.clients.push(client);
            }
            self.turn(&mut |_, _, _, _| Ok(())).map_err(unreachable)?;
            let before = registered;
            // In the order of dialling: the first that is not registered yet holds the count, which is only a pace.
            while self.clients.get(registered).is_some_and(|client| client.stage == Stage::Registered) {
                registered += 1;
            }
            if registered > before {
                moved = Instant::now();
                progress.set(registered as f64 / count as f64, "connecting");
            } else if moved.elapsed() > PATIENCE {
                let url = &self.url;
                return Err(Failure::Unreachable(format!(
                    "{url} has not registered client {} within {} s; is it this dialect, and are its limits high enough?",
                    registered + 1,
                    PATIENCE.as_secs()
                )));
            }
        }
        Ok(())
    }

    /// Lets a client go, with or without a goodbye, and puts a new one in its place, under a name of its own `life`. Its
    /// connection is under way.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn replace(
        &mut self,
        index: usize,
        life: usize,
        room: fn(usize) -> usize,
        polite: bool,
    ) -> Result<(), Failure> {
        let name = Name::new(format!("bench-{index:06}-{life}"));
        let new = self.dial(index, name, room(index)).map_err(Failure::Unreachable)?;
        if let Some(client) = self.clients.get_mut(index) {
            std::mem::replace(client, new).leave(polite);
        }
        Ok(())
    }

    /// A new client in the place `index`.
    fn dial(&mut self, index: usize, name: Name, room: usize) -> Result<Client, String> {
        let identity = Identity {
            tongue: self.tongue,
            name,
            room: Name::new(format!("bench-room-{room}")),
            offers: index.is_multiple_of(2),
        };
        let mut speech = Speech::new(&identity);
        if speech.asks_first() {
            speech.begin(&ask(&Place::parse(&speech.url(&self.url))?)?)?;
        }
        let place = Place::parse(&speech.url(&self.url))?;
        let cannot = |error: io::Error| format!("cannot connect to {}: {}", self.url, words(&error));
        let server = match self.server {
            Some(server) => server,
            None => {
                let mut found = (place.host.as_str(), place.port).to_socket_addrs().map_err(cannot)?;
                *self.server.insert(found.next().ok_or_else(|| format!("{} has no address", place.host))?)
            }
        };
        let mut socket = connect(server, index).map_err(cannot)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(index), interest).map_err(cannot)?;
        let key = STANDARD.encode(((index as u128) << 8 | 1).to_le_bytes());
        Ok(Client::new(socket, identity, speech, &place, &key))
    }

    /// Looks at the sockets once, without waiting, and gives every message of a registered client to `heard`.
    ///
    /// # Errors
    /// A connection failed, or `heard` did; a clause.
    pub fn turn(
        &mut self,
        heard: &mut impl FnMut(&mut [Client], &mut Surroundings, usize, Frame) -> Result<(), String>,
    ) -> Result<(), String> {
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.to_string()),
            _ => {}
        }
        let Load { clients, around, events, scratch, url, notices, .. } = self;
        let mut noted = |clients: &mut [Client], around: &mut Surroundings, index: usize, frame: Frame| {
            *notices += u64::from(is_notice(&frame));
            heard(clients, around, index, frame)
        };
        for event in events.iter() {
            serve(clients, around, scratch, event, url, &mut noted)?;
        }
        Ok(())
    }

    /// Takes turns for so long.
    ///
    /// # Errors
    /// A connection failed.
    pub fn rest(&mut self, time: Duration, progress: &Progress) -> Result<(), Failure> {
        let begin = Instant::now();
        while begin.elapsed() < time {
            progress.set(begin.elapsed().as_secs_f64() / time.as_secs_f64(), "settling");
            self.turn(&mut |_, _, _, _| Ok(())).map_err(|error| anyhow!(error))?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether clients can talk in pairs: where all hear all, two of them can.
    pub fn is_paired(&self) -> bool {
        !self.tongue.is_broadcast() || self.clients.len() == 2
    }

    /// Ends all connections at once, without leaving ports occupied.
    pub fn disconnect(&mut self) {
        for client in self.clients.drain(..) {
            client.leave(false);
        }
    }
}

/// Begins a connection to the server. On loopback, who comes when the ports of one address are used up has another one.
fn connect(server: SocketAddr, index: usize) -> io::Result<TcpStream> {
    if index < PORTS || server.ip() != Ipv4Addr::LOCALHOST {
        return TcpStream::connect(server);
    }
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, (1 + index / PORTS) as u8], 0)).into())?;
    match socket.connect(&server.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

fn serve(
    clients: &mut [Client],
    around: &mut Surroundings,
    scratch: &mut [u8],
    event: &Event,
    url: &str,
    heard: &mut impl FnMut(&mut [Client], &mut Surroundings, usize, Frame) -> Result<(), String>,
) -> Result<(), String> {
    let index = event.token().0;
    let Some(client) = clients.get_mut(index) else { return Ok(()) };
    let failed = |client: &Client, error: &io::Error| match client.stage {
        Stage::Connecting => format!("cannot connect to {url}: {}", words(error)),
        _ => format!("the connection of client {} failed: {}", index + 1, words(error)),
    };
    if event.is_writable()
        && let Err(error) = client.writable()
    {
        return Err(failed(client, &error));
    }
    client.readable |= event.is_readable();
    loop {
        let Some(client) = clients.get_mut(index) else { return Ok(()) };
        let len = match client.read(scratch) {
            Ok(0) => return Ok(()),
            Ok(len) => len,
            Err(error) => return Err(failed(client, &error)),
        };
        let mut chunk = &scratch[..len];
        while let Some(client) = clients.get_mut(index) {
            let next = client.next(&mut chunk, around).map_err(|why| {
                let hint = if client.stage == Stage::Registering { "; is --dialect the server's?" } else { "" };
                format!("client {}: {why}{hint}", index + 1)
            })?;
            let Some(frame) = next else { break };
            heard(clients, around, index, frame)?;
        }
    }
}

/// Whether somebody is told that another entered a room: in both dialects that have rooms the word is at the front.
fn is_notice(frame: &Frame) -> bool {
    let Frame::Text(text) = frame else { return false };
    text.as_bytes().get(..24).is_some_and(|head| head.windows(7).any(|word| word == b"joined\""))
}

/// A plain GET, for the dialect that begins with one. Waits for the answer.
fn ask(place: &Place) -> Result<String, String> {
    let asked = std::net::TcpStream::connect((place.host.as_str(), place.port)).and_then(|mut socket| {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(&place.get())?;
        let mut answer = Vec::new();
        socket.take(SCRATCH_BYTES as u64).read_to_end(&mut answer).map(|_| answer)
    });
    get::answer(&asked.map_err(|error| format!("cannot connect to {}: {}", place.host, words(&error)))?)
}

/// The operating system's words without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn whom_one_address_has_no_port_for_comes_from_the_next() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for (index, from) in [(0, 1), (PORTS - 1, 1), (PORTS, 2), (4 * PORTS - 1, 4)] {
            let _client = connect(listener.local_addr().unwrap(), index).unwrap();
            assert_eq!(listener.accept().unwrap().1.ip(), Ipv4Addr::new(127, 0, 0, from));
        }
    }
}
