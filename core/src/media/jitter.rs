//! Received frames, put in order and waited for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::limits::{JITTER_DEPTH, JITTER_FRAMES};

use super::EncodedFrame;

/// Holds the frames of one track for [`JITTER_DEPTH`] each, so that those which come late still find their place. What
/// comes later than that is left out.
#[derive(Debug)]
pub struct Jitter {
    depth: Duration,
    /// By their times in the track; each with the moment at which it goes on.
    waiting: BTreeMap<Duration, (Instant, EncodedFrame)>,
    /// The time of the last frame that went on.
    last: Option<Duration>,
    late: u64,
}

impl Jitter {
    /// An empty one of the usual depth.
    pub fn new() -> Self {
        Jitter::with_depth(JITTER_DEPTH)
    }

    /// An empty one of another depth.
    pub fn with_depth(depth: Duration) -> Self {
        Jitter { depth, waiting: BTreeMap::new(), last: None, late: 0 }
    }

    /// Takes a frame that arrived at `now`. One that is late or there already is left out.
    pub fn push(&mut self, now: Instant, frame: EncodedFrame) {
        if self.last.is_some_and(|last| frame.time <= last) {
            self.late += 1;
            return;
        }
        self.waiting.entry(frame.time).or_insert((now + self.depth, frame));
    }

    /// The next frame in order, if its time has come.
    pub fn pop(&mut self, now: Instant) -> Option<EncodedFrame> {
        let due = self.next_timeout().is_some_and(|due| due <= now) || self.waiting.len() > JITTER_FRAMES;
        if due { self.take() } else { None }
    }

    /// When [`Self::pop`] will have something.
    pub fn next_timeout(&self) -> Option<Instant> {
        // What waits behind a frame that is due is of no use to it.
        self.waiting.values().map(|(due, _)| *due).min()
    }

    /// The next frame in order, due or not: the track has ended.
    pub fn take(&mut self) -> Option<EncodedFrame> {
        let (time, (_, frame)) = self.waiting.pop_first()?;
        self.last = Some(time);
        Some(frame)
    }

    /// How many frames came too late.
    pub fn late(&self) -> u64 {
        self.late
    }
}

impl Default for Jitter {
    fn default() -> Self {
        Jitter::new()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::media::Codec;

    use super::*;

    fn frame(millis: u64) -> EncodedFrame {
        let time = Duration::from_millis(millis);
        EncodedFrame { codec: Codec::Opus, time, key: true, data: Bytes::from_static(&[0xfc]) }
    }

    fn drain(jitter: &mut Jitter, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| jitter.pop(now)).map(|frame| frame.time.as_millis() as u64).collect()
    }

    #[test]
    fn frames_come_out_in_order_after_the_depth() {
        let (start, mut jitter) = (Instant::now(), Jitter::new());
        for (at, time) in [(0, 0), (20, 40), (30, 20), (60, 60)] {
            jitter.push(start + Duration::from_millis(at), frame(time));
        }
        assert_eq!(jitter.next_timeout(), Some(start + JITTER_DEPTH));
        assert_eq!(drain(&mut jitter, start + JITTER_DEPTH - Duration::from_millis(1)), [0; 0]);
        assert_eq!(drain(&mut jitter, start + JITTER_DEPTH), [0]);
        // The one at 40 is due, and the one before it goes with it.
        assert_eq!(drain(&mut jitter, start + JITTER_DEPTH + Duration::from_millis(20)), [20, 40]);
        assert_eq!(jitter.take(), Some(frame(60)));
        assert_eq!((jitter.next_timeout(), jitter.take()), (None, None));
    }

    #[test]
    fn what_is_late_or_double_is_left_out() {
        let (start, mut jitter) = (Instant::now(), Jitter::new());
        jitter.push(start, frame(20));
        jitter.push(start, frame(20));
        assert_eq!(drain(&mut jitter, start + JITTER_DEPTH), [20]);
        jitter.push(start + JITTER_DEPTH, frame(0));
        jitter.push(start + JITTER_DEPTH, frame(20));
        assert_eq!((jitter.late(), jitter.next_timeout()), (2, None));
    }

    #[test]
    fn a_flood_goes_on_at_once() {
        let (start, mut jitter) = (Instant::now(), Jitter::new());
        (0..=JITTER_FRAMES as u64).for_each(|time| jitter.push(start, frame(time)));
        assert_eq!(drain(&mut jitter, start), [0]);
    }
}
