//! One UDP socket. It loses what the kernel does not take at once, as UDP does anyway.

use std::io;
use std::net::SocketAddr;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

/// A bound socket and the address that the machine knows it by.
pub(crate) struct Port {
    socket: UdpSocket,
    pub(crate) local: SocketAddr,
    /// Whether it stands in the ready list.
    pub(crate) queued: bool,
}

/// What a try to read came to.
pub(crate) enum Received {
    /// A datagram of so many bytes.
    Datagram(usize, SocketAddr),
    /// An error that an earlier datagram caused, such as an ICMP "port unreachable": not the socket's end.
    Nothing,
    /// Empty until the next readiness.
    Drained,
}

impl Port {
    pub(crate) fn new(socket: std::net::UdpSocket, registry: &Registry, token: Token) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        let mut socket = UdpSocket::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Port { socket, local, queued: false })
    }

    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Received {
        match self.socket.recv_from(buffer) {
            Ok((len, remote)) => Received::Datagram(len, remote),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Drained,
            Err(_) => Received::Nothing,
        }
    }

    /// Sends or drops.
    pub(crate) fn send(&self, remote: SocketAddr, bytes: &[u8]) {
        let _ = self.socket.send_to(bytes, remote);
    }
}
