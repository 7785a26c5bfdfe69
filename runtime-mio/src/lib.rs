//! Runs a [`Machine`](enishi_core::machine::Machine) on mio and tungstenite: one thread, one epoll loop.
//!
//! Skeleton: signatures that the rest compiles against.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::ops::ControlFlow;

use enishi_core::machine::Machine;

/// The sockets that a machine works with, bound by the embedding program.
#[derive(Debug, Default)]
pub struct Sockets {
    /// TCP listeners; their positions are their [`enishi_core::machine::ListenerId`]s.
    pub listeners: Vec<TcpListener>,
    /// UDP sockets, each bound to one address, never to a wildcard.
    pub udp: Vec<UdpSocket>,
}

/// Gives commands to a running driver from any thread.
#[derive(Debug)]
pub struct Handle<C>(std::marker::PhantomData<fn(C)>);

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Handle(std::marker::PhantomData)
    }
}

/// The driver is gone: the command went nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the driver has stopped")]
pub struct Stopped;

#[allow(unused_variables, clippy::todo)]
impl<C: Send> Handle<C> {
    /// Gives a command; waits if the driver is behind.
    ///
    /// # Errors
    /// [`Stopped`] if the driver has ended.
    pub fn send(&self, command: C) -> Result<(), Stopped> {
        todo!()
    }
}

/// A machine and its sockets.
#[derive(Debug)]
pub struct Driver<M: Machine> {
    machine: M,
}

#[allow(unused_variables, clippy::todo)]
impl<M: Machine> Driver<M>
where
    M::Command: Send,
{
    /// Prepares to run.
    ///
    /// # Errors
    /// The operating system refuses a poll or a waker.
    pub fn new(machine: M, sockets: Sockets) -> io::Result<(Self, Handle<M::Command>)> {
        todo!()
    }

    /// Runs until `notice` breaks.
    ///
    /// # Errors
    /// Polling itself failed; a socket's failure never ends the run.
    pub fn run(self, notice: impl FnMut(M::Notice) -> ControlFlow<()>) -> io::Result<()> {
        todo!()
    }
}
