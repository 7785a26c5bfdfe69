//! Runs a [`Machine`] on mio and tungstenite: one thread, one epoll loop.
//!
//! The machine decides, the driver does. A turn of the loop, in `driver.rs`: wait for readiness, tell what is due,
//! read from each ready source a bounded number of times, flush each connection that has something to send once. After
//! every single input all outputs are drained and carried out.
//!
//! What a connection costs while it is idle: its socket and some state, no buffer. The large buffer that `recv` fills
//! exists once per thread, buffers for writing are lent to those that have something to write, and tungstenite, which
//! sees what is no message in one frame, works on memory only (`conn.rs`).

mod conn;
mod driver;
mod files;
mod inbox;
pub mod system;
pub mod udp;

use std::fmt;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::ops::ControlFlow;

use enishi_core::machine::Machine;

pub use inbox::{Handle, Stopped};

/// The sockets that a machine works with, bound by the embedding program.
#[derive(Debug, Default)]
pub struct Sockets {
    /// TCP listeners; their positions are their [`enishi_core::machine::ListenerId`]s.
    pub listeners: Vec<TcpListener>,
    /// UDP sockets, each bound to one address, never to a wildcard.
    pub udp: Vec<UdpSocket>,
}

/// A machine and its sockets.
pub struct Driver<M: Machine> {
    machine: M,
    io: driver::Io<M::Command>,
}

impl<M: Machine> Driver<M>
where
    M::Command: Send,
{
    /// Prepares to run. The sockets become non-blocking.
    ///
    /// # Errors
    /// The operating system refuses a poll or a waker.
    pub fn new(machine: M, sockets: Sockets) -> io::Result<(Self, Handle<M::Command>)> {
        let (io, handle) = driver::Io::new(sockets)?;
        Ok((Driver { machine, io }, handle))
    }

    /// Runs until `notice` breaks. What can be sent without waiting is sent before it returns, and what was asked of
    /// files is done if that takes no longer than two seconds.
    ///
    /// # Errors
    /// Polling itself failed; a socket's failure never ends the run.
    pub fn run(self, notice: impl FnMut(M::Notice) -> ControlFlow<()>) -> io::Result<()> {
        driver::run(self.machine, self.io, notice)
    }
}

impl<M: Machine + fmt::Debug> fmt::Debug for Driver<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("machine", &self.machine).finish_non_exhaustive()
    }
}
