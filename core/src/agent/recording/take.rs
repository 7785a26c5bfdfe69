//! One file's content: the tracks of one peer, in time with each other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::agent::recording::names::Naming;
use crate::agent::recording::sink::Sink;
use crate::agent::recording::timeline::Timeline;
use crate::agent::recording::{Arrival, Who};
use crate::limits;
use crate::media::jitter::Jitter;
use crate::media::{Container, EncodedFrame, Kind, MediaError, Muxer};
use crate::peer::TrackKey;

/// A file is begun so long after the first frame, once all tracks of its peer have come: its head names them.
const GATHER_LEAST: Duration = Duration::from_millis(500);

/// A file is begun so long after the first frame, whatever has not come.
const GATHER_MOST: Duration = Duration::from_secs(2);

/// How often what came is handed to the disk: with what the jitter buffer holds, less than a second is lost when the
/// program is killed.
const FLUSH_EVERY: Duration = Duration::from_millis(700);

/// A file that is being recorded, or was and is being written.
#[derive(Debug)]
pub(super) struct Take {
    pub(super) who: Who,
    /// Of which recording.
    pub(super) session: u64,
    pub(super) sink: Sink,
    /// It could not be written.
    pub(super) is_failed: bool,
    container: Container,
    /// From when the recorder's clock counts.
    epoch: Instant,
    slots: BTreeMap<TrackKey, Slot>,
    state: State,
    flush_at: Option<Instant>,
    /// Frames that the disk was too slow for.
    dropped: u64,
    length: Duration,
}

/// What a recorded file has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) length: Duration,
    pub(super) dropped: u64,
}

#[derive(Debug)]
enum State {
    /// It is not known yet which tracks there are.
    Gathering { since: Instant, held: Vec<(TrackKey, EncodedFrame)>, bytes: usize },
    /// Its head is made.
    Rolling { muxer: Box<Muxer>, kinds: Vec<Kind>, start: i64 },
    /// No more comes.
    Ending,
}

/// A track in a file.
#[derive(Debug)]
struct Slot {
    kind: Kind,
    jitter: Jitter,
    timeline: Timeline,
    /// Nothing can be decoded until the next key frame.
    is_starved: bool,
    is_live: bool,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// It is of no use without a key frame before it.
    NeedsKeyFrame,
    /// The disk is too slow for it.
    Dropped,
}

impl Take {
    /// A file that is begun with the first frame.
    pub(super) fn new(
        now: Instant,
        epoch: Instant,
        who: Who,
        session: u64,
        container: Container,
        naming: Naming,
    ) -> Self {
        Take {
            epoch,
            who,
            session,
            sink: Sink::new(naming),
            is_failed: false,
            container,
            slots: BTreeMap::new(),
            state: State::Gathering { since: now, held: Vec::new(), bytes: 0 },
            flush_at: None,
            dropped: 0,
            length: Duration::ZERO,
        }
    }

    /// Whether this track is in it.
    pub(super) fn has(&self, track: TrackKey) -> bool {
        !self.is_ending() && self.slots.get(&track).is_some_and(|slot| slot.is_live)
    }

    /// Whether a further track of this kind could be in it.
    pub(super) fn has_room(&self, kind: Kind) -> bool {
        let is_free = !self.slots.values().any(|slot| slot.is_live && slot.kind == kind);
        match &self.state {
            State::Gathering { .. } => is_free && self.container.holds(kind),
            State::Rolling { kinds, .. } => is_free && kinds.contains(&kind),
            State::Ending => false,
        }
    }

