//! When the memory of a crowd that has gone should go back to the system.
//!
//! An allocator keeps what is freed for whoever comes next. After a crowd of thousands nobody may come for hours, and then
//! it is the system's again. Asking takes time and so does getting it anew, so a machine asks when most have left, and
//! only if others have not taken their places a moment later.

use std::time::{Duration, Instant};

/// How long nobody may have taken the places of those who left.
const SETTLE: Duration = Duration::from_secs(1);

/// Watches how many there are.
#[derive(Debug)]
pub struct Crowd {
    /// How many are worth asking for.
    many: usize,
    /// The most there were since the system last got memory back.
    most: usize,
    look: Option<Instant>,
}

impl Crowd {
    /// Nobody yet. Fewer than `many` are no crowd.
    pub fn of(many: usize) -> Self {
        Crowd { many, most: 0, look: None }
    }

    /// There are so many now. Gives when to ask [`Crowd::has_left`], if that is new.
    pub fn count(&mut self, now: Instant, present: usize) -> Option<Instant> {
        self.most = self.most.max(present);
        if self.look.is_some() || !self.is_gone(present) {
            return None;
        }
        self.look = Some(now + SETTLE);
        self.look
    }

    /// When to ask [`Crowd::has_left`].
    pub fn next_timeout(&self) -> Option<Instant> {
        self.look
    }

    /// Whether most have left and nobody came instead, of which only so many are there: it is time to give their memory back.
    pub fn has_left(&mut self, now: Instant, present: usize) -> bool {
        if self.look.is_none_or(|at| now < at) {
            return false;
        }
        self.look = None;
        let is_gone = self.is_gone(present);
        if is_gone {
            self.most = present;
        }
        is_gone
    }

    fn is_gone(&self, present: usize) -> bool {
        self.most >= self.many && present <= self.most / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_back_once_when_most_have_left_and_stayed_away() {
        let start = Instant::now();
        let mut crowd = Crowd::of(64);
        let mut at = |present, millis: u64| {
            let now = start + Duration::from_millis(millis);
            crowd.count(now, present);
            crowd.has_left(now, present)
        };
        assert!(!at(1000, 0) && !at(251, 1), "most are still there");
        assert!(!at(250, 2) && !at(900, 500) && !at(900, 1500), "others took their places");
        assert!(!at(10, 2000) && !at(10, 2999) && at(10, 3000), "a moment later");
        assert!(!at(0, 4000) && !at(0, 6000), "ten are not worth it");
        assert!(!at(63, 7000) && !at(0, 8000) && !at(0, 10_000), "nor are 63");
    }
}
