//! One connection: from its creation over what it wants and tells to its end.

use std::collections::BTreeSet;
use std::time::Instant;

use super::tracks::Tracks;
use super::{Peers, PeersEffect, Remote, SHORTEST_SLEEP, Timer, detail, fail, lost_messages};
use crate::agent::AgentNotice;
use crate::agent::channels::Channels;
use crate::limits;
use crate::media::Kind;
use crate::peer::{ChannelKey, ChannelSpec, Peer, PeerConfig, PeerEffect, PeerFault, PeerState, SendError};
use crate::signal::Name;

impl Peers {
    pub(super) fn names(&self) -> Vec<Name> {
        self.remotes.keys().cloned().collect()
    }

    /// Those that a command names; if there are none, that is told.
    pub(super) fn targets(&self, to: Option<Name>, out: &mut Vec<PeersEffect>) -> Vec<Name> {
        match to {
            Some(name) if self.remotes.contains_key(&name) => vec![name],
            Some(name) => {
                let id = name.as_str();
                fail(out, format!("there is no connection with {id}; peers lists them, offer {id} makes one"));
                Vec::new()
            }
            None if self.remotes.is_empty() => {
                fail(out, "there is no connection yet; offer to somebody, or wait for an offer".to_owned());
                Vec::new()
            }
            None => self.names(),
        }
    }

    /// Does something with a connection; what it wants goes to the work queue. Every way to a [`Peer`] is through here.
    pub(super) fn with<R>(
        &mut self,
        now: Instant,
        name: &Name,
        act: impl FnOnce(&mut Peer, &mut Vec<PeerEffect>) -> R,
    ) -> Option<R> {
        let remote = self.remotes.get_mut(name)?;
        let mut effects = Vec::new();
        let result = act(&mut remote.peer, &mut effects);
        self.work.extend(effects.into_iter().map(|effect| (name.clone(), effect)));
        match remote.peer.next_timeout() {
            Some(at) => self.timers.set(Timer::Connection(name.clone()), at.max(now + SHORTEST_SLEEP)),
            None => self.timers.clear(&Timer::Connection(name.clone())),
        }
        Some(result)
    }

    pub(super) fn create(&mut self, now: Instant, name: &Name, ours: bool, out: &mut Vec<PeersEffect>) -> bool {
        if self.remotes.len() >= limits::PEERS {
            return false;
        }
        let remote = Remote {
            peer: self.new_peer(now, name),
            state: PeerState::Connecting,
            channels: Channels::default(),
            tracks: Tracks::default(),
            ours,
            unanswered: Vec::new(),
            absent: false,
            absence_told: false,
            gathering: false,
            permitted: BTreeSet::new(),
            interrupted: false,
            restarted: None,
            closing: false,
            gone: false,
            renew: None,
            again: false,
        };
        self.remotes.insert(name.clone(), remote);
        self.timers.clear(&Timer::Mate(name.clone()));
        let connecting = AgentNotice::Peer { id: name.clone(), state: PeerState::Connecting };
        out.push(PeersEffect::Notice(connecting));
        self.add_tracks(now, name);
        self.gather(now, name, out);
        true
    }

    pub(super) fn new_peer(&self, now: Instant, name: &Name) -> Peer {
        let polite = self.me.as_ref().is_some_and(|me| me < name);
        let (hosts, channel_buffer_bytes) = (self.settings.candidates(), self.settings.channel_buffer_bytes);
        let crypto = self.settings.crypto.clone();
        let estimate_bandwidth = self.published.contains(&Kind::Video);
        Peer::new(now, PeerConfig { polite, hosts, channel_buffer_bytes, crypto, estimate_bandwidth })
    }

    pub(super) fn add_channel(&mut self, now: Instant, name: &Name, spec: ChannelSpec) {
        let key = self.with(now, name, |peer, effects| peer.open_channel(now, spec.clone(), effects));
        if let (Some(remote), Some(key)) = (self.remotes.get_mut(name), key) {
            remote.channels.add(key, spec);
        }
    }

    pub(super) fn close_one(&mut self, now: Instant, name: &Name) {
        if let Some(remote) = self.remotes.get_mut(name) {
            remote.closing = true;
            remote.unanswered.clear();
        }
        self.timers.clear(&Timer::Offer(name.clone()));
        self.with(now, name, |peer, effects| peer.close(now, effects));
    }

