//! One peer connection: the only place that names str0m.
//!
//! Skeleton: signatures that the rest compiles against.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::signal::{Payload, Signal};

/// How a peer connection is set up.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// In glare, the polite side gives way (perfect negotiation). The two sides must differ in this.
    pub polite: bool,
    /// Host candidates: addresses of sockets that the driver has bound. More may come later.
    pub hosts: Vec<SocketAddr>,
    /// Bytes held for sending on data channels before [`SendError::Full`].
    pub channel_buffer_bytes: usize,
}

/// A data channel of one peer connection. Never reused within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelKey(pub u32);

/// What a data channel promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSpec {
    /// The label, at most [`crate::limits::LABEL_BYTES`] bytes.
    pub label: String,
    /// Whether messages arrive in order.
    pub ordered: bool,
    /// How often a lost message is sent again; `None`: until it arrives.
    pub max_retransmits: Option<u16>,
    /// For how long a lost message is sent again. Not together with `max_retransmits`.
    pub max_lifetime: Option<Duration>,
}

/// Where a peer connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// No connectivity check has succeeded yet.
    Connecting,
    /// DTLS is up.
    Connected,
    /// The path is lost; an ICE restart may bring it back.
    Disconnected,
    /// Over: closed by one of the two, or failed.
    Closed,
}

/// Why a peer connection failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerFault {
    /// The remote's description, candidate or datagram cannot be used; a clause for a person.
    Refused(String),
    /// The remote's certificate is not the one whose fingerprint its description names.
    Fingerprint,
    /// str0m panicked on what the remote sent. The connection is dead, others are not touched.
    Panicked(String),
    /// No path was found in time.
    NoPath,
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// No such channel, or it is not open (yet, or any more).
    NotOpen,
    /// As much is buffered as may be: wait for [`PeerEffect::Writable`].
    Full,
    /// Longer than the remote takes, or than could ever be buffered.
    TooLong,
    /// An empty message: str0m 0.25 would lose it and block the channel.
    Empty,
}

/// What a peer connection wants done or told. Pushed into the sink of each call.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerEffect {
    /// Send a datagram.
    Transmit {
        /// From this bound address.
        local: SocketAddr,
        /// To here.
        remote: SocketAddr,
        /// This.
        bytes: Vec<u8>,
    },
    /// Carry this to the remote peer by signaling.
    Signal(Signal),
    /// The state changed.
    State(PeerState),
    /// A data channel is open, opened by either side.
    ChannelOpened {
        /// The channel.
        channel: ChannelKey,
        /// What it promises.
        spec: ChannelSpec,
    },
    /// A message arrived.
    Message {
        /// On this channel.
        channel: ChannelKey,
        /// The message.
        payload: Payload,
    },
    /// After [`SendError::Full`]: there is room again.
    Writable {
        /// The channel.
        channel: ChannelKey,
    },
    /// A data channel is closed.
    ChannelClosed {
        /// The channel.
        channel: ChannelKey,
    },
    /// Something that the remote sent was skipped; worth a line for who asks for details.
    Skipped(String),
    /// The connection failed; [`PeerState::Closed`] follows.
    Failed(PeerFault),
}

/// Counters of one peer connection.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PeerStats {
    /// The selected pair, local and remote.
    pub path: Option<(SocketAddr, SocketAddr)>,
    /// Round-trip time of the selected pair.
    pub round_trip: Option<Duration>,
    /// Bytes of UDP payload sent.
    pub bytes_sent: u64,
    /// Bytes of UDP payload received.
    pub bytes_received: u64,
    /// Per data channel, in order of opening.
    pub channels: Vec<ChannelStats>,
}

/// Counters of one data channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelStats {
    /// The label.
    pub label: String,
    /// Whether it is open now.
    pub open: bool,
    /// Messages sent.
    pub messages_sent: u64,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Payload bytes accepted for sending and not acknowledged yet.
    pub buffered: usize,
}

/// One peer connection.
#[derive(Debug)]
pub struct Peer {}

#[allow(unused_variables, clippy::todo, clippy::unused_self)]
impl Peer {
    /// A connection that has not negotiated yet.
    pub fn new(now: Instant, config: PeerConfig) -> Self {
        todo!()
    }

    /// Adds a server-reflexive candidate: what `base`, one of the hosts, looks like from outside.
    pub fn add_reflexive(&mut self, now: Instant, mapped: SocketAddr, base: SocketAddr, out: &mut Vec<PeerEffect>) {
        todo!()
    }

    /// No further local candidates will come: end-of-candidates is signaled when the remote may have it.
    pub fn end_of_candidates(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        todo!()
    }

    /// Opens a data channel, and offers if that needs negotiation.
    pub fn open_channel(&mut self, now: Instant, spec: ChannelSpec, out: &mut Vec<PeerEffect>) -> ChannelKey {
        todo!()
    }

    /// Takes an offer, answer, candidate, end-of-candidates or restart request from the remote peer.
    pub fn receive_signal(&mut self, now: Instant, signal: Signal, out: &mut Vec<PeerEffect>) {
        todo!()
    }

    /// Whether a datagram belongs to this connection.
    pub fn accepts(&self, now: Instant, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) -> bool {
        todo!()
    }

    /// Takes a datagram.
    pub fn receive_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: &[u8],
        out: &mut Vec<PeerEffect>,
    ) {
        todo!()
    }

    /// Sends a message on a data channel.
    ///
    /// # Errors
    /// See [`SendError`]; the message was not taken.
    pub fn send(
        &mut self,
        now: Instant,
        channel: ChannelKey,
        payload: &Payload,
        out: &mut Vec<PeerEffect>,
    ) -> Result<(), SendError> {
        todo!()
    }

    /// Closes one data channel.
    pub fn close_channel(&mut self, now: Instant, channel: ChannelKey, out: &mut Vec<PeerEffect>) {
        todo!()
    }

    /// Offers anew with fresh ICE credentials; DTLS, SCTP and the channels stay.
    pub fn restart(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        todo!()
    }

    /// Says goodbye to the remote peer; [`PeerState::Closed`] follows.
    pub fn close(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        todo!()
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        todo!()
    }

    /// When [`Peer::timeout`] is due next.
    pub fn next_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Where the connection stands.
    pub fn state(&self) -> PeerState {
        todo!()
    }

    /// The counters.
    pub fn stats(&self) -> PeerStats {
        todo!()
    }

    /// The fingerprints of the two certificates, local and remote, as in SDP.
    pub fn fingerprints(&self) -> (String, Option<String>) {
        todo!()
    }
}
