//! The tracks of one peer connection: what is sent and received of sound and picture.
//!
//! A media section of the descriptions is used in both directions: each may carry one track of ours and one of the
//! remote's. What we want of the sections is worked out anew whenever nothing is being negotiated ([`Tracks::wishes`]);
//! so glare, a refusal or a change of mind in the middle of an exchange needs no memory of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::Rtc;
use str0m::bwe::Bitrate;
use str0m::change::SdpApi;
use str0m::format;
use str0m::media::{Direction, KeyframeRequestKind, MediaData, MediaKind, MediaTime, Mid};
use str0m::stats::{MediaEgressStats, MediaIngressStats};

use super::sdp::{self, Description, Section};
use super::{Peer, PeerEffect, PeerState, TrackKey, TrackStats};
use crate::limits;
use crate::media::{Codec, EncodedFrame, Kind};

/// A sender's timestamps may jump by this much. Beyond it, or back, it began anew: then its time goes on with ours.
const JUMP: Duration = Duration::from_secs(10);

/// So many packets in a row are not lost: their numbers jumped.
const JUMPED: u64 = 3_000;

/// All tracks, ours and the remote's.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    next: u32,
    ours: BTreeMap<TrackKey, Publication>,
    theirs: BTreeMap<TrackKey, Reception>,
    /// The sections that were negotiated, in no order.
    sections: Vec<Used>,
    /// Key frames that are to be asked for.
    requests: VecDeque<Mid>,
    bandwidth: Option<u64>,
}

/// A section that was negotiated.
#[derive(Debug)]
struct Used {
    mid: Mid,
    kind: Kind,
    /// That we cannot take it was told.
    refused: bool,
}

/// A track of ours.
#[derive(Debug)]
struct Publication {
    place: Place,
    stats: TrackStats,
    meter: Meter,
}

/// Where a track of ours stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It has no section yet.
    Waiting,
    /// In this section, if the remote's answer agrees.
    Offered(Mid),
    /// It can be written.
    Live(Mid),
    /// The remote does not take it.
    Refused,
}

/// A track of the remote's.
#[derive(Debug)]
struct Reception {
    mid: Mid,
    stats: TrackStats,
    meter: Meter,
    line: Option<TimeLine>,
    /// Whether the next frame can be decoded, if it follows on the last one.
    decodable: bool,
    asked: Option<Instant>,
    /// The number of the last packet.
    last: Option<u64>,
}

/// What we want of the sections, to be put into the next offer.
#[derive(Debug)]
pub(super) enum Wish {
    /// A track of ours, in a section that is there or in a new one.
    Send { track: TrackKey, kind: Kind, section: Option<(Mid, Direction)> },
    /// Nothing of ours in this section any more.
    Stop { section: Mid, direction: Direction },
}

impl Wish {
    /// Puts it into an offer. Where a track of ours is then.
    pub fn carry_out(self, api: &mut SdpApi<'_>) -> Option<(TrackKey, Mid)> {
        match self {
            Wish::Send { track, section: Some((mid, direction)), .. } => {
                api.set_direction(mid, direction);
                Some((track, mid))
            }
            Wish::Send { track, kind, section: None } => {
                Some((track, api.add_media(to_media_kind(kind), Direction::SendRecv, None, None, None)))
            }
            Wish::Stop { section, direction } => {
                api.set_direction(section, direction);
                None
            }
        }
    }
}

impl Peer {
    /// Publishes a track, and offers if that needs negotiation; before the first one it waits for a channel or for the
    /// remote's offer. [`PeerEffect::TrackReady`] tells when it can be written. Nothing is sent on a connection that is
    /// over.
    pub fn publish(&mut self, now: Instant, kind: Kind, out: &mut Vec<PeerEffect>) -> TrackKey {
        let track = self.tracks.add(kind);
        self.settle(now, out);
        track
    }

