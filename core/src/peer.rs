//! One peer connection: the only place that names str0m.
//!
//! str0m's contract is "one mutation, then drain its outputs until it sleeps". So every door of [`Peer`] changes it
//! through `Peer::mutate`, which drains, and ends in `Peer::settle`, which does what became due by it. What
//! comes out goes to the sink that the caller gave.
//!
//! What a remote sent may make str0m panic. Each call into it is contained: a panic ends this connection with
//! [`PeerFault::Panicked`] and no other.
//!
//! - `drive`: str0m: changing it, draining it, its events
//! - `negotiation`: offers, answers, candidates, glare
//! - `recovery`: when a path counts as lost, and what then
//! - `channels`: data channels and back-pressure
//! - `media`: tracks: what is sent and received of sound and picture
//! - `sdp`: what we read in descriptions ourselves
//! - `stats`: the counters, and the word for them

mod channels;
mod drive;
mod media;
mod negotiation;
mod recovery;
mod sdp;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::channel::ChannelId;
use str0m::crypto::CryptoProvider;
use str0m::error::SctpError;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Input, Rtc, RtcConfig, RtcError};

use self::channels::{Channels, Link};
pub(crate) use self::drive::contained;
use self::drive::{has_alert, is_dtls};
use self::media::Tracks;
use self::negotiation::Negotiation;
use self::recovery::{Recovery, Step};
pub use self::stats::{ChannelStats, ConnectionQuality, PeerStats, TrackStats};
use crate::limits;
use crate::media::{EncodedFrame, Kind};
use crate::signal::{Payload, Signal};

/// How often the round-trip time is refreshed.
const STATS_EVERY: Duration = Duration::from_secs(1);

/// A STUN check that is not answered is repeated at least this often; str0m's default is lazier. How many there are
/// before a pair counts as dead is left as it is: a path may open late, and [`recovery`] notices by itself that one is
/// lost.
const STUN_RTO_MAX: Duration = Duration::from_secs(1);

/// How long a close waits for what was sent to be acknowledged, and then for the goodbye to leave.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// How many datagrams of a handshake that begins before the path is known are kept, and how long each may be.
const EARLY_DATAGRAMS: usize = 4;
const DATAGRAM_BYTES: usize = 2_000;

/// What a path is thought to carry before anything is known of it, in bits per second.
const FIRST_ESTIMATE: u64 = 1_000_000;

/// How many packets of sound wait for one that is missing, and for how long: it is not asked for again, so what is not
/// just out of order is lost.
const REORDERED_PACKETS: usize = 5;
const REORDERED_WITHIN: Duration = Duration::from_millis(100);

/// How a peer connection is set up.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// In glare, the polite side gives way (perfect negotiation). The two sides must differ in this.
    pub polite: bool,
    /// Host candidates: addresses of sockets that the driver has bound. More may come later.
    pub hosts: Vec<SocketAddr>,
    /// Bytes held for sending on data channels at most. [`SendError::Full`] comes sooner on a path that is too short to
    /// have use for that many.
    pub channel_buffer_bytes: usize,
    /// Where cryptography comes from.
    pub crypto: Crypto,
    /// Whether the path's bandwidth is estimated, for a picture that adapts to it. It costs str0m a wake-up every 40 ms,
    /// and cannot be begun later.
    pub estimate_bandwidth: bool,
}

/// Where a connection's cryptography comes from: str0m's own, by default. The program brings one with which a burst of
/// datagrams costs less, simulations one whose handshake is the same every time.
#[derive(Debug, Clone, Default)]
pub struct Crypto(pub Option<Arc<CryptoProvider>>);

/// A data channel of one peer connection. Never reused within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelKey(pub u32);

