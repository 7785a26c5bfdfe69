//! Signals on their way: what is said again, what waits for the server, what came too early.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Peers, PeersEffect, Timer, detail};
use crate::limits;
use crate::signal::{Name, Signal};

impl Peers {
    /// Notes what has to be said again if it is lost, and sends it or keeps it.
    pub(super) fn signal(&mut self, now: Instant, to: Name, signal: Signal, out: &mut Vec<PeersEffect>) {
        if let Some(remote) = self.remotes.get_mut(&to) {
            match signal {
                Signal::Offer { .. } => {
                    if remote.unanswered.first() != Some(&signal) {
                        remote.unanswered.clear();
                        remote.unanswered.push(signal.clone());
                    }
                    remote.absent = false;
                    self.timers.set(Timer::Offer(to.clone()), now + self.settings.patience());
                }
                Signal::Answer { .. } => {
                    remote.unanswered.clear();
                    self.timers.clear(&Timer::Offer(to.clone()));
                }
                _ if !remote.unanswered.is_empty() => remote.unanswered.push(signal.clone()),
                _ => {}
            }
        }
        if self.up {
            out.push(PeersEffect::Deliver { to, signal });
        } else {
            self.hold(to, signal, out);
        }
    }

    /// Keeps a signal for when there is a server again, unless it is kept with its offer already.
    pub(super) fn hold(&mut self, to: Name, signal: Signal, out: &mut Vec<PeersEffect>) {
        let Some(remote) = self.remotes.get_mut(&to) else { return };
        if remote.interrupted || remote.unanswered.contains(&signal) {
            return;
        }
        if self.held.len() < limits::HELD_SIGNALS {
            self.held.push_back((to, signal));
            return;
        }
        remote.interrupted = true;
        self.held.retain(|(other, _)| *other != to);
        detail(out, format!("too many signals wait for the server; ICE with {} will restart", to.as_str()));
    }

    pub(super) fn keep_early(&mut self, from: Name, signal: Signal, out: &mut Vec<PeersEffect>) {
        if let Signal::Candidate(candidate) = &signal
            && candidate.candidate.len() > limits::CANDIDATE_BYTES
        {
            return detail(out, format!("a candidate from {} was skipped: it is too long", from.as_str()));
        }
        if self.early.len() >= limits::EARLY_SIGNALS
            && let Some((oldest, _)) = self.early.front().cloned()
        {
            self.early.retain(|(sender, _)| *sender != oldest);
            detail(out, format!("candidates from {} were dropped: too many came without an offer", oldest.as_str()));
        }
        self.early.push_back((from, signal));
    }

    /// Candidates that came before the offer come after it.
    pub(super) fn give_early(&mut self, now: Instant, from: &Name) {
        if !self.early.iter().any(|(sender, _)| sender == from) {
            return;
        }
        let (own, others) = std::mem::take(&mut self.early).into_iter().partition(|(sender, _)| sender == from);
        self.early = others;
        let own: VecDeque<(Name, Signal)> = own;
        for (_, signal) in own {
            self.with(now, from, |peer, effects| peer.receive_signal(now, signal, effects));
        }
    }
}