    /// Ends a track of ours, and tells the remote.
    pub fn unpublish(&mut self, now: Instant, track: TrackKey, out: &mut Vec<PeerEffect>) {
        self.tracks.ours.remove(&track);
        self.settle(now, out);
    }

    /// Sends a frame that was due at `due`. It is dropped unless the track is ready and the connection stands.
    pub fn write_frame(
        &mut self,
        now: Instant,
        track: TrackKey,
        frame: &EncodedFrame,
        due: Instant,
        out: &mut Vec<PeerEffect>,
    ) {
        let Some(mid) = self.tracks.live(track).filter(|_| self.state == PeerState::Connected) else { return };
        if self.closing.is_some() || frame.data.is_empty() {
            return;
        }
        let time = rtp_time(frame.time, frame.codec);
        let written = self.mutate(now, out, |rtc| {
            let writer = rtc.writer(mid)?;
            let codec = to_str0m_codec(frame.codec);
            let pt = writer.payload_params().find(|params| params.spec().codec == codec)?.pt();
            writer.write(pt, due.min(now), time, Arc::<[u8]>::from(&frame.data[..])).ok()
        });
        if written.flatten().is_some() {
            self.tracks.wrote(track, frame);
        }
        self.settle(now, out);
    }

    /// Asks the remote for a key frame of one of its tracks, at most every [`limits::KEY_FRAME_EVERY`].
    pub fn request_key_frame(&mut self, now: Instant, track: TrackKey, out: &mut Vec<PeerEffect>) {
        self.tracks.ask(now, track);
        self.mutate(now, out, |_| ());
        self.settle(now, out);
    }

    /// Says what we would like to send, in bits per second: the estimate of the bandwidth probes no further.
    pub fn want_bandwidth(&mut self, now: Instant, bits_per_second: u64, out: &mut Vec<PeerEffect>) {
        let wanted = Bitrate::from(bits_per_second);
        self.mutate(now, out, |rtc| rtc.bwe().set_bitrate(Bitrate::from(0), wanted));
        self.settle(now, out);
    }

    /// After an offer was taken: gives our tracks the sections that the remote wants to receive in, and takes back that
    /// we would send in the others.
    pub(super) fn promise_what_is_sent(
        &mut self,
        now: Instant,
        answer: &str,
        remote: &Description,
        out: &mut Vec<PeerEffect>,
    ) -> String {
        let silent = self.tracks.place(self.rtc.as_deref(), &remote.sections, out);
        self.mutate(now, out, |rtc| {
            for mid in &silent {
                let direction = rtc.media(*mid).map(|media| media.direction().is_receiving());
                let direction = if direction == Some(true) { Direction::RecvOnly } else { Direction::Inactive };
                rtc.sdp_api().set_direction(*mid, direction);
            }
        });
        sdp::without_sending(answer, &silent)
    }
}

impl Tracks {
    fn key(&mut self) -> TrackKey {
        self.next += 1;
        TrackKey(self.next - 1)
    }

    fn add(&mut self, kind: Kind) -> TrackKey {
        let track = self.key();
        let stats = new_stats(track, kind, true);
        self.ours.insert(track, Publication { place: Place::Waiting, stats, meter: Meter::default() });
        track
    }

    /// The section of a track of ours that can be written.
    fn live(&self, track: TrackKey) -> Option<Mid> {
        match self.ours.get(&track)?.place {
            Place::Live(mid) => Some(mid),
            _ => None,
        }
    }

    fn wrote(&mut self, track: TrackKey, frame: &EncodedFrame) {
        if let Some(publication) = self.ours.get_mut(&track) {
            publication.stats.frames += 1;
            publication.stats.key_frames += u64::from(frame.key);
        }
    }

    /// The track of ours in a section.
    pub fn sent_on(&self, mid: Mid) -> Option<TrackKey> {
        self.ours.iter().find(|(_, of)| of.place == Place::Live(mid)).map(|(track, _)| *track)
    }

