//! Whose datagram is it, and how do our sockets look from outside?

use std::net::SocketAddr;
use std::time::Instant;

use super::{MAPPING_FRESH, Peers, PeersEffect, Remote, SHORTEST_SLEEP, Timer, detail};
use crate::agent::AgentNotice;
use crate::agent::stun::{Gathering, StunEffect};
use crate::agent::turn::TurnEffect;
use crate::limits;
use crate::peer::PeerState;
use crate::signal::Name;
use crate::turn::TurnServer;

impl Peers {
    /// Whose datagram is this? STUN names its connection inside, so that two connections over one pair of addresses
    /// are told apart; for the rest the pair that STUN went over decides.
    pub(super) fn route(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) -> Option<Name> {
        let accepts = |of: &Remote| of.peer.accepts(now, local, remote, bytes);
        let is_stun = bytes.first().is_some_and(|first| *first < 4); // RFC 7983
        if let Some(name) = self.routes.get(&(local, remote))
            && self.remotes.get(name).is_some_and(|of| !is_stun || accepts(of))
        {
            return Some(name.clone());
        }
        let name = self.remotes.iter().find(|(_, of)| accepts(of)).map(|(name, _)| name.clone())?;
        if self.routes.len() >= limits::ROUTES {
            self.routes.clear();
        }
        self.routes.insert((local, remote), name.clone());
        Some(name)
    }

    /// Gives a datagram to the connection that it belongs to, if there is one.
    pub(super) fn deliver(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        if let Some(name) = self.route(now, local, remote, bytes) {
            self.with(now, &name, |peer, effects| peer.receive_datagram(now, local, remote, bytes, effects));
        }
    }

    /// Sends what a connection wants sent: from one of our sockets, or from an address on a relay.
    pub(super) fn transmit(
        &mut self,
        now: Instant,
        name: &Name,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: Vec<u8>,
        out: &mut Vec<PeersEffect>,
    ) {
        if self.settings.hosts.contains(&local) {
            return out.push(PeersEffect::Datagram { local, remote, bytes });
        }
        let Some(of) = self.remotes.get_mut(name) else { return };
        if of.permitted.len() < limits::RELAY_PERMISSIONS {
            of.permitted.insert(remote.ip());
        }
        if of.permitted.contains(&remote.ip()) {
            let mut effects = Vec::new();
            self.relays.send(now, local, remote, &bytes, &mut effects);
            self.relayed(now, effects, out);
        }
    }

    /// Uses these TURN servers from now on, also for connections that are being made.
    pub(in crate::agent) fn use_turn(&mut self, now: Instant, servers: Vec<TurnServer>, out: &mut Vec<PeersEffect>) {
        self.relays.use_servers(servers);
        if self.remotes.values().any(|remote| remote.state == PeerState::Connecting) {
            let mut effects = Vec::new();
            self.relays.allocate(now, &self.settings.hosts, &mut effects);
            self.relayed(now, effects, out);
        }
        self.settle(now, out);
    }

    /// TURN servers will come by [`Peers::use_turn`].
    pub(in crate::agent) fn await_turn(&mut self) {
        self.relays.await_servers();
    }

    /// Gives a connection its server-reflexive and relayed candidates, as they come.
    pub(super) fn gather(&mut self, now: Instant, name: &Name, out: &mut Vec<PeersEffect>) {
        let Some(remote) = self.remotes.get_mut(name) else { return };
        remote.gathering = true;
        if !self.settings.relay_only {
            self.gather_reflexive(now, name, out);
        } else if !self.relays.has_servers() {
            let why = "only relayed paths are allowed, but there is no TURN server; name one, or allow others";
            out.push(PeersEffect::Notice(AgentNotice::Warning(why.to_owned())));
        }
        self.gather_relayed(now, name, out);
    }

    /// Gives a connection its server-reflexive candidates, asking for them if the last answers are too old.
    fn gather_reflexive(&mut self, now: Instant, name: &Name, out: &mut Vec<PeersEffect>) {
        let fresh = self.gathered.is_some_and(|at| now.saturating_duration_since(at) < MAPPING_FRESH);
        if fresh || self.gathering.is_running() {
            for (mapped, base) in self.mapped.clone() {
                self.with(now, name, |peer, effects| peer.add_reflexive(now, mapped, base, effects));
            }
            return;
        }
        self.mapped.clear();
        self.gathered = Some(now);
        let mut effects = Vec::new();
        let (hosts, servers) = (&self.settings.hosts, &self.settings.stun);
        self.gathering = Gathering::start(now, hosts, servers, &mut self.secrets, &mut effects);
        self.gathering.timeout(now, &mut effects);
        // The end is told once the relays are asked too.
        effects.retain(|effect| *effect != StunEffect::Done);
        self.gathered(now, effects, out);
    }

