//! The two drivers as one, chosen at the start.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::ops::ControlFlow;

use enishi_core::machine::Machine;
use {enishi_runtime_mio as mio, enishi_runtime_smol as smol};

/// Which driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Runtime {
    /// One epoll loop on mio and tungstenite
    Mio,
    /// Tasks on smol and async-tungstenite
    Smol,
}

/// A driver of either kind.
pub enum Driver<M: Machine> {
    Mio(Box<mio::Driver<M>>),
    Smol(Box<smol::Driver<M>>),
}

/// A handle of either kind.
pub enum Handle<C> {
    Mio(mio::Handle<C>),
    Smol(smol::Handle<C>),
}

impl<M: Machine> Driver<M>
where
    M::Command: Send,
{
    /// Prepares to run a machine on its sockets.
    pub fn new(
        runtime: Runtime,
        machine: M,
        listeners: Vec<TcpListener>,
        udp: Vec<UdpSocket>,
    ) -> io::Result<(Self, Handle<M::Command>)> {
        match runtime {
            Runtime::Mio => mio::Driver::new(machine, mio::Sockets { listeners, udp })
                .map(|(driver, handle)| (Driver::Mio(Box::new(driver)), Handle::Mio(handle))),
            Runtime::Smol => smol::Driver::new(machine, smol::Sockets { listeners, udp })
                .map(|(driver, handle)| (Driver::Smol(Box::new(driver)), Handle::Smol(handle))),
        }
    }

    /// Runs until `notice` breaks.
    pub fn run(self, notice: impl FnMut(M::Notice) -> ControlFlow<()>) -> io::Result<()> {
        match self {
            Driver::Mio(driver) => driver.run(notice),
            Driver::Smol(driver) => driver.run(notice),
        }
    }
}

impl<C: Send> Handle<C> {
    /// Gives a command. A driver that has ended takes none, and nothing needs to be done about it.
    pub fn send(&self, command: C) {
        match self {
            Handle::Mio(handle) => drop(handle.send(command)),
            Handle::Smol(handle) => drop(handle.send(command)),
        }
    }
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        match self {
            Handle::Mio(handle) => Handle::Mio(handle.clone()),
            Handle::Smol(handle) => Handle::Smol(handle.clone()),
        }
    }
}

/// Reads the clock and the operating system's randomness: what a machine is started with.
pub fn start() -> anyhow::Result<(std::time::Instant, std::time::Duration, [u8; 32])> {
    Ok((std::time::Instant::now(), unix_time(), random()?))
}

/// From the operating system.
pub fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    Ok(bytes)
}

/// Time since the Unix epoch.
pub fn unix_time() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
