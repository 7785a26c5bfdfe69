//! The tracks of all connections: ours on each of them, and whose the others are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Peers, PeersEffect};
use crate::media::{EncodedFrame, Kind};
use crate::peer::{PeerEffect, PeerState, TrackKey};
use crate::signal::Name;

/// What a connection tells of sound and picture.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::agent) enum MediaEffect {
    /// More or fewer connections take this kind.
    Listeners { kind: Kind },
    /// A remote cannot decode without a key frame.
    KeyFrameWanted { kind: Kind },
    /// Another estimate of a path's bandwidth is there.
    Bandwidth,
    /// The remote publishes a track.
    Added { track: TrackKey, kind: Kind },
    /// The remote publishes it no more.
    Removed { track: TrackKey, kind: Kind },
    /// The call is without a track.
    Refused { kind: Kind, ours: bool, why: String },
    /// As [`PeerEffect::Frame`].
    Frame {
        track: TrackKey,
        frame: EncodedFrame,
        lost: bool,
        packets: u64,
        missing: u64,
        arrived: Instant,
        sampled: Option<Duration>,
    },
}

/// The tracks of one connection.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    ours: BTreeMap<Kind, Ours>,
    theirs: BTreeMap<TrackKey, Kind>,
}

/// A track of ours on one connection.
#[derive(Debug, Clone, Copy)]
struct Ours {
    track: TrackKey,
    is_ready: bool,
    fec: bool,
}

impl Peers {
    /// Puts a track of a kind on every connection, and on those to come.
    pub(in crate::agent) fn publish(&mut self, now: Instant, kind: Kind, out: &mut Vec<PeersEffect>) {
        self.published.insert(kind);
        for name in self.names() {
            self.add_track(now, &name, kind);
        }
        self.settle(now, out);
    }

    /// Takes it off again.
    pub(in crate::agent) fn unpublish(&mut self, now: Instant, kind: Kind, out: &mut Vec<PeersEffect>) {
        self.published.remove(&kind);
        for name in self.names() {
            let Some(remote) = self.remotes.get_mut(&name) else { continue };
            if let Some(ours) = remote.tracks.ours.remove(&kind) {
                self.with(now, &name, |peer, effects| peer.unpublish(now, ours.track, effects));
            }
        }
        self.settle(now, out);
    }

    /// Sends a frame to everybody who takes its kind.
    pub(in crate::agent) fn write(
        &mut self,
        now: Instant,
        kind: Kind,
        frame: &EncodedFrame,
        due: Instant,
        out: &mut Vec<PeersEffect>,
    ) {
        for name in self.names() {
            let ready = self.remotes.get(&name).and_then(|remote| remote.tracks.ours.get(&kind)).copied();
            if let Some(ours) = ready.filter(|ours| ours.is_ready) {
                self.with(now, &name, |peer, effects| peer.write_frame(now, ours.track, frame, due, effects));
            }
        }
        self.settle(now, out);
    }

    /// What we would like to send to everybody, in bits per second.
    pub(in crate::agent) fn want_bandwidth(&mut self, now: Instant, bits_per_second: u64, out: &mut Vec<PeersEffect>) {
        self.wanted_bandwidth = bits_per_second;
        for name in self.names() {
            self.with(now, &name, |peer, effects| peer.want_bandwidth(now, bits_per_second, effects));
        }
        self.settle(now, out);
    }

    /// Asks a remote for a key frame of one of its tracks.
    pub(in crate::agent) fn request_key_frame(
        &mut self,
        now: Instant,
        name: &Name,
        track: TrackKey,
        out: &mut Vec<PeersEffect>,
    ) {
        self.with(now, name, |peer, effects| peer.request_key_frame(now, track, effects));
        self.settle(now, out);
    }

    /// How many connections take a kind now.
    pub(in crate::agent) fn listeners(&self, kind: Kind) -> usize {
        self.listening(kind).count()
    }

    /// Whether anybody who listens wants sound that helps to restore lost packets.
    pub(in crate::agent) fn want_fec(&self) -> bool {
        self.listening(Kind::Audio).any(|ours| ours.fec)
    }

    fn listening(&self, kind: Kind) -> impl Iterator<Item = &Ours> {
        let connected = self.remotes.values().filter(|remote| remote.state == PeerState::Connected);
        connected.filter_map(move |remote| remote.tracks.ours.get(&kind)).filter(|ours| ours.is_ready)
    }

    /// What the slowest path that we send to is thought to carry, in bits per second.
    pub(in crate::agent) fn bandwidth(&self) -> Option<u64> {
        let connected = self.remotes.values().filter(|remote| remote.state == PeerState::Connected);
        connected.filter_map(|remote| remote.peer.stats().bandwidth).min()
    }

    /// Puts all that is published on a new connection.
    pub(super) fn add_tracks(&mut self, now: Instant, name: &Name) {
        if let Some(remote) = self.remotes.get_mut(name) {
            remote.tracks = Tracks::default();
        }
        for kind in self.published.clone() {
            self.add_track(now, name, kind);
        }
        let wanted = self.wanted_bandwidth;
        self.with(now, name, |peer, effects| peer.want_bandwidth(now, wanted, effects));
    }

    fn add_track(&mut self, now: Instant, name: &Name, kind: Kind) {
        let track = self.with(now, name, |peer, effects| peer.publish(now, kind, effects));
        if let (Some(remote), Some(track)) = (self.remotes.get_mut(name), track) {
            remote.tracks.ours.insert(kind, Ours { track, is_ready: false, fec: false });
        }
    }

    /// A connection came or went, and with it whoever listens there.
    pub(super) fn listeners_changed(&self, name: &Name, out: &mut Vec<PeersEffect>) {
        for kind in &self.published {
            out.push(PeersEffect::Media { from: name.clone(), effect: MediaEffect::Listeners { kind: *kind } });
        }
    }

    /// What a connection tells of its tracks; `None`: it is of something else.
    pub(super) fn media(&mut self, name: &Name, effect: PeerEffect) -> Option<MediaEffect> {
        let tracks = &mut self.remotes.get_mut(name)?.tracks;
        let kind_of =
            |tracks: &Tracks, track| tracks.ours.iter().find(|(_, ours)| ours.track == track).map(|(kind, _)| *kind);
        match effect {
            PeerEffect::TrackReady { track, fec } => {
                let kind = kind_of(tracks, track)?;
                tracks.ours.insert(kind, Ours { track, is_ready: true, fec });
                Some(MediaEffect::Listeners { kind })
            }
            PeerEffect::TrackRefused { track, kind, why } => {
                if let Some(ours) = tracks.ours.get_mut(&kind).filter(|ours| Some(ours.track) == track) {
                    ours.is_ready = false;
                }
                Some(MediaEffect::Refused { kind, ours: track.is_some(), why })
            }
            PeerEffect::TrackAdded { track, kind } => {
                tracks.theirs.insert(track, kind);
                Some(MediaEffect::Added { track, kind })
            }
            PeerEffect::TrackRemoved { track } => {
                let kind = tracks.theirs.remove(&track)?;
                Some(MediaEffect::Removed { track, kind })
            }
            PeerEffect::Frame { track, frame, lost, packets, missing, arrived, sampled } => {
                Some(MediaEffect::Frame { track, frame, lost, packets, missing, arrived, sampled })
            }
            PeerEffect::KeyFrameWanted { track } => Some(MediaEffect::KeyFrameWanted { kind: kind_of(tracks, track)? }),
            PeerEffect::Bandwidth(_) => Some(MediaEffect::Bandwidth),
            _ => None,
        }
    }
}