    /// Gives a connection its relayed candidates, allocating what is not allocated.
    fn gather_relayed(&mut self, now: Instant, name: &Name, out: &mut Vec<PeersEffect>) {
        for (relay, local) in self.relays.addresses().collect::<Vec<_>>() {
            self.with(now, name, |peer, effects| peer.add_relayed(now, relay, local, effects));
        }
        let mut effects = Vec::new();
        self.relays.allocate(now, &self.settings.hosts, &mut effects);
        self.relayed(now, effects, out);
    }

    fn waiting(&self) -> Vec<Name> {
        self.remotes.iter().filter(|(_, remote)| remote.gathering).map(|(name, _)| name.clone()).collect()
    }

    /// No candidate will follow once neither a STUN nor a TURN server owes an answer.
    fn end_gathering(&mut self, now: Instant) {
        if self.gathering.is_running() || self.relays.is_allocating() {
            return;
        }
        for name in self.waiting() {
            self.with(now, &name, |peer, effects| peer.end_of_candidates(now, effects));
        }
        self.remotes.values_mut().for_each(|remote| remote.gathering = false);
    }

    pub(super) fn gathered(&mut self, now: Instant, effects: Vec<StunEffect>, out: &mut Vec<PeersEffect>) {
        for effect in effects {
            match effect {
                StunEffect::Transmit { local, remote, bytes } => {
                    out.push(PeersEffect::Datagram { local, remote, bytes });
                }
                StunEffect::Mapped { mapped, base } => {
                    if self.mapped.insert((mapped, base)) {
                        detail(out, format!("{base} looks like {mapped} from outside"));
                        for name in self.waiting() {
                            self.with(now, &name, |peer, effects| peer.add_reflexive(now, mapped, base, effects));
                        }
                    }
                }
                StunEffect::Failed(why) => detail(out, why),
                StunEffect::Done => self.end_gathering(now),
            }
        }
        match self.gathering.next_timeout() {
            Some(at) => self.timers.set(Timer::Stun, at.max(now + SHORTEST_SLEEP)),
            None => self.timers.clear(&Timer::Stun),
        }
    }

    /// Does what the relays want done, and gives what they found to every connection.
    pub(super) fn relayed(&mut self, now: Instant, effects: Vec<TurnEffect>, out: &mut Vec<PeersEffect>) {
        for effect in effects {
            match effect {
                TurnEffect::Transmit { local, remote, bytes } => {
                    out.push(PeersEffect::Datagram { local, remote, bytes });
                }
                TurnEffect::Relayed { relay, local } => {
                    detail(out, format!("{local} has the relay address {relay}"));
                    for name in self.names() {
                        self.with(now, &name, |peer, effects| peer.add_relayed(now, relay, local, effects));
                    }
                }
                TurnEffect::Failed(why) => out.push(PeersEffect::Notice(AgentNotice::Warning(why))),
                TurnEffect::Denied(why) => detail(out, why),
                TurnEffect::Done => self.end_gathering(now),
            }
        }
        match self.relays.next_timeout() {
            Some(at) => self.timers.set(Timer::Turn, at.max(now + SHORTEST_SLEEP)),
            None => self.timers.clear(&Timer::Turn),
        }
    }

    /// A connection lost its path. If that went over a relay of ours, and nobody else's does, the relay is suspect too.
    pub(super) fn doubt_relay(&mut self, now: Instant, name: &Name, out: &mut Vec<PeersEffect>) {
        let relay_of = |remote: &Remote| {
            let stats = remote.peer.stats();
            stats.path.map(|(local, _)| local).filter(|_| stats.relayed)
        };
        let Some(relay) = self.remotes.get(name).and_then(relay_of) else { return };
        let mut others = self.remotes.iter().filter(|(other, remote)| {
            *other != name && remote.state == PeerState::Connected && relay_of(remote) == Some(relay)
        });
        if others.next().is_none() {
            let mut effects = Vec::new();
            self.relays.renew(now, relay, &mut effects);
            self.relayed(now, effects, out);
        }
    }

    /// Without a connection no relay is needed.
    pub(super) fn release_relays(&mut self, now: Instant, out: &mut Vec<PeersEffect>) {
        let mut effects = Vec::new();
        self.relays.release(now, &mut effects);
        self.relayed(now, effects, out);
    }
}