    fn is_taken(&self, mid: Mid) -> bool {
        self.ours.values().any(|of| matches!(of.place, Place::Offered(other) | Place::Live(other) if other == mid))
    }

    /// What the sections would have to be changed to.
    pub fn wishes(&self, rtc: Option<&Rtc>) -> Vec<Wish> {
        let Some(rtc) = rtc else { return Vec::new() };
        let mut free: Vec<(Mid, Kind, Direction)> = Vec::new();
        for used in self.sections.iter().filter(|used| !self.is_taken(used.mid)) {
            if let Some(media) = rtc.media(used.mid).filter(|media| !media.disabled()) {
                free.push((used.mid, used.kind, media.direction()));
            }
        }
        let mut wishes = Vec::new();
        for (track, publication) in self.ours.iter().filter(|(_, of)| of.place == Place::Waiting) {
            let kind = publication.stats.kind;
            let section = free.iter().position(|(_, of, _)| *of == kind).map(|at| free.remove(at).0);
            wishes.push(Wish::Send { track: *track, kind, section: section.map(|mid| (mid, Direction::SendRecv)) });
        }
        for (section, _, direction) in free.into_iter().filter(|(_, _, direction)| direction.is_sending()) {
            let direction = if direction.is_receiving() { Direction::RecvOnly } else { Direction::Inactive };
            wishes.push(Wish::Stop { section, direction });
        }
        wishes
    }

    /// These tracks of ours are part of an offer.
    pub fn offered(&mut self, placed: Vec<(TrackKey, Mid)>) {
        for (track, mid) in placed {
            if let Some(publication) = self.ours.get_mut(&track) {
                publication.place = Place::Offered(mid);
            }
        }
    }

    /// The offer was taken back.
    pub fn rolled_back(&mut self) {
        for publication in self.ours.values_mut().filter(|of| matches!(of.place, Place::Offered(_))) {
            publication.place = Place::Waiting;
        }
    }

    /// The offer was answered.
    pub fn answered(&mut self, rtc: Option<&Rtc>, sections: &[Section], out: &mut Vec<PeerEffect>) {
        for publication in self.ours.values_mut() {
            if let Place::Offered(mid) = publication.place {
                publication.decide(mid, wants_fec(sections, mid), rtc, out);
            }
        }
    }

    /// After the remote's offer was taken. The sections where we would send, but have no track.
    fn place(&mut self, rtc: Option<&Rtc>, sections: &[Section], out: &mut Vec<PeerEffect>) -> Vec<Mid> {
        for publication in self.ours.values_mut() {
            match publication.place {
                Place::Live(mid) if !is_sending(rtc, mid) => publication.decide(mid, false, rtc, out),
                _ => {}
            }
        }
        let mut silent = Vec::new();
        for section in sections.iter().filter(|section| is_sending(rtc, section.mid)) {
            if self.is_taken(section.mid) {
                continue;
            }
            let waits = |of: &&mut Publication| of.place == Place::Waiting && of.stats.kind == section.kind;
            match self.ours.values_mut().find(waits) {
                Some(publication) => publication.decide(section.mid, section.fec, rtc, out),
                None => silent.push(section.mid),
            }
        }
        silent
    }

