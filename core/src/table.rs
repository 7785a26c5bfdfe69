//! What is kept of each connection, found by its id in a step or two however many there are.

#![allow(clippy::disallowed_types, reason = "the hash is fixed, so the order repeats; and no caller depends on it")]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::machine::ConnId;

/// Places in a table that is worth making anew when its last connection has gone.
const MANY: usize = 1024;

/// A table of connections.
#[derive(Debug)]
pub struct Table<T> {
    /// Boxed: a table that grows moves what it holds.
    by_id: HashMap<ConnId, Box<T>, BuildHasherDefault<IdHasher>>,
}

/// One multiplication (by 2^64 over the golden ratio). Ids are counted up, so nobody can choose some that collide.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, bytes: &[u8]) {
        // An id is one u64; this is for completeness.
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { by_id: HashMap::default() }
    }
}

impl<T> Table<T> {
    /// Adds a connection, in place of one of the same id, which there should not be.
    pub fn insert(&mut self, id: ConnId, value: T) {
        self.by_id.insert(id, Box::new(value));
    }

    /// Removes a connection.
    pub fn remove(&mut self, id: ConnId) -> Option<T> {
        let removed = self.by_id.remove(&id)?;
        if self.is_empty() && self.by_id.capacity() > MANY {
            // It lies above what connections brought, and would pin that.
            self.by_id = HashMap::default();
        }
        Some(*removed)
    }

    /// What is kept of a connection, if it is there.
    pub fn get(&self, id: ConnId) -> Option<&T> {
        self.by_id.get(&id).map(|value| &**value)
    }

    /// What is kept of a connection, if it is there.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        self.by_id.get_mut(&id).map(|value| &mut **value)
    }

    /// Whether a connection is there.
    pub fn contains(&self, id: ConnId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All ids, the oldest connection first.
    pub fn ids(&self) -> Vec<ConnId> {
        let mut ids: Vec<ConnId> = self.by_id.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// All that is kept, in no order to rely on.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.by_id.values().map(|value| &**value)
    }

    /// All that is kept, in no order to rely on.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.by_id.values_mut().map(|value| &mut **value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_to_go_takes_the_memory_of_a_crowd_along() {
        let mut table = Table::default();
        for id in 0..5000 {
            table.insert(ConnId(id), id);
        }
        assert!((0..5000).all(|id| table.get(ConnId(id)) == Some(&id)));
        assert_eq!(table.ids().last(), Some(&ConnId(4999)));
        assert!((0..5000).rev().all(|id| table.remove(ConnId(id)) == Some(id)));
        assert_eq!((table.remove(ConnId(0)), table.len(), table.by_id.capacity()), (None, 0, 0));
    }

    #[test]
    fn sessions_and_connections_of_one_number_are_two() {
        let mut table = Table::default();
        table.insert(ConnId(1), "connection");
        table.insert(ConnId::session(1), "session");
        assert_eq!((table.get(ConnId(1)), table.get(ConnId::session(1))), (Some(&"connection"), Some(&"session")));
        assert_eq!(table.ids(), [ConnId(1), ConnId::session(1)]);
    }
}
