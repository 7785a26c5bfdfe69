//! One UDP socket. It loses what the kernel does not take at once, as UDP does anyway.
//!
//! It is public for whoever wants datagrams to go as they go in this driver, without a machine: a bench.
//!
//! Datagrams of a burst cross the boundary to the kernel together where it can do that (on Linux by UDP GSO and GRO): a
//! call costs more than the rest of a datagram's way.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use enishi_core::burst::Burst;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

/// A bound socket and the address that the machine knows it by.
#[derive(Debug)]
pub struct Port {
    socket: UdpSocket,
    offload: UdpSocketState,
    burst: Burst,
    pub(crate) local: SocketAddr,
    /// Whether it stands in the ready list.
    pub(crate) queued: bool,
}

/// What a try to read came to.
#[derive(Debug)]
pub enum Received {
    /// Datagrams from one address, one after another.
    Datagrams {
        /// Bytes of all.
        len: usize,
        /// Bytes of each but the last, which may be shorter; at least 1.
        each: usize,
        /// From here.
        remote: SocketAddr,
    },
    /// An error that an earlier datagram caused, such as an ICMP "port unreachable": not the socket's end.
    Nothing,
    /// Empty until the next readiness.
    Drained,
}

impl Port {
    /// Makes the socket non-blocking and registers it for reading.
    ///
    /// # Errors
    /// The operating system refuses the registration, or what is needed to send bursts.
    pub fn new(socket: std::net::UdpSocket, registry: &Registry, token: Token) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let offload = UdpSocketState::new((&socket).into())?;
        let local = socket.local_addr()?;
        let mut socket = UdpSocket::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Port { socket, offload, burst: Burst::default(), local, queued: false })
    }

    /// The address that it is bound to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Reads what there is of one burst. The buffer takes whatever the kernel gives if it has 64 KiB.
    pub fn receive(&self, buffer: &mut [u8]) -> Received {
        let mut meta = [RecvMeta::default()];
        match self.offload.recv((&self.socket).into(), &mut [IoSliceMut::new(buffer)], &mut meta) {
            Ok(_) => Received::Datagrams { len: meta[0].len, each: meta[0].stride.max(1), remote: meta[0].addr },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Drained,
            Err(_) => Received::Nothing,
        }
    }

    /// Sends or drops, at the latest with [`Port::flush`]. What goes to one address in a row leaves in one call.
    pub fn send(&mut self, remote: SocketAddr, bytes: &[u8]) {
        if !self.burst.takes(remote, bytes.len(), self.offload.max_gso_segments()) {
            self.flush();
        }
        self.burst.add(remote, bytes);
    }

    /// Sends what waits. What the kernel does not take is lost, as UDP may be.
    pub fn flush(&mut self) {
        let Some((destination, contents, segment_size)) = self.burst.get() else { return };
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
        let _ = self.offload.try_send((&self.socket).into(), &transmit);
        self.burst.clear();
    }
}
