//! When in a file a frame is heard or shown.
//!
//! Every track counts its own time from its own start. Two clocks relate the tracks of one peer: ours, by when their
//! frames arrived, and the sender's, by what its RTCP sender reports say (RFC 3550, 6.4.1). Ours is there from the first
//! frame but off by what the path and the sender's queues delay one track more than the other; the sender's is exact
//! and comes some seconds later.

use std::time::Duration;

/// A file's time may differ by so much from the time that passed since its start. Beyond it, a track's own time is
/// wrong: the next frame has the time that passed. So no clock of a sender makes a file longer than the call.
const STRAY: i64 = 5_000_000_000;

/// A track's sender may say at most so much other than what its frames' arrival says.
const SKEW: i64 = 2_000_000_000;

/// The least time between two frames of one track.
const STEP: i64 = 1_000_000;

/// How the time of one track becomes that of its file. In nanoseconds; those of a call fit nine times over 30 years.
#[derive(Debug, Clone, Default)]
pub(super) struct Timeline {
    /// The least by which frames arrived later than their own time says, on the recording's clock.
    lag: Option<i64>,
    /// How much further the sender's clock is than the track's own time, as it said last.
    lead: Option<i64>,
    /// Where the file begins, on the recording's clock.
    start: i64,
    /// What is added to the track's own time, once that is more than `lag` and `start` say.
    offset: Option<i64>,
    /// The time of the last frame.
    last: Option<i64>,
}

