//! UDP sockets.
//!
//! A task waits until the socket is readable and says so; the main task then reads a burst itself, straight from the
//! kernel into one buffer. So a datagram costs no allocation, and a burst only one hop between tasks.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use smol::Async;
use smol::channel::{Receiver, Sender};

use crate::driver::Event;

/// Datagrams that are read from one socket before it is another source's turn.
pub(crate) const BURST: usize = 32;

/// A bound socket, as the main task holds it.
pub(crate) struct Udp {
    socket: Arc<Async<UdpSocket>>,
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
        let socket = Arc::new(socket);
        let (again, rearm) = smol::channel::bounded(1);
        let watch = watch(position, Arc::clone(&socket), events, rearm);
        Ok((Udp { socket, again, local }, watch))
    }

    /// The next datagram's length and sender, without waiting. None: nothing more now.
    ///
    /// Errors are the echo of an earlier datagram that nobody took (ICMP): they are skipped.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        for _ in 0..BURST {
            match self.socket.get_ref().recv_from(buffer) {
                Ok(received) => return Some(received),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => {}
            }
        }
        None
    }

    /// Sends, or drops the datagram if the kernel does not take it now.
    pub(crate) fn send(&self, bytes: &[u8], remote: SocketAddr) {
        // UDP promises nothing: a full buffer or an unreachable network is a lost datagram.
        let _ = self.socket.get_ref().send_to(bytes, remote);
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
