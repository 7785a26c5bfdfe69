//! A file as a source: what is encoded already is passed on as it is, WAV is encoded.

use std::time::Duration;

use crate::limits::MEDIA_READ_BYTES;
use crate::media::feed::Read;
use crate::media::resample::Resampler;
use crate::media::{Codec, EncodedFrame, Kind, MediaError, Quality, ivf, ogg, opus, wav, webm};

use super::{FileKind, Next, at_rate};

/// How long a frame is shown if there is no other to tell.
const FRAME_TIME: Duration = Duration::from_millis(33);

/// Told until frames were seen.
const UNKNOWN_BITRATE: u64 = 1_000_000;

/// A file, read piece by piece.
pub(super) struct FileSource {
    path: String,
    kind: Kind,
    looping: bool,
    quality: Quality,
    reader: Reader,
    /// How far the file was read.
    offset: u64,
    /// Asked for and not answered.
    wanted: Option<Wanted>,
    /// Where this pass through the file began.
    base: Duration,
    /// Whether this pass gave anything.
    fruitful: bool,
    /// Something is missing since the last key frame: what builds on it is left out as well.
    broken: bool,
    /// The last frame that was read, sent or not, and the one before it.
    last: Option<Duration>,
    step: Duration,
    seen: Seen,
}

#[derive(Clone, Copy)]
enum Wanted {
    More,
    /// The last byte of what a WAV file promises: if that is missing, better know it now.
    LastByte(u64),
}

enum Reader {
    Wav(Box<Sound>),
    Ogg(ogg::Reader),
    Ivf(ivf::Reader),
    Webm(webm::Reader),
}

/// The way of a WAV file's samples to packets.
struct Sound {
    reader: wav::Reader,
    resampler: Option<Resampler>,
    encoder: opus::Encoder,
    checked: bool,
    looping: bool,
    /// Packets so far, and when this pass through the file began.
    packets: u64,
    before: u64,
    /// Only what is left is to come.
    ended: bool,
}

/// What was read, for the bitrate.
#[derive(Default)]
struct Seen {
    bytes: u64,
    key_bytes: u64,
    time: Duration,
}

impl FileSource {
    pub fn new(path: &str, kind: Kind, looping: bool) -> Result<Self, MediaError> {
        let reader = match FileKind::of(path) {
            Some(FileKind::Wav) => Reader::Wav(Box::new(Sound::new(looping)?)),
            Some(FileKind::Ogg) => Reader::Ogg(ogg::Reader::default()),
            Some(FileKind::Ivf) => Reader::Ivf(ivf::Reader::default()),
            Some(FileKind::Webm) => Reader::Webm(webm::Reader::new(kind)),
            None => return Err(MediaError::Spec(format!("'{}' has no known extension", path.escape_debug()))),
        };
        Ok(FileSource {
            path: path.to_owned(),
            kind,
            looping,
            quality: Quality::High,
            reader,
            offset: 0,
            wanted: None,
            base: Duration::ZERO,
            fruitful: false,
            broken: true,
            last: None,
            step: FRAME_TIME,
            seen: Seen::default(),
        })
    }

    pub fn next(&mut self) -> Result<Next, MediaError> {
        if let Some(wanted) = self.wanted {
            return Ok(self.ask(wanted));
        }
        loop {
            let read = match &mut self.reader {
                Reader::Wav(sound) => match sound.open() {
                    Ok(Some(last)) => return Ok(self.ask(Wanted::LastByte(last))),
                    Ok(None) => sound.next(),
                    Err(error) => Err(error),
                },
                Reader::Ogg(reader) => reader.read(),
                Reader::Ivf(reader) => reader.read(),
                Reader::Webm(reader) => reader.read(),
            };
            match read.map_err(|error| self.at(error))? {
                Read::Hungry => return Ok(self.ask(Wanted::More)),
                Read::Ended if !self.fruitful => {
                    let nothing = match self.kind {
                        Kind::Audio => "it holds no sound",
                        Kind::Video => "it holds no key frame of VP8",
                    };
                    return Err(self.at(MediaError::File(nothing.into())));
                }
                Read::Ended if self.looping => self.rewind(),
                Read::Ended => return Ok(Next::Ended),
                Read::Frame(frame) => {
                    let frame = self.place(frame);
                    if !self.leaves_out(&frame) {
                        self.fruitful = true;
                        return Ok(Next::Frame(frame));
                    }
                }
            }
        }
    }

    pub fn bytes(&mut self, bytes: &[u8], end: bool) {
        let Some(wanted) = self.wanted.take() else { return };
        if let Wanted::LastByte(_) = wanted {
            if let Reader::Wav(sound) = &mut self.reader {
                sound.check(!bytes.is_empty());
            }
            return;
        }
        // No answer may be longer than the question, and one without bytes leads nowhere.
        let bytes = bytes.get(..MEDIA_READ_BYTES).unwrap_or(bytes);
        let end = end || bytes.is_empty();
        self.offset += bytes.len() as u64;
        match &mut self.reader {
            Reader::Wav(sound) => feed(&mut sound.reader, wav::Reader::push, wav::Reader::end, bytes, end),
            Reader::Ogg(reader) => feed(reader, ogg::Reader::push, ogg::Reader::end, bytes, end),
            Reader::Ivf(reader) => feed(reader, ivf::Reader::push, ivf::Reader::end, bytes, end),
            Reader::Webm(reader) => feed(reader, webm::Reader::push, webm::Reader::end, bytes, end),
        }
    }

    pub fn set_quality(&mut self, quality: Quality) {
        self.quality = quality;
        if let Reader::Wav(sound) = &mut self.reader {
            sound.encoder.set_bitrate(Sound::bitrate(quality));
        }
    }

