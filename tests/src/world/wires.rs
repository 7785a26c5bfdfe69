//! The WebSockets of a world: two pipes each, with the faults of TCP connections.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use enishi_core::agent::{AgentCommand, AgentNotice};
use enishi_core::http::{self, Parsed};
use enishi_core::machine::{CloseReason, ConnId, DialId, Frame, Input, ListenerId, Output};
use enishi_core::server::ServerNotice;

use crate::bench_server::upgrade_request;
use crate::net::pipe::{Pipe, Written};
use crate::world::{Packet, Raw, WIRE_DELAY, Who, World, closed};

/// A WebSocket. Both ends call it by the same id.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) client: Who,
    dial: DialId,
    up: Pipe<Wired>,
    down: Pipe<Wired>,
    /// Whether each end still has a socket.
    pub(super) client_open: bool,
    server_open: bool,
    /// Whether the server accepted the WebSocket.
    upgraded: bool,
    /// Whether the server reads.
    reading: bool,
    /// What arrived and was not read yet.
    unread: VecDeque<Wired>,
}

/// What is on a wire.
#[derive(Debug)]
pub(super) enum Wired {
    /// A request, of which this is the head.
    Request(String),
    /// The answer that opens the WebSocket.
    Upgraded,
    /// Any other answer: its status and body.
    Answered(u16, String),
    Frame(Frame),
    /// The end; what the other side is told.
    End(CloseReason),
}

/// What can happen to a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireFault {
    /// Both ends are told that it ended; what was on it is lost.
    Cut,
    /// Nothing arrives, both ways, until [`World::resume`].
    Stall,
    /// The client reads no more, until [`World::resume`].
    SlowReader,
    /// The path is gone and nobody is told.
    Vanish,
    /// The server is told that the client ended its half; the client believes that it is connected.
    HalfClose,
}

impl World {
    /// Cuts the signaling connection of an agent: what is on the wire is lost, both ends are told.
    pub fn cut(&mut self, agent: usize) {
        self.hurt(Who::Agent(agent), WireFault::Cut);
    }

    /// Lets something happen to all WebSockets of a client.
    pub fn hurt(&mut self, client: Who, fault: WireFault) {
        let conns: Vec<ConnId> = self.wires.iter().filter(|(_, w)| w.client == client).map(|(conn, _)| *conn).collect();
        for conn in conns {
            let Some(wire) = self.wires.get_mut(&conn) else { continue };
            match fault {
                WireFault::Cut => {
                    let Some(wire) = self.wires.remove(&conn) else { continue };
                    if wire.server_open {
                        self.send(WIRE_DELAY, Packet::ServerTold(closed(conn, CloseReason::Eof)));
                    }
                    if wire.client_open {
                        self.send(WIRE_DELAY, Packet::ClientTold(client, closed(conn, CloseReason::Eof)));
                    }
                }
                WireFault::Stall => {
                    wire.up.stall();
                    wire.down.stall();
                }
                WireFault::SlowReader => wire.down.stall(),
                WireFault::Vanish => {
                    wire.up.kill();
                    wire.down.kill();
                }
                WireFault::HalfClose => {
                    wire.down.kill();
                    self.write_up(conn, Wired::End(CloseReason::Eof));
                }
            }
        }
    }

    /// Ends the stalls of all WebSockets.
    pub fn resume(&mut self) {
        let now = self.now;
        let mut packets: Vec<(Instant, Packet)> = Vec::new();
        for (conn, wire) in &mut self.wires {
            let (items, _) = wire.up.resume(now);
            packets.extend(items.into_iter().map(|(at, item)| (at, Packet::Up(*conn, item))));
            let (items, (messages, len)) = wire.down.resume(now);
            packets.extend(items.into_iter().map(|(at, item)| (at, Packet::Down(*conn, item))));
            if messages > 0 && wire.server_open {
                packets.push((now, Packet::ServerTold(Input::Sent { conn: *conn, messages, len })));
            }
        }
        for (at, packet) in packets {
            self.count += 1;
            self.packets.insert((at, self.count), packet);
        }
    }

