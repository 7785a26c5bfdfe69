//! What waits to be read by one client, and who fed it.

use std::collections::BTreeSet;

use crate::limits::Limits;
use crate::machine::ConnId;

/// The bytes and messages on their way to one connection. The driver holds them; this counts them.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: usize,
    messages: usize,
    /// Connections that wait until this one has read.
    feeders: BTreeSet<ConnId>,
}

/// How full an outbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Go on.
    Fine,
    /// Above the soft bound: who feeds it has to wait.
    Soft,
    /// Above the hard bound: the reader is too slow to be kept.
    Hard,
}

impl Outbox {
    /// One message more.
    pub fn add(&mut self, bytes: usize, limits: &Limits) -> Level {
        self.bytes += bytes;
        self.messages += 1;
        self.level(limits)
    }

    /// The kernel took some.
    pub fn sent(&mut self, messages: usize, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.messages = self.messages.saturating_sub(messages);
    }

    /// How full it is.
    pub fn level(&self, limits: &Limits) -> Level {
        if self.bytes > limits.outbox_hard_bytes || self.messages > limits.outbox_hard_messages {
            Level::Hard
        } else if self.bytes > limits.outbox_soft_bytes || self.messages > limits.outbox_soft_messages {
            Level::Soft
        } else {
            Level::Fine
        }
    }

    /// Notes that `feeder` waits. Whether it did not wait already.
    pub fn hold(&mut self, feeder: ConnId) -> bool {
        self.feeders.insert(feeder)
    }

    /// Who may go on, once the outbox has fallen to half its soft bound (hysteresis: not one message at a time).
    pub fn release(&mut self, limits: &Limits) -> BTreeSet<ConnId> {
        let low = self.bytes <= limits.outbox_soft_bytes / 2 && self.messages <= limits.outbox_soft_messages / 2;
        if low { std::mem::take(&mut self.feeders) } else { BTreeSet::new() }
    }

    /// Who may go on, because the reader is gone.
    pub fn abandon(&mut self) -> BTreeSet<ConnId> {
        std::mem::take(&mut self.feeders)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that wait.
    pub fn messages(&self) -> usize {
        self.messages
    }
}