    /// Whether it would have had room, had the track come in time.
    pub(super) fn came_too_late(&self, kind: Kind) -> bool {
        let is_rolling = matches!(&self.state, State::Rolling { kinds, .. } if !kinds.contains(&kind));
        is_rolling && self.container.holds(kind)
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.state, State::Ending)
    }

    /// Whether it has no track left.
    pub(super) fn is_deserted(&self) -> bool {
        !self.slots.values().any(|slot| slot.is_live)
    }

    /// The tracks that are in it.
    pub(super) fn tracks(&self) -> Vec<(TrackKey, Kind)> {
        self.slots.iter().filter(|(_, slot)| slot.is_live).map(|(track, slot)| (*track, slot.kind)).collect()
    }

    /// Puts a track into it, for which there is room.
    pub(super) fn join(&mut self, track: TrackKey, kind: Kind) {
        let mut timeline = Timeline::default();
        if let State::Rolling { start, .. } = self.state {
            // In the place of one that is gone.
            let before = self.slots.values().filter(|slot| slot.kind == kind).map(|slot| &slot.timeline);
            timeline = Timeline::succeeding(before, start);
            self.slots.retain(|_, slot| slot.is_live || slot.kind != kind);
        }
        let (jitter, is_starved) = (Jitter::new(), kind == Kind::Video);
        self.slots.insert(track, Slot { kind, jitter, timeline, is_starved, is_live: true });
    }

    /// A track is over.
    pub(super) fn leave(&mut self, now: Instant, track: TrackKey) -> Result<(), MediaError> {
        if let Some(slot) = self.slots.get_mut(&track) {
            slot.is_live = false;
        }
        self.roll(now, true)
    }

    /// A frame of a track that is in it.
    pub(super) fn frame(&mut self, now: Instant, track: TrackKey, arrival: Arrival) -> Taken {
        let Some(slot) = self.slots.get_mut(&track) else { return Taken::Dropped };
        let Arrival { frame, lost, arrived, sampled } = arrival;
        let is_whole = frame.key || slot.kind == Kind::Audio;
        if self.sink.is_full() {
            slot.is_starved = slot.kind == Kind::Video;
            self.dropped += 1;
            return Taken::Dropped;
        }
        if (slot.is_starved || lost) && !is_whole {
            slot.is_starved = true;
            return Taken::NeedsKeyFrame;
        }
        slot.is_starved = false;
        slot.timeline.learn(frame.time, arrived.saturating_duration_since(self.epoch), sampled);
        slot.jitter.push(now, frame);
        if matches!(self.state, State::Rolling { .. }) {
            self.flush_at.get_or_insert(now + FLUSH_EVERY);
        }
        Taken::Yes
    }

    /// Hands on what waited long enough; all of it if `everything`. Begins the file if it is time.
    ///
    /// # Errors
    /// The container cannot be made.
    pub(super) fn roll(&mut self, now: Instant, everything: bool) -> Result<(), MediaError> {
        let mut ready = Vec::new();
        for (track, slot) in &mut self.slots {
            let everything = everything || !slot.is_live;
            while let Some(frame) = if everything { slot.jitter.take() } else { slot.jitter.pop(now) } {
                ready.push((*track, frame));
            }
        }
        match &mut self.state {
            State::Gathering { since, held, bytes } => {
                *bytes += ready.iter().map(|(_, frame)| frame.data.len()).sum::<usize>();
                held.append(&mut ready);
                let passed = now.saturating_duration_since(*since);
                let is_complete = self.slots.keys().all(|track| held.iter().any(|(of, _)| of == track));
                let is_time = passed >= GATHER_MOST || is_complete && passed >= GATHER_LEAST;
                if is_time || everything || *bytes > limits::RECORDING_WAITING_BYTES {
                    let held = std::mem::take(held);
                    self.begin(now, held)?;
                }
            }
            State::Rolling { .. } => self.write(now, ready),
            State::Ending => {}
        }
        Ok(())
    }

    /// No track comes any more: the file is completed.
    ///
    /// # Errors
    /// The container cannot be made.
    pub(super) fn end(&mut self, now: Instant) -> Result<(), MediaError> {
        let rolled = self.roll(now, true);
        if let State::Rolling { mut muxer, .. } = std::mem::replace(&mut self.state, State::Ending) {
            muxer.finish();
            self.sink.push(muxer.take());
        }
        self.flush_at = None;
        self.slots.clear();
        rolled
    }

    /// It cannot be written: nothing more is done with it.
    pub(super) fn give_up(&mut self) {
        self.is_failed = true;
        self.state = State::Ending;
        self.flush_at = None;
        self.slots.clear();
        self.sink.give_up();
    }

    /// Hands the disk what came, if it is time for that.
    pub(super) fn flush(&mut self, now: Instant) {
        if let State::Rolling { muxer, .. } = &mut self.state
            && self.flush_at.take_if(|at| *at <= now).is_some()
        {
            muxer.flush();
            self.sink.push(muxer.take());
            if self.slots.values().any(|slot| slot.jitter.next_timeout().is_some()) {
                self.flush_at = Some(now + FLUSH_EVERY);
            }
        }
    }

    /// When to roll or to flush again.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let gathered = match self.state {
            State::Gathering { since, .. } => Some(since + GATHER_MOST),
            _ => None,
        };
        gathered.into_iter().chain(self.flush_at).min()
    }

    /// What it has come to.
    pub(super) fn summary(&self) -> Summary {
        Summary { length: self.length, dropped: self.dropped }
    }

    /// Makes the head of the file for the tracks that have come. Others will come too late.
    fn begin(&mut self, now: Instant, held: Vec<(TrackKey, EncodedFrame)>) -> Result<(), MediaError> {
        self.slots.retain(|track, _| held.iter().any(|(of, _)| of == track));
        let arrival = |(track, frame): &(TrackKey, EncodedFrame)| {
            self.slots.get(track).map_or(0, |slot| slot.timeline.arrival(frame.time))
        };
        let Some(start) = held.iter().map(arrival).min() else { return Ok(()) };
        let mut kinds: Vec<Kind> = self.slots.values().map(|slot| slot.kind).collect();
        kinds.sort();
        kinds.dedup();
        let muxer = Box::new(Muxer::new(self.container, &kinds)?);
        for slot in self.slots.values_mut() {
            slot.timeline.begin(start);
        }
        self.state = State::Rolling { muxer, kinds, start };
        self.write(now, held);
        Ok(())
    }

    /// Puts frames into the file, in the order of their times.
    fn write(&mut self, now: Instant, frames: Vec<(TrackKey, EncodedFrame)>) {
        let State::Rolling { muxer, kinds, start } = &mut self.state else { return };
        let start = Duration::from_nanos(u64::try_from(*start).unwrap_or_default());
        let passed = now.saturating_duration_since(self.epoch).saturating_sub(start);
        let sound = self.slots.values().find(|slot| slot.kind == Kind::Audio).map(|slot| slot.timeline.clone());
        let mut placed: Vec<(usize, EncodedFrame)> = Vec::with_capacity(frames.len());
        for (track, frame) in frames {
            let Some(slot) = self.slots.get_mut(&track) else { continue };
            let Some(number) = kinds.iter().position(|kind| *kind == slot.kind) else { continue };
            if let Some(sound) = sound.as_ref().filter(|_| slot.kind == Kind::Video) {
                slot.timeline.follow(sound);
            }
            placed.push((number, EncodedFrame { time: slot.timeline.place(frame.time, passed), ..frame }));
        }
        placed.sort_by_key(|(_, frame)| frame.time);
        for (number, frame) in placed {
            self.length = self.length.max(frame.time);
            muxer.push(&frame, number);
            self.flush_at.get_or_insert(now + FLUSH_EVERY);
        }
    }
}
