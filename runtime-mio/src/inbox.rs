//! What other threads tell the loop: commands, and the addresses that a name resolved to.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};

use enishi_core::machine::DialId;
use mio::{Registry, Token, Waker};

use crate::conn::dial::Resolved;

/// Commands that wait before [`Handle::send`] does.
const COMMANDS: usize = 64;

/// Gives commands to a running driver from any thread.
#[derive(Debug)]
pub struct Handle<C> {
    commands: SyncSender<C>,
    waker: Arc<Waker>,
}

/// The driver is gone: the command went nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the driver has stopped")]
pub struct Stopped;

impl<C: Send> Handle<C> {
    /// Gives a command; waits if the driver is behind. Not to be called by the driver's own thread, that is from
    /// the `notice` of a run: it would wait for itself.
    ///
    /// # Errors
    /// [`Stopped`] if the driver has ended.
    pub fn send(&self, command: C) -> Result<(), Stopped> {
        self.commands.send(command).map_err(|_| Stopped)?;
        self.waker.wake().map_err(|_| Stopped)
    }
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Handle { commands: self.commands.clone(), waker: self.waker.clone() }
    }
}

/// The loop's end of it.
pub(crate) struct Inbox<C> {
    commands: Receiver<C>,
    resolved: Receiver<(DialId, Resolved)>,
    resolver: Resolver,
}

/// Lets a short-lived thread answer the loop.
#[derive(Clone)]
pub(crate) struct Resolver {
    resolved: Sender<(DialId, Resolved)>,
    waker: Arc<Waker>,
}

impl<C> Inbox<C> {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<(Self, Handle<C>)> {
        let waker = Arc::new(Waker::new(registry, token)?);
        let (command, commands) = mpsc::sync_channel(COMMANDS);
        let (sender, resolved) = mpsc::channel();
        let inbox = Inbox { commands, resolved, resolver: Resolver { resolved: sender, waker: waker.clone() } };
        Ok((inbox, Handle { commands: command, waker }))
    }

    /// The next command. Without any [`Handle`] left there is none, which ends nothing.
    pub(crate) fn command(&self) -> Option<C> {
        self.commands.try_recv().ok()
    }

    /// The next answer of a [`Resolver`].
    pub(crate) fn resolved(&self) -> Option<(DialId, Resolved)> {
        self.resolved.try_recv().ok()
    }

    /// Makes the loop look here and at what else other threads may have done.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        self.resolver.waker.clone()
    }

    pub(crate) fn resolver(&self) -> Resolver {
        self.resolver.clone()
    }
}

impl Resolver {
    /// Tells the loop. If it has ended, nobody needs to know.
    pub(crate) fn answer(&self, dial: DialId, resolved: Resolved) {
        if self.resolved.send((dial, resolved)).is_ok() {
            let _ = self.waker.wake();
        }
    }
}