    pub fn set_fec(&mut self, on: bool) {
        if let Reader::Wav(sound) = &mut self.reader {
            sound.encoder.set_fec(on);
        }
    }

    pub fn bitrate(&self, quality: Quality) -> u64 {
        if let Reader::Wav(_) = self.reader {
            return Sound::bitrate(quality).into();
        }
        let keys_only = quality == Quality::Low && self.kind == Kind::Video;
        let bytes = if keys_only { self.seen.key_bytes } else { self.seen.bytes };
        match u64::try_from(self.seen.time.as_millis()) {
            Ok(millis @ 1..) => bytes.saturating_mul(8_000) / millis,
            _ => UNKNOWN_BITRATE,
        }
    }

    fn ask(&mut self, wanted: Wanted) -> Next {
        self.wanted = Some(wanted);
        match wanted {
            Wanted::More => Next::Bytes { offset: self.offset, len: MEDIA_READ_BYTES },
            Wanted::LastByte(offset) => Next::Bytes { offset, len: 1 },
        }
    }

    /// Puts a frame where this pass through the file is, never at the time of the one before.
    fn place(&mut self, frame: EncodedFrame) -> EncodedFrame {
        let after = self.last.map_or(Duration::ZERO, |last| last + Duration::from_millis(1));
        let time = (self.base + frame.time).max(after);
        self.step = match frame.codec {
            Codec::Opus => opus::duration(&frame.data).unwrap_or(opus::FRAME_TIME),
            Codec::Vp8 => self.last.map_or(FRAME_TIME, |last| time - last),
        };
        self.last = Some(time);
        self.seen.bytes += frame.data.len() as u64;
        self.seen.key_bytes += if frame.key { frame.data.len() as u64 } else { 0 };
        self.seen.time = time;
        EncodedFrame { time, ..frame }
    }

    fn leaves_out(&mut self, frame: &EncodedFrame) -> bool {
        self.broken = !frame.key && (self.broken || self.quality == Quality::Low);
        self.broken
    }

    /// Begins the file again.
    fn rewind(&mut self) {
        self.offset = 0;
        self.fruitful = false;
        self.broken = true;
        match &mut self.reader {
            // Its packets are counted on.
            Reader::Wav(sound) => sound.rewind(),
            Reader::Ogg(reader) => *reader = ogg::Reader::default(),
            Reader::Ivf(reader) => *reader = ivf::Reader::default(),
            Reader::Webm(reader) => *reader = webm::Reader::new(self.kind),
        }
        if !matches!(self.reader, Reader::Wav(_)) {
            self.base = self.last.unwrap_or_default() + self.step;
        }
    }

    /// Says which file is at fault.
    fn at(&self, error: MediaError) -> MediaError {
        MediaError::File(format!("{}: {error}", self.path.escape_debug()))
    }
}

impl Sound {
    fn new(looping: bool) -> Result<Self, MediaError> {
        let encoder = opus::Encoder::new(opus::Use::Music, Self::bitrate(Quality::High))?;
        let reader = wav::Reader::default();
        Ok(Sound { reader, resampler: None, encoder, checked: false, looping, packets: 0, before: 0, ended: false })
    }

    fn bitrate(quality: Quality) -> u32 {
        match quality {
            Quality::High => 96_000,
            Quality::Medium => 64_000,
            Quality::Low => 32_000,
        }
    }

    /// Where a byte should be that has to be looked for.
    fn open(&mut self) -> Result<Option<u64>, MediaError> {
        if self.checked || !self.reader.open()? {
            return Ok(None);
        }
        Ok(self.reader.promised().map(|end| end.saturating_sub(1)))
    }

    /// Whether that byte was there.
    fn check(&mut self, there: bool) {
        self.checked = true;
        if !there {
            self.reader.cut();
        }
    }

    fn next(&mut self) -> Result<Read<EncodedFrame>, MediaError> {
        loop {
            let samples = match &mut self.resampler {
                Some(resampler) if self.ended => resampler.finish()?,
                Some(resampler) => resampler.frame()?,
                None => None,
            };
            match samples {
                Some(samples) => return self.encode(&samples).map(Read::Frame),
                None if self.ended => return Ok(Read::Ended),
                None => {}
            }
            match self.reader.read()? {
                Read::Frame(samples) => self.resampler()?.push(&samples),
                Read::Hungry => return Ok(Read::Hungry),
                // What is less than a packet goes with what comes next, without a click.
                Read::Ended if self.looping && self.packets > self.before => return Ok(Read::Ended),
                Read::Ended => self.ended = true,
            }
        }
    }

    fn resampler(&mut self) -> Result<&mut Resampler, MediaError> {
        let resampler = match self.resampler.take() {
            Some(resampler) => resampler,
            None => Resampler::new(self.reader.rate().unwrap_or(opus::RATE))?,
        };
        Ok(self.resampler.insert(resampler))
    }

    fn encode(&mut self, samples: &[i16]) -> Result<EncodedFrame, MediaError> {
        let data = self.encoder.encode(samples)?;
        let time = at_rate(self.packets, 50);
        self.packets += 1;
        Ok(EncodedFrame { codec: Codec::Opus, time, key: true, data })
    }

    fn rewind(&mut self) {
        self.reader = wav::Reader::default();
        self.before = self.packets;
        self.ended = false;
    }
}

fn feed<R>(reader: &mut R, push: fn(&mut R, &[u8]), finish: fn(&mut R), bytes: &[u8], end: bool) {
    push(reader, bytes);
    if end {
        finish(reader);
    }
}
