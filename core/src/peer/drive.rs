//! The way into str0m and out of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use str0m::bwe::BweKind;
use str0m::net::Transmit;
use str0m::{Event, IceConnectionState, Input, Output, Rtc, RtcError};

use super::{CLOSE_WITHIN, Closing, Peer, PeerEffect, PeerFault, PeerState, media, sdp};

/// How often str0m may ask to be called again at once, before it has to wait a little.
const DRAIN_ROUNDS: usize = 64;
const DRAIN_PAUSE: Duration = Duration::from_millis(1);

/// By how much the clock may lag when something is written.
const WRITE_GRAIN: Duration = Duration::from_millis(1);

/// The type of a record of DTLS with an alert (RFC 5246, 6.2.1).
const ALERT: u8 = 21;

impl Peer {
    /// One mutation of str0m at `now`, and then its outputs until it sleeps. `None`: the connection is over, perhaps
    /// by this.
    pub(super) fn mutate<T>(
        &mut self,
        now: Instant,
        out: &mut Vec<PeerEffect>,
        change: impl FnOnce(&mut Rtc) -> T,
    ) -> Option<T> {
        self.advance(now, out)?;
        let result = self.contain(out, change)?;
        self.drain(now, out);
        Some(result)
    }

    /// The same for a change that str0m may refuse. What is left after that is not worth keeping.
    pub(super) fn try_mutate<T>(
        &mut self,
        now: Instant,
        out: &mut Vec<PeerEffect>,
        change: impl FnOnce(&mut Rtc) -> Result<T, RtcError>,
    ) -> Option<T> {
        self.advance(now, out)?;
        match self.contain(out, change)? {
            Ok(result) => {
                self.drain(now, out);
                Some(result)
            }
            Err(error) => {
                self.fail(to_fault(&error), out);
                None
            }
        }
    }

    /// A write at `now`, and then its outputs. The clock may lag by a little, as it may not for anything else: SCTP counts
    /// in milliseconds, and to tell the time costs as much as the write.
    pub(super) fn write<T>(
        &mut self,
        now: Instant,
        out: &mut Vec<PeerEffect>,
        change: impl FnOnce(&mut Rtc) -> T,
    ) -> Option<T> {
        if now >= self.told + WRITE_GRAIN {
            self.advance(now, out)?;
        }
        let result = self.contain(out, change)?;
        self.drain(now, out);
        Some(result)
    }

    /// Brings str0m's clock to `now`.
    fn advance(&mut self, now: Instant, out: &mut Vec<PeerEffect>) -> Option<()> {
        if now > self.told {
            self.tell_time(now, out)?;
            self.drain(now, out);
        }
        Some(())
    }

    /// Calls str0m. A panic in there ends the connection.
    fn contain<T>(&mut self, out: &mut Vec<PeerEffect>, call: impl FnOnce(&mut Rtc) -> T) -> Option<T> {
        let rtc = self.rtc.as_deref_mut()?;
        match contained(|| call(rtc)) {
            Ok(result) => Some(result),
            Err(panic) => {
                self.fail(PeerFault::Panicked(panic), out);
                None
            }
        }
    }

    pub(super) fn tell_time(&mut self, now: Instant, out: &mut Vec<PeerEffect>) -> Option<()> {
        self.told = self.told.max(now);
        match self.contain(out, |rtc| rtc.handle_input(Input::Timeout(now)))? {
            Ok(()) => Some(()),
            Err(error) => {
                self.fail(to_fault(&error), out);
                None
            }
        }
    }

    /// Takes str0m's outputs until it wants to sleep to a time after `now`.
    fn drain(&mut self, now: Instant, out: &mut Vec<PeerEffect>) {
        for _ in 0..DRAIN_ROUNDS {
            let Some(wake) = self.poll(now, out) else { return };
            self.wake = wake;
            if let Some(id) = self.unwanted.pop() {
                self.contain(out, |rtc| rtc.direct_api().close_data_channel(id));
            } else if let Some(mid) = self.tracks.pop_request() {
                self.contain(out, |rtc| media::request_key_frame(rtc, mid));
            } else if wake > now || self.tell_time(now, out).is_none() {
                return;
            }
        }
        self.wake = now + DRAIN_PAUSE;
    }

    /// Takes str0m's outputs once. `None`: the connection is over.
    fn poll(&mut self, now: Instant, out: &mut Vec<PeerEffect>) -> Option<Instant> {
        loop {
            match self.contain(out, Rtc::poll_output)? {
                Ok(Output::Timeout(_)) if self.rtc.as_ref().is_some_and(|rtc| !rtc.is_alive()) => {
                    match self.closing {
                        Some(_) => self.finish(out),
                        None => self.fail(PeerFault::Refused("str0m gave the connection up".into()), out),
                    }
                    return None;
                }
                Ok(Output::Timeout(at)) => return Some(at),
                Ok(Output::Transmit(datagram)) => self.transmit(datagram, out),
                Ok(Output::Event(event)) => self.event(now, event, out),
                // str0m fails to answer a goodbye that comes before SCTP is up.
                Err(RtcError::Sctp(_)) if self.goodbye => {
                    self.finish(out);
                    return None;
                }
                Err(error) => {
                    self.fail(to_fault(&error), out);
                    return None;
                }
            }
        }
    }

