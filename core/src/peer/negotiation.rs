//! Offers, answers, candidates: perfect negotiation (W3C WebRTC, 10.7) with trickle (RFC 8838) on top of str0m.

use std::time::{Duration, Instant};

use str0m::Candidate;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};

use super::drive::contained;
use super::sdp::{self, Description};
use super::{Peer, PeerEffect, PeerFault, PeerState};
use crate::limits;
use crate::signal::{self, Signal};

/// An offer that was crossed by the remote's after this time is taken as lost, and sent again.
const RESEND_AFTER: Duration = Duration::from_secs(3);

/// How often the remote may cross our offers. Each time costs a little memory in str0m that is not given back.
const ROLLBACKS: u32 = 100;

/// Where the exchange of descriptions stands.
#[derive(Debug, Default)]
pub(super) struct Negotiation {
    /// Our last description that was signaled: before it, local candidates go into the description.
    pub local: Option<Description>,
    /// The remote's last description that was taken.
    pub remote: Option<Description>,
    /// Our offer that waits for its answer.
    pending: Option<Pending>,
    /// Fresh ICE credentials are to be offered as soon as no offer is outstanding.
    restart_wanted: bool,
    /// Candidates that came before the remote's description.
    early: Vec<signal::Candidate>,
    /// Candidates taken in the remote's current generation.
    remote_candidates: usize,
    /// No further local candidates will come.
    gathered: bool,
    /// The generation whose end of candidates was signaled.
    ended: Option<String>,
    rollbacks: u32,
}

/// An offer that waits for its answer.
#[derive(Debug)]
struct Pending {
    sdp: String,
    changes: SdpPendingOffer,
    restart: bool,
    sent: Instant,
}

impl Peer {
    /// A local candidate: in the next description, or signaled by itself if the remote has one already.
    pub(super) fn add_local(&mut self, now: Instant, candidate: Candidate, out: &mut Vec<PeerEffect>) {
        let added = self.mutate(now, out, |rtc| rtc.add_local_candidate(candidate).cloned());
        let (Some(Some(mut added)), Some(local)) = (added, &self.negotiation.local) else { return };
        added.set_ufrag(&local.ufrag);
        out.push(PeerEffect::Signal(Signal::Candidate(signal::Candidate {
            candidate: added.to_sdp_string(),
            sdp_mid: local.mid.clone(),
            sdp_m_line_index: Some(local.index),
            username_fragment: Some(local.ufrag.clone()),
        })));
    }

    pub(super) fn gathered(&mut self, out: &mut Vec<PeerEffect>) {
        self.negotiation.gathered = true;
        self.end_candidates(out);
    }

    /// Our description goes to the remote: from here on it may have candidates of its generation.
    fn describe(&mut self, now: Instant, description: &str, signal: Signal, out: &mut Vec<PeerEffect>) {
        match sdp::read(description) {
            Ok(local) => self.negotiation.local = Some(local),
            Err(why) => return self.fail(PeerFault::Refused(why), out),
        }
        self.recovery.begin(now);
        out.push(PeerEffect::Signal(signal));
        self.end_candidates(out);
    }

    fn end_candidates(&mut self, out: &mut Vec<PeerEffect>) {
        let Some(local) = &self.negotiation.local else { return };
        if self.negotiation.gathered && self.negotiation.ended.as_ref() != Some(&local.ufrag) {
            self.negotiation.ended = Some(local.ufrag.clone());
            out.push(PeerEffect::Signal(Signal::EndOfCandidates { username_fragment: Some(local.ufrag.clone()) }));
        }
    }

    /// Asks for fresh ICE credentials, now or as soon as no offer is outstanding. Without effect before the first
    /// negotiation is done, and while such an offer is outstanding already.
    pub(super) fn want_restart(&mut self) {
        let under_way = self.negotiation.pending.as_ref().is_some_and(|pending| pending.restart);
        self.negotiation.restart_wanted = self.negotiation.remote.is_some() && !under_way;
    }

    /// Restarts ICE, or repeats the offer that is outstanding: the signaling may have lost it. To receive an offer
    /// twice does no harm, for its credentials are those that the receiver has.
    pub(super) fn restart_or_repeat(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        match &mut self.negotiation.pending {
            Some(pending) => {
                pending.sent = now;
                out.push(PeerEffect::Signal(Signal::Offer { sdp: pending.sdp.clone() }));
            }
            None => {
                self.want_restart();
                self.offer_if_needed(now, out);
            }
        }
    }

