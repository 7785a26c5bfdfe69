//! What is counted of a peer connection, and the word for how good it is.

use std::net::SocketAddr;
use std::time::Duration;

use super::{PeerState, TrackKey};
use crate::media::{Codec, Kind};

/// From here on people notice, and from there on they complain (about what ITU-T G.114 and G.1050 say of conversations).
const LOSS: (f32, f32) = (0.02, 0.1);
const ROUND_TRIP: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(500));
const JITTER: (Duration, Duration) = (Duration::from_millis(30), Duration::from_millis(100));

/// Counters of one peer connection.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PeerStats {
    /// The selected pair, local and remote.
    pub path: Option<(SocketAddr, SocketAddr)>,
    /// Whether the local address of that pair is one on a TURN server.
    pub relayed: bool,
    /// Round-trip time of the selected pair.
    pub round_trip: Option<Duration>,
    /// Bytes of UDP payload sent.
    pub bytes_sent: u64,
    /// Bytes of UDP payload received.
    pub bytes_received: u64,
    /// Per data channel, in order of opening.
    pub channels: Vec<ChannelStats>,
    /// What the path is thought to carry, in bits per second, while a track of ours is sent.
    pub bandwidth: Option<u64>,
    /// Per track, ours and the remote's, in order of their keys.
    pub tracks: Vec<TrackStats>,
}

/// Counters of one track. Those that str0m counts are refreshed every second.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackStats {
    /// Which.
    pub track: TrackKey,
    /// What it carries.
    pub kind: Kind,
    /// How.
    pub codec: Codec,
    /// Whether it is ours.
    pub ours: bool,
    /// Whether it flows: negotiated, and not ended.
    pub live: bool,
    /// RTP packets, repeated ones among them.
    pub packets: u64,
    /// Bytes of their payload.
    pub bytes: u64,
    /// Bits per second, over the last second.
    pub bitrate: u64,
    /// Frames: of ours, those handed over; of the remote's, those that arrived whole.
    pub frames: u64,
    /// Key frames among them.
    pub key_frames: u64,
    /// Packets of the remote's that never came.
    pub missing: u64,
    /// Which part of the packets was lost lately, 0 to 1, as the receiving side reported it last (RFC 3550, 6.4.1).
    pub loss: Option<f32>,
    /// How much the time that packets travel varies (RFC 3550, 6.4.1).
    pub jitter: Option<Duration>,
    /// Round-trip time, from RTCP.
    pub round_trip: Option<Duration>,
    /// Requests to repeat packets: received for ours, sent for the remote's.
    pub nacks: u64,
    /// Requests for a key frame (PLI and FIR), in the same way.
    pub key_requests: u64,
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

/// How good a connection is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectionQuality {
    /// Nobody notices anything.
    Good,
    /// Loss of 2 %, a round trip of 200 ms, or jitter of 30 ms: or more of it.
    Fair,
    /// Loss of 10 %, a round trip of 500 ms, or jitter of 100 ms: or more of it.
    Poor,
    /// There is no path now.
    Lost,
}

impl ConnectionQuality {
    /// Its name in statistics.
    pub fn name(self) -> &'static str {
        match self {
            ConnectionQuality::Good => "good",
            ConnectionQuality::Fair => "fair",
            ConnectionQuality::Poor => "poor",
            ConnectionQuality::Lost => "lost",
        }
    }
}

impl PeerStats {
    /// How good the connection is: the worst that any live track, or the path itself, says of it. `None` while it is
    /// being made.
    pub fn quality(&self, state: PeerState) -> Option<ConnectionQuality> {
        match state {
            PeerState::Connecting => return None,
            PeerState::Disconnected | PeerState::Closed => return Some(ConnectionQuality::Lost),
            PeerState::Connected => {}
        }
        let live = || self.tracks.iter().filter(|track| track.live);
        let loss = live().filter_map(|track| track.loss).map(|loss| worse(loss, LOSS));
        let jitter = live().filter_map(|track| track.jitter).map(|jitter| worse(jitter, JITTER));
        let round_trip = self.round_trip.map(|time| worse(time, ROUND_TRIP));
        Some(loss.chain(jitter).chain(round_trip).max().unwrap_or(ConnectionQuality::Good))
    }
}

fn worse<T: PartialOrd>(measured: T, (fair, poor): (T, T)) -> ConnectionQuality {
    if measured >= poor {
        ConnectionQuality::Poor
    } else if measured >= fair {
        ConnectionQuality::Fair
    } else {
        ConnectionQuality::Good
    }
}

#[cfg(test)]
mod tests {
    use super::super::media::new_stats;
    use super::*;

    #[test]
    fn the_worst_number_makes_the_word() {
        let track = |loss, jitter_ms, live| super::TrackStats {
            loss: Some(loss),
            jitter: Some(Duration::from_millis(jitter_ms)),
            live,
            ..new_stats(TrackKey(0), Kind::Audio, true)
        };
        let word = |round_trip_ms, tracks: Vec<TrackStats>| {
            let round_trip = Some(Duration::from_millis(round_trip_ms));
            PeerStats { round_trip, tracks, ..PeerStats::default() }.quality(PeerState::Connected).unwrap().name()
        };
        assert_eq!(word(40, vec![]), "good");
        assert_eq!(word(40, vec![track(0.01, 5, true), track(0.02, 5, true)]), "fair");
        assert_eq!(word(200, vec![track(0.0, 5, true)]), "fair");
        assert_eq!(word(40, vec![track(0.0, 40, true)]), "fair");
        assert_eq!(word(40, vec![track(0.1, 5, true), track(0.0, 0, true)]), "poor");
        assert_eq!(word(500, vec![]), "poor");
        assert_eq!(word(40, vec![track(0.5, 500, false)]), "good", "what does not flow says nothing");
        assert_eq!(PeerStats::default().quality(PeerState::Disconnected), Some(ConnectionQuality::Lost));
        assert_eq!(PeerStats::default().quality(PeerState::Connecting), None);
    }
}