/// A track of one peer connection: one that we publish, or one of the remote's. Never reused within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrackKey(pub u32);

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
    /// SCTP, which carries the channels, broke off over a path that works; nobody said goodbye.
    Broken,
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
    /// A track of ours can be written: the remote takes it.
    TrackReady {
        /// The track.
        track: TrackKey,
        /// Whether the remote wants sound that helps to restore lost packets (RFC 7587, 6.1: `useinbandfec`).
        fec: bool,
    },
    /// A track is not taken: one of ours by the remote, or one of the remote's by us. The connection goes on without it.
    TrackRefused {
        /// Which, if it is ours.
        track: Option<TrackKey>,
        /// What it carries.
        kind: Kind,
        /// A clause for a person.
        why: String,
    },
    /// The remote publishes a track.
    TrackAdded {
        /// The track.
        track: TrackKey,
        /// What it carries.
        kind: Kind,
    },
    /// The remote does not publish it any more.
    TrackRemoved {
        /// The track.
        track: TrackKey,
    },
    /// A frame arrived, in the order of its track.
    Frame {
        /// On this track.
        track: TrackKey,
        /// The frame. Its time counts from the first one that arrived on this track.
        frame: EncodedFrame,
        /// Whether something is missing before it. A picture cannot be decoded then until the next key frame, which is
        /// asked for already.
        lost: bool,
        /// How many packets carried it.
        packets: u64,
        /// How many never came between the frame before and this one.
        missing: u64,
        /// When its first packet came.
        arrived: Instant,
        /// When the sender sampled it, on its own clock, since 1970, if it told yet: frames of its tracks with the same
        /// time belong together (RFC 3550, 6.4.1).
        sampled: Option<Duration>,
    },
    /// The remote wants a key frame of a track of ours: it cannot decode without.
    KeyFrameWanted {
        /// The track.
        track: TrackKey,
    },
    /// What the path to the remote is thought to carry, in bits per second, while a track of ours is sent.
    Bandwidth(u64),
    /// Something that the remote sent was skipped; worth a line for who asks for details.
    Skipped(String),
    /// The connection failed; [`PeerState::Closed`] follows.
    Failed(PeerFault),
}

/// One peer connection.
pub struct Peer {
    config: PeerConfig,
    /// `None` once the connection is over.
    rtc: Option<Box<Rtc>>,
    state: PeerState,
    /// The latest time that str0m was told.
    told: Instant,
    /// When str0m wants to be told the time again.
    wake: Instant,
    local_fingerprint: String,
    negotiation: Negotiation,
    recovery: Recovery,
    channels: Channels,
    tracks: Tracks,
    /// Channels that str0m opened for the remote and that we do not want.
    unwanted: Vec<ChannelId>,
    /// The end is near: not later than then.
    closing: Option<Closing>,
    /// The datagram that is being handled has the remote's goodbye.
    goodbye: bool,
    /// DTLS that came before the path: local, remote, bytes.
    early: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Local addresses on TURN servers.
    relays: BTreeSet<SocketAddr>,
    path: Option<(SocketAddr, SocketAddr)>,
    round_trip: Option<Duration>,
    bytes_sent: u64,
    bytes_received: u64,
}

