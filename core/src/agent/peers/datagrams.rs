//! Whose datagram is it, and how do our sockets look from outside?

use std::net::SocketAddr;
use std::time::Instant;

use super::{MAPPING_FRESH, Peers, PeersEffect, Remote, SHORTEST_SLEEP, Timer, detail};
use crate::agent::stun::{Gathering, StunEffect};
use crate::limits;
use crate::signal::Name;

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

    /// Gives a connection its server-reflexive candidates, asking for them if the last answers are too old.
    pub(super) fn gather(&mut self, now: Instant, name: &Name, out: &mut Vec<PeersEffect>) {
        let Some(remote) = self.remotes.get_mut(name) else { return };
        remote.gathering = true;
        let fresh = self.gathered.is_some_and(|at| now.saturating_duration_since(at) < MAPPING_FRESH);
        if !fresh && !self.gathering.is_running() {
            self.mapped.clear();
            self.gathered = Some(now);
            let mut effects = Vec::new();
            let (hosts, servers) = (&self.settings.hosts, &self.settings.stun);
            self.gathering = Gathering::start(now, hosts, servers, &mut self.secrets, &mut effects);
            self.gathering.timeout(now, &mut effects);
            return self.gathered(now, effects, out);
        }
        for (mapped, base) in self.mapped.clone() {
            self.with(now, name, |peer, effects| peer.add_reflexive(now, mapped, base, effects));
        }
        if !self.gathering.is_running() {
            self.gathered(now, vec![StunEffect::Done], out);
        }
    }

    pub(super) fn gathered(&mut self, now: Instant, effects: Vec<StunEffect>, out: &mut Vec<PeersEffect>) {
        let waiting: Vec<Name> =
            self.remotes.iter().filter(|(_, remote)| remote.gathering).map(|(name, _)| name.clone()).collect();
        for effect in effects {
            match effect {
                StunEffect::Transmit { local, remote, bytes } => {
                    out.push(PeersEffect::Datagram { local, remote, bytes });
                }
                StunEffect::Mapped { mapped, base } => {
                    if self.mapped.insert((mapped, base)) {
                        detail(out, format!("{base} looks like {mapped} from outside"));
                        for name in &waiting {
                            self.with(now, name, |peer, effects| peer.add_reflexive(now, mapped, base, effects));
                        }
                    }
                }
                StunEffect::Failed(why) => detail(out, why),
                StunEffect::Done => {
                    for name in &waiting {
                        self.with(now, name, |peer, effects| peer.end_of_candidates(now, effects));
                    }
                    self.remotes.values_mut().for_each(|remote| remote.gathering = false);
                }
            }
        }
        match self.gathering.next_timeout() {
            Some(at) => self.timers.set(Timer::Stun, at.max(now + SHORTEST_SLEEP)),
            None => self.timers.clear(&Timer::Stun),
        }
    }
}
