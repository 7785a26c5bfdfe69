//! What we publish: the sources of sound and picture, and when their frames are due.
//!
//! There is one publication of a kind, and every connection is sent the same frames. A source's clock runs while
//! somebody listens; what nobody would hear is not made. Both kinds share the clock, so that what is sampled together
//! is sent together.
//!
//! A source that replaces another is loaded up to its first frame before it takes over; if it cannot be played, the old
//! one goes on. Files are read by [`Output::ReadFile`], one op per file at a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::agent::AgentNotice;
use crate::agent::media::{MediaNotice, OurTrack};
use crate::limits;
use crate::machine::{FileError, FileOp, Output};
use crate::media::vp8::{Encoder, Picture};
use crate::media::{EncodedFrame, Kind, MediaError, Next, Quality, Source, SourceSpec};

/// Frames that are later than this are not made up for: the clock stands still instead, for sound and picture alike.
const LATE: Duration = Duration::from_millis(250);

/// Frames that are sent at once, at most: what is due besides is sent a little later.
const FRAMES_AT_ONCE: usize = 8;
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// From the last frame of a source that ends to the end of its track: for what was lost to be sent again.
const LINGER: Duration = Duration::from_millis(500);

/// 20 ms of silence in Opus: CELT, all bands, stereo, of no energy (RFC 6716, 3.1).
const SILENCE: &[u8] = &[0xfc, 0xff, 0xfe];

/// What a muted track shows, and how often.
const BLACK: (u16, u16, [u8; 3]) = (320, 240, [16, 128, 128]);
const BLACK_EVERY: Duration = Duration::from_secs(1);

/// What is sent is measured for so long: a pattern's loop.
const MEASURED: Duration = Duration::from_secs(2);

/// A picture that this machine cannot make in time becomes a smaller one. It is tried again after this time, and each time
/// after twice as long.
const SLOW: Duration = Duration::from_secs(30);

/// A better quality needs this much more than its bits per second, for this long; a quality that needs more than there
/// is is left at once, but not twice in a row faster than this.
const HEADROOM: (u64, u64) = (3, 2);
const PATIENCE: Duration = Duration::from_secs(5);
const DESCENT: Duration = Duration::from_secs(1);

/// What publishing wants done or tells.
#[derive(Debug)]
pub(super) enum TracksEffect {
    /// Read a file.
    Read(Output<AgentNotice>),
    /// Put a track of this kind on every connection.
    Publish(Kind),
    /// Take it off.
    Unpublish(Kind),
    /// Send a frame, which was due then, to everybody who takes this kind.
    Send { kind: Kind, frame: EncodedFrame, due: Instant },
    /// We would like to send so many bits per second in all.
    Want(u64),
    /// Tell the embedding program.
    Notice(AgentNotice),
}

/// All that we publish.
#[derive(Debug)]
pub(super) struct Tracks {
    ours: BTreeMap<Kind, Publication>,
    /// Whether files are played only once.
    once: bool,
    ops: u64,
    /// Whether sound helps to restore lost packets.
    fec: bool,
    wanted: u64,
    /// [`Tracks::run`] is not due before.
    earliest: Option<Instant>,
}

/// One publication.
struct Publication {
    feed: Feed,
    /// What takes over as soon as it has a frame.
    coming: Option<Feed>,
    /// Whether connections have the track.
    announced: bool,
    /// When the track began, or would have, if its clock had never stood still; `None`: nobody listens.
    start: Option<Instant>,
    /// Where in the track the clock stands while nobody listens.
    position: Duration,
    /// Where in the track the feed began.
    offset: Duration,
    listeners: usize,
    mute: Mute,
    keys: Keys,
    adaptation: Adaptation,
    /// When a source that ended is taken off.
    ends: Option<Instant>,
}

/// Whether the source is seen and heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mute {
    Off,
    /// Silence, or a black picture that was sent at this time of the track.
    On(Option<Duration>),
    /// The picture comes back with its next key frame.
    Ending,
}

/// Key frames on request.
#[derive(Debug, Default)]
struct Keys {
    wanted: bool,
    /// When the last one was asked of the source.
    asked: Option<Instant>,
}