    /// Sees what the negotiated sections mean for the remote's tracks.
    pub fn take_sections(&mut self, rtc: Option<&Rtc>, sections: &[Section], out: &mut Vec<PeerEffect>) {
        for section in sections {
            if !self.sections.iter().any(|used| used.mid == section.mid) {
                self.sections.push(Used { mid: section.mid, kind: section.kind, refused: false });
            }
        }
        let media = |mid: Mid| rtc.and_then(|rtc| rtc.media(mid)).filter(|media| !media.disabled());
        let is_receiving = |mid: Mid| media(mid).is_some_and(|media| media.direction().is_receiving());
        self.theirs.retain(|track, reception| {
            let stays = is_receiving(reception.mid);
            if !stays {
                out.push(PeerEffect::TrackRemoved { track: *track });
            }
            stays
        });
        for section in sections {
            if is_receiving(section.mid) && !self.theirs.values().any(|of| of.mid == section.mid) {
                let track = self.key();
                self.theirs.insert(track, Reception::new(track, section));
                out.push(PeerEffect::TrackAdded { track, kind: section.kind });
            }
            let used = self.sections.iter_mut().find(|used| used.mid == section.mid);
            if let Some(used) = used.filter(|used| !used.refused && !section.rejected && media(section.mid).is_none()) {
                used.refused = true;
                let (kind, codecs) = (section.kind, sdp::quote(&section.codecs.join(", ")));
                let codec = kind.codec().name();
                let codecs = if codecs.is_empty() { "nothing known" } else { &codecs };
                let why = format!("it offers {} as {codecs}, and {codec} is what we take", kind.name());
                out.push(PeerEffect::TrackRefused { track: None, kind, why });
            }
        }
        self.sections.retain(|used| rtc.is_some_and(|rtc| rtc.media(used.mid).is_some()));
    }

    /// A frame arrived.
    pub fn received(&mut self, now: Instant, data: MediaData, out: &mut Vec<PeerEffect>) {
        let Some((track, reception)) = self.theirs.iter_mut().find(|(_, of)| of.mid == data.mid) else { return };
        let codec = reception.stats.codec;
        if data.params.spec().codec != to_str0m_codec(codec) || data.data.is_empty() {
            return;
        }
        let key = codec == Codec::Opus || data.is_keyframe();
        let first = reception.line.is_none();
        let lost = !data.contiguous && !first;
        let (track, time) = (*track, reception.at(&data));
        let (from, to) = (**data.seq_range.start(), **data.seq_range.end());
        let missing = reception.last.replace(to).map_or(0, |last| from.saturating_sub(last + 1));
        // Whoever counts anew, by a jump, has lost nothing.
        let (packets, missing) = (to.saturating_sub(from) + 1, if missing < JUMPED { missing } else { 0 });
        reception.stats.missing += missing;
        reception.stats.frames += 1;
        reception.stats.key_frames += u64::from(key);
        reception.decodable = key || (reception.decodable && !lost);
        let wanted = !reception.decodable;
        let frame = EncodedFrame { codec, time, key, data: Bytes::copy_from_slice(&data.data) };
        let (arrived, sampled) = (data.network_time, sampled_at(&data));
        out.push(PeerEffect::Frame { track, frame, lost, packets, missing, arrived, sampled });
        if wanted {
            self.ask(now, track);
        }
    }

    /// Asks for a key frame, unless that was done just now.
    fn ask(&mut self, now: Instant, track: TrackKey) {
        let Some(reception) = self.theirs.get_mut(&track).filter(|of| of.stats.kind == Kind::Video) else { return };
        let recent = |asked: Instant| now.saturating_duration_since(asked) < limits::KEY_FRAME_EVERY;
        if !reception.asked.is_some_and(recent) {
            reception.asked = Some(now);
            self.requests.push_back(reception.mid);
        }
    }

    /// A section whose sender is to be asked for a key frame.
    pub fn pop_request(&mut self) -> Option<Mid> {
        self.requests.pop_front()
    }

    /// What the path is thought to carry.
    pub fn estimate(&mut self, bits_per_second: u64, out: &mut Vec<PeerEffect>) {
        self.bandwidth = Some(bits_per_second);
        out.push(PeerEffect::Bandwidth(bits_per_second));
    }

    pub fn bandwidth(&self) -> Option<u64> {
        self.bandwidth.filter(|_| self.ours.values().any(|of| matches!(of.place, Place::Live(_))))
    }