/// A connection on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// What was sent before the close is still to be acknowledged.
    Flushing(Instant),
    /// The goodbye is on its way.
    Leaving(Instant),
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("state", &self.state).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Peer {
    /// A connection that has not negotiated yet. Hosts that cannot be candidates (0.0.0.0) are left out.
    pub fn new(now: Instant, config: PeerConfig) -> Self {
        let mut setup = RtcConfig::new()
            .set_stats_interval(Some(STATS_EVERY))
            .set_sctp_max_buffered_amount(config.channel_buffer_bytes)
            .set_sctp_max_message_size(limits::CHANNEL_MESSAGE_BYTES as u32)
            .set_fingerprint_verification(true)
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .set_reordering_size_audio(REORDERED_PACKETS)
            .set_reordering_timeout_audio(Some(REORDERED_WITHIN));
        setup.set_max_stun_rto(STUN_RTO_MAX);
        if config.estimate_bandwidth {
            setup = setup.enable_bwe(Some(Bitrate::from(FIRST_ESTIMATE)));
        }
        if let Some(provider) = config.crypto.0.clone() {
            setup = setup.set_crypto_provider(provider);
        }
        let mut rtc = setup.build(now);
        let local_fingerprint = rtc.direct_api().local_dtls_fingerprint().to_string();
        let channels = Channels::new(config.channel_buffer_bytes);
        let mut peer = Peer {
            config,
            rtc: Some(Box::new(rtc)),
            state: PeerState::Connecting,
            told: now,
            wake: now,
            local_fingerprint,
            negotiation: Negotiation::default(),
            recovery: Recovery::default(),
            channels,
            tracks: Tracks::default(),
            unwanted: Vec::new(),
            closing: None,
            goodbye: false,
            early: Vec::new(),
            relays: BTreeSet::new(),
            path: None,
            round_trip: None,
            bytes_sent: 0,
            bytes_received: 0,
        };
        // Before the first description nothing comes out.
        let mut out = Vec::new();
        for host in peer.config.hosts.clone() {
            peer.add_host(now, host, &mut out);
        }
        // ICE asks for no wake-up before it was told the time once.
        peer.tell_time(now, &mut out);
        peer.mutate(now, &mut out, |_| ());
        debug_assert!(out.is_empty(), "{out:?}");
        peer
    }

    /// Adds a host candidate: the address of a socket that the driver has bound.
    pub fn add_host(&mut self, now: Instant, host: SocketAddr, out: &mut Vec<PeerEffect>) {
        if let Ok(candidate) = Candidate::host(host, "udp") {
            self.add_local(now, candidate, out);
        }
        self.settle(now, out);
    }

    /// Adds a server-reflexive candidate: what `base`, one of the hosts, looks like from outside.
    pub fn add_reflexive(&mut self, now: Instant, mapped: SocketAddr, base: SocketAddr, out: &mut Vec<PeerEffect>) {
        if let Ok(candidate) = Candidate::server_reflexive(mapped, base, "udp") {
            self.add_local(now, candidate, out);
        }
        self.settle(now, out);
    }

    /// Adds a relayed candidate: `relayed`, an address on a TURN server that was allocated from `local`. What is sent
    /// from it and arrives at it has it as the local address: the caller carries that to the TURN server and back.
    ///
    /// As the related address the candidate names none at all, `0.0.0.0` (RFC 8839, 5.1, where privacy wants it).
    pub fn add_relayed(&mut self, now: Instant, relayed: SocketAddr, local: SocketAddr, out: &mut Vec<PeerEffect>) {
        if let Ok(candidate) = Candidate::relayed(relayed, local, "udp") {
            self.relays.insert(relayed);
            self.add_local(now, candidate, out);
        }
        self.settle(now, out);
    }

    /// No further local candidates will come: end-of-candidates is signaled when the remote may have it.
    pub fn end_of_candidates(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        if self.rtc.is_some() {
            self.gathered(out);
        }
        self.settle(now, out);
    }

    /// Opens a data channel, and offers if that needs negotiation.
    ///
    /// With a label of more than [`limits::LABEL_BYTES`], or when the connection is over, it is closed at once.
    pub fn open_channel(&mut self, now: Instant, spec: ChannelSpec, out: &mut Vec<PeerEffect>) -> ChannelKey {
        let possible = spec.label.len() <= limits::LABEL_BYTES && self.rtc.is_some() && self.closing.is_none();
        let key = self.channels.add(spec, if possible { Link::Waiting } else { Link::Closed });
        if !possible {
            out.push(PeerEffect::ChannelClosed { channel: key });
        }
        self.settle(now, out);
        key
    }

    /// Takes an offer, answer, candidate, end-of-candidates or restart request from the remote peer.
    pub fn receive_signal(&mut self, now: Instant, signal: Signal, out: &mut Vec<PeerEffect>) {
        if self.rtc.is_none() || self.closing.is_some() {
            return out.push(PeerEffect::Skipped("a signal to a connection that is over".into()));
        }
        match signal {
            Signal::Offer { sdp } => self.receive_offer(now, &sdp, out),
            Signal::Answer { sdp } => self.receive_answer(now, &sdp, out),
            Signal::Candidate(candidate) => self.receive_candidate(now, candidate, out),
            Signal::Restart => self.want_restart(),
            // str0m keeps looking for a path as long as we let it.
            Signal::EndOfCandidates { .. } => {}
            Signal::Data { .. } => out.push(PeerEffect::Skipped("relayed data: not for a connection".into())),
        }
        self.settle(now, out);
    }

    /// Whether an offer comes from another connection than the one that we negotiated with: the remote began anew,
    /// and so must we, with a new [`Peer`].
    pub fn is_foreign(&self, sdp: &str) -> bool {
        let Some(known) = &self.negotiation.remote else { return false };
        sdp::read(sdp).is_ok_and(|remote| remote.fingerprint != known.fingerprint)
    }

    /// Whether an answer is to another offer than our last one, of a connection that we gave up: it names another
    /// `a=mid` (RFC 8843, 8.1).
    pub fn is_stale(&self, sdp: &str) -> bool {
        let ours = self.negotiation.local.as_ref().and_then(|local| local.mid.as_ref());
        let theirs = sdp::read(sdp).ok().and_then(|remote| remote.mid);
        ours.zip(theirs.as_ref()).is_some_and(|(ours, theirs)| ours != theirs)
    }

    /// Whether a datagram belongs to this connection.
    pub fn accepts(&self, now: Instant, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) -> bool {
        let Some(rtc) = &self.rtc else { return false };
        let accepts = || {
            Receive::new(Protocol::Udp, remote, local, bytes)
                .is_ok_and(|datagram| rtc.accepts(&Input::Receive(now, datagram)))
        };
        contained(accepts).unwrap_or(false)
    }

    /// Takes a datagram. One that [`Peer::accepts`] does not want is ignored, except the beginning of a handshake: the
    /// remote may find the path half a round trip before us, and repeats its first word only after a second.
    pub fn receive_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: &[u8],
        out: &mut Vec<PeerEffect>,
    ) {
        self.told = self.told.max(now);
        if self.feed(now, local, remote, bytes, out) {
            for (local, remote, bytes) in std::mem::take(&mut self.early) {
                if !self.feed(now, local, remote, &bytes, out) {
                    self.early.push((local, remote, bytes));
                }
            }
        } else if self.state == PeerState::Connecting
            && is_dtls(bytes)
            && self.early.len() < EARLY_DATAGRAMS
            && bytes.len() <= DATAGRAM_BYTES
        {
            self.early.push((local, remote, bytes.to_vec()));
        }
        self.settle(now, out);
    }

    /// Gives str0m a datagram that it accepts; `false` if it does not.
    fn feed(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: &[u8],
        out: &mut Vec<PeerEffect>,
    ) -> bool {
        self.goodbye = has_alert(bytes);
        let result = self.mutate(now, out, |rtc| {
            let Ok(datagram) = Receive::new(Protocol::Udp, remote, local, bytes) else { return Ok(false) };
            let input = Input::Receive(now, datagram);
            if !rtc.accepts(&input) {
                return Ok(false);
            }
            rtc.handle_input(input).map(|()| true)
        });
        self.goodbye = false;
        match result {
            Some(Ok(true)) => {
                self.bytes_received += bytes.len() as u64;
                if self.recovery.received(now) {
                    self.set_state(PeerState::Connected, out);
                }
                true
            }
            // Anybody can send a datagram from anybody's address: it must not end the connection.
            Some(Err(error)) => {
                out.push(PeerEffect::Skipped(format!("a datagram from {remote}: {error}")));
                true
            }
            Some(Ok(false)) | None => false,
        }
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
        let (binary, bytes) = match payload {
            Payload::Text(text) => (false, text.as_bytes()),
            Payload::Binary(bytes) => (true, bytes.as_ref()),
        };
        let id = self.channels.open(channel).filter(|_| self.closing.is_none()).ok_or(SendError::NotOpen)?;
        if bytes.is_empty() {
            return Err(SendError::Empty);
        }
        if bytes.len() > self.channels.longest() {
            return Err(SendError::TooLong);
        }
        if !self.channels.fits(bytes.len()) {
            self.channels.refused(channel, bytes.len());
            return Err(SendError::Full);
        }
        let written = self.write(now, out, |rtc| rtc.channel(id).map(|mut channel| channel.write(binary, bytes)));
        let result = match written {
            Some(Some(Ok(true))) => {
                self.channels.sent(channel, bytes.len());
                Ok(())
            }
            Some(Some(Ok(false))) => {
                self.channels.refused(channel, bytes.len());
                Err(SendError::Full)
            }
            Some(Some(Err(RtcError::Sctp(SctpError::Proto(_))))) => Err(SendError::TooLong),
            Some(Some(Err(_)) | None) | None => Err(SendError::NotOpen),
        };
        self.settle(now, out);
        result
    }

    /// Closes one data channel. What was sent on it and is not acknowledged yet may be lost.
    pub fn close_channel(&mut self, now: Instant, channel: ChannelKey, out: &mut Vec<PeerEffect>) {
        if let Some(id) = self.channels.close(channel, out) {
            self.mutate(now, out, |rtc| rtc.direct_api().close_data_channel(id));
        }
        self.settle(now, out);
    }

    /// Offers anew with fresh ICE credentials; DTLS, SCTP and the channels stay. Before the first negotiation is
    /// done there is nothing to restart.
    pub fn restart(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        self.want_restart();
        self.settle(now, out);
    }

    /// Signals may have been lost: says again what the remote may be waiting for.
    pub fn repeat(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        if self.rtc.is_some() && self.closing.is_none() {
            self.repeat_lost(now, out);
        }
        self.settle(now, out);
    }

    /// Says goodbye to the remote peer, once it has acknowledged what was sent; [`PeerState::Closed`] follows within
    /// a few seconds, at once if there is no path.
    pub fn close(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        if self.rtc.is_some() && self.closing.is_none() {
            self.closing = Some(Closing::Flushing(now + CLOSE_WITHIN));
        }
        self.settle(now, out);
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        if self.wake <= now {
            self.mutate(now, out, |_| ());
        }
        self.settle(now, out);
    }

    /// When [`Peer::timeout`] is due next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.rtc.as_ref()?;
        // Once it closes, nobody looks after a lost path.
        let own = match self.closing {
            Some(Closing::Flushing(at) | Closing::Leaving(at)) => Some(at),
            None => self.recovery.next(),
        };
        [Some(self.wake), own].into_iter().flatten().min()
    }

    /// Where the connection stands.
    pub fn state(&self) -> PeerState {
        self.state
    }

    /// The counters.
    pub fn stats(&self) -> PeerStats {
        PeerStats {
            path: self.path,
            relayed: self.path.is_some_and(|(local, _)| self.relays.contains(&local)),
            round_trip: self.round_trip,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            channels: self.channels.stats(),
            bandwidth: self.tracks.bandwidth(),
            tracks: self.tracks.stats(),
        }
    }

    /// The fingerprints of the two certificates, local and remote, as in SDP.
    pub fn fingerprints(&self) -> (String, Option<String>) {
        (self.local_fingerprint.clone(), self.negotiation.remote.as_ref().map(|remote| remote.fingerprint.clone()))
    }

    /// Does what became due, by the passing of time or by what was just done, until nothing is.
    fn settle(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        while self.rtc.is_some() && self.closing.is_none() {
            match self.recovery.due(now, self.config.polite) {
                Some(Step::GiveUp) => self.fail(PeerFault::NoPath, out),
                Some(Step::Lost) => self.lost(now, out),
                Some(Step::Restart) => self.restart_or_repeat(now, out),
                Some(Step::Ask) => out.push(PeerEffect::Signal(Signal::Restart)),
                None => break,
            }
        }
        self.offer_if_needed(now, out);
        if let Some(rtc) = &mut self.rtc {
            self.channels.refresh(rtc, out);
        }
        self.leave(now, out);
    }

    /// Goes on with a close.
    fn leave(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        match self.closing {
            Some(Closing::Flushing(at)) => {
                if self.state != PeerState::Connected {
                    self.finish(out);
                } else if self.channels.buffered() == 0 || at <= now {
                    self.closing = Some(Closing::Leaving(now + CLOSE_WITHIN));
                    if let Some(Err(_)) = self.mutate(now, out, Rtc::close) {
                        self.finish(out);
                    }
                }
            }
            Some(Closing::Leaving(at)) if at <= now => self.finish(out),
            Some(Closing::Leaving(_)) | None => {}
        }
    }

    fn lost(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        if self.state == PeerState::Connected {
            self.recovery.lost(now, self.config.polite);
            self.set_state(PeerState::Disconnected, out);
        }
    }

    fn fail(&mut self, fault: PeerFault, out: &mut Vec<PeerEffect>) {
        if self.rtc.is_some() {
            out.push(PeerEffect::Failed(fault));
            self.finish(out);
        }
    }

    /// The connection is over.
    fn finish(&mut self, out: &mut Vec<PeerEffect>) {
        self.rtc = None;
        self.path = None;
        self.channels.close_all(out);
        self.tracks.end_all(out);
        self.set_state(PeerState::Closed, out);
    }

    fn set_state(&mut self, state: PeerState, out: &mut Vec<PeerEffect>) {
        if self.state != state && self.state != PeerState::Closed {
            self.state = state;
            out.push(PeerEffect::State(state));
        }
    }
}
