//! The data channels of one peer connection (RFC 8831, RFC 8832).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use str0m::Rtc;
use str0m::channel::{ChannelConfig, ChannelData, ChannelId, Reliability};

use super::{ChannelKey, ChannelSpec, ChannelStats, PeerEffect};
use crate::limits;
use crate::signal::Payload;

/// All data channels, in order of opening.
#[derive(Debug)]
pub(super) struct Channels {
    all: BTreeMap<ChannelKey, Channel>,
    next: u32,
    /// Bytes that are held for sending at most, over all channels: the ceiling of the room.
    capacity: usize,
    /// Bytes that the path as it is now has use for.
    room: usize,
    /// The longest message that the remote takes.
    remote_message_bytes: usize,
}

/// One data channel.
#[derive(Debug)]
struct Channel {
    spec: ChannelSpec,
    link: Link,
    stats: ChannelStats,
    /// The length of the message that found no room, until [`PeerEffect::Writable`].
    refused: Option<usize>,
}

/// What a channel is to str0m.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing yet.
    Waiting,
    /// Part of an offer that is outstanding. If that is rolled back, the id leads nowhere.
    Offered(ChannelId),
    /// To be opened as soon as SCTP is up.
    Opening(ChannelId),
    /// Open.
    Open(ChannelId),
    /// Closed by us, before or after it was open; str0m has not confirmed it.
    Closing(ChannelId),
    /// Closed.
    Closed,
}

impl Link {
    fn id(self) -> Option<ChannelId> {
        match self {
            Link::Offered(id) | Link::Opening(id) | Link::Open(id) | Link::Closing(id) => Some(id),
            Link::Waiting | Link::Closed => None,
        }
    }
}

impl Channels {
    pub fn new(capacity: usize) -> Self {
        Channels { all: BTreeMap::new(), next: 0, capacity, room: room(None, capacity), remote_message_bytes: 0 }
    }

    /// A channel of our own, not known to str0m yet.
    pub fn add(&mut self, spec: ChannelSpec, link: Link) -> ChannelKey {
        let key = ChannelKey(self.next);
        self.next += 1;
        let stats = ChannelStats { label: spec.label.clone(), ..ChannelStats::default() };
        self.all.insert(key, Channel { spec, link, stats, refused: None });
        key
    }

    /// Those that str0m does not know yet.
    pub fn waiting(&self) -> Vec<(ChannelKey, ChannelConfig)> {
        let waiting = self.all.iter().filter(|(_, channel)| channel.link == Link::Waiting);
        waiting.map(|(key, channel)| (*key, to_config(&channel.spec))).collect()
    }

    /// str0m knows them now.
    pub fn added(&mut self, added: Vec<(ChannelKey, ChannelId)>, offered: bool) {
        for (key, id) in added {
            if let Some(channel) = self.all.get_mut(&key) {
                channel.link = if offered { Link::Offered(id) } else { Link::Opening(id) };
            }
        }
    }

    /// The offer was taken back.
    pub fn rolled_back(&mut self) {
        for channel in self.all.values_mut().filter(|channel| matches!(channel.link, Link::Offered(_))) {
            channel.link = Link::Waiting;
        }
    }

    /// The offer was answered.
    pub fn answered(&mut self) {
        for channel in self.all.values_mut() {
            if let Link::Offered(id) = channel.link {
                channel.link = Link::Opening(id);
            }
        }
    }

    pub fn remote_limit(&mut self, message_bytes: usize) {
        self.remote_message_bytes = message_bytes;
    }

    /// The longest message that can be sent.
    pub fn longest(&self) -> usize {
        self.remote_message_bytes.min(self.capacity)
    }

    /// The round trip of the path was measured: a longer path has more in flight.
    pub fn measured(&mut self, round_trip: Option<Duration>) {
        self.room = room(round_trip, self.capacity);
    }

    /// Whether a message finds room.
    pub fn fits(&self, len: usize) -> bool {
        self.buffered().saturating_add(len) <= room_for(len, self.room, self.capacity)
    }

    /// str0m's name of a channel that is open.
    pub fn open(&self, key: ChannelKey) -> Option<ChannelId> {
        match self.all.get(&key)?.link {
            Link::Open(id) => Some(id),
            _ => None,
        }
    }

    fn by_id(&mut self, id: ChannelId) -> Option<(ChannelKey, &mut Channel)> {
        let found = self.all.iter_mut().find(|(_, channel)| channel.link.id() == Some(id));
        found.map(|(key, channel)| (*key, channel))
    }