    pub fn sent_stats(&mut self, counted: &MediaEgressStats) {
        let Some(track) = self.sent_on(counted.mid) else { return };
        let Some(publication) = self.ours.get_mut(&track) else { return };
        let stats = &mut publication.stats;
        publication.meter.measure(stats, counted.timestamp, counted.bytes);
        (stats.packets, stats.nacks, stats.key_requests) =
            (counted.packets, counted.nacks, counted.plis + counted.firs);
        stats.loss = counted.loss.or(stats.loss);
        stats.round_trip = counted.rtt.or(stats.round_trip);
        let jitter = counted.remote.as_ref().map(|remote| from_ticks(remote.jitter, stats.codec));
        stats.jitter = jitter.or(stats.jitter);
    }

    pub fn received_stats(&mut self, counted: &MediaIngressStats) {
        let Some(reception) = self.theirs.values_mut().find(|of| of.mid == counted.mid) else { return };
        let stats = &mut reception.stats;
        reception.meter.measure(stats, counted.timestamp, counted.bytes);
        (stats.packets, stats.nacks, stats.key_requests) =
            (counted.packets, counted.nacks, counted.plis + counted.firs);
        stats.loss = counted.loss.or(stats.loss);
        stats.round_trip = counted.rtt.or(stats.round_trip);
        stats.jitter = Some(from_ticks(counted.jitter, stats.codec));
    }

    pub fn stats(&self) -> Vec<TrackStats> {
        let ours = self.ours.values().map(|of| {
            let live = matches!(of.place, Place::Live(_));
            TrackStats { live, ..of.stats.clone() }
        });
        let mut all: Vec<TrackStats> = ours.chain(self.theirs.values().map(|of| of.stats.clone())).collect();
        all.sort_by_key(|stats| stats.track);
        all
    }

    /// The connection is over.
    pub fn end_all(&mut self, out: &mut Vec<PeerEffect>) {
        self.ours.clear();
        out.extend(std::mem::take(&mut self.theirs).into_keys().map(|track| PeerEffect::TrackRemoved { track }));
    }
}

impl Publication {
    /// Whether the remote takes it in this section.
    fn decide(&mut self, mid: Mid, fec: bool, rtc: Option<&Rtc>, out: &mut Vec<PeerEffect>) {
        let (track, kind) = (self.stats.track, self.stats.kind);
        if is_sending(rtc, mid) {
            self.place = Place::Live(mid);
            out.push(PeerEffect::TrackReady { track, fec });
        } else {
            self.place = Place::Refused;
            let why = format!("it does not take our {}", kind.name());
            out.push(PeerEffect::TrackRefused { track: Some(track), kind, why });
        }
    }
}

impl Reception {
    fn new(track: TrackKey, section: &Section) -> Self {
        let stats = TrackStats { live: true, ..new_stats(track, section.kind, false) };
        let meter = Meter::default();
        Reception { mid: section.mid, stats, meter, line: None, decodable: false, asked: None, last: None }
    }

    /// A frame's time in its track.
    fn at(&mut self, data: &MediaData) -> Duration {
        let (ticks, rate) = (data.time.numer(), u64::from(data.time.denom()));
        let fresh = TimeLine { ticks, time: Duration::ZERO, last: ticks, arrived: data.network_time };
        let line = self.line.get_or_insert(fresh);
        let step = ticks.checked_sub(line.last).map(|step| ticks_to_time(step, rate));
        if step.is_none_or(|step| step > JUMP) {
            let passed = data.network_time.saturating_duration_since(line.arrived);
            line.time = line.time + ticks_to_time(line.last - line.ticks, rate) + passed;
            line.ticks = ticks;
        }
        (line.last, line.arrived) = (ticks, data.network_time);
        line.time + ticks_to_time(ticks - line.ticks, rate)
    }
}

/// How a sender's timestamps map to the time of its track: from `ticks` on, which is at `time`.
#[derive(Debug)]
struct TimeLine {
    ticks: u64,
    time: Duration,
    /// The last frame's. Never less than `ticks`.
    last: u64,
    arrived: Instant,
}

