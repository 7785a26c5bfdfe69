//! Sound and picture of an agent: what is asked for and told, and where it goes.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::agent::heard::Arrival;
use crate::agent::peers::MediaEffect;
use crate::agent::recording;
use crate::agent::recording::RecorderEffect;
use crate::agent::tracks::TracksEffect;
use crate::agent::{Agent, AgentNotice};
use crate::machine::{FileError, FileOp, Output};
use crate::media::{Codec, Kind, Pattern, Quality, SourceSpec};
use crate::signal::Name;

/// What of sound and picture is wanted from the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaConfig {
    /// The sound to publish.
    pub audio: Option<SourceSpec>,
    /// The picture to publish.
    pub video: Option<SourceSpec>,
    /// Whether files are played only once; otherwise over and over.
    pub once: bool,
}

/// What can be asked for of sound and picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaCommand {
    /// Publish a source to everybody, from its first frame on. There is one of each kind.
    Publish {
        /// What it is to be.
        kind: Kind,
        /// What to send.
        source: SourceSpec,
    },
    /// Publish no more of a kind.
    Unpublish(Kind),
    /// Send silence, or a black picture, instead of the source; or the source again.
    Mute {
        /// What.
        kind: Kind,
        /// Whether.
        on: bool,
    },
    /// Send another source on the same track. The far ends see it with its first frame, and negotiate nothing.
    Replace {
        /// What.
        kind: Kind,
        /// What to send.
        source: SourceSpec,
    },
    /// What is published, and what arrives? Answered by [`MediaNotice::Tracks`].
    Tracks,
}

/// What is told of sound and picture.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaNotice {
    /// A track of ours is there.
    Published {
        /// What it carries.
        kind: Kind,
        /// What is sent.
        source: String,
    },
    /// A track of ours is no more.
    Unpublished {
        /// What it carried.
        kind: Kind,
        /// A clause for a person, unless it was asked for.
        why: Option<String>,
    },
    /// A track of ours sends another source.
    Replaced {
        /// What it carries.
        kind: Kind,
        /// What is sent.
        source: String,
    },
    /// A track of ours is muted, or not any more.
    Muted {
        /// What it carries.
        kind: Kind,
        /// Whether it is.
        on: bool,
    },
    /// Our picture is of another quality from now on, for what the slowest path carries.
    Quality {
        /// The quality.
        quality: Quality,
        /// What that path is thought to carry.
        bits_per_second: u64,
    },
    /// A remote peer publishes a track.
    Added {
        /// Who.
        id: Name,
        /// What it carries.
        kind: Kind,
    },
    /// A remote peer publishes it no more.
    Removed {
        /// Who.
        id: Name,
        /// What it carried.
        kind: Kind,
    },
    /// The call is without a track.
    Refused {
        /// With whom.
        id: Name,
        /// What it carries.
        kind: Kind,
        /// Whether it is ours.
        ours: bool,
        /// A clause for a person.
        why: String,
    },
    /// What is published, and what arrives or did until it ended.
    Tracks {
        /// Ours.
        ours: Vec<OurTrack>,
        /// Those of remote peers.
        theirs: Vec<TheirTrack>,
    },
}

/// A track that we publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurTrack {
    /// What it carries.
    pub kind: Kind,
    /// What is sent.
    pub source: String,
    /// Whether it is muted.
    pub muted: bool,
    /// How good it is.
    pub quality: Quality,
    /// How many connections take it.
    pub listeners: usize,
}

/// A track of a remote peer.
#[derive(Debug, Clone, PartialEq)]
pub struct TheirTrack {
    /// Whose.
    pub id: Name,
    /// What it carries.
    pub kind: Kind,
    /// How.
    pub codec: Codec,
    /// Whether it is there still.
    pub live: bool,
    /// From the first frame to the last.
    pub time: Duration,
    /// Frames that arrived whole.
    pub frames: u64,
    /// Key frames among them.
    pub key_frames: u64,
    /// Packets that carried them.
    pub packets: u64,
    /// Packets that never came.
    pub missing: u64,
    /// Bytes of the frames.
    pub bytes: u64,
    /// The strongest tone of the last second of sound, decoded.
    pub tone_hz: Option<f64>,
    /// Pictures per second, of the last ones.
    pub frame_rate: Option<f64>,
    /// Width and height of the last key frame.
    pub size: Option<(u16, u16)>,
    /// Which of our patterns is seen in it, decoded.
    pub pattern: Option<Pattern>,
}

impl TheirTrack {
    /// Which part of the packets never came, 0 to 1.
    pub fn loss(&self) -> f64 {
        self.missing as f64 / (self.packets + self.missing).max(1) as f64
    }
}

impl Agent {
    /// Publishes what is wanted from the start.
    pub(super) fn publish_configured(&mut self, now: Instant, config: MediaConfig) {
        for (kind, source) in [(Kind::Audio, config.audio), (Kind::Video, config.video)] {
            if let Some(source) = source {
                self.tracks.publish(kind, source, true, &mut self.from_tracks);
            }
        }
        self.play(now);
    }

