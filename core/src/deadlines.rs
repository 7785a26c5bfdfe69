//! The one timer queue: at most one deadline per key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Deadlines ordered by time, then by key, so that ties break the same way in every run.
#[derive(Debug, Clone)]
pub struct Deadlines<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Ord + Clone> Default for Deadlines<K> {
    fn default() -> Self {
        Deadlines { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Deadlines<K> {
    /// Sets the deadline of a key, in place of the one that it had.
    pub fn set(&mut self, key: K, at: Instant) {
        if let Some(before) = self.by_key.insert(key.clone(), at) {
            if before == at {
                return;
            }
            self.by_time.remove(&(before, key.clone()));
        }
        self.by_time.insert((at, key));
    }

    /// Sets the deadline of a key unless it has an earlier one.
    pub fn set_earlier(&mut self, key: K, at: Instant) {
        if self.by_key.get(&key).is_none_or(|&before| at < before) {
            self.set(key, at);
        }
    }

    /// Forgets the deadline of a key.
    pub fn clear(&mut self, key: &K) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_time.remove(&(at, key.clone()));
            self.let_go();
        }
    }

    /// The deadline of a key.
    pub fn get(&self, key: &K) -> Option<Instant> {
        self.by_key.get(key).copied()
    }

    /// The first deadline.
    pub fn next(&self) -> Option<(Instant, &K)> {
        self.by_time.first().map(|(at, key)| (*at, key))
    }

    /// Takes the first key whose deadline is not after `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.by_time.first()?.0 > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        self.let_go();
        Some(key)
    }

    /// An empty map keeps its last node, wherever that lies.
    fn let_go(&mut self) {
        if self.by_key.is_empty() {
            (self.by_time, self.by_key) = (BTreeSet::new(), BTreeMap::new());
        }
    }

    /// Puts all deadlines off by the same time.
    pub fn put_off(&mut self, by: Duration) {
        let later = std::mem::take(&mut self.by_time).into_iter().map(|(at, key)| (at + by, key));
        self.by_time = later.collect();
        for at in self.by_key.values_mut() {
            *at += by;
        }
    }

    /// How many keys have a deadline.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no key has one.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
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
