//! One room: its members and the number of its last event.

use std::collections::BTreeMap;

use super::ClientId;
use crate::signal::{Name, Place};

#[derive(Debug)]
pub(super) struct Room {
    pub(super) members: BTreeMap<Name, ClientId>,
    pub(super) place: Place,
}

impl Room {
    pub(super) fn new(epoch: u64) -> Self {
        Room { members: BTreeMap::new(), place: Place { epoch, seq: 0 } }
    }

    /// Adds a member. The number of that event, and whom to tell.
    pub(super) fn enter(&mut self, name: Name, client: ClientId) -> (Place, Vec<ClientId>) {
        let others = self.members.values().copied().collect();
        self.members.insert(name, client);
        (self.advance(), others)
    }

    /// Removes a member. The number of that event, and whom to tell.
    pub(super) fn exit(&mut self, name: &Name) -> (Place, Vec<ClientId>) {
        self.members.remove(name);
        (self.advance(), self.members.values().copied().collect())
    }

    fn advance(&mut self) -> Place {
        self.place.seq += 1;
        self.place
    }
}
