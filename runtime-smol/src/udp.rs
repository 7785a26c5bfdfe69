//! UDP sockets.
//!
//! A task waits until the socket is readable and says so; the main task then reads a burst itself, straight from the
//! kernel into one buffer. So a datagram costs no allocation, and a burst only one hop between tasks.
//!
//! Datagrams of a burst cross the boundary to the kernel together where it can do that (on Linux by UDP GSO and GRO): a
//! call costs more than the rest of a datagram's way.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use enishi_core::burst::Burst;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use smol::Async;
use smol::channel::{Receiver, Sender};

use crate::driver::Event;

/// Datagrams that are read from one socket before it is another source's turn.
pub(crate) const BURST: usize = 32;

/// A bound socket, as the main task holds it.
pub(crate) struct Udp {
    socket: Arc<Async<UdpSocket>>,
    offload: UdpSocketState,
    burst: Burst,
    again: Sender<()>,
    /// The address that it is bound to.
    pub(crate) local: SocketAddr,
}

impl Udp {
    /// The main task's half, and the task that watches: `position` is what it tells by [`Event::Readable`].
    pub(crate) fn new(
        position: usize,
        socket: Async<UdpSocket>,
        events: Sender<Event>,
    ) -> io::Result<(Self, impl Future<Output = ()> + 'static)> {
        let local = socket.get_ref().local_addr()?;
        let offload = UdpSocketState::new(socket.get_ref().into())?;
        let socket = Arc::new(socket);
        let (again, rearm) = smol::channel::bounded(1);
        let watch = watch(position, Arc::clone(&socket), events, rearm);
        Ok((Udp { socket, offload, burst: Burst::default(), again, local }, watch))
    }

    /// The next datagrams of one sender, without waiting: the bytes of all, of each but the last, which may be shorter,
    /// and the sender. None: nothing more now.
    ///
    /// Errors are the echo of an earlier datagram that nobody took (ICMP): they are skipped.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Option<(usize, usize, SocketAddr)> {
        let mut meta = [RecvMeta::default()];
        for _ in 0..BURST {
            match self.offload.recv(self.socket.get_ref().into(), &mut [IoSliceMut::new(buffer)], &mut meta) {
                Ok(_) => return Some((meta[0].len, meta[0].stride.max(1), meta[0].addr)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => {}
            }
        }
        None
    }

    /// Sends or drops, at the latest with [`Udp::flush`]. What goes to one address in a row leaves in one call.
    pub(crate) fn send(&mut self, bytes: &[u8], remote: SocketAddr) {
        if !self.burst.takes(remote, bytes.len(), self.offload.max_gso_segments()) {
            self.flush();
        }
        self.burst.add(remote, bytes);
    }

    /// Sends what waits. What the kernel does not take is lost, as UDP may be.
    pub(crate) fn flush(&mut self) {
        let Some((destination, contents, segment_size)) = self.burst.get() else { return };
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
        let _ = self.offload.try_send(self.socket.get_ref().into(), &transmit);
        self.burst.clear();
    }

    /// The burst was read: wait for the next.
    pub(crate) fn rearm(&self) {
        let _ = self.again.try_send(());
    }
}

async fn watch(position: usize, socket: Arc<Async<UdpSocket>>, events: Sender<Event>, rearm: Receiver<()>) {
    while socket.readable().await.is_ok()
        && events.send(Event::Readable(position)).await.is_ok()
        && rearm.recv().await.is_ok()
    {}
}