/// How good the picture is for the bandwidth that there is.
#[derive(Debug)]
struct Adaptation {
    quality: Quality,
    bandwidth: Option<u64>,
    changed: Option<Instant>,
    /// Since when there has been enough for more.
    better_since: Option<Instant>,
    /// What was sent lately, of this quality.
    sent: Sent,
    /// How often the machine was too slow, and until when nothing better is tried.
    slow: u32,
    slow_until: Option<Instant>,
}

/// A source, and what was got of it.
struct Feed {
    spec: SourceSpec,
    source: Source,
    loaded: Loaded,
}

#[derive(Debug)]
enum Loaded {
    Nothing,
    /// Waits for bytes of its file: so many were asked for.
    Reading {
        op: FileOp,
        len: usize,
    },
    /// Its next frame.
    Frame(EncodedFrame),
    Ended,
    /// A clause for a person.
    Failed(String),
}

impl Tracks {
    /// Nothing is published yet.
    pub(super) fn new(once: bool) -> Self {
        Tracks { ours: BTreeMap::new(), once, ops: 0, fec: true, wanted: 0, earliest: None }
    }

    /// Publishes a source: at once, or as soon as it has its first frame.
    pub(super) fn publish(&mut self, kind: Kind, spec: SourceSpec, at_once: bool, out: &mut Vec<TracksEffect>) {
        if self.ours.contains_key(&kind) {
            let kind = kind.name();
            let why = format!("{kind} is published already; use replace {kind} SOURCE, or unpublish {kind} first");
            return fail(out, why);
        }
        let feed = match Feed::new(spec.clone(), kind, !self.once) {
            Ok(feed) => feed,
            Err(error) => return fail(out, cannot(&spec, kind, &error.to_string())),
        };
        let publication = Publication {
            feed,
            coming: None,
            announced: false,
            start: None,
            position: Duration::ZERO,
            offset: Duration::ZERO,
            listeners: 0,
            mute: Mute::Off,
            keys: Keys::default(),
            adaptation: Adaptation::new(),
            ends: None,
        };
        self.ours.insert(kind, publication);
        if at_once {
            self.announce(kind, out);
        }
    }

    /// Publishes no more of a kind.
    pub(super) fn unpublish(&mut self, kind: Kind, out: &mut Vec<TracksEffect>) {
        match self.ours.remove(&kind) {
            Some(_) => self.ended(kind, None, out),
            None => fail(out, format!("no {} is published", kind.name())),
        }
    }

    /// Lets another source take over.
    pub(super) fn replace(&mut self, kind: Kind, spec: SourceSpec, out: &mut Vec<TracksEffect>) {
        let Some(publication) = self.ours.get_mut(&kind) else {
            let kind = kind.name();
            return fail(out, format!("no {kind} is published that could be replaced; use publish {kind} SOURCE"));
        };
        match Feed::new(spec.clone(), kind, !self.once) {
            Ok(feed) => publication.coming = Some(feed),
            Err(error) => fail(out, cannot(&spec, kind, &error.to_string())),
        }
    }

    /// Sends silence or a black picture, or the source again.
    pub(super) fn mute(&mut self, kind: Kind, on: bool, out: &mut Vec<TracksEffect>) {
        let Some(publication) = self.ours.get_mut(&kind) else {
            return fail(out, format!("no {} is published", kind.name()));
        };
        publication.mute = match (on, publication.mute, kind) {
            (true, Mute::On(shown), _) => Mute::On(shown),
            (true, _, _) => Mute::On(None),
            (false, Mute::Off, _) | (false, _, Kind::Audio) => Mute::Off,
            (false, _, Kind::Video) => {
                publication.feed.source.request_key();
                Mute::Ending
            }
        };
        out.push(TracksEffect::Notice(AgentNotice::Media(MediaNotice::Muted { kind, on })));
    }

    /// So many connections take a kind now. The clock runs while there are any.
    pub(super) fn listeners(&mut self, now: Instant, kind: Kind, count: usize) {
        let Some(publication) = self.ours.get_mut(&kind) else { return };
        publication.listeners = count;
        match publication.start {
            None if count > 0 => publication.start = now.checked_sub(publication.position).or(Some(now)),
            Some(start) if count == 0 => {
                publication.position = now.saturating_duration_since(start);
                publication.start = None;
            }
            _ => {}
        }
    }

