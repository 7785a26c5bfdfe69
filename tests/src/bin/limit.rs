//! The physical limit of a relay: one epoll loop that does the least a relay can do, and nothing of what it should.
//!
//! It reads, unmasks, looks for the receiver's name by its bytes, and writes. No bounds, no checks, no JSON, no close
//! handshake, no pings. It is there to be measured against (docs/performance.md), speaks as much of conic's third
//! generation and of Socket.IO as that takes, and prints where it listens.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};
use tungstenite::handshake::derive_accept_key;

const LISTENER: Token = Token(usize::MAX);
const BACKLOG: i32 = 4096;
const SCRATCH_BYTES: usize = 64 * 1024;

struct Conn {
    socket: TcpStream,
    open: bool,
    /// A part of a head or a frame.
    unread: Vec<u8>,
    /// What the kernel did not take.
    waiting: Vec<u8>,
    name: Vec<u8>,
    hears_all: bool,
}

#[derive(Default)]
struct Relay {
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    names: HashMap<Vec<u8>, usize>,
    /// The frame that is being written.
    frame: Vec<u8>,
}

fn main() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(socket.into());
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    writeln!(io::stdout(), "listening {}", listener.local_addr()?.port())?;

    let mut relay = Relay::default();
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; SCRATCH_BYTES];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((socket, _)) = listener.accept() {
                    relay.accept(&poll, socket)?;
                }
                continue;
            }
            let index = event.token().0;
            if event.is_writable() {
                relay.write(index, &[]);
            }
            if event.is_readable() {
                relay.read(index, &mut scratch);
            }
        }
    }
}

impl Relay {
    fn accept(&mut self, poll: &Poll, mut socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        poll.registry().register(&mut socket, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        let (unread, waiting, name) = (Vec::new(), Vec::new(), Vec::new());
        self.conns[index] = Some(Conn { socket, open: false, unread, waiting, name, hears_all: false });
        Ok(())
    }

    fn read(&mut self, index: usize, scratch: &mut [u8]) {
        while let Some(conn) = &mut self.conns[index] {
            let len = match conn.socket.read(scratch) {
                Ok(len) if len > 0 => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => return self.drop(index),
            };
            if conn.unread.is_empty() {
                let used = self.take(index, &mut scratch[..len]);
                if let Some(conn) = &mut self.conns[index] {
                    conn.unread.extend_from_slice(&scratch[used..len]);
                }
            } else {
                conn.unread.extend_from_slice(&scratch[..len]);
                let mut bytes = std::mem::take(&mut conn.unread);
                let used = self.take(index, &mut bytes);
                bytes.drain(..used);
                if let Some(conn) = &mut self.conns[index] {
                    conn.unread = bytes;
                }
            }
            // A short read has emptied the socket.
            if len < scratch.len() {
                return;
            }
        }
    }

    /// Takes what is whole. How many bytes that were.
    fn take(&mut self, index: usize, bytes: &mut [u8]) -> usize {
        let mut used = 0;
        while let Some(conn) = &self.conns[index] {
            let rest = &mut bytes[used..];
            if !conn.open {
                let Some(end) = find(rest, b"\r\n\r\n") else { return used };
                let head = String::from_utf8_lossy(&rest[..end]).into_owned();
                let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or_default();
                let accept = derive_accept_key(key.as_bytes());
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {accept}\r\n\r\n"
                );
                self.write(index, answer.as_bytes());
                if let Some(conn) = &mut self.conns[index] {
                    conn.open = true;
                }
                used += end + 4;
                continue;
            }
            let Some((head, len)) = header(rest) else { return used };
            let Some((front, payload)) = rest.get_mut(..head + len).map(|frame| frame.split_at_mut(head)) else {
                return used;
            };
            let mask: [u8; 4] = front[head - 4..].try_into().unwrap_or_default();
            let (text, control) = (front[0] & 0x0f == 1, front[0] & 0x0f == 8);
            unmask(payload, mask);
            used += head + len;
            if control {
                self.drop(index);
            } else if text {
                self.relay(index, &bytes[used - len..used]);
            }
        }
        used
    }

    fn relay(&mut self, index: usize, text: &[u8]) {
        self.frame.clear();
        if text.starts_with(b"40") {
            if let Some(conn) = &mut self.conns[index] {
                conn.hears_all = true;
            }
            frame(&mut self.frame, b"40{\"sid\":\"s\"}");
        } else if text.starts_with(b"4") {
            frame(&mut self.frame, text);
            let written = std::mem::take(&mut self.frame);
            for other in 0..self.conns.len() {
                if other != index && self.conns[other].as_ref().is_some_and(|conn| conn.hears_all) {
                    self.write(other, &written);
                }
            }
            self.frame = written;
            return;
        } else if let Some(to) = string(text, b"\"to_id\":\"") {
            let Some(&target) = self.names.get(to) else { return };
            frame(&mut self.frame, text);
            let written = std::mem::take(&mut self.frame);
            self.write(target, &written);
            self.frame = written;
            return;
        } else if let Some(name) = string(text, b"\"client_id\":\"") {
            self.names.insert(name.to_vec(), index);
            if let Some(conn) = &mut self.conns[index] {
                conn.name = name.to_vec();
            }
            let name = String::from_utf8_lossy(name);
            let answer = format!(
                r#"{{"id":"r","type":"register_response","timestamp":"2025-01-01T00:00:00Z","data":{{"success":true,"client_id":"{name}"}}}}"#
            );
            frame(&mut self.frame, answer.as_bytes());
        }
        let written = std::mem::take(&mut self.frame);
        self.write(index, &written);
        self.frame = written;
    }

    /// Writes now, or when the kernel takes it.
    fn write(&mut self, index: usize, mut bytes: &[u8]) {
        let Some(conn) = &mut self.conns[index] else { return };
        if !conn.waiting.is_empty() {
            conn.waiting.extend_from_slice(bytes);
            let waiting = std::mem::take(&mut conn.waiting);
            let len = conn.socket.write(&waiting).unwrap_or(0);
            conn.waiting = waiting[len..].to_vec();
            return;
        }
        while !bytes.is_empty() {
            match conn.socket.write(bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(_) => break,
            }
        }
        conn.waiting.extend_from_slice(bytes);
    }

    fn drop(&mut self, index: usize) {
        if let Some(conn) = self.conns[index].take() {
            self.names.remove(&conn.name);
            self.free.push(index);
        }
    }
}

/// The lengths of a masked frame's header and payload (RFC 6455, 5.2).
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    let len = usize::from(bytes.get(1)? & 0x7f);
    match len {
        126 => Some((8, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into())),
        127 => Some((14, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize)),
        _ => Some((6, len)),
    }
}

/// Four bytes at a time, which the compiler makes more of.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let word = u32::from_ne_bytes(mask);
    let (chunks, rest) = payload.as_chunks_mut::<4>();
    for chunk in chunks {
        *chunk = (u32::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    rest.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

/// Writes an unmasked text frame.
fn frame(out: &mut Vec<u8>, text: &[u8]) {
    out.push(0x81);
    match text.len() {
        len @ 0..126 => out.push(len as u8),
        len @ 126..65_536 => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// The string after `member`, up to its quote.
fn string<'a>(text: &'a [u8], member: &[u8]) -> Option<&'a [u8]> {
    let rest = &text[find(text, member)? + member.len()..];
    rest.split(|byte| *byte == b'"').next()
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|window| window == word)
}