impl Timeline {
    /// For a track that takes the place of others in a file that began at `start`.
    pub(super) fn succeeding<'a>(others: impl Iterator<Item = &'a Timeline>, start: i64) -> Self {
        Timeline { start, last: others.filter_map(|other| other.last).max(), ..Timeline::default() }
    }

    /// Learns from a frame. `arrived` counts from the start of the recording, `sampled` on the sender's clock.
    pub(super) fn learn(&mut self, time: Duration, arrived: Duration, sampled: Option<Duration>) {
        let lag = nanos(arrived) - nanos(time);
        self.lag = Some(self.lag.map_or(lag, |least| least.min(lag)));
        if let Some(sampled) = sampled {
            self.lead = Some(nanos(sampled).saturating_sub(nanos(time)));
        }
    }

    /// When a frame would have arrived on the fastest path, counted from the start of the recording. The first of
    /// these is where a file begins.
    pub(super) fn arrival(&self, time: Duration) -> i64 {
        nanos(time).saturating_add(self.lag.unwrap_or_default())
    }

    /// The file begins at `start`, as [`Timeline::arrival`] counts.
    pub(super) fn begin(&mut self, start: i64) {
        self.start = start;
        self.offset = Some(self.offset());
    }

    fn offset(&self) -> i64 {
        self.offset.unwrap_or_else(|| self.lag.unwrap_or_default().saturating_sub(self.start))
    }

    /// Follows the sender's clock, as another track of the same sender has it, if both know it.
    pub(super) fn follow(&mut self, other: &Timeline) {
        if let (Some(mine), Some(others)) = (self.lead, other.lead) {
            let exact = other.offset().saturating_add(mine).saturating_sub(others);
            if exact.abs_diff(self.offset()) < SKEW.unsigned_abs() {
                self.offset = Some(exact);
            }
        }
    }

    /// When a frame is heard or shown; always later than the one before. `passed` is the time since the file's start.
    pub(super) fn place(&mut self, time: Duration, passed: Duration) -> Duration {
        let (time, passed) = (nanos(time), nanos(passed));
        let earliest = self.last.map_or(0, |last| last + STEP);
        let offset = self.offset();
        self.offset = Some(offset);
        let mut at = time.saturating_add(offset);
        if at.abs_diff(passed) > STRAY.unsigned_abs() {
            at = passed.max(earliest);
            self.offset = Some(at.saturating_sub(time));
        }
        let at = at.max(earliest);
        self.last = Some(at);
        Duration::from_nanos(at.unsigned_abs())
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Two tracks that were sampled together; picture arrives 80 ms later than sound.
    fn pair() -> (Timeline, Timeline) {
        let (mut sound, mut picture) = (Timeline::default(), Timeline::default());
        sound.learn(ms(0), ms(1_000), None);
        sound.learn(ms(20), ms(1_050), None);
        picture.learn(ms(0), ms(1_080), None);
        let start = sound.arrival(ms(0)).min(picture.arrival(ms(0)));
        sound.begin(start);
        picture.begin(start);
        (sound, picture)
    }

    #[test]
    fn a_file_begins_with_what_arrived_first() {
        let (mut sound, mut picture) = pair();
        assert_eq!(sound.place(ms(0), ms(0)), ms(0));
        assert_eq!(sound.place(ms(20), ms(50)), ms(20));
        assert_eq!(picture.place(ms(0), ms(80)), ms(80));
    }

    #[test]
    fn the_senders_clock_corrects_what_the_arrival_said() {
        let (mut sound, mut picture) = pair();
        assert_eq!(picture.place(ms(0), ms(80)), ms(80));
        sound.learn(ms(1_000), ms(2_000), Some(ms(7_001_000)));
        picture.follow(&sound);
        assert_eq!(picture.place(ms(500), ms(580)), ms(580), "one of two does not help");
        picture.learn(ms(1_000), ms(2_090), Some(ms(7_001_000)));
        picture.follow(&sound);
        assert_eq!(sound.place(ms(1_000), ms(1_000)), ms(1_000));
        assert_eq!(picture.place(ms(1_000), ms(1_090)), ms(1_000));
        // The two clocks drift apart.
        sound.learn(ms(2_000), ms(3_000), Some(ms(7_002_000)));
        picture.learn(ms(2_000), ms(3_080), Some(ms(7_002_030)));
        picture.follow(&sound);
        assert_eq!(picture.place(ms(2_000), ms(2_080)), ms(2_030));
    }

    #[test]
    fn a_sender_that_lies_about_its_clock_is_not_followed() {
        let (mut sound, mut picture) = pair();
        sound.learn(ms(0), ms(1_000), Some(ms(0)));
        picture.learn(ms(0), ms(1_080), Some(Duration::MAX));
        picture.follow(&sound);
        assert_eq!(picture.place(ms(40), ms(120)), ms(120));
    }

    #[test]
    fn a_track_whose_time_jumps_goes_on_with_the_time_that_passed() {
        let (mut sound, _) = pair();
        assert_eq!(sound.place(ms(0), ms(0)), ms(0));
        assert_eq!(sound.place(ms(3_600_000), ms(20)), ms(20));
        assert_eq!(sound.place(ms(3_600_020), ms(45)), ms(40));
        // Back again.
        assert_eq!(sound.place(ms(100), ms(60)), ms(60));
    }

    proptest! {
        #[test]
        fn time_goes_on_and_stays_near_the_call(
            frames in prop::collection::vec((any::<u64>(), 0_u64..3_000, any::<Option<u64>>()), 1..200)
        ) {
            let mut timeline = Timeline::default();
            let mut other = Timeline::default();
            other.learn(ms(0), ms(0), Some(ms(1 << 40)));
            other.begin(0);
            let (mut passed, mut last) = (Duration::ZERO, None);
            for (time, step, sampled) in frames {
                let time = Duration::from_nanos(time);
                passed += ms(step);
                timeline.learn(time, passed, sampled.map(Duration::from_nanos));
                if last.is_none() {
                    timeline.begin(timeline.arrival(time));
                }
                timeline.follow(&other);
                let at = timeline.place(time, passed);
                prop_assert!(last.is_none_or(|last| at > last), "{at:?} after {last:?}");
                prop_assert!(at <= passed + Duration::from_secs(6), "{at:?} after {passed:?}");
                last = Some(at);
            }
        }
    }
}