    /// A key frame is wanted by somebody.
    pub(super) fn want_key(&mut self, kind: Kind) {
        if let Some(publication) = self.ours.get_mut(&kind) {
            publication.keys.wanted = true;
        }
    }

    /// Whether those who listen want sound that helps to restore lost packets.
    pub(super) fn want_fec(&mut self, on: bool) {
        self.fec = on;
        for feed in self.feeds() {
            feed.source.set_fec(on);
        }
    }

    /// The slowest path is thought to carry so many bits per second.
    pub(super) fn bandwidth(&mut self, bits_per_second: Option<u64>) {
        if let Some(publication) = self.ours.get_mut(&Kind::Video) {
            publication.adaptation.bandwidth = bits_per_second;
        }
    }

    /// An op is done. `false`: it is none of ours.
    pub(super) fn file_read(&mut self, op: FileOp, result: &Result<Bytes, FileError>) -> bool {
        let is = |feed: &&mut Feed| matches!(feed.loaded, Loaded::Reading { op: of, .. } if of == op);
        let Some(feed) = self.feeds().find(is) else { return false };
        let Loaded::Reading { len, .. } = feed.loaded else { return false };
        feed.loaded = match result {
            Ok(bytes) => {
                feed.source.bytes(bytes, bytes.len() < len);
                Loaded::Nothing
            }
            Err(FileError::Missing) => Loaded::Failed("there is no such file".into()),
            Err(FileError::Exists) => Loaded::Failed("it exists".into()),
            Err(FileError::Other(why)) => Loaded::Failed(why.clone()),
        };
        true
    }

    /// What is published.
    pub(super) fn list(&self) -> Vec<OurTrack> {
        let list = self.ours.iter().map(|(kind, of)| OurTrack {
            kind: *kind,
            source: of.feed.spec.to_string(),
            muted: matches!(of.mute, Mute::On(_)),
            quality: of.adaptation.quality,
            listeners: of.listeners,
        });
        list.collect()
    }

    /// Loads what can be loaded, and does what is due.
    pub(super) fn run(&mut self, now: Instant, out: &mut Vec<TracksEffect>) {
        for kind in [Kind::Audio, Kind::Video] {
            for _ in 0..FRAMES_AT_ONCE {
                self.load(out);
                self.take_over(now, kind, out);
                if !self.send_due(now, kind, out) {
                    break;
                }
            }
            self.load(out);
            self.end_if_over(now, kind, out);
        }
        self.adapt(now, out);
        self.earliest = Some(now + SHORTEST_SLEEP);
        let wanted = self.ours.values().map(|of| of.feed.source.bitrate(Quality::High)).sum();
        if self.wanted != wanted {
            self.wanted = wanted;
            out.push(TracksEffect::Want(wanted.saturating_mul(HEADROOM.0 + 1) / HEADROOM.1));
        }
    }

