//! Room-mates: with whom there has to be a connection, and when it is over.

use std::time::Instant;

use super::{Peers, PeersEffect, Remote, detail};
use crate::limits;
use crate::peer::PeerState;
use crate::signal::Name;

impl Peers {
    /// Offers to everybody with whom there is no connection. One that they began and that never stood may be given up
    /// on their side by now, so that it counts as none.
    pub(in crate::agent) fn meet(&mut self, now: Instant, mates: &[Name], out: &mut Vec<PeersEffect>) {
        for name in mates {
            if self.me.as_ref() == Some(name) {
                continue;
            }
            let is_stale = |remote: &Remote| remote.closing || (!remote.ours && remote.state == PeerState::Connecting);
            if self.remotes.get(name).is_some_and(is_stale) {
                self.close_one(now, name);
                self.settle(now, out);
                self.forget(now, name, out);
            }
            if self.remotes.contains_key(name) {
                self.came(name);
            } else if self.create(now, name, true, out) {
                let spec = self.settings.channel.clone();
                self.add_channel(now, name, spec);
            } else {
                let (id, most) = (name.as_str(), limits::PEERS);
                detail(out, format!("no offer to {id}: there are {most} connections"));
            }
        }
        self.settle(now, out);
    }

    /// Somebody is reachable.
    pub(in crate::agent) fn came(&mut self, name: &Name) {
        if let Some(remote) = self.remotes.get_mut(name) {
            remote.gone = false;
        }
    }

    /// Somebody left, on purpose or because the server lost them. A connection that stands is theirs to close, and
    /// needs no server. One that the answer to our offer is missing for will not come about any more: whoever enters
    /// a room again offers again.
    pub(in crate::agent) fn gone(&mut self, now: Instant, name: &Name, on_purpose: bool, out: &mut Vec<PeersEffect>) {
        let Some(remote) = self.remotes.get_mut(name) else { return };
        remote.gone = true;
        let is_over = match remote.state {
            PeerState::Connected => false,
            PeerState::Connecting => on_purpose || !remote.unanswered.is_empty(),
            PeerState::Disconnected | PeerState::Closed => true,
        };
        if is_over {
            self.close_one(now, name);
        }
        self.settle(now, out);
    }
}