    /// A channel is open. `Err`: it is not wanted, close it; with a note if that is the remote's fault.
    pub fn opened(
        &mut self,
        id: ChannelId,
        label: String,
        config: Option<&ChannelConfig>,
    ) -> Result<PeerEffect, Option<String>> {
        let key = match self.by_id(id) {
            Some((_, Channel { link: Link::Closing(_), .. })) => return Err(None),
            Some((key, _)) => key,
            None => {
                let live = self.all.values().filter(|channel| channel.link != Link::Closed).count();
                if live >= limits::CHANNELS {
                    return Err(Some(format!("a data channel: {live} are open already")));
                }
                if label.len() > limits::LABEL_BYTES {
                    return Err(Some(format!("a data channel whose label has {} bytes", label.len())));
                }
                self.forget_closed();
                self.add(to_spec(label, config), Link::Open(id))
            }
        };
        let Some(channel) = self.all.get_mut(&key) else { return Err(None) };
        channel.link = Link::Open(id);
        channel.stats.open = true;
        Ok(PeerEffect::ChannelOpened { channel: key, spec: channel.spec.clone() })
    }

    /// The remote can open and close channels for ever: only the counters of the latest are kept.
    fn forget_closed(&mut self) {
        let closed: Vec<_> =
            self.all.iter().filter(|(_, channel)| channel.link == Link::Closed).map(|(key, _)| *key).collect();
        for key in closed.iter().take(closed.len().saturating_sub(limits::CHANNELS)) {
            self.all.remove(key);
        }
    }

    /// A message arrived. Text that is not UTF-8 is delivered as binary: nothing is lost, nothing is a lie.
    pub fn received(&mut self, data: ChannelData) -> Option<PeerEffect> {
        let (key, channel) = self.by_id(data.id)?;
        if channel.link != Link::Open(data.id) {
            return None;
        }
        channel.stats.messages_received += 1;
        channel.stats.bytes_received += data.data.len() as u64;
        let payload = if data.binary {
            Payload::Binary(Bytes::from(data.data))
        } else {
            match String::from_utf8(data.data) {
                Ok(text) => Payload::Text(text),
                Err(error) => Payload::Binary(Bytes::from(error.into_bytes())),
            }
        };
        Some(PeerEffect::Message { channel: key, payload })
    }

    pub fn sent(&mut self, key: ChannelKey, len: usize) {
        if let Some(channel) = self.all.get_mut(&key) {
            channel.stats.messages_sent += 1;
            channel.stats.bytes_sent += len as u64;
            channel.stats.buffered += len;
        }
    }

    pub fn refused(&mut self, key: ChannelKey, len: usize) {
        if let Some(channel) = self.all.get_mut(&key) {
            channel.refused = Some(len);
        }
    }

    /// str0m closed a channel.
    pub fn closed(&mut self, id: ChannelId) -> Option<PeerEffect> {
        let (key, channel) = self.by_id(id)?;
        let told = matches!(channel.link, Link::Closing(_));
        channel.end();
        (!told).then_some(PeerEffect::ChannelClosed { channel: key })
    }

    /// We close a channel. The id is to be closed in str0m.
    pub fn close(&mut self, key: ChannelKey, out: &mut Vec<PeerEffect>) -> Option<ChannelId> {
        let channel = self.all.get_mut(&key)?;
        if matches!(channel.link, Link::Closing(_) | Link::Closed) {
            return None;
        }
        let id = channel.link.id();
        channel.end();
        channel.link = id.map_or(Link::Closed, Link::Closing);
        out.push(PeerEffect::ChannelClosed { channel: key });
        id
    }

    /// The connection is over.
    pub fn close_all(&mut self, out: &mut Vec<PeerEffect>) {
        for (key, channel) in &mut self.all {
            if !matches!(channel.link, Link::Closing(_) | Link::Closed) {
                out.push(PeerEffect::ChannelClosed { channel: *key });
            }
            channel.end();
        }
    }

    /// Reads again how much each channel has buffered; tells those that found no room once there is, and an eighth of all
    /// is free: with much less in flight than the room a long path would run dry. The room is one for all channels, so
    /// one channel's threshold in str0m would not do.
    pub fn refresh(&mut self, rtc: &mut Rtc, out: &mut Vec<PeerEffect>) {
        let mut total = 0;
        for channel in self.all.values_mut().filter(|channel| channel.stats.buffered > 0) {
            let Link::Open(id) = channel.link else { continue };
            channel.stats.buffered = rtc.channel(id).map_or(0, |mut channel| channel.buffered_amount());
            total += channel.stats.buffered;
        }
        for (key, channel) in &mut self.all {
            let Some(len) = channel.refused else { continue };
            let room = room_for(len, self.room, self.capacity);
            if total <= (room - room / 8).min(room - len) {
                channel.refused = None;
                out.push(PeerEffect::Writable { channel: *key });
            }
        }
    }