    /// When [`Tracks::run`] is due next.
    pub(super) fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        let due = self.ours.values().flat_map(|of| [of.due(), of.ends, of.adaptation.review()]);
        let due = due.flatten().min()?;
        Some((self.earliest.map_or(due, |earliest| due.max(earliest)), "a frame"))
    }

    fn feeds(&mut self) -> impl Iterator<Item = &mut Feed> {
        self.ours.values_mut().flat_map(|of| [Some(&mut of.feed), of.coming.as_mut()]).flatten()
    }

    /// Gets the next frame of each feed that has none, as far as it is there.
    fn load(&mut self, out: &mut Vec<TracksEffect>) {
        let mut reading: Vec<String> = self.feeds().filter_map(|feed| feed.reading()).collect();
        let mut ops = self.ops;
        for feed in self.feeds() {
            if let Some(read) = feed.load(&mut reading, &mut ops) {
                out.push(TracksEffect::Read(read));
            }
        }
        self.ops = ops;
    }

    /// A feed that comes takes over once it has a frame, and one that has its first is announced.
    fn take_over(&mut self, now: Instant, kind: Kind, out: &mut Vec<TracksEffect>) {
        let Some(publication) = self.ours.get_mut(&kind) else { return };
        if let Some(mut coming) = publication.coming.take_if(|coming| coming.is_decided()) {
            match &coming.loaded {
                Loaded::Failed(why) => return fail(out, cannot(&coming.spec, kind, why)),
                Loaded::Ended => return fail(out, cannot(&coming.spec, kind, "there is nothing in it")),
                Loaded::Frame(_) | Loaded::Nothing | Loaded::Reading { .. } => {}
            }
            coming.source.set_fec(self.fec);
            // The frame that is there is of the best quality; those that follow are as the path allows.
            coming.source.set_quality(publication.adaptation.quality);
            publication.offset = publication.clock(now);
            publication.feed = coming;
            publication.ends = None;
            let source = publication.feed.spec.to_string();
            out.push(TracksEffect::Notice(AgentNotice::Media(MediaNotice::Replaced { kind, source })));
        }
        if !publication.announced && publication.feed.is_decided() {
            match &publication.feed.loaded {
                Loaded::Frame(_) => self.announce(kind, out),
                Loaded::Ended | Loaded::Failed(_) => self.give_up(kind, out),
                Loaded::Nothing | Loaded::Reading { .. } => {}
            }
        }
    }

    fn announce(&mut self, kind: Kind, out: &mut Vec<TracksEffect>) {
        let Some(publication) = self.ours.get_mut(&kind) else { return };
        publication.announced = true;
        publication.feed.source.set_fec(self.fec);
        let source = publication.feed.spec.to_string();
        out.push(TracksEffect::Publish(kind));
        out.push(TracksEffect::Notice(AgentNotice::Media(MediaNotice::Published { kind, source })));
    }

    /// Sends the next frame if it is due. Whether there may be another one.
    fn send_due(&mut self, now: Instant, kind: Kind, out: &mut Vec<TracksEffect>) -> bool {
        let Some(publication) = self.ours.get_mut(&kind) else { return false };
        let Some(due) = publication.due().filter(|due| *due <= now) else { return false };
        let late = now.saturating_duration_since(due);
        let due = if late > LATE {
            for publication in self.ours.values_mut() {
                publication.start = publication.start.map(|start| start + late);
            }
            self.too_slow(now, out);
            now
        } else {
            due
        };
        let Some(publication) = self.ours.get_mut(&kind) else { return false };
        publication.ask_for_key(now);
        let Loaded::Frame(frame) = std::mem::replace(&mut publication.feed.loaded, Loaded::Nothing) else {
            return false;
        };
        let time = publication.offset + frame.time;
        if let Some(frame) = publication.seen(EncodedFrame { time, ..frame }) {
            if publication.mute == Mute::Off {
                publication.adaptation.sent.add(now, &frame);
            }
            out.push(TracksEffect::Send { kind, frame, due });
        }
        true
    }

    /// The machine is behind. Pictures are what takes its time, as far as they are generated.
    fn too_slow(&mut self, now: Instant, out: &mut Vec<TracksEffect>) {
        let Some(publication) = self.ours.get_mut(&Kind::Video) else { return };
        if !matches!(publication.feed.spec, SourceSpec::Pattern(_)) {
            return;
        }
        if let Some(quality) = publication.adaptation.too_slow(now) {
            publication.feed.source.set_quality(quality);
            let why = format!("this machine is too slow for the picture; it goes on in {} quality", quality.name());
            out.push(TracksEffect::Notice(AgentNotice::Warning(why)));
        }
    }

    /// Takes a source off that has ended or failed.
    fn end_if_over(&mut self, now: Instant, kind: Kind, out: &mut Vec<TracksEffect>) {
        let Some(publication) = self.ours.get_mut(&kind) else { return };
        match publication.feed.loaded {
            Loaded::Failed(_) => self.give_up(kind, out),
            Loaded::Ended if publication.coming.is_none() => {
                let ends = *publication.ends.get_or_insert(now + LINGER);
                if ends <= now {
                    self.ours.remove(&kind);
                    self.ended(kind, Some("it is over".into()), out);
                }
            }
            _ => {}
        }
    }

    /// A source that cannot be played.
    fn give_up(&mut self, kind: Kind, out: &mut Vec<TracksEffect>) {
        let Some(publication) = self.ours.remove(&kind) else { return };
        let why = match publication.feed.loaded {
            Loaded::Failed(why) => why,
            _ => "there is nothing in it".into(),
        };
        fail(out, cannot(&publication.feed.spec, kind, &why));
        if publication.announced {
            self.ended(kind, None, out);
        }
    }

    fn ended(&mut self, kind: Kind, why: Option<String>, out: &mut Vec<TracksEffect>) {
        out.push(TracksEffect::Unpublish(kind));
        out.push(TracksEffect::Notice(AgentNotice::Media(MediaNotice::Unpublished { kind, why })));
    }

    /// Makes the picture as good as the path allows.
    fn adapt(&mut self, now: Instant, out: &mut Vec<TracksEffect>) {
        let sound = self.ours.get(&Kind::Audio).map_or(0, |of| of.feed.source.bitrate(Quality::High));
        let Some(publication) = self.ours.get_mut(&Kind::Video) else { return };
        let Some(bandwidth) = publication.adaptation.bandwidth else { return };
        let source = &publication.feed.source;
        let rate = |quality| source.bitrate(quality);
        let quality = publication.adaptation.decide(now, bandwidth.saturating_sub(sound), rate);
        if let Some(quality) = quality {
            publication.feed.source.set_quality(quality);
            let bits_per_second = bandwidth;
            out.push(TracksEffect::Notice(AgentNotice::Media(MediaNotice::Quality { quality, bits_per_second })));
        }
    }
}

