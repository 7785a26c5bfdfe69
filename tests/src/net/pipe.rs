//! One way of a TCP connection: in order and whole, unless it stalls or is cut.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What fits into the buffers of the two kernels before the writer waits.
const WINDOW_BYTES: usize = 64 * 1024;

/// One way of a TCP connection.
#[derive(Debug)]
pub struct Pipe<T> {
    /// How long it takes.
    pub delay: Duration,
    /// When the last item arrives: none overtakes it.
    last: Option<Instant>,
    stalled: bool,
    /// Nothing gets through any more, and nobody is told.
    dead: bool,
    held: VecDeque<(usize, T)>,
    held_bytes: usize,
    /// Items and bytes that the writer was not told to have left.
    owed: (usize, usize),
}

/// What became of an item.
#[derive(Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// When it arrives; `None`: it waits, or is lost.
    pub arrives: Option<(Instant, T)>,
    /// Whether the kernel took it: the writer may be told.
    pub taken: bool,
}

impl<T> Pipe<T> {
    /// An empty one.
    pub fn new(delay: Duration) -> Self {
        Pipe { delay, last: None, stalled: false, dead: false, held: VecDeque::new(), held_bytes: 0, owed: (0, 0) }
    }

    /// Writes an item with so many bytes.
    pub fn write(&mut self, now: Instant, len: usize, item: T) -> Written<T> {
        if self.dead || self.stalled {
            let taken = self.held_bytes + len <= WINDOW_BYTES;
            self.held_bytes += len;
            if !self.dead {
                self.held.push_back((len, item));
            }
            if !taken {
                self.owed = (self.owed.0 + 1, self.owed.1 + len);
            }
            return Written { arrives: None, taken };
        }
        Written { arrives: Some((self.arrival(now), item)), taken: true }
    }

    /// Nothing arrives from now on, until [`Pipe::resume`].
    pub fn stall(&mut self) {
        self.stalled = true;
    }

    /// Nothing arrives from now on, for ever: the path is gone, and neither end knows.
    pub fn kill(&mut self) {
        self.dead = true;
        self.held.clear();
    }

    /// What waited arrives; and the items and bytes that the writer may now be told to have left.
    pub fn resume(&mut self, now: Instant) -> (Vec<(Instant, T)>, (usize, usize)) {
        if self.dead || !self.stalled {
            return (Vec::new(), (0, 0));
        }
        self.stalled = false;
        self.held_bytes = 0;
        let at = self.arrival(now);
        let items = std::mem::take(&mut self.held).into_iter().map(|(_, item)| (at, item)).collect();
        (items, std::mem::take(&mut self.owed))
    }

    fn arrival(&mut self, now: Instant) -> Instant {
        let at = self.last.map_or(now + self.delay, |last| last.max(now + self.delay));
        self.last = Some(at);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn nothing_overtakes_on_a_pipe() {
        let (mut pipe, now) = (Pipe::new(MS * 10), Instant::now());
        assert_eq!(pipe.write(now, 1, 'a'), Written { arrives: Some((now + MS * 10, 'a')), taken: true });
        pipe.delay = MS;
        assert_eq!(pipe.write(now, 1, 'b').arrives, Some((now + MS * 10, 'b')));
    }

    #[test]
    fn a_stalled_pipe_fills_its_window_and_gives_all_in_order_later() {
        let (mut pipe, now) = (Pipe::new(MS), Instant::now());
        pipe.stall();
        let taken: Vec<bool> = (0..4).map(|n| pipe.write(now, 30_000, n).taken).collect();
        assert_eq!(taken, [true, true, false, false]);
        let later = now + MS * 500;
        let (items, owed) = pipe.resume(later);
        assert_eq!(items, [0, 1, 2, 3].map(|n| (later + MS, n)));
        assert_eq!(owed, (2, 60_000));
        assert!(pipe.write(later, 30_000, 4).taken);
    }

    #[test]
    fn a_dead_pipe_takes_a_window_and_gives_nothing() {
        let (mut pipe, now) = (Pipe::new(MS), Instant::now());
        pipe.kill();
        let taken: Vec<bool> = (0..3).map(|n| pipe.write(now, 30_000, n).taken).collect();
        assert_eq!(taken, [true, true, false]);
        assert_eq!(pipe.resume(now), (Vec::new(), (0, 0)));
    }
}