/// Measures bits per second between two looks.
#[derive(Debug, Default)]
struct Meter(Option<(Instant, u64)>);

impl Meter {
    fn measure(&mut self, stats: &mut TrackStats, at: Instant, bytes: u64) {
        if let Some((since, before)) = self.0.replace((at, bytes)) {
            let passed = at.saturating_duration_since(since).as_millis();
            let bits = u128::from(bytes.saturating_sub(before)) * 8_000;
            stats.bitrate = bits.checked_div(passed).and_then(|rate| u64::try_from(rate).ok()).unwrap_or(stats.bitrate);
        }
        stats.bytes = bytes;
    }
}

/// Asks the sender in a section for a key frame.
pub(super) fn request_key_frame(rtc: &mut Rtc, mid: Mid) {
    if let Some(mut writer) = rtc.writer(mid) {
        // Without the feedback (RFC 4585), or before the first packet, there is nobody to ask.
        let _ = writer.request_keyframe(None, KeyframeRequestKind::Pli);
    }
}

fn wants_fec(sections: &[Section], mid: Mid) -> bool {
    sections.iter().any(|section| section.mid == mid && section.fec)
}

fn is_sending(rtc: Option<&Rtc>, mid: Mid) -> bool {
    let media = rtc.and_then(|rtc| rtc.media(mid));
    media.is_some_and(|media| !media.disabled() && media.direction().is_sending())
}

/// When the sender sampled a frame: its last report names a time of its clock and the timestamp of then.
fn sampled_at(data: &MediaData) -> Option<Duration> {
    let report = data.last_sender_info?;
    let reported = report.ntp_time.duration_since(std::time::UNIX_EPOCH).ok()?;
    // Timestamps in RTP have 32 bits and wrap around.
    let since = (data.time.numer() as u32).wrapping_sub(report.rtp_time.numer() as u32) as i32;
    let distance = ticks_to_time(u64::from(since.unsigned_abs()), u64::from(data.time.denom()));
    let sampled = if since < 0 { reported.checked_sub(distance) } else { reported.checked_add(distance) };
    sampled.filter(|_| distance <= JUMP)
}

fn ticks_to_time(ticks: u64, rate: u64) -> Duration {
    let rate = rate.max(1);
    Duration::from_secs(ticks / rate) + Duration::from_nanos(ticks % rate * 1_000_000_000 / rate)
}

fn from_ticks(ticks: u32, codec: Codec) -> Duration {
    ticks_to_time(u64::from(ticks), u64::from(codec.clock_rate()))
}

fn rtp_time(time: Duration, codec: Codec) -> MediaTime {
    let rate = match codec {
        Codec::Opus => str0m::media::Frequency::FORTY_EIGHT_KHZ,
        Codec::Vp8 => str0m::media::Frequency::NINETY_KHZ,
    };
    let ticks = (time.as_nanos() * u128::from(rate.get()) + 500_000_000) / 1_000_000_000;
    MediaTime::new(u64::try_from(ticks).unwrap_or(u64::MAX), rate)
}

fn to_media_kind(kind: Kind) -> MediaKind {
    match kind {
        Kind::Audio => MediaKind::Audio,
        Kind::Video => MediaKind::Video,
    }
}

fn to_str0m_codec(codec: Codec) -> format::Codec {
    match codec {
        Codec::Opus => format::Codec::Opus,
        Codec::Vp8 => format::Codec::Vp8,
    }
}

pub(super) fn new_stats(track: TrackKey, kind: Kind, ours: bool) -> TrackStats {
    TrackStats {
        track,
        kind,
        codec: kind.codec(),
        ours,
        live: false,
        packets: 0,
        bytes: 0,
        bitrate: 0,
        frames: 0,
        key_frames: 0,
        missing: 0,
        loss: None,
        jitter: None,
        round_trip: None,
        nacks: 0,
        key_requests: 0,
    }
}