    fn transmit(&mut self, datagram: Transmit, out: &mut Vec<PeerEffect>) {
        let bytes = Vec::from(datagram.contents);
        // DTLS (RFC 7983, 7) goes over the selected pair; over a lost one it must not (RFC 7675, 5.1).
        if is_dtls(&bytes) {
            if self.state == PeerState::Disconnected {
                return;
            }
            self.path = Some((datagram.source, datagram.destination));
        }
        self.bytes_sent += bytes.len() as u64;
        let (local, remote) = (datagram.source, datagram.destination);
        // Nobody repeats a goodbye that is lost, and to miss it costs the remote half a minute: say it twice.
        if matches!(self.closing, Some(Closing::Leaving(_))) {
            out.push(PeerEffect::Transmit { local, remote, bytes: bytes.clone() });
        }
        out.push(PeerEffect::Transmit { local, remote, bytes });
    }

    pub(super) fn event(&mut self, now: Instant, event: Event, out: &mut Vec<PeerEffect>) {
        match event {
            Event::Connected => {
                self.recovery.secured(now);
                self.set_state(PeerState::Connected, out);
            }
            Event::IceConnectionStateChange(ice) => match ice {
                IceConnectionState::Connected | IceConnectionState::Completed => {
                    if self.recovery.paired(now) {
                        self.set_state(PeerState::Connected, out);
                    }
                }
                IceConnectionState::Disconnected => {
                    if self.recovery.unpaired() {
                        self.lost(now, out);
                    }
                }
                IceConnectionState::New | IceConnectionState::Checking => self.recovery.checking(now),
            },
            Event::ChannelOpen(id, label) => {
                let config = self.contain(out, |rtc| rtc.channel(id).and_then(|channel| channel.config().cloned()));
                let Some(config) = config else { return };
                match self.channels.opened(id, label, config.as_ref()) {
                    Ok(opened) => out.push(opened),
                    Err(note) => {
                        self.unwanted.push(id);
                        out.extend(note.map(PeerEffect::Skipped));
                    }
                }
            }
            Event::ChannelData(data) => out.extend(self.channels.received(data)),
            Event::ChannelClose(id) => out.extend(self.channels.closed(id)),
            Event::MediaData(data) => self.tracks.received(now, data, out),
            Event::KeyframeRequest(request) => {
                out.extend(self.tracks.sent_on(request.mid).map(|track| PeerEffect::KeyFrameWanted { track }));
            }
            Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
                self.tracks.estimate(estimate.as_u64(), out);
            }
            Event::MediaEgressStats(stats) => self.tracks.sent_stats(&stats),
            Event::MediaIngressStats(stats) => self.tracks.received_stats(&stats),
            Event::PeerStats(stats) => {
                if let Some(pair) = stats.selected_candidate_pair {
                    self.round_trip = pair.current_round_trip_time.or(self.round_trip);
                    self.channels.measured(self.round_trip);
                }
            }
            // The remote's goodbye, or the end of SCTP: ours follows by itself.
            Event::Closed => {
                if self.closing.is_none() && !self.goodbye {
                    out.push(PeerEffect::Failed(PeerFault::Broken));
                }
                self.closing = Some(Closing::Leaving(now + CLOSE_WITHIN));
            }
            _ => {}
        }
    }
}

/// Calls a library, which may panic on what a remote sent. What it leaves half done is dropped by the caller.
pub(crate) fn contained<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast::<String>().map(|text| *text);
        let text = text.or_else(|panic| panic.downcast::<&str>().map(|text| text.to_string()));
        sdp::quote(text.as_deref().unwrap_or("no message"))
    })
}

fn to_fault(error: &RtcError) -> PeerFault {
    match error {
        RtcError::RemoteSdp(clause) if clause.contains("fingerprint") => PeerFault::Fingerprint,
        // The handshake's own patience is about as long as ours.
        RtcError::Dtls(error) if error.to_string().contains("timeout") => PeerFault::NoPath,
        error => PeerFault::Refused(sdp::quote(&error.to_string())),
    }
}

/// Whether a datagram is of DTLS (RFC 7983, section 7).
pub(super) fn is_dtls(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|kind| (20..64).contains(kind))
}

/// Whether a datagram has a record of DTLS 1.2 with an alert (RFC 6347, 4.1). There is one kind that is seen here: the
/// goodbye (RFC 5246, 7.2.1).
pub(super) fn has_alert(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    while let [kind, header @ ..] = rest
        && let Some([high, low]) = header.get(10..12)
    {
        if *kind == ALERT {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = header.get(12 + length..).unwrap_or_default();
    }
    false
}
