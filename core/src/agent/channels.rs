//! The data channels of one peer connection, and what waits to be sent on them.

use std::collections::VecDeque;

use crate::limits::CHANNEL_QUEUE_MESSAGES;
use crate::peer::{ChannelKey, ChannelSpec};
use crate::signal::Payload;

/// The channels in order of opening.
#[derive(Debug, Default)]
pub(super) struct Channels(Vec<Channel>);

/// One data channel.
#[derive(Debug)]
pub(super) struct Channel {
    /// Its name within the peer connection.
    pub(super) key: ChannelKey,
    /// What it promises.
    pub(super) spec: ChannelSpec,
    /// Whether it was opened by both sides.
    pub(super) open: bool,
    /// Messages that wait for the channel to open, or for room in its buffer. While there are any, later ones wait
    /// behind them.
    pub(super) queue: VecDeque<Payload>,
}

impl Channels {
    /// Adds a channel that we open.
    pub(super) fn add(&mut self, key: ChannelKey, spec: ChannelSpec) {
        self.0.push(Channel { key, spec, open: false, queue: VecDeque::new() });
    }

    /// A channel is open, ours or one of the remote's.
    pub(super) fn opened(&mut self, key: ChannelKey, spec: &ChannelSpec) {
        if self.get_mut(key).is_none() {
            self.add(key, spec.clone());
        }
        if let Some(channel) = self.get_mut(key) {
            channel.open = true;
        }
    }

    /// Forgets a channel.
    pub(super) fn remove(&mut self, key: ChannelKey) -> Option<Channel> {
        let at = self.0.iter().position(|channel| channel.key == key)?;
        Some(self.0.remove(at))
    }

    /// A channel by its key.
    pub(super) fn get_mut(&mut self, key: ChannelKey) -> Option<&mut Channel> {
        self.0.iter_mut().find(|channel| channel.key == key)
    }

    /// A channel by its label, an open one if there is one; without a label the first of all.
    pub(super) fn find(&mut self, label: Option<&str>) -> Option<&mut Channel> {
        let Some(label) = label else { return self.0.first_mut() };
        let open = self.0.iter().position(|channel| channel.open && channel.spec.label == label);
        let at = open.or_else(|| self.0.iter().position(|channel| channel.spec.label == label))?;
        self.0.get_mut(at)
    }

    /// The labels, for a person.
    pub(super) fn labels(&self) -> String {
        self.0.iter().map(|channel| channel.spec.label.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Messages that were not sent.
    pub(super) fn waiting(&self) -> usize {
        self.0.iter().map(|channel| channel.queue.len()).sum()
    }

    /// Forgets what was not sent; how much that was.
    pub(super) fn give_up(&mut self) -> usize {
        let count = self.waiting();
        self.0.iter_mut().for_each(|channel| channel.queue.clear());
        count
    }

    /// All channels.
    pub(super) fn into_all(self) -> Vec<Channel> {
        self.0
    }
}

impl Channel {
    /// Puts a message behind those that wait; `false` if too many do.
    pub(super) fn queue(&mut self, payload: Payload) -> bool {
        let fits = self.queue.len() < CHANNEL_QUEUE_MESSAGES;
        if fits {
            self.queue.push_back(payload);
        }
        fits
    }
}