    /// Repeats an offer that is outstanding. Without one, and without a connection, our answer may be what was lost:
    /// an offer brings the exchange to a new end, crossed or not.
    pub(super) fn repeat_lost(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        if self.negotiation.pending.is_some()
            || (self.state != PeerState::Connected && self.negotiation.local.is_some())
        {
            self.restart_or_repeat(now, out);
        }
    }

    /// Opens the channels that wait, changes what the tracks want of the sections, and offers if that or a wanted
    /// restart needs it. Tracks alone begin nothing: they wait for the first channel, or the remote's offer.
    pub(super) fn offer_if_needed(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        if self.negotiation.pending.is_some() || self.closing.is_some() {
            return;
        }
        let waiting = self.channels.waiting();
        let begun = self.negotiation.local.is_some() || !waiting.is_empty();
        let wishes = if begun { self.tracks.wishes(self.rtc.as_deref()) } else { Vec::new() };
        if !waiting.is_empty() || !wishes.is_empty() {
            let result = self.mutate(now, out, |rtc| {
                let mut api = rtc.sdp_api();
                let added: Vec<_> =
                    waiting.into_iter().map(|(key, config)| (key, api.add_channel_with_config(config))).collect();
                let placed: Vec<_> = wishes.into_iter().filter_map(|wish| wish.carry_out(&mut api)).collect();
                (added, placed, api.apply())
            });
            let Some((added, placed, offer)) = result else { return };
            let offered = offer.is_some();
            self.channels.added(added, offered);
            self.tracks.offered(placed);
            if let Some((offer, changes)) = offer {
                return self.send_offer(now, &offer, changes, false, out);
            }
            // Channels that needed no negotiation open at once.
            self.mutate(now, out, |_| ());
        }
        if std::mem::take(&mut self.negotiation.restart_wanted) {
            let offer = self.mutate(now, out, |rtc| {
                let mut api = rtc.sdp_api();
                api.ice_restart(true);
                api.apply()
            });
            if let Some(Some((offer, changes))) = offer {
                self.send_offer(now, &offer, changes, true, out);
            }
        }
    }

    fn send_offer(
        &mut self,
        now: Instant,
        offer: &SdpOffer,
        changes: SdpPendingOffer,
        restart: bool,
        out: &mut Vec<PeerEffect>,
    ) {
        let sdp = offer.to_sdp_string();
        self.negotiation.pending = Some(Pending { sdp: sdp.clone(), changes, restart, sent: now });
        self.describe(now, &sdp, Signal::Offer { sdp: sdp.clone() }, out);
    }

    pub(super) fn receive_offer(&mut self, now: Instant, text: &str, out: &mut Vec<PeerEffect>) {
        if let Some(pending) = self.negotiation.pending.as_ref().filter(|_| !self.config.polite) {
            out.push(PeerEffect::Skipped("an offer that crossed ours, which stands".into()));
            if now.saturating_duration_since(pending.sent) >= RESEND_AFTER {
                self.restart_or_repeat(now, out);
            }
            return;
        }
        let Some((remote, offer)) = self.read_remote(text, SdpOffer::from_sdp_string, out) else { return };
        let answer = self.try_mutate(now, out, |rtc| rtc.sdp_api().accept_offer(offer));
        let Some(answer) = answer.map(|answer| answer.to_sdp_string()) else { return };
        let fresh = self.is_fresh(&remote);
        if let Some(pending) = self.negotiation.pending.take() {
            self.channels.rolled_back();
            self.tracks.rolled_back();
            self.negotiation.restart_wanted |= pending.restart && !fresh;
            self.negotiation.rollbacks += 1;
            if self.negotiation.rollbacks > ROLLBACKS {
                return self.fail(PeerFault::Refused("its offers crossed ours too often".into()), out);
            }
        }
        let answer = self.promise_what_is_sent(now, &answer, &remote, out);
        self.take_remote(now, remote, out);
        if self.rtc.is_some() {
            self.describe(now, &answer, Signal::Answer { sdp: answer.clone() }, out);
        }
    }

