//! Runs a [`Machine`] on smol and async-tungstenite, in one thread.
//!
//! The machine and every connection belong to one task, the main one ([`Driver::run`]). Sockets are smol's; the waker that
//! a connection's socket gets is a bell (`bell.rs`) with the connection's name on it, and the main task gives a turn to
//! those whose bells rang. What has to wait for something of its own is a task that tells the main one by a channel.
//!
//! ```text
//!  connections' bells ──┐                                ┌── frames, answers ──▶ connections (flushed once a turn)
//!  listener tasks ──────┼── events (bounded) ──▶ main    ├── send_to, without waiting
//!  dial tasks ──────────┤                        task,   ├── dials, as tasks
//!  UDP tasks ───────────┤                        machine ├── notice
//!  file threads ────────┘   commands (bounded) ─▶        └── reads and writes of files
//! ```
//!
//! A task for each connection would be the usual way. It costs two channels' hops a message and twice the memory, and
//! reading could not be stopped between two messages without a queue for what was under way.

mod bell;
mod conn;
mod driver;
mod files;
mod inbox;
mod system;
mod udp;

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::ops::ControlFlow;

use enishi_core::machine::Machine;
use smol::{Async, LocalExecutor};
use socket2::SockRef;

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
#[derive(Debug)]
pub struct Driver<M: Machine> {
    machine: M,
    listeners: Vec<Async<TcpListener>>,
    udp: Vec<Async<UdpSocket>>,
    commands: smol::channel::Receiver<M::Command>,
}

impl<M: Machine> Driver<M>
where
    M::Command: Send,
{
    /// Prepares to run.
    ///
    /// # Errors
    /// The operating system refuses to watch a socket.
    pub fn new(machine: M, sockets: Sockets) -> io::Result<(Self, Handle<M::Command>)> {
        for listener in &sockets.listeners {
            // What is accepted inherits it, so that it need not be set for each connection.
            let _ = SockRef::from(listener).set_tcp_nodelay(true);
            system::accept_with_bytes(listener);
        }
        let listeners = sockets.listeners.into_iter().map(Async::new).collect::<io::Result<_>>()?;
        let udp = sockets.udp.into_iter().map(Async::new).collect::<io::Result<_>>()?;
        let (handle, commands) = inbox::channel();
        Ok((Driver { machine, listeners, udp, commands }, handle))
    }

    /// Runs until `notice` breaks. What the machine asked to send before that is handed to the kernel as far as the
    /// kernel takes it at once, and what was asked of files is done if that takes no longer than two seconds.
    ///
    /// # Errors
    /// A UDP socket does not know its own address; a socket's failure later on never ends the run.
    pub fn run(self, notice: impl FnMut(M::Notice) -> ControlFlow<()>) -> io::Result<()> {
        let executor = LocalExecutor::new();
        let (events, happened) = driver::channel();
        let mut io = driver::Io::new(&executor, events);
        for (position, listener) in self.listeners.into_iter().enumerate() {
            io.listen(position, listener);
        }
        for (position, socket) in self.udp.into_iter().enumerate() {
            io.watch(position, socket)?;
        }
        let mut machine = self.machine;
        smol::block_on(executor.run(driver::run(&mut machine, &mut io, &happened, &self.commands, notice)));
        drop(happened);
        io.finish();
        Ok(())
    }
}
