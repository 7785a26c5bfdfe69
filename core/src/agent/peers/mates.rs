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

/// How long a goodbye may be on its way, or come to light because the path is silent.
const RENEW: Duration = Duration::from_secs(60);

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
            if let Some(remote) = self.remotes.get_mut(name) {
                if std::mem::take(&mut remote.gone) {
                    remote.renew = Some(now + RENEW);
                }
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

    /// Somebody left one of the rooms that we share.
    pub(in crate::agent) fn left_one(&mut self, now: Instant, name: &Name) {
        if let Some(remote) = self.remotes.get_mut(name) {
            remote.renew = Some(now + RENEW);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::peers::Settings;
    use crate::agent::turn::Relays;
    use crate::agent::{AgentNotice, PeerFault};
    use crate::clock::WallClock;
    use crate::ids::Secrets;
    use crate::peer::{ChannelSpec, Crypto};
    use crate::signal::Signal;

    fn peers(now: Instant, me: &str, number: u8) -> Peers {
        let channel =
            ChannelSpec { label: "chat".to_owned(), ordered: true, max_retransmits: None, max_lifetime: None };
        let settings = Settings {
            hosts: vec![([192, 0, 2, number], 5000).into()],
            stun: Vec::new(),
            relay_only: false,
            channel,
            channel_buffer_bytes: 1 << 16,
            crypto: Crypto::default(),
            told_of_absence: true,
            asked_to_offer: false,
        };
        let relays = Relays::new(now, WallClock::new(now, Duration::ZERO), Vec::new());
        let mut peers = Peers::new(settings, relays, Secrets::new([number; 32]));
        peers.up(now, me.into(), &mut Vec::new());
        peers
    }

    /// Works off the timeouts until there is an offer: how long that takes.
    fn next_offer(peers: &mut Peers, now: Instant) -> Option<Duration> {
        while let Some((at, _)) = peers.next_timeout() {
            let mut out = Vec::new();
            peers.timeout(at, &mut out);
            if offer(&out).is_some() {
                return Some(at - now);
            }
        }
        None
    }

    fn offer(out: &[PeersEffect]) -> Option<Signal> {
        out.iter().find_map(|effect| match effect {
            PeersEffect::Deliver { signal: signal @ Signal::Offer { .. }, .. } => Some(signal.clone()),
            _ => None,
        })
    }

    fn answer_of(peers: &mut Peers, now: Instant, from: &str, offer: Signal) -> Signal {
        let mut out = Vec::new();
        peers.receive_signal(now, from.into(), offer, &mut out);
        let answer = out.iter().find_map(|effect| match effect {
            PeersEffect::Deliver { signal: signal @ Signal::Answer { .. }, .. } => Some(signal.clone()),
            _ => None,
        });
        answer.expect("an offer is answered")
    }

    #[test]
    fn a_mate_whom_no_path_reached_is_tried_again_by_one_of_the_two() {
        let now = Instant::now();
        let (mut zoe, mut amy) = (peers(now, "zoe", 1), peers(now, "amy", 2));
        zoe.missed(now, &"amy".into(), false);
        amy.missed(now, &"zoe".into(), false);
        assert!(next_offer(&mut zoe, now).is_some_and(|wait| wait >= FIRST_RETRY && wait <= FIRST_RETRY * 3 / 2));
        assert_eq!(next_offer(&mut amy, now), None);
    }

    #[test]
    fn the_pauses_grow_up_to_a_bound() {
        let now = Instant::now();
        let mut zoe = peers(now, "zoe", 1);
        let mut waits = Vec::new();
        for _ in 0..40 {
            zoe.missed(now, &"amy".into(), false);
            waits.extend(zoe.next_timeout().map(|(at, _)| at - now));
        }
        assert!(waits[1] > waits[0] && waits[4] > waits[1], "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= LAST_RETRY * 3 / 2), "{waits:?}");
    }

    #[test]
    fn who_left_or_was_closed_by_command_is_not_tried_again() {
        let now = Instant::now();
        let name = Name::from("amy");
        let mut zoe = peers(now, "zoe", 1);
        zoe.missed(now, &name, false);
        zoe.gone(now, &name, true, &mut Vec::new());
        assert_eq!(next_offer(&mut zoe, now), None);
        zoe.missed(now, &name, false);
        zoe.shut(now, name.clone(), &mut Vec::new());
        assert_eq!(next_offer(&mut zoe, now), None);
        // Nor does the server's list of who is there reopen it, but a command does.
        let mut out = Vec::new();
        zoe.meet(now, std::slice::from_ref(&name), &mut out);
        assert_eq!(offer(&out), None);
        zoe.reopen(std::slice::from_ref(&name));
        zoe.meet(now, std::slice::from_ref(&name), &mut out);
        assert!(offer(&out).is_some());
    }

    /// Our ICE restart met a remote that had given the connection up, and took it for a first offer.
    #[test]
    fn a_foreign_answer_makes_a_new_connection() {
        let now = Instant::now();
        let (mut zoe, mut amy) = (peers(now, "zoe", 1), peers(now, "amy", 2));
        let mut out = Vec::new();
        zoe.offer(now, "amy".into(), &mut out);
        let first = answer_of(&mut amy, now, "zoe", offer(&out).expect("an offer"));
        zoe.receive_signal(now, "amy".into(), first.clone(), &mut Vec::new());
        let mut out = Vec::new();
        zoe.with(now, &"amy".into(), |peer, effects| peer.restart(now, effects));
        zoe.settle(now, &mut out);
        let mut amy = peers(now, "amy", 3);
        let foreign = answer_of(&mut amy, now, "zoe", offer(&out).expect("a restart"));
        let mut out = Vec::new();
        zoe.receive_signal(now, "amy".into(), foreign, &mut out);
        let second = answer_of(&mut amy, now, "zoe", offer(&out).expect("a new offer"));
        // An answer to what was offered long ago changes nothing.
        let mut out = Vec::new();
        zoe.receive_signal(now, "amy".into(), first, &mut out);
        zoe.receive_signal(now, "amy".into(), second, &mut out);
        let failed = |effect: &PeersEffect| {
            matches!(effect, PeersEffect::Notice(AgentNotice::PeerFailed { fault: PeerFault::Refused(_), .. }))
        };
        assert!(!out.iter().any(failed), "{out:?}");
        assert!(zoe.remotes[&"amy".into()].unanswered.is_empty());
    }
}