impl Publication {
    /// Where in the track it is now.
    fn clock(&self, now: Instant) -> Duration {
        self.start.map_or(self.position, |start| now.saturating_duration_since(start))
    }

    /// When the next frame is due, if it is there and anybody listens.
    fn due(&self) -> Option<Instant> {
        match &self.feed.loaded {
            Loaded::Frame(frame) => Some(self.start? + self.offset + frame.time),
            _ => None,
        }
    }

    /// Asks the source for a key frame if one is wanted, and the last one is long enough ago.
    fn ask_for_key(&mut self, now: Instant) {
        let recent = |asked: Instant| now.saturating_duration_since(asked) < limits::KEY_FRAME_EVERY;
        if self.keys.wanted && !self.keys.asked.is_some_and(recent) {
            self.keys = Keys { wanted: false, asked: Some(now) };
            self.feed.source.request_key();
            if let Mute::On(shown) = &mut self.mute {
                *shown = None;
            }
        }
    }

    /// What the far ends see or hear of a frame.
    fn seen(&mut self, frame: EncodedFrame) -> Option<EncodedFrame> {
        match self.mute {
            Mute::Off => Some(frame),
            Mute::Ending if frame.key => {
                self.mute = Mute::Off;
                Some(frame)
            }
            Mute::Ending => None,
            Mute::On(_) if frame.codec == Kind::Audio.codec() => {
                Some(EncodedFrame { data: Bytes::from_static(SILENCE), ..frame })
            }
            Mute::On(Some(shown)) if frame.time < shown + BLACK_EVERY => None,
            Mute::On(_) => {
                self.mute = Mute::On(Some(frame.time));
                let (width, height, color) = BLACK;
                let data = Encoder::default().encode(&Picture::new(width, height, color), true).ok()?;
                Some(EncodedFrame { key: true, data, ..frame })
            }
        }
    }
}

/// Bits per second, measured over [`MEASURED`] each.
#[derive(Debug, Default)]
struct Sent {
    since: Option<Instant>,
    bits: u64,
    rate: Option<u64>,
}

impl Sent {
    fn add(&mut self, now: Instant, frame: &EncodedFrame) {
        let passed = now.saturating_duration_since(*self.since.get_or_insert(now));
        if passed >= MEASURED {
            let rate = u128::from(self.bits) * 1_000 / passed.as_millis().max(1);
            *self = Sent { since: Some(now), bits: 0, rate: u64::try_from(rate).ok() };
        }
        self.bits += frame.data.len() as u64 * 8;
    }
}

impl Adaptation {
    fn new() -> Self {
        Adaptation {
            quality: Quality::High,
            bandwidth: None,
            changed: None,
            better_since: None,
            sent: Sent::default(),
            slow: 0,
            slow_until: None,
        }
    }

    /// When the quality is to be looked at again.
    fn review(&self) -> Option<Instant> {
        self.better_since.map(|since| since + PATIENCE)
    }