    pub(super) fn media_command(&mut self, now: Instant, command: MediaCommand) {
        let out = &mut self.from_tracks;
        match command {
            MediaCommand::Publish { kind, source } => self.tracks.publish(kind, source, false, out),
            MediaCommand::Unpublish(kind) => self.tracks.unpublish(kind, out),
            MediaCommand::Mute { kind, on } => self.tracks.mute(kind, on, out),
            MediaCommand::Replace { kind, source } => self.tracks.replace(kind, source, out),
            MediaCommand::Tracks => {
                let (ours, theirs) = (self.tracks.list(), self.heard.list());
                self.notice(AgentNotice::Media(MediaNotice::Tracks { ours, theirs }));
            }
        }
        self.play(now);
    }

    /// Sends what is due, and carries out what publishing wants besides.
    pub(super) fn play(&mut self, now: Instant) {
        self.tracks.run(now, &mut self.from_tracks);
        for effect in std::mem::take(&mut self.from_tracks) {
            let out = &mut self.from_peers;
            match effect {
                TracksEffect::Read(output) => self.outputs.push_back(output),
                TracksEffect::Publish(kind) => self.peers.publish(now, kind, out),
                TracksEffect::Unpublish(kind) => {
                    self.peers.unpublish(now, kind, out);
                    self.recorder.own_ended(now, kind, &mut self.from_recorder);
                }
                TracksEffect::Send { kind, frame, due } => {
                    self.peers.write(now, kind, &frame, due, out);
                    self.recorder.own_frame(now, &frame, due, &mut self.from_recorder);
                }
                TracksEffect::Want(bits_per_second) => self.peers.want_bandwidth(now, bits_per_second, out),
                TracksEffect::Notice(notice) => self.notice(notice),
            }
        }
    }

    /// Connections tell something of sound and picture.
    pub(super) fn media_effect(&mut self, now: Instant, from: Name, effect: MediaEffect) {
        let notice = match effect {
            MediaEffect::Listeners { kind } => {
                self.tracks.listeners(now, kind, self.peers.listeners(kind));
                if kind == Kind::Audio {
                    self.tracks.want_fec(self.peers.want_fec());
                }
                self.tracks.want_key(kind);
                return self.play(now);
            }
            MediaEffect::KeyFrameWanted { kind } => return self.tracks.want_key(kind),
            MediaEffect::Bandwidth => {
                self.tracks.bandwidth(self.peers.bandwidth());
                return self.play(now);
            }
            MediaEffect::Frame { track, frame, lost, packets, missing, arrived, sampled } => {
                let recorded = recording::Arrival { frame: frame.clone(), lost, arrived, sampled };
                self.recorder.frame(now, &from, track, recorded, &mut self.from_recorder);
                let arrival = Arrival { frame, packets, missing, arrived };
                return self.heard.frame(&from, track, arrival);
            }
            MediaEffect::Added { track, kind } => {
                self.heard.added(from.clone(), track, kind);
                self.recorder.track_added(&from, track, kind, &mut self.from_recorder);
                MediaNotice::Added { id: from, kind }
            }
            MediaEffect::Removed { track, kind } => {
                self.heard.removed(&from, track);
                self.recorder.track_removed(now, &from, track, &mut self.from_recorder);
                MediaNotice::Removed { id: from, kind }
            }
            MediaEffect::Refused { kind, ours, why } => MediaNotice::Refused { id: from, kind, ours, why },
        };
        self.notice(AgentNotice::Media(notice));
    }

    /// A connection is over, and with it what of its tracks is left.
    pub(super) fn media_gone(&mut self, now: Instant, id: &Name) {
        for track in self.heard.gone(id) {
            self.recorder.track_removed(now, id, track, &mut self.from_recorder);
        }
    }

    pub(super) fn recorder_effect(&mut self, now: Instant, effect: RecorderEffect) {
        match effect {
            RecorderEffect::Write { op, path, at, bytes } => {
                self.outputs.push_back(Output::WriteFile { op, path, at, bytes });
            }
            RecorderEffect::WantKeyFrame { name: Some(name), track } => {
                self.peers.request_key_frame(now, &name, track, &mut self.from_peers);
            }
            RecorderEffect::WantKeyFrame { name: None, .. } => self.tracks.want_key(Kind::Video),
            RecorderEffect::Notice(notice) => self.notice(notice),
        }
    }

    /// A file was read for a source.
    pub(super) fn file_read(&mut self, now: Instant, op: FileOp, result: &Result<Bytes, FileError>) {
        self.tracks.file_read(op, result);
        self.play(now);
    }

    /// A file of a recording was written.
    pub(super) fn file_written(&mut self, now: Instant, op: FileOp, result: Result<(), FileError>) {
        self.recorder.file_written(now, op, result, &mut self.from_recorder);
    }
}