    /// Sets how long WebSockets that are open now take, each way.
    pub fn set_wire_delay(&mut self, client: Who, delay: Duration) {
        for wire in self.wires.values_mut().filter(|wire| wire.client == client) {
            (wire.up.delay, wire.down.delay) = (delay, delay);
        }
    }

    /// A raw client, which is not connected.
    pub fn add_raw(&mut self) -> usize {
        self.raws.push(Raw::default());
        self.raws.len() - 1
    }

    /// A raw client.
    pub fn raw(&self, raw: usize) -> &Raw {
        &self.raws[raw]
    }

    /// How many raw clients there are.
    pub fn raws(&self) -> usize {
        self.raws.len()
    }

    /// A raw client asks for a WebSocket on a path, on a new connection; it forgets the one that it had.
    pub fn raw_connect(&mut self, raw: usize, path: &str) {
        self.hurt(Who::Raw(raw), WireFault::Cut);
        let conn = self.request(Who::Raw(raw), DialId(0), &upgrade_request(path, ""));
        self.raws[raw].conn = conn;
    }

    /// A raw client sends the head of any request, on a new connection.
    pub fn raw_request(&mut self, raw: usize, head: &str) {
        self.hurt(Who::Raw(raw), WireFault::Cut);
        self.raws[raw].conn = self.request(Who::Raw(raw), DialId(0), head);
    }

    /// A raw client sends a frame, if it is connected.
    pub fn raw_send(&mut self, raw: usize, frame: Frame) {
        if let Some(conn) = self.raws[raw].conn {
            self.write_up(conn, Wired::Frame(frame));
        }
    }

    /// Everything that WebSockets bring to the server.
    pub(super) fn arrive_up(&mut self, conn: ConnId, wired: Wired) {
        let Some(wire) = self.wires.get_mut(&conn).filter(|wire| wire.server_open) else { return };
        if !wire.reading || !wire.unread.is_empty() {
            return wire.unread.push_back(wired);
        }
        self.read_up(conn, wired);
    }

    /// The server reads one thing that it left unread, if it still wants to, and then the next.
    pub(super) fn read_on(&mut self, conn: ConnId) {
        let Some(wire) = self.wires.get_mut(&conn).filter(|wire| wire.server_open && wire.reading) else { return };
        if let Some(wired) = wire.unread.pop_front() {
            self.send(Duration::ZERO, Packet::ReadOn(conn));
            self.read_up(conn, wired);
        }
    }

    fn read_up(&mut self, conn: ConnId, wired: Wired) {
        let Some(wire) = self.wires.get_mut(&conn) else { return };
        match wired {
            Wired::Request(head) => {
                let remote = (
                    match wire.client {
                        Who::Agent(index) => [192, 0, 2, index as u8 + 1],
                        Who::Raw(raw) => [198, 51, 100, raw as u8 + 10],
                        Who::Server => [127, 0, 0, 1],
                    },
                    40_000,
                )
                    .into();
                self.give_server(Input::Accepted { conn, listener: ListenerId(0), remote });
                match http::parse(head.as_bytes()) {
                    Parsed::Complete(request, _) => self.give_server(Input::Request { conn, request }),
                    Parsed::Refused(error) => self.give_server(Input::BadRequest { conn, error }),
                    Parsed::Partial => {}
                }
            }
            Wired::Frame(frame) if wire.upgraded => {
                if frame == Frame::Ping {
                    // The server's driver answers.
                    self.write_down(conn, Wired::Frame(Frame::Pong));
                }
                self.give_server(Input::Frame { conn, frame });
            }
            Wired::End(reason) => {
                wire.server_open = false;
                self.give_server(closed(conn, reason));
                self.forget(conn);
            }
            Wired::Frame(_) | Wired::Upgraded | Wired::Answered(..) => {}
        }
    }

