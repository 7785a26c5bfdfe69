//! A token bucket: how many messages a connection may send now.

use std::time::{Duration, Instant};

/// Fills at a rate up to a burst; may be overdrawn by one, so that nothing has to be thrown away: the caller pauses.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_second: u32,
    burst: u32,
    /// When the bucket was, or will be, full: the only state it needs (the generic cell rate algorithm).
    full_at: Instant,
}

impl Bucket {
    /// A full bucket. A rate or burst of 0 counts as 1.
    pub fn new(now: Instant, per_second: u32, burst: u32) -> Self {
        Bucket { per_second: per_second.max(1), burst: burst.max(1), full_at: now }
    }

    /// Takes one token. If the bucket is overdrawn now, until when to take nothing more.
    pub fn take(&mut self, now: Instant) -> Option<Instant> {
        let refill = Duration::from_secs(1) / self.per_second;
        self.full_at = self.full_at.max(now) + refill;
        let ready_at = self.full_at.checked_sub(refill * self.burst)?;
        (ready_at > now).then_some(ready_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_a_burst_pass_and_then_the_rate() {
        let start = Instant::now() + Duration::from_secs(1000);
        let mut bucket = Bucket::new(start, 10, 3);
        assert_eq!([(); 3].map(|()| bucket.take(start)), [None, None, None]);
        let pause = bucket.take(start).expect("the fourth at once is one too many");
        assert_eq!(pause, start + Duration::from_millis(100));
        let pause = bucket.take(pause).expect("still at the rate");
        assert_eq!(pause, start + Duration::from_millis(200));
        assert_eq!(bucket.take(start + Duration::from_secs(5)), None, "it has filled again");
    }
}
