//! Generational slots: keys that are never mistaken for a later tenant of the same slot.

use std::fmt;
use std::marker::PhantomData;

/// Slots that need no more memory than an arena has from the start. What is not touched costs nothing; what is asked for
/// later would lie above what clients bring, and pin it.
const ROOM: usize = 32 * 1024;

/// Slots that are worth giving back when the last value has gone.
const MANY: usize = 1024;

/// A key into an [`Arena`] of `T`. A key whose value was removed finds nothing, also when the slot is taken again.
pub struct Key<T> {
    slot: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

/// A bounded collection that gives out keys.
#[derive(Debug)]
pub struct Arena<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    /// The generation that new slots begin with: later than all of slots that were given back.
    first: u32,
    len: usize,
    limit: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    /// Boxed: a slot is given back only when all are free, so it has to be small when it is.
    value: Option<Box<T>>,
}

impl<T> Arena<T> {
    /// An arena of at most `limit` values.
    pub fn with_limit(limit: usize) -> Self {
        let room = limit.min(ROOM);
        let (slots, free) = (Vec::with_capacity(room), Vec::with_capacity(room));
        Arena { slots, free, first: 0, len: 0, limit: limit.min(u32::MAX as usize) }
    }

    /// Adds a value, or gives it back if the arena is full.
    pub fn insert(&mut self, value: T) -> Result<Key<T>, T> {
        if self.len() >= self.limit {
            return Err(value);
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { generation: self.first, value: None });
                (self.slots.len() - 1) as u32
            }
        };
        let entry = &mut self.slots[slot as usize];
        entry.value = Some(Box::new(value));
        self.len += 1;
        Ok(Key { slot, generation: entry.generation, of: PhantomData })
    }

    /// Removes a value. A slot whose generations are used up is retired.
    pub fn remove(&mut self, key: Key<T>) -> Option<T> {
        let entry = self.slots.get_mut(key.slot as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        let value = entry.value.take()?;
        self.len -= 1;
        if let Some(next) = entry.generation.checked_add(1) {
            entry.generation = next;
            self.free.push(key.slot);
        }
        if self.is_empty() && self.slots.len() > MANY {
            self.give_back();
        }
        Some(*value)
    }

    /// Gives all slots back, which are free, unless generations are used up: then keys would be given twice.
    fn give_back(&mut self) {
        let last = self.slots.iter().map(|slot| slot.generation).max();
        if let Some(first) = last.and_then(|last| last.checked_add(1)) {
            self.first = first;
            // Without room: what an allocator gives for it now are pages that were used, and count.
            (self.slots, self.free) = (Vec::new(), Vec::new());
        }
    }

    /// The value, if it is still there.
    pub fn get(&self, key: Key<T>) -> Option<&T> {
        let entry = self.slots.get(key.slot as usize)?;
        entry.value.as_deref().filter(|_| entry.generation == key.generation)
    }

    /// The value, if it is still there.
    pub fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        let entry = self.slots.get_mut(key.slot as usize)?;
        entry.value.as_deref_mut().filter(|_| entry.generation == key.generation)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All values with their keys, in order of slots.
    pub fn iter(&self) -> impl Iterator<Item = (Key<T>, &T)> {
        self.slots.iter().enumerate().filter_map(|(slot, entry)| {
            let value = entry.value.as_deref()?;
            Some((Key { slot: slot as u32, generation: entry.generation, of: PhantomData }, value))
        })
    }

    /// All values with their keys, in order of slots.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key<T>, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, entry)| {
            let generation = entry.generation;
            let value = entry.value.as_deref_mut()?;
            Some((Key { slot: slot as u32, generation, of: PhantomData }, value))
        })
    }
}

// Derives would ask for `T: Clone` and so on, which a key does not need.
impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Key<T> {}
impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.slot, self.generation) == (other.slot, other.generation)
    }
}
impl<T> Eq for Key<T> {}
impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.slot, self.generation).cmp(&(other.slot, other.generation))
    }
}
impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.slot, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_crowd_that_left_takes_its_slots_along_but_not_their_keys() {
        let mut arena = Arena::with_limit(10_000);
        let crowd = |arena: &mut Arena<usize>| -> Vec<Key<usize>> {
            (0..2 * MANY).map(|value| arena.insert(value).expect("there is room")).collect()
        };
        let first = crowd(&mut arena);
        assert!(first.iter().enumerate().all(|(value, key)| arena.remove(*key) == Some(value)));
        assert!(arena.slots.is_empty() && arena.free.is_empty());
        let second = crowd(&mut arena);
        assert!(first.iter().all(|key| arena.get(*key).is_none() && !second.contains(key)));
        assert!(second.iter().enumerate().all(|(value, key)| arena.get(*key) == Some(&value)));
    }

    /// Every sequence of six steps of "insert" and "remove the n-th key ever given" against a map.
    #[test]
    fn agrees_with_a_map_on_all_short_sequences() {
        const STEPS: u32 = 6;
        const CHOICES: u32 = 5; // 0: insert; n: remove the (n-1)-th key given so far
        for sequence in 0..CHOICES.pow(STEPS) {
            let mut arena = Arena::with_limit(3);
            let mut model = BTreeMap::new();
            let mut keys = Vec::new();
            for step in 0..STEPS {
                match sequence / CHOICES.pow(step) % CHOICES {
                    0 => match arena.insert(step) {
                        Ok(key) => {
                            assert!(model.len() < 3 && !keys.contains(&key), "a key is never given twice");
                            model.insert(key, step);
                            keys.push(key);
                        }
                        Err(back) => assert_eq!((back, model.len()), (step, 3)),
                    },
                    n => {
                        if let Some(&key) = keys.get(n as usize - 1) {
                            assert_eq!(arena.remove(key), model.remove(&key));
                        }
                    }
                }
                assert_eq!(arena.len(), model.len());
                for key in &keys {
                    assert_eq!(arena.get(*key), model.get(key));
                }
            }
        }
    }
}
