//! The rooms where the agent wants to be: whom to meet there, and from whom to part.

use std::time::Instant;

use crate::agent::{Agent, AgentNotice};
use crate::dialect::Rooms;
use crate::peer::PeerFault;
use crate::signal::{Command, Departure, Name, Resumed, RoomName};

/// The mark of a request to leave a room that was made before, on a connection that was lost.
pub(super) const LEAVE_AGAIN: &str = "leave-again";

impl Agent {
    /// Enters a room.
    pub(super) fn join(&mut self, now: Instant, room: RoomName) {
        self.leaving.remove(&room);
        if !self.ask(now, &Command::Join { room: room.clone(), tag: None }, "join a room") {
            return;
        }
        if self.signaling.dialect().rooms() == Rooms::One {
            self.signaling.set_room(room.clone());
            let others: Vec<RoomName> = self.rooms.keys().filter(|other| **other != room).cloned().collect();
            others.iter().for_each(|other| self.part(now, other));
        }
        // Who is in it already wants to meet those whom it lost; not every dialect's server would list them again.
        if let Some(mates) = self.rooms.entry(room).or_default() {
            let mates: Vec<Name> = mates.iter().cloned().collect();
            self.peers.reopen(&mates);
            self.peers.meet(now, &mates, &mut self.from_peers);
        }
    }

    /// Leaves a room.
    pub(super) fn leave(&mut self, now: Instant, room: RoomName) {
        let told = self.ask(now, &Command::Leave { room: room.clone(), tag: None }, "leave a room");
        // Without a server it is left by not entering it again, or once the session is resumed.
        if told || self.signaling.dialect().rooms() == Rooms::Many {
            if self.rooms.contains_key(&room) {
                self.leaving.insert(room.clone());
            }
            self.part(now, &room);
        }
    }

    /// Closes a connection.
    pub(super) fn close(&mut self, now: Instant, name: Name) {
        if self.is_mate(&name) {
            self.peers.shut(now, name, &mut self.from_peers);
        } else {
            self.peers.close(now, name, &mut self.from_peers);
        }
    }

    /// Parts from those in a room whom we meet in no other one.
    fn part(&mut self, now: Instant, room: &RoomName) {
        for name in self.rooms.remove(room).flatten().unwrap_or_default() {
            if self.is_mate(&name) {
                continue;
            }
            self.peers.part(&name);
            if self.peers.knows(&name) {
                self.peers.close(now, name, &mut self.from_peers);
            }
        }
    }

    /// Who is in a room of ours. Whoever gets a roster is the one to offer: it comes to newcomers, and to who missed
    /// something, for whom nobody else will do it.
    pub(super) fn roster(&mut self, now: Instant, room: RoomName, members: Vec<Name>) {
        if let Some(known) = self.rooms.get_mut(&room) {
            let before = known.replace(members.iter().cloned().collect());
            for gone in before.iter().flatten().filter(|name| !members.contains(name)) {
                self.gone(now, gone, Departure::Gone);
            }
            if self.quitting.is_none() {
                self.peers.meet(now, &members, &mut self.from_peers);
            }
        }
        self.notice(AgentNotice::Roster { room, members });
    }

    /// Somebody else entered a room.
    pub(super) fn joined(&mut self, room: RoomName, id: Name) {
        let known = self.rooms.get_mut(&room).and_then(Option::as_mut);
        if known.is_some_and(|known| known.insert(id.clone())) {
            self.peers.came(&id);
        }
        self.notice(AgentNotice::Presence { room, id, here: true });
    }

    /// Somebody left a room, perhaps we ourselves.
    pub(super) fn left(&mut self, now: Instant, room: RoomName, id: Name, why: Departure) {
        if self.signaling.name() == Some(&id) {
            self.leaving.remove(&room);
        }
        let known = self.rooms.get_mut(&room).and_then(Option::as_mut);
        if known.is_some_and(|known| known.remove(&id)) {
            self.gone(now, &id, why);
        }
        self.notice(AgentNotice::Presence { room, id, here: false });
    }

    /// Somebody left a room of ours, and is perhaps in another one.
    fn gone(&mut self, now: Instant, name: &Name, why: Departure) {
        if self.is_mate(name) {
            self.peers.left_one(now, name);
        } else {
            self.peers.gone(now, name, why == Departure::Left, &mut self.from_peers);
        }
    }

    /// A connection failed. With a room mate it is tried again if that can help.
    pub(super) fn failed(&mut self, now: Instant, name: &Name, fault: &PeerFault) {
        let can_help = matches!(fault, PeerFault::NoPath | PeerFault::Broken);
        if can_help && self.quitting.is_none() && self.is_mate(name) {
            self.peers.missed(now, name, *fault == PeerFault::Broken);
        }
    }

    /// Whether somebody is in a room of ours.
    pub(super) fn is_mate(&self, name: &Name) -> bool {
        self.rooms.values().flatten().any(|members| members.contains(name))
    }

    /// Asks for the rooms where we are not, as far as we know, and asks again to leave those where we may still be.
    pub(super) fn enter_rooms(&mut self, now: Instant, resumed: Resumed) {
        let leaving = std::mem::take(&mut self.leaving);
        for room in leaving.into_iter().filter(|_| resumed != Resumed::Fresh) {
            if self.ask(now, &Command::Leave { room: room.clone(), tag: Some(LEAVE_AGAIN.into()) }, "leave a room") {
                self.leaving.insert(room);
            }
        }
        for room in self.rooms.keys().cloned().collect::<Vec<_>>() {
            let is_there = resumed != Resumed::Fresh && self.rooms.get(&room).is_some_and(Option::is_some);
            if !is_there {
                self.ask(now, &Command::Join { room, tag: None }, "join a room");
            }
        }
    }
}