    pub(super) fn receive_answer(&mut self, now: Instant, text: &str, out: &mut Vec<PeerEffect>) {
        if self.negotiation.pending.is_none() {
            return out.push(PeerEffect::Skipped("an answer to no offer of ours".into()));
        }
        let Some((remote, answer)) = self.read_remote(text, SdpAnswer::from_sdp_string, out) else { return };
        let Some(pending) = self.negotiation.pending.take() else { return };
        let accepted = self.try_mutate(now, out, |rtc| rtc.sdp_api().accept_answer(pending.changes, answer));
        if accepted.is_none() {
            return;
        }
        self.channels.answered();
        self.tracks.answered(self.rtc.as_deref(), &remote.sections, out);
        self.take_remote(now, remote, out);
    }

    /// Checks a remote description before anything depends on it. One that cannot be read is fatal only while there
    /// is no connection that it could harm.
    fn read_remote<T, E: std::fmt::Display>(
        &mut self,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
        out: &mut Vec<PeerEffect>,
    ) -> Option<(Description, T)> {
        let read = sdp::read(text).and_then(|remote| match &self.negotiation.remote {
            Some(known) if known.fingerprint != remote.fingerprint => {
                Err("the description names another certificate than before".into())
            }
            _ => Ok(remote),
        });
        let parsed = read.map(|remote| {
            let text = sdp::without_unusable(text, |why| out.push(PeerEffect::Skipped(why)));
            (remote, contained(|| parse(&text)))
        });
        let refused = match parsed {
            Ok((remote, Ok(Ok(parsed)))) => return Some((remote, parsed)),
            Ok((_, Ok(Err(error)))) => sdp::unreadable(&error.to_string()),
            Ok((_, Err(panic))) => {
                self.fail(PeerFault::Panicked(panic), out);
                return None;
            }
            Err(why) => why,
        };
        match self.state {
            PeerState::Connecting => self.fail(PeerFault::Refused(refused), out),
            _ => out.push(PeerEffect::Skipped(refused)),
        }
        None
    }

    /// Whether a remote description begins a new ICE generation.
    fn is_fresh(&self, remote: &Description) -> bool {
        self.negotiation.remote.as_ref().is_none_or(|known| known.ufrag != remote.ufrag)
    }

    fn take_remote(&mut self, now: Instant, remote: Description, out: &mut Vec<PeerEffect>) {
        if self.is_fresh(&remote) {
            self.negotiation.remote_candidates = 0;
        }
        self.channels.remote_limit(remote.message_bytes);
        self.tracks.take_sections(self.rtc.as_deref(), &remote.sections, out);
        self.negotiation.remote = Some(remote);
        self.recovery.heard(now);
        for candidate in std::mem::take(&mut self.negotiation.early) {
            self.receive_candidate(now, candidate, out);
        }
    }

    pub(super) fn receive_candidate(&mut self, now: Instant, given: signal::Candidate, out: &mut Vec<PeerEffect>) {
        let skip = |why: String, out: &mut Vec<PeerEffect>| out.push(PeerEffect::Skipped(why));
        // The end of candidates of one section (W3C WebRTC, 4.8.1.1): str0m does not need it.
        if given.candidate.trim().is_empty() {
            return;
        }
        let bytes = given.candidate.len() + given.username_fragment.as_ref().map_or(0, String::len);
        if bytes > limits::CANDIDATE_BYTES {
            return skip(format!("a candidate of {bytes} bytes"), out);
        }
        let Some(remote) = &self.negotiation.remote else {
            if self.negotiation.early.len() >= limits::EARLY_SIGNALS {
                return skip("a candidate: too many came before the description".into(), out);
            }
            // The section that it names says nothing: all are bundled.
            return self.negotiation.early.push(signal::Candidate { sdp_mid: None, ..given });
        };
        if self.negotiation.remote_candidates >= limits::EARLY_SIGNALS {
            return skip("a candidate: the remote sent too many".into(), out);
        }
        let candidate = match contained(|| sdp::candidate(&given.candidate)) {
            Ok(Ok(candidate)) => candidate,
            Ok(Err(why)) => return skip(why, out),
            Err(panic) => return self.fail(PeerFault::Panicked(panic), out),
        };
        let generation = given.username_fragment.as_deref().or(candidate.ufrag());
        if generation.is_some_and(|ufrag| ufrag != remote.ufrag) {
            return skip("a candidate of another ICE generation".into(), out);
        }
        self.negotiation.remote_candidates += 1;
        self.mutate(now, out, |rtc| rtc.add_remote_candidate(candidate));
    }
}
