//! Room-mates: with whom there has to be a connection, and when it is over.

use std::time::{Duration, Instant};

use super::{Peers, PeersEffect, Remote, Timer, detail};
use crate::limits;
use crate::peer::PeerState;
use crate::signal::Name;

/// Before a room mate to whom there was no path is tried again: doubles from the first to the last, and is up to half
/// as long, by chance. An attempt itself takes half a minute.
const FIRST_RETRY: Duration = Duration::from_secs(4);
const LAST_RETRY: Duration = Duration::from_secs(60);

impl Peers {
    /// Offers to everybody with whom there is no connection, unless a command closed it. One that
    /// never stood counts as none if they began it or left since then: it may be given up on their side by now.
    pub(in crate::agent) fn meet(&mut self, now: Instant, mates: &[Name], out: &mut Vec<PeersEffect>) {
        for name in mates {
            if self.me.as_ref() == Some(name) || self.shut.contains_key(name) {
                continue;
            }
            let is_stale = |remote: &Remote| {
                remote.closing || (remote.state == PeerState::Connecting && (!remote.ours || remote.gone))
            };
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

    /// A connection with a room mate failed. As long as they share a room one of the two tries again: the one whose offer
    /// counts in glare, or if they may not know of the failure, we.
    pub(in crate::agent) fn missed(&mut self, now: Instant, name: &Name, is_ours: bool) {
        let offers = is_ours || self.me.as_ref().is_some_and(|me| me > name);
        if !offers || self.shut.contains_key(name) {
            return;
        }
        let attempts = self.apart.entry(name.clone()).or_default();
        let wait = (FIRST_RETRY * (1 << (*attempts).min(8))).min(LAST_RETRY);
        *attempts = attempts.saturating_add(1);
        let jitter = wait * (self.secrets.number() % 512) as u32 / 1024;
        self.timers.set(Timer::Mate(name.clone()), now + wait + jitter);
    }

    /// It is time to try again.
    pub(super) fn try_mate(&mut self, now: Instant, name: &Name, out: &mut Vec<PeersEffect>) {
        if !self.remotes.contains_key(name) {
            self.meet(now, std::slice::from_ref(name), out);
        }
        if !self.remotes.contains_key(name) {
            self.missed(now, name, true);
        }
    }

    /// A connection stands. If a command closed the one before and they could not hear our goodbye, they hear it now.
    pub(super) fn met(&mut self, now: Instant, name: &Name) {
        self.apart.remove(name);
        if let Some(heard) = self.shut.get_mut(name) {
            *heard = true;
            self.close_one(now, name);
        }
    }

    /// A command closes the connection with a room mate: nobody meets them until a command wants that, or they offer
    /// although they heard our goodbye.
    pub(in crate::agent) fn shut(&mut self, now: Instant, name: Name, out: &mut Vec<PeersEffect>) {
        let heard = self.remotes.get(&name).is_some_and(|remote| remote.state == PeerState::Connected);
        let was_apart = self.apart.remove(&name).is_some();
        self.timers.clear(&Timer::Mate(name.clone()));
        let is_known = self.remotes.contains_key(&name);
        if is_known || was_apart {
            self.shut.insert(name.clone(), heard);
        }
        if is_known || !was_apart {
            self.close(now, name, out);
        }
    }

    /// A command wants connections with these again.
    pub(in crate::agent) fn reopen(&mut self, mates: &[Name]) {
        self.shut.retain(|name, _| !mates.contains(name));
    }

    /// Somebody shares no room with us any more.
    pub(in crate::agent) fn part(&mut self, name: &Name) {
        self.apart.remove(name);
        self.shut.remove(name);
        self.timers.clear(&Timer::Mate(name.clone()));
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
        self.part(name);
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