    /// Makes sure that there is a connection for a remote's offer; `false` if there are too many.
    pub(super) fn prepare_for_offer(
        &mut self,
        now: Instant,
        from: &Name,
        sdp: &str,
        out: &mut Vec<PeersEffect>,
    ) -> bool {
        if let Some(remote) = self.remotes.get(from) {
            if remote.closing || remote.peer.is_foreign(sdp) {
                // The program behind this id was started anew, and its old connection is dead.
                self.close_one(now, from);
                self.settle(now, out);
                self.forget(now, from, out);
            } else if remote.absent && self.me.as_ref().is_some_and(|me| me > from) {
                // They are there now but never got our offer, which is the one that counts.
                self.offer_again(now, from, out);
            }
        }
        if self.shut.get(from) == Some(&true) {
            self.shut.remove(from);
        }
        self.remotes.contains_key(from) || self.create(now, from, false, out)
    }

    /// They answered with another connection than the one that we have: they had given that one up, and so must we.
    pub(super) fn begin_anew(&mut self, now: Instant, name: &Name, out: &mut Vec<PeersEffect>) {
        self.close_one(now, name);
        self.settle(now, out);
        self.forget(now, name, out);
        self.meet(now, std::slice::from_ref(name), out);
    }

    /// Says the unanswered offer again, and what followed it.
    pub(super) fn offer_again(&mut self, now: Instant, name: &Name, out: &mut Vec<PeersEffect>) {
        let Some(remote) = self.remotes.get_mut(name) else { return };
        if !self.up || remote.unanswered.is_empty() {
            return;
        }
        remote.absent = false;
        let again = remote.unanswered.iter().cloned();
        out.extend(again.map(|signal| PeersEffect::Deliver { to: name.clone(), signal }));
        self.timers.set(Timer::Offer(name.clone()), now + self.settings.patience());
    }

    /// Sends what waits on a channel, as far as it takes it.
    pub(super) fn flush(&mut self, now: Instant, name: &Name, key: ChannelKey, out: &mut Vec<PeersEffect>) {
        loop {
            let Some(channel) = self.remotes.get_mut(name).and_then(|remote| remote.channels.get_mut(key)) else {
                return;
            };
            if !channel.open {
                return;
            }
            let Some(payload) = channel.queue.pop_front() else { return };
            let label = channel.spec.label.clone();
            let id = name.as_str();
            match self.with(now, name, |peer, effects| peer.send(now, key, &payload, effects)) {
                Some(Ok(())) => {
                    out.push(PeersEffect::Notice(AgentNotice::Sent { id: name.clone(), label, payload }));
                }
                Some(Err(SendError::Full | SendError::NotOpen)) | None => {
                    if let Some(channel) = self.remotes.get_mut(name).and_then(|remote| remote.channels.get_mut(key)) {
                        channel.queue.push_front(payload);
                    }
                    return;
                }
                Some(Err(SendError::TooLong)) => {
                    let bytes = payload.length();
                    fail(out, format!("{bytes} bytes are too long for a message to {id}; send it in parts"));
                }
                Some(Err(SendError::Empty)) => {
                    fail(out, "an empty message cannot be sent; write at least one character".to_owned());
                }
            }
        }
    }

    /// Works off what connections want, and what that makes them want.
    pub(super) fn settle(&mut self, now: Instant, out: &mut Vec<PeersEffect>) {
        while let Some((name, effect)) = self.work.pop_front() {
            match effect {
                PeerEffect::Transmit { local, remote, bytes } => self.transmit(now, &name, local, remote, bytes, out),
                PeerEffect::Signal(signal) => self.signal(now, name, signal, out),
                PeerEffect::Skipped(what) => detail(out, format!("{}: {what}", name.as_str())),
                effect => self.tell(now, &name, effect, out),
            }
        }
    }

