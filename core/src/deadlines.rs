//! The one timer queue: at most one deadline per key.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

/// Entries of the queue that mean nothing any more are swept out when they are more than those that do, and than this.
const STALE: usize = 64;

/// Deadlines ordered by time, then by key, so that ties break the same way in every run.
///
/// Most deadlines are cleared or put off long before they are due, so what they were is not searched for in the queue:
/// it stays there, and means nothing. The first of the queue always means something.
#[derive(Debug, Clone)]
pub struct Deadlines<K: Ord> {
    queue: BinaryHeap<Reverse<(Instant, K)>>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Ord + Clone> Default for Deadlines<K> {
    fn default() -> Self {
        Deadlines { queue: BinaryHeap::new(), by_key: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Deadlines<K> {
    /// Sets the deadline of a key, in place of the one that it had.
    pub fn set(&mut self, key: K, at: Instant) {
        let before = self.by_key.insert(key.clone(), at);
        if before != Some(at) {
            self.queue.push(Reverse((at, key.clone())));
            self.tidy(&key);
        }
    }

    /// Sets the deadline of a key unless it has an earlier one.
    pub fn set_earlier(&mut self, key: K, at: Instant) {
        if self.by_key.get(&key).is_none_or(|&before| at < before) {
            self.set(key, at);
        }
    }

    /// Forgets the deadline of a key.
    pub fn clear(&mut self, key: &K) {
        if self.by_key.remove(key).is_some() {
            self.tidy(key);
        }
    }

    /// The deadline of a key.
    pub fn get(&self, key: &K) -> Option<Instant> {
        self.by_key.get(key).copied()
    }

    /// The first deadline.
    pub fn next(&self) -> Option<(Instant, &K)> {
        self.queue.peek().map(|Reverse((at, key))| (*at, key))
    }

    /// Takes the first key whose deadline is not after `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let key = self.next().filter(|(at, _)| *at <= now)?.1.clone();
        self.clear(&key);
        Some(key)
    }

    /// Puts all deadlines off by the same time.
    pub fn put_off(&mut self, by: Duration) {
        for at in self.by_key.values_mut() {
            *at += by;
        }
        self.sweep();
    }

    /// How many keys have a deadline.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no key has one.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// After a change of a key: takes what means nothing off the front, and all of it out where that is most of the queue.
    fn tidy(&mut self, changed: &K) {
        if self.next().is_some_and(|(_, first)| first == changed) {
            while self.queue.peek().is_some_and(|Reverse((at, key))| self.by_key.get(key) != Some(at)) {
                self.queue.pop();
            }
        }
        if self.queue.len() > 2 * self.by_key.len() + STALE {
            self.sweep();
        } else if self.by_key.is_empty() {
            // Empty ones keep memory, wherever that lies.
            *self = Deadlines::default();
        }
    }

    fn sweep(&mut self) {
        self.queue = self.by_key.iter().map(|(key, at)| Reverse((*at, key.clone()))).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every sequence of five operations on two keys and three times, against a plain map.
    #[test]
    fn agrees_with_a_map_on_all_short_sequences() {
        let start = Instant::now();
        let at = |n: u64| start + Duration::from_secs(n);
        const OPERATIONS: u32 = 11;
        for sequence in 0..OPERATIONS.pow(5) {
            let mut deadlines = Deadlines::default();
            let mut model: BTreeMap<u8, Instant> = BTreeMap::new();
            for step in 0..5 {
                let operation = sequence / OPERATIONS.pow(step) % OPERATIONS;
                match operation {
                    0..=5 => {
                        let (key, time) = ((operation % 2) as u8, at(u64::from(operation / 2)));
                        deadlines.set(key, time);
                        model.insert(key, time);
                    }
                    6 | 7 => {
                        deadlines.clear(&((operation - 6) as u8));
                        model.remove(&((operation - 6) as u8));
                    }
                    _ => {
                        let now = at(u64::from(operation - 8));
                        let due = model.iter().map(|(key, time)| (*time, *key)).min().filter(|(time, _)| *time <= now);
                        if let Some((_, key)) = due {
                            model.remove(&key);
                        }
                        assert_eq!(deadlines.pop_due(now), due.map(|(_, key)| key));
                    }
                }
                assert_eq!(deadlines.len(), model.len());
                assert_eq!(deadlines.next().map(|(at, key)| (at, *key)), model.iter().map(|(k, t)| (*t, *k)).min());
            }
        }
    }
}
