//! A TURN server in virtual time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use enishi_core::turn::Credentials;
use turn_server_proto::api::{DelayedMessageOrChannelSend, Transmit, TurnServerApi, TurnServerPollRet};
use turn_server_proto::server::TurnServer;
use turn_server_proto::types::prelude::DelayedTransmitBuild;
use turn_server_proto::types::transmit::TransmitBuild;
use turn_server_proto::types::{Instant as Nanos, TransportType};

/// Where it listens.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1)), 3478);

/// The first port of its relay addresses.
const FIRST_PORT: u16 = 50_000;

/// A datagram: from, to, what.
pub type Datagram = (SocketAddr, SocketAddr, Vec<u8>);

/// A TURN server with one user.
#[derive(Debug)]
pub struct VirtualTurn {
    server: TurnServer,
    user: Credentials,
    start: Instant,
    next_port: u16,
    relays: BTreeSet<SocketAddr>,
    /// Datagrams that it passed on to a client.
    pub passed_on: u64,
}

impl VirtualTurn {
    /// One that knows these credentials.
    pub fn new(start: Instant, user: &Credentials) -> Self {
        VirtualTurn {
            server: server(user),
            user: user.clone(),
            start,
            next_port: FIRST_PORT,
            relays: BTreeSet::new(),
            passed_on: 0,
        }
    }

    /// Its process dies and is started anew: it knows its user, and nothing else.
    pub fn restart(&mut self) {
        self.server = server(&self.user);
        self.relays.clear();
    }

    /// Whether a datagram to this address is for it.
    pub fn listens_on(&self, address: SocketAddr) -> bool {
        address == ADDRESS || self.relays.contains(&address)
    }

    /// How many relay addresses are allocated now.
    pub fn relays(&self) -> usize {
        self.relays.len()
    }

    /// Takes a datagram; what it sends because of it.
    pub fn receive(&mut self, now: Instant, (from, to, bytes): Datagram) -> Vec<Datagram> {
        let time = Nanos::from_nanos(i64::try_from((now - self.start).as_nanos()).expect("less than three centuries"));
        let is_from_peer = to != ADDRESS;
        let answer = self.server.recv(Transmit::new(bytes, TransportType::Udp, from, to), time);
        // turn-server-proto 0.7 addresses its answers to Binding requests to itself.
        let to_asker = |(sender, to, bytes): Datagram| (sender, if to == ADDRESS { from } else { to }, bytes);
        let mut sent: Vec<Datagram> = answer.map(build).map(to_asker).into_iter().collect();
        self.passed_on += u64::from(is_from_peer) * sent.len() as u64;
        for _ in 0..100 {
            match self.server.poll(time) {
                TurnServerPollRet::AllocateSocket {
                    transport,
                    listen_addr,
                    client_addr,
                    allocation_transport,
                    family,
                } => {
                    let relay = SocketAddr::new(ADDRESS.ip(), self.next_port);
                    self.next_port += 1;
                    self.relays.insert(relay);
                    let made = Ok(relay);
                    let (server, client) = (listen_addr, client_addr);
                    self.server.allocated_socket(transport, server, client, allocation_transport, family, made, time);
                }
                TurnServerPollRet::SocketClose { listen_addr, .. } => {
                    self.relays.remove(&listen_addr);
                }
                _ => break,
            }
        }
        while let Some(transmit) = self.server.poll_transmit(time) {
            sent.push((transmit.from, transmit.to, transmit.data));
        }
        sent
    }
}

fn server(user: &Credentials) -> TurnServer {
    let mut server = TurnServer::new(TransportType::Udp, ADDRESS, "enishi.example".to_owned());
    server.add_user(user.username.clone(), user.password.clone());
    server
}

fn build(answer: TransmitBuild<DelayedMessageOrChannelSend<Vec<u8>>>) -> Datagram {
    (answer.from, answer.to, answer.data.build())
}