    /// What the embedding program is told of.
    pub(super) fn tell(&mut self, now: Instant, name: &Name, effect: PeerEffect, out: &mut Vec<PeersEffect>) {
        let Some(remote) = self.remotes.get_mut(name) else { return };
        let id = name.clone();
        let notice = match effect {
            PeerEffect::State(PeerState::Closed) if remote.again && !remote.closing => {
                return self.start_over(now, name, out);
            }
            PeerEffect::State(PeerState::Closed) => return self.forget(now, name, out),
            PeerEffect::State(state) => {
                remote.state = state;
                let connected = state == PeerState::Connected;
                remote.absence_told |= connected;
                match (state, remote.gone) {
                    (PeerState::Connected, _) => self.met(now, name),
                    (PeerState::Disconnected, true) => self.close_one(now, name),
                    (PeerState::Disconnected, false) => self.doubt_relay(now, name, out),
                    _ => {}
                }
                self.listeners_changed(name, out);
                AgentNotice::Peer { id, state }
            }
            PeerEffect::Failed(PeerFault::NoPath) if !remote.unanswered.is_empty() => {
                remote.again = true;
                return;
            }
            PeerEffect::Failed(fault) => AgentNotice::PeerFailed { id, fault },
            PeerEffect::ChannelOpened { channel, spec } => {
                remote.channels.opened(channel, &spec);
                out.push(PeersEffect::Notice(AgentNotice::ChannelOpened { id, spec }));
                return self.flush(now, name, channel, out);
            }
            PeerEffect::Writable { channel } => return self.flush(now, name, channel, out),
            PeerEffect::Message { channel, payload } => {
                let Some(channel) = remote.channels.get_mut(channel) else { return };
                AgentNotice::Message { id, label: channel.spec.label.clone(), payload }
            }
            // It is opened anew, and what waits on it goes on waiting. But what was accepted may be lost.
            PeerEffect::ChannelClosed { channel } if remote.again => {
                let Some(channel) = remote.channels.get_mut(channel) else { return };
                if !std::mem::take(&mut channel.open) {
                    return;
                }
                AgentNotice::ChannelClosed { id, label: channel.spec.label.clone() }
            }
            PeerEffect::ChannelClosed { channel } => {
                let Some(channel) = remote.channels.remove(channel) else { return };
                let label = channel.spec.label;
                lost_messages(&id, channel.queue.len(), out);
                AgentNotice::ChannelClosed { id, label }
            }
            effect @ (PeerEffect::TrackReady { .. }
            | PeerEffect::TrackRefused { .. }
            | PeerEffect::TrackAdded { .. }
            | PeerEffect::TrackRemoved { .. }
            | PeerEffect::Frame { .. }
            | PeerEffect::KeyFrameWanted { .. }
            | PeerEffect::Bandwidth(_)) => {
                let effect = self.media(name, effect);
                return out.extend(effect.map(|effect| PeersEffect::Media { from: id, effect }));
            }
            PeerEffect::Transmit { .. } | PeerEffect::Signal(_) | PeerEffect::Skipped(_) => return,
        };
        out.push(PeersEffect::Notice(notice));
    }

    /// Nobody answered while the connection had patience: another one, with the same channels and what waits on them.
    pub(super) fn start_over(&mut self, now: Instant, name: &Name, out: &mut Vec<PeersEffect>) {
        let peer = self.new_peer(now, name);
        let Some(remote) = self.remotes.get_mut(name) else { return };
        remote.peer = peer;
        if remote.state != PeerState::Connecting {
            let connecting = AgentNotice::Peer { id: name.clone(), state: PeerState::Connecting };
            out.push(PeersEffect::Notice(connecting));
        }
        (remote.state, remote.again) = (PeerState::Connecting, false);
        remote.unanswered.clear();
        let before = std::mem::take(&mut remote.channels).into_all();
        self.add_tracks(now, name);
        self.gather(now, name, out);
        for channel in before {
            self.add_channel(now, name, channel.spec.clone());
            let again = self.remotes.get_mut(name).and_then(|remote| remote.channels.find(Some(&channel.spec.label)));
            if let Some(again) = again {
                again.queue = channel.queue;
            }
        }
    }

    pub(super) fn forget(&mut self, now: Instant, name: &Name, out: &mut Vec<PeersEffect>) {
        let Some(mut remote) = self.remotes.remove(name) else { return };
        self.timers.clear(&Timer::Connection(name.clone()));
        self.timers.clear(&Timer::Offer(name.clone()));
        self.routes.retain(|_, of| of != name);
        self.held.retain(|(to, _)| to != name);
        lost_messages(name, remote.channels.waiting(), out);
        for channel in std::mem::take(&mut remote.channels).into_all().into_iter().filter(|channel| channel.open) {
            let closed = AgentNotice::ChannelClosed { id: name.clone(), label: channel.spec.label };
            out.push(PeersEffect::Notice(closed));
        }
        self.listeners_changed(name, out);
        out.push(PeersEffect::Notice(AgentNotice::Peer { id: name.clone(), state: PeerState::Closed }));
        if self.remotes.is_empty() {
            self.release_relays(now, out);
        }
        if remote.renew.is_some_and(|until| now <= until) && !remote.closing {
            self.missed(now, name, true);
        }
    }
}