    /// Everything that WebSockets bring to a client.
    pub(super) fn arrive_down(&mut self, conn: ConnId, wired: Wired) {
        let Some(wire) = self.wires.get_mut(&conn).filter(|wire| wire.client_open) else { return };
        let (client, dial) = (wire.client, wire.dial);
        match wired {
            Wired::Upgraded => self.give_client(client, Input::Dialed { dial, conn, protocol: None }),
            Wired::Answered(status, body) => {
                let input = if status == 200 {
                    Input::Got { dial, answer: body }
                } else {
                    Input::DialFailed { dial, error: format!("the server answered {status}") }
                };
                wire.client_open = false;
                self.write_up(conn, Wired::End(CloseReason::Eof));
                self.give_client(client, input);
            }
            Wired::Frame(frame) => {
                if frame == Frame::Ping {
                    // The client's driver answers.
                    self.write_up(conn, Wired::Frame(Frame::Pong));
                }
                self.give_client(client, Input::Frame { conn, frame });
            }
            Wired::End(reason) => {
                wire.client_open = false;
                self.give_client(client, closed(conn, reason));
                self.forget(conn);
            }
            Wired::Request(_) => {}
        }
    }

    pub(super) fn give_client(&mut self, client: Who, input: Input<'_, AgentCommand>) {
        match client {
            Who::Agent(index) => self.give_agent(index, input),
            Who::Raw(raw) => {
                let raw = &mut self.raws[raw];
                match input {
                    Input::Frame { frame: Frame::Text(text), .. } => raw.got.push(text.as_str().to_owned()),
                    Input::Closed { conn, .. } if raw.conn == Some(conn) => raw.conn = None,
                    Input::DialFailed { .. } | Input::Got { .. } => raw.conn = None,
                    _ => {}
                }
            }
            Who::Server => {}
        }
    }

    fn write_up(&mut self, conn: ConnId, wired: Wired) {
        let Some(wire) = self.wires.get_mut(&conn) else { return };
        let len = wired.len();
        if let Written { arrives: Some((at, item)), .. } = wire.up.write(self.now, len, wired) {
            self.count += 1;
            self.packets.insert((at, self.count), Packet::Up(conn, item));
        }
    }

    /// Whether the kernel took it.
    fn write_down(&mut self, conn: ConnId, wired: Wired) -> bool {
        let Some(wire) = self.wires.get_mut(&conn) else { return false };
        let len = wired.len();
        let Written { arrives, taken } = wire.down.write(self.now, len, wired);
        if let Some((at, item)) = arrives {
            self.count += 1;
            self.packets.insert((at, self.count), Packet::Down(conn, item));
        }
        taken
    }

    /// A wire without ends is none.
    fn forget(&mut self, conn: ConnId) {
        if self.wires.get(&conn).is_some_and(|wire| !wire.client_open && !wire.server_open) {
            self.wires.remove(&conn);
        }
    }

    pub(super) fn act_for_server(&mut self, output: Output<ServerNotice>) {
        match output {
            Output::Upgrade { conn, .. } => {
                if let Some(wire) = self.wires.get_mut(&conn) {
                    wire.upgraded = true;
                }
                self.write_down(conn, Wired::Upgraded);
            }
            Output::Respond { conn, response } => {
                let body = String::from_utf8_lossy(&response.body).into_owned();
                self.write_down(conn, Wired::Answered(response.status, body));
            }
            Output::Send { conn, frame } => {
                if !self.wires.get(&conn).is_some_and(|wire| wire.server_open) {
                    return;
                }
                self.traffic.messages += 1;
                self.traffic.message_bytes += frame.len() as u64;
                let (is_ping, len) = (frame == Frame::Ping, frame.len());
                if self.write_down(conn, Wired::Frame(frame)) && !is_ping {
                    self.send(Duration::ZERO, Packet::ServerTold(Input::Sent { conn, messages: 1, len }));
                }
            }
            Output::Close { conn, code, .. } => self.server_ends(conn, CloseReason::Remote(code), true),
            Output::Drop { conn } => self.server_ends(conn, CloseReason::Eof, false),
            Output::Read { conn, on } => self.server_reads(conn, on),
            Output::Notice(_) => {}
            other => panic!("the server wants {other:?}"),
        }
    }