    /// The quality below, if there is one.
    fn too_slow(&mut self, now: Instant) -> Option<Quality> {
        let lower = Quality::ALL.into_iter().rev().find(|quality| *quality < self.quality)?;
        self.slow_until = Some(now + SLOW * (1 << self.slow.min(6)));
        self.slow += 1;
        self.change(now, lower)
    }

    /// Another quality, if there should be one for so many bits per second. A picture may take far less than its source
    /// says, and while little is sent the estimate is low: so what is sent in fact decides, and what would be in
    /// proportion.
    fn decide(&mut self, now: Instant, bandwidth: u64, rate: impl Fn(Quality) -> u64) -> Option<Quality> {
        let since_change = self.changed.map(|at| now.saturating_duration_since(at));
        let (measured, said) = (u128::from(self.sent.rate?), u128::from(rate(self.quality).max(1)));
        let rate = |quality| u64::try_from(u128::from(rate(quality)) * measured / said).unwrap_or(u64::MAX);
        let fits = Quality::ALL.into_iter().rev().find(|quality| rate(*quality) <= bandwidth).unwrap_or(Quality::Low);
        if fits < self.quality {
            self.better_since = None;
            if since_change.is_some_and(|time| time < DESCENT) {
                return None;
            }
            return self.change(now, fits);
        }
        let better = Quality::ALL.into_iter().find(|quality| *quality > self.quality)?;
        let is_slow = self.slow_until.is_some_and(|until| now < until);
        if is_slow || rate(better).saturating_mul(HEADROOM.0) > bandwidth.saturating_mul(HEADROOM.1) {
            self.better_since = None;
            return None;
        }
        let since = *self.better_since.get_or_insert(now);
        if now.saturating_duration_since(since) < PATIENCE {
            return None;
        }
        self.change(now, better)
    }

    fn change(&mut self, now: Instant, quality: Quality) -> Option<Quality> {
        (self.quality, self.changed, self.better_since, self.sent) = (quality, Some(now), None, Sent::default());
        Some(quality)
    }
}

impl Feed {
    fn new(spec: SourceSpec, kind: Kind, looping: bool) -> Result<Self, MediaError> {
        let source = Source::new(&spec, kind, looping)?;
        Ok(Feed { spec, source, loaded: Loaded::Nothing })
    }

    /// Whether it has a frame, or will never have one.
    fn is_decided(&self) -> bool {
        !matches!(self.loaded, Loaded::Nothing | Loaded::Reading { .. })
    }

    /// The file that it reads now.
    fn reading(&self) -> Option<String> {
        match (&self.loaded, &self.spec) {
            (Loaded::Reading { .. }, SourceSpec::File { path }) => Some(path.clone()),
            _ => None,
        }
    }

    /// Gets the next frame, or asks for what is needed for it unless that file is being read.
    fn load(&mut self, reading: &mut Vec<String>, ops: &mut u64) -> Option<Output<AgentNotice>> {
        if !matches!(self.loaded, Loaded::Nothing) {
            return None;
        }
        match self.source.next() {
            Ok(Next::Frame(frame)) => self.loaded = Loaded::Frame(frame),
            Ok(Next::Ended) => self.loaded = Loaded::Ended,
            Err(error) => self.loaded = Loaded::Failed(error.to_string()),
            Ok(Next::Bytes { offset, len }) => {
                let SourceSpec::File { path } = &self.spec else { return None };
                if reading.contains(path) {
                    return None;
                }
                reading.push(path.clone());
                *ops += 1;
                let op = FileOp(*ops * 2);
                self.loaded = Loaded::Reading { op, len };
                return Some(Output::ReadFile { op, path: path.clone(), offset, len });
            }
        }
        None
    }
}

fn cannot(spec: &SourceSpec, kind: Kind, why: &str) -> String {
    let spec = spec.to_string();
    // Some say themselves what they are about.
    let why = why.strip_prefix(&spec).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(why);
    format!("cannot send {} from {spec}: {why}", kind.name())
}

fn fail(out: &mut Vec<TracksEffect>, sentence: String) {
    out.push(TracksEffect::Notice(AgentNotice::CommandFailed(sentence)));
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publication").field("source", &self.feed.spec).finish_non_exhaustive()
    }
}