    /// Bytes accepted for sending and not acknowledged yet, over all channels.
    pub fn buffered(&self) -> usize {
        self.all.values().map(|channel| channel.stats.buffered).sum()
    }

    pub fn stats(&self) -> Vec<ChannelStats> {
        self.all.values().map(|channel| channel.stats.clone()).collect()
    }
}

impl Channel {
    fn end(&mut self) {
        self.link = Link::Closed;
        self.refused = None;
        self.stats.open = false;
        self.stats.buffered = 0;
    }
}

/// Bytes worth holding for a path: what it carries in one round trip at the rate that is to be sustained, up to the
/// ceiling.
fn room(round_trip: Option<Duration>, ceiling: usize) -> usize {
    let Some(round_trip) = round_trip else { return limits::CHANNEL_ROOM_BYTES.min(ceiling) };
    let in_flight = |rate: u64| {
        let bytes = round_trip.as_micros().saturating_mul(rate.into()) / 1_000_000;
        usize::try_from(bytes).unwrap_or(usize::MAX)
    };
    let short = in_flight(limits::CHANNEL_SHORT_BYTES_PER_SECOND)
        .clamp(limits::CHANNEL_ROOM_LEAST_BYTES, limits::CHANNEL_ROOM_BYTES);
    short.max(in_flight(limits::CHANNEL_LONG_BYTES_PER_SECOND)).min(ceiling)
}

/// The same for messages of this length. Two of them fit, however long, if the ceiling allows: the end of one alone would
/// wait for an acknowledgement that the remote delays.
fn room_for(len: usize, room: usize, ceiling: usize) -> usize {
    room.max(len.saturating_mul(2).min(ceiling)).max(len)
}

fn to_config(spec: &ChannelSpec) -> ChannelConfig {
    let reliability = match (spec.max_retransmits, spec.max_lifetime) {
        (Some(retransmits), _) => Reliability::MaxRetransmits { retransmits },
        (None, Some(lifetime)) => {
            Reliability::MaxPacketLifetime { lifetime: u16::try_from(lifetime.as_millis()).unwrap_or(u16::MAX) }
        }
        (None, None) => Reliability::Reliable,
    };
    ChannelConfig { label: spec.label.clone(), ordered: spec.ordered, reliability, ..ChannelConfig::default() }
}

fn to_spec(label: String, config: Option<&ChannelConfig>) -> ChannelSpec {
    let (max_retransmits, max_lifetime) = match config.map(|config| config.reliability) {
        Some(Reliability::MaxRetransmits { retransmits }) => (Some(retransmits), None),
        Some(Reliability::MaxPacketLifetime { lifetime }) => (None, Some(Duration::from_millis(lifetime.into()))),
        Some(Reliability::Reliable) | None => (None, None),
    };
    ChannelSpec { label, ordered: config.is_none_or(|config| config.ordered), max_retransmits, max_lifetime }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_for_sending_follows_the_round_trip_up_to_the_ceiling() {
        let room = |millis, ceiling| room(Some(Duration::from_millis(millis)), ceiling);
        assert_eq!(super::room(None, 1 << 20), limits::CHANNEL_ROOM_BYTES);
        assert_eq!(room(0, 1 << 20), limits::CHANNEL_ROOM_LEAST_BYTES);
        assert_eq!(room(1, 1 << 20), 62_500);
        assert_eq!(room(5, 1 << 20), limits::CHANNEL_ROOM_BYTES);
        assert_eq!(room(50, 1 << 20), 781_250);
        assert_eq!(room(150, 1 << 20), 1 << 20);
        assert_eq!(room(50, 4096), 4096);
        assert_eq!(super::room(Some(Duration::MAX), 1 << 20), 1 << 20);
    }

    #[test]
    fn two_messages_fit_even_if_they_are_longer_than_the_room() {
        let mut channels = Channels::new(1 << 19);
        let key = channels.add(to_spec("chat".into(), None), Link::Waiting);
        assert!(channels.fits(200_000) && channels.fits(1 << 19));
        channels.sent(key, 1);
        assert!(channels.fits(200_000) && channels.fits(limits::CHANNEL_ROOM_BYTES - 1) && !channels.fits(1 << 19));
        channels.sent(key, 200_000);
        assert!(!channels.fits(200_000) && !channels.fits(1));
        channels.measured(Some(Duration::from_millis(50)));
        assert!(channels.fits(200_000));
    }
}