    fn server_ends(&mut self, conn: ConnId, other: CloseReason, told: bool) {
        let Some(wire) = self.wires.get_mut(&conn).filter(|wire| wire.server_open) else { return };
        wire.server_open = false;
        if told {
            self.send(WIRE_DELAY, Packet::ServerTold(closed(conn, CloseReason::Local)));
        }
        self.write_down(conn, Wired::End(other));
        self.forget(conn);
    }

    fn server_reads(&mut self, conn: ConnId, on: bool) {
        let Some(wire) = self.wires.get(&conn) else { return };
        if on && !wire.reading {
            self.send(Duration::ZERO, Packet::ReadOn(conn));
        }
        if let Some(wire) = self.wires.get_mut(&conn) {
            wire.reading = on;
        }
    }

    pub(super) fn act_for_agent(&mut self, index: usize, output: Output<AgentNotice>) {
        let client = Who::Agent(index);
        match output {
            Output::Notice(notice) => self.notices.push((self.now - self.start, index, notice)),
            Output::Datagram { local, remote, bytes } => self.transmit(local, remote, bytes),
            Output::Dial { dial, url, protocol, .. } => {
                let header = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
                self.request(client, dial, &upgrade_request(path(&url), &header));
            }
            Output::Get { dial, url } => {
                let head = format!("GET {} HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\r\n", path(&url));
                self.request(client, dial, &head);
            }
            Output::Send { conn, frame } => {
                if !self.wires.get(&conn).is_some_and(|wire| wire.client_open) {
                    return;
                }
                self.traffic.messages += 1;
                self.traffic.message_bytes += frame.len() as u64;
                if let Frame::Text(text) = &frame {
                    let kinds = text.as_str().split(" typ ").skip(1);
                    let kind = |rest: &str| rest.chars().take_while(char::is_ascii_alphabetic).collect();
                    self.candidates.extend(kinds.map(|rest| (index, kind(rest))));
                    self.sent.push((index, text.clone()));
                }
                self.write_up(conn, Wired::Frame(frame));
            }
            Output::Close { conn, code, .. } => self.client_ends(conn, CloseReason::Remote(code), true),
            Output::Drop { conn } => self.client_ends(conn, CloseReason::Eof, false),
            Output::ReadFile { op, path, offset, len } => self.read_file(index, op, &path, offset, len),
            Output::WriteFile { op, path, at, bytes } => self.write_file(index, op, path, at, &bytes),
            Output::ReleaseMemory => {}
            other => panic!("agent {index} wants {other:?}"),
        }
    }

    fn client_ends(&mut self, conn: ConnId, other: CloseReason, told: bool) {
        let Some(wire) = self.wires.get_mut(&conn).filter(|wire| wire.client_open) else { return };
        wire.client_open = false;
        let client = wire.client;
        if told {
            self.send(WIRE_DELAY, Packet::ClientTold(client, closed(conn, CloseReason::Local)));
        }
        self.write_up(conn, Wired::End(other));
        self.forget(conn);
    }

    /// Opens a connection and sends a request on it.
    fn request(&mut self, client: Who, dial: DialId, head: &str) -> Option<ConnId> {
        if self.server.is_none() {
            let error = "connection refused".to_owned();
            self.send(WIRE_DELAY, Packet::ClientTold(client, Input::DialFailed { dial, error }));
            return None;
        }
        self.count += 1;
        let conn = ConnId(self.count);
        let (up, down) = (Pipe::new(WIRE_DELAY), Pipe::new(WIRE_DELAY));
        let wire = Wire {
            client,
            dial,
            up,
            down,
            client_open: true,
            server_open: true,
            upgraded: false,
            reading: true,
            unread: VecDeque::new(),
        };
        self.wires.insert(conn, wire);
        self.write_up(conn, Wired::Request(head.to_owned()));
        Some(conn)
    }
}

impl Wired {
    fn len(&self) -> usize {
        match self {
            Wired::Frame(frame) => frame.len(),
            Wired::Request(text) | Wired::Answered(_, text) => text.len(),
            Wired::Upgraded | Wired::End(_) => 0,
        }
    }
}

/// The path of a URL.
fn path(url: &str) -> &str {
    url.match_indices('/').nth(2).map_or("/", |(at, _)| &url[at..])
}
