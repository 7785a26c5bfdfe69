//! How a connection says that it wants to be looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use enishi_core::machine::ConnId;
use smol::channel::Sender;

/// A connection's waker: its socket rings it when it can be read or written again. The main task hears which.
#[derive(Debug)]
pub(crate) struct Bell {
    conn: ConnId,
    /// A ring is on its way: another would say nothing more. So no more rings wait than there are connections.
    rung: AtomicBool,
    rings: Sender<ConnId>,
}

impl Bell {
    pub(crate) fn new(conn: ConnId, rings: Sender<ConnId>) -> Arc<Self> {
        Arc::new(Bell { conn, rung: AtomicBool::new(false), rings })
    }

    /// Asks for a turn.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Nobody listens any more when the driver has ended.
            let _ = self.rings.try_send(self.conn);
        }
    }

    /// The turn has come: what rings from now on is news.
    pub(crate) fn hush(&self) {
        self.rung.store(false, Ordering::Release);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_rings_once_until_its_turn_has_come() {
        let (rings, heard) = smol::channel::unbounded();
        let bell = Bell::new(ConnId(7), rings);
        bell.ring();
        Arc::clone(&bell).wake();
        assert_eq!((heard.try_recv(), heard.len()), (Ok(ConnId(7)), 0));
        bell.ring();
        assert!(heard.is_empty(), "its turn has not come");
        bell.hush();
        bell.wake_by_ref();
        assert_eq!(heard.try_recv(), Ok(ConnId(7)));
    }
}
