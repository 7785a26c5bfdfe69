//! What arrives of the tracks of remote peers, as far as somebody may ask: numbers, and what there is to hear and see.
//!
//! Nothing is decoded until somebody asks: of each track only the latest frames are kept.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::agent::media::TheirTrack;
use crate::limits;
use crate::media::{Codec, EncodedFrame, Kind, Pattern, detect, opus, vp8};
use crate::peer::TrackKey;
use crate::signal::Name;

/// So much sound is looked at for a tone.
const LISTEN: Duration = Duration::from_secs(1);

/// The frame rate is that of so many frames.
const PICTURES: usize = 61;

/// Tracks that ended and are still told of.
const ENDED: usize = 16;

/// All that arrives.
#[derive(Debug, Default)]
pub(super) struct Heard {
    tracks: BTreeMap<(Name, TrackKey), Track>,
    ended: VecDeque<(Name, Track)>,
}

/// One track.
#[derive(Debug)]
struct Track {
    kind: Kind,
    began: Option<Instant>,
    latest: Option<Instant>,
    frames: u64,
    key_frames: u64,
    packets: u64,
    missing: u64,
    bytes: u64,
    /// Of sound the last packets, of pictures the last key frame.
    recent: VecDeque<EncodedFrame>,
    /// When the last pictures came.
    shown: VecDeque<Instant>,
}

/// One frame that arrived.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) frame: EncodedFrame,
    pub(super) packets: u64,
    pub(super) missing: u64,
    pub(super) arrived: Instant,
}

impl Heard {
    /// A remote peer publishes a track.
    pub(super) fn added(&mut self, from: Name, track: TrackKey, kind: Kind) {
        self.tracks.insert((from, track), Track::new(kind));
    }

    /// It publishes it no more.
    pub(super) fn removed(&mut self, from: &Name, track: TrackKey) {
        if let Some(track) = self.tracks.remove(&(from.clone(), track)) {
            self.keep(from.clone(), track);
        }
    }

    /// It is gone. Those of its tracks that were there still.
    pub(super) fn gone(&mut self, from: &Name) -> Vec<TrackKey> {
        let first = (from.clone(), TrackKey(0));
        let theirs = self.tracks.range(first..).map(|((of, track), _)| (of, *track)).take_while(|(of, _)| *of == from);
        let tracks: Vec<TrackKey> = theirs.map(|(_, track)| track).collect();
        tracks.iter().for_each(|track| self.removed(from, *track));
        tracks
    }

    /// A frame arrived.
    pub(super) fn frame(&mut self, from: &Name, track: TrackKey, arrival: Arrival) {
        if let Some(track) = self.tracks.get_mut(&(from.clone(), track)) {
            track.take(arrival);
        }
    }

    /// What arrived, as it is to be told. Decodes what was kept.
    pub(super) fn list(&self) -> Vec<TheirTrack> {
        let live = self.tracks.iter().map(|((from, _), track)| track.tell(from, true));
        live.chain(self.ended.iter().map(|(from, track)| track.tell(from, false))).collect()
    }

    fn keep(&mut self, from: Name, track: Track) {
        if track.frames > 0 {
            if self.ended.len() >= ENDED {
                self.ended.pop_front();
            }
            self.ended.push_back((from, track));
        }
    }
}

impl Track {
    fn new(kind: Kind) -> Self {
        Track {
            kind,
            began: None,
            latest: None,
            frames: 0,
            key_frames: 0,
            packets: 0,
            missing: 0,
            bytes: 0,
            recent: VecDeque::new(),
            shown: VecDeque::new(),
        }
    }

    fn take(&mut self, Arrival { frame, packets, missing, arrived }: Arrival) {
        self.began.get_or_insert(arrived);
        self.latest = Some(arrived);
        self.frames += 1;
        self.key_frames += u64::from(frame.key);
        self.packets += packets;
        self.missing += missing;
        self.bytes += frame.data.len() as u64;
        match self.kind {
            Kind::Audio => {
                let from = frame.time.saturating_sub(LISTEN);
                self.recent.push_back(frame);
                let is_old = |first: &EncodedFrame| first.time < from;
                while self.recent.front().is_some_and(is_old) || self.recent.len() > limits::HEARD_PACKETS {
                    self.recent.pop_front();
                }
            }
            Kind::Video => {
                self.shown.push_back(arrived);
                if self.shown.len() > PICTURES {
                    self.shown.pop_front();
                }
                if frame.key && frame.data.len() <= limits::HEARD_PICTURE_BYTES {
                    self.recent.clear();
                    self.recent.push_back(frame);
                }
            }
        }
    }

    fn tell(&self, from: &Name, live: bool) -> TheirTrack {
        let (size, pattern) = self.picture();
        TheirTrack {
            id: from.clone(),
            kind: self.kind,
            codec: self.kind.codec(),
            live,
            time: self.began.zip(self.latest).map_or(Duration::ZERO, |(began, latest)| latest - began),
            frames: self.frames,
            key_frames: self.key_frames,
            packets: self.packets,
            missing: self.missing,
            bytes: self.bytes,
            tone_hz: self.tone(),
            frame_rate: self.frame_rate(),
            size,
            pattern,
        }
    }

    /// The strongest tone of the last second.
    fn tone(&self) -> Option<f64> {
        if self.kind != Kind::Audio {
            return None;
        }
        let mut decoder = opus::Decoder::new().ok()?;
        let decoded = self.recent.iter().filter_map(|packet| decoder.decode(&packet.data).ok());
        let left: Vec<i16> = decoded.flatten().step_by(2).collect();
        detect::peak_hz(&left, opus::RATE)
    }

    /// Pictures per second, of the last ones.
    fn frame_rate(&self) -> Option<f64> {
        let time = self.shown.back()?.saturating_duration_since(*self.shown.front()?).as_secs_f64();
        (time > 0.0).then(|| (self.shown.len() - 1) as f64 / time)
    }

    /// The size of the last key frame, and what can be recognised in it.
    fn picture(&self) -> (Option<(u16, u16)>, Option<Pattern>) {
        let Some(frame) = self.recent.back().filter(|frame| frame.codec == Codec::Vp8) else { return (None, None) };
        let size = vp8::header(&frame.data).and_then(|header| header.size);
        let decoded = vp8::Decoder::new().decode(&frame.data).ok().flatten();
        (size, decoded.and_then(|picture| detect::pattern(&picture)))
    }
}
