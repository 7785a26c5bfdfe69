//! When the memory of connections that have gone should go back to the system.
//!
//! An allocator keeps what is freed for whoever comes next. After a crowd of thousands nobody may come for hours, and then
//! it is the system's again. Asking takes time and so does getting it anew, so a driver asks when most have left, and
//! only if others have not taken their places a moment later.

use std::time::{Duration, Instant};

/// Connections that are worth asking for.
const MANY: usize = 64;

/// How long nobody may have taken the places of those who left.
const SETTLE: Duration = Duration::from_secs(1);

/// Watches how many connections there are.
#[derive(Debug, Default)]
pub struct Crowd {
    /// The most there were since the system last got memory back.
    most: usize,
    look: Option<Instant>,
}

impl Crowd {
    /// There are so many now.
    pub fn count(&mut self, connections: usize, now: impl FnOnce() -> Instant) {
        self.most = self.most.max(connections);
        if self.look.is_none() && self.is_gone(connections) {
            self.look = Some(now() + SETTLE);
        }
    }

    /// When to ask [`Crowd::has_left`].
    pub fn next_timeout(&self) -> Option<Instant> {
        self.look
    }

    /// Whether most have left and nobody came instead, of which only so many are there: it is time to give their memory back.
    pub fn has_left(&mut self, connections: usize, now: Instant) -> bool {
        if self.look.is_none_or(|at| now < at) {
            return false;
        }
        self.look = None;
        let is_gone = self.is_gone(connections);
        if is_gone {
            self.most = connections;
        }
        is_gone
    }

    fn is_gone(&self, connections: usize) -> bool {
        self.most >= MANY && connections <= self.most / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_back_once_when_most_have_left_and_stayed_away() {
        let start = Instant::now();
        let mut crowd = Crowd::default();
        let mut at = |connections, millis: u64| {
            let now = start + Duration::from_millis(millis);
            crowd.count(connections, || now);
            crowd.has_left(connections, now)
        };
        assert!(!at(1000, 0) && !at(251, 1), "most are still there");
        assert!(!at(250, 2) && !at(900, 500) && !at(900, 1500), "others took their places");
        assert!(!at(10, 2000) && !at(10, 2999) && at(10, 3000), "a moment later");
        assert!(!at(0, 4000) && !at(0, 6000), "ten are not worth it");
        assert!(!at(63, 7000) && !at(0, 8000) && !at(0, 10_000), "nor are 63");
    }
}
