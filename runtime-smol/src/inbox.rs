//! Commands from other threads.

use smol::channel::{Receiver, Sender};

/// Commands that wait; one more makes its sender wait.
const COMMANDS: usize = 64;

/// Gives commands to a running driver from any thread.
#[derive(Debug)]
pub struct Handle<C>(Sender<C>);

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Handle(self.0.clone())
    }
}

/// The driver is gone: the command went nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the driver has stopped")]
pub struct Stopped;

impl<C: Send> Handle<C> {
    /// Gives a command; waits if the driver is behind. Not for the driver's own thread, which would wait for itself.
    ///
    /// # Errors
    /// [`Stopped`] if the driver has ended.
    pub fn send(&self, command: C) -> Result<(), Stopped> {
        self.0.send_blocking(command).map_err(|_| Stopped)
    }
}

/// A handle and the driver's end of it.
pub(crate) fn channel<C>() -> (Handle<C>, Receiver<C>) {
    let (sender, receiver) = smol::channel::bounded(COMMANDS);
    (Handle(sender), receiver)
}
